//! What each import of each module is bound to.

mod levels;
mod scope;
mod supplied;

pub use supplied::{Supplied, Supplier};

use super::group::Group;
use super::{Definitions, Inventory, LinkedModule, Rules};
use crate::addr::VmAddr;
use crate::error::{Error, ErrorKind, MissingVersion, Stage, Undefined};
use crate::plan::{self, Found, LoadPlan, Query, ScopedSymbols, Symbols};
use crate::room;
use crate::symbol::{Class, Definition, HostId, ImportId, InstanceId, ModuleId, Provider, Resolve, SymbolKind};
use scope::Scope;
use std::collections::BTreeMap;

/// What the imports of one module are bound to, by symbol and class.
///
/// Most symbols of a table are not imported, so the rows stand in order of their first use, and each class has an index
/// of four bytes a symbol, a block at a time: what is not written to, the system need not provide.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    rows: Vec<Definition>,
    /// By class and symbol: the row's number, counted from 1, in blocks that exist once they are needed.
    index: [Vec<Block>; Class::COUNT],
    /// Other new or loaded images that a row names.
    providers: Vec<Provider>,
}

/// Row numbers of [`BLOCK`] neighbours, or nothing.
type Block = Vec<u32>;
const BLOCK: usize = 1 << 8;

impl PartialEq for Bindings {
    fn eq(&self, other: &Bindings) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Bindings {
    /// Room for so many rows.
    fn with_room(imports: usize) -> Result<Bindings, ErrorKind> {
        let mut rows = Vec::new();
        room::reserve_exact(&mut rows, imports)?;
        Ok(Bindings { rows, ..Bindings::default() })
    }

    /// Bindings that were decided elsewhere, for rehearsals and tests.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`].
    pub fn of(rows: impl IntoIterator<Item = (ImportId, Definition)>) -> Result<Bindings, ErrorKind> {
        let mut bindings = Bindings::default();
        for (import, definition) in rows {
            if !bindings.has(import) {
                bindings.add(import, definition).map_err(|kind| *kind)?;
            }
        }
        Ok(bindings)
    }

    /// What `import` is bound to; [`Definition::Unused`] if it was never resolved.
    #[inline]
    pub fn get(&self, import: ImportId) -> Definition {
        self.rows.get((self.number(import) as usize).wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// The number of its row, from 1; 0 if it has none.
    #[inline]
    fn number(&self, import: ImportId) -> u32 {
        let block = self.index[import.class as usize].get(import.symbol as usize / BLOCK);
        block.and_then(|block| block.get(import.symbol as usize % BLOCK)).copied().unwrap_or(0)
    }

    /// Whether it is bound.
    #[inline]
    fn has(&self, import: ImportId) -> bool {
        self.number(import) != 0
    }

    /// Binds an import that is not bound yet.
    #[inline(always)] // once an import, by one caller
    fn add(&mut self, import: ImportId, definition: Definition) -> Result<(), Box<ErrorKind>> {
        room::push(&mut self.rows, definition)?;
        let (index, symbol) = (&mut self.index[import.class as usize], import.symbol as usize);
        let row = index.get_mut(symbol / BLOCK).and_then(|block| block.get_mut(symbol % BLOCK));
        let row = match row {
            Some(row) => row,
            None => &mut add_block(index, symbol / BLOCK)?[symbol % BLOCK],
        };
        *row = self.rows.len() as u32;
        Ok(())
    }

    /// The other images, new or loaded earlier, that define any of the imports.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// All that are bound, by class and symbol.
    pub fn iter(&self) -> impl Iterator<Item = (ImportId, Definition)> + '_ {
        Class::ALL.into_iter().flat_map(move |class| {
            let symbols = 0..(self.index[class as usize].len() * BLOCK) as u32;
            let imports = symbols.map(move |symbol| ImportId { symbol, class });
            imports.filter(|&import| self.number(import) != 0).map(|import| (import, self.get(import)))
        })
    }
}

#[cold]
fn add_block(index: &mut Vec<Block>, at: usize) -> Result<&mut Block, ErrorKind> {
    if at >= index.len() {
        let more = at + 1 - index.len();
        room::reserve(index, more)?;
        index.resize_with(at + 1, Vec::new);
    }
    room::reserve_exact(&mut index[at], BLOCK)?;
    index[at].resize(BLOCK, 0);
    Ok(&mut index[at])
}

/// All bindings of a group.
pub(super) struct Bound {
    pub bindings: Vec<Bindings>,
    pub supplied: Vec<Supplied>,
    pub host: Vec<HostId>,
    pub loaded: Vec<InstanceId>,
}

/// Resolves every import of every module once per class.
pub(super) fn bind(
    group: &Group,
    inventory: &Inventory<'_>,
    resolve: Option<&dyn Resolve>,
    rules: Rules,
) -> Result<Bound, Error> {
    let tables: Vec<Symbols<'_>> = group
        .modules
        .iter()
        .zip(&group.files)
        .map(|(module, file)| module.plan.symbols(&file.bytes).map_err(|kind| kind.at(&module.name, Stage::Plan)))
        .collect::<Result<_, _>>()?;
    check_versions(group, inventory, &tables)?;
    let mut linker = Linker {
        scope: Scope::of(group, inventory, &tables, rules.deep),
        stubs: rules.stubs,
        inventory,
        resolve,
        supplied: Vec::new(),
        supplied_by_name: BTreeMap::new(),
        uniques: BTreeMap::new(),
        undefined: Vec::new(),
        text_left: MOST_TEXT,
        names_left: 0,
        astray_before: plan::astray(),
        used_host: vec![false; inventory.host.len()],
        used: Used { loaded: vec![false; inventory.loaded.len()], new: vec![false; group.modules.len()] },
        searched: Searched::default(),
    };
    let images = levels::Images { group, tables: &tables };
    let mut bindings = Vec::with_capacity(group.modules.len());
    for (index, module) in group.modules.iter().enumerate() {
        let id = ModuleId(index as u16);
        let bytes = &group.files[index].bytes;
        let bound = match &tables[index] {
            Symbols::Scoped(symbols) => linker.module(id, module, bytes, symbols),
            Symbols::TwoLevel(symbols) => linker.two_level_module(images, id, symbols),
        };
        bindings.push(bound.map_err(|kind| kind.at(&module.name, Stage::Link))?);
    }
    if !linker.undefined.is_empty() {
        let root = group.modules.first().map_or("", |module| &module.name);
        return Err(ErrorKind::Undefined(linker.undefined).at(root, Stage::Link));
    }
    let numbers = |used: &[bool]| (0u16..).zip(used).filter(|(_, used)| **used).map(|(at, _)| at).collect::<Vec<_>>();
    let used = bindings.iter().flat_map(Bindings::providers);
    let mut loaded: Vec<InstanceId> =
        used.filter_map(|provider| if let Provider::Loaded(id) = provider { Some(*id) } else { None }).collect();
    loaded.sort_unstable();
    loaded.dedup();
    Ok(Bound {
        bindings,
        supplied: linker.supplied,
        host: numbers(&linker.used_host).into_iter().map(HostId).collect(),
        loaded,
    })
}

/// Bytes of names in one error. Whoever is told of ten thousand undefined symbols does not miss the next.
const MOST_TEXT: usize = 1 << 20;

/// Steps along endless chains, or bytes of tries, that one group may cost: about a quarter of a second.
const MOST_ASTRAY: u64 = 1 << 28;

struct Linker<'t, 'i> {
    scope: Scope<'t>,
    inventory: &'t Inventory<'i>,
    resolve: Option<&'t dyn Resolve>,
    stubs: bool,
    supplied: Vec<Supplied>,
    // Trees, not hash maps: those ask the system for random numbers, which a sandbox may not allow.
    supplied_by_name: BTreeMap<Vec<u8>, u32>,
    /// `STB_GNU_UNIQUE` definitions that this group has settled on.
    uniques: BTreeMap<&'t [u8], (Provider, Found)>,
    undefined: Vec<Undefined>,
    /// Bytes that the texts of errors may still take.
    text_left: usize,
    /// Bytes that the names of the module's imports may still have.
    names_left: u64,
    /// What [`plan::astray`] said before the first import.
    astray_before: u64,
    used_host: Vec<bool>,
    used: Used,
    /// Names that were searched for before: libraries of one group mostly import the same ones from one another.
    searched: Searched<'t>,
}

/// The new and loaded images that the module at hand was bound to.
struct Used {
    loaded: Vec<bool>,
    new: Vec<bool>,
}

impl Used {
    #[inline]
    fn mark(&mut self, provider: Provider) {
        match provider {
            Provider::Loaded(id) => self.loaded[usize::from(id.0)] = true,
            Provider::New(id) => self.new[usize::from(id.0)] = true,
            Provider::Host(_) => {}
        }
    }

    /// All but the module itself; the next one starts with none.
    fn take(&mut self, own: ModuleId) -> Vec<Provider> {
        self.new[usize::from(own.0)] = false;
        let marked = |marks: &mut [bool]| {
            let marked = (0u16..).zip(marks).filter_map(|(at, mark)| std::mem::take(mark).then_some(at));
            marked.collect::<Vec<_>>()
        };
        let loaded = marked(&mut self.loaded).into_iter().map(|at| Provider::Loaded(InstanceId(at)));
        let new = marked(&mut self.new).into_iter().map(|at| Provider::New(ModuleId(at)));
        loaded.chain(new).collect()
    }
}

/// What the scope answered to some of the latest questions: a cache with one place a hash, so that it never grows. A
/// table of all names of a big group costs more page faults than searching again.
#[derive(Default)]
struct Searched<'t> {
    places: Vec<Option<(Question<'t>, Answer)>>,
}

/// Who defines it, if anybody.
type Answer = Option<(Provider, Found)>;

/// All that a search of the scope depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Question<'t> {
    hash: u32,
    class: Class,
    name: &'t [u8],
    version: Option<&'t [u8]>,
}

impl<'t> Searched<'t> {
    const PLACES: usize = 1 << 10;

    fn get_or(&mut self, question: Question<'t>, ask: impl FnOnce() -> Answer) -> Answer {
        if self.places.is_empty() {
            self.places.resize_with(Searched::PLACES, || None);
        }
        // The low bits choose the bucket in every image's own table; any others spread as well.
        let place = &mut self.places[(question.hash.wrapping_mul(0x9e37_79b1) >> 22) as usize % Searched::PLACES];
        match place {
            Some((known, answer)) if *known == question => *answer,
            _ => {
                let answer = ask();
                *place = Some((question, answer));
                answer
            }
        }
    }
}

impl<'t> Linker<'t, '_> {
    fn module(
        &mut self,
        id: ModuleId,
        module: &LinkedModule,
        bytes: &'t [u8],
        symbols: &ScopedSymbols<'t>,
    ) -> Result<Bindings, ErrorKind> {
        let mut bindings = Bindings::with_room(module.plan.import_bound())?;
        self.names_left = symbols.names_bound();
        // What the linker bound to the module itself needs no search at all.
        let before = if module.plan.flags.symbolic { 0 } else { self.scope.before(Provider::New(id)) };
        let context = Context { id, plan: &module.plan, name: &module.name, symbols, before };
        // A boxed error keeps the result of the common case in registers.
        let bound = module.plan.imports::<Box<ErrorKind>>(bytes, |import| {
            // Most rows name what another one has named.
            if bindings.has(import) { Ok(()) } else { self.first(&context, &mut bindings, import) }
        });
        bound.map_err(|kind| *kind)?;
        bindings.providers = self.used.take(id);
        Ok(bindings)
    }

    /// Binds an import that no row before named.
    #[inline(never)]
    fn first(
        &mut self,
        context: &Context<'_, 't>,
        bindings: &mut Bindings,
        import: ImportId,
    ) -> Result<(), Box<ErrorKind>> {
        let Context { id, symbols, before, .. } = *context;
        if import.symbol as usize >= symbols.rows() {
            return Err(outside(import).into());
        }
        if plan::astray() - self.astray_before > MOST_ASTRAY {
            return Err(endless_chains(import).into());
        }
        // Most imports of a big library are its own definitions. Their hashes stand in its hash table, and if no image
        // before it has such a hash, neither name nor version need be looked at.
        let definition = match symbols.plain(import.symbol) {
            Some((found, hint)) if self.resolve.is_none() && self.scope.exclude(before, hint) => {
                at(Provider::New(id), &found, import.class)
            }
            _ => self.import(context, import)?,
        };
        bindings.add(import, definition)
    }

    #[inline(never)]
    fn import(&mut self, context: &Context<'_, 't>, import: ImportId) -> Result<Definition, Box<ErrorKind>> {
        let row = context.symbols.import(import.symbol).ok_or_else(|| outside(import))?;
        let class = import.class;
        if let Some(found) = row.own().filter(|_| row.binds_locally()) {
            return Ok(at(Provider::New(context.id), &found, class));
        }
        let query = row.query(class)?;
        // A name is read once an import, and could be the whole string table in each.
        let left = self.names_left.checked_sub(query.name().len() as u64);
        self.names_left = left.ok_or_else(|| endless_names(import))?;
        let version = query.version();
        if let Some(address) = self.resolve.and_then(|table| table.resolve(query.name(), version)) {
            return Ok(self.supply(query.name(), Supplier::Caller(address)));
        }
        match self.search(context, &query) {
            Some((provider, found)) => Ok(self.found(&query, provider, &found, class)),
            None if self.inventory.replaced.contains(&query.name()) => Ok(self.supply(query.name(), Supplier::Library)),
            None if row.weak() => Ok(Definition::WeakNull),
            None if self.stubs && class == Class::Plt => {
                Ok(self.supply(query.name(), Supplier::Stub { module: context.name.to_owned() }))
            }
            None => {
                self.undefined(context.name, query.name(), version)?;
                Ok(Definition::Unused)
            }
        }
    }

    fn undefined(&mut self, module: &str, symbol: &[u8], version: Option<&[u8]>) -> Result<(), ErrorKind> {
        let size = size_of::<Undefined>() + module.len() + symbol.len() + version.map_or(0, <[u8]>::len);
        // The first one is told in any case.
        let Some(left) = self.text_left.checked_sub(size).or(self.undefined.is_empty().then_some(0)) else {
            return Ok(());
        };
        self.text_left = left;
        let version = version.map(room::copy).transpose()?;
        room::push(&mut self.undefined, Undefined { module: module.to_owned(), symbol: room::copy(symbol)?, version })
    }

    fn search(&mut self, context: &Context<'_, 't>, query: &Query<'t>) -> Option<(Provider, Found)> {
        if context.plan.flags.symbolic
            && let Some(found) = context.symbols.find(query)
        {
            return Some((Provider::New(context.id), found));
        }
        let ask = || self.scope.find(query);
        if self.scope.len() < scope::MANY {
            return ask();
        }
        let (hash, class, name, version) = (query.hash(), query.class(), query.name(), query.version());
        self.searched.get_or(Question { hash, class, name, version }, ask)
    }

    fn found(&mut self, query: &Query<'t>, provider: Provider, found: &Found, class: Class) -> Definition {
        let (name, inventory) = (query.name(), self.inventory);
        let is_counted = || found.kind == SymbolKind::Code && inventory.counts(name);
        if matches!(provider, Provider::Host(_)) && (inventory.replaced.contains(&name) || is_counted()) {
            return self.supply(name, Supplier::Library);
        }
        let (provider, found) = if found.unique { self.unique(query, provider, found) } else { (provider, *found) };
        match provider {
            Provider::Host(id) => self.used_host[usize::from(id.0)] = true,
            Provider::Loaded(_) | Provider::New(_) => self.used.mark(provider),
        }
        at(provider, &found, class)
    }

    /// All modules of a process share one definition of a unique symbol: the host's, or else that of the image that was
    /// loaded first, even if it lies in a scope of its own.
    fn unique(&mut self, query: &Query<'t>, provider: Provider, found: &Found) -> (Provider, Found) {
        if let Some(&settled) = self.uniques.get(query.name()) {
            return settled;
        }
        let host = (0u16..).zip(&self.inventory.host).map(|(at, image)| (Provider::Host(HostId(at)), image));
        let loaded = (0u16..).zip(&self.inventory.loaded).map(|(at, image)| (Provider::Loaded(InstanceId(at)), image));
        let first = host.chain(loaded).find_map(|(provider, image)| {
            let found = image.definitions.find(query).filter(|found| found.unique)?;
            Some((provider, found))
        });
        let settled = first.unwrap_or((provider, *found));
        self.uniques.insert(query.name(), settled);
        settled
    }

    fn supply(&mut self, name: &[u8], by: Supplier) -> Definition {
        if let Some(&index) = self.supplied_by_name.get(name)
            && self.supplied[index as usize].by == by
        {
            return Definition::Supplied(index);
        }
        let index = self.supplied.len() as u32;
        self.supplied.push(Supplied { name: name.to_vec(), by });
        self.supplied_by_name.insert(name.to_vec(), index);
        Definition::Supplied(index)
    }
}

/// The module whose imports are being resolved.
struct Context<'c, 't> {
    id: ModuleId,
    plan: &'c LoadPlan,
    name: &'c str,
    symbols: &'c ScopedSymbols<'t>,
    /// How many images of the scope are asked before it.
    before: usize,
}

#[cold]
fn endless_names(import: ImportId) -> ErrorKind {
    let place = crate::error::Place::Entry(u64::from(import.symbol));
    ErrorKind::malformed("DT_STRTAB: names without an end, over and over", place)
}

#[cold]
fn endless_chains(import: ImportId) -> ErrorKind {
    let place = crate::error::Place::Entry(u64::from(import.symbol));
    ErrorKind::malformed("symbol hash table: chains without an end, over and over", place)
}

#[cold]
fn outside(import: ImportId) -> ErrorKind {
    let place = crate::error::Place::Entry(u64::from(import.symbol));
    ErrorKind::malformed("relocation: symbol index outside the symbol table", place)
}

fn at(provider: Provider, found: &Found, class: Class) -> Definition {
    match class {
        Class::Size => Definition::At { provider, kind: SymbolKind::Absolute, vm: VmAddr(found.size) },
        _ => Definition::At { provider, kind: found.kind, vm: found.vm },
    }
}

/// Missing versions that are listed.
const MOST_MISSING: usize = 1000;

/// Every version that a module needs must be defined by the image that provides the file, unless that defines none.
fn check_versions(group: &Group, inventory: &Inventory<'_>, tables: &[Symbols<'_>]) -> Result<(), Error> {
    let mut missing = Vec::new();
    for (index, module) in group.modules.iter().enumerate() {
        let Symbols::Scoped(table) = &tables[index] else { continue };
        for needed in table.versions().needed() {
            let file = needed.version.file.unwrap_or_default();
            let provider = module.plan.needs.iter().zip(&module.needs).find(|(need, provider)| {
                need.name == file || base_name(&need.name) == file || soname(group, inventory, **provider) == Some(file)
            });
            let Some((_, &provider)) = provider.filter(|_| !needed.weak) else { continue };
            let table = match provider {
                Provider::New(id) => Definitions::of(&tables[usize::from(id.0)]),
                Provider::Loaded(id) => inventory.loaded[usize::from(id.0)].definitions,
                Provider::Host(id) => inventory.host[usize::from(id.0)].definitions,
            };
            let Definitions::Table(table) = table else { continue };
            let is_defined = !table.versions().any_defined() || table.versions().defines(&needed.version);
            if !is_defined && missing.len() < MOST_MISSING {
                missing.push(MissingVersion {
                    module: module.name.clone(),
                    version: needed.version.name.to_vec(),
                    provider: name_of(group, inventory, provider).to_owned(),
                });
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let root = group.modules.first().map_or("", |module| &module.name);
    Err(ErrorKind::MissingVersions(missing).at(root, Stage::Link))
}

fn base_name(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'/').next().unwrap_or(name)
}

fn soname<'g>(group: &'g Group, inventory: &Inventory<'g>, provider: Provider) -> Option<&'g [u8]> {
    match provider {
        Provider::New(id) => group.modules[usize::from(id.0)].plan.soname.as_deref(),
        Provider::Loaded(id) => inventory.loaded[usize::from(id.0)].soname,
        Provider::Host(id) => inventory.host[usize::from(id.0)].soname,
    }
}

fn name_of<'g>(group: &'g Group, inventory: &Inventory<'g>, provider: Provider) -> &'g str {
    match provider {
        Provider::New(id) => &group.modules[usize::from(id.0)].name,
        Provider::Loaded(id) => inventory.loaded[usize::from(id.0)].name,
        Provider::Host(id) => inventory.host[usize::from(id.0)].name,
    }
}
