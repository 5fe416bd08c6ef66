//! The project's chores. `cargo xtask ci` is what CI runs, so that a green run here is a green
//! run there.

mod chores;
mod faults;
mod names;
mod step;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything a change must pass: format, lints, tests (also under AddressSanitizer), docs, other platforms, dependencies
    ///
    /// Each step prints its command and how long it took; the first failure ends the run.
    Ci {
        /// Leave out the lints for other platforms (their set-up takes minutes and needs root)
        #[arg(long)]
        skip_cross: bool,
    },
    /// Rewrite the golden files from what the code does now; review the diff before committing
    Bless,
    /// Check the registry with every order of events (loom)
    Model,
    /// Check that the model of the plugins' lives fails with each of a list of faults, planted in a copy of the sources
    Faults,
    /// Lint the library for the platforms that this machine cannot run, and link a program that uses it for macOS
    ///
    /// Installs a compiler with their standard libraries first, and zig as linker (scripts/cross-setup.sh).
    Cross,
    /// Check that the library's object code for macOS has no name of libdl
    #[command(hide = true)]
    Names {
        /// Where its rlib was built: the newest counts
        folders: Vec<PathBuf>,
    },
    /// Run the library's tests under AddressSanitizer; says so where there is no nightly toolchain
    Asan,
    /// Run each fuzz target for a while; crashes are kept in fuzz/artifacts
    Fuzz {
        /// How long each of them runs
        #[arg(long, default_value_t = 600)]
        seconds: u32,
    },
}

fn main() -> ExitCode {
    let chore = Arguments::parse().chore;
    let checked = match &chore {
        Chore::Names { folders } => Some(folders.iter().try_for_each(|folder| names::check(folder))),
        Chore::Faults => Some(faults::run()),
        _ => None,
    };
    if let Some(result) = checked {
        return match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("xtask: {failure}");
                ExitCode::FAILURE
            }
        };
    }
    let steps = match chore {
        Chore::Ci { skip_cross } => chores::ci(skip_cross),
        Chore::Bless => chores::bless(),
        Chore::Model => chores::model(),
        Chore::Cross => chores::cross(),
        Chore::Names { .. } | Chore::Faults => Vec::new(),
        Chore::Asan => chores::asan(),
        Chore::Fuzz { seconds } => chores::fuzz(seconds),
    };
    match step::run_all(steps) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
