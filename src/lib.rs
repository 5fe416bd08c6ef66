//! Loads shared objects **beside** the system loader: maps them, relocates them, runs their initialisers once and
//! resolves symbols from their dynamic symbol tables, without libdl.
//!
//! A loader is a compiler from file bytes to a plan, plus a small interpreter that carries the plan out. The compiler
//! is safe Rust: bytes → [`image`] → [`plan`] → [`link`]. The interpreter maps, relocates, seals and initialises:
//! [`Loader`] is its table of contents.
//!
//! ```
//! # fn main() -> Result<(), sideload::Error> {
//! // SAFETY: opening runs zlib's initialisers, and `zlibVersion` has this type.
//! let version = unsafe {
//!     let zlib = sideload::Library::open("libz.so.1")?;
//!     let version = zlib.get::<extern "C" fn() -> *const std::ffi::c_char>("zlibVersion")?;
//!     std::ffi::CStr::from_ptr(version())
//! };
//! assert!(version.to_bytes().starts_with(b"1."));
//! # Ok(())
//! # }
//! ```
// Each module below says whether it may hold unsafe code; one that forbids it cannot allow itself any.
#![deny(unsafe_code)]
// What only the functions in place of libdl's use: those of macOS stay, since images there are bound to one by one.
#![cfg_attr(target_vendor = "apple", allow(dead_code))]
// What only `fork` uses; under the model checker there is none.
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// Values that say what they are.
#[forbid(unsafe_code)]
pub mod addr;
#[forbid(unsafe_code)]
mod astray;
#[forbid(unsafe_code)]
pub mod bytes;
#[forbid(unsafe_code)]
pub mod error;
#[forbid(unsafe_code)]
pub mod symbol;

// Bytes → plan: pure, safe, address-free.
#[forbid(unsafe_code)]
pub mod check;
#[forbid(unsafe_code)]
pub mod elf;
#[forbid(unsafe_code)]
pub mod image;
#[forbid(unsafe_code)]
pub mod macho;
#[forbid(unsafe_code)]
pub mod plan;
#[forbid(unsafe_code)]
mod room;

// Plans → link plan: what is needed, where it is found, what it binds to.
#[forbid(unsafe_code)]
mod archive;
#[forbid(unsafe_code)]
pub mod audit;
#[forbid(unsafe_code)]
mod candidate;
#[forbid(unsafe_code)]
pub mod darwin;
#[forbid(unsafe_code)]
mod finder;
#[forbid(unsafe_code)]
pub mod ldcache;
#[forbid(unsafe_code)]
pub mod link;
#[forbid(unsafe_code)]
pub mod render;
#[forbid(unsafe_code)]
pub mod search;
#[forbid(unsafe_code)]
mod snapshot;
#[forbid(unsafe_code)]
mod source;

// Link plan → running code. The files that may hold `unsafe` are listed in docs/UNSAFE.md.
#[forbid(unsafe_code)]
mod faults;
#[forbid(unsafe_code)]
mod ledger;
#[allow(unsafe_code)]
mod library;
#[allow(unsafe_code)]
mod loader;
#[forbid(unsafe_code)]
mod location;
#[allow(unsafe_code)]
pub mod memory;
#[allow(unsafe_code)]
mod platform;
#[allow(unsafe_code)]
mod plugin;
#[allow(unsafe_code)]
mod registry;
#[forbid(unsafe_code)]
pub mod relocate;
#[allow(unsafe_code)]
mod runtime;
#[allow(unsafe_code)]
mod stage;
#[forbid(unsafe_code)]
mod sync;
#[allow(unsafe_code)]
mod unload;

pub use candidate::Candidate;
pub use error::{Error, ErrorKind, Holder, Result, Stage};
pub use faults::Faults;
pub use ledger::{Ledger, ledger};
pub use library::{Defined, Library, Symbol, SymbolName};
pub use link::{FileStamp, LinkPlan};
pub use loader::{Event, Link, Loader, Observer};
pub use location::{Location, NearSymbol};
pub use plan::LoadPlan;
pub use plugin::{BuildPolicy, Copies, Item, Plugin, RowDifference, Strictness};
pub use runtime::StaticTls;
pub use sideload_plugin::abi;
#[cfg(feature = "macros")]
pub use sideload_plugin::{Api, Stable, Typed, export, init, plugin};
pub use source::Source;
pub use stage::{Mapped, Relocated, Resolved, Sealed};
pub use unload::StillLive;
