//! A call of a C function whose type is only known at run time.
//!
//! In the calling conventions of x86-64 (System V psABI §3.2.3) and AArch64 (AAPCS64 §6.8), integers and pointers go to
//! one file of registers and floating-point numbers to another, each in the order of its own arguments. So one call
//! that fills every argument register of both serves every function whose arguments all go to registers: what the
//! callee does not expect, it does not look at. It takes no memory arguments, structures, `long double` or vectors.
//!
//! Invariant: the function pointer is called with the registers' worth of arguments that the user listed; that this is
//! what the function takes is the user's word, which `call` has no way to check.

use crate::value::{Argument, Type};
use sideload::Library;
use std::ffi::{CStr, CString};

/// How many integers and pointers go to registers.
#[cfg(target_arch = "x86_64")]
const INTEGERS: usize = 6;
#[cfg(not(target_arch = "x86_64"))]
const INTEGERS: usize = 8;
/// How many floating-point numbers do.
const FLOATS: usize = 8;

/// The content of the argument registers, and the strings that some of them point to.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    integers: [u64; INTEGERS],
    floats: [f64; FLOATS],
    /// Never looked at, but `integers` points into them.
    texts: Vec<CString>,
}

impl Registers {
    /// Assigns the arguments.
    ///
    /// # Errors
    /// What there is too much of.
    pub(crate) fn assign(arguments: Vec<Argument>) -> Result<Registers, String> {
        let mut registers = Registers::default();
        let (mut integers, mut floats, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for argument in arguments {
            match argument {
                Argument::Integer(value) => integers.push(value),
                Argument::Float(bits) => floats.push(f64::from_bits(bits)),
                Argument::Text(text) => {
                    // The heap memory of a CString stays where it is when the CString moves.
                    integers.push(text.as_ptr() as u64);
                    texts.push(text);
                }
            }
        }
        fill(&mut registers.integers, &integers, "integers and pointers")?;
        fill(&mut registers.floats, &floats, "floating-point numbers")?;
        registers.texts = texts;
        Ok(registers)
    }
}

fn fill<T: Copy>(registers: &mut [T], values: &[T], what: &str) -> Result<(), String> {
    let limit = registers.len();
    let used = registers.get_mut(..values.len()).ok_or(format!("more than {limit} {what} do not fit in registers"))?;
    used.copy_from_slice(values);
    Ok(())
}

/// What a function returned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Returned {
    Nothing,
    Signed(i64),
    Unsigned(u64),
    Single(f32),
    Double(f64),
    Pointer(u64),
    /// A string's bytes; `None` is a null pointer.
    Text(Option<Vec<u8>>),
}

/// Looks a function up, calls it, and reads its result as `returns`.
///
/// # Errors
/// There is no such symbol.
///
/// # Safety
/// The symbol is what [`invoke`] needs.
pub(crate) unsafe fn call_symbol(
    library: &Library,
    symbol: &[u8],
    registers: &Registers,
    returns: Type,
) -> Result<Returned, sideload::Error> {
    // SAFETY: a function, read as its address: the caller's promise.
    let function = unsafe { library.get::<*const ()>(symbol) }?;
    // SAFETY: the caller's promise.
    Ok(unsafe { invoke(*function, registers, returns) })
}

/// Calls `function` and reads its result as `returns`.
///
/// # Safety
/// `function` is the address of a C function that takes these arguments, in registers, and returns that type; a
/// returned `str` is null or points to a NUL-terminated string.
unsafe fn invoke(function: *const (), registers: &Registers, returns: Type) -> Returned {
    match returns {
        Type::F32 => {
            // SAFETY: the caller's promise.
            Returned::Single(unsafe { single(function, registers) })
        }
        Type::F64 => {
            // SAFETY: the caller's promise.
            Returned::Double(unsafe { double(function, registers) })
        }
        _ => {
            // SAFETY: the caller's promise; for `void` the register just holds whatever it holds.
            let value = unsafe { integer(function, registers) };
            // SAFETY: as above.
            unsafe { narrow(value, returns) }
        }
    }
}

/// The result as its type has it: the bits above it are nobody's.
///
/// # Safety
/// For `str`: the value is null or the address of a NUL-terminated string.
unsafe fn narrow(value: u64, returns: Type) -> Returned {
    match returns {
        Type::I8 => Returned::Signed((value as i8).into()),
        Type::I16 => Returned::Signed((value as i16).into()),
        Type::I32 => Returned::Signed((value as i32).into()),
        Type::I64 => Returned::Signed(value as i64),
        Type::U8 => Returned::Unsigned((value as u8).into()),
        Type::U16 => Returned::Unsigned((value as u16).into()),
        Type::U32 => Returned::Unsigned((value as u32).into()),
        Type::U64 => Returned::Unsigned(value),
        Type::Ptr => Returned::Pointer(value),
        Type::Str if value == 0 => Returned::Text(None),
        Type::Str => {
            // SAFETY: not null, so a string: the caller's promise.
            let text = unsafe { CStr::from_ptr(value as *const std::ffi::c_char) };
            Returned::Text(Some(text.to_bytes().to_vec()))
        }
        Type::Void | Type::F32 | Type::F64 => Returned::Nothing,
    }
}

/// Defines a function that calls another one with all registers filled, for one type of result.
macro_rules! caller {
    ($name:ident, $result:ty) => {
        /// # Safety
        /// As [`invoke`], for one type of result.
        #[cfg(target_arch = "x86_64")]
        unsafe fn $name(function: *const (), registers: &Registers) -> $result {
            // Variadic, because then `al` tells the number of floating-point registers, which a variadic callee wants
            // (psABI §3.5.7) and any other ignores. The registers are the same.
            type Function = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64, ...) -> $result;
            // SAFETY: an address of a C function, by the caller's promise.
            let function = unsafe { std::mem::transmute::<*const (), Function>(function) };
            let ([i0, i1, i2, i3, i4, i5], [f0, f1, f2, f3, f4, f5, f6, f7]) = (registers.integers, registers.floats);
            // SAFETY: it takes what the user listed, by the caller's promise, and ignores the other registers.
            unsafe { function(i0, i1, i2, i3, i4, i5, f0, f1, f2, f3, f4, f5, f6, f7) }
        }

        /// # Safety
        /// As [`invoke`], for one type of result.
        #[cfg(not(target_arch = "x86_64"))]
        unsafe fn $name(function: *const (), registers: &Registers) -> $result {
    #[rustfmt::skip]
            type Function = unsafe extern "C" fn(
                u64, u64, u64, u64, u64, u64, u64, u64, f64, f64, f64, f64, f64, f64, f64, f64,
            ) -> $result;
            // SAFETY: an address of a C function, by the caller's promise.
            let function = unsafe { std::mem::transmute::<*const (), Function>(function) };
            let [i0, i1, i2, i3, i4, i5, i6, i7] = registers.integers;
            let [f0, f1, f2, f3, f4, f5, f6, f7] = registers.floats;
            // SAFETY: it takes what the user listed, by the caller's promise, and ignores the other registers.
            unsafe { function(i0, i1, i2, i3, i4, i5, i6, i7, f0, f1, f2, f3, f4, f5, f6, f7) }
        }
    };
}

caller!(integer, u64);
caller!(single, f32);
caller!(double, f64);

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    extern "C" fn mixed(a: i32, x: f32, b: u8, y: f64, text: *const std::ffi::c_char) -> f64 {
        // SAFETY: the test passes a string.
        let text = unsafe { CStr::from_ptr(text) };
        f64::from(a) + f64::from(x) * 10.0 + f64::from(b) * 100.0 + y * 1000.0 + text.count_bytes() as f64 * 10_000.0
    }

    extern "C" fn half(x: f32) -> f32 {
        x / 2.0
    }

    extern "C" fn negative() -> i32 {
        -1
    }

    extern "C" fn greeting() -> *const std::ffi::c_char {
        c"hello".as_ptr()
    }

    fn registers(arguments: &[&str]) -> Registers {
        let parsed = arguments.iter().map(|argument| Argument::parse(OsStr::new(argument)).unwrap());
        Registers::assign(parsed.collect()).unwrap()
    }

    #[test]
    fn arguments_arrive_in_their_registers() {
        let all = registers(&["i32:1", "f32:2", "u8:3", "f64:4", "str:12345"]);
        // SAFETY: the arguments are the function's.
        let returned = unsafe { invoke(mixed as *const (), &all, Type::F64) };
        assert_eq!(returned, Returned::Double(54_321.0));
    }

    #[test]
    fn results_are_read_by_their_type() {
        let none = Registers::default();
        // SAFETY: none takes arguments but `half`, whose one is there.
        unsafe {
            assert_eq!(invoke(half as *const (), &registers(&["f32:3"]), Type::F32), Returned::Single(1.5));
            assert_eq!(invoke(negative as *const (), &none, Type::I32), Returned::Signed(-1));
            assert_eq!(invoke(negative as *const (), &none, Type::U8), Returned::Unsigned(255));
            assert_eq!(invoke(negative as *const (), &none, Type::Void), Returned::Nothing);
            assert_eq!(invoke(greeting as *const (), &none, Type::Str), Returned::Text(Some(b"hello".to_vec())));
        }
    }

    #[test]
    fn what_does_not_fit_in_registers_is_refused() {
        let floats = |count| Registers::assign(vec![Argument::Float(0); count]);
        assert!(floats(8).is_ok());
        assert_eq!(floats(9).unwrap_err(), "more than 8 floating-point numbers do not fit in registers");
        assert!(Registers::assign(vec![Argument::Integer(0); INTEGERS + 1]).is_err());
    }
}
