//! The plan of one image: everything that loading it will do, as data.
//!
//! A [`LoadPlan`] holds no pointer, no run-time address and no lifetime. Two loads of one file have equal plans, so a
//! plan can be compared, printed, kept as a golden file, audited and fuzzed. What is large (relocations, symbols) is
//! not copied into it: [`Tables`] keeps *ranges* of the file, and [`LoadPlan::fixups`] and
//! [`LoadPlan::symbols`] borrow them again from the bytes.

mod rows;
mod symbols;
mod visitor;

use crate::addr::{FileRange, VmAddr, VmRange};
use crate::elf;
use crate::error::{Error, ErrorKind};
use crate::macho;
use crate::symbol::ImportId;

/// What loading one image will do.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPlan {
    /// The instruction set.
    pub machine: Machine,
    /// The name the image gives itself (`DT_SONAME`, `LC_ID_DYLIB`).
    pub soname: Option<Vec<u8>>,
    /// What to map, ascending and disjoint.
    pub regions: Vec<Region>,
    /// Whole span of the regions, from page to page of the largest alignment asked for.
    pub span: VmRange,
    /// Alignment of the span in memory, in bytes: a power of two.
    pub align: u64,
    /// What becomes read-only once relocated (`PT_GNU_RELRO`, `SG_READ_ONLY`), as the file states it; sealing takes the
    /// whole pages.
    pub seals: Vec<VmRange>,
    /// Images that this one needs, in order.
    pub needs: Vec<Need>,
    /// Images whose definitions take the place of its own (`DT_FILTER`, `DT_AUXILIARY`).
    pub filters: Vec<Filtee>,
    /// Folders to search for them.
    pub search: SearchPaths,
    /// The template of its thread-locals.
    pub tls: Option<TlsTemplate>,
    /// What runs after relocation, in this order: the function, then the array.
    pub init: Entries,
    /// What runs when it is unloaded or the process ends: the array backwards, then the function.
    pub fini: Entries,
    /// Where its unwind tables' index is (`PT_GNU_EH_FRAME`).
    pub unwind: Option<VmRange>,
    /// Unwind tables without such an index.
    pub unwind_tables: UnwindTables,
    /// What a language's own run-time system would have to be told about before the image can run, if anything.
    pub foreign_runtime: Option<&'static str>,
    /// A signature that the system has to accept before it maps code from the file.
    pub signature: Option<Signature>,
    /// The build id note, or the `LC_UUID`.
    pub build_id: Option<Vec<u8>>,
    /// What it asks of a loader.
    pub flags: Flags,
    /// Where relocations, symbols and versions are.
    pub tables: Tables,
}

/// Instruction sets whose relocations we know, or know the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Machine {
    /// x86-64, System V psABI.
    X86_64,
    /// AArch64: planned and linked anywhere, not run yet.
    Aarch64,
}

impl Machine {
    /// The machine that this process runs on, if it is one that we can load for.
    pub const HOST: Option<Machine> = if cfg!(target_arch = "x86_64") {
        Some(Machine::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Machine::Aarch64)
    } else {
        None
    };

    /// The name that compilers use.
    pub fn as_str(self) -> &'static str {
        match self {
            Machine::X86_64 => "x86_64",
            Machine::Aarch64 => "aarch64",
        }
    }
}

/// One run of memory with one protection: a `PT_LOAD`, an `LC_SEGMENT_64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Addresses it covers; its end is that of the zero-fill.
    pub vm: VmRange,
    /// Bytes of the file at its start; the rest of `vm` is zero.
    pub file: FileRange,
    /// Protection once loaded.
    pub prot: Prot,
}

impl Region {
    /// Addresses whose content comes from the file.
    pub fn file_backed(&self) -> VmRange {
        VmRange { start: self.vm.start, size: self.file.size }
    }
}

/// What may be done with a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prot {
    /// Read.
    pub read: bool,
    /// Write.
    pub write: bool,
    /// Execute.
    pub execute: bool,
}

impl Prot {
    /// Nothing.
    pub const NONE: Prot = Prot { read: false, write: false, execute: false };
    /// Read only.
    pub const READ: Prot = Prot { read: true, write: false, execute: false };
    /// Read and write.
    pub const READ_WRITE: Prot = Prot { read: true, write: true, execute: false };
}

/// Another image that this one needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its name, or its path where it holds a slash.
    pub name: Vec<u8>,
    /// How it is needed.
    pub kind: NeedKind,
}

/// How an image needs another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NeedKind {
    /// It must be there, and is initialised before its user (`DT_NEEDED`, `LC_LOAD_DYLIB`).
    #[default]
    Required,
    /// It may be missing: what is imported from it is null then (`LC_LOAD_WEAK_DYLIB`).
    Optional,
    /// Its exports count as the user's own (`LC_REEXPORT_DYLIB`).
    Reexported,
    /// It is above its user, and is initialised after it (`LC_LOAD_UPWARD_DYLIB`).
    Upward,
}

impl NeedKind {
    /// The word that listings print.
    pub fn as_str(self) -> &'static str {
        match self {
            NeedKind::Required => "required",
            NeedKind::Optional => "optional",
            NeedKind::Reexported => "reexported",
            NeedKind::Upward => "upward",
        }
    }
}

/// An image that stands before this one in the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtee {
    /// Its name, as in [`Need`].
    pub name: Vec<u8>,
    /// Whether it must exist (`DT_FILTER`), or this image serves without it (`DT_AUXILIARY`).
    pub required: bool,
}

/// Folders that the image names for its needs, unexpanded; ELF's are separated by colons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPaths {
    /// `DT_RPATH`: holds for everything below this image, unless it has a runpath.
    pub rpath: Option<Vec<u8>>,
    /// `DT_RUNPATH`: holds for the needs of this image.
    pub runpath: Option<Vec<u8>>,
    /// `LC_RPATH`: what `@rpath` stands for in the needs of this image and of those below it.
    pub run_paths: Vec<Vec<u8>>,
}

/// The initial image of each thread's copy of the thread-locals (`PT_TLS`, or sections of type
/// `S_THREAD_LOCAL_REGULAR` and `S_THREAD_LOCAL_ZEROFILL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsTemplate {
    /// Where the initialised part is: also in memory, where it has been relocated.
    pub image: VmRange,
    /// Size of a copy, in bytes; what the image does not fill is zero.
    pub size: u64,
    /// Alignment of a copy, in bytes: a power of two.
    pub align: u64,
}

/// Functions to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// `DT_INIT`, `DT_FINI` or `LC_ROUTINES_64`.
    pub function: Option<VmAddr>,
    /// `DT_INIT_ARRAY` or `DT_FINI_ARRAY`; in Mach-O any number of sections.
    pub arrays: Vec<EntryArray>,
}

/// An array of functions to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryArray {
    /// Where it is.
    pub range: VmRange,
    /// What its elements are.
    pub form: EntryForm,
}

/// How an array names its functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryForm {
    /// Pointers, relocated like any other data.
    Pointers,
    /// Offsets of 32 bits (`S_INIT_FUNC_OFFSETS`).
    Offsets {
        /// What they count from.
        from: VmAddr,
    },
}

impl EntryForm {
    /// Size of an element in bytes.
    pub fn size(self) -> u64 {
        match self {
            EntryForm::Pointers => 8,
            EntryForm::Offsets { .. } => 4,
        }
    }
}

/// Where the signature of code is (`LC_CODE_SIGNATURE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The image that it signs, as a range of the file.
    pub image: FileRange,
    /// The signature, as a range of the image.
    pub blob: FileRange,
}

/// Unwind tables that are found by their section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindTables {
    /// `__unwind_info`: a few bits a function.
    pub compact: Option<VmRange>,
    /// `__eh_frame`: records in DWARF's form, without an index.
    pub records: Option<VmRange>,
}

/// Unwind records that were made for an image, in the form that unwinders take: a section with its end, in which all
/// pointers are absolute and still without the bias.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameTable {
    /// The section.
    pub bytes: Vec<u8>,
    /// Where in it the records of functions are.
    pub records: Vec<usize>,
    /// Where in it addresses of the image are, of eight bytes.
    pub addresses: Vec<usize>,
    /// Where in it goes what the image has at an address, once it is relocated.
    pub slots: Vec<(usize, VmAddr)>,
}

/// What an image asks of its loader, from `DT_FLAGS`, `DT_FLAGS_1` and `PT_GNU_STACK`, or from the Mach-O header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Its own definitions come before the global scope (`DF_SYMBOLIC`).
    pub symbolic: bool,
    /// Read-only segments hold relocations: `DF_TEXTREL` says so, and it is true.
    pub text_relocations: bool,
    /// Never to be unloaded (`DF_1_NODELETE`).
    pub no_delete: bool,
    /// To be initialised before all others (`DF_1_INITFIRST`).
    pub init_first: bool,
    /// To be put in front of the scope; only meant for the preloaded (`DF_1_INTERPOSE`).
    pub interpose: bool,
    /// Its needs are not looked for in the default folders (`DF_1_NODEFLIB`).
    pub no_default_folders: bool,
    /// Uses thread-locals at fixed offsets from the thread pointer (`DF_STATIC_TLS`).
    pub static_tls: bool,
    /// Asks for executable stacks: `PT_GNU_STACK` with `PF_X`, or none at all.
    pub executable_stack: bool,
    /// Defines symbols that images agree on one definition of, or uses such (`MH_WEAK_DEFINES`, `MH_BINDS_TO_WEAK`).
    pub weak_definitions: bool,
    /// May be opened, but no image can need it (`MH_BUNDLE`).
    pub never_needed: bool,
    /// Its pointers carry signatures where the processor knows them (arm64e).
    pub pointer_auth: bool,
}

/// Where a format keeps what is too large to copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Tables {
    /// ELF's relocation, symbol, hash and version tables.
    Elf(elf::Tables),
    /// Mach-O's opcodes or chains, and its export trie.
    MachO(macho::Tables),
}

pub use crate::astray::astray;
pub use elf::symbols::{Filter, Found, NeededVersion, Query, SymbolTable as ScopedSymbols};
pub use macho::symbols::{Exported, Import, Level, Stream, SymbolTable as TwoLevelSymbols};
pub use rows::{Contents, ItemRows};
pub use symbols::{Binding, Export, Leads, Near, Symbols};
pub use visitor::Visitor;

/// One change that relocation makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixup {
    /// The first byte that it writes.
    pub place: VmAddr,
    /// What it writes.
    pub kind: FixupKind,
}

/// What a fixup writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixupKind {
    /// The run-time address of `target`.
    Rebase {
        /// An address of this image.
        target: VmAddr,
    },
    /// The value of a symbol (its size, where the import's class says so) plus `addend`, in the given form.
    Bind {
        /// The symbol; `None` stands for this image itself, at address 0.
        import: Option<ImportId>,
        /// Added to it, modulo 2^64.
        addend: i64,
        /// How it is stored.
        form: Form,
    },
    /// Something about a thread-local variable.
    Tls {
        /// What.
        model: TlsModel,
        /// The variable; `None` stands for this image's own block.
        import: Option<ImportId>,
        /// Added to its offset, modulo 2^64.
        addend: i64,
    },
    /// What the function at `target` returns (`IRELATIVE`).
    Resolver {
        /// An address of this image.
        target: VmAddr,
    },
    /// As [`FixupKind::Bind`] in 64 bits, and signed, where the process signs pointers. None that we run in does: then
    /// the plain value is what the pointer holds.
    Signed {
        /// The symbol; `None` stands for this image itself, at address 0.
        import: Option<ImportId>,
        /// Added to it, modulo 2^64.
        addend: i64,
        /// How it would be signed.
        auth: PointerAuth,
    },
    /// Nothing: a relocation that the linker emptied (`R_X86_64_NONE`).
    Nothing,
}

/// How a pointer is signed on arm64e.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointerAuth {
    /// The key.
    pub key: PointerKey,
    /// The discriminator.
    pub diversity: u16,
    /// Whether the pointer's own address is blended into it.
    pub address: bool,
}

/// The keys of arm64e: A and B, for instructions and for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PointerKey {
    IA,
    IB,
    DA,
    DB,
}

/// How a bound value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 64 bits: S + A.
    Abs64,
    /// 32 bits, zero-extended: S + A must fit.
    Abs32,
    /// 32 bits, sign-extended: S + A must fit.
    Abs32Signed,
    /// 32 bits relative to the place, S + A − P must fit.
    Pc32,
    /// 64 bits relative to the place.
    Pc64,
    /// 64 bits in the global offset table: S + A, where linkers leave A zero.
    Got64,
}

/// What a thread-local fixup writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsModel {
    /// The id of the module that defines it.
    ModuleId,
    /// Its offset in that module's block.
    ModuleOffset,
    /// Its offset from the thread pointer (initial exec).
    ThreadOffset,
    /// A descriptor of two words (TLSDESC).
    Descriptor,
}

impl LoadPlan {
    /// Calls `each` with every fixup of the image, in the order in which they are applied.
    ///
    /// `bytes` is the file that the plan was made from. This is a visitor, not an iterator, because half a million
    /// relocations pass through it: each table's loop stays a loop.
    ///
    /// # Errors
    /// The first relocation that cannot be expressed (unknown type, index out of range), or the first error of `each`.
    pub fn fixups<E>(&self, bytes: &[u8], mut each: impl FnMut(Fixup) -> Result<(), E>) -> Result<(), E>
    where
        E: From<ErrorKind>,
    {
        self.visit(bytes, &mut each)
    }

    /// As [`LoadPlan::fixups`]. What the visitor has windows for does not come in any order, since no two fixups of it
    /// concern the same bytes.
    ///
    /// # Errors
    /// As [`LoadPlan::fixups`].
    pub fn visit<E: From<ErrorKind>>(&self, bytes: &[u8], visitor: &mut impl Visitor<E>) -> Result<(), E> {
        match &self.tables {
            Tables::Elf(tables) => elf::relocs::fixups(self, tables, bytes, visitor),
            Tables::MachO(tables) => macho::fixups(self, tables, bytes, visitor),
        }
    }

    /// What a system loader that describes images in place (glibc) adds to the fixups: the addresses in the image's
    /// own dynamic section, as run-time ones. None where that cannot be written to.
    pub fn description<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Fixup> + 'a {
        let tables = match &self.tables {
            Tables::Elf(tables) => Some(tables),
            Tables::MachO(_) => None,
        };
        let rows = tables.into_iter().flat_map(|tables| tables.addresses(bytes));
        let rows = rows.filter(|&(place, _)| self.region(place, 8).is_some_and(|region| region.prot.write));
        rows.map(|(place, target)| Fixup { place, kind: FixupKind::Rebase { target } })
    }

    /// Calls `each` with the import of every fixup that names one: as often as it is named.
    ///
    /// # Errors
    /// As [`LoadPlan::fixups`].
    pub fn imports<E>(&self, bytes: &[u8], each: impl FnMut(ImportId) -> Result<(), E>) -> Result<(), E>
    where
        E: From<ErrorKind>,
    {
        match &self.tables {
            Tables::Elf(tables) => elf::relocs::imports(self, tables, bytes, each),
            Tables::MachO(tables) => macho::imports(tables, bytes, each),
        }
    }

    /// No more imports than this, in all classes together: what their tables have room for.
    pub fn import_bound(&self) -> usize {
        match &self.tables {
            Tables::Elf(tables) => elf::relocs::import_bound(tables),
            Tables::MachO(tables) => macho::import_bound(tables),
        }
    }

    /// The symbol table, borrowed from the file that the plan was made from.
    ///
    /// # Errors
    /// A hash or version table that contradicts itself.
    pub fn symbols<'a>(&self, bytes: &'a [u8]) -> Result<Symbols<'a>, ErrorKind> {
        match &self.tables {
            Tables::Elf(tables) => ScopedSymbols::from_file(tables, bytes).map(Symbols::Scoped),
            Tables::MachO(tables) => TwoLevelSymbols::from_file(self, tables, bytes).map(Symbols::TwoLevel),
        }
    }

    /// Whether its imports name the image that defines them, and its needs are install names (Mach-O).
    pub fn is_two_level(&self) -> bool {
        matches!(self.tables, Tables::MachO(_))
    }

    /// What names the image where it registers functions for its end, if nothing of its own calls them when it is unloaded
    /// (Mach-O: its header).
    pub fn exit_handle(&self) -> Option<VmAddr> {
        match &self.tables {
            Tables::Elf(_) => None,
            Tables::MachO(tables) => Some(tables.header),
        }
    }

    /// Unwind records for an image whose own tables no unwinder here reads.
    ///
    /// # Errors
    /// Tables that are malformed.
    pub fn frames(&self, bytes: &[u8]) -> Result<Option<FrameTable>, ErrorKind> {
        match &self.tables {
            Tables::Elf(_) => Ok(None),
            Tables::MachO(tables) => macho::unwind::frames(self, tables, bytes),
        }
    }

    /// The name that a fixup's kind has on the image's machine (`R_X86_64_GLOB_DAT`).
    pub fn fixup_name(&self, kind: &FixupKind) -> &'static str {
        match &self.tables {
            Tables::Elf(_) => elf::machine::name(self.machine, kind),
            Tables::MachO(_) => "pointer",
        }
    }

    /// Where the table of tables is that debuggers know an image by (ELF's dynamic section), if the format has one.
    pub fn dynamic_section(&self) -> Option<VmAddr> {
        match &self.tables {
            Tables::Elf(tables) => Some(tables.dynamic.vm),
            Tables::MachO(_) => None,
        }
    }

    /// Finds the region that holds `size` bytes at `at`.
    pub fn region(&self, at: VmAddr, size: u64) -> Option<&Region> {
        self.region_below(at).filter(|region| region.vm.holds(at, size))
    }

    /// Where the file holds the byte at `at`, if it does.
    pub fn file_offset(&self, at: VmAddr, size: u64) -> Option<u64> {
        let region = self.region_below(at).filter(|region| region.file_backed().holds(at, size))?;
        Some(region.file.start.0 + (at.0 - region.vm.start.0))
    }

    /// The last region that begins at `at` or before: they ascend, and a file may make each of its fixups ask.
    fn region_below(&self, at: VmAddr) -> Option<&Region> {
        let before = self.regions.partition_point(|region| region.vm.start <= at);
        self.regions[..before].last()
    }
}

/// Reads the plan out of a file's bytes. Of a universal file, it is that of the image which is best for this process.
///
/// # Errors
/// [`ErrorKind`] names what is wrong and where: not an object at all, of another machine, malformed, or asking for
/// something that is refused.
pub fn plan(bytes: &[u8], name: &str) -> Result<LoadPlan, Error> {
    plan_for(bytes, name, None)
}

/// As [`plan`], for the processor of that name (`x86_64`, `arm64`, `arm64e`, …) where the file holds several images.
///
/// # Errors
/// As [`plan`]; also if there is no image for it.
pub fn plan_for(bytes: &[u8], name: &str, arch: Option<&str>) -> Result<LoadPlan, Error> {
    let image = crate::image::Image::parse_for(bytes, arch);
    image.and_then(|image| image.lower()).map_err(|kind| kind.at(name, crate::Stage::Plan))
}

impl LoadPlan {
    /// Whether relocation will write to most pages of a writable region: then all are better filled at once than
    /// by one fault each. Looks at a sample of the fixups' places, four a page.
    pub(crate) fn touches_most_pages(&self, region: &Region, file: &[u8], page: u64) -> bool {
        match &self.tables {
            Tables::Elf(tables) => elf::relocs::touches_most_pages(tables, region.file_backed(), file, page),
            // Its writable segments hold little but pointers and zeros.
            Tables::MachO(_) => true,
        }
    }
}
