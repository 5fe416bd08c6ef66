//! The rows of a plugin, as notes: read from the file before any of it is mapped. Where an item is, the symbol table says.
//!
//! ```text
//! note     = name_size:u32 desc_size:u32 type:u32 "sideload\0" padding desc padding     (gABI, "Note Section")
//! desc     = checksum:u32 format:u8 body           checksum: see below, or 0 for none
//! identity = flags:u8 { key:text value:text }
//! build    = { key:text value:text }
//! export   = kind:u8 name:text symbol:text signature:text                        an item of a plugin in C
//! init     = name:text symbol:text file:text line:number after:list of text
//! ```
//!
//! What a plugin in Rust exports is in rows of another kind: see `item.rs`.
//!
//! The checksum is FNV-1a of 32 bits over format and body, but for the flags, which have their complement beside them.

use super::build::{ENCODED, SHARED_SIZE};
use super::init::InitFunction;
use super::linked::{Linked, LinkedItem};
use super::types::Writer;

/// The name of the notes.
pub const NOTE_NAME: &[u8; 9] = b"sideload\0";

/// The format of their descriptions that this version writes and reads.
pub const FORMAT: u8 = 1;

/// The types of the notes.
pub mod note_type {
    /// Who it is, and how it was built.
    pub const IDENTITY: u32 = 1;
    /// One exported item of a plugin in C.
    pub const EXPORT: u32 = 2;
    /// One function that is run once after the constructors.
    pub const INIT: u32 = 3;
    /// How it was built, as far as that is the same in all crates of one build.
    pub const BUILD: u32 = 4;
}

/// What an exported item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExportKind {
    /// A function.
    Function = 1,
    /// A static.
    Static = 2,
    /// A function of a C plugin, whose signature is text.
    Signature = 3,
}

impl ExportKind {
    /// The kind with that number.
    pub const fn from_byte(byte: u8) -> Option<ExportKind> {
        match byte {
            1 => Some(ExportKind::Function),
            2 => Some(ExportKind::Static),
            3 => Some(ExportKind::Signature),
            _ => None,
        }
    }
}

/// One function that is run once, after the constructors.
#[derive(Clone, Copy, Debug)]
pub struct Init {
    /// Its name.
    pub name: &'static str,
    /// The name of its symbol.
    pub symbol: &'static str,
    /// Where it is declared: such functions run by file and line.
    pub file: &'static str,
    /// The line.
    pub line: u32,
    /// Those that must have run before.
    pub after: &'static [&'static str],
}

/// A note whose description has `N` bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(4))]
pub struct Note<const N: usize> {
    name_size: u32,
    desc_size: u32,
    kind: u32,
    name: [u8; 12],
    desc: [u8; N],
}

/// What a macro writes for an init function: the identity of the crate comes with each, since no macro knows whether it is
/// the first. A host reads one and checks that the others are equal.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Notes<const IDENTITY: usize, const ROW: usize> {
    identity: Note<IDENTITY>,
    build: Note<{ CHECKED + SHARED_SIZE }>,
    row: Note<ROW>,
}

/// Checksum and format.
const CHECKED: usize = 5;

impl<const N: usize> Note<N> {
    const fn new(kind: u32, desc: [u8; N]) -> Note<N> {
        Note { name_size: NOTE_NAME.len() as u32, desc_size: N as u32, kind, name: *b"sideload\0\0\0\0", desc }
    }

    /// The identity of a crate: a description that the macro encoded, and what only the compiler knows.
    pub const fn identity(mut desc: [u8; N], unwinds: bool, has_debug_assertions: bool) -> Note<N> {
        desc[CHECKED] = flags(unwinds, has_debug_assertions);
        Note::new(note_type::IDENTITY, desc)
    }
}

/// The flags of an identity, with their complement in the upper half.
pub(super) const fn flags(unwinds: bool, has_debug_assertions: bool) -> u8 {
    let flags = flag::STATED | (unwinds as u8) << 1 | (has_debug_assertions as u8) << 2;
    flags | (!flags & 0xf) << 4
}

/// What the flags of an identity say.
pub(super) mod flag {
    /// The others say something; a plugin in C has neither panics nor debug assertions.
    pub(crate) const STATED: u8 = 1;
    /// Panics unwind.
    pub(crate) const UNWINDS: u8 = 2;
    /// Debug assertions are compiled in.
    pub(crate) const DEBUG_ASSERTIONS: u8 = 4;
}

const BUILD_NOTE: Note<{ CHECKED + SHARED_SIZE }> = {
    let mut desc = [0; CHECKED + SHARED_SIZE];
    let mut out = Writer::over(&mut desc);
    out.raw(&[0, 0, 0, 0, FORMAT]);
    out.raw(ENCODED);
    put_checksum(&mut desc);
    Note::new(note_type::BUILD, desc)
};

impl<const IDENTITY: usize, const ROW: usize> Notes<IDENTITY, ROW> {
    /// Of a row.
    pub const fn new(identity: Note<IDENTITY>, row: Note<ROW>) -> Notes<IDENTITY, ROW> {
        Notes { identity, build: BUILD_NOTE, row }
    }
}

/// The checksum of a description; 0 is taken for "none" and never returned.
pub const fn checksum(kind: u32, desc: &[u8]) -> u32 {
    let mut sum = 0x811c_9dc5_u32;
    let mut at = 4;
    while at < desc.len() {
        if kind != note_type::IDENTITY || at != CHECKED {
            sum = ((sum ^ desc[at] as u32) as u64 * 0x0100_0193) as u32;
        }
        at += 1;
    }
    if sum == 0 { 1 } else { sum }
}

/// The checksum over a whole description.
const fn put_checksum(desc: &mut [u8]) {
    let sum = checksum(note_type::INIT, desc);
    desc.split_at_mut(4).0.copy_from_slice(&sum.to_le_bytes());
}

impl Init {
    const fn write(&self, out: &mut Writer<'_>) {
        out.raw(&[0, 0, 0, 0, FORMAT]);
        out.text(self.name);
        out.text(self.symbol);
        out.text(self.file);
        out.number(self.line as u128);
        out.number(self.after.len() as u128);
        let mut at = 0;
        while at < self.after.len() {
            out.text(self.after[at]);
            at += 1;
        }
    }

    /// It, as one of a plugin that is linked in.
    ///
    /// # Safety
    /// The function may be called with any call that is valid.
    pub const unsafe fn linked(self, function: *const ()) -> Linked {
        // SAFETY: the caller says that it is one.
        let function = unsafe { std::mem::transmute::<*const (), InitFunction>(function) };
        Linked { item: LinkedItem::Init(self, function) }
    }

    /// How many bytes the description takes.
    pub const fn size(&self) -> usize {
        let mut out = Writer::counting();
        self.write(&mut out);
        out.length
    }

    /// The note.
    pub const fn note<const N: usize>(&self) -> Note<N> {
        let mut desc = [0; N];
        self.write(&mut Writer::over(&mut desc));
        put_checksum(&mut desc);
        Note::new(note_type::INIT, desc)
    }
}

/// Between the lines that a build script adds to an identity: a build script can hand over one line only.
pub const SEPARATOR: u8 = 0x1f;
