//! Lookups that are compared with debug information.
//!
//! Invariant: a symbol is handed out as the type that it was asked for, which the caller of the `unsafe` lookup vouches
//! for as far as the answer does not say that it was checked.

use crate::compare::{compare, text};
use crate::debug_file::Search;
use crate::error::{Error, Unverifiable};
use crate::exports::{Image, Wanted, described};
use crate::model::{Abi, Exported};
use sideload::abi::{Difference, Exported as Item, Type};
use sideload::symbol::SymbolKind;
use sideload::{Defined, Library, Symbol};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// What a checked lookup finds.
#[derive(Clone, Debug)]
#[must_use]
pub enum Verified<'lib, T> {
    /// The type is the symbol's, as far as its debug information tells.
    Checked(Symbol<'lib, T>),
    /// Nothing contradicts the type, and something of it cannot be told.
    Unverifiable {
        /// The symbol, as unchecked as [`Library::get`] has it.
        symbol: Symbol<'lib, T>,
        /// Its name.
        name: String,
        /// Why it cannot be told.
        why: Unverifiable,
    },
    /// The symbol has another type.
    Mismatch(Box<Mismatch>),
}

/// Two types of one symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The symbol.
    pub symbol: String,
    /// The file that says so.
    pub file: String,
    /// The type that was asked for, in Rust.
    pub expected: String,
    /// The declaration, in C.
    pub found: String,
    /// The first place at which they differ.
    pub difference: Difference,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { symbol, file, expected, found, difference } = self;
        write!(f, "{symbol} is `{found}` by {file}, not `{expected}`: ")?;
        let at = if difference.at.is_empty() { "it" } else { &difference.at };
        write!(f, "{at} is {}, not {}", difference.found, difference.expected)
    }
}

impl<'lib, T> Verified<'lib, T> {
    /// The symbol, if its type was checked.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Unverifiable`].
    pub fn checked(self) -> Result<Symbol<'lib, T>, Error> {
        match self {
            Verified::Checked(symbol) => Ok(symbol),
            Verified::Unverifiable { name, why, .. } => Err(Error::Unverifiable { symbol: name, why }),
            Verified::Mismatch(mismatch) => Err(Error::Mismatch(mismatch)),
        }
    }

    /// The symbol, unless it is known to have another type.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn unless_mismatch(self) -> Result<Symbol<'lib, T>, Error> {
        match self {
            Verified::Checked(symbol) | Verified::Unverifiable { symbol, .. } => Ok(symbol),
            Verified::Mismatch(mismatch) => Err(Error::Mismatch(mismatch)),
        }
    }
}

/// [`Library::get`], compared with debug information.
pub trait GetVerified {
    /// Looks a function (`extern "C" fn(…) -> …`) or a variable (`&'static T`) up, and compares its type with the debug
    /// information of the image that defines it. Structs are described by `#[derive(sideload::Stable)]`.
    ///
    /// Reads debug information anew at each call: for more than a few, read an [`Abi`] and use
    /// [`get_verified_by`](GetVerified::get_verified_by).
    ///
    /// # Errors
    /// There is no such symbol; a file is damaged or cannot be read. What is found out about the type is no error here:
    /// [`Verified::checked`] makes it one.
    ///
    /// # Safety
    /// As [`Library::get`], for what the answer does not call checked. What debug information says is its compiler's
    /// word and that of whoever installed it; and types say nothing of what a function does with them.
    unsafe fn get_verified<T: Item>(&self, name: &str) -> Result<Verified<'_, T>, Error>;

    /// The same, with debug information looked for in other places.
    ///
    /// # Errors
    /// As [`get_verified`](GetVerified::get_verified).
    ///
    /// # Safety
    /// As [`get_verified`](GetVerified::get_verified).
    unsafe fn get_verified_in<T: Item>(&self, name: &str, search: &Search) -> Result<Verified<'_, T>, Error>;

    /// The same, with what was read before. Of a symbol that another image or another build defines, it tells nothing.
    ///
    /// # Errors
    /// There is no such symbol.
    ///
    /// # Safety
    /// As [`get_verified`](GetVerified::get_verified).
    unsafe fn get_verified_by<T: Item>(&self, name: &str, abi: &Abi) -> Result<Verified<'_, T>, Error>;
}

impl GetVerified for Library {
    unsafe fn get_verified<T: Item>(&self, name: &str) -> Result<Verified<'_, T>, Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.get_verified_in(name, &Search::default()) }
    }

    unsafe fn get_verified_in<T: Item>(&self, name: &str, search: &Search) -> Result<Verified<'_, T>, Error> {
        // SAFETY: the caller's promise is the same.
        let symbol = unsafe { self.get(name) }?;
        let abi = match self.definition(name) {
            Some(defined) if defined.kind != SymbolKind::Ifunc => {
                let wanted =
                    Wanted { name: name.to_owned(), vm: defined.vm.0, is_function: defined.kind == SymbolKind::Code };
                read(&defined, search, &[wanted])?
            }
            _ => Err(Unverifiable::Indirect),
        };
        Ok(match abi {
            Ok(abi) => judge(symbol, name, &abi),
            Err(why) => Verified::Unverifiable { symbol, name: name.to_owned(), why },
        })
    }

    unsafe fn get_verified_by<T: Item>(&self, name: &str, abi: &Abi) -> Result<Verified<'_, T>, Error> {
        // SAFETY: the caller's promise is the same.
        let symbol = unsafe { self.get(name) }?;
        let is_of = self.definition(name).is_some_and(|defined| match defined.file {
            Some(bytes) => abi.is_of(defined.build_id, bytes),
            None => defined.build_id.is_some() && abi.is_of(defined.build_id, &[]),
        });
        if is_of {
            return Ok(judge(symbol, name, abi));
        }
        let why = Unverifiable::NotDescribed { file: abi.library.clone() };
        Ok(Verified::Unverifiable { symbol, name: name.to_owned(), why })
    }
}

/// Reads the debug information of the image that defines a symbol.
fn read(defined: &Defined<'_>, search: &Search, wanted: &[Wanted]) -> Result<Result<Abi, Unverifiable>, Error> {
    // The executable's name is empty among the images of a process.
    let path = Path::new(if defined.path.is_empty() { "/proc/self/exe" } else { defined.path });
    let own;
    let bytes = match defined.file {
        Some(bytes) => bytes,
        None => {
            own = match fs::read(path) {
                Ok(bytes) => bytes,
                // The kernel's own image has no file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Err(Unverifiable::NoDebugInformation { tried: vec![path.to_owned()] }));
                }
                Err(source) => return Err(Error::File { path: path.to_owned(), source }),
            };
            // The process has another file than the one that is there now.
            if sideload::plan::plan(&own, &path.to_string_lossy())?.build_id.as_deref() != defined.build_id {
                return Ok(Err(Unverifiable::NotDescribed { file: path.to_owned() }));
            }
            &own
        }
    };
    described(&Image { path, bytes, build_id: defined.build_id }, search, wanted)
}

fn judge<'lib, T: Item>(symbol: Symbol<'lib, T>, name: &str, abi: &Abi) -> Verified<'lib, T> {
    let file = abi.evidence_path().to_owned();
    let wanted: &Type = T::ITEM;
    let Some(exported) = abi.exports.get(name).filter(|exported| **exported != Exported::Unknown) else {
        let why = Unverifiable::NotDescribed { file };
        return Verified::Unverifiable { symbol, name: name.to_owned(), why };
    };
    match compare(wanted, T::IS_FUNCTION, abi, exported) {
        Ok(None) => Verified::Checked(symbol),
        Ok(Some(why)) => Verified::Unverifiable { symbol, name: name.to_owned(), why },
        Err(difference) => Verified::Mismatch(Box::new(Mismatch {
            symbol: name.to_owned(),
            file: file.display().to_string(),
            expected: if T::IS_FUNCTION { text(wanted) } else { format!("static {}", text(wanted)) },
            found: abi.export_text(name, exported),
            difference,
        })),
    }
}
