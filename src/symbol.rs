//! Symbols as the neutral stages see them: what is imported, where it is defined, who may supply it.

use crate::addr::{RunAddr, VmAddr};
use std::fmt;

/// How a relocation uses a symbol. Each import is resolved once per class, since the answer may differ: under a
/// non-PIE executable a function's *address* is the executable's PLT entry, while a *jump slot* goes to libc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// The address itself is used (`R_X86_64_64`, `R_X86_64_GLOB_DAT`).
    Data = 0,
    /// Only calls go through it (`R_X86_64_JUMP_SLOT`).
    Plt = 1,
    /// A thread-local variable.
    Tls = 2,
    /// The size of the definition, not its address (`R_X86_64_SIZE64`): resolves to an absolute value.
    Size = 3,
}

impl Class {
    /// All of them, in order.
    pub const ALL: [Class; 4] = [Class::Data, Class::Plt, Class::Tls, Class::Size];
    /// Number of classes.
    pub const COUNT: usize = Class::ALL.len();
}

/// Names one import of one image: a row of its symbol table, and the class of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImportId {
    /// Index in the image's import table (ELF: the index in `.dynsym`).
    pub symbol: u32,
    /// How it is used.
    pub class: Class,
}

/// A required version, and the file that should provide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// Its name (`GLIBC_2.34`).
    pub name: &'a [u8],
    /// The SysV hash of the name, as the file stores it.
    pub hash: u32,
    /// The file that `DT_VERNEED` expects it from, where that matters.
    pub file: Option<&'a [u8]>,
}

/// A module of the group that is being opened, in load order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub u16);

/// An image that this library loaded earlier: an index into [`Inventory::loaded`](crate::link::Inventory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u16);

/// An image of the host process: an index into [`Inventory::host`](crate::link::Inventory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u16);

/// Whose image a definition lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// A module of the group that is being opened.
    New(ModuleId),
    /// An image that we loaded before.
    Loaded(InstanceId),
    /// An image of the host process.
    Host(HostId),
}

/// What a definition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SymbolKind {
    /// A function.
    Code,
    /// A variable, or a symbol without a type.
    Data,
    /// A thread-local variable; the value is its offset in the module's TLS image.
    Tls,
    /// A thread-local variable, by the address of its descriptor (Mach-O): that is what binds store.
    ThreadVariable,
    /// An indirect function (`STT_GNU_IFUNC`): the value is that of its resolver.
    Ifunc,
    /// An absolute value, never biased (`SHN_ABS`).
    Absolute,
}

impl SymbolKind {
    /// The word that listings print.
    pub fn as_str(self) -> &'static str {
        match self {
            SymbolKind::Code => "func",
            SymbolKind::Data => "object",
            SymbolKind::Tls | SymbolKind::ThreadVariable => "tls",
            SymbolKind::Ifunc => "ifunc",
            SymbolKind::Absolute => "abs",
        }
    }
}

/// What an import resolved to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Definition {
    /// Not looked up: no relocation of this class names the symbol.
    #[default]
    Unused,
    /// A symbol of an image.
    At {
        /// Whose.
        provider: Provider,
        /// What it is.
        kind: SymbolKind,
        /// Its value, as the provider's file states it.
        vm: VmAddr,
    },
    /// Supplied by the caller or by this library: an index into [`LinkPlan::supplied`](crate::link::LinkPlan).
    Supplied(u32),
    /// Weak and undefined: zero.
    WeakNull,
    /// Nobody's: what other fixups stored there stays (the weak list of Mach-O).
    Kept,
}

/// Symbols that the embedding program supplies: asked before any image, so that it can add to what images export as
/// well as replace it.
///
/// ```
/// use sideload::{addr::RunAddr, symbol::Resolve};
/// extern "C" fn answer() -> i32 { 42 }
/// let table = |name: &[u8], _version: Option<&[u8]>| {
///     (name == b"caller_supplied").then_some(RunAddr(answer as *const () as u64))
/// };
/// assert!(table.resolve(b"caller_supplied", None).is_some());
/// ```
pub trait Resolve: Send + Sync {
    /// The address of `symbol`, or `None` to let the images answer. It is read as whatever the importing image takes
    /// it for, so it must stay valid, and of that type, for as long as the image is loaded.
    fn resolve(&self, symbol: &[u8], version: Option<&[u8]>) -> Option<RunAddr>;
}

impl<F> Resolve for F
where
    F: Fn(&[u8], Option<&[u8]>) -> Option<RunAddr> + Send + Sync,
{
    fn resolve(&self, symbol: &[u8], version: Option<&[u8]>) -> Option<RunAddr> {
        self(symbol, version)
    }
}

/// Bytes of a name for people: as text. What is not UTF-8 is escaped, and so are control characters, which would have a
/// terminal do what a file's author wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(pub &'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if !text.contains(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_nothing_to_terminals() {
        let cases: [(&[u8], &str); 4] = [
            (b"crc32", "crc32"),
            ("größe".as_bytes(), "größe"),
            (b"\x1b[31mred\n", "\\x1b[31mred\\n"),
            (b"\xff", "\\xff"),
        ];
        for (name, text) in cases {
            assert_eq!(Name(name).to_string(), text);
        }
    }

    #[test]
    fn a_definition_fits_in_two_words() {
        // libLLVM has 60,000 symbols: the table of definitions is a mebibyte a class, and must not be two.
        assert_eq!(size_of::<Definition>(), 16);
    }
}
