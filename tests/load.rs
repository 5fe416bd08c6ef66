//! Every fixture through us and through the system loader: the answers that the fixtures promise, and the errors.
//!
//! Each runs in a child process of its own, so that one that kills is reported by name.

mod support;

use sideload::addr::RunAddr;
use sideload::{Error, Loader};
use std::path::Path;
use std::sync::atomic::AtomicI32;
use support::{Child, Outcome, argument, describe, in_parallel, say};
use test_fixtures::{Fixture, GlibcVerdict};

/// Called by the fixture `caller_supplied`, which adds the variable to the result.
extern "C" fn supplied_function(value: i32) -> i32 {
    value + 2
}
static SUPPLIED_VALUE: AtomicI32 = AtomicI32::new(20);

fn supplied(name: &[u8], _version: Option<&[u8]>) -> Option<RunAddr> {
    match name {
        b"caller_supplied" => Some(RunAddr(supplied_function as *const () as u64)),
        b"caller_supplied_value" => Some(RunAddr((&raw const SUPPLIED_VALUE).addr() as u64)),
        _ => None,
    }
}

#[test]
#[ignore = "run by the others, in child processes"]
fn open_with_us() {
    say(match answer_through_us(argument("OBJECT").as_ref()) {
        Ok(answer) => format!("opened {answer:?}"),
        Err(error) => format!("error {}", describe(&error)),
    });
}

fn answer_through_us(path: &Path) -> Result<Option<i32>, Error> {
    support::reserve_static_tls();
    // SAFETY: running the fixture's code is what this process is for.
    let library = unsafe { Loader::new().resolver(supplied).open(path) }?;
    // SAFETY: every fixture declares it as `int answer(void)`.
    let answer = unsafe { library.get::<unsafe extern "C" fn() -> i32>("answer") }.ok();
    // SAFETY: as above.
    Ok(answer.map(|answer| unsafe { answer() }))
}

#[test]
#[ignore = "run by the others, in child processes"]
fn open_with_the_system() {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: running the fixture's code is what this process is for.
    let library = match unsafe { Library::open(Some(argument("OBJECT")), RTLD_NOW | RTLD_LOCAL) } {
        Ok(library) => library,
        Err(error) => return say(format!("error {error}")),
    };
    // SAFETY: every fixture declares it as `int answer(void)`.
    let answer = unsafe { library.get::<unsafe extern "C" fn() -> i32>(b"answer") }.ok();
    // SAFETY: as above; the library is still open.
    let answer = answer.map(|answer| unsafe { answer() });
    say(format!("opened {answer:?}"));
    std::mem::forget(library); // finalisers are to run at the end of the process, as ours do
}

fn run(test: &str, fixture: &Fixture) -> Outcome {
    Child::new(test).with("OBJECT", &fixture.path).run()
}

/// What the fixture says of itself, as the child would say it.
fn promised(fixture: &Fixture) -> String {
    format!("opened {:?}", fixture.answer.map(|answer| i32::try_from(answer).expect("an int")))
}

/// Some are only a part of others, and cannot be opened where they lie.
fn opens_by_itself(fixture: &Fixture) -> bool {
    fixture.answer.is_some() || fixture.expect_error.is_some() || fixture.glibc == GlibcVerdict::Opens
}

/// What is wrong with our outcome.
fn complaint(fixture: &Fixture, ours: &Outcome) -> Option<String> {
    let (name, last) = (&fixture.name, ours.last());
    let complain = |what: &str| Some(format!("{name}: {what}, but: {last}\n{}", ours.stderr));
    if !ours.is_success() {
        return complain("an outcome was expected");
    }
    let Some(kind) = &fixture.expect_error else {
        if last != promised(fixture) {
            return complain(&promised(fixture));
        }
        let at_exit = fixture.at_exit.as_deref().unwrap_or_default();
        return if ours.stdout.contains(at_exit) { None } else { complain(&format!("{at_exit:?} at exit")) };
    };
    if !last.starts_with(&format!("error {kind} | ")) {
        return complain(&format!("error {kind}"));
    }
    let silent: Vec<_> = fixture.error_mentions.iter().filter(|word| !last.contains(word.as_str())).collect();
    if silent.is_empty() { None } else { complain(&format!("a mention of {silent:?}")) }
}

#[test]
fn every_fixture_gives_its_answer_or_its_error() {
    let mut fixtures = test_fixtures::all();
    fixtures.retain(opens_by_itself);
    let complaints = in_parallel(&fixtures, |fixture| complaint(fixture, &run("open_with_us", fixture)));
    let complaints: Vec<String> = complaints.into_iter().flatten().collect();
    assert!(complaints.is_empty(), "{} of {}\n{}", complaints.len(), fixtures.len(), complaints.join("\n"));
}

#[test]
fn the_system_loader_gives_the_same() {
    let mut fixtures = test_fixtures::all();
    fixtures.retain(|fixture| fixture.glibc == GlibcVerdict::Opens && fixture.expect_error.is_none());
    assert!(fixtures.len() > 100, "only {} fixtures to compare", fixtures.len());
    let differences = in_parallel(&fixtures, |fixture| {
        let (ours, theirs) = (run("open_with_us", fixture), run("open_with_the_system", fixture));
        let same = theirs.is_success() && ours.last() == theirs.last();
        (!same).then(|| format!("{}: ours {}, theirs {}", fixture.name, ours.last(), theirs.last()))
    });
    let differences: Vec<String> = differences.into_iter().flatten().collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
