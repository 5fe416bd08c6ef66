//! Go's package `plugin`: `Open` and `Lookup`, with Go's semantics. A path only, never a search; the same file is the same
//! plugin, whatever it is called; initialised once; never closed; usable from many threads.

use crate::addr::RunAddr;
use crate::error::{Error, ErrorKind, Stage};
use crate::library::{Library, Symbol, SymbolName};
use crate::loader::{Loader, as_path};
use crate::plan::Export;
use crate::registry::Member;
use std::path::Path;

/// An opened plugin.
///
/// ```no_run
/// # fn main() -> Result<(), sideload::Error> {
/// // SAFETY: opening runs the plugin's initialisers.
/// let plugin = unsafe { sideload::Plugin::open("./greeter.so") }?;
/// let greet = plugin.lookup("greet")?;
/// println!("greet is at {}", greet.address());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Plugin {
    library: Library,
}

impl Plugin {
    /// Opens the plugin at `path`, relative to the working folder; the same plugin if that very file is open already.
    ///
    /// # Errors
    /// As [`Loader::open`]; [`ErrorKind::InitCycle`] if it is opened from its own initialiser, where Go hangs.
    ///
    /// # Safety
    /// As [`Loader::open`]: initialisers run.
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<Plugin, Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { Loader::new().open_plugin(path) }
    }

    /// The symbol called `name`: a function or a variable that the plugin itself exports.
    ///
    /// # Errors
    /// [`ErrorKind::NoSymbol`]. An indirect function is not looked up, since its resolver would run.
    pub fn lookup(&self, name: impl SymbolName) -> Result<PluginSymbol, Error> {
        let name = name.bytes();
        let missing = || ErrorKind::NoSymbol { symbol: name.to_vec(), version: None }.at(self.path(), Stage::Lookup);
        let found = self.library.root().data_or_code(name);
        found.map(|address| PluginSymbol { address }).ok_or_else(missing)
    }

    /// The symbol called `name`, as a `T`.
    ///
    /// # Errors
    /// As [`Library::get`].
    ///
    /// # Safety
    /// As [`Library::get`].
    pub unsafe fn lookup_unchecked<T>(&self, name: impl SymbolName) -> Result<Symbol<'_, T>, Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.library.get(name) }
    }

    /// The path that it was opened under first.
    pub fn path(&self) -> &str {
        self.library.path()
    }

    /// Calls `each` with every symbol that the plugin exports.
    pub fn exports(&self, each: impl FnMut(Export<'_>)) {
        self.library.exports(each);
    }

    /// The plugin as a library.
    pub fn as_library(&self) -> &Library {
        &self.library
    }
}

impl PartialEq for Plugin {
    fn eq(&self, other: &Plugin) -> bool {
        self.library.is_same(&other.library)
    }
}

impl Eq for Plugin {}

/// A symbol of a plugin: where it is. What it is, only its user knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginSymbol {
    address: RunAddr,
}

impl PluginSymbol {
    /// Its address.
    pub fn address(self) -> RunAddr {
        self.address
    }
}

impl Loader {
    /// Opens the plugin at `path` with this loader's settings: see [`Plugin::open`].
    ///
    /// # Errors
    /// As [`Plugin::open`].
    ///
    /// # Safety
    /// As [`Loader::open`].
    pub unsafe fn open_plugin(&self, path: impl AsRef<Path>) -> Result<Plugin, Error> {
        let path = as_path(path.as_ref());
        // SAFETY: the caller's promise is the same.
        let library = unsafe { self.open(&path) }?;
        match library.root() {
            Member::Ours(instance) if instance.init.is_running_here() => {
                let chain = vec![instance.module.name.clone(), path.display().to_string()];
                Err(ErrorKind::InitCycle { chain }.at(library.path(), Stage::Initialize))
            }
            _ => Ok(Plugin { library }),
        }
    }
}
