//! `setjmp` and `longjmp`: a buffer has 148 bytes there, fewer than the host's functions write. What they leave out is the
//! mask of signals, which stays as it is unless `sigsetjmp` was asked to keep it; its buffer has four bytes more. And the
//! stack probe that compilers call for large frames.

use super::Pointer;
use super::signals::mask_of_thread;
use crate::addr::RunAddr;
use std::ffi::c_int;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_setjmp" | b"__setjmp" => set as Pointer,
        b"_longjmp" | b"__longjmp" => jump as Pointer,
        b"_sigsetjmp" => set_with_mask as Pointer,
        b"_siglongjmp" => jump_with_mask as Pointer,
        b"____chkstk_darwin" => probe as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// Apple's order: rbx, rbp, rsp, r12 to r15, rip; then the words that control floating-point arithmetic.
#[unsafe(naked)]
unsafe extern "C" fn set() {
    std::arch::naked_asm!(
        "mov [rdi], rbx",
        "mov [rdi + 8], rbp",
        "lea rax, [rsp + 8]",
        "mov [rdi + 16], rax",
        "mov [rdi + 24], r12",
        "mov [rdi + 32], r13",
        "mov [rdi + 40], r14",
        "mov [rdi + 48], r15",
        "mov rax, [rsp]",
        "mov [rdi + 56], rax",
        "stmxcsr [rdi + 72]",
        "fnstcw [rdi + 76]",
        "xor eax, eax",
        "ret",
    )
}

/// A value of 0 comes back as 1 (C11 §7.13.2.1).
#[unsafe(naked)]
unsafe extern "C" fn jump() {
    std::arch::naked_asm!(
        "mov eax, esi",
        "cmp eax, 1",
        "adc eax, 0",
        "mov rbx, [rdi]",
        "mov rbp, [rdi + 8]",
        "mov rsp, [rdi + 16]",
        "mov r12, [rdi + 24]",
        "mov r13, [rdi + 32]",
        "mov r14, [rdi + 40]",
        "mov r15, [rdi + 48]",
        "ldmxcsr [rdi + 72]",
        "fldcw [rdi + 76]",
        "jmp [rdi + 56]",
    )
}

/// `sigsetjmp`: whether the mask is kept stands at 84 in the buffer, and the mask at 80.
#[unsafe(naked)]
unsafe extern "C" fn set_with_mask() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "mov [rdi + 84], esi",
        "test esi, esi",
        "je 2f",
        "push rdi",
        ".cfi_adjust_cfa_offset 8",
        "add rdi, 80",
        "call {keep}",
        "pop rdi",
        ".cfi_adjust_cfa_offset -8",
        "2:",
        "jmp {set}",
        ".cfi_endproc",
        keep = sym keep_mask,
        set = sym set,
    )
}

/// `siglongjmp`
#[unsafe(naked)]
unsafe extern "C" fn jump_with_mask() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "cmp dword ptr [rdi + 84], 0",
        "je 2f",
        "push rdi",
        ".cfi_adjust_cfa_offset 8",
        "push rsi",
        ".cfi_adjust_cfa_offset 8",
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "add rdi, 80",
        "call {restore}",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "pop rsi",
        ".cfi_adjust_cfa_offset -8",
        "pop rdi",
        ".cfi_adjust_cfa_offset -8",
        "2:",
        "jmp {jump}",
        ".cfi_endproc",
        restore = sym restore_mask,
        jump = sym jump,
    )
}

const SIG_SETMASK: c_int = 3;

/// # Safety
/// There is room for a set.
unsafe extern "C" fn keep_mask(to: *mut u32) {
    // SAFETY: as the caller promises; no change is asked for.
    unsafe { mask_of_thread(SIG_SETMASK, std::ptr::null(), to) };
}

/// # Safety
/// [`keep_mask`] filled it.
unsafe extern "C" fn restore_mask(from: *const u32) {
    // SAFETY: as the caller promises.
    unsafe { mask_of_thread(SIG_SETMASK, from, std::ptr::null_mut()) };
}

/// `___chkstk_darwin`: touches each page of the `rax` bytes below the stack pointer, and changes no register.
#[unsafe(naked)]
unsafe extern "C" fn probe() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "push rcx",
        ".cfi_adjust_cfa_offset 8",
        "push rax",
        ".cfi_adjust_cfa_offset 8",
        "lea rcx, [rsp + 24]",
        "2:",
        "cmp rax, 0x1000",
        "jb 3f",
        "sub rcx, 0x1000",
        "test [rcx], rcx",
        "sub rax, 0x1000",
        "jmp 2b",
        "3:",
        "sub rcx, rax",
        "test [rcx], rcx",
        "pop rax",
        ".cfi_adjust_cfa_offset -8",
        "pop rcx",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks a signal (`SIGUSR2`) by its number there, or lets it through, and says what was before.
    extern "C" fn block(how: c_int) -> u32 {
        let mut old = 0;
        // SAFETY: a set, and room for one.
        unsafe { mask_of_thread(how, &(1 << 30), &raw mut old) };
        old & 1 << 30
    }

    #[test]
    fn a_jump_brings_back_the_mask_if_it_was_kept() {
        const BLOCK: c_int = 1;
        const UNBLOCK: c_int = 2;
        for (keep, expected) in [(1, 1 << 30), (0, 0)] {
            let mut buffer = [0u32; 38];
            block(BLOCK);
            let came_back: u64;
            // SAFETY: the second return finds the stack as the first one did, and all registers that a call keeps.
            unsafe {
                std::arch::asm!(
                    "mov r13, rsp", "and rsp, -16", "mov rdi, r12", "call {set}", "test eax, eax", "jne 2f",
                    "mov edi, {unblock}", "call {block}", "mov rdi, r12", "mov esi, 7", "call {jump}",
                    "2:", "mov rsp, r13",
                    set = sym set_with_mask, jump = sym jump_with_mask, block = sym block, unblock = const UNBLOCK,
                    in("r12") buffer.as_mut_ptr(), out("r13") _, in("esi") keep, lateout("rax") came_back,
                    clobber_abi("C"),
                );
            }
            assert_eq!((came_back, block(UNBLOCK)), (7, expected));
        }
    }

    #[test]
    fn a_probe_changes_no_register() {
        let (mut size, mut other) = (0x5123_u64, 0x77_u64);
        // SAFETY: the stack has that much room; the call needs it aligned, and the red zone is not used.
        unsafe {
            std::arch::asm!(
                "mov {kept}, rsp", "sub rsp, 256", "and rsp, -16", "call {probe}", "mov rsp, {kept}",
                kept = out(reg) _, probe = sym super::probe, inout("rax") size, inout("rcx") other,
            );
        }
        assert_eq!((size, other), (0x5123, 0x77));
    }
}
