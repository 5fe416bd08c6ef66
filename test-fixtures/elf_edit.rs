//! Changes single fields of an ELF64 file: program headers, dynamic entries, relocations, symbols.
//!
//! For making broken or rare files out of good ones. Nothing is ever moved; a value is found by what it means, and set:
//!
//! ```no_run
//! use test_fixtures::elf_edit::{DT_STRSZ, ElfEdit, PT_LOAD, PhdrField};
//! let mut elf = ElfEdit::open("libgood.so");
//! elf.set_phdr(PT_LOAD, 0, PhdrField::Filesz, u64::MAX);
//! elf.set_dynamic(DT_STRSZ, 1 << 40);
//! elf.write("libbad.so");
//! ```
//!
//! The file must be sound where it is read: what cannot be found panics. Names and numbers are those of the gABI,
//! chapters 4 and 5.

use std::fs;
use std::path::Path;

/// File offsets of the ELF header's fields.
#[expect(missing_docs, reason = "named as in the gABI, \"ELF Header\"")]
pub mod ehdr {
    pub const EI_CLASS: usize = 4;
    pub const EI_DATA: usize = 5;
    pub const EI_VERSION: usize = 6;
    pub const E_TYPE: usize = 16;
    pub const E_MACHINE: usize = 18;
    pub const E_ENTRY: usize = 24;
    pub const E_PHOFF: usize = 32;
    pub const E_SHOFF: usize = 40;
    pub const E_EHSIZE: usize = 52;
    pub const E_PHENTSIZE: usize = 54;
    pub const E_PHNUM: usize = 56;
    pub const E_SHENTSIZE: usize = 58;
    pub const E_SHNUM: usize = 60;
    pub const E_SHSTRNDX: usize = 62;
}

macro_rules! numbers {
    ($($name:ident = $value:expr),* $(,)?) => {
        $(#[doc = concat!("`", stringify!($name), "`")] pub const $name: u64 = $value;)*
    };
}

numbers! {
    PT_NULL = 0, PT_LOAD = 1, PT_DYNAMIC = 2, PT_NOTE = 4, PT_PHDR = 6, PT_TLS = 7,
    PT_GNU_EH_FRAME = 0x6474_e550, PT_GNU_STACK = 0x6474_e551, PT_GNU_RELRO = 0x6474_e552,
    PF_X = 1, PF_W = 2, PF_R = 4,
    DT_NULL = 0, DT_NEEDED = 1, DT_PLTRELSZ = 2, DT_HASH = 4, DT_STRTAB = 5, DT_SYMTAB = 6, DT_RELA = 7, DT_RELASZ = 8,
    DT_RELAENT = 9, DT_STRSZ = 10, DT_SYMENT = 11, DT_INIT = 12, DT_FINI = 13, DT_SONAME = 14, DT_RPATH = 15,
    DT_SYMBOLIC = 16, DT_PLTREL = 20, DT_TEXTREL = 22, DT_JMPREL = 23, DT_INIT_ARRAY = 25, DT_FINI_ARRAY = 26,
    DT_INIT_ARRAYSZ = 27, DT_FINI_ARRAYSZ = 28, DT_RUNPATH = 29, DT_FLAGS = 30,
    DT_RELRSZ = 35, DT_RELR = 36, DT_RELRENT = 37,
    DT_GNU_HASH = 0x6fff_fef5, DT_VERSYM = 0x6fff_fff0, DT_RELACOUNT = 0x6fff_fff9, DT_FLAGS_1 = 0x6fff_fffb,
    DT_VERDEF = 0x6fff_fffc, DT_VERDEFNUM = 0x6fff_fffd, DT_VERNEED = 0x6fff_fffe, DT_VERNEEDNUM = 0x6fff_ffff,
    DF_SYMBOLIC = 2,
}

/// `R_X86_64_*` by the part of the name that follows, as `readelf` and the `rows` of fixtures use it.
pub const RELOCATION_TYPES: &[(&str, u32)] = &[
    ("NONE", 0),
    ("64", 1),
    ("PC32", 2),
    ("COPY", 5),
    ("GLOB_DAT", 6),
    ("JUMP_SLOT", 7),
    ("RELATIVE", 8),
    ("32", 10),
    ("DTPMOD64", 16),
    ("DTPOFF64", 17),
    ("TPOFF64", 18),
    ("SIZE32", 32),
    ("SIZE64", 33),
    ("TLSDESC", 36),
    ("IRELATIVE", 37),
];

/// The number of a relocation type.
///
/// # Panics
/// If it is not one of [`RELOCATION_TYPES`].
pub fn relocation_type(name: &str) -> u32 {
    let known = RELOCATION_TYPES.iter().find(|(known, _)| *known == name);
    known.unwrap_or_else(|| panic!("no relocation type {name}")).1
}

/// A field of a program header; the number is its offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum PhdrField {
    /// `p_type`
    Type = 0,
    /// `p_flags`
    Flags = 4,
    /// `p_offset`
    Offset = 8,
    /// `p_vaddr`
    Vaddr = 16,
    /// `p_filesz`
    Filesz = 32,
    /// `p_memsz`
    Memsz = 40,
    /// `p_align`
    Align = 48,
}

impl PhdrField {
    fn is_word(self) -> bool {
        matches!(self, PhdrField::Type | PhdrField::Flags)
    }
}

/// One `Elf64_Rela`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rela {
    /// The file offset of the entry itself.
    pub at: usize,
    /// `r_offset`: the address that it changes.
    pub place: u64,
    /// `ELF64_R_TYPE`
    pub r_type: u32,
    /// `ELF64_R_SYM`
    pub symbol: u32,
    /// `r_addend`
    pub addend: i64,
}

/// The bytes of an ELF64 file for x86-64, to be changed.
#[derive(Clone, Debug)]
pub struct ElfEdit {
    bytes: Vec<u8>,
}

const PHDR_SIZE: usize = 56;
const DYNAMIC_SIZE: usize = 16;
const RELA_SIZE: usize = 24;
const SYMBOL_SIZE: usize = 24;

impl ElfEdit {
    /// Reads a file.
    pub fn open(path: impl AsRef<Path>) -> ElfEdit {
        let path = path.as_ref();
        ElfEdit::new(fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    /// Takes the bytes of a file.
    pub fn new(bytes: Vec<u8>) -> ElfEdit {
        assert!(bytes.starts_with(b"\x7fELF\x02\x01"), "not an ELF64 file, little-endian");
        ElfEdit { bytes }
    }

    /// The bytes, to be read or changed at will; their number too.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the bytes back.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes a file: executable, as linkers make shared objects.
    pub fn write(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        fs::write(path, &self.bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// The two bytes at a file offset.
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    /// The four bytes at a file offset.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    /// The eight bytes at a file offset.
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes[at..at + N].try_into().expect("N bytes")
    }

    /// Replaces bytes at a file offset.
    pub fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Sets the two bytes at a file offset.
    pub fn set_u16(&mut self, at: usize, value: u16) {
        self.set(at, &value.to_le_bytes());
    }

    /// Sets the four bytes at a file offset.
    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.set(at, &value.to_le_bytes());
    }

    /// Sets the eight bytes at a file offset.
    pub fn set_u64(&mut self, at: usize, value: u64) {
        self.set(at, &value.to_le_bytes());
    }

    // --- program headers ---

    /// The file offsets of all program headers of that type.
    pub fn phdrs(&self, p_type: u64) -> Vec<usize> {
        let start = self.u64(ehdr::E_PHOFF) as usize;
        let count = usize::from(self.u16(ehdr::E_PHNUM));
        (0..count).map(|i| start + i * PHDR_SIZE).filter(|&at| u64::from(self.u32(at)) == p_type).collect()
    }

    /// A field of the `nth` program header of that type.
    pub fn phdr(&self, p_type: u64, nth: usize, field: PhdrField) -> u64 {
        self.phdr_field(self.nth_phdr(p_type, nth), field)
    }

    /// Sets a field of the `nth` program header of that type.
    pub fn set_phdr(&mut self, p_type: u64, nth: usize, field: PhdrField, value: u64) {
        let at = self.nth_phdr(p_type, nth) + field as usize;
        if field.is_word() {
            self.set_u32(at, value.try_into().expect("p_type and p_flags have 32 bits"));
        } else {
            self.set_u64(at, value);
        }
    }

    fn nth_phdr(&self, p_type: u64, nth: usize) -> usize {
        *self.phdrs(p_type).get(nth).unwrap_or_else(|| panic!("no program header {nth} of type {p_type:#x}"))
    }

    /// A field of the program header at a file offset.
    pub fn phdr_field(&self, at: usize, field: PhdrField) -> u64 {
        let at = at + field as usize;
        if field.is_word() { u64::from(self.u32(at)) } else { self.u64(at) }
    }

    /// The index among the `PT_LOAD`s of the first that has these flags set and none of those.
    pub fn load_with(&self, set: u64, clear: u64) -> usize {
        let flags = self.phdrs(PT_LOAD).into_iter().map(|at| self.phdr_field(at, PhdrField::Flags));
        let mut flags = flags.map(|flags| flags & set == set && flags & clear == 0);
        flags.position(|fits| fits).expect("a segment with these flags")
    }

    /// The file offset of an address.
    pub fn file_offset(&self, vaddr: u64) -> usize {
        let holding = self.phdrs(PT_LOAD).into_iter().find_map(|at| {
            let inside = vaddr.checked_sub(self.phdr_field(at, PhdrField::Vaddr))?;
            let held = inside < self.phdr_field(at, PhdrField::Filesz);
            held.then(|| self.phdr_field(at, PhdrField::Offset) + inside)
        });
        holding.unwrap_or_else(|| panic!("{vaddr:#x} is in no segment's file part")) as usize
    }

    // --- the dynamic section ---

    /// The file offsets of its entries, the closing `DT_NULL` and any spare ones after it included.
    fn dynamic_slots(&self) -> impl Iterator<Item = usize> + use<> {
        let start = self.phdr(PT_DYNAMIC, 0, PhdrField::Offset) as usize;
        let size = self.phdr(PT_DYNAMIC, 0, PhdrField::Filesz) as usize;
        (start..start + size).step_by(DYNAMIC_SIZE)
    }

    /// The file offset of the `nth` entry with that tag.
    pub fn dynamic_entry(&self, tag: u64, nth: usize) -> Option<usize> {
        self.dynamic_slots().filter(|&at| self.u64(at) == tag).nth(nth)
    }

    /// The value of the first entry with that tag.
    pub fn dynamic(&self, tag: u64) -> Option<u64> {
        self.dynamic_entry(tag, 0).map(|at| self.u64(at + 8))
    }

    /// The file offset that the first entry with that tag points to.
    pub fn table(&self, tag: u64) -> usize {
        self.file_offset(self.dynamic(tag).unwrap_or_else(|| panic!("no dynamic entry {tag:#x}")))
    }

    /// Sets the value of the first entry with that tag; adds one, in a spare place, if there is none.
    pub fn set_dynamic(&mut self, tag: u64, value: u64) {
        let at = self.dynamic_entry(tag, 0).unwrap_or_else(|| {
            let spare = self.dynamic_entry(DT_NULL, 1).and(self.dynamic_entry(DT_NULL, 0));
            spare.expect("a spare entry before the closing DT_NULL")
        });
        self.set_u64(at, tag);
        self.set_u64(at + 8, value);
    }

    /// Removes every entry with that tag; those behind it move up.
    pub fn remove_dynamic(&mut self, tag: u64) {
        let slots: Vec<usize> = self.dynamic_slots().collect();
        let kept: Vec<[u8; DYNAMIC_SIZE]> =
            slots.iter().filter(|&&at| self.u64(at) != tag).map(|&at| self.array(at)).collect();
        for (i, at) in slots.into_iter().enumerate() {
            let entry = kept.get(i).copied().unwrap_or_default();
            self.set(at, &entry);
        }
    }

    // --- relocations ---

    /// All entries of `DT_RELA` and `DT_JMPREL`.
    pub fn relocations(&self) -> Vec<Rela> {
        let mut all = Vec::new();
        for (table, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
            let (Some(_), Some(size)) = (self.dynamic(table), self.dynamic(size)) else { continue };
            let start = self.table(table);
            all.extend((start..start + size as usize).step_by(RELA_SIZE).map(|at| self.relocation(at)));
        }
        all
    }

    /// The entry at a file offset.
    pub fn relocation(&self, at: usize) -> Rela {
        let info = self.u64(at + 8);
        Rela {
            at,
            place: self.u64(at),
            r_type: info as u32,
            symbol: (info >> 32) as u32,
            addend: self.u64(at + 16) as i64,
        }
    }

    /// The first relocation of a type, by name.
    ///
    /// # Panics
    /// If there is none.
    pub fn first_relocation(&self, name: &str) -> Rela {
        let r_type = relocation_type(name);
        self.relocations()
            .into_iter()
            .find(|rela| rela.r_type == r_type)
            .unwrap_or_else(|| panic!("no R_X86_64_{name}"))
    }

    /// Writes an entry back to where it was read.
    pub fn set_relocation(&mut self, rela: Rela) {
        self.set_u64(rela.at, rela.place);
        self.set_u64(rela.at + 8, u64::from(rela.symbol) << 32 | u64::from(rela.r_type));
        self.set_u64(rela.at + 16, rela.addend as u64);
    }

    /// Changes every relocation of one type to another, and returns how many there were.
    ///
    /// Forgets `DT_RELACOUNT` where it no longer holds: a loader may rely on it.
    pub fn retype_relocations(&mut self, from: &str, to: &str) -> usize {
        let (from, to) = (relocation_type(from), relocation_type(to));
        let found: Vec<Rela> = self.relocations().into_iter().filter(|rela| rela.r_type == from).collect();
        for rela in &found {
            self.set_relocation(Rela { r_type: to, ..*rela });
        }
        if from == relocation_type("RELATIVE") {
            self.remove_dynamic(DT_RELACOUNT);
        }
        found.len()
    }

    // --- symbols ---

    /// The file offset of a symbol's entry (`st_name`, 4; `st_info`, 1; `st_other`, 1; `st_shndx`, 2; `st_value`, 8;
    /// `st_size`, 8).
    pub fn symbol(&self, index: u32) -> usize {
        self.table(DT_SYMTAB) + index as usize * SYMBOL_SIZE
    }

    /// The name of a symbol.
    pub fn symbol_name(&self, index: u32) -> &[u8] {
        let start = self.table(DT_STRTAB) + self.u32(self.symbol(index)) as usize;
        self.bytes[start..].split(|&byte| byte == 0).next().expect("split gives at least one part")
    }
}
