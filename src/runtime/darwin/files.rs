//! Calls of the system whose constants differ.

use super::{Pointer, bits};
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int, c_long, c_void};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_open" => open as Pointer,
        b"_fcntl" => control as Pointer,
        b"_mmap" => map as Pointer,
        b"_madvise" => advise as Pointer,
        b"_lseek" => seek as Pointer,
        b"_clonefile" | b"_clonefileat" | b"_fclonefileat" => clone as Pointer,
        b"___darwin_check_fd_set_overflow" => fits_set as Pointer,
        b"_issetugid" => has_more_rights as Pointer,
        b"_sysconf" => configuration as Pointer,
        b"_clock_gettime" => clock as Pointer,
        b"_mach_absolute_time" => nanoseconds as Pointer,
        b"_mach_timebase_info" => timebase as Pointer,
        b"_dlopen" => open_library as Pointer,
        b"_dlsym" => find_symbol as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// The host's bits for those that are set: some are the same, others are in a table.
fn translated(flags: c_int, same: c_int, table: &[(c_int, c_int)]) -> c_int {
    flags & same | bits::to_host(flags, table)
}

/// `open`: the mode comes as a third argument where a file is created, which a variadic call passes the same way.
///
/// # Safety
/// `path` is a C string.
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { libc::open(path, open_flags(flags), mode) }
}

/// The host's flags of `open`.
pub(super) fn open_flags(flags: c_int) -> c_int {
    translated(flags, libc::O_ACCMODE, OPEN_FLAGS)
}

/// What `open` takes and `fcntl` gives: theirs, and the host's.
const OPEN_FLAGS: &[(c_int, c_int)] = &[
    (0x4, libc::O_NONBLOCK),
    (0x8, libc::O_APPEND),
    (0x80, libc::O_SYNC),
    (0x100, libc::O_NOFOLLOW),
    (0x200, libc::O_CREAT),
    (0x400, libc::O_TRUNC),
    (0x800, libc::O_EXCL),
    (0x2_0000, libc::O_NOCTTY),
    (0x10_0000, libc::O_DIRECTORY),
    (0x100_0000, libc::O_CLOEXEC),
];

/// `fcntl`, as far as its argument is a number: locks pass a structure, and are refused as unknown.
///
/// # Safety
/// As that.
unsafe extern "C" fn control(file: c_int, command: c_int, argument: c_int) -> c_int {
    const F_FULLFSYNC: c_int = 51;
    const F_DUPFD_CLOEXEC: c_int = 67;
    let host = |command, argument: c_int| {
        // SAFETY: commands that take a number, or nothing.
        unsafe { libc::fcntl(file, command, argument) }
    };
    match command {
        // F_DUPFD, F_GETFD and F_SETFD are the same everywhere.
        0..=2 => host(command, argument),
        F_DUPFD_CLOEXEC => host(libc::F_DUPFD_CLOEXEC, argument),
        3 => match host(libc::F_GETFL, 0) {
            -1 => -1,
            flags => {
                // One bit of several counts only with all of them (O_SYNC).
                let set = OPEN_FLAGS.iter().filter(|(_, host)| flags & host == *host);
                set.fold(flags & libc::O_ACCMODE, |all, (theirs, _)| all | theirs)
            }
        },
        4 => host(libc::F_SETFL, translated(argument, libc::O_ACCMODE, OPEN_FLAGS)),
        // SAFETY: has no preconditions.
        F_FULLFSYNC => unsafe { libc::fsync(file) },
        _ => host(-1, 0),
    }
}

/// `mmap`
///
/// # Safety
/// As that.
unsafe extern "C" fn map(
    at: *mut c_void,
    size: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    // MAP_SHARED, MAP_PRIVATE and MAP_FIXED are 1, 2 and 0x10 everywhere.
    let flags = translated(flags, 0x13, &[(0x1000, libc::MAP_ANON)]);
    // SAFETY: as the caller promises.
    unsafe { libc::mmap(at, size, protection, flags, file, offset) }
}

/// `madvise`: what is no longer needed keeps its content there (`MADV_DONTNEED`), where the host may forget it.
///
/// # Safety
/// As that.
unsafe extern "C" fn advise(at: *mut c_void, size: usize, advice: c_int) -> c_int {
    let host = match advice {
        // NORMAL, RANDOM, SEQUENTIAL and WILLNEED
        0..=3 => advice,
        // DONTNEED; and FREE_REUSE, after which memory counts again.
        4 | 8 => return 0,
        // FREE and FREE_REUSABLE: the content may be lost.
        5 | 7 => libc::MADV_FREE,
        _ => -1,
    };
    // SAFETY: as the caller promises.
    unsafe { libc::madvise(at, size, host) }
}

/// `lseek`: holes and data have each other's number.
extern "C" fn seek(file: c_int, offset: i64, from: c_int) -> i64 {
    let host = match from {
        0..=2 => from,
        3 => libc::SEEK_HOLE,
        4 => libc::SEEK_DATA,
        _ => -1,
    };
    // SAFETY: has no preconditions.
    unsafe { libc::lseek(file, offset, host) }
}

/// `clonefile` and its kin: no file system can, which is an answer that callers expect.
extern "C" fn clone() -> c_int {
    crate::platform::set_errno(libc::ENOTSUP);
    -1
}

/// `__darwin_check_fd_set_overflow`: whether a file's number has a bit in a set, which programs may make larger.
extern "C" fn fits_set(file: c_int, _: *const c_void, may_be_larger: c_int) -> c_int {
    (file >= 0 && (may_be_larger != 0 || file < libc::FD_SETSIZE as c_int)).into()
}

/// `issetugid`: whether the process has rights that who started it has not.
extern "C" fn has_more_rights() -> c_int {
    crate::platform::auxv(crate::platform::Auxv::Secure).is_some().into()
}

/// `sysconf`: −1 for what is not in the table, which is the answer for an unknown name.
extern "C" fn configuration(name: c_int) -> c_long {
    const TABLE: &[(c_int, c_int)] = &[
        (1, libc::_SC_ARG_MAX),
        (2, libc::_SC_CHILD_MAX),
        (3, libc::_SC_CLK_TCK),
        (4, libc::_SC_NGROUPS_MAX),
        (5, libc::_SC_OPEN_MAX),
        (29, libc::_SC_PAGESIZE),
        (56, libc::_SC_IOV_MAX),
        (57, libc::_SC_NPROCESSORS_CONF),
        (58, libc::_SC_NPROCESSORS_ONLN),
        (70, libc::_SC_GETGR_R_SIZE_MAX),
        (71, libc::_SC_GETPW_R_SIZE_MAX),
        (200, libc::_SC_PHYS_PAGES),
    ];
    let host = TABLE.iter().find(|(theirs, _)| *theirs == name);
    // SAFETY: has no preconditions.
    host.map_or(-1, |&(_, host)| unsafe { libc::sysconf(host) })
}

/// `clock_gettime`
///
/// # Safety
/// `time` has room for one.
unsafe extern "C" fn clock(id: c_int, time: *mut libc::timespec) -> c_int {
    let host = match id {
        0 => libc::CLOCK_REALTIME,
        // MONOTONIC, and those that count in its way: raw, approximate, without time asleep.
        4..=9 => libc::CLOCK_MONOTONIC,
        12 => libc::CLOCK_PROCESS_CPUTIME_ID,
        16 => libc::CLOCK_THREAD_CPUTIME_ID,
        _ => -1,
    };
    // SAFETY: as the caller promises; an unknown clock is an error.
    unsafe { libc::clock_gettime(host, time) }
}

/// `mach_absolute_time`, in nanoseconds.
pub(super) extern "C" fn nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// `mach_timebase_info`: a tick is a nanosecond.
///
/// # Safety
/// `info` has room for two words.
unsafe extern "C" fn timebase(info: *mut [u32; 2]) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { info.write([1, 1]) };
    0
}

/// `dlopen`: passes on who calls, as that function does.
///
/// # Safety
/// As that.
#[unsafe(naked)]
unsafe extern "C-unwind" fn open_library(name: *const c_char, mode: c_int) -> *mut c_void {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "mov rdx, [rsp]",
        "jmp {function}",
        ".cfi_endproc",
        function = sym open_for,
    )
}

/// # Safety
/// As [`open_library`].
unsafe extern "C-unwind" fn open_for(name: *const c_char, mode: c_int, caller: u64) -> *mut c_void {
    // SAFETY: as the caller promises.
    unsafe { super::super::dl::open(name, open_mode(mode), caller) }
}

/// The host's mode of `dlopen`. There, neither of `RTLD_LAZY` and `RTLD_NOW` need be said, and what is not `RTLD_LOCAL` (4)
/// is global (`dlopen(3)`).
fn open_mode(mode: c_int) -> c_int {
    const LOCAL: c_int = 0x4;
    let host =
        translated(mode, 0x3, &[(0x8, libc::RTLD_GLOBAL), (0x10, libc::RTLD_NOLOAD), (0x80, libc::RTLD_NODELETE)]);
    let when = if host & 0x3 == 0 { libc::RTLD_NOW } else { 0 };
    let global = if mode & LOCAL == 0 { libc::RTLD_GLOBAL } else { 0 };
    host | when | global
}

/// `dlsym`: passes on who calls, as that function does, and turns `RTLD_DEFAULT` (−2) into the host's null.
#[unsafe(naked)]
unsafe extern "C" fn find_symbol(handle: *const c_void, name: *const c_char) -> *mut c_void {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "xor eax, eax",
        "cmp rdi, -2",
        "cmove rdi, rax",
        "mov rdx, [rsp]",
        "jmp {function}",
        ".cfi_endproc",
        function = sym super::super::dl::search_darwin,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_taken_without_loss() {
        let size = 0x4000;
        // SAFETY: memory of our own.
        unsafe {
            let at = map(std::ptr::null_mut(), size, 3, 0x1002, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            at.cast::<u8>().write(7);
            let results = [0, 1, 2, 3, 4, 8, 42].map(|advice| advise(at, size, advice));
            assert_eq!((results, at.cast::<u8>().read()), ([0, 0, 0, 0, 0, 0, -1], 7));
            assert_eq!(advise(at, size, 5), 0);
            libc::munmap(at, size);
        }
    }

    #[test]
    fn holes_and_data_are_told_apart() {
        let path = std::env::temp_dir().join(format!("sideload-hole-{}", std::process::id()));
        let file = std::fs::File::create(&path).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", 1 << 20).expect("room");
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let end = (1 << 20) + 4;
        // Where a file system knows no holes, there is one at the end.
        assert_eq!(seek(number, 1 << 20, 3), end);
        assert!([0, 1 << 20].contains(&seek(number, 0, 4)));
        assert_eq!((seek(number, 0, 2), seek(number, 0, 5)), (end, -1));
        std::fs::remove_file(&path).expect("a file");
    }

    #[test]
    fn sets_of_files_have_an_end() {
        let set = std::ptr::null();
        let found = [(0, 0), (1023, 0), (1024, 0), (1024, 1), (-1, 1)].map(|(file, more)| fits_set(file, set, more));
        assert_eq!((found, has_more_rights(), clone()), ([1, 1, 0, 1, 0], 0, -1));
    }

    #[test]
    fn modes_have_the_other_systems_defaults() {
        const CASES: &[(c_int, c_int)] = &[
            (0, libc::RTLD_NOW | libc::RTLD_GLOBAL),
            (1, libc::RTLD_LAZY | libc::RTLD_GLOBAL),
            (2 | 4, libc::RTLD_NOW),
            (4, libc::RTLD_NOW),
            (2 | 8, libc::RTLD_NOW | libc::RTLD_GLOBAL),
            (2 | 4 | 0x10, libc::RTLD_NOW | libc::RTLD_NOLOAD),
            (2 | 4 | 0x80, libc::RTLD_NOW | libc::RTLD_NODELETE),
        ];
        for &(theirs, host) in CASES {
            assert_eq!(open_mode(theirs), host, "{theirs:#x}");
        }
    }
}
