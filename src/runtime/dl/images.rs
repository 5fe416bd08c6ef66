//! What C callers are told about images: names, link maps, program headers.
//!
//! Invariant: what a caller may keep (names, link maps) is never freed. Program headers are borrowed for the length of
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

/// Every image that any caller was told about.
static KNOWN: List<Known> = List::new();
/// Names of symbols of host images that may be unloaded.
static NAMES: List<CString> = List::new();

/// What stays of an image, even when it is gone.
#[derive(Debug)]
pub(super) struct Known {
    key: Key,
    name: CString,
}

/// Tells images apart, also those that had the same place one after the other.
#[derive(Debug)]
enum Key {
    Ours(u64),
    /// As long as this is kept, no other image's record gets the same address.
    Host(Weak<HostImage>),
}

impl Key {
    fn of(member: &Member) -> Key {
        match member {
            Member::Ours(instance) => Key::Ours(instance.serial),
            Member::Host(image) => Key::Host(Arc::downgrade(image)),
        }
    }

    fn is(&self, member: &Member) -> bool {
        match (self, member) {
            (Key::Ours(serial), Member::Ours(instance)) => *serial == instance.serial,
            (Key::Host(weak), Member::Host(image)) => weak.as_ptr() == Arc::as_ptr(image),
            _ => false,
        }
    }
}

impl Known {
    /// What is known about an image, from now on for ever.
    pub(super) fn of(member: &Member) -> &'static Known {
        KNOWN.find_or_add(|known| known.key.is(member), || Known::new(member))
    }

    fn new(member: &Member) -> Known {
        let path = match member {
            Member::Ours(instance) => instance.module.path.as_os_str().as_encoded_bytes(),
            Member::Host(image) => image.path().as_os_str().as_encoded_bytes(),
        };
        Known { key: Key::of(member), name: CString::new(path).unwrap_or_default() }
    }

    /// How many images there ever were.
    pub(super) fn count() -> usize {
        KNOWN.iter().count()
    }

    /// Its path.
    pub(super) fn name(&'static self) -> *const c_char {
        self.name.as_ptr()
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
    let members: Vec<(Member, &Known)> = view.all().map(|member| (member.clone(), Known::of(&member))).collect();
    let adds = Known::count();
    let info = |(member, known): &(Member, &'static Known)| {
        let (headers, count) = header_pointer(member);
        let tls = view.thread_locals(member);
        HeaderInfo {
            address: bias(member).0,
            name: known.name(),
            headers,
            count,
            adds: adds as u64,
            subs: (adds - members.len()) as u64,
            tls_module: tls.unwrap_or(0) as usize,
            tls_block: std::ptr::with_exposed_provenance(tls.and_then(tls::block).unwrap_or_default().0 as usize),
        }
    };
    members.iter().map(info).filter(|info| info.count > 0).collect()
}
