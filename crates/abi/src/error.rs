//! Why something cannot be read, and why something cannot be checked.

use crate::verified::Mismatch;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a library, its debug information or a sidecar cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The symbol is not there, or the library cannot be opened.
    #[error(transparent)]
    Library(#[from] sideload::Error),
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is damaged, or none that this understands.
    #[error("{path}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The type that was asked for is not the function's ([`Verified::checked`](crate::Verified::checked)).
    #[error("{0}")]
    Mismatch(Box<Mismatch>),
    /// Nothing tells the function's type.
    #[error("{symbol} cannot be checked: {why}")]
    Unverifiable {
        /// The symbol.
        symbol: String,
        /// Why.
        why: Unverifiable,
    },
}

impl Error {
    pub(crate) fn damaged(path: impl Into<PathBuf>, what: impl fmt::Display) -> Error {
        Error::Damaged { path: path.into(), what: what.to_string() }
    }
}

/// Why a type cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unverifiable {
    /// There is no debug information of that build. These places were looked at.
    NoDebugInformation {
        /// The library itself first.
        tried: Vec<PathBuf>,
    },
    /// There is some, but not of this symbol: it was written in assembly, or built without.
    NotDescribed {
        /// Where the symbol is not described.
        file: PathBuf,
    },
    /// Debug information was split off (`-gsplit-dwarf`) to files that are not there, or are of another build.
    Split {
        /// The file that names them.
        file: PathBuf,
        /// Where they should be.
        missing: Vec<PathBuf>,
    },
    /// An indirect function: what its resolver chooses is not named.
    Indirect,
    /// A part of the type has no counterpart that could be compared.
    Part {
        /// Where: `parameter 1 (strm), behind the reference, field u`; empty for the whole.
        at: String,
        /// What it is: `a union`.
        what: String,
    },
}

impl fmt::Display for Unverifiable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unverifiable::NoDebugInformation { tried } => {
                f.write_str("there is no debug information of this build; looked at")?;
                let mut between = " ";
                for path in tried {
                    write!(f, "{between}{}", path.display())?;
                    between = ", ";
                }
                Ok(())
            }
            Unverifiable::NotDescribed { file } => write!(f, "{} does not describe it", file.display()),
            Unverifiable::Split { file, missing } => {
                write!(f, "debug information of {} was split off to ", file.display())?;
                match &missing[..] {
                    [one] => write!(f, "{}", one.display())?,
                    [first, rest @ ..] => write!(f, "{} and {} more files", first.display(), rest.len())?,
                    [] => f.write_str("other files")?,
                }
                f.write_str(", which is not there, or of another build")
            }
            Unverifiable::Indirect => f.write_str("it is an indirect function, whose resolver chooses among others"),
            Unverifiable::Part { at, what } if at.is_empty() => f.write_str(what),
            Unverifiable::Part { at, what } => write!(f, "{at} is {what}"),
        }
    }
}
