//! Files that are made to cost memory: tables as long as they can be, whose every entry makes a loader remember something.

use crate::{Place, counting, until_sealed};
use sideload::Error;
use std::time::{Duration, Instant};
use test_fixtures::elf_edit::*;
use test_fixtures::{ElfEdit, build};

/// Longer than any of them takes on a busy machine, without optimisation.
const LONGEST: Duration = Duration::from_secs(30);

/// Entries of each table.
const ENTRIES: u64 = 1 << 18;

/// As many as a file may name.
const MOST_NEEDS: u64 = 4096;

const IRELATIVE: u64 = 37;
const GLOB_DAT: u64 = 6;

/// Appends a table, and lets the last segment reach over it. Returns its address.
fn append(elf: &mut ElfEdit, table: &[u8]) -> u64 {
    let at = elf.bytes().len().next_multiple_of(8);
    elf.bytes_mut().resize(at, 0);
    elf.bytes_mut().extend_from_slice(table);
    let last = elf.phdrs(PT_LOAD).len() - 1;
    let (offset, vaddr) = (elf.phdr(PT_LOAD, last, PhdrField::Offset), elf.phdr(PT_LOAD, last, PhdrField::Vaddr));
    for field in [PhdrField::Filesz, PhdrField::Memsz] {
        elf.set_phdr(PT_LOAD, last, field, elf.bytes().len() as u64 - offset);
    }
    vaddr + at as u64 - offset
}

fn table(entry: impl Fn(u64) -> [u64; 3]) -> Vec<u8> {
    (0..ENTRIES).flat_map(entry).flat_map(u64::to_le_bytes).collect()
}

/// Relocations of that type in the place of its own, the `index`th with the `index`th symbol if it has one.
fn relocations(elf: &mut ElfEdit, kind: u64, with_symbol: bool) {
    let place = elf.first_relocation("GLOB_DAT").place;
    let table = table(|index| [place, if with_symbol { index << 32 | kind } else { kind }, 0]);
    let at = append(elf, &table);
    elf.set_dynamic(DT_RELA, at);
    elf.set_dynamic(DT_RELASZ, table.len() as u64);
    elf.remove_dynamic(DT_RELACOUNT);
}

/// As many symbols, defined or not. Their name is empty: longer ones would add up to more than a file may have.
fn symbols(elf: &mut ElfEdit, info: u64, section: u64) {
    let at = append(elf, &table(|_| [info << 32 | section << 48, 8, 8]));
    elf.set_dynamic(DT_SYMTAB, at);
    elf.remove_dynamic(DT_VERSYM);
}

/// As many needs as an appended dynamic section has room for, all of one long name.
fn needs(elf: &mut ElfEdit) {
    let strings = append(elf, &[&[0][..], &[b'n'; 4000], &[0]].concat());
    let mut entries: Vec<u64> = [DT_STRTAB, strings, DT_STRSZ, 4002].to_vec();
    entries.extend((0..MOST_NEEDS).flat_map(|_| [DT_NEEDED, 1]));
    let section: Vec<u8> = entries.into_iter().flat_map(u64::to_le_bytes).collect();
    let vaddr = append(elf, &section);
    let offset = (elf.bytes().len() - section.len()) as u64;
    for (field, value) in
        [(PhdrField::Offset, offset), (PhdrField::Vaddr, vaddr), (PhdrField::Filesz, section.len() as u64)]
    {
        elf.set_phdr(PT_DYNAMIC, 0, field, value);
    }
}

/// A hash table of one bucket: an import's search visits every symbol of it, and there are as many imports.
fn one_chain(elf: &mut ElfEdit) {
    symbols(elf, 0x11, 0);
    relocations(elf, GLOB_DAT, true);
    let header = [1u32, 1, 1, 6, u32::MAX, u32::MAX, 1];
    let words = header.into_iter().chain((0..ENTRIES as u32).map(|_| 2));
    let table: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    let at = append(elf, &table);
    elf.set_dynamic(DT_GNU_HASH, at);
}

/// The same of the older kind, whose chain never ends.
fn one_circle(elf: &mut ElfEdit) {
    symbols(elf, 0x11, 0);
    relocations(elf, GLOB_DAT, true);
    let header = [1u32, ENTRIES as u32, 1];
    let words = header.into_iter().chain((0..ENTRIES as u32).map(|_| 1));
    let table: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    let at = append(elf, &table);
    elf.remove_dynamic(DT_GNU_HASH);
    elf.set_dynamic(DT_HASH, at);
}

/// Bitmaps of which each stands for 63 relocations, of words that the file does not hold.
fn bitmaps(elf: &mut ElfEdit) {
    [DT_RELA, DT_RELASZ, DT_RELAENT, DT_RELACOUNT].iter().for_each(|&tag| elf.remove_dynamic(tag));
    let mut table = vec![0xff; 8 * ENTRIES as usize];
    let at = append(elf, &table);
    let behind = (at + table.len() as u64).next_multiple_of(8);
    table[..8].copy_from_slice(&behind.to_le_bytes());
    let start = elf.bytes().len() - table.len();
    elf.bytes_mut()[start..].copy_from_slice(&table);
    let last = elf.phdrs(PT_LOAD).len() - 1;
    let size = behind + 8 + (ENTRIES - 1) * 63 * 8 - elf.phdr(PT_LOAD, last, PhdrField::Vaddr);
    elf.set_phdr(PT_LOAD, last, PhdrField::Memsz, size);
    elf.set_dynamic(DT_RELR, at);
    elf.set_dynamic(DT_RELRSZ, table.len() as u64);
    elf.set_dynamic(DT_RELRENT, 8);
}

type Change = fn(&mut ElfEdit);

const FILES: &[(&str, Change)] = &[
    ("resolvers", |elf| relocations(elf, IRELATIVE, false)),
    ("imports, undefined", |elf| {
        symbols(elf, 0x11, 0);
        relocations(elf, GLOB_DAT, true);
    }),
    ("imports, all its own", |elf| {
        symbols(elf, 0x01, 1);
        relocations(elf, GLOB_DAT, true);
    }),
    ("indirect functions", |elf| {
        symbols(elf, 0x0a, 1);
        relocations(elf, GLOB_DAT, true);
    }),
    ("the same table twice", |elf| {
        symbols(elf, 0x01, 1);
        relocations(elf, GLOB_DAT, true);
        let (at, size) = (elf.dynamic(DT_RELA), elf.dynamic(DT_RELASZ));
        elf.set_dynamic(DT_JMPREL, at.expect("just set"));
        elf.set_dynamic(DT_PLTRELSZ, size.expect("just set") - 24);
        elf.set_dynamic(DT_PLTREL, DT_RELA);
    }),
    ("needs", needs),
    ("one chain", one_chain),
    ("one circle", one_circle),
    ("bitmaps over what is not in the file", bitmaps),
];

pub(crate) fn run() {
    let good = build("everything").path;
    let place = Place::beside(&good);
    for (name, change) in FILES {
        let mut elf = ElfEdit::open(&good);
        change(&mut elf);
        elf.write(&place.path);
        judge(name, elf.bytes().len(), || until_sealed(&place.path));
    }
}

/// Opens a file of that size, and says what came of it: in time, and without more memory than a small multiple.
pub(crate) fn judge(name: &str, size: usize, open: impl FnOnce() -> Result<(), Error>) -> String {
    let limit = (16 << 20) + 2 * size;
    let started = Instant::now();
    let (result, most) = counting::most(open);
    let took = started.elapsed();
    let result = result.map_or_else(|error| error.to_string(), |()| "sealed".to_owned());
    let end: String = result.chars().take(120).collect();
    println!("{name}: {most} bytes of {limit}, {took:?}: {end}");
    assert!(took < LONGEST, "{name}: {took:?}: {end}");
    assert!(most <= limit, "{name}: {most} bytes of memory, and not more than {limit} expected: {end}");
    result
}
