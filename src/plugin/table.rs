//! The items of one plugin by name: read from its file before any of it is mapped, then only asked.

use crate::addr::{Bias, RunAddr, VmAddr};
use crate::error::ErrorKind;
use crate::room;
use sideload_plugin::abi::{Described, Description, ExportRow};
use std::ops::Range;

/// One exported item, which is at an `At`: an address of the file, or one of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<At> {
    pub(crate) fingerprint: u128,
    pub(crate) at: At,
    hash: u32,
    name: Piece,
    of: Piece,
    pub(crate) is_function: bool,
}

/// A range of what the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    start: u32,
    size: u32,
}

impl Piece {
    fn of(range: Range<usize>) -> Result<Piece, ErrorKind> {
        let (start, size) = (u32::try_from(range.start), u32::try_from(range.len()));
        let (Ok(start), Ok(size)) = (start, size) else {
            return Err(ErrorKind::Malformed { what: "plugin row: names or types of more than 4 GiB", place: None });
        };
        Ok(Piece { start, size })
    }

    #[inline]
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.size as usize
    }
}

/// Open addressing over at most half-full slots: a hit takes one probe, mostly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table<At> {
    entries: Vec<Entry<At>>,
    /// Index in `entries` plus one, or 0: a power of two of them.
    slots: Vec<u32>,
    /// The names, one behind the other.
    names: String,
    /// The descriptions of the types.
    descriptions: Vec<u8>,
    /// The entries that came last, by the lower bits of their fingerprints: one of the same type has the same description.
    recent: [u32; RECENT],
    /// Whether all of them may pass between compilers.
    is_stable: bool,
    /// The largest alignment of a static.
    align: u64,
}

impl<At> Default for Table<At> {
    fn default() -> Table<At> {
        let (entries, slots, names, descriptions) = (Vec::new(), vec![0; 2], String::new(), Vec::new());
        Table { entries, slots, names, descriptions, recent: [0; RECENT], is_stable: true, align: 1 }
    }
}

const RECENT: usize = 16;

/// What names that somebody chose with care could make of a search.
const LONGEST_SEARCH: usize = 1000;

impl<At> Table<At> {
    /// An empty one with room for `count`.
    pub(crate) fn with_room(count: usize) -> Result<Table<At>, ErrorKind> {
        let size = count.saturating_mul(2).checked_next_power_of_two().unwrap_or(usize::MAX).max(2);
        let (mut table, slots) = (Table::default(), room::filled(0, size)?);
        room::reserve(&mut table.entries, count)?;
        table.slots = slots;
        Ok(table)
    }

    /// Adds an item.
    pub(crate) fn add(&mut self, row: &ExportRow<'_>, at: At) -> Result<(), ErrorKind> {
        let malformed = |what| ErrorKind::Malformed { what, place: None };
        if (self.entries.len() + 1) * 2 > self.slots.len() {
            self.grow()?;
        }
        let hash = hash(row.name.as_bytes());
        let slot = self.slots_of(hash).take(LONGEST_SEARCH).find(|&slot| match self.entry(slot) {
            Some(entry) => entry.hash == hash && self.name(entry) == row.name,
            None => true,
        });
        let alike = || malformed("plugin row: names that were made for being hard to tell apart");
        let slot = slot.ok_or_else(alike)?;
        if self.slots[slot] != 0 {
            return Err(malformed("plugin row: one name is exported twice"));
        }
        let (fingerprint, is_function) = (row.fingerprint, row.is_function);
        let recent = fingerprint as usize % RECENT;
        let of = match self.entries.get(self.recent[recent] as usize) {
            Some(entry) if entry.fingerprint == fingerprint => entry.of,
            _ => {
                let start = self.descriptions.len();
                room::extend(&mut self.descriptions, row.of.as_bytes())?;
                Piece::of(start..self.descriptions.len())?
            }
        };
        self.recent[recent] = self.entries.len() as u32;
        let start = self.names.len();
        room::push_str(&mut self.names, row.name)?;
        let name = Piece::of(start..self.names.len())?;
        self.is_stable &= row.of.is_stable();
        if !is_function {
            self.align = self.align.max(row.of.layout().1);
        }
        room::push(&mut self.entries, Entry { fingerprint, at, hash, name, of, is_function })?;
        self.slots[slot] = self.entries.len() as u32;
        Ok(())
    }

    fn grow(&mut self) -> Result<(), ErrorKind> {
        self.slots = room::filled(0, self.slots.len() * 2)?;
        for at in 0..self.entries.len() {
            let free = self.slots_of(self.entries[at].hash).find(|&slot| self.slots[slot] == 0);
            if let Some(slot) = free {
                self.slots[slot] = at as u32 + 1;
            }
        }
        Ok(())
    }

    /// Where an item of that hash may be, one slot after the other.
    #[inline]
    fn slots_of(&self, hash: u32) -> impl Iterator<Item = usize> + use<At> {
        let mask = self.slots.len() - 1;
        (0..self.slots.len()).map(move |step| (hash as usize).wrapping_add(step) & mask)
    }

    #[inline]
    fn entry(&self, slot: usize) -> Option<&Entry<At>> {
        self.entries.get((self.slots[slot] as usize).wrapping_sub(1))
    }

    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Entry<At>> {
        let hash = hash(name);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            // At least half of the slots are empty, so this ends.
            let entry = self.entry(slot)?;
            if entry.hash == hash && self.names.as_bytes().get(entry.name.range()) == Some(name) {
                return Some(entry);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// In the order of the file.
    pub(crate) fn entries(&self) -> &[Entry<At>] {
        &self.entries
    }

    /// In the order of their names: sorted for who asks, not at each open.
    pub(crate) fn by_name(&self) -> Vec<&Entry<At>> {
        let mut entries: Vec<&Entry<At>> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|entry| self.name(entry));
        entries
    }

    pub(crate) fn name(&self, entry: &Entry<At>) -> &str {
        self.names.get(entry.name.range()).unwrap_or_default()
    }

    pub(crate) fn type_of(&self, entry: &Entry<At>) -> Described {
        let description = self.descriptions.get(entry.of.range()).and_then(Description::new);
        description.expect("invariant: what a table holds was read from a description").read()
    }

    /// Whether everything may pass between compilers.
    pub(crate) fn is_stable(&self) -> bool {
        self.is_stable
    }
}

impl Table<VmAddr> {
    /// The same where the image is mapped with that bias.
    pub(crate) fn mapped(self, bias: Bias) -> Result<Table<RunAddr>, ErrorKind> {
        let Table { entries, slots, names, descriptions, recent, is_stable, align } = self;
        // Of the address in the file it was checked.
        if !bias.0.is_multiple_of(align) {
            let what = "plugin row: a static of an alignment that its image does not have";
            return Err(ErrorKind::Malformed { what, place: None });
        }
        let mapped = |Entry { fingerprint, at, hash, name, of, is_function }| Entry {
            fingerprint,
            at: at + bias,
            hash,
            name,
            of,
            is_function,
        };
        let entries = entries.into_iter().map(mapped).collect();
        Ok(Table { entries, slots, names, descriptions, recent, is_stable, align })
    }
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Eight bytes at a time; with a name that is a constant, it is one as well.
#[inline]
fn hash(name: &[u8]) -> u32 {
    let (words, rest) = name.as_chunks::<8>();
    let mut hash = name.len() as u64;
    for word in words {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
    }
    let tail = rest.iter().fold(0, |tail, &byte| tail << 8 | u64::from(byte));
    hash = (hash.rotate_left(23) ^ tail).wrapping_mul(FACTOR);
    // The product's high bits depend on all of the name, its low bits do not.
    (hash ^ (hash >> 32)) as u32
}

/// The names that are most like `name`, the most similar first.
pub(crate) fn nearest<At>(name: &str, table: &Table<At>) -> Vec<String> {
    let limit = (name.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = table
        .entries()
        .iter()
        .map(|entry| table.name(entry))
        .map(|other| (distance(&name.to_lowercase(), &other.to_lowercase()), other))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort();
    near.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// How many letters have to be changed, added or removed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, b) in other.iter().enumerate() {
            let cost = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = cost.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideload_plugin::abi::parse_signature;

    fn row(name: &str) -> ExportRow<'_> {
        let of = Description::of(&parse_signature("fn()").unwrap());
        ExportRow { is_function: true, name, symbol: name.as_bytes(), fingerprint: 1, of }
    }

    fn table(names: &[String]) -> Table<VmAddr> {
        let mut table = Table::default();
        for (at, name) in (1..).zip(names) {
            table.add(&row(name), VmAddr(at)).unwrap();
        }
        table
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<String> = (0..500).map(|at| format!("{}_{at}", "x".repeat(at % 20))).collect();
        let table = table(&names).mapped(Bias(0x1000)).unwrap();
        for (at, name) in (1..).zip(&names) {
            let found = table.find(name.as_bytes()).unwrap();
            assert_eq!((found.at, table.name(found)), (RunAddr(0x1000 + at), name.as_str()));
            assert_eq!(table.type_of(found).to_string(), "extern \"C\" fn()");
            assert!(table.find(format!("{name}!").as_bytes()).is_none());
        }
        assert!(table.find(b"").is_none());
        assert!(self::table(&[]).find(b"a").is_none());
    }

    #[test]
    fn a_name_is_there_once() {
        let mut table = table(&["a".into(), "b".into()]);
        let error = table.add(&row("a"), VmAddr(9)).unwrap_err();
        assert!(error.to_string().contains("exported twice"), "{error}");
    }

    /// Texts of sixteen letters, the second half chosen so that the hash is the same.
    fn of_one_hash() -> impl Iterator<Item = String> {
        let names = (0u32..).filter_map(|at| {
            // Low bytes first: they reach all bits.
            let one: String = format!("{at:08}").chars().rev().collect();
            let word = u64::from_le_bytes(*one.as_bytes().first_chunk()?);
            let before = (16u64.rotate_left(23) ^ word).wrapping_mul(FACTOR);
            let other = before.rotate_left(23) ^ u64::from_le_bytes(*b"together");
            Some(one + std::str::from_utf8(&other.to_le_bytes()).ok()?)
        });
        names.filter(|name| name.is_ascii())
    }

    #[test]
    fn names_that_are_hard_to_tell_apart_end_in_an_error() {
        let first = of_one_hash().next().unwrap();
        let mut table: Table<VmAddr> = Table::default();
        let mut added = of_one_hash().map(|name| {
            assert_eq!(hash(name.as_bytes()), hash(first.as_bytes()));
            table.add(&row(&name), VmAddr(1))
        });
        let error = added.by_ref().take(2 * LONGEST_SEARCH).find_map(Result::err).unwrap();
        assert!(error.to_string().contains("hard to tell apart"), "{error}");
    }

    #[test]
    fn statics_are_aligned_where_they_are_mapped() {
        let of = Description::of(&Described { size: 0, align: 1 << 16, ..parse_signature("fn()").unwrap() });
        let wide = ExportRow { is_function: false, of, ..row("wide") };
        let table = |row: &ExportRow<'_>| {
            let mut table = Table::default();
            table.add(row, VmAddr(1 << 16)).unwrap();
            table
        };
        assert!(table(&wide).mapped(Bias(3 << 16)).is_ok());
        assert!(table(&wide).mapped(Bias(0x1000)).is_err());
        assert!(table(&ExportRow { is_function: true, ..wide }).mapped(Bias(0x1000)).is_ok());
    }

    #[test]
    fn similar_names_are_proposed() {
        let names = ["greet", "greeting", "Great", "close", "größe"].map(str::to_owned);
        let table = table(&names);
        let cases: &[(&str, &[&str])] =
            &[("gret", &["Great", "greet"]), ("GREET", &["greet", "Great"]), ("grösse", &["größe"]), ("open", &[])];
        for (name, expected) in cases {
            assert_eq!(nearest(name, &table), *expected, "{name}");
        }
    }
}
