//! Changes to a linked fixture that no compiler or linker option makes, by the name used in `//# patch:`.

use crate::elf_edit::*;

/// The text that decides what a patch does: a patched fixture is built anew when it changes.
pub(crate) const SOURCES: [&str; 2] = [include_str!("patches.rs"), include_str!("elf_edit.rs")];

type Patch = fn(&mut ElfEdit);

const PATCHES: &[(&str, Patch)] = &[
    ("abs32", |elf| retype_one(elf, "64", "32")),
    ("copy", |elf| retype_named(elf, "GLOB_DAT", "COPY", b"provided_value")),
    ("dynamic_offset", |elf| elf.set_phdr(PT_DYNAMIC, 0, PhdrField::Offset, 8)),
    ("garbage_section_headers", garbage_section_headers),
    ("no_gnu_stack", |elf| elf.set_phdr(PT_GNU_STACK, 0, PhdrField::Type, PT_NULL)),
    ("no_section_headers", no_section_headers),
    ("pc32", |elf| retype_one(elf, "64", "PC32")),
    ("relacount_one", |elf| elf.set_dynamic(DT_RELACOUNT, 1)),
    ("relro_inexact", relro_inexact),
    ("symbolic", |elf| elf.set_dynamic(DT_FLAGS, elf.dynamic(DT_FLAGS).unwrap_or(0) | DF_SYMBOLIC)),
    ("symbolic_tag", |elf| elf.set_dynamic(DT_SYMBOLIC, 0)),
    ("tls_section_symbol", tls_section_symbol),
    ("textrel_tag", |elf| elf.set_dynamic(DT_TEXTREL, 0)),
    ("writable_code", |elf| elf.set_phdr(PT_LOAD, elf.load_with(PF_X, 0), PhdrField::Flags, PF_R | PF_W | PF_X)),
];

/// Applies the patch of that name.
///
/// # Panics
/// If there is none, or the file is not what it expects.
pub(crate) fn apply(name: &str, elf: &mut ElfEdit) {
    let known = PATCHES.iter().find(|(known, _)| *known == name);
    known.unwrap_or_else(|| panic!("no patch `{name}`")).1(elf);
}

fn retype_one(elf: &mut ElfEdit, from: &str, to: &str) {
    let count = elf.retype_relocations(from, to);
    assert_eq!(count, 1, "exactly one R_X86_64_{from} to change");
}

fn retype_named(elf: &mut ElfEdit, from: &str, to: &str, symbol: &[u8]) {
    let from = relocation_type(from);
    let of_it = |rela: &Rela| rela.r_type == from && elf.symbol_name(rela.symbol) == symbol;
    let found = elf.relocations().into_iter().find(of_it).expect("a relocation of that symbol");
    elf.set_relocation(Rela { r_type: relocation_type(to), ..found });
}

fn no_section_headers(elf: &mut ElfEdit) {
    elf.set_u64(ehdr::E_SHOFF, 0);
    elf.set_u16(ehdr::E_SHNUM, 0);
    elf.set_u16(ehdr::E_SHSTRNDX, 0);
}

fn garbage_section_headers(elf: &mut ElfEdit) {
    let start = elf.u64(ehdr::E_SHOFF) as usize;
    let end = start + usize::from(elf.u16(ehdr::E_SHNUM)) * usize::from(elf.u16(ehdr::E_SHENTSIZE));
    elf.bytes_mut()[start..end].fill(0xa5);
    elf.set_u64(ehdr::E_SHOFF, u64::MAX - 4095);
    elf.set_u16(ehdr::E_SHNUM, 0xfff0);
    elf.set_u16(ehdr::E_SHSTRNDX, 0xffee);
}

/// Lets RELRO reach 16 bytes into the page behind it, which the linker had left writable.
fn relro_inexact(elf: &mut ElfEdit) {
    let end = elf.phdr(PT_GNU_RELRO, 0, PhdrField::Vaddr) + elf.phdr(PT_GNU_RELRO, 0, PhdrField::Memsz);
    assert_eq!(end % 4096, 0, "the linker aligns the end of RELRO");
    elf.set_phdr(PT_GNU_RELRO, 0, PhdrField::Memsz, elf.phdr(PT_GNU_RELRO, 0, PhdrField::Memsz) + 16);
}

/// Lets the relocation for this object's own thread-locals name a section, as old linkers wrote it; the object has a
/// variable `section` to make the symbol from.
fn tls_section_symbol(elf: &mut ElfEdit) {
    const STB_LOCAL_STT_SECTION: u8 = 3;
    const ST_INFO: usize = 4;
    let index = (1..).find(|&index| elf.symbol_name(index) == b"section").expect("a variable to change");
    elf.set(elf.symbol(index) + ST_INFO, &[STB_LOCAL_STT_SECTION]);
    elf.set_relocation(Rela { symbol: index, ..elf.first_relocation("DTPMOD64") });
}
