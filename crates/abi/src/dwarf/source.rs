//! The entries of DWARF, across units and across the file that `dwz` moved common parts into.

use super::MAX_PARTS;
use super::package;
use crate::debug_file::{self, DebugFile};
use crate::error::Error;
use crate::exports::Wanted;
use gimli::{
    AbbreviationsCacheStrategy, AttributeValue, DW_AT_abstract_origin, DW_AT_entry_pc, DW_AT_language,
    DW_AT_linkage_name, DW_AT_location, DW_AT_low_pc, DW_AT_name, DW_AT_signature, DW_AT_specification,
    DebugInfoOffset, Dwarf, DwarfSections, DwoId, EndianSlice, Operation, RunTimeEndian, Section, SectionId, Unit,
    UnitOffset, UnitType, constants as dw,
};
use object::Object;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

pub(super) type Slice<'d> = EndianSlice<'d, RunTimeEndian>;
pub(super) type Die<'d> = gimli::DebuggingInformationEntry<Slice<'d>>;
type Value<'d> = AttributeValue<Slice<'d>>;

/// An entry may complete another one, which completes another one.
const MAX_ORIGINS: usize = 16;

/// What is wrong with the input.
#[derive(Debug)]
pub(super) enum Damage {
    Dwarf(gimli::Error),
    /// Entries that overlap, or refer to each other without an end.
    Endless,
}

impl From<gimli::Error> for Damage {
    fn from(error: gimli::Error) -> Damage {
        Damage::Dwarf(error)
    }
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    file: usize,
    unit: usize,
    at: UnitOffset,
}

pub(super) struct File<'d> {
    pub(super) dwarf: Dwarf<Slice<'d>>,
    units: Vec<Unit<Slice<'d>>>,
    /// Where units of `.debug_info` begin, in order, and which they are.
    starts: Vec<(usize, usize)>,
}

pub(super) struct Source<'d> {
    /// The file itself, the one that it shares parts with, and those that its units were split off to.
    files: Vec<File<'d>>,
    /// Which of them is the one that it shares parts with.
    supplement: Option<usize>,
    /// Types with a unit of their own.
    signatures: HashMap<u64, Place>,
    steps: Cell<u64>,
}

/// Reads with the file's sections at hand, and those of the files that units were split off to (`-gsplit-dwarf`); `read`
/// also gets those that are missing.
pub(super) fn with<T>(
    file: &DebugFile<'_>,
    read: impl FnOnce(&Source<'_>, Vec<PathBuf>) -> Result<T, Damage>,
) -> Result<T, Error> {
    let blame = |damage| blame_for(&file.path, damage);
    let (main, endian) = sections(&file.path, &file.bytes, Names::Whole)?;
    let shared = match &file.supplement {
        Some((path, bytes)) => Some(sections(path, bytes, Names::Whole)?.0),
        None => None,
    };
    let borrow = |bytes| EndianSlice::new(bytes, endian);
    let dwarf = main.borrow_with_sup(shared.as_ref(), |section| borrow(&**section));
    let shared = shared.as_ref().map(|sections| sections.borrow(|section| borrow(&**section)));
    let main = File::new(dwarf).map_err(blame)?;
    let package = debug_file::find_package(&file.path)?;
    let package_sections = match &package {
        Some((path, bytes)) => Some((path, package::sections(path, bytes)?)),
        None => None,
    };
    let splits = main.splits().map_err(blame)?;
    let (mut files, others) = match &package_sections {
        Some((path, sections)) if !splits.is_empty() => {
            package::split_off(sections, endian, &main, splits).map_err(|damage| blame_for(path, damage))?
        }
        _ => (Vec::new(), splits),
    };
    let (mut read_splits, mut missing) = (Vec::new(), Vec::new());
    for split in others {
        match debug_file::find_split(&file.path, &split.folder, &split.name)? {
            Ok((path, bytes)) => read_splits.push((split, path, bytes)),
            Err(path) => missing.push(path),
        }
    }
    let mut splits = Vec::new();
    for (split, path, bytes) in &read_splits {
        splits.push((split, path, sections(path, bytes, Names::Split)?.0));
    }
    for (split, path, sections) in &splits {
        let mut dwarf = sections.borrow(|section| borrow(&**section));
        dwarf.make_dwo(&main.dwarf);
        match File::split_off(dwarf, &main, split).map_err(blame)? {
            Some(file) => files.push(file),
            None => missing.push((*path).clone()),
        }
    }
    let supplement = shared.map(File::new).transpose().map_err(blame)?;
    Source::new(main, supplement, files).and_then(|source| read(&source, missing)).map_err(blame)
}

fn blame_for(path: &Path, damage: Damage) -> Error {
    match damage {
        Damage::Dwarf(error) => Error::damaged(path, format!("debug information: {error}")),
        Damage::Endless => Error::damaged(path, "debug information: entries that overlap, or without an end"),
    }
}

/// What sections are called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// `.debug_info`
    Whole,
    /// `.debug_info.dwo`
    Split,
}

/// A unit of which all but the addresses is in another file.
pub(super) struct Split {
    unit: usize,
    pub(super) id: DwoId,
    /// Where it was compiled, and the name relative to that.
    folder: PathBuf,
    name: PathBuf,
}

type Sections<'a> = DwarfSections<Cow<'a, [u8]>>;

fn sections<'a>(path: &Path, bytes: &'a [u8], names: Names) -> Result<(Sections<'a>, RunTimeEndian), Error> {
    let elf = debug_file::parse(path, bytes)?;
    let name = |id: SectionId| if names == Names::Split { id.dwo_name() } else { Some(id.name()) };
    let sections = DwarfSections::load(|id| match name(id) {
        Some(name) => debug_file::section(path, &elf, name),
        None => Ok(Cow::Borrowed(&[][..])),
    })?;
    let endian = if elf.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    Ok((sections, endian))
}

impl<'d> File<'d> {
    pub(super) fn new(mut dwarf: Dwarf<Slice<'d>>) -> Result<File<'d>, Damage> {
        // Units that share their abbreviations read them once.
        dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
        let (mut units, mut starts) = (Vec::new(), Vec::new());
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            if let Some(start) = header.debug_info_offset() {
                starts.push((start.0, units.len()));
            }
            units.push(dwarf.unit(header)?);
        }
        let mut headers = dwarf.type_units();
        while let Some(header) = headers.next()? {
            units.push(dwarf.unit(header)?);
        }
        Ok(File { dwarf, units, starts })
    }

    /// The units that are in other files.
    fn splits(&self) -> Result<Vec<Split>, Damage> {
        let mut splits = Vec::new();
        for (at, unit) in self.units.iter().enumerate() {
            if let (Some(name), Some(id)) = (unit.dwo_name()?, unit.dwo_id) {
                let name = self.dwarf.attr_string(unit, name)?;
                let path = |text: Slice<'d>| PathBuf::from(text.to_string_lossy().into_owned());
                let folder = unit.comp_dir.map(path).unwrap_or_default();
                splits.push(Split { unit: at, id, folder, name: path(name) });
            }
        }
        Ok(splits)
    }

    /// The file that a unit of `main` was split off to; `None` if it is that of another build.
    pub(super) fn split_off(
        dwarf: Dwarf<Slice<'d>>,
        main: &File<'d>,
        split: &Split,
    ) -> Result<Option<File<'d>>, Damage> {
        let mut file = File::new(dwarf)?;
        let mut is_it = false;
        for unit in file.units.iter_mut().filter(|unit| unit.dwo_id == Some(split.id)) {
            unit.copy_relocated_attributes(&main.units[split.unit]);
            is_it = true;
        }
        Ok(is_it.then_some(file))
    }
}

impl<'d> Source<'d> {
    fn new(main: File<'d>, shared: Option<File<'d>>, splits: Vec<File<'d>>) -> Result<Source<'d>, Damage> {
        let supplement = shared.is_some().then_some(1);
        let files: Vec<File<'d>> = std::iter::once(main).chain(shared).chain(splits).collect();
        let size: usize = files.iter().map(|file| file.dwarf.debug_info.reader().slice().len()).sum();
        // An entry takes a byte at least, and is visited for itself, for its parent and for what completes it.
        let steps = Cell::new((size as u64).saturating_mul(8).saturating_add(1 << 16));
        let mut signatures = HashMap::new();
        for (file, units) in files.iter().enumerate() {
            for (at, unit) in units.units.iter().enumerate() {
                if let UnitType::Type { type_signature, type_offset }
                | UnitType::SplitType { type_signature, type_offset } = unit.header.type_()
                {
                    signatures.insert(type_signature.0, Place { file, unit: at, at: type_offset });
                }
            }
        }
        Ok(Source { files, supplement, signatures, steps })
    }

    fn step(&self) -> Result<(), Damage> {
        let left = self.steps.get().checked_sub(1).ok_or(Damage::Endless)?;
        self.steps.set(left);
        Ok(())
    }

    fn unit(&self, place: Place) -> (&Dwarf<Slice<'d>>, &Unit<Slice<'d>>) {
        let file = &self.files[place.file];
        (&file.dwarf, &file.units[place.unit])
    }

    pub(super) fn entry(&self, place: Place) -> Result<Die<'d>, Damage> {
        self.step()?;
        Ok(self.unit(place).1.entry(place.at)?)
    }

    /// The entries right below one.
    pub(super) fn children(&self, place: Place) -> Result<Vec<(Place, Die<'d>)>, Damage> {
        let mut cursor = self.unit(place).1.entries_at_offset(place.at)?;
        let mut children = Vec::new();
        let Some(parent) = cursor.next_dfs()? else { return Ok(children) };
        let depth = parent.depth();
        while let Some(die) = cursor.next_dfs()? {
            self.step()?;
            if die.depth() <= depth {
                break;
            }
            if die.depth() == depth + 1 {
                children.push((Place { at: die.offset(), ..place }, die.clone()));
            }
            if children.len() > MAX_PARTS {
                return Err(Damage::Endless);
            }
        }
        Ok(children)
    }

    pub(super) fn name(&self, place: Place, die: &Die<'d>) -> Result<Option<String>, Damage> {
        let Some((from, value)) = self.inherited(place, die, DW_AT_name)? else { return Ok(None) };
        let (dwarf, unit) = self.unit(from);
        Ok(Some(dwarf.attr_string(unit, value)?.to_string_lossy().into_owned()))
    }

    /// The entry that an attribute of the one at `from` refers to.
    pub(super) fn refers(&self, from: Place, value: Value<'d>) -> Option<Place> {
        match value {
            AttributeValue::UnitRef(at) => Some(Place { at, ..from }),
            AttributeValue::DebugInfoRef(offset) => self.place_in(from.file, offset),
            AttributeValue::DebugInfoRefSup(offset) => self.place_in(self.supplement?, offset),
            AttributeValue::DebugTypesRef(signature) => self.signatures.get(&signature.0).copied(),
            _ => None,
        }
    }

    fn place_in(&self, file: usize, offset: DebugInfoOffset) -> Option<Place> {
        let units = self.files.get(file)?;
        let next = units.starts.partition_point(|(start, _)| *start <= offset.0);
        let (_, unit) = *units.starts.get(next.checked_sub(1)?)?;
        let at = offset.to_unit_offset(&units.units.get(unit)?.header)?;
        Some(Place { file, unit, at })
    }

    /// The entry that has all of a type which this one only declares.
    pub(super) fn completed(&self, place: Place) -> Result<Place, Damage> {
        let signature = self.entry(place)?.attr_value(DW_AT_signature);
        Ok(signature.and_then(|value| self.refers(place, value)).unwrap_or(place))
    }

    /// The entry that this one is a copy of.
    pub(super) fn origin(&self, place: Place, die: Die<'d>) -> Result<(Place, Die<'d>), Damage> {
        let (mut place, mut die) = (place, die);
        for _ in 0..MAX_ORIGINS {
            let origin = die.attr_value(DW_AT_abstract_origin);
            let Some(origin) = origin.and_then(|value| self.refers(place, value)) else { return Ok((place, die)) };
            (place, die) = (origin, self.entry(origin)?);
        }
        Err(Damage::Endless)
    }

    /// An attribute of the entry, or else of the one that it completes; and whose it is.
    pub(super) fn inherited(
        &self,
        place: Place,
        die: &Die<'d>,
        name: gimli::DwAt,
    ) -> Result<Option<(Place, Value<'d>)>, Damage> {
        if let Some(value) = die.attr_value(name) {
            return Ok(Some((place, value)));
        }
        let (mut place, mut whole) = (place, None::<Die<'d>>);
        for _ in 0..MAX_ORIGINS {
            let die = whole.as_ref().unwrap_or(die);
            let link = die.attr_value(DW_AT_abstract_origin).or_else(|| die.attr_value(DW_AT_specification));
            let Some(next) = link.and_then(|value| self.refers(place, value)) else { return Ok(None) };
            let next_die = self.entry(next)?;
            if let Some(value) = next_die.attr_value(name) {
                return Ok(Some((next, value)));
            }
            (place, whole) = (next, Some(next_die));
        }
        Err(Damage::Endless)
    }

    /// Whether the entry is of a unit in C, where functions may lack prototypes.
    pub(super) fn is_c(&self, place: Place) -> bool {
        let root =
            self.unit(place).1.entries().next_dfs().ok().flatten().and_then(|die| die.attr_value(DW_AT_language));
        matches!(
            root,
            Some(AttributeValue::Language(dw::DW_LANG_C | dw::DW_LANG_C89 | dw::DW_LANG_C99 | dw::DW_LANG_C11))
        )
    }

    /// A constant, or an expression that adds one (DWARF 2).
    pub(super) fn member_location(
        &self,
        place: Place,
        die: &Die<'d>,
        name: gimli::DwAt,
    ) -> Result<Option<u64>, Damage> {
        match die.attr_value(name) {
            Some(AttributeValue::Exprloc(expression)) => {
                let mut operations = expression.operations(self.unit(place).1.encoding());
                Ok(match operations.next()? {
                    Some(Operation::PlusConstant { value }) => Some(value),
                    _ => None,
                })
            }
            Some(value) => Ok(value.udata_value()),
            None => Ok(None),
        }
    }

    /// The entries of what is wanted, by name.
    pub(super) fn find<'w>(&self, wanted: &'w [Wanted]) -> Result<HashMap<&'w str, Place>, Damage> {
        let addresses: BTreeSet<u64> = wanted.iter().map(|wanted| wanted.vm).collect();
        let only_functions = wanted.iter().all(|wanted| wanted.is_function);
        let mut found: HashMap<(u64, bool), Vec<Place>> = HashMap::new();
        let described = (0..self.files.len()).filter(|file| Some(*file) != self.supplement);
        let units = described.flat_map(|file| (0..self.files[file].units.len()).map(move |unit| (file, unit)));
        for (file, number) in units {
            let place = Place { file, unit: number, at: UnitOffset(0) };
            let (dwarf, unit) = self.unit(place);
            if only_functions && !self.may_hold(dwarf, unit, &addresses)? {
                continue;
            }
            let mut entries = unit.entries();
            while let Some(die) = entries.next_dfs()? {
                self.step()?;
                let (address, is_function) = match die.tag() {
                    dw::DW_TAG_subprogram => (entry_address(dwarf, unit, die)?, true),
                    dw::DW_TAG_variable => (variable_address(dwarf, unit, die)?, false),
                    _ => continue,
                };
                if let Some(address) = address.filter(|address| addresses.contains(address)) {
                    found.entry((address, is_function)).or_default().push(Place { at: die.offset(), ..place });
                }
            }
        }
        let mut chosen = HashMap::new();
        for wanted in wanted {
            let places = found.get(&(wanted.vm, wanted.is_function));
            if let Some(place) = places.map(|places| self.named(places, &wanted.name)).transpose()?.flatten() {
                chosen.insert(wanted.name.as_str(), place);
            }
        }
        Ok(chosen)
    }

    /// Of functions that share an address, as a linker that merges equal code leaves them: the one of that name.
    fn named(&self, places: &[Place], name: &str) -> Result<Option<Place>, Damage> {
        for &place in places {
            let die = self.entry(place)?;
            let linkage = match self.inherited(place, &die, DW_AT_linkage_name)? {
                Some((from, value)) => {
                    let (dwarf, unit) = self.unit(from);
                    Some(dwarf.attr_string(unit, value)?.to_string_lossy().into_owned())
                }
                None => None,
            };
            if linkage.as_deref() == Some(name) || self.name(place, &die)?.as_deref() == Some(name) {
                return Ok(Some(place));
            }
        }
        Ok(places.first().copied())
    }

    /// Whether one of the addresses lies in the unit, as far as it says where its code is.
    fn may_hold(
        &self,
        dwarf: &Dwarf<Slice<'d>>,
        unit: &Unit<Slice<'d>>,
        addresses: &BTreeSet<u64>,
    ) -> Result<bool, Damage> {
        let mut ranges = dwarf.unit_ranges(unit)?;
        let mut has_ranges = false;
        while let Some(range) = ranges.next()? {
            self.step()?;
            has_ranges = true;
            if range.begin < range.end && addresses.range(range.begin..range.end).next().is_some() {
                return Ok(true);
            }
        }
        Ok(!has_ranges)
    }
}

fn entry_address<'d>(dwarf: &Dwarf<Slice<'d>>, unit: &Unit<Slice<'d>>, die: &Die<'d>) -> Result<Option<u64>, Damage> {
    for name in [DW_AT_low_pc, DW_AT_entry_pc] {
        if let Some(value) = die.attr_value(name)
            && let Some(address) = dwarf.attr_address(unit, value)?
        {
            return Ok(Some(address));
        }
    }
    // Of a function in several parts, the first one has the entry.
    let mut ranges = dwarf.die_ranges(unit, die)?;
    Ok(ranges.next()?.map(|range| range.begin))
}

fn variable_address<'d>(
    dwarf: &Dwarf<Slice<'d>>,
    unit: &Unit<Slice<'d>>,
    die: &Die<'d>,
) -> Result<Option<u64>, Damage> {
    let Some(AttributeValue::Exprloc(expression)) = die.attr_value(DW_AT_location) else { return Ok(None) };
    let mut operations = expression.operations(unit.encoding());
    let address = match operations.next()? {
        Some(Operation::Address { address }) => address,
        Some(Operation::AddressIndex { index }) => dwarf.address(unit, index)?,
        _ => return Ok(None),
    };
    // A thread-local has its offset here.
    Ok(operations.next()?.is_none().then_some(address))
}
