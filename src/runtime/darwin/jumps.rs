//! `setjmp` and `longjmp`: a buffer has 148 bytes there, fewer than the host's functions write. What they leave out is the
//! mask of signals, which stays as it is. And the stack probe that compilers call for large frames.

use super::Pointer;
use crate::addr::RunAddr;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_setjmp" | b"__setjmp" => set as Pointer,
        b"_longjmp" | b"__longjmp" => jump as Pointer,
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
