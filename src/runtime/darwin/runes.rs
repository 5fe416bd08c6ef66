//! Classes of characters (`<ctype.h>`, `<runetype.h>`) in the C locale, which is the one that a library may rely on.
//!
//! The inline functions of Apple's header read `_DefaultRuneLocale` for ASCII and call `__maskrune` for the rest.

use crate::addr::RunAddr;
use std::ffi::c_int;

const ALPHA: u32 = 0x100;
const CONTROL: u32 = 0x200;
const DIGIT: u32 = 0x400;
const GRAPH: u32 = 0x800;
const LOWER: u32 = 0x1000;
const PUNCTUATION: u32 = 0x2000;
const SPACE: u32 = 0x4000;
const UPPER: u32 = 0x8000;
const HEX_DIGIT: u32 = 0x1_0000;
const BLANK: u32 = 0x2_0000;
const PRINT: u32 = 0x4_0000;

/// The part of `_RuneLocale` that is read without calling anything: what stands before the tables is left empty.
#[repr(C)]
struct RuneLocale {
    head: [u8; 60],
    types: [u32; 256],
    lower: [i32; 256],
    upper: [i32; 256],
    tail: [u8; 76],
}

static LOCALE: RuneLocale = RuneLocale {
    head: [0; 60],
    types: types(),
    lower: mapping(b'A', b'Z', 32),
    upper: mapping(b'a', b'z', -32),
    tail: [0; 76],
};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at = match name {
        b"__DefaultRuneLocale" => (&raw const LOCALE).cast::<()>(),
        b"___maskrune" => mask as *const (),
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

const fn types() -> [u32; 256] {
    let mut types = [0; 256];
    let mut at = 0;
    while at < 128 {
        types[at] = class(at as u8);
        at += 1;
    }
    types
}

const fn class(byte: u8) -> u32 {
    let mut class = 0;
    let rows = [
        (byte.is_ascii_alphabetic(), ALPHA),
        (byte.is_ascii_control(), CONTROL),
        (byte.is_ascii_graphic(), GRAPH),
        (byte.is_ascii_lowercase(), LOWER),
        (byte.is_ascii_punctuation(), PUNCTUATION),
        (byte == b' ' || (byte >= b'\t' && byte <= b'\r'), SPACE),
        (byte.is_ascii_uppercase(), UPPER),
        (byte == b' ' || byte == b'\t', BLANK),
        (byte.is_ascii_graphic() || byte == b' ', PRINT),
    ];
    let mut at = 0;
    while at < rows.len() {
        if rows[at].0 {
            class |= rows[at].1;
        }
        at += 1;
    }
    // The low byte is the value of a digit.
    match byte {
        b'0'..=b'9' => class | DIGIT | HEX_DIGIT | (byte - b'0') as u32,
        b'a'..=b'f' => class | HEX_DIGIT | (byte - b'a' + 10) as u32,
        b'A'..=b'F' => class | HEX_DIGIT | (byte - b'A' + 10) as u32,
        _ => class,
    }
}

const fn mapping(first: u8, last: u8, distance: i32) -> [i32; 256] {
    let mut mapping = [0; 256];
    let mut at = 0;
    while at < 256 {
        let moved = at >= first as usize && at <= last as usize;
        mapping[at] = at as i32 + if moved { distance } else { 0 };
        at += 1;
    }
    mapping
}

/// `__maskrune`
extern "C" fn mask(rune: c_int, mask: u64) -> c_int {
    let class = usize::try_from(rune).ok().and_then(|rune| LOCALE.types.get(rune)).copied().unwrap_or(0);
    (u64::from(class) & mask) as c_int
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn tables_are_where_apples_header_has_them() {
        assert_eq!(offset_of!(RuneLocale, types), 60);
        assert_eq!(offset_of!(RuneLocale, lower), 1084);
        assert_eq!(offset_of!(RuneLocale, upper), 2108);
    }

    #[test]
    fn classes_are_those_of_c() {
        let types = |byte: u8| LOCALE.types[usize::from(byte)];
        assert_eq!(types(b'7') & (DIGIT | HEX_DIGIT | 0xff), DIGIT | HEX_DIGIT | 7);
        assert_eq!(types(b'f') & (ALPHA | LOWER | UPPER | HEX_DIGIT | 0xff), ALPHA | LOWER | HEX_DIGIT | 15);
        assert_eq!(types(b'\n') & (SPACE | CONTROL | BLANK | PRINT), SPACE | CONTROL);
        assert_eq!(
            (LOCALE.lower[usize::from(b'Q')], LOCALE.upper[usize::from(b'q')]),
            (i32::from(b'q'), i32::from(b'Q'))
        );
        assert_eq!(mask(i32::from(b'!'), u64::from(PUNCTUATION)), PUNCTUATION as i32);
        assert_eq!(mask(0x4e00, u64::from(ALPHA)), 0);
    }
}
