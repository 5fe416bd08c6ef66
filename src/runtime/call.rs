//! Calls into foreign code: resolvers and initialisers.
//!
//! Invariant: every address that is called was checked to lie in an executable segment of an image that is mapped, and
//! whose relocation is complete; that what stands there is a function of the right type is what the caller of the
//! `unsafe` open vouches for. It may unwind (a C++ exception, a Rust panic): that passes on to who opens or unloads, as an
//! observer's panic does.

use crate::addr::{RunAddr, VmAddr};
use crate::error::ErrorKind;
use crate::memory::HostMemory;
use crate::plan::{Entries, EntryArray, EntryForm, LoadPlan};
use crate::platform::program_variables;
use crate::room;
use crate::runtime::host::Arguments;
use std::ffi::{c_char, c_int};
use std::sync::atomic::Ordering;

/// Asks an `IFUNC` resolver which implementation to use.
///
/// # Safety
/// `at` must be a resolver of a mapped and relocated image.
pub(crate) unsafe fn resolver(at: RunAddr) -> RunAddr {
    // SAFETY: the caller vouches for the function; on x86-64 a resolver takes no arguments (glibc's ABI).
    let function: extern "C-unwind" fn() -> u64 = unsafe { std::mem::transmute(at.0 as usize as *const ()) };
    RunAddr(function())
}

/// Runs one initialiser.
///
/// # Safety
/// `at` must be an initialiser of a mapped, relocated and sealed image whose needs are initialised.
pub(crate) unsafe fn initializer(at: RunAddr, arguments: Arguments) {
    type List = *const *const c_char;
    type Initializer = extern "C-unwind" fn(c_int, List, List, List, *const ProgramVariables);
    // SAFETY: the caller vouches for the function. glibc passes the first three and dyld all five, in registers, so what
    // takes fewer ignores the others.
    let function: Initializer = unsafe { std::mem::transmute(at.0 as usize as *const ()) };
    let Arguments { argc, argv, envp } = arguments;
    function(argc, argv, envp, APPLE.0.as_ptr(), ProgramVariables::of(arguments));
}

/// What the kernel of macOS says of a process beside its environment. Only dyld is told, so it is nothing.
struct Apple([*const c_char; 1]);
static APPLE: Apple = Apple([std::ptr::null()]);
// SAFETY: a null pointer that nobody changes.
unsafe impl Sync for Apple {}

/// dyld's `ProgramVars`: where the program's variables are. An initialiser may keep the pointer.
#[repr(C)]
struct ProgramVariables {
    /// The program's Mach-O header, if it has one.
    header: *const (),
    argc: *const c_int,
    argv: *const *const *const c_char,
    environment: *const *const *const c_char,
    name: *const *const c_char,
}

impl ProgramVariables {
    /// Those of the process, made once and never freed.
    fn of(arguments: Arguments) -> *const ProgramVariables {
        static ONCE: std::sync::atomic::AtomicPtr<ProgramVariables> =
            std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
        let known = ONCE.load(Ordering::Acquire);
        if !known.is_null() {
            return known;
        }
        let made = match program_variables() {
            Some([header, argc, argv, environment, name]) => ProgramVariables {
                header,
                argc: argc.cast(),
                argv: argv.cast(),
                environment: environment.cast(),
                name: name.cast(),
            },
            None => ProgramVariables::made_of(arguments),
        };
        let made = Box::leak(Box::new(made));
        match ONCE.compare_exchange(std::ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(other) => other,
        }
    }

    /// Variables of our own, which nobody changes.
    fn made_of(arguments: Arguments) -> ProgramVariables {
        let Arguments { argc, argv, envp } = arguments;
        // SAFETY: a program's first argument is its name; where there is none, the list ends.
        let name = if argv.is_null() { std::ptr::null() } else { unsafe { *argv } };
        ProgramVariables {
            header: std::ptr::null(),
            argc: Box::leak(Box::new(argc)),
            argv: Box::leak(Box::new(argv)),
            environment: Box::leak(Box::new(envp)),
            name: Box::leak(Box::new(name)),
        }
    }
}

/// Runs one finaliser.
///
/// # Safety
/// `at` must be a finaliser of an image that is mapped and was initialised, and that nothing uses any more.
pub(crate) unsafe fn finalizer(at: RunAddr) {
    // SAFETY: the caller vouches for the function; finalisers take nothing (gABI, "Initialization and Termination
    // Functions").
    let function: extern "C-unwind" fn() = unsafe { std::mem::transmute(at.0 as usize as *const ()) };
    function();
}

/// Calls what an image registered for its end. What is called once is off the list.
///
/// # Safety
/// As [`finalizer`]; `image` is what names the image in that list.
pub(crate) unsafe fn exit_handlers(image: RunAddr) {
    // SAFETY: the caller's promise.
    unsafe { super::ending::run_exit_handlers(image) };
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
