//! From the first bytes of a file to the front end that reads it.

use crate::elf;
use crate::error::{ErrorKind, NotAnImage};
use crate::macho::{self, fat};
use crate::plan::{LoadPlan, Machine};

/// A recognised file, not yet read any further than its header.
#[derive(Debug)]
pub enum Image<'a> {
    /// An ELF file.
    Elf(elf::Header<'a>),
    /// One image of a Mach-O file.
    MachO {
        /// The whole file.
        file: &'a [u8],
        /// Which of its images.
        slice: fat::Slice,
        /// Its instruction set.
        machine: Machine,
    },
}

impl<'a> Image<'a> {
    /// Recognises a file by its magic.
    ///
    /// # Errors
    /// What the file is instead, as far as its first bytes tell.
    pub fn parse(bytes: &'a [u8]) -> Result<Image<'a>, ErrorKind> {
        Image::parse_for(bytes, None)
    }

    /// As [`Image::parse`], for the processor of that name where the file holds several images.
    ///
    /// # Errors
    /// Also if there is no image for it.
    pub fn parse_for(bytes: &'a [u8], arch: Option<&str>) -> Result<Image<'a>, ErrorKind> {
        if bytes.starts_with(b"\x7fELF") {
            let header = elf::Header::parse(bytes)?;
            return match arch.filter(|&arch| arch != header.machine().as_str()) {
                None => Ok(Image::Elf(header)),
                Some(arch) => Err(ErrorKind::WrongTarget {
                    field: "architecture",
                    found: header.machine().as_str().into(),
                    expected: arch.into(),
                }),
            };
        }
        if fat::is_mach_o(bytes) {
            let slice = fat::choose(&fat::slices(bytes)?, arch)?;
            return Ok(Image::MachO { file: bytes, slice, machine: macho::machine(&slice)? });
        }
        Err(ErrorKind::NotAnImage(what_else(bytes)))
    }

    /// The instruction set.
    pub fn machine(&self) -> Machine {
        match self {
            Image::Elf(header) => header.machine(),
            Image::MachO { machine, .. } => *machine,
        }
    }

    /// Lowers the image to its plan.
    ///
    /// # Errors
    /// The first thing that is malformed or refused.
    pub fn lower(&self) -> Result<LoadPlan, ErrorKind> {
        match self {
            Image::Elf(header) => elf::lower(header),
            Image::MachO { file, slice, .. } => macho::lower(file, slice),
        }
    }
}

/// The usual things that are found where a shared object was expected.
fn what_else(bytes: &[u8]) -> NotAnImage {
    // A linker script is text; GNU ld's own begin with a comment or a command.
    const SCRIPTS: [&[u8]; 5] = [b"/* GNU ld", b"INPUT", b"GROUP", b"OUTPUT_FORMAT", b"SEARCH_DIR"];
    match bytes {
        [] => NotAnImage::Empty,
        _ if b"\x7fELF".starts_with(bytes) => NotAnImage::Truncated,
        _ if bytes.starts_with(b"!<arch>\n") || bytes.starts_with(b"!<thin>\n") => NotAnImage::Archive,
        _ if SCRIPTS.iter().any(|start| bytes.starts_with(start)) => NotAnImage::LinkerScript,
        _ if bytes.starts_with(b"MZ") => NotAnImage::WindowsImage,
        _ => NotAnImage::Unknown { magic: std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)) },
    }
}
