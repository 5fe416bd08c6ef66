//! Products and quotients of complex numbers: compilers call a function for them, and the system's library has it there. Here
//! it is in libgcc_s, which a process may have and yet not in its scope.
//!
//! As in ISO C17 annex G.5.1, examples 1 and 2: what has become two NaNs is looked at again, since a product with something
//! infinite is infinite, and so is a quotient by zero. Nothing here touches memory.

use super::Pointer;
use crate::addr::RunAddr;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"___muldc3" => double::product as Pointer,
        b"___divdc3" => double::quotient as Pointer,
        b"___mulsc3" => single::product as Pointer,
        b"___divsc3" => single::quotient as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// A complex number, in registers as C has it: two of `double`, or one with two of `float`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Complex<F> {
    re: F,
    im: F,
}

macro_rules! arithmetic {
    ($module:ident, $float:ident, $bits:ident, $fraction_bits:literal) => {
        mod $module {
            use super::Complex;

            /// One or zero with the sign of `part`: what is infinite in it, and nothing else.
            fn infinite(part: $float) -> $float {
                $float::from(u8::from(part.is_infinite())).copysign(part)
            }

            /// Zero with its sign in place of a NaN.
            fn number(part: $float) -> $float {
                if part.is_nan() { (0.0 as $float).copysign(part) } else { part }
            }

            /// `__muldc3`, `__mulsc3`: (a + bi)(c + di).
            pub(super) extern "C" fn product(a: $float, b: $float, c: $float, d: $float) -> Complex<$float> {
                let (ac, bd, ad, bc) = (a * c, b * d, a * d, b * c);
                let plain = Complex { re: ac - bd, im: ad + bc };
                if !(plain.re.is_nan() && plain.im.is_nan()) {
                    return plain;
                }
                let (left, right) = (a.is_infinite() || b.is_infinite(), c.is_infinite() || d.is_infinite());
                let (mut a, mut b, mut c, mut d) = (a, b, c, d);
                if left {
                    (a, b, c, d) = (infinite(a), infinite(b), number(c), number(d));
                }
                if right {
                    (a, b, c, d) = (number(a), number(b), infinite(c), infinite(d));
                }
                if !left && !right {
                    // Numbers whose product is too large.
                    if ![ac, bd, ad, bc].into_iter().any($float::is_infinite) {
                        return plain;
                    }
                    (a, b, c, d) = (number(a), number(b), number(c), number(d));
                }
                Complex { re: $float::INFINITY * (a * c - b * d), im: $float::INFINITY * (a * d + b * c) }
            }

            /// `__divdc3`, `__divsc3`: (a + bi) / (c + di).
            pub(super) extern "C" fn quotient(a: $float, b: $float, c: $float, d: $float) -> Complex<$float> {
                let (mut a, mut b, mut c, mut d) = (a, b, c, d);
                // So that no square is too large or too small.
                let largest = c.abs().max(d.abs());
                let by = if largest.is_finite() && largest > 0.0 { exponent(largest) } else { 0 };
                (c, d) = (scaled(c, -by), scaled(d, -by));
                let square = c * c + d * d;
                let re = scaled((a * c + b * d) / square, -by);
                let im = scaled((b * c - a * d) / square, -by);
                if !(re.is_nan() && im.is_nan()) {
                    return Complex { re, im };
                }
                if square == 0.0 && (!a.is_nan() || !b.is_nan()) {
                    let infinite = $float::INFINITY.copysign(c);
                    return Complex { re: infinite * a, im: infinite * b };
                }
                if (a.is_infinite() || b.is_infinite()) && c.is_finite() && d.is_finite() {
                    (a, b) = (infinite(a), infinite(b));
                    return Complex { re: $float::INFINITY * (a * c + b * d), im: $float::INFINITY * (b * c - a * d) };
                }
                if largest.is_infinite() && a.is_finite() && b.is_finite() {
                    (c, d) = (infinite(c), infinite(d));
                    return Complex { re: 0.0 * (a * c + b * d), im: 0.0 * (b * c - a * d) };
                }
                Complex { re, im }
            }

            const BIAS: i32 = $float::MAX_EXP - 1;

            /// Two to that power, which is that of a normal number.
            fn power(of: i32) -> $float {
                $float::from_bits(((of + BIAS) as $bits) << $fraction_bits)
            }

            /// The power of two that a positive number begins with (`logb`).
            fn exponent(of: $float) -> i32 {
                if of < $float::MIN_POSITIVE {
                    return exponent(of * power($fraction_bits)) - $fraction_bits;
                }
                (of.to_bits() >> $fraction_bits) as i32 - BIAS
            }

            /// Times that power of two (`scalbn`), with one rounding.
            fn scaled(number: $float, by: i32) -> $float {
                match by {
                    _ if by > BIAS => scaled(number * power(BIAS), by - BIAS),
                    // What is a normal number before the last step is rounded by that one alone.
                    _ if by < 1 - BIAS => {
                        let step = (by + BIAS - 1).max(1 - BIAS + $fraction_bits + 1);
                        scaled(number * power(step), by - step)
                    }
                    _ => number * power(by),
                }
            }

            #[cfg(test)]
            pub(super) fn scaled_by(number: $float, by: i32) -> $float {
                scaled(number, by)
            }
        }
    };
}
arithmetic!(double, f64, u64, 52);
arithmetic!(single, f32, u32, 23);

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [f64; 13] = [
        0.0,
        -0.0,
        1.0,
        -2.5,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        -3e-310,
        1e200,
        -7e-200,
    ];

    unsafe extern "C" {
        #[link_name = "__muldc3"]
        safe fn product_of_libgcc(a: f64, b: f64, c: f64, d: f64) -> Complex<f64>;
        #[link_name = "__mulsc3"]
        safe fn product_of_libgcc_f32(a: f32, b: f32, c: f32, d: f32) -> Complex<f32>;
        #[link_name = "__divdc3"]
        safe fn quotient_of_libgcc(a: f64, b: f64, c: f64, d: f64) -> Complex<f64>;
        #[link_name = "__divsc3"]
        safe fn quotient_of_libgcc_f32(a: f32, b: f32, c: f32, d: f32) -> Complex<f32>;
    }

    fn all(mut each: impl FnMut([f64; 4])) {
        for a in EDGES {
            for b in EDGES {
                for c in EDGES {
                    EDGES.iter().for_each(|&d| each([a, b, c, d]));
                }
            }
        }
    }

    fn same(one: f64, other: f64) -> bool {
        one.to_bits() == other.to_bits() || one.is_nan() && other.is_nan()
    }

    #[test]
    fn products_are_those_of_libgcc() {
        all(|[a, b, c, d]| {
            let (ours, theirs) = (double::product(a, b, c, d), product_of_libgcc(a, b, c, d));
            assert!(same(ours.re, theirs.re) && same(ours.im, theirs.im), "{a} {b} {c} {d}: {ours:?} {theirs:?}");
            let [a, b, c, d] = [a, b, c, d].map(|part| part as f32);
            let (ours, theirs) = (single::product(a, b, c, d), product_of_libgcc_f32(a, b, c, d));
            let same = |one: f32, other: f32| same(one.into(), other.into());
            assert!(same(ours.re, theirs.re) && same(ours.im, theirs.im), "{a} {b} {c} {d}: {ours:?} {theirs:?}");
        });
    }

    /// libgcc divides in another way, so the last bits differ, and what is between them and nothing.
    #[test]
    fn quotients_are_close_to_those_of_libgcc() {
        let close = |one: f64, other: f64| same(one, other) || (one - other).abs() <= other.abs() * 1e-14;
        for [a, b, c, d] in [[1.0, 2.0, 3.0, 4.0], [1e300, -1e300, 1e300, 2e300], [3e-310, 1e-309, 2e-308, 1e-310]] {
            let (ours, theirs) = (double::quotient(a, b, c, d), quotient_of_libgcc(a, b, c, d));
            assert!(close(ours.re, theirs.re) && close(ours.im, theirs.im), "{a} {b} {c} {d}: {ours:?} {theirs:?}");
        }
        let (ours, theirs) = (single::quotient(1.0, 2.0, 3.0, 4.0), quotient_of_libgcc_f32(1.0, 2.0, 3.0, 4.0));
        assert!((ours.re - theirs.re).abs() < 1e-6 && (ours.im - theirs.im).abs() < 1e-6);
        all(|[a, b, c, d]| {
            let special = |part: f64| !part.is_finite() || part == 0.0;
            if ![a, b, c, d].into_iter().all(|part| special(part) || part.abs() == 1.0 || part == -2.5) {
                return;
            }
            let (ours, theirs) = (double::quotient(a, b, c, d), quotient_of_libgcc(a, b, c, d));
            let same = |one: f64, other: f64| one == other && special(one) || close(one, other);
            assert!(same(ours.re, theirs.re) && same(ours.im, theirs.im), "{a} {b} {c} {d}: {ours:?} {theirs:?}");
        });
    }

    #[test]
    fn scaling_rounds_once() {
        assert_eq!(double::scaled_by(1.5, 2000 - 1990), 1536.0);
        assert_eq!(double::scaled_by(5e-324, 2097), f64::from_bits((1023 + 1023) << 52));
        assert_eq!(double::scaled_by(f64::MAX, -2097).to_bits(), 2);
        // Halfway between two of the smallest, and a little more.
        assert_eq!(double::scaled_by(1.5 + f64::EPSILON, -1074).to_bits(), 2);
        assert_eq!(double::scaled_by(2.5, -1074).to_bits(), 2);
        assert_eq!(single::scaled_by(2.5, -149).to_bits(), 2);
        assert_eq!(double::scaled_by(f64::INFINITY, -3000), f64::INFINITY);
        assert_eq!(double::scaled_by(1.0, 3000), f64::INFINITY);
    }
}
