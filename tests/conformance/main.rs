//! What a loader of ELF has to get right, a small case each, in a process of its own: through us and through the system
//! loader. `cargo test --test conformance -- --nocapture` prints the table.
#![cfg(target_os = "linux")]

mod cases;
mod life;
mod loaders;
#[path = "../support/mod.rs"]
mod support;

use cases::{Verdict, same};
use loaders::Who;
use support::{Child, Outcome, in_parallel, say, text_argument};
use test_fixtures::build;

/// One subject.
struct Case {
    name: &'static str,
    what: What,
    system: System,
}

/// What is done.
enum What {
    /// The fixture opens, and answers 42.
    Answers(&'static str),
    /// The same, and at the end of the process its finalisers write what the fixture says.
    SaysAtExit(&'static str),
    /// The fixture does not open; our error has these words.
    Refused(&'static str, &'static [&'static str]),
    /// Whatever the function does.
    Runs(fn(Who) -> Verdict),
}

/// What the system loader is expected to do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum System {
    Passes,
    /// It has no such thing, or how it ends depends on its version; why.
    Spared(&'static str),
}

const fn answers(name: &'static str, fixture: &'static str) -> Case {
    Case { name, what: What::Answers(fixture), system: System::Passes }
}

const fn runs(name: &'static str, case: fn(Who) -> Verdict) -> Case {
    Case { name, what: What::Runs(case), system: System::Passes }
}

const fn refused(name: &'static str, fixture: &'static str, words: &'static [&'static str]) -> Case {
    Case { name, what: What::Refused(fixture, words), system: System::Passes }
}

const fn only_ours_refuses(name: &'static str, fixture: &'static str, words: &'static [&'static str]) -> Case {
    Case { name, what: What::Refused(fixture, words), system: System::Spared("opens it") }
}

const fn says_at_exit(name: &'static str, fixture: &'static str) -> Case {
    Case { name, what: What::SaysAtExit(fixture), system: System::Passes }
}

const fn spared(name: &'static str, case: fn(Who) -> Verdict, why: &'static str) -> Case {
    Case { name, what: What::Runs(case), system: System::Spared(why) }
}

const fn only_ours(name: &'static str, case: fn(Who) -> Verdict) -> Case {
    spared(name, case, "has no such thing")
}

const CASES: &[Case] = &[
    answers("tls: general dynamic", "tls_gd"),
    answers("tls: local dynamic", "tls_ld"),
    answers("tls: initial exec", "tls_initial_exec"),
    answers("tls: descriptors", "tls_desc"),
    answers("tls: of another object", "tls_import"),
    answers("tls: descriptors, of every kind", "tls_desc_kinds"),
    spared(
        "tls: descriptors leave registers alone",
        |who| answer(who, "tls_desc_registers"),
        "loses vector registers before glibc 2.40",
    ),
    answers("tls: alignment of 4096", "tls_align"),
    answers("tls: initial exec, alignment of 64", "tls_ie_align"),
    answers("tls: initial exec, relocated pointer in the template", "tls_ie_pointer"),
    spared(
        "tls: 32 KiB of two libraries at fixed places",
        life::much_static_tls,
        "has no room for more than about 2 KiB",
    ),
    spared("tls: librustc_driver", life::rustc_driver, "cannot allocate memory in static TLS block"),
    answers("tls: relocated pointer in the template", "tls_pointer"),
    answers("tls: the host's errno", "tls_errno"),
    runs("tls: threads before and after", |who| cases::threads_before_and_after(who, "tls_gd")),
    runs("tls: initial exec, threads before and after", |who| cases::threads_before_and_after(who, "tls_initial_exec")),
    answers("tls: destructors, C++ thread_local", "tls_cxx"),
    answers("tls: destructors, Rust thread_local!", "rust_threads"),
    runs("ifunc: by lookup", cases::ifunc_by_lookup),
    answers("ifunc: IRELATIVE", "ifunc_local"),
    answers("ifunc: resolver calls through its PLT", "ifunc_resolver_calls"),
    answers("ifunc: of another object, in every form", "ifunc_imported"),
    answers("init: DT_INIT before DT_INIT_ARRAY", "init_both"),
    answers("init: argc, argv, envp", "init_array"),
    answers("init: dependencies first", "init_diamond"),
    answers("init: a cycle", "cycle_a"),
    answers("init: an imported function", "init_imported"),
    answers("init: opens itself and another", "init_opens"),
    answers("init: starts a thread and waits for it", "init_thread"),
    says_at_exit("fini: array backwards, then DT_FINI", "fini"),
    says_at_exit("fini: atexit handler", "atexit"),
    says_at_exit("fini: C++ statics", "cxx_static"),
    runs("versions: by lookup", cases::versions_by_lookup),
    answers("versions: default", "version_default"),
    answers("versions: old", "version_old"),
    answers("versions: none asked for", "version_none"),
    refused("versions: missing", "version_missing", &["VERSIONED_2", "libversioned.so"]),
    answers("symbols: weak undefined", "weak_undefined"),
    answers("symbols: STB_GNU_UNIQUE", "gnu_unique"),
    answers("symbols: protected", "visibility_protected"),
    answers("symbols: hidden", "visibility_hidden"),
    answers("symbols: interposition", "interposition"),
    answers("symbols: DF_SYMBOLIC", "symbolic_flag"),
    answers("symbols: one address for a function", "function_identity"),
    answers("symbols: the host's copies of data", "host_data"),
    runs("symbols: missing, by lookup", cases::missing_symbol),
    refused("symbols: undefined", "undefined_many", &["undefined_alpha", "undefined_beta", "undefined_gamma"]),
    refused("symbols: undefined, in a lazy slot", "undefined_lazy", &["undefined"]),
    answers("symbols: filters", "filter"),
    runs("scope: global and local", cases::global_and_local),
    runs("scope: deep", life::deep_scope),
    answers("file: RELR", "relr_and_rela"),
    answers("file: DT_HASH only", "hash_sysv"),
    answers("file: DT_GNU_HASH only", "hash_gnu"),
    answers("file: no section headers", "no_section_headers"),
    answers("file: p_align 2 MiB", "align_2m"),
    answers("file: no relocations", "no_relocations"),
    answers("file: RELRO ends inside a page", "relro_inexact"),
    answers("file: run-time addresses in the dynamic section", "dynamic_section"),
    only_ours_refuses("file: relocations in code", "textrel", &["DT_TEXTREL"]),
    runs("file: relocations in code, where they are allowed", life::text_relocations),
    spared("file: truncated", cases::truncated, "dies of SIGBUS, or refuses, as the cut falls"),
    runs("file: a span above 4 GiB", cases::span_above_the_limit),
    answers("unwind: exception inside", "cxx_throw"),
    answers("unwind: exception across objects", "cxx_throw_across"),
    answers("unwind: no terminator of .eh_frame", "cxx_throw_unterminated"),
    answers("unwind: Rust panic", "rust_panic"),
    answers("dl: RTLD_NEXT", "dlsym_next"),
    answers("dl: RTLD_DEFAULT", "dlsym_default"),
    answers("dl: dladdr, dl_iterate_phdr", "dladdr"),
    answers("dl: dlerror", "dlerror"),
    answers("dl: dlinfo", "dlinfo"),
    answers("dl: dladdr1", "dladdr1"),
    answers("dl: dl_iterate_phdr, thread-locals", "dl_iterate_tls"),
    answers("dl: dlopen by the caller's RUNPATH", "dlopen_runpath"),
    answers("dl: dlopen with $ORIGIN", "dlopen_origin"),
    answers("dl: dlopen as global", "dlopen_global"),
    answers("dl: dlclose", "dlclose"),
    answers("dl: dlmopen", "dlmopen"),
    answers("search: RUNPATH with $ORIGIN", "runpath"),
    answers("search: RPATH is inherited", "rpath_inherited"),
    refused("search: RUNPATH is not inherited", "runpath_not_inherited", &["path_leaf"]),
    only_ours("source: bytes in memory", cases::from_bytes),
    only_ours("source: a part of a file", cases::from_a_part),
    only_ours("source: a descriptor", cases::from_a_descriptor),
    runs("unload: finalisers, and memory goes", life::closed),
    runs("unload: what was loaded for its sake", life::closed_with_needs),
    runs("unload: not while a thread has a destructor to run", life::closed_too_early),
    runs("debuggers: their list", life::debuggers_list),
    runs("identity: links to one file", cases::one_file_many_names),
    runs("identity: two files of one name", cases::twins),
    runs("threads: many open one object", cases::many_threads_one_library),
    runs("process: fork", cases::fork_and_go_on),
    runs("process: a thousand opens leave nothing", cases::again_and_again),
    runs("process: libz of the system", cases::system_library),
];

fn case(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).expect("the parent names one of them")
}

#[test]
#[ignore = "run by the other, in child processes"]
fn run_case() {
    let who = Who::ALL.into_iter().find(|who| who.as_str() == text_argument("WHO")).expect("one of the two");
    let verdict = match case(&text_argument("CASE")).what {
        What::Answers(fixture) | What::SaysAtExit(fixture) => answer(who, fixture),
        What::Refused(fixture, words) => cases::refused_for(who, fixture, words),
        What::Runs(run) => run(who),
    };
    say(verdict.err().unwrap_or_else(|| PASS.to_owned()));
}

const PASS: &str = "pass";

fn answer(who: Who, fixture: &str) -> Verdict {
    same("answer", who.open(&build(fixture).path)?.call("answer")?, 42)
}

/// How a case ended: `pass`, or what went wrong.
fn run(case: &Case, who: Who) -> String {
    let outcome = Child::new("run_case").with("CASE", case.name).with("WHO", who.as_str()).run();
    match case.what {
        What::SaysAtExit(fixture) if outcome.last() == PASS => said_at_exit(fixture, &outcome),
        _ => outcome.last(),
    }
}

fn said_at_exit(fixture: &str, outcome: &Outcome) -> String {
    let expected = build(fixture).at_exit.clone().expect("the fixture says what");
    if outcome.stdout.contains(&expected) { PASS.to_owned() } else { format!("no {expected:?} at exit") }
}

#[test]
fn every_case_passes() {
    // Built here, once, not by all the children at the same time.
    test_fixtures::all();
    let rows = in_parallel(CASES, |case| {
        let system = if let System::Spared(why) = case.system { why.to_owned() } else { run(case, Who::System) };
        (run(case, Who::Ours), system)
    });
    let mut wrong = Vec::new();
    println!("{:<50} {:<6} system", "case", "ours");
    for (case, (ours, system)) in CASES.iter().zip(&rows) {
        println!("{:<50} {ours:<6} {system}", case.name);
        let as_expected = match case.system {
            System::Passes => system == PASS,
            System::Spared(_) => true,
        };
        if ours != PASS || !as_expected {
            wrong.push(format!("{}: ours {ours}, system {system}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
