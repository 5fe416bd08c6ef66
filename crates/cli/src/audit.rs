//! `audit`: what is legal but unwanted about files, and which of them a policy refuses. Nothing is mapped for running.

use crate::failure::{Done, Failure, REFUSED, output};
use crate::files;
use crate::json;
use crate::locate;
use clap::Args;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use sideload::audit::{self, Finding, Policy, Rule, Severity};
use sideload::render::Word;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Shows what is unwanted about shared objects, by rule and severity, and whether a policy refuses them. Nothing is mapped.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Files, and folders of shared objects; links inside a folder are not followed
    #[arg(required_unless_present = "rules")]
    path: Vec<PathBuf>,
    /// Which findings refuse a file, in TOML [default: what the loader refuses unless it is told otherwise]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Lists the rules, and what the policy makes of each
    #[arg(long)]
    rules: bool,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
A row a finding, in the order of the paths, the gravest first, five columns with tabs between:
  path
  danger, warning or note; error for a file that cannot be planned
  rule             see --rules
  refused or allowed, by the policy; an error is refused
  detail           which, where and how many; addresses as the file says them

The last line counts files and rows:
  N files, N danger, N warning, N note, N error, N refused

A policy names rules, or a severity from which on all of them refuse:
  refuse-from = \"warning\"
  [rules]
  loads-more = \"refuse\"
  executable-stack = \"allow\"
Rules that it does not name stay as the loader has them: writable-code and text-relocations refuse,
and writable-code always does. Programs that embed the library say the same with
`sideload::audit::Policy`, and then nothing that is refused is ever mapped.

Exit status: 1 if a file is refused.

Examples:
  sideload audit ./plugins --policy audit.toml
  sideload audit /usr/lib/x86_64-linux-gnu | grep -P '\\t(danger|warning)\\t'
  sideload audit --rules";

/// A policy as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PolicyFile {
    refuse_from: Option<Level>,
    #[serde(default)]
    rules: BTreeMap<String, Verdict>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Note,
    Warning,
    Danger,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Refuse,
    Allow,
}

impl PolicyFile {
    fn policy(&self) -> Result<Policy, String> {
        let severity = self.refuse_from.map(|from| match from {
            Level::Note => Severity::Note,
            Level::Warning => Severity::Warning,
            Level::Danger => Severity::Danger,
        });
        let start = severity.map_or_else(Policy::default, |severity| Policy::default().refuse_from(severity));
        self.rules.iter().try_fold(start, |policy, (name, verdict)| {
            let rule: Rule = name.parse().map_err(|unknown| format!("{name}: {unknown}"))?;
            Ok(match verdict {
                Verdict::Refuse => policy.refuse(rule),
                Verdict::Allow if rule == Rule::WritableCode => return Err(format!("{name} cannot be allowed")),
                Verdict::Allow => policy.allow(rule),
            })
        })
    }
}

fn policy(path: Option<&Path>) -> Result<Policy, Failure> {
    let Some(path) = path else { return Ok(Policy::default()) };
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
    let file: PolicyFile = toml::from_str(&text).map_err(|error| Failure::malformed(path, error))?;
    file.policy().map_err(|what| Failure::malformed(path, what))
}

#[derive(Serialize)]
struct Document<'a> {
    files: &'a [FileRow],
    summary: &'a Summary,
}

#[derive(Serialize)]
struct FileRow {
    path: String,
    refused: bool,
    findings: Vec<Row>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Row {
    severity: &'static str,
    rule: &'static str,
    refused: bool,
    detail: String,
}

#[derive(Serialize)]
struct RuleRow {
    rule: &'static str,
    severity: &'static str,
    verdict: Verdict,
    what: &'static str,
}

#[derive(Default, Serialize)]
struct Summary {
    files: usize,
    danger: usize,
    warning: usize,
    note: usize,
    error: usize,
    /// Files, not findings.
    refused: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { files, danger, warning, note, error, refused } = self;
        write!(f, "{files} files, {danger} danger, {warning} warning, {note} note, {error} error, {refused} refused")
    }
}

impl Summary {
    fn add(&mut self, row: &FileRow) {
        let count = |severity: Severity| row.findings.iter().filter(|it| it.severity == severity.as_str()).count();
        self.files += 1;
        self.danger += count(Severity::Danger);
        self.warning += count(Severity::Warning);
        self.note += count(Severity::Note);
        self.error += usize::from(row.error.is_some());
        self.refused += usize::from(row.refused);
    }
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let policy = policy(arguments.policy.as_deref())?;
    if arguments.rules {
        return list_rules(&policy, arguments.json);
    }
    let files = files::collect(&arguments.path, None)?;
    let progress = match io::stderr().is_terminal() {
        true => ProgressBar::new(files.len() as u64),
        false => ProgressBar::hidden(),
    };
    let (mut rows, mut summary) = (Vec::new(), Summary::default());
    let mut output = output();
    for file in &files {
        progress.inc(1);
        let row = look(file, &policy);
        summary.add(&row);
        match arguments.json {
            true => rows.push(row),
            false => print(&mut output, &row)?,
        }
    }
    progress.finish_and_clear();
    match arguments.json {
        true => json::print(&Document { files: &rows, summary: &summary })?,
        false => writeln!(output, "{summary}")?,
    }
    output.flush()?;
    Ok(if summary.refused > 0 { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

fn look(file: &Path, policy: &Policy) -> FileRow {
    let path = Word(file.as_os_str().as_bytes()).to_string();
    let findings = locate::read(file)
        .and_then(|planned| audit::findings(&planned.plan, &planned.bytes).map_err(|kind| planned.blame(kind)));
    match findings {
        Ok(findings) => {
            let row = |Finding { rule, detail }: Finding| Row {
                severity: rule.severity().as_str(),
                rule: rule.as_str(),
                refused: policy.refuses(rule),
                detail: if detail.is_empty() { rule.what().to_owned() } else { detail },
            };
            let findings: Vec<Row> = findings.into_iter().map(row).collect();
            FileRow { path, refused: findings.iter().any(|row| row.refused), findings, error: None }
        }
        Err(failure) => FileRow { path, refused: true, findings: Vec::new(), error: Some(failure.to_string()) },
    }
}

fn print(output: &mut impl Write, file: &FileRow) -> Result<(), Failure> {
    let verdict = |refused| if refused { "refused" } else { "allowed" };
    for Row { severity, rule, refused, detail } in &file.findings {
        writeln!(output, "{}\t{severity}\t{rule}\t{}\t{detail}", file.path, verdict(*refused))?;
    }
    if let Some(error) = &file.error {
        writeln!(output, "{}\terror\tplan\trefused\t{}", file.path, Word(error.as_bytes()))?;
    }
    Ok(())
}

fn list_rules(policy: &Policy, as_json: bool) -> Done {
    let row = |rule: Rule| RuleRow {
        rule: rule.as_str(),
        severity: rule.severity().as_str(),
        verdict: if policy.refuses(rule) { Verdict::Refuse } else { Verdict::Allow },
        what: rule.what(),
    };
    let rows: Vec<RuleRow> = Rule::ALL.into_iter().map(row).collect();
    if as_json {
        json::print(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut output = output();
    for RuleRow { rule, severity, verdict, what } in &rows {
        let verdict = if *verdict == Verdict::Refuse { "refuse" } else { "allow" };
        writeln!(output, "{rule:<20}  {severity:<7}  {verdict:<6}  {what}")?;
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
