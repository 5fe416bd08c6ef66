//! `verify`: what a policy says of a file, before anybody opens it.

use crate::failure::{Done, Failure, REFUSED, output};
use crate::json;
use clap::Args;
use serde::Serialize;
use sideload::{Loader, Source};
use sideload_trust::{Policy, sha256};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Says whether a policy allows a plugin, and all that would be mapped with it
///
/// Asks what `sideload_trust::Trust::open` would ask: about the file, and about each library that it needs and that a
/// process does not have. Nothing is mapped for running. Exit status 1 if one is refused.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The plugin or library
    file: PathBuf,
    /// The policy, in TOML
    #[arg(long)]
    policy: PathBuf,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Lines, in load order:
  allowed PATH rule N [NAME VERSION]
  refused PATH REASON            for each rule, what does not match

Examples:
  sideload verify ./libgreeter.so --policy /etc/app/plugins.toml";

#[derive(Serialize)]
struct Document {
    allowed: bool,
    files: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    path: String,
    name: Option<String>,
    version: Option<String>,
    sha256: String,
    /// The rule that allows it, counted from 1.
    rule: Option<usize>,
    /// Why none does.
    reason: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let text = fs::read_to_string(&arguments.policy).map_err(|error| Failure::file(&arguments.policy, error))?;
    let policy = Policy::parse(&text).map_err(|error| Failure::malformed(&arguments.policy, error))?;
    // A path even without a slash, as plugins are opened.
    let link = Loader::new().link(Source::path(&arguments.file).snapshot())?;
    let row = |candidate: sideload::Candidate<'_>| {
        let decided = policy.decide(&candidate);
        Row {
            path: candidate.path().display().to_string(),
            name: candidate.name().map(str::to_owned),
            version: candidate.version().map(str::to_owned),
            sha256: sha256(candidate.bytes()),
            rule: decided.as_ref().ok().copied(),
            reason: decided.err(),
        }
    };
    let files: Vec<Row> = link.candidates().map(row).collect();
    // An image of this very program is not asked about, and no plugin.
    let allowed = !files.is_empty() && files.iter().all(|row| row.rule.is_some());
    let status = if allowed { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) };
    if arguments.json {
        json::print(&Document { allowed, files })?;
        return Ok(status);
    }
    let mut output = output();
    for row in &files {
        match (&row.rule, &row.reason) {
            (Some(rule), _) => {
                write!(output, "allowed {} rule {rule}", row.path)?;
                match (&row.name, &row.version) {
                    (Some(name), Some(version)) => writeln!(output, " {name} {version}")?,
                    _ => writeln!(output)?,
                }
            }
            (None, reason) => writeln!(output, "refused {} {}", row.path, reason.as_deref().unwrap_or_default())?,
        }
    }
    output.flush()?;
    Ok(status)
}
