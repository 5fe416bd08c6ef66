//! What a plugin and its host agree on. A plugin depends on this crate only, under the name `sideload`:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! sideload = { package = "sideload-plugin", version = "0.1" }
//! ```
//!
//! ```
//! # extern crate sideload_plugin as sideload;
//!
//! #[sideload::export]
//! pub fn greet(name: &str) -> String {
//!     format!("hello, {name}")
//! }
//! # fn main() {}
//! ```
//!
//! The host uses the crate `sideload`, which exports all of this again. Both sides compile the same descriptions, so
//! that what is compared at a lookup is what two compilers made of the types, and not what somebody wrote down.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod abi;
pub mod build_script;

#[cfg(feature = "macros")]
pub use sideload_macros::{Api, Stable, Typed, export, init, plugin};
