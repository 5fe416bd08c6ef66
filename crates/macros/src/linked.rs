//! `plugin!`

use crate::notes;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, Path, Token, Visibility};

/// `pub PLUGIN: greet, other::COUNT`
pub(crate) struct List {
    vis: Visibility,
    name: Ident,
    items: Punctuated<Path, Token![,]>,
}

impl Parse for List {
    fn parse(input: ParseStream<'_>) -> syn::Result<List> {
        let (vis, name) = (input.parse()?, input.parse()?);
        input.parse::<Token![:]>()?;
        Ok(List { vis, name, items: Punctuated::parse_terminated(input)? })
    }
}

pub(crate) fn plugin(list: &List) -> TokenStream {
    let List { vis, name, items } = list;
    let constants = items.iter().map(|path| {
        let mut path = path.clone();
        if let Some(last) = path.segments.last_mut() {
            last.ident = format_ident!("__sideload_{}", last.ident, span = last.ident.span());
        }
        path
    });
    let identity = notes::identity();
    quote! {
        /// This plugin, to be linked into a program.
        #vis static #name: ::sideload::abi::LinkedPlugin =
            ::sideload::abi::LinkedPlugin::new(#identity, &[#(#constants),*]);
    }
}
