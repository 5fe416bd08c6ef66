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
    let items = items.iter().map(|path| {
        let beside = |prefix: &str| {
            let mut path = path.clone();
            if let Some(last) = path.segments.last_mut() {
                last.ident = format_ident!("{prefix}{}", last.ident, span = last.ident.span());
            }
            path
        };
        let (row, address) = (beside("__sideload_row_"), beside("__sideload_"));
        // SAFETY: an attribute wrote both, of one item.
        quote!(unsafe { #row.linked(#address as *const ()) })
    });
    let identity = notes::identity();
    quote! {
        /// This plugin, to be linked into a program.
        #vis static #name: ::sideload::abi::LinkedPlugin =
            ::sideload::abi::LinkedPlugin::new(#identity, &[#(#items),*]);
    }
}
