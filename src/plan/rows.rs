//! What a plugin states of itself: notes, and rows with symbols, which point to more.

use super::{Fixup, FixupKind, LoadPlan, Tables, Visitor};
use crate::addr::{FileOffset, FileRange, VmAddr, VmRange};
use crate::elf;
use crate::error::ErrorKind;
use crate::room;
use sideload_plugin::abi::{ITEM_PREFIX, NOTE_NAME, item_size};
use std::cell::Cell;

/// The rows of a plugin's items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemRows {
    /// Where they are, ascending.
    rows: Vec<VmAddr>,
    /// What pointers will point to once they are relocated, ascending by where they are.
    targets: Vec<(VmAddr, VmAddr)>,
}

impl ItemRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Where each of them is, ascending, and the pointers from there to the next one: where they are, ascending, and what
    /// they point to.
    pub fn iter(&self) -> impl Iterator<Item = (VmAddr, &[(VmAddr, VmAddr)])> {
        let mut targets = &self.targets[..];
        let ends = self.rows.iter().skip(1).copied().chain([VmAddr(u64::MAX)]);
        self.rows.iter().zip(ends).map(move |(&row, end)| {
            let begin = targets.iter().take_while(|(place, _)| *place < row).count();
            let size = targets[begin..].iter().take_while(|(place, _)| *place < end).count();
            let (pointers, rest) = targets[begin..].split_at(size);
            targets = rest;
            (row, pointers)
        })
    }
}

/// What a plan's file has at addresses of the image. Neighbours are mostly asked for one after the other, so the region
/// that was looked up last is at hand.
#[derive(Debug)]
pub struct Contents<'p, 'a> {
    plan: &'p LoadPlan,
    bytes: &'a [u8],
    last: Cell<(VmAddr, &'a [u8])>,
}

impl<'p, 'a> Contents<'p, 'a> {
    /// Those of the file that `plan` was made from.
    pub fn new(plan: &'p LoadPlan, bytes: &'a [u8]) -> Contents<'p, 'a> {
        Contents { plan, bytes, last: Cell::new((VmAddr(0), &[])) }
    }

    /// The bytes that the file has for `at`, and all that follow in its region.
    #[inline]
    pub fn from(&self, at: VmAddr) -> Option<&'a [u8]> {
        let (start, bytes) = self.last.get();
        let in_last = at.0.checked_sub(start.0).and_then(|skipped| bytes.get(usize::try_from(skipped).ok()?..));
        in_last.filter(|rest| !rest.is_empty()).or_else(|| {
            let region = self.plan.region(at, 1)?;
            let (start, size) = (usize::try_from(region.file.start.0).ok()?, usize::try_from(region.file.size).ok()?);
            self.last.set((region.vm.start, self.bytes.get(start..start.checked_add(size)?)?));
            let (start, bytes) = self.last.get();
            bytes.get(usize::try_from(at.0 - start.0).ok()?..).filter(|rest| !rest.is_empty())
        })
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
        self.symbols(bytes)?.beginning_with(ITEM_PREFIX.as_bytes(), |row| {
            if room.is_ok() {
                room = room::push(&mut rows, row);
            }
        })?;
        room?;
        rows.sort_unstable();
        let (Some(&start), Some(&last)) = (rows.first(), rows.last()) else { return Ok(ItemRows::default()) };
        let size = Contents::new(self, bytes).from(last).map_or(0, |row| item_size(row) as u64);
        let range = VmRange { start, size: size.saturating_add(last.0 - start.0) };
        let mut pointers = Pointers { range, targets: Vec::new() };
        self.visit(bytes, &mut pointers)?;
        let Pointers { mut targets, .. } = pointers;
        // Most linkers sort them.
        targets.sort_by_key(|(place, _)| *place);
        Ok(ItemRows { rows, targets })
    }
}

/// Takes the pointers that rows have to their own image.
struct Pointers {
    /// From the first row to the end of the last one.
    range: VmRange,
    targets: Vec<(VmAddr, VmAddr)>,
}

impl Visitor<ErrorKind> for Pointers {
    #[inline]
    fn wants(&self, place: VmAddr) -> bool {
        place.0.wrapping_sub(self.range.start.0) < self.range.size
    }

    #[inline]
    fn fixup(&mut self, fixup: Fixup) -> Result<(), ErrorKind> {
        match fixup.kind {
            FixupKind::Rebase { target } if self.wants(fixup.place) => {
                room::push(&mut self.targets, (fixup.place, target))
            }
            _ => Ok(()),
        }
    }
}
