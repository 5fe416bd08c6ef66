//! The build identity: what has to be equal before Rust types may cross.

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

/// The identity that a plugin states: name, version, and rows.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Rows of the crate itself: name, version, panic strategy, features, allocator, …
    pub own: &'static [Row<'static>],
    /// Rows of the compiler: [`BUILD`].
    pub build: &'static [Row<'static>],
    /// Rows that a build script adds, each `key=value`, with `\x1f` between them: see
    /// [`build_script`](crate::build_script).
    pub extra: Option<&'static str>,
}

impl Identity {
    /// The rows of a crate, as [`export`](macro@crate::export) states them.
    pub const fn new(own: &'static [Row<'static>], extra: Option<&'static str>) -> Identity {
        Identity { own, build: BUILD, extra }
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'static>> {
        let extra = self
            .extra
            .unwrap_or_default()
            .split(char::from(super::note::SEPARATOR))
            .filter_map(|line| line.split_once('='));
        self.own.iter().chain(self.build).copied().chain(extra)
    }
}
