//! Uncommon places: no `/proc`, a sandbox that allows a handful of system calls, a process that is exiting.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use sideload::Library;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use support::{Child, Folder, argument, describe, passes_elsewhere, say};
use test_fixtures::build;

fn answer(path: PathBuf) -> i32 {
    // SAFETY: the fixture's initialisers are made to be run.
    let library = unsafe { Library::open(path) }.unwrap_or_else(|error| panic!("{error}"));
    // SAFETY: every fixture declares it as `int answer(void)`.
    unsafe { library.get::<unsafe extern "C" fn() -> i32>("answer").expect("every fixture has it")() }
}

/// Takes the place of what opens files: there is nothing below /proc.
const WITHOUT_PROC: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static long opened(int folder, const char *path, int flags, int mode) {
    if (!strncmp(path, "/proc", 5)) return errno = ENOENT, -1;
    return syscall(SYS_openat, folder, path, flags, mode);
}
#define OPEN(name) int name(const char *path, int flags, int mode) { return opened(-100, path, flags, mode); }
#define OPENAT(name) int name(int at, const char *path, int flags, int mode) { return opened(at, path, flags, mode); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
ssize_t readlink(const char *path, char *to, size_t size) {
    if (!strncmp(path, "/proc", 5)) return errno = ENOENT, -1;
    return syscall(SYS_readlink, path, to, size);
}
"#;

#[test]
fn works_without_proc() {
    let folder = Folder::new("places");
    let (input, output) = (folder.file("without_proc.c"), folder.file("libwithout_proc.so"));
    // The headers declare these functions with an ellipsis; how many arguments arrive is the same.
    let source = WITHOUT_PROC.replace("#include <unistd.h>", "#include <sys/types.h>\nlong syscall(long, ...);");
    std::fs::write(&input, source).expect("a folder of our own");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).args([&output, &input]);
    let done = cc.output().unwrap_or_else(|error| panic!("{cc:?}: {error}"));
    assert!(done.status.success(), "{cc:?}: {}", String::from_utf8_lossy(&done.stderr));
    // Built here: compilers may want /proc.
    let child = Child::new("open_without_proc").with("OBJECT", build("everything").path);
    let outcome = child.environment("LD_PRELOAD", output).run();
    assert_eq!(outcome.expect_success().last(), "answer 42");
}

#[test]
#[ignore = "run by the other, in a child process that has no /proc"]
fn open_without_proc() {
    std::fs::read("/proc/self/maps").expect_err("the control: there is none");
    std::env::current_exe().expect_err("the control: there is none");
    say(format!("answer {}", answer(argument("OBJECT").into())));
}

/// All that the loader asks of the system. (glibc's `fstat` is `newfstatat` with an empty path.)
const ALLOWED: [libc::c_long; 11] = [
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_close,
    // Not ours: libgcc's `__register_frame` calls pthread_once, which wakes whoever may wait.
    libc::SYS_futex,
    // Where std is compiled with its checks, closing a file asks first whether it is open.
    if cfg!(debug_assertions) { libc::SYS_fcntl } else { libc::SYS_close },
];

/// Ends the process at any other system call of this thread.
fn allow_only_these() {
    // classic BPF, as in seccomp(2): load the number; for each allowed one, jump to the last statement; else fall to
    // the one before it, which kills.
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let row = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let mut program = vec![row(LOAD, 0, 0)];
    for (at, number) in ALLOWED.into_iter().enumerate() {
        program.push(row(EQUAL, (ALLOWED.len() - at) as u8, u32::try_from(number).expect("a small number")));
    }
    program.push(row(RETURN, 0, libc::SECCOMP_RET_KILL_PROCESS));
    program.push(row(RETURN, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter outlives the calls, and concerns this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}

static ANSWER: AtomicI32 = AtomicI32::new(0);

#[test]
fn works_in_a_sandbox() {
    for name in ["everything", "relr", "tls_gd", "cxx_rtti"] {
        let outcome = Child::new("open_in_a_sandbox").with("OBJECT", build(name).path).run();
        assert_eq!(outcome.expect_success().last(), "answer 42", "{name}");
    }
    let outcome = Child::new("break_out_of_the_sandbox").run();
    assert!(!outcome.is_success(), "the control: {outcome}");
}

#[test]
#[ignore = "run by the other, in a child process"]
fn open_in_a_sandbox() {
    let path: PathBuf = argument("OBJECT").into();
    std::thread::spawn(|| {
        allow_only_these();
        ANSWER.store(answer(path), Ordering::SeqCst);
        // Even the end of a thread takes other system calls.
        loop {
            std::hint::spin_loop();
        }
    });
    while ANSWER.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    say(format!("answer {}", ANSWER.load(Ordering::SeqCst)));
}

#[test]
#[ignore = "run by the other, in a child process, which it ends"]
fn break_out_of_the_sandbox() {
    allow_only_these();
    // SAFETY: it has no arguments.
    unsafe { libc::getppid() };
}

static OBJECT: OnceLock<PathBuf> = OnceLock::new();

extern "C" fn open_at_exit() {
    // SAFETY: nothing is to run.
    let error = unsafe { Library::open(OBJECT.get().expect("set before")) }.map(|_| ());
    say(error.map_or_else(|error| describe(&error), |()| "opened".to_owned()));
}

#[test]
fn nothing_is_opened_while_the_process_exits() {
    let path = build("relative").path;
    let outcome = Child::new("open_while_exiting").with("OBJECT", &path).run();
    let expected = format!("Exiting | {}: find: the process is exiting", path.display());
    assert_eq!(outcome.expect_success().said(), ["answer 42", &expected], "{outcome}");
}

#[test]
#[ignore = "run by the other, in a child process that exits"]
fn open_while_exiting() {
    let path = OBJECT.get_or_init(|| argument("OBJECT").into());
    // SAFETY: the handler takes nothing and returns nothing. Registered before the first open, it runs after all that
    // the library does at exit.
    assert_eq!(unsafe { libc::atexit(open_at_exit) }, 0);
    say(format!("answer {}", answer(build("plugin").path)));
    assert!(path.is_absolute());
}

/// Nothing is taken from the environment unless the caller asks for it.
#[test]
fn the_environment_is_read_only_when_asked() {
    if passes_elsewhere("the_environment_is_read_only_when_asked") {
        return;
    }
    let folder = build("provider").path.parent().expect("a folder").to_owned();
    // SAFETY: no other thread of this process reads the environment now.
    unsafe { std::env::set_var("LD_LIBRARY_PATH", &folder) };
    let link = |loader: sideload::Loader| loader.link("libprovider.so").map(|link| link.plan().modules[0].path.clone());
    link(sideload::Loader::new()).expect_err("the folder is not among the system's");
    let found = link(sideload::Loader::new().environment()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found, folder.join("libprovider.so"));
    let found = link(sideload::Loader::new().library_path(&folder)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found, folder.join("libprovider.so"));
}
