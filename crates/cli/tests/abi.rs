//! `abi dump` and `abi diff`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::{json, path, sideload};

const OLD: &str = "struct point { int x, y; }; enum way { UP, DOWN };
int length(const struct point *of, int scale) { return of->x * scale; }
enum way turned(enum way of) { return of == UP ? DOWN : UP; }
int gone(void) { return 1; }
int level;
";

fn build(folder: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (text, library) = (folder.join("source.c"), folder.join(name));
    std::fs::write(&text, source).expect("a folder of ours");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC"]).args(flags).arg("-o").arg(&library).arg(&text);
    assert!(cc.status().expect("there is a compiler").success());
    library
}

#[test]
fn abi_shows_types_and_says_what_breaks() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let old = build(folder.path(), "old.so", OLD, &["-g"]);
    let new = OLD.replace("int x, y;", "long x, y;").replace("int gone(void)", "int come(void)");
    let new = build(folder.path(), "new.so", &new, &["-g"]);
    let (old, new) = (path(&old), path(&new));

    let run = sideload(&["abi", "dump", &old]).run();
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let expected = "function int gone(void)\nfunction int length(const struct point *of, int scale)\nvariable int level\n\
                    function enum way turned(enum way of)\nenum way 4 bytes: UP = 0, DOWN = 1\n\
                    struct point 8 bytes: 0 int x, 4 int y\n";
    assert_eq!(run.stdout, expected);

    // What `dump` wrote stands in for the library.
    let sidecar = path(&folder.path().join("old.abi.json"));
    let run = sideload(&["abi", "dump", &old, "--json"]).run();
    std::fs::write(&sidecar, &run.stdout).expect("a folder of ours");
    let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("one document");
    assert_eq!((&document["format"], &document["evidence"]), (&1.into(), &"library".into()));
    assert_eq!(document["exports"]["length"]["function"]["parameters"][1]["name"], "scale");

    let expected = "breaks gone is gone (was int gone(void))\n\
                    breaks struct point: field x was int, is long int (used by length)\n\
                    breaks struct point: field y was at offset 4, is at offset 8 (used by length)\n\
                    breaks struct point: field y was int, is long int (used by length)\n\
                    breaks struct point: it was 8 bytes, is 16 bytes (used by length)\n\
                    harmless come is new (int come(void))\n";
    for old in [&old, &sidecar] {
        let run = sideload(&["abi", "diff", old, &new]).run();
        assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (1, expected, ""), "{old}");
    }
    let run = sideload(&["abi", "diff", &old, &new, "--json"]).run();
    assert_eq!(run.status, 1);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("one document");
    assert_eq!(
        document["breaks"][0],
        serde_json::json!({"what": "gone", "at": "", "old": "int gone(void)", "new": null})
    );
    assert_eq!(document["breaks"][1]["used_by"], serde_json::json!(["length"]));
    let same = json(&["abi", "diff", &old, &sidecar, "--json"]);
    assert_eq!((&same["breaks"], &same["unknown"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[test]
fn abi_says_where_nothing_is_known() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let bare = path(&build(folder.path(), "bare.so", OLD, &[]));
    let run = sideload(&["abi", "dump", &bare]).run();
    assert_eq!((run.status, run.stdout.as_str()), (1, "unknown gone\nunknown length\nunknown level\nunknown turned\n"));
    assert!(run.stderr.contains("bare.so: no debug information of this build"), "{}", run.stderr);
    let run = sideload(&["abi", "diff", &bare, &bare]).run();
    assert_eq!((run.status, run.stdout.lines().count()), (0, 4));

    let broken = path(&folder.path().join("broken.abi.json"));
    std::fs::write(&broken, "{}").expect("a folder of ours");
    for (arguments, status) in [
        (&["abi", "diff", &broken, &bare][..], 1),
        (&["abi", "dump", "/no/such/library.so"], 1),
        (&["abi", "dump"], 2),
        (&["abi"], 2),
        (&["abi", "diff", &bare], 2),
    ] {
        let run = sideload(arguments).run();
        assert_eq!((run.status, run.stdout.as_str()), (status, ""), "{arguments:?}");
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
}
