//! The functions of descriptors on x86-64.
//!
//! **Invariant.** They change no register but `rax`, and the flags. Memory is read only where [`super`] and [`super::super`]
//! say that it is: a descriptor's argument, this thread's state and its slots.

use super::super::{POSITION, Slot, Thread, TlsIndex, Vector, resolve};
use super::{STATE, State};
use std::mem::offset_of;

/// A word of the thread, in `rdx`, and how an address becomes an offset from the thread pointer. macOS has no such pointer
/// that code adds, and in the place of the words those of keys.
#[cfg(not(target_vendor = "apple"))]
macro_rules! thread {
    (word) => {
        "mov rdx, fs:[rdx]"
    };
    (offset) => {
        "sub rax, fs:0"
    };
}
#[cfg(target_vendor = "apple")]
macro_rules! thread {
    (word) => {
        "mov rdx, gs:[rdx]"
    };
    (offset) => {
        ""
    };
}

/// The thread's word at `offset` from where those of its keys begin.
#[cfg(target_vendor = "apple")]
pub(super) fn word(offset: u64) -> u64 {
    let word: u64;
    // SAFETY: the segment holds the thread's values of keys, which dyld's own function reads in just this way; `offset` is
    // that of a key that exists.
    unsafe {
        std::arch::asm!("mov {0}, gs:[{1}]", out(reg) word, in(reg) offset, options(nostack, preserves_flags, readonly));
    }
    word
}

/// Which registers the processor can save, and the bytes that takes (Intel SDM vol. 1, §13.2 to §13.4).
pub(super) fn saved_registers() -> (u64, u64) {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    /// Not protection keys: no compiled code changes them, and to restore could undo what the kernel did. Not the matrix
    /// tiles (AMX): compiled code does not touch them unasked, and they are 8 KiB.
    const LEFT_OUT: u64 = 1 << 9 | 1 << 17 | 1 << 18;
    const LEGACY: u64 = 512;
    const HEADER: u64 = 64;
    const OSXSAVE: u32 = 1 << 27;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return (0, LEGACY);
    }
    let (low, high): (u32, u32);
    if cfg!(target_vendor = "apple") {
        // A thread of macOS gets the large registers when it first uses them, so this thread's XCR0 is not all threads'.
        // Saving and restoring leave out what the thread does not have.
        let supported = __cpuid_count(0xd, 0);
        (low, high) = (supported.eax, supported.edx);
    } else {
        // SAFETY: the processor and the system have it, as just asked: it reads XCR0.
        unsafe { std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    }
    let mask = (u64::from(high) << 32 | u64::from(low)) & !LEFT_OUT;
    let end = |part| {
        let found = __cpuid_count(0xd, part);
        u64::from(found.ebx) + u64::from(found.eax)
    };
    let ends = (2..63).filter(|part| mask & 1 << part != 0).map(end);
    (mask, ends.fold(LEGACY + HEADER, u64::max).next_multiple_of(64))
}
/// The argument is the offset.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn fixed() {
    std::arch::naked_asm!(".cfi_startproc", "mov rax, [rax + 8]", "ret", ".cfi_endproc")
}

/// The argument is the address.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn undefined() {
    std::arch::naked_asm!(".cfi_startproc", "mov rax, [rax + 8]", thread!(offset), "ret", ".cfi_endproc")
}

/// The argument points to module id and offset. The fast path is that of [`resolve`].
#[unsafe(naked)]
pub(in crate::runtime::tls) unsafe extern "C" fn dynamic() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "push rcx",
        ".cfi_adjust_cfa_offset 8",
        "push rdx",
        ".cfi_adjust_cfa_offset 8",
        "mov rax, [rax + 8]",
        "mov rdx, [rip + {state} + {thread}]",
        "test rdx, rdx",
        "je 2f",
        thread!(word), // the thread's state
        "test rdx, rdx",
        "je 2f",
        "mov rcx, [rax + {module}]",
        "lea ecx, [rcx - 1]",
        "and ecx, {position}",
        "cmp rcx, [rdx + {count}]",
        "jae 2f",
        "imul rcx, rcx, {slot}",
        "add rcx, [rdx + {slots}]",
        "mov rdx, [rax + {module}]",
        "cmp rdx, [rcx + {id}]",
        "jne 2f",
        "mov rax, [rax + {offset}]",
        "add rax, [rcx + {block}]",
        thread!(offset),
        "pop rdx",
        ".cfi_remember_state",
        ".cfi_adjust_cfa_offset -8",
        "pop rcx",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        "2:",
        ".cfi_restore_state",
        "pop rdx",
        ".cfi_adjust_cfa_offset -8",
        "pop rcx",
        ".cfi_adjust_cfa_offset -8",
        "jmp {slow}",
        ".cfi_endproc",
        state = sym STATE,
        thread = const offset_of!(State, thread),
        module = const offset_of!(TlsIndex, module),
        offset = const offset_of!(TlsIndex, offset),
        position = const POSITION,
        count = const offset_of!(Thread, vector) + offset_of!(Vector, count),
        slots = const offset_of!(Thread, vector) + offset_of!(Vector, slots),
        slot = const size_of::<Slot>(),
        id = const offset_of!(Slot, id),
        block = const offset_of!(Slot, block),
        slow = sym save_and_resolve,
    )
}

/// Gets in `rax` what [`resolve`] takes. Saves what that may change: the registers of integers that are not its to keep,
/// and all others by `xsave`, whose header has to be cleared first (SDM vol. 1, §13.7).
#[unsafe(naked)]
unsafe extern "C" fn save_and_resolve() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "mov rdi, rax",
        "sub rsp, [rip + {state} + {size}]",
        "and rsp, -64",
        "mov rdx, [rip + {state} + {mask}]",
        "mov eax, edx",
        "shr rdx, 32",
        "mov rbx, rdx",
        "or rbx, rax",
        "jz 3f",
        "xor ebx, ebx",
        "mov [rsp + 512], rbx",
        "mov [rsp + 520], rbx",
        "mov [rsp + 528], rbx",
        "mov [rsp + 536], rbx",
        "mov [rsp + 544], rbx",
        "mov [rsp + 552], rbx",
        "mov [rsp + 560], rbx",
        "mov [rsp + 568], rbx",
        "xsave64 [rsp]",
        "call {resolve}",
        "mov rbx, rax",
        "mov rdx, [rip + {state} + {mask}]",
        "mov eax, edx",
        "shr rdx, 32",
        "xrstor64 [rsp]",
        "jmp 4f",
        "3:",
        "fxsave64 [rsp]",
        "call {resolve}",
        "mov rbx, rax",
        "fxrstor64 [rsp]",
        "4:",
        "mov rax, rbx",
        thread!(offset),
        "lea rsp, [rbp - 72]",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        state = sym STATE,
        size = const offset_of!(State, size),
        mask = const offset_of!(State, mask),
        resolve = sym resolve,
    )
}
