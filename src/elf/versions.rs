//! Symbol versions: what a file defines (`DT_VERDEF`), what it needs (`DT_VERNEED`).
//!
//! Source: the LSB's "Symbol Versioning".

use super::limits;
use crate::bytes::Bytes;
use crate::error::ErrorKind;
use crate::room;
use crate::symbol::Version;

const VERSION_INDEX: u16 = 0x7fff;
/// Room for so many rows is made at once.
const ROWS: usize = 16;

/// The versions of one file, by the index that `DT_VERSYM` uses.
#[derive(Clone, Debug, Default)]
pub struct Versions<'a> {
    strings: Bytes<'a>,
    rows: Vec<Row>,
    verneed: Option<(Bytes<'a>, u64)>,
    any_defined: bool,
}

/// One version, its names still unread: most are never asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    pub(super) hash: u32,
    name: u32,
    /// Of a needed one.
    file: u32,
    sort: Sort,
}

/// A version to look for. Its name is read only where a hash agrees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<'a> {
    hash: u32,
    name: Text<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Text<'a> {
    Known(&'a [u8]),
    /// Still unread, at this place of a string table.
    At(Bytes<'a>, u32),
}

impl<'a> Sought<'a> {
    pub(super) fn new(name: &'a [u8], hash: u32) -> Sought<'a> {
        Sought { hash, name: Text::Known(name) }
    }

    /// Its name, if it can be read.
    pub(super) fn name(&self) -> Option<&'a [u8]> {
        match self.name {
            Text::Known(name) => Some(name),
            Text::At(strings, at) => strings.c_str(u64::from(at)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Absent,
    Defined,
    Needed,
}

/// A version that a file needs, from `DT_VERNEED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeededVersion<'a> {
    /// The version, and the file to define it.
    pub version: Version<'a>,
    /// Whether the file works without it (`VER_FLG_WEAK`).
    pub weak: bool,
}

impl<'a> Versions<'a> {
    pub(super) fn read(
        strings: Bytes<'a>,
        verdef: Option<(&'a [u8], u64)>,
        verneed: Option<(&'a [u8], u64)>,
    ) -> Result<Versions<'a>, ErrorKind> {
        let verneed = verneed.map(|(bytes, count)| (Bytes(bytes), count));
        let mut versions = Versions { strings, rows: Vec::new(), verneed, any_defined: verdef.is_some() };
        if let Some((bytes, count)) = verdef {
            versions.read_defined(Bytes(bytes), count)?;
        }
        if let Some((bytes, count)) = verneed {
            let row = |entry: Needed| Row { hash: entry.hash, name: entry.name, file: entry.file, sort: Sort::Needed };
            let set = |entry: Needed| versions.set(entry.index, row(entry));
            each_needed(strings, bytes, count, set)?;
        }
        Ok(versions)
    }

    /// `Verdef` { version u16, flags u16, ndx u16, cnt u16, hash u32, aux u32, next u32 }, `Verdaux` { name u32, … }.
    fn read_defined(&mut self, bytes: Bytes<'a>, count: u64) -> Result<(), ErrorKind> {
        let mut at = 0u64;
        // Offsets only grow, so the loop ends with the table, whatever the count.
        for round in 0..count {
            let entry = || {
                let index = bytes.u16(at + 4)? & VERSION_INDEX;
                let (hash, aux, next) = (bytes.u32(at + 8)?, bytes.u32(at + 12)?, bytes.u32(at + 16)?);
                let name = bytes.u32(at + u64::from(aux))?;
                Some((index, Row { hash, name, file: 0, sort: Sort::Defined }, next))
            };
            let (index, row, next) =
                entry().filter(|_| round < limits::VERSIONS).ok_or_else(|| malformed("DT_VERDEF"))?;
            self.set(index, row)?;
            if next == 0 {
                break;
            }
            at += u64::from(next);
        }
        Ok(())
    }

    #[inline]
    fn set(&mut self, index: u16, row: Row) -> Result<(), ErrorKind> {
        let index = usize::from(index);
        if index == self.rows.len() && index < self.rows.capacity() {
            self.rows.push(row); // as most come, one by one
            return Ok(());
        }
        self.place(index, row)
    }

    fn place(&mut self, index: usize, row: Row) -> Result<(), ErrorKind> {
        // At most 2^15 rows, whatever the file says; most files have about a dozen.
        if index >= self.rows.len() {
            let more = index + 1 - self.rows.len();
            room::reserve(&mut self.rows, more.max(ROWS))?;
            self.rows.resize(index + 1, Row::default());
        }
        self.rows[index] = row;
        Ok(())
    }

    #[inline]
    pub(super) fn row(&self, index: u16) -> Option<&Row> {
        self.rows.get(usize::from(index)).filter(|row| row.sort != Sort::Absent)
    }

    /// Whether a row is the version wanted.
    #[inline]
    pub(super) fn is(&self, row: &Row, wanted: &Sought<'_>) -> bool {
        row.hash == wanted.hash
            && match wanted.name {
                Text::Known(name) => self.strings.c_str_is(u64::from(row.name), name),
                // The table's own import, as often as not.
                Text::At(strings, at) if std::ptr::eq(strings.0, self.strings.0) && at == row.name => true,
                Text::At(..) => wanted.name().is_some_and(|name| self.strings.c_str_is(u64::from(row.name), name)),
            }
    }

    /// A row as something to look for, in this file's tables or in others'.
    #[inline]
    pub(super) fn sought(&self, row: &Row) -> Sought<'a> {
        Sought { hash: row.hash, name: Text::At(self.strings, row.name) }
    }

    /// The name of a row.
    #[inline]
    pub(super) fn name(&self, row: &Row) -> Option<&'a [u8]> {
        self.strings.c_str_within(u64::from(row.name), limits::VERSION_NAME)
    }

    /// The file that a needed version should come from.
    pub(super) fn file(&self, row: &Row) -> Option<&'a [u8]> {
        let name = || self.strings.c_str_within(u64::from(row.file), limits::VERSION_NAME);
        (row.sort == Sort::Needed).then(name).flatten()
    }

    /// Whether the file defines any versions; one that does not satisfies every request for a version.
    pub fn any_defined(&self) -> bool {
        self.any_defined
    }

    /// Whether the file defines this version.
    pub fn defines(&self, wanted: &Version<'_>) -> bool {
        let sought = Sought::new(wanted.name, wanted.hash);
        self.rows.iter().any(|row| row.sort == Sort::Defined && self.is(row, &sought))
    }

    /// The versions that the file needs from others, in file order; those whose names cannot be read are left out.
    pub fn needed(&self) -> Vec<NeededVersion<'a>> {
        let mut needed = Vec::new();
        let Some((bytes, count)) = self.verneed else { return needed };
        let text = |at: u32| self.strings.c_str_within(u64::from(at), limits::VERSION_NAME);
        // That it can be walked was seen when it was read.
        let _ = each_needed(self.strings, bytes, count, |entry| {
            let names = text(entry.name).zip(text(entry.file));
            let Some((name, file)) = names else { return Ok(()) };
            let version = Version { name, hash: entry.hash, file: Some(file) };
            room::push(&mut needed, NeededVersion { version, weak: entry.weak })
        });
        needed
    }
}

/// One `Vernaux`, with the file of its `Verneed`.
struct Needed {
    index: u16,
    hash: u32,
    name: u32,
    file: u32,
    weak: bool,
}

/// `Verneed` { version u16, cnt u16, file u32, aux u32, next u32 },
/// `Vernaux` { hash u32, flags u16, other u16, name u32, next u32 }.
fn each_needed(
    strings: Bytes<'_>,
    bytes: Bytes<'_>,
    count: u64,
    mut each: impl FnMut(Needed) -> Result<(), ErrorKind>,
) -> Result<(), ErrorKind> {
    const VER_FLG_WEAK: u16 = 2;
    let (mut at, mut seen) = (0u64, 0u64);
    for round in 0..count {
        let head = || Some((bytes.u16(at + 2)?, bytes.u32(at + 4)?, bytes.u32(at + 8)?, bytes.u32(at + 12)?));
        let (entries, file, aux, next) =
            head().filter(|_| round < limits::VERSIONS).ok_or_else(|| malformed("DT_VERNEED"))?;
        // One a needed file: cheap, where a look at each version's name is not.
        strings.c_str_within(u64::from(file), limits::VERSION_NAME).ok_or_else(|| malformed("DT_VERNEED"))?;
        let mut entry = at + u64::from(aux);
        for _ in 0..entries {
            let words = || Some((bytes.u32(entry)?, bytes.u16(entry + 4)?, bytes.u16(entry + 6)?));
            let rest = || Some((bytes.u32(entry + 8)?, bytes.u32(entry + 12)?));
            let read = words().zip(rest()).filter(|_| seen < limits::VERSIONS);
            let ((hash, flags, other), (name, step)) = read.ok_or_else(|| malformed("DT_VERNEED"))?;
            let (index, weak) = (other & VERSION_INDEX, flags & VER_FLG_WEAK != 0);
            each(Needed { index, hash, name, file, weak })?;
            seen += 1;
            if step == 0 {
                break;
            }
            entry += u64::from(step);
        }
        if next == 0 {
            break;
        }
        at += u64::from(next);
    }
    Ok(())
}

fn malformed(what: &'static str) -> ErrorKind {
    ErrorKind::Malformed { what, place: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of the records is a `Verneed` with 65,535 versions, and a version of all before it: walked to the end they
    /// would be visited billions of times, and listed as often.
    #[test]
    fn versions_that_overlap_are_refused() {
        let record: Vec<u8> = [0xffff_0001u32, 1, 16, 16].iter().flat_map(|word| word.to_le_bytes()).collect();
        let table = record.repeat(1 << 16);
        let read = Versions::read(Bytes(b"\0name\0"), None, Some((&table, u64::MAX)));
        assert!(matches!(read, Err(ErrorKind::Malformed { what: "DT_VERNEED", .. })), "{read:?}");
        let record: Vec<u8> = [1u32, 2, 0, 8, 16].iter().flat_map(|word| word.to_le_bytes()).collect();
        let table = [&record.repeat(1 << 16)[..], &[0; 16]].concat();
        let read = Versions::read(Bytes(b"\0name\0"), Some((&table, u64::MAX)), None);
        assert!(matches!(read, Err(ErrorKind::Malformed { what: "DT_VERDEF", .. })), "{read:?}");
    }
}
