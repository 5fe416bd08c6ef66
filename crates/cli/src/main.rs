//! The command line of sideload: what a loader would do, shown and done.
//!
//! Each verb is a module: its arguments, what it prints, and its JSON form. Exit status: 0 fine; 1 a file is refused,
//! does not resolve or does not open; 2 usage.

mod abi;
mod audit;
mod call;
mod failure;
mod files;
mod invoke;
mod json;
mod link;
mod load;
mod locate;
mod open;
mod plan;
mod sign;
mod statics;
mod sweep;
mod symbols;
mod value;
mod verify;

use clap::{Parser, Subcommand};
use sideload::StaticTls;
use std::process::ExitCode;

// Room for objects that want static thread-locals: librustc_driver takes 23 KiB, all others of a distribution hardly any.
thread_local!(static ROOM: StaticTls<{ 64 << 10 }> = const { StaticTls::new() });

/// Loads ELF and Mach-O shared objects beside the system loader, and shows what loading them means.
///
/// LIB is a path, or a name without a slash, which is searched as a loader would search it. It may also be ARCHIVE!/MEMBER
/// (of an ar archive, or stored in a zip archive), FILE!+OFFSET, fd:N (an open file), or - (standard input). Results go to
/// standard output, diagnostics to standard error.
#[derive(Parser)]
#[command(name = "sideload", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  sideload call libz.so.1 zlibVersion --returns str
  sideload load libLLVM-15.so.1 libz3.so.4 librsvg-2.so.2
  sideload load 'bundle.zip!/lib/plugin.so' - < plugin.so
  sideload link librsvg-2.so.2 --bindings
  sideload plan /usr/lib/x86_64-linux-gnu/libz.so.1 --fixups
  sideload audit ./plugins --policy audit.toml
  sideload sweep /usr/lib/x86_64-linux-gnu --tsv result.tsv
  sideload abi diff libfoo.so.1.2 libfoo.so.1.3
  sideload sign libgreeter.so --key release.key
  sideload verify libgreeter.so --policy plugins.toml
  sideload static plugins --output src/plugins.rs

Exit status: 0 fine; 1 a file is refused, does not resolve or does not open; 2 usage.";

#[derive(Subcommand)]
enum Verb {
    Call(call::Arguments),
    Load(load::Arguments),
    Symbols(symbols::Arguments),
    Plan(plan::Arguments),
    Link(link::Arguments),
    Audit(audit::Arguments),
    Sweep(sweep::Arguments),
    Abi(abi::Arguments),
    Sign(sign::Arguments),
    Verify(verify::Arguments),
    Static(statics::Arguments),
    /// Opens one file and leaves word of it to its parent.
    #[command(name = sweep::OPENER, hide = true)]
    SweepOpener(sweep::OpenerArguments),
}

fn main() -> ExitCode {
    if let Err(error) = StaticTls::offer(&ROOM) {
        eprintln!("sideload: {error}"); // what does without will open
    }
    let done = match Arguments::parse().verb {
        Verb::Call(arguments) => call::run(&arguments),
        Verb::Load(arguments) => load::run(&arguments),
        Verb::Symbols(arguments) => symbols::run(&arguments),
        Verb::Plan(arguments) => plan::run(&arguments),
        Verb::Link(arguments) => link::run(&arguments),
        Verb::Audit(arguments) => audit::run(&arguments),
        Verb::Abi(arguments) => abi::run(&arguments),
        Verb::Sign(arguments) => sign::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Static(arguments) => statics::run(&arguments),
        Verb::Sweep(arguments) => sweep::run(&arguments),
        Verb::SweepOpener(arguments) => sweep::run_opener(&arguments),
    };
    done.unwrap_or_else(failure::Failure::report)
}
