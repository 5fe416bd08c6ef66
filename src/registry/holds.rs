//! What keeps an instance from being unloaded, besides what is bound to it: a count of each.

use crate::error::Holder;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What an instance is held by. Whoever counts up counts down again; nothing else is decided here.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// Handles of it: [`Library`](crate::Library)s, and what loaded code has opened and not closed.
    pub handles: AtomicUsize,
    /// How many of these are loaded code's.
    pub dl_opens: AtomicUsize,
    /// Whether loaded code asked that it be kept for ever (`RTLD_NODELETE`).
    pub kept: AtomicBool,
    /// Whether the program ever opened it by its own name: then it goes only if it is asked to.
    pub opened: AtomicBool,
    /// Whether its symbols' addresses were given to other images by `dlsym`.
    pub lent: AtomicBool,
    /// Destructors of thread-locals that threads have yet to run.
    pub thread_destructors: AtomicUsize,
    /// Calls that registered handlers of `fork`.
    pub fork_handlers: AtomicUsize,
    /// Calls that registered handlers of the process's end for good (`on_exit`).
    pub exit_handlers: AtomicUsize,
    /// Keys of thread-specific data whose destructor lies in it.
    pub keys: AtomicUsize,
}

impl Holds {
    /// What there is now, apart from handles.
    pub(crate) fn now(&self) -> Vec<Holder> {
        let count = |count: &AtomicUsize| Some(count.load(Ordering::Acquire)).filter(|&count| count > 0);
        let destructors = count(&self.thread_destructors).map(Holder::ThreadDestructors);
        let handlers = count(&self.fork_handlers).map(Holder::ForkHandlers);
        let at_exit = count(&self.exit_handlers).map(Holder::ExitHandlers);
        let keys = count(&self.keys).map(Holder::KeyDestructors);
        let lent = self.lent.load(Ordering::Acquire).then_some(Holder::Symbols);
        let kept = self.kept.load(Ordering::Acquire).then_some(Holder::NoDelete);
        [destructors, handlers, at_exit, keys, lent, kept].into_iter().flatten().collect()
    }
}
