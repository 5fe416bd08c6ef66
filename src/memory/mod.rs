//! Where a relocated image lives: memory of this process, or a buffer that rehearses it.

mod host;
mod scratch;

pub(crate) use host::HostMemory;
pub use scratch::Scratch;

use crate::addr::{Bias, RunAddr, VmAddr, VmRange};

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

/// A range of memory that was found writable once, for all stores to it.
#[derive(Debug)]
pub struct Window<'m> {
    bytes: &'m mut [u8],
    bias: Bias,
}

impl Window<'_> {
    /// What is added to the image's addresses.
    pub fn bias(&self) -> Bias {
        self.bias
    }

    /// Stores an address in the eight bytes at `offset`; `false` outside the window.
    #[inline]
    pub fn store(&mut self, offset: usize, value: RunAddr) -> bool {
        let place = offset.checked_add(8).and_then(|end| self.bytes.get_mut(offset..end));
        let Some(place) = place else { return false };
        place.copy_from_slice(&value.0.to_le_bytes());
        true
    }

    /// `N` words at each of two offsets; `None` where they are not in the window, or overlap.
    pub fn two<const N: usize>(&mut self, offsets: [usize; 2]) -> Option<[&mut [[u8; 8]; N]; 2]> {
        let [one, other] = offsets.map(|offset| Some(offset..offset.checked_add(8 * N)?));
        let [one, other] = self.bytes.get_disjoint_mut([one?, other?]).ok()?;
        Some([one.as_chunks_mut().0.first_chunk_mut()?, other.as_chunks_mut().0.first_chunk_mut()?])
    }

    /// Stores the run-time address of `target` in the eight bytes at `offset`; `false` outside the window.
    #[inline]
    pub fn rebase(&mut self, offset: usize, target: VmAddr) -> bool {
        self.store(offset, target + self.bias)
    }

    /// Stores the run-time addresses of as many of `targets`, up to four, one after the other from `offset` on. `false`, and
    /// nothing is stored, unless there is room for all four. Takes the same time for every count, where a loop over so few
    /// takes longer to end than to run.
    #[inline(always)]
    pub fn rebase_some(&mut self, offset: usize, targets: &[[u8; 8]; 4], count: usize) -> bool {
        let places = offset.checked_add(32).and_then(|end| self.bytes.get_mut(offset..end));
        let Some(places) = places else { return false };
        let mut nowhere = [0; 8];
        for (at, (place, target)) in places.as_chunks_mut().0.iter_mut().zip(targets).enumerate() {
            let place = std::hint::select_unpredictable(at < count, place, &mut nowhere);
            *place = (VmAddr(u64::from_le_bytes(*target)) + self.bias).0.to_le_bytes();
        }
        true
    }

    /// Stores the run-time addresses of little-endian `targets`, one after the other from `offset` on; `false` outside
    /// the window.
    #[inline]
    pub fn rebase_all(&mut self, offset: usize, targets: &[[u8; 8]]) -> bool {
        let end = offset.checked_add(size_of_val(targets));
        let Some(places) = end.and_then(|end| self.bytes.get_mut(offset..end)) else { return false };
        for (place, target) in places.as_chunks_mut().0.iter_mut().zip(targets) {
            *place = (VmAddr(u64::from_le_bytes(*target)) + self.bias).0.to_le_bytes();
        }
        true
    }
}

/// A place that is not all in one writable region. Says no more, since half a million stores return it in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWritable;
