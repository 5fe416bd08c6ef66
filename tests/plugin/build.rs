//! Builds the plugins of `test-plugins`, once per run, into the folder that this test itself was built into.

use crate::support::Child;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A plugin as `cargo build` makes it. A test that goes on in a process of its own finds them built.
pub(crate) fn plugin(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os(FOLDER) {
            return folder.into();
        }
        let target = target_folder();
        let plugins = ["greeter", "starter", "stable-tier", "build-tier"].map(|name| ["-p", name]);
        cargo(env!("CARGO"), &[&["build", "-q"][..], plugins.as_flattened()].concat(), &target);
        target.join("debug")
    });
    folder.join(format!("lib{name}.so"))
}

const FOLDER: &str = "SIDELOAD_TEST_PLUGINS";

/// Runs the test of that name once more in a process of its own: true here, once that has passed, and false there.
#[track_caller]
pub(crate) fn passes_alone(test: &str) -> bool {
    let here = std::env::var_os(FOLDER).is_none();
    if here {
        let built = plugin("greeter");
        let folder = built.parent().expect("the folder that cargo built into");
        Child::new(test).with("PLUGINS", folder).run().expect_success();
    }
    here
}

/// The same, with one more value for it.
#[track_caller]
pub(crate) fn passes_alone_with(test: &str, name: &str, value: &Path) {
    let built = plugin("greeter");
    let folder = built.parent().expect("the folder that cargo built into");
    Child::new(test).with("PLUGINS", folder).with(name, value).run().expect_success();
}

/// `target/debug/deps/plugin-…` lies in it.
pub(crate) fn target_folder() -> PathBuf {
    let own = std::env::current_exe().expect("this test's own path");
    own.ancestors().nth(3).expect("cargo's folders").to_owned()
}

/// Runs cargo in this repository.
pub(crate) fn cargo(program: &str, arguments: &[&str], target: &Path) {
    let mut command = Command::new(program);
    command.args(arguments).arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo told this test about its own build is not about those.
    command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO_MANIFEST_DIR");
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
