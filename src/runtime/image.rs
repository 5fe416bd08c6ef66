//! One mapped image and the run-time systems that must know it: thread-locals, unwinders, symbol lookup.
//!
//! Invariant: what is registered or borrowed here refers to a [`HostMemory`] that its owner drops later: the fields of
//! `MappedImage` and `Instance` are declared in that order.

use super::frames::{Frames, RunRange, Unwinder, UnwinderKind};
use super::host::{HostImage, HostImages};
use super::sections;
use super::tls::ModuleTls;
use crate::addr::{RunAddr, VmAddr, VmRange};
use crate::error::{ErrorKind, Place};
use crate::link::{ImageBytes, LinkedModule};
use crate::memory::{HostMemory, Memory};
use crate::plan::{FrameTable, LoadPlan, Machine, Query, Symbols, UnwindTables};
use crate::registry::Instance;
use std::any::Any;
use std::sync::Arc;

/// Registers the thread-locals of a module that has just been mapped.
pub(crate) fn register_tls(module: &LinkedModule, memory: &HostMemory) -> Result<Option<ModuleTls>, ErrorKind> {
    let Some(template) = module.plan.tls else { return Ok(None) };
    let readable = template.image.size == 0
        || module.plan.region(template.image.start, template.image.size).is_some_and(|region| region.prot.read);
    if !readable {
        return Err(ErrorKind::OutsideImage { what: "PT_TLS", range: template.image });
    }
    // SAFETY: the template's image lies in one readable region of this memory, which outlives the registration.
    unsafe { ModuleTls::register(&module.name, &template, memory.bias()) }.map(Some)
}

/// Whether an unwinder that asks may be given the tables: they are in the file and can be read, and on x86-64, where it is
/// known how, they are translated for that.
fn check_tables(plan: &LoadPlan, file: &[u8]) -> Result<(), ErrorKind> {
    let UnwindTables { records, compact, .. } = plan.unwind_tables;
    for range in [records, compact].into_iter().flatten() {
        let is_readable = plan.region(range.start, range.size).is_some_and(|region| region.prot.read);
        if !is_readable || plan.file_offset(range.start, range.size).is_none() {
            return Err(ErrorKind::OutsideImage { what: "unwind tables", range });
        }
    }
    plan.frames(file).map(drop)
}

/// Registers the frames of a sealed module with the given unwinders; see [`Frames::register`].
pub(crate) fn register_frames(
    module: &LinkedModule,
    file: &[u8],
    memory: &HostMemory,
    unwinders: &[Unwinder],
    whole: bool,
) -> Result<Option<Frames>, ErrorKind> {
    let plan = &module.plan;
    if plan.is_two_level() && sections::asked() {
        return check_tables(plan, file).map(|()| None);
    }
    if plan.machine == Machine::Aarch64 && plan.unwind_tables != UnwindTables::default() {
        return Err(ErrorKind::unsupported("unwind tables of arm64 images where the unwinder does not ask for them"));
    }
    if let Some(table) = plan.frames(file)? {
        let table = placed(table, &module.plan, memory)?;
        // SAFETY: the records were written by the front end and speak of this memory, which outlives the registration;
        // the unwinders' functions were looked up by their names.
        return unsafe { Frames::register_table(&table, unwinders) }.map(Some);
    }
    let Some(header) = module.plan.unwind.filter(|range| range.size > 0) else { return Ok(None) };
    let run = |range: VmRange| RunRange { start: memory.run(range.start), size: range.size };
    let readable: Vec<RunRange> =
        module.plan.regions.iter().filter(|region| region.prot.read).map(|region| run(region.vm)).collect();
    // SAFETY: the ranges are mapped regions of this memory, which outlives the registration; the index lies in memory
    // that nothing writes after relocation; the unwinders' functions were looked up by their names.
    unsafe { Frames::register(run(header), run(module.plan.span), &readable, unwinders, whole) }
}

/// The table with run-time addresses.
fn placed(mut table: FrameTable, plan: &LoadPlan, memory: &HostMemory) -> Result<FrameTable, ErrorKind> {
    let FrameTable { bytes, slots, addresses, .. } = &mut table;
    let mut put = |at: usize, change: &dyn Fn(u64) -> u64| {
        if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>) {
            *place = change(u64::from_le_bytes(*place)).to_le_bytes();
        }
    };
    for &(at, slot) in slots.iter() {
        let outside = ErrorKind::malformed("unwind tables: a personality outside the image", Place::Vm(slot));
        let routine = memory.word(plan, slot).ok_or(outside)?;
        put(at, &|_| routine);
    }
    for &at in addresses.iter() {
        // A null pointer to language data says that there are none.
        put(at, &|vm| if vm == 0 { 0 } else { memory.run(VmAddr(vm)).0 });
    }
    Ok(table)
}

/// The unwinder that a host image exports.
pub(crate) fn unwinder(image: &HostImage) -> Option<Unwinder> {
    unwinder_at(|name| image.find(&Query::by_name(name)).map(|found| found.vm + image.bias()))
}

/// Tells the unwinder that an initialised image exports, if it does, of records that were made for others.
pub(crate) fn tell_unwinder(owner: &Arc<Instance>, made: &[&Frames]) {
    let Symbols::Scoped(table) = &*owner.symbols else { return };
    let find = |name: &[u8]| table.find(&Query::by_name(name)).map(|found| found.vm + owner.bias());
    let is_code = |at: &RunAddr| owner.executes(*at);
    let Some(unwinder) = unwinder_at(find).filter(|it| [it.register, it.deregister].iter().all(is_code)) else {
        return;
    };
    let unwinder = Unwinder { sections: unwinder.sections.filter(|both| both.iter().all(is_code)), ..unwinder };
    let keeper: Arc<dyn Any + Send + Sync> = Arc::clone(owner) as _;
    for frames in made {
        // SAFETY: functions of those names, in code of an image that is initialised and stays mapped with its owner.
        unsafe { frames.tell(unwinder, &keeper) };
    }
}

fn unwinder_at(find: impl Fn(&[u8]) -> Option<RunAddr>) -> Option<Unwinder> {
    let (register, deregister) = (find(b"__register_frame")?, find(b"__deregister_frame")?);
    let kind = match find(b"__unw_add_dynamic_fde") {
        Some(_) => UnwinderKind::PerFde,
        None => UnwinderKind::PerSection,
    };
    let sections = find(b"__unw_add_dynamic_eh_frame_section").zip(find(b"__unw_remove_dynamic_eh_frame_section"));
    Some(Unwinder { register, deregister, kind, sections: sections.map(<[RunAddr; 2]>::from) })
}

/// Tells our `__tls_get_addr` where the host's is, for module ids that are not ours.
pub(crate) fn adopt_get_addr(host: &HostImages) {
    let query = Query::by_name(b"__tls_get_addr");
    let found = host.images.iter().find_map(|image| image.find(&query).map(|found| found.vm + image.bias()));
    if let Some(function) = found {
        // SAFETY: it is the function of that name of the host's dynamic linker.
        unsafe { super::tls::use_host_get_addr(function) };
    }
}

/// A symbol table together with the bytes that it borrows. They were read while the image was linked, so keeping them
/// mapped costs nothing, where the same tables in the image's own memory would have to be paged in once more.
#[derive(Debug)]
pub(crate) struct OwnSymbols {
    /// Borrows `file`: its lifetime is a fiction that must not leave this type.
    table: Symbols<'static>,
    file: ImageBytes,
}

impl OwnSymbols {
    /// The symbols of the image that `plan` was made from.
    pub(crate) fn new(plan: &LoadPlan, file: ImageBytes) -> Result<OwnSymbols, ErrorKind> {
        let bytes: &[u8] = &file;
        // SAFETY: the bytes lie in a mapping or on the heap, so they stay where they are until `file` is dropped, which
        // is after `table`: fields drop in the order of their declaration.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        Ok(OwnSymbols { table: plan.symbols(bytes)?, file })
    }

    /// The bytes of the image's file.
    pub(crate) fn file(&self) -> &[u8] {
        &self.file
    }
}

impl std::ops::Deref for OwnSymbols {
    type Target = Symbols<'static>;

    #[inline]
    fn deref(&self) -> &Symbols<'static> {
        &self.table
    }
}

/// The address that a symbol of an image stands for, in the calling thread.
///
/// # Safety
/// An indirect function's resolver is run.
pub(crate) unsafe fn address(found: &crate::plan::Found, bias: crate::addr::Bias, tls: Option<u64>) -> Option<RunAddr> {
    use crate::symbol::SymbolKind;
    match found.kind {
        SymbolKind::Absolute => Some(RunAddr(found.vm.0)),
        SymbolKind::Code | SymbolKind::Data => Some(found.vm + bias),
        // SAFETY: the caller allows the resolver to run; it lies where its image's symbol table says.
        SymbolKind::Ifunc => Some(unsafe { super::call::resolver(found.vm + bias) }),
        // SAFETY: the descriptor lies where its image's export trie says, and was relocated with the image.
        SymbolKind::ThreadVariable => Some(unsafe { super::tls::variable(found.vm + bias) }),
        // SAFETY: the id is that of the image the symbol was found in, which is loaded.
        SymbolKind::Tls => tls.map(|id| unsafe { super::tls::address(id, found.vm.0) }),
    }
}
