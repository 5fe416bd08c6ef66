//! The life of a plugin: made by one open, initialised by that one alone, waited for by others, retired by a newer
//! generation. It knows nothing of files and code, so that `loom` can run it with every order of events.

use super::state::Key;
use crate::error::ErrorKind;
use crate::registry::Phase;
use crate::registry::turns::{Blocked, Patience};
use crate::sync::checked::{AtomicBool, Mutex, MutexGuard, Ordering, lock};
use std::fmt::Display;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A plugin, and how far it is.
#[derive(Debug)]
pub(crate) struct Life<T> {
    key: Key,
    /// The path that it was opened under first, from the root; the name alone for one that is linked in.
    pub(crate) path: PathBuf,
    /// How many plugins were opened at that path before, and this one.
    pub(crate) generation: u64,
    is_current: AtomicBool,
    /// Who runs its init functions.
    init: Phase,
    /// How they ended: the text of the failure.
    outcome: OnceLock<Result<(), String>>,
    what: T,
}

impl<T> Deref for Life<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.what
    }
}

impl<T> Life<T> {
    /// Whether it was opened at that path, which is one from the root as this one is: as text, since there may be many.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.path.as_os_str() == path.as_os_str()
    }

    /// Whether no newer generation has taken its place.
    pub(crate) fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Acquire)
    }

    /// Whether it can be handed out, or may be soon.
    pub(crate) fn is_alive(&self) -> bool {
        self.is_current() && !matches!(self.outcome.get(), Some(Err(_)))
    }

    /// Whether nobody has told how its init functions ended.
    #[cfg(not(loom))]
    fn is_open(&self) -> bool {
        self.outcome.get().is_none()
    }
}

/// Why a plugin that another open made is not handed out.
#[derive(Debug)]
pub(crate) enum Unjoined {
    /// This thread is running its init functions.
    Here,
    /// They are not done, and this thread is not to wait.
    Blocked(Blocked),
    /// They failed.
    Failed(String),
    /// Nobody told how they ended: whoever ends them does, and a fork does it for those that it leaves behind.
    Untold,
}

/// All plugins of a process, retired ones too.
#[derive(Debug)]
pub(crate) struct Lives<T> {
    list: Mutex<Vec<Arc<Life<T>>>>,
}

/// The lock of the list. Who holds it takes no other one but those that a fork takes behind it.
pub(crate) type Lock<'a, T> = MutexGuard<'a, Vec<Arc<Life<T>>>>;

impl<T> Lives<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Lives<T> {
        Lives { list: Mutex::new(Vec::new()) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Lives<T> {
        Lives { list: Mutex::new(Vec::new()) }
    }

    /// Keeps the list as it is.
    pub(crate) fn lock(&self) -> Lock<'_, T> {
        lock(&self.list)
    }

    /// The plugin of that key: the one that is there, or the one that `make` makes, which this thread then has to
    /// [run](Lives::run).
    pub(crate) fn enter<E>(
        &self,
        key: Key,
        path: &Path,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Arc<Life<T>>, bool), E> {
        let known = |list: &[Arc<Life<T>>]| list.iter().find(|life| life.key == key).cloned();
        if let Some(life) = known(&self.lock()) {
            return Ok((life, false));
        }
        // Outside the lock: it reads the whole symbol table. Who is second throws away what it made.
        let what = make()?;
        let mut life = Life {
            key,
            path: path.to_owned(),
            generation: 0,
            is_current: AtomicBool::new(true),
            init: Phase::by_this_thread(),
            outcome: OnceLock::new(),
            what,
        };
        let mut list = self.lock();
        if let Some(known) = known(&list) {
            // Ends what was begun above, which takes another lock.
            drop(list);
            return Ok((known, false));
        }
        life.generation = list.iter().filter(|other| other.is_at(path)).count() as u64 + 1;
        let life = Arc::new(life);
        list.push(Arc::clone(&life));
        Ok((life, true))
    }

    /// Runs the init functions, in the thread that [`enter`](Lives::enter) appointed. One that is initialised takes the place
    /// of those that were opened at its path before.
    pub(crate) fn run<E: Display>(
        &self,
        life: &Life<T>,
        init: impl FnOnce(&Life<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let running = Running { lives: self, life };
        let result = init(life);
        running.end(&result);
        result
    }

    /// Waits until another open has run the init functions.
    pub(crate) fn join(&self, life: &Life<T>, name: &str, patience: &mut Patience) -> Result<(), Unjoined> {
        if life.init.is_running_here() {
            return Err(Unjoined::Here);
        }
        life.init.wait(name, patience).map_err(Unjoined::Blocked)?;
        match life.outcome.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(reason)) => Err(Unjoined::Failed(reason.clone())),
            None => Err(Unjoined::Untold),
        }
    }

    /// Notes how init functions ended; what was noted first stays. Under the lock, so that no fork finds it half done.
    fn settle(&self, life: &Life<T>, outcome: Result<(), String>) {
        let _list = self.lock();
        let _ = life.outcome.set(outcome);
    }
}

/// In a child that was just forked: nobody goes on with the init functions that other threads were at. `registry` has
/// ended what those were at.
#[cfg(not(loom))]
pub(crate) fn abandon<T>(list: &Lock<'_, T>, registry: &crate::registry::State<crate::registry::Instance>) {
    const WHY: &str = "another thread was running its init functions when the process forked";
    for life in list.iter().filter(|life| life.is_open() && !life.init.is_running(registry)) {
        let _ = life.outcome.set(Err(WHY.into()));
    }
}

/// The right and the duty of one thread to run a plugin's init functions: whoever waits is woken however that ends,
/// also if an observer panics in between.
struct Running<'a, T> {
    lives: &'a Lives<T>,
    life: &'a Life<T>,
}

impl<T> Running<'_, T> {
    fn end<E: Display>(self, result: &Result<(), E>) {
        if result.is_ok() {
            let old = |life: &&Arc<Life<T>>| life.generation < self.life.generation && life.is_at(&self.life.path);
            self.lives.lock().iter().filter(old).for_each(|old| old.is_current.store(false, Ordering::Release));
        }
        self.lives.settle(self.life, result.as_ref().copied().map_err(ToString::to_string));
    }
}

impl<T> Drop for Running<'_, T> {
    fn drop(&mut self) {
        // The first value stays: this is only for a panic.
        self.lives.settle(self.life, Err("its initialisation was interrupted by a panic".into()));
        self.life.init.finish();
    }
}

impl Unjoined {
    /// As the error of an open.
    pub(crate) fn into_kind(self, name: &str, blocked: impl FnOnce(Blocked) -> ErrorKind) -> ErrorKind {
        match self {
            Unjoined::Here => ErrorKind::InitCycle { chain: vec![name.to_owned(), name.to_owned()] },
            Unjoined::Blocked(why) => blocked(why),
            Unjoined::Failed(reason) => ErrorKind::Poisoned { reason },
            Unjoined::Untold => ErrorKind::OtherFailed { reason: "its init functions came to no end".into() },
        }
    }
}

#[cfg(all(test, loom))]
mod tests;
