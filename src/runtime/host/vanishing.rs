//! Reads of images that another thread may be unloading at this moment.
//!
//! The system loader's lock is out of reach without libdl, so an image that was opened later can be unmapped between two
//! of our reads. Read by the kernel on our behalf, through `/proc/self/mem`, such memory is an error, not a fault. It
//! then reads as zeros: everything that is read here is decoded by code that accepts any bytes, and the list has changed
//! by then, so that what was made of it is thrown away.
//!
//! Without `/proc`, memory is read in place, and the race is there: README says so.
//!
//! Invariant: what [`Vanishing::keep`] lends stays allocated until the scope ends, and is not written to.

use crate::addr::{MIN_PAGE, RunAddr};
use crate::platform::unix;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::Path;
use std::ptr;

thread_local! {
    /// The scope that this thread is in. Without a destructor: nothing is left behind in a thread that only looked.
    static CURRENT: Cell<*const Vanishing> = const { Cell::new(ptr::null()) };
    /// Whether anything was not there, or was no image, since this was last asked.
    static MISSED: Cell<bool> = const { Cell::new(false) };
}

/// A scope in which memory is read with care.
pub(super) struct Vanishing {
    memory: File,
    kept: RefCell<Vec<(RunAddr, Box<[u8]>)>>,
}

/// Runs `work`, in which [`memory`](super::memory) reads with care. What it borrows is not to be used afterwards.
pub(super) fn with_care<T>(work: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.set(ptr::null());
        }
    }
    if !CURRENT.get().is_null() {
        return work();
    }
    let Some(scope) = Vanishing::open() else { return work() };
    let _leave = Leave;
    CURRENT.set(&raw const scope);
    work()
}

/// Says, in a scope with care, that what was read there makes no image: most likely it was unloaded meanwhile.
pub(super) fn miss() {
    scope(|_| MISSED.set(true));
}

/// Whether any memory that was read with care by this thread was not there, since this was last asked.
pub(super) fn has_missed() -> bool {
    MISSED.replace(false)
}

/// Runs `work` with the scope that this thread is in, if it is in one.
pub(super) fn scope<T>(work: impl FnOnce(&Vanishing) -> T) -> Option<T> {
    let scope = CURRENT.get();
    // SAFETY: the pointer is that of `with_care`'s local variable, and is reset before that goes out of scope.
    unsafe { scope.as_ref() }.map(work)
}

impl Vanishing {
    fn open() -> Option<Vanishing> {
        const MARK: [u8; 8] = *b"is it us";
        let scope = Vanishing { memory: unix::open(Path::new("/proc/self/mem")).ok()?, kept: RefCell::default() };
        // Under an emulator the file may be the emulator's memory.
        let mut mark = [0; 8];
        scope.read(RunAddr(MARK.as_ptr() as u64), &mut mark);
        (mark == MARK).then_some(scope)
    }

    /// Fills `bytes` with the memory at `at`, and with zeros from the first page that is not there.
    pub(super) fn read(&self, at: RunAddr, bytes: &mut [u8]) {
        let mut done = 0;
        while done < bytes.len() {
            match unix::read_at(&self.memory, &mut bytes[done..], at.0.wrapping_add(done as u64)) {
                Ok(count @ 1..) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ => {
                    MISSED.set(true);
                    return bytes[done..].fill(0);
                }
            }
        }
    }

    /// Whether there is memory at `at`.
    pub(super) fn is_there(&self, at: RunAddr) -> bool {
        matches!(unix::read_at(&self.memory, &mut [0], at.0), Ok(1))
    }

    /// A copy of `size` bytes at `at`, as long as the scope lasts.
    ///
    /// # Safety
    /// The slice is not used after the end of the scope.
    pub(super) unsafe fn keep(&self, at: RunAddr, size: u64) -> &'static [u8] {
        let mut kept = self.kept.borrow_mut();
        let covers = |start: RunAddr, bytes: &[u8]| {
            let offset = at.0.wrapping_sub(start.0);
            offset <= bytes.len() as u64 && bytes.len() as u64 - offset >= size
        };
        let known = kept.iter().position(|(start, bytes)| covers(*start, bytes));
        let index = known.unwrap_or_else(|| {
            let mut bytes = vec![0; size as usize].into_boxed_slice();
            self.read(at, &mut bytes);
            kept.push((at, bytes));
            kept.len() - 1
        });
        let (start, bytes) = &kept[index];
        let offset = (at.0 - start.0) as usize;
        let part = &bytes[offset..offset + size as usize];
        // SAFETY: the box is neither dropped nor written to before the scope ends, which the slice does not outlive.
        unsafe { std::slice::from_raw_parts(part.as_ptr(), part.len()) }
    }
}

/// Copies a C string without its NUL, up to `limit` bytes. Most names cost one call.
pub(super) fn c_string(scope: &Vanishing, at: RunAddr, limit: u64) -> Vec<u8> {
    const STEP: usize = 256;
    let mut text = Vec::new();
    while (text.len() as u64) < limit {
        let mut part = [0; STEP];
        // A step does not cross into another page without need: a name may end right before memory that is not there.
        let start = RunAddr(at.0 + text.len() as u64);
        let in_page = (MIN_PAGE - start.0 % MIN_PAGE).min(STEP as u64).min(limit - text.len() as u64) as usize;
        scope.read(start, &mut part[..in_page]);
        let end = part[..in_page].iter().position(|&byte| byte == 0);
        text.extend_from_slice(&part[..end.unwrap_or(in_page)]);
        if end.is_some() {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::memory;
    use super::*;

    #[test]
    fn memory_that_is_not_there_reads_as_zeros() {
        let text = RunAddr(c"some name".as_ptr() as u64);
        with_care(|| {
            // SAFETY: the string is there; nothing at all is at address 4096, and that is the point.
            unsafe {
                assert_eq!(memory::c_string(text, 100), b"some name");
                assert_eq!(memory::c_string(text, 4), b"some");
                assert_eq!(memory::read::<[u8; 4]>(text), *b"some");
                assert_eq!(memory::borrow(text, 4), b"some");
                assert_eq!(memory::read::<u64>(RunAddr(0x1000)), 0);
                assert_eq!(memory::copy(RunAddr(0x1000), 3), [0; 3]);
                assert_eq!(memory::c_string(RunAddr(0x1000), 3), b"");
            }
            assert!(has_missed() && !has_missed());
            assert!(memory::is_readable(text) && !memory::is_readable(RunAddr(0x1000)) && !has_missed());
            with_care(|| assert!(scope(|_| ()).is_some()));
            assert!(scope(|_| ()).is_some(), "an inner scope does not end the outer one");
        });
        assert!(scope(|_| ()).is_none());
    }
}
