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
//! On macOS there are no such descriptors, but [`dynamic`] is most of what the function of its thread-local variables does
//! (`variable.rs`): there it returns the address itself, as no thread pointer is added.
//!
//! **Invariant.** What a dynamic descriptor points to lives as long as the [`Descriptors`] of the image that it is in.
//! [`STATE`] is set before the first dynamic descriptor is made.

#[cfg(all(target_arch = "aarch64", target_vendor = "apple"))]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(all(target_arch = "aarch64", target_vendor = "apple"))]
pub(super) use aarch64::variable;
#[cfg(all(target_arch = "aarch64", target_vendor = "apple"))]
use aarch64::word;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::dynamic;
#[cfg(all(target_arch = "x86_64", target_vendor = "apple"))]
use x86_64::word;
#[cfg(target_arch = "x86_64")]
use x86_64::{fixed, saved_registers, undefined};

use super::{Thread, TlsIndex};
use crate::error::ErrorKind;
use crate::relocate::ThreadLocals;
use crate::runtime::host::HostImages;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

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
        if !cfg!(all(target_arch = "x86_64", not(target_vendor = "apple"))) {
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
    /// Where every thread has the pointer to its state: from the thread pointer to [`THREAD`](super::THREAD), or on macOS from
    /// where the values of its keys begin. 0 where that is not known, or differs from thread to thread.
    thread: AtomicI64,
    /// Bytes that the processor needs to save the registers, a multiple of 64.
    size: AtomicU64,
    /// Which registers it saves (`XCR0`, without some); 0 where it has only `fxsave`.
    mask: AtomicU64,
}

static STATE: State = State { thread: AtomicI64::new(0), size: AtomicU64::new(0), mask: AtomicU64::new(0) };

/// Finds out what [`dynamic`] has to know; before the first use of it.
pub(crate) fn prepare(host: &HostImages) {
    // Whoever does it once more stores the same. A `Once` that a fork finds half done would never end in the child.
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Acquire) {
        return;
    }
    if let Some(offset) = place_of_thread(host) {
        STATE.thread.store(offset, Ordering::Relaxed);
    }
    let (mask, size) = saved_registers();
    STATE.mask.store(mask, Ordering::Relaxed);
    STATE.size.store(size, Ordering::Relaxed);
    DONE.store(true, Ordering::Release);
}

#[cfg(not(target_vendor = "apple"))]
fn place_of_thread(host: &HostImages) -> Option<i64> {
    let here = super::THREAD.with(|thread| thread.as_ptr().addr() as u64);
    let offset = here.wrapping_sub(super::thread_pointer()) as i64;
    host.has_static(offset, size_of::<*mut Thread>() as u64).then_some(offset)
}

/// The value of the key under which a thread has its state: in an array, as dyld reads its own. Whether that is so is
/// tried: this thread's state has to be there.
#[cfg(target_vendor = "apple")]
fn place_of_thread(_host: &HostImages) -> Option<i64> {
    let offset = super::exit_key().ok()?.checked_mul(8)?;
    let thread = Thread::current()?;
    (word(offset) == thread.addr() as u64).then_some(offset as i64)
}

/// Where there is no support, [`Descriptors::make`] refuses before it asks for these.
#[cfg(not(target_arch = "x86_64"))]
mod absent {
    pub(super) unsafe extern "C" fn fixed() {}
    pub(super) unsafe extern "C" fn undefined() {}
    pub(super) unsafe extern "C" fn dynamic() {}
    pub(super) fn saved_registers() -> (u64, u64) {
        (0, 0)
    }
}
#[cfg(not(target_arch = "x86_64"))]
use absent::{dynamic, fixed, saved_registers, undefined};
