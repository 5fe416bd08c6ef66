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
    assert_eq!(names, ["greeter", "starter", "tier-plugin"]);
    assert!(found.source().contains("&::greeter::PLUGIN"));
    let found = Plugins::find(root.join("examples/plugins")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.plugins.len(), 3, "{found:?}");
}
