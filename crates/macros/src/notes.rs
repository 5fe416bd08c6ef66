//! The notes that end up in the file.

use crate::lifetimes::Parts;
use proc_macro2::{Literal, TokenStream};
use quote::quote;

fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// A symbol that no other crate has, whichever of its versions are linked into one program.
pub(crate) fn symbol(kind: &str, name: &str) -> String {
    let plain = |text: String| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let (of, version) = (plain(environment("CARGO_CRATE_NAME")), plain(environment("CARGO_PKG_VERSION")));
    match kind {
        // As `sideload_plugin::abi::ITEM_PREFIX`.
        "row" => format!("__sideload_row_{of}_{version}_{name}"),
        _ => format!("__sideload_{of}_{version}_{kind}_{name}"),
    }
}

/// What only the compiler of the crate knows: written here, it is evaluated there.
pub(crate) fn flags() -> TokenStream {
    quote!(cfg!(panic = "unwind"), cfg!(debug_assertions))
}

/// The notes of an init function, `__NOTES`, whose description takes `size` bytes.
pub(crate) fn notes(size: &TokenStream, row: &TokenStream) -> TokenStream {
    let desc = sealed(&identity_rows());
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

/// The identity of the crate that is being compiled.
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
/// In place of an identity's flags, which are not summed up.
const NO_FLAGS: u8 = 0;

/// The description of an identity with its checksum: see `sideload_plugin::abi::checksum`.
fn sealed(rows: &[u8]) -> Vec<u8> {
    let add = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let sum = [&[FORMAT], rows].into_iter().flatten().fold(0x811c_9dc5, add).max(1);
    [&sum.to_le_bytes()[..], &[FORMAT, NO_FLAGS], rows].concat()
}

/// What is exported.
pub(crate) enum Kind<'a> {
    Function { abi: &'a str, is_unsafe: bool },
    Static,
}

/// The head of an item's row, as a block: see `crates/plugin/src/abi/item.rs`.
pub(crate) fn head(kind: &Kind<'_>, names: [&str; 2], parts: &Parts) -> Vec<u8> {
    // As `sideload_plugin::abi::ExportKind`.
    let (kind, abi, is_unsafe) = match *kind {
        Kind::Function { abi, is_unsafe } => (1, abi, is_unsafe),
        Kind::Static => (2, "", false),
    };
    let mut bytes = vec![kind];
    bytes.extend(encoded(names.into_iter().chain([abi])));
    bytes.push(u8::from(is_unsafe));
    number(&mut bytes, parts.parts.len());
    for part in &parts.parts {
        number(&mut bytes, part.lifetimes.len());
        bytes.extend_from_slice(&part.lifetimes);
    }
    bytes.extend(identity_rows());
    [&sum(&bytes).to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes(), &bytes].concat()
}

/// As `sideload_plugin::abi::sum`.
fn sum(bytes: &[u8]) -> u32 {
    const FACTORS: [u128; 3] = [0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89, 0x4528_21e6_38d0_1377];
    let (mut low, mut high) = (0x2437_6a88_85a3_08d3_u64, 0x1319_8a2e_0370_7344_u64);
    let mut add = |word: u128| {
        low ^= word as u64;
        high ^= (word >> 64) as u64;
        let mix = |from: u64, factor: u128| {
            let product = u128::from(from) * factor;
            (product >> 64) as u64 ^ product as u64
        };
        high ^= mix(low, FACTORS[0]);
        low ^= mix(high, FACTORS[1]);
        high ^= mix(low, FACTORS[2]);
        low
    };
    for chunk in bytes.chunks(16) {
        let mut word = [0; 16];
        word[..chunk.len()].copy_from_slice(chunk);
        add(u128::from_le_bytes(word));
    }
    add(bytes.len() as u128) as u32
}

/// Texts, each with its length before it.
fn encoded<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        number(&mut bytes, text.len());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// LEB128.
fn number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
