//! `PT_DYNAMIC` in one pass: first its entries as numbers, then the tables that they lead to.

use super::Header;
use super::limits;
use super::segments::Layout;
use crate::addr::{FileRange, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};
use crate::plan::{Entries, EntryArray, EntryForm, Filtee, Flags, Need, NeedKind};
use crate::room;
use goblin::elf64::dynamic as dt;

// Tags and flags of the gABI and of Solaris and GNU that goblin does not name.
const DT_RELRSZ: u64 = 35;
const DT_RELR: u64 = 36;
const DT_RELRENT: u64 = 37;
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;
const DF_SYMBOLIC: u64 = 0x2;
const DF_TEXTREL: u64 = 0x4;
const DF_STATIC_TLS: u64 = 0x10;
const DF_1_NODELETE: u64 = 0x8;
const DF_1_INITFIRST: u64 = 0x20;
const DF_1_NOOPEN: u64 = 0x40;
const DF_1_INTERPOSE: u64 = 0x400;
const DF_1_NODEFLIB: u64 = 0x800;
const DF_1_PIE: u64 = 0x0800_0000;

/// A table: where the file holds it, and at which address the image has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// In the file. A table whose length no entry states reaches to the end of its segment.
    pub file: FileRange,
    /// In the image.
    pub vm: VmAddr,
}

impl Extent {
    /// The table's bytes in the file.
    pub fn of<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        Bytes(file).slice(self.file.start.0, self.file.size).unwrap_or_default()
    }

    /// The addresses that it covers.
    pub fn vm_range(&self) -> VmRange {
        VmRange { start: self.vm, size: self.file.size }
    }
}

/// Where ELF keeps relocations, symbols, hashes and versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// `PT_DYNAMIC`: what all of this was read from.
    pub dynamic: Extent,
    /// `DT_SYMTAB`
    pub symbols: Extent,
    /// `DT_STRTAB`
    pub strings: Extent,
    /// `DT_GNU_HASH`
    pub gnu_hash: Option<Extent>,
    /// `DT_HASH`
    pub sysv_hash: Option<Extent>,
    /// `DT_VERSYM`
    pub versym: Option<Extent>,
    /// `DT_VERNEED`, and how many entries
    pub verneed: Option<(Extent, u64)>,
    /// `DT_VERDEF`, and how many entries
    pub verdef: Option<(Extent, u64)>,
    /// `DT_RELR`
    pub relr: Extent,
    /// `DT_REL`
    pub rel: Extent,
    /// `DT_RELA`
    pub rela: Extent,
    /// `DT_RELACOUNT`: how many of `rela` are `RELATIVE` and stand in front; a hint, each is looked at all the same.
    pub relative_count: u64,
    /// `DT_JMPREL`, whose entries have the form that `DT_PLTREL` says
    pub plt: Extent,
    /// Whether `plt` holds addends.
    pub plt_has_addends: bool,
    /// `PT_NOTE`s
    pub notes: Vec<FileRange>,
}

/// The entries that glibc turns into run-time addresses where they are (`elf/get-dynamic-info.h`): these, no others.
const REBASED_IN_PLACE: [u64; 9] = [
    dt::DT_HASH,
    dt::DT_PLTGOT,
    dt::DT_STRTAB,
    dt::DT_SYMTAB,
    dt::DT_RELA,
    dt::DT_REL,
    dt::DT_JMPREL,
    dt::DT_VERSYM,
    dt::DT_GNU_HASH,
];

impl Tables {
    /// The addresses in the dynamic section itself: each place, and what the file has there.
    pub(crate) fn addresses(&self, file: &[u8]) -> impl Iterator<Item = (VmAddr, VmAddr)> {
        let (entries, _) = self.dynamic.of(file).as_chunks::<16>();
        let entries = entries.iter().map(|entry| {
            let (words, _) = entry.as_chunks::<8>();
            (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]))
        });
        let places = (self.dynamic.vm.0 + 8..).step_by(16).map(VmAddr);
        let numbered = places.zip(entries).take_while(|&(_, (tag, _))| tag != dt::DT_NULL);
        numbered
            .filter(|(_, (tag, _))| REBASED_IN_PLACE.contains(tag))
            .map(|(place, (_, value))| (place, VmAddr(value)))
    }

    /// The string table's bytes in the file.
    pub fn strings_in<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        self.strings.of(file)
    }
}

/// The dynamic section's entries as numbers. Addresses are as the file states them.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    pub(crate) needed: Vec<u64>,
    pub(crate) soname: Option<u64>,
    pub(crate) rpath: Option<u64>,
    pub(crate) runpath: Option<u64>,
    pub(crate) symtab: Option<u64>,
    pub(crate) strtab: Option<u64>,
    pub(crate) strsz: Option<u64>,
    pub(crate) gnu_hash: Option<u64>,
    pub(crate) sysv_hash: Option<u64>,
    pub(crate) versym: Option<u64>,
    pub(crate) verneed: (Option<u64>, u64),
    pub(crate) verdef: (Option<u64>, u64),
    pub(crate) rela: (Option<u64>, u64),
    pub(crate) relacount: u64,
    pub(crate) rel: (Option<u64>, u64),
    pub(crate) relr: (Option<u64>, u64),
    pub(crate) jmprel: (Option<u64>, u64),
    pltrel: u64,
    init: Option<u64>,
    fini: Option<u64>,
    init_array: (Option<u64>, u64),
    fini_array: (Option<u64>, u64),
    flags: u64,
    flags_1: u64,
    textrel: bool,
    symbolic: bool,
    filters: Vec<(u64, bool)>,
    entry_sizes: [(u64, u64, &'static str); 4],
    /// The section itself.
    section: Extent,
    pub(crate) debug: Option<u64>,
}

impl Dynamic {
    /// Reads the entries up to `DT_NULL`.
    pub fn parse(bytes: &[u8]) -> Dynamic {
        let mut dynamic = Dynamic {
            entry_sizes: [(24, 24, "DT_RELAENT"), (16, 16, "DT_RELENT"), (8, 8, "DT_RELRENT"), (24, 24, "DT_SYMENT")],
            ..Dynamic::default()
        };
        let (entries, _) = bytes.as_chunks::<16>();
        for entry in entries {
            let pair = Bytes(entry);
            let (tag, value) = (pair.u64(0).unwrap_or(0), pair.u64(8).unwrap_or(0));
            if tag == dt::DT_NULL {
                break;
            }
            dynamic.set(tag, value);
        }
        dynamic
    }

    fn set(&mut self, tag: u64, value: u64) {
        match tag {
            // One more than may be is enough to tell.
            dt::DT_NEEDED if self.needed.len() <= limits::NEEDS => self.needed.push(value),
            dt::DT_SONAME => self.soname = Some(value),
            dt::DT_RPATH => self.rpath = Some(value),
            dt::DT_RUNPATH => self.runpath = Some(value),
            dt::DT_SYMTAB => self.symtab = Some(value),
            dt::DT_STRTAB => self.strtab = Some(value),
            dt::DT_STRSZ => self.strsz = Some(value),
            dt::DT_GNU_HASH => self.gnu_hash = Some(value),
            dt::DT_HASH => self.sysv_hash = Some(value),
            dt::DT_VERSYM => self.versym = Some(value),
            dt::DT_VERNEED => self.verneed.0 = Some(value),
            dt::DT_VERNEEDNUM => self.verneed.1 = value,
            dt::DT_VERDEF => self.verdef.0 = Some(value),
            dt::DT_VERDEFNUM => self.verdef.1 = value,
            dt::DT_RELA => self.rela.0 = Some(value),
            dt::DT_RELASZ => self.rela.1 = value,
            dt::DT_RELAENT => self.entry_sizes[0].0 = value,
            dt::DT_RELACOUNT => self.relacount = value,
            dt::DT_REL => self.rel.0 = Some(value),
            dt::DT_RELSZ => self.rel.1 = value,
            dt::DT_RELENT => self.entry_sizes[1].0 = value,
            DT_RELR => self.relr.0 = Some(value),
            DT_RELRSZ => self.relr.1 = value,
            DT_RELRENT => self.entry_sizes[2].0 = value,
            dt::DT_SYMENT => self.entry_sizes[3].0 = value,
            dt::DT_JMPREL => self.jmprel.0 = Some(value),
            dt::DT_PLTRELSZ => self.jmprel.1 = value,
            dt::DT_PLTREL => self.pltrel = value,
            _ => self.set_rest(tag, value),
        }
    }

    fn set_rest(&mut self, tag: u64, value: u64) {
        match tag {
            dt::DT_INIT => self.init = Some(value),
            dt::DT_FINI => self.fini = Some(value),
            dt::DT_INIT_ARRAY => self.init_array.0 = Some(value),
            dt::DT_INIT_ARRAYSZ => self.init_array.1 = value,
            dt::DT_FINI_ARRAY => self.fini_array.0 = Some(value),
            dt::DT_FINI_ARRAYSZ => self.fini_array.1 = value,
            dt::DT_FLAGS => self.flags = value,
            dt::DT_FLAGS_1 => self.flags_1 = value,
            dt::DT_TEXTREL => self.textrel = true,
            dt::DT_SYMBOLIC => self.symbolic = true,
            dt::DT_DEBUG => self.debug = Some(value),
            DT_FILTER | DT_AUXILIARY if self.filters.len() <= limits::NEEDS => {
                self.filters.push((value, tag == DT_FILTER));
            }
            _ => {}
        }
    }

    /// Reads the entries of a file.
    ///
    /// # Errors
    /// No `PT_DYNAMIC`: a static executable, or not meant to be loaded.
    pub fn from_file(header: &Header<'_>, layout: &Layout) -> Result<Dynamic, ErrorKind> {
        let missing = ErrorKind::Malformed { what: "program headers: no PT_DYNAMIC (linked statically?)", place: None };
        let vm = layout.dynamic.ok_or(missing)?;
        // By its address, not by `p_offset`: that is what the image itself and other loaders see.
        let outside = "PT_DYNAMIC: lies outside its segment, or beyond what the file holds of it";
        let section = cut(tail(layout, vm.start.0, outside)?, vm.size, outside)?;
        Ok(Dynamic { section, ..Dynamic::parse(section.of(header.bytes)) })
    }

    /// Refuses what no loader honours when asked to open an object by itself.
    pub(crate) fn refuse(&self) -> Result<(), ErrorKind> {
        if self.flags_1 & DF_1_PIE != 0 {
            return Err(ErrorKind::Refused { what: "DF_1_PIE: a position-independent executable" });
        }
        if self.flags_1 & DF_1_NOOPEN != 0 {
            return Err(ErrorKind::Refused { what: "DF_1_NOOPEN: the object asks not to be opened at run time" });
        }
        if self.needed.len() > limits::NEEDS || self.filters.len() > limits::NEEDS {
            return Err(ErrorKind::Malformed { what: "dynamic section: thousands of needs", place: None });
        }
        for &(found, expected, what) in &self.entry_sizes {
            if found != expected {
                return Err(ErrorKind::Malformed { what, place: None });
            }
        }
        Ok(())
    }

    pub(crate) fn flags(&self, executable_stack: bool) -> Flags {
        Flags {
            symbolic: self.symbolic || self.flags & DF_SYMBOLIC != 0,
            text_relocations: self.textrel || self.flags & DF_TEXTREL != 0,
            static_tls: self.flags & DF_STATIC_TLS != 0,
            no_delete: self.flags_1 & DF_1_NODELETE != 0,
            init_first: self.flags_1 & DF_1_INITFIRST != 0,
            interpose: self.flags_1 & DF_1_INTERPOSE != 0,
            no_default_folders: self.flags_1 & DF_1_NODEFLIB != 0,
            executable_stack,
            ..Flags::default()
        }
    }

    pub(crate) fn needs(&self, strings: &[u8]) -> Result<Vec<Need>, ErrorKind> {
        let mut left = limits::NEEDS_NAMES;
        let need =
            |&at: &u64| Ok(Need { name: counted(strings, at, &mut left, "DT_NEEDED")?, kind: NeedKind::Required });
        self.needed.iter().map(need).collect()
    }

    pub(crate) fn filters(&self, strings: &[u8]) -> Result<Vec<Filtee>, ErrorKind> {
        let mut left = limits::NEEDS_NAMES;
        let filtee = |&(at, required): &(u64, bool)| {
            let what = if required { "DT_FILTER" } else { "DT_AUXILIARY" };
            Ok(Filtee { name: counted(strings, at, &mut left, what)?, required })
        };
        self.filters.iter().map(filtee).collect()
    }

    pub(crate) fn init(&self, layout: &Layout) -> Result<Entries, ErrorKind> {
        entries(layout, self.init, self.init_array, "DT_INIT", "DT_INIT_ARRAY")
    }

    pub(crate) fn fini(&self, layout: &Layout) -> Result<Entries, ErrorKind> {
        entries(layout, self.fini, self.fini_array, "DT_FINI", "DT_FINI_ARRAY")
    }

    /// Follows the entries to the tables, each checked against its segment.
    pub(crate) fn tables(&self, layout: &Layout) -> Result<Tables, ErrorKind> {
        let open = |at: Option<u64>, what| at.map(|at| tail(layout, at, what)).transpose();
        let counted = |(at, count): (Option<u64>, u64), what| Ok(open(at, what)?.map(|extent| (extent, count)));
        let (rela, plt) = self.apart()?;
        let strings = open(self.strtab, "DT_STRTAB")?.unwrap_or_default();
        let tables = Tables {
            symbols: open(self.symtab, "DT_SYMTAB")?.unwrap_or_default(),
            strings: cut(strings, self.strsz.unwrap_or(0), "DT_STRSZ: the string table lies outside its segment")?,
            gnu_hash: open(self.gnu_hash, "DT_GNU_HASH")?,
            sysv_hash: open(self.sysv_hash, "DT_HASH")?,
            versym: open(self.versym, "DT_VERSYM")?,
            verneed: counted(self.verneed, "DT_VERNEED")?,
            verdef: counted(self.verdef, "DT_VERDEF")?,
            relr: sized(layout, self.relr, 8, "DT_RELR")?,
            rel: sized(layout, self.rel, 16, "DT_REL")?,
            rela: sized(layout, rela, 24, "DT_RELA")?,
            relative_count: self.relacount,
            plt: sized(layout, plt, if self.plt_has_addends() { 24 } else { 16 }, "DT_JMPREL")?,
            plt_has_addends: self.plt_has_addends(),
            dynamic: self.section,
            notes: layout.notes.clone(),
        };
        super::symbols::check(&tables)?;
        Ok(tables)
    }

    fn plt_has_addends(&self) -> bool {
        self.pltrel == dt::DT_RELA
    }

    /// `DT_RELASZ` of some linkers counts the `DT_JMPREL` entries that follow: take them out, or they apply twice.
    #[allow(clippy::type_complexity)] // two tables, each an address and a size
    fn apart(&self) -> Result<((Option<u64>, u64), (Option<u64>, u64)), ErrorKind> {
        if self.jmprel.1 > 0 && self.pltrel != dt::DT_RELA && self.pltrel != dt::DT_REL {
            return Err(ErrorKind::Malformed { what: "DT_PLTREL: neither DT_REL nor DT_RELA", place: None });
        }
        let mut rela = self.rela;
        if let ((Some(start), size), (Some(plt), plt_size)) = (self.rela, self.jmprel)
            && self.plt_has_addends()
            && plt >= start
            && plt.checked_add(plt_size) == start.checked_add(size)
        {
            rela.1 = plt - start;
        }
        Ok((rela, self.jmprel))
    }
}

/// The string at `offset` of the string table, of at most `limit` bytes.
///
/// # Errors
/// It lies outside the table, has no terminator there, or is longer.
pub fn string(strings: &[u8], offset: u64, limit: u64, what: &'static str) -> Result<Vec<u8>, ErrorKind> {
    let text = Bytes(strings).c_str_within(offset, limit).ok_or(ErrorKind::Malformed { what, place: None })?;
    room::copy(text)
}

/// The path at `offset`, if all of them together have not become too long.
fn counted(strings: &[u8], offset: u64, left: &mut usize, what: &'static str) -> Result<Vec<u8>, ErrorKind> {
    let name = string(strings, offset, limits::PATH, what)?;
    *left = left.checked_sub(name.len()).ok_or(ErrorKind::Malformed { what, place: None })?;
    Ok(name)
}

fn tail(layout: &Layout, at: u64, what: &'static str) -> Result<Extent, ErrorKind> {
    let file = layout.file_tail(at).ok_or_else(|| ErrorKind::malformed(what, Place::Vm(VmAddr(at))))?;
    Ok(Extent { file, vm: VmAddr(at) })
}

fn cut(extent: Extent, size: u64, what: &'static str) -> Result<Extent, ErrorKind> {
    if size > extent.file.size {
        return Err(ErrorKind::malformed(what, Place::Vm(extent.vm)));
    }
    Ok(Extent { file: FileRange { size, ..extent.file }, ..extent })
}

fn sized(layout: &Layout, (at, size): (Option<u64>, u64), entry: u64, what: &'static str) -> Result<Extent, ErrorKind> {
    let Some(at) = at.filter(|_| size > 0) else { return Ok(Extent::default()) };
    if size % entry != 0 {
        return Err(ErrorKind::malformed(what, Place::Vm(VmAddr(at))));
    }
    cut(tail(layout, at, what)?, size, what)
}

fn entries(
    layout: &Layout,
    function: Option<u64>,
    (array, size): (Option<u64>, u64),
    function_tag: &'static str,
    array_tag: &'static str,
) -> Result<Entries, ErrorKind> {
    // An address of zero is how some linkers say that there is none.
    let function = function.filter(|&at| at != 0).map(VmAddr);
    if let Some(at) = function {
        let code = layout.regions.iter().any(|region| region.prot.execute && region.vm.holds(at, 1));
        if !code {
            return Err(ErrorKind::EntryNotCode { what: function_tag.into(), target: at.0 });
        }
    }
    let Some(at) = array.filter(|_| size > 0) else { return Ok(Entries { function, arrays: Vec::new() }) };
    let range = VmRange::new(at, size).filter(|_| size % 8 == 0 && at % 8 == 0);
    // In the file: the zeros that follow it in memory hold no pointers, and there may be gigabytes of them.
    let held = range
        .filter(|range| layout.regions.iter().any(|r| r.prot.read && r.file_backed().holds(range.start, range.size)));
    let range = held.ok_or_else(|| ErrorKind::malformed(array_tag, Place::Vm(VmAddr(at))))?;
    Ok(Entries { function, arrays: vec![EntryArray { range, form: EntryForm::Pointers }] })
}
