//! Symbol versions: what a file defines (`DT_VERDEF`), what it needs (`DT_VERNEED`).
//!
//! Source: the LSB's "Symbol Versioning".

use crate::bytes::Bytes;
use crate::error::ErrorKind;
use crate::symbol::Version;

const VERSION_INDEX: u16 = 0x7fff;

/// The versions of one file, by the index that `DT_VERSYM` uses.
#[derive(Clone, Debug, Default)]
pub struct Versions<'a> {
    /// Those without a file are defined here.
    rows: Vec<Option<Version<'a>>>,
    needed: Vec<NeededVersion<'a>>,
    any_defined: bool,
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
        let malformed = |what| ErrorKind::Malformed { what, place: None };
        let mut versions = Versions { any_defined: verdef.is_some(), ..Versions::default() };
        if let Some((bytes, count)) = verdef {
            versions.read_defined(strings, Bytes(bytes), count).ok_or(malformed("DT_VERDEF"))?;
        }
        if let Some((bytes, count)) = verneed {
            versions.read_needed(strings, Bytes(bytes), count).ok_or(malformed("DT_VERNEED"))?;
        }
        Ok(versions)
    }

    /// `Verdef` { version u16, flags u16, ndx u16, cnt u16, hash u32, aux u32, next u32 }, `Verdaux` { name u32, … }.
    fn read_defined(&mut self, strings: Bytes<'a>, bytes: Bytes<'a>, count: u64) -> Option<()> {
        let mut at = 0u64;
        // Offsets only grow, so the loop ends with the table, whatever the count.
        for _ in 0..count {
            let index = bytes.u16(at + 4)? & VERSION_INDEX;
            let (hash, aux, next) = (bytes.u32(at + 8)?, bytes.u32(at + 12)?, bytes.u32(at + 16)?);
            let name = strings.c_str(u64::from(bytes.u32(at + u64::from(aux))?))?;
            self.set(index, Version { name, hash, file: None });
            if next == 0 {
                break;
            }
            at += u64::from(next);
        }
        Some(())
    }

    /// `Verneed` { version u16, cnt u16, file u32, aux u32, next u32 },
    /// `Vernaux` { hash u32, flags u16, other u16, name u32, next u32 }.
    fn read_needed(&mut self, strings: Bytes<'a>, bytes: Bytes<'a>, count: u64) -> Option<()> {
        const VER_FLG_WEAK: u16 = 2;
        let mut at = 0u64;
        for _ in 0..count {
            let (entries, file) = (bytes.u16(at + 2)?, strings.c_str(u64::from(bytes.u32(at + 4)?))?);
            let (aux, next) = (bytes.u32(at + 8)?, bytes.u32(at + 12)?);
            let mut entry = at + u64::from(aux);
            for _ in 0..entries {
                let (hash, flags, other) = (bytes.u32(entry)?, bytes.u16(entry + 4)?, bytes.u16(entry + 6)?);
                let (name, step) = (strings.c_str(u64::from(bytes.u32(entry + 8)?))?, bytes.u32(entry + 12)?);
                let version = Version { name, hash, file: Some(file) };
                self.set(other & VERSION_INDEX, version);
                self.needed.push(NeededVersion { version, weak: flags & VER_FLG_WEAK != 0 });
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
        Some(())
    }

    fn set(&mut self, index: u16, version: Version<'a>) {
        let index = usize::from(index);
        if index >= self.rows.len() {
            // At most 2^15 rows, whatever the file says.
            self.rows.resize(index + 1, None);
        }
        self.rows[index] = Some(version);
    }

    #[inline]
    pub(super) fn row(&self, index: u16) -> Option<&Version<'a>> {
        self.rows.get(usize::from(index))?.as_ref()
    }

    /// Whether the file defines any versions; one that does not satisfies every request for a version.
    pub fn any_defined(&self) -> bool {
        self.any_defined
    }

    /// Whether the file defines this version.
    pub fn defines(&self, wanted: &Version<'_>) -> bool {
        let same = |row: &Version<'_>| row.file.is_none() && row.hash == wanted.hash && row.name == wanted.name;
        self.rows.iter().flatten().any(same)
    }

    /// The versions that the file needs from others, in file order.
    pub fn needed(&self) -> &[NeededVersion<'a>] {
        &self.needed
    }
}
