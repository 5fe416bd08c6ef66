//! What a plugin states of itself: notes, and rows with symbols, which point to more.

use super::{Fixup, FixupKind, LoadPlan, Tables};
use crate::addr::{FileOffset, FileRange, VmAddr};
use crate::elf;
use crate::error::ErrorKind;
use crate::room;
use sideload_plugin::abi::{ITEM_PREFIX, NOTE_NAME, item_size};

/// The rows of a plugin's items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemRows {
    /// Where they are, ascending.
    rows: Vec<VmAddr>,
    /// What pointers will point to once they are relocated, ascending by where they are.
    targets: Vec<(VmAddr, VmAddr)>,
}

impl ItemRows {
    /// Where each of them is, ascending.
    pub fn rows(&self) -> &[VmAddr] {
        &self.rows
    }

    /// The pointers from `at` on, ascending, and what they point to.
    pub fn pointers_from(&self, at: VmAddr) -> &[(VmAddr, VmAddr)] {
        &self.targets[self.targets.partition_point(|(place, _)| *place < at)..]
    }
}

impl LoadPlan {
    /// Calls `each` with every note that a plugin states of itself: its type, its content, and where the file holds it.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn plugin_notes<'a, E>(
        &self,
        bytes: &'a [u8],
        mut each: impl FnMut(u32, &'a [u8], FileOffset) -> Result<(), E>,
    ) -> Result<(), E> {
        let section = match &self.tables {
            Tables::Elf(_) => None,
            Tables::MachO(tables) => tables.notes.and_then(|range| {
                let start = FileOffset(self.file_offset(range.start, range.size)?);
                Some(FileRange { start, size: range.size })
            }),
        };
        let ranges = match &self.tables {
            Tables::Elf(tables) => &tables.notes[..],
            Tables::MachO(_) => section.as_slice(),
        };
        let notes = ranges.iter().flat_map(|&range| elf::notes::notes(bytes, range));
        let mut rows = notes.filter(|note| note.name == NOTE_NAME);
        rows.try_for_each(|note| each(note.kind, note.desc, note.at))
    }

    /// Finds the rows of a plugin's items by their symbols, and what they point to by the image's relocations.
    ///
    /// # Errors
    /// As [`LoadPlan::symbols`] and [`LoadPlan::fixups`].
    pub fn item_rows(&self, bytes: &[u8]) -> Result<ItemRows, ErrorKind> {
        let (mut rows, mut room) = (Vec::new(), Ok(()));
        self.symbols(bytes)?.exports(|export| {
            if room.is_ok() && export.name.starts_with(ITEM_PREFIX.as_bytes()) {
                room = room::push(&mut rows, export.vm);
            }
        })?;
        room?;
        rows.sort_unstable();
        let mut targets = Vec::new();
        if let (Some(&first), Some(&last)) = (rows.first(), rows.last()) {
            let size = self.bytes_from(bytes, last).map_or(0, |row| item_size(row) as u64);
            let size = size.saturating_add(last.0 - first.0);
            self.fixups(bytes, |Fixup { place, kind }| {
                if let FixupKind::Rebase { target } = kind
                    && place.0.checked_sub(first.0).is_some_and(|at| at < size)
                {
                    return room::push(&mut targets, (place, target));
                }
                Ok(())
            })?;
        }
        // Most linkers sort them.
        targets.sort_by_key(|(place, _)| *place);
        Ok(ItemRows { rows, targets })
    }

    /// The bytes that the file has for `at`, and all that follow in its region.
    pub fn bytes_from<'a>(&self, bytes: &'a [u8], at: VmAddr) -> Option<&'a [u8]> {
        let left = self.region(at, 1)?.file_backed().end().0.checked_sub(at.0)?;
        let start = usize::try_from(self.file_offset(at, left)?).ok()?;
        bytes.get(start..start.checked_add(usize::try_from(left).ok()?)?)
    }
}
