//! `load`: opens libraries for real, and times each stage.

use crate::failure::{Done, Failure, REFUSED, diagnose, output};
use crate::json;
use crate::locate;
use crate::open::{Opened, Until, open_source};
use clap::Args;
use serde::{Serialize, Serializer};
use sideload::render::Word;
use sideload::{Loader, ledger};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Opens libraries, runs their initialisers, and prints how long each stage took.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Paths, or names that are searched as a loader would; opened one after the other in this process
    #[arg(required = true)]
    lib: Vec<OsString>,
    /// How far each open goes; then everything is undone
    #[arg(long, value_name = "STAGE", value_enum, default_value = "initialised")]
    until: Until,
    /// Unloads each library again, and says how long that took, or what is in the way; for opens to the end
    #[arg(long)]
    unload: bool,
    /// Opens and unloads each library so often; the times are those of the last round
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Loads a copy that no other process can change meanwhile
    #[arg(long)]
    snapshot: bool,
    /// Opens a library though functions are missing: a call of one ends the process and names it
    #[arg(long)]
    stubs: bool,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
A line a library: its path, the microseconds of each stage, and their sum. Time spent in IFUNC
resolvers counts as `sealed`, which comes after them. Up to `--until sealed` no code of the library
runs: IFUNC binds are left out, and the line says how many.

With `--rounds` it is an error if the process holds more of anything after the last round than after
the first: images, memory of theirs, frames, thread-locals.

Exit status: 1 if any of the libraries does not open; the others are opened all the same.

Examples:
  sideload load libz.so.1
  sideload load libLLVM-15.so.1 libz3.so.4 libcrypto.so.3 --json
  sideload load ./untrusted.so --until sealed
  sideload load libz.so.1 --rounds 1000";

pub(crate) fn run(arguments: &Arguments) -> Done {
    if arguments.unload && arguments.until < Until::Initialised {
        return Err(Failure::Usage("--unload is for what was opened to the end: leave out --until".to_owned()));
    }
    let loader = Loader::new().search(locate::options()).stub_missing(arguments.stubs);
    let mut rows = Vec::new();
    let mut output = output();
    for name in &arguments.lib {
        let row = Row::of(name, rounds(&loader, name, arguments));
        match &row.outcome {
            _ if arguments.json => {}
            Ok(_) => {
                writeln!(output, "{row}")?;
                // A line as soon as it is known: the next library may take its time, or the process with it.
                output.flush()?;
            }
            Err(failure) => diagnose(failure),
        }
        rows.push(row);
    }
    let all_open = rows.iter().all(|row| row.outcome.is_ok());
    if arguments.json {
        json::print(&Document { libraries: rows.iter().map(RowJson::from).collect() })?;
    }
    Ok(if all_open { ExitCode::SUCCESS } else { REFUSED.into() })
}

/// Opens a library, and unloads it, as often as it was asked for.
fn rounds(loader: &Loader, name: &OsStr, arguments: &Arguments) -> Result<Opened, Failure> {
    let mut opened = once(loader, name, arguments)?;
    let held = ledger();
    for _ in 1..arguments.rounds.unwrap_or(1) {
        opened = once(loader, name, arguments)?;
    }
    match ledger() {
        now if arguments.rounds.is_some() && now != held => {
            Err(Failure::Left { path: opened.path, before: Box::new(held), after: Box::new(now) })
        }
        _ => Ok(opened),
    }
}

fn once(loader: &Loader, name: &OsStr, arguments: &Arguments) -> Result<Opened, Failure> {
    let source = locate::source(name)?;
    let source = if arguments.snapshot { source.snapshot() } else { source };
    let mut opened = open_source(loader, name, source, arguments.until)?;
    if arguments.unload || arguments.rounds.is_some() {
        opened.unload()?;
    }
    Ok(opened)
}

struct Row {
    name: String,
    outcome: Result<Opened, Failure>,
}

impl Row {
    fn of(name: &OsStr, outcome: Result<Opened, Failure>) -> Row {
        Row { name: name.to_string_lossy().into_owned(), outcome }
    }
}

fn total(opened: &Opened) -> Duration {
    opened.times.iter().map(|(_, time)| *time).sum()
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(opened) = &self.outcome else { return f.write_str(&self.name) };
        write!(f, "{}:", Word(opened.path.as_bytes()))?;
        for (stage, time) in &opened.times {
            write!(f, " {} {} µs,", stage.as_str(), time.as_micros())?;
        }
        write!(f, " total {} µs", total(opened).as_micros())?;
        if let Some(time) = opened.unloaded {
            write!(f, ", unloaded {} µs", time.as_micros())?;
        }
        if opened.left_out > 0 {
            write!(f, " ({} IFUNC binds left out)", opened.left_out)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Document<'a> {
    libraries: Vec<RowJson<'a>>,
}

/// Microseconds by stage, in the order of the stages.
struct Stages<'a>(&'a [(Until, Duration)]);

impl Serialize for Stages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(stage, time)| (stage.as_str(), time.as_micros())))
    }
}

#[derive(Serialize)]
struct RowJson<'a> {
    name: &'a str,
    path: Option<&'a str>,
    stages: Stages<'a>,
    total: u128,
    unloaded: Option<u128>,
    ifuncs_left_out: usize,
    error: Option<String>,
}

impl<'a> From<&'a Row> for RowJson<'a> {
    fn from(row: &'a Row) -> RowJson<'a> {
        let opened = row.outcome.as_ref().ok();
        let times = opened.map_or(&[][..], |opened| &opened.times);
        RowJson {
            name: &row.name,
            path: opened.map(|opened| opened.path.as_str()),
            stages: Stages(times),
            total: opened.map_or(0, |opened| total(opened).as_micros()),
            unloaded: opened.and_then(|opened| Some(opened.unloaded?.as_micros())),
            ifuncs_left_out: opened.map_or(0, |opened| opened.left_out),
            error: row.outcome.as_ref().err().map(ToString::to_string),
        }
    }
}
