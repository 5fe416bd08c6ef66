//! The plugins of this process: what is known of each, and how far its init functions are.

use super::identity::RowDifference;
use super::manifest::Manifest;
use super::table::Table;
use crate::error::ErrorKind;
use crate::library::Library;
use crate::link::FileStamp;
use crate::registry::{self, Instance, Member, Phase};
use crate::sync::{Mutex, MutexGuard, lock};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What tells plugins apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The serial number of its instance.
    Instance(u64),
    /// The address of its list, to be compared only.
    Linked(usize),
}

/// What is known of a plugin before it is mapped.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// The path that it was opened under first, from the root; the name alone for one that is linked in.
    pub(crate) path: PathBuf,
    pub(crate) stamp: FileStamp,
    pub(crate) manifest: Manifest,
    pub(crate) warnings: Vec<RowDifference>,
}

/// One plugin: an instance of the registry, and what only plugins have.
#[derive(Debug)]
pub(crate) struct State {
    /// Kept for ever: what a safe lookup handed out may be in use anywhere.
    pub(crate) library: Library,
    pub(crate) key: Key,
    pub(crate) about: About,
    /// How many plugins were opened at that path before, and this one.
    pub(crate) generation: u64,
    /// Whether no newer generation has taken its place.
    pub(crate) is_current: AtomicBool,
    pub(crate) table: Table,
    /// Who runs its init functions.
    pub(crate) init: Phase,
    /// How they ended: the text of the failure.
    pub(crate) outcome: OnceLock<Result<(), String>>,
}

impl State {
    /// Whether it can be handed out, or may be soon.
    fn is_alive(&self) -> bool {
        self.is_current.load(Ordering::Acquire) && !matches!(self.outcome.get(), Some(Err(_)))
    }

    /// Notes how its init functions ended; what was noted first stays. Under the lock, so that no fork finds it half done.
    fn settle(&self, outcome: Result<(), String>) {
        let _plugins = lock(&PLUGINS);
        let _ = self.outcome.set(outcome);
    }

    /// The bytes of its file, as of when it was opened.
    fn bytes(&self) -> &[u8] {
        match self.library.root() {
            Member::Ours(instance) => instance.symbols.file(),
            Member::Host(_) => &[],
        }
    }

    /// A plugin at the beginning of its life, to be initialised by this thread.
    pub(crate) fn new(library: Library, key: Key, about: About, table: Table, generation: u64) -> State {
        State {
            library,
            key,
            generation,
            table,
            about,
            is_current: AtomicBool::new(true),
            init: Phase::by_this_thread(),
            outcome: OnceLock::new(),
        }
    }
}

/// The right and the duty of one thread to run a plugin's init functions: whoever waits is woken however that ends,
/// also if an observer panics in between.
pub(crate) struct Running<'a>(pub(crate) &'a State);

impl Running<'_> {
    /// A plugin that is initialised takes the place of those that were opened at its path before.
    pub(crate) fn end(self, result: &Result<(), ErrorKind>) {
        if result.is_ok() {
            let path = &self.0.about.path;
            let retired = |state: &&Arc<State>| state.about.path == *path && state.generation < self.0.generation;
            lock(&PLUGINS).iter().filter(retired).for_each(|old| old.is_current.store(false, Ordering::Release));
        }
        self.0.settle(result.as_ref().copied().map_err(ToString::to_string));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // The first value stays: this is only for a panic.
        self.0.settle(Err("its initialisation was interrupted by a panic".into()));
        self.0.init.finish();
    }
}

static PLUGINS: Mutex<Vec<Arc<State>>> = Mutex::new(Vec::new());

/// The lock of the list. Nobody takes another one of this library's while holding it.
pub(crate) type Lock = MutexGuard<'static, Vec<Arc<State>>>;

/// Keeps the list as it is.
pub(crate) fn hold() -> Lock {
    lock(&PLUGINS)
}

/// In a child that was just forked: nobody goes on with the init functions that other threads were at. `registry` has
/// ended what those were at.
#[cfg(not(loom))]
pub(crate) fn abandon(plugins: &Lock, registry: &registry::State<Instance>) {
    const WHY: &str = "another thread was running its init functions when the process forked";
    for state in plugins.iter().filter(|state| state.outcome.get().is_none() && !state.init.is_running(registry)) {
        let _ = state.outcome.set(Err(WHY.into()));
    }
}

/// The state of an instance: the one that is there, or the one that `make` makes, which this thread then has to
/// initialise. `make` gets its generation.
pub(crate) fn enter(
    key: Key,
    path: &Path,
    make: impl FnOnce(u64) -> Result<State, ErrorKind>,
) -> Result<(Arc<State>, bool), ErrorKind> {
    let known = |plugins: &[Arc<State>]| plugins.iter().find(|state| state.key == key).cloned();
    let before = |plugins: &[Arc<State>]| plugins.iter().filter(|state| state.about.path == path).count() as u64;
    let generation = {
        let plugins = lock(&PLUGINS);
        if let Some(state) = known(&plugins) {
            return Ok((state, false));
        }
        before(&plugins) + 1
    };
    // Outside the lock: it reads the whole symbol table. Who is second throws away what it made.
    let mut state = make(generation)?;
    let mut plugins = lock(&PLUGINS);
    if let Some(known) = known(&plugins) {
        return Ok((known, false));
    }
    state.generation = before(&plugins) + 1;
    let state = Arc::new(state);
    plugins.push(Arc::clone(&state));
    Ok((state, true))
}

/// The plugin that is open at that path, if it is another file than the one of that identity.
pub(crate) fn replaced(path: &Path, stamp: FileStamp) -> Option<Arc<State>> {
    let found = |state: &&Arc<State>| state.about.path == path && state.about.stamp != stamp && state.is_alive();
    lock(&PLUGINS).iter().find(found).cloned()
}

/// The plugin of which the file of that identity and content is a copy.
pub(crate) fn original(stamp: FileStamp, bytes: &[u8]) -> Option<Arc<State>> {
    let plugins: Vec<Arc<State>> = lock(&PLUGINS).clone();
    // Outside the lock: this may read megabytes.
    plugins.into_iter().find(|state| state.about.stamp != stamp && state.is_alive() && state.bytes() == bytes)
}
