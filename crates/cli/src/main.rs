//! The command line of sideload: what a loader would do, shown and done.
//!
//! Each verb is a module: its arguments, what it prints, and its JSON form. Exit status: 0 fine; 1 a file is refused,
//! does not resolve or does not open; 2 usage.

mod failure;
mod json;
mod locate;
mod plan;
mod symbols;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Loads ELF shared objects beside the system loader, and shows what loading them means.
///
/// LIB is a path, or a name without a slash, which is searched as a loader would search it. Results go to standard
/// output, diagnostics to standard error.
#[derive(Parser)]
#[command(name = "sideload", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  sideload plan /usr/lib/x86_64-linux-gnu/libz.so.1 --fixups
  sideload symbols libcrypto.so.3 --json

Exit status: 0 fine; 1 a file is refused, does not resolve or does not open; 2 usage.";

#[derive(Subcommand)]
enum Verb {
    Symbols(symbols::Arguments),
    Plan(plan::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Symbols(arguments) => symbols::run(&arguments),
        Verb::Plan(arguments) => plan::run(&arguments),
    };
    done.unwrap_or_else(failure::Failure::report)
}
