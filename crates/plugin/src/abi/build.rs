//! The build identity: what has to be equal before Rust types may cross.

use super::owned::Reader;
use super::types::Writer;

/// One row of an identity: `rustc`, `1.95.0`.
pub type Row<'a> = (&'a str, &'a str);

/// The panic strategy that this was compiled with.
pub const PANIC: &str = panic_row(cfg!(panic = "unwind"));

/// Whether debug assertions are compiled in, which is what the profiles `dev` and `release` change about types.
pub const DEBUG_ASSERTIONS: &str = assertions_row(cfg!(debug_assertions));

/// The rows that are the compiler's, as of the build that this crate was part of.
pub const BUILD: &[Row<'static>] = &[
    ("rustc", env!("SIDELOAD_RUSTC")),
    ("commit", env!("SIDELOAD_COMMIT")),
    ("target", env!("SIDELOAD_TARGET")),
    ("target-features", env!("SIDELOAD_TARGET_FEATURES")),
    ("opt-level", env!("SIDELOAD_OPT_LEVEL")),
];

/// The rows that are the same in every crate that was built with this one, as a note has them. Encoded here, once, and
/// copied into each plugin as they are.
const SHARED: &[Row<'static>] = &[("adopt", super::border::ADOPT)];
pub(super) const SHARED_SIZE: usize = encoded_size(SHARED) + encoded_size(BUILD);
pub(super) const ENCODED: &[u8] = &{
    let mut bytes = [0; SHARED_SIZE];
    let mut out = Writer::over(&mut bytes);
    rows(&mut out, SHARED);
    rows(&mut out, BUILD);
    bytes
};

const fn encoded_size(of: &[Row<'_>]) -> usize {
    let mut out = Writer::counting();
    rows(&mut out, of);
    out.length
}

const fn rows(out: &mut Writer<'_>, rows: &[Row<'_>]) {
    let mut at = 0;
    while at < rows.len() {
        out.text(rows[at].0);
        out.text(rows[at].1);
        at += 1;
    }
}

/// The identity that a plugin states: name, version, and rows.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Rows of the crate itself, encoded: name, version, and what a build script adds.
    own: &'static [u8],
    panic: &'static str,
    debug_assertions: &'static str,
}

impl Identity {
    /// The rows of a crate, as [`export`](macro@crate::export) states them: encoded by the macro, each text with its length
    /// before it (LEB128), a key and then its value; and what only the compiler of the crate knows.
    pub const fn new(own: &'static [u8], unwinds: bool, has_debug_assertions: bool) -> Identity {
        Identity { own, panic: panic_row(unwinds), debug_assertions: assertions_row(has_debug_assertions) }
    }

    /// All rows: those of the compiler, and those of the crate.
    pub fn rows(&self) -> impl Iterator<Item = Row<'static>> {
        let compiled = [("panic", self.panic), ("debug-assertions", self.debug_assertions)];
        decoded(ENCODED).chain(compiled).chain(decoded(self.own))
    }
}

pub(super) const fn panic_row(unwinds: bool) -> &'static str {
    if unwinds { "unwind" } else { "abort" }
}

pub(super) const fn assertions_row(has_debug_assertions: bool) -> &'static str {
    if has_debug_assertions { "on" } else { "off" }
}

/// Rows that the macro or this crate encoded.
fn decoded(bytes: &'static [u8]) -> impl Iterator<Item = Row<'static>> {
    let mut reader = Reader { bytes };
    std::iter::from_fn(move || Some((reader.borrowed()?, reader.borrowed()?)))
}
