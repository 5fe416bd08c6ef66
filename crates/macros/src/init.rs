//! `#[init]`

use crate::arguments::Arguments;
use crate::items::Function;
use crate::notes;
use proc_macro2::TokenStream;
use quote::quote;
use syn::Error;

pub(crate) fn init(arguments: &Arguments, function: &Function) -> syn::Result<TokenStream> {
    arguments.only(&["after"])?;
    let signature = &function.signature;
    if let Some(param) = signature.generics.params.first() {
        return Err(Error::new_spanned(param, "an init function has no parameters of its own"));
    }
    if let Some(asyncness) = &signature.asyncness {
        return Err(Error::new_spanned(asyncness, "an init function runs to its end"));
    }
    let ident = &signature.ident;
    let call = match signature.inputs.len() {
        0 => quote!(|_| #ident()),
        1 => quote!(|host| #ident(host)),
        _ => return Err(Error::new_spanned(&signature.inputs, "an init function takes nothing or a `&Host`")),
    };
    let (name, symbol) = (ident.to_string(), notes::symbol("init", &ident.to_string()));
    let after = &arguments.after;
    let constant = quote::format_ident!("__sideload_row_{}", ident);
    let row = quote!(::sideload::abi::Init {
        name: #name,
        symbol: #symbol,
        file: file!(),
        line: line!(),
        after: &[#(#after),*],
    });
    let notes = notes::notes(&quote!(#constant.size()), &quote!(#constant.note()));
    let run = quote::format_ident!("__sideload_{}", ident);
    let vis = &function.vis;
    Ok(quote! {
        #function
        #[doc(hidden)]
        #[unsafe(export_name = #symbol)]
        #vis unsafe extern "C" fn #run(call: *const ::sideload::abi::InitCall) -> ::sideload::abi::InitStatus {
            // SAFETY: only a host calls this, with a call that is valid.
            unsafe { ::sideload::abi::run_init(call, #call) }
        }
        #[doc(hidden)]
        #[allow(non_upper_case_globals, dead_code)]
        #vis const #constant: ::sideload::abi::Init = #row;
        const _: () = {
            #notes
        };
    })
}
