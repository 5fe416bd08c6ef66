//! Loads shared objects beside the system loader, without libdl.
#![deny(unsafe_code)]

pub mod addr;
pub mod audit;
pub mod bytes;
pub mod check;
pub mod elf;
pub mod error;
pub mod image;
pub mod ldcache;
pub mod link;
#[allow(unsafe_code)]
pub mod memory;
pub mod plan;
#[allow(unsafe_code)]
mod platform;
pub mod relocate;
pub mod render;
pub mod search;
pub mod symbol;

pub use error::{Error, ErrorKind, Result, Stage};
