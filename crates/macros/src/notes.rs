//! The notes that end up in the file.

use proc_macro2::{Literal, TokenStream};
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
        const __DRAFT: ::sideload::abi::Draft = __ROW.draft();
        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__sideload"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".note.sideload"))]
        static __NOTE: ::sideload::abi::Note<{ __DRAFT.size() }> = __ROW.note(&__DRAFT);

        const __IDENTITY: ::sideload::abi::Identity = #identity;
        const __IDENTITY_DRAFT: ::sideload::abi::Draft = __IDENTITY.draft();
        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__sideload"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".note.sideload"))]
        static __IDENTITY_NOTE: ::sideload::abi::Note<{ __IDENTITY_DRAFT.size() }> = __IDENTITY.note(&__IDENTITY_DRAFT);
    }
}

/// The identity of the crate that is being compiled.
pub(crate) fn identity() -> TokenStream {
    let (name, version) = (environment("CARGO_PKG_NAME"), environment("CARGO_PKG_VERSION"));
    let rows = |panic: &str, assertions: &str| {
        let rows = [("name", &*name), ("version", &version), ("panic", panic), ("debug-assertions", assertions)];
        Literal::byte_string(&encoded(&rows))
    };
    let (unwind, unwind_on) = (rows("unwind", "off"), rows("unwind", "on"));
    let (abort, abort_on) = (rows("abort", "off"), rows("abort", "on"));
    // What `cfg!` tells is the plugin's own: written here, it is evaluated there.
    quote! {
        ::sideload::abi::Identity::new(
            match (cfg!(panic = "unwind"), cfg!(debug_assertions)) {
                (true, false) => #unwind,
                (true, true) => #unwind_on,
                (false, false) => #abort,
                (false, true) => #abort_on,
            },
            option_env!("SIDELOAD_FACTS"),
        )
    }
}

/// Keys and values, each with its length before it (LEB128).
fn encoded(rows: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in rows.iter().flat_map(|(key, value)| [key, value]) {
        let mut size = text.len();
        while size >= 0x80 {
            bytes.push(size as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}
