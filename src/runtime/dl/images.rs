//! What C callers are told about images: names, link maps, program headers.
//!
//! Invariant: what a caller may keep (names, link maps) stays as long as its image does, as in C. Program headers are borrowed for the length of
//! a call, from memory that nobody writes: of ours, which the caller's [`View`] or [`Member`] keeps mapped, or of a host
//! image that was listed when the call began.

use super::list::List;
use super::scope::{View, bias};
use crate::addr::{RunAddr, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::elf::{PHENT, ProgramHeader};
use crate::plan::{Near, Region};
use crate::platform::unix::page_size;
use crate::registry::{Instance, Member};
use crate::runtime::host::HostImage;
use crate::runtime::tls;
use goblin::elf64::program_header as ph;
use std::ffi::{CString, c_char};
use std::sync::{Arc, Weak};

/// Every host image that any caller was told about. One may be unloaded at any time, so what was told of it is kept.
static KNOWN: List<Known> = List::new();
/// Names of symbols of host images that may be unloaded.
static NAMES: List<CString> = List::new();

/// What stays of a host image, even when it is gone.
#[derive(Debug)]
struct Known {
    /// As long as this is kept, no other image's record gets the same address.
    image: Weak<HostImage>,
    path: CString,
}

impl Known {
    fn of(image: &Arc<HostImage>) -> &'static Known {
        let path = || CString::new(image.path().as_os_str().as_encoded_bytes()).unwrap_or_default();
        let make = || Known { image: Arc::downgrade(image), path: path() };
        KNOWN.find_or_add(|known| known.image.as_ptr() == Arc::as_ptr(image), make)
    }
}

/// Its path: a C string that stays until the image is unloaded, if it is ours, or else for ever.
pub(super) fn name(member: &Member) -> *const c_char {
    match member {
        Member::Ours(instance) => instance.debugger.name(),
        Member::Host(image) => Known::of(image).path.as_ptr(),
    }
}

/// The `link_map` of an image: the system loader's own, or the one that debuggers see. It lives as long as the image. Null
/// for a static executable, which has none.
pub(super) fn link_map(member: &Member) -> RunAddr {
    match member {
        Member::Ours(instance) => instance.debugger.link_map(),
        Member::Host(image) => image.node(),
    }
}

/// The program headers of an image, as they are in its file; empty where no readable segment holds them.
pub(super) fn header_table(member: &Member) -> &[u8] {
    match member {
        Member::Ours(instance) => own_header_table(instance).unwrap_or_default(),
        // SAFETY: listed when the call began, and used no longer than the call lasts (see the file's invariant).
        Member::Host(image) => unsafe { image.program_headers() }.unwrap_or_default(),
    }
}

/// Where they are, and how many.
pub(super) fn header_pointer(member: &Member) -> (*const u8, u16) {
    let table = header_table(member);
    (table.as_ptr(), (table.len() / PHENT) as u16)
}

/// The same, decoded.
pub(super) fn headers(member: &Member) -> impl Iterator<Item = ProgramHeader> + '_ {
    header_table(member).as_chunks::<PHENT>().0.iter().map(ProgramHeader::decode)
}

/// The ELF header was checked when the plan was made; that it and the table lie in one segment is checked here.
fn own_header_table(instance: &Instance) -> Option<&[u8]> {
    const EHSIZE: u64 = 64;
    let plan = &instance.module.plan;
    let first = plan.regions.iter().find(|region| region.file.start.0 == 0)?;
    let constant = |offset: u64, size: u64| {
        let range = VmRange::new(first.vm.start.0.checked_add(offset)?, size)?;
        let backed = first.file_backed().holds(range.start, size);
        // SAFETY: the instance that is borrowed stays mapped.
        backed.then(|| unsafe { instance.memory.constant(plan, range) }).flatten()
    };
    let header = Bytes(constant(0, EHSIZE)?);
    constant(header.u64(32)?, u64::from(header.u16(56)?) * PHENT as u64)
}

/// Where an image begins and ends in memory, in whole pages.
pub(super) fn extent(member: &Member) -> (RunAddr, RunAddr) {
    let regions: &[Region] = match member {
        Member::Ours(instance) => &instance.module.plan.regions,
        Member::Host(image) => image.regions(),
    };
    let start = regions.iter().map(|region| region.vm.start).min().unwrap_or_default();
    let end = regions.iter().map(|region| region.vm.end()).max().unwrap_or_default();
    let whole = VmRange { start, size: end.0 - start.0 };
    let pages = whole.pages(page_size()).unwrap_or(whole);
    (pages.start + bias(member), pages.end() + bias(member))
}

/// The exported symbol that an address lies in.
#[derive(Clone, Copy)]
pub(super) struct Symbol {
    pub(super) name: *const c_char,
    pub(super) address: RunAddr,
    /// Its `Elf64_Sym`; null for a host image that may be unloaded.
    pub(super) row: *const u8,
}

/// The exported symbol that `at` lies in.
pub(super) fn symbol_at(member: &Member, at: RunAddr) -> Option<Symbol> {
    let vm = at.to_vm(bias(member));
    let Near { name, vm: value, row, .. } = member.near(vm).filter(|near| near.holds)?;
    // A name in a string table ends with a NUL there. The tables of the start-up images stay, and ours stay until the
    // image is unloaded, as C's `dladdr` has it.
    let stays = match member {
        Member::Ours(_) => true,
        Member::Host(image) => image.global,
    };
    let kept =
        || NAMES.find_or_add(|known| known.as_bytes() == name, || CString::new(name).unwrap_or_default()).as_ptr();
    let (name, row) = if stays { (name.as_ptr().cast(), row.as_ptr()) } else { (kept(), std::ptr::null()) };
    Some(Symbol { name, address: value + bias(member), row })
}

/// Where an image's index of unwind tables is (`PT_GNU_EH_FRAME`).
pub(super) fn unwind_index(member: &Member) -> Option<RunAddr> {
    let header = match member {
        Member::Ours(instance) => instance.module.plan.unwind.map(|range| range.start),
        Member::Host(_) => {
            headers(member).find(|header| header.kind == ph::PT_GNU_EH_FRAME).map(|header| VmAddr(header.vaddr))
        }
    };
    header.map(|vm| vm + bias(member))
}

/// `struct dl_phdr_info` of `<link.h>`: glibc, musl and FreeBSD agree on it.
#[derive(Debug)]
#[repr(C)]
pub(super) struct HeaderInfo {
    address: u64,
    name: *const c_char,
    headers: *const u8,
    count: u16,
    /// Images that there ever were, and those of them that are gone: a caller that caches compares both.
    adds: u64,
    subs: u64,
    /// What the `__tls_get_addr` that images of ours call understands; 0 for an image without thread-locals.
    tls_module: usize,
    /// The calling thread's block, if it was made already.
    tls_block: *const u8,
}

/// What `dl_iterate_phdr` tells about each image, in order.
pub(super) fn header_infos(view: &View) -> Vec<HeaderInfo> {
    let members: Vec<(Member, *const c_char)> = view.all().map(|member| (member.clone(), name(&member))).collect();
    let adds = KNOWN.iter().count() as u64 + view.ever_loaded();
    let info = |(member, name): &(Member, *const c_char)| {
        let (headers, count) = header_pointer(member);
        let tls = view.thread_locals(member);
        HeaderInfo {
            address: bias(member).0,
            name: *name,
            headers,
            count,
            adds,
            subs: adds.saturating_sub(members.len() as u64),
            tls_module: tls.unwrap_or(0) as usize,
            tls_block: std::ptr::with_exposed_provenance(tls.and_then(tls::block).unwrap_or_default().0 as usize),
        }
    };
    members.iter().map(info).filter(|info| info.count > 0).collect()
}
