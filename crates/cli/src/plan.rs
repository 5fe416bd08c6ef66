//! `plan`: what loading one image will do, with nothing mapped.

use crate::failure::{Done, Failure, output};
use crate::json::{self, Range, optional, text};
use crate::locate::{self, Planned};
use clap::Args;
use serde::Serialize;
use sideload::ErrorKind;
use sideload::plan::{Entries, EntryArray, Leads, LoadPlan, PointerAuth, Region};
use sideload::render::{self, FixupRow, Hex, ImportRow, Lines, ProtWord, Summary};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows the plan of one image: regions, needs, seals, thread-locals, initialisers. Nothing is mapped.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The image's path
    file: PathBuf,
    /// Which image of a universal file: x86_64, x86_64h, arm64 or arm64e [default: this machine's, or else the first]
    #[arg(long, value_name = "A", value_parser = ARCHITECTURES, hide_possible_values = true)]
    arch: Option<String>,
    /// Prints every fixup
    #[arg(long)]
    fixups: bool,
    /// Prints every import, once per class
    #[arg(long)]
    imports: bool,
    /// Prints every export
    #[arg(long)]
    exports: bool,
    /// Prints one JSON document: the plan, and whatever rows are asked for
    #[arg(long)]
    json: bool,
}

/// Those of universal files, and the name that ELF has for arm64.
const ARCHITECTURES: [&str; 5] = ["x86_64", "x86_64h", "arm64", "arm64e", "aarch64"];

const HELP: &str = "\
Lines, sorted bytewise, addresses in hex as the file says them:
  rebase VMADDR TARGET                       RELATIVE and RELR
  bind VMADDR TYPE SYMBOL[@VERSION] ADDEND   every other relocation, - for the image itself
  resolver VMADDR TARGET                     IRELATIVE
  import SYMBOL[@VERSION] CLASS [weak] [own] [from=FILE]
                                             CLASS data, plt, tls or size; own: defined here too
  export NAME[@VERSION|@@VERSION] VMADDR KIND
                                             KIND func, object, tls, ifunc or abs
and of Mach-O files:
  rebase VMADDR TARGET [auth=KEY,DIVERSITY,ADDRDIV]
  bind VMADDR SYMBOL ORDINAL ADDEND WEAK KIND [auth=...]
                                             KIND bind, lazy, weak or chained; ORDINAL - in the weak list
  export NAME VMADDR FLAGS [reexport=ORDINAL:NAME] [resolver=VMADDR] [abs]

Examples:
  sideload plan /usr/lib/x86_64-linux-gnu/libz.so.1
  sideload plan /usr/lib/x86_64-linux-gnu/libz.so.1 --fixups | grep JUMP_SLOT
  sideload plan ./plugin.so --imports --exports --json";

pub(crate) fn run(arguments: &Arguments) -> Done {
    let planned = match arguments.arch.as_deref() {
        None => locate::file(arguments.file.as_os_str())?,
        arch => locate::read_for(arguments.file.as_ref(), arch)?,
    };
    if arguments.json {
        json::print(&document(arguments, &planned)?)?;
    } else {
        print(arguments, &planned)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(arguments: &Arguments, planned: &Planned) -> Result<(), Failure> {
    type List = fn(&LoadPlan, &[u8]) -> Result<Lines, ErrorKind>;
    let lists: [(bool, List); 3] =
        [(arguments.fixups, Lines::fixups), (arguments.imports, Lines::imports), (arguments.exports, Lines::exports)];
    let mut output = output();
    for (_, list) in lists.iter().filter(|(wanted, _)| *wanted) {
        let lines = list(&planned.plan, &planned.bytes).map_err(|kind| planned.blame(kind))?;
        for line in lines.iter() {
            output.write_all(line.as_bytes())?;
            output.write_all(b"\n")?;
        }
    }
    if lists.iter().all(|(wanted, _)| !wanted) {
        write!(output, "{}", Summary(&planned.plan))?;
    }
    Ok(output.flush()?)
}

#[derive(Serialize)]
struct Document {
    file: String,
    machine: &'static str,
    soname: Option<String>,
    build_id: Option<String>,
    span: Range,
    align: u64,
    regions: Vec<RegionJson>,
    seals: Vec<Range>,
    tls: Option<TlsJson>,
    unwind: Option<Range>,
    needs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    run_paths: Vec<String>,
    rpath: Option<String>,
    runpath: Option<String>,
    init: EntriesJson,
    fini: EntriesJson,
    flags: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixups: Option<Vec<FixupJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    imports: Option<Vec<ImportJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exports: Option<Vec<ExportJson>>,
}

#[derive(Serialize)]
struct RegionJson {
    vm: u64,
    size: u64,
    file: u64,
    file_size: u64,
    prot: String,
}

#[derive(Serialize)]
struct TlsJson {
    image: Range,
    size: u64,
    align: u64,
}

#[derive(Serialize)]
struct EntriesJson {
    function: Option<u64>,
    arrays: Vec<ArrayJson>,
}

#[derive(Serialize)]
struct ArrayJson {
    #[serde(flatten)]
    range: Range,
    element: u64,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum FixupJson {
    Rebase {
        vm: u64,
        target: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        auth: Option<AuthJson>,
    },
    #[serde(rename = "bind")]
    BindLevel {
        vm: u64,
        symbol: String,
        ordinal: i32,
        addend: i64,
        weak: bool,
        list: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        auth: Option<AuthJson>,
    },
    Bind {
        vm: u64,
        #[serde(rename = "type")]
        relocation: &'static str,
        symbol: Option<String>,
        version: Option<String>,
        addend: i64,
    },
    Resolver {
        vm: u64,
        target: u64,
    },
}

#[derive(Serialize)]
struct AuthJson {
    key: String,
    diversity: u16,
    address: bool,
}

impl From<PointerAuth> for AuthJson {
    fn from(auth: PointerAuth) -> AuthJson {
        AuthJson { key: format!("{:?}", auth.key), diversity: auth.diversity, address: auth.address }
    }
}

#[derive(Serialize)]
struct ImportJson {
    symbol: String,
    version: Option<String>,
    class: &'static str,
    weak: bool,
    own: bool,
    from: Option<String>,
}

#[derive(Serialize)]
struct ExportJson {
    name: String,
    version: Option<String>,
    default_version: bool,
    vm: u64,
    size: u64,
    kind: &'static str,
    binding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolver: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reexport: Option<ReexportJson>,
}

#[derive(Serialize)]
struct ReexportJson {
    need: u64,
    name: String,
}

fn document(arguments: &Arguments, planned: &Planned) -> Result<Document, Failure> {
    let Planned { path, bytes, plan } = planned;
    let mut document = Document {
        file: path.to_string_lossy().into_owned(),
        machine: plan.machine.as_str(),
        soname: optional(plan.soname.as_deref()),
        build_id: plan.build_id.as_deref().map(|id| Hex(id).to_string()),
        span: plan.span.into(),
        align: plan.align,
        regions: plan.regions.iter().map(region).collect(),
        seals: plan.seals.iter().map(|&seal| seal.into()).collect(),
        tls: plan.tls.map(|tls| TlsJson { image: tls.image.into(), size: tls.size, align: tls.align }),
        unwind: plan.unwind.map(Range::from),
        needs: plan.needs.iter().map(|need| text(&need.name)).collect(),
        run_paths: plan.search.run_paths.iter().map(|path| text(path)).collect(),
        rpath: optional(plan.search.rpath.as_deref()),
        runpath: optional(plan.search.runpath.as_deref()),
        init: entries(&plan.init),
        fini: entries(&plan.fini),
        flags: render::flag_names(plan.flags).collect(),
        fixups: arguments.fixups.then(Vec::new),
        imports: arguments.imports.then(Vec::new),
        exports: arguments.exports.then(|| export_rows(planned)).transpose()?,
    };
    let blame = |kind| planned.blame(kind);
    if let Some(fixups) = &mut document.fixups {
        render::fixups(plan, bytes, |row| fixups.push(fixup(&row))).map_err(blame)?;
    }
    if let Some(imports) = &mut document.imports {
        render::imports(plan, bytes, |row| imports.push(import(&row))).map_err(blame)?;
    }
    Ok(document)
}

fn region(region: &Region) -> RegionJson {
    RegionJson {
        vm: region.vm.start.0,
        size: region.vm.size,
        file: region.file.start.0,
        file_size: region.file.size,
        prot: ProtWord(region.prot).to_string(),
    }
}

fn entries(entries: &Entries) -> EntriesJson {
    let array = |array: &EntryArray| ArrayJson { range: array.range.into(), element: array.form.size() };
    EntriesJson { function: entries.function.map(|at| at.0), arrays: entries.arrays.iter().map(array).collect() }
}

fn fixup(row: &FixupRow<'_>) -> FixupJson {
    match *row {
        FixupRow::Rebase { place, target, auth } => {
            FixupJson::Rebase { vm: place.0, target: target.0, auth: auth.map(AuthJson::from) }
        }
        FixupRow::BindLevel { place, import, addend, auth } => FixupJson::BindLevel {
            vm: place.0,
            symbol: text(import.name),
            ordinal: import.ordinal,
            addend,
            weak: import.weak(),
            list: import.stream.as_str(),
            auth: auth.map(AuthJson::from),
        },
        FixupRow::Resolver { place, target } => FixupJson::Resolver { vm: place.0, target: target.0 },
        FixupRow::Bind { place, relocation, symbol, addend } => FixupJson::Bind {
            vm: place.0,
            relocation,
            symbol: symbol.map(|symbol| text(symbol.name)),
            version: optional(symbol.and_then(|symbol| symbol.version)),
            addend,
        },
    }
}

fn import(row: &ImportRow<'_>) -> ImportJson {
    ImportJson {
        symbol: text(row.symbol.name),
        version: optional(row.symbol.version),
        class: row.class_name(),
        weak: row.weak,
        own: row.own,
        from: optional(row.from),
    }
}

fn export_rows(planned: &Planned) -> Result<Vec<ExportJson>, Failure> {
    let symbols = planned.plan.symbols(&planned.bytes).map_err(|kind| planned.blame(kind))?;
    let mut rows = Vec::new();
    let listed = symbols.exports(|export| {
        let (resolver, reexport) = match export.leads {
            Leads::Here => (None, None),
            Leads::Resolver(at) => (Some(at.0), None),
            Leads::Elsewhere { need, name } => (None, Some(ReexportJson { need, name: text(name) })),
        };
        rows.push(ExportJson {
            name: text(export.name),
            version: optional(export.version),
            default_version: export.default_version,
            vm: export.vm.0,
            size: export.size,
            kind: export.kind.as_str(),
            binding: export.binding.as_str(),
            flags: export.flags,
            resolver,
            reexport,
        });
    });
    listed.map_err(|kind| planned.blame(kind))?;
    Ok(rows)
}
