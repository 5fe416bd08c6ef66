//! `static`: the list of plugins that a program links in.

use crate::failure::{Done, Failure, diagnose, output};
use crate::json;
use clap::Args;
use serde::Serialize;
use sideload_static::Plugins;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes the list of plugins that a program links in, from a folder of their crates
///
/// The Rust source goes to standard output or into a file; `include!` it, give PLUGINS to `Loader::linked`, and open each
/// by its name with `Loader::open_linked`. A build script does the same with `sideload_static::Plugins`. Exit status 1 if a
/// crate exports something that its own list lacks.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Has a crate in each subfolder, or is a crate
    folder: PathBuf,
    /// Writes the source to a file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints the lines for [dependencies] of the program in this folder, instead of the source
    #[arg(long, value_name = "FOLDER", conflicts_with = "output")]
    dependencies_of: Option<PathBuf>,
    /// Prints one JSON document, instead of the source
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  sideload static plugins --output src/plugins.rs
  sideload static plugins --dependencies-of . >> Cargo.toml";

#[derive(Serialize)]
struct Document {
    plugins: Vec<Row>,
    others: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    library: String,
    list: String,
    folder: PathBuf,
    items: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let found = Plugins::find(&arguments.folder)?;
    for folder in &found.others {
        diagnose(&format_args!("{}: exports nothing, left out", folder.display()));
    }
    if let Some(path) = &arguments.output {
        fs::write(path, found.source()).map_err(|error| Failure::file(path, error))?;
    }
    if arguments.json {
        let row = |plugin: sideload_static::Plugin| Row {
            name: plugin.name,
            library: plugin.library,
            list: plugin.list,
            folder: plugin.folder,
            items: plugin.items,
        };
        json::print(&Document { plugins: found.plugins.into_iter().map(row).collect(), others: found.others })?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match (&arguments.dependencies_of, &arguments.output) {
        (Some(folder), _) => found.dependencies(folder_of(folder)),
        (None, Some(_)) => String::new(),
        (None, None) => found.source(),
    };
    let mut output = output();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A manifest stands for its folder.
fn folder_of(path: &Path) -> &Path {
    if path.ends_with("Cargo.toml") {
        path.parent().filter(|path| *path != Path::new("")).unwrap_or(Path::new("."))
    } else {
        path
    }
}
