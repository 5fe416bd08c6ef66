//! The library does without libdl: no `dl*` name is defined or wanted in its own object code, and
//! no program of ours exports one.
//!
//! Defining one is worse than calling one: a program that exports `dl_iterate_phdr` or
//! `_dl_find_object` takes them over for the whole process, unwinder and `thread_local!`
//! destructors included. The standard library's own use of `dl_iterate_phdr` is in other rlibs.
#![cfg(target_os = "linux")]

mod support;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use support::LIBDL;

#[test]
fn library_neither_defines_nor_wants_a_name_of_libdl() {
    let rlib = built("libsideload.rlib");
    let symbols = symbols("--syms", rlib);
    let own = symbols.members.iter().filter(|name| name.starts_with("sideload-") && name.ends_with(".o"));
    assert!(own.count() > 0, "no object of ours in {}: {:?}", rlib.display(), symbols.members);
    assert!(!symbols.all.is_empty(), "no symbol in {}", rlib.display());
    assert_eq!(symbols.of_libdl(|_| true), [""; 0], "in {}", rlib.display());
}

#[test]
fn command_line_exports_no_name_of_libdl() {
    let binary = built("sideload");
    let symbols = symbols("--dyn-syms", binary);
    assert!(!symbols.all.is_empty(), "no dynamic symbol in {}", binary.display());
    assert_eq!(symbols.of_libdl(|symbol| symbol.is_defined), [""; 0], "exported by {}", binary.display());
}

/// The control: std wants `dl_iterate_phdr` for its backtraces, and this test must see that.
#[test]
fn the_check_sees_what_std_wants() {
    let folder = output(Command::new("rustc").args(["--print", "target-libdir"]));
    let folder = Path::new(folder.trim());
    let entries = folder.read_dir().unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_std = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    };
    let std = paths.find(is_std).unwrap_or_else(|| panic!("no libstd rlib in {}", folder.display()));
    let wanted = symbols("--syms", &std).of_libdl(|symbol| !symbol.is_defined);
    assert!(wanted.contains(&"dl_iterate_phdr".to_owned()), "{wanted:?}");
}

struct Symbols {
    members: Vec<String>,
    all: Vec<Symbol>,
}

struct Symbol {
    name: String,
    is_defined: bool,
}

impl Symbols {
    fn of_libdl(&self, wanted: impl Fn(&Symbol) -> bool) -> Vec<String> {
        let named = self.all.iter().filter(|symbol| LIBDL.contains(&symbol.name.as_str()));
        let mut found: Vec<_> = named.filter(|symbol| wanted(symbol)).map(|symbol| symbol.name.clone()).collect();
        found.sort();
        found.dedup();
        found
    }
}

/// Reads the table that `readelf` prints for a file or for each member of an archive.
///
/// Not `nm`: where LLVM's plugin for binutils is installed, `nm` shows it every object that embeds
/// bitcode, and of one from a newer LLVM it then prints no symbols at all.
fn symbols(table: &str, file: &Path) -> Symbols {
    let text = output(Command::new("readelf").args(["--wide", table]).arg(file));
    let mut symbols = Symbols { members: Vec::new(), all: Vec::new() };
    for line in text.lines() {
        if let Some(archive) = line.strip_prefix("File: ") {
            let member = archive.rsplit_once('(').map_or(archive, |(_, member)| member.trim_end_matches(')'));
            symbols.members.push(member.to_owned());
        }
        symbols.all.extend(symbol(line));
    }
    symbols
}

/// A row of the table: `Num: Value Size Type Bind Vis Ndx Name[@version]`.
fn symbol(line: &str) -> Option<Symbol> {
    let mut columns = line.split_whitespace();
    columns.next()?.strip_suffix(':')?.parse::<u32>().ok()?;
    let (index, name) = (columns.nth(5)?, columns.next()?);
    let name = name.split('@').next().unwrap_or(name).to_owned();
    Some(Symbol { name, is_defined: index != "UND" })
}

/// The one file of that name that the build reported.
fn built(name: &str) -> &'static Path {
    static FILES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let files = FILES.get_or_init(build);
    let mut found = files.iter().filter(|path| path.file_name().is_some_and(|file| file == name));
    match (found.next(), found.next()) {
        (Some(path), None) => path,
        _ => panic!("{name} is not built, or not unique: {files:?}"),
    }
}

/// Builds as a user would, in a folder of its own: there the crate is not compiled for testing, and
/// no rlib of an earlier build is mistaken for this one.
fn build() -> Vec<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let messages = output(
        Command::new(cargo)
            .args(["build", "--package", "sideload", "--package", "sideload-cli"])
            .args(["--message-format", "json", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .arg("--target-dir")
            .arg(concat!(env!("CARGO_TARGET_TMPDIR"), "/no_libdl")),
    );
    let artifacts = messages.lines().filter(|line| line.contains(r#""reason":"compiler-artifact""#));
    artifacts.flat_map(filenames).collect()
}

/// The strings of `"filenames":["…","…"]`. Cargo escapes nothing in them but what no path here has.
fn filenames(artifact: &str) -> Vec<PathBuf> {
    let list = artifact.split_once(r#""filenames":["#).and_then(|(_, rest)| rest.split_once(']'));
    let paths = list.into_iter().flat_map(|(list, _)| list.split(','));
    paths.map(|path| PathBuf::from(path.trim_matches('"'))).collect()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
