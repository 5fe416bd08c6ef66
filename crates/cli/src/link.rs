//! `link`: the whole group that opening a library would load, with nothing mapped.

use crate::failure::{Done, Failure, output};
use crate::json::{self, optional, text};
use crate::locate;
use clap::Args;
use serde::Serialize;
use sideload::link::{LinkedModule, Supplier};
use sideload::plan::Symbols;
use sideload::render::{self, ImportRow, Word};
use sideload::symbol::{Definition, ModuleId, Provider};
use sideload::{ErrorKind, Link, Loader, Stage};
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;

/// Shows what opening a library would load: the images, where each was found and what was tried, and in which order
/// they are initialised. Nothing is mapped.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// A path, or a name that is searched as a loader would
    lib: OsString,
    /// Shows each import too, and what it is bound to
    #[arg(long)]
    bindings: bool,
    /// Lets functions be missing: `load` and `call` have the same option
    #[arg(long)]
    stubs: bool,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Lines, in load order (the opened library, then what it needs, breadth-first):
  load PATH (HOW IT WAS FOUND)
  tried PATH (WHY IT WAS TRIED): WHY IT WAS PASSED OVER
  need NAME new|loaded|host PATH                who provides it
  need NAME absent                              it is missing, and may be
then, in the order in which lookups visit them and in which initialisers run:
  scope new|loaded|host PATH
  init PATH
and with --bindings, by module:
  bind PATH SYMBOL[@VERSION] CLASS new|loaded|host PATH VMADDR KIND
  bind PATH SYMBOL[@VERSION] CLASS supplied|stub|null|kept

`host` is an image of this very process, `supplied` a function of sideload itself, `null` a weak
symbol that nobody defines, `stub` a function that nobody defines (with --stubs), `kept` a weak
definition of a Mach-O file that stays as another of its lists has it.

Exit status: 1 if something is not found or not defined; all undefined symbols are listed at once.

Examples:
  sideload link librsvg-2.so.2
  sideload link libz.so.1 --bindings --json";

pub(crate) fn run(arguments: &Arguments) -> Done {
    let loader = Loader::new().search(locate::options()).stub_missing(arguments.stubs);
    let link = loader.link(locate::source(&arguments.lib)?)?;
    let tables = if arguments.bindings { Some(tables(&link)?) } else { None };
    let bindings = tables.as_deref().map(|tables| bindings(&link, tables)).transpose()?;
    if arguments.json {
        json::print(&document(&link, bindings.as_deref()))?;
    } else {
        print(&link, bindings.as_deref().unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An image of the group, and where it comes from.
#[derive(Serialize)]
struct Image<'l> {
    origin: &'static str,
    path: &'l str,
}

impl Display for Image<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.origin, Word(self.path.as_bytes()))
    }
}

fn image(link: &Link, provider: Provider) -> Image<'_> {
    let origin = match provider {
        Provider::New(_) => "new",
        Provider::Loaded(_) => "loaded",
        Provider::Host(_) => "host",
    };
    Image { origin, path: link.name_of(provider) }
}

/// The needs of a module, each with its provider unless it is absent, and may be.
fn needs<'l>(link: &'l Link, module: &'l LinkedModule) -> impl Iterator<Item = (&'l [u8], Option<Image<'l>>)> {
    let provided = module.plan.needs.iter().zip(&module.needs).enumerate();
    provided.map(move |(index, (need, &provider))| {
        let present = !module.absent.contains(&index);
        (&*need.name, present.then(|| image(link, provider)))
    })
}

/// What the word for a symbol is that no image defines.
fn supplied(link: &Link, index: u32) -> DefinitionJson<'_> {
    match link.plan().supplied.get(index as usize).map(|row| &row.by) {
        Some(Supplier::Stub { .. }) => DefinitionJson::Stub,
        _ => DefinitionJson::Supplied,
    }
}

fn print(link: &Link, bindings: &[Binding<'_>]) -> Result<(), Failure> {
    let mut output = output();
    let plan = link.plan();
    for module in &plan.modules {
        writeln!(output, "load {} ({})", Word(module.name.as_bytes()), module.source)?;
        for tried in &module.tried {
            writeln!(output, "tried {tried}")?;
        }
        for (need, provider) in needs(link, module) {
            match provider {
                Some(image) => writeln!(output, "need {} {image}", Word(need))?,
                None => writeln!(output, "need {} absent", Word(need))?,
            }
        }
    }
    for &provider in &plan.scope {
        writeln!(output, "scope {}", image(link, provider))?;
    }
    for &id in &plan.init_order {
        writeln!(output, "init {}", Word(plan.module(id).name.as_bytes()))?;
    }
    for Binding { module, row, definition } in bindings {
        write!(output, "bind {} {} {} ", Word(module.as_bytes()), row.symbol, row.class_name())?;
        match *definition {
            Definition::At { provider, vm, kind } => {
                writeln!(output, "{} {vm} {}", image(link, provider), kind.as_str())?;
            }
            Definition::Supplied(index) => match supplied(link, index) {
                DefinitionJson::Stub => writeln!(output, "stub")?,
                _ => writeln!(output, "supplied")?,
            },
            Definition::WeakNull | Definition::Unused => writeln!(output, "null")?,
            Definition::Kept => writeln!(output, "kept")?,
        }
    }
    Ok(output.flush()?)
}

/// One import of one module, and what it is bound to.
struct Binding<'l> {
    module: &'l str,
    row: ImportRow<'l>,
    definition: Definition,
}

/// The symbol table of each module.
fn tables(link: &Link) -> Result<Vec<Symbols<'_>>, Failure> {
    let modules = link.plan().modules.iter().zip(link.files());
    let table = |(module, bytes): (&LinkedModule, _)| {
        module.plan.symbols(bytes).map_err(|kind| kind.at(&module.name, Stage::Link))
    };
    Ok(modules.map(table).collect::<Result<_, _>>()?)
}

/// All bindings, by module, each module's sorted by symbol and class.
fn bindings<'l>(link: &'l Link, tables: &'l [Symbols<'l>]) -> Result<Vec<Binding<'l>>, Failure> {
    let plan = link.plan();
    let mut all = Vec::new();
    for ((module, symbols), bound) in plan.modules.iter().zip(tables).zip(&plan.bindings) {
        let blame = |kind: ErrorKind| kind.at(&module.name, Stage::Link);
        let start = all.len();
        for (id, definition) in bound.iter() {
            let row = render::import(&module.plan, symbols, id).map_err(blame)?;
            all.push(Binding { module: &module.name, row, definition });
        }
        all[start..].sort_by_key(|binding: &Binding<'_>| {
            let symbol = binding.row.symbol;
            (symbol.name, symbol.version, binding.row.class)
        });
    }
    Ok(all)
}

#[derive(Serialize)]
struct Document<'l> {
    root: Image<'l>,
    modules: Vec<Module<'l>>,
    scope: Vec<Image<'l>>,
    init_order: Vec<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bindings: Option<Vec<BindingJson<'l>>>,
}

/// In load order.
#[derive(Serialize)]
struct Module<'l> {
    path: &'l str,
    found_by: String,
    tried: Vec<Tried>,
    needs: Vec<Need<'l>>,
    needed_by: Option<&'l str>,
}

#[derive(Serialize)]
struct Tried {
    path: String,
    source: String,
    outcome: String,
}

#[derive(Serialize)]
struct Need<'l> {
    name: String,
    /// `None` if it is absent, and may be.
    #[serde(flatten)]
    provider: Option<Image<'l>>,
}

#[derive(Serialize)]
struct BindingJson<'l> {
    module: &'l str,
    symbol: String,
    version: Option<String>,
    class: &'static str,
    definition: DefinitionJson<'l>,
}

#[derive(Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
enum DefinitionJson<'l> {
    At {
        #[serde(flatten)]
        provider: Image<'l>,
        vm: u64,
        kind: &'static str,
    },
    Supplied,
    Stub,
    Null,
    Kept,
}

fn document<'l>(link: &'l Link, bindings: Option<&[Binding<'l>]>) -> Document<'l> {
    let plan = link.plan();
    Document {
        root: image(link, plan.root),
        modules: plan.numbered().map(|(id, _)| module(link, id)).collect(),
        scope: plan.scope.iter().map(|&provider| image(link, provider)).collect(),
        init_order: plan.init_order.iter().map(|&id| plan.module(id).name.as_str()).collect(),
        bindings: bindings.map(|rows| rows.iter().map(|row| binding(link, row)).collect()),
    }
}

fn module(link: &Link, id: ModuleId) -> Module<'_> {
    let module = link.plan().module(id);
    let tried = module.tried.iter().map(|tried| Tried {
        path: tried.path.to_string_lossy().into_owned(),
        source: tried.source.to_string(),
        outcome: tried.outcome.to_string(),
    });
    let needs = needs(link, module).map(|(need, provider)| Need { name: text(need), provider });
    Module {
        path: &module.name,
        found_by: module.source.to_string(),
        tried: tried.collect(),
        needs: needs.collect(),
        needed_by: module.parent.map(|id| link.plan().module(id).name.as_str()),
    }
}

fn binding<'l>(link: &'l Link, binding: &Binding<'l>) -> BindingJson<'l> {
    let Binding { module, row, definition } = binding;
    BindingJson {
        module,
        symbol: text(row.symbol.name),
        version: optional(row.symbol.version),
        class: row.class_name(),
        definition: match *definition {
            Definition::At { provider, vm, kind } => {
                DefinitionJson::At { provider: image(link, provider), vm: vm.0, kind: kind.as_str() }
            }
            Definition::Supplied(index) => supplied(link, index),
            Definition::WeakNull | Definition::Unused => DefinitionJson::Null,
            Definition::Kept => DefinitionJson::Kept,
        },
    }
}
