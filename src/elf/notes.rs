//! Notes: the build id, and the rows of plugins (gABI chapter 5, "Note Section").

use crate::addr::{FileOffset, FileRange};
use crate::bytes::Bytes;

const NT_GNU_BUILD_ID: u32 = 3;

/// One note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Whose it is, with its NUL.
    pub name: &'a [u8],
    /// What it says, by the numbering of whose it is.
    pub kind: u32,
    /// Its description.
    pub desc: &'a [u8],
    /// Where the file holds the note.
    pub at: FileOffset,
}

/// The notes in `range` of the file; what is cut off at its end is left out.
pub fn notes(file: &[u8], range: FileRange) -> impl Iterator<Item = Note<'_>> {
    let bytes = Bytes(Bytes(file).slice(range.start.0, range.size).unwrap_or_default());
    let mut at = 0u64;
    std::iter::from_fn(move || {
        let (name_size, desc_size) = (u64::from(bytes.u32(at)?), u64::from(bytes.u32(at + 4)?));
        let kind = bytes.u32(at + 8)?;
        let name = bytes.slice(at + 12, name_size)?;
        // Names and descriptions are padded to 4 bytes, also in 64-bit files.
        let desc_at = (at + 12 + name_size).next_multiple_of(4);
        let note = Note { name, kind, desc: bytes.slice(desc_at, desc_size)?, at: FileOffset(range.start.0 + at) };
        at = (desc_at + desc_size).next_multiple_of(4);
        Some(note)
    })
}

/// The description of the first `NT_GNU_BUILD_ID` note in `range` of the file.
pub fn build_id(file: &[u8], range: FileRange) -> Option<&[u8]> {
    notes(file, range).find(|note| note.kind == NT_GNU_BUILD_ID && note.name == b"GNU\0").map(|note| note.desc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_id_behind_another_note() {
        let mut notes = vec![4, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, b'G', b'N', b'U', 0, 9, 9, 9, 9, 9, 0, 0, 0];
        notes.extend([4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, 0xab, 0xcd]);
        let range = FileRange::new(0, notes.len() as u64).unwrap();
        assert_eq!(build_id(&notes, range), Some(&[0xab, 0xcd][..]));
        let cut = FileRange::new(0, notes.len() as u64 - 1).unwrap();
        assert_eq!(build_id(&notes, cut), None);
    }
}
