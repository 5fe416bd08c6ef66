//! What images for macOS expect of their system, and what of it the host has: names only.
//!
//! C names carry an underscore there, which the host's lack. Beyond that most of libSystem is the C library that every
//! Unix has. This table holds the rest: names that this library answers itself ([`Answer::Ours`]), because the host has
//! no such function or one that differs, and names that are refused ([`Answer::Differs`]), because they pass
//! structures or constants that differ and nobody translates them yet.

/// Whether images for macOS run here though the system is another one: those for this processor, if it is x86-64.
pub const HOSTED: bool = cfg!(all(target_arch = "x86_64", not(target_vendor = "apple")));

/// Who answers a name of the system's libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'n> {
    /// This library, under this name.
    Ours(&'n [u8]),
    /// The host, under this name.
    Host(&'n [u8]),
    /// The host, under this name, and this library where it has none in scope.
    HostOrOurs(&'n [u8]),
    /// Nobody: it would not mean the same.
    Differs,
}

/// Names that this library answers itself. Each has its function or its data in `runtime/darwin.rs`.
pub const OURS: &[&[u8]] = &[
    b"dyld_stub_binder",
    b"__tlv_bootstrap",
    b"__tlv_atexit",
    b"___stack_chk_guard",
    b"____chkstk_darwin",
    b"__dyld_image_count",
    b"__dyld_get_image_header",
    b"__dyld_get_image_name",
    b"__dyld_get_image_vmaddr_slide",
    b"__NSGetExecutablePath",
    b"_CCRandomGenerateBytes",
    b"_setjmp",
    b"__setjmp",
    b"_longjmp",
    b"__longjmp",
    b"_stat$INODE64",
    b"_fstat$INODE64",
    b"_lstat$INODE64",
    b"_opendir$INODE64",
    b"_fdopendir$INODE64",
    b"_readdir$INODE64",
    b"_readdir_r$INODE64",
    b"_rewinddir$INODE64",
    b"_telldir$INODE64",
    b"_seekdir$INODE64",
    b"_dirfd",
    b"_closedir",
    b"_setlocale",
    b"_newlocale",
    b"_localeconv",
    b"_nl_langinfo",
    b"____mb_cur_max_l",
    b"_raise",
    b"_kill",
    b"_pthread_kill",
    b"_pthread_sigmask",
    b"_sigprocmask",
    b"_sigpending",
    b"_sigemptyset",
    b"_sigfillset",
    b"_sigaddset",
    b"_sigdelset",
    b"_sigismember",
    b"_signal",
    b"_sigaction",
    b"_posix_spawn",
    b"_posix_spawnp",
    b"_posix_spawn_file_actions_init",
    b"_posix_spawn_file_actions_destroy",
    b"_posix_spawn_file_actions_addopen",
    b"_posix_spawn_file_actions_addclose",
    b"_posix_spawn_file_actions_adddup2",
    b"_posix_spawnattr_init",
    b"_posix_spawnattr_destroy",
    b"_posix_spawnattr_setflags",
    b"_posix_spawnattr_setpgroup",
    b"_posix_spawnattr_setsigdefault",
    b"_posix_spawnattr_setsigmask",
    b"_posix_spawn_file_actions_addinherit_np",
    b"_wait",
    b"_waitpid",
    b"_system",
    b"_pclose",
    b"_getrlimit",
    b"_setrlimit",
    b"_getpwuid_r",
    b"_getpwnam_r",
    b"_tcgetattr",
    b"_tcsetattr",
    b"_ioctl",
    b"_socket",
    b"_socketpair",
    b"_bind",
    b"_connect",
    b"_accept",
    b"_getsockname",
    b"_getpeername",
    b"_send",
    b"_recv",
    b"_sendto",
    b"_recvfrom",
    b"_sendmsg",
    b"_recvmsg",
    b"_getsockopt",
    b"_setsockopt",
    b"_getifaddrs",
    b"_freeifaddrs",
    b"_getaddrinfo",
    b"_freeaddrinfo",
    b"_getnameinfo",
    b"_gai_strerror",
    b"_inet_pton",
    b"_inet_ntop",
    b"__FE_DFL_ENV",
    b"__FE_DFL_DISABLE_SSE_DENORMS_ENV",
    b"_fegetenv",
    b"_fesetenv",
    b"_feholdexcept",
    b"_feupdateenv",
    b"_sysctl",
    b"_sysctlbyname",
    b"_pathconf",
    b"_fpathconf",
    b"_memset_s",
    b"_qsort_r",
    b"_openat",
    b"_unlinkat",
    b"_linkat",
    b"_mkdirat",
    b"_renameat",
    b"_symlinkat",
    b"_readlinkat",
    b"_fcntl",
    b"_pthread_atfork",
    b"_pthread_cond_timedwait_relative_np",
    b"_atexit",
    b"___assert_rtn",
    b"___maskrune",
    b"__DefaultRuneLocale",
    b"__NSGetEnviron",
    b"___sincos_stret",
    b"___sincosf_stret",
    b"___muldc3",
    b"___divdc3",
    b"___mulsc3",
    b"___divsc3",
    b"___fpclassifyd",
    b"___fpclassifyf",
    b"___fpclassifyl",
    b"___isnormald",
    b"___isfinited",
    b"___isinfd",
    b"___isnand",
    b"___signbitd",
    b"___divti3",
    b"___modti3",
    b"___udivti3",
    b"___umodti3",
    b"_select",
    b"_pselect",
    b"_utimes",
    b"_lutimes",
    b"_futimes",
    b"_setitimer",
    b"_getrusage",
    b"_os_unfair_lock_lock",
    b"_os_unfair_lock_trylock",
    b"_os_unfair_lock_unlock",
    b"_madvise",
    b"_lseek",
    b"_clonefile",
    b"_clonefileat",
    b"_fclonefileat",
    b"___darwin_check_fd_set_overflow",
    b"_issetugid",
    b"_confstr",
    b"_fnmatch",
    b"_strsignal",
    b"_pthread_getschedparam",
    b"_pthread_setschedparam",
    b"_sched_get_priority_min",
    b"_sched_get_priority_max",
    b"___powidf2",
    b"___powisf2",
    b"_uname",
    b"_statvfs",
    b"_fstatvfs",
    b"_sigaltstack",
    b"_wait4",
    b"_wait3",
    b"_sigsetjmp",
    b"_siglongjmp",
    b"_memset_pattern4",
    b"_memset_pattern8",
    b"_memset_pattern16",
    b"_strlcpy",
    b"_strlcat",
    b"___strlcpy_chk",
    b"___strlcat_chk",
    b"_mach_absolute_time",
    b"_mach_timebase_info",
    b"_clock_gettime",
    b"_sysconf",
    b"_open",
    b"_mmap",
    b"_pthread_create",
    b"_pthread_join",
    b"_pthread_mutex_lock",
    b"_pthread_mutex_trylock",
    b"_pthread_mutex_unlock",
    b"_pthread_mutexattr_settype",
    b"_pthread_mutex_destroy",
    b"_pthread_cond_destroy",
    b"_pthread_cond_wait",
    b"_pthread_cond_timedwait",
    b"_pthread_cond_signal",
    b"_pthread_cond_broadcast",
    b"_pthread_rwlock_rdlock",
    b"_pthread_rwlock_wrlock",
    b"_pthread_rwlock_tryrdlock",
    b"_pthread_rwlock_trywrlock",
    b"_pthread_rwlock_unlock",
    b"_pthread_setname_np",
    b"_pthread_attr_setdetachstate",
    b"_pthread_attr_getdetachstate",
    b"_pthread_setcancelstate",
    b"_pthread_once",
    b"_pthread_key_create",
    b"_pthread_threadid_np",
    b"_dispatch_semaphore_create",
    b"_dispatch_semaphore_signal",
    b"_dispatch_semaphore_wait",
    b"_dispatch_retain",
    b"_dispatch_release",
    b"_dispatch_time",
    b"_dlopen",
    b"_dlsym",
    b"__ZNSt3__15mutex4lockEv",
    b"__ZNSt3__15mutex6unlockEv",
    b"__ZNSt3__15mutex8try_lockEv",
    b"__ZNSt3__15mutexD1Ev",
    b"__ZNSt3__15mutexD2Ev",
    b"__ZNSt3__118condition_variable10notify_oneEv",
    b"__ZNSt3__118condition_variable10notify_allEv",
    b"__ZNSt3__118condition_variable4waitERNS_11unique_lockINS_5mutexEEE",
    b"__ZNSt3__118condition_variable15__do_timed_waitERNS_11unique_lockINS_5mutexEEENS_6chrono10time_pointINS5_12system_clockENS5_8durationIxNS_5ratioILl1ELl1000000000EEEEEEE",
    b"__ZNSt3__118condition_variableD1Ev",
    b"__ZNSt3__118condition_variableD2Ev",
];

/// The unwinder's names. A program in C has none in its start-up scope; the one that this library is linked to is there.
pub const UNWINDER: &[&[u8]] = &[
    b"__Unwind_Backtrace",
    b"__Unwind_DeleteException",
    b"__Unwind_FindEnclosingFunction",
    b"__Unwind_ForcedUnwind",
    b"__Unwind_GetCFA",
    b"__Unwind_GetDataRelBase",
    b"__Unwind_GetGR",
    b"__Unwind_GetIP",
    b"__Unwind_GetIPInfo",
    b"__Unwind_GetLanguageSpecificData",
    b"__Unwind_GetRegionStart",
    b"__Unwind_GetTextRelBase",
    b"__Unwind_RaiseException",
    b"__Unwind_Resume",
    b"__Unwind_Resume_or_Rethrow",
    b"__Unwind_SetGR",
    b"__Unwind_SetIP",
];

/// Names that stand for others of the host.
const RENAMED: &[(&[u8], &[u8])] = &[
    (b"___stdinp", b"stdin"),
    (b"___stdoutp", b"stdout"),
    (b"___stderrp", b"stderr"),
    (b"___bzero", b"bzero"),
    (b"___exp10", b"exp10"),
    (b"___exp10f", b"exp10f"),
    // The numbers are the host's.
    (b"___error", b"__errno_location"),
    (b"___mb_cur_max", b"__ctype_get_mb_cur_max"),
    (b"___tolower", b"tolower"),
    (b"___toupper", b"toupper"),
    (b"_malloc_size", b"malloc_usable_size"),
    // The host's plain one may be GNU's, which returns a string.
    (b"_strerror_r", b"__xpg_strerror_r"),
];

/// Functions whose structures have another layout there, or whose constants or arguments differ, by their C names.
const DIFFERENT: &[&[u8]] = &[
    // Structures of files and folders.
    b"stat",
    b"fstat",
    b"lstat",
    b"fstatat",
    b"statfs",
    b"fstatfs",
    b"readdir",
    b"readdir_r",
    b"rewinddir",
    b"telldir",
    b"seekdir",
    b"opendir",
    b"fdopendir",
    b"scandir",
    b"fts_open",
    b"fts_read",
    b"ftw",
    b"nftw",
    b"glob",
    b"globfree",
    b"fgetpos",
    b"fsetpos",
    // The folder that stands for the current one (`AT_FDCWD`), and flags.
    b"faccessat",
    b"fchmodat",
    b"fchownat",
    b"utimensat",
    // Numbers of what is asked for.
    b"clock_getres",
    // Times with microseconds of four bytes.
    b"settimeofday",
    b"adjtime",
    b"dlinfo",
    // Calls of one name that do something else, or by other numbers.
    b"syscall",
    b"sendfile",
    b"ptrace",
    b"mount",
    b"reboot",
    b"semctl",
    b"shmctl",
    b"msgctl",
    b"wordexp",
    b"getxattr",
    b"setxattr",
    b"listxattr",
    b"removexattr",
    b"fgetxattr",
    b"fsetxattr",
    b"flistxattr",
    b"fremovexattr",
    // Users and the system.
    b"getpwuid",
    b"getpwnam",
    b"getpwent",
    // Terminals.
    b"openpty",
    b"forkpty",
    b"cfmakeraw",
    b"cfgetispeed",
    b"cfgetospeed",
    b"cfsetispeed",
    b"cfsetospeed",
    b"cfsetspeed",
    b"tcflush",
    b"tcflow",
    // Sockets.
    b"kevent",
    // Sets of signals, their numbers, and what is done on one.
    b"sigsuspend",
    b"siginterrupt",
    b"sigblock",
    b"sigsetmask",
    b"sigpause",
    b"sighold",
    b"sigrelse",
    b"sigignore",
    b"sigset",
    b"psignal",
    b"sigwait",
    // Attributes of threads.
    b"pthread_attr_setscope",
    b"pthread_attr_setschedpolicy",
    b"pthread_attr_getschedpolicy",
    b"pthread_rwlockattr_setpshared",
    b"pthread_attr_setinheritsched",
    b"pthread_mutexattr_setpshared",
    b"pthread_mutexattr_gettype",
    b"pthread_condattr_setpshared",
    b"pthread_setcanceltype",
    // Locales and expressions.
    b"regcomp",
    b"regexec",
    b"regfree",
    b"regerror",
    // Inside of a `FILE`.
    b"__srget",
    b"__swbuf",
    // Memory, processes and what they share. A semaphore has four bytes there.
    b"msync",
    b"waitid",
    b"posix_spawnattr_getflags",
    b"posix_spawnattr_getpgroup",
    b"posix_spawnattr_getsigdefault",
    b"posix_spawnattr_getsigmask",
    b"posix_spawn_file_actions_addchdir_np",
    b"posix_spawn_file_actions_addfchdir_np",
    b"sem_open",
    b"sem_init",
    b"shm_open",
];

/// Who answers `name`, as the image writes it.
///
/// ```
/// use sideload::darwin::{Answer, answer};
/// assert_eq!(answer(b"_fopen$DARWIN_EXTSN"), Answer::Host(b"fopen"));
/// assert_eq!(answer(b"_open$NOCANCEL"), Answer::Ours(b"_open"));
/// assert_eq!(answer(b"_readdir"), Answer::Differs);
/// ```
pub fn answer(name: &[u8]) -> Answer<'_> {
    let plain = without_variant(name);
    // Of some functions, only one variant has the structure that ours fills.
    if let Some(own) = [name, plain].into_iter().find(|name| OURS.contains(name)) {
        return Answer::Ours(own);
    }
    if let Some(&(_, host)) = RENAMED.iter().find(|(theirs, _)| *theirs == plain) {
        return Answer::Host(host);
    }
    let host = c_name(plain);
    match plain {
        _ if DIFFERENT.contains(&host) => Answer::Differs,
        _ if UNWINDER.contains(&plain) => Answer::HostOrOurs(host),
        _ => Answer::Host(host),
    }
}

/// The name without what tells which variant of a function is meant: the only ones that were ever current on x86_64 and
/// arm64 say what the plain names of the host mean, too.
pub fn without_variant(name: &[u8]) -> &[u8] {
    const VARIANTS: &[&[u8]] = &[b"$INODE64", b"$DARWIN_EXTSN", b"$NOCANCEL", b"$UNIX2003", b"$1050"];
    let variant = VARIANTS.iter().find_map(|variant| name.strip_suffix(*variant));
    variant.map_or(name, without_variant)
}

/// The name as C has it: without one underscore.
pub fn c_name(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"_").unwrap_or(name)
}

/// Whether an install name is that of a library of the system, of which the host's own libraries take the place.
pub fn is_system(install_name: &[u8]) -> bool {
    install_name.starts_with(b"/usr/lib/") || install_name.starts_with(b"/System/Library/")
}

/// The library of the host that has what a library of the system exports, where that is not the C library itself.
pub fn host_library(install_name: &[u8]) -> Option<&'static [u8]> {
    const LIBRARIES: &[(&[u8], &[u8])] = &[
        (b"/usr/lib/libc++.1.dylib", b"libc++.so.1"),
        (b"/usr/lib/libc++abi.dylib", b"libc++abi.so.1"),
        (b"/usr/lib/libz.1.dylib", b"libz.so.1"),
        (b"/usr/lib/libbz2.1.0.dylib", b"libbz2.so.1.0"),
    ];
    LIBRARIES.iter().find(|(theirs, _)| *theirs == install_name).map(|&(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_who_answers_them() {
        const CASES: &[(&[u8], Answer<'static>)] = &[
            (b"_strlen", Answer::Host(b"strlen")),
            (b"___stderrp", Answer::Host(b"stderr")),
            (b"_close$NOCANCEL", Answer::Host(b"close")),
            (b"_fdopen$DARWIN_EXTSN$NOCANCEL", Answer::Host(b"fdopen")),
            (b"_open$NOCANCEL", Answer::Ours(b"_open")),
            (b"__Unwind_Resume", Answer::HostOrOurs(b"_Unwind_Resume")),
            (b"___cxa_atexit", Answer::Host(b"__cxa_atexit")),
            (b"dyld_stub_binder", Answer::Ours(b"dyld_stub_binder")),
            (b"_fstat$INODE64", Answer::Ours(b"_fstat$INODE64")),
            (b"_fstat", Answer::Differs),
            (b"_readdir", Answer::Differs),
            (b"_readdir$INODE64", Answer::Ours(b"_readdir$INODE64")),
            (b"_strerror_r", Answer::Host(b"__xpg_strerror_r")),
            (b"_pthread_setname_np", Answer::Ours(b"_pthread_setname_np")),
            (b"_regcomp", Answer::Differs),
            (b"_kevent", Answer::Differs),
            (b"_sigaction", Answer::Ours(b"_sigaction")),
            (b"_fchmodat", Answer::Differs),
            (b"_statfs", Answer::Differs),
            (b"_syscall", Answer::Differs),
            (b"_not_of_the_system", Answer::Host(b"not_of_the_system")),
        ];
        for (name, expected) in CASES {
            assert_eq!(answer(name), *expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn no_name_has_two_answers() {
        let refused: Vec<_> = DIFFERENT.iter().map(|name| [b"_", *name].concat()).collect();
        for name in &refused {
            assert_eq!(answer(name), Answer::Differs, "{}", name.escape_ascii());
            assert_eq!(refused.iter().filter(|other| *other == name).count(), 1, "{}", name.escape_ascii());
        }
        for name in OURS {
            assert_eq!(answer(name), Answer::Ours(name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn only_the_systems_folders_are_the_hosts() {
        assert!(is_system(b"/usr/lib/libSystem.B.dylib"));
        assert!(!is_system(b"@rpath/libSystem.B.dylib") && !is_system(b"/usr/local/lib/libx.dylib"));
    }
}
