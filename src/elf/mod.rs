//! ELF: from a file's header and program headers to a [`LoadPlan`]. Section headers are never read: a loader must not
//! need them, and strippers remove them.
//!
//! Source: the System V gABI, chapters 4 and 5, and the psABI of each machine.

pub mod dynamic;
pub mod hash;
pub(crate) mod limits;
pub mod machine;
pub mod notes;
pub mod relocs;
pub mod segments;
pub mod symbols;
pub mod versions;

pub use dynamic::Tables;

use crate::addr::FileOffset;
use crate::bytes::Bytes;
use crate::error::{ErrorKind, NotAnImage, Place};
use crate::plan::{LoadPlan, Machine};
use goblin::elf64::header;

/// Size of a program header, the only size there is for 64-bit ELF (gABI figure 5-1).
pub const PHENT: usize = 56;

/// A checked ELF header with the program headers it leads to.
#[derive(Debug)]
pub struct Header<'a> {
    bytes: &'a [u8],
    machine: Machine,
    program_headers: &'a [[u8; PHENT]],
}

/// One program header (gABI `Elf64_Phdr`).
#[derive(Clone, Copy, Debug)]
pub struct ProgramHeader {
    /// `p_type`
    pub kind: u32,
    /// `p_flags`
    pub flags: u32,
    /// `p_offset`
    pub offset: u64,
    /// `p_vaddr`
    pub vaddr: u64,
    /// `p_filesz`
    pub file_size: u64,
    /// `p_memsz`
    pub mem_size: u64,
    /// `p_align`
    pub align: u64,
}

impl ProgramHeader {
    /// Decodes one entry of the table.
    pub fn decode(raw: &[u8; PHENT]) -> ProgramHeader {
        let word = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let xword = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        ProgramHeader {
            kind: word(0),
            flags: word(4),
            offset: xword(8),
            vaddr: xword(16),
            file_size: xword(32),
            mem_size: xword(40),
            align: xword(48),
        }
    }
}

impl<'a> Header<'a> {
    /// Checks the ELF header: 64-bit, little-endian, a shared object for a machine that we know.
    ///
    /// # Errors
    /// The first field that is not as it must be.
    pub fn parse(file: &'a [u8]) -> Result<Header<'a>, ErrorKind> {
        let bytes = Bytes(file);
        check_ident(bytes)?;
        let field16 = |at| bytes.u16(at).ok_or(ErrorKind::NotAnImage(NotAnImage::Truncated));
        let machine = machine::from_e_machine(field16(18)?)?;
        check_type(field16(16)?)?;
        let phoff = bytes.u64(32).ok_or(ErrorKind::NotAnImage(NotAnImage::Truncated))?;
        let (phentsize, phnum) = (field16(54)?, field16(56)?);
        if usize::from(phentsize) != PHENT {
            return Err(ErrorKind::malformed("header: e_phentsize is not 56", Place::File(FileOffset(54))));
        }
        if usize::from(phnum) > limits::PROGRAM_HEADERS {
            let what = "header: more program headers than any system takes";
            return Err(ErrorKind::malformed(what, Place::File(FileOffset(56))));
        }
        let table = bytes.slice(phoff, u64::from(phnum) * PHENT as u64).ok_or_else(|| {
            ErrorKind::malformed("header: program headers lie outside the file", Place::File(FileOffset(32)))
        })?;
        let (program_headers, _) = table.as_chunks();
        Ok(Header { bytes: file, machine, program_headers })
    }

    /// The program headers in file order.
    pub fn program_headers(&self) -> impl Iterator<Item = ProgramHeader> + '_ {
        self.program_headers.iter().map(ProgramHeader::decode)
    }

    /// The instruction set.
    pub fn machine(&self) -> Machine {
        self.machine
    }
}

fn check_ident(bytes: Bytes<'_>) -> Result<(), ErrorKind> {
    let ident: [u8; 16] = bytes.array(0).ok_or(ErrorKind::NotAnImage(NotAnImage::Truncated))?;
    if ident[header::EI_CLASS] != header::ELFCLASS64 {
        let found =
            if ident[header::EI_CLASS] == header::ELFCLASS32 { "32-bit".into() } else { format!("{}", ident[4]) };
        return Err(ErrorKind::WrongTarget { field: "EI_CLASS", found, expected: "64-bit".into() });
    }
    if ident[header::EI_DATA] != header::ELFDATA2LSB {
        let found =
            if ident[header::EI_DATA] == header::ELFDATA2MSB { "big-endian".into() } else { format!("{}", ident[5]) };
        return Err(ErrorKind::WrongTarget { field: "EI_DATA", found, expected: "little-endian".into() });
    }
    if ident[header::EI_VERSION] != header::EV_CURRENT {
        let found = ident[header::EI_VERSION].to_string();
        return Err(ErrorKind::WrongTarget { field: "EI_VERSION", found, expected: "1".into() });
    }
    Ok(())
}

fn check_type(e_type: u16) -> Result<(), ErrorKind> {
    let found = match e_type {
        header::ET_DYN => return Ok(()),
        header::ET_EXEC => "ET_EXEC (an executable)".into(),
        header::ET_REL => "ET_REL (an object file, which only a linker reads)".into(),
        header::ET_CORE => "ET_CORE (a core dump)".into(),
        other => format!("{other:#x}"),
    };
    Err(ErrorKind::WrongTarget { field: "e_type", found, expected: "ET_DYN".into() })
}

/// Lowers an ELF image to its plan.
///
/// # Errors
/// The first thing that is malformed, or that no loader can honour.
pub fn lower(header: &Header<'_>) -> Result<LoadPlan, ErrorKind> {
    let layout = segments::layout(header)?;
    let dynamic = dynamic::Dynamic::from_file(header, &layout)?;
    dynamic.refuse()?;
    let tables = dynamic.tables(&layout)?;
    let strings = tables.strings_in(header.bytes);
    let needs = dynamic.needs(strings)?;
    let filters = dynamic.filters(strings)?;
    let string =
        |offset: Option<u64>, limit, what| offset.map(|at| dynamic::string(strings, at, limit, what)).transpose();
    let mut plan = LoadPlan {
        machine: header.machine,
        soname: string(dynamic.soname, limits::PATH, "DT_SONAME")?,
        search: crate::plan::SearchPaths {
            rpath: string(dynamic.rpath, limits::SEARCH_PATH, "DT_RPATH")?,
            runpath: string(dynamic.runpath, limits::SEARCH_PATH, "DT_RUNPATH")?,
            run_paths: Vec::new(),
        },
        needs,
        filters,
        init: dynamic.init(&layout)?,
        fini: dynamic.fini(&layout)?,
        flags: dynamic.flags(layout.executable_stack),
        build_id: layout.build_id(header.bytes),
        span: layout.span,
        align: layout.align,
        seals: layout.seals,
        tls: layout.tls,
        unwind: layout.unwind,
        unwind_tables: Default::default(),
        foreign_runtime: None,
        signature: None,
        regions: layout.regions,
        tables: crate::plan::Tables::Elf(tables),
    };
    if plan.flags.text_relocations {
        plan.flags.text_relocations = relocs::change_read_only(&plan, header.bytes);
    }
    Ok(plan)
}
