//! The rows of a plugin, as notes: read from the file before any of it is mapped, so they hold neither an address nor
//! anything that would have to be relocated. Where an item is, the symbol table says.
//!
//! ```text
//! note     = name_size:u32 desc_size:u32 type:u32 "sideload\0" padding desc padding     (gABI, "Note Section")
//! desc     = checksum:u32 format:u8 body           checksum: of all that follows it, or 0 for none
//! identity = { key:text value:text }
//! export   = kind:u8 name:text symbol:text fingerprint:[u8; 16] description
//! init     = name:text symbol:text file:text line:number after:list of text
//! ```

use super::build::Identity;
use super::types::{Type, Writer, sum_of};

/// The name of the notes.
pub const NOTE_NAME: &[u8; 9] = b"sideload\0";

/// The format of their descriptions that this version writes and reads.
pub const FORMAT: u8 = 1;

/// The types of the notes.
pub mod note_type {
    /// Who it is, and how it was built.
    pub const IDENTITY: u32 = 1;
    /// One exported item.
    pub const EXPORT: u32 = 2;
    /// One function that is run once after the constructors.
    pub const INIT: u32 = 3;
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

/// One exported item.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// What it is.
    pub kind: ExportKind,
    /// The name it is looked up by.
    pub name: &'static str,
    /// The name of its symbol.
    pub symbol: &'static str,
    /// Its type.
    pub of: &'static Type,
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

/// A note of `N` bytes, header and padding included.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(4))]
pub struct Note<const N: usize>(pub [u8; N]);

const NAME_SIZE: usize = NOTE_NAME.len().next_multiple_of(4);
const HEADER: usize = 12 + NAME_SIZE;

/// The checksum of a description, whose first four bytes it is; 0 is taken for "none" and never returned.
pub const fn checksum(bytes: &[u8]) -> u32 {
    sum_of(bytes)
}

/// Something that is written into the description of a note.
#[derive(Clone, Copy)]
enum Body<'a> {
    Identity(&'a Identity),
    Export(&'a Export),
    Init(&'a Init),
}

impl Body<'_> {
    const fn write(&self, out: &mut Writer<'_>) {
        out.byte(FORMAT);
        match self {
            Body::Identity(identity) => {
                out.raw(identity.own);
                out.raw(identity.shared);
                if let Some(lines) = identity.extra {
                    extra_rows(out, lines.as_bytes());
                }
            }
            Body::Export(export) => {
                out.byte(export.kind as u8);
                out.text(export.name);
                out.text(export.symbol);
                let at = out.length;
                out.raw(&[0; 16]);
                out.begin_hash();
                out.put(export.of);
                out.put_hash(at);
            }
            Body::Init(init) => {
                out.text(init.name);
                out.text(init.symbol);
                out.text(init.file);
                out.number(init.line as u128);
                out.number(init.after.len() as u128);
                let mut at = 0;
                while at < init.after.len() {
                    out.text(init.after[at]);
                    at += 1;
                }
            }
        }
    }

    const fn draft(&self, kind: u32) -> Draft {
        let mut bytes = [0; DRAFT];
        let mut out = Writer::over(&mut bytes);
        self.write(&mut out);
        Draft { size: 4 + out.length, kind, bytes }
    }

    /// From a draft, which is all of it unless it is very long.
    const fn note<const N: usize>(&self, draft: &Draft) -> Note<N> {
        let mut bytes = [0; N];
        let (head, desc) = bytes.split_at_mut(HEADER);
        store(head, 0, NOTE_NAME.len() as u32);
        store(head, 4, draft.size as u32);
        store(head, 8, draft.kind);
        let (_, name) = head.split_at_mut(12);
        let (name, _) = name.split_at_mut(NOTE_NAME.len());
        name.copy_from_slice(NOTE_NAME);
        let (sum, body) = desc.split_at_mut(4);
        let (body, _) = body.split_at_mut(draft.size - 4);
        match draft.bytes.split_at_checked(body.len()) {
            Some((draft, _)) => body.copy_from_slice(draft),
            None => self.write(&mut Writer::over(body)),
        }
        store(sum, 0, checksum(body));
        Note(bytes)
    }
}

/// Most notes are shorter.
const DRAFT: usize = 2048;

/// A note before its size is a part of its type: so that it is written once, and not counted first.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    size: usize,
    kind: u32,
    bytes: [u8; DRAFT],
}

impl Draft {
    /// How many bytes the note takes.
    pub const fn size(&self) -> usize {
        HEADER + self.size.next_multiple_of(4)
    }
}

const fn store(bytes: &mut [u8], at: usize, value: u32) {
    let (_, place) = bytes.split_at_mut(at);
    let (place, _) = place.split_at_mut(4);
    place.copy_from_slice(&value.to_le_bytes());
}

/// Between the lines that a build script adds to an [`Identity`]: a build script can hand over one line only.
pub const SEPARATOR: u8 = 0x1f;

/// Lines `key=value`.
const fn extra_rows(out: &mut Writer<'_>, mut rest: &[u8]) {
    while !rest.is_empty() {
        let line = until(rest, SEPARATOR);
        let (text, after) = rest.split_at(line);
        let key = until(text, b'=');
        if key < text.len() {
            let (key, value) = text.split_at(key);
            let (_, value) = value.split_at(1);
            out.number(key.len() as u128);
            out.raw(key);
            out.number(value.len() as u128);
            out.raw(value);
        }
        rest = if after.is_empty() { after } else { after.split_at(1).1 };
    }
}

const fn until(bytes: &[u8], end: u8) -> usize {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != end {
        at += 1;
    }
    at
}

macro_rules! notes {
    ($($type:ty => $body:path, $kind:expr;)*) => {$(
        impl $type {
            /// Its note, of a size that is to be told.
            pub const fn draft(&self) -> Draft {
                $body(self).draft($kind)
            }

            /// The note.
            pub const fn note<const N: usize>(&self, draft: &Draft) -> Note<N> {
                $body(self).note(draft)
            }
        }
    )*};
}
notes! {
    Identity => Body::Identity, note_type::IDENTITY;
    Export => Body::Export, note_type::EXPORT;
    Init => Body::Init, note_type::INIT;
}
