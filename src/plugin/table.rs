//! The items of one plugin by name: built once when it is opened, then only read.

use crate::addr::RunAddr;
use crate::error::{ErrorKind, Place};
use crate::plan::Query;
use crate::registry::Member;
use crate::symbol::SymbolKind;
use sideload_plugin::abi::{Description, ExportRow};

/// One exported item.
#[derive(Debug)]
pub(crate) struct Entry {
    hash: u64,
    pub(crate) fingerprint: u128,
    pub(crate) address: RunAddr,
    pub(crate) is_function: bool,
    pub(crate) name: Box<str>,
    pub(crate) of: Description,
}

/// Open addressing over at most half-full slots: a hit takes one probe, mostly.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Box<[Entry]>,
    /// Index in `entries` plus one, or 0.
    slots: Box<[u32]>,
}

impl Table {
    pub(crate) fn new(entries: Vec<Entry>) -> Table {
        let size = (entries.len() * 2).next_power_of_two().max(2);
        let mut slots = vec![0u32; size].into_boxed_slice();
        for (at, entry) in (1..).zip(&entries) {
            let mut slot = entry.hash as usize & (size - 1);
            while slots[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            slots[slot] = at;
        }
        Table { entries: entries.into_boxed_slice(), slots }
    }

    /// Finds where the image has each item.
    pub(crate) fn of(rows: Vec<ExportRow>, image: &Member) -> Result<Table, ErrorKind> {
        let entries = rows.into_iter().map(|row| Entry::of(row, image)).collect::<Result<_, _>>()?;
        Ok(Table::new(entries))
    }

    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Entry> {
        let hash = hash(name);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            // At least half of the slots are empty, so this ends.
            let entry = self.entries.get((self.slots[slot] as usize).wrapping_sub(1))?;
            if entry.hash == hash && entry.name.as_bytes() == name {
                return Some(entry);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// In the order of the file.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// In the order of their names: sorted for who asks, not at each open.
    pub(crate) fn by_name(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries
    }
}

impl Entry {
    pub(crate) fn new(row: ExportRow, address: RunAddr) -> Entry {
        Entry {
            hash: hash(row.name.as_bytes()),
            fingerprint: row.fingerprint,
            address,
            is_function: row.is_function,
            name: row.name.into(),
            of: row.of,
        }
    }

    /// A row is only the file's word: the symbol has to be there, of that kind, and inside the image.
    fn of(row: ExportRow, image: &Member) -> Result<Entry, ErrorKind> {
        let wrong = |what| ErrorKind::Malformed { what, place: None };
        let missing = wrong("plugin row: an export whose symbol is not in the symbol table");
        let found = image.find(&Query::by_name(row.symbol.as_bytes())).ok_or(missing)?;
        let address = found.vm + image.bias();
        let fits = match (image, row.is_function, found.kind) {
            (Member::Ours(instance), true, SymbolKind::Code) => instance.executes(address),
            (Member::Ours(instance), false, SymbolKind::Data) => {
                let (size, align) = row.of.layout();
                let region = instance.module.plan.region(found.vm, size);
                region.is_some_and(|region| region.prot.read) && address.0.is_multiple_of(align.max(1))
            }
            _ => false,
        };
        if !fits {
            let place = Some(Place::Vm(found.vm));
            return Err(ErrorKind::Malformed { what: "plugin row: an export that is not what its symbol says", place });
        }
        Ok(Entry::new(row, address))
    }
}

/// Eight bytes at a time; with a name that is a constant, it is one as well.
#[inline]
fn hash(name: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_chunks::<8>();
    let mut hash = name.len() as u64;
    for word in words {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
    }
    let tail = rest.iter().fold(0, |tail, &byte| tail << 8 | u64::from(byte));
    hash = (hash.rotate_left(23) ^ tail).wrapping_mul(FACTOR);
    // The product's high bits depend on all of the name, its low bits do not.
    hash ^ (hash >> 32)
}

/// The names that are most like `name`, the most similar first.
pub(crate) fn nearest(name: &str, names: &[Entry]) -> Vec<String> {
    let limit = (name.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .map(|entry| (distance(&name.to_lowercase(), &entry.name.to_lowercase()), &*entry.name))
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

    fn table(names: &[String]) -> Table {
        let of = Description::of(&parse_signature("fn()").unwrap());
        let row = |name: &String| ExportRow {
            is_function: true,
            name: name.clone(),
            symbol: name.clone(),
            fingerprint: 1,
            of: of.clone(),
        };
        Table::new((1..).zip(names).map(|(at, name)| Entry::new(row(name), RunAddr(at))).collect())
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<String> = (0..500).map(|at| format!("{}_{at}", "x".repeat(at % 20))).collect();
        let table = table(&names);
        for (at, name) in (1..).zip(&names) {
            assert_eq!(table.find(name.as_bytes()).map(|entry| entry.address), Some(RunAddr(at)), "{name}");
            assert!(table.find(format!("{name}!").as_bytes()).is_none());
        }
        assert!(table.find(b"").is_none());
        assert!(self::table(&[]).find(b"a").is_none());
    }

    #[test]
    fn similar_names_are_proposed() {
        let names = ["greet", "greeting", "Great", "close", "größe"].map(str::to_owned);
        let table = table(&names);
        let cases: &[(&str, &[&str])] =
            &[("gret", &["Great", "greet"]), ("GREET", &["greet", "Great"]), ("grösse", &["größe"]), ("open", &[])];
        for (name, expected) in cases {
            assert_eq!(nearest(name, table.entries()), *expected, "{name}");
        }
    }
}
