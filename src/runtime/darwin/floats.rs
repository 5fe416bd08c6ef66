//! The floating-point environment: there it is the control and status words of both units, here the x87 unit's environment
//! as the processor stores it (`<architecture/i386/fenv.h>`). Rounding modes and exceptions have the same numbers.

use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::c_int;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"__FE_DFL_ENV" => (&raw const DEFAULT).cast(),
        b"__FE_DFL_DISABLE_SSE_DENORMS_ENV" => (&raw const WITHOUT_DENORMALS).cast(),
        b"_fegetenv" => get as Pointer,
        b"_fesetenv" => set as Pointer,
        b"_feholdexcept" => hold as Pointer,
        b"_feupdateenv" => update as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `fenv_t`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Environment {
    control: u16,
    status: u16,
    mxcsr: u32,
    reserved: [u8; 8],
}

/// `FE_DFL_ENV`
static DEFAULT: Environment = Environment { control: 0x37f, status: 0, mxcsr: 0x1f80, reserved: [0; 8] };
/// `FE_DFL_DISABLE_SSE_DENORMS_ENV`
static WITHOUT_DENORMALS: Environment = Environment { mxcsr: 0x9fc0, ..DEFAULT };

/// All exceptions, also that of denormals: as flags, and in `mxcsr` seven bits higher as masks.
const ALL: u16 = 0x3f;

/// What `fnstenv` stores.
#[repr(C)]
#[derive(Default)]
struct Stored {
    control: u32,
    status: u32,
    rest: [u32; 5],
}

fn present() -> Environment {
    let (mut control, mut status, mut mxcsr) = (0u16, 0u16, 0u32);
    // SAFETY: each stores a word of the processor in a place of that size.
    unsafe {
        std::arch::asm!("fnstcw [{}]", in(reg) &raw mut control, options(nostack, preserves_flags));
        std::arch::asm!("fnstsw [{}]", in(reg) &raw mut status, options(nostack, preserves_flags));
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags));
    }
    Environment { control, status, mxcsr, reserved: [0; 8] }
}

/// Makes `new` the present environment. No exception is raised by it, and the registers keep their content.
fn install(new: Environment) {
    let mut stored = Stored::default();
    // SAFETY: 28 bytes for what the x87 unit stores, which masks all exceptions meanwhile.
    unsafe { std::arch::asm!("fnstenv [{}]", in(reg) &raw mut stored, options(nostack, preserves_flags)) };
    stored.control = stored.control & 0xffff_0000 | u32::from(new.control);
    // The top of its stack is the registers' business.
    const TOP: u32 = 0x3800;
    stored.status = stored.status & (0xffff_0000 | TOP) | u32::from(new.status) & !TOP;
    let mxcsr = new.mxcsr & 0xffff;
    // SAFETY: what the unit stored, with other words for control and status, which have no forbidden bits; and of mxcsr the
    // bits that every processor has.
    unsafe {
        std::arch::asm!("fldenv [{}]", in(reg) &raw const stored, options(nostack, preserves_flags));
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, preserves_flags));
    }
}

/// `fegetenv`
///
/// # Safety
/// There is room for an environment.
unsafe extern "C" fn get(environment: *mut Environment) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { environment.write(present()) };
    0
}

/// `fesetenv`
///
/// # Safety
/// There is an environment.
unsafe extern "C" fn set(environment: *const Environment) -> c_int {
    // SAFETY: as the caller promises.
    install(unsafe { environment.read() });
    0
}

/// `feholdexcept`: no exception is raised from here on, and none was.
///
/// # Safety
/// As [`get`].
unsafe extern "C" fn hold(environment: *mut Environment) -> c_int {
    let before = present();
    // SAFETY: as the caller promises.
    unsafe { environment.write(before) };
    let masks = u32::from(ALL) << 7;
    install(Environment {
        control: before.control | ALL,
        // All that says that there was one: the flags, that of the stack, the summary and the busy bit.
        status: before.status & !0x80ff,
        mxcsr: (before.mxcsr | masks) & !u32::from(ALL),
        ..before
    });
    0
}

/// `feupdateenv`: the environment, and what was raised meanwhile.
///
/// # Safety
/// As [`set`].
unsafe extern "C" fn update(environment: *const Environment) -> c_int {
    let now = present();
    let raised = (now.status | now.mxcsr as u16) & ALL;
    // SAFETY: as the caller promises.
    let new = unsafe { environment.read() };
    install(Environment { status: new.status | raised, mxcsr: new.mxcsr | u32::from(raised), ..new });
    // SAFETY: waits for the x87 unit, which raises what is not masked.
    unsafe { std::arch::asm!("fwait", options(nomem, nostack, preserves_flags)) };
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// Flags of a division by zero and of an inexact result, and bits of the rounding mode.
    const BY_ZERO: u16 = 4;
    const INEXACT: u16 = 0x20;
    const UPWARD: (u16, u32) = (0x800, 0x4000);

    fn raised() -> u16 {
        let now = present();
        (now.status | now.mxcsr as u16) & ALL
    }

    #[test]
    fn an_environment_is_held_and_updated() {
        let before = present();
        let mut held = DEFAULT;
        // SAFETY: environments of this thread, which gets its own back.
        unsafe {
            install(DEFAULT);
            assert_eq!((present(), black_box(1.0) / black_box(3.0) > 0.3, raised()), (DEFAULT, true, INEXACT));
            assert_eq!((hold(&raw mut held), raised()), (0, 0));
            assert_eq!((black_box(1.0) / black_box(0.0), raised()), (f64::INFINITY, BY_ZERO));
            assert_eq!((update(&raw const held), raised()), (0, BY_ZERO | INEXACT));
        }
        install(before);
    }

    #[test]
    fn a_rounding_mode_goes_there_and_back() {
        let before = present();
        let up = Environment { control: DEFAULT.control | UPWARD.0, mxcsr: DEFAULT.mxcsr | UPWARD.1, ..DEFAULT };
        let mut found = DEFAULT;
        // SAFETY: as above.
        unsafe {
            let down = black_box(1.0) / black_box(3.0);
            assert_eq!((set(&raw const up), get(&raw mut found)), (0, 0));
            let up = black_box(1.0) / black_box(3.0);
            assert!(up > down, "{up} and {down}");
            set(&raw const DEFAULT);
        }
        assert_eq!((found.control, found.mxcsr & !u32::from(ALL)), (up.control, up.mxcsr));
        install(before);
        // The host's functions are told the same.
        assert_eq!(present().control, before.control);
    }
}
