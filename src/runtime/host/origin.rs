//! Where everything starts: the program headers that the kernel tells, and the system loader's list.
//!
//! Invariant: [`Origin`] is what the kernel's auxiliary vector said when it was first asked. It is not the same in
//! every kind of process:
//! - `ld-musl prog`: `AT_PHDR` leads to the program headers of ld-musl, not of the program, and nothing in the vector
//!   says so. The list is found by ld-musl's own symbol, and begins with the program as all lists do.
//! - `ld.so prog` (glibc): the vector is corrected to what it would be for `prog`.
//! - A static executable without a dynamic section has no `DT_DEBUG`, hence no list: it is all there is. A static-pie
//!   one has a list of itself.
//! - An executable may lack `PT_PHDR` (static ones of GNU ld do). So the bias is taken from the ELF header in front of
//!   the program headers wherever there is one; only in an executable whose headers were moved away (patchelf) is
//!   `PT_PHDR` asked. Either way the bias has to put the entry point into code.
//! - An executable with a read-only dynamic section (`-z rodynamic`) has a `DT_DEBUG` that nobody could fill in.

use super::chain::Chain;
use super::memory::{self, page_of};
use super::segments::{self, Headers, Segments};
use super::tables::Tables;
use crate::addr::{Bias, RunAddr, VmRange};
use crate::elf::PHENT;
use crate::elf::dynamic::Dynamic;
use crate::error::ErrorKind;
use crate::plan::Query;
use crate::platform::{Auxv, auxv};
use goblin::elf64::program_header as ph;

/// The fixed points of this process.
#[derive(Debug)]
pub(super) struct Origin {
    /// What the kernel started: the executable, or ld-musl.
    pub(super) started: Segments,
    /// Its program headers, as they are in its file.
    pub(super) headers: &'static [u8],
    /// An address in the dynamic linker, if the process has one; else in the executable.
    pub(super) interpreter: RunAddr,
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
        let none = ErrorKind::Host { what: "the system tells no program headers (no auxiliary vector)" };
        let table = auxv(Auxv::Phdr).map(RunAddr).ok_or(none)?;
        let count = auxv(Auxv::Phnum).filter(|&count| count <= u64::from(u16::MAX)).unwrap_or(0);
        // SAFETY: the kernel says that this many program headers are there; nobody writes to them, and what it started
        // is never unmapped.
        let headers = unsafe { memory::borrow(table, count * PHENT as u64) };
        let entry = auxv(Auxv::Entry).map(RunAddr);
        let started = Segments::new(headers, |headers| bias(table, headers, entry))
            .ok_or(ErrorKind::Host { what: "the program headers do not say where the executable is" })?;
        let base = auxv(Auxv::Base).map(RunAddr);
        let chain = own_chain(&started).or_else(|| match base {
            Some(base) => chain_of(&interpreter_at(base)?),
            None => chain_of(&started),
        });
        Ok(Origin { started, headers, interpreter: base.unwrap_or(table), chain })
    }

    /// Where the dynamic section of what the kernel started is: 0 if it has none.
    pub(super) fn dynamic(&self) -> RunAddr {
        self.started.dynamic.map_or(RunAddr(0), |section| section.start + self.started.bias)
    }
}

/// Where the image is whose program headers are at `table`.
fn bias(table: RunAddr, headers: Headers<'_>, entry: Option<RunAddr>) -> Option<Bias> {
    let page = page_of(table);
    // SAFETY: the program headers are in this page, so it can be read; nobody writes to headers.
    let header = unsafe { memory::borrow(page, (table.0 - page.0).min(segments::EHSIZE)) };
    let is_header = segments::table_of(header).is_some_and(|(offset, _)| page.0 + offset == table.0);
    let start = headers.find(|header| header.kind == ph::PT_LOAD && header.offset == 0).filter(|_| is_header);
    let itself = headers.find(|header| header.kind == ph::PT_PHDR);
    let biases = [start.map(|it| page.0.wrapping_sub(it.vaddr)), itself.map(|it| table.0.wrapping_sub(it.vaddr))];
    let has_entry = |bias: &Bias| match entry {
        Some(entry) => headers.find(|header| is_code(header, *bias, entry)).is_some(),
        None => true,
    };
    biases.into_iter().flatten().map(Bias).find(has_entry)
}

fn is_code(header: &crate::elf::ProgramHeader, bias: Bias, at: RunAddr) -> bool {
    let range = VmRange::new(header.vaddr, header.mem_size).filter(|_| header.kind == ph::PT_LOAD);
    header.flags & ph::PF_X != 0 && range.is_some_and(|range| range.holds(at.to_vm(bias), 1))
}

fn dynamic(segments: &Segments) -> Option<Dynamic> {
    let at = segments.dynamic?.start + segments.bias;
    segments.region(at, 16)?;
    // SAFETY: the image is mapped, and its program headers say that a dynamic section is there.
    Some(unsafe { segments::read_dynamic(at) })
}

/// The list that `DT_DEBUG` of an image leads to.
fn own_chain(segments: &Segments) -> Option<Chain> {
    Chain::at(RunAddr(dynamic(segments)?.debug?))
}

/// The image whose ELF header is at `base`, which the kernel mapped there.
fn interpreter_at(base: RunAddr) -> Option<Segments> {
    // SAFETY: the kernel says that it mapped the dynamic linker at this address, where it stays.
    let table = unsafe { segments::program_headers(page_of(base)) }?;
    let start = |headers: Headers<'_>| Some(headers.find(|header| header.kind == ph::PT_LOAD)?.vaddr);
    Segments::new(table, |headers| Some(Bias(base.0.wrapping_sub(start(headers)?))))
}

/// The list that belongs to a dynamic linker, by the symbols that debuggers look for.
fn chain_of(interpreter: &Segments) -> Option<Chain> {
    let dynamic = dynamic(interpreter)?;
    let tables = Tables::new(interpreter, &dynamic, true);
    let address = |name| Some(tables.symbols().find(&Query::by_name(name))?.vm + interpreter.bias);
    // glibc exports the structure, musl a pointer to it.
    let pointer = address(b"_dl_debug_addr").and_then(|at| interpreter.word(at)).map(RunAddr);
    pointer.or_else(|| address(b"_r_debug")).and_then(Chain::at)
}
