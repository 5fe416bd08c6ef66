//! Calls whose numbers, flags or order of arguments differ: what the system is asked about itself, files by folder and
//! name (`…at`), and a few of the C library.

use super::{Pointer, files};
use crate::addr::RunAddr;
use std::cmp::Ordering;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_sysctl" => ask as Pointer,
        b"_sysctlbyname" => ask_by_name as Pointer,
        b"_pathconf" => path_limit as Pointer,
        b"_fpathconf" => file_limit as Pointer,
        b"_memset_s" => erase as Pointer,
        b"_qsort_r" => sort as Pointer,
        b"_openat" => open_at as Pointer,
        b"_unlinkat" => unlink_at as Pointer,
        b"_linkat" => link_at as Pointer,
        b"_mkdirat" => make_folder_at as Pointer,
        b"_renameat" => rename_at as Pointer,
        b"_symlinkat" => symlink_at as Pointer,
        b"_readlinkat" => read_link_at as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// What a value of `sysctl` is.
enum Value {
    Int(c_int),
    Long(u64),
}

/// The values that are known here: by name, and by number in `CTL_HW`. Programs ask for how much there is of what the
/// machine has; all other names are unknown, as they are on another version of that system.
fn value(name: &[u8]) -> Option<Value> {
    // SAFETY: has no preconditions.
    let host = |name: c_int| u64::try_from(unsafe { libc::sysconf(name) }).ok();
    let int = |name| host(name).and_then(|value| c_int::try_from(value).ok()).map(Value::Int);
    match name {
        b"hw.ncpu" | b"hw.logicalcpu" | b"hw.logicalcpu_max" | b"hw.physicalcpu" | b"hw.physicalcpu_max" => {
            int(libc::_SC_NPROCESSORS_CONF)
        }
        b"hw.activecpu" | b"hw.availcpu" => int(libc::_SC_NPROCESSORS_ONLN),
        b"hw.pagesize" => host(libc::_SC_PAGESIZE).map(Value::Long),
        b"hw.memsize" => Some(Value::Long(host(libc::_SC_PHYS_PAGES)?.checked_mul(host(libc::_SC_PAGESIZE)?)?)),
        _ => None,
    }
}

/// Hands a value out as `sysctl` does: its size always, and its bytes where there is room for them.
///
/// # Safety
/// `size` is null or says how much room there is at `to`, which may be null.
unsafe fn answer(value: Option<Value>, to: *mut u8, size: *mut usize, is_question: bool) -> c_int {
    let fail = |error: c_int| {
        crate::platform::set_errno(error);
        -1
    };
    let Some(value) = value else { return fail(libc::ENOENT) };
    if !is_question {
        return fail(libc::EPERM);
    }
    let bytes = match value {
        Value::Int(value) => value.to_ne_bytes().to_vec(),
        Value::Long(value) => value.to_ne_bytes().to_vec(),
    };
    if size.is_null() {
        return 0;
    }
    // SAFETY: as the caller promises.
    let room = unsafe { size.replace(bytes.len()) };
    if to.is_null() {
        return 0;
    }
    // SAFETY: no more than the room.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len().min(room)) };
    if room < bytes.len() { fail(libc::ENOMEM) } else { 0 }
}

/// `sysctlbyname`
///
/// # Safety
/// `name` is a C string; as [`answer`].
unsafe extern "C" fn ask_by_name(
    name: *const c_char,
    to: *mut u8,
    size: *mut usize,
    new: *const c_void,
    _: usize,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { answer(value(CStr::from_ptr(name).to_bytes()), to, size, new.is_null()) }
}

/// `sysctl`
///
/// # Safety
/// There are `count` numbers at `numbers`; as [`answer`].
unsafe extern "C" fn ask(
    numbers: *const c_int,
    count: u32,
    to: *mut u8,
    size: *mut usize,
    new: *const c_void,
    _: usize,
) -> c_int {
    const CTL_HW: c_int = 6;
    // SAFETY: as the caller promises.
    let name: &[u8] = match unsafe { std::slice::from_raw_parts(numbers, count as usize) } {
        [CTL_HW, 3] => b"hw.ncpu",
        [CTL_HW, 24] => b"hw.memsize",
        [CTL_HW, 25] => b"hw.availcpu",
        // Asked by its number, this is an `int`.
        [CTL_HW, 7] => {
            // SAFETY: as the caller promises; the call has no preconditions.
            return unsafe {
                answer(Some(Value::Int(libc::sysconf(libc::_SC_PAGESIZE) as c_int)), to, size, new.is_null())
            };
        }
        _ => b"",
    };
    // SAFETY: as the caller promises.
    unsafe { answer(value(name), to, size, new.is_null()) }
}

/// What `pathconf` is asked for, in the order of their numbers, from 1.
const LIMITS: [c_int; 9] = [
    libc::_PC_LINK_MAX,
    libc::_PC_MAX_CANON,
    libc::_PC_MAX_INPUT,
    libc::_PC_NAME_MAX,
    libc::_PC_PATH_MAX,
    libc::_PC_PIPE_BUF,
    libc::_PC_CHOWN_RESTRICTED,
    libc::_PC_NO_TRUNC,
    libc::_PC_VDISABLE,
];

fn limit(name: c_int) -> c_int {
    usize::try_from(name - 1).ok().and_then(|name| LIMITS.get(name)).copied().unwrap_or(-1)
}

/// `pathconf`: an unknown name is an error.
///
/// # Safety
/// `path` is a C string.
unsafe extern "C" fn path_limit(path: *const c_char, name: c_int) -> c_long {
    // SAFETY: as the caller promises.
    unsafe { libc::pathconf(path, limit(name)) }
}

/// `fpathconf`
extern "C" fn file_limit(file: c_int, name: c_int) -> c_long {
    // SAFETY: has no preconditions.
    unsafe { libc::fpathconf(file, limit(name)) }
}

/// `memset_s` (C11 K.3.7.4.1), with no handler of constraints: what is too much is done as far as there is room.
///
/// # Safety
/// `start` is null or has room for `room` bytes.
unsafe extern "C" fn erase(start: *mut u8, room: usize, byte: c_int, size: usize) -> c_int {
    if start.is_null() {
        return libc::EINVAL;
    }
    for at in 0..size.min(room) {
        // SAFETY: in the room. Volatile: nobody may leave it out because the bytes are not read again.
        unsafe { start.add(at).write_volatile(byte as u8) };
    }
    if size > room { libc::EOVERFLOW } else { 0 }
}

/// `qsort_r`: what is handed to the comparison comes before it, there and in the calls.
///
/// # Safety
/// There are `count` elements of `size` bytes at `start`; `compare` takes two of them.
unsafe extern "C-unwind" fn sort(
    start: *mut u8,
    count: usize,
    size: usize,
    context: *mut c_void,
    compare: unsafe extern "C-unwind" fn(*mut c_void, *const u8, *const u8) -> c_int,
) {
    if count < 2 || size == 0 {
        return;
    }
    // SAFETY: as the caller promises.
    let elements = unsafe { std::slice::from_raw_parts_mut(start, count * size) };
    // Words of sixteen bytes: a comparison finds its elements aligned as they were.
    let mut room = vec![0u128; elements.len().div_ceil(16)];
    // SAFETY: the room has as many bytes, and nobody else knows it.
    let copy = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), elements.len()) };
    copy.copy_from_slice(elements);
    let mut order: Vec<&[u8]> = copy.chunks_exact(size).collect();
    let by = |one: &&[u8], other: &&[u8]| -> Ordering {
        // SAFETY: as the caller promises.
        unsafe { compare(context, one.as_ptr(), other.as_ptr()) }.cmp(&0)
    };
    merge_sort(&mut order, by);
    elements.chunks_exact_mut(size).zip(order).for_each(|(place, element)| place.copy_from_slice(element));
}

/// The standard library's sort may panic where a comparison contradicts itself, which is the image's.
fn merge_sort<T: Copy>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let mut merged = Vec::with_capacity(items.len());
    let mut width = 1;
    while width < items.len() {
        for pair in items.chunks_mut(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            merged.clear();
            while let (Some(one), Some(other)) = (left.first(), right.first()) {
                let side = if compare(one, other) == Ordering::Greater { &mut right } else { &mut left };
                merged.push(side[0]);
                *side = &side[1..];
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
            pair.copy_from_slice(&merged);
        }
        width *= 2;
    }
}

/// The folder that a path counts from: `AT_FDCWD` has another number.
fn folder(file: c_int) -> c_int {
    if file == -2 { libc::AT_FDCWD } else { file }
}

/// `openat`
///
/// # Safety
/// As that; the mode comes as a fourth argument where a file is created.
unsafe extern "C" fn open_at(from: c_int, path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { libc::openat(folder(from), path, files::open_flags(flags), mode) }
}

/// `unlinkat`
///
/// # Safety
/// `path` is a C string.
unsafe extern "C" fn unlink_at(from: c_int, path: *const c_char, flags: c_int) -> c_int {
    let flags = match flags {
        0 => 0,
        0x80 => libc::AT_REMOVEDIR,
        _ => -1,
    };
    // SAFETY: as the caller promises.
    unsafe { libc::unlinkat(folder(from), path, flags) }
}

/// `linkat`
///
/// # Safety
/// Both paths are C strings.
unsafe extern "C" fn link_at(from: c_int, path: *const c_char, to: c_int, new: *const c_char, flags: c_int) -> c_int {
    let flags = match flags {
        0 => 0,
        0x40 => libc::AT_SYMLINK_FOLLOW,
        _ => -1,
    };
    // SAFETY: as the caller promises.
    unsafe { libc::linkat(folder(from), path, folder(to), new, flags) }
}

/// `mkdirat`
///
/// # Safety
/// `path` is a C string.
unsafe extern "C" fn make_folder_at(from: c_int, path: *const c_char, mode: libc::mode_t) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { libc::mkdirat(folder(from), path, mode) }
}

/// `renameat`
///
/// # Safety
/// Both paths are C strings.
unsafe extern "C" fn rename_at(from: c_int, path: *const c_char, to: c_int, new: *const c_char) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { libc::renameat(folder(from), path, folder(to), new) }
}

/// `symlinkat`
///
/// # Safety
/// Both paths are C strings.
unsafe extern "C" fn symlink_at(target: *const c_char, from: c_int, path: *const c_char) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { libc::symlinkat(target, folder(from), path) }
}

/// `readlinkat`
///
/// # Safety
/// `path` is a C string, and `to` has room for `size` bytes.
unsafe extern "C" fn read_link_at(from: c_int, path: *const c_char, to: *mut c_char, size: usize) -> isize {
    // SAFETY: as the caller promises.
    unsafe { libc::readlinkat(folder(from), path, to, size) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::{null, null_mut};

    #[test]
    fn the_machine_is_described() {
        let (mut processors, mut memory) = (0i32, 0u64);
        let (mut four, mut eight, mut two) = (4usize, 8usize, 2usize);
        // SAFETY: C strings, and as much room as is said.
        unsafe {
            let at = (&raw mut processors).cast();
            assert_eq!(ask_by_name(c"hw.ncpu".as_ptr(), at, &raw mut four, null(), 0), 0);
            assert_eq!(ask([6, 24].as_ptr(), 2, (&raw mut memory).cast(), &raw mut eight, null(), 0), 0);
            assert!(four == 4 && eight == 8 && processors > 0 && memory > 1 << 20);
            assert_eq!(ask([6, 3].as_ptr(), 2, at, &raw mut two, null(), 0), -1);
            assert_eq!((two, std::io::Error::last_os_error().raw_os_error()), (4, Some(libc::ENOMEM)));
            assert_eq!(ask_by_name(c"hw.ncpu".as_ptr(), null_mut(), &raw mut two, null(), 0), 0);
            assert_eq!(ask_by_name(c"no.such".as_ptr(), at, &raw mut four, null(), 0), -1);
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT));
            assert_eq!(ask([1, 1].as_ptr(), 2, at, &raw mut four, null(), 0), -1);
        }
    }

    #[test]
    fn limits_are_those_of_the_same_meaning() {
        // SAFETY: a C string.
        unsafe {
            assert_eq!((path_limit(c"/".as_ptr(), 4), path_limit(c"/".as_ptr(), 5)), (255, 4096));
            assert_eq!((path_limit(c"/".as_ptr(), 0), path_limit(c"/".as_ptr(), 40)), (-1, -1));
        }
    }

    #[test]
    fn secrets_are_erased_as_far_as_there_is_room() {
        let mut bytes = [7u8; 4];
        // SAFETY: the room is what is said.
        unsafe {
            assert_eq!((erase(bytes.as_mut_ptr(), 2, 0, 3), bytes), (libc::EOVERFLOW, [0, 0, 7, 7]));
            assert_eq!((erase(bytes.as_mut_ptr(), 4, 1, 4), bytes), (0, [1; 4]));
            assert_eq!(erase(null_mut(), 4, 1, 4), libc::EINVAL);
        }
    }

    #[test]
    fn elements_are_sorted_whatever_the_comparison_says() {
        unsafe extern "C-unwind" fn by_remainder(context: *mut c_void, one: *const u8, other: *const u8) -> c_int {
            // SAFETY: the context is a number, and the elements are numbers.
            let (divisor, one, other) = unsafe { (*context.cast::<u32>(), *one.cast::<u32>(), *other.cast::<u32>()) };
            (one % divisor) as c_int - (other % divisor) as c_int
        }
        unsafe extern "C-unwind" fn never(_: *mut c_void, _: *const u8, _: *const u8) -> c_int {
            1
        }
        let mut numbers = [25u32, 13, 8, 99, 41, 70, 7];
        let mut divisor = 10u32;
        // SAFETY: seven numbers, and a comparison of numbers.
        unsafe {
            sort(numbers.as_mut_ptr().cast(), 7, 4, (&raw mut divisor).cast(), by_remainder);
            assert_eq!(numbers, [70, 41, 13, 25, 7, 8, 99]);
            sort(numbers.as_mut_ptr().cast(), 7, 4, null_mut(), never);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [7, 8, 13, 25, 41, 70, 99]);
    }

    #[test]
    fn files_are_named_by_folder() {
        let folder = std::env::temp_dir().join(format!("sideload-at-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        let path = std::ffi::CString::new(folder.clone().into_os_string().into_encoded_bytes()).expect("no NUL in it");
        // SAFETY: C strings, and room for what is read.
        unsafe {
            // O_DIRECTORY, and O_CREAT with O_EXCL and O_WRONLY.
            let at = open_at(-2, path.as_ptr(), 0x10_0000, 0);
            let file = open_at(at, c"one".as_ptr(), 0xa01, 0o600);
            assert!(at >= 0 && file >= 0);
            assert_eq!(link_at(at, c"one".as_ptr(), at, c"two".as_ptr(), 0), 0);
            assert_eq!(link_at(at, c"one".as_ptr(), at, c"three".as_ptr(), 1), -1);
            assert_eq!(symlink_at(c"one".as_ptr(), at, c"link".as_ptr()), 0);
            let mut target = [0 as c_char; 8];
            assert_eq!(read_link_at(at, c"link".as_ptr(), target.as_mut_ptr(), 8), 3);
            assert_eq!(make_folder_at(at, c"folder".as_ptr(), 0o700), 0);
            assert_eq!(rename_at(at, c"one".as_ptr(), at, c"three".as_ptr()), 0);
            assert_eq!((unlink_at(at, c"folder".as_ptr(), 0), unlink_at(at, c"folder".as_ptr(), 0x80)), (-1, 0));
            for name in [c"two", c"three", c"link"] {
                assert_eq!(unlink_at(at, name.as_ptr(), 0), 0);
            }
            libc::close(file);
            libc::close(at);
        }
        std::fs::remove_dir(&folder).expect("it is empty");
    }
}
