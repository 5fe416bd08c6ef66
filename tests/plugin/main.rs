//! Plugins: each behaviour of Go's package `plugin` and what ours does instead, in tests of the number that it has in
//! docs/PLUGINS.md. Real plugins, built by cargo, each opened in a process of its own.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod border;
mod build;
mod builds;
mod corrupted;
mod cost;
mod example;
mod forks;
mod generations;
mod guide;
mod linked;
mod many;
mod rows;
#[path = "../support/mod.rs"]
mod support;
mod tiers;
mod types;
