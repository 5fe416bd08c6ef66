//! The plugins of this process, and what is known of each.

use super::identity::RowDifference;
use super::life::{self, Life, Lives};
use super::manifest::Manifest;
use super::table::Table;
use crate::addr::RunAddr;
use crate::library::Library;
use crate::link::FileStamp;
use crate::registry::Member;
use std::path::Path;
use std::sync::Arc;

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
    pub(crate) stamp: FileStamp,
    pub(crate) manifest: Manifest,
    pub(crate) warnings: Vec<RowDifference>,
}

/// One plugin: an instance of the registry, and what only plugins have.
pub(crate) type State = Life<Content>;

/// What there is to a plugin, but for how far it is.
#[derive(Debug)]
pub(crate) struct Content {
    /// Kept for ever: what a safe lookup handed out may be in use anywhere.
    pub(crate) library: Library,
    pub(crate) about: About,
    pub(crate) table: Table<RunAddr>,
}

impl Content {
    /// The bytes of its file, as of when it was opened.
    fn bytes(&self) -> &[u8] {
        match self.library.root() {
            Member::Ours(instance) => instance.symbols.file(),
            Member::Host(_) => &[],
        }
    }
}

/// The plugins of this process.
#[cfg(not(loom))]
pub(crate) static PLUGINS: Lives<Content> = Lives::new();
#[cfg(loom)]
loom::lazy_static! {
    pub(crate) static ref PLUGINS: Lives<Content> = Lives::new();
}

/// The lock of the list.
pub(crate) type Lock = life::Lock<'static, Content>;

/// The plugin that is open at that path, if it is another file than the one of that identity.
pub(crate) fn replaced(path: &Path, stamp: FileStamp) -> Option<Arc<State>> {
    let found = |state: &&Arc<State>| state.is_at(path) && state.about.stamp != stamp && state.is_alive();
    PLUGINS.lock().iter().find(found).cloned()
}

/// The plugin of which the file of that identity and content is a copy.
pub(crate) fn original(stamp: FileStamp, bytes: &[u8]) -> Option<Arc<State>> {
    let plugins: Vec<Arc<State>> = PLUGINS.lock().clone();
    // Outside the lock: this may read megabytes.
    plugins.into_iter().find(|state| state.about.stamp != stamp && state.is_alive() && state.bytes() == bytes)
}
