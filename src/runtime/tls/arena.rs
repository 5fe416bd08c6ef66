//! Memory for one thread's blocks: from `mmap`, because `malloc` may be what is being initialised.
//!
//! **Invariant.** A mapping is unmapped by its one holder, once. An arena's chunks form a list from the newest to the
//! oldest, each beginning with its own [`Chunk`]; what it handed out never overlaps, starts zeroed, and stays until
//! the whole arena is freed.

use crate::platform::unix;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes mapped for threads.
pub(super) static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Anonymous memory of one thread.
#[derive(Clone, Copy)]
pub(super) struct Mapping {
    start: *mut u8,
    size: usize,
}

impl Mapping {
    pub(super) const NONE: Mapping = Mapping { start: ptr::null_mut(), size: 0 };

    fn new(size: usize) -> Option<Mapping> {
        let start = unix::map_memory(0, size).ok()?;
        MAPPED.fetch_add(size, Ordering::Relaxed);
        Some(Mapping { start, size })
    }

    /// Whether there is none.
    pub(super) fn is_none(self) -> bool {
        self.size == 0
    }

    /// Gives it back.
    pub(super) fn unmap(self) {
        if self.size > 0 {
            // SAFETY: a mapping of our own, which its one holder gives up.
            unsafe { unix::unmap_memory(self.start, self.size) };
            MAPPED.fetch_sub(self.size, Ordering::Relaxed);
        }
    }
}

/// Memory of one thread that is only ever given back as a whole: a list of mappings, filled from the front.
pub(super) struct Arena {
    newest: *mut Chunk,
    /// Bytes used of the newest chunk.
    used: usize,
}

/// The head of each mapping of an arena.
#[derive(Clone, Copy)]
struct Chunk {
    older: *mut Chunk,
    mapping: Mapping,
}

/// Size of a chunk: pages that are not touched cost nothing.
pub(super) const CHUNK: usize = 64 * 1024;
/// Blocks and alignments above a page get mappings of their own.
const SMALL: usize = 4096;

impl Arena {
    pub(super) fn new() -> Option<Arena> {
        let mut arena = Arena { newest: ptr::null_mut(), used: 0 };
        arena.extend(CHUNK)?;
        Some(arena)
    }

    /// Unmaps everything that was handed out.
    ///
    /// # Safety
    /// None of it is used any more.
    pub(super) unsafe fn free(self) {
        let mut chunk = self.newest;
        while !chunk.is_null() {
            // SAFETY: a chunk of the list, still mapped.
            let Chunk { older, mapping } = unsafe { *chunk };
            mapping.unmap();
            chunk = older;
        }
    }

    fn extend(&mut self, size: usize) -> Option<()> {
        let mapping = Mapping::new(size)?;
        let chunk = mapping.start.cast::<Chunk>();
        // SAFETY: the start of a fresh mapping, larger than a chunk's head.
        unsafe { chunk.write(Chunk { older: self.newest, mapping }) };
        *self = Arena { newest: chunk, used: size_of::<Chunk>() };
        Some(())
    }

    /// `size` bytes at a multiple of `align`, which is no larger than a page.
    pub(super) fn allocate(&mut self, size: usize, align: usize) -> Option<*mut u8> {
        // SAFETY: the newest chunk's head is always there.
        let mut mapping = unsafe { (*self.newest).mapping };
        let mut start = self.used.next_multiple_of(align);
        if mapping.size.checked_sub(start).is_none_or(|room| room < size) {
            self.extend(CHUNK.max(size + size_of::<Chunk>() + align))?;
            // SAFETY: as above.
            mapping = unsafe { (*self.newest).mapping };
            start = self.used.next_multiple_of(align);
        }
        self.used = start + size;
        Some(mapping.start.wrapping_add(start))
    }

    /// A block of `size` bytes whose address is `skew` modulo `align`, with its mapping where it has its own.
    pub(super) fn block(&mut self, size: usize, align: usize, skew: usize) -> Option<(*mut u8, Mapping)> {
        if size + skew <= SMALL && align <= SMALL {
            let start = self.allocate(size + skew, align)?;
            return Some((start.wrapping_add(skew), Mapping::NONE));
        }
        let slack = if align > SMALL { align } else { 0 };
        let mapping = Mapping::new(size + skew + slack)?;
        let aligned = mapping.start.addr().next_multiple_of(align) - mapping.start.addr();
        Some((mapping.start.wrapping_add(aligned + skew), mapping))
    }
}
