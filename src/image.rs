//! From the first bytes of a file to the front end that reads it.

use crate::elf;
use crate::error::{ErrorKind, NotAnImage};
use crate::plan::{LoadPlan, Machine};

/// A recognised file, not yet read any further than its header.
#[derive(Debug)]
pub enum Image<'a> {
    /// An ELF file.
    Elf(elf::Header<'a>),
}

impl<'a> Image<'a> {
    /// Recognises a file by its magic.
    ///
    /// # Errors
    /// What the file is instead, as far as its first bytes tell.
    pub fn parse(bytes: &'a [u8]) -> Result<Image<'a>, ErrorKind> {
        if bytes.starts_with(b"\x7fELF") {
            return elf::Header::parse(bytes).map(Image::Elf);
        }
        Err(ErrorKind::NotAnImage(what_else(bytes)))
    }

    /// The instruction set.
    pub fn machine(&self) -> Machine {
        match self {
            Image::Elf(header) => header.machine(),
        }
    }

    /// Lowers the image to its plan.
    ///
    /// # Errors
    /// The first thing that is malformed or refused.
    pub fn lower(&self) -> Result<LoadPlan, ErrorKind> {
        match self {
            Image::Elf(header) => elf::lower(header),
        }
    }
}

/// The usual things that are found where a shared object was expected.
fn what_else(bytes: &[u8]) -> NotAnImage {
    const MACH_O: [[u8; 4]; 4] =
        [[0xcf, 0xfa, 0xed, 0xfe], [0xce, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe], [0xca, 0xfe, 0xba, 0xbf]];
    // A linker script is text; GNU ld's own begin with a comment or a command.
    const SCRIPTS: [&[u8]; 5] = [b"/* GNU ld", b"INPUT", b"GROUP", b"OUTPUT_FORMAT", b"SEARCH_DIR"];
    match bytes {
        [] => NotAnImage::Empty,
        _ if b"\x7fELF".starts_with(bytes) => NotAnImage::Truncated,
        _ if bytes.starts_with(b"!<arch>\n") || bytes.starts_with(b"!<thin>\n") => NotAnImage::Archive,
        _ if SCRIPTS.iter().any(|start| bytes.starts_with(start)) => NotAnImage::LinkerScript,
        _ if MACH_O.iter().any(|magic| bytes.starts_with(magic)) => NotAnImage::MachO,
        _ if bytes.starts_with(b"MZ") => NotAnImage::WindowsImage,
        _ => NotAnImage::Unknown { magic: std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)) },
    }
}
