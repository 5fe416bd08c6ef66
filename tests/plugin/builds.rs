//! A plugin that was really built in another way: by another compiler, profile, panic strategy and with other features.

use crate::build::{cargo, passes_alone, target_folder};
use crate::rows::refused;
use sideload::{BuildPolicy, ErrorKind, Loader, abi};
use std::path::PathBuf;
use std::process::Command;

/// The other compiler, where there is one.
fn nightly() -> Option<String> {
    let output = Command::new("rustup").args(["which", "--toolchain", "nightly", "cargo"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    output.status.success().then_some(path)
}

/// `greeter`, built by `compiler` in a profile of its own.
fn other_build(compiler: &str) -> PathBuf {
    let target = target_folder().join("other-build");
    let mut arguments = vec!["build", "-q", "-p", "greeter", "--features", "greeter/loud"];
    // Not `release`: without optimisation it is built in a third of the time.
    arguments.extend(["--config", "profile.dev.debug-assertions=false", "--config", "profile.dev.panic='abort'"]);
    cargo(compiler, &arguments, &target);
    target.join("debug/libgreeter.so")
}

#[test]
fn row_09_a_plugin_that_was_really_built_otherwise_is_refused() {
    const PATH: &str = "SIDELOAD_TEST_OTHER_BUILD";
    if std::env::var_os(PATH).is_none() {
        let nightly = nightly();
        if nightly.is_none() {
            eprintln!("no nightly toolchain: built by this compiler, with another profile and other features only");
        }
        let path = other_build(nightly.as_deref().unwrap_or(env!("CARGO")));
        crate::build::passes_alone_with(
            "builds::row_09_a_plugin_that_was_really_built_otherwise_is_refused",
            "OTHER_BUILD",
            &path,
        );
        return;
    }
    assert!(!passes_alone("builds::row_09_a_plugin_that_was_really_built_otherwise_is_refused"));
    let path = PathBuf::from(std::env::var_os(PATH).expect("the parent gives it"));
    let loader = Loader::new().build_policy(BuildPolicy::default().expect("features", ""));
    let error = refused(&loader, &path);
    let ErrorKind::BuildMismatch(rows) = error.kind() else { panic!("{error}") };
    let text = error.to_string();
    assert!(rows.iter().any(|row| row.row == "panic"), "{text}");
    assert!(text.contains("features:  here, loud there"), "{text}");
    let own = abi::BUILD[0].1;
    if let Some(rustc) = rows.iter().find(|row| row.row == "rustc") {
        assert_eq!(rustc.expected.as_deref(), Some(own));
        assert!(rows.iter().any(|row| row.row == "commit"), "{text}");
    }
}
