//! `LC_DYLD_INFO`: rebase and bind opcodes → fixups.
//!
//! Grammar (`<mach-o/loader.h>`): each byte is an operation in its high four bits and an immediate value in the low
//! four; some have ULEB128, SLEB128 or string operands. They drive a machine with an address, and for binds also a
//! symbol, a library ordinal, flags and an addend; a `DO` operation makes a fixup from its present state and moves on.
//! In the lazy stream `DONE` ends an entry, not the stream.

use super::Tables;
use super::symbols::{Import, Stream};
use crate::addr::{FileOffset, VmAddr};
use crate::bytes::Cursor;
use crate::error::{ErrorKind, Place};

const POINTER: u64 = 8;
const TYPE_POINTER: u8 = 1;

/// Where the machine writes: an address in a segment, and a limit, since a few bytes can ask for 2^64 fixups.
struct Head<'t> {
    tables: &'t Tables,
    at: u64,
    kind: u8,
    left: u64,
}

impl<'t> Head<'t> {
    fn new(tables: &'t Tables) -> Head<'t> {
        Head { tables, at: 0, kind: TYPE_POINTER, left: tables.image.size }
    }

    fn segment(&mut self, index: u8, offset: u64) -> Result<(), &'static str> {
        let segment = self.tables.segments.get(usize::from(index)).ok_or("opcodes: no such segment")?;
        self.at = segment.vm.start.0.wrapping_add(offset);
        Ok(())
    }

    /// The place of the next fixup; moves on by a pointer and `skip`.
    fn place(&mut self, skip: u64) -> Result<VmAddr, &'static str> {
        if self.kind != TYPE_POINTER {
            return Err("opcodes: a fixup of text, not of a pointer");
        }
        self.left = self.left.checked_sub(1).ok_or("opcodes: more fixups than the image has bytes")?;
        let place = VmAddr(self.at);
        self.at = self.at.wrapping_add(POINTER).wrapping_add(skip);
        Ok(place)
    }
}

/// Adds the place in the file to what is wrong.
fn wrong(start: FileOffset, cursor: &Cursor<'_>) -> impl Fn(&'static str) -> ErrorKind + use<> {
    let at = FileOffset(start.0 + cursor.at);
    move |what| ErrorKind::malformed(what, Place::File(at))
}

/// Calls `each` with every place that is rebased.
///
/// # Errors
/// Opcodes that are unknown or end inside an operand, a segment that does not exist, or an error of `each`.
pub fn rebases<E: From<ErrorKind>>(
    tables: &Tables,
    file: &[u8],
    mut each: impl FnMut(VmAddr) -> Result<(), E>,
) -> Result<(), E> {
    const CUT: &str = "rebase opcodes: end inside an operand";
    let mut cursor = Cursor::new(super::slice(file, tables.rebase), 0);
    let mut head = Head::new(tables);
    loop {
        let wrong = wrong(tables.rebase.start, &cursor);
        let Some(byte) = cursor.u8() else { return Ok(()) };
        let mut uleb = || cursor.uleb128().ok_or_else(|| wrong(CUT));
        let (count, skip) = match (byte & 0xf0, byte & 0xf) {
            (0x00, _) => return Ok(()),
            (0x10, kind) => {
                head.kind = kind;
                continue;
            }
            (0x20, segment) => {
                head.segment(segment, uleb()?).map_err(wrong)?;
                continue;
            }
            (0x30, _) => {
                head.at = head.at.wrapping_add(uleb()?);
                continue;
            }
            (0x40, scaled) => {
                head.at = head.at.wrapping_add(u64::from(scaled) * POINTER);
                continue;
            }
            (0x50, count) => (u64::from(count), 0),
            (0x60, _) => (uleb()?, 0),
            (0x70, _) => (1, uleb()?),
            (0x80, _) => (uleb()?, uleb()?),
            _ => return Err(wrong("rebase opcodes: an unknown one").into()),
        };
        for _ in 0..count {
            each(head.place(skip).map_err(&wrong)?)?;
        }
    }
}

/// One bind: where, what, and what is added. The number counts the imports of the stream.
pub struct Bind<'a> {
    /// The first byte written.
    pub place: VmAddr,
    /// The symbol.
    pub import: Import<'a>,
    /// Number of imports of the stream before this one.
    pub number: u32,
    /// Added to its address.
    pub addend: i64,
}

/// Calls `each` with every bind of one stream.
///
/// # Errors
/// As [`rebases`]; a bind before any symbol was named, or `BIND_OPCODE_THREADED`.
pub fn binds<'a, E: From<ErrorKind>>(
    tables: &Tables,
    file: &'a [u8],
    stream: Stream,
    mut each: impl FnMut(Bind<'a>) -> Result<(), E>,
) -> Result<(), E> {
    const CUT: &str = "bind opcodes: end inside an operand";
    let range = tables.stream(stream);
    let mut cursor = Cursor::new(super::slice(file, range), 0);
    let mut head = Head::new(tables);
    let mut import = Import { name: &[], ordinal: 0, flags: 0, stream };
    // The number of the present import, once a bind has used it.
    let (mut numbers, mut used, mut named, mut addend) = (0u32, false, false, 0i64);
    loop {
        let wrong = wrong(range.start, &cursor);
        let Some(byte) = cursor.u8() else { return Ok(()) };
        let (operation, immediate) = (byte & 0xf0, byte & 0xf);
        let mut uleb = || cursor.uleb128().ok_or_else(|| wrong(CUT));
        let (count, skip) = match operation {
            0x00 if stream == Stream::Lazy => continue,
            0x00 => return Ok(()),
            0x10..=0x40 => {
                match operation {
                    0x10 => import.ordinal = i32::from(immediate),
                    0x20 => {
                        import.ordinal = i32::try_from(uleb()?).map_err(|_| wrong("bind opcodes: no such ordinal"))?
                    }
                    // Zero, or a small negative number whose high bits are left out.
                    0x30 => import.ordinal = if immediate == 0 { 0 } else { i32::from((immediate | 0xf0) as i8) },
                    _ => {
                        import.flags = immediate;
                        import.name = cursor.c_str().ok_or_else(|| wrong(CUT))?;
                        named = true;
                    }
                }
                used = false;
                continue;
            }
            0x50 => {
                head.kind = immediate;
                continue;
            }
            0x60 => {
                addend = cursor.sleb128().ok_or_else(|| wrong(CUT))?;
                continue;
            }
            0x70 => {
                head.segment(immediate, uleb()?).map_err(wrong)?;
                continue;
            }
            0x80 => {
                head.at = head.at.wrapping_add(uleb()?);
                continue;
            }
            0x90 => (1, 0),
            0xa0 => (1, uleb()?),
            0xb0 => (1, u64::from(immediate) * POINTER),
            0xc0 => (uleb()?, uleb()?),
            0xd0 => return Err(ErrorKind::unsupported("BIND_OPCODE_THREADED").into()),
            _ => return Err(wrong("bind opcodes: an unknown one").into()),
        };
        if !named {
            return Err(wrong("bind opcodes: a bind before any symbol").into());
        }
        if count > 0 && !std::mem::replace(&mut used, true) {
            numbers = numbers.checked_add(1).ok_or_else(|| wrong("bind opcodes: too many symbols"))?;
        }
        for _ in 0..count {
            let place = head.place(skip).map_err(&wrong)?;
            each(Bind { place, import, number: numbers - 1, addend })?;
        }
    }
}
