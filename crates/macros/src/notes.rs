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

/// The notes of a row, `__NOTES`: that of the row itself is `row`, whose description takes `size` bytes.
pub(crate) fn notes(size: &TokenStream, row: &TokenStream) -> TokenStream {
    let desc = sealed(IDENTITY, &identity_rows());
    let (length, desc) = (desc.len(), Literal::byte_string(&desc));
    quote! {
        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__sideload"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".note.sideload"))]
        static __NOTES: ::sideload::abi::Notes<#length, { #size }> = ::sideload::abi::Notes::new(
            ::sideload::abi::Note::identity(*#desc, cfg!(panic = "unwind"), cfg!(debug_assertions)),
            #row,
        );
    }
}

/// The identity of the crate that is being compiled. What `cfg!` tells is the plugin's own: written here, it is evaluated
/// there.
pub(crate) fn identity() -> TokenStream {
    let rows = Literal::byte_string(&identity_rows());
    quote!(::sideload::abi::Identity::new(#rows, cfg!(panic = "unwind"), cfg!(debug_assertions)))
}

fn identity_rows() -> Vec<u8> {
    let (name, version) = (environment("CARGO_PKG_NAME"), environment("CARGO_PKG_VERSION"));
    // A build script's lines, which came here as one.
    let facts = environment("SIDELOAD_FACTS");
    let facts = facts.split('\x1f').filter_map(|line| line.split_once('='));
    let own = [("name", &*name), ("version", &*version)].into_iter().chain(facts);
    encoded(own.flat_map(|(key, value)| [key, value]))
}

/// As `sideload_plugin::abi::FORMAT`.
const FORMAT: u8 = 1;
/// No kind of an export: its byte is where an identity has its flags, which are not summed up.
const IDENTITY: u8 = 0;
/// As `sideload_plugin::abi::ExportKind::Function`.
pub(crate) const FUNCTION: u8 = 1;
/// As `sideload_plugin::abi::ExportKind::Static`.
pub(crate) const STATIC: u8 = 2;

/// A description up to where the compiler goes on, with its checksum: see `sideload_plugin::abi::checksum`.
pub(crate) fn sealed(kind: u8, rows: &[u8]) -> Vec<u8> {
    let summed = [&[FORMAT][..], if kind == IDENTITY { &[] } else { std::slice::from_ref(&kind) }, rows];
    let add = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let sum = summed.into_iter().flatten().fold(0x811c_9dc5, add).max(1);
    [&sum.to_le_bytes()[..], &[FORMAT, kind], rows].concat()
}

/// Texts, each with its length before it (LEB128).
pub(crate) fn encoded<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
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
