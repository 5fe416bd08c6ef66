//! Handles: what `dlopen` gives, and what the other functions take.
//!
//! As with glibc, a handle is the address of an image's `link_map`: of ours, the one that debuggers see. One that is no
//! image's is an error, so any garbage may be passed. One library has one handle, and callers do compare them.
//!
//! How often an image of ours is open is counted in the image ([`Holds`](crate::registry::holds::Holds)), and each counts
//! as a handle: it is not unloaded meanwhile. Closing unmaps nothing; but what loaded code has opened and closed goes when
//! that code is unloaded.
//!
//! Invariant: a handle is compared with the addresses of known images and never followed; resolvers and initialisers are run
//! only in images that were loaded when the call began, or that it opens.

use super::images;
use super::scope::{self, View, is_same};
use crate::addr::RunAddr;
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
use crate::darwin::{self, Answer};
use crate::error::ErrorKind;
use crate::loader::Loader;
use crate::plan::Query;
use crate::registry::{Member, REGISTRY};
use crate::runtime::replace;
use crate::symbol::{Name, Provider};
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::Ordering;

/// What a handle stands for.
#[derive(Debug)]
pub(super) enum Handle {
    /// The process as a whole: the executable, and what all images see.
    Process,
    /// An image, and what it needs.
    Image(Member),
}

/// Why a call failed: the text for `dlerror`, in glibc's words where it has some, since programs do look at them.
#[derive(Debug)]
pub(super) enum Failure {
    Open(crate::Error),
    Host(ErrorKind),
    Mode(Vec<u8>),
    NoHandle(usize),
    NotOpen,
    NoNamespace(Vec<u8>),
    NotDynamic,
    Undefined { object: String, symbol: Vec<u8>, version: Option<Vec<u8>> },
    Request,
    Room,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Open(error) => match error.kind() {
                ErrorKind::NotFound { .. } => {
                    let details = error.kind().to_string();
                    let details = details.strip_prefix("not found").unwrap_or_default();
                    let what = "cannot open shared object file: No such file or directory";
                    write!(f, "{}: {what}{details}", error.module())
                }
                _ => error.fmt(f),
            },
            Failure::Host(error) => error.fmt(f),
            Failure::Mode(name) => write!(f, "{}: invalid mode for dlopen(): Invalid argument", Name(name)),
            Failure::NoHandle(at) => write!(f, "invalid handle: {at:#x}"),
            Failure::NotOpen => f.write_str("shared object not open"),
            Failure::NoNamespace(name) => {
                // glibc's words for there being no more of its sixteen.
                let what = "no more namespaces available for dlmopen(): all that is loaded shares LM_ID_BASE";
                write!(f, "{}: {what}", Name(name))
            }
            Failure::NotDynamic => f.write_str("RTLD_NEXT used in code not dynamically loaded"),
            Failure::Undefined { object, symbol, version } => {
                write!(f, "{object}: undefined symbol: {}", Name(symbol))?;
                version.as_ref().map_or(Ok(()), |version| write!(f, ", version {}", Name(version)))
            }
            Failure::Request => f.write_str("unsupported dlinfo request"),
            Failure::Room => f.write_str("dlinfo: the structure is not as RTLD_DI_SERINFOSIZE said"),
        }
    }
}

impl Handle {
    /// The handle that a C caller passes.
    pub(super) fn of(pointer: *const c_void, view: &View) -> Result<Handle, Failure> {
        if pointer.is_null() {
            return Err(Failure::NoHandle(0));
        }
        let found = view
            .all()
            .map(Handle::to)
            .chain([Handle::Process])
            .find(|handle| handle.pointer(view).cast_const() == pointer);
        found.ok_or(Failure::NoHandle(pointer.addr()))
    }

    fn to(member: Member) -> Handle {
        match &member {
            Member::Host(image) if image.is_main => Handle::Process,
            _ => Handle::Image(member),
        }
    }

    /// What stands for it.
    pub(super) fn pointer(&self, view: &View) -> *mut c_void {
        static WITHOUT_LIST: u8 = 0;
        let node = match self {
            Handle::Process => view.host.main().map_or(RunAddr(0), |main| main.node()),
            Handle::Image(member) => images::link_map(member),
        };
        match (self, node.0) {
            (Handle::Process, 0) => (&raw const WITHOUT_LIST).cast_mut().cast(),
            (_, node) => ptr::with_exposed_provenance_mut(node as usize),
        }
    }

    /// Opens what `name` stands for, as the image would that the call returns to; no name stands for the process. `None`
    /// if it is not loaded, and should not be.
    ///
    /// # Safety
    /// Initialisers run.
    pub(super) unsafe fn open(name: Option<&CStr>, flags: c_int, caller: RunAddr) -> Result<Option<Handle>, Failure> {
        if flags & (libc::RTLD_LAZY | libc::RTLD_NOW) == 0 {
            return Err(Failure::Mode(name.unwrap_or_default().to_bytes().to_vec()));
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(Some(Handle::Process)) };
        let path = OsStr::from_bytes(name.to_bytes());
        let loader = match scope::at(before(caller)) {
            Some(Member::Ours(caller)) => Loader::for_opener(&caller),
            _ => Loader::new(),
        };
        let loader = loader.global(flags & libc::RTLD_GLOBAL != 0).deep(DEEPBIND.is_some_and(|bit| flags & bit != 0));
        if flags & libc::RTLD_NOLOAD != 0 {
            match loader.link(path) {
                Ok(linked) if matches!(linked.plan().root, Provider::New(_)) => return Ok(None),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => return Ok(None),
                linked => linked.map_err(Failure::Open)?,
            };
        }
        // SAFETY: the caller allows initialisers to run. No lock of ours is held meanwhile, so they may open, too.
        let library = unsafe { loader.open(path) }.map_err(Failure::Open)?;
        if let Member::Ours(instance) = library.root() {
            // Before the library's own handle goes.
            instance.holds.handles.fetch_add(1, Ordering::Relaxed);
            instance.holds.dl_opens.fetch_add(1, Ordering::Relaxed);
            instance.holds.kept.fetch_or(flags & libc::RTLD_NODELETE != 0, Ordering::Relaxed);
        }
        Ok(Some(Handle::to(library.root().clone())))
    }

    /// Takes back one `dlopen`. Nothing is unmapped; the process and its images are always open.
    pub(super) fn close(&self) -> Result<(), Failure> {
        let Handle::Image(Member::Ours(instance)) = self else { return Ok(()) };
        let opens = &instance.holds.dl_opens;
        let closed = opens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |opens| opens.checked_sub(1));
        closed.map_err(|_| Failure::NotOpen)?;
        // As when a `Library` is dropped.
        instance.holds.handles.fetch_sub(1, Ordering::Release);
        Ok(())
    }

    /// The image itself: for the process as a whole, the executable.
    pub(super) fn image(&self, view: &View) -> Option<Member> {
        match self {
            Handle::Image(member) => Some(member.clone()),
            Handle::Process => view.host.main().cloned().map(Member::Host),
        }
    }
}

#[cfg(target_env = "gnu")]
const DEEPBIND: Option<c_int> = Some(libc::RTLD_DEEPBIND);
/// Other C libraries have no such thing.
#[cfg(not(target_env = "gnu"))]
const DEEPBIND: Option<c_int> = None;

/// An address within the call that returns to `caller`: it may be the last instruction of its function, and that the
/// last of its segment.
fn before(caller: RunAddr) -> RunAddr {
    RunAddr(caller.0.saturating_sub(1))
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
    let at = before(caller);
    // SAFETY: the caller allows a resolver to run; here and below.
    let found = if handle.addr() == libc::RTLD_DEFAULT.addr() {
        let group = || scope::at(at).map(|caller| view.group_of(&caller)).unwrap_or_default();
        // SAFETY: as above. The group is made only if the global scope does not answer.
        let found = unsafe { view.lookup(view.global().chain(std::iter::once_with(group).flatten()), query) };
        found.inspect(|&found| lend(found, at))
    } else if handle.addr() == libc::RTLD_NEXT.addr() {
        let caller = scope::at(at).ok_or(Failure::NotDynamic)?;
        let group = view.group_of(&caller);
        let following = group.into_iter().skip_while(|member| !is_same(member, &caller)).skip(1);
        // SAFETY: as above.
        unsafe { view.lookup(following, query) }.inspect(|&found| lend(found, at))
    } else {
        match Handle::of(handle, &view)? {
            Handle::Image(member) => {
                // What it needs is gone through only if it does not have the symbol itself.
                let needed = std::iter::once_with(|| view.group(&member).into_iter().skip(1)).flatten();
                // SAFETY: as above.
                unsafe { view.lookup(std::iter::once(member.clone()).chain(needed), query) }
            }
            // SAFETY: as above.
            Handle::Process => unsafe { view.lookup(view.global(), query) },
        }
    };
    let undefined = || {
        let image = |handle: Handle| if let Handle::Image(member) = handle { Some(member) } else { None };
        let asked = Handle::of(handle, &view).ok().and_then(image).or_else(|| scope::at(at));
        let asked = asked.or_else(|| view.host.main().cloned().map(Member::Host));
        let object = asked.map_or(String::new(), |member| member.name().to_owned());
        Failure::Undefined { object, symbol: name.to_vec(), version: version.map(<[u8]>::to_vec) }
    };
    // A static executable has no such function that we could take the place of.
    found.or_else(|| replace::replacement(name)).ok_or_else(undefined)
}

/// Answers the `dlsym` of an image for macOS: what our images define, and else what the name means there.
///
/// # Safety
/// As [`search`].
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
pub(super) unsafe fn search_darwin(handle: *const c_void, name: &[u8], caller: RunAddr) -> Result<RunAddr, Failure> {
    // SAFETY: as the caller promises.
    let search = |name| unsafe { search(handle, name, None, caller) };
    let there = [b"_", name].concat();
    let meant = darwin::answer(&there);
    let found = search(name);
    match (&found, meant) {
        (_, Answer::Host(host) | Answer::HostOrOurs(host)) if host == name => return found,
        (Ok(at), _) if REGISTRY.at(*at).is_some() => return found,
        // A handle that is none, for one.
        (Err(failure), _) if !matches!(failure, Failure::Undefined { .. }) => return found,
        _ => {}
    }
    let undefined = || {
        let object = scope::at(before(caller)).map_or(String::new(), |image| image.name().to_owned());
        Failure::Undefined { object, symbol: name.to_vec(), version: None }
    };
    match meant {
        Answer::Ours(own) => replace::supplied(own).ok_or_else(undefined),
        Answer::Differs => Err(undefined()),
        Answer::Host(host) | Answer::HostOrOurs(host) => search(host),
    }
}

/// Notes that the caller has an address in another image, which must not be unloaded from now on. (An image whose handle
/// the caller has is held by that.)
fn lend(found: RunAddr, caller: RunAddr) {
    if let Some((instance, _)) = REGISTRY.at(found)
        && instance.holds(caller).is_none()
    {
        instance.holds.lent.store(true, Ordering::Release);
    }
}

#[cfg(all(test, target_arch = "x86_64", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_they_do_to_who_asks() {
        let everywhere = libc::RTLD_DEFAULT.cast_const();
        // SAFETY: functions of the C library, whose resolvers may run.
        let elf = |name: &str| unsafe { search(everywhere, name.as_bytes(), None, RunAddr(0)) }.ok();
        // SAFETY: as above.
        let macos = |name: &str| unsafe { search_darwin(everywhere, name.as_bytes(), RunAddr(0)) }.ok();
        let own = |name: &str| Some(replace::supplied(name.as_bytes()).expect(name));
        let cases = [
            ("strlen", elf("strlen"), elf("strlen")),
            ("open", elf("open"), own("_open")),
            ("_open", None, None),
            ("_longjmp", elf("_longjmp"), own("__longjmp")),
            ("dlsym", own("dlsym"), own("_dlsym")),
            ("__error", None, elf("__errno_location")),
            ("regcomp", elf("regcomp"), None),
            ("readdir", elf("readdir"), None),
        ];
        for (name, to_elf, to_macos) in cases {
            assert_eq!((elf(name), macos(name)), (to_elf, to_macos), "{name}");
        }
        assert!(
            cases.iter().filter(|(_, to_elf, _)| to_elf.is_some()).count() == 6 && elf("_longjmp") != own("_longjmp")
        );
        // SAFETY: as above.
        let invalid = unsafe { search_darwin(std::ptr::dangling(), b"open", RunAddr(0)) };
        assert!(matches!(invalid, Err(Failure::NoHandle(_))), "{invalid:?}");
    }
}
