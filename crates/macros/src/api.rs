//! `#[derive(Api)]`

use crate::lifetimes::{Signature, abi_name};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, GenericArgument, PathArguments, Type};

pub(crate) fn api(input: &DeriveInput) -> syn::Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "an `Api` is a struct of symbols"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "the fields' names are what is looked up"));
    };
    if let Some(param) = input.generics.params.first() {
        return Err(Error::new_spanned(param, "symbols live as long as the process: use `'static`"));
    }
    let loads = fields.named.iter().map(load).collect::<syn::Result<Vec<_>>>()?;
    let ident = &input.ident;
    Ok(quote! {
        impl ::sideload::abi::Api for #ident {
            fn load<__Plugin: ::sideload::abi::Lookup>(
                plugin: &__Plugin,
            ) -> ::core::result::Result<Self, __Plugin::Error> {
                ::core::result::Result::Ok(#ident { #(#loads),* })
            }
        }
    })
}

fn load(field: &syn::Field) -> syn::Result<TokenStream> {
    let ident = field.ident.as_ref();
    let mut name = ident.map(ToString::to_string).unwrap_or_default();
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("api")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("expected `name = \"…\"`"));
            }
            name = meta.value()?.parse::<syn::LitStr>()?.value();
            Ok(())
        })?;
    }
    let (of, optional) = optional(&field.ty).map_or((&field.ty, false), |inner| (inner, true));
    let (is_function, described) = described(of)?;
    let read = match of {
        Type::Reference(reference) => {
            let of = &reference.elem;
            quote!(&*address.cast::<#of>())
        }
        of => quote!(::core::mem::transmute::<*const (), #of>(address)),
    };
    let found = quote!({
        const __OF: &::sideload::abi::Type = #described;
        let address = plugin.find(#name, #is_function, __OF, const { __OF.fingerprint() })?;
        // SAFETY: `Lookup` promises an item of that very type, for as long as the process lives.
        unsafe { #read }
    });
    Ok(match optional {
        false => quote!(#ident: #found),
        true => quote!(#ident: if plugin.has(#name) { ::core::option::Option::Some(#found) } else {
            ::core::option::Option::None
        }),
    })
}

/// The `T` of `Option<T>`.
fn optional(of: &Type) -> Option<&Type> {
    let Type::Path(path) = of else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::Type(inner) => Some(inner),
            _ => None,
        }),
        _ => None,
    }
}

/// Whether it is a function, and an expression for its type.
fn described(of: &Type) -> syn::Result<(bool, TokenStream)> {
    match of {
        Type::BareFn(function) => {
            let abi = abi_name(function.abi.as_ref())?;
            let types = function.inputs.iter().map(|argument| &argument.ty);
            Ok((true, Signature::parts(types, &function.output)?.function(&abi, function.unsafety.is_some())))
        }
        Type::Reference(reference)
            if reference.mutability.is_none()
                && reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static") =>
        {
            let of = &reference.elem;
            Ok((
                false,
                quote!({
                    ::sideload::abi::check_static::<#of>();
                    const { &<#of as ::sideload::abi::Typed>::TYPE }
                }),
            ))
        }
        Type::Paren(inner) => described(&inner.elem),
        Type::Group(inner) => described(&inner.elem),
        other => Err(Error::new_spanned(other, "expected `fn(…) -> …`, `&'static T`, or an `Option` of one")),
    }
}
