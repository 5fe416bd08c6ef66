//! What passes between a plugin and its host in each tier: the table in docs/PLUGINS.md, row by row.

use crate::build::{plugin, target_folder};
use crate::rows::another_target;
use crate::support::Folder;
use crate::types::open;
use shapes::{Greeter, Size};
use sideload::ErrorKind;
use sideload::abi::{Exported, Tier};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a type is, whoever exports it.
#[test]
fn each_type_is_of_the_tier_that_the_table_states() {
    fn of<T: Exported>(row: &'static str, tier: Tier) -> (&'static str, Tier, Tier) {
        (row, T::ITEM.tier, tier)
    }
    let (stable, build) = (Tier::Stable, Tier::Build);
    let cases = [
        of::<extern "C" fn(&Size, f64) -> u8>("stable structs", stable),
        of::<extern "C" fn(Option<&'static Size>)>("a reference or nothing", stable),
        of::<fn(i32) -> i32>("Rust's convention", build),
        of::<extern "C" fn(&str)>("wide references", build),
        of::<extern "C" fn(&[u8])>("wide references", build),
        of::<extern "C" fn((i32, i32))>("tuples", build),
        of::<extern "C" fn(Option<u32>)>("an enum of the compiler's layout", build),
        of::<extern "C" fn() -> Box<dyn Greeter>>("dyn Trait", build),
        of::<extern "C" fn(&(dyn Greeter + 'static))>("dyn Trait", build),
        of::<extern "C" fn() -> &'static Size>("&'static results", stable),
        of::<extern "C" fn() -> &'static str>("&'static results, wide", build),
        of::<&'static AtomicU32>("statics", stable),
        of::<extern "C" fn(extern "C" fn(i32) -> i32) -> i32>("callbacks of C's convention", stable),
        of::<extern "C" fn(fn(i32) -> i32) -> i32>("callbacks of Rust's convention", build),
        of::<extern "C" fn() -> Box<Size>>("what the other side drops", build),
        of::<extern "C" fn() -> Vec<u8>>("what the other side drops", build),
        of::<extern "C" fn() -> String>("what the other side drops", build),
        of::<unsafe extern "C" fn(*mut Size)>("what its maker frees", stable),
    ];
    for (row, tier, expected) in cases {
        assert_eq!(tier, expected, "{row}");
    }
}

extern "C" fn double(of: i32) -> i32 {
    of * 2
}

/// The stable tier, with a plugin whose rows say that it is of another build.
#[test]
fn what_is_stable_passes_between_builds() {
    let folder = Folder::new("stable_tier");
    let path = folder.copy(&plugin("stable_tier"));
    another_target(&path);
    let plugin = open(&path).expect("all of its exports are stable");
    let largest = plugin.lookup::<extern "C" fn() -> &'static Size>("largest").expect("exported");
    assert_eq!(*largest(), Size { width: 6.0, height: 7.0, depth: 8 });
    let apply = plugin.lookup::<extern "C" fn(extern "C" fn(i32) -> i32, i32) -> i32>("apply").expect("exported");
    assert_eq!(apply(double, 21), 42);
    let make = plugin.lookup::<extern "C" fn(f64) -> *mut Size>("make").expect("exported");
    let free = plugin.lookup::<unsafe extern "C" fn(*mut Size)>("free").expect("exported");
    let freed = plugin.lookup::<&AtomicU32>("FREED").expect("exported");
    let made = make(42.0);
    // SAFETY: the plugin made it just now, and frees it once.
    let width = unsafe {
        let width = (*made).width;
        free(made);
        width
    };
    assert_eq!((width, freed.load(Ordering::Relaxed)), (42.0, 1));
}

struct Here;

impl Greeter for Here {
    fn greet(&self, name: &str) -> String {
        format!("welcome, {name}")
    }
}

fn shout(text: &str) -> String {
    text.to_uppercase()
}

/// The tier of equal builds; another build is not even mapped.
#[test]
fn what_is_of_one_build_passes_between_equal_builds_alone() {
    let built = plugin("build_tier");
    let plugin = open(&built).expect("of this very build");
    let dropped = plugin.lookup::<&AtomicU32>("DROPPED").expect("exported");
    let made = plugin.lookup::<fn() -> Box<dyn Greeter>>("make").expect("exported")();
    assert_eq!(made.greet("you"), "come in, you");
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(made);
    assert_eq!(dropped.load(Ordering::Relaxed), 1, "its end is the plugin's code");
    assert_eq!(
        plugin.lookup::<fn(&(dyn Greeter + 'static)) -> String>("ask").expect("exported")(&Here),
        "welcome, plugin"
    );
    assert_eq!(plugin.lookup::<fn() -> &'static str>("motto").expect("exported")(), "well met");
    let apply = plugin.lookup::<fn(fn(&str) -> String, &str) -> String>("apply").expect("exported");
    assert_eq!(apply(shout, "you"), "YOU");
    let mut names = plugin.lookup::<fn() -> Vec<String>>("names").expect("exported")();
    // Memory of the plugin, which grows and is freed here: one allocator, which is part of the build.
    names.extend((0..100).map(|at| at.to_string()));
    assert_eq!(names[..2].concat(), "onetwo");

    let folder = Folder::new("build_tier");
    let other = folder.copy(&built);
    let (target, other_target) = another_target(&other);
    let error = open(&other).expect_err("of another build");
    let ErrorKind::BuildMismatch(rows) = error.kind() else { panic!("{error}") };
    let text = rows.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text, [format!("target: {target} here, {other_target} there")]);
}

#[test]
fn a_plugin_of_the_tier_dylib_shares_std_and_statics_with_its_host() {
    let target = target_folder().join("tier");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "-q", "-p", "tier-host", "-p", "tier-plugin", "--target-dir"]).arg(&target);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env("RUSTFLAGS", "-C prefer-dynamic");
    cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO_MANIFEST_DIR");
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let std = Command::new(rustc).args(["--print", "target-libdir"]).output().expect("there is a compiler").stdout;
    let std = String::from_utf8(std).expect("a path");
    let built = target.join("debug");
    let folders = format!("{}:{}:{}/deps", std.trim(), built.display(), built.display());
    let mut host = Command::new(built.join("tier-host"));
    let output = host.arg(built.join("libtier_plugin.so")).env("LD_LIBRARY_PATH", folders).output();
    let output = output.expect("it was just built");
    let expected = "count 41 42 42\nsaid hello\nspeaks from the plugin\npanicked Some(42)\none static true\n\
                    called back 42\ndropped 1\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", String::from_utf8_lossy(&output.stderr));
}
