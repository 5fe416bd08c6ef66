//! One mapped image and the run-time systems that must know it: thread-locals, unwinders, symbol lookup.
//!
//! Invariant: what is registered or borrowed here refers to a [`HostMemory`] that its owner drops later: the fields of
//! `MappedImage` and `Instance` are declared in that order.

use super::frames::{Frames, RunRange, Unwinder, UnwinderKind};
use super::host::{HostImage, HostImages};
use super::tls::ModuleTls;
use crate::addr::{RunAddr, VmRange};
use crate::error::ErrorKind;
use crate::link::LinkedModule;
use crate::memory::{HostMemory, Memory};
use crate::plan::{LoadPlan, Query, Symbols, Tables};
use crate::elf::symbols::SymbolTable;

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

/// Registers the frames of a sealed module with the given unwinders.
pub(crate) fn register_frames(
    module: &LinkedModule,
    memory: &HostMemory,
    unwinders: &[Unwinder],
) -> Result<Option<Frames>, ErrorKind> {
    let Some(header) = module.plan.unwind.filter(|range| range.size > 0) else { return Ok(None) };
    let run = |range: VmRange| RunRange { start: memory.run(range.start), size: range.size };
    let readable: Vec<RunRange> =
        module.plan.regions.iter().filter(|region| region.prot.read).map(|region| run(region.vm)).collect();
    // SAFETY: the ranges are mapped regions of this memory, which outlives the registration; the index lies in memory
    // that nothing writes after relocation; the unwinders' functions were looked up by their names.
    unsafe { Frames::register(run(header), run(module.plan.span), &readable, unwinders) }
}

/// The unwinder that a host image exports.
pub(crate) fn unwinder(image: &HostImage) -> Option<Unwinder> {
    let find = |name: &[u8]| image.symbols().find(&Query::by_name(name)).map(|found| found.vm + image.bias());
    let (register, deregister) = (find(b"__register_frame")?, find(b"__deregister_frame")?);
    let kind = match find(b"__unw_add_dynamic_fde") {
        Some(_) => UnwinderKind::PerFde,
        None => UnwinderKind::PerSection,
    };
    Some(Unwinder { register, deregister, kind })
}

/// Tells our `__tls_get_addr` where the host's is, for module ids that are not ours.
pub(crate) fn adopt_get_addr(host: &HostImages) {
    let query = Query::by_name(b"__tls_get_addr");
    let found = host.images.iter().find_map(|image| image.symbols().find(&query).map(|found| found.vm + image.bias()));
    if let Some(function) = found {
        // SAFETY: it is the function of that name of the host's dynamic linker.
        unsafe { super::tls::use_host_get_addr(function) };
    }
}

/// The symbol table of a sealed image, borrowed from its memory; tables that stay writable are copied.
pub(crate) fn symbols(plan: &LoadPlan, memory: &HostMemory) -> Result<Symbols<'static>, ErrorKind> {
    let Tables::Elf(tables) = &plan.tables;
    SymbolTable::new(&tables.parts(|extent| table(plan, memory, extent.vm_range())))
}

fn table(plan: &LoadPlan, memory: &HostMemory, range: VmRange) -> &'static [u8] {
    // SAFETY: the slice is kept in the instance that owns the memory, or in a symbol handle that borrows it.
    match unsafe { memory.constant(plan, range) } {
        Some(bytes) => bytes,
        None => &[],
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
        // SAFETY: the id is that of the image the symbol was found in, which is loaded.
        SymbolKind::Tls => tls.map(|id| unsafe { super::tls::address(id, found.vm.0) }),
    }
}
