//! Functions that nobody defines, where the caller would have an image opened all the same: a call of one ends the process
//! with a message. The counterpart of dyld's abort stubs for lazily bound symbols.
//!
//! A stub is a call of [`missing`], five bytes of a table that is part of this library, so that none of them has to be
//! written while the process runs; the address that it would return to tells which one it is.
//!
//! Invariant: [`missing`] is reached by a stub alone.

use crate::addr::RunAddr;
use crate::room;
use crate::sync::{Mutex, MutexGuard, lock};

/// Whether there are stubs on this architecture.
pub(crate) const SUPPORTED: bool = cfg!(target_arch = "x86_64");

/// Stubs in the table; those that come later share the last one.
const STUBS: usize = 2048;
const SIZE: usize = 5;

/// Name and importer of each stub that is in use. A stub stays in use for ever: whoever has its address may call it.
static NAMES: Mutex<Names> = Mutex::new(Vec::new());
type Names = Vec<(Box<[u8]>, Box<str>)>;

/// Keeps the names as they are.
pub(crate) type Lock = MutexGuard<'static, Names>;
pub(crate) fn hold() -> Lock {
    lock(&NAMES)
}

/// A function that says that `module` called `name`.
pub(crate) fn stub(name: &[u8], module: &str) -> RunAddr {
    let mut names = lock(&NAMES);
    let known = names.iter().position(|(known, of)| **known == *name && **of == *module);
    let index = known.unwrap_or_else(|| {
        // Without room for its name, it is one of those that cannot be told apart.
        if names.len() < STUBS - 1 && room::push(&mut names, (name.into(), module.into())).is_ok() {
            names.len() - 1
        } else {
            STUBS - 1
        }
    });
    RunAddr(table() + (index * SIZE) as u64)
}

#[cfg(target_arch = "x86_64")]
fn table() -> u64 {
    stubs as *const () as u64
}
#[cfg(not(target_arch = "x86_64"))]
fn table() -> u64 {
    0
}

#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn stubs() {
    std::arch::naked_asm!(
        ".rept {count}",
        "call {missing}",
        ".endr",
        count = const STUBS,
        missing = sym missing,
    )
}

/// The address behind the stub is on the stack; no one returns, so nothing need be kept.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn missing() {
    std::arch::naked_asm!("pop rdi", "and rsp, -16", "call {tell}", "ud2", tell = sym tell)
}

#[cfg(target_arch = "x86_64")]
extern "C" fn tell(behind: u64) -> ! {
    let index = (behind - table()) as usize / SIZE - 1;
    match lock(&NAMES).get(index) {
        Some((name, module)) => {
            eprintln!("sideload: {module} called {}, which nobody defines", name.escape_ascii());
        }
        None => eprintln!("sideload: a function was called that nobody defines"),
    }
    std::process::abort()
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    #[test]
    fn every_stub_is_five_bytes() {
        let (one, two) = (stub(b"one", "a"), stub(b"two", "a"));
        assert_eq!((stub(b"one", "a"), two.0 - one.0), (one, SIZE as u64));
        for at in [one, two] {
            let code: *const u8 = std::ptr::with_exposed_provenance(at.0 as usize);
            // SAFETY: the first byte of a function of this library.
            assert_eq!(unsafe { code.read() }, 0xe8);
        }
    }
}
