//! Threads: objects that are initialised statically begin with a signature there, and with zeros here.
//!
//! A signature is taken off at the first use; the rest of such an object is zero, and large enough for the host's. An
//! object that `pthread_…_init` made is the host's from the start.

use super::super::counted;
use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

const MUTEX: u64 = 0x32AA_ABA7;
const ERROR_CHECK: u64 = 0x32AA_ABA1;
const RECURSIVE: u64 = 0x32AA_ABA2;
const FIRST_FIT: u64 = 0x32AA_ABA3;
const CONDITION: u64 = 0x3CB0_B1BB;
const ONCE: u64 = 0x30B1_BCBA;
const READ_WRITE: u64 = 0x2DA8_B3B4;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_pthread_create" => create as Pointer,
        b"_pthread_join" => join as Pointer,
        b"_pthread_mutex_lock" => lock as Pointer,
        b"_pthread_mutex_trylock" => try_lock as Pointer,
        b"_pthread_mutex_unlock" => unlock as Pointer,
        b"_pthread_mutexattr_settype" => set_type as Pointer,
        b"_pthread_mutex_destroy" => destroy as Pointer,
        b"_pthread_cond_destroy" => destroy_condition as Pointer,
        b"_pthread_cond_wait" => wait as Pointer,
        b"_pthread_cond_timedwait" => wait_until as Pointer,
        b"_pthread_cond_timedwait_relative_np" => wait_for as Pointer,
        b"_pthread_cond_signal" => signal as Pointer,
        b"_pthread_cond_broadcast" => broadcast as Pointer,
        b"_pthread_rwlock_rdlock" => read_lock as Pointer,
        b"_pthread_rwlock_wrlock" => write_lock as Pointer,
        b"_pthread_rwlock_tryrdlock" => try_read_lock as Pointer,
        b"_pthread_rwlock_trywrlock" => try_write_lock as Pointer,
        b"_pthread_rwlock_unlock" => unlock_read_write as Pointer,
        b"_pthread_once" => once as Pointer,
        b"_pthread_key_create" => create_key as Pointer,
        b"_pthread_setname_np" => set_name as Pointer,
        b"_pthread_attr_setdetachstate" => set_detached as Pointer,
        b"_pthread_attr_getdetachstate" => detached as Pointer,
        b"_pthread_setcancelstate" => set_cancellable as Pointer,
        b"_pthread_threadid_np" => thread_number as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// Takes the signature off an object that nobody has used yet: what stands behind it is zero. An object of the host's that is
/// in use may have any first word (a condition counts its waiters there), but not with a zero behind it.
///
/// # Safety
/// `object` is one of Darwin's types: of two words at least, aligned, and all its users come through here first.
unsafe fn ready<T>(object: *mut T, signature: u64) -> *mut T {
    // SAFETY: as the caller promises.
    let (word, next) =
        unsafe { (AtomicU64::from_ptr(object.cast()), AtomicU64::from_ptr(object.cast::<u64>().add(1))) };
    if word.load(Ordering::Relaxed) == signature && (next.load(Ordering::Relaxed) == 0 || is_mutex(signature)) {
        // Whoever comes first wins; all others find the host's unused object, or one in use.
        let _ = word.compare_exchange(signature, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
    object
}

/// The same for a mutex, of which there are four kinds.
///
/// # Safety
/// As [`ready`].
unsafe fn mutex(object: *mut libc::pthread_mutex_t) -> *mut libc::pthread_mutex_t {
    /// Where the host keeps the kind: musl in the first word, which is also the signature's, glibc in the fifth.
    const KIND: usize = if cfg!(target_env = "musl") { 0 } else { 4 };
    // SAFETY: as the caller promises.
    let word = unsafe { AtomicU64::from_ptr(object.cast()) }.load(Ordering::Relaxed);
    let kind = match word {
        RECURSIVE => Some(libc::PTHREAD_MUTEX_RECURSIVE),
        ERROR_CHECK => Some(libc::PTHREAD_MUTEX_ERRORCHECK),
        MUTEX | FIRST_FIT => None,
        _ => return object,
    };
    if let Some(kind) = kind.filter(|_| KIND == 0) {
        // SAFETY: as the caller promises.
        let first = unsafe { AtomicU64::from_ptr(object.cast()) };
        let _ = first.compare_exchange(word, kind as u64, Ordering::AcqRel, Ordering::Relaxed);
        return object;
    }
    if let Some(kind) = kind {
        // SAFETY: inside the object, and read by nobody before the signature is off; all that come write the same.
        unsafe { object.cast::<c_int>().add(KIND).write_volatile(kind) };
    }
    // SAFETY: as the caller promises.
    unsafe { ready(object, word) }
}

/// The error that a function of threads returns, by its number there: programs compare these with constants.
pub(super) fn error(host: c_int) -> c_int {
    match host {
        libc::EDEADLK => 11,
        libc::EAGAIN => 35,
        libc::ENOTSUP => 45,
        libc::ETIMEDOUT => 60,
        // The first 34 have the same numbers everywhere, but for those above.
        other => other,
    }
}

/// Whether it is a mutex's: there the host's kind may stand behind it already, and no first word of the host's is like it.
fn is_mutex(signature: u64) -> bool {
    matches!(signature, MUTEX | ERROR_CHECK | RECURSIVE | FIRST_FIT)
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;

macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*) => $host:ident($($value:expr),*);)*) => {$(
        /// The host's function of that name, on objects without signatures.
        ///
        /// # Safety
        /// As that.
        pub(super) unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            // SAFETY: as the caller promises.
            error(unsafe { libc::$host($($value),*) })
        }
    )*};
}
forward! {
    create(thread: *mut libc::pthread_t, attributes: *const libc::pthread_attr_t, function: Start, argument: *mut c_void)
        => pthread_create(thread, attributes, function, argument);
    join(thread: libc::pthread_t, result: *mut *mut c_void) => pthread_join(thread, result);
    lock(object: *mut libc::pthread_mutex_t) => pthread_mutex_lock(mutex(object));
    try_lock(object: *mut libc::pthread_mutex_t) => pthread_mutex_trylock(mutex(object));
    unlock(object: *mut libc::pthread_mutex_t) => pthread_mutex_unlock(mutex(object));
    destroy(object: *mut libc::pthread_mutex_t) => pthread_mutex_destroy(mutex(object));
    destroy_condition(object: *mut libc::pthread_cond_t) => pthread_cond_destroy(ready(object, CONDITION));
    wait(object: *mut libc::pthread_cond_t, with: *mut libc::pthread_mutex_t)
        => pthread_cond_wait(ready(object, CONDITION), mutex(with));
    wait_until(object: *mut libc::pthread_cond_t, with: *mut libc::pthread_mutex_t, time: *const libc::timespec)
        => pthread_cond_timedwait(ready(object, CONDITION), mutex(with), time);
    signal(object: *mut libc::pthread_cond_t) => pthread_cond_signal(ready(object, CONDITION));
    broadcast(object: *mut libc::pthread_cond_t) => pthread_cond_broadcast(ready(object, CONDITION));
    read_lock(object: *mut libc::pthread_rwlock_t) => pthread_rwlock_rdlock(ready(object, READ_WRITE));
    write_lock(object: *mut libc::pthread_rwlock_t) => pthread_rwlock_wrlock(ready(object, READ_WRITE));
    try_read_lock(object: *mut libc::pthread_rwlock_t) => pthread_rwlock_tryrdlock(ready(object, READ_WRITE));
    try_write_lock(object: *mut libc::pthread_rwlock_t) => pthread_rwlock_trywrlock(ready(object, READ_WRITE));
    unlock_read_write(object: *mut libc::pthread_rwlock_t) => pthread_rwlock_unlock(ready(object, READ_WRITE));
}

/// `pthread_cond_timedwait_relative_np`: a span of time, not a point in it.
///
/// # Safety
/// As `pthread_cond_timedwait`.
unsafe extern "C" fn wait_for(
    object: *mut libc::pthread_cond_t,
    with: *mut libc::pthread_mutex_t,
    span: *const libc::timespec,
) -> c_int {
    const SECOND: libc::c_long = 1_000_000_000;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    // SAFETY: as the caller promises.
    let span = unsafe { span.read() };
    let nanoseconds = time.tv_nsec.saturating_add(span.tv_nsec);
    time.tv_sec = time.tv_sec.saturating_add(span.tv_sec).saturating_add((nanoseconds / SECOND) as libc::time_t);
    time.tv_nsec = nanoseconds % SECOND;
    // SAFETY: as the caller promises.
    unsafe { wait_until(object, with, &raw const time) }
}

/// `pthread_mutexattr_settype`: the numbers of two kinds are the other way round.
///
/// # Safety
/// As that.
unsafe extern "C" fn set_type(attributes: *mut libc::pthread_mutexattr_t, kind: c_int) -> c_int {
    let host = match kind {
        1 => libc::PTHREAD_MUTEX_ERRORCHECK,
        2 => libc::PTHREAD_MUTEX_RECURSIVE,
        _ => libc::PTHREAD_MUTEX_NORMAL,
    };
    // SAFETY: as the caller promises.
    error(unsafe { libc::pthread_mutexattr_settype(attributes, host) })
}

/// `pthread_once`
///
/// # Safety
/// As that.
unsafe extern "C-unwind" fn once(object: *mut c_int, function: unsafe extern "C-unwind" fn()) -> c_int {
    unsafe extern "C-unwind" {
        fn pthread_once(object: *mut c_int, function: unsafe extern "C-unwind" fn()) -> c_int;
    }
    // SAFETY: as the caller promises; `pthread_once_t` is two words there.
    error(unsafe { pthread_once(ready(object, ONCE), function) })
}

/// `pthread_key_create`: a key has 64 bits there.
///
/// # Safety
/// `key` has room for them; the destructor is a function.
unsafe extern "C" fn create_key(key: *mut u64, destructor: Option<counted::Destructor>) -> c_int {
    let mut host = 0;
    // SAFETY: as the caller promises.
    let result = error(unsafe { counted::create_key(&raw mut host, destructor) });
    if result == 0 {
        // SAFETY: as the caller promises.
        unsafe { key.write(host as u64) };
    }
    result
}

/// `pthread_threadid_np`, of the calling thread alone: of another one there is no such number.
///
/// # Safety
/// `number` is null or has room for one.
unsafe extern "C" fn thread_number(thread: libc::pthread_t, number: *mut u64) -> c_int {
    // SAFETY: has no preconditions.
    let own = unsafe { libc::pthread_self() };
    if number.is_null() || (thread != 0 as libc::pthread_t && thread != own) {
        return libc::EINVAL;
    }
    // SAFETY: as the caller promises.
    unsafe { number.write(crate::platform::thread_id()) };
    0
}

/// `pthread_setname_np`: of the calling thread alone. The host's takes no more than 15 bytes, there it is 63.
///
/// # Safety
/// `name` is a C string.
unsafe extern "C" fn set_name(name: *const c_char) -> c_int {
    const MOST: usize = 15;
    unsafe extern "C" {
        fn pthread_setname_np(thread: libc::pthread_t, name: *const c_char) -> c_int;
    }
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let mut short = [0u8; MOST + 1];
    let length = name.len().min(MOST);
    short[..length].copy_from_slice(&name[..length]);
    // SAFETY: a C string: the last byte is a zero. The thread runs.
    unsafe { pthread_setname_np(libc::pthread_self(), short.as_ptr().cast()) }
}

/// What `pthread_attr_setdetachstate` takes: theirs, and the host's.
const DETACHED: &[(c_int, c_int)] = &[(1, libc::PTHREAD_CREATE_JOINABLE), (2, libc::PTHREAD_CREATE_DETACHED)];

/// `pthread_attr_setdetachstate`
///
/// # Safety
/// As that.
unsafe extern "C" fn set_detached(attributes: *mut libc::pthread_attr_t, state: c_int) -> c_int {
    let Some((_, host)) = DETACHED.iter().find(|(theirs, _)| *theirs == state) else { return libc::EINVAL };
    // SAFETY: as the caller promises.
    unsafe { libc::pthread_attr_setdetachstate(attributes, *host) }
}

/// `pthread_attr_getdetachstate`
///
/// # Safety
/// As that.
unsafe extern "C" fn detached(attributes: *const libc::pthread_attr_t, state: *mut c_int) -> c_int {
    unsafe extern "C" {
        fn pthread_attr_getdetachstate(attributes: *const libc::pthread_attr_t, state: *mut c_int) -> c_int;
    }
    let mut own = 0;
    // SAFETY: as the caller promises, and a place for the answer.
    let result = unsafe { pthread_attr_getdetachstate(attributes, &raw mut own) };
    if let Some((theirs, _)) = DETACHED.iter().find(|(_, host)| result == 0 && *host == own) {
        // SAFETY: as the caller promises.
        unsafe { state.write(*theirs) };
    }
    result
}

/// `pthread_setcancelstate`: 1 is enabled and 0 disabled, which is the other way round here.
///
/// # Safety
/// `old` is null or has room for one.
unsafe extern "C" fn set_cancellable(state: c_int, old: *mut c_int) -> c_int {
    unsafe extern "C" {
        fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    }
    let (0 | 1) = state else { return libc::EINVAL };
    let mut before = 0;
    // SAFETY: a place for the answer.
    let result = unsafe { pthread_setcancelstate(1 - state, &raw mut before) };
    if result == 0 && !old.is_null() {
        // SAFETY: as the caller promises.
        unsafe { old.write(1 - before) };
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As large as Darwin's, with its signature.
    #[repr(C, align(16))]
    struct Object(u64, [u64; 24]);

    #[test]
    fn static_objects_are_usable_and_keep_their_kind() {
        let mut plain = Object(MUTEX, [0; 24]);
        let mut recursive = Object(RECURSIVE, [0; 24]);
        let mut readers = Object(READ_WRITE, [0; 24]);
        // SAFETY: objects of those types, used by this thread alone.
        unsafe {
            assert_eq!((lock((&raw mut plain).cast()), try_lock((&raw mut plain).cast())), (0, libc::EBUSY));
            assert_eq!(unlock((&raw mut plain).cast()), 0);
            assert_eq!((lock((&raw mut recursive).cast()), lock((&raw mut recursive).cast())), (0, 0));
            assert_eq!((unlock((&raw mut recursive).cast()), unlock((&raw mut recursive).cast())), (0, 0));
            assert_eq!((read_lock((&raw mut readers).cast()), unlock_read_write((&raw mut readers).cast())), (0, 0));
        }
    }

    #[test]
    fn errors_have_the_other_systems_numbers() {
        let mut checked = Object(ERROR_CHECK, [0; 24]);
        let mut condition = Object(CONDITION, [0; 24]);
        let (checked, condition) = ((&raw mut checked).cast(), (&raw mut condition).cast());
        let span = libc::timespec { tv_sec: 0, tv_nsec: 1 };
        // SAFETY: objects of those types, used by this thread alone, which cannot join itself.
        unsafe {
            assert_eq!((lock(checked), lock(checked)), (0, 11));
            assert_eq!((wait_for(condition, checked, &raw const span), unlock(checked)), (60, 0));
            assert_eq!(join(libc::pthread_self(), std::ptr::null_mut()), 11);
        }
        assert_eq!([libc::EAGAIN, libc::ENOTSUP, libc::EINVAL, 0].map(error), [35, 45, 22, 0]);
    }

    #[test]
    fn a_condition_in_use_may_look_like_a_new_one() {
        let mut object = Object(CONDITION, [1; 24]);
        // SAFETY: an object of two words and more.
        unsafe { ready(&raw mut object, CONDITION) };
        assert_eq!(object.0, CONDITION);
    }

    #[test]
    fn static_locks_of_readers_can_be_tried() {
        let mut one = Object(READ_WRITE, [0; 24]);
        let mut two = Object(READ_WRITE, [0; 24]);
        let (one, two): (*mut libc::pthread_rwlock_t, _) = ((&raw mut one).cast(), (&raw mut two).cast());
        // SAFETY: objects of that type, used by this thread alone.
        unsafe {
            assert_eq!((try_read_lock(one), try_read_lock(one), try_write_lock(one)), (0, 0, libc::EBUSY));
            assert_eq!((try_write_lock(two), try_read_lock(two), unlock_read_write(two)), (0, libc::EBUSY, 0));
        }
    }

    #[test]
    fn states_have_the_other_systems_numbers() {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        let (mut host, mut state) = (0, 0);
        // SAFETY: attributes that are initialised first, and places for the answers.
        unsafe {
            assert_eq!(libc::pthread_attr_init(attributes), 0);
            assert_eq!((set_detached(attributes, 0), set_detached(attributes, 2)), (libc::EINVAL, 0));
            assert_eq!((detached(attributes, &raw mut state), state), (0, 2));
            assert_eq!((set_detached(attributes, 1), detached(attributes, &raw mut state), state), (0, 0, 1));
            assert_eq!(libc::pthread_attr_destroy(attributes), 0);
            assert_eq!((set_cancellable(0, &raw mut state), state), (0, 1));
            assert_eq!((set_cancellable(1, &raw mut host), host), (0, 0));
            assert_eq!(set_cancellable(2, std::ptr::null_mut()), libc::EINVAL);
        }
    }

    #[test]
    fn a_thread_names_itself_and_a_long_name_is_cut_off() {
        let name = || std::fs::read_to_string("/proc/thread-self/comm").expect("the name of this thread");
        let named = std::thread::spawn(move || {
            // SAFETY: a C string.
            assert_eq!(unsafe { set_name(c"as long as it may be there".as_ptr()) }, 0);
            name()
        });
        assert_eq!(named.join().expect("a thread that ends"), "as long as it m\n");
    }

    #[test]
    fn what_is_done_once_is_done_once() {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        unsafe extern "C-unwind" fn count() {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        let mut object = [ONCE, 0];
        for _ in 0..2 {
            // SAFETY: an object of Darwin's type, used by this thread alone.
            assert_eq!(unsafe { once((&raw mut object).cast(), count) }, 0);
        }
        assert_eq!(COUNT.load(Ordering::Relaxed), 1);
    }
}
