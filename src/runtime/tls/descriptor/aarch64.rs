//! The function of thread-local variables on arm64, where the system is macOS.
//!
//! **Invariant.** It changes no register but `x0`, `x16`, `x17`, the link register and the flags, as dyld's own does
//! (LLVM's `CSR_Darwin_AArch64_TLS` has the others kept). Memory is read only where [`super`] and [`super::super`] say
//! that it is: a relocated descriptor, this thread's state and its slots.

use super::super::{POSITION, Slot, Thread, TlsIndex, Vector, resolve};
use super::{STATE, State};
use std::mem::offset_of;

/// The thread's word at `offset` from where those of its keys begin.
pub(super) fn word(offset: u64) -> u64 {
    let word: u64;
    // SAFETY: the register points to the thread's values of keys (its low bits number the processor), which dyld's own
    // function reads in just this way; `offset` is that of a key that exists.
    unsafe {
        std::arch::asm!(
            "mrs {0}, TPIDRRO_EL0",
            "and {0}, {0}, #0xfffffffffffffff8",
            "ldr {0}, [{0}, {1}]",
            out(reg) word, in(reg) offset, options(nostack, preserves_flags, readonly),
        );
    }
    word
}

/// Gets a descriptor in `x0` and returns there where the variable is. The fast path is that of [`resolve`].
#[unsafe(naked)]
pub(in crate::runtime::tls) unsafe extern "C" fn variable() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "adrp x17, {state}@PAGE",
        "add x17, x17, {state}@PAGEOFF",
        "ldr x17, [x17, #{thread}]",
        "cbz x17, 3f",
        "mrs x16, TPIDRRO_EL0",
        "and x16, x16, #0xfffffffffffffff8",
        "ldr x16, [x16, x17]", // the thread's state
        "cbz x16, 3f",
        "stp x1, x2, [sp, #-16]!",
        ".cfi_adjust_cfa_offset 16",
        "ldr x17, [x0, #8]", // the id
        "sub w1, w17, #1",
        "and w1, w1, #{position}",
        "ldr x2, [x16, #{count}]",
        "cmp x1, x2",
        "b.hs 2f",
        "ldr x16, [x16, #{slots}]",
        "mov x2, #{slot}",
        "madd x16, x1, x2, x16",
        "ldr x1, [x16, #{id}]",
        "cmp x1, x17",
        "b.ne 2f",
        "ldr x16, [x16, #{block}]",
        "ldr x17, [x0, #16]",
        "add x0, x16, x17",
        "ldp x1, x2, [sp], #16",
        ".cfi_remember_state",
        ".cfi_adjust_cfa_offset -16",
        "ret",
        "2:",
        ".cfi_restore_state",
        "ldp x1, x2, [sp], #16",
        ".cfi_adjust_cfa_offset -16",
        "3:",
        "b {slow}",
        ".cfi_endproc",
        state = sym STATE,
        thread = const offset_of!(State, thread),
        position = const POSITION,
        count = const offset_of!(Thread, vector) + offset_of!(Vector, count),
        slots = const offset_of!(Thread, vector) + offset_of!(Vector, slots),
        slot = const size_of::<Slot>(),
        id = const offset_of!(Slot, id),
        block = const offset_of!(Slot, block),
        slow = sym save_and_resolve,
    )
}

/// Key and offset stand in a descriptor as in what [`resolve`] takes.
const _: () = assert!(offset_of!(TlsIndex, module) == 0 && offset_of!(TlsIndex, offset) == 8);

/// Gets a descriptor in `x0`, whose second word is where [`resolve`]'s argument begins. Saves all that a function of C may
/// change, but for `x16` and `x17`.
#[unsafe(naked)]
unsafe extern "C" fn save_and_resolve() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset w30, -8",
        ".cfi_offset w29, -16",
        "mov x29, sp",
        ".cfi_def_cfa w29, 16",
        "sub sp, sp, #640",
        "stp x1, x2, [sp]",
        "stp x3, x4, [sp, #16]",
        "stp x5, x6, [sp, #32]",
        "stp x7, x8, [sp, #48]",
        "stp x9, x10, [sp, #64]",
        "stp x11, x12, [sp, #80]",
        "stp x13, x14, [sp, #96]",
        "str x15, [sp, #112]",
        "stp q0, q1, [sp, #128]",
        "stp q2, q3, [sp, #160]",
        "stp q4, q5, [sp, #192]",
        "stp q6, q7, [sp, #224]",
        "stp q8, q9, [sp, #256]",
        "stp q10, q11, [sp, #288]",
        "stp q12, q13, [sp, #320]",
        "stp q14, q15, [sp, #352]",
        "stp q16, q17, [sp, #384]",
        "stp q18, q19, [sp, #416]",
        "stp q20, q21, [sp, #448]",
        "stp q22, q23, [sp, #480]",
        "stp q24, q25, [sp, #512]",
        "stp q26, q27, [sp, #544]",
        "stp q28, q29, [sp, #576]",
        "stp q30, q31, [sp, #608]",
        "add x0, x0, #8",
        "bl {resolve}",
        "ldp x1, x2, [sp]",
        "ldp x3, x4, [sp, #16]",
        "ldp x5, x6, [sp, #32]",
        "ldp x7, x8, [sp, #48]",
        "ldp x9, x10, [sp, #64]",
        "ldp x11, x12, [sp, #80]",
        "ldp x13, x14, [sp, #96]",
        "ldr x15, [sp, #112]",
        "ldp q0, q1, [sp, #128]",
        "ldp q2, q3, [sp, #160]",
        "ldp q4, q5, [sp, #192]",
        "ldp q6, q7, [sp, #224]",
        "ldp q8, q9, [sp, #256]",
        "ldp q10, q11, [sp, #288]",
        "ldp q12, q13, [sp, #320]",
        "ldp q14, q15, [sp, #352]",
        "ldp q16, q17, [sp, #384]",
        "ldp q18, q19, [sp, #416]",
        "ldp q20, q21, [sp, #448]",
        "ldp q22, q23, [sp, #480]",
        "ldp q24, q25, [sp, #512]",
        "ldp q26, q27, [sp, #544]",
        "ldp q28, q29, [sp, #576]",
        "ldp q30, q31, [sp, #608]",
        "mov sp, x29",
        ".cfi_def_cfa wsp, 16",
        "ldp x29, x30, [sp], #16",
        ".cfi_def_cfa_offset 0",
        ".cfi_restore w29",
        ".cfi_restore w30",
        "ret",
        ".cfi_endproc",
        resolve = sym resolve,
    )
}
