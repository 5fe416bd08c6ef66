//! Arithmetic that compilers call functions for: what kind of number one is, and integers of 128 bits. The host has some of
//! these names, and tells the kinds by other numbers.

use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::c_int;
use std::num::FpCategory;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"___fpclassifyd" => kind as Pointer,
        b"___fpclassifyf" => kind_f32 as Pointer,
        b"___fpclassifyl" => kind_of_long as Pointer,
        b"___isnormald" => is_normal as Pointer,
        b"___isfinited" => is_finite as Pointer,
        b"___isinfd" => is_infinite as Pointer,
        b"___isnand" => is_nan as Pointer,
        b"___signbitd" => is_negative as Pointer,
        b"___powidf2" => power as Pointer,
        b"___powisf2" => power_f32 as Pointer,
        b"___divti3" => quotient as Pointer,
        b"___modti3" => remainder as Pointer,
        b"___udivti3" => unsigned_quotient as Pointer,
        b"___umodti3" => unsigned_remainder as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

// `<math.h>`
const NAN: c_int = 1;
const INFINITE: c_int = 2;
const ZERO: c_int = 3;
const NORMAL: c_int = 4;
const SUBNORMAL: c_int = 5;

fn number(kind: FpCategory) -> c_int {
    match kind {
        FpCategory::Nan => NAN,
        FpCategory::Infinite => INFINITE,
        FpCategory::Zero => ZERO,
        FpCategory::Normal => NORMAL,
        FpCategory::Subnormal => SUBNORMAL,
    }
}

/// `__fpclassifyd`
extern "C" fn kind(of: f64) -> c_int {
    number(of.classify())
}

/// `__fpclassifyf`
extern "C" fn kind_f32(of: f32) -> c_int {
    number(of.classify())
}

/// `__fpclassifyl`: a `long double` lies on the stack (psABI x86-64 §3.2.3), in the 80 bits that the processor has for it.
#[unsafe(naked)]
unsafe extern "C" fn kind_of_long() {
    std::arch::naked_asm!("mov rdi, [rsp + 8]", "movzx esi, word ptr [rsp + 16]", "jmp {kind}", kind = sym kind_of_80)
}

extern "C" fn kind_of_80(fraction: u64, exponent: u64) -> c_int {
    match (exponent & 0x7fff, fraction) {
        (0, 0) => ZERO,
        (0, _) => SUBNORMAL,
        // The first digit is written out; without it, it is no number to any processor of today.
        (_, 0..0x8000_0000_0000_0000) => NAN,
        (0x7fff, 0x8000_0000_0000_0000) => INFINITE,
        (0x7fff, _) => NAN,
        _ => NORMAL,
    }
}

/// `__isnormald`
extern "C" fn is_normal(number: f64) -> c_int {
    number.is_normal().into()
}

/// `__isfinited`
extern "C" fn is_finite(number: f64) -> c_int {
    number.is_finite().into()
}

/// `__isinfd`
extern "C" fn is_infinite(number: f64) -> c_int {
    number.is_infinite().into()
}

/// `__isnand`
extern "C" fn is_nan(number: f64) -> c_int {
    number.is_nan().into()
}

/// `__signbitd`
extern "C" fn is_negative(number: f64) -> c_int {
    number.is_sign_negative().into()
}

/// A number to a whole power: by squares, as compilers' own libraries do it, so that the last bits are the same.
macro_rules! raised {
    ($number:ident, $power:ident) => {{
        let (mut square, mut left, mut result) = ($number, $power.unsigned_abs(), 1.0);
        loop {
            if left & 1 != 0 {
                result *= square;
            }
            left /= 2;
            if left == 0 {
                break if $power < 0 { 1.0 / result } else { result };
            }
            square *= square;
        }
    }};
}

/// `__powidf2`
extern "C" fn power(number: f64, power: c_int) -> f64 {
    raised!(number, power)
}

/// `__powisf2`
extern "C" fn power_f32(number: f32, power: c_int) -> f32 {
    raised!(number, power)
}

/// What a division by zero is to the caller: the end, as the processor's own instruction makes it.
fn divided<T>(result: Option<T>) -> T {
    result.unwrap_or_else(|| super::die(format_args!("an integer of 128 bits was divided by zero")))
}

/// `__divti3`: what is too large by one wraps.
extern "C" fn quotient(number: i128, by: i128) -> i128 {
    divided((by != 0).then(|| number.wrapping_div(by)))
}

/// `__modti3`
extern "C" fn remainder(number: i128, by: i128) -> i128 {
    divided((by != 0).then(|| number.wrapping_rem(by)))
}

/// `__udivti3`
extern "C" fn unsigned_quotient(number: u128, by: u128) -> u128 {
    divided(number.checked_div(by))
}

/// `__umodti3`
extern "C" fn unsigned_remainder(number: u128, by: u128) -> u128 {
    divided(number.checked_rem(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_other_systems_numbers() {
        const CASES: &[(f64, c_int)] =
            &[(f64::NAN, 1), (f64::NEG_INFINITY, 2), (-0.0, 3), (1.0, 4), (f64::MIN_POSITIVE / 2.0, 5)];
        for &(number, expected) in CASES {
            assert_eq!(kind(number), expected, "{number}");
        }
        assert_eq!((kind_f32(f32::NAN), kind_f32(f32::from_bits(1)), kind_f32(2.0)), (1, 5, 4));
        assert_eq!((is_normal(0.0), is_finite(1.0), is_infinite(1.0), is_nan(f64::NAN)), (0, 1, 0, 1));
        assert_eq!((is_negative(-0.0), is_negative(0.0)), (1, 0));
    }

    #[test]
    fn a_long_double_lies_on_the_stack() {
        const CASES: &[(u64, u16, c_int)] = &[
            (0, 0x8000, 3),
            (1, 0, 5),
            (1 << 63, 0x3fff, 4),
            (1 << 63, 0xffff, 2),
            (3 << 62, 0x7fff, 1),
            (1, 0x3fff, 1),
        ];
        for &(fraction, exponent, expected) in CASES {
            let found: c_int;
            // SAFETY: a call with its argument on an aligned stack, below what the red zone may hold.
            unsafe {
                std::arch::asm!(
                    "mov r13, rsp", "sub rsp, 256", "and rsp, -16", "mov [rsp], rdi", "mov [rsp + 8], rsi",
                    "call {function}", "mov rsp, r13",
                    function = sym kind_of_long, out("r13") _, in("rdi") fraction, in("rsi") u64::from(exponent),
                    lateout("eax") found, clobber_abi("C"),
                );
            }
            assert_eq!(found, expected, "{fraction:#x} {exponent:#x}");
        }
    }

    #[test]
    fn powers_are_products() {
        assert_eq!((power(1.5, 3), power(2.0, -2), power(7.0, 0), power_f32(-3.0, 3)), (3.375, 0.25, 1.0, -27.0));
        assert_eq!((power(2.0, c_int::MIN), power(1.0, c_int::MAX)), (0.0, 1.0));
    }

    #[test]
    fn integers_of_128_bits_are_divided() {
        let large = 1 << 100;
        assert_eq!((quotient(-large, 3), remainder(-large, 3)), (-large / 3, -large % 3));
        assert_eq!((quotient(i128::MIN, -1), remainder(i128::MIN, -1)), (i128::MIN, 0));
        assert_eq!((unsigned_quotient(u128::MAX, 10), unsigned_remainder(u128::MAX, 10)), (u128::MAX / 10, 5));
    }
}
