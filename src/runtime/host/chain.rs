//! The system loader's list of images: `r_debug`, which it keeps for debuggers, and the `link_map`s behind it.
//!
//! Invariant: a list is returned only if the loader called it consistent before and after it was read. A thread that
//! unloads an image between two of our reads can still take a node away under us: the loader's own lock is out of reach
//! without libdl. The nodes of the start-up images, which are all that most processes have, never go away; those behind
//! them are read with care ([`vanishing`]) as soon as it is known where they begin.
//!
//! Sources: `<link.h>` of glibc, musl and FreeBSD, which agree on these members; SysV ABI, "r_debug".

use super::memory;
use super::vanishing::with_care;
use crate::addr::RunAddr;
use crate::error::ErrorKind;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

/// `RT_CONSISTENT`: nothing is being added or removed.
const CONSISTENT: u32 = 0;
/// How often an inconsistent list is read again at once, and then with a pause of a millisecond between.
const SPINS: u32 = 2_000;
const PAUSES: u32 = 1_000;
/// More images than any process has: a list that is longer is a circle.
const MOST_IMAGES: usize = u16::MAX as usize;

/// `struct link_map`, as far as it is public.
#[derive(Clone, Copy)]
#[repr(C)]
struct LinkMap {
    address: u64,
    name: u64,
    dynamic: u64,
    next: u64,
    previous: u64,
}

/// `struct r_debug`, version 1.
#[derive(Clone, Copy)]
#[repr(C)]
struct Debug {
    version: i32,
    map: u64,
    breakpoint: u64,
    state: u32,
    loader: u64,
}

/// Where `struct r_debug_extended` (glibc 2.35) has `r_next`, and the version that says so.
const NEXT: u64 = 40;
const EXTENDED: i32 = 2;

/// One node of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Where the node is; 0 for the one image of a static process.
    pub(super) node: RunAddr,
    /// `l_addr`: the bias (glibc, musl) or the start of the mapping (FreeBSD); the same thing for nearly all images.
    pub(super) base: RunAddr,
    /// `l_ld`: the dynamic section.
    pub(super) dynamic: RunAddr,
    /// `l_name`
    pub(super) name: RunAddr,
}

/// Where `r_debug` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain(RunAddr);

impl Chain {
    /// The list behind the `r_debug` at `at`, unless there is none: null, or not filled in by any loader.
    pub(super) fn at(at: RunAddr) -> Option<Chain> {
        let debug = Chain(aligned(at)?).debug();
        (debug.version >= 1 && aligned(RunAddr(debug.map)).is_some()).then_some(Chain(at))
    }

    /// The last byte that a list with a successor has.
    pub(super) fn last_byte(self) -> RunAddr {
        RunAddr(self.0.0 + NEXT + 7)
    }

    /// The function that debuggers stop in when a list changes: it does nothing.
    pub(crate) fn breakpoint(self) -> RunAddr {
        RunAddr(self.debug().breakpoint)
    }

    /// Puts the list at `list` behind all lists of the chain, unless it is there: debuggers then read it as they read
    /// those of `dlmopen`'s namespaces.
    ///
    /// # Safety
    /// Both this and `list` are a `struct r_debug_extended`; `list` is one for as long as the process lives.
    pub(crate) unsafe fn append(self, list: RunAddr) {
        // More namespaces than glibc has.
        const MOST_LISTS: usize = 1 << 10;
        let mut at = self.0;
        for _ in 0..MOST_LISTS {
            // SAFETY: a list of the chain: the host's, as the caller says, or one that was appended to it; the member
            // is aligned as the list is, and others that write to it do so by atomic stores.
            let next = unsafe { AtomicU64::from_ptr(ptr::with_exposed_provenance_mut((at.0 + NEXT) as usize)) };
            let taken = next.compare_exchange(0, list.0, Ordering::AcqRel, Ordering::Acquire);
            match taken {
                Ok(_) => break,
                Err(known) if known == list.0 => break,
                Err(other) => at = RunAddr(other),
            }
        }
        // SAFETY: the first member, an aligned `int`, which the loader itself raises by an atomic store.
        let version = unsafe { AtomicI32::from_ptr(ptr::with_exposed_provenance_mut(self.0.0 as usize)) };
        version.fetch_max(EXTENDED, Ordering::AcqRel);
    }

    fn debug(self) -> Debug {
        // SAFETY: `DT_DEBUG`, or the loader's own symbol, leads to an `r_debug`, which lives as long as the process.
        unsafe { memory::read(self.0) }
    }

    /// Reads all nodes; the first `permanent` of them never go away.
    ///
    /// # Errors
    /// The list is never consistent, or makes no sense.
    pub(super) fn links(self, permanent: usize) -> Result<Vec<Link>, ErrorKind> {
        for attempt in 0..SPINS + PAUSES {
            if self.debug().state == CONSISTENT {
                let links = self.walk(permanent);
                // What was read while the list changed may be anything, also not a list.
                if self.debug().state == CONSISTENT
                    && let Some(links) = links
                {
                    return Ok(links);
                }
            }
            match attempt {
                0..SPINS => std::hint::spin_loop(),
                // Another thread is in the system loader, perhaps waiting for a disk.
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        Err(ErrorKind::Host { what: "the system loader keeps changing its list" })
    }

    fn walk(self, permanent: usize) -> Option<Vec<Link>> {
        let mut links = Vec::with_capacity(16);
        let mut next = read_nodes(RunAddr(self.debug().map), permanent, &mut links)?;
        if next.0 != 0 {
            next = with_care(|| read_nodes(next, MOST_IMAGES, &mut links))?;
        }
        (next.0 == 0).then_some(links)
    }
}

/// Appends the nodes from `next` on until there are `most`, and returns the one after them.
fn read_nodes(mut next: RunAddr, most: usize, links: &mut Vec<Link>) -> Option<RunAddr> {
    while next.0 != 0 && links.len() < most.min(MOST_IMAGES) {
        let node = aligned(next)?;
        // SAFETY: a node of the consistent list (see the file's invariant).
        let map: LinkMap = unsafe { memory::read(node) };
        links.push(Link { node, base: RunAddr(map.address), dynamic: RunAddr(map.dynamic), name: RunAddr(map.name) });
        next = RunAddr(map.next);
    }
    Some(next)
}

fn aligned(at: RunAddr) -> Option<RunAddr> {
    (at.0 != 0 && at.0.is_multiple_of(align_of::<u64>() as u64)).then_some(at)
}
