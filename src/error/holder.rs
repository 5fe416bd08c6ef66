//! What an unload can meet.

use std::fmt;

/// What keeps an image from being unloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// It is an image of the host process, which only the system loader unloads.
    Host,
    /// It is marked as never to be unloaded (`DF_1_NODELETE`), or loaded code asked for that (`RTLD_NODELETE`).
    NoDelete,
    /// So many other handles: [`Library`](crate::Library), [`Plugin`](crate::Plugin), and what loaded images got of
    /// `dlopen`.
    Handles(usize),
    /// Another loaded image is bound to it: its path.
    Dependant(String),
    /// It is being initialised.
    Initializing,
    /// An open under way binds to it.
    Opening,
    /// Destructors of thread-locals that so many threads or objects have yet to run when their threads end.
    ThreadDestructors(usize),
    /// Calls of `pthread_atfork`: handlers are never taken back.
    ForkHandlers(usize),
    /// Calls of `on_exit`: handlers are never taken back, unlike those of `atexit`.
    ExitHandlers(usize),
    /// Keys of thread-specific data (`pthread_key_create`) whose destructor lies in it.
    KeyDestructors(usize),
    /// Addresses of its symbols were given to other images by `dlsym`.
    Symbols,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = |count: &usize| if *count == 1 { "" } else { "s" };
        match self {
            Holder::Host => f.write_str("it belongs to the host process"),
            Holder::NoDelete => f.write_str("it is marked never to be unloaded (DF_1_NODELETE or RTLD_NODELETE)"),
            Holder::Handles(count) => write!(f, "{count} other handle{}", several(count)),
            Holder::Dependant(path) => write!(f, "{path} is bound to it"),
            Holder::Initializing => f.write_str("it is being initialised"),
            Holder::Opening => f.write_str("an open under way is bound to it"),
            Holder::ThreadDestructors(count) => {
                write!(f, "{count} destructor{} of thread-locals still to run", several(count))
            }
            Holder::ForkHandlers(count) => write!(f, "{count} registration{} of fork handlers", several(count)),
            Holder::ExitHandlers(count) => write!(f, "{count} handler{} of on_exit", several(count)),
            Holder::KeyDestructors(count) => {
                write!(f, "{count} key{} of thread-specific data with a destructor in it", several(count))
            }
            Holder::Symbols => f.write_str("addresses in it that dlsym gave to other images"),
        }
    }
}
