//! `sweep`: every shared object of a folder, each opened in a process of its own.

mod child;
mod opener;
mod record;

use crate::failure::{Done, Failure, REFUSED};
use crate::files;
use crate::json;
use crate::open::Until;
use child::{Outcome, Report};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use sideload::render::Word;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

pub(crate) use opener::{Arguments as OpenerArguments, VERB as OPENER, run as run_opener};

/// Opens every shared object below PATH, each in a process of its own, and says what became of it.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Folders and files; links inside a folder are not followed
    #[arg(required_unless_present = "list")]
    path: Vec<PathBuf>,
    /// Opens the files that FILE names too, a path a line, whatever they are
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Kills a child after so many seconds
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    timeout: Duration,
    /// How many children at once [default: one a processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Writes the rows to FILE instead of standard output
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    tsv: Option<PathBuf>,
    /// How far each open goes
    #[arg(long, value_name = "STAGE", value_enum, default_value = "initialised")]
    until: Until,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
A row a file, in the order of the paths, four columns with tabs between:
  path
  ok, error, signal, foreign or timeout
  detail           the error; or how the child died, and in which stage, module and address
  microseconds     of the open; of the child's life, if it died

`foreign` is a death in code of the object itself, which the loader had announced and whose address
it had checked, or of an unwinder in tables so large that only their index was (stage `unwind`);
`signal` is any other, in what the object has registered with the C library for the end of the process
(`atexit`), too: of that the loader is not told. The last line on standard output counts them:
  N ok, N error, N signal, N foreign, N timeout

Exit status: 1 if there was a signal or a time-out; errors are what a sweep is there to find.

Examples:
  sideload sweep /usr/lib/x86_64-linux-gnu --tsv result.tsv
  sideload sweep --list files.txt --until sealed --timeout 5";

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    let limit = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if limit.is_zero() { Err("no child opens anything in no time".to_owned()) } else { Ok(limit) }
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let files = files::collect(&arguments.path, arguments.list.as_deref())?;
    let mut sink = Sink::new(arguments)?;
    let progress = progress(arguments, files.len());
    sweep(arguments, &files, |row| {
        progress.inc(1);
        sink.take(&row)
    })?;
    progress.finish_and_clear();
    let summary = sink.finish()?;
    Ok(if summary.is_clean() { ExitCode::SUCCESS } else { REFUSED.into() })
}

/// Opens all files in children, `jobs` at once, and hands on the rows in the order of the files.
fn sweep(
    arguments: &Arguments,
    files: &[PathBuf],
    mut each: impl FnMut(Row<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let jobs = arguments.jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(index) else { return };
                    let report = child::open(file, arguments.until, arguments.timeout);
                    // Nobody receives after a failure: the rest is not wanted any more.
                    let Ok(()) = sender.send((index, report)) else { return };
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        // By value, so that an early return hangs up on the workers.
        for (index, report) in receiver {
            early.insert(index, report);
            while let Some(report) = early.remove(&due) {
                let report = report.map_err(|error| Failure::file(Path::new("child process"), error))?;
                each(Row { path: &files[due], report })?;
                due += 1;
            }
        }
        Ok(())
    })
}

/// A bar where somebody watches it, and where it does not run into the rows.
fn progress(arguments: &Arguments, total: usize) -> ProgressBar {
    let rows_go_to_the_terminal = !arguments.json && arguments.tsv.is_none() && io::stdout().is_terminal();
    if rows_go_to_the_terminal || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::new(total as u64)
}

struct Row<'a> {
    path: &'a Path,
    report: Report,
}

impl Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { outcome, detail, microseconds } = &self.report;
        let path = Word(self.path.as_os_str().as_bytes());
        write!(f, "{path}\t{}\t{}\t{microseconds}", outcome.as_str(), one_line(detail))
    }
}

/// An error may list a symbol a line; in a row, what stood on lines of its own is separated by semicolons.
fn one_line(detail: &str) -> String {
    let lines: Vec<&str> = detail.lines().map(str::trim).collect();
    let joined = match lines.split_first() {
        Some((first, rest)) if !rest.is_empty() => format!("{first} {}", rest.join("; ")),
        _ => lines.concat(),
    };
    Word(joined.as_bytes()).to_string()
}

/// Where rows go.
struct Sink<'a> {
    json: Option<Vec<RowJson>>,
    lines: Box<dyn Write>,
    path: Option<&'a Path>,
    summary: Summary,
}

impl<'a> Sink<'a> {
    fn new(arguments: &'a Arguments) -> Result<Sink<'a>, Failure> {
        let path = arguments.tsv.as_deref();
        let lines: Box<dyn Write> = match path {
            Some(path) => {
                let file = File::create(path).map_err(|error| Failure::file(path, error))?;
                Box::new(BufWriter::new(file))
            }
            None => Box::new(io::stdout()),
        };
        Ok(Sink { json: arguments.json.then(Vec::new), lines, path, summary: Summary::default() })
    }

    fn take(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        self.summary.count(row.report.outcome);
        match &mut self.json {
            Some(rows) => rows.push(RowJson::from(row)),
            None => writeln!(self.lines, "{row}").map_err(|error| self.failed(error))?,
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Failure {
        match self.path {
            Some(path) => Failure::file(path, error),
            None => Failure::Output(error),
        }
    }

    fn finish(mut self) -> Result<Summary, Failure> {
        self.lines.flush().map_err(|error| self.failed(error))?;
        let summary = self.summary;
        match self.json {
            Some(files) => json::print(&Document { files, summary })?,
            None => writeln!(io::stdout(), "{summary}")?,
        }
        Ok(summary)
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Summary {
    ok: usize,
    error: usize,
    signal: usize,
    foreign: usize,
    timeout: usize,
}

impl Summary {
    fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Error => &mut self.error,
            Outcome::Signal => &mut self.signal,
            Outcome::Foreign => &mut self.foreign,
            Outcome::Timeout => &mut self.timeout,
        } += 1;
    }

    fn is_clean(&self) -> bool {
        self.signal == 0 && self.timeout == 0
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { ok, error, signal, foreign, timeout } = self;
        write!(f, "{ok} ok, {error} error, {signal} signal, {foreign} foreign, {timeout} timeout")
    }
}

#[derive(Serialize)]
struct Document {
    files: Vec<RowJson>,
    summary: Summary,
}

#[derive(Serialize)]
struct RowJson {
    path: String,
    outcome: &'static str,
    detail: String,
    microseconds: u64,
}

impl From<&Row<'_>> for RowJson {
    fn from(row: &Row<'_>) -> RowJson {
        RowJson {
            path: json::text(row.path.as_os_str().as_bytes()),
            outcome: row.report.outcome.as_str(),
            detail: row.report.detail.clone(),
            microseconds: row.report.microseconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_of_four_columns() {
        let report = |detail: &str| Report { outcome: Outcome::Error, detail: detail.into(), microseconds: 12 };
        let cases = [
            ("liba.so: link: 2 undefined symbols:\n  one\n  two", "liba.so: link: 2 undefined symbols: one; two"),
            ("plain", "plain"),
            ("with\ta tab", "with\\ta tab"),
            ("", ""),
        ];
        for (detail, expected) in cases {
            let row = Row { path: Path::new("/a\nb"), report: report(detail) };
            assert_eq!(row.to_string(), format!("/a\\nb\terror\t{expected}\t12"));
        }
    }

    #[test]
    fn the_summary_reads_as_the_contract_says() {
        let mut summary = Summary::default();
        [Outcome::Ok, Outcome::Ok, Outcome::Foreign].into_iter().for_each(|outcome| summary.count(outcome));
        assert_eq!(summary.to_string(), "2 ok, 0 error, 0 signal, 1 foreign, 0 timeout");
        assert!(summary.is_clean());
        summary.count(Outcome::Timeout);
        assert!(!summary.is_clean());
    }
}
