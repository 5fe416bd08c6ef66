//! The system loader's list of images: `r_debug`, which it keeps for debuggers, and the `link_map`s behind it.
//!
//! Invariant: a list is returned only if the loader called it consistent before and after it was read. A thread that
//! unloads an image between two of our reads can still take a node away under us: the loader's own lock is out of reach
//! without libdl. So the window is kept short (pointers are copied first, everything else afterwards), and the nodes of
//! the start-up images, which are all that most processes have, never go away.
//!
//! Sources: `<link.h>` of glibc, musl and FreeBSD, which agree on these members; SysV ABI, "r_debug".

use super::memory;
use crate::addr::RunAddr;
use crate::error::ErrorKind;
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
pub(super) struct Chain(RunAddr);

impl Chain {
    /// The list behind the `r_debug` at `at`, unless there is none: null, or not filled in by any loader.
    pub(super) fn at(at: RunAddr) -> Option<Chain> {
        let debug = Chain(aligned(at)?).debug();
        (debug.version >= 1 && aligned(RunAddr(debug.map)).is_some()).then_some(Chain(at))
    }

    fn debug(self) -> Debug {
        // SAFETY: `DT_DEBUG`, or the loader's own symbol, leads to an `r_debug`, which lives as long as the process.
        unsafe { memory::read(self.0) }
    }

    /// Reads all nodes.
    ///
    /// # Errors
    /// The list is never consistent, or makes no sense.
    pub(super) fn links(self) -> Result<Vec<Link>, ErrorKind> {
        for attempt in 0..SPINS + PAUSES {
            if self.debug().state == CONSISTENT {
                let links = self.walk()?;
                if self.debug().state == CONSISTENT {
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

    fn walk(self) -> Result<Vec<Link>, ErrorKind> {
        let mut links = Vec::with_capacity(16);
        let mut next = RunAddr(self.debug().map);
        while next.0 != 0 {
            let node =
                aligned(next).ok_or(ErrorKind::Host { what: "a node of the system loader's list is misaligned" })?;
            if links.len() == MOST_IMAGES {
                return Err(ErrorKind::Host { what: "the system loader's list has no end" });
            }
            // SAFETY: a node of the consistent list (see the file's invariant).
            let map: LinkMap = unsafe { memory::read(node) };
            links.push(Link {
                node,
                base: RunAddr(map.address),
                dynamic: RunAddr(map.dynamic),
                name: RunAddr(map.name),
            });
            next = RunAddr(map.next);
        }
        Ok(links)
    }
}

fn aligned(at: RunAddr) -> Option<RunAddr> {
    (at.0 != 0 && at.0.is_multiple_of(align_of::<u64>() as u64)).then_some(at)
}
