//! Hands the crate what only a build script is told: the compiler, the target and the profile.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let verbose = Command::new(rustc).arg("-vV").output();
    let verbose = verbose.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = |key: &str| verbose.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").to_owned();
    // A distribution's compiler states no commit: its full version line then tells one build from another.
    let commit = match line("commit-hash: ").as_str() {
        "unknown" => verbose.lines().next().unwrap_or("unknown").to_owned(),
        hash => hash.to_owned(),
    };
    let environment = |name: &str| std::env::var(name).unwrap_or_default();
    for (name, value) in [
        ("SIDELOAD_RUSTC", line("release: ")),
        ("SIDELOAD_COMMIT", commit),
        ("SIDELOAD_TARGET", environment("TARGET")),
        ("SIDELOAD_TARGET_FEATURES", environment("CARGO_CFG_TARGET_FEATURE")),
        ("SIDELOAD_OPT_LEVEL", environment("OPT_LEVEL")),
    ] {
        println!("cargo::rustc-env={name}={value}");
    }
}
