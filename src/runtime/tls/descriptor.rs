//! Thread-local descriptors (TLSDESC): two words in an object's GOT, a function and its argument, which its code calls
//! to learn a variable's offset from the thread pointer.
//!
//! The call is not by the C convention: the descriptor's address comes in `rax`, the offset goes out in `rax`, and
//! *every* other register keeps its value, those of vectors included; only the flags may change (A. Oliva, "Thread-Local
//! Storage Descriptors for IA32 and AMD64/EM64T", §3; the psABI names the relocation, §4.4.1). Compilers rely on it, and
//! keep values in registers that any function of C may use.
//!
//! Who writes the descriptor chooses the function, so there is one for each case:
//! - [`fixed`]: the offset is known, and the same in every thread; it is the argument.
//! - [`dynamic`]: the argument points to what `__tls_get_addr` would take. Where the thread has its block, the answer is
//!   found with two registers that are saved on the stack. Otherwise all registers are saved, as the processor does it
//!   (`xsave`), before any compiled code runs.
//! - [`undefined`]: a weak variable that nobody defines has the address 0 (plus what is added to it).
//!
//! **Invariant.** What a dynamic descriptor points to lives as long as the [`Descriptors`] of the image that it is in.
//! [`STATE`] is set before the first dynamic descriptor is made.

use super::{POSITION, Slot, THREAD, Thread, TlsIndex, Vector, resolve, thread_pointer};
use crate::error::ErrorKind;
use crate::relocate::ThreadLocals;
use crate::runtime::host::HostImages;
use std::mem::offset_of;
use std::sync::Once;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What the dynamic descriptors of one image point to.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "descriptors hold their addresses")]
pub(crate) struct Descriptors(Vec<Box<TlsIndex>>);

impl Descriptors {
    /// The two words of a descriptor of the variable at `offset` in the block that is at `place`, or nowhere.
    ///
    /// # Errors
    /// An architecture without support.
    pub(crate) fn make(
        &mut self,
        place: Option<ThreadLocals>,
        offset: u64,
        host: &HostImages,
    ) -> Result<Option<[u64; 2]>, ErrorKind> {
        if !super::SUPPORTED {
            return Err(ErrorKind::unsupported("thread-local descriptors (TLSDESC) on this architecture"));
        }
        let words = |function: unsafe extern "C" fn(), argument| Some([function as *const () as u64, argument]);
        Ok(match place {
            None => words(undefined, offset),
            Some(ThreadLocals { offset: Some(block), .. }) => words(fixed, offset.wrapping_add_signed(block)),
            Some(ThreadLocals { module: Some(module), .. }) => {
                prepare(host);
                self.0.push(Box::new(TlsIndex { module, offset }));
                let index = self.0.last().map_or(0, |index| (&raw const **index).expose_provenance());
                words(dynamic, index as u64)
            }
            Some(_) => None,
        })
    }
}

/// What [`dynamic`] has to know of this process and its processor.
#[repr(C)]
struct State {
    /// From the thread pointer to [`THREAD`] in every thread; 0 where that differs from thread to thread.
    thread: AtomicI64,
    /// Bytes that the processor needs to save the registers, a multiple of 64.
    size: AtomicU64,
    /// Which registers it saves (`XCR0`, without some); 0 where it has only `fxsave`.
    mask: AtomicU64,
}

static STATE: State = State { thread: AtomicI64::new(0), size: AtomicU64::new(0), mask: AtomicU64::new(0) };

fn prepare(host: &HostImages) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let here = THREAD.with(|thread| thread.as_ptr().addr() as u64);
        let offset = here.wrapping_sub(thread_pointer()) as i64;
        if host.has_static(offset, size_of::<*mut Thread>() as u64) {
            STATE.thread.store(offset, Ordering::Relaxed);
        }
        let (mask, size) = saved_registers();
        STATE.mask.store(mask, Ordering::Relaxed);
        STATE.size.store(size, Ordering::Relaxed);
    });
}

/// Which registers the processor can save, and the bytes that takes (Intel SDM vol. 1, §13.2 to §13.4).
#[cfg(target_arch = "x86_64")]
fn saved_registers() -> (u64, u64) {
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
    // SAFETY: the processor and the system have it, as just asked: it reads XCR0.
    unsafe { std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    let mask = (u64::from(high) << 32 | u64::from(low)) & !LEFT_OUT;
    let end = |part| {
        let found = __cpuid_count(0xd, part);
        u64::from(found.ebx) + u64::from(found.eax)
    };
    let ends = (2..63).filter(|part| mask & 1 << part != 0).map(end);
    (mask, ends.fold(LEGACY + HEADER, u64::max).next_multiple_of(64))
}
#[cfg(not(target_arch = "x86_64"))]
fn saved_registers() -> (u64, u64) {
    (0, 0)
}

/// The argument is the offset.
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
#[unsafe(naked)]
unsafe extern "C" fn fixed() {
    std::arch::naked_asm!(".cfi_startproc", "mov rax, [rax + 8]", "ret", ".cfi_endproc")
}

/// The argument is the address.
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
#[unsafe(naked)]
unsafe extern "C" fn undefined() {
    std::arch::naked_asm!(".cfi_startproc", "mov rax, [rax + 8]", "sub rax, fs:0", "ret", ".cfi_endproc")
}

/// The argument points to module id and offset. The fast path is that of [`resolve`].
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
#[unsafe(naked)]
unsafe extern "C" fn dynamic() {
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
        "mov rdx, fs:[rdx]", // the thread's state
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
        "sub rax, fs:0",
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
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
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
        "sub rax, fs:0",
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

#[cfg(not(all(target_arch = "x86_64", not(target_vendor = "apple"))))]
mod absent {
    pub(super) unsafe extern "C" fn fixed() {}
    pub(super) unsafe extern "C" fn undefined() {}
    pub(super) unsafe extern "C" fn dynamic() {}
}
#[cfg(not(all(target_arch = "x86_64", not(target_vendor = "apple"))))]
use absent::{dynamic, fixed, undefined};
