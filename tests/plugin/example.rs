//! The example: a host, two plugins that share a crate, one in C, one of another type, one of another build.

use crate::build::{cargo, target_folder};
use crate::support::Folder;
use std::path::Path;
use std::process::Command;

#[test]
fn the_same_plugins_are_linked_in_from_a_list_that_is_generated() {
    let target = target_folder();
    cargo(env!("CARGO"), &["build", "-q", "-p", "linked-example"], &target);
    let program = target.join("debug/linked-example");
    let output = Command::new(&program).output().expect("it was just built");
    let expected = "circle-example: a circle of radius 2 has the area 12.57\n\
                    square-example: a square of side 2 has the area 4.00\n\
                    PROGRAM: lookup: make is `fn(f32) -> Box<dyn shapes_example::Shape>`, not \
                    `fn(f64) -> Box<dyn shapes_example::Shape>`: argument 1 is f32, not f64\n";
    let said = String::from_utf8_lossy(&output.stdout).replace(program.to_str().expect("text"), "PROGRAM");
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_example_opens_what_fits_and_explains_what_does_not() {
    let target = target_folder();
    let plugins = ["-p", "circle-example", "-p", "square-example", "-p", "wrong-type-example"];
    cargo(env!("CARGO"), &[&["build", "-q"][..], &plugins].concat(), &target);
    cargo(env!("CARGO"), &["build", "-q", "--example", "plugin_host"], &target);
    let built = target.join("debug");
    let folder = Folder::new("example");
    let hexagon = folder.file("libhexagon.so");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-I"]).arg(root.join("crates/plugin/include"));
    cc.arg("-o").arg(&hexagon).arg(root.join("examples/plugins/hexagon/hexagon.c"));
    assert!(cc.status().expect("there is a C compiler").success());
    // Another build, as its notes say: what really building one takes is in `builds`.
    let other = folder.copy(&built.join("libcircle_example.so"));
    let (target, other_target) = crate::rows::another_target(&other);

    let library = |name: &str| built.join(format!("lib{name}_example.so"));
    let mut host = Command::new(built.join("examples/plugin_host"));
    host.args([library("circle"), library("square"), hexagon.clone(), library("wrong_type"), other.clone()]);
    let output = host.output().expect("it was just built");
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = format!(
        "circle-example 1.0.0\n  MADE: AtomicU32\n  make: fn(f64) -> Box<dyn shapes_example::Shape>\n\
         \x20 a circle of radius 2 has the area 12.57\n  1 made\n\
         square-example 1.0.0\n  make: fn(f64) -> Box<dyn shapes_example::Shape>\n\
         \x20 a square of side 2 has the area 4.00\n\
         hexagon 1.0.0\n  area: extern \"C\" fn(f64) -> f64\n  area(2) = 10.39\n\
         wrong-type-example 1.0.0\n  make: fn(f32) -> Box<dyn shapes_example::Shape>\n\
         {}: lookup: make is `fn(f32) -> Box<dyn shapes_example::Shape>`, not \
         `fn(f64) -> Box<dyn shapes_example::Shape>`: argument 1 is f32, not f64\n\
         {}: admit: built in another way than this program:\n  target: {target} here, {other_target} there\n",
        library("wrong_type").display(),
        other.display(),
    );
    assert_eq!(said, expected);
    assert_eq!(output.status.code(), Some(1));
}
