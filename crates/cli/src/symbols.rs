//! `symbols`: what an image offers to others, or leaves to them.

use crate::failure::{Done, Failure, output};
use crate::json::{self, optional, text};
use crate::locate::{self, Planned};
use clap::Args;
use serde::Serialize;
use sideload::render::{self, Lines, UndefinedRow};
use sideload::symbol::SymbolKind;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;

/// Lists the dynamic symbols of a library: name, version, kind, size and binding.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// A path, or a name that is searched as a loader would
    lib: OsString,
    /// Lists what the library needs from others, instead of what it offers
    #[arg(long)]
    undefined: bool,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Lines, sorted bytewise:
  NAME[@VERSION|@@VERSION] KIND SIZE BINDING     @@: the version that a lookup without one finds
  NAME[@VERSION] KIND BINDING [from=FILE]        with --undefined

KIND is func, object, tls, ifunc or abs, and with --undefined also none; BINDING is global, weak or unique.

Examples:
  sideload symbols libz.so.1
  sideload symbols ./plugin.so --undefined
  sideload symbols libcrypto.so.3 --json";

pub(crate) fn run(arguments: &Arguments) -> Done {
    let planned = locate::find(&arguments.lib)?;
    let symbols = if arguments.undefined { undefined(&planned)? } else { exported(&planned)? };
    if arguments.json {
        json::print(&Document { file: planned.path.to_string_lossy().into_owned(), symbols })?;
    } else {
        let mut output = output();
        for line in symbols.iter().collect::<Lines>().iter() {
            writeln!(output, "{line}")?;
        }
        output.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Document {
    file: String,
    symbols: Vec<Symbol>,
}

/// One symbol; what only exports or only undefined symbols have is left out of the others.
#[derive(Serialize)]
struct Symbol {
    name: String,
    version: Option<String>,
    kind: &'static str,
    binding: &'static str,
    #[serde(flatten)]
    side: Side,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Side {
    Exported { default_version: bool, vm: u64, size: u64 },
    Undefined { from: Option<String> },
}

impl Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if matches!(self.side, Side::Exported { default_version: true, .. }) { "@@" } else { "@" };
        f.write_str(&self.name)?;
        if let Some(version) = &self.version {
            write!(f, "{at}{version}")?;
        }
        match &self.side {
            Side::Exported { size, .. } => write!(f, " {} {size} {}", self.kind, self.binding),
            Side::Undefined { from: None } => write!(f, " {} {}", self.kind, self.binding),
            Side::Undefined { from: Some(from) } => write!(f, " {} {} from={from}", self.kind, self.binding),
        }
    }
}

fn exported(planned: &Planned) -> Result<Vec<Symbol>, Failure> {
    let table = planned.plan.symbols(&planned.bytes).map_err(|kind| planned.blame(kind))?;
    let mut symbols = Vec::new();
    let listed = table.exports(|export| {
        symbols.push(Symbol {
            name: text(export.name),
            version: optional(export.version),
            kind: export.kind.as_str(),
            binding: export.binding.as_str(),
            side: Side::Exported { default_version: export.default_version, vm: export.vm.0, size: export.size },
        });
    });
    listed.map_err(|kind| planned.blame(kind))?;
    Ok(symbols)
}

fn undefined(planned: &Planned) -> Result<Vec<Symbol>, Failure> {
    let mut symbols = Vec::new();
    let each = |row: UndefinedRow<'_>| {
        symbols.push(Symbol {
            name: text(row.symbol.name),
            version: optional(row.symbol.version),
            kind: row.kind.map_or("none", SymbolKind::as_str),
            binding: row.binding.as_str(),
            side: Side::Undefined { from: optional(row.from) },
        });
    };
    render::undefined(&planned.plan, &planned.bytes, each).map_err(|kind| planned.blame(kind))?;
    Ok(symbols)
}
