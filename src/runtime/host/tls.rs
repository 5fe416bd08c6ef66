//! Where the thread-locals of the process's images are: read back from what the system loader has written.
//!
//! An image with thread-locals has a *module id*, which general-dynamic code passes to `__tls_get_addr`; and those that
//! were there at start-up have their block at the same *offset* from the thread pointer in every thread. Neither is
//! public. But where an image's relocations name a thread-local, the system loader has stored what we want:
//! - a `TPOFF64` slot holds the variable's offset from the thread pointer: less the variable's value and the addend,
//!   that of its module (`S + A + offset`);
//! - a `DTPMOD64` slot holds the module id.
//!
//! Only `DT_RELA` is read, which every loader applies before it runs any of the image's code. (`DT_JMPREL` may hold
//! lazy ones.) A slot of an image that another thread is just loading may not be written yet: then it holds zero or an
//! addend, and no offset and no id is zero, and on x86-64 no offset is positive. Whatever contradicts itself is dropped.
//!
//! Two things need no reading. The executable is module 1, and its offset is a formula, since its code has it built in
//! (Drepper, "ELF Handling For Thread-Local Storage", §3 and §4.4). And what is still missing for other images of the
//! start-up scope is deduced: all system loaders number them in the order of their list, which is believed if nothing
//! that was read says otherwise; and `__tls_get_addr` tells the offset for an id.
//!
//! Invariant: an offset that is handed out lies within 2 GiB of the thread pointer, on the side where the machine's ABI
//! puts static blocks, and is aligned as the image asks.

use super::vanishing::with_care;
use super::{HostImage, HostImages};
use crate::addr::{RunAddr, VmAddr};
use crate::bytes::Bytes;
use crate::elf::machine::{self, Relocation};
use crate::plan::{Fixup, FixupKind, Machine, Query, TlsModel, TlsTemplate};
use crate::symbol::{Class, SymbolKind};

/// Size of a relocation with addend (`Elf64_Rela`).
const RELAENT: usize = 24;

/// What is known about the thread-locals of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostTls {
    /// From the thread pointer to its block, in every thread.
    pub(crate) offset: Option<i64>,
    /// Its id for `__tls_get_addr`.
    pub(crate) module: Option<u64>,
}

/// A value that all witnesses must agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fact<T> {
    #[default]
    Unknown,
    Known(T),
    Contradicted,
}

impl<T: Copy + PartialEq> Fact<T> {
    fn add(&mut self, value: T) {
        *self = match *self {
            Fact::Unknown => Fact::Known(value),
            Fact::Known(known) if known == value => *self,
            _ => Fact::Contradicted,
        }
    }

    fn known(self) -> Option<T> {
        match self {
            Fact::Known(value) => Some(value),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    offset: Fact<i64>,
    module: Fact<u64>,
}

/// Finds out what can be found out about all images.
pub(super) fn read_back(images: &HostImages) -> Vec<HostTls> {
    let mut facts = vec![Facts::default(); images.images.len()];
    for (index, image) in images.still_there() {
        if let Some(template) = image.thread_locals().filter(|_| image.is_main) {
            facts[index].module.add(1);
            own_offset(&template).into_iter().for_each(|offset| facts[index].offset.add(offset));
        }
        let mut read = || {
            // SAFETY: the image was still listed just now, and the slice is not kept.
            let relocations = unsafe { image.relocations() };
            relocations
                .as_chunks::<RELAENT>()
                .0
                .iter()
                .for_each(|relocation| witness(images, index, relocation, &mut facts));
        };
        if image.permanent { read() } else { with_care(read) }
    }
    deduce(images, &facts)
}

/// Adds what one relocation of image `from` tells, if it is about thread-locals.
fn witness(images: &HostImages, from: usize, relocation: &[u8; RELAENT], facts: &mut [Facts]) {
    let (image, Some(machine)) = (&images.images[from], Machine::HOST) else { return };
    let Some(relocation) = decode(relocation).filter(|it| it.r_type != machine::relative(machine)) else { return };
    let Ok(Fixup { place, kind: FixupKind::Tls { model, addend, .. } }) = machine::lower(machine, &relocation) else {
        return;
    };
    if !matches!(model, TlsModel::ThreadOffset | TlsModel::ModuleId) {
        return;
    }
    let Some((index, value)) = definition(images, from, relocation.symbol) else { return };
    let Some(slot) = image.word(place + image.bias()) else { return };
    let Some(template) = images.images[index].thread_locals() else { return };
    if model == TlsModel::ModuleId {
        // A tagged or otherwise absurd id is not one of the system loader's.
        if (1..1 << 32).contains(&slot) {
            facts[index].module.add(slot);
        }
        return;
    }
    let offset = (slot as i64).wrapping_sub(value.0 as i64).wrapping_sub(addend);
    if slot != 0 && is_plausible(offset, &template) {
        facts[index].offset.add(offset);
    }
}

fn decode(raw: &[u8; RELAENT]) -> Option<Relocation> {
    let field = Bytes(raw);
    let info = field.u64(8)?;
    Some(Relocation {
        place: VmAddr(field.u64(0)?),
        r_type: info as u32,
        symbol: (info >> 32) as u32,
        addend: field.u64(16)? as i64,
    })
}

/// The image that defines what a relocation of image `from` names, and the variable's place in its block.
fn definition(images: &HostImages, from: usize, symbol: u32) -> Option<(usize, VmAddr)> {
    if symbol == 0 {
        return Some((from, VmAddr(0)));
    }
    let row = images.images[from].symbols().import(symbol)?;
    if row.binds_locally() {
        return row.own().map(|found| (from, found.vm));
    }
    let query = row.query(Class::Tls).ok()?;
    let in_image = |index: usize| Some((index, images.images[index].symbols().find(&query)?));
    let all = 0..images.images.len();
    let (scope, others): (Vec<_>, Vec<_>) = all.partition(|&index| images.images[index].global);
    let mut order = scope.into_iter().chain([from]).chain(others);
    let (index, found) = order.find_map(in_image)?;
    (found.kind == SymbolKind::Tls).then_some((index, found.vm))
}

/// The executable's own offset (psABI of the machine, "local exec"; as in lld's `getTlsTpOffset`).
fn own_offset(template: &TlsTemplate) -> Option<i64> {
    let (start, size, align) = (template.image.start.0, template.size, template.align);
    let below = size.wrapping_add(start.wrapping_neg().wrapping_sub(size) & (align - 1));
    let above = 16u64.wrapping_add(start.wrapping_sub(16) & (align - 1));
    match Machine::HOST? {
        Machine::X86_64 => Some((below as i64).wrapping_neg()),
        Machine::Aarch64 => Some(above as i64),
    }
}

/// Whether a static block of that image may be at `offset`.
fn is_plausible(offset: i64, template: &TlsTemplate) -> bool {
    const NEAR: i64 = 1 << 31;
    let Ok(size) = i64::try_from(template.size) else { return false };
    let on_its_side = match Machine::HOST {
        Some(Machine::X86_64) => (-NEAR..=-size.min(NEAR)).contains(&offset),
        Some(Machine::Aarch64) => (16..NEAR).contains(&offset),
        None => false,
    };
    let aligned =
        (offset as u64).wrapping_sub(template.image.start.0) & (template.align.min(crate::addr::MIN_PAGE) - 1) == 0;
    on_its_side && aligned
}

/// Completes the facts about the images of the start-up scope.
fn deduce(images: &HostImages, facts: &[Facts]) -> Vec<HostTls> {
    let has_block = |index: &usize| images.images[*index].global && images.images[*index].thread_locals().is_some();
    let numbered: Vec<_> = (0..facts.len()).filter(has_block).zip(1u64..).collect();
    let block_of = |module| block_offset(images, module);
    let agrees = |&(index, number): &(usize, u64)| match (facts[index].module, facts[index].offset) {
        (Fact::Known(module), _) => module == number,
        // No id was read, but where the block is was: the number must lead there.
        (_, Fact::Known(offset)) => block_of(number) == Some(offset),
        _ => true,
    };
    let believed = numbered.iter().all(agrees);
    let mut known: Vec<_> =
        facts.iter().map(|it| HostTls { offset: it.offset.known(), module: it.module.known() }).collect();
    for (index, number) in numbered {
        let row = &mut known[index];
        row.module = row.module.or(believed.then_some(number));
        let template = images.images[index].thread_locals();
        let fits = |offset: &i64| template.is_some_and(|template| is_plausible(*offset, &template));
        row.offset = row.offset.or_else(|| row.module.and_then(block_of).filter(fits));
    }
    known
}

/// From the thread pointer to this thread's block of a module of the start-up scope.
pub(super) fn block_offset(images: &HostImages, module: u64) -> Option<i64> {
    #[repr(C)]
    struct Index {
        module: u64,
        offset: u64,
    }
    type GetAddress = unsafe extern "C" fn(*const Index) -> *const u8;
    let query = Query::by_name(b"__tls_get_addr");
    let define = |image: &HostImage| Some(image.symbols().find(&query)?.vm + image.bias());
    let at = images.images.iter().filter(|image| image.global).find_map(|image| define(image))?;
    let index = Index { module, offset: 0 };
    // SAFETY: this is the system's function of that name, whose type the TLS ABI fixes.
    let get_address: GetAddress = unsafe { function(at).filter(|_| images.is_code(at)) }?;
    // SAFETY: the ids of the start-up scope are 1 to the number of its images with thread-locals; this is one of them.
    let block = unsafe { get_address(&raw const index) };
    Some((block as i64).wrapping_sub(thread_pointer()? as i64))
}

/// The function at `at`.
///
/// # Safety
/// `F` is a function pointer, and the type of the function there.
unsafe fn function<F: Copy>(at: RunAddr) -> Option<F> {
    // SAFETY: not null and as large as a pointer, as checked; all else says the caller.
    (at.0 != 0 && size_of::<F>() == size_of::<usize>()).then(|| unsafe { std::mem::transmute_copy(&(at.0 as usize)) })
}

/// The address that offsets count from in this thread.
#[allow(unreachable_code)] // where the machine is known
pub(super) fn thread_pointer() -> Option<u64> {
    let pointer: u64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the first word at the thread pointer is the thread pointer itself (psABI).
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
        return Some(pointer);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register that any code may read.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags));
        return Some(pointer);
    }
    #[allow(unused_assignments)]
    None
}
