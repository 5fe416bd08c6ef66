//! `LC_DYLD_CHAINED_FIXUPS`: pointers that are linked to one another in place.
//!
//! Grammar (`<mach-o/fixup-chains.h>`): a header { version, starts_offset, imports_offset, symbols_offset,
//! imports_count, imports_format, symbols_format }; at `starts_offset` { segment count, an offset for each segment, or
//! 0 }, which leads to { size, page_size: u16, pointer_format: u16, segment_offset: u64, max_valid_pointer,
//! page_count: u16, starts: u16 × page_count }. A start is the offset in its page of the first pointer of a chain,
//! 0xffff for none, or with bit 15 an index in the same array, where the starts of several chains stand, the last
//! one marked by bit 15. Each pointer says how far it is to the next one. A chain stays in its page, so that a system
//! can fix a page when it is first touched.

mod pointers;

use super::limits;
use super::names::Names;
use super::segments::Segment;
use super::symbols::{Import, Stream};
use super::{Tables, slice};
use crate::addr::{Bias, FileOffset, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};
use crate::memory::Window;
use crate::plan::{Fixup, FixupKind, Form, PointerAuth, Visitor};
use crate::room;
use crate::symbol::{Class, ImportId};
use pointers::{Arm64e, Plain, Pointers};

const NONE: u16 = 0xffff;
const MULTI: u16 = 0x8000;
/// Stands for a value that is not known, or that takes more than a store. What happens to be this takes the long way, too.
const UNKNOWN: u64 = u64::MAX;
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

    /// The bias, which rebases add to; then for each import what its binds add to, as far as the visitor knows. Once is
    /// enough.
    fn values<E>(self, visitor: &impl Visitor<E>, bias: Bias, values: &mut Vec<u64>) -> Result<(), ErrorKind> {
        if !values.is_empty() {
            return Ok(());
        }
        room::reserve_exact(values, self.count as usize + 1)?;
        values.push(bias.0);
        values.extend((0..self.count).map(|symbol| {
            let value = visitor.value(ImportId { symbol, class: Class::Data });
            let value = value.zip(self.addend(symbol)).map(|(value, addend)| value.0.wrapping_add_signed(addend));
            value.unwrap_or(UNKNOWN)
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
    /// Visits all chains. `values` is as [`Imports::values`] has it, once there is a use for it.
    fn visit<E: From<ErrorKind>>(
        &self,
        format: impl Pointers,
        visitor: &mut impl Visitor<E>,
        values: &mut Vec<u64>,
    ) -> Result<(), E> {
        let mut todo = 0..self.pages.count;
        let bias = visitor.window(self.range()).map(|window| window.bias());
        if let Some(bias) = bias.filter(|_| !self.pages.several()) {
            self.imports.values(visitor, bias, values)?;
            match self.pages.page_size {
                0x1000 => self.two_at_a_time::<0x200, E>(&mut todo, format, visitor, values)?,
                0x4000 => self.two_at_a_time::<0x800, E>(&mut todo, format, visitor, values)?,
                _ => {}
            }
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

    /// As long as the visitor has a window, and there are chains on two whole pages of `N` words, both are followed at the
    /// same time: where the next pointer is says only the one before, and the processor would wait for each.
    fn two_at_a_time<const N: usize, E: From<ErrorKind>>(
        &self,
        todo: &mut std::ops::Range<u64>,
        format: impl Pointers,
        visitor: &mut impl Visitor<E>,
        values: &[u64],
    ) -> Result<(), E> {
        let mut chains = [self.next_chain(todo)?, self.next_chain(todo)?];
        while let [Some(one), Some(other)] = &mut chains {
            let Some(mut window) = visitor.window(self.range()) else { break };
            let Some(pages) = self.two_pages::<N>([*one, *other], &mut window) else { break };
            let stopped = follow(pages, [one, other], format, values);
            // The last pointer, a bind that is more than a store, or something that is wrong.
            if let Some(chain) = &mut chains[stopped]
                && !self.step(chain, format, visitor)?
            {
                chains[stopped] = self.next_chain(todo)?;
            }
        }
        chains.into_iter().flatten().try_for_each(|chain| self.walk(chain, &mut { u64::MAX }, format, visitor))
    }

    /// The pages of two chains, each as the file has it and as the window has it; `None` if one is cut off.
    fn two_pages<'s, const N: usize>(
        &'s self,
        chains: [Chain; 2],
        window: &'s mut Window<'_>,
    ) -> Option<[Page<'s, N>; 2]> {
        let starts = chains.map(|chain| chain.end - 8 * N);
        let [one, other] = starts.map(|start| self.content.get(start..)?.as_chunks().0.first_chunk());
        let [one_place, other_place] = window.two(starts)?;
        Some([Page { content: one?, place: one_place }, Page { content: other?, place: other_place }])
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
}

/// A page of `N` words: as the file has it, and where it is relocated.
struct Page<'p, const N: usize> {
    content: &'p [[u8; 8]; N],
    place: &'p mut [[u8; 8]; N],
}

/// Follows two chains in turn for as long as each goes on with no more than a store; says which one does not. An index
/// below `N` is all that is checked of a place.
#[inline(never)]
fn follow<const N: usize>(
    pages: [Page<'_, N>; 2],
    chains: [&mut Chain; 2],
    format: impl Pointers,
    values: &[u64],
) -> usize {
    let step = |at: &mut usize, page: &mut Page<'_, N>| {
        let raw = u64::from_le_bytes(*page.content.get(*at)?);
        let next = format.words(raw);
        if next == 0 {
            return None;
        }
        page.place[*at] = format.value(raw, values)?.to_le_bytes();
        *at += next;
        Some(())
    };
    let [mut first, mut second] = pages;
    let mut at = [0, 1].map(|which: usize| chains[which].at - (chains[which].end - 8 * N));
    // What is not aligned takes the long way.
    let odd = at.iter().position(|at| at % 8 != 0);
    at = at.map(|at| at / 8);
    let [mut one, mut other] = at;
    let stopped = odd.unwrap_or_else(|| {
        loop {
            if step(&mut one, &mut first).is_none() {
                break 0;
            }
            if step(&mut other, &mut second).is_none() {
                break 1;
            }
        }
    });
    if odd.is_none() {
        for (chain, at) in chains.into_iter().zip([one, other]) {
            chain.at = chain.end - 8 * N + 8 * at;
        }
    }
    stopped
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
