//! The tier `dylib`: a plugin that has the host's standard library, and its copy of the crates that both share.

use crate::build::target_folder;
use std::process::Command;

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
    let expected = "count 41 42 42\nsaid hello\nspeaks from the plugin\npanicked Some(42)\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", String::from_utf8_lossy(&output.stderr));
}
