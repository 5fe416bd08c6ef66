//! An image's segments in this process: what its program headers say, at its bias.
//!
//! Invariant: [`Segments`] describe an image that the kernel or the system loader mapped, so what lies in one of its
//! readable regions can be read for as long as the image is loaded, and changes only where the region is writable.

use super::chain::Link;
use super::memory::{self, page_of};
use super::vanishing;
use crate::addr::{Bias, FileRange, MIN_PAGE, RunAddr, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::elf::dynamic::Dynamic;
use crate::elf::{PHENT, ProgramHeader, notes};
use crate::plan::{Prot, Region, TlsTemplate};
use crate::platform::unix::page_size;
use goblin::elf64::program_header as ph;

/// Size of the ELF header (gABI figure 4-3).
pub(super) const EHSIZE: u64 = 64;
/// More entries than any dynamic section has: one without `DT_NULL` is none.
const MOST_ENTRIES: u64 = 4096;
/// How far below its tables an ELF header may be, in pages, when it is not where the system loader says.
const MOST_PAGES: u64 = 64;

/// Segments of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Segments {
    pub(super) bias: Bias,
    pub(super) regions: Vec<Region>,
    pub(super) dynamic: Option<VmRange>,
    pub(super) tls: Option<TlsTemplate>,
    /// What the system loader makes read-only after relocation.
    sealed: Option<VmRange>,
    pub(super) build_id: Option<Vec<u8>>,
}

/// Program headers, as they are in the file.
#[derive(Clone, Copy)]
pub(super) struct Headers<'a>(&'a [[u8; PHENT]]);

impl Headers<'_> {
    fn iter(&self) -> impl Iterator<Item = ProgramHeader> {
        self.0.iter().map(ProgramHeader::decode)
    }

    /// The first one that is as asked.
    pub(super) fn find(self, wanted: impl Fn(&ProgramHeader) -> bool) -> Option<ProgramHeader> {
        self.iter().find(wanted)
    }
}

impl Segments {
    /// Reads the program headers in `table`; `bias` gets them all, and says where the image is.
    pub(super) fn new(table: &[u8], bias: impl Fn(Headers<'_>) -> Option<Bias>) -> Option<Segments> {
        let headers = Headers(table.as_chunks().0);
        let mut segments = Segments { bias: bias(headers)?, ..Segments::default() };
        for header in headers.iter() {
            segments.add(&header)?;
        }
        let notes = headers.iter().filter(|header| header.kind == ph::PT_NOTE);
        segments.build_id = notes.filter_map(|header| segments.read_build_id(&header)).next();
        Some(segments)
    }

    fn add(&mut self, header: &ProgramHeader) -> Option<()> {
        let vm = VmRange::new(header.vaddr, header.mem_size)?;
        match header.kind {
            ph::PT_LOAD => {
                let flag = |flag| header.flags & flag != 0;
                let prot = Prot { read: flag(ph::PF_R), write: flag(ph::PF_W), execute: flag(ph::PF_X) };
                self.regions.push(Region { vm, file: FileRange::new(header.offset, header.file_size)?, prot });
            }
            ph::PT_DYNAMIC => self.dynamic = Some(vm),
            ph::PT_GNU_RELRO => self.sealed = Some(vm),
            ph::PT_TLS if header.mem_size > 0 => {
                let image = VmRange { size: header.file_size, ..vm };
                self.tls = Some(TlsTemplate { image, size: header.mem_size, align: header.align.max(1) });
            }
            _ => {}
        }
        Some(())
    }

    fn read_build_id(&self, header: &ProgramHeader) -> Option<Vec<u8>> {
        let at = VmAddr(header.vaddr) + self.bias;
        let bytes = self.copy(at, header.file_size)?;
        notes::build_id(&bytes, FileRange::new(0, header.file_size)?).map(<[u8]>::to_vec)
    }

    /// The region that holds `size` bytes at `at`.
    pub(super) fn region(&self, at: RunAddr, size: u64) -> Option<&Region> {
        let vm = at.to_vm(self.bias);
        self.regions.iter().find(|region| region.vm.holds(vm, size))
    }

    /// How many bytes there are from `at` to the end of its region, if it can be read.
    pub(super) fn rest(&self, at: RunAddr) -> Option<u64> {
        let region = self.region(at, 1).filter(|region| region.prot.read)?;
        Some(region.vm.end().0 - at.to_vm(self.bias).0)
    }

    /// Where a value of the dynamic section points. glibc adds the bias to most of them in place, on machines where it
    /// can write to the section, and never to others (`DT_VERNEED`); musl and FreeBSD leave all as they are in the file.
    /// So a value that is an address of the image already is one. The two cannot be confused: the kernel maps no image
    /// at a bias smaller than the image.
    pub(super) fn address(&self, value: u64) -> Option<RunAddr> {
        let candidates = [RunAddr(value), VmAddr(value) + self.bias];
        candidates.into_iter().find(|&at| self.region(at, 1).is_some())
    }

    /// Borrows the table that a value of the dynamic section leads to: `size` bytes, or all up to the end of its region.
    /// `None` if it is not there, or can be written to.
    ///
    /// # Safety
    /// The slice is not used after the image was unloaded.
    pub(super) unsafe fn borrow(&self, value: u64, size: Option<u64>) -> Option<&'static [u8]> {
        let read_only = self.region(self.address(value)?, 1).is_some_and(|region| !region.prot.write);
        // SAFETY: the caller's promise; and nobody can write there.
        if read_only { unsafe { self.borrow_even_writable(value, size) } } else { None }
    }

    /// As [`Segments::borrow`], but also from a region that can be written to.
    ///
    /// # Safety
    /// The slice is not used after the image was unloaded, and nobody writes to the table meanwhile: linkers' tables are
    /// not written to after loading, wherever they are.
    pub(super) unsafe fn borrow_even_writable(&self, value: u64, size: Option<u64>) -> Option<&'static [u8]> {
        let at = self.address(value)?;
        let rest = self.rest(at)?;
        let size = size.unwrap_or(rest);
        if size > rest {
            return None;
        }
        // Where it is copied, all tables of a region are copied at once.
        if vanishing::scope(|_| ()).is_some() {
            let region = self.region(at, 1)?;
            let start = region.vm.start + self.bias;
            // SAFETY: the caller's promise.
            let whole = unsafe { memory::borrow(start, region.vm.size) };
            return whole.get((at.0 - start.0) as usize..)?.get(..size as usize);
        }
        // SAFETY: the bytes are in a readable region; for how long, and that they stay the same, says the caller.
        Some(unsafe { memory::borrow(at, size) })
    }

    /// Borrows what an image's file has at `offset`, if a segment holds it.
    ///
    /// # Safety
    /// As [`Segments::borrow_even_writable`].
    pub(super) unsafe fn borrow_of_file(&self, offset: u64, size: u64) -> Option<&'static [u8]> {
        let end = offset.checked_add(size)?;
        let mut regions = self.regions.iter();
        let region = regions.find(|region| region.file.start.0 <= offset && end <= region.file.end().0)?;
        let at = VmAddr(region.vm.start.0 + (offset - region.file.start.0)) + self.bias;
        // SAFETY: the caller's promise is the same.
        unsafe { self.borrow_even_writable(at.0, Some(size)) }
    }

    /// The pages around `size` bytes at `at` that cannot be written to, if there are any: the whole segment's, or those
    /// that were sealed. The system loaders seal whole pages, the last one only if all of it is to be sealed.
    pub(super) fn sealed_pages(&self, at: RunAddr, size: u64) -> Option<(RunAddr, u64)> {
        let around = VmRange { start: at.to_vm(self.bias), size }.pages(page_size())?;
        let sealed = match self.region(at, size)?.prot.write {
            true => self.sealed?.sealable_pages(page_size()),
            false => around,
        };
        let (start, end) = (around.start.max(sealed.start), around.end().min(sealed.end()));
        (start < end).then(|| (start + self.bias, end.0 - start.0))
    }

    /// Copies `size` bytes at `at`, if they are there.
    pub(super) fn copy(&self, at: RunAddr, size: u64) -> Option<Vec<u8>> {
        let rest = self.rest(at)?;
        // SAFETY: the bytes are in a readable region (see the file's invariant).
        (size <= rest).then(|| unsafe { memory::copy(at, size) })
    }

    /// Reads the word at `at`, if it is there.
    pub(super) fn word(&self, at: RunAddr) -> Option<u64> {
        self.region(at, 8).filter(|region| region.prot.read)?;
        // SAFETY: eight bytes of a readable region.
        Some(unsafe { memory::read(at) })
    }

    /// Copies the C string at `at`, if it is there.
    pub(super) fn c_string(&self, at: RunAddr) -> Option<Vec<u8>> {
        let rest = self.rest(at)?;
        // SAFETY: the limit is the end of a readable region.
        Some(unsafe { memory::c_string(at, rest) })
    }

    /// Whether `at` is code of the image.
    pub(super) fn is_code(&self, at: RunAddr) -> bool {
        self.region(at, 1).is_some_and(|region| region.prot.execute)
    }

    /// A number that tells an image from another one at the same address: a hash of its first kilobyte, where the
    /// headers are, and with most linkers the build id.
    pub(super) fn print(&self) -> u64 {
        const FNV_PRIME: u64 = 0x0100_0000_01b3;
        let Some(first) = self.regions.first() else { return 0 };
        let Some(bytes) = self.copy(first.vm.start + self.bias, first.vm.size.min(1024)) else { return 0 };
        let (words, _) = bytes.as_chunks::<8>();
        words
            .iter()
            .fold(0, |hash: u64, &word| (hash ^ u64::from_le_bytes(word)).wrapping_mul(FNV_PRIME).rotate_left(29))
    }
}

/// Reads the entries of the dynamic section at `at`, up to `DT_NULL`.
///
/// # Safety
/// A dynamic section is there, of an image that is loaded and listed; or `at` is null.
pub(super) unsafe fn read_dynamic(at: RunAddr) -> Dynamic {
    if at.0 == 0 {
        return Dynamic::default();
    }
    // SAFETY: no entry before was `DT_NULL`, so this one is in the section.
    let tag = |entry: u64| unsafe { memory::read::<u64>(RunAddr(at.0 + entry * 16)) };
    let count = (0..MOST_ENTRIES).take_while(|&entry| tag(entry) != 0).count() as u64;
    // SAFETY: these entries were just read. The system loader writes to them before it lists the image, not after.
    Dynamic::parse(unsafe { memory::borrow(at, count * 16) })
}

/// The segments of an image that the system loader lists, from the ELF header in front of it.
///
/// The list says where the image is, but only for an image that begins at address 0 of its file is the ELF header
/// there; elsewhere that address need not even be mapped. It surely is mapped if one of the image's tables is in the
/// same page, as linkers lay it out; otherwise the kernel is asked. And what is found is the header of this image only
/// if it puts the dynamic section where the list has it.
pub(super) fn find(link: &Link, dynamic: &Dynamic) -> Option<Segments> {
    let lowest = lowest_table(link, dynamic)?;
    let below = (0..MOST_PAGES).map(|pages| RunAddr(lowest.0.saturating_sub(pages * MIN_PAGE)));
    std::iter::once(page_of(link.base)).chain(below).find_map(|page| {
        let readable = page.0 != 0 && (page == lowest || memory::is_readable(page));
        // SAFETY: the page can be read, as just determined.
        readable.then(|| unsafe { read_header(page, link.dynamic) }).flatten()
    })
}

/// The page of the first table that the dynamic section names, in most images the first page of all.
fn lowest_table(link: &Link, dynamic: &Dynamic) -> Option<RunAddr> {
    let tables = [dynamic.gnu_hash, dynamic.sysv_hash, dynamic.symtab, dynamic.strtab, dynamic.versym, dynamic.rela.0];
    let run = |at: u64| if at >= link.base.0 { at } else { at + link.base.0 };
    tables.into_iter().flatten().map(run).min().map(|at| page_of(RunAddr(at)))
}

/// Reads the image whose ELF header is at `page`, and whose dynamic section is at `dynamic`.
///
/// # Safety
/// The page can be read.
pub(super) unsafe fn read_header(page: RunAddr, dynamic: RunAddr) -> Option<Segments> {
    // SAFETY: readable says the caller.
    let table = unsafe { program_headers(page) }?;
    let segments = Segments::new(table, |headers| {
        let section = headers.find(|header| header.kind == ph::PT_DYNAMIC)?;
        Some(Bias(dynamic.0.wrapping_sub(section.vaddr)))
    })?;
    let first = segments.regions.first()?;
    (page_of(first.vm.start + segments.bias) == page).then_some(segments)
}

/// Borrows the program headers of the image whose ELF header is at `page`, if one is.
///
/// # Safety
/// The page can be read. The slice is not used after the image was unloaded.
pub(super) unsafe fn program_headers(page: RunAddr) -> Option<&'static [u8]> {
    // SAFETY: the header is shorter than the page, which can be read; nobody writes to headers.
    let header = unsafe { memory::borrow(page, EHSIZE) };
    let (offset, size) = table_of(header)?;
    let end = offset.checked_add(size).filter(|&end| end <= MOST_PAGES * MIN_PAGE)?;
    let mut pages = (MIN_PAGE..end).step_by(MIN_PAGE as usize);
    if !pages.all(|further| memory::is_readable(RunAddr(page.0 + further))) {
        return None;
    }
    // SAFETY: every page up to the end of the table can be read; nobody writes to headers.
    Some(unsafe { memory::borrow(RunAddr(page.0 + offset), size) })
}

/// Offset and size of the program headers, if `header` is an ELF header of this machine's class and byte order.
pub(super) fn table_of(header: &[u8]) -> Option<(u64, u64)> {
    // Magic, ELFCLASS64, ELFDATA2LSB, EV_CURRENT.
    const IDENT: [u8; 7] = *b"\x7fELF\x02\x01\x01";
    let bytes = Bytes(header);
    let (size, count) = (bytes.u16(54)?, bytes.u16(56)?);
    let known = header.starts_with(&IDENT) && usize::from(size) == PHENT && count > 0;
    known.then_some((bytes.u64(32)?, u64::from(count) * PHENT as u64))
}
