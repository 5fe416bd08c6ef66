//! The verbs that only look: `plan`, `symbols`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use serde_json::Value;
use std::process::{Command, Stdio};
use support::{ARCHIVE, fixture, json, sideload};

#[test]
fn plan_prints_the_lines_of_the_contract() {
    let path = fixture("everything");
    // The ends of lines: addresses are the compiler's choice.
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["machine x86_64", "soname libeverything.so", "need libprovider.so", "runpath $ORIGIN"]),
        (&["--fixups"], &[" R_X86_64_JUMP_SLOT abs@GLIBC_2.2.5 0", " R_X86_64_64 provided_value 0"]),
        (
            &["--imports"],
            &["import abs@GLIBC_2.2.5 plt from=libc.so.6", "import everything_data@EVERYTHING_1 data own"],
        ),
        (&["--exports"], &[" ifunc", "export everything_local@@EVERYTHING_1 0x0 tls"]),
    ];
    for (flags, expected) in cases {
        let run = sideload(&["plan", &path]).args(flags).run();
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{flags:?}");
        for line in *expected {
            assert!(run.stdout.lines().any(|have| have.ends_with(line)), "{flags:?} lacks {line:?}:\n{}", run.stdout);
        }
        let mut sorted: Vec<&str> = run.stdout.lines().collect();
        sorted.sort_unstable();
        assert!(flags.is_empty() || run.stdout.lines().eq(sorted), "{flags:?}: not sorted");
    }
}

#[test]
fn plan_as_json_holds_the_rows_that_were_asked_for() {
    let path = fixture("everything");
    let plain = json(&["plan", &path, "--json"]);
    assert_eq!(plain["soname"], "libeverything.so");
    assert_eq!(plain["needs"], serde_json::json!(["libprovider.so", "libc.so.6", "ld-linux-x86-64.so.2"]));
    assert_eq!(plain["regions"][0]["prot"], "r--");
    assert_eq!(plain.get("fixups"), None);

    let full = json(&["plan", &path, "--json", "--fixups", "--imports", "--exports"]);
    let slot = |row: &&Value| row["type"] == "R_X86_64_JUMP_SLOT" && row["symbol"] == "abs";
    let slots: Vec<&Value> = full["fixups"].as_array().expect("rows").iter().filter(slot).collect();
    let [slot] = slots.as_slice() else { panic!("one jump slot of abs: {slots:?}") };
    assert!(slot["vm"].is_u64());
    assert_eq!((&slot["kind"], &slot["version"], &slot["addend"]), (&"bind".into(), &"GLIBC_2.2.5".into(), &0.into()));
    assert!(full["imports"].is_array() && full["exports"].is_array());
}

#[test]
fn symbols_are_of_the_image_or_of_others() {
    let path = fixture("everything");
    let exported = sideload(&["symbols", &path]).run().stdout;
    assert!(exported.lines().any(|line| line == "everything_data@@EVERYTHING_1 object 4 global"), "{exported}");
    let undefined = sideload(&["symbols", &path, "--undefined"]).run().stdout;
    assert!(undefined.lines().any(|line| line == "abs@GLIBC_2.2.5 func global from=libc.so.6"), "{undefined}");
    assert!(!undefined.contains("everything"), "{undefined}");
    // A library without exports has a hash table that tells nothing of the rest.
    let undefined = sideload(&["symbols", &fixture("exportless"), "--undefined"]).run().stdout;
    assert!(undefined.contains("journal_append func global"), "{undefined}");

    let document = json(&["symbols", "libz.so.1", "--json"]);
    let crc32 = |row: &&Value| row["name"] == "crc32";
    let row = document["symbols"].as_array().expect("rows").iter().find(crc32).expect("libz has it");
    assert_eq!((&row["kind"], &row["binding"]), (&"func".into(), &"global".into()));
}

#[test]
fn a_name_is_searched_and_a_path_is_not() {
    assert_eq!(sideload(&["symbols", "libz.so.1"]).run().status, 0);
    let run = sideload(&["symbols", "./libz.so.1"]).run();
    assert_eq!(run.status, 1);
    assert!(run.stderr.starts_with("sideload: ./libz.so.1: "), "{}", run.stderr);
    let run = sideload(&["symbols", "libnone.so.9"]).run();
    assert_eq!(run.status, 1);
    assert!(run.stderr.contains("/libnone.so.9 (default folder): not found"), "{}", run.stderr);
}

#[test]
fn what_is_no_image_is_refused_and_what_is_no_verb_is_usage() {
    let noopen = fixture("noopen");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["plan", "/usr/lib"], 1, "/usr/lib: find: not a shared object: a folder"),
        (&["plan", "/nowhere"], 1, "/nowhere: find: open /nowhere: No such file"),
        (&["plan", "/dev/null"], 1, "/dev/null: find: not a shared object: not a regular file"),
        (&["plan", "libz.so.1"], 1, "FILE is a path"),
        (&["plan", &noopen, "--arch", "arm64e"], 1, "has no image for arm64e, but for x86_64"),
        (&["plan", &noopen, "--arch", "z80"], 2, "z80"),
        (&["symbols", ""], 2, "LIB is empty"),
        (&["load", "--until", "sealed", "--unload", &noopen], 2, "--unload"),
        (&["sweep", "--timeout", "0", "/nowhere"], 2, "no time"),
        (&["plan", ARCHIVE], 1, "archive"),
        (&["plan", &noopen], 1, "DF_1_NOOPEN"),
        (&["plan"], 2, "<FILE>"),
        (&["unknown"], 2, "unknown"),
        (&[], 2, "Usage"),
    ];
    for (arguments, status, word) in cases {
        let run = sideload(arguments).run();
        assert_eq!((run.status, run.stdout.as_str()), (*status, ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sideload"))
        .args(["plan", "/usr/lib/x86_64-linux-gnu/libLLVM-15.so.1", "--fixups"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_name_that_is_a_file_in_the_working_folder_is_pointed_out() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(fixture("everything"), folder.path().join("libhere.so")).expect("there is room");
    for (name, hint) in [("libhere.so", "there is ./libhere.so"), ("libgone.so", "")] {
        for verb in [&["symbols"][..], &["abi", "dump"]] {
            let run = sideload(verb).args(&[name]).current_dir(folder.path()).run();
            assert_eq!(run.status, 1, "{verb:?} {name}");
            assert_eq!(run.stderr.contains("there is ./"), !hint.is_empty(), "{verb:?}: {}", run.stderr);
            assert!(run.stderr.contains(hint), "{verb:?}: {}", run.stderr);
        }
    }
}
