//! How the unwinder of macOS finds the tables of loaded images: it asks. Its `__unw_add_find_dynamic_unwind_sections` takes
//! a function that knows, for an address, where the image's header, its compact unwind and its `__eh_frame` are
//! (`libunwind_ext.h` of LLVM, whose comments are the contract). One such function serves all images: it looks into the
//! registry, so nothing is registered with an image, and nothing has to be taken back.
//!
//! The function is looked for in the process's images like any other name. Where the unwinder has none, as that of older
//! systems, images are registered as elsewhere; which for arm64 would take records that nobody writes, so those that
//! have tables are refused.
//!
//! Invariant: what the unwinder is told lies in an image that the registry holds, as its plan says. The unwinder asks for
//! an address in whose function a thread is, so nobody may unload the image.

use super::frames;
use super::host::HostImages;
use crate::addr::{RunAddr, VmRange};
use crate::plan::Query;
use crate::registry::REGISTRY;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

/// `struct unw_dynamic_unwind_sections`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sections {
    /// `dso_base`: what compact unwind counts from.
    header: u64,
    /// `dwarf_section`, and its length.
    records: [u64; 2],
    /// `compact_unwind_section`, and its length.
    compact: [u64; 2],
}

type Find = unsafe extern "C" fn(u64, *mut Sections) -> c_int;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether the unwinder asks.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Acquire)
}

/// Sees to it that it asks, if it can. To be called before anything is loaded.
pub(crate) fn arm(host: &HostImages) {
    type Add = unsafe extern "C" fn(Find) -> c_int;
    let _turn = frames::hold();
    if asked() {
        return;
    }
    let query = Query::by_name(b"__unw_add_find_dynamic_unwind_sections");
    let address = |found: crate::plan::Found, bias| found.vm + bias;
    let add = host.images.iter().find_map(|image| Some(address(image.find(&query)?, image.bias())));
    let Some(add) = add.filter(|&add| host.is_code(add)) else { return };
    let add: *const () = std::ptr::with_exposed_provenance(add.0 as usize);
    // SAFETY: the unwinder's function of that name, which has this type.
    let add = unsafe { std::mem::transmute::<*const (), Add>(add) };
    // SAFETY: the function stays for as long as this library does, which is never unloaded: it has thread-locals.
    let error = unsafe { add(find) };
    // There is room for eight. Whoever comes after them is not asked.
    ASKED.store(error == 0, Ordering::Release);
}

/// What the unwinder asks.
///
/// # Safety
/// `found` can be written to.
unsafe extern "C" fn find(address: u64, found: *mut Sections) -> c_int {
    let Some(sections) = sections(RunAddr(address)) else { return 0 };
    // SAFETY: as the caller promises.
    unsafe { found.write(sections) };
    1
}

/// The tables of the loaded image that holds `at`, if it has any.
fn sections(at: RunAddr) -> Option<Sections> {
    let (instance, _) = REGISTRY.at(at)?;
    let (plan, bias) = (&instance.module.plan, instance.bias());
    let range = |range: Option<VmRange>| range.map_or([0, 0], |range| [(range.start + bias).0, range.size]);
    let (records, compact) = (range(plan.unwind_tables.records), range(plan.unwind_tables.compact));
    let header = (plan.exit_handle()? + bias).0;
    (records[1] + compact[1] > 0).then_some(Sections { header, records, compact })
}

#[cfg(test)]
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
mod tests {
    use super::*;

    /// The bytes there, as many as the caller knows of.
    fn memory(at: u64, size: u64) -> &'static [u8] {
        // SAFETY: the tests read what a loaded image has, and unload none.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(at as usize), size as usize) }
    }

    #[test]
    fn the_tables_of_an_address_are_those_of_its_image() {
        for name in ["bind-x64-chained", "bind-x64-old"] {
            let path = format!("{}/test-fixtures/bin/macho/{name}.dylib", env!("CARGO_MANIFEST_DIR"));
            let file = std::fs::read(&path).expect("a fixture");
            let plan = crate::plan::plan(&file, name).expect("a fixture");
            // SAFETY: its initialisers do nothing but count.
            let library = unsafe { crate::Library::open(path.as_str()) }.expect(name);
            // SAFETY: the symbol is only asked for its address.
            let answer = unsafe { library.get::<*const ()>("answer") }.expect(name).address();
            let mut told = Sections::default();
            // SAFETY: room for what is asked for.
            assert_eq!(unsafe { find(answer.0, &raw mut told) }, 1, "{name}");
            assert_eq!(memory(told.header, 4), [0xcf, 0xfa, 0xed, 0xfe], "{name}");
            for ([at, size], range) in
                [(told.compact, plan.unwind_tables.compact), (told.records, plan.unwind_tables.records)]
            {
                let content = range.map_or(&[][..], |range| {
                    let start = plan.file_offset(range.start, range.size).expect("in the file") as usize;
                    &file[start..start + range.size as usize]
                });
                assert!(size == 0 && content.is_empty() || memory(at, size) == content, "{name}");
            }
            assert!(told.compact[1] > 0, "{name}");
        }
    }

    #[test]
    fn of_other_addresses_nothing_is_told() {
        let mut told = Sections::default();
        for at in [0, u64::MAX, find as *const () as u64] {
            // SAFETY: room for what is asked for.
            assert_eq!(unsafe { find(at, &raw mut told) }, 0, "{at:#x}");
        }
        assert_eq!(told, Sections::default());
    }
}
