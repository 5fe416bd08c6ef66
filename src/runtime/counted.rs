//! Functions of the C library through which an image leaves behind the address of its own code: destructors of
//! thread-locals, handlers of `fork` and of the process's end, destructors of thread-specific data. An image that is unmapped while the C library
//! still has one of these takes the process with it, so they are counted against their image, and
//! [`Library::unload`](crate::Library::unload) asks for the counts.
//!
//! Imports of these names are bound to the functions here, which count and go on to the host's function of that name. Where
//! the host has none, nothing is replaced (musl has no `__cxa_thread_atexit_impl`; libstdc++ makes do with a key there).
//!
//! **Whose it is.** The handle that C++ and Rust pass (`__dso_handle`) lies in the image that is meant, also where
//! libstdc++ makes the call on its behalf; otherwise, the address of the function tells.
//!
//! **Thread-locals' destructors** are wrapped: the C library gets our function and a record, which counts down when the
//! destructor has returned and keeps the image mapped until then, whatever happens. It is also told *our* handle in
//! place of the image's, of which it knows nothing: glibc would count it against the executable.
//!
//! Invariant: an address in [`HOST`] is that of the host's function of that name, from an image that is never unloaded; a
//! record is made by one call and consumed by the one call of its destructor.

use super::host::{HostImage, HostImages};
use crate::addr::RunAddr;
use crate::plan::Query;
use crate::registry::{Instance, REGISTRY};
use crate::symbol::SymbolKind;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The names, each with our function. The order is that of [`HOST`].
const NAMES: [(&[u8], *const ()); 10] = [
    (b"__cxa_thread_atexit_impl", thread_atexit::<0> as *const ()),
    (b"__cxa_thread_atexit", thread_atexit::<1> as *const ()),
    (b"__register_atfork", register_atfork as *const ()),
    (b"pthread_atfork", pthread_atfork as *const ()),
    (b"pthread_key_create", key_create::<KEY_CREATE> as *const ()),
    (b"__pthread_key_create", key_create::<5> as *const ()),
    (b"tss_create", key_create::<6> as *const ()),
    (b"pthread_key_delete", key_delete as *const ()),
    (b"tss_delete", tss_delete as *const ()),
    (b"on_exit", on_exit as *const ()),
];
const REGISTER_ATFORK: usize = 2;
const PTHREAD_ATFORK: usize = 3;
const KEY_CREATE: usize = 4;
const KEY_DELETE: usize = 7;
const TSS_DELETE: usize = 8;
const ON_EXIT: usize = 9;

/// The host's functions, once they were looked for and found.
static HOST: [AtomicPtr<()>; NAMES.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; NAMES.len()];

/// Whether a name of the host's is bound to our function.
pub(crate) fn answers(name: &[u8]) -> bool {
    entry(name).is_some()
}

/// Our function of that name, if the host has one to go on to.
pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let index = NAMES.iter().position(|(known, _)| *known == name)?;
    (!host(index).is_null()).then(|| RunAddr(NAMES[index].1.expose_provenance() as u64))
}

/// The host's function, or null. It is looked for when it is first needed.
fn host(index: usize) -> *const () {
    let place = &HOST[index];
    let known = place.load(Ordering::Acquire);
    if !known.is_null() {
        return known;
    }
    let found = super::host::images().ok().and_then(|images| look_for(&images, NAMES[index].0));
    let Some(at) = found else { return ptr::null() };
    let found = ptr::with_exposed_provenance_mut(at.0 as usize);
    let stored = place.compare_exchange(ptr::null_mut(), found, Ordering::AcqRel, Ordering::Acquire);
    stored.err().unwrap_or(found)
}

/// The first function of that name in an image that stays.
fn look_for(host: &HostImages, name: &[u8]) -> Option<RunAddr> {
    let images = host.images.iter().filter(|image| image.global && image.stays());
    let function = |image: &HostImage| {
        let symbol = image.find(&Query::by_name(name))?;
        let at = symbol.vm + image.bias();
        (symbol.kind == SymbolKind::Code && image.is_code(at)).then_some(at)
    };
    { images }.find_map(|image| function(image))
}

/// The image of ours that one of the addresses lies in: the first that does.
fn owner(addresses: &[*const c_void]) -> Option<Arc<Instance>> {
    addresses.iter().find_map(|address| Some(REGISTRY.at(RunAddr(address.addr() as u64))?.0))
}

pub(super) type Destructor = unsafe extern "C" fn(*mut c_void);
type ThreadAtExit = unsafe extern "C" fn(Destructor, *mut c_void, *const c_void) -> c_int;

/// A destructor that a thread has yet to run.
struct Pending {
    destructor: Destructor,
    object: *mut c_void,
    owner: Arc<Instance>,
}

/// `__cxa_thread_atexit` and `__cxa_thread_atexit_impl`
///
/// # Safety
/// `destructor` takes `object`, at the end of this thread.
unsafe extern "C" fn thread_atexit<const INDEX: usize>(
    destructor: Destructor,
    object: *mut c_void,
    dso: *const c_void,
) -> c_int {
    // SAFETY: the host's function of this name.
    let register = unsafe { std::mem::transmute::<*const (), ThreadAtExit>(host(INDEX)) };
    let Some(owner) = owner(&[dso, destructor as *const c_void]) else {
        // SAFETY: the caller's promise.
        return unsafe { register(destructor, object, dso) };
    };
    let count = |owner: &Instance| owner.holds.thread_destructors.fetch_add(1, Ordering::AcqRel);
    count(&owner);
    let pending = Box::into_raw(Box::new(Pending { destructor, object, owner }));
    let own_handle: *const c_void = (&raw const HOST).cast();
    // SAFETY: `run` takes such a record, once; the handle lies in the image that `run` lies in.
    let result = unsafe { register(run, pending.cast(), own_handle) };
    if result != 0 {
        // SAFETY: the record was made above, and was not taken.
        let pending = unsafe { Box::from_raw(pending) };
        pending.owner.holds.thread_destructors.fetch_sub(1, Ordering::AcqRel);
    }
    result
}

/// A destructor of the calling thread, for an image without a handle. Where the host has no function for that, it is the
/// last thing that the thread does with this library.
///
/// # Safety
/// As [`thread_atexit`].
pub(super) unsafe fn at_thread_exit(destructor: Destructor, object: *mut c_void) {
    // SAFETY: the caller's promise, to either function.
    unsafe {
        if !host(0).is_null() {
            thread_atexit::<0>(destructor, object, ptr::null());
        } else if !host(1).is_null() {
            thread_atexit::<1>(destructor, object, ptr::null());
        } else {
            at_last(destructor, object);
        }
    }
}

/// Keeps a destructor until the thread ends.
///
/// # Safety
/// As [`thread_atexit`].
unsafe fn at_last(destructor: Destructor, object: *mut c_void) {
    struct List(RefCell<Vec<*mut Pending>>);
    impl Drop for List {
        fn drop(&mut self) {
            // One may register another.
            while let Some(pending) = self.0.get_mut().pop() {
                // SAFETY: a record that was made below, taken once.
                unsafe { run(pending.cast()) };
            }
        }
    }
    thread_local!(static LIST: List = const { List(RefCell::new(Vec::new())) });
    let Some(owner) = owner(&[destructor as *const c_void]) else { return };
    owner.holds.thread_destructors.fetch_add(1, Ordering::AcqRel);
    let pending = Box::into_raw(Box::new(Pending { destructor, object, owner }));
    if LIST.try_with(|list| list.0.borrow_mut().push(pending)).is_err() {
        // SAFETY: nobody else has the record; the thread is at its end.
        unsafe { run(pending.cast()) };
    }
}

/// Runs a destructor, and counts it off once it has returned.
///
/// # Safety
/// `pending` is a record of [`thread_atexit`], which is given up.
unsafe extern "C" fn run(pending: *mut c_void) {
    // SAFETY: as the caller promises.
    let pending = unsafe { Box::from_raw(pending.cast::<Pending>()) };
    // SAFETY: who registered the destructor promised that it takes the object.
    unsafe { (pending.destructor)(pending.object) };
    pending.owner.holds.thread_destructors.fetch_sub(1, Ordering::AcqRel);
}

type Handler = Option<unsafe extern "C" fn()>;

fn count_handlers(result: c_int, handlers: [Handler; 3], dso: *const c_void) -> c_int {
    let [one, two, three] = handlers.map(|it| it.map_or(ptr::null(), |function| function as *const c_void));
    if result == 0
        && let Some(owner) = owner(&[dso, one, two, three])
    {
        owner.holds.fork_handlers.fetch_add(1, Ordering::AcqRel);
    }
    result
}

/// `__register_atfork`, which glibc's `pthread_atfork` calls
///
/// # Safety
/// The handlers may be called at each `fork`.
unsafe extern "C" fn register_atfork(prepare: Handler, parent: Handler, child: Handler, dso: *const c_void) -> c_int {
    type Register = unsafe extern "C" fn(Handler, Handler, Handler, *const c_void) -> c_int;
    // SAFETY: the host's function of this name.
    let register = unsafe { std::mem::transmute::<*const (), Register>(host(REGISTER_ATFORK)) };
    // SAFETY: the caller's promise.
    let result = unsafe { register(prepare, parent, child, dso) };
    count_handlers(result, [prepare, parent, child], dso)
}

/// `pthread_atfork`
///
/// # Safety
/// The handlers may be called at each `fork`.
unsafe extern "C" fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int {
    type Register = unsafe extern "C" fn(Handler, Handler, Handler) -> c_int;
    // SAFETY: the host's function of this name.
    let register = unsafe { std::mem::transmute::<*const (), Register>(host(PTHREAD_ATFORK)) };
    // SAFETY: the caller's promise.
    let result = unsafe { register(prepare, parent, child) };
    count_handlers(result, [prepare, parent, child], ptr::null())
}

/// `pthread_atfork` for images whose system has it as a function: glibc has it only in what programs are linked with.
///
/// # Safety
/// As [`pthread_atfork`].
pub(super) unsafe extern "C" fn at_fork(prepare: Handler, parent: Handler, child: Handler) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match (host(PTHREAD_ATFORK).is_null(), host(REGISTER_ATFORK).is_null()) {
            (false, _) => pthread_atfork(prepare, parent, child),
            (true, false) => register_atfork(prepare, parent, child, ptr::null()),
            (true, true) => {
                count_handlers(libc::pthread_atfork(prepare, parent, child), [prepare, parent, child], ptr::null())
            }
        }
    }
}

/// `on_exit`: glibc takes no handle for it, so that nothing ever takes the handler back, as `__cxa_finalize` does those of
/// `atexit`.
///
/// # Safety
/// `handler` takes an exit status and `argument`, at the end of the process.
unsafe extern "C" fn on_exit(handler: Option<ExitHandler>, argument: *mut c_void) -> c_int {
    type Register = unsafe extern "C" fn(Option<ExitHandler>, *mut c_void) -> c_int;
    // SAFETY: the host's function of this name.
    let register = unsafe { std::mem::transmute::<*const (), Register>(host(ON_EXIT)) };
    // SAFETY: the caller's promise.
    let result = unsafe { register(handler, argument) };
    if result == 0
        && let Some(owner) = handler.and_then(|function| owner(&[function as *const c_void]))
    {
        owner.holds.exit_handlers.fetch_add(1, Ordering::AcqRel);
    }
    result
}

type ExitHandler = unsafe extern "C" fn(c_int, *mut c_void);

/// By key, the serial of the image that its destructor lies in. No system has more keys but macOS; one beyond counts for
/// ever, since nobody would count it off.
static KEYS: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// `pthread_key_create` for a caller of our own.
///
/// # Safety
/// As [`key_create`].
pub(super) unsafe fn create_key(key: *mut libc::pthread_key_t, destructor: Option<Destructor>) -> c_int {
    match host(KEY_CREATE).is_null() {
        // SAFETY: the caller's promise.
        true => unsafe { libc::pthread_key_create(key, destructor) },
        // SAFETY: the caller's promise.
        false => unsafe { key_create::<KEY_CREATE>(key, destructor) },
    }
}

/// `pthread_key_create` and `tss_create`
///
/// # Safety
/// `key` can be written to; the destructor takes what threads store under the key.
unsafe extern "C" fn key_create<const INDEX: usize>(
    key: *mut libc::pthread_key_t,
    destructor: Option<Destructor>,
) -> c_int {
    type Create = unsafe extern "C" fn(*mut libc::pthread_key_t, Option<Destructor>) -> c_int;
    // SAFETY: the host's function of this name.
    let create = unsafe { std::mem::transmute::<*const (), Create>(host(INDEX)) };
    // SAFETY: the caller's promise.
    let result = unsafe { create(key, destructor) };
    let Some(owner) = destructor.filter(|_| result == 0).and_then(|function| owner(&[function as *const c_void]))
    else {
        return result;
    };
    owner.holds.keys.fetch_add(1, Ordering::AcqRel);
    // SAFETY: the call wrote the key there.
    let key = unsafe { key.read() };
    if let Some(place) = KEYS.get(key as usize) {
        place.store(owner.serial, Ordering::Release);
    }
    result
}

/// Takes the serial off a key that is about to be deleted: once it is, another thread may get the same key.
fn serial_of(key: libc::pthread_key_t) -> u64 {
    KEYS.get(key as usize).map_or(0, |place| place.swap(0, Ordering::AcqRel))
}

/// Counts a key of that image off. Once it is deleted and not before: until then its destructor may be called.
fn count_off(serial: u64) {
    let snapshot = REGISTRY.snapshot();
    if let Some(owner) = snapshot.instances.iter().find(|instance| serial != 0 && instance.serial == serial) {
        let keys: &AtomicUsize = &owner.holds.keys;
        keys.fetch_sub(1, Ordering::AcqRel);
    }
}

/// `pthread_key_delete`. No destructor of the key runs from here on.
///
/// # Safety
/// The host's function of that name has none.
unsafe extern "C" fn key_delete(key: libc::pthread_key_t) -> c_int {
    type Delete = unsafe extern "C" fn(libc::pthread_key_t) -> c_int;
    // SAFETY: the host's function of this name.
    let delete = unsafe { std::mem::transmute::<*const (), Delete>(host(KEY_DELETE)) };
    let serial = serial_of(key);
    // SAFETY: it takes any key.
    let result = unsafe { delete(key) };
    match KEYS.get(key as usize) {
        Some(place) if result != 0 && serial != 0 => place.store(serial, Ordering::Release),
        _ => count_off(serial),
    }
    result
}

/// `tss_delete`
///
/// # Safety
/// `key` is one of `tss_create`.
unsafe extern "C" fn tss_delete(key: libc::pthread_key_t) {
    type Delete = unsafe extern "C" fn(libc::pthread_key_t);
    // SAFETY: the host's function of this name.
    let delete = unsafe { std::mem::transmute::<*const (), Delete>(host(TSS_DELETE)) };
    let serial = serial_of(key);
    // SAFETY: the caller's promise.
    unsafe { delete(key) };
    count_off(serial);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_those_of_the_names() {
        let places = [
            (REGISTER_ATFORK, &b"__register_atfork"[..]),
            (PTHREAD_ATFORK, b"pthread_atfork"),
            (KEY_CREATE, b"pthread_key_create"),
            (KEY_DELETE, b"pthread_key_delete"),
            (TSS_DELETE, b"tss_delete"),
            (ON_EXIT, b"on_exit"),
        ];
        for (index, name) in places {
            assert_eq!(NAMES[index].0, name);
        }
    }

    #[test]
    fn the_host_has_them() {
        for name in [&b"pthread_key_create"[..], b"pthread_key_delete"] {
            assert!(answers(name), "{}", name.escape_ascii());
        }
        assert_eq!(entry(b"pthread_getspecific"), None);
    }
}
