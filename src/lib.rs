//! Loads shared objects beside the system loader, without libdl.
#![deny(unsafe_code)]

pub mod addr;
pub mod bytes;
pub mod elf;
pub mod error;
pub mod image;
pub mod ldcache;
pub mod plan;
pub mod search;
pub mod symbol;

pub use error::{Error, ErrorKind, Result, Stage};
