//! The symbols of an image in a two-level namespace: an import says which image should define it.

use super::chained::NamedImports;
use super::exports::{Entry, Target, Trie};
use super::opcodes::Binds;
use super::process::MappedImage;
use super::{DESCRIPTOR, Tables};
use crate::addr::{VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::error::ErrorKind;
use crate::plan::{Binding, Export, Found, Leads, LoadPlan, Near};
use crate::room;
use crate::symbol::{Class, SymbolKind};

/// Where an import is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// In the table of the chained fixups.
    Chained,
    /// In the bind opcodes.
    Bind,
    /// In the lazy bind opcodes: only calls use it, through a stub.
    Lazy,
    /// In the weak bind opcodes: one definition of many images is chosen for all.
    Weak,
}

impl Stream {
    /// Those of `LC_DYLD_INFO`, in the order in which they apply: what the weak stream finds replaces what the others
    /// wrote.
    pub(super) const OPCODES: [Stream; 3] = [Stream::Bind, Stream::Lazy, Stream::Weak];

    /// The word that listings print.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Chained => "chained",
            Stream::Bind => "bind",
            Stream::Lazy => "lazy",
            Stream::Weak => "weak",
        }
    }

    /// How fixups of this list use the symbol.
    pub fn class(self) -> Class {
        if self == Stream::Lazy { Class::Plt } else { Class::Data }
    }
}

/// Which image should define an import (`BIND_SPECIAL_DYLIB_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The image itself.
    Own,
    /// The main executable.
    Main,
    /// Any image, in load order.
    Flat,
    /// The definition that all images agree on.
    Weak,
    /// The need of that number, from 0.
    Need(usize),
}

/// One import, as its own image describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import<'a> {
    /// Its name, with the underscore that C names begin with.
    pub name: &'a [u8],
    /// The number of the need that defines it, from 1; or what is special about it.
    pub ordinal: i32,
    /// `BIND_SYMBOL_FLAGS_…`
    pub flags: u8,
    /// Where it is listed.
    pub stream: Stream,
}

impl Import<'_> {
    /// Whether it may stay undefined (`BIND_SYMBOL_FLAGS_WEAK_IMPORT`).
    pub fn weak(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Which image should define it; `None` for an ordinal that means nothing.
    pub fn level(&self) -> Option<Level> {
        match self.ordinal {
            _ if self.stream == Stream::Weak => Some(Level::Weak),
            0 => Some(Level::Own),
            -1 => Some(Level::Main),
            -2 => Some(Level::Flat),
            -3 => Some(Level::Weak),
            ordinal => usize::try_from(ordinal).ok().map(|ordinal| Level::Need(ordinal - 1)),
        }
    }
}

/// What an image exports under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exported<'a> {
    /// A definition of its own.
    Here {
        /// The definition.
        found: Found,
        /// Whether images may agree on another one.
        weak: bool,
    },
    /// A symbol of one of its needs.
    Elsewhere {
        /// The number of the need, from 1.
        need: u64,
        /// The name there; empty for the same one.
        name: &'a [u8],
    },
}

/// Imports and exports of one image.
#[derive(Clone, Debug)]
pub struct SymbolTable<'a> {
    chained: NamedImports<'a>,
    /// Imports of the opcode streams, one after the other.
    listed: Vec<Import<'a>>,
    trie: Trie<'a>,
    /// Executable regions: what tells functions from data.
    code: Vec<VmRange>,
    /// Where the descriptors of thread-local variables are: only what is there was relocated as one.
    descriptors: Vec<VmRange>,
    /// `LC_SYMTAB`: for people, since no lookup needs it.
    rows: &'a [u8],
    names: Bytes<'a>,
    regions: Vec<VmRange>,
}

impl<'a> SymbolTable<'a> {
    /// The tables of a file.
    ///
    /// # Errors
    /// Tables that contradict themselves.
    pub fn from_file(plan: &LoadPlan, tables: &Tables, file: &'a [u8]) -> Result<SymbolTable<'a>, ErrorKind> {
        let mut listed: Vec<Import<'a>> = Vec::new();
        let mut binds = Binds::new(tables, file);
        while let Some(bind) = binds.next_bind()? {
            if bind.import.symbol as usize == listed.len() {
                room::push(&mut listed, binds.import())?;
            }
        }
        let chained = NamedImports::read(tables, file)?;
        let code = plan.regions.iter().filter(|region| region.prot.execute).map(|region| region.vm).collect();
        let trie = Trie::new(super::slice(file, tables.exports), tables.header);
        Ok(SymbolTable {
            chained,
            listed,
            trie,
            code,
            descriptors: tables.thread_variables.clone(),
            rows: super::slice(file, tables.rows),
            names: Bytes(super::slice(file, tables.names)),
            regions: plan.regions.iter().map(|region| region.vm).collect(),
        })
    }

    /// The exports of an image that is mapped already, from its tables in memory. Imports of it are nobody's business any
    /// more, and what its thread-local variables lead to is its own function's: here, their descriptors are data.
    pub fn of_mapped(image: &MappedImage, trie: &'a [u8], rows: &'a [u8], names: &'a [u8]) -> SymbolTable<'a> {
        SymbolTable {
            chained: NamedImports::default(),
            listed: Vec::new(),
            trie: Trie::of_mapped(trie, image.header),
            code: image.regions.iter().filter(|region| region.prot.execute).map(|region| region.vm).collect(),
            descriptors: Vec::new(),
            rows,
            names: Bytes(names),
            regions: image.regions.iter().map(|region| region.vm).collect(),
        }
    }

    /// Number of imports.
    pub fn imports(&self) -> u32 {
        self.chained.len().max(self.listed.len() as u32)
    }

    /// One import; `None` past the last, or where its name lies outside the names.
    pub fn import(&self, index: u32) -> Option<Import<'_>> {
        match self.listed.is_empty() {
            true => self.chained.get(index),
            false => self.listed.get(index as usize).copied(),
        }
    }

    /// What the image exports under that very name.
    ///
    /// # Errors
    /// A trie that is cut off on the way to the name.
    pub fn exported(&self, name: &[u8]) -> Result<Option<Exported<'a>>, ErrorKind> {
        Ok(self.trie.find(&[name])?.map(|entry| match (entry.target, self.found(&entry)) {
            (_, Some(found)) => Exported::Here { found, weak: entry.weak() },
            (Target::Reexport { ordinal, name }, _) => Exported::Elsewhere { need: ordinal, name },
            (_, None) => Exported::Elsewhere { need: 0, name: &[] },
        }))
    }

    /// The definition of the C symbol `name`; `None` also where it is another image's, or the trie is malformed.
    #[inline(never)]
    pub fn find(&self, name: &[u8]) -> Option<Found> {
        let entry = self.trie.find(&[b"_", name]).ok().flatten()?;
        self.found(&entry)
    }

    /// What an entry of the trie stands for; `None` for another image's symbol.
    fn found(&self, entry: &Entry<'_>) -> Option<Found> {
        let (kind, vm) = match entry.target {
            Target::Here(vm) => (self.kind(vm), vm),
            Target::ThreadLocal(vm) if self.is_descriptor(vm) => (SymbolKind::ThreadVariable, vm),
            Target::ThreadLocal(vm) => (SymbolKind::Data, vm),
            Target::Absolute(value) => (SymbolKind::Absolute, VmAddr(value)),
            Target::Resolved { resolver, .. } => (SymbolKind::Ifunc, resolver),
            Target::Reexport { .. } => return None,
        };
        Some(Found { symbol: 0, vm, size: 0, kind, unique: false })
    }

    fn is_descriptor(&self, vm: VmAddr) -> bool {
        let before = self.descriptors.partition_point(|range| range.start <= vm);
        let range = self.descriptors[..before].last().filter(|range| range.holds(vm, DESCRIPTOR));
        range.is_some_and(|range| (vm.0 - range.start.0).is_multiple_of(DESCRIPTOR))
    }

    fn kind(&self, vm: VmAddr) -> SymbolKind {
        match self.code.iter().any(|range| range.holds(vm, 1)) {
            true => SymbolKind::Code,
            false => SymbolKind::Data,
        }
    }

    /// Calls `each` with every export.
    ///
    /// # Errors
    /// A malformed trie.
    pub fn exports(&self, mut each: impl FnMut(Export<'_>)) -> Result<(), ErrorKind> {
        self.trie.each(|name, entry| {
            let (kind, vm, leads) = match entry.target {
                Target::Here(vm) => (self.kind(vm), vm, Leads::Here),
                Target::ThreadLocal(vm) => (SymbolKind::Tls, vm, Leads::Here),
                Target::Absolute(value) => (SymbolKind::Absolute, VmAddr(value), Leads::Here),
                Target::Resolved { stub, resolver } => (SymbolKind::Ifunc, stub, Leads::Resolver(resolver)),
                Target::Reexport { ordinal, name: other } => {
                    let name = if other.is_empty() { name } else { other };
                    (SymbolKind::Data, VmAddr(0), Leads::Elsewhere { need: ordinal, name })
                }
            };
            let binding = if entry.weak() { Binding::Weak } else { Binding::Global };
            let flags = Some(entry.flags);
            each(Export { name, version: None, default_version: false, vm, size: 0, kind, binding, flags, leads });
        })
    }

    /// The nearest symbol below `vm` in its segment, without the underscore that C names begin with. Visits every symbol.
    pub fn near(&self, vm: VmAddr) -> Option<Near<'a>> {
        const N_STAB: u8 = 0xe0;
        const N_TYPE: u8 = 0x0e;
        const N_SECT: u8 = 0x0e;
        let segment = self.regions.iter().find(|range| range.holds(vm, 1))?;
        let mut best: Option<(u64, u32, &'a [u8; 16])> = None;
        let (rows, _) = self.rows.as_chunks::<16>();
        for row in rows {
            let [n0, n1, n2, n3, n_type, .., v0, v1, v2, v3, v4, v5, v6, v7] = *row;
            let value = u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
            let is_ours = n_type & (N_STAB | N_TYPE) == N_SECT && value <= vm.0 && value >= segment.start.0;
            if is_ours && best.is_none_or(|(nearest, ..)| value > nearest) {
                best = Some((value, u32::from_le_bytes([n0, n1, n2, n3]), row));
            }
        }
        let (value, name, row) = best?;
        let name = self.names.c_str(u64::from(name))?;
        Some(Near { name: name.strip_prefix(b"_").unwrap_or(name), vm: VmAddr(value), holds: true, row })
    }
}
