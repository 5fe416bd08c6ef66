//! `LC_SEGMENT_64` and its sections → regions, seals, thread-local template, initialisers.

use super::commands::{Command, Commands};
use crate::addr::{FileOffset, FileRange, MIN_PAGE, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};
use crate::plan::{Entries, EntryArray, EntryForm, Prot, Region, TlsTemplate};

/// Size of `segment_command_64` without sections, and of `section_64`.
const SEGMENT: u64 = 72;
const SECTION: u64 = 80;
/// Becomes read-only after fixups.
const SG_READ_ONLY: u32 = 0x10;

// Section types, the low byte of `flags`.
const S_MOD_INIT_FUNC_POINTERS: u32 = 0x9;
const S_MOD_TERM_FUNC_POINTERS: u32 = 0xa;
const S_THREAD_LOCAL_REGULAR: u32 = 0x11;
const S_THREAD_LOCAL_ZEROFILL: u32 = 0x12;
const S_THREAD_LOCAL_VARIABLES: u32 = 0x13;
const S_INIT_FUNC_OFFSETS: u32 = 0x16;

/// One `LC_SEGMENT_64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its addresses.
    pub vm: VmRange,
    /// Its bytes, relative to the image.
    pub file: FileRange,
    /// `initprot`
    pub prot: Prot,
    /// `SG_READ_ONLY`
    pub read_only_after_fixups: bool,
    /// Its sections.
    pub sections: Vec<Section>,
}

/// One section of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `sectname`, without the zeros at its end.
    pub name: Vec<u8>,
    /// Its addresses.
    pub vm: VmRange,
    /// The type in the low byte of `flags`.
    pub kind: u32,
    /// As a power of two.
    pub align: u32,
}

impl Segment {
    /// Decodes one command.
    ///
    /// # Errors
    /// A range that wraps or lies outside the image, or a section outside its segment.
    pub fn read(command: &Command<'_>) -> Result<Segment, ErrorKind> {
        let malformed = |what| ErrorKind::malformed(what, Place::Entry(command.index));
        let body = command.body;
        let words = || Some([body.u64(24)?, body.u64(32)?, body.u64(40)?, body.u64(48)?]);
        let flags = || Some([body.u32(60)?, body.u32(64)?, body.u32(68)?]);
        let (Some([vm, vm_size, file, file_size]), Some([prot, count, flags])) = (words(), flags()) else {
            return Err(command.cut());
        };
        let vm = VmRange::new(vm, vm_size)
            .filter(|vm| vm.pages(MIN_PAGE).is_some())
            .ok_or(malformed("LC_SEGMENT_64: wraps the address space"))?;
        let file = FileRange::new(file, file_size)
            .filter(|range| range.end().0 <= command.image.len() as u64)
            .ok_or(malformed("LC_SEGMENT_64: lies outside the image (truncated?)"))?;
        if file_size > vm_size {
            return Err(malformed("LC_SEGMENT_64: filesize is larger than vmsize"));
        }
        if vm.start.0 % MIN_PAGE != 0 || (file_size > 0 && file.start.0 % MIN_PAGE != 0) {
            return Err(malformed("LC_SEGMENT_64: does not begin with a page"));
        }
        let sections = (0..u64::from(count)).map(|number| section(command, number, vm)).collect::<Result<_, _>>()?;
        let prot = Prot { read: prot & 1 != 0, write: prot & 2 != 0, execute: prot & 4 != 0 };
        Ok(Segment { vm, file, prot, read_only_after_fixups: flags & SG_READ_ONLY != 0, sections })
    }
}

fn section(command: &Command<'_>, number: u64, segment: VmRange) -> Result<Section, ErrorKind> {
    let raw = command.body.slice(SEGMENT + number * SECTION, SECTION).map(Bytes).ok_or_else(|| command.cut())?;
    let words = || Some((raw.u64(32)?, raw.u64(40)?, raw.u32(52)?, raw.u32(64)?));
    let (at, size, align, flags) = words().ok_or_else(|| command.cut())?;
    let outside = || ErrorKind::malformed("section_64: lies outside its segment", Place::Entry(command.index));
    // An empty section may stand anywhere: linkers leave such.
    let vm = VmRange::new(at, size).filter(|vm| size == 0 || segment.holds(vm.start, size)).ok_or_else(outside)?;
    let name = raw.slice(0, 16).unwrap_or_default();
    let name = name.iter().copied().take_while(|&byte| byte != 0).collect();
    Ok(Section { name, vm, kind: flags & 0xff, align })
}

/// What the segments amount to.
#[derive(Debug)]
pub struct Layout {
    /// What to map, ascending, with file ranges of the whole file.
    pub regions: Vec<Region>,
    /// Whole pages from the first region to the last.
    pub span: VmRange,
    /// `SG_READ_ONLY`
    pub seals: Vec<VmRange>,
    /// Where the header is mapped: what offsets of the image count from.
    pub header: VmAddr,
}

/// Lays the segments out; `image` is where the image lies in its file.
///
/// # Errors
/// Segments that overlap, or none that holds the header.
pub fn layout(commands: &Commands, image: FileRange, header_end: u64) -> Result<Layout, ErrorKind> {
    let mut regions = Vec::new();
    let mut seals = Vec::new();
    for segment in commands.segments.iter().filter(|segment| segment.vm.size > 0) {
        // __PAGEZERO: addresses that nothing may use. A library has none, since it is not where null pointers lead.
        if segment.prot == Prot::NONE && segment.file.size == 0 {
            continue;
        }
        let file = FileRange { start: FileOffset(image.start.0 + segment.file.start.0), size: segment.file.size };
        regions.push(Region { vm: segment.vm, file, prot: segment.prot });
        seals.extend(segment.read_only_after_fixups.then_some(segment.vm));
    }
    regions.sort_by_key(|region| region.vm.start);
    for pair in regions.windows(2) {
        let end = pair[0].vm.pages(MIN_PAGE).map(VmRange::end);
        if end.is_none_or(|end| end > pair[1].vm.start) {
            return Err(ErrorKind::malformed("LC_SEGMENT_64: segments overlap", Place::Vm(pair[1].vm.start)));
        }
    }
    no_shared_content(&regions)?;
    let holds_header = |segment: &&Segment| segment.file.start.0 == 0 && segment.file.size >= header_end;
    let text = commands.segments.iter().filter(|segment| segment.file.size > 0).find(holds_header);
    let missing = ErrorKind::Malformed { what: "LC_SEGMENT_64: none holds the header", place: None };
    let (Some(text), Some(first), Some(last)) = (text, regions.first(), regions.last()) else { return Err(missing) };
    let start = first.vm.start;
    let end = last.vm.pages(MIN_PAGE).map_or(last.vm.end(), VmRange::end);
    let span = VmRange { start, size: end.0 - start.0 };
    Ok(Layout { span, seals, header: text.vm.start, regions })
}

/// Refuses segments whose content overlaps in the file, as dyld does: the work on each is bounded by its content, and so
/// the work on all of them by the file.
fn no_shared_content(regions: &[Region]) -> Result<(), ErrorKind> {
    let mut held: Vec<(FileRange, VmAddr)> = regions.iter().map(|region| (region.file, region.vm.start)).collect();
    held.retain(|(range, _)| range.size > 0);
    held.sort_by_key(|(range, _)| range.start);
    match held.windows(2).find(|pair| pair[0].0.end() > pair[1].0.start) {
        None => Ok(()),
        Some(pair) => Err(ErrorKind::malformed("LC_SEGMENT_64: file contents overlap", Place::Vm(pair[1].1))),
    }
}

/// Refuses sections of a kind that overlap, for the same reason; they ascend then.
fn disjoint(mut ranges: Vec<VmRange>) -> Result<Vec<VmRange>, ErrorKind> {
    ranges.sort_by_key(|range| range.start);
    match ranges.windows(2).find(|pair| pair[0].end() > pair[1].start) {
        None => Ok(ranges),
        Some(pair) => Err(ErrorKind::malformed("section_64: sections overlap", Place::Vm(pair[1].start))),
    }
}

impl Commands {
    fn sections(&self) -> impl Iterator<Item = &Section> {
        self.segments.iter().flat_map(|segment| &segment.sections).filter(|section| section.vm.size > 0)
    }

    fn of_kind(&self, kind: u32) -> impl Iterator<Item = &Section> {
        self.sections().filter(move |section| section.kind == kind)
    }

    /// The section of that name.
    pub fn named(&self, name: &[u8]) -> Option<VmRange> {
        self.sections().find(|section| section.name == name).map(|section| section.vm)
    }

    /// Initialisers, in dyld's order: `LC_ROUTINES_64`, then pointers, then offsets.
    ///
    /// # Errors
    /// A routine that is not code, or an array that is not a whole number of entries.
    pub fn init(&self, layout: &Layout) -> Result<Entries, ErrorKind> {
        let function = self.routine.map(VmAddr);
        if let Some(at) = function
            && !layout.regions.iter().any(|region| region.prot.execute && region.vm.holds(at, 1))
        {
            return Err(ErrorKind::EntryNotCode { what: "LC_ROUTINES_64".into(), target: at.0 });
        }
        let mut arrays = self.arrays(S_MOD_INIT_FUNC_POINTERS, EntryForm::Pointers)?;
        arrays.extend(self.arrays(S_INIT_FUNC_OFFSETS, EntryForm::Offsets { from: layout.header })?);
        Ok(Entries { function, arrays })
    }

    /// Terminators.
    ///
    /// # Errors
    /// As [`Commands::init`].
    pub fn fini(&self) -> Result<Entries, ErrorKind> {
        Ok(Entries { function: None, arrays: self.arrays(S_MOD_TERM_FUNC_POINTERS, EntryForm::Pointers)? })
    }

    fn arrays(&self, kind: u32, form: EntryForm) -> Result<Vec<EntryArray>, ErrorKind> {
        disjoint(self.of_kind(kind).map(|section| section.vm).collect())?;
        let arrays = self.of_kind(kind).map(|section| {
            let malformed = |what| Err(ErrorKind::malformed(what, Place::Vm(section.vm.start)));
            let range = section.vm;
            if range.size % form.size() != 0 {
                return malformed("section_64: no whole number of functions");
            }
            match self.in_file(range) {
                true => Ok(EntryArray { range, form }),
                false => malformed("section_64: functions that the file does not hold"),
            }
        });
        arrays.collect()
    }

    fn in_file(&self, range: VmRange) -> bool {
        let backed = |segment: &Segment| VmRange { start: segment.vm.start, size: segment.file.size };
        self.segments.iter().any(|segment| backed(segment).holds(range.start, range.size))
    }

    /// The descriptors of thread-local variables, ascending.
    ///
    /// # Errors
    /// Sections that overlap, or that the file does not hold: the function of each descriptor is bound in place.
    pub fn thread_variables(&self) -> Result<Vec<VmRange>, ErrorKind> {
        let ranges = disjoint(self.of_kind(S_THREAD_LOCAL_VARIABLES).map(|section| section.vm).collect())?;
        match ranges.iter().find(|&&range| !self.in_file(range)) {
            None => Ok(ranges),
            Some(range) => Err(ErrorKind::malformed(
                "section_64: thread-local variables that the file does not hold",
                Place::Vm(range.start),
            )),
        }
    }

    /// The initial image of the thread-locals: the regular and the zero-filled sections as one run, as the offsets in
    /// the descriptors count (dyld `forEachThreadLocalVariable`).
    ///
    /// # Errors
    /// Sections in different segments, or an alignment that no allocation has.
    pub fn tls(&self, layout: &Layout) -> Result<Option<TlsTemplate>, ErrorKind> {
        let is_content = |section: &&Section| matches!(section.kind, S_THREAD_LOCAL_REGULAR | S_THREAD_LOCAL_ZEROFILL);
        let content = || self.sections().filter(is_content);
        let (start, end) = (content().map(|s| s.vm.start).min(), content().map(|s| s.vm.end()).max());
        let (Some(start), Some(end)) = (start, end) else { return Ok(None) };
        let malformed = |what| ErrorKind::malformed(what, Place::Vm(start));
        let size = end.0 - start.0;
        let region = layout.regions.iter().find(|region| region.vm.holds(start, size));
        let region = region.ok_or(malformed("thread-local sections: in more than one segment"))?;
        let align = content().map(|section| section.align).max().unwrap_or(0);
        if align > 15 {
            return Err(malformed("thread-local sections: aligned to more than 32 KiB"));
        }
        let in_file = region.file_backed().end().0.saturating_sub(start.0).min(size);
        Ok(Some(TlsTemplate { image: VmRange { start, size: in_file }, size, align: 1 << align }))
    }

    /// What a run-time system that we do not have would have to be told about, by the name of its section.
    pub fn foreign_runtime(&self) -> Option<&'static str> {
        const LISTS: &[(&[u8], &str)] = &[
            (b"__objc_classlist", "Objective-C classes (__objc_classlist)"),
            (b"__objc_catlist", "Objective-C categories (__objc_catlist)"),
            (b"__objc_nlclslist", "Objective-C classes (__objc_nlclslist)"),
            (b"__objc_protolist", "Objective-C protocols (__objc_protolist)"),
            (b"__objc_selrefs", "Objective-C selectors (__objc_selrefs)"),
            (b"__swift5_types", "Swift types (__swift5_types)"),
            (b"__swift5_protos", "Swift protocols (__swift5_protos)"),
            (b"__swift5_proto", "Swift conformances (__swift5_proto)"),
        ];
        LISTS.iter().find(|(name, _)| self.named(name).is_some()).map(|&(_, text)| text)
    }
}
