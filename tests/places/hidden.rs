//! Without /proc: hidden from the process, and, where a test has not the rights to do that, from libc.

use crate::support::{Child, Folder, argument, say, text_argument};
use crate::{CHECKSUM, FORTY_TWO, answer, errno, outcome, skip};
use sideload::Loader;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

/// Puts an empty file system over /proc, in a mount namespace of this process's own. Allocates nothing.
fn cover() -> io::Result<()> {
    let check = |done| if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: it has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    let spaces = libc::CLONE_NEWNS | if root { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: no memory is shared less than before.
    check(unsafe { libc::unshare(spaces) })?;
    let mount = |to: &CStr, kind: &CStr, flags| {
        // SAFETY: all are C strings; there is no data.
        check(unsafe { libc::mount(c"none".as_ptr(), to.as_ptr(), kind.as_ptr(), flags, ptr::null()) })
    };
    // First of all, so that nobody else sees what comes next.
    mount(c"/", c"none", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"/proc", c"tmpfs", 0)
}

/// Runs this test once more where /proc is covered: a process with threads, as the harness has, gets no namespaces.
fn run_covered() -> io::Result<()> {
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env("SIDELOAD_TEST_WAY", "covered");
    // SAFETY: between fork and exec, it makes system calls only.
    let status = unsafe { again.pre_exec(cover) }.status()?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// Copies the files under a folder, and makes that the root.
fn move_away(folder: &Path, files: &[PathBuf]) -> io::Result<()> {
    for file in files {
        let copy = folder.join(file.strip_prefix("/").expect("an absolute path"));
        fs::create_dir_all(copy.parent().expect("in the folder"))?;
        fs::copy(file, copy)?;
    }
    let root = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: a C string.
    if unsafe { libc::chroot(root.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    std::env::set_current_dir("/")
}

/// The files of an object and of all that it needs and the process lacks.
fn files(name: &str) -> Vec<PathBuf> {
    let link = Loader::new().link(name).expect("a sound library");
    link.plan().modules.iter().map(|module| module.path.clone()).collect()
}

#[test]
#[ignore = "run by the others, in child processes"]
fn child() {
    let objects = ["libz.so.1".to_owned(), text_argument("PLAIN"), text_argument("CXX"), text_argument("STATIC_TLS")];
    let hidden = match text_argument("WAY").as_str() {
        "cover" => match run_covered() {
            Ok(()) => return,
            error => error,
        },
        "covered" => Ok(()),
        _ => {
            let files: Vec<PathBuf> = objects.iter().flat_map(|object| files(object)).collect();
            move_away(argument("ROOT").as_ref(), &files)
        }
    };
    if let Err(error) = hidden {
        return say(format!("cannot: {error}"));
    }
    let gone = fs::metadata("/proc/self").expect_err("it is hidden");
    assert_eq!(gone.raw_os_error(), Some(libc::ENOENT), "errno {}", errno());
    let outcomes: Vec<String> = objects.iter().map(|object| outcome(answer(&Loader::new(), object))).collect();
    say(outcomes.join(", "));
}

#[test]
fn proc_is_not_needed() {
    let root = Folder::new("root");
    let [plain, cxx, tls] = ["everything", "cxx_throw", "tls_initial_exec"].map(|name| test_fixtures::build(name).path);
    let run = |way: &str| {
        let child = Child::new("hidden::child").with("WAY", way).with("ROOT", root.path());
        child.with("PLAIN", &plain).with("CXX", &cxx).with("STATIC_TLS", &tls).run()
    };
    let outcomes = [run("cover"), run("move away")];
    let able: Vec<_> = outcomes.iter().filter(|outcome| !outcome.last().starts_with("cannot: ")).collect();
    if able.is_empty() {
        return skip(&format!("/proc cannot be hidden: {}, {}", outcomes[0].last(), outcomes[1].last()));
    }
    for outcome in able {
        assert_eq!(outcome.last(), format!("{CHECKSUM}, {FORTY_TWO}, {FORTY_TWO}, {FORTY_TWO}"), "{outcome}");
    }
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
fn proc_is_not_asked_for() {
    let folder = Folder::new("without_proc");
    let (input, output) = (folder.file("without_proc.c"), folder.file("libwithout_proc.so"));
    // The headers declare these functions with an ellipsis; how many arguments arrive is the same.
    let source = WITHOUT_PROC.replace("#include <unistd.h>", "#include <sys/types.h>\nlong syscall(long, ...);");
    fs::write(&input, source).expect("a folder of our own");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).args([&output, &input]);
    let done = cc.output().unwrap_or_else(|error| panic!("{cc:?}: {error}"));
    assert!(done.status.success(), "{cc:?}: {}", String::from_utf8_lossy(&done.stderr));
    // Built here: compilers may want /proc.
    let child = Child::new("hidden::open_without_proc").with("OBJECT", test_fixtures::build("everything").path);
    let outcome = child.environment("LD_PRELOAD", output).run();
    assert_eq!(outcome.expect_success().last(), FORTY_TWO);
}

#[test]
#[ignore = "run by the other, in a child process that has no /proc"]
fn open_without_proc() {
    fs::read("/proc/self/maps").expect_err("the control: there is none");
    std::env::current_exe().expect_err("the control: there is none");
    say(outcome(answer(&Loader::new(), argument("OBJECT"))));
}
