//! The build identity: what has to be equal before Rust types may cross.

use super::owned::Reader;
use super::types::Writer;

/// One row of an identity: `rustc`, `1.95.0`.
pub type Row<'a> = (&'a str, &'a str);

/// The panic strategy that this was compiled with.
pub const PANIC: &str = if cfg!(panic = "unwind") { "unwind" } else { "abort" };

/// Whether debug assertions are compiled in, which is what the profiles `dev` and `release` change about types.
pub const DEBUG_ASSERTIONS: &str = if cfg!(debug_assertions) { "on" } else { "off" };

/// The rows that are the compiler's, as of the build that this crate was part of.
pub const BUILD: &[Row<'static>] = &[
    ("rustc", env!("SIDELOAD_RUSTC")),
    ("commit", env!("SIDELOAD_COMMIT")),
    ("target", env!("SIDELOAD_TARGET")),
    ("target-features", env!("SIDELOAD_TARGET_FEATURES")),
    ("opt-level", env!("SIDELOAD_OPT_LEVEL")),
];

/// The rows that are the same in every crate that was built with this one, as a note has them. Encoded here, once: the
/// compiler would take milliseconds for it at each exported item.
const SHARED: &[Row<'static>] = &[("adopt", super::border::ADOPT)];
const SHARED_SIZE: usize = encoded_size(SHARED) + encoded_size(BUILD);
static ENCODED: [u8; SHARED_SIZE] = {
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
    /// Rows of the crate itself, encoded: name, version, panic strategy, …
    pub(super) own: &'static [u8],
    /// Rows of the compiler, encoded: [`BUILD`].
    pub(super) shared: &'static [u8],
    /// Rows that a build script adds, each `key=value`, with `\x1f` between them: see
    /// [`build_script`](crate::build_script).
    pub(super) extra: Option<&'static str>,
}

impl Identity {
    /// The rows of a crate, as [`export`](macro@crate::export) states them: encoded by the macro, each text with its length
    /// before it (LEB128), a key and then its value.
    pub const fn new(own: &'static [u8], extra: Option<&'static str>) -> Identity {
        Identity { own, shared: &ENCODED, extra }
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'static>> {
        let extra = self
            .extra
            .unwrap_or_default()
            .split(char::from(super::note::SEPARATOR))
            .filter_map(|line| line.split_once('='));
        decoded(self.own).chain(decoded(self.shared)).chain(extra)
    }
}

/// Rows that the macro or this crate encoded.
fn decoded(bytes: &'static [u8]) -> impl Iterator<Item = Row<'static>> {
    let mut reader = Reader { bytes };
    std::iter::from_fn(move || Some((reader.borrowed()?, reader.borrowed()?)))
}
