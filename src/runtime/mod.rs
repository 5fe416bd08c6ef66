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
#[cfg(not(target_vendor = "apple"))]
mod dl;
#[cfg(any(test, target_vendor = "apple"))]
#[cfg_attr(not(target_vendor = "apple"), allow(dead_code, reason = "read by tests only"))]
pub(crate) mod dyld;
#[cfg_attr(not(any(target_arch = "x86_64", target_vendor = "apple")), allow(dead_code))]
pub(crate) mod ending;
pub(crate) mod exit;
#[cfg(not(loom))]
pub(crate) mod fork;
pub(crate) mod frames;
#[cfg(not(target_vendor = "apple"))]
pub(crate) mod host;
pub(crate) mod image;
#[cfg(target_vendor = "apple")]
mod native;
pub(crate) mod process;
pub(crate) mod replace;
#[cfg_attr(not(target_vendor = "apple"), allow(dead_code, reason = "the unwinders of other systems do not ask"))]
pub(crate) mod sections;
pub(crate) mod stubs;
#[cfg_attr(not(all(target_arch = "x86_64", not(target_vendor = "apple"))), allow(dead_code, unused_imports))]
pub(crate) mod tls;

pub use tls::StaticTls;

// The system loader's images, and what loaded ones get in place of its functions: under two names for all systems.
#[cfg(not(target_vendor = "apple"))]
use self::dl as instead;
#[cfg(target_vendor = "apple")]
pub(crate) use self::dyld as host;
#[cfg(target_vendor = "apple")]
use self::native as instead;
