//! `__unwind_info` and `__eh_frame` → DWARF records that every unwinder reads.
//!
//! Compact unwind says in 32 bits how a function saved its registers (`<mach-o/compact_unwind_encoding.h>`). No unwinder
//! outside macOS knows it, so each function gets the DWARF record (DWARF 5 §6.4, LSB "Exception Frames") that says the
//! same of every place where a call can be. Functions that compact unwind leaves to DWARF have their record in
//! `__eh_frame`, which is written again: it lacks the end that unwinders want, and its pointers are relative.
//!
//! Grammar of `__unwind_info`: { version, common encodings: offset, count, personalities: offset, count, index: offset,
//! count }; an index entry is { function, page, language data }, the last one has no page. A page is { kind 2, entries:
//! offset u16, count u16 } with { function, encoding } each, or { kind 3, entries, count, encodings, count } with one word
//! each: eight bits that number an encoding and 24 that are added to the index entry's function. Language data are
//! pairs { function, data }. Functions count from the header.

use super::Tables;
use crate::addr::{VmAddr, VmRange};
use crate::bytes::{Bytes, Cursor};
use crate::error::{ErrorKind, Place};
use crate::plan::{FrameTable, LoadPlan, Machine};
use std::collections::BTreeMap;

const HAS_LSDA: u32 = 0x4000_0000;
const MODE: u32 = 0x0f00_0000;
const MODE_RBP_FRAME: u32 = 0x0100_0000;
const MODE_STACK: u32 = 0x0200_0000;
const MODE_STACK_INDIRECT: u32 = 0x0300_0000;
const MODE_DWARF: u32 = 0x0400_0000;

/// Registers by the numbers of x86-64's DWARF (psABI figure 3.36).
const RBX: u8 = 3;
const RBP: u8 = 6;
const RSP: u8 = 7;
const RETURN: u8 = 16;

const DW_CFA_DEF_CFA: u8 = 0x0c;
const DW_CFA_OFFSET: u8 = 0x80;
/// Absolute pointers, of eight bytes.
const DW_EH_PE_ABSPTR: u8 = 0;
const DW_EH_PE_OMIT: u8 = 0xff;

/// Writes the records of an image; `None` where it has no unwind tables.
///
/// # Errors
/// Tables that are cut off, or that name functions outside the image.
pub fn frames(plan: &LoadPlan, tables: &Tables, file: &[u8]) -> Result<Option<FrameTable>, ErrorKind> {
    if plan.machine != Machine::X86_64 {
        return Ok(None);
    }
    let mut writer = Writer { plan, tables, file, groups: Vec::new(), written: Vec::new() };
    let compact = plan.unwind_tables.compact;
    if let Some(range) = compact {
        writer.compact(range)?;
    }
    if let Some(range) = plan.unwind_tables.records {
        writer.dwarf(range)?;
    }
    Ok(Some(together(writer.groups)).filter(|table| !table.records.is_empty()))
}

/// All groups in a row, and the end.
///
/// LLVM's libunwind takes a section only if functions follow the record that they have in common (its `decodeFDE` says
/// "CIE start does not match"). Before version 18, it does not stop at the end either, but goes on as many bytes further as the
/// last such record has (`__unw_add_dynamic_eh_frame_section`; llvm-project issue 76957). So there stand records that
/// are none: four bytes, in common with something that is not there.
fn together(groups: Vec<FrameTable>) -> FrameTable {
    const NONE: [u8; 8] = [4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let mut all = FrameTable::default();
    let mut longest = 0;
    for group in groups {
        let base = all.bytes.len();
        longest = longest.max(4 + Bytes(&group.bytes).u32(0).unwrap_or(0) as usize);
        all.bytes.extend(group.bytes);
        all.records.extend(group.records.iter().map(|at| base + at));
        all.addresses.extend(group.addresses.iter().map(|at| base + at));
        all.slots.extend(group.slots.iter().map(|&(at, vm)| (base + at, vm)));
    }
    // Every record has a multiple of eight bytes.
    all.bytes.extend([0; 8]);
    all.bytes.extend(NONE.repeat(longest / NONE.len()));
    all
}

struct Writer<'w> {
    plan: &'w LoadPlan,
    tables: &'w Tables,
    file: &'w [u8],
    /// Functions behind what their records have in common.
    groups: Vec<FrameTable>,
    /// Functions that have their record, by ascending address.
    written: Vec<u64>,
}

/// What the records of some functions have in common.
#[derive(Clone, Copy, Default, PartialEq)]
struct Common<'c> {
    /// Where the pointer to the personality routine is.
    personality: Option<VmAddr>,
    has_language_data: bool,
    code_align: u64,
    data_align: i64,
    instructions: &'c [u8],
}

fn malformed(what: &'static str, at: u64) -> ErrorKind {
    ErrorKind::malformed(what, Place::Vm(VmAddr(at)))
}

impl<'w> Writer<'w> {
    /// The bytes that the file holds at `range`.
    fn content(&self, range: VmRange) -> Option<&'w [u8]> {
        let offset = self.plan.file_offset(range.start, range.size)?;
        Bytes(self.file).slice(offset, range.size)
    }

    fn compact(&mut self, range: VmRange) -> Result<(), ErrorKind> {
        let cut = || malformed("__unwind_info: cut off", range.start.0);
        let info = Bytes(self.content(range).ok_or_else(cut)?);
        let word = |at: u64| info.u32(at).ok_or_else(cut);
        if word(0)? != 1 {
            return Err(malformed("__unwind_info: an unknown version", range.start.0));
        }
        let (index, count) = (u64::from(word(20)?), u64::from(word(24)?));
        let mut commons: Vec<(Common<'w>, usize)> = Vec::new();
        // Pages that overlap would let a small section ask for the work of its square.
        let mut left = info.len() as u64 / 4;
        for row in 0..count.saturating_sub(1) {
            let at = index + row * 12;
            let (first, page, data) = (word(at)?, u64::from(word(at + 4)?), u64::from(word(at + 8)?));
            let (end, data_end) = (word(at + 12)?, u64::from(word(at + 20)?));
            if page == 0 {
                continue;
            }
            let page = Page::read(info, page, first).ok_or_else(cut)?;
            let data = info.slice(data, data_end.saturating_sub(data)).ok_or_else(cut)?;
            let overlap = || malformed("__unwind_info: pages overlap", range.start.0);
            left = left.checked_sub(page.count).ok_or_else(overlap)?;
            for entry in 0..page.count {
                let (function, encoding) = page.entry(info, entry).ok_or_else(cut)?;
                let next = page.entry(info, entry + 1).filter(|_| entry + 1 < page.count).map_or(end, |(next, _)| next);
                self.function(info, (function, next), encoding, data, &mut commons)?;
            }
        }
        Ok(())
    }

    fn function(
        &mut self,
        info: Bytes<'w>,
        (start, end): (u32, u32),
        encoding: u32,
        data: &[u8],
        commons: &mut Vec<(Common<'w>, usize)>,
    ) -> Result<(), ErrorKind> {
        let place = self.tables.header.0.wrapping_add(u64::from(start));
        let size = u64::from(end.saturating_sub(start));
        if encoding & MODE == MODE_DWARF || encoding & MODE == 0 || size == 0 {
            return Ok(());
        }
        let mut instructions = Vec::new();
        let code = self.plan.file_offset(VmAddr(place), 1);
        let indirect = || code.and_then(|at| Bytes(self.file).u32(at + u64::from(encoding >> 16 & 0xff)));
        if describe(encoding, indirect, &mut instructions).is_none() {
            return Err(malformed("__unwind_info: an encoding that means nothing", place));
        }
        let number = u64::from(encoding >> 28 & 3);
        let personality = match number {
            0 => None,
            _ => {
                let table = info.u32(12).map(|table| u64::from(table) + (number - 1) * 4);
                let slot = table.and_then(|at| info.u32(at));
                let slot = slot.ok_or_else(|| malformed("__unwind_info: no such personality", place))?;
                Some(VmAddr(self.tables.header.0.wrapping_add(u64::from(slot))))
            }
        };
        let language_data = match encoding & HAS_LSDA {
            0 => None,
            _ => {
                let (rows, _) = data.as_chunks::<8>();
                let key = |row: &[u8; 8]| u32::from_le_bytes([row[0], row[1], row[2], row[3]]);
                let row = rows.binary_search_by_key(&start, key).ok().map(|at| rows[at]);
                let row = row.ok_or_else(|| malformed("__unwind_info: language data is missing", place))?;
                let offset = u32::from_le_bytes([row[4], row[5], row[6], row[7]]);
                Some(self.tables.header.0.wrapping_add(u64::from(offset)))
            }
        };
        let common = Common {
            personality,
            has_language_data: language_data.is_some(),
            code_align: 1,
            data_align: -8,
            instructions: &[],
        };
        let known = commons.iter().find(|(other, _)| *other == common).map(|&(_, at)| at);
        let at = known.unwrap_or_else(|| {
            let at = self.cie(&common, &ENTRY);
            commons.push((common, at));
            at
        });
        self.fde(at, place, size, language_data, &instructions)
    }

    /// Begins a group with the record that the others refer to, and returns its number.
    fn cie(&mut self, common: &Common<'_>, instructions: &[u8]) -> usize {
        let mut table = FrameTable::default();
        let at = begin(&mut table);
        table.bytes.extend([0; 4]); // the mark of such a record
        table.bytes.push(1);
        let mut data = Vec::new();
        table.bytes.extend(b"z");
        if common.personality.is_some() {
            table.bytes.push(b'P');
        }
        if common.has_language_data {
            table.bytes.push(b'L');
        }
        table.bytes.extend(b"R\0");
        uleb(common.code_align, &mut table.bytes);
        sleb(common.data_align, &mut table.bytes);
        table.bytes.push(RETURN);
        if common.personality.is_some() {
            data.push(DW_EH_PE_ABSPTR);
            data.extend([0; 8]);
        }
        if common.has_language_data {
            data.push(DW_EH_PE_ABSPTR);
        }
        data.push(DW_EH_PE_ABSPTR);
        uleb(data.len() as u64, &mut table.bytes);
        if let Some(slot) = common.personality {
            table.slots.push((table.bytes.len() + 1, slot));
        }
        table.bytes.extend(data);
        table.bytes.extend(instructions);
        end(&mut table, at);
        self.groups.push(table);
        self.groups.len() - 1
    }

    fn fde(
        &mut self,
        group: usize,
        place: u64,
        size: u64,
        language_data: Option<u64>,
        instructions: &[u8],
    ) -> Result<(), ErrorKind> {
        let code = self.plan.region(VmAddr(place), size).is_some_and(|region| region.prot.execute);
        if !code {
            return Err(malformed("unwind tables: a function outside the code", place));
        }
        let table = &mut self.groups[group];
        let at = begin(table);
        // From here back to what it has in common with the others of its group, at whose beginning that is.
        let back = (at + 4) as u32;
        table.bytes.extend(back.to_le_bytes());
        address(table, place);
        table.bytes.extend(size.to_le_bytes());
        match language_data {
            None => table.bytes.push(0),
            Some(data) => {
                table.bytes.push(8);
                address(table, data);
            }
        }
        table.bytes.extend(instructions);
        end(table, at);
        table.records.push(at);
        self.written.push(place);
        Ok(())
    }

    /// Writes again what `__eh_frame` says of functions that have no record yet.
    fn dwarf(&mut self, range: VmRange) -> Result<(), ErrorKind> {
        let cut = |at: u64| malformed("__eh_frame: cut off", range.start.0 + at);
        let section = self.content(range).ok_or_else(|| cut(0))?;
        let done = self.written.clone(); // ascending, since compact unwind is
        // The records that came before, by where they are, and again once they are written.
        let mut commons: BTreeMap<u64, Option<(Cie<'w>, usize)>> = BTreeMap::new();
        let mut at = 0;
        while let Some(length) = Bytes(section).u32(at).filter(|&length| length != 0) {
            let body = Bytes(section).slice(at + 4, u64::from(length)).ok_or_else(|| cut(at))?;
            let id = Bytes(body).u32(0).ok_or_else(|| cut(at))?;
            if id == 0 {
                commons.insert(at, None);
            } else {
                let cie_at = (at + 4).checked_sub(u64::from(id)).ok_or_else(|| cut(at))?;
                let known = commons.get_mut(&cie_at).ok_or_else(|| cut(at))?;
                let (cie, written) = match *known {
                    Some(known) => known,
                    None => {
                        let cie = Cie::read(section, cie_at, range.start.0).ok_or_else(|| cut(cie_at))?;
                        *known.insert((cie, self.cie(&cie.common, cie.common.instructions)))
                    }
                };
                let fde = Fde::read(body, at + 4, range.start.0, &cie).ok_or_else(|| cut(at))?;
                if done.binary_search(&fde.start).is_err() && fde.size > 0 {
                    self.fde(written, fde.start, fde.size, fde.language_data, fde.instructions)?;
                }
            }
            at += 4 + u64::from(length);
        }
        Ok(())
    }
}

fn address(table: &mut FrameTable, vm: u64) {
    table.addresses.push(table.bytes.len());
    table.bytes.extend(vm.to_le_bytes());
}

fn begin(table: &mut FrameTable) -> usize {
    let at = table.bytes.len();
    table.bytes.extend([0; 4]);
    at
}

/// Fills the record up to a multiple of eight, and writes its length.
fn end(table: &mut FrameTable, at: usize) {
    // Lengths count without themselves; zeros are DW_CFA_nop.
    let end = table.bytes.len().next_multiple_of(8);
    table.bytes.resize(end, 0);
    let length = (end - at - 4) as u32;
    table.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// What holds before a function's first instruction: the return address is on top of the stack.
const ENTRY: [u8; 5] = [DW_CFA_DEF_CFA, RSP, 8, DW_CFA_OFFSET | RETURN, 1];

/// One second-level page.
struct Page {
    count: u64,
    entries: u64,
    kind: Kind,
}

enum Kind {
    Regular,
    Compressed { first: u32, encodings: u64 },
}

impl Page {
    fn read(info: Bytes<'_>, at: u64, first: u32) -> Option<Page> {
        let half = |field| info.u16(at + field).map(u64::from);
        let (entries, count) = (at + half(4)?, half(6)?);
        let kind = match info.u32(at)? {
            2 => Kind::Regular,
            3 => Kind::Compressed { first, encodings: at + half(8)? },
            _ => return None,
        };
        Some(Page { count, entries, kind })
    }

    /// A function's offset, and its encoding.
    fn entry(&self, info: Bytes<'_>, index: u64) -> Option<(u32, u32)> {
        match self.kind {
            Kind::Regular => Some((info.u32(self.entries + index * 8)?, info.u32(self.entries + index * 8 + 4)?)),
            Kind::Compressed { first, encodings } => {
                let word = info.u32(self.entries + index * 4)?;
                let number = u64::from(word >> 24);
                let (common, common_count) = (u64::from(info.u32(4)?), u64::from(info.u32(8)?));
                let encoding = match number < common_count {
                    true => info.u32(common + number * 4)?,
                    false => info.u32(encodings + (number - common_count) * 4)?,
                };
                Some((first.checked_add(word & 0xff_ffff)?, encoding))
            }
        }
    }
}

/// Writes what an encoding says as instructions; `None` for one that says nothing. `code` reads the word of the function
/// that holds the size of its frame, where that is too large for the encoding.
fn describe(encoding: u32, code: impl Fn() -> Option<u32>, out: &mut Vec<u8>) -> Option<()> {
    let mut cfa = |register: u8, offset: u64| {
        out.extend([DW_CFA_DEF_CFA, register]);
        uleb(offset, out);
    };
    match encoding & MODE {
        MODE_RBP_FRAME => {
            cfa(RBP, 16);
            out.extend([DW_CFA_OFFSET | RBP, 2]);
            let lowest = u64::from(encoding >> 16 & 0xff);
            for index in 0..5u64 {
                if let Some(register) = saved(encoding >> (index * 3) & 7, 6)? {
                    // At rbp − 8 × lowest + 8 × index, and the frame is at rbp + 16.
                    let slot = (lowest + 2).checked_sub(index)?;
                    out.push(DW_CFA_OFFSET | register);
                    uleb(slot, out);
                }
            }
        }
        mode @ (MODE_STACK | MODE_STACK_INDIRECT) => {
            let size = match mode {
                MODE_STACK => u64::from(encoding >> 16 & 0xff) * 8,
                _ => u64::from(code()?) + u64::from(encoding >> 13 & 7) * 8,
            };
            cfa(RSP, size);
            let count = encoding >> 10 & 7;
            for (index, number) in permutation(count, encoding & 0x3ff)?.into_iter().enumerate() {
                if let Some(register) = saved(number, 7)? {
                    // Directly below the return address, the last one highest.
                    out.push(DW_CFA_OFFSET | register);
                    uleb(u64::from(count) + 1 - index as u64, out);
                }
            }
        }
        _ => return None,
    }
    Some(())
}

/// The DWARF number of a register that is saved; `None` for a number past those.
fn saved(number: u32, limit: u32) -> Option<Option<u8>> {
    const REGISTERS: [Option<u8>; 7] = [None, Some(RBX), Some(12), Some(13), Some(14), Some(15), Some(RBP)];
    (number < limit).then(|| REGISTERS[number as usize])
}

/// Which registers a frame without a frame pointer saved, in order: the number counts permutations (of six registers,
/// `count` of them; `compact_unwind_encoding.h`).
fn permutation(count: u32, mut number: u32) -> Option<Vec<u32>> {
    if count > 6 {
        return None;
    }
    // The radix of each digit but the last: how many ways there are to choose the registers that follow.
    let mut weights = vec![1];
    for place in 1..count {
        weights.insert(0, weights[0] * (6 - count + place));
    }
    let mut left: Vec<u32> = (1..=6).collect();
    let mut chosen = Vec::new();
    for weight in weights.iter().take(count as usize) {
        let digit = (number / weight) as usize;
        number %= weight;
        if digit >= left.len() {
            return None;
        }
        chosen.push(left.remove(digit));
    }
    Some(chosen)
}

/// A record that others refer to.
#[derive(Clone, Copy)]
struct Cie<'c> {
    common: Common<'c>,
    pointers: u8,
    language_data: u8,
    has_augmentation: bool,
}

impl<'c> Cie<'c> {
    fn read(section: &'c [u8], at: u64, base: u64) -> Option<Cie<'c>> {
        let length = u64::from(Bytes(section).u32(at)?);
        let section = section.get(..usize::try_from(at + 4 + length).ok()?)?;
        let mut cursor = Cursor::new(section, at + 4);
        if cursor.u32()? != 0 || cursor.u8()? != 1 {
            return None;
        }
        let augmentation = cursor.c_str()?;
        let mut common = Common { code_align: cursor.uleb128()?, data_align: cursor.sleb128()?, ..Common::default() };
        if cursor.uleb128()? != u64::from(RETURN) {
            return None;
        }
        let (mut pointers, mut language_data) = (DW_EH_PE_ABSPTR, DW_EH_PE_OMIT);
        let has_augmentation = augmentation.first() == Some(&b'z');
        if has_augmentation {
            let size = cursor.uleb128()?;
            let end = cursor.at.checked_add(size)?;
            for letter in &augmentation[1..] {
                match letter {
                    b'P' => {
                        let encoding = cursor.u8()?;
                        // The address of a pointer: it is where the personality is bound.
                        common.personality =
                            Some(VmAddr(pointer(&mut cursor, encoding & 0x7f, base)?)).filter(|_| encoding & 0x80 != 0);
                        common.personality?;
                    }
                    b'L' => language_data = cursor.u8()?,
                    b'R' => pointers = cursor.u8()?,
                    b'S' => {}
                    _ => return None,
                }
            }
            cursor.at = end;
        } else if !augmentation.is_empty() {
            return None;
        }
        common.has_language_data = language_data != DW_EH_PE_OMIT;
        common.instructions = Bytes(section).from(cursor.at)?;
        Some(Cie { common, pointers, language_data, has_augmentation })
    }
}

/// The record of one function.
struct Fde<'f> {
    start: u64,
    size: u64,
    language_data: Option<u64>,
    instructions: &'f [u8],
}

impl<'f> Fde<'f> {
    /// `at` is where `body` is in its section, which begins at `base`.
    fn read(body: &'f [u8], at: u64, base: u64, cie: &Cie<'_>) -> Option<Fde<'f>> {
        let mut cursor = Cursor::new(body, 4);
        let here = base.wrapping_add(at);
        let start = pointer(&mut cursor, cie.pointers, here)?;
        let size = pointer(&mut cursor, cie.pointers & 0xf, 0)?;
        let mut language_data = None;
        if cie.has_augmentation {
            let length = cursor.uleb128()?;
            let end = cursor.at.checked_add(length)?;
            if cie.common.has_language_data {
                let before = cursor.at;
                let value = pointer(&mut cursor, cie.language_data, here)?;
                // A relative zero is none at all.
                let relative = Bytes(body).u32(before)? != 0;
                language_data = Some(if relative { value } else { 0 });
            }
            cursor.at = end;
        }
        // A function without data in a record that has room for some: a null pointer.
        Some(Fde { start, size, language_data, instructions: Bytes(body).from(cursor.at)? })
    }
}

/// A pointer in one of the encodings that compilers use: absolute or relative to itself, of eight or four bytes.
fn pointer(cursor: &mut Cursor<'_>, encoding: u8, base: u64) -> Option<u64> {
    let here = base.wrapping_add(cursor.at);
    let value = match encoding & 0xf {
        0x0 | 0x4 | 0xc => cursor.u64()?,
        0x3 => u64::from(cursor.u32()?),
        0xb => i64::from(cursor.u32()? as i32) as u64,
        _ => return None,
    };
    match encoding & 0x70 {
        0x00 => Some(value),
        0x10 => Some(value.wrapping_add(here)),
        _ => None,
    }
}

fn uleb(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        out.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return;
        }
    }
}

fn sleb(mut value: i64, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        let done = (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0);
        out.push(if done { low } else { low | 0x80 });
        if done {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_those_of_libunwind() {
        // Decoded with libunwind's own arithmetic (`stepWithCompactEncodingFrameless`).
        const CASES: &[(u32, u32, &[u32])] = &[
            (0, 0, &[]),
            (1, 0, &[1]),
            (1, 5, &[6]),
            (2, 0, &[1, 2]),
            (2, 7, &[2, 4]),
            (3, 0, &[1, 2, 3]),
            (3, 23, &[2, 1, 6]),
            (4, 61, &[2, 1, 3, 5]),
            (5, 0, &[1, 2, 3, 4, 5]),
            (5, 121, &[2, 1, 3, 4, 6]),
            (6, 0, &[1, 2, 3, 4, 5, 6]),
            (6, 719, &[6, 5, 4, 3, 2, 1]),
        ];
        for &(count, number, expected) in CASES {
            assert_eq!(permutation(count, number).as_deref(), Some(expected), "{count} {number}");
        }
        assert_eq!(permutation(7, 0), None);
        assert_eq!(permutation(1, 6), None);
    }

    #[test]
    fn encodings_become_instructions() {
        let text = |encoding, size| {
            let mut out = Vec::new();
            describe(encoding, || Some(size), &mut out).map(|()| out)
        };
        // rbp frame; rbx at rbp − 8.
        assert_eq!(text(0x0101_0001, 0).unwrap(), [12, 6, 16, 0x86, 2, 0x83, 3]);
        // 16 bytes of stack, of which one register: rbx, below the return address.
        assert_eq!(text(0x0202_0400, 0).unwrap(), [12, 7, 16, 0x83, 2]);
        // A frame of 0x1000 bytes, whose size stands in the code, and one push.
        assert_eq!(text(0x0300_2000, 0x1000).unwrap(), [12, 7, 0x88, 0x20]);
        assert_eq!(text(0x0700_0000, 0), None);
        assert_eq!(text(0x0101_0007, 0), None);
    }
}
