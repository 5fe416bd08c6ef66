//! Calls into foreign code: resolvers and initialisers.
//!
//! Invariant: every address that is called was checked to lie in an executable segment of an image that is mapped, and
//! whose relocation is complete; that what stands there is a function of the right type is what the caller of the
//! `unsafe` open vouches for.

use crate::addr::{RunAddr, VmRange};
use crate::memory::HostMemory;
use crate::plan::LoadPlan;
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

/// The pointers of an init or fini array, as they are in memory now.
pub(crate) fn array(plan: &LoadPlan, memory: &HostMemory, range: VmRange) -> Vec<RunAddr> {
    let readable = plan.region(range.start, range.size).is_some_and(|region| region.prot.read);
    if !readable {
        return Vec::new();
    }
    let start = memory.run(range.start).0 as usize as *const u64;
    (0..(range.size / 8) as usize)
        // SAFETY: the plan's array lies in one readable region of this image, checked above, at a multiple of eight.
        .map(|index| RunAddr(unsafe { start.add(index).read_volatile() }))
        .collect()
}
