//! What the library holds of its process: a failed load must leave these numbers as they were.

use crate::platform::unix;
use crate::registry::REGISTRY;
use crate::runtime::debugger;
use crate::runtime::frames::Frames;
use crate::runtime::tls::ModuleTls;

/// What is held now, counted. For tests, and for whoever looks for a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Runs of address space that belong to images.
    pub reservations: usize,
    /// Files that some thread is loading.
    pub claims: usize,
    /// Images that are loaded.
    pub instances: usize,
    /// Images with thread-locals.
    pub thread_local_modules: usize,
    /// Blocks of thread-locals, over all threads.
    pub thread_local_blocks: usize,
    /// Bytes of static thread-locals that images have, in each thread.
    pub static_thread_local_bytes: usize,
    /// Images whose frames the unwinders know.
    pub frames: usize,
    /// Images that debuggers know. Always 0 where there is nobody to tell: under musl, under glibc before 2.35, and in
    /// a static executable.
    pub debugger_entries: usize,
}

/// Counts. Each number is exact; other threads that load or end may change one while the next is counted.
pub fn ledger() -> Ledger {
    Ledger {
        reservations: unix::reservations(),
        claims: REGISTRY.claims(),
        instances: REGISTRY.snapshot().instances.len(),
        thread_local_modules: ModuleTls::live_modules(),
        thread_local_blocks: ModuleTls::live_blocks(),
        static_thread_local_bytes: ModuleTls::fixed_bytes(),
        frames: Frames::live(),
        debugger_entries: debugger::listed(),
    }
}
