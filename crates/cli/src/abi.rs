//! `abi`: what a library's debug information says of what it exports, and what breaks between two libraries.

use crate::failure::{Done, Failure, REFUSED, diagnose, output};
use crate::json;
use crate::locate;
use clap::{Args, Subcommand};
use serde::Serialize;
use sideload_abi::{Abi, Diff, Exported, Search, diff};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Shows the types of exported functions by debug information, and what breaks between two libraries
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Dump(Dump),
    Diff(Compare),
}

/// Lists what a library exports, with types.
///
/// They are read from debug information: in the library, in the separate file that distributions install for its build
/// id, in the one that .gnu_debuglink names, or in the sidecar LIB.abi.json. Exit status 1 if there is none.
#[derive(Args)]
#[command(after_help = DUMP_HELP)]
struct Dump {
    /// A path, or a name that is searched as a loader would
    lib: OsString,
    /// Prints one JSON document: save it as LIB.abi.json where the library goes without debug information
    #[arg(long)]
    json: bool,
    /// Looks for separate debug files here before /usr/lib/debug
    #[arg(long, value_name = "FOLDER")]
    debug: Vec<PathBuf>,
}

const DUMP_HELP: &str = "\
Lines, each part sorted:
  function DECLARATION
  variable DECLARATION
  indirect NAME                  a function that a resolver chooses: nothing tells its type
  unknown NAME                   without debug information
  struct NAME SIZE bytes: OFFSET FIELD, ...       also union; a bit field has BYTE.BIT FIELD:BITS
  enum NAME SIZE bytes: NAME = VALUE, ...

Examples:
  sideload abi dump libm.so.6
  sideload abi dump ./libfoo.so --json > libfoo.so.abi.json";

/// Says what changed between two libraries, and which of it breaks programs that were built against the old one.
///
/// Exit status 1 if something does.
#[derive(Args)]
#[command(after_help = DIFF_HELP)]
struct Compare {
    /// A library, or what `abi dump --json` printed of it (a name that ends in .json)
    old: OsString,
    /// The same of the new one
    new: OsString,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
    /// Looks for separate debug files here before /usr/lib/debug
    #[arg(long, value_name = "FOLDER")]
    debug: Vec<PathBuf>,
}

const DIFF_HELP: &str = "\
Lines, each part sorted:
  breaks WHAT: WHERE was OLD, is NEW       functions gone, parameters, layouts of structs, values of enums
  harmless WHAT is new                     what programs that know the old library do not notice
  unknown NAME                             exported by both, and not described by one of them

Examples:
  sideload abi diff libfoo.so.1.2 libfoo.so.1.3
  sideload abi diff libfoo.so.1.2.abi.json target/release/libfoo.so --json";

pub(crate) fn run(arguments: &Arguments) -> Done {
    match &arguments.what {
        What::Dump(arguments) => dump(arguments),
        What::Diff(arguments) => compare(arguments),
    }
}

fn search(folders: &[PathBuf]) -> Search {
    // The first one is to be asked first.
    folders.iter().rev().fold(Search::default(), |search, folder| search.debug_folder(folder))
}

fn read(lib: &OsStr, folders: &[PathBuf]) -> Result<Abi, Failure> {
    if Path::new(lib).extension().is_some_and(|extension| extension == "json") {
        return Ok(Abi::read_sidecar(lib)?);
    }
    let planned = locate::find(lib)?;
    let abi = Abi::of_bytes(&planned.path, &planned.bytes, &search(folders))?;
    if abi.evidence.is_none() {
        let path = planned.path.display();
        diagnose(&format_args!(
            "{path}: no debug information of this build, neither in it nor by its build id or beside it"
        ));
    }
    Ok(abi)
}

fn dump(arguments: &Dump) -> Done {
    let abi = read(&arguments.lib, &arguments.debug)?;
    let mut output = output();
    if arguments.json {
        writeln!(output, "{}", abi.to_json()?)?;
    } else {
        let kind = |exported: &Exported| match exported {
            Exported::Function(_) => "function",
            Exported::Variable(_) => "variable",
            Exported::Indirect => "indirect",
            Exported::Unknown => "unknown",
        };
        let line = |(name, exported): (&String, &Exported)| match exported {
            Exported::Function(_) | Exported::Variable(_) => {
                format!("{} {}", kind(exported), abi.export_text(name, exported))
            }
            Exported::Indirect | Exported::Unknown => format!("{} {name}", kind(exported)),
        };
        for line in abi.exports.iter().map(line).chain(abi.type_lines()) {
            writeln!(output, "{line}")?;
        }
    }
    output.flush()?;
    Ok(if abi.evidence.is_some() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

#[derive(Serialize)]
struct Document {
    old: PathBuf,
    new: PathBuf,
    #[serde(flatten)]
    diff: Diff,
}

fn compare(arguments: &Compare) -> Done {
    let (old, new) = (read(&arguments.old, &arguments.debug)?, read(&arguments.new, &arguments.debug)?);
    let diff = diff(&old, &new);
    let status = if diff.breaks.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) };
    if arguments.json {
        json::print(&Document { old: old.library, new: new.library, diff })?;
        return Ok(status);
    }
    let mut output = output();
    let breaks = diff.breaks.iter().map(|change| format!("breaks {change}"));
    let harmless = diff.harmless.iter().map(|change| format!("harmless {change}"));
    let unknown = diff.unknown.iter().map(|name| format!("unknown {name}"));
    for line in breaks.chain(harmless).chain(unknown) {
        writeln!(output, "{line}")?;
    }
    output.flush()?;
    Ok(status)
}
