//! What touches the running process: the images it has, thread-locals, unwinders, and calls into foreign code.

pub(crate) mod call;
// What only images for macOS use is idle where none runs.
#[cfg_attr(not(all(target_arch = "x86_64", not(target_vendor = "apple"))), allow(dead_code))]
pub(crate) mod counted;
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
mod darwin;
#[cfg(not(all(target_arch = "x86_64", not(target_vendor = "apple"))))]
#[path = "no_darwin.rs"]
mod darwin;
pub(crate) mod debugger;
mod dl;
#[cfg(not(loom))]
pub(crate) mod fork;
pub(crate) mod frames;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod replace;
pub(crate) mod stubs;
#[cfg_attr(not(all(target_arch = "x86_64", not(target_vendor = "apple"))), allow(dead_code, unused_imports))]
pub(crate) mod tls;

pub use tls::StaticTls;
