//! Corrupted copies of good ELF and Mach-O files: what a loader has to survive.
//!
//! [`Hostile::of`] notes where a file keeps what loaders read, and [`Hostile::copy`] makes one corrupted copy for each
//! number, the same one wherever it is made. A copy has one to three faults. Some are noise; most are values that are
//! right in form and wrong in meaning: sizes that reach past the file, addresses that wrap, indices of the next table,
//! chains that run in a circle, records exchanged or of another type, tables cut off.
//!
//! ```no_run
//! let hostile = test_fixtures::Hostile::of(std::fs::read("libgood.so").unwrap()).unwrap();
//! let copy = hostile.copy(7);
//! println!("{}", copy.faults);
//! std::fs::write("libbad.so", &copy.bytes).unwrap();
//! ```

mod macho;

use crate::Random;
use crate::elf_edit::*;
use std::fmt;
use std::ops::Range;

/// A good file, and where its parts are.
#[derive(Clone, Debug)]
pub struct Hostile {
    good: Vec<u8>,
    areas: Vec<Area>,
    kinds: &'static [Kind],
    /// What the good file holds, as a number.
    salt: u64,
}

/// A corrupted copy.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its content.
    pub bytes: Vec<u8>,
    /// What was done to it, for people.
    pub faults: String,
}

/// Records of one form, one after the other.
#[derive(Clone, Debug)]
struct Area {
    name: &'static str,
    range: Range<usize>,
    form: &'static Form,
}

/// A record: its size, and the offset and size of each field.
#[derive(Debug)]
struct Form {
    size: usize,
    fields: &'static [(usize, usize)],
}

const EHDR: Form = Form {
    size: 64,
    fields: &[(4, 1), (5, 1), (6, 1), (16, 2), (18, 2), (24, 8), (32, 8), (40, 8), (52, 2), (54, 2), (56, 2), (60, 2)],
};
const PHDR: Form =
    Form { size: 56, fields: &[(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8), (16, 8), (40, 8)] };
const DYN: Form = Form { size: 16, fields: &[(0, 8), (8, 8), (8, 8), (8, 8)] };
const SYM: Form = Form { size: 24, fields: &[(0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8)] };
const RELA: Form = Form { size: 24, fields: &[(0, 8), (8, 4), (12, 4), (16, 8)] };
const BYTE: Form = Form { size: 1, fields: &[(0, 1)] };
const HALF: Form = Form { size: 2, fields: &[(0, 2)] };
const WORD: Form = Form { size: 4, fields: &[(0, 4)] };
const XWORD: Form = Form { size: 8, fields: &[(0, 8)] };
/// `Verneed` and `Vernaux` are both of it; `Verdef` is 20 bytes, with an auxiliary entry of 8.
const VERSION: Form = Form { size: 16, fields: &[(0, 2), (2, 2), (0, 4), (4, 2), (6, 2), (4, 4), (8, 4), (12, 4)] };
const GNU_HASH: Form = Form { size: 16, fields: &[(0, 4), (4, 4), (8, 4), (12, 4)] };

/// The dynamic entries that lead to tables, with the entry that states their size, if one does.
const TABLES: &[(&str, u64, Option<u64>, &Form)] = &[
    ("symbols", DT_SYMTAB, None, &SYM),
    ("strings", DT_STRTAB, Some(DT_STRSZ), &BYTE),
    ("relocations", DT_RELA, Some(DT_RELASZ), &RELA),
    ("plt relocations", DT_JMPREL, Some(DT_PLTRELSZ), &RELA),
    ("relative relocations", DT_RELR, Some(DT_RELRSZ), &XWORD),
    ("hash", DT_HASH, None, &WORD),
    ("symbol versions", DT_VERSYM, None, &HALF),
    ("needed versions", DT_VERNEED, None, &VERSION),
    ("defined versions", DT_VERDEF, None, &VERSION),
    ("initialisers", DT_INIT_ARRAY, Some(DT_INIT_ARRAYSZ), &XWORD),
    ("finalisers", DT_FINI_ARRAY, Some(DT_FINI_ARRAYSZ), &XWORD),
];

const P_TYPES: &[u64] = &[PT_NULL, PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_TLS, PT_GNU_EH_FRAME, PT_GNU_STACK, PT_GNU_RELRO];
const D_TAGS: &[u64] = &[
    DT_NULL,
    DT_NEEDED,
    DT_PLTRELSZ,
    DT_HASH,
    DT_STRTAB,
    DT_SYMTAB,
    DT_RELA,
    DT_RELASZ,
    DT_RELAENT,
    DT_STRSZ,
    DT_INIT,
    DT_FINI,
    DT_SONAME,
    DT_RPATH,
    DT_SYMBOLIC,
    DT_REL,
    DT_RELSZ,
    DT_PLTREL,
    DT_TEXTREL,
    DT_JMPREL,
    DT_INIT_ARRAY,
    DT_FINI_ARRAY,
    DT_INIT_ARRAYSZ,
    DT_FINI_ARRAYSZ,
    DT_RUNPATH,
    DT_FLAGS,
    DT_RELRSZ,
    DT_RELR,
    DT_GNU_HASH,
    DT_VERSYM,
    DT_RELACOUNT,
    DT_FLAGS_1,
    DT_VERDEF,
    DT_VERDEFNUM,
    DT_VERNEED,
    DT_VERNEEDNUM,
    DT_FILTER,
    DT_AUXILIARY,
];
const DT_REL: u64 = 17;
const DT_RELSZ: u64 = 18;
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;

impl Hostile {
    /// Notes the parts of a shared object; `None` if it is none that could be loaded.
    pub fn of(good: Vec<u8>) -> Option<Hostile> {
        let (mut areas, kinds) = match good.starts_with(b"\x7fELF") {
            true => (elf_areas(&good)?, KINDS),
            false => (macho::areas(&good)?, macho::KINDS),
        };
        for area in &mut areas {
            area.range.end = area.range.end.min(good.len());
        }
        areas.retain(|area| area.range.len() >= area.form.size);
        let salt = good.iter().fold(0u64, |salt, &byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
        (!areas.is_empty()).then_some(Hostile { good, areas, kinds, salt })
    }

    /// The copy of that number.
    pub fn copy(&self, number: u64) -> Copy {
        // Another sequence for each file: the same number should not mean the same fault in all of them.
        let seed = number.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(self.salt);
        let mut work =
            Work { hostile: self, bytes: self.good.clone(), random: Random::new(seed), faults: String::new() };
        for _ in 0..1 + work.random.below(3) {
            let kind = work.random.below(self.kinds.len());
            self.kinds[kind](&mut work);
        }
        Copy { bytes: work.bytes, faults: work.faults }
    }

    /// The size of the good file.
    #[expect(clippy::len_without_is_empty, reason = "a file without bytes is none that could be loaded")]
    pub fn len(&self) -> usize {
        self.good.len()
    }

    fn area(&self, name: &str) -> Option<&Area> {
        self.areas.iter().find(|area| area.name == name)
    }
}

/// The parts of an ELF file.
fn elf_areas(good: &[u8]) -> Option<Vec<Area>> {
    let file = File(good);
    let start = file.number(ehdr::E_PHOFF, 8)? as usize;
    let count = file.number(ehdr::E_PHNUM, 2)? as usize;
    let headers = start..start.checked_add(count * PHDR.size)?;
    good.get(headers.clone())?;
    let mut areas = vec![Area { name: "header", range: 0..64, form: &EHDR }];
    areas.push(Area { name: "program headers", range: headers.clone(), form: &PHDR });
    for at in headers.step_by(PHDR.size) {
        let field = |offset| file.number(at + offset, 8).map(|value| value as usize);
        let range = field(8)?..field(8)?.checked_add(field(32)?)?;
        let area = |name, form| Area { name, range: range.clone(), form };
        match file.number(at, 4)? {
            PT_DYNAMIC => areas.push(area("dynamic section", &DYN)),
            PT_TLS => areas.push(area("thread-local image", &XWORD)),
            PT_NOTE => areas.push(area("notes", &WORD)),
            PT_GNU_EH_FRAME => {
                areas.push(area("frame index", &WORD));
                areas.push(area("frame index header", &BYTE));
                let frames = range.start.checked_add_signed(file.number(range.start + 4, 4)? as i32 as isize + 4)?;
                areas.push(Area { name: "frames", range: frames..frames.saturating_add(256 << 10), form: &WORD });
                areas.push(Area { name: "first frames", range: frames..frames.saturating_add(256), form: &BYTE });
            }
            _ => {}
        }
    }
    areas.extend(tables(file));
    areas.iter().any(|area| area.name == "dynamic section").then_some(areas)
}

/// Where the dynamic section's tables are. One whose size is not stated reaches to the next.
fn tables(file: File<'_>) -> Vec<Area> {
    let mut areas = Vec::new();
    for &(name, tag, size, form) in TABLES {
        let Some(start) = file.dynamic(tag).and_then(|vaddr| file.offset(vaddr)) else { continue };
        let size = size.map_or(Some(usize::MAX / 2), |tag| file.dynamic(tag).map(|size| size as usize));
        areas.push(Area { name, range: start..start.saturating_add(size.unwrap_or(0)), form });
    }
    if let Some(start) = file.dynamic(DT_GNU_HASH).and_then(|vaddr| file.offset(vaddr)) {
        areas.push(Area { name: "GNU hash header", range: start..start.saturating_add(16), form: &GNU_HASH });
        areas.push(Area { name: "GNU hash", range: start.saturating_add(16)..usize::MAX / 2, form: &WORD });
    }
    let starts: Vec<usize> = areas.iter().map(|area| area.range.start).collect();
    for area in &mut areas {
        let next = starts.iter().copied().filter(|&start| start > area.range.start).min();
        area.range.end = area.range.end.min(next.unwrap_or(area.range.start.saturating_add(4096)));
    }
    areas
}

/// Total reads from the good file.
#[derive(Clone, Copy)]
struct File<'a>(&'a [u8]);

impl File<'_> {
    fn number(self, at: usize, size: usize) -> Option<u64> {
        let bytes = self.0.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn headers(self, kind: u64) -> impl Iterator<Item = usize> {
        let start = self.number(ehdr::E_PHOFF, 8).unwrap_or(0) as usize;
        let count = self.number(ehdr::E_PHNUM, 2).unwrap_or(0) as usize;
        let found = move |at: &usize| self.number(*at, 4) == Some(kind);
        (0..count).map(move |index| start.saturating_add(index * PHDR.size)).filter(found)
    }

    fn offset(self, vaddr: u64) -> Option<usize> {
        self.headers(PT_LOAD).find_map(|at| {
            let inside = vaddr.checked_sub(self.number(at + 16, 8)?)?;
            let offset = self.number(at + 8, 8)?.checked_add(inside)?;
            (inside < self.number(at + 32, 8)?).then_some(offset as usize)
        })
    }

    fn dynamic(self, tag: u64) -> Option<u64> {
        let header = self.headers(PT_DYNAMIC).next()?;
        let (start, size) = (self.number(header + 8, 8)? as usize, self.number(header + 32, 8)? as usize);
        let end = start.saturating_add(size).min(self.0.len());
        let at = (start..end).step_by(DYN.size).find(|&at| self.number(at, 8) == Some(tag))?;
        self.number(at + 8, 8)
    }
}

/// A copy on its way.
struct Work<'h> {
    hostile: &'h Hostile,
    bytes: Vec<u8>,
    random: Random,
    faults: String,
}

type Kind = fn(&mut Work<'_>);

/// What may be done to a copy; more often what stands here more often.
const KINDS: &[Kind] = &[
    |work| work.change_bytes(),
    |work| work.change_bytes(),
    |work| work.set_field(),
    |work| work.set_field(),
    |work| work.set_field(),
    |work| work.set_field(),
    |work| work.copy_field(),
    |work| work.copy_field(),
    |work| work.exchange_records(),
    |work| work.fill(),
    |work| work.splice(),
    |work| work.truncate(),
    |work| work.append(),
    |work| work.retype_header(),
    |work| work.retype_entry(),
    |work| work.exchange_values(),
    |work| work.set_entry(),
    |work| work.set_entry(),
    |work| work.move_segment(),
    |work| work.move_segment(),
    |work| work.run_in_circles(),
];

impl<'h> Work<'h> {
    fn say(&mut self, fault: fmt::Arguments<'_>) {
        if !self.faults.is_empty() {
            self.faults.push_str("; ");
        }
        self.faults.push_str(&fault.to_string());
    }

    fn any_area(&mut self) -> &'h Area {
        &self.hostile.areas[self.random.below(self.hostile.areas.len())]
    }

    /// The offset of some record; the first and the last ones more often than others.
    fn record(&mut self, area: &Area) -> usize {
        let count = area.range.len() / area.form.size;
        let index = match self.random.below(8) {
            0 => 0,
            1 => count - 1,
            2 => self.random.below(count.min(8)),
            _ => self.random.below(count),
        };
        area.range.start + index * area.form.size
    }

    /// Writes as much of the number as the file has room for: it may have been truncated.
    fn write(&mut self, at: usize, size: usize, value: u64) {
        if let Some(place) = self.bytes.get_mut(at..at.saturating_add(size)) {
            place.copy_from_slice(&value.to_le_bytes()[..size]);
        }
    }

    fn read(&self, at: usize, size: usize) -> u64 {
        File(&self.bytes).number(at, size).unwrap_or(0)
    }

    /// A value that means trouble in the place of `old`.
    fn trouble(&mut self, old: u64) -> u64 {
        let length = self.bytes.len() as u64;
        let near = self.random.below(64) as u64;
        match self.random.below(24) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - near,
            4 => i64::MAX as u64,
            5 => 1 << 63,
            6 => u64::from(u32::MAX),
            7 => 1 << 32,
            8 => i32::MAX as u64,
            9 => 1 << self.random.below(64),
            10 => length,
            11 => length - near.min(length),
            12 => length + near,
            13 => !0xfff,
            14 => 0x7fff_ffff_f000,
            15 => old.wrapping_neg(),
            16 => old.wrapping_add(1 + near),
            17 => old.wrapping_sub(1 + near),
            18 => old.wrapping_mul(2),
            19 => old.wrapping_add(0x1000),
            20 => old.wrapping_sub(0x1000),
            21 => old ^ 1 << self.random.below(64),
            22 => near,
            _ => self.random.next(),
        }
    }

    fn change_bytes(&mut self) {
        let area = self.any_area();
        let count = [1, 1, 1, 2, 4, 8][self.random.below(6)];
        let start = area.range.start + self.random.below(area.range.len());
        for at in start..start + count {
            let value = match self.random.below(4) {
                0 => self.read(at, 1) ^ 1 << self.random.below(8),
                1 => 0xff,
                2 => 0,
                _ => self.random.next(),
            };
            self.write(at, 1, value & 0xff);
        }
        self.say(format_args!("{}: {count} bytes at {start:#x} changed", area.name));
    }

    fn set_field(&mut self) {
        let area = self.any_area();
        let (offset, size) = area.form.fields[self.random.below(area.form.fields.len())];
        let at = self.record(area) + offset;
        let value = self.trouble(self.read(at, size));
        self.write(at, size, value);
        self.say(format_args!("{}: {value:#x} in the {size} bytes at {at:#x}", area.name));
    }

    /// A sound value, but of another record.
    fn copy_field(&mut self) {
        let area = self.any_area();
        let (offset, size) = area.form.fields[self.random.below(area.form.fields.len())];
        let (to, from) = (self.record(area) + offset, self.record(area) + offset);
        self.write(to, size, self.read(from, size));
        self.say(format_args!("{}: the {size} bytes at {to:#x} from {from:#x}", area.name));
    }

    fn exchange_records(&mut self) {
        let area = self.any_area();
        let (one, other) = (self.record(area), self.record(area));
        for at in 0..area.form.size {
            let (first, second) = (self.read(one + at, 1), self.read(other + at, 1));
            self.write(one + at, 1, second);
            self.write(other + at, 1, first);
        }
        self.say(format_args!("{}: records at {one:#x} and {other:#x} exchanged", area.name));
    }

    fn fill(&mut self) {
        let area = self.any_area();
        let start = self.record(area);
        let rest = area.range.end - start;
        let count = if self.random.below(2) == 0 { rest } else { 1 + self.random.below(rest) };
        let pattern = [0, 0xff, b'A', 1, 0x80][self.random.below(5)];
        let end = (start + count).min(self.bytes.len());
        self.bytes.get_mut(start..end).unwrap_or_default().fill(pattern);
        self.say(format_args!("{}: {pattern:#x} in {count:#x} bytes at {start:#x}", area.name));
    }

    fn splice(&mut self) {
        let (to, from) = (self.any_area(), self.any_area());
        let (to, from) = (self.record(to), self.record(from));
        let count = 1 << self.random.below(13);
        let count = count.min(self.bytes.len().saturating_sub(to.max(from)));
        if count > 0 {
            self.bytes.copy_within(from..from + count, to);
        }
        self.say(format_args!("{count:#x} bytes at {to:#x} from {from:#x}"));
    }

    fn truncate(&mut self) {
        let area = self.any_area();
        let at = match self.random.below(3) {
            0 => self.random.below(self.bytes.len().max(1)),
            1 => area.range.end.saturating_sub(self.random.below(16)),
            _ => self.record(area) + self.random.below(area.form.size),
        };
        self.bytes.truncate(at);
        self.say(format_args!("{}: cut off at {at:#x}", area.name));
    }

    /// More bytes behind the last, and the last segment reaches over them.
    fn append(&mut self) {
        let more = 1 << self.random.below(18);
        let pattern = [0u8, 0xff, 1, 16][self.random.below(4)];
        let length = self.bytes.len() + more;
        self.bytes.resize(length, pattern);
        if let Some(last) = File(&self.bytes).headers(PT_LOAD).last() {
            for field in [last + 32, last + 40] {
                self.write(field, 8, self.read(field, 8).wrapping_add(more as u64));
            }
        }
        self.say(format_args!("{more:#x} bytes of {pattern:#x} appended"));
    }

    fn retype_header(&mut self) {
        let Some(area) = self.hostile.area("program headers") else { return };
        let (at, kind) = (self.record(area), P_TYPES[self.random.below(P_TYPES.len())]);
        self.write(at, 4, kind);
        self.say(format_args!("program header at {at:#x}: type {kind:#x}"));
    }

    fn retype_entry(&mut self) {
        let Some(area) = self.hostile.area("dynamic section") else { return };
        let (at, tag) = (self.record(area), D_TAGS[self.random.below(D_TAGS.len())]);
        self.write(at, 8, tag);
        self.say(format_args!("dynamic entry at {at:#x}: tag {tag:#x}"));
    }

    /// Two sizes, two addresses, or one of each, in the wrong entries.
    fn exchange_values(&mut self) {
        let Some(area) = self.hostile.area("dynamic section") else { return };
        let (one, other) = (self.record(area) + 8, self.record(area) + 8);
        let (first, second) = (self.read(one, 8), self.read(other, 8));
        self.write(one, 8, second);
        self.write(other, 8, first);
        self.say(format_args!("dynamic entries at {one:#x} and {other:#x}: values exchanged"));
    }

    /// An entry that matters gets a value that means trouble.
    fn set_entry(&mut self) {
        let Some(area) = self.hostile.area("dynamic section") else { return };
        let tag = D_TAGS[self.random.below(D_TAGS.len())];
        let entries = area.range.clone().step_by(DYN.size);
        let Some(at) = entries.into_iter().find(|&at| self.read(at, 8) == tag) else { return };
        let value = self.trouble(self.read(at + 8, 8));
        self.write(at + 8, 8, value);
        self.say(format_args!("dynamic entry {tag:#x}: {value:#x}"));
    }

    /// Segments, or what lies in them, over one another or at the ends of the address space.
    fn move_segment(&mut self) {
        let Some(area) = self.hostile.area("program headers") else { return };
        let (one, other) = (self.record(area), self.record(area));
        let near = [0, 0x1000, 0x10_0000][self.random.below(3)];
        let (field, value) = match self.random.below(7) {
            0 => (16, self.read(other + 16, 8).wrapping_add(near)),
            1 => (16, 0u64.wrapping_sub(0x1000 + near)),
            2 => (40, 0u64.wrapping_sub(self.read(one + 16, 8)).wrapping_sub(near)),
            3 => (40, self.read(other + 16, 8).wrapping_sub(self.read(one + 16, 8)).wrapping_add(near)),
            4 => (40, 1 << (28 + self.random.below(20))),
            5 => (48, [3, 0x1800, 1 << 20, 1 << 30, 1 << 40, 1 << 63][self.random.below(6)]),
            _ => (8, self.read(other + 8, 8)),
        };
        self.write(one + field, 8, value);
        self.say(format_args!("program header at {one:#x}: {value:#x} at {field}"));
    }

    /// Chains of hashes and versions that lead to where they came from, or never end.
    fn run_in_circles(&mut self) {
        let names = ["hash", "GNU hash", "needed versions", "defined versions"];
        let name = names[self.random.below(names.len())];
        let Some(area) = self.hostile.area(name) else { return };
        let step = [0, 1, 4, 16][self.random.below(4)];
        for (index, at) in area.range.clone().step_by(area.form.size).enumerate() {
            match name {
                "hash" => self.write(at, 4, index as u64 & !step),
                "GNU hash" => self.write(at, 4, self.read(at, 4) & !1),
                _ => {
                    self.write(at + 2, 2, 0xffff);
                    self.write(at + 12, 4, step);
                }
            }
        }
        self.say(format_args!("{name}: chains without an end, step {step}"));
    }
}
