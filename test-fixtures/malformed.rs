//! Files that a loader has to refuse, each made from the fixture `everything` by one change.

use crate::builder::build;
use crate::cache;
use crate::elf_edit::*;
use std::fs;
use std::path::{Path, PathBuf};

/// A file that must be refused.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// What is wrong with it.
    pub name: &'static str,
    /// The variant of `sideload::ErrorKind` that opening it ends with. Several, separated by `|`, where it depends on
    /// the order of the checks; [`Malformed::expects`] tells.
    pub error: &'static str,
    /// The file; there is none at `missing`, and `folder` is a folder.
    pub path: PathBuf,
}

impl Malformed {
    /// Whether opening the file may end with that kind of error.
    pub fn expects(&self, kind: &str) -> bool {
        self.error.split('|').any(|expected| expected == kind)
    }
}

/// Makes all of them, or finds them made. What `everything` needs lies beside them.
///
/// # Panics
/// If the good file cannot be built or is not what the changes expect.
pub fn malformed() -> Vec<Malformed> {
    let good = build("everything");
    let provider = build("provider");
    let key = (&good.path, &provider.path, include_str!("malformed.rs"), include_str!("elf_edit.rs"));
    let folder = cache::folder("malformed", &key, |folder| {
        let elf = ElfEdit::open(&good.path);
        write_plain(folder, &elf);
        for (name, _, change) in PATCHED {
            let mut elf = elf.clone();
            change(&mut elf);
            assert!(elf.bytes() != fs::read(&good.path).expect("the good file"), "`{name}` changes nothing");
            elf.write(folder.join(file(name)));
        }
        let beside = folder.join(provider.path.file_name().expect("a file"));
        std::os::unix::fs::symlink(&provider.path, beside).expect("a new folder");
    });
    let patched = PATCHED.iter().map(|&(name, error, _)| (name, error));
    let all = PLAIN.iter().copied().chain(patched);
    all.map(|(name, error)| Malformed { name, error, path: folder.join(file(name)) }).collect()
}

fn file(name: &str) -> String {
    format!("{name}.so")
}

/// Those that [`write_plain`] makes.
const PLAIN: &[(&str, &str)] = &[
    ("missing", "NotFound"),
    ("folder", "NotAnImage"),
    ("empty", "NotAnImage"),
    ("archive", "NotAnImage"),
    ("linker_script", "NotAnImage"),
    ("text", "NotAnImage"),
    ("mach_o", "NotAnImage"),
    ("one_byte", "NotAnImage"),
    ("magic_only", "NotAnImage"),
];

fn write_plain(folder: &Path, good: &ElfEdit) {
    let write = |name, bytes: &[u8]| fs::write(folder.join(file(name)), bytes).expect("a new folder");
    fs::create_dir(folder.join(file("folder"))).expect("a new folder");
    write("empty", b"");
    write("archive", b"!<arch>\n/               0           0     0     0       0         `\n");
    write("linker_script", b"/* GNU ld script */\nINPUT(libeverything.so)\n");
    write("text", b"#!/bin/sh\nexit 1\n");
    write("mach_o", &[0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1, 3, 0, 0, 0, 6, 0, 0, 0]);
    write("one_byte", &good.bytes()[..1]);
    write("magic_only", &good.bytes()[..4]);
}

type Change = fn(&mut ElfEdit);

const OUTSIDE: u64 = 0x7000_0000;

/// Name, expected error, and the change that makes it.
const PATCHED: &[(&str, &str, Change)] = &[
    // The ELF header.
    ("truncated_in_header", "NotAnImage", |elf| elf.bytes_mut().truncate(40)),
    ("class_32", "WrongTarget", |elf| elf.set(ehdr::EI_CLASS, &[1])),
    ("class_unknown", "WrongTarget", |elf| elf.set(ehdr::EI_CLASS, &[7])),
    ("big_endian", "WrongTarget", |elf| elf.set(ehdr::EI_DATA, &[2])),
    ("version_2", "WrongTarget", |elf| elf.set(ehdr::EI_VERSION, &[2])),
    ("machine_aarch64", "WrongTarget", |elf| elf.set_u16(ehdr::E_MACHINE, 183)),
    ("machine_none", "WrongTarget", |elf| elf.set_u16(ehdr::E_MACHINE, 0)),
    ("type_executable", "WrongTarget", |elf| elf.set_u16(ehdr::E_TYPE, 2)),
    ("type_relocatable", "WrongTarget", |elf| elf.set_u16(ehdr::E_TYPE, 1)),
    ("type_core", "WrongTarget", |elf| elf.set_u16(ehdr::E_TYPE, 4)),
    ("phentsize_wrong", "Malformed", |elf| elf.set_u16(ehdr::E_PHENTSIZE, 32)),
    ("phnum_zero", "Malformed", |elf| elf.set_u16(ehdr::E_PHNUM, 0)),
    ("phnum_too_large", "Malformed", |elf| elf.set_u16(ehdr::E_PHNUM, 0xfffe)),
    ("phoff_outside", "Malformed|OutsideImage", |elf| elf.set_u64(ehdr::E_PHOFF, u64::MAX - 8)),
    // Segments.
    ("truncated_in_program_headers", "Malformed", |elf| elf.bytes_mut().truncate(64 + 100)),
    ("truncated_in_strings", "Malformed", |elf| truncate_inside(elf, DT_STRTAB)),
    ("truncated_in_symbols", "Malformed", |elf| truncate_inside(elf, DT_SYMTAB)),
    ("truncated_in_text", "Malformed", truncate_in_text),
    ("truncated_in_dynamic", "Malformed", truncate_in_dynamic),
    ("no_dynamic", "Malformed", |elf| elf.set_phdr(PT_DYNAMIC, 0, PhdrField::Type, PT_NULL)),
    ("no_load", "Malformed", no_load),
    ("file_size_above_memory_size", "Malformed", |elf| {
        elf.set_phdr(PT_LOAD, 0, PhdrField::Memsz, elf.phdr(PT_LOAD, 0, PhdrField::Filesz) - 1);
    }),
    ("segment_past_file_end", "Malformed", |elf| grow_last(elf, 1 << 20)),
    ("segment_size_overflows", "Malformed", |elf| grow_last(elf, u64::MAX - 0x10000)),
    ("segment_offset_overflows", "Malformed", |elf| {
        elf.set_phdr(PT_LOAD, 1, PhdrField::Offset, 0u64.wrapping_sub(0x1000));
    }),
    ("segments_overlap", "Malformed", segments_overlap),
    ("segments_not_ascending", "Malformed", segments_not_ascending),
    ("align_not_power_of_two", "Malformed", |elf| elf.set_phdr(PT_LOAD, 0, PhdrField::Align, 0x1800)),
    ("align_huge", "Malformed", |elf| elf.set_phdr(PT_LOAD, 0, PhdrField::Align, 1 << 63)),
    ("offset_misaligned", "Malformed", offset_misaligned),
    ("span_over_4_gib", "SpanTooLarge", |elf| {
        let last = elf.load_with(PF_W, 0);
        elf.set_phdr(PT_LOAD, last, PhdrField::Memsz, 5 << 30);
    }),
    ("relro_outside", "Malformed|OutsideImage", |elf| elf.set_phdr(PT_GNU_RELRO, 0, PhdrField::Vaddr, OUTSIDE)),
    ("relro_size_overflows", "Malformed", |elf| elf.set_phdr(PT_GNU_RELRO, 0, PhdrField::Memsz, u64::MAX)),
    ("tls_outside", "Malformed|OutsideImage", |elf| elf.set_phdr(PT_TLS, 0, PhdrField::Vaddr, OUTSIDE)),
    ("tls_align_not_power_of_two", "Malformed", |elf| elf.set_phdr(PT_TLS, 0, PhdrField::Align, 12)),
    ("tls_file_size_above_memory_size", "Malformed", |elf| {
        elf.set_phdr(PT_TLS, 0, PhdrField::Memsz, elf.phdr(PT_TLS, 0, PhdrField::Filesz) - 1);
    }),
    ("tls_huge", "Malformed", |elf| elf.set_phdr(PT_TLS, 0, PhdrField::Memsz, u64::MAX - 64)),
    // The dynamic section.
    ("dynamic_outside", "Malformed|OutsideImage", |elf| {
        elf.set_phdr(PT_DYNAMIC, 0, PhdrField::Vaddr, OUTSIDE);
        elf.set_phdr(PT_DYNAMIC, 0, PhdrField::Offset, OUTSIDE);
    }),
    ("strings_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_STRTAB, OUTSIDE)),
    ("strings_too_large", "Malformed", |elf| elf.set_dynamic(DT_STRSZ, 1 << 40)),
    ("strings_missing", "Malformed", |elf| elf.remove_dynamic(DT_STRTAB)),
    ("symbols_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_SYMTAB, OUTSIDE)),
    ("symbols_missing", "Malformed", |elf| elf.remove_dynamic(DT_SYMTAB)),
    ("symbol_size_wrong", "Malformed", |elf| elf.set_dynamic(DT_SYMENT, 16)),
    ("needed_name_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_NEEDED, 1 << 30)),
    ("soname_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_SONAME, 1 << 30)),
    ("runpath_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_RUNPATH, 1 << 30)),
    // Relocations.
    ("rela_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_RELA, OUTSIDE)),
    ("rela_size_too_large", "Malformed", |elf| elf.set_dynamic(DT_RELASZ, 24 << 30)),
    ("rela_size_not_a_multiple", "Malformed", |elf| elf.set_dynamic(DT_RELASZ, 25)),
    ("rela_entry_size_wrong", "Malformed", |elf| elf.set_dynamic(DT_RELAENT, 16)),
    ("jmprel_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_JMPREL, OUTSIDE)),
    ("pltrel_kind_wrong", "Malformed", |elf| elf.set_dynamic(DT_PLTREL, 99)),
    ("relr_outside", "Malformed|OutsideImage", |elf| {
        // In the place of entries that this loader has no use for: there may be too few spare ones.
        replace_dynamic(elf, DT_FINI, DT_RELR, OUTSIDE);
        replace_dynamic(elf, DT_FINI_ARRAY, DT_RELRSZ, 8);
        replace_dynamic(elf, DT_FINI_ARRAYSZ, DT_RELRENT, 8);
    }),
    ("relocation_type_unknown", "UnknownRelocation", |elf| change_relocation(elf, |rela| rela.r_type = 200)),
    ("relocation_symbol_out_of_range", "Malformed", |elf| change_relocation(elf, |rela| rela.symbol = 1 << 24)),
    ("relocation_place_outside", "PlaceNotWritable", |elf| change_relocation(elf, |rela| rela.place = OUTSIDE)),
    ("relocation_place_overflows", "PlaceNotWritable", |elf| change_relocation(elf, |rela| rela.place = u64::MAX - 3)),
    ("relocation_place_read_only", "PlaceNotWritable", |elf| change_relocation(elf, |rela| rela.place = 0x10)),
    ("relocation_place_at_segment_end", "PlaceNotWritable", relocation_at_segment_end),
    ("relative_place_outside", "PlaceNotWritable", |elf| {
        let relative = elf.first_relocation("RELATIVE");
        elf.set_relocation(Rela { place: OUTSIDE, ..relative });
    }),
    ("resolver_not_code", "EntryNotCode", change_ifunc),
    // Symbols, hash tables (one at a time, or a loader could use the sound one), versions.
    ("symbol_name_outside", "Malformed|OutsideImage", |elf| {
        let symbol = elf.symbol(elf.first_relocation("64").symbol);
        elf.set_u32(symbol, u32::MAX);
    }),
    ("gnu_hash_outside", "Malformed|Undefined|OutsideImage", |elf| {
        elf.remove_dynamic(DT_HASH);
        elf.set_dynamic(DT_GNU_HASH, OUTSIDE);
    }),
    ("gnu_hash_no_buckets", "Malformed|Undefined", |elf| set_gnu_hash(elf, 0, 0)),
    ("gnu_hash_too_many_buckets", "Malformed|Undefined", |elf| set_gnu_hash(elf, 0, u32::MAX)),
    ("gnu_hash_bloom_too_large", "Malformed|Undefined", |elf| set_gnu_hash(elf, 2, 0x4000_0000)),
    ("gnu_hash_bloom_empty", "Malformed|Undefined", |elf| set_gnu_hash(elf, 2, 0)),
    ("gnu_hash_bucket_out_of_range", "Malformed|Undefined", gnu_hash_bucket_out_of_range),
    ("gnu_hash_chain_endless", "Malformed|Undefined", gnu_hash_chain_endless),
    ("sysv_hash_outside", "Malformed|Undefined|OutsideImage", |elf| {
        elf.remove_dynamic(DT_GNU_HASH);
        elf.set_dynamic(DT_HASH, OUTSIDE);
    }),
    ("sysv_hash_no_buckets", "Malformed|Undefined", |elf| sysv_hash_only(elf, |elf, at| elf.set_u32(at, 0))),
    ("sysv_hash_bucket_out_of_range", "Malformed|Undefined", |elf| {
        sysv_hash_only(elf, |elf, at| for_each_word(elf, at + 8, elf.u32(at), |_| 1 << 24));
    }),
    ("sysv_hash_chain_cycle", "Malformed|Undefined", |elf| {
        // Every chain entry leads to itself.
        sysv_hash_only(elf, |elf, at| {
            let chain = at + 8 + elf.u32(at) as usize * 4;
            for_each_word(elf, chain, elf.u32(at + 4), |i| i);
        });
    }),
    ("versym_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_VERSYM, OUTSIDE)),
    ("verneed_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_VERNEED, OUTSIDE)),
    // Steps are unsigned, so a chain of versions cannot turn back; a step of -16 leads 4 GiB ahead.
    ("verneed_next_outside", "Malformed|OutsideImage", |elf| lengthen_step(elf, DT_VERNEED, DT_VERNEEDNUM, VN_NEXT)),
    ("verneed_auxiliary_outside", "Malformed|OutsideImage", |elf| {
        elf.set_u32(elf.table(DT_VERNEED) + VN_AUX, MINUS_16)
    }),
    ("verneed_name_outside", "Malformed|OutsideImage", |elf| elf.set_u32(elf.table(DT_VERNEED) + 4, u32::MAX)),
    ("verdef_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_VERDEF, OUTSIDE)),
    ("verdef_next_outside", "Malformed|OutsideImage", |elf| lengthen_step(elf, DT_VERDEF, DT_VERDEFNUM, VD_NEXT)),
    ("version_index_unknown", "Malformed", version_index_unknown),
    // Initialisers.
    ("init_outside", "EntryNotCode", |elf| elf.set_dynamic(DT_INIT, OUTSIDE)),
    ("init_not_code", "EntryNotCode", |elf| elf.set_dynamic(DT_INIT, elf.dynamic(DT_STRTAB).expect("strings"))),
    ("init_array_outside", "Malformed|EntryNotCode|OutsideImage", |elf| elf.set_dynamic(DT_INIT_ARRAY, OUTSIDE)),
    ("init_array_not_a_multiple", "Malformed|EntryNotCode", |elf| elf.set_dynamic(DT_INIT_ARRAYSZ, 12)),
    ("init_array_too_large", "Malformed|EntryNotCode", |elf| elf.set_dynamic(DT_INIT_ARRAYSZ, 1 << 40)),
    ("init_array_misaligned", "Malformed|EntryNotCode", |elf| {
        elf.set_dynamic(DT_INIT_ARRAY, elf.dynamic(DT_INIT_ARRAY).expect("an init array") + 4);
    }),
    ("init_array_entry_not_code", "EntryNotCode", init_array_entry_not_code),
    ("fini_array_outside", "Malformed|OutsideImage", |elf| elf.set_dynamic(DT_FINI_ARRAY, OUTSIDE)),
    ("fini_not_code", "EntryNotCode", |elf| elf.set_dynamic(DT_FINI, elf.dynamic(DT_STRTAB).expect("strings"))),
];

fn truncate_inside(elf: &mut ElfEdit, table: u64) {
    let end = elf.table(table) + 10;
    elf.bytes_mut().truncate(end);
}

fn truncate_in_text(elf: &mut ElfEdit) {
    let text = elf.load_with(PF_X, PF_W);
    let end = elf.phdr(PT_LOAD, text, PhdrField::Offset) + elf.phdr(PT_LOAD, text, PhdrField::Filesz) / 2;
    elf.bytes_mut().truncate(end as usize);
}

fn truncate_in_dynamic(elf: &mut ElfEdit) {
    let end = elf.phdr(PT_DYNAMIC, 0, PhdrField::Offset) + 40;
    elf.bytes_mut().truncate(end as usize);
}

fn no_load(elf: &mut ElfEdit) {
    for at in elf.phdrs(PT_LOAD) {
        elf.set_u32(at, PT_NULL as u32);
    }
}

/// Lets the last segment have that many more bytes in the file.
fn grow_last(elf: &mut ElfEdit, by: u64) {
    let last = elf.load_with(PF_W, 0);
    for field in [PhdrField::Filesz, PhdrField::Memsz] {
        elf.set_phdr(PT_LOAD, last, field, elf.phdr(PT_LOAD, last, field).wrapping_add(by));
    }
}

/// Lets the first segment reach into the second.
fn segments_overlap(elf: &mut ElfEdit) {
    let second = elf.phdr(PT_LOAD, 1, PhdrField::Vaddr);
    elf.set_phdr(PT_LOAD, 0, PhdrField::Memsz, second - elf.phdr(PT_LOAD, 0, PhdrField::Vaddr) + 8);
}

/// Swaps the first two `PT_LOAD` entries, which the gABI wants in ascending order.
fn segments_not_ascending(elf: &mut ElfEdit) {
    let loads = elf.phdrs(PT_LOAD);
    let (first, second) = (loads[0], loads[1]);
    let moved = elf.bytes()[first..first + 56].to_vec();
    elf.bytes_mut().copy_within(second..second + 56, first);
    elf.set(second, &moved);
}

/// `p_offset` and `p_vaddr` must agree modulo the page size, or the file cannot be mapped there.
fn offset_misaligned(elf: &mut ElfEdit) {
    let text = elf.load_with(PF_X, PF_W);
    elf.set_phdr(PT_LOAD, text, PhdrField::Offset, elf.phdr(PT_LOAD, text, PhdrField::Offset) + 8);
    elf.set_phdr(PT_LOAD, text, PhdrField::Filesz, elf.phdr(PT_LOAD, text, PhdrField::Filesz) - 8);
}

fn replace_dynamic(elf: &mut ElfEdit, tag: u64, by: u64, value: u64) {
    let at = elf.dynamic_entry(tag, 0).expect("an entry to replace");
    elf.set_u64(at, by);
    elf.set_u64(at + 8, value);
}

/// Changes the one `R_X86_64_64`.
fn change_relocation(elf: &mut ElfEdit, change: fn(&mut Rela)) {
    let mut rela = elf.first_relocation("64");
    change(&mut rela);
    elf.set_relocation(rela);
}

/// All but the last four bytes of the place lie in the writable segment.
fn relocation_at_segment_end(elf: &mut ElfEdit) {
    let last = elf.load_with(PF_W, 0);
    let end = elf.phdr(PT_LOAD, last, PhdrField::Vaddr) + elf.phdr(PT_LOAD, last, PhdrField::Memsz);
    let rela = elf.first_relocation("64");
    elf.set_relocation(Rela { place: end - 4, ..rela });
}

/// Lets the exported IFUNC's resolver lie in the strings.
fn change_ifunc(elf: &mut ElfEdit) {
    const STT_GNU_IFUNC: u8 = 10;
    let of_ifunc = |rela: &Rela| rela.symbol != 0 && elf.bytes()[elf.symbol(rela.symbol) + 4] & 0xf == STT_GNU_IFUNC;
    let rela = elf.relocations().into_iter().find(of_ifunc).expect("a relocation against an IFUNC");
    let strings = elf.dynamic(DT_STRTAB).expect("strings");
    elf.set_u64(elf.symbol(rela.symbol) + 8, strings);
}

/// Sets a word of the GNU hash header: 0 `nbuckets`, 1 `symoffset`, 2 `bloom_size`, 3 `bloom_shift`.
///
/// The SysV table goes, or a loader could use that one instead.
fn set_gnu_hash(elf: &mut ElfEdit, word: usize, value: u32) {
    elf.remove_dynamic(DT_HASH);
    elf.set_u32(elf.table(DT_GNU_HASH) + word * 4, value);
}

/// The file offsets of the GNU hash table's buckets and chains, and how many buckets there are.
fn gnu_hash_parts(elf: &ElfEdit) -> (usize, usize, u32) {
    let start = elf.table(DT_GNU_HASH);
    let (buckets, bloom) = (elf.u32(start), elf.u32(start + 8));
    let first = start + 16 + bloom as usize * 8;
    (first, first + buckets as usize * 4, buckets)
}

fn gnu_hash_bucket_out_of_range(elf: &mut ElfEdit) {
    elf.remove_dynamic(DT_HASH);
    let (buckets, _, count) = gnu_hash_parts(elf);
    for_each_word(elf, buckets, count, |_| 1 << 28);
}

/// Clears the bit that ends a chain, from the first entry to the end of the segment's file part.
fn gnu_hash_chain_endless(elf: &mut ElfEdit) {
    elf.remove_dynamic(DT_HASH);
    let (_, chains, _) = gnu_hash_parts(elf);
    let exported = elf.symbol(0).saturating_sub(chains) / 4;
    for_each_word(elf, chains, exported as u32, |_| 2);
}

fn sysv_hash_only(elf: &mut ElfEdit, change: fn(&mut ElfEdit, usize)) {
    elf.remove_dynamic(DT_GNU_HASH);
    let start = elf.table(DT_HASH);
    change(elf, start);
}

fn for_each_word(elf: &mut ElfEdit, start: usize, count: u32, value: impl Fn(u32) -> u32) {
    for i in 0..count {
        elf.set_u32(start + i as usize * 4, value(i));
    }
}

const VN_AUX: usize = 8;
const VN_NEXT: usize = 12;
const VD_NEXT: usize = 16;
const MINUS_16: u32 = 0u32.wrapping_sub(16);

/// Sends the step from the first record to the next astray, and makes sure that the count asks for it.
fn lengthen_step(elf: &mut ElfEdit, table: u64, count: u64, next: usize) {
    elf.set_u32(elf.table(table) + next, MINUS_16);
    elf.set_dynamic(count, 3);
}

/// The first symbol that an R_X86_64_64 names gets a version index that no table defines.
fn version_index_unknown(elf: &mut ElfEdit) {
    let symbol = elf.first_relocation("64").symbol;
    elf.set_u16(elf.table(DT_VERSYM) + symbol as usize * 2, 0x7123);
}

fn init_array_entry_not_code(elf: &mut ElfEdit) {
    let array = elf.dynamic(DT_INIT_ARRAY).expect("an init array");
    let strings = elf.dynamic(DT_STRTAB).expect("strings");
    let entry = elf.relocations().into_iter().find(|rela| rela.place == array).expect("a relocated entry");
    elf.set_relocation(Rela { addend: strings as i64, ..entry });
}
