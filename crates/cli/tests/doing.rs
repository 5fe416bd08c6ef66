//! The verbs that link and load: `link`, `load`, `call`, `sweep`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{fixture, json, path, sideload};

#[test]
fn call_prints_what_the_function_returns() {
    let everything = fixture("everything");
    let cases: &[(&[&str], &str)] = &[
        (&["libz.so.1", "zlibVersion", "--returns", "str"], "1."),
        (&["libm.so.6", "cos", "f64:0.5", "--returns", "f64"], "0.8775825618903728\n"),
        (&["libm.so.6", "cosf", "f32:0.5", "--returns", "f32"], "0.87758255\n"),
        (&["libz.so.1", "crc32", "u64:0", "str:hello", "u32:5", "--returns", "u64"], "907060870\n"),
        (&["libc.so.6", "abs", "-5"], "5\n"),
        (&["libc.so.6", "free", "ptr:0", "--returns", "void"], ""),
        (&["libc.so.6", "getenv", "NO_SUCH_VARIABLE", "--returns", "str"], "(null)\n"),
        (&[&everything, "answer"], "42\n"),
    ];
    for (arguments, expected) in cases {
        let run = sideload(&["call"]).args(arguments).run();
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(
            run.stdout.starts_with(expected) && run.stdout.is_empty() == expected.is_empty(),
            "{arguments:?}: {}",
            run.stdout
        );
    }
    let document = json(&["call", "libm.so.6", "floor", "2.5", "--returns", "f64", "--json"]);
    assert_eq!((&document["symbol"], &document["returned"]), (&"floor".into(), &2.0.into()));
}

#[test]
fn call_tells_a_wrong_argument_from_a_missing_symbol() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["libc.so.6", "abs", "i32:five"], 2, "\"five\" is no i32"),
        (&["libc.so.6", "abs", "1", "2", "3", "4", "5", "6", "7"], 2, "more than 6 integers"),
        (&["libc.so.6", "abs", "--returns", "int"], 2, "int"),
        (&["libc.so.6", "no_such_symbol"], 1, "no symbol no_such_symbol"),
        (&["libnone.so.9", "abs"], 1, "libnone.so.9: find: not found"),
    ];
    for (arguments, status, message) in cases {
        let run = sideload(&["call"]).args(arguments).run();
        assert_eq!((run.status, run.stdout.as_str()), (*status, ""), "{arguments:?}");
        assert!(run.stderr.contains(message), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn load_prints_a_line_a_library_and_goes_on_after_a_failure() {
    let run = sideload(&["load", "libz.so.1", "libnone.so.9", "libstdc++.so.6"]).run();
    assert_eq!(run.status, 1);
    assert!(run.stderr.starts_with("sideload: libnone.so.9: find: not found"), "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, name) in lines.iter().zip(["libz.so.1: ", "libstdc++.so.6: "]) {
        let (_, stages) = line.split_once(name).unwrap_or_else(|| panic!("{name} in {line}"));
        let words: Vec<&str> = stages.split(", ").filter_map(|stage| stage.split(' ').next()).collect();
        assert_eq!(words, ["planned", "linked", "mapped", "relocated", "sealed", "initialised", "total"]);
    }
}

#[test]
fn load_unloads_and_says_what_is_in_the_way() {
    let run = sideload(&["load", "libz.so.1", "--unload"]).run();
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.contains(", unloaded "), "{}", run.stdout);
    let again = sideload(&["load", "libz.so.1", &fixture("dlclose"), "--rounds", "20"]).run();
    assert_eq!((again.status, again.stderr.as_str(), again.stdout.lines().count()), (0, "", 2));
    let refused = sideload(&["load", &fixture("nodelete"), "--unload"]).run();
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("unload: still in use: it is marked never to be unloaded"), "{}", refused.stderr);
}

#[test]
fn load_stops_where_it_is_told() {
    let stages = ["planned", "linked", "mapped", "relocated", "sealed", "initialised"];
    for (at, stage) in stages.iter().enumerate() {
        let document = json(&["load", "libz.so.1", "--json", "--until", stage]);
        let library = &document["libraries"][0];
        let done: Vec<&String> = library["stages"].as_object().expect("by stage").keys().collect();
        let mut expected = stages[..=at].to_vec();
        expected.sort_unstable();
        let mut done = done;
        done.sort_unstable();
        assert_eq!(done, expected, "--until {stage}");
        assert_eq!(library["error"], serde_json::Value::Null);
    }
    // Its resolver would be code of the library.
    let run = sideload(&["load", &fixture("ifunc_local"), "--until", "sealed"]).run();
    assert!(run.status == 0 && run.stdout.contains(" IFUNC binds left out)"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn link_shows_where_everything_comes_from() {
    let everything = fixture("everything");
    let run = sideload(&["link", &everything, "--bindings"]).run();
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let provider = Path::new(&everything).with_file_name("libprovider.so");
    let expected = [
        format!("load {everything} (the name is a path)"),
        format!("need libprovider.so new {}", provider.display()),
        format!("init {everything}"),
        format!("bind {everything} __gmon_start__ data null"),
        format!("bind {everything} __tls_get_addr@GLIBC_2.3 plt supplied"),
    ];
    for line in &expected {
        assert!(run.stdout.lines().any(|have| have == line), "no line {line:?} in\n{}", run.stdout);
    }
    let bound = format!("bind {everything} provided_function plt new {} 0x", provider.display());
    assert!(run.stdout.lines().any(|line| line.starts_with(&bound)), "{}", run.stdout);

    let document = json(&["link", &everything, "--json"]);
    assert_eq!(document["root"]["path"], everything.as_str());
    assert_eq!(document["init_order"].as_array().map(Vec::len), Some(2));
    assert_eq!(document.get("bindings"), None);
}

#[test]
fn link_lists_all_undefined_symbols() {
    let folder = Folder::new("undefined");
    let library = folder.compile("undefined", "void one(void), two(void); void f(void) { one(); two(); }");
    let run = sideload(&["link", &library]).run();
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    for symbol in ["one", "two"] {
        assert!(run.stderr.contains(&format!("\n  {symbol} (needed by ")), "{}", run.stderr);
    }
}

#[test]
fn a_missing_function_is_told_when_it_is_called_if_so_wished() {
    let folder = Folder::new("stubs");
    let library = folder.compile("stubs", "void one(void); int fine(void) { return 7; } void f(void) { one(); }");
    let run = sideload(&["link", &library, "--stubs", "--bindings"]).run();
    assert!(run.stdout.contains(&format!("bind {library} one plt stub\n")), "{}{}", run.stdout, run.stderr);
    let run = sideload(&["call", &library, "fine", "--stubs"]).run();
    assert_eq!((run.status, run.stdout.as_str()), (0, "7\n"), "{}", run.stderr);
    let said = sideload(&["call", &library, "f", "--stubs", "--returns", "void"]).die();
    assert_eq!(said, format!("sideload: {library} called one, which nobody defines\n"));
}

/// How each of these ends, and words of the detail.
const ENDS: &[(&str, &str, &str, &str)] = &[
    ("fine", "int x;", "ok", ""),
    ("lacking", "void gone(void); void f(void) { gone(); }", "error", "1 undefined symbol: gone (needed by "),
    (
        "trap",
        "__attribute__((constructor)) void f(void) { __builtin_trap(); }",
        "foreign",
        "signal 4 in initialize of ",
    ),
    (
        "exits",
        "#include <unistd.h>\n__attribute__((constructor)) void f(void) { _exit(3); }",
        "foreign",
        "exit status 3 in initialize of ",
    ),
    ("waits", "__attribute__((constructor)) void f(void) { for (;;); }", "timeout", "in initialize of "),
];

#[test]
fn sweep_tells_how_each_file_ends() {
    let folder = Folder::new("sweep");
    for (name, source, ..) in ENDS {
        folder.compile(name, source);
    }
    // Neither is a shared object.
    fs::write(folder.0.join("notes.so"), "text").expect("a file");
    fs::create_dir(folder.0.join("empty")).expect("a folder");
    let tsv = folder.0.join("result.tsv");
    let run = sideload(&["sweep", &path(&folder.0), "--timeout", "2", "--tsv", &path(&tsv)]).run();
    assert_eq!(run.stdout, "1 ok, 1 error, 0 signal, 2 foreign, 1 timeout\n");
    assert_eq!((run.status, run.stderr.as_str()), (1, ""), "a time-out");

    let rows = fs::read_to_string(&tsv).expect("the rows");
    let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.split('\t').collect()).collect();
    assert!(rows.is_sorted_by_key(|row| row[0]) && rows.len() == ENDS.len(), "{rows:?}");
    for (name, _, outcome, detail) in ENDS {
        let file = path(&folder.0.join(format!("{name}.so")));
        let row = rows.iter().find(|row| row[0] == file).unwrap_or_else(|| panic!("no row of {file}"));
        assert_eq!((row[1], row.len()), (*outcome, 4), "{row:?}");
        assert!(row[2].contains(detail), "{row:?}");
        assert!(row[3].parse::<u64>().is_ok_and(|time| time > 0), "{row:?}");
    }
}

#[test]
fn sweep_up_to_sealed_runs_no_code_of_the_files() {
    let folder = Folder::new("sealed");
    for (name, source, ..) in ENDS {
        folder.compile(name, source);
    }
    let list = folder.0.join("list.txt");
    let files: Vec<String> = ENDS.iter().map(|(name, ..)| path(&folder.0.join(format!("{name}.so")))).collect();
    fs::write(&list, format!("{}\n{}\n", files.join("\n"), path(&folder.0.join("missing.so")))).expect("a list");
    let document = json(&["sweep", "--list", &path(&list), "--until", "sealed", "--json"]);
    let summary = serde_json::json!({ "ok": 4, "error": 2, "signal": 0, "foreign": 0, "timeout": 0 });
    assert_eq!(document["summary"], summary);
    let listed = document["files"].as_array().expect("rows").iter().map(|row| row["path"].as_str());
    assert!(listed.flatten().take(files.len()).eq(files.iter()), "in the order of the list");
}

/// A folder of objects that no fixture can be, since they end the process that opens them.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        Folder(folder)
    }

    fn compile(&self, name: &str, source: &str) -> String {
        let (text, object) = (self.0.join(format!("{name}.c")), self.0.join(format!("{name}.so")));
        fs::write(&text, source).expect("the source");
        let output = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&object, &text]).output();
        let output = output.expect("cc runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path(&object)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn libraries_need_not_be_files_of_their_own() {
    let object = fixture("relative");
    let data = fs::read(&object).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("one.a");
    assert!(Command::new("ar").arg("qcS").arg(&archive).arg(&object).status().unwrap().success());
    let shifted = folder.path().join("shifted.bin");
    fs::write(&shifted, [&[0; 4096], &*data].concat()).unwrap();
    let strange = folder.path().join("strange!+0.so");
    fs::copy(&object, &strange).unwrap();
    let member = format!("{}!/librelative.so", path(&archive));
    for lib in
        [member.as_str(), &format!("{}!+0x1000", path(&shifted)), &format!("{}!+4096", path(&shifted)), &path(&strange)]
    {
        assert_eq!(sideload(&["call", lib, "answer"]).run().stdout, "42\n", "{lib}");
        let plan = sideload(&["plan", lib]).run();
        assert_eq!((plan.status, plan.stderr.as_str()), (0, ""), "{lib}");
        assert!(sideload(&["symbols", lib]).run().stdout.contains("answer"), "{lib}");
        let name = lib.replace("4096", "0x1000");
        assert!(sideload(&["link", lib]).run().stdout.starts_with(&format!("load {name} (")), "{lib}");
    }
    for lib in ["-", "fd:0"] {
        let run = sideload(&["call", lib, "answer"]).stdin(&object).run();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("42\n", ""), "{lib}");
        assert!(sideload(&["load", lib]).stdin(&object).run().stdout.starts_with(&format!("{lib}: ")), "{lib}");
    }
    let run = sideload(&["load", "--snapshot", &object, "libz.so.1"]).run();
    assert_eq!((run.status, run.stdout.lines().count()), (0, 2), "{}", run.stderr);
    let cases = [
        (format!("{}!/none.so", path(&archive)), 1, "no member none.so"),
        (format!("{}!+four", path(&shifted)), 2, "four is no offset"),
        ("fd:four".to_owned(), 2, "no number after fd:"),
        ("fd:77".to_owned(), 1, "fd:77: find: no descriptor of that number"),
    ];
    for (lib, status, text) in cases {
        let run = sideload(&["call", &lib, "answer"]).run();
        assert_eq!(run.status, status, "{lib}");
        assert!(run.stderr.contains(text), "{lib}: {}", run.stderr);
    }
}

#[test]
fn only_functions_are_called() {
    let cases = [
        ("plugin", "plugin_variable", "plugin_variable is a variable"),
        ("tls_provider", "shared_local", "shared_local is a thread-local variable"),
    ];
    for (name, symbol, text) in cases {
        let object = fixture(name);
        let run = sideload(&["call", &object, symbol]).run();
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{symbol}: {}", run.stderr);
        assert!(run.stderr.contains(text), "{symbol}: {}", run.stderr);
    }
}

/// Nobody writes to it: a program that waits for its bytes waits for ever.
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.so");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for verb in ["plan", "symbols", "link", "load", "audit"] {
        let run = sideload(&[verb, &path(&pipe)]).run();
        assert_eq!(run.status, 1, "{verb}");
        assert!([&*run.stdout, &*run.stderr].concat().contains("not a regular file"), "{verb}: {}", run.stderr);
    }
}

#[test]
fn a_path_takes_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("two\nlines\u{1b}.so");
    fs::copy(fixture("relative"), &object).unwrap();
    for verb in ["load", "link"] {
        let stdout = sideload(&[verb, &path(&object)]).run().stdout;
        assert!(stdout.contains(r"two\nlines\x1b.so") && !stdout.contains('\u{1b}'), "{stdout}");
    }
}
