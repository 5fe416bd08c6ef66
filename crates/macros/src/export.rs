//! `#[export]`

use crate::arguments::Arguments;
use crate::items::{Exported, Function};
use crate::lifetimes::{Parts, Signature, abi_name};
use crate::notes::{self, Kind};
use proc_macro2::{Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{Error, FnArg, Ident, ItemStatic, ItemTrait, StaticMutability, TraitItem, TypeParamBound, Visibility};

pub(crate) fn export(arguments: &Arguments, item: Exported) -> syn::Result<TokenStream> {
    match item {
        Exported::Function(function) => {
            arguments.only(&["name", "symbol"])?;
            export_function(arguments, function)
        }
        Exported::Static(item) => {
            arguments.only(&["name", "symbol"])?;
            export_static(arguments, item)
        }
        Exported::Trait(item) => {
            arguments.only(&[])?;
            describe_trait(&item)
        }
    }
}

/// The names of an item: what it is looked up by, and its symbol.
struct Names {
    name: String,
    symbol: String,
}

fn names(arguments: &Arguments, item: &Ident) -> Names {
    let name = arguments.name.as_ref().map_or_else(|| item.to_string(), syn::LitStr::value);
    let symbol = arguments.symbol.as_ref().map_or_else(|| notes::symbol("export", &name), syn::LitStr::value);
    Names { name, symbol }
}

/// The row beside the item, which ends up in the file; and what a list of plugins that are linked in is made of: together
/// with the item's address, `__sideload_…`.
fn row(vis: &Visibility, item: &Ident, names: &Names, kind: &Kind<'_>, parts: &Parts) -> TokenStream {
    let row = format_ident!("__sideload_row_{}", item);
    let head = Literal::byte_string(&notes::head(kind, [&names.name, &names.symbol], parts));
    let (aliases, constants) = parts.constants(&format_ident!("ENCODED"));
    let of = match constants.len() {
        size @ 1..=9 => Ident::new(&format!("Item{size}"), Span::call_site()).into_token_stream(),
        size => {
            let size = Literal::usize_unsuffixed(size);
            quote!(Item<#size>)
        }
    };
    let symbol = notes::symbol("row", &names.name);
    let flags = notes::flags();
    quote! {
        #[doc(hidden)]
        #[unsafe(export_name = #symbol)]
        #[allow(non_upper_case_globals)]
        #vis static #row: ::sideload::abi::#of = {
            #aliases
            // SAFETY: the head is one.
            unsafe { ::sideload::abi::Item::new(#head, #flags, [#(#constants),*]) }
        };
    }
}

/// What is exported in place of what it stands beside: what a list of plugins that are linked in has the address from.
fn address(vis: &Visibility, item: &Ident, address: &TokenStream) -> TokenStream {
    let constant = format_ident!("__sideload_{}", item);
    quote! {
        #[doc(hidden)]
        #[allow(non_upper_case_globals, dead_code)]
        #vis const #constant: *const () = #address;
    }
}

fn export_function(arguments: &Arguments, function: Function) -> syn::Result<TokenStream> {
    let signature = &function.signature;
    let params = &signature.generics.params;
    let refused = params.iter().find(|param| !matches!(param, syn::GenericParam::Lifetime(_)));
    if let Some(param) = refused {
        return Err(Error::new_spanned(
            param,
            "a generic function is none until it is used: export one instance of it",
        ));
    }
    if let Some(asyncness) = &signature.asyncness {
        return Err(Error::new_spanned(asyncness, "an `async fn` returns a type without a name: return a `Box`"));
    }
    if let Some(variadic) = &signature.variadic {
        return Err(Error::new_spanned(variadic, "a variadic function has no type that could be checked"));
    }
    let types = signature.inputs.iter().map(|input| match input {
        FnArg::Typed(argument) => Ok(&*argument.ty),
        FnArg::Receiver(receiver) => Err(Error::new_spanned(receiver, "a method cannot be exported")),
    });
    let types: Vec<_> = types.collect::<syn::Result<_>>()?;
    let abi = abi_name(signature.abi.as_ref())?;
    let parts = Signature::parts(types.into_iter(), &signature.output)?;
    let names = names(arguments, &signature.ident);
    let (symbol, ident, vis) = (&names.symbol, &signature.ident, &function.vis);
    let kind = Kind::Function { abi: &abi, is_unsafe: signature.unsafety.is_some() };
    let row = row(vis, ident, &names, &kind, &parts);
    if abi == "C" {
        // A panic cannot leave a C function: rustc ends the process at its border.
        let address = address(vis, ident, &quote!(#ident as *const ()));
        return Ok(quote! {
            #[unsafe(export_name = #symbol)]
            #function
            #address
            #row
        });
    }
    let guarded = guarded(vis, signature, symbol);
    Ok(quote! {
        #function
        #guarded
        #row
    })
}

/// As many arguments as `sideload_plugin::abi::guard8` has.
const MOST_GUARDED: usize = 8;

/// The function as it is exported: what it panics with is raised again by the host.
fn guarded(vis: &Visibility, signature: &syn::Signature, symbol: &str) -> TokenStream {
    let syn::Signature { unsafety, abi, generics, inputs, output, ident, .. } = signature;
    let names: Vec<Ident> = (0..inputs.len()).map(|at| format_ident!("__argument{at}")).collect();
    let types = inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(&argument.ty),
        FnArg::Receiver(_) => None,
    });
    let (_, _, conditions) = generics.split_for_impl();
    let call = match unsafety {
        // SAFETY: the caller's promise is the same.
        Some(_) => quote!(guard(move || unsafe { #ident(#(#names),*) })),
        None if abi.is_some() || inputs.len() > MOST_GUARDED => quote!(guard(move || #ident(#(#names),*))),
        None => {
            let guard = format_ident!("guard{}", inputs.len());
            quote!(#guard(#ident, #(#names),*))
        }
    };
    let exported = format_ident!("__sideload_{}", ident);
    quote! {
        #[doc(hidden)]
        #[unsafe(export_name = #symbol)]
        #[allow(clippy::all, private_interfaces)]
        #vis #unsafety #abi fn #exported #generics (#(#names: #types),*) #output #conditions {
            ::sideload::abi::#call
        }
    }
}

fn export_static(arguments: &Arguments, item: ItemStatic) -> syn::Result<TokenStream> {
    if let StaticMutability::Mut(mutability) = &item.mutability {
        let text = "a `static mut` cannot be shared with a host: use an atomic or a lock";
        return Err(Error::new_spanned(mutability, text));
    }
    let (of, ident) = (&item.ty, &item.ident);
    let names = names(arguments, ident);
    let row = row(&item.vis, ident, &names, &Kind::Static, &Parts::one(of));
    let address = address(&item.vis, ident, &quote!((&raw const #ident).cast()));
    let symbol = &names.symbol;
    Ok(quote! {
        #[unsafe(export_name = #symbol)]
        #item
        #address
        #row
    })
}

/// Whether a supertrait is one of those of the standard library, which are the same in equal builds. Only the name is known;
/// a trait of another crate is described by its own `#[export]`, or the program does not compile.
fn is_of_the_standard_library(path: &syn::Path) -> bool {
    const NAMES: &[&str] = &[
        "Any",
        "AsRef",
        "BufRead",
        "Debug",
        "Display",
        "DoubleEndedIterator",
        "Error",
        "ExactSizeIterator",
        "Fn",
        "FnMut",
        "FnOnce",
        "Future",
        "Iterator",
        "Read",
        "RefUnwindSafe",
        "Seek",
        "Send",
        "Sized",
        "Sync",
        "ToString",
        "Unpin",
        "UnwindSafe",
        "Write",
    ];
    path.segments.last().is_some_and(|last| NAMES.iter().any(|name| last.ident == name))
}

/// Describes `dyn Trait`: its methods, in the order in which the vtable of an equal build has them.
fn describe_trait(item: &ItemTrait) -> syn::Result<TokenStream> {
    if let Some(param) = item.generics.params.first() {
        return Err(Error::new_spanned(param, "a trait with parameters cannot be described"));
    }
    let mut fields = Vec::new();
    for member in &item.items {
        let TraitItem::Fn(method) = member else {
            return Err(Error::new_spanned(member, "only methods can be described"));
        };
        let types = method.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(argument) => Some(&*argument.ty),
            FnArg::Receiver(_) => None,
        });
        let abi = abi_name(method.sig.abi.as_ref())?;
        let of = Signature::parts(types, &method.sig.output)?.function(&abi, method.sig.unsafety.is_some());
        let receiver = method.sig.receiver().map_or_else(String::new, |receiver| quote!(#receiver).to_string());
        let name = format!("{}({receiver})", method.sig.ident);
        fields.push(quote!(::sideload::abi::Field { name: #name, offset: 0, of: #of }));
    }
    // Their methods are in the vtable, too.
    for bound in &item.supertraits {
        if let TypeParamBound::Trait(bound) = bound
            && !is_of_the_standard_library(&bound.path)
        {
            let (path, name) = (&bound.path, format!("supertrait {}", bound.path.to_token_stream()));
            fields.push(quote!(::sideload::abi::Field {
                name: #name,
                offset: 0,
                of: const { &<dyn #path as ::sideload::abi::Typed>::TYPE },
            }));
        }
    }
    let ident = &item.ident;
    let bounds = &item.supertraits;
    // Supertraits are part of the vtable, and auto traits of what may be done with the object.
    let name = match bounds.is_empty() {
        true => ident.to_string(),
        false => format!("{ident}: {}", quote!(#bounds)),
    };
    Ok(quote! {
        #item
        // SAFETY: all methods are listed; the vtable is that of an equal build, which the tier demands.
        unsafe impl ::sideload::abi::Typed for dyn #ident {
            const NAME: &'static str = concat!(module_path!(), "::", #name);
            const TYPE: ::sideload::abi::Type = ::sideload::abi::Type::trait_object(
                <Self as ::sideload::abi::Typed>::NAME,
                const { &[#(#fields),*] },
            );
        }
    })
}
