//! Where a relocated image lives: memory of this process, or a buffer that rehearses it.

mod host;
mod scratch;
mod window;

pub(crate) use host::HostMemory;
pub use scratch::Scratch;
pub use window::{Rebasing, Window};

use crate::addr::{Bias, VmAddr, VmRange};

/// What relocation writes to.
pub trait Memory {
    /// What is added to the image's addresses.
    fn bias(&self) -> Bias;

    /// Stores eight bytes at `at`, in the machine's byte order (all supported ones are little-endian).
    ///
    /// # Errors
    /// Unless the place lies in a writable region.
    fn store_u64(&mut self, at: VmAddr, value: u64) -> Result<(), NotWritable>;

    /// Stores four bytes at `at`.
    ///
    /// # Errors
    /// As [`Memory::store_u64`].
    fn store_u32(&mut self, at: VmAddr, value: u32) -> Result<(), NotWritable>;

    /// The bytes of `range`, to be written by whoever has many stores for it; `None` unless all of it lies in one
    /// writable region. Stores one by one may take its place.
    fn window(&mut self, range: VmRange) -> Option<Window<'_>> {
        let _ = range;
        None
    }
}

/// A place that is not all in one writable region. Says no more, since half a million stores return it in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWritable;
