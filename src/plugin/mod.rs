//! Go's package `plugin`: `Open` and `Lookup`, with Go's semantics and checked types. A path only, never a search; the
//! same file is the same plugin, whatever it is called; initialised once; never closed; usable from many threads.
//!
//! What a plugin states of itself is read from its file and compared before any of it is mapped; after that a lookup is
//! safe, since it compares what two compilers made of one type.

mod identity;
#[allow(unsafe_code)]
mod init;
pub(crate) mod life;
mod linked;
mod manifest;
mod options;
pub(crate) mod state;
mod table;

pub use identity::{BuildPolicy, RowDifference, Strictness};
pub use options::Copies;
pub(crate) use options::Options;

use crate::addr::{RunAddr, VmAddr};
use crate::error::{Error, ErrorKind, Stage};
use crate::finder;
use crate::library::{Library, Symbol, SymbolName};
use crate::loader::{Link, Loader};
use crate::plan::{LoadPlan, Query};
use crate::platform::unix;
use crate::registry::{Instance, Member, REGISTRY};
use crate::room;
use crate::snapshot;
use crate::source::Source;
use crate::sync::lock;
use manifest::Manifest;
use sideload_plugin::abi::{Api, Described, Difference, Exported, Lookup, Type, decode};
use state::{About, Content, Key, PLUGINS, State};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use table::{Entry, Table, nearest};

/// An opened plugin.
///
/// ```no_run
/// # fn main() -> Result<(), sideload::Error> {
/// // SAFETY: opening runs the plugin's initialisers.
/// let plugin = unsafe { sideload::Plugin::open("./libgreeter.so") }?;
/// let greet = plugin.lookup::<fn(&str) -> String>("greet")?;
/// println!("{}", greet("you"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Plugin {
    state: Arc<State>,
}

impl Plugin {
    /// Opens the plugin at a path, relative to the working folder, or from another [`Source`], whose name then stands for
    /// its path; the same plugin if that very file is open already.
    ///
    /// Everything that is checked is checked before any of the file is mapped.
    ///
    /// # Errors
    /// As [`Loader::open`], and
    /// - [`ErrorKind::NotAPlugin`], [`ErrorKind::BuildMismatch`] and [`ErrorKind::Malformed`], with nothing mapped;
    /// - [`ErrorKind::Stale`] and [`ErrorKind::AlreadyOpen`], as [`Loader::reload`] and [`Loader::copies`] say;
    /// - [`ErrorKind::InitFailed`] and [`ErrorKind::InitPanicked`], and then [`ErrorKind::Poisoned`] for this file;
    /// - [`ErrorKind::InitCycle`] if it is opened from its own initialiser, where Go hangs.
    ///
    /// # Safety
    /// As [`Loader::open`]: initialisers run. And what the file states of its types is what its compiler made of them.
    pub unsafe fn open(source: impl Into<Source>) -> Result<Plugin, Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { Loader::new().open_plugin(source) }
    }

    /// The exported function (`fn(…) -> …`) or static (`&'static T`) called `name`.
    ///
    /// The type is compared with the exported item's by its fingerprint: arguments, result and everything inside them,
    /// lifetimes too. Takes no lock and allocates nothing, unless it fails.
    ///
    /// # Errors
    /// [`ErrorKind::NoExport`] with similar names; [`ErrorKind::TypeMismatch`] with the first difference.
    #[inline]
    pub fn lookup<T: Exported>(&self, name: impl SymbolName) -> Result<Symbol<'_, T>, Error> {
        match self.state.table.find(name.bytes()) {
            Some(entry) if entry.fingerprint == T::FINGERPRINT && entry.is_function == T::IS_FUNCTION => {
                Ok(Symbol::of(entry.at))
            }
            found => Err(self.refused(name.bytes(), found, T::IS_FUNCTION, T::ITEM)),
        }
    }

    /// The symbol called `name`, as a `T`: an exported item whatever its type, or else any symbol of the file.
    ///
    /// # Errors
    /// As [`Library::get`].
    ///
    /// # Safety
    /// As [`Library::get`].
    pub unsafe fn lookup_unchecked<T>(&self, name: impl SymbolName) -> Result<Symbol<'_, T>, Error> {
        if let Some(entry) = self.state.table.find(name.bytes()) {
            return Ok(Symbol::of(entry.at));
        }
        // SAFETY: the caller's promise is the same.
        unsafe { self.state.library.get(name) }
    }

    /// Fills a struct of symbols: see `#[derive(Api)]`.
    ///
    /// # Errors
    /// As [`Plugin::lookup`], for the first field that cannot be filled.
    pub fn api<T: Api>(&self) -> Result<T, Error> {
        T::load(self)
    }

    /// Everything that it exports, by name.
    pub fn items(&self) -> impl ExactSizeIterator<Item = Item<'_>> {
        let table = &self.state.table;
        table.by_name().into_iter().map(|entry| Item { table, entry })
    }

    /// The name of the plugin, as its crate states it; empty if it states none.
    pub fn name(&self) -> &str {
        self.fact("name").unwrap_or_default()
    }

    /// Its version.
    pub fn version(&self) -> &str {
        self.fact("version").unwrap_or_default()
    }

    /// A row of its build identity: `rustc`, `target`, `features`, …
    pub fn fact(&self, row: &str) -> Option<&str> {
        self.state.about.manifest.fact(row)
    }

    /// The rows in which it differs from this program without being refused.
    pub fn warnings(&self) -> &[RowDifference] {
        &self.state.about.warnings
    }

    /// Which of the plugins that were opened at its path it is: 1 for the first one.
    pub fn generation(&self) -> u64 {
        self.state.generation
    }

    /// Whether no newer generation has taken its place ([`Loader::reload`]).
    pub fn is_current(&self) -> bool {
        self.state.is_current()
    }

    /// The path that it was opened under first.
    pub fn path(&self) -> &str {
        self.state.library.path()
    }

    /// The plugin as a library.
    pub fn as_library(&self) -> &Library {
        &self.state.library
    }

    #[cold]
    fn refused(&self, name: &[u8], found: Option<&Entry<RunAddr>>, is_function: bool, wanted: &Type) -> Error {
        let table = &self.state.table;
        let kind = match found {
            Some(entry) => mismatch(Item { table, entry }, is_function, wanted),
            None => ErrorKind::NoExport {
                symbol: name.to_vec(),
                is_symbol: self.state.library.root().find(&Query::by_name(name)).is_some(),
                nearest: nearest(&String::from_utf8_lossy(name), table),
            },
        };
        kind.at(self.path(), Stage::Lookup)
    }
}

fn mismatch(item: Item<'_>, is_function: bool, wanted: &Type) -> ErrorKind {
    let kind = |is_function: bool, of: String| if is_function { of } else { format!("static {of}") };
    let of = item.type_of();
    let (wanted_text, difference) = match decode(&wanted.encode()) {
        Some(wanted) => (wanted.to_string(), wanted.first_difference(&of)),
        None => ("a type without a description".into(), None),
    };
    let (expected, found) = (kind(is_function, wanted_text), kind(item.is_function(), of.to_string()));
    // Equal types of another kind: a static where a function is asked for.
    let whole = || Difference { at: String::new(), expected: expected.clone(), found: found.clone() };
    let difference = Box::new(difference.unwrap_or_else(whole));
    ErrorKind::TypeMismatch { symbol: item.name().to_owned(), expected, found, difference }
}

// SAFETY: an address is handed out only if kind and fingerprint are those asked for; a plugin is never unmapped.
unsafe impl Lookup for Plugin {
    type Error = Error;

    fn find(&self, name: &str, is_function: bool, of: &'static Type, fingerprint: u128) -> Result<*const (), Error> {
        match self.state.table.find(name.as_bytes()) {
            Some(entry) if entry.fingerprint == fingerprint && entry.is_function == is_function => {
                Ok(std::ptr::with_exposed_provenance(entry.at.0 as usize))
            }
            found => Err(self.refused(name.as_bytes(), found, is_function, of)),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.state.table.find(name.as_bytes()).is_some()
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("path", &self.path()).field("name", &self.name()).finish_non_exhaustive()
    }
}

impl PartialEq for Plugin {
    fn eq(&self, other: &Plugin) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }
}

impl Eq for Plugin {}

/// Something that a plugin exports.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    table: &'a Table<RunAddr>,
    entry: &'a Entry<RunAddr>,
}

impl<'a> Item<'a> {
    /// The name it is looked up by.
    pub fn name(&self) -> &'a str {
        self.table.name(self.entry)
    }

    /// Whether it is a function; else it is a static.
    pub fn is_function(&self) -> bool {
        self.entry.is_function
    }

    /// Its type; prints as the source would write it.
    pub fn type_of(&self) -> Described {
        self.table.type_of(self.entry)
    }
}

/// What a file states of itself, if it is a plugin.
pub(crate) fn name_and_version(plan: &LoadPlan, bytes: &[u8]) -> Option<(String, String)> {
    let (manifest, _) = Manifest::read(plan, bytes).ok()??;
    let fact = |key: &str| manifest.fact(key).unwrap_or_default().to_owned();
    Some((fact("name"), fact("version")))
}

/// Decides about a plugin while nothing of it is mapped.
struct Gate {
    options: Options,
    /// From the root.
    path: PathBuf,
    found: Mutex<Option<(About, Table<VmAddr>)>>,
    /// The plugin to hand out instead.
    shared: Mutex<Option<Arc<State>>>,
}

impl Loader {
    /// Opens a plugin with this loader's settings: see [`Plugin::open`].
    ///
    /// # Errors
    /// As [`Plugin::open`].
    ///
    /// # Safety
    /// As [`Plugin::open`].
    pub unsafe fn open_plugin(&self, source: impl Into<Source>) -> Result<Plugin, Error> {
        let source = source.into().at_a_path();
        let path = source.display_path();
        // SAFETY: the caller's promise is the same.
        let opened = unsafe { self.open_plugin_from(source, &path) };
        match opened {
            Err(error) if self.plugins.reload && matches!(error.kind(), ErrorKind::Poisoned { .. }) => {
                let file = finder::open_path(&path).and_then(snapshot::of);
                let bytes = file.and_then(|image| room::copy(&image.bytes));
                let bytes = bytes.map_err(|kind| kind.at(error.module(), Stage::Find))?;
                // Bytes are an image of their own, where the file would be the one that failed.
                // SAFETY: as above.
                unsafe { self.open_plugin_from(Source::bytes(&path, bytes), &path) }
            }
            opened => opened,
        }
    }

    unsafe fn open_plugin_from(&self, source: Source, path: &Path) -> Result<Plugin, Error> {
        let gate = Arc::new(Gate::new(&self.plugins, path));
        let gated = {
            let gate = Arc::clone(&gate);
            self.clone().gate(move |link| gate.admit(link))
        };
        // SAFETY: the caller's promise is the same.
        let opened = unsafe { gated.open(source) };
        if let Some(state) = gate.shared() {
            return self.join_plugin(state);
        }
        // SAFETY: as above.
        unsafe { self.start_plugin(opened?, &gate) }
    }

    /// Runs the init functions, once per instance.
    unsafe fn start_plugin(&self, library: Library, gate: &Gate) -> Result<Plugin, Error> {
        let name = library.path().to_owned();
        let at = |kind: ErrorKind| kind.at(&name, Stage::Initialize);
        let root = library.root().clone();
        let Member::Ours(instance) = &root else {
            return Err(at(ErrorKind::NotAPlugin { why: PART_OF_THE_PROGRAM }));
        };
        if REGISTRY.is_initializing_here(instance) {
            return Err(at(ErrorKind::InitCycle { chain: vec![name.clone(), name.clone()] }));
        }
        let key = Key::Instance(instance.serial);
        let made = || {
            let (about, exports) = lock(&gate.found).take().ok_or(ErrorKind::NotAPlugin { why: NO_ROWS })?;
            Ok(Content { library: library.clone(), about, table: exports.mapped(root.bias())? })
        };
        let (state, is_new) = PLUGINS.enter(key, &gate.path, made).map_err(at)?;
        if !is_new {
            return self.join_plugin(state);
        }
        // SAFETY: the caller vouches for the plugin's code.
        self.initialize_plugin(state, |state| unsafe { self.run_inits(state, instance, &root) })
    }

    /// Runs a plugin's init functions, in the one thread that has the right to.
    pub(crate) fn initialize_plugin(
        &self,
        state: Arc<State>,
        run: impl FnOnce(&State) -> Result<(), ErrorKind>,
    ) -> Result<Plugin, Error> {
        match PLUGINS.run(&state, run) {
            Ok(()) => Ok(Plugin { state }),
            Err(kind) => Err(kind.at(state.library.path(), Stage::Initialize)),
        }
    }

    /// Waits until another open has run the init functions.
    pub(crate) fn join_plugin(&self, state: Arc<State>) -> Result<Plugin, Error> {
        let name = state.library.path();
        match PLUGINS.join(&state, name, &mut self.patience()) {
            Ok(()) => Ok(Plugin { state }),
            Err(why) => {
                let kind = why.into_kind(name, |blocked| self.blocked(blocked));
                Err(kind.at(name, Stage::Initialize))
            }
        }
    }

    unsafe fn run_inits(&self, state: &State, instance: &Instance, root: &Member) -> Result<(), ErrorKind> {
        let code = |symbol: &str| {
            let found = root.find(&Query::by_name(symbol.as_bytes())).map(|found| found.vm + root.bias());
            let code = found.filter(|&at| instance.executes(at));
            let what = "plugin row: an entry that is not code of the plugin";
            code.ok_or(ErrorKind::Malformed { what, place: None })
        };
        let rows = state.about.manifest.inits.iter();
        let entries = rows.map(|row| Ok((&row.name, code(&row.symbol)?))).collect::<Result<Vec<_>, ErrorKind>>()?;
        if let Some(symbol) = state.about.manifest.fact("adopt") {
            let adopt = code(symbol)?;
            // SAFETY: the identity names that function, and the caller vouches for it.
            unsafe { init::adopt(adopt) };
        }
        for (name, address) in entries {
            let module = &instance.module.name;
            self.observe(&crate::Event::Foreign { stage: Stage::Initialize, module, address });
            // SAFETY: the row names an init function, and the caller vouches for it.
            unsafe { init::run(address, name, &self.plugins.provided) }?;
            self.observe(&crate::Event::Native);
        }
        Ok(())
    }
}

const NO_ROWS: &str = "the file states no rows (a library? then `Library::open` opens it)";
const PART_OF_THE_PROGRAM: &str = "it is an image of the program itself";

impl Gate {
    fn new(options: &Options, path: &Path) -> Gate {
        // Without a working folder there is no path from the root, and no other name for the file either.
        let path = unix::absolute(path).unwrap_or_else(|_| path.to_owned());
        Gate { options: options.clone(), path, found: Mutex::new(None), shared: Mutex::new(None) }
    }

    /// Reads and compares what the plugin states.
    fn admit(&self, link: &Link) -> Result<(), ErrorKind> {
        let (module, bytes) = link.root_file().ok_or(ErrorKind::NotAPlugin { why: PART_OF_THE_PROGRAM })?;
        let read = Manifest::read(&module.plan, bytes)?;
        let (manifest, exports) = read.ok_or(ErrorKind::NotAPlugin { why: NO_ROWS })?;
        let warnings = self.options.build.compare(&manifest)?;
        if let Some(old) = state::replaced(&self.path, module.stamp)
            && !self.options.reload
        {
            return Err(ErrorKind::Stale { generation: old.generation });
        }
        if self.options.copies != Copies::Isolate
            && let Some(original) = state::original(module.stamp, bytes)
        {
            let path = original.path.clone();
            if self.options.copies == Copies::Share {
                *lock(&self.shared) = Some(original);
            }
            return Err(ErrorKind::AlreadyOpen { path });
        }
        let about = About { stamp: module.stamp, manifest, warnings };
        *lock(&self.found) = Some((about, exports));
        Ok(())
    }

    fn shared(&self) -> Option<Arc<State>> {
        lock(&self.shared).take()
    }
}
