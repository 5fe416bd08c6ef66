//! docs/PLUGINS.md, as somebody who reads it for the first time would follow it.

use crate::build::{cargo, target_folder};
use crate::support::Folder;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a text without their indentation.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

/// The blocks of code in a document: language and lines.
fn blocks(document: &str) -> Vec<(&str, Vec<&str>)> {
    let parts = document.split("\n```");
    // Every other part is a block.
    parts.skip(1).step_by(2).filter_map(|block| block.split_once('\n')).map(|(of, code)| (of, lines(code))).collect()
}

#[test]
fn the_code_of_the_guide_is_in_the_example() {
    let guide = root().join("examples/guide");
    let files = ["plugin/src/lib.rs", "host/src/main.rs", "host/src/bin/first.rs", "c/adder.c", "c/shapes.c"];
    let files = files.map(|name| read(&guide.join(name)));
    let document = read(&root().join("docs/PLUGINS.md"));
    let mut found = 0;
    for (language, block) in blocks(&document) {
        if matches!(language, "rust" | "c") {
            let is_there = files.iter().any(|file| lines(file).windows(block.len()).any(|window| window == block));
            assert!(is_there, "no file of examples/guide has\n{}", block.join("\n"));
            found += 1;
        }
        assert!(!language.starts_with("rust,"), "a block that is not in the example:\n{}", block.join("\n"));
    }
    assert!(found > 10, "{found} blocks");
}

fn compile(source: &str, library: &Path, arguments: &[&str]) {
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-I"]).arg(root().join("crates/plugin/include"));
    cc.args(arguments).arg("-o").arg(library).arg(root().join("examples/guide/c").join(source));
    assert!(cc.status().expect("there is a C compiler").success());
}

#[test]
fn the_example_of_the_guide_says_what_the_guide_says() {
    let target = target_folder();
    cargo(env!("CARGO"), &["build", "-q", "-p", "guide-plugin", "-p", "guide-host"], &target);
    let built: PathBuf = target.join("debug");
    let folder = Folder::new("guide");
    fs::copy(built.join("libguide_plugin.so"), folder.file("libgreeter.so")).expect("it was just built");
    compile("adder.c", &folder.file("libadder.so"), &[]);
    compile("shapes.c", &folder.file("libshapes.so"), &["-g"]);
    let policy = "[[rule]]\naction = \"allow\"\nname = \"adder\"\nonly-owner-writes = true\n";
    fs::write(folder.file("plugins.toml"), policy).expect("a folder of our own");
    let said = |program: &str| {
        let output = Command::new(built.join(program)).current_dir(folder.path()).output().expect("it was just built");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(said("first"), "hello, you\n");
    let expected = "log: started\nhello, you\nlog: greeted all\nHELLO, ALL, 1 greeted\nadder 1.0.0: 42\n\
                    log: started\nhello, who is linked in\ntrusted: adder\n\
                    ./libshapes.so: admit: not trusted: no rule allows it\n  rule 1: it states no name\n6\n\
                    area is `double area(const struct size *of)` by ./libshapes.so, \
                    not `extern \"C\" fn(&Size) -> f32`: result is double, not f32\n";
    assert_eq!(said("guide-host"), expected);
}
