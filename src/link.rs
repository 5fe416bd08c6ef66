//! Link: from one name to a group of plans with every import bound. Pure over two inputs: an [`Inventory`] of what the
//! process has, and a [`Finder`] that opens files. Nothing is mapped, no address of this process is looked at.
//!
//! The search order for one import, first hit wins (glibc's, so that what works there works here):
//! 1. what the caller's [`Resolve`] supplies,
//! 2. the module itself, if it was linked with `-Bsymbolic` (and its protected and hidden symbols always),
//! 3. the host's start-up scope, the executable first: copy relocations and canonical PLT entries live there,
//! 4. images that were opened as global,
//! 5. the group: the opened object, then its needs breadth-first.

mod bind;
mod group;
mod order;

pub use bind::{Bindings, Supplied, Supplier};

use crate::error::{Error, ErrorKind, Stage};
use crate::plan::{Found, LoadPlan, Need, Query, ScopedSymbols, Symbols, TwoLevelSymbols};
use crate::search::{Route, Tried};
use crate::symbol::{HostId, InstanceId, ModuleId, Provider, Resolve};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What tells one file from another, also after it was replaced under the same name: a replaced file may well get the
/// same inode again. The time of the inode's own last change is left out: a new hard link changes it, and the file is
/// still the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of the content, in nanoseconds since 1970.
    pub modified: i64,
    /// Where in the file the image begins: 0 unless it is a part of one, as of an archive.
    pub offset: u64,
}

/// Where definitions of an image that is already in the process can be looked up.
#[derive(Clone, Copy)]
pub enum Definitions<'a> {
    /// In its dynamic symbol table.
    Table(&'a ScopedSymbols<'a>),
    /// In its export trie.
    TwoLevel(&'a TwoLevelSymbols<'a>),
    /// By a function: a static executable has no dynamic symbol table.
    Names(&'a (dyn Fn(&[u8]) -> Option<Found> + Sync)),
}

impl<'a> Definitions<'a> {
    /// In the table of an image that a plan was made of.
    pub fn of(symbols: &'a Symbols<'a>) -> Definitions<'a> {
        match symbols {
            Symbols::Scoped(table) => Definitions::Table(table),
            Symbols::TwoLevel(table) => Definitions::TwoLevel(table),
        }
    }

    #[inline]
    fn find(&self, query: &Query<'_>) -> Option<Found> {
        match self {
            Definitions::Table(table) => table.find(query),
            // Names of another namespace mean something else, and its images look nothing up here.
            Definitions::TwoLevel(_) => None,
            Definitions::Names(find) => find(query.name()),
        }
    }
}

/// An image that the process already has: the host's, or loaded by us.
#[derive(Clone, Copy)]
pub struct Present<'a> {
    /// Its path, as far as known.
    pub name: &'a str,
    /// The name it gives itself.
    pub soname: Option<&'a [u8]>,
    /// Its identity, where it is known without opening the file: always for images loaded by us.
    pub stamp: Option<FileStamp>,
    /// Its build id.
    pub build_id: Option<&'a [u8]>,
    /// Its symbols.
    pub definitions: Definitions<'a>,
    /// Whether all modules see its definitions.
    pub global: bool,
    /// Whether it takes part where images agree on one definition of a name: its header says so. Of those that were loaded
    /// by us, all do.
    pub shares: bool,
    /// What it needs, in order; the image itself in the place of one that is absent.
    pub needs: &'a [Provider],
    /// How it needs them; empty for ELF images of the host.
    pub asks: &'a [Need],
}

/// Whether a name is counted: see [`Inventory::counted`].
pub type Counts = dyn Fn(&[u8]) -> bool + Sync;

/// What the process has, as of `epoch`.
#[derive(Default)]
pub struct Inventory<'a> {
    /// Changes whenever the registry does.
    pub epoch: u64,
    /// The host's images: the executable first, then in the order of its scope.
    pub host: Vec<Present<'a>>,
    /// Images that were loaded by us, in load order.
    pub loaded: Vec<Present<'a>>,
    /// Whether the host process is linked statically, so that the executable stands for libc as well.
    pub static_host: bool,
    /// Names that this library answers itself wherever the host's definition would be bound.
    pub replaced: &'a [&'a [u8]],
    /// Says of a name of the host's whether this library answers it as well, on the way to the host's definition.
    pub counted: Option<&'a Counts>,
}

impl Inventory<'_> {
    /// Whether this library answers a name of the host's on the way to the host's definition.
    pub fn counts(&self, name: &[u8]) -> bool {
        self.counted.is_some_and(|counted| counted(name))
    }

    /// Whether the process is one of macOS: its images' definitions are found by who is to define them.
    pub fn is_two_level(&self) -> bool {
        self.host.first().is_some_and(|program| matches!(program.definitions, Definitions::TwoLevel(_)))
    }
}

/// A file that may become a module.
pub struct ImageFile {
    /// Where it was found.
    pub path: PathBuf,
    /// How.
    pub source: Route,
    /// What was passed over on the way.
    pub tried: Vec<Tried>,
    /// Its identity.
    pub stamp: FileStamp,
    /// Its content.
    pub bytes: FileBytes,
}

/// The bytes of an image file, and the file to map them from.
#[derive(Debug)]
pub struct FileBytes {
    /// What the file holds, or the part of it that is the image.
    pub bytes: ImageBytes,
    /// The open file; without one, segments are copied.
    pub file: Option<Arc<std::fs::File>>,
    /// Where in that file the bytes begin. Segments are copied where this is not the beginning of a page.
    pub offset: u64,
    /// The size of that file when it was opened.
    pub file_size: u64,
}

/// The bytes of an image file. They do not move when this does.
#[derive(Debug)]
pub enum ImageBytes {
    /// Mapped for reading.
    Mapped(memmap2::Mmap),
    /// Held in memory.
    Owned(Vec<u8>),
    /// A part of what the caller holds in memory.
    Shared {
        /// All of it.
        bytes: Arc<std::borrow::Cow<'static, [u8]>>,
        /// The part: one that reaches beyond the end is empty.
        range: std::ops::Range<usize>,
    },
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::ops::Deref for ImageBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            ImageBytes::Mapped(map) => map,
            ImageBytes::Owned(bytes) => bytes,
            ImageBytes::Shared { bytes, range } => bytes.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// Finds and opens what a name stands for. The real one searches folders; tests and fuzzing use a table.
pub trait Finder {
    /// Opens the file that `name` stands for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with all that was tried, or why the file cannot be used.
    fn find(
        &mut self,
        name: &[u8],
        requester: Option<&LinkedModule>,
        parents: &[&LinkedModule],
    ) -> Result<ImageFile, ErrorKind>;

    /// The identity of the file at `path`, if there is one: to compare with an image of the host.
    ///
    /// # Errors
    /// The system cannot tell now.
    fn stamp(&mut self, path: &Path) -> Result<Option<FileStamp>, ErrorKind>;

    /// Changes the plan of a file that was found, before it is checked and linked: for rehearsals and tests.
    fn edit(&self, name: &str, plan: &mut LoadPlan) {
        let _ = (name, plan);
    }
}

/// One module of the group.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkedModule {
    /// The path that it was found under, for people.
    pub name: String,
    /// The same, for the system.
    pub path: PathBuf,
    /// How it was found.
    pub source: Route,
    /// What was passed over on the way.
    pub tried: Vec<Tried>,
    /// Its identity.
    pub stamp: FileStamp,
    /// What loading it will do.
    pub plan: LoadPlan,
    /// Who provides each of its needs, in the order of [`LoadPlan::needs`], and then what it filters.
    pub needs: Vec<Provider>,
    /// Which of its needs are absent, by their index: they may be, and `needs` says itself in their place.
    pub absent: Vec<usize>,
    /// The module that asked for it first; `None` for the one that was opened.
    pub parent: Option<ModuleId>,
}

/// What the result rests on: if any of it changes before it is carried out, the link is made again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Basis {
    /// The epoch of the inventory.
    pub epoch: u64,
    /// Host images whose definitions are used.
    pub host: Vec<HostId>,
    /// Loaded images whose definitions are used.
    pub loaded: Vec<InstanceId>,
}

/// A group of modules that are loaded together, with everything decided.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkPlan {
    /// What the name stands for: a new module, or an image that the process already has.
    pub root: Provider,
    /// The new modules in load order: breadth-first from the root.
    pub modules: Vec<LinkedModule>,
    /// All images of the group, in the order in which a lookup visits them: the root and its needs, breadth-first, each
    /// after the images that it is a filter for.
    pub scope: Vec<Provider>,
    /// The order in which the new modules are initialised: needs first.
    pub init_order: Vec<ModuleId>,
    /// For each module, what each of its imports is bound to.
    pub bindings: Vec<Bindings>,
    /// Symbols that no image defines but the caller or this library supplies.
    pub supplied: Vec<Supplied>,
    /// What all this rests on.
    pub basis: Basis,
}

impl LinkPlan {
    /// A module by its id.
    pub fn module(&self, id: ModuleId) -> &LinkedModule {
        &self.modules[usize::from(id.0)]
    }

    /// The new modules with their ids, in load order.
    pub fn numbered(&self) -> impl Iterator<Item = (ModuleId, &LinkedModule)> {
        self.modules.iter().enumerate().map(|(index, module)| (ModuleId(index as u16), module))
    }
}

/// A link plan together with the files that it was made from.
pub struct Linked {
    /// The plan.
    pub plan: LinkPlan,
    /// The file of each module.
    pub files: Vec<ImageFile>,
}

/// What the caller decides about a link.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The largest span that an image may ask for, in bytes.
    pub max_span: u64,
    /// Whether the group's definitions come before the global ones.
    pub deep: bool,
    /// Whether a function that nobody defines gets a stub, in place of an error.
    pub stubs: bool,
}

/// What a link begins with.
pub enum Root<'r> {
    /// A name that the finder knows how to find.
    Name(&'r [u8]),
    /// A file that was found already.
    File(Box<ImageFile>),
}

/// Links what `root` stands for and everything that it needs.
///
/// # Errors
/// What cannot be found, planned or resolved: all undefined symbols are in one error, and so are all missing versions.
pub fn link(
    root: Root<'_>,
    inventory: &Inventory<'_>,
    finder: &mut dyn Finder,
    resolve: Option<&dyn Resolve>,
    rules: Rules,
) -> Result<Linked, Error> {
    let group = group::collect(root, inventory, finder, rules.max_span)?;
    let init_order = order::init_order(&group.modules);
    let bound = bind::bind(&group, inventory, resolve, rules)?;
    let plan = LinkPlan {
        root: group.root,
        scope: group.scope,
        init_order,
        bindings: bound.bindings,
        supplied: bound.supplied,
        basis: Basis { epoch: inventory.epoch, host: bound.host, loaded: bound.loaded },
        modules: group.modules,
    };
    Ok(Linked { plan, files: group.files })
}

fn too_many(name: &str) -> Error {
    ErrorKind::TooManyImages { limit: usize::from(u16::MAX) }.at(name, Stage::Link)
}
