//! Program headers → regions, seals, thread-local template.

use super::{Header, ProgramHeader, limits, notes};
use crate::addr::{FileOffset, FileRange, MIN_PAGE, VmRange};
use crate::error::{ErrorKind, Place};
use crate::plan::{Prot, Region, TlsTemplate};
use goblin::elf64::program_header as ph;

/// `PT_GNU_PROPERTY` and friends are not needed; these are what the program headers tell in all.
#[derive(Debug)]
pub struct Layout {
    /// `PT_LOAD`, ascending, disjoint.
    pub regions: Vec<Region>,
    /// Whole pages from the first region to the last.
    pub span: VmRange,
    /// Largest `p_align`.
    pub align: u64,
    /// `PT_GNU_RELRO`.
    pub seals: Vec<VmRange>,
    /// `PT_TLS`.
    pub tls: Option<TlsTemplate>,
    /// `PT_GNU_EH_FRAME`.
    pub unwind: Option<VmRange>,
    /// `PT_DYNAMIC`: at which addresses it is.
    pub dynamic: Option<VmRange>,
    /// `PT_NOTE`s.
    pub notes: Vec<FileRange>,
    /// `PT_GNU_STACK` with `PF_X`, or missing.
    pub executable_stack: bool,
}

/// Reads all program headers.
///
/// # Errors
/// A segment that contradicts itself, the file, or another one.
pub fn layout(header: &Header<'_>) -> Result<Layout, ErrorKind> {
    let mut layout = Layout {
        regions: Vec::new(),
        span: VmRange::default(),
        align: MIN_PAGE,
        seals: Vec::new(),
        tls: None,
        unwind: None,
        dynamic: None,
        notes: Vec::new(),
        executable_stack: true,
    };
    let file_size = header.bytes.len() as u64;
    for (index, header) in header.program_headers().enumerate() {
        layout.add(&header, index as u64, file_size)?;
    }
    layout.finish()
}

impl Layout {
    fn add(&mut self, header: &ProgramHeader, index: u64, file_size: u64) -> Result<(), ErrorKind> {
        let vm = VmRange::new(header.vaddr, header.mem_size);
        match header.kind {
            ph::PT_LOAD => self.add_load(header, index, file_size)?,
            ph::PT_DYNAMIC => {
                let vm = VmRange::new(header.vaddr, header.file_size)
                    .ok_or_else(|| ErrorKind::malformed("PT_DYNAMIC: wraps the address space", Place::Entry(index)))?;
                self.dynamic = Some(vm);
            }
            ph::PT_TLS => self.tls = tls(header, index, file_size)?,
            ph::PT_GNU_RELRO => {
                let vm = vm.ok_or_else(|| {
                    ErrorKind::malformed("PT_GNU_RELRO: wraps the address space", Place::Entry(index))
                })?;
                self.seals.push(vm);
            }
            ph::PT_GNU_EH_FRAME => self.unwind = vm,
            ph::PT_NOTE => self.notes.extend(file_range(header, file_size)),
            ph::PT_GNU_STACK => self.executable_stack = header.flags & ph::PF_X != 0,
            _ => {}
        }
        Ok(())
    }

    fn add_load(&mut self, header: &ProgramHeader, index: u64, file_size: u64) -> Result<(), ErrorKind> {
        let malformed = |what| ErrorKind::malformed(what, Place::Entry(index));
        if header.mem_size == 0 {
            return Ok(());
        }
        if header.file_size > header.mem_size {
            return Err(malformed("PT_LOAD: p_filesz is larger than p_memsz"));
        }
        if header.align > 1 && !header.align.is_power_of_two() {
            return Err(malformed("PT_LOAD: p_align is no power of two"));
        }
        // Or no system can map it; one with larger pages checks again when it maps.
        if header.offset % MIN_PAGE != header.vaddr % MIN_PAGE && header.file_size > 0 {
            return Err(malformed("PT_LOAD: p_offset and p_vaddr differ within the page"));
        }
        let vm = VmRange::new(header.vaddr, header.mem_size)
            .filter(|vm| vm.pages(MIN_PAGE).is_some())
            .ok_or_else(|| malformed("PT_LOAD: wraps the address space"))?;
        let file =
            file_range(header, file_size).ok_or_else(|| malformed("PT_LOAD: lies outside the file (truncated?)"))?;
        self.align = self.align.max(header.align);
        let prot = Prot {
            read: header.flags & ph::PF_R != 0,
            write: header.flags & ph::PF_W != 0,
            execute: header.flags & ph::PF_X != 0,
        };
        self.regions.push(Region { vm, file, prot });
        Ok(())
    }

    fn finish(mut self) -> Result<Layout, ErrorKind> {
        // The gABI wants PT_LOAD ascending; sorting costs nothing and forgives a linker that does not.
        self.regions.sort_by_key(|region| region.vm.start);
        let (Some(first), Some(last)) = (self.regions.first(), self.regions.last()) else {
            return Err(ErrorKind::Malformed { what: "program headers: no PT_LOAD", place: None });
        };
        for pair in self.regions.windows(2) {
            // Two segments on one page would need two protections, and the content of both.
            let end = pair[0].vm.pages(MIN_PAGE).map(VmRange::end);
            if end.is_none_or(|end| end.0 > pair[1].vm.start.0 & !(MIN_PAGE - 1)) {
                return Err(ErrorKind::malformed("PT_LOAD: segments overlap", Place::Vm(pair[1].vm.start)));
            }
        }
        let start = first.vm.start.0 & !(MIN_PAGE - 1);
        let end = last.vm.pages(MIN_PAGE).map_or(0, |pages| pages.end().0);
        self.span = VmRange { start: crate::addr::VmAddr(start), size: end.saturating_sub(start) };
        if self.align > self.span.size.checked_next_power_of_two().unwrap_or(1 << 63).max(1 << 30) {
            return Err(ErrorKind::Malformed {
                what: "PT_LOAD: p_align is larger than any address space allows",
                place: None,
            });
        }
        self.check_ranges()?;
        Ok(self)
    }

    /// What other headers name must lie in the segments, or sealing and thread set-up would reach outside.
    fn check_ranges(&self) -> Result<(), ErrorKind> {
        let inside = |range: VmRange| self.regions.iter().any(|region| region.vm.holds(range.start, range.size));
        for &seal in &self.seals {
            let pages = seal.sealable_pages(MIN_PAGE);
            if seal.size > 0 && !(inside(seal) || self.span.holds(pages.start, pages.size)) {
                return Err(ErrorKind::OutsideImage { what: "PT_GNU_RELRO", range: seal });
            }
        }
        match self.tls {
            Some(tls) if tls.image.size > 0 && !self.file_backed(tls.image) => {
                Err(ErrorKind::OutsideImage { what: "PT_TLS", range: tls.image })
            }
            _ => Ok(()),
        }
    }

    fn file_backed(&self, range: VmRange) -> bool {
        self.regions.iter().any(|region| region.file_backed().holds(range.start, range.size))
    }

    /// Where the file holds the bytes from `vm` to the end of its segment.
    pub fn file_tail(&self, vm: u64) -> Option<FileRange> {
        let at = crate::addr::VmAddr(vm);
        let region = self.regions.iter().find(|region| region.file_backed().holds(at, 1))?;
        let skip = vm - region.vm.start.0;
        FileRange::new(region.file.start.0 + skip, region.file.size - skip)
    }

    /// The build id, from the notes.
    pub fn build_id(&self, file: &[u8]) -> Option<Vec<u8>> {
        let id = self.notes.iter().find_map(|&range| notes::build_id(file, range));
        id.filter(|id| id.len() <= limits::BUILD_ID).map(<[u8]>::to_vec)
    }
}

fn file_range(header: &ProgramHeader, file_size: u64) -> Option<FileRange> {
    FileRange::new(header.offset, header.file_size).filter(|range| range.end() <= FileOffset(file_size))
}

fn tls(header: &ProgramHeader, index: u64, file_size: u64) -> Result<Option<TlsTemplate>, ErrorKind> {
    let malformed = |what| ErrorKind::malformed(what, Place::Entry(index));
    if header.mem_size == 0 {
        return Ok(None);
    }
    let align = header.align.max(1);
    if !align.is_power_of_two() || align > 1 << 30 {
        return Err(malformed("PT_TLS: p_align is no sensible power of two"));
    }
    if header.file_size > header.mem_size {
        return Err(malformed("PT_TLS: p_filesz is larger than p_memsz"));
    }
    if header.file_size > 0 {
        file_range(header, file_size).ok_or_else(|| malformed("PT_TLS: lies outside the file"))?;
    }
    let image =
        VmRange::new(header.vaddr, header.file_size).ok_or_else(|| malformed("PT_TLS: wraps the address space"))?;
    VmRange::new(header.vaddr, header.mem_size).ok_or_else(|| malformed("PT_TLS: wraps the address space"))?;
    Ok(Some(TlsTemplate { image, size: header.mem_size, align }))
}
