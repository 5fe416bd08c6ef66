//! Signatures as text, as the rows of a C plugin state them: `fn(i32, *const u8) -> f64`.
//!
//! ```text
//! item      = signature | type
//! signature = [ "unsafe" ] "fn(" [ type { "," type } ] ")" [ "->" type ]
//! type      = scalar | "*const" name | "*mut" name
//! ```

use super::owned::{Described, OwnedShape};
use std::fmt;

/// What a signature cannot be read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureError {
    /// What was expected, and what stood there.
    pub what: String,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Reads what a C plugin states of an item: whether it is a function, and its type.
///
/// # Errors
/// The part that is not understood.
pub fn parse_item(text: &str) -> Result<(bool, Described), SignatureError> {
    let text = text.trim();
    match text.starts_with("fn") || text.starts_with("unsafe ") {
        true => Ok((true, parse_signature(text)?)),
        false => Ok((false, one(text)?)),
    }
}

/// Reads the signature of a C function: the description that `extern "C" fn(…) -> …` has.
///
/// # Errors
/// The part that is not understood.
pub fn parse_signature(text: &str) -> Result<Described, SignatureError> {
    let wrong = |what: &str| SignatureError { what: format!("{what} in `{text}`") };
    let (is_unsafe, rest) = match text.trim().strip_prefix("unsafe ") {
        Some(rest) => (true, rest.trim()),
        None => (false, text.trim()),
    };
    let rest = rest.strip_prefix("fn").map(str::trim_start).and_then(|rest| rest.strip_prefix('('));
    let rest = rest.ok_or_else(|| wrong("no `fn(` at the start"))?;
    let (arguments, rest) = rest.split_once(')').ok_or_else(|| wrong("no `)`"))?;
    let result = match rest.trim().strip_prefix("->") {
        Some(result) => one(result.trim())?,
        None if rest.trim().is_empty() => nothing(),
        None => return Err(wrong("no `->` before the result")),
    };
    let arguments = match arguments.trim() {
        "" => Vec::new(),
        list => list.split(',').map(|argument| one(argument.trim())).collect::<Result<_, _>>()?,
    };
    let shape = OwnedShape::Function { abi: "C".into(), is_unsafe, arguments, result: Box::new(result) };
    let word = size_of::<usize>() as u64;
    Ok(Described { size: word, align: word, is_stable: true, shape })
}

fn nothing() -> Described {
    Described { size: 0, align: 1, is_stable: true, shape: OwnedShape::Tuple(Vec::new()) }
}

fn one(name: &str) -> Result<Described, SignatureError> {
    let word = size_of::<usize>() as u64;
    let pointer = |mutable: bool, to: &str| Described {
        size: word,
        align: word,
        is_stable: true,
        shape: OwnedShape::Pointer { mutable, to: to.trim().to_owned() },
    };
    if let Some(to) = name.strip_prefix("*const ") {
        return Ok(pointer(false, to));
    }
    if let Some(to) = name.strip_prefix("*mut ") {
        return Ok(pointer(true, to));
    }
    let size = match name {
        "()" => return Ok(nothing()),
        "bool" | "u8" | "i8" | "AtomicBool" | "AtomicU8" | "AtomicI8" => 1,
        "u16" | "i16" | "AtomicU16" | "AtomicI16" => 2,
        "u32" | "i32" | "f32" | "AtomicU32" | "AtomicI32" => 4,
        "u64" | "i64" | "f64" | "AtomicU64" | "AtomicI64" => 8,
        "usize" | "isize" | "AtomicUsize" | "AtomicIsize" => word,
        other => return Err(SignatureError { what: format!("`{other}` is no type of a C signature") }),
    };
    let shape = OwnedShape::Scalar(name.to_owned());
    Ok(Described { size, align: size, is_stable: true, shape })
}

#[cfg(test)]
mod tests {
    use super::super::{Exported, Typed};
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn text_is_read_as_the_type_that_rust_has() {
        let cases = [
            ("fn()", <extern "C" fn() as Exported>::FINGERPRINT),
            ("fn(i32, *const u8) -> f64", <extern "C" fn(i32, *const u8) -> f64 as Exported>::FINGERPRINT),
            ("fn(*mut i8)->bool", <extern "C" fn(*mut i8) -> bool as Exported>::FINGERPRINT),
            ("AtomicU32", AtomicU32::TYPE.fingerprint()),
            ("u64", u64::TYPE.fingerprint()),
        ];
        for (text, fingerprint) in cases {
            assert_eq!(parse_item(text).expect(text).1.fingerprint(), fingerprint, "{text}");
        }
        for wrong in ["", "fn", "fn(", "fn() i32", "fn(int)", "fn(i32", "struct foo", "fn(i32,)"] {
            assert!(parse_item(wrong).is_err(), "{wrong}");
        }
    }
}
