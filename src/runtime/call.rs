//! Calls into foreign code: resolvers and initialisers.
//!
//! Invariant: every address that is called was checked to lie in an executable segment of an image that is mapped, and
//! whose relocation is complete; that what stands there is a function of the right type is what the caller of the
//! `unsafe` open vouches for.

use crate::addr::{RunAddr, VmAddr};
use crate::error::ErrorKind;
use crate::memory::HostMemory;
use crate::plan::{Entries, EntryArray, EntryForm, LoadPlan};
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

/// The functions of all arrays of `entries`, as they are in memory now.
///
/// # Errors
/// There is no room for them.
pub(crate) fn arrays(plan: &LoadPlan, memory: &HostMemory, entries: &Entries) -> Result<Vec<RunAddr>, ErrorKind> {
    let mut all = Vec::new();
    for array in &entries.arrays {
        functions(plan, memory, array, &mut all)?;
    }
    Ok(all)
}

fn functions(
    plan: &LoadPlan,
    memory: &HostMemory,
    &EntryArray { range, form }: &EntryArray,
    entries: &mut Vec<RunAddr>,
) -> Result<(), ErrorKind> {
    let readable = plan.region(range.start, range.size).is_some_and(|region| region.prot.read);
    if !readable {
        return Ok(());
    }
    let count = (range.size / form.size()) as usize;
    room::reserve_exact(entries, count + 1)?; // and for the function that goes with them
    let start = memory.run(range.start).0 as usize as *const u8;
    let function = |index: usize| match form {
        // SAFETY: the plan's array lies in one readable region of this image, checked above.
        EntryForm::Pointers => RunAddr(unsafe { start.cast::<u64>().add(index).read_unaligned() }),
        EntryForm::Offsets { from } => {
            // SAFETY: as above.
            let offset = unsafe { start.cast::<u32>().add(index).read_unaligned() };
            memory.run(VmAddr(from.0.wrapping_add(u64::from(offset))))
        }
    };
    entries.extend((0..count).map(function));
    Ok(())
}
