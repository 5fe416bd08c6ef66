//! Each chore as a list of commands; nothing here runs them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::step::Step;

/// The platforms `sideload` promises beyond the one it is tested on: each is linted.
const CROSS_TARGETS: &[&str] =
    &["x86_64-unknown-freebsd", "aarch64-apple-darwin", "x86_64-apple-darwin", "aarch64-unknown-linux-gnu"];

/// Those that are linked as well: what their systems lack, and what no assembler takes, shows only then.
const LINKED_TARGETS: &[&str] = &["aarch64-apple-darwin", "x86_64-apple-darwin"];

const FUZZ_TARGETS: &[&str] =
    &["plan", "link", "lookup", "macho_plan", "macho_chained", "macho_opcodes", "macho_exports", "macho_unwind"];

/// Cheapest first, so that a slip in formatting is not told after the tests.
pub(crate) fn ci(skip_cross: bool) -> Vec<Step> {
    let mut steps = vec![
        Step::new("format", cargo("fmt --all --check")),
        dependencies(),
        Step::new("lint", cargo("clippy --workspace --all-targets -- -D warnings")),
        // The README's command, word for word: what we tell people to run is what is checked.
        Step::new("test", cargo("test")),
        // The README's main job, in the profile that is built already: that `cargo run` finds its binary by itself.
        Step::new("run", cargo("run -- call libz.so.1 zlibVersion --returns str")),
        Step::new("test what no user runs", cargo("test --package xtask --package test-fixtures")),
        model_step(),
        Step::new("docs", docs()),
        Step::new("fuzz targets compile", fuzz_targets()),
    ];
    steps.extend(asan());
    if !skip_cross {
        steps.extend(cross());
    }
    steps
}

/// The integration tests that run under AddressSanitizer. Not among them, because
/// - `plugin` and `no_libdl` build more with cargo, for which the sanitizer's flags are not meant; and notes, read as the
///   bytes that they are, have the sanitizer's margins between them;
/// - `places` runs static programs and sandboxes, and `interposer` takes functions over before the sanitizer can start;
/// - `conformance` compares with the system loader, which does not know who calls: the sanitizer passes the calls on;
///   its objects are those of `load`;
/// - `golden`, `readelf`, `mach_o` and `tidy` run nothing that the other tests do not.
const UNDER_ASAN: &[&str] = &[
    "api",
    "debugger",
    "dl",
    "faults",
    "hostile",
    "life",
    "load",
    "malformed",
    "rows",
    "sources",
    "stages",
    "static_tls",
    "symbols",
    "threads",
];

/// Single tests of these that cannot run. The sanitizer puts functions of its own, `malloc` and `dlopen` among them, before
/// the C library's; it makes system calls, which one test counts; and the last five take minutes, for what others of
/// their files show as well.
const NOT_UNDER_ASAN: &[&str] = &[
    "runtime::host::tests::libc_is_found_and_so_are_its_functions",
    "addresses_are_described",
    "handles",
    "next_is_what_follows_the_caller",
    "the_system_loader_gives_the_same",
    "each_mapping_fails_once_under_strace",
    "each_call_of_a_large_group_fails_once",
    "full_opens_die_only_in_code_of_the_file",
    "full_opens_of_images_for_macos_die_only_in_their_code",
    "rounds::two_thousand_rounds_leave_nothing",
    "greedy_files_stay_within_bounds",
];

/// What the nightly compiler adds: the library's own tests and those that load, with every access of its code checked.
/// What they load is not instrumented. Leaks are `tests/stages.rs`'s business: an image that is loaded is never freed.
pub(crate) fn asan() -> Vec<Step> {
    let name = "test under AddressSanitizer";
    if !has_nightly() {
        return vec![Step::skipped(name, "the nightly toolchain is not installed")];
    }
    let mut tests = nightly("cargo test --package sideload --target x86_64-unknown-linux-gnu --lib");
    UNDER_ASAN.iter().for_each(|test| _ = tests.args(["--test", test]));
    tests.args(["--", "--exact"]);
    NOT_UNDER_ASAN.iter().for_each(|test| _ = tests.args(["--skip", test]));
    // Without leaks, as said; and a file may ask for more memory than there is, which is to be an error of ours.
    tests.env("RUSTFLAGS", "-Zsanitizer=address");
    tests.env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1");
    // Of each library and fixture: some thousand corrupted files, which take half a minute.
    tests.env("SIDELOAD_TEST_COPIES", "10");
    tests.env("CARGO_TARGET_DIR", target_dir().join("asan"));
    vec![Step::new(name, tests)]
}

/// No member of the workspace, so no other step sees them: an interface that they use changes under them.
fn fuzz_targets() -> Command {
    let mut check = cargo("check --quiet --manifest-path fuzz/Cargo.toml");
    check.env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
    check
}

/// Each fuzz target for so many seconds, beginning with the fixtures.
pub(crate) fn fuzz(seconds: u32) -> Vec<Step> {
    if !has_nightly() || !is_installed("cargo-fuzz") {
        return vec![Step::skipped("fuzz", "it takes the nightly toolchain and `cargo install cargo-fuzz`")];
    }
    let inside = |mut command: Command| {
        command.current_dir(root().join("fuzz"));
        command
    };
    let mut steps = vec![Step::new("seeds", inside(nightly("cargo run --release --bin seeds")))];
    for target in FUZZ_TARGETS {
        let mut run = inside(nightly("cargo fuzz run"));
        run.args([target, "--", "-timeout=20", "-rss_limit_mb=1024", "-max_len=65536"]);
        run.arg(format!("-max_total_time={seconds}"));
        steps.push(Step::new(format!("fuzz {target}"), run));
    }
    steps
}

fn has_nightly() -> bool {
    let mut version = nightly("rustc --version");
    version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// By `rustup run`: the toolchain that runs this has told its own cargo where to find everything.
fn nightly(words: &str) -> Command {
    let mut command = command("rustup");
    command.args(["run", "nightly"]).args(words.split_whitespace());
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
    command
}

pub(crate) fn model() -> Vec<Step> {
    vec![model_step()]
}

/// The registry and the lives of plugins under `loom`: its types take the place of the standard library's where `cfg(loom)` is set, so this
/// shares no output with other builds.
fn model_step() -> Step {
    let mut command = cargo("test --package sideload --lib -- registry::tests plugin::life::tests");
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target_dir().join("model"));
    Step::new("model", command)
}

pub(crate) fn bless() -> Vec<Step> {
    let blessed = |arguments| {
        let mut tests = cargo(arguments);
        tests.env("BLESS", "1");
        tests
    };
    vec![
        Step::new("bless the fixtures' table", blessed("test --package test-fixtures --test readme")),
        Step::new("bless the golden plans", blessed("test --test golden")),
    ]
}

pub(crate) fn cross() -> Vec<Step> {
    let mut link_setup = command("scripts/cross-setup.sh");
    link_setup.arg("--link").args(LINKED_TARGETS);
    let mut setup = command("scripts/cross-setup.sh");
    setup.args(CROSS_TARGETS);
    let mut steps = vec![Step::new("cross link set-up", link_setup), Step::new("cross set-up", setup)];
    for target in CROSS_TARGETS {
        steps.push(Step::new(format!("lint {target}"), cross_lint(target)));
    }
    let output = target_dir().join("cross");
    let mut link = command("scripts/cross-smoke.sh");
    link.args(LINKED_TARGETS).env("CARGO_TARGET_DIR", &output);
    steps.push(Step::new("link", link));
    let mut names = cargo("run --quiet --package xtask -- names");
    names.args(LINKED_TARGETS.iter().map(|target| output.join(target).join("debug/deps")));
    steps.push(Step::new("names of libdl", names));
    steps
}

/// `--lib`, because the command line's binary is called `sideload` too and rustdoc would write
/// both to one folder.
fn docs() -> Command {
    let mut command = cargo("doc --workspace --no-deps --lib");
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

/// Advisories are left out: their database changes by itself, and a new entry must not turn
/// an unchanged commit red.
fn dependencies() -> Step {
    let arguments = "deny check bans licenses sources";
    if is_installed("cargo-deny") {
        Step::new("dependencies", cargo(arguments))
    } else {
        Step::skipped("dependencies", "cargo-deny is not installed")
    }
}

/// Debian's compiler, for which scripts/cross-setup.sh made the standard libraries. It shares no
/// output with rustup's, and rustup's choice of toolchain must not reach it.
fn cross_lint(target: &str) -> Command {
    let mut command = command("/usr/bin/cargo");
    command
        .args(["clippy", "--package", "sideload", "--lib", "--target", target])
        .args(["--", "-D", "warnings"])
        .env("PATH", debian_first())
        .env("RUSTC", "/usr/bin/rustc")
        .env("CARGO_TARGET_DIR", target_dir().join("cross"))
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn cargo(arguments: &str) -> Command {
    let mut command = command("cargo");
    command.args(arguments.split_whitespace());
    command
}

/// In the repository's root, as if typed at a prompt: `cargo run` puts the toolchain's own
/// libraries on the library path, where neither Debian's compiler nor a test should find them.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env_remove("LD_LIBRARY_PATH");
    command
}

fn debian_first() -> OsString {
    let mut path = OsString::from("/usr/bin:");
    path.push(env::var_os("PATH").unwrap_or_default());
    path
}

fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}
