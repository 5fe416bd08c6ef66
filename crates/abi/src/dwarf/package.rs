//! Packages of units that were split off (`.dwp`): the contents of many `.dwo` files in one, with an index that says which
//! part of each section is whose.

use super::source::{Damage, File, Slice, Split};
use crate::debug_file;
use crate::error::Error;
use gimli::{Dwarf, DwarfPackage, DwarfPackageSections, EndianSlice, Reader, RunTimeEndian, Section};
use std::borrow::Cow;
use std::path::Path;

/// The sections of a package.
pub(super) type Sections<'a> = DwarfPackageSections<Cow<'a, [u8]>>;

/// Why its sections cannot be had.
enum Refused {
    File(Error),
    Dwarf(gimli::Error),
}

impl From<gimli::Error> for Refused {
    fn from(error: gimli::Error) -> Refused {
        Refused::Dwarf(error)
    }
}

pub(super) fn sections<'a>(path: &Path, bytes: &'a [u8]) -> Result<Sections<'a>, Error> {
    let elf = debug_file::parse(path, bytes)?;
    let sections = DwarfPackageSections::load(|id| match id.dwo_name() {
        Some(name) => debug_file::section(path, &elf, name).map_err(Refused::File),
        None => Ok(Cow::Borrowed(&[][..])),
    });
    sections.map_err(|refused| match refused {
        Refused::File(error) => error,
        Refused::Dwarf(error) => Error::damaged(path, format!("debug information: {error}")),
    })
}

/// The parts that units of `main` were split off to, with the types that have a unit of their own; and the splits that the
/// package does not have.
pub(super) fn split_off<'d>(
    sections: &'d Sections<'_>,
    endian: RunTimeEndian,
    main: &File<'d>,
    splits: Vec<Split>,
) -> Result<(Vec<File<'d>>, Vec<Split>), Damage> {
    let borrow = |bytes: &'d Cow<'_, [u8]>| EndianSlice::new(bytes, endian);
    let package: DwarfPackage<Slice<'d>> = sections.borrow(borrow, EndianSlice::new(&[], endian))?;
    let mut left = package.debug_info.reader().len() + package.debug_types.reader().len();
    // Parts that overlap would be read again and again, and an index can have as many rows as it likes for nothing.
    let mut take = |part: Dwarf<Slice<'d>>| -> Result<_, Damage> {
        let size = part.debug_info.reader().len() + part.debug_types.reader().len();
        left = left.checked_sub(size.max(1)).ok_or(Damage::Endless)?;
        Ok(part)
    };
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for split in splits {
        let part = package.find_cu(split.id, &main.dwarf)?.map(&mut take).transpose()?;
        match part.map(|part| File::split_off(part, main, &split)).transpose()?.flatten() {
            Some(file) => files.push(file),
            None => others.push(split),
        }
    }
    for row in 1..=package.tu_index.unit_count() {
        files.push(File::new(take(package.tu_sections(row, &main.dwarf)?)?)?);
    }
    Ok((files, others))
}
