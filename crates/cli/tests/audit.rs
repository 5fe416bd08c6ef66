//! The verb `audit`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::fs;
use support::{ARCHIVE, fixture, json, path, sideload};

fn policy(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("audit.toml");
    fs::write(&file, text).expect("a file");
    let file = path(&file);
    (folder, file)
}

#[test]
fn findings_are_rows_and_the_loaders_own_policy_is_the_default() {
    let (lazy, textrel) = (fixture("jump_slot_lazy"), fixture("textrel"));
    let run = sideload(&["audit", &lazy]).run();
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = run.stdout.lines().collect();
    let row: Vec<&str> = lines[0].split('\t').collect();
    assert_eq!(row[..4], [&lazy, "warning", "unsealed-calls", "allowed"]);
    assert!(row[4].contains("the first at 0x"), "{row:?}");
    assert_eq!(lines.last(), Some(&"1 files, 0 danger, 1 warning, 0 note, 0 error, 0 refused"));

    let run = sideload(&["audit", &lazy, &textrel, ARCHIVE]).run();
    assert_eq!(run.status, 1);
    assert!(run.stdout.contains(&format!("{textrel}\twarning\ttext-relocations\trefused\t")), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("{ARCHIVE}\terror\tplan\trefused\t")), "{}", run.stdout);
    assert!(run.stdout.ends_with(", 1 error, 2 refused\n"), "{}", run.stdout);
}

#[test]
fn a_policy_decides() {
    let (lazy, textrel) = (fixture("jump_slot_lazy"), fixture("textrel"));
    let cases = [
        ("", &textrel, 1),
        ("[rules]\ntext-relocations = \"allow\"", &textrel, 0),
        ("refuse-from = \"danger\"", &lazy, 0),
        ("refuse-from = \"warning\"", &lazy, 1),
        ("refuse-from = \"note\"\n[rules]\nunsealed-calls = \"allow\"", &lazy, 0),
        ("[rules]\nunsealed-calls = \"refuse\"", &lazy, 1),
    ];
    for (text, object, status) in cases {
        let (_folder, file) = policy(text);
        let run = sideload(&["audit", object, "--policy", &file]).run();
        assert_eq!((run.status, run.stderr.as_str()), (status, ""), "{text}\n{}", run.stdout);
    }
    let wrong = [
        ("[rules]\nno-such = \"refuse\"", "no-such: no such rule; there are writable-code"),
        ("[rules]\ninterpose = \"maybe\"", "unknown variant `maybe`"),
        ("[rules]\nwritable-code = \"allow\"", "writable-code cannot be allowed"),
        ("refuse = \"danger\"", "unknown field `refuse`"),
    ];
    for (text, says) in wrong {
        let (_folder, file) = policy(text);
        let run = sideload(&["audit", &lazy, "--policy", &file]).run();
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{text}");
        assert!(run.stderr.contains(says) && run.stderr.contains("audit.toml"), "{text}: {}", run.stderr);
    }
}

#[test]
fn folders_are_searched_and_rules_listed() {
    let folder = tempfile::TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("below")).expect("a folder");
    fs::copy(fixture("jump_slot_now"), folder.path().join("below/now.so")).expect("a copy");
    fs::write(folder.path().join("notes.txt"), "not an object").expect("a file");
    let document = json(&["audit", &path(folder.path()), "--json"]);
    assert_eq!(document["files"].as_array().map(Vec::len), Some(1), "{document}");
    assert_eq!(document["files"][0]["refused"], false);
    assert_eq!(document["summary"]["warning"], 0);

    let run = sideload(&["audit", "--rules"]).run();
    assert_eq!((run.status, run.stdout.lines().count()), (0, sideload::audit::Rule::ALL.len()));
    assert!(run.stdout.lines().any(|line| line.starts_with("text-relocations") && line.contains("refuse")));
    assert_eq!(sideload(&["audit"]).run().status, 2);
}
