//! Mach-O: from a file's header and load commands to a [`LoadPlan`]. Universal files, x86_64, arm64 and arm64e.
//!
//! Sources: `<mach-o/loader.h>`, `<mach-o/fat.h>`, `<mach-o/fixup-chains.h>` and dyld.

mod apply;
pub mod chained;
pub mod commands;
pub mod exports;
pub mod fat;
mod limits;
mod names;
pub mod opcodes;
pub mod process;
pub mod segments;
pub mod symbols;
pub mod unwind;

use crate::addr::{FileOffset, FileRange, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::error::ErrorKind;
use crate::plan::{
    Fixup, FixupKind, Flags, LoadPlan, Machine, SearchPaths, Signature, TlsModel, UnwindTables, Visitor,
};
use crate::symbol::{Class, ImportId};
use commands::{Commands, Header};
use fat::Slice;
use goblin::mach::constants::cputype::{CPU_TYPE_ARM64, CPU_TYPE_X86_64};
use opcodes::Binds;
use segments::Segment;
use symbols::Stream;

/// The image defines symbols that others may share, or shares those of others.
const MH_WEAK_DEFINES: u32 = 0x8000;
const MH_BINDS_TO_WEAK: u32 = 0x1_0000;

/// Size of the descriptor of a thread-local variable.
const DESCRIPTOR: u64 = 24;

/// Where the tables of one image are. Ranges are of the whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// The image: all of a file, or a part of a universal one.
    pub image: FileRange,
    /// The segments, as fixups number them.
    pub segments: Vec<Segment>,
    /// Where the header is mapped.
    pub header: VmAddr,
    /// Rebase opcodes.
    pub rebase: FileRange,
    /// Bind opcodes: of data, of functions, and of what images share.
    pub binds: [FileRange; 3],
    /// The payload of `LC_DYLD_CHAINED_FIXUPS`.
    pub chained: FileRange,
    /// The export trie.
    pub exports: FileRange,
    /// `LC_SYMTAB`: rows of 16 bytes.
    pub rows: FileRange,
    /// The names of those.
    pub names: FileRange,
    /// Descriptors of thread-local variables, ascending.
    pub thread_variables: Vec<VmRange>,
    /// What a plugin states of itself: the section `__sideload`, of notes as ELF has them.
    pub notes: Option<VmRange>,
}

impl Tables {
    fn stream(&self, stream: Stream) -> FileRange {
        match stream {
            Stream::Chained => self.chained,
            Stream::Bind => self.binds[0],
            Stream::Lazy => self.binds[1],
            Stream::Weak => self.binds[2],
        }
    }

    /// Where the whole file holds a segment.
    fn in_file(&self, segment: &Segment) -> FileRange {
        FileRange { start: FileOffset(self.image.start.0 + segment.file.start.0), size: segment.file.size }
    }
}

/// The bytes of a range that was checked when the plan was made.
fn slice(file: &[u8], range: FileRange) -> &[u8] {
    Bytes(file).slice(range.start.0, range.size).unwrap_or_default()
}

/// Which instruction set an image is for.
///
/// # Errors
/// Any other processor, by name where it has one.
pub fn machine(image: &Slice) -> Result<Machine, ErrorKind> {
    match image.cpu {
        CPU_TYPE_X86_64 => Ok(Machine::X86_64),
        CPU_TYPE_ARM64 => Ok(Machine::Aarch64),
        other => Err(ErrorKind::WrongTarget {
            field: "cputype",
            found: image.arch().map_or_else(|| format!("{other:#x}"), str::to_owned),
            expected: "x86_64 or arm64".into(),
        }),
    }
}

/// Lowers one image of a file to its plan.
///
/// # Errors
/// The first thing that is malformed, or that no loader here can honour.
pub fn lower(file: &[u8], image: &Slice) -> Result<LoadPlan, ErrorKind> {
    let machine = machine(image)?;
    let header = Header::parse(slice(file, image.file))?;
    let commands = Commands::read(&header)?;
    let layout = segments::layout(&commands, image.file, header.end())?;
    let tables = tables(&commands, image.file, layout.header)?;
    let flags = Flags {
        weak_definitions: header.flags & (MH_WEAK_DEFINES | MH_BINDS_TO_WEAK) != 0,
        never_needed: header.bundle,
        pointer_auth: image.arch() == Some("arm64e"),
        ..Flags::default()
    };
    Ok(LoadPlan {
        machine,
        needs: commands.needs.clone(),
        filters: Vec::new(),
        search: SearchPaths { run_paths: commands.run_paths.clone(), ..SearchPaths::default() },
        tls: commands.tls(&layout)?,
        init: commands.init(&layout)?,
        fini: commands.fini()?,
        unwind: None,
        unwind_tables: UnwindTables {
            compact: commands.named(b"__unwind_info"),
            records: commands.named(b"__eh_frame"),
        },
        foreign_runtime: commands.foreign_runtime(),
        signature: commands.signature.map(|blob| Signature { image: image.file, blob }),
        soname: commands.install_name,
        build_id: commands.uuid,
        flags,
        span: layout.span,
        align: if machine == Machine::X86_64 { 0x1000 } else { 0x4000 },
        seals: layout.seals,
        regions: layout.regions,
        tables: crate::plan::Tables::MachO(tables),
    })
}

fn tables(commands: &Commands, image: FileRange, header: VmAddr) -> Result<Tables, ErrorKind> {
    if commands.dyld_info.is_none() && commands.chained.is_none() && commands.classic {
        return Err(ErrorKind::unsupported("classic relocations (LC_DYSYMTAB without LC_DYLD_INFO)"));
    }
    let whole = |range: FileRange| FileRange { start: FileOffset(image.start.0 + range.start.0), size: range.size };
    let [rebase, bind, weak, lazy, exports] = commands.dyld_info.unwrap_or_default().map(whole);
    // An image with chains has no opcodes beside them; should it, dyld does not read them.
    let [rebase, bind, weak, lazy] = match commands.chained {
        Some(_) => Default::default(),
        None => [rebase, bind, weak, lazy],
    };
    Ok(Tables {
        image,
        segments: commands.segments.clone(),
        header,
        rebase,
        binds: [bind, lazy, weak],
        chained: whole(commands.chained.unwrap_or_default()),
        exports: commands.exports.map_or(exports, whole),
        rows: whole(commands.symbols[0]),
        names: whole(commands.symbols[1]),
        thread_variables: commands.thread_variables()?,
        notes: commands.named(b"__sideload"),
    })
}

/// Visits every fixup, in the order in which they apply.
///
/// # Errors
/// Opcodes or chains that are malformed, or an error of the visitor.
pub fn fixups<E: From<ErrorKind>>(
    plan: &LoadPlan,
    tables: &Tables,
    file: &[u8],
    visitor: &mut impl Visitor<E>,
) -> Result<(), E> {
    chained::fixups(tables, file, visitor)?;
    apply::rebases(plan, tables, file, visitor)?;
    for range in &tables.thread_variables {
        // A descriptor is { function, key, offset }: the function is bound like any other, the key is its image's id.
        for index in 0..range.size / DESCRIPTOR {
            let place = VmAddr(range.start.0 + index * DESCRIPTOR + 8);
            let kind = FixupKind::Tls { model: TlsModel::ModuleId, import: None, addend: 0 };
            visitor.fixup(Fixup { place, kind })?;
        }
    }
    apply::binds(plan, tables, file, visitor)
}

/// Visits each import once.
///
/// # Errors
/// As [`fixups`].
pub fn imports<E: From<ErrorKind>>(
    tables: &Tables,
    file: &[u8],
    mut each: impl FnMut(ImportId) -> Result<(), E>,
) -> Result<(), E> {
    let chained = chained::Imports::read(tables, file)?;
    (0..chained.len()).try_for_each(|symbol| each(ImportId { symbol, class: Class::Data }))?;
    let mut next = 0;
    let mut binds = Binds::new(tables, file);
    while let Some(bind) = binds.next_bind()? {
        if bind.import.symbol >= next {
            next = bind.import.symbol + 1;
            each(bind.import)?;
        }
    }
    Ok(())
}

/// An upper bound for the imports: each takes a row, or an operation, a letter and a zero.
pub fn import_bound(tables: &Tables) -> usize {
    let rows = tables.chained.size / 4;
    let listed: u64 = tables.binds.iter().map(|range| range.size / 3).sum();
    usize::try_from(rows + listed).unwrap_or(usize::MAX)
}
