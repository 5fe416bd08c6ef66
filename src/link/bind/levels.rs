//! Imports of a two-level namespace: each names the image that defines it, and the system's libraries are the host's.
//!
//! The order for one import (dyld `Loader::resolveSymbol`), after what the caller's `Resolve` supplies:
//! - the need that it names, then what that need re-exports; a library of the system is the host, through the table in
//!   `darwin.rs`;
//! - flat: the host, images that were opened as global, then the group in load order;
//! - weak: one definition for all images. The first one that is not weak wins, else the first weak one, in load order.
//!
//! Where the host's images are of this kind themselves (macOS), they are asked as all others are, and the table has no say;
//! but of the names that this library answers in the system's place, it has the answer.

use super::{Bindings, Linker, MOST_ASTRAY, Supplier};
use crate::darwin::{self, Answer};
use crate::error::{ErrorKind, Place};
use crate::link::group::Group;
use crate::link::{Definitions, LinkedModule};
use crate::plan::{self, Exported, Import, Level, NeedKind, Query, Stream, Symbols, TwoLevelSymbols};
use crate::symbol::{Class, Definition, HostId, InstanceId, ModuleId, Provider};
use std::collections::BTreeSet;

/// So many re-exports lead on from one another; more, and they run in a circle.
const CHAIN: usize = 32;

/// The group, as far as imports are looked up in it.
#[derive(Clone, Copy)]
pub(super) struct Images<'t> {
    pub group: &'t Group,
    pub tables: &'t [Symbols<'t>],
}

impl<'t> Linker<'t, '_> {
    /// Resolves every import of one module.
    pub(super) fn two_level_module(
        &mut self,
        images: Images<'t>,
        id: ModuleId,
        symbols: &'t TwoLevelSymbols<'t>,
    ) -> Result<Bindings, ErrorKind> {
        let module = &images.group.modules[usize::from(id.0)];
        let bytes = &images.group.files[usize::from(id.0)].bytes;
        let mut bindings = Bindings::default();
        module
            .plan
            .imports::<Box<ErrorKind>>(bytes, |import| {
                if plan::astray() - self.astray_before > MOST_ASTRAY {
                    return Err(malformed("export trie: nodes out of proportion, over and over", import.symbol).into());
                }
                if bindings.has(import) {
                    return Ok(());
                }
                let row = symbols.import(import.symbol);
                let row = row.ok_or_else(|| malformed("imports: a name lies outside the names", import.symbol))?;
                let definition = self.level(images, id, module, &row)?;
                bindings.add(import, definition)
            })
            .map_err(|kind| *kind)?;
        bindings.providers = self.used.take(id);
        Ok(bindings)
    }

    fn level(
        &mut self,
        images: Images<'t>,
        id: ModuleId,
        module: &LinkedModule,
        row: &Import<'_>,
    ) -> Result<Definition, ErrorKind> {
        let name = row.name;
        let c_name = darwin::c_name(name);
        if let Some(address) = self.resolve.and_then(|table| table.resolve(c_name, None)) {
            return Ok(self.supply(c_name, Supplier::Caller(address)));
        }
        let mut may_be_missing = row.weak();
        let level = row.level().ok_or_else(|| malformed("imports: an ordinal that means nothing", 0))?;
        let found = match level {
            Level::Own => self.exported(images, Provider::New(id), name)?,
            Level::Main if self.native() => self.exported(images, Provider::Host(HostId(0)), name)?,
            Level::Main => self.system(images, name),
            Level::Flat => self.flat(images, name)?,
            Level::Weak => self.weak(images, name)?,
            Level::Need(index) => {
                may_be_missing |= module.absent.contains(&index);
                let provider = module.needs.get(index).filter(|_| index < module.plan.needs.len());
                let provider =
                    *provider.ok_or_else(|| malformed("imports: an ordinal past the last need", index as u32))?;
                if module.absent.contains(&index) { None } else { self.exported(images, provider, name)? }
            }
        };
        Ok(match found {
            Some(definition) => definition,
            // What the other lists wrote stays.
            None if row.stream == Stream::Weak => Definition::Kept,
            None if may_be_missing => Definition::WeakNull,
            None if self.stubs => self.supply(name, Supplier::Stub { module: module.name.clone() }),
            None => {
                self.undefined(&module.name, name, None)?;
                Definition::Unused
            }
        })
    }

    /// What an image exports under that name, itself or from what it re-exports.
    fn exported(
        &mut self,
        images: Images<'t>,
        provider: Provider,
        name: &[u8],
    ) -> Result<Option<Definition>, ErrorKind> {
        self.exported_along(images, provider, name, CHAIN, &mut BTreeSet::new())
    }

    /// The same, where `asked` have been asked for that name: ways that meet again need not be gone twice, and a file can
    /// make more of them than there is time for.
    fn exported_along(
        &mut self,
        images: Images<'t>,
        provider: Provider,
        name: &[u8],
        left: usize,
        asked: &mut BTreeSet<Provider>,
    ) -> Result<Option<Definition>, ErrorKind> {
        let Some(left) = left.checked_sub(1) else {
            return Err(ErrorKind::Malformed { what: "re-exports: they run in a circle", place: None });
        };
        if let (Provider::Host(_), Some(answer)) = (provider, self.in_its_place(name)) {
            return Ok(Some(answer));
        }
        let table = match self.definitions(images, provider) {
            Definitions::TwoLevel(table) => table,
            Definitions::Table(table) if !matches!(provider, Provider::Host(_)) => {
                // A library of the host that stands for one of the system, but for what of that has another meaning.
                let found = match darwin::answer(name) {
                    Answer::Ours(_) => None,
                    _ => table.find(&Query::by_name(darwin::c_name(name))),
                };
                let here = found.map(|found| super::at(provider, &found, Class::Data));
                return Ok(here.or_else(|| self.system(images, name)));
            }
            _ => return Ok(self.system(images, name)),
        };
        if let Some(exported) = table.exported(name)? {
            return match exported {
                Exported::Elsewhere { need, name: other } => {
                    let index = usize::try_from(need).unwrap_or(usize::MAX).wrapping_sub(1);
                    let needs = self.needs(images, provider);
                    let next = needs.get(index).map(|&(need, _)| need);
                    let next = next.ok_or_else(|| malformed("export trie: a re-export of no need", index as u32))?;
                    if next == provider {
                        return Ok(None); // of one that is absent
                    }
                    match other.is_empty() || other == name {
                        true => self.exported_along(images, next, name, left, asked),
                        false => self.exported_along(images, next, other, left, &mut BTreeSet::new()),
                    }
                }
                Exported::Here { found, .. } => {
                    let definition = super::at(provider, &found, Class::Data);
                    Ok(Some(self.counted(provider, name, definition)))
                }
            };
        }
        for (need, kind) in self.needs(images, provider) {
            if kind == NeedKind::Reexported
                && asked.insert(need)
                && let Some(definition) = self.exported_along(images, need, name, left, asked)?
            {
                return Ok(Some(definition));
            }
        }
        Ok(None)
    }

    /// Any image's definition: the host's first, since it is the program and was there first.
    fn flat(&mut self, images: Images<'t>, name: &[u8]) -> Result<Option<Definition>, ErrorKind> {
        if self.native() {
            if let Some(definition) = self.of_any_host_image(images, name)? {
                return Ok(Some(definition));
            }
        } else if let Some(definition) = self.system(images, name) {
            return Ok(Some(definition));
        }
        let loaded = (0u16..).zip(&self.inventory.loaded).filter(|(_, image)| image.global);
        let loaded = loaded.map(|(at, _)| Provider::Loaded(InstanceId(at)));
        let all: Vec<Provider> = loaded.chain(images.modules()).collect();
        for provider in all {
            if matches!(self.definitions(images, provider), Definitions::TwoLevel(_))
                && let Some(definition) = self.exported(images, provider, name)?
            {
                return Ok(Some(definition));
            }
        }
        Ok(None)
    }

    /// The definition that all images agree on.
    fn weak(&mut self, images: Images<'t>, name: &[u8]) -> Result<Option<Definition>, ErrorKind> {
        let host = (0u16..).zip(&self.inventory.host).filter(|(_, image)| image.shares);
        let host = host.map(|(at, _)| Provider::Host(HostId(at)));
        let loaded = (0..self.inventory.loaded.len()).map(|at| Provider::Loaded(InstanceId(at as u16)));
        let all: Vec<Provider> = host.chain(loaded).chain(images.modules()).collect();
        let mut first = None;
        for provider in all {
            match self.own_definition(images, provider, name)? {
                Some((false, definition)) => return Ok(Some(self.used(provider, definition))),
                Some((true, definition)) if first.is_none() => first = Some((provider, definition)),
                _ => {}
            }
        }
        Ok(match first {
            Some((provider, definition)) => Some(self.used(provider, definition)),
            None if self.native() => None,
            None => self.system(images, name),
        })
    }

    /// What an image of such a namespace defines itself, and whether it is weak.
    fn own_definition(
        &self,
        images: Images<'t>,
        provider: Provider,
        name: &[u8],
    ) -> Result<Option<(bool, Definition)>, ErrorKind> {
        let Definitions::TwoLevel(table) = self.definitions(images, provider) else { return Ok(None) };
        Ok(match table.exported(name)? {
            Some(Exported::Here { found, weak }) => Some((weak, super::at(provider, &found, Class::Data))),
            Some(Exported::Elsewhere { .. }) | None => None,
        })
    }

    /// Whether the host's images are of this kind.
    fn native(&self) -> bool {
        self.inventory.is_two_level()
    }

    /// What this library answers in place of a host of this kind.
    fn in_its_place(&mut self, name: &[u8]) -> Option<Definition> {
        let c_name = darwin::c_name(name);
        let ours = self.native() && self.inventory.replaced.contains(&c_name);
        ours.then(|| self.supply(c_name, Supplier::Library))
    }

    /// A definition that is used; or what this library answers on the way to it, if it is the host's.
    fn counted(&mut self, provider: Provider, name: &[u8], definition: Definition) -> Definition {
        let c_name = darwin::c_name(name);
        match provider {
            Provider::Host(_) if self.inventory.counts(c_name) => self.supply(c_name, Supplier::Library),
            _ => self.used(provider, definition),
        }
    }

    /// The first definition of the host's images, in their order.
    fn of_any_host_image(&mut self, images: Images<'t>, name: &[u8]) -> Result<Option<Definition>, ErrorKind> {
        if let Some(answer) = self.in_its_place(name) {
            return Ok(Some(answer));
        }
        for (at, _) in (0u16..).zip(&self.inventory.host).filter(|(_, image)| image.global) {
            let provider = Provider::Host(HostId(at));
            if let Some((_, definition)) = self.own_definition(images, provider, name)? {
                return Ok(Some(self.counted(provider, name, definition)));
            }
        }
        Ok(None)
    }

    /// What the host has of a name of the system's libraries, itself or in its libraries that the group brings along.
    fn system(&mut self, images: Images<'t>, name: &[u8]) -> Option<Definition> {
        let plain = darwin::without_variant(name);
        let host_name = match darwin::answer(name) {
            Answer::Ours(own) => return Some(self.supply(own, Supplier::Library)),
            Answer::Differs => return None,
            Answer::Host(name) | Answer::HostOrOurs(name) => name,
        };
        if self.inventory.replaced.contains(&host_name) {
            return Some(self.supply(host_name, Supplier::Library));
        }
        let query = Query::by_name(host_name);
        let host = (0u16..).zip(&self.inventory.host).filter(|(_, image)| image.global);
        let host = host.map(|(at, _)| Provider::Host(HostId(at)));
        let all: Vec<Provider> = host.chain(images.group.scope.iter().copied()).collect();
        for provider in all {
            // Not what images of this namespace define: they are the need that an import names, or in nobody's way.
            let Some(found) = self.definitions(images, provider).find(&query) else { continue };
            if matches!(provider, Provider::Host(_)) && self.inventory.counts(host_name) {
                return Some(self.supply(host_name, Supplier::Library));
            }
            return Some(self.used(provider, super::at(provider, &found, Class::Data)));
        }
        matches!(darwin::answer(name), Answer::HostOrOurs(_)).then(|| self.supply(plain, Supplier::Library))
    }

    fn definitions(&self, images: Images<'t>, provider: Provider) -> Definitions<'t> {
        match provider {
            Provider::New(id) => Definitions::of(&images.tables[usize::from(id.0)]),
            Provider::Loaded(id) => self.inventory.loaded[usize::from(id.0)].definitions,
            Provider::Host(id) => self.inventory.host[usize::from(id.0)].definitions,
        }
    }

    /// The needs of an image, with how it needs them; those that are absent are left out.
    fn needs(&self, images: Images<'t>, provider: Provider) -> Vec<(Provider, NeedKind)> {
        let kinds = |needs: &[Provider], rows: &[crate::plan::Need]| {
            needs.iter().copied().zip(rows.iter().map(|row| row.kind)).collect()
        };
        match provider {
            Provider::New(id) => {
                let module = &images.group.modules[usize::from(id.0)];
                kinds(&module.needs, &module.plan.needs)
            }
            Provider::Loaded(id) => {
                let image = &self.inventory.loaded[usize::from(id.0)];
                kinds(image.needs, image.asks)
            }
            Provider::Host(id) => {
                let image = &self.inventory.host[usize::from(id.0)];
                kinds(image.needs, image.asks)
            }
        }
    }

    fn used(&mut self, provider: Provider, definition: Definition) -> Definition {
        match provider {
            Provider::Host(id) => self.used_host[usize::from(id.0)] = true,
            Provider::Loaded(_) | Provider::New(_) => self.used.mark(provider),
        }
        definition
    }
}

impl Images<'_> {
    fn modules(&self) -> impl Iterator<Item = Provider> + use<> {
        (0..self.group.modules.len()).map(|at| Provider::New(ModuleId(at as u16)))
    }
}

fn malformed(what: &'static str, index: u32) -> ErrorKind {
    ErrorKind::malformed(what, Place::Entry(u64::from(index)))
}
