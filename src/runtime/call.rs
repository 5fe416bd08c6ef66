//! Calls into foreign code: resolvers and initialisers.
//!
//! Invariant: every address that is called was checked to lie in an executable segment of an image that is mapped, and
//! whose relocation is complete; that what stands there is a function of the right type is what the caller of the
//! `unsafe` open vouches for.

use crate::addr::{RunAddr, VmRange};
use crate::error::ErrorKind;
use crate::memory::HostMemory;
use crate::plan::LoadPlan;
use crate::room;
use crate::runtime::host::Arguments;
use std::ffi::{c_char, c_int};

/// Asks an `IFUNC` resolver which implementation to use.
///
/// # Safety
/// `at` must be a resolver of a mapped and relocated image.
pub(crate) unsafe fn resolver(at: RunAddr) -> RunAddr {
    // SAFETY: the caller vouches for the function; on x86-64 a resolver takes no arguments (glibc's ABI).
    let function: extern "C" fn() -> u64 = unsafe { std::mem::transmute(at.0 as usize as *const ()) };
    RunAddr(function())
}

/// Runs one initialiser.
///
/// # Safety
/// `at` must be an initialiser of a mapped, relocated and sealed image whose needs are initialised.
pub(crate) unsafe fn initializer(at: RunAddr, arguments: Arguments) {
    type Initializer = extern "C" fn(c_int, *const *const c_char, *const *const c_char);
    // SAFETY: the caller vouches for the function. glibc passes these three, and what takes none ignores them.
    let function: Initializer = unsafe { std::mem::transmute(at.0 as usize as *const ()) };
    function(arguments.argc, arguments.argv, arguments.envp);
}

/// Runs one finaliser.
///
/// # Safety
/// `at` must be a finaliser of an image that is mapped and was initialised, and that nothing uses any more.
pub(crate) unsafe fn finalizer(at: RunAddr) {
    // SAFETY: the caller vouches for the function; finalisers take nothing (gABI, "Initialization and Termination
    // Functions").
    let function: extern "C" fn() = unsafe { std::mem::transmute(at.0 as usize as *const ()) };
    function();
}

/// The pointers of an init or fini array, as they are in memory now.
///
/// # Errors
/// There is no room for them.
pub(crate) fn array(plan: &LoadPlan, memory: &HostMemory, range: VmRange) -> Result<Vec<RunAddr>, ErrorKind> {
    let readable = plan.region(range.start, range.size).is_some_and(|region| region.prot.read);
    let mut entries = Vec::new();
    if !readable {
        return Ok(entries);
    }
    let count = (range.size / 8) as usize;
    room::reserve_exact(&mut entries, count + 1)?; // and for the function that goes with them
    let start = memory.run(range.start).0 as usize as *const u64;
    // SAFETY: the plan's array lies in one readable region of this image, checked above, at a multiple of eight.
    entries.extend((0..count).map(|index| RunAddr(unsafe { start.add(index).read_volatile() })));
    Ok(entries)
}
