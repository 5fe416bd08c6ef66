//! Under a seccomp filter that allows what an open is said to need, and what any process needs to report and to end.

use crate::support::{Child, in_parallel, say, text_argument};
use crate::{CHECKSUM, FORTY_TWO, answer, errno, outcome};
use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter};
use sideload::{Loader, Source};
use std::mem::offset_of;
use std::os::unix::process::ExitStatusExt;

/// What an open makes, as the documentation says. `libc::open` is `openat`; `fstat` is `newfstatat` of an empty path
/// in some releases of glibc, and that alone is allowed of it.
const OPENING: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_fstat,
    libc::SYS_openat,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_close,
];

/// What the process makes besides: `malloc` grows the heap, the case is reported, and the process ends.
const LIVING: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_write,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Where std is compiled with its checks, closing a file asks first whether it is open.
    if cfg!(debug_assertions) { libc::SYS_fcntl } else { libc::SYS_exit_group },
];

/// What code of libstdc++ makes besides: `pthread_once` wakes whoever waits, even where nobody does.
const LIBSTDCXX: &[c_long] = &[libc::SYS_futex];

/// What opening an object with static thread-locals makes besides in a process with several threads, and what comes of
/// it where not all of that is allowed: an answer, or an error that names the call.
const THREADS: &[(&str, &[c_long], &str)] = &[
    ("no number", &[], "getpid"),
    ("no reading", &[libc::SYS_getpid], "process_vm_readv"),
    ("no writing", &[libc::SYS_getpid, libc::SYS_process_vm_readv], "process_vm_writev"),
    ("a pipe", &[libc::SYS_pipe2], FORTY_TWO),
    ("all", &[libc::SYS_getpid, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev], FORTY_TWO),
];

/// `AUDIT_ARCH_X86_64` of `<linux/audit.h>`
const X86_64: u32 = 0xc000_003e;

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Skips that many statements if the value equals `k`, and that many if not.
fn jump(k: u32, equal: u8, otherwise: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | BPF_JEQ | BPF_K) as u16, jt: equal, jf: otherwise, k }
}

fn load(offset: usize) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset as u32)
}

/// Allows those calls and `also`, and answers all others with `refusal`.
fn program(refusal: u32, also: &[c_long]) -> Vec<sock_filter> {
    let (allow, refuse) = (statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW), statement(BPF_RET | BPF_K, refusal));
    // The lower half of the fourth argument, which comes first in memory.
    let flags = offset_of!(libc::seccomp_data, args) + 3 * size_of::<u64>();
    let mut program = vec![
        // Numbers of another architecture mean other calls.
        load(offset_of!(libc::seccomp_data, arch)),
        jump(X86_64, 1, 0),
        refuse,
        load(offset_of!(libc::seccomp_data, nr)),
        jump(libc::SYS_newfstatat as u32, 0, 4),
        load(flags),
        jump(libc::AT_EMPTY_PATH as u32, 0, 1),
        allow,
        refuse,
    ];
    for &call in OPENING.iter().chain(LIVING).chain(also) {
        program.extend([jump(call as u32, 0, 1), allow]);
    }
    program.push(refuse);
    program
}

/// Puts this thread under the filter for good.
fn enter(refusal: u32, also: &[c_long]) {
    let mut program = program(refusal, also);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: prctl takes numbers, and a program that the kernel copies and checks.
    let entered = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    assert!(entered, "any process may do so: errno {}", errno());
}

fn refusal(name: &str) -> u32 {
    match name {
        "EPERM" => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        _ => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

#[test]
#[ignore = "run by the others, in child processes"]
fn child() {
    let object = text_argument("OBJECT");
    let from_memory =
        object.strip_prefix("bytes:").map(|path| Source::bytes(path, std::fs::read(path).expect("a file")));
    let also = match &*text_argument("ALSO") {
        "" if object.contains("libcxx_") => LIBSTDCXX,
        "" => &[],
        also => THREADS.iter().find(|(name, ..)| *name == also).expect("a row").1,
    };
    enter(refusal(&text_argument("REFUSAL")), also);
    match object.as_str() {
        // SAFETY: it has no preconditions.
        "getpid" => say(format!("{} {}", unsafe { libc::syscall(libc::SYS_getpid) }, errno())),
        _ => say(outcome(match object.strip_prefix("snapshot:") {
            Some(path) => answer(&Loader::new(), Source::path(path).snapshot()),
            None => answer(&Loader::new(), from_memory.unwrap_or(Source::from(&object))),
        })),
    }
    // Not by way of the test harness, which makes calls that are no business of ours.
    std::process::exit(0);
}

#[test]
fn an_open_makes_no_other_calls() {
    let fixtures = ["everything", "big_text", "align_2m", "cxx_throw", "tls_gd", "tls_errno", "ifunc_local", "atexit"];
    let fixtures = fixtures.map(|name| test_fixtures::build(name).path.to_str().expect("text").to_owned());
    let objects: Vec<(&str, &str)> =
        fixtures.iter().map(|path| (path.as_str(), FORTY_TWO)).chain([("libz.so.1", CHECKSUM)]).collect();
    let cases: Vec<_> =
        ["EPERM", "kill"].iter().flat_map(|refusal| objects.iter().map(move |&it| (*refusal, it))).collect();
    let wrong = in_parallel(&cases, |&(refusal, (object, expected))| {
        let outcome =
            Child::new("sandbox::child").with("OBJECT", object).with("REFUSAL", refusal).with("ALSO", "").run();
        (outcome.last() != expected).then(|| format!("{refusal} {object}: {}\n{outcome}", outcome.last()))
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Without `memfd_create`, and with no more calls than these, bytes and copies are loaded from anonymous memory.
#[test]
fn objects_in_memory_need_no_other_calls() {
    let cases = [("bytes:", "EPERM"), ("bytes:", "kill"), ("snapshot:", "EPERM")];
    for fixture in ["relr_and_rela", "tls_gd", "ifunc_local"] {
        let path = test_fixtures::build(fixture).path;
        for (source, refusal) in cases {
            let object = format!("{source}{}", path.display());
            let child = Child::new("sandbox::child").with("OBJECT", &object).with("REFUSAL", refusal);
            let outcome = child.with("ALSO", "").run();
            assert_eq!(outcome.last(), FORTY_TWO, "{refusal} {object}: {outcome}");
        }
    }
}

/// Or else the test above would show nothing.
#[test]
fn the_filter_refuses() {
    let run = |refusal: &str| {
        Child::new("sandbox::child").with("OBJECT", "getpid").with("REFUSAL", refusal).with("ALSO", "").run()
    };
    assert_eq!(run("EPERM").last(), format!("-1 {}", libc::EPERM));
    let killed = run("kill");
    assert_eq!(killed.status.and_then(|status| status.signal()), Some(libc::SIGSYS), "{killed}");
}

/// The test harness's own thread is the other one.
#[test]
fn writing_to_other_threads_takes_more_or_says_so() {
    let object = test_fixtures::build("tls_initial_exec").path;
    for (also, _, expected) in THREADS {
        let child = Child::new("sandbox::child").with("OBJECT", &object).with("REFUSAL", "EPERM").with("ALSO", also);
        let outcome = child.run();
        let last = outcome.last();
        let refused = last.starts_with("System | ") && last.contains(&format!(": seal: {expected}"));
        assert!(refused || last == *expected, "{also}: {last}\n{outcome}");
    }
}
