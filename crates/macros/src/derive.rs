//! `#[derive(Stable)]` and `#[derive(Typed)]`

use crate::lifetimes::MakeStatic;
use proc_macro2::TokenStream;
use quote::quote;
use syn::visit_mut::VisitMut;
use syn::{ConstParam, Data, DeriveInput, Error, Fields, GenericParam, Generics, Ident, Type, parse_quote};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stable,
    Typed,
}

pub(crate) fn describe(input: &DeriveInput, kind: Kind) -> syn::Result<TokenStream> {
    let repr = repr(input)?;
    let ident = &input.ident;
    if kind == Kind::Stable && repr == "Rust" {
        let text = "a stable type states its layout: add `#[repr(C)]`, or derive `Typed` for equal builds only";
        return Err(Error::new_spanned(ident, text));
    }
    let repr = Ident::new(repr, ident.span());
    let constants = constants(&input.generics)?;
    let body = match &input.data {
        Data::Struct(data) => {
            let fields = fields(&data.fields, true).into_iter().chain(constants);
            quote!(::sideload::abi::Type::structure::<Self>(<Self as ::sideload::abi::Typed>::NAME, ::sideload::abi::Repr::#repr, const { &[#(#fields),*] }))
        }
        Data::Enum(data) => {
            let constants = (!constants.is_empty()).then(|| {
                quote!(::sideload::abi::Variant { name: "const", discriminant: 0, fields: const { &[#(#constants),*] } })
            });
            let variants = variants(data).into_iter().chain(constants);
            quote!(::sideload::abi::Type::enumeration::<Self>(<Self as ::sideload::abi::Typed>::NAME, ::sideload::abi::Repr::#repr, const { &[#(#variants),*] }))
        }
        Data::Union(data) => {
            let text = "nothing tells which field of a union is in use: it cannot be described";
            return Err(Error::new_spanned(data.union_token, text));
        }
    };
    let name = ident.to_string();
    // Whoever states a layout means the layout; a type of the compiler's choice is that very type.
    let name = match kind {
        Kind::Stable => quote!(#name),
        Kind::Typed => quote!(concat!(module_path!(), "::", #name)),
    };
    let mut generics = input.generics.clone();
    for param in &mut generics.params {
        if let GenericParam::Type(param) = param {
            param.bounds.push(parse_quote!(::sideload::abi::Typed));
        }
    }
    generics.params = generics.params.into_iter().filter(|param| !matches!(param, GenericParam::Lifetime(_))).collect();
    let (bounded, _, conditions) = generics.split_for_impl();
    let arguments = input.generics.params.iter().map(|param| match param {
        GenericParam::Lifetime(_) => quote!('static),
        GenericParam::Type(param) => {
            let ident = &param.ident;
            quote!(#ident)
        }
        GenericParam::Const(param) => {
            let ident = &param.ident;
            quote!(#ident)
        }
    });
    let of = quote!(#ident<#(#arguments),*>);
    let (check, marker) = match kind {
        Kind::Stable => {
            (quote!(.require_stable()), quote!(impl #bounded ::sideload::abi::Stable for #of #conditions {}))
        }
        Kind::Typed => (quote!(), quote!()),
    };
    Ok(quote! {
        const _: () = {
            // SAFETY: every field is listed, with the offset that the compiler gave it.
            unsafe impl #bounded ::sideload::abi::Typed for #of #conditions {
                const NAME: &'static str = #name;
                const TYPE: ::sideload::abi::Type = #body #check;
            }
            #marker
        };
    })
}

/// The variant of `sideload_plugin::abi::Repr`.
fn repr(input: &DeriveInput) -> syn::Result<&'static str> {
    let mut found = "Rust";
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        attribute.parse_nested_meta(|meta| {
            let word = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
            match word.as_str() {
                "C" => found = "C",
                "transparent" => found = "Transparent",
                "align" | "packed" | "Rust" => {}
                _ if found == "C" => {}
                _ => found = "Integer",
            }
            // `align(8)`: what it does to the layout is seen in the layout.
            if meta.input.peek(syn::token::Paren) {
                let content;
                syn::parenthesized!(content in meta.input);
                content.parse::<TokenStream>()?;
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn fields(fields: &Fields, with_offsets: bool) -> Vec<TokenStream> {
    let describe = |(at, field): (usize, &syn::Field)| {
        let member = field.ident.clone().map_or_else(|| syn::Member::from(at), syn::Member::from);
        let name = match &member {
            syn::Member::Named(ident) => ident.to_string(),
            syn::Member::Unnamed(index) => index.index.to_string(),
        };
        let of = without_lifetimes(&field.ty);
        let offset = if with_offsets { quote!(::core::mem::offset_of!(Self, #member)) } else { quote!(0) };
        quote!(::sideload::abi::Field { name: #name, offset: #offset, of: const { &<#of as ::sideload::abi::Typed>::TYPE } })
    };
    fields.iter().enumerate().map(describe).collect()
}

/// The values of constant parameters, as fields without a size: what a type promises may depend on one of which no field
/// does.
fn constants(generics: &Generics) -> syn::Result<Vec<TokenStream>> {
    let describe = |param: &ConstParam| {
        let (name, value) = (format!("const {}", param.ident), &param.ident);
        if matches!(&param.ty, Type::Path(path) if path.path.is_ident("u128") || path.path.is_ident("i128")) {
            return Err(Error::new_spanned(&param.ty, "a constant parameter of 128 bits cannot be described"));
        }
        Ok(quote!(::sideload::abi::Field {
            name: #name,
            offset: 0,
            of: const { &::sideload::abi::Type::constant(#value as usize) },
        }))
    };
    generics.const_params().map(describe).collect()
}

/// Lifetimes of a type are seen where it is used: `Bound` says which of a function's they are.
fn without_lifetimes(of: &Type) -> Type {
    let mut of = of.clone();
    MakeStatic::default().visit_type_mut(&mut of);
    of
}

fn variants(data: &syn::DataEnum) -> Vec<TokenStream> {
    let mut last = quote!(-1i128);
    let describe = |variant: &syn::Variant| {
        let number = match &variant.discriminant {
            Some((_, value)) => quote!((#value) as i128),
            None => quote!(#last + 1),
        };
        last = number.clone();
        let (name, fields) = (variant.ident.to_string(), fields(&variant.fields, false));
        quote!(::sideload::abi::Variant { name: #name, discriminant: #number, fields: const { &[#(#fields),*] } })
    };
    data.variants.iter().map(describe).collect()
}
