//! The arguments of `call` and what it prints: C scalars by their Rust names, strings and pointers.

use clap::ValueEnum;
use std::ffi::{CString, OsStr, OsString};
use std::fmt::{self, Display};
use std::os::unix::ffi::OsStrExt;

/// A type of an argument or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Type {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
    /// `const char *`
    Str,
    /// Any other pointer
    Ptr,
    /// No result
    Void,
}

impl Type {
    fn named(name: &[u8]) -> Option<Type> {
        Type::from_str(std::str::from_utf8(name).ok()?, false).ok()
    }
}

/// An argument, as the register that takes it holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    /// Sign- or zero-extended to 64 bits, which the callee may rely on for none of them, but never minds.
    Integer(u64),
    /// The bits of a floating-point register, of whose low half an `f32` takes up.
    Float(u64),
    /// A string, for as long as the call lasts.
    Text(CString),
}

/// Why an argument is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadArgument {
    NotA(Type, OsString),
    Void,
    HoldsNul(OsString),
}

impl Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadArgument::NotA(kind, text) => {
                let kind = kind.to_possible_value();
                let name = kind.as_ref().map_or("", |kind| kind.get_name());
                write!(f, "{text:?} is no {name}, or out of its range")
            }
            BadArgument::Void => f.write_str("void is a result, not an argument"),
            BadArgument::HoldsNul(text) => write!(f, "{} holds a NUL", text.display()),
        }
    }
}

impl Argument {
    /// Reads `TYPE:VALUE`; without a type an integer is `i64`, a decimal `f64`, anything else `str`.
    pub(crate) fn parse(argument: &OsStr) -> Result<Argument, BadArgument> {
        let bytes = argument.as_bytes();
        let colon = bytes.iter().position(|&byte| byte == b':');
        if let Some(colon) = colon
            && let Some(kind) = Type::named(&bytes[..colon])
        {
            return Argument::of(kind, OsStr::from_bytes(&bytes[colon + 1..]));
        }
        let guess = match argument.to_str() {
            Some(text) if is_integer(text) => Type::I64,
            // `inf` and `nan` are words, and a call to compare strings may well want them.
            Some(text) if text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok() => Type::F64,
            _ => Type::Str,
        };
        Argument::of(guess, argument)
    }

    fn of(kind: Type, value: &OsStr) -> Result<Argument, BadArgument> {
        let bad = || BadArgument::NotA(kind, value.to_owned());
        let text = value.to_str();
        let within = |low: i128, high: i128| {
            let number = text.and_then(integer).filter(|number| (low..=high).contains(number));
            number.map(|number| Argument::Integer(number as u64)).ok_or_else(bad)
        };
        match kind {
            Type::I8 => within(i8::MIN.into(), i8::MAX.into()),
            Type::U8 => within(0, u8::MAX.into()),
            Type::I16 => within(i16::MIN.into(), i16::MAX.into()),
            Type::U16 => within(0, u16::MAX.into()),
            Type::I32 => within(i32::MIN.into(), i32::MAX.into()),
            Type::U32 => within(0, u32::MAX.into()),
            Type::I64 => within(i64::MIN.into(), i64::MAX.into()),
            Type::U64 | Type::Ptr => within(0, u64::MAX.into()),
            Type::F32 => text
                .and_then(|text| text.parse::<f32>().ok())
                .map(|value| Argument::Float(value.to_bits().into()))
                .ok_or_else(bad),
            Type::F64 => text
                .and_then(|text| text.parse::<f64>().ok())
                .map(|value| Argument::Float(value.to_bits()))
                .ok_or_else(bad),
            Type::Str => match CString::new(value.as_bytes()) {
                Ok(text) => Ok(Argument::Text(text)),
                Err(_) => Err(BadArgument::HoldsNul(value.to_owned())),
            },
            Type::Void => Err(BadArgument::Void),
        }
    }
}

/// Whether it is written as an integer, of whatever size: one that is too large must not become a decimal, which loses
/// its last digits.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
}

/// A decimal or `0x` hexadecimal integer with a sign.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // The parsers below would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { -i128::from(number) } else { number.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_read_as_the_contract_says() {
        let text = |text: &str| Argument::Text(CString::new(text).unwrap());
        let cases = [
            ("i32:5", Argument::Integer(5)),
            ("i32:-5", Argument::Integer(-5i64 as u64)),
            ("u64:0x10", Argument::Integer(16)),
            ("f64:2.5", Argument::Float(2.5f64.to_bits())),
            ("f32:2.5", Argument::Float(2.5f32.to_bits().into())),
            ("f64:inf", Argument::Float(f64::INFINITY.to_bits())),
            ("str:hello", text("hello")),
            ("str:i32:5", text("i32:5")),
            ("ptr:0", Argument::Integer(0)),
            ("7", Argument::Integer(7)),
            ("-0x8", Argument::Integer(-8i64 as u64)),
            ("0.5", Argument::Float(0.5f64.to_bits())),
            ("1e3", Argument::Float(1000f64.to_bits())),
            ("nan", text("nan")),
            ("http://x", text("http://x")),
            ("", text("")),
        ];
        for (argument, expected) in cases {
            assert_eq!(Argument::parse(OsStr::new(argument)), Ok(expected), "{argument}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for argument in [
            "i8:128",
            "u8:-1",
            "i32:0x80000000",
            "u64:1.5",
            "f64:one",
            "u32:",
            "i64:--1",
            "ptr:null",
            "18446744073709551616",
        ] {
            let error = Argument::parse(OsStr::new(argument)).unwrap_err();
            assert!(matches!(error, BadArgument::NotA(..)), "{argument}: {error}");
        }
        assert_eq!(Argument::parse(OsStr::new("void:0")), Err(BadArgument::Void));
    }
}
