//! The notes that end up in the file.

use proc_macro2::TokenStream;
use quote::quote;

fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// A symbol that no other crate has, whichever of its versions are linked into one program.
pub(crate) fn symbol(kind: &str, name: &str) -> String {
    let plain = |text: String| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let (of, version) = (plain(environment("CARGO_CRATE_NAME")), plain(environment("CARGO_PKG_VERSION")));
    format!("__sideload_{of}_{version}_{kind}_{name}")
}

/// The note of a row, given as an expression; and the identity of the crate. Each row comes with the identity, since no
/// macro knows whether it is the first; a host reads one and checks that the others are equal.
pub(crate) fn notes(row: &TokenStream, of: &TokenStream) -> TokenStream {
    let identity = identity();
    quote! {
        const __ROW: #of = #row;
        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__sideload"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".note.sideload"))]
        static __NOTE: ::sideload::abi::Note<{ __ROW.note_size() }> = __ROW.note();

        const __IDENTITY: ::sideload::abi::Identity = #identity;
        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__sideload"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".note.sideload"))]
        static __IDENTITY_NOTE: ::sideload::abi::Note<{ __IDENTITY.note_size() }> = __IDENTITY.note();
    }
}

/// The identity of the crate that is being compiled.
pub(crate) fn identity() -> TokenStream {
    let (name, version) = (environment("CARGO_PKG_NAME"), environment("CARGO_PKG_VERSION"));
    // What `cfg!` tells is the plugin's own: written here, it is evaluated there.
    quote! {
        ::sideload::abi::Identity::new(
            const { &[
                ("name", #name),
                ("version", #version),
                ("adopt", ::sideload::abi::ADOPT),
                ("panic", if cfg!(panic = "unwind") { "unwind" } else { "abort" }),
                ("debug-assertions", if cfg!(debug_assertions) { "on" } else { "off" }),
            ] },
            option_env!("SIDELOAD_FACTS"),
        )
    }
}
