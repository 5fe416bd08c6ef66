//! `LC_DYLD_CHAINED_FIXUPS`: pointers that are linked to one another in place.
//!
//! Grammar (`<mach-o/fixup-chains.h>`): a header { version, starts_offset, imports_offset, symbols_offset,
//! imports_count, imports_format, symbols_format }; at `starts_offset` { segment count, an offset for each segment, or
//! 0 }, which leads to { size, page_size: u16, pointer_format: u16, segment_offset: u64, max_valid_pointer,
//! page_count: u16, starts: u16 × page_count }. A start is the offset in its page of the first pointer of a chain,
//! 0xffff for none, or with bit 15 an index in the same array, where the starts of several chains stand, the last
//! one marked by bit 15. Each pointer says how far it is to the next one. A chain stays in its page, so that a system
//! can fix a page when it is first touched.

use super::limits;
use super::names::Names;
use super::segments::Segment;
use super::symbols::{Import, Stream};
use super::{Tables, slice};
use crate::addr::{FileOffset, RunAddr, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};
use crate::memory::Window;
use crate::plan::{Fixup, FixupKind, Form, PointerAuth, PointerKey, Visitor};
use crate::room;
use crate::symbol::{Class, ImportId};

const NONE: u16 = 0xffff;
const MULTI: u16 = 0x8000;
/// Where the page starts stand in `dyld_chained_starts_in_segment`.
const STARTS: u64 = 22;

/// The table of imports, without their names: fixups do not need those.
#[derive(Clone, Copy, Debug, Default)]
pub struct Imports<'a> {
    rows: Bytes<'a>,
    count: u32,
    format: u32,
}

/// The same with their names.
#[derive(Clone, Debug, Default)]
pub struct NamedImports<'a> {
    rows: Imports<'a>,
    names: Names<'a>,
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
        let (imports, count, format) = (word(8)?, word(16)?, word(20)?);
        let size = match format {
            1 => 4,
            2 => 8,
            3 => 16,
            _ => return Err(malformed(tables, "chained fixups: an unknown imports_format", 20)),
        };
        let rows = payload.slice(u64::from(imports), u64::from(count) * size);
        let rows = rows.ok_or_else(|| malformed(tables, "chained fixups: imports lie outside", u64::from(imports)))?;
        Ok(Imports { rows: Bytes(rows), count, format })
    }

    fn name_offset(&self, index: u32) -> Option<u64> {
        let index = u64::from(index);
        match self.format {
            1 => self.rows.u32(index * 4).map(|row| u64::from(row >> 9)),
            2 => self.rows.u32(index * 8).map(|row| u64::from(row >> 9)),
            _ => self.rows.u64(index * 16).map(|row| row >> 32),
        }
    }

    /// Number of imports.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of the image that defines an import, and whether it may stay undefined; `None` past the last.
    fn source(&self, index: u32) -> Option<(i32, bool)> {
        let at = u64::from(index);
        Some(match self.format {
            1 | 2 => {
                let row = self.rows.u32(at * if self.format == 1 { 4 } else { 8 })?;
                let ordinal = row as u8;
                // The last fifteen values are small negative numbers.
                let ordinal = if ordinal > 0xf0 { i32::from(ordinal as i8) } else { i32::from(ordinal) };
                (ordinal, row >> 8 & 1 != 0)
            }
            _ => {
                let row = self.rows.u64(at * 16)?;
                let ordinal = row as u16;
                let ordinal = if ordinal > 0xfff0 { i32::from(ordinal as i16) } else { i32::from(ordinal) };
                (ordinal, row >> 16 & 1 != 0)
            }
        })
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

    /// What binds of each import store that add nothing of their own, as far as the visitor knows; once is enough.
    fn values<E>(self, visitor: &impl Visitor<E>, values: &mut Vec<Option<RunAddr>>) -> Result<(), ErrorKind> {
        if !values.is_empty() {
            return Ok(());
        }
        room::reserve_exact(values, self.count as usize)?;
        values.extend((0..self.count).map(|symbol| {
            let value = visitor.value(ImportId { symbol, class: Class::Data })?;
            Some(RunAddr(value.0.wrapping_add_signed(self.addend(symbol)?)))
        }));
        Ok(())
    }

    #[inline]
    fn bind(self, (ordinal, addend): (u32, i64), auth: Option<PointerAuth>) -> Option<FixupKind> {
        let addend = addend.wrapping_add(self.addend(ordinal)?);
        let import = Some(ImportId { symbol: ordinal, class: Class::Data });
        Some(match auth {
            None => FixupKind::Bind { import, addend, form: Form::Abs64 },
            Some(auth) => FixupKind::Signed { import, addend, auth },
        })
    }
}

impl<'a> NamedImports<'a> {
    /// The table of an image; empty where it has no chained fixups.
    ///
    /// # Errors
    /// As [`Imports::read`]; names outside the payload; compressed ones that cannot be read; names that lie outside the
    /// table of names, and more of them than it could hold if each stood there a few times: all imports may name one that
    /// is as long as the table.
    pub fn read(tables: &Tables, file: &'a [u8]) -> Result<NamedImports<'a>, ErrorKind> {
        let rows = Imports::read(tables, file)?;
        let payload = Bytes(slice(file, tables.chained));
        if payload.is_empty() {
            return Ok(NamedImports::default());
        }
        let cut = || malformed(tables, "chained fixups: the header is cut off", 0);
        let word = |at| payload.u32(at).map(u64::from).ok_or_else(cut);
        let (at, format) = (word(12)?, word(24)?);
        let names = payload.from(at).ok_or_else(|| malformed(tables, "chained fixups: names lie outside", at))?;
        // dyld refuses compressed names (`ChainedFixups::valid`), though `fixup-chains.h` has them.
        let names = match format {
            0 => Names::plain(names),
            1 => Names::inflated(names, tables.image.size, Place::File(FileOffset(tables.chained.start.0 + at)))?,
            _ => return Err(malformed(tables, "chained fixups: an unknown symbols_format", 24)),
        };
        let imports = NamedImports { rows, names };
        imports.check_names()?;
        Ok(imports)
    }

    fn check_names(&self) -> Result<(), ErrorKind> {
        let mut left = limits::NAMES_SHARED.saturating_mul(self.names.len());
        for index in 0..self.rows.count {
            let malformed = |what| ErrorKind::malformed(what, Place::Entry(u64::from(index)));
            let name = self.rows.name_offset(index).and_then(|at| self.names.within(at, left));
            let Some(name) = name else {
                return Err(match self.get(index) {
                    None => malformed("imports: a name lies outside the names"),
                    Some(_) => malformed("imports: the same names over and over"),
                });
            };
            left -= name.len() as u64;
        }
        Ok(())
    }

    /// Number of imports.
    pub fn len(&self) -> u32 {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One import; `None` past the last.
    pub fn get(&self, index: u32) -> Option<Import<'_>> {
        let name = self.names.at(self.rows.name_offset(index)?)?;
        let (ordinal, weak) = self.rows.source(index)?;
        Some(Import { name, ordinal, flags: u8::from(weak), stream: Stream::Chained })
    }
}

/// Visits every fixup of every chain.
///
/// # Errors
/// A pointer format that we do not know (those of kernels and firmware, by name), chains that leave their page or
/// cross each other, an import past the last one, or an error of the visitor.
pub fn fixups<E: From<ErrorKind>>(tables: &Tables, file: &[u8], visitor: &mut impl Visitor<E>) -> Result<(), E> {
    let imports = Imports::read(tables, file)?;
    let payload = Bytes(slice(file, tables.chained));
    if payload.is_empty() {
        return Ok(());
    }
    let cut = |at: u64| malformed(tables, "chained fixups: the starts are cut off", at);
    let starts = u64::from(payload.u32(4).ok_or_else(|| cut(4))?);
    let count = payload.u32(starts).ok_or_else(|| cut(starts))?;
    let mut values = Vec::new();
    // Starts that overlap would let a small table ask for the work of its square.
    let mut left = payload.len() as u64;
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
        let overlap = || malformed(tables, "chained fixups: the starts of segments overlap", at);
        left = left.checked_sub(STARTS + 2 * pages.count).ok_or_else(overlap)?;
        let content = slice(file, tables.in_file(segment));
        let header = tables.header.0;
        // The formats differ in so much that each gets a loop of its own: this is where loading spends its time.
        let chains = Chains { segment, content, imports, pages };
        match pages.format {
            1 => chains.visit(Arm64e { header, base: 0, ordinals: 0xffff }, visitor, &mut values)?,
            2 => chains.visit(Plain { base: 0 }, visitor, &mut values)?,
            6 => chains.visit(Plain { base: header }, visitor, &mut values)?,
            9 => chains.visit(Arm64e { header, base: header, ordinals: 0xffff }, visitor, &mut values)?,
            12 => chains.visit(Arm64e { header, base: header, ordinals: 0xff_ffff }, visitor, &mut values)?,
            other => return Err(refused(other, pages.at).into()),
        }
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

    /// Whether there is a page with several chains.
    fn several(&self) -> bool {
        (0..self.count).filter_map(|page| self.starts.u16(page * 2)).any(|start| start != NONE && start & MULTI != 0)
    }
}

/// What the pointers of one format say.
trait Pointers: Copy {
    /// How far the next pointer of the chain is; 0 after the last.
    fn next(self, raw: u64) -> u64;

    /// Where in the image it leads to; `None` if it is a bind.
    fn rebase(self, raw: u64) -> Option<VmAddr>;

    /// The import of a bind, and what is added to it.
    fn bind(self, raw: u64) -> (u32, i64);

    /// All of it; `None` if there is no such import.
    fn kind(self, raw: u64, imports: Imports<'_>) -> Option<FixupKind>;
}

/// `DYLD_CHAINED_PTR_64` (targets are addresses) and `…_64_OFFSET` (they count from the header).
#[derive(Clone, Copy)]
struct Plain {
    base: u64,
}

impl Pointers for Plain {
    #[inline]
    fn next(self, raw: u64) -> u64 {
        (raw >> 51 & 0xfff) * 4
    }

    #[inline]
    fn rebase(self, raw: u64) -> Option<VmAddr> {
        // Nearly all are no bind and leave the high byte alone, which is one test.
        if raw & (1 << 63 | 0xff << 36) == 0 {
            return Some(VmAddr((raw & 0xf_ffff_ffff).wrapping_add(self.base)));
        }
        (raw >> 63 == 0).then(|| target((raw & 0xf_ffff_ffff).wrapping_add(self.base), raw >> 36 & 0xff))
    }

    #[inline]
    fn bind(self, raw: u64) -> (u32, i64) {
        (raw as u32 & 0xff_ffff, (raw >> 24 & 0xff) as i64)
    }

    #[inline]
    fn kind(self, raw: u64, imports: Imports<'_>) -> Option<FixupKind> {
        match self.rebase(raw) {
            Some(target) => Some(FixupKind::Rebase { target }),
            None => imports.bind(self.bind(raw), None),
        }
    }
}

/// `DYLD_CHAINED_PTR_ARM64E` and its `USERLAND` forms. Targets with a signature always count from the header; the
/// others do so in the `USERLAND` forms only.
#[derive(Clone, Copy)]
struct Arm64e {
    header: u64,
    base: u64,
    ordinals: u32,
}

impl Pointers for Arm64e {
    #[inline]
    fn next(self, raw: u64) -> u64 {
        (raw >> 51 & 0x7ff) * 8
    }

    #[inline]
    fn rebase(self, raw: u64) -> Option<VmAddr> {
        // Signed and other pointers take turns in no order: what chooses is arithmetic, since a branch would guess wrong.
        let signed = (raw as i64 >> 63) as u64;
        let base = self.base ^ (self.base ^ self.header) & signed;
        // Nearly all are no bind, and have a target of 32 bits and nothing in the high byte.
        if raw & (1 << 62 | 0x7_ffff << 32 & !signed) == 0 {
            return Some(VmAddr(u64::from(raw as u32).wrapping_add(base)));
        }
        let offset = raw & (0x7ff_ffff_ffff & !signed | 0xffff_ffff);
        (raw >> 62 & 1 == 0).then(|| target(offset.wrapping_add(base), raw >> 43 & 0xff & !signed))
    }

    #[inline]
    fn bind(self, raw: u64) -> (u32, i64) {
        // 19 bits with a sign, where the signature leaves room.
        let addend = if raw >> 63 == 0 { (raw << 13) as i64 >> 45 } else { 0 };
        (raw as u32 & self.ordinals, addend)
    }

    #[inline]
    fn kind(self, raw: u64, imports: Imports<'_>) -> Option<FixupKind> {
        let auth = (raw >> 63 != 0).then(|| PointerAuth {
            key: [PointerKey::IA, PointerKey::IB, PointerKey::DA, PointerKey::DB][(raw >> 49 & 3) as usize],
            diversity: (raw >> 32) as u16,
            address: raw >> 48 & 1 != 0,
        });
        match (self.rebase(raw), auth) {
            (Some(target), Some(auth)) => Some(FixupKind::Signed { import: None, addend: target.0 as i64, auth }),
            (Some(target), None) => Some(FixupKind::Rebase { target }),
            (None, auth) => imports.bind(self.bind(raw), auth),
        }
    }
}

/// The high byte of a pointer is left to the program.
#[inline]
fn target(address: u64, high: u64) -> VmAddr {
    VmAddr(address | high << 56)
}

/// The chains of one segment.
struct Chains<'t, 'a> {
    segment: &'t Segment,
    content: &'a [u8],
    imports: Imports<'a>,
    pages: Pages<'a>,
}

/// A chain on its way: offsets of the next pointer, and of the end of the page, in the segment.
#[derive(Clone, Copy)]
struct Chain {
    at: usize,
    end: usize,
}

impl Chains<'_, '_> {
    /// Visits all chains. `values` is what the imports' binds store, once there is a use for it.
    fn visit<E: From<ErrorKind>>(
        &self,
        format: impl Pointers,
        visitor: &mut impl Visitor<E>,
        values: &mut Vec<Option<RunAddr>>,
    ) -> Result<(), E> {
        let mut todo = 0..self.pages.count;
        if !self.pages.several() && visitor.window(self.range()).is_some() {
            self.imports.values(visitor, values)?;
            self.two_at_a_time(&mut todo, format, visitor, values)?;
        }
        for page in todo {
            let start = self.start(page)?;
            // Chains that share pointers would be walked twice, and a page has room for no more than this.
            let mut left = self.pages.page_size / 4;
            if start == NONE {
                continue;
            }
            if start & MULTI == 0 {
                self.walk(self.chain(page, start), &mut left, format, visitor)?;
                continue;
            }
            let mut index = u64::from(start & !MULTI);
            loop {
                let start = self.start(index)?;
                self.walk(self.chain(page, start & !MULTI), &mut left, format, visitor)?;
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

    fn chain(&self, page: u64, start: u16) -> Chain {
        // No more than 2^16 pages of less than 2^16 bytes.
        let first = (page * self.pages.page_size) as usize;
        Chain { at: first + usize::from(start), end: first + self.pages.page_size as usize }
    }

    /// Visits all of a chain.
    fn walk<E: From<ErrorKind>>(
        &self,
        mut chain: Chain,
        left: &mut u64,
        format: impl Pointers,
        visitor: &mut impl Visitor<E>,
    ) -> Result<(), E> {
        loop {
            let cross = || ErrorKind::malformed("chained fixups: chains cross", Place::Vm(self.place(chain)));
            *left = left.checked_sub(1).ok_or_else(cross)?;
            if !self.step(&mut chain, format, visitor)? {
                return Ok(());
            }
        }
    }

    /// What the file holds of the segment.
    fn range(&self) -> VmRange {
        VmRange { start: self.segment.vm.start, size: self.content.len() as u64 }
    }

    fn place(&self, chain: Chain) -> VmAddr {
        VmAddr(self.segment.vm.start.0.wrapping_add(chain.at as u64))
    }

    /// Visits one pointer, and moves on to the next one; says whether there is one.
    #[inline]
    fn step<E: From<ErrorKind>>(
        &self,
        chain: &mut Chain,
        format: impl Pointers,
        visitor: &mut impl Visitor<E>,
    ) -> Result<bool, E> {
        let place = self.place(*chain);
        let malformed = |what| ErrorKind::malformed(what, Place::Vm(place));
        if chain.at >= chain.end {
            return Err(malformed("chained fixups: a chain leaves its page").into());
        }
        let raw = word(self.content, chain.at).ok_or_else(|| malformed("chained fixups: a chain leaves the file"))?;
        let kind = format.kind(raw, self.imports).ok_or_else(|| malformed("chained fixups: no such import"))?;
        visitor.fixup(Fixup { place, kind })?;
        let next = format.next(raw);
        chain.at += next as usize;
        Ok(next != 0)
    }

    /// As long as the visitor has a window, and there are chains on two pages, both are followed at the same time: where
    /// the next pointer is says only the one before, and the processor would wait for each.
    fn two_at_a_time<E: From<ErrorKind>>(
        &self,
        todo: &mut std::ops::Range<u64>,
        format: impl Pointers,
        visitor: &mut impl Visitor<E>,
        values: &[Option<RunAddr>],
    ) -> Result<(), E> {
        let mut chains = [self.next_chain(todo)?, self.next_chain(todo)?];
        while let [Some(one), Some(other)] = &mut chains {
            let Some(mut window) = visitor.window(self.range()) else { break };
            let stopped = self.follow([one, other], format, values, &mut window);
            // The last pointer, a bind that is more than a store, or something that is wrong.
            if let Some(chain) = &mut chains[stopped]
                && !self.step(chain, format, visitor)?
            {
                chains[stopped] = self.next_chain(todo)?;
            }
        }
        chains.into_iter().flatten().try_for_each(|chain| self.walk(chain, &mut { u64::MAX }, format, visitor))
    }

    fn next_chain(&self, todo: &mut std::ops::Range<u64>) -> Result<Option<Chain>, ErrorKind> {
        for page in todo {
            let start = self.start(page)?;
            if start != NONE {
                return Ok(Some(self.chain(page, start)));
            }
        }
        Ok(None)
    }

    /// Follows two chains in turn for as long as each goes on with no more than a store; says which one does not.
    #[inline(never)]
    fn follow(
        &self,
        chains: [&mut Chain; 2],
        format: impl Pointers,
        values: &[Option<RunAddr>],
        window: &mut Window<'_>,
    ) -> usize {
        let mut step = |chain: &mut Chain| {
            let raw = word(self.content, chain.at)?;
            let next = format.next(raw) as usize;
            if next == 0 || chain.at >= chain.end {
                return None;
            }
            let stored = match format.rebase(raw) {
                Some(target) => window.rebase(chain.at, target),
                None => {
                    let (ordinal, addend) = format.bind(raw);
                    let value = (*values.get(ordinal as usize)?)?;
                    window.store(chain.at, RunAddr(value.0.wrapping_add_signed(addend)))
                }
            };
            chain.at += next;
            stored.then_some(())
        };
        let [one, other] = chains;
        let [mut first, mut second] = [*one, *other];
        let stopped = loop {
            if step(&mut first).is_none() {
                break 0;
            }
            if step(&mut second).is_none() {
                break 1;
            }
        };
        (*one, *other) = (first, second);
        stopped
    }
}

#[inline]
fn word(content: &[u8], at: usize) -> Option<u64> {
    Bytes(content).u64(at as u64)
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
