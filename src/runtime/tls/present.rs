//! Which thread-locals a thread has already: looking does not make them.
//!
//! Invariant: only the calling thread's own state is looked at.

use super::{ALIAS, ANYWHERE, Module, TAG, THREAD, UNDECIDED, alias_offset, position, thread_pointer};
use crate::addr::RunAddr;
use std::sync::atomic::Ordering;

/// Where the calling thread has its block of the module of that id (ours or an alias), if it was made already.
pub(crate) fn block(id: u64) -> Option<RunAddr> {
    if id & TAG == 0 {
        return None;
    }
    if id & ALIAS != 0 {
        return Some(RunAddr(thread_pointer().wrapping_add_signed(alias_offset(id))));
    }
    let offset = Module::of(id)?.1.offset.load(Ordering::Acquire);
    if ![UNDECIDED, ANYWHERE].contains(&offset) {
        return Some(RunAddr(thread_pointer().wrapping_add_signed(offset)));
    }
    let thread = THREAD.get();
    if thread.is_null() {
        return None;
    }
    // SAFETY: THREAD is null or this thread's own state, whose vector has `count` slots that were initialised.
    let slots = unsafe { (*thread).slots() };
    let slot = slots.get(position(id)).filter(|slot| slot.id == id)?;
    Some(RunAddr(slot.block.expose_provenance() as u64))
}
