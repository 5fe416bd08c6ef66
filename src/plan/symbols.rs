//! The symbol table of an image, in whichever namespace its format has.

use super::{Found, Query, ScopedSymbols, TwoLevelSymbols};
use crate::addr::VmAddr;
use crate::error::ErrorKind;

/// One exported symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its version.
    pub version: Option<&'a [u8]>,
    /// Whether it is what a reference without a version gets (`@@`).
    pub default_version: bool,
    /// Its value.
    pub vm: VmAddr,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub kind: crate::symbol::SymbolKind,
    /// Whether it is weak, unique or plain global.
    pub binding: Binding,
    /// The flags of its row (`EXPORT_SYMBOL_FLAGS_…`), where the format has such.
    pub flags: Option<u64>,
    /// What it leads to.
    pub leads: Leads<'a>,
}

/// What an export leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads<'a> {
    /// To its value.
    Here,
    /// To what the function at this address chooses, once it is bound.
    Resolver(VmAddr),
    /// To another image's symbol.
    Elsewhere {
        /// The number of the need, from 1.
        need: u64,
        /// The name there.
        name: &'a [u8],
    },
}

/// A symbol near an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Where it begins: not behind the address.
    pub vm: VmAddr,
    /// Whether it reaches to the address; an ELF symbol without a size has but its first byte, as in
    /// `dladdr(3)`; one of Mach-O, where none has a size, reaches to the next one.
    pub holds: bool,
    /// Its row of the symbol table, as the file has it.
    pub row: &'a [u8],
}

/// The binding of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// `STB_GLOBAL`
    Global,
    /// `STB_WEAK`
    Weak,
    /// `STB_GNU_UNIQUE`
    Unique,
    /// `STB_LOCAL` or anything else
    Local,
}

impl Binding {
    /// The word that listings print.
    pub fn as_str(self) -> &'static str {
        match self {
            Binding::Global => "global",
            Binding::Weak => "weak",
            Binding::Unique => "unique",
            Binding::Local => "local",
        }
    }
}

/// A symbol table that can be searched.
#[derive(Clone, Debug)]
pub enum Symbols<'a> {
    /// A name is looked up in one image after the other, and the first one that has it defines it (ELF).
    Scoped(ScopedSymbols<'a>),
    /// An import names the image that defines it (Mach-O).
    TwoLevel(TwoLevelSymbols<'a>),
}

impl<'a> Symbols<'a> {
    /// Finds a definition that others may use.
    #[inline(always)]
    pub fn find(&self, query: &Query<'_>) -> Option<Found> {
        match self {
            Symbols::Scoped(table) => table.find(query),
            Symbols::TwoLevel(table) => table.find(query.name()),
        }
    }

    /// Calls `each` with every symbol that others may use.
    ///
    /// # Errors
    /// A malformed table; what was read before has been passed on.
    pub fn exports(&self, each: impl FnMut(Export<'_>)) -> Result<(), ErrorKind> {
        match self {
            Symbols::Scoped(table) => {
                table.exports(each);
                Ok(())
            }
            Symbols::TwoLevel(table) => table.exports(each),
        }
    }

    /// Calls `each` with where each of them is whose name begins with `prefix`.
    ///
    /// # Errors
    /// As [`Symbols::exports`].
    pub fn beginning_with(&self, prefix: &[u8], mut each: impl FnMut(VmAddr)) -> Result<(), ErrorKind> {
        match self {
            Symbols::Scoped(table) => {
                table.beginning_with(prefix).for_each(each);
                Ok(())
            }
            // As `find` does: names of C begin with an underscore there.
            Symbols::TwoLevel(table) => table.exports(|export| {
                if export.name.strip_prefix(b"_").is_some_and(|name| name.starts_with(prefix)) {
                    each(export.vm);
                }
            }),
        }
    }

    /// The symbol whose range holds `vm`, or the nearest one below it. Visits every symbol.
    pub fn near(&self, vm: VmAddr) -> Option<Near<'a>> {
        match self {
            Symbols::Scoped(table) => table.near(vm),
            Symbols::TwoLevel(table) => table.near(vm),
        }
    }
}
