//! Lets system calls of this library fail, to see what becomes of a program then.

use crate::platform::gate;

/// While it exists, system calls of this library are counted, and one of them may fail. For tests: it holds for the
/// whole process, and there can be one at a time.
///
/// ```
/// # fn main() -> Result<(), sideload::Error> {
/// let faults = sideload::Faults::at(1);
/// // SAFETY: nothing is opened: the first system call fails.
/// let error = unsafe { sideload::Library::open("libz.so.1") }.unwrap_err();
/// println!("{error}: {faults:?}");
/// # Ok(())
/// # }
/// ```
pub struct Faults {
    _private: (),
}

impl Faults {
    /// Counts, and lets everything pass.
    pub fn none() -> Faults {
        Faults::at(0)
    }

    /// Lets the call of that number fail, counted from 1 over all kinds: with `EMFILE` where a file is opened, `ENOMEM`
    /// where memory is mapped or protected, `EIO` where something is read.
    pub fn at(number: u64) -> Faults {
        gate::watch(number);
        Faults { _private: () }
    }

    /// The kind of call that failed; `None` if there were not as many.
    pub fn failed(&self) -> Option<&'static str> {
        gate::failed()
    }

    /// The calls so far, kind by kind: its name, and how many. `close` and `munmap` are not among them, since no kernel
    /// refuses to take back what it gave.
    pub fn calls(&self) -> Vec<(&'static str, u64)> {
        gate::counts().collect()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        gate::leave_alone();
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.calls()).finish()
    }
}
