//! C functions checked against what their compiler said of them.
//!
//! [`Library::get`](sideload::Library::get) believes whatever type it is given. Where debug information can be had,
//! [`GetVerified::get_verified`] compares the Rust type with it first:
//!
//! ```no_run
//! use sideload::Library;
//! use sideload_abi::GetVerified;
//! use std::ffi::{c_uint, c_ulong};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // SAFETY: zlib's initialisers do nothing harmful, and its debug information is that of its build.
//! let crc32 = unsafe {
//!     let zlib = Library::open("libz.so.1")?;
//!     let found = zlib.get_verified::<extern "C" fn(c_ulong, *const u8, c_uint) -> c_ulong>("crc32")?;
//!     found.checked()?.address()
//! };
//! # Ok(())
//! # }
//! ```
//!
//! The information is looked for in the library itself, in the separate debug file that distributions install (by build
//! id, then by `.gnu_debuglink`), and in a sidecar `LIBRARY.abi.json`, which `sideload abi dump --json` writes where
//! the debug files are. Units that were split off to `.dwo` files are read from the package beside the file that names
//! them (`FILE.dwp`), or else where they were compiled, or beside that file. What is found must be of that very build. The answer has three values: checked, unverifiable
//! with the reason, and a mismatch with both sides and the parameter and field in which they differ.
//!
//! [`Abi`] is what a library's debug information says of what it exports, [`diff`] what breaks between two of them.
//!
//! # What is compared
//!
//! Calling convention, number of parameters, and each parameter and result: width and sign of integers, floats, `bool`,
//! enums by their values, arrays, function pointers, and structs by the offsets of their fields, by value and behind
//! references. Behind a raw pointer there is only a name (a type may point to itself): scalars and structs of another
//! name are told apart, layouts are not. `*const c_void` fits every pointer, and so does C's `void *`.
//! A field that is renamed at the same offset is the same field; one of that name at another offset is a mismatch.
#![deny(unsafe_code)]

mod compare;
mod debug_file;
mod diff;
mod dwarf;
mod error;
mod exports;
mod model;
mod render;
mod sidecar;
#[allow(unsafe_code)]
mod verified;

pub use debug_file::Search;
pub use diff::{Change, Diff, diff};
pub use error::{Error, Unverifiable};
pub use model::{Abi, CType, Enumerator, Evidence, Exported, Field, Function, Parameter, TypeId};
pub use sidecar::sidecar_path;
pub use verified::{GetVerified, Mismatch, Verified};
