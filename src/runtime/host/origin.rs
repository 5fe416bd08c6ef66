//! Where everything starts: the executable's program headers, which the kernel tells, and the system loader's list.
//!
//! Invariant: [`Origin`] is what the kernel's auxiliary vector said when it was first asked. The vector cannot be taken
//! at its word everywhere:
//! - `ld-musl prog`: `AT_PHDR` leads to the program headers of ld-musl, not of the program. musl does correct `AT_ENTRY`,
//!   which then lies outside ld-musl. The list is found through ld-musl's own symbol, and the program is its first entry.
//! - `ld.so prog` (glibc): corrected in full.
//! - A static executable has no `DT_DEBUG`, hence no list: the program is all there is.
//! - An executable may lack `PT_PHDR` (static ones of GNU ld do). So the bias is taken from the ELF header in front of
//!   the program headers wherever there is one; only in an executable whose headers were moved away (patchelf) is
//!   `PT_PHDR` asked.
//! - An executable with a read-only dynamic section (`-z rodynamic`) has a `DT_DEBUG` that nobody could fill in.

use super::chain::Chain;
use super::memory::{self, page_of};
use super::segments::{self, Headers, Segments};
use super::tables::Tables;
use crate::addr::{Bias, RunAddr, VmAddr};
use crate::elf::PHENT;
use crate::error::ErrorKind;
use crate::plan::Query;
use crate::platform::{Auxv, auxv};
use goblin::elf64::program_header as ph;

/// The fixed points of this process.
#[derive(Debug)]
pub(super) struct Origin {
    /// The executable, unless only the list can tell.
    pub(super) main: Option<Segments>,
    /// Its program headers, as they are in its file.
    pub(super) headers: &'static [u8],
    /// An address in the dynamic linker, if the process has one.
    pub(super) interpreter: Option<RunAddr>,
    /// The system loader's list, if there is one.
    pub(super) chain: Option<Chain>,
}

impl Origin {
    /// Asks the auxiliary vector.
    ///
    /// # Errors
    /// There is none, or it makes no sense.
    pub(super) fn find() -> Result<Origin, ErrorKind> {
        if cfg!(not(all(target_pointer_width = "64", target_endian = "little"))) {
            return Err(ErrorKind::Host { what: "only 64-bit little-endian processes are supported" });
        }
        let table =
            auxv(Auxv::Phdr).map(RunAddr).ok_or(ErrorKind::Host { what: "the kernel gave no program headers" })?;
        let count = auxv(Auxv::Phnum).filter(|&count| count <= u64::from(u16::MAX)).unwrap_or(0);
        // SAFETY: the kernel says that this many program headers are there; nobody writes to them, and the executable is
        // never unmapped.
        let headers = unsafe { memory::borrow(table, count * PHENT as u64) };
        let segments = Segments::new(headers, |headers| bias(table, headers))
            .ok_or(ErrorKind::Host { what: "the executable's program headers do not say where it is" })?;
        let base = auxv(Auxv::Base).map(RunAddr);
        if auxv(Auxv::Entry).is_some_and(|entry| !segments.is_code(RunAddr(entry))) {
            return Origin::of_interpreter(table, segments, headers);
        }
        let own = dynamic(&segments).and_then(|dynamic| dynamic.debug);
        let chain = own.and_then(|debug| Chain::at(RunAddr(debug)));
        let chain = chain.or_else(|| base.and_then(interpreter_at).and_then(|interpreter| chain_of(&interpreter)));
        Ok(Origin { main: Some(segments), headers, interpreter: base, chain })
    }

    /// Where the executable's dynamic section is, if that is known: 0 if it has none.
    pub(super) fn main_dynamic(&self) -> Option<RunAddr> {
        let main = self.main.as_ref()?;
        Some(main.dynamic.map_or(RunAddr(0), |section| section.start + main.bias))
    }

    /// The kernel started the dynamic linker, as a program, and that did not say so.
    fn of_interpreter(table: RunAddr, interpreter: Segments, headers: &'static [u8]) -> Result<Origin, ErrorKind> {
        let chain =
            chain_of(&interpreter).ok_or(ErrorKind::Host { what: "the dynamic linker's list was not found" })?;
        Ok(Origin { main: None, headers, interpreter: Some(table), chain: Some(chain) })
    }
}

/// Where the image is whose program headers are at `table`.
fn bias(table: RunAddr, headers: Headers<'_>) -> Option<Bias> {
    let page = page_of(table);
    // SAFETY: the program headers are in this page, so it can be read.
    let header = unsafe { memory::borrow(page, (table.0 - page.0).min(64)) };
    let is_header = segments::table_of(header).is_some_and(|(offset, _)| page.0 + offset == table.0);
    let start = headers.find(|header| header.kind == ph::PT_LOAD && header.offset == 0);
    let itself = headers.find(|header| header.kind == ph::PT_PHDR);
    match (start, itself) {
        (Some(start), _) if is_header => Some(Bias(page.0.wrapping_sub(start.vaddr))),
        (_, Some(itself)) => Some(Bias(table.0.wrapping_sub(itself.vaddr))),
        _ => None,
    }
}

fn dynamic(segments: &Segments) -> Option<crate::elf::dynamic::Dynamic> {
    let at = segments.dynamic?.start + segments.bias;
    segments.region(at, 16)?;
    // SAFETY: the image is mapped, and its program headers say that a dynamic section is there.
    Some(unsafe { segments::read_dynamic(at) })
}

/// The image whose ELF header is at `base`, which the kernel mapped there.
fn interpreter_at(base: RunAddr) -> Option<Segments> {
    // SAFETY: the kernel says that it mapped the dynamic linker at this address.
    let table = unsafe { segments::program_headers(page_of(base)) }?;
    let start = |headers: Headers<'_>| Some(headers.find(|header| header.kind == ph::PT_LOAD)?.vaddr);
    Segments::new(table, |headers| Some(Bias(base.0.wrapping_sub(start(headers)?))))
}

/// The list that belongs to a dynamic linker, by the symbols that debuggers look for.
fn chain_of(interpreter: &Segments) -> Option<Chain> {
    let dynamic = dynamic(interpreter)?;
    let tables = Tables::new(interpreter, &dynamic, true);
    let address =
        |name| tables.symbols().find(&Query::by_name(name)).map(|found| VmAddr(found.vm.0) + interpreter.bias);
    // glibc exports the structure, musl a pointer to it.
    let pointer = address(b"_dl_debug_addr").and_then(|at| interpreter.word(at)).map(RunAddr);
    pointer.or(address(b"_r_debug")).and_then(Chain::at)
}
