//! Handles: what `dlopen` gives, and what the other functions take.
//!
//! A handle is the address of an entry of [`HANDLES`]. One that is not in there is an error and is never followed, so
//! any garbage may be passed. As with every loader, one library has one handle, and callers do compare them.
//!
//! Invariant: entries are never removed, since closing a handle unmaps nothing.

use super::list::List;
use super::scope::{self, View, is_same};
use crate::addr::RunAddr;
use crate::error::ErrorKind;
use crate::library::Library;
use crate::loader::Loader;
use crate::plan::Query;
use crate::registry::Member;
use crate::runtime::replace;
use crate::symbol::{Name, Provider};
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

static HANDLES: List<Handle> = List::new();

/// What a handle stands for.
#[derive(Debug)]
pub(super) struct Handle {
    /// The library; `None` for the process as a whole.
    library: Option<Library>,
    /// What lookups in the library visit.
    scope: Vec<Member>,
}

/// Why a call failed: the text for `dlerror`.
#[derive(Debug)]
pub(super) enum Failure {
    Open(crate::Error),
    Host(ErrorKind),
    NotLoaded(Vec<u8>),
    NoHandle(usize),
    NoNamespace,
    NotDynamic,
    Undefined { symbol: Vec<u8>, version: Option<Vec<u8>> },
    Request(c_int),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Open(error) => error.fmt(f),
            Failure::Host(error) => error.fmt(f),
            Failure::NotLoaded(name) => write!(f, "{}: not loaded, and RTLD_NOLOAD was asked for", Name(name)),
            Failure::NoHandle(at) => write!(f, "invalid handle: {at:#x}"),
            Failure::NoNamespace => f.write_str("dlmopen: namespaces other than LM_ID_BASE are not supported"),
            Failure::NotDynamic => f.write_str("RTLD_NEXT used in code that is in no loaded image"),
            Failure::Undefined { symbol, version: None } => write!(f, "undefined symbol: {}", Name(symbol)),
            Failure::Undefined { symbol, version: Some(version) } => {
                write!(f, "undefined symbol: {}, version {}", Name(symbol), Name(version))
            }
            Failure::Request(number) => write!(f, "dlinfo: request {number} is not supported"),
        }
    }
}

impl Handle {
    /// The handle with that address.
    pub(super) fn of(pointer: *const c_void) -> Result<&'static Handle, Failure> {
        let found = HANDLES.iter().find(|handle| ptr::from_ref(*handle).addr() == pointer.addr());
        found.ok_or(Failure::NoHandle(pointer.addr()))
    }

    pub(super) fn pointer(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Opens what `name` stands for, in the way that [`Library::open`] does; no name stands for the process.
    ///
    /// # Safety
    /// Initialisers run.
    pub(super) unsafe fn open(name: Option<&CStr>, flags: c_int) -> Result<&'static Handle, Failure> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(
                HANDLES.find_or_add(|handle| handle.library.is_none(), || Handle { library: None, scope: Vec::new() })
            );
        };
        let path = OsStr::from_bytes(name.to_bytes());
        let loader = Loader::new().global(flags & libc::RTLD_GLOBAL != 0);
        if flags & libc::RTLD_NOLOAD != 0 {
            let linked = loader.link(path).map_err(Failure::Open)?;
            if matches!(linked.plan().root, Provider::New(_)) {
                return Err(Failure::NotLoaded(name.to_bytes().to_vec()));
            }
        }
        // SAFETY: the caller allows initialisers to run. No lock of ours is held meanwhile, so they may open, too.
        let library = unsafe { loader.open(path) }.map_err(Failure::Open)?;
        Handle::add(library)
    }

    fn add(library: Library) -> Result<&'static Handle, Failure> {
        let view = View::now().map_err(Failure::Host)?;
        let scope = view.group(library.root());
        let same = |handle: &Handle| handle.library.as_ref().is_some_and(|known| known.is_same(&library));
        Ok(HANDLES.find_or_add(same, || Handle { library: Some(library.clone()), scope }))
    }

    /// The image itself: for the process as a whole, the executable.
    pub(super) fn image(&self, view: &View) -> Option<Member> {
        match &self.library {
            Some(library) => Some(library.root().clone()),
            None => view.host.main().cloned().map(Member::Host),
        }
    }
}

/// Answers `dlsym` and `dlvsym`. `caller` is the address that the call returns to.
///
/// # Safety
/// The resolver of an indirect function runs.
pub(super) unsafe fn search(
    handle: *const c_void,
    name: &[u8],
    version: Option<&[u8]>,
    caller: RunAddr,
) -> Result<RunAddr, Failure> {
    let view = View::now().map_err(Failure::Host)?;
    let query = &version.map_or(Query::by_name(name), |version| Query::by_version(name, version));
    // The call may be the last instruction of its function, and that the last of its segment.
    let at = RunAddr(caller.0.saturating_sub(1));
    // SAFETY: the caller allows a resolver to run; here and below.
    let found = if handle.addr() == libc::RTLD_DEFAULT.addr() {
        let group = || scope::at(at).map(|caller| view.group_of(&caller)).unwrap_or_default();
        // SAFETY: as above. The group is made only if the global scope does not answer.
        unsafe { view.lookup(view.global().chain(std::iter::once_with(group).flatten()), query) }
    } else if handle.addr() == libc::RTLD_NEXT.addr() {
        let caller = scope::at(at).ok_or(Failure::NotDynamic)?;
        let group = view.group_of(&caller);
        let following = group.into_iter().skip_while(|member| !is_same(member, &caller)).skip(1);
        // SAFETY: as above.
        unsafe { view.lookup(following, query) }
    } else {
        let handle = Handle::of(handle)?;
        match handle.library {
            // SAFETY: as above.
            Some(_) => unsafe { view.lookup(handle.scope.iter().cloned(), query) },
            // SAFETY: as above.
            None => unsafe { view.lookup(view.global(), query) },
        }
    };
    let undefined = || Failure::Undefined { symbol: name.to_vec(), version: version.map(<[u8]>::to_vec) };
    // A static executable has no such function that we could take the place of.
    found.or_else(|| replace::replacement(name)).ok_or_else(undefined)
}
