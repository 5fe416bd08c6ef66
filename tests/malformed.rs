//! Hostile files: every one ends with an error that says which file, at which stage, and why. Never a signal, never a
//! panic, never a hang, for any bytes at all, as long as no code of the file is run.

mod support;

use sideload::{ErrorKind, Loader};
use std::fs;
use std::path::PathBuf;
use support::{Child, Folder, argument, describe, in_parallel, say};
use test_fixtures::Malformed;

#[test]
#[ignore = "run by the others, in child processes"]
fn open_malformed() {
    let path = PathBuf::from(argument("OBJECT"));
    // SAFETY: what is wrong is not its code, but that is for the parent to see: this is a process of its own.
    let opened = unsafe { Loader::new().open(&path) };
    // SAFETY: as above; every fixture declares it as `int answer(void)`.
    let answered = opened.and_then(|library| unsafe {
        let answer = *library.get::<unsafe extern "C" fn() -> i32>("answer")?;
        Ok(answer())
    });
    match answered {
        Ok(answer) => say(format!("answer {answer}")),
        Err(error) => say(format!("{} | {} | {}", describe(&error), error.module(), error.stage())),
    }
}

/// Malformed by the letter, and opened all the same: what comes of it, and why that is right.
const FORGIVEN: &[(&str, &str, &str)] =
    &[("segments_not_ascending", "answer 42", "sorting them costs nothing, and forgives a linker that does not")];

/// What is wrong with how the file was refused.
fn complaint(file: &Malformed) -> Option<String> {
    let outcome = Child::new("open_malformed").with("OBJECT", &file.path).run();
    let last = outcome.last();
    if let Some((_, instead, _)) = FORGIVEN.iter().find(|(name, ..)| *name == file.name) {
        let is_so = outcome.is_success() && last.starts_with(instead);
        return (!is_so).then(|| format!("{}: {instead} expected, but {last}\n{}", file.name, outcome.stderr));
    }
    let fields: Vec<&str> = last.split(" | ").collect();
    let [kind, text, module, stage] = fields[..] else {
        return Some(format!("{}: {} expected, but {last}\n{}", file.name, file.error, outcome.stderr));
    };
    // The object itself, or where what it needs comes from: both are named by path.
    let path = file.path.to_string_lossy();
    let wrong = [
        (!file.expects(kind), "kind"),
        (!text.contains(&*path), "no path"),
        (!text.starts_with(&format!("{module}: {stage}: ")), "module and stage do not come first"),
        (text.ends_with(": "), "no cause"),
    ];
    let wrong: Vec<&str> = wrong.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, what)| what).collect();
    (!wrong.is_empty()).then(|| format!("{}: {} expected ({}): {text}", file.name, file.error, wrong.join(", ")))
}

#[test]
fn every_malformed_file_is_refused_with_its_error() {
    let files = test_fixtures::malformed();
    assert!(files.len() > 80, "only {} malformed files", files.len());
    let complaints: Vec<String> = in_parallel(&files, complaint).into_iter().flatten().collect();
    assert!(complaints.is_empty(), "{} of {}\n{}", complaints.len(), files.len(), complaints.join("\n"));
}

/// A file that is cut short after it was mapped: the size is looked at once more before anything is sealed.
#[test]
fn a_file_that_changes_meanwhile_is_noticed() {
    let fixture = test_fixtures::build("relative");
    let folder = Folder::new("changing");
    let path = folder.copy(&fixture.path);
    let relocated = Loader::new().link(&path).and_then(|link| link.map()).and_then(|mapped| mapped.relocate());
    let relocated = relocated.expect("a sound fixture");
    let file = fs::File::options().append(true).open(&path).expect("a copy of our own");
    let size = file.metadata().expect("an open file").len();
    file.set_len(size + 1).expect("a regular file");
    let error = relocated.seal().expect_err("the file has another size");
    assert!(matches!(error.kind(), ErrorKind::Changed { .. }), "{error}");
}
