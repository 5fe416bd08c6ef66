//! A failing system: each system call of an open fails once, in a process where all others work. Every time there is an
//! error that names module, stage, call and cause, the process is as it was before, and the next open works.
//!
//! Each call fails in a fork of its own, so that what is done once a process fails, too. That no call is left out shows
//! in the numbers: there are as many faults of each kind as an open without faults makes calls.

mod support;

use sideload::{Error, ErrorKind, Event, Faults, Library, Loader, Source};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::state::Snapshot;
use support::{Child, Outcome, argument, say, temporary, text_argument};
use test_fixtures::build;

type Counts = BTreeMap<String, u64>;

#[test]
fn each_call_of_a_small_library_fails_once() {
    each_call_fails_once("libz.so.1".into(), "zlibVersion", 1);
}

/// Dozens of modules. After most faults no more than the state is compared: what is as before opens as before.
#[test]
fn each_call_of_a_large_group_fails_once() {
    each_call_fails_once("librsvg-2.so.2".into(), "rsvg_handle_new", 16);
}

#[test]
fn each_call_of_a_plugin_fails_once() {
    each_call_fails_once(build("plugin").path, "answer", 1);
}

/// An object without the end of its unwind tables, which are copied.
#[test]
fn each_call_of_a_copy_of_frames_fails_once() {
    each_call_fails_once(build("cxx_throw_unterminated").path, "answer", 4);
}

/// Static thread-locals, which threads that run get by the kernel's hand.
#[test]
fn each_call_of_static_thread_locals_fails_once() {
    each_call_fails_once(build("tls_initial_exec").path, "answer", 4);
}

/// The same where the kernel does not have the calls for it, as in some sandboxes: the bytes go through a pipe.
#[test]
fn each_call_of_static_thread_locals_in_a_sandbox_fails_once() {
    let child = Child::new("fail_each_call").with("SANDBOX", "").with("AMONG", "pipe2");
    each_call_of_fails_once(child, build("tls_initial_exec").path, "answer", 4);
}

/// A path below the working folder, which is asked for where the object has needs beside it.
#[test]
fn each_call_of_a_relative_path_fails_once() {
    let object = build("runpath").path;
    let name = Path::new(".").join(object.file_name().expect("a file"));
    let child = Child::new("fail_each_call").with("FOLDER", object.parent().expect("a folder")).with("AMONG", "getcwd");
    each_call_of_fails_once(child, name, "answer", 1);
}

/// A copy that nobody can change: in a file in memory, or, where there is none, on the heap.
#[test]
fn each_call_of_a_snapshot_fails_once() {
    let child = Child::new("fail_each_call").with("SNAPSHOT", "");
    each_call_of_fails_once(child, build("plugin").path, "answer", 1);
}

/// After every `retried`th fault the object is opened once more.
fn each_call_fails_once(object: PathBuf, symbol: &str, retried: u64) {
    each_call_of_fails_once(Child::new("fail_each_call"), object, symbol, retried);
}

fn each_call_of_fails_once(child: Child, object: PathBuf, symbol: &str, retried: u64) {
    let child = child.with("OBJECT", object).with("SYMBOL", symbol).patient(Duration::from_secs(600));
    let outcome = child.with("RETRIED", retried.to_string()).run();
    println!("{}", outcome.expect_success().last());
}

/// What is opened: the path, or a copy of the file.
fn source(object: &Path) -> Source {
    let source = Source::from(object);
    if is_snapshot() { source.snapshot() } else { source }
}

fn is_snapshot() -> bool {
    std::env::var_os(support::key("SNAPSHOT")).is_some()
}

/// Calls that an open does without where they fail: it takes another way, or does not know one of the folders to search.
/// (A copy that cannot be mapped is made on the heap.)
fn is_done_without(call: &str) -> bool {
    matches!(call, "memfd_create" | "fcntl" | "pwrite" | "readlink" | "getcwd") || is_snapshot() && call == "mmap"
}

/// Another thread, as long as the process lives.
fn keep_company() {
    let (running, runs) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        running.send(()).expect("waited for");
        loop {
            std::thread::park();
        }
    });
    runs.recv().expect("sent");
}

#[test]
#[ignore = "run by the others, in child processes"]
fn fail_each_call() {
    let object = PathBuf::from(argument("OBJECT"));
    if let Some(folder) = std::env::var_os(support::key("FOLDER")) {
        std::env::set_current_dir(folder).expect("a folder");
    }
    let expected = in_a_fork(|| {
        keep_company();
        enter_the_sandbox();
        let faults = Faults::none();
        // SAFETY: a sound library, whose initialisers are made to be run.
        unsafe { Library::open(source(&object)) }.expect("a sound library");
        faults.calls().into_iter().map(|(name, count)| format!("{name} {count}")).collect()
    });
    let expected: Counts = expected.iter().filter_map(|line| line.split_once(' ')).map(count).collect();
    let mut counts: Counts = expected.keys().map(|name| (name.clone(), 0)).collect();
    for number in 1.. {
        let lines = in_a_fork(|| fail(&object, number));
        let [kind] = &lines[..] else { panic!("call {number}: {lines:?}") };
        if kind == "none" {
            break;
        }
        *counts.entry(kind.clone()).or_default() += 1;
    }
    say(format!("{}: {counts:?}", object.display()));
    assert_eq!(counts, expected, "faults of each kind, and calls of an open without faults");
    if let Some(call) = std::env::var_os(support::key("AMONG")) {
        assert!(counts[call.to_str().expect("text")] > 0, "{counts:?}");
    }
    assert!(counts["mmap"] > 0 && counts["openat"] > 0 && counts["mprotect"] > 0, "{counts:?}");
}

/// Where it is asked for: the kernel refuses to copy between threads from now on.
fn enter_the_sandbox() {
    if std::env::var_os(support::key("SANDBOX")).is_none() {
        return;
    }
    let statement = |code: u32, k: u32, yes: u8| libc::sock_filter { code: code as u16, jt: yes, jf: 0, k };
    let is = |call: libc::c_long, yes| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, yes);
    let answer = |what| statement(libc::BPF_RET | libc::BPF_K, what, 0);
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0), // the call's number
        is(libc::SYS_process_vm_readv, 2),
        is(libc::SYS_process_vm_writev, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: prctl takes numbers, and a program that the kernel copies and checks.
    let entered = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    assert!(entered, "any process may do so");
}

fn count((name, count): (&str, &str)) -> (String, u64) {
    (name.to_owned(), count.parse().expect("a number"))
}

/// Lets that call fail, and says of which kind it was; `none` if the open makes fewer.
fn fail(object: &Path, number: u64) -> Vec<String> {
    keep_company();
    enter_the_sandbox();
    let before = Snapshot::take();
    let ran = Arc::new(AtomicBool::new(false));
    let loader = Loader::new().observer({
        let (ran, before) = (Arc::clone(&ran), before.clone());
        move |event| {
            if let Event::Foreign { address, .. } = event {
                ran.fetch_or(!before.covers(address.0), Ordering::Relaxed);
            }
        }
    });
    let faults = Faults::at(number);
    // SAFETY: as above.
    let opened = unsafe { loader.open(source(object)) };
    let failed = faults.failed();
    drop(faults);
    let Some(call) = failed else {
        opened.expect("nothing failed");
        return vec!["none".into()];
    };
    if opened.is_ok() && is_done_without(call) {
        return vec![call.to_owned()];
    }
    let error = opened.err().unwrap_or_else(|| panic!("{call} failed as call {number}, and there is no error"));
    check(&error, call);
    drop(error);
    let after = Snapshot::take();
    if ran.load(Ordering::Relaxed) {
        // A resolver of the group's own has run (libm has some): the group stays mapped, and nobody has it.
        assert_eq!((after.ledger.instances, after.ledger.claims), (before.ledger.instances, 0));
    } else {
        assert_eq!(before, after, "call {number}, {call}: something is left behind");
    }
    let retried: u64 = text_argument("RETRIED").parse().expect("a number");
    if !number.is_multiple_of(retried) {
        return vec![call.to_owned()];
    }
    // SAFETY: as above; the symbol is only looked for.
    unsafe {
        let library = Library::open(object).unwrap_or_else(|error| panic!("after call {number} failed: {error}"));
        library.get::<*const ()>(argument("SYMBOL").to_str().expect("text")).expect("it has that symbol");
    }
    vec![call.to_owned()]
}

/// Module, stage, call and cause.
fn check(error: &Error, call: &str) {
    let (named, source) = match error.kind() {
        // What is beside an object is not found if nobody says where the object is.
        ErrorKind::NotFound { .. } if call == "getcwd" => return,
        ErrorKind::Io { call, source, .. } | ErrorKind::System { call, source, .. } => (*call, source),
        other => panic!("{call}: {other:?}"),
    };
    let expected = match call {
        "openat" => "open",
        // The way around a call that the sandbox does not have: that one is what is missing.
        "pipe2" => "process_vm_readv",
        _ => call,
    };
    assert_eq!(named, expected, "{error}");
    assert!(source.raw_os_error().is_some(), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("{}: {}: ", error.module(), error.stage())), "{text}");
    assert!(!error.module().is_empty() && text.contains(named), "{text}");
}

/// Runs `work` in a copy of this process, and hands on the lines that it returns.
fn in_a_fork(work: impl FnOnce() -> Vec<String>) -> Vec<String> {
    let path = temporary("fork");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file of our own");
    std::fs::remove_file(&path).expect("made above");
    // SAFETY: no other thread of this process does anything but wait.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process to be had");
    if child == 0 {
        let done = panic::catch_unwind(AssertUnwindSafe(|| work().join("\n")));
        let written = done.is_ok_and(|text| file.write_all(text.as_bytes()).is_ok());
        // SAFETY: this process is done, and its parent still needs what handlers at exit would tidy up.
        unsafe { libc::_exit(if written { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the fork failed");
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("a regular file");
    text.lines().map(str::to_owned).collect()
}

/// The same with nothing of ours in between: `strace` lets each `mmap` of an open fail, one a process.
#[test]
fn each_mapping_fails_once_under_strace() {
    for object in [PathBuf::from("libz.so.1"), build("plugin").path] {
        let quiet = traced(&object, None);
        quiet.outcome.expect_success();
        assert_eq!(quiet.outcome.last(), "opened");
        assert!(quiet.inside.clone().count() >= 6, "an open maps more than {:?}", quiet.inside);
        for number in quiet.inside {
            let faulty = traced(&object, Some(number));
            faulty.outcome.expect_success();
            let said = faulty.outcome.said();
            let [.., "begin", error, "end", again] = said[..] else { panic!("mmap {number}: {said:?}") };
            assert!(error.contains("mmap") && error.contains("os error 12"), "mmap {number}: {error}");
            assert_eq!(again, "opened", "after {error}");
        }
    }
}

/// More mappings than the start of a process takes.
const STARTING: usize = 200;

/// A run under `strace`, and which calls of `mmap` of its thread were made by the open, counted from 1.
struct Traced {
    outcome: Outcome,
    inside: std::ops::Range<u64>,
}

fn traced(object: &Path, failing: Option<u64>) -> Traced {
    let log = temporary("strace");
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-e", "signal=none", "-e", "trace=mmap,write", "-o"]).arg(&log);
    if let Some(number) = failing {
        tracer.arg("-e").arg(format!("inject=mmap:error=ENOMEM:when={number}"));
    }
    let outcome = Child::new("open_twice").with("OBJECT", object).under(tracer).run();
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::remove_file(&log).expect("strace writes its log");
    // `PID  call(arguments) = result`
    let place = |mark: &str| {
        let line = text.lines().position(|line| line.contains(" write(1, ") && line.contains(mark));
        let line = line.unwrap_or_else(|| panic!("{mark} is not in\n{text}\n{outcome}"));
        let thread = text.lines().nth(line).and_then(|line| line.split(' ').next()).unwrap_or_default();
        let is_mapping = |line: &&str| line.starts_with(thread) && line.contains(" mmap(");
        text.lines().take(line).filter(is_mapping).count() as u64 + 1
    };
    let inside = place("said: begin")..place("said: end");
    Traced { outcome, inside }
}

#[test]
#[ignore = "run by the others, in child processes"]
fn open_twice() {
    let object = PathBuf::from(argument("OBJECT"));
    // SAFETY: as above.
    let open = || match unsafe { Library::open(&object) } {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.to_string(),
    };
    // strace counts thread by thread: the number of a call of ours should be that of none at the start of the process.
    for _ in 0..STARTING {
        let (prot, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a mapping of this test's own, which nobody uses.
        unsafe { libc::munmap(libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0), 4096) };
    }
    say("begin");
    let first = open();
    say(&first);
    say("end");
    say(open());
}
