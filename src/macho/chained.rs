//! `LC_DYLD_CHAINED_FIXUPS`: pointers that are linked to one another in place.
//!
//! Grammar (`<mach-o/fixup-chains.h>`): a header { version, starts_offset, imports_offset, symbols_offset,
//! imports_count, imports_format, symbols_format }; at `starts_offset` { segment count, an offset for each segment, or
//! 0 }, which leads to { size, page_size: u16, pointer_format: u16, segment_offset: u64, max_valid_pointer,
//! page_count: u16, starts: u16 × page_count }. A start is the offset in its page of the first pointer of a chain,
//! 0xffff for none, or with bit 15 an index in the same array, where the starts of several chains stand, the last
//! one marked by bit 15. Each pointer says how far it is to the next one. A chain stays in its page, so that a system
//! can fix a page when it is first touched.

use super::segments::Segment;
use super::symbols::{Import, Stream};
use super::{Tables, slice};
use crate::addr::{FileOffset, VmAddr};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};
use crate::plan::{Fixup, FixupKind, Form, PointerAuth, PointerKey};
use crate::symbol::{Class, ImportId};

const NONE: u16 = 0xffff;
const MULTI: u16 = 0x8000;
/// Where the page starts stand in `dyld_chained_starts_in_segment`.
const STARTS: u64 = 22;

/// The table of imports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Imports<'a> {
    rows: Bytes<'a>,
    strings: Bytes<'a>,
    count: u32,
    format: u32,
}

fn malformed(tables: &Tables, what: &'static str, at: u64) -> ErrorKind {
    ErrorKind::malformed(what, Place::File(FileOffset(tables.chained.start.0 + at)))
}

impl<'a> Imports<'a> {
    /// The table of an image; empty where it has no chained fixups.
    ///
    /// # Errors
    /// A version or format that we do not know, or a table outside the payload.
    pub fn read(tables: &Tables, file: &'a [u8]) -> Result<Imports<'a>, ErrorKind> {
        let payload = Bytes(slice(file, tables.chained));
        if payload.is_empty() {
            return Ok(Imports::default());
        }
        let cut = || malformed(tables, "chained fixups: the header is cut off", 0);
        let word = |at| payload.u32(at).ok_or_else(cut);
        if word(0)? != 0 {
            return Err(ErrorKind::unsupported("a version of LC_DYLD_CHAINED_FIXUPS other than 0"));
        }
        let (imports, symbols, count, format) = (word(8)?, word(12)?, word(16)?, word(20)?);
        let size = match format {
            1 => 4,
            2 => 8,
            3 => 16,
            _ => return Err(malformed(tables, "chained fixups: an unknown imports_format", 20)),
        };
        if word(24)? != 0 {
            return Err(ErrorKind::unsupported(
                "symbols_format of LC_DYLD_CHAINED_FIXUPS other than 0 (compressed names)",
            ));
        }
        let rows = payload.slice(u64::from(imports), u64::from(count) * size);
        let rows = rows.ok_or_else(|| malformed(tables, "chained fixups: imports lie outside", u64::from(imports)))?;
        let strings = payload.from(u64::from(symbols));
        let strings =
            strings.ok_or_else(|| malformed(tables, "chained fixups: names lie outside", u64::from(symbols)))?;
        Ok(Imports { rows: Bytes(rows), strings: Bytes(strings), count, format })
    }

    /// Number of imports.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One import; `None` past the last, or where its name lies outside the names.
    pub fn get(&self, index: u32) -> Option<Import<'a>> {
        let index = u64::from(index);
        let (ordinal, weak, name) = match self.format {
            1 | 2 => {
                let row = self.rows.u32(index * if self.format == 1 { 4 } else { 8 })?;
                let ordinal = row as u8;
                // The last fifteen values are small negative numbers.
                let ordinal = if ordinal > 0xf0 { i32::from(ordinal as i8) } else { i32::from(ordinal) };
                (ordinal, row >> 8 & 1, u64::from(row >> 9))
            }
            _ => {
                let row = self.rows.u64(index * 16)?;
                let ordinal = row as u16;
                let ordinal = if ordinal > 0xfff0 { i32::from(ordinal as i16) } else { i32::from(ordinal) };
                (ordinal, (row >> 16) as u32 & 1, row >> 32)
            }
        };
        Some(Import { name: self.strings.c_str(name)?, ordinal, flags: weak as u8, stream: Stream::Chained })
    }

    /// What the import itself adds to its symbol; `None` past the last.
    #[inline]
    fn addend(&self, index: u32) -> Option<i64> {
        if index >= self.count {
            return None;
        }
        match self.format {
            2 => self.rows.u32(u64::from(index) * 8 + 4).map(|addend| i64::from(addend as i32)),
            3 => self.rows.u64(u64::from(index) * 16 + 8).map(|addend| addend as i64),
            _ => Some(0),
        }
    }
}

/// Calls `each` with every fixup of every chain.
///
/// # Errors
/// A pointer format that we do not know (those of kernels and firmware, by name), chains that leave their page or
/// cross each other, an import past the last one, or an error of `each`.
pub fn fixups<E: From<ErrorKind>>(
    tables: &Tables,
    file: &[u8],
    mut each: impl FnMut(Fixup) -> Result<(), E>,
) -> Result<(), E> {
    let imports = Imports::read(tables, file)?;
    let payload = Bytes(slice(file, tables.chained));
    if payload.is_empty() {
        return Ok(());
    }
    let cut = |at: u64| malformed(tables, "chained fixups: the starts are cut off", at);
    let starts = u64::from(payload.u32(4).ok_or_else(|| cut(4))?);
    let count = payload.u32(starts).ok_or_else(|| cut(starts))?;
    for index in 0..count {
        let at = starts + 4 + u64::from(index) * 4;
        let offset = payload.u32(at).ok_or_else(|| cut(at))?;
        if offset == 0 {
            continue;
        }
        let segment = tables.segments.get(index as usize);
        let segment = segment.ok_or_else(|| malformed(tables, "chained fixups: no such segment", at))?;
        let at = starts + u64::from(offset);
        let pages = Pages::read(tables, payload, at).ok_or_else(|| cut(at))?;
        let content = slice(file, tables.in_file(segment));
        let chains = Chains { tables, imports, segment, content: Bytes(content), pages };
        chains.walk(&mut each)?;
    }
    Ok(())
}

/// `dyld_chained_starts_in_segment`.
#[derive(Clone, Copy)]
struct Pages<'a> {
    page_size: u64,
    format: u16,
    count: u64,
    /// The page starts, and the starts of pages with several chains behind them.
    starts: Bytes<'a>,
    at: u64,
}

impl<'a> Pages<'a> {
    fn read(tables: &Tables, payload: Bytes<'a>, at: u64) -> Option<Pages<'a>> {
        let size = u64::from(payload.u32(at)?);
        let count = u64::from(payload.u16(at + 20)?);
        // Some linkers do not count the starts behind the pages into the size, so it is only a lower bound.
        let starts = payload.from(at + STARTS).filter(|starts| starts.len() as u64 >= count * 2 && size >= STARTS)?;
        let at = tables.chained.start.0 + at;
        let (page_size, format) =
            (u64::from(payload.u16(at - tables.chained.start.0 + 4)?), payload.u16(at - tables.chained.start.0 + 6)?);
        Some(Pages { page_size, format, count, starts: Bytes(starts), at })
    }
}

struct Chains<'t, 'a> {
    tables: &'t Tables,
    imports: Imports<'a>,
    segment: &'t Segment,
    content: Bytes<'a>,
    pages: Pages<'a>,
}

/// What a pointer in a chain says: its fixup, and how far the next pointer is.
struct Link {
    kind: FixupKind,
    next: u64,
}

impl Chains<'_, '_> {
    fn walk<E: From<ErrorKind>>(&self, each: &mut impl FnMut(Fixup) -> Result<(), E>) -> Result<(), E> {
        let header = self.tables.header.0;
        // The formats differ in so much that each gets a loop of its own: this is where loading spends its time.
        match self.pages.format {
            1 => self.pages(each, |raw| self.arm64e(raw, 0, 0xffff)),
            2 => self.pages(each, |raw| self.plain(raw, 0)),
            6 => self.pages(each, |raw| self.plain(raw, header)),
            9 => self.pages(each, |raw| self.arm64e(raw, header, 0xffff)),
            12 => self.pages(each, |raw| self.arm64e(raw, header, 0xff_ffff)),
            other => Err(refused(other, self.pages.at).into()),
        }
    }

    fn pages<E: From<ErrorKind>>(
        &self,
        each: &mut impl FnMut(Fixup) -> Result<(), E>,
        decode: impl Fn(u64) -> Option<Link>,
    ) -> Result<(), E> {
        for page in 0..self.pages.count {
            let start = self.start(page)?;
            // Chains that share pointers would be walked twice, and a page has room for no more than this.
            let mut left = self.pages.page_size / 4;
            if start == NONE {
                continue;
            }
            if start & MULTI == 0 {
                self.chain(page, start, &mut left, each, &decode)?;
                continue;
            }
            let mut index = u64::from(start & !MULTI);
            loop {
                let start = self.start(index)?;
                self.chain(page, start & !MULTI, &mut left, each, &decode)?;
                if start & MULTI != 0 {
                    break;
                }
                index += 1;
            }
        }
        Ok(())
    }

    fn start(&self, index: u64) -> Result<u16, ErrorKind> {
        let cut =
            || ErrorKind::malformed("chained fixups: the starts are cut off", Place::File(FileOffset(self.pages.at)));
        self.pages.starts.u16(index * 2).ok_or_else(cut)
    }

    #[inline]
    fn chain<E: From<ErrorKind>>(
        &self,
        page: u64,
        start: u16,
        left: &mut u64,
        each: &mut impl FnMut(Fixup) -> Result<(), E>,
        decode: &impl Fn(u64) -> Option<Link>,
    ) -> Result<(), E> {
        let first = page * self.pages.page_size;
        let mut offset = u64::from(start);
        loop {
            let place = VmAddr(self.segment.vm.start.0 + first + offset);
            let malformed = |what| ErrorKind::malformed(what, Place::Vm(place));
            if offset >= self.pages.page_size {
                return Err(malformed("chained fixups: a chain leaves its page").into());
            }
            *left = left.checked_sub(1).ok_or_else(|| malformed("chained fixups: chains cross"))?;
            let raw = self.content.u64(first + offset);
            let raw = raw.ok_or_else(|| malformed("chained fixups: a chain leaves the file"))?;
            let link = decode(raw).ok_or_else(|| malformed("chained fixups: no such import"))?;
            each(Fixup { place, kind: link.kind })?;
            if link.next == 0 {
                return Ok(());
            }
            offset += link.next;
        }
    }

    #[inline]
    fn bind(&self, ordinal: u32, addend: i64, auth: Option<PointerAuth>) -> Option<FixupKind> {
        let addend = addend.wrapping_add(self.imports.addend(ordinal)?);
        let import = Some(ImportId { symbol: ordinal, class: Class::Data });
        Some(match auth {
            None => FixupKind::Bind { import, addend, form: Form::Abs64 },
            Some(auth) => FixupKind::Signed { import, addend, auth },
        })
    }

    /// `DYLD_CHAINED_PTR_64` (targets are addresses) and `…_64_OFFSET` (they count from the header).
    #[inline]
    fn plain(&self, raw: u64, base: u64) -> Option<Link> {
        let next = (raw >> 51 & 0xfff) * 4;
        let kind = if raw >> 63 != 0 {
            self.bind(raw as u32 & 0xff_ffff, (raw >> 24 & 0xff) as i64, None)?
        } else {
            rebase((raw & 0xf_ffff_ffff).wrapping_add(base), raw >> 36 & 0xff)
        };
        Some(Link { kind, next })
    }

    /// `DYLD_CHAINED_PTR_ARM64E` and its `USERLAND` forms. Targets with a signature always count from the header; the
    /// others do so in the `USERLAND` forms only.
    #[inline]
    fn arm64e(&self, raw: u64, base: u64, ordinals: u32) -> Option<Link> {
        let next = (raw >> 51 & 0x7ff) * 8;
        let auth = (raw >> 63 != 0).then(|| PointerAuth {
            key: [PointerKey::IA, PointerKey::IB, PointerKey::DA, PointerKey::DB][(raw >> 49 & 3) as usize],
            diversity: (raw >> 32) as u16,
            address: raw >> 48 & 1 != 0,
        });
        let kind = match (raw >> 62 & 1 != 0, auth) {
            (true, Some(auth)) => self.bind(raw as u32 & ordinals, 0, Some(auth))?,
            // 19 bits with a sign.
            (true, None) => self.bind(raw as u32 & ordinals, (raw << 13) as i64 >> 45, None)?,
            (false, Some(auth)) => {
                let target = u64::from(raw as u32).wrapping_add(self.tables.header.0);
                FixupKind::Signed { import: None, addend: target as i64, auth }
            }
            (false, None) => rebase((raw & 0x7ff_ffff_ffff).wrapping_add(base), raw >> 43 & 0xff),
        };
        Some(Link { kind, next })
    }
}

/// The high byte of a pointer is left to the program.
#[inline]
fn rebase(target: u64, high: u64) -> FixupKind {
    FixupKind::Rebase { target: VmAddr(target | high << 56) }
}

#[cold]
fn refused(format: u16, at: u64) -> ErrorKind {
    let what = match format {
        3 => "DYLD_CHAINED_PTR_32",
        4 => "DYLD_CHAINED_PTR_32_CACHE",
        5 => "DYLD_CHAINED_PTR_32_FIRMWARE",
        7 => "DYLD_CHAINED_PTR_ARM64E_KERNEL",
        8 => "DYLD_CHAINED_PTR_64_KERNEL_CACHE",
        10 => "DYLD_CHAINED_PTR_ARM64E_FIRMWARE",
        11 => "DYLD_CHAINED_PTR_X86_64_KERNEL_CACHE",
        13 => "DYLD_CHAINED_PTR_ARM64E_SHARED_CACHE",
        14 => "DYLD_CHAINED_PTR_ARM64E_SEGMENTED",
        _ => "an unknown format of chained pointers",
    };
    ErrorKind::Unsupported { what, place: Some(Place::File(FileOffset(at))), symbol: None }
}
