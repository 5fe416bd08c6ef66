//! `.eh_frame` and its index, read as what they are: bytes that somebody sent us.
//!
//! ```text
//! header  = version(1) enc(section) enc(count) enc(table) section count (pc fde)*       LSB Core §10.6.2
//! section = record* 0:u32                                                               LSB Core §10.6.1
//! record  = length:u32 id:u32 body          id = 0: CIE; else FDE of the CIE at (address of id) - id
//! CIE     = version aug-string code-align data-align return-register [length (L|P|R)*] instructions
//! FDE     = pc-begin pc-range [length [lsda]] instructions
//! ```
//!
//! An unwinder trusts all of it: libgcc aborts on a pointer encoding that it does not know, follows lengths out of the
//! section and, for an indirect pointer, reads wherever it points. So [`walk`] lets pass only what linkers write.
//! Instructions are not looked at: they are interpreted only for frames of the module's own code.

use crate::bytes::{Bytes, Cursor};
use crate::error::{ErrorKind, Place};
use crate::room;
use std::ops::Range;

/// Memory, and where it is.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: u64,
}

/// Pointer encodings (LSB Core §10.5.1): low four bits the format, the next three what it is relative to.
const OMIT: u8 = 0xff;
const INDIRECT: u8 = 0x80;
const RELATIVE: u8 = 0x70;
const PCREL: u8 = 0x10;
const DATAREL: u8 = 0x30;
const SDATA4: u8 = 0x0b;
/// How all linkers of position-independent code state addresses.
const ENCODING: u8 = PCREL | SDATA4;

/// Size of a pointer of that format; `None` for LEB128, which no linker can fill in, and for what does not exist.
fn width(encoding: u8) -> Option<u64> {
    match encoding & 0x0f {
        0x00 | 0x04 | 0x0c => Some(8),
        0x02 | 0x0a => Some(2),
        0x03 | 0x0b => Some(4),
        _ => None,
    }
}

/// The number at `at`, sign-extended where the format says so.
fn number(bytes: Bytes<'_>, at: u64, encoding: u8) -> Option<u64> {
    match encoding & 0x0f {
        0x02 => bytes.u16(at).map(u64::from),
        0x0a => bytes.u16(at).map(|value| value as i16 as u64),
        0x03 => bytes.u32(at).map(u64::from),
        0x0b => bytes.u32(at).map(|value| value as i32 as u64),
        0x00 | 0x04 | 0x0c => bytes.u64(at),
        _ => None,
    }
}

/// What `.eh_frame_hdr` says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// Address of `.eh_frame`.
    pub(super) section: u64,
    /// FDEs in the table: not more than the section has (lld lists one of several for the same code).
    pub(super) fdes: Option<u64>,
    /// Offset of the table in the header, where it has the one form that linkers write.
    table: Option<u64>,
}

impl Header {
    pub(super) fn parse(view: View<'_>) -> Option<Header> {
        let bytes = Bytes(view.bytes);
        let [1, section, count, table] = bytes.array(0)? else { return None };
        let relative = match section & (RELATIVE | INDIRECT) {
            0 => 0,
            PCREL => view.at.wrapping_add(4),
            DATAREL => view.at,
            _ => return None,
        };
        let mut header = Header { section: number(bytes, 4, section)?.wrapping_add(relative), fdes: None, table: None };
        if count == OMIT || count & (RELATIVE | INDIRECT) != 0 {
            return Some(header);
        }
        let counted = 4 + width(section)?;
        let fdes = number(bytes, counted, count)?;
        header.fdes = Some(fdes);
        let start = counted + width(count)?;
        if table == DATAREL | SDATA4 && bytes.slice(start, fdes.checked_mul(8)?).is_some() {
            header.table = Some(start);
        }
        Some(header)
    }

    /// Addresses of FDEs of which one most likely is the last one in memory. The table is sorted by code, and so are most
    /// sections; the linker's own code comes first there and last here. To be sure, all of it has to be read at the end.
    pub(super) fn last_fdes(&self, view: View<'_>) -> impl Iterator<Item = u64> {
        let table = self.table.zip(self.fdes).and_then(|(at, fdes)| Bytes(view.bytes).slice(at, fdes * 8));
        let rows: &[[u8; 8]] = table.map_or(&[], |table| table.as_chunks().0);
        let fde = |[.., a, b, c, d]: &[u8; 8]| i32::from_le_bytes([*a, *b, *c, *d]);
        let likely = [rows.last(), rows.first()].into_iter().flatten().map(fde);
        let last = std::iter::once_with(move || rows.iter().map(fde).max());
        likely.chain(last.flatten()).map(move |fde| view.at.wrapping_add(fde as u64))
    }
}

/// One record of the section.
#[derive(Clone, Copy)]
pub(super) enum Record<'a> {
    Cie(&'a Cie),
    Fde(Fde<'a>),
}

/// What the FDEs of a CIE have in common.
pub(super) struct Cie {
    /// Offset in the section.
    at: u64,
    /// Whether FDEs carry augmentation data.
    augmented: bool,
    /// How FDEs state addresses.
    encoding: u8,
    /// How they state where their language's own data is.
    lsda: u8,
    /// Where the personality routine's address is, and how it is stated.
    personality: Option<Pointer>,
}

/// The frames of one function.
#[derive(Clone, Copy)]
pub(super) struct Fde<'a> {
    /// Offset in the section.
    pub(super) at: u64,
    cie: &'a Cie,
    /// What follows length and id.
    fields: &'a [u8],
}

/// A pointer's offset in the section, and its encoding.
pub(super) type Pointer = (u64, u8);

/// Offset in a record of what follows length and id.
const FIELDS: u64 = 8;

impl Record<'_> {
    /// Those pointers in the record that may be relative to their own place.
    pub(super) fn pointers(self) -> impl Iterator<Item = Pointer> {
        let pointers = match self {
            Record::Cie(cie) => [cie.personality, None],
            Record::Fde(fde) => [Some((fde.at + FIELDS, fde.cie.encoding)), fde.lsda()],
        };
        pointers.into_iter().flatten()
    }
}

impl Fde<'_> {
    /// Whether linkers write such a thing for a function in `code`; `place` is the address of its fields.
    #[inline(always)] // in the one loop that everything passes through
    fn is_sane(self, place: u64, code: &Range<u64>) -> bool {
        let (start, range, rest) = match self.cie.encoding {
            ENCODING => {
                let Some((&[a, b, c, d, e, f, g, h], rest)) = self.fields.split_first_chunk() else { return false };
                (i32::from_le_bytes([a, b, c, d]) as u64, i32::from_le_bytes([e, f, g, h]) as u64, rest)
            }
            _ => match self.stated() {
                Some(stated) => stated,
                None => return false,
            },
        };
        let address = start.wrapping_add(base(self.cie.encoding, place));
        let inside = code.contains(&address) && range <= code.end - address;
        let dropped = start == 0; // by the linker
        (inside || dropped) && self.is_augmentation_sane(rest)
    }

    /// First address as stated, length, and the bytes behind them.
    #[cold]
    fn stated(&self) -> Option<(u64, u64, &[u8])> {
        let (fields, encoding) = (Bytes(self.fields), self.cie.encoding);
        let width = width(encoding)?;
        Some((number(fields, 0, encoding)?, number(fields, width, encoding)?, fields.from(2 * width)?))
    }

    #[inline]
    fn is_augmentation_sane(self, rest: &[u8]) -> bool {
        match (self.cie.augmented, rest) {
            (false, _) => true,
            (true, [0, ..]) => self.cie.lsda == OMIT,
            // As most that have any: one pointer.
            (true, [4, _, _, _, _, ..]) if self.cie.lsda == ENCODING => true,
            _ => self.is_other_augmentation_sane(rest),
        }
    }

    #[cold]
    fn is_other_augmentation_sane(self, rest: &[u8]) -> bool {
        let mut cursor = Cursor::new(rest, 0);
        let size = cursor.uleb128().filter(|&size| Bytes(rest).slice(cursor.at, size).is_some());
        let needed = if self.cie.lsda == OMIT { Some(0) } else { width(self.cie.lsda) };
        size.zip(needed).is_some_and(|(size, needed)| needed <= size)
    }

    fn lsda(self) -> Option<Pointer> {
        let mut cursor = Cursor::new(self.fields, 2 * width(self.cie.encoding)?);
        cursor.uleb128()?;
        (self.cie.augmented && self.cie.lsda != OMIT).then_some((self.at + FIELDS + cursor.at, self.cie.lsda))
    }
}

/// CIEs in one section: linkers merge equal ones, and each takes more memory than its record.
const MOST_CIES: usize = 1 << 16;

/// How far [`walk`] came.
#[derive(Debug, PartialEq)]
pub(super) struct Section {
    /// Bytes of all records.
    pub(super) size: u64,
    /// Whether a zero length follows them.
    pub(super) terminated: bool,
    /// FDEs among them.
    pub(super) fdes: u64,
}

/// Walks the section that starts with the view, calling `each` with its records, until its end.
///
/// Sections do not say how long they are. The end is the zero length; without one it is where records stop making
/// sense, but not before `expected` FDEs, or where the view ends if nobody counted. A zero length in the middle is the
/// end, too: an unwinder would not read on. Code must lie in `code`.
pub(super) fn walk(
    view: View<'_>,
    code: Range<u64>,
    expected: Option<u64>,
    mut each: impl FnMut(Record<'_>),
) -> Result<Section, ErrorKind> {
    let mut cies: Vec<Cie> = Vec::new();
    let (mut at, mut fdes, mut terminated) = (0, 0, false);
    while let Some((&length, rest)) = view.bytes.get(at as usize..).and_then(<[u8]>::split_first_chunk) {
        let length = u32::from_le_bytes(length);
        if length == 0 {
            terminated = true;
            break;
        }
        let body = rest.get(..length as usize).and_then(|body| body.split_first_chunk()); // nothing reads past it
        let Some((id, fields)) = body else { break };
        match u32::from_le_bytes(*id) {
            0 => {
                let Some(cie) = Cie::parse(Bytes(fields), at) else { break };
                each(Record::Cie(&cie));
                if cies.len() >= MOST_CIES {
                    return Err(ErrorKind::malformed(
                        ".eh_frame: more CIEs than any linker writes",
                        Place::Entry(fdes),
                    ));
                }
                room::push(&mut cies, cie)?;
            }
            id => {
                let Some(cie) = find(&cies, (at + 4).wrapping_sub(u64::from(id))) else { break };
                let fde = Fde { at, cie, fields };
                if !fde.is_sane(view.at.wrapping_add(at + FIELDS), &code) {
                    break;
                }
                each(Record::Fde(fde));
                fdes += 1;
            }
        }
        at += 4 + u64::from(length);
    }
    if terminated || expected.map_or(at == view.bytes.len() as u64, |expected| fdes >= expected) {
        return Ok(Section { size: at, terminated, fdes });
    }
    Err(ErrorKind::malformed(".eh_frame", Place::Entry(fdes)))
}

/// The CIE at that offset, most often the last one.
#[inline]
fn find(cies: &[Cie], at: u64) -> Option<&Cie> {
    let last = cies.last().filter(|cie| cie.at == at);
    last.or_else(|| cies.binary_search_by_key(&at, |cie| cie.at).ok().map(|index| &cies[index]))
}

/// Whether the record at `at` is followed by a zero length.
pub(super) fn is_last(view: View<'_>, at: u64) -> bool {
    let bytes = Bytes(view.bytes);
    let next = bytes.u32(at).and_then(|length| at.checked_add(4 + u64::from(length)));
    next.and_then(|next| bytes.u32(next)) == Some(0)
}

/// What a pointer of that encoding, stated at `place`, is relative to.
fn base(encoding: u8, place: u64) -> u64 {
    if encoding & RELATIVE == PCREL { place } else { 0 }
}

/// Whether an unwinder can read such a pointer without anything that we do not give it (`textrel`, `datarel`).
fn is_plain(encoding: u8) -> bool {
    width(encoding).is_some() && matches!(encoding & RELATIVE, 0 | PCREL)
}

impl Cie {
    #[cold]
    fn parse(fields: Bytes<'_>, at: u64) -> Option<Cie> {
        let [version] = fields.array(0)?;
        let augmentation = fields.c_str(1)?;
        if !matches!(version, 1 | 3) {
            return None;
        }
        let mut cursor = Cursor::new(fields.0, 2 + augmentation.len() as u64);
        cursor.uleb128()?; // code alignment
        cursor.uleb128()?; // data alignment: signed, of the same length
        if version == 1 {
            cursor.u8()?;
        } else {
            cursor.uleb128()?;
        }
        let mut cie = Cie { at, augmented: false, encoding: 0, lsda: OMIT, personality: None };
        let Some(letters) = augmentation.strip_prefix(b"z") else {
            return augmentation.is_empty().then_some(cie); // "eh": GCC 2
        };
        cie.augmented = true;
        let size = cursor.uleb128()?;
        fields.slice(cursor.at, size)?;
        for (index, letter) in letters.iter().enumerate() {
            match letter {
                b'R' => {
                    cie.encoding = cursor.u8().filter(|&encoding| is_plain(encoding) && encoding & INDIRECT == 0)?
                }
                b'L' => cie.lsda = cursor.u8().filter(|&encoding| encoding == OMIT || is_plain(encoding))?,
                b'P' => {
                    let encoding = cursor.u8().filter(|&encoding| is_plain(encoding))?;
                    cie.personality = Some((at + FIELDS + cursor.at, encoding));
                    cursor.at += width(encoding)?;
                }
                // Flags without data (signal frame, pointer authentication, memory tags). libgcc stops at them.
                b'S' | b'B' | b'G' if !letters[index..].contains(&b'R') => {}
                _ => return None,
            }
        }
        (cursor.at <= fields.len() as u64).then_some(cie)
    }
}

/// Makes `copy`, the bytes of the section at `from`, right for the address `to`: pointers relative to their own place
/// change by the difference. `None` if one cannot reach.
pub(super) fn rebase(copy: &mut [u8], pointers: &[Pointer], from: u64, to: u64) -> Option<()> {
    for &(at, encoding) in pointers {
        let old = number(Bytes(copy), at, encoding)?;
        if old == 0 || encoding & RELATIVE != PCREL {
            continue; // 0: none
        }
        let new = old.wrapping_add(from).wrapping_sub(to);
        let field = copy.get_mut(at as usize..)?.get_mut(..width(encoding)? as usize)?;
        let size = field.len();
        field.copy_from_slice(&new.to_le_bytes()[..size]);
        (number(Bytes(copy), at, encoding)? == new).then_some(())?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the test's section and code are.
    const AT: u64 = 0x10_0000;
    const CODE: Range<u64> = 0x1000..0x2000;

    fn record(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_le_bytes(), body].concat()
    }

    /// A CIE with that augmentation and its data, one byte of padding.
    fn cie(version: u8, augmentation: &str, data: &[u8]) -> Vec<u8> {
        record(&[&[0, 0, 0, 0, version], augmentation.as_bytes(), &[0, 1, 0x78, 16], data, &[0]].concat())
    }

    /// An FDE behind `before` for `range` bytes of code at `start`, with the CIE at offset 0.
    fn fde(before: &[u8], start: u64, range: u32, rest: &[u8]) -> Vec<u8> {
        let at = before.len() as u64 + 4;
        let start = (start.wrapping_sub(AT + at + 4) as u32).to_le_bytes();
        let fde = record(&[&(at as u32).to_le_bytes(), &start[..], &range.to_le_bytes(), rest].concat());
        [before, &fde].concat()
    }

    fn plain(bytes: &[u8], expected: Option<u64>) -> Result<Section, ErrorKind> {
        walk(View { bytes, at: AT }, CODE, expected, |_| {})
    }

    #[test]
    fn ends_are_found_with_and_without_the_zero() {
        let bare = fde(&cie(1, "zR", &[1, ENCODING]), 0x1000, 0x1000, &[0, 0]);
        let size = bare.len() as u64;
        let with = |rest: &[u8]| [&bare[..], rest].concat();
        let cases = [
            ("zero", with(&[0; 4]), Some(1), Some(true)),
            ("zero, nobody counted", with(&[0; 9]), None, Some(true)),
            ("bytes end", bare.clone(), Some(1), Some(false)),
            ("bytes end, nobody counted", bare.clone(), None, Some(false)),
            ("other bytes", with(b"other bytes"), Some(1), Some(false)),
            ("other bytes, nobody counted", with(b"other bytes"), None, None),
            ("half a length", with(&[0; 3]), Some(1), Some(false)),
            ("an FDE too few", with(b"other bytes"), Some(2), None),
            ("ends before what was counted", with(&[0; 4]), Some(2), Some(true)),
        ];
        for (name, bytes, expected, found) in cases {
            let found = found.map(|terminated| Section { size, terminated, fdes: 1 });
            assert_eq!(plain(&bytes, expected).ok(), found, "{name}");
        }
    }

    #[test]
    fn only_what_linkers_write_passes() {
        let usual = cie(1, "zR", &[1, ENCODING]);
        let with_lsda = cie(1, "zPLR", &[7, 0x9b, 1, 2, 3, 4, 0x1b, ENCODING]);
        let good = |cie: &[u8]| fde(cie, 0x1800, 0x10, &[4, 0, 0, 0, 0, 0]);
        let cases = [
            ("usual", good(&usual), true),
            ("version 3", good(&cie(3, "zR", &[1, ENCODING])), true),
            ("signal frame", good(&cie(1, "zRS", &[1, ENCODING])), true),
            ("personality and language data", good(&with_lsda), true),
            ("dropped code", fde(&usual, AT + usual.len() as u64 + 8, 0x10, &[0]), true),
            ("version 2", good(&cie(2, "zR", &[1, ENCODING])), false),
            ("flag before encoding", good(&cie(1, "zSR", &[1, ENCODING])), false),
            ("unknown letter", good(&cie(1, "zQR", &[1, ENCODING])), false),
            ("GCC 2", good(&cie(1, "eh", &[0; 8])), false),
            ("encoding: omitted", good(&cie(1, "zR", &[1, OMIT])), false),
            ("encoding: LEB128", good(&cie(1, "zR", &[1, 0x11])), false),
            ("encoding: indirect", good(&cie(1, "zR", &[1, ENCODING | INDIRECT])), false),
            ("encoding: datarel", good(&cie(1, "zR", &[1, DATAREL | SDATA4])), false),
            ("encoding: funcrel", good(&cie(1, "zR", &[1, 0x4b])), false),
            ("augmentation longer than its CIE", good(&cie(1, "zR", &[0x70, ENCODING])), false),
            ("letters longer than their CIE", good(&cie(1, "zPPPPPPPPR", &[1, 0x1b, 0, 0, 0, 0])), false),
            ("augmentation longer than its FDE", fde(&usual, 0x1800, 0x10, &[9, 0, 0]), false),
            ("augmentation too short for language data", fde(&with_lsda, 0x1800, 0x10, &[3, 0, 0, 0]), false),
            ("no augmentation", fde(&usual, 0x1800, 0x10, &[]), false),
            ("code before the object", fde(&usual, 0xfff, 0x10, &[0]), false),
            ("code past the object", fde(&usual, 0x1fff, 2, &[0]), false),
            ("a negative length of code", fde(&usual, 0x1000, u32::MAX, &[0]), false),
            ("no such CIE", fde(&[], 0x1800, 0x10, &[0]), false),
            ("too short for an id", [&good(&usual)[..], &[3, 0, 0, 0, 1, 1, 1]].concat(), false),
            ("64-bit length", [&good(&usual)[..], &[0xff; 16]].concat(), false),
        ];
        for (name, bytes, passes) in cases {
            let bytes = [&bytes[..], &[0; 4]].concat();
            assert_eq!(plain(&bytes, None).is_ok(), passes, "{name}");
            for at in 0..bytes.len() {
                let _ = plain(&bytes[..at], None); // must not panic, whatever it says
                for byte in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut broken = bytes.clone();
                    broken[at] = byte;
                    let mut pointers = Vec::new();
                    let each = |record: Record<'_>| pointers.extend(record.pointers());
                    let _ = walk(View { bytes: &broken, at: u64::MAX - 8 }, 0..u64::MAX, Some(1), each);
                    let _ = rebase(&mut broken, &pointers, AT, 2 * AT);
                }
            }
        }
    }

    #[test]
    fn a_copy_describes_the_same_code() {
        let cie = cie(1, "zPLR", &[7, 0x9b, 1, 2, 3, 4, 0x1b, ENCODING]);
        let mut bytes = fde(&cie, 0x1800, 0x10, &[4, 5, 6, 7, 0, 0]);
        let mut pointers = Vec::new();
        walk(View { bytes: &bytes, at: AT }, CODE, None, |record| pointers.extend(record.pointers())).unwrap();
        let targets = |bytes: &[u8], at: u64| {
            let target = |&(place, encoding)| number(Bytes(bytes), place, encoding).unwrap().wrapping_add(at + place);
            pointers.iter().map(target).collect::<Vec<u64>>()
        };
        let (to, old) = (0x7000_0000, targets(&bytes, AT));
        assert_eq!(old.len(), 3, "personality, code, language data");
        assert_eq!(old[1], 0x1800);
        rebase(&mut bytes, &pointers, AT, to).unwrap();
        assert_eq!(targets(&bytes, to), old);
        let moved = walk(View { bytes: &bytes, at: to }, CODE, None, |_| {});
        assert_eq!(moved.unwrap().fdes, 1);
        assert_eq!(rebase(&mut bytes, &pointers, to, 0x2_0000_0000), None, "out of reach");
    }

    #[test]
    fn headers_lead_to_section_and_last_fde() {
        let row = |pc: i32, fde: i32| [pc.to_le_bytes(), fde.to_le_bytes()].concat();
        let table = [row(1, 0x40), row(2, 0x80), row(3, 0x60)].concat();
        let header = [&[1, 0x1b, 0x03, 0x3b, 0x1c, 0, 0, 0, 3, 0, 0, 0][..], &table].concat();
        let view = View { bytes: &header, at: AT };
        let parsed = Header::parse(view).unwrap();
        assert_eq!(parsed, Header { section: AT + 0x20, fdes: Some(3), table: Some(12) });
        // The two that are likely, and the one.
        assert_eq!(parsed.last_fdes(view).collect::<Vec<_>>(), [0x60, 0x40, 0x80].map(|at| AT + at));
        let cut = View { bytes: &header[..35], at: AT };
        assert_eq!(Header::parse(cut).unwrap().last_fdes(cut).count(), 0);
        let bare = View { bytes: &[1, 0x1b, OMIT, OMIT, 0x1c, 0, 0, 0], at: AT };
        assert_eq!(Header::parse(bare), Some(Header { section: AT + 0x20, fdes: None, table: None }));
        for (at, byte) in [(0, 2), (1, OMIT), (1, 0x4b), (1, 0x9b), (2, 0x01)] {
            let mut broken = header.clone();
            broken[at] = byte;
            assert_eq!(Header::parse(View { bytes: &broken, at: AT }), None, "{at}: {byte:#x}");
        }
    }
}
