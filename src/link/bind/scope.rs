//! Where an import is searched for: the images of the scope in order, by their hash tables.
//!
//! An import asks most images of a scope and finds it in one. Each has a filter for that, but forty filters are forty
//! places in memory. So the hashes of a big scope are gathered first, in a table of what each slot's hashes may be found
//! in: one word for all images, of which few remain to be asked.

use super::{Answer, Definitions, Group, Inventory};
use crate::plan::{Filter, Found, Query, Symbols};
use crate::symbol::{HostId, InstanceId, ModuleId, Provider};

/// From this many images on, it pays to remember what a search found, and to gather hashes.
pub(super) const MANY: usize = 12;

/// The search order.
pub(super) struct Scope<'t> {
    entries: Vec<Entry<'t>>,
    /// The hash filters of the images up to the first that has none, next to one another.
    filters: Vec<Filter<'t>>,
    gathered: Option<Gathered>,
}

#[derive(Clone, Copy)]
struct Entry<'t> {
    provider: Provider,
    definitions: Definitions<'t>,
}

impl Entry<'_> {
    #[inline(never)]
    fn holds(&self, hint: u32) -> bool {
        match self.definitions {
            Definitions::Table(table) => table.holds_either(hint),
            Definitions::TwoLevel(_) => false,
            Definitions::Names(_) => true,
        }
    }

    /// The search of an image whose filter has let the name pass.
    #[inline]
    fn find(&self, query: &Query<'_>) -> Option<Found> {
        match self.definitions {
            Definitions::Table(table) => table.find_unfiltered(query),
            Definitions::TwoLevel(_) => None,
            Definitions::Names(find) => find(query.name()),
        }
    }
}

impl<'t> Scope<'t> {
    /// The global scope, then the group's; or the other way round.
    pub(super) fn of(group: &Group, inventory: &'t Inventory<'_>, tables: &'t [Symbols<'t>], deep: bool) -> Scope<'t> {
        let host = (0u16..).zip(&inventory.host).filter(|(_, image)| image.global);
        let loaded = (0u16..).zip(&inventory.loaded).filter(|(_, image)| image.global);
        let host = host.map(|(at, _)| Provider::Host(HostId(at)));
        let global = host.chain(loaded.map(|(at, _)| Provider::Loaded(InstanceId(at))));
        let own = group.scope.iter().copied();
        let order: Vec<Provider> = if deep { own.chain(global).collect() } else { global.chain(own).collect() };
        let mut entries: Vec<Entry<'t>> = Vec::with_capacity(order.len());
        for provider in order {
            let definitions = match provider {
                Provider::New(id) => Definitions::of(&tables[usize::from(id.0)]),
                Provider::Loaded(id) => inventory.loaded[usize::from(id.0)].definitions,
                Provider::Host(id) => inventory.host[usize::from(id.0)].definitions,
            };
            if !entries.iter().any(|entry| entry.provider == provider) {
                entries.push(Entry { provider, definitions });
            }
        }
        // Images whose imports name their definers define nothing for others, and would only be in the filters' way.
        entries.retain(|entry| !matches!(entry.definitions, Definitions::TwoLevel(_)));
        let filter = |entry: &Entry<'t>| match entry.definitions {
            Definitions::Table(table) => table.filter(),
            Definitions::TwoLevel(_) | Definitions::Names(_) => None,
        };
        let filters = entries.iter().map_while(filter).collect();
        let mut scope = Scope { entries, filters, gathered: None };
        scope.gathered = scope.gather(group);
        scope
    }

    /// How many images it has.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many images are asked before `provider`.
    pub(super) fn before(&self, provider: Provider) -> usize {
        self.entries.iter().position(|entry| entry.provider == provider).unwrap_or(self.len())
    }

    /// The gathered hashes, if the questions that the group is going to ask are worth it: each import passes all images
    /// before its own, a filter takes about a quarter of the time that a hash takes to be gathered.
    fn gather(&self, group: &Group) -> Option<Gathered> {
        if self.len() < MANY {
            return None;
        }
        let modules = (0u16..).map(|id| Provider::New(ModuleId(id))).zip(&group.modules);
        let asked = |(provider, module): (_, &super::LinkedModule)| self.before(provider) * module.plan.import_bound();
        let questions = modules.map(asked).fold(0, usize::saturating_add) / 4;
        let tables = self.entries[..self.filters.len()].iter().map(|entry| match entry.definitions {
            Definitions::Table(table) => table.hints(),
            Definitions::TwoLevel(_) | Definitions::Names(_) => [].iter(),
        });
        Gathered::new(tables, questions)
    }

    /// Which of the first `images` images, up to those that have no filter, may hold a name of this hash, whose bit 0 is
    /// of no account.
    #[inline]
    fn candidates(&self, images: usize, hash: u32) -> impl Iterator<Item = usize> {
        let images = images.min(self.filters.len());
        let (mask, gathered) = match &self.gathered {
            Some(gathered) => (gathered.mask(hash), images.min(Gathered::IMAGES)),
            None => (0, 0),
        };
        Ones(mask).take_while(move |&at| at < gathered).chain(gathered..images)
    }

    /// Whether the first `images` can be told not to define a name of this hash, whose bit 0 is unknown, by their hash
    /// tables alone.
    #[inline]
    pub(super) fn exclude(&self, images: usize, hint: u32) -> bool {
        let may_define = |at: usize| self.filters[at].may_hold_either(hint) && self.entries[at].holds(hint);
        images <= self.filters.len() && !self.candidates(images, hint).any(may_define)
    }

    /// The first definition.
    pub(super) fn find(&self, query: &Query<'_>) -> Answer {
        let answer = |entry: &Entry<'t>, found: Option<Found>| found.map(|found| (entry.provider, found));
        let mut candidates = self.candidates(usize::MAX, query.hash());
        let found = candidates.find_map(|at| {
            let entry = &self.entries[at];
            if self.filters[at].may_hold(query.hash()) { answer(entry, entry.find(query)) } else { None }
        });
        let rest = || self.entries[self.filters.len()..].iter();
        found.or_else(|| rest().find_map(|entry| answer(entry, entry.definitions.find(query))))
    }
}

/// Which of the first images have a name of a given hash, or of another one in the same slot.
struct Gathered {
    /// A bit an image.
    slots: Vec<u64>,
    shift: u32,
}

impl Gathered {
    /// How many images it tells apart.
    const IMAGES: usize = u64::BITS as usize;
    /// So many names share a slot: more slots would cost more page faults than they save questions.
    const SHARED: usize = 4;
    /// The most slots: half a megabyte.
    const MOST_BITS: u32 = 16;

    /// All hashes of `tables`, unless they are more than `most`.
    fn new<'a>(tables: impl Iterator<Item = std::slice::Iter<'a, [u8; 4]>> + Clone, most: usize) -> Option<Gathered> {
        let tables = tables.take(Gathered::IMAGES);
        let names: usize = tables.clone().map(|table| table.len()).sum();
        if names > most {
            return None;
        }
        let bits = (names / Gathered::SHARED).next_power_of_two().ilog2().clamp(1, Gathered::MOST_BITS);
        let mut gathered = Gathered { slots: vec![0; 1 << bits], shift: u32::BITS - bits };
        for (at, table) in tables.enumerate() {
            for &hint in table {
                let slot = gathered.slot(u32::from_le_bytes(hint));
                gathered.slots[slot] |= 1 << at;
            }
        }
        Some(gathered)
    }

    /// The low bits of a hash choose the bucket in every image's own table, and bit 0 is not known of all.
    #[inline]
    fn slot(&self, hash: u32) -> usize {
        ((hash >> 1).wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    #[inline]
    fn mask(&self, hash: u32) -> u64 {
        self.slots[self.slot(hash)]
    }
}

/// The numbers of the bits that are set, from the lowest.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let at = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (at < u64::BITS).then_some(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_that_has_a_hash_is_told() {
        // More images than are told apart, and names that several of them have.
        let hash = |at: usize, row: u32| (row * 3 + (at as u32 % 3)).wrapping_mul(0x0101_4b25);
        let tables: Vec<Vec<[u8; 4]>> =
            (0..70).map(|at| (0..50).map(|row| (hash(at, row) | 1).to_le_bytes()).collect()).collect();
        let names = 64 * 50;
        assert!(Gathered::new(tables.iter().map(|table| table.iter()), names - 1).is_none(), "not worth it");
        let gathered = Gathered::new(tables.iter().map(|table| table.iter()), names).unwrap();
        for (at, table) in tables.iter().enumerate() {
            for &word in table {
                let hash = u32::from_le_bytes(word);
                let told = [hash, hash & !1].map(|hash| Ones(gathered.mask(hash)).any(|image| image == at));
                assert_eq!(told, [at < Gathered::IMAGES; 2], "{at}: {hash:#x}");
            }
        }
        // A third of the images has each hash; some more share its slot.
        let told: u32 = (0..50).map(|row| gathered.mask(hash(0, row)).count_ones()).sum();
        assert!(told < 50 * 60, "nothing is told apart: {told}");
    }

    #[test]
    fn ones_are_counted_from_the_lowest() {
        assert_eq!(Ones(0).count(), 0);
        assert_eq!(Ones(1 | 1 << 5 | 1 << 63).collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!(Ones(u64::MAX).count(), 64);
    }
}
