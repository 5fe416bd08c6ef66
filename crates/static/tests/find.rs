//! Lists from folders of plugins.

use sideload_static::{Error, Plugins};
use std::fs;
use std::path::Path;

fn plugin(folder: &Path, name: &str, lib: &str, sources: &[(&str, &str)]) {
    let folder = folder.join(name);
    fs::create_dir_all(folder.join("src/bin")).expect("a folder of ours");
    fs::write(folder.join("Cargo.toml"), format!("[package]\nname = \"{name}\"\n\n{lib}")).expect("ours");
    for (file, text) in sources {
        fs::write(folder.join("src").join(file), text).expect("ours");
    }
}

const BOTH: &str = "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n";

#[test]
fn a_folder_of_plugins_becomes_a_list() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let greeter = "mod more;\n#[sideload::export]\npub fn greet() {}\n#[cfg(test)]\n#[sideload::export]\nfn hidden() {}\n\
                   sideload::plugin!(pub PLUGIN: greet, more::COUNT, more::begin);\n";
    let more =
        "#[sideload::export]\npub static COUNT: u32 = 1;\n#[init(after = \"x\")]\nfn begin() {}\npub fn other() {}";
    plugin(folder.path(), "my-greeter", BOTH, &[("lib.rs", greeter), ("more.rs", more), ("bin/tool.rs", "not rust")]);
    plugin(folder.path(), "counter", "[lib]\nname = \"count\"\n", &[("lib.rs", "sideload::plugin!(pub ALL: );")]);
    plugin(folder.path(), "shared", "", &[("lib.rs", "pub struct Shared;")]);
    fs::create_dir_all(folder.path().join("in-c")).expect("ours");
    let found = Plugins::find(folder.path()).expect("sound");
    let expected = "/// The plugins that are linked into this program: for `sideload::Loader::linked`.\n\
                    pub static PLUGINS: &[&sideload::abi::LinkedPlugin] = &[\n    &::count::ALL, // \n\
                    \x20   &::my_greeter::PLUGIN, // greet, more::COUNT, more::begin\n];\n";
    assert_eq!(found.source(), expected);
    assert_eq!(found.others, [folder.path().join("shared")]);
    let lines = found.dependencies(folder.path().join("shared"));
    assert_eq!(lines, "counter = { path = \"../counter\" }\nmy-greeter = { path = \"../my-greeter\" }\n");
    // One crate is a list of one.
    let one = Plugins::find(folder.path().join("my-greeter")).expect("sound");
    assert_eq!(one.plugins.len(), 1);
}

/// A crate that is no plugin may become one, and so may a folder that is no crate.
#[test]
fn all_that_was_searched_is_watched() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let within = |path: &str| folder.path().join(path);
    plugin(folder.path(), "plugin", BOTH, &[("lib.rs", "sideload::plugin!(pub PLUGIN: );")]);
    plugin(folder.path(), "moved", "[lib]\npath = \"code/root.rs\"\n", &[]);
    fs::create_dir_all(within("moved/code")).expect("ours");
    fs::write(within("moved/code/root.rs"), "pub struct Shared;").expect("ours");
    fs::create_dir_all(within("bare")).expect("ours");
    fs::write(within("bare/Cargo.toml"), "[package]\nname = \"bare\"\n").expect("ours");
    fs::create_dir_all(within("workspace")).expect("ours");
    fs::write(within("workspace/Cargo.toml"), "[workspace]\n").expect("ours");
    fs::create_dir_all(within("in-c")).expect("ours");

    let found = Plugins::find(folder.path()).expect("sound");
    assert_eq!(found.plugins.len(), 1, "{found:?}");
    let crates = [
        "bare/Cargo.toml",
        "bare", // It has no sources yet.
        "moved/Cargo.toml",
        "moved/code",
        "plugin/Cargo.toml",
        "plugin/src",
        "workspace/Cargo.toml",
    ];
    let expected: Vec<_> = std::iter::once(folder.path().to_owned()).chain(crates.map(within)).collect();
    assert_eq!(found.watched, expected);
    // Of a crate by itself, not what is built in it.
    let one = Plugins::find(within("plugin")).expect("sound");
    assert_eq!(one.watched, [within("plugin/Cargo.toml"), within("plugin/src")]);
    // None at all is no reason not to look again.
    let none = Plugins::find(within("in-c")).expect("sound");
    assert_eq!(none.watched, [within("in-c")]);
}

/// A build script prints what is watched: this test runs itself as one.
#[test]
fn a_build_script_tells_cargo_what_is_watched() {
    const FOLDER: &str = "SIDELOAD_TEST_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Plugins::find(folder).and_then(|found| found.emit()).expect("sound");
    }
    let (folder, out) = (tempfile::TempDir::new().expect("a folder"), tempfile::TempDir::new().expect("a folder"));
    plugin(folder.path(), "plain", "", &[("lib.rs", "pub struct Shared;")]);
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_build_script_tells_cargo_what_is_watched", "--nocapture"])
        .env(FOLDER, folder.path())
        .env("OUT_DIR", out.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for path in [folder.path().to_owned(), folder.path().join("plain/Cargo.toml"), folder.path().join("plain/src")] {
        let line = format!("cargo::rerun-if-changed={}", path.display());
        assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
    }
    assert!(out.path().join("plugins.rs").is_file());
}

#[test]
fn what_would_be_missing_is_an_error() {
    let item = "#[sideload::export]\npub fn greet() {}\n#[sideload::export]\npub fn part() {}\n";
    let listed = format!("{item}sideload::plugin!(pub PLUGIN: greet);");
    let cases: &[(&str, &str, &str)] = &[
        (BOTH, item, "src/lib.rs: add `sideload::plugin!(pub PLUGIN: greet, part);` for what the crate exports"),
        (BOTH, &listed, "`part` is exported, and missing in `sideload::plugin!(pub PLUGIN: greet)`"),
        ("[lib]\ncrate-type = [\"cdylib\"]\n", "sideload::plugin!(pub PLUGIN: );", "is an rlib"),
        (BOTH, "fn 3() {}", "src/lib.rs: expected identifier"),
        (BOTH, "sideload::plugin!(PLUGIN);", "src/lib.rs: "),
        ("[lib", "", "Cargo.toml: "),
    ];
    for (lib, source, expected) in cases {
        let folder = tempfile::TempDir::new().expect("a folder");
        plugin(folder.path(), "greeter", lib, &[("lib.rs", source)]);
        let text = Plugins::find(folder.path()).expect_err(expected).to_string();
        assert!(text.contains(expected), "{text}");
    }
    let folder = tempfile::TempDir::new().expect("a folder");
    for name in ["a-b", "a_b"] {
        plugin(folder.path(), name, BOTH, &[("lib.rs", "sideload::plugin!(pub PLUGIN: );")]);
    }
    assert!(matches!(Plugins::find(folder.path()), Err(Error::Twice { .. })));
    assert!(matches!(Plugins::find(folder.path().join("gone")), Err(Error::File { .. })));
}

/// The plugins of this repository, which its tests link in, too.
#[test]
fn the_plugins_of_this_repository_are_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = Plugins::find(root.join("test-plugins")).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = found.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["build-tier", "greeter", "stable-tier", "starter", "tier-plugin"]);
    assert!(found.source().contains("&::greeter::PLUGIN"));
    let found = Plugins::find(root.join("examples/plugins")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.plugins.len(), 3, "{found:?}");
}
