//! Where an import is searched for: the images of the scope in order, by their hash tables.
//!
//! An import asks most images of a scope and finds it in one. Each has a filter for that, but forty filters are forty
//! places in memory. So the hashes of the images that are asked much are gathered first, in a table of what each slot's
//! hashes may be found in: one word for all images, of which few remain to be asked.

use super::{Answer, Definitions, Group, Inventory};
use crate::plan::{Filter, Found, Query, Symbols};
use crate::symbol::{HostId, InstanceId, ModuleId, Provider};

/// From this many images on, it pays to remember what a search found.
pub(super) const MANY: usize = 12;

/// Hashes of names, as [`crate::plan::ScopedSymbols::hints`] has them.
type Hints<'a> = std::slice::Iter<'a, [u8; 4]>;

/// The search order.
pub(super) struct Scope<'t> {
    entries: Vec<Entry<'t>>,
    /// The hash filters of the images up to the first that has none, next to one another.
    filters: Vec<Filter<'t>>,
    gathered: Gathered,
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
        let mut scope = Scope { entries, filters, gathered: Gathered::new(&[]) };
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

    /// The hashes of the images that are asked more questions than they have names. Each import asks all images before
    /// its own, or before the one that defines it: which that is, is what it asks.
    fn gather(&self, group: &Group) -> Gathered {
        let images = self.filters.len().min(Gathered::IMAGES);
        let mut asked = [0usize; Gathered::IMAGES];
        for (id, module) in (0u16..).zip(&group.modules) {
            let before = self.before(Provider::New(ModuleId(id))).min(images);
            let imports = module.plan.import_bound();
            asked[..before].iter_mut().for_each(|questions| *questions = questions.saturating_add(imports));
        }
        let worth = |at: usize| match self.entries[at].definitions {
            Definitions::Table(table) if asked[at] >= Gathered::FEW => {
                Some(table.hints()).filter(|hints| hints.len() <= asked[at])
            }
            _ => None,
        };
        Gathered::new(&(0..images).map(worth).collect::<Vec<_>>())
    }

    /// Whether any of the first `images` images, of which none is without a filter, is as asked; those that are known
    /// not to have a name of this hash, whose bit 0 is of no account, are not asked.
    #[inline]
    fn find_among<T>(
        &self,
        images: usize,
        hash: u32,
        mut ask: impl FnMut(&Filter<'t>, &Entry<'t>) -> Option<T>,
    ) -> Option<T> {
        let (filters, entries) = (&self.filters[..images], &self.entries[..images]);
        let mut candidates = self.gathered.candidates(hash);
        if images < Gathered::IMAGES {
            candidates &= (1 << images) - 1;
        }
        let known = Ones(candidates).find_map(|at| ask(filters.get(at)?, entries.get(at)?));
        if images <= Gathered::IMAGES || known.is_some() {
            return known;
        }
        filters.iter().zip(entries).skip(Gathered::IMAGES).find_map(|(filter, entry)| ask(filter, entry))
    }

    /// Whether the first `images` can be told not to define a name of this hash, whose bit 0 is unknown, by their hash
    /// tables alone.
    #[inline]
    pub(super) fn exclude(&self, images: usize, hint: u32) -> bool {
        let may_define =
            |filter: &Filter<'t>, entry: &Entry<'t>| (filter.may_hold_either(hint) && entry.holds(hint)).then_some(());
        images <= self.filters.len() && self.find_among(images, hint, may_define).is_none()
    }

    /// The first definition.
    pub(super) fn find(&self, query: &Query<'_>) -> Answer {
        let answer = |entry: &Entry<'t>, found: Option<Found>| found.map(|found| (entry.provider, found));
        let filtered = self.find_among(self.filters.len(), query.hash(), |filter, entry| {
            if filter.may_hold(query.hash()) { answer(entry, entry.find(query)) } else { None }
        });
        let rest = || self.entries[self.filters.len()..].iter();
        filtered.or_else(|| rest().find_map(|entry| answer(entry, entry.definitions.find(query))))
    }
}

/// Which of the first images have a name of a given hash, or of another one in the same slot. Images whose names were not
/// gathered may have any.
struct Gathered {
    /// A bit an image in each slot, rounded up to whole bytes; behind the last one, what it takes to read it as a word.
    slots: Vec<u8>,
    /// Bytes a slot.
    width: usize,
    shift: u32,
    /// The images whose names were not gathered.
    others: u64,
}

impl Gathered {
    /// How many images it tells apart.
    const IMAGES: usize = u64::BITS as usize;
    /// So few questions are asked sooner than names are counted.
    const FEW: usize = 256;
    /// Bytes a name: more slots would cost more page faults than they save questions.
    const BYTES: usize = 2;
    /// The most slots.
    const MOST_BITS: u32 = 17;

    /// The hashes of each image whose names are worth it.
    fn new(tables: &[Option<Hints<'_>>]) -> Gathered {
        let worth = || (0u32..).zip(tables).filter_map(|(at, table)| Some((at, table.clone()?)));
        let names: usize = worth().map(|(_, table)| table.len()).sum();
        let width = tables.len().div_ceil(8).max(1);
        let bits = (names * Gathered::BYTES / width).next_power_of_two().ilog2().clamp(1, Gathered::MOST_BITS);
        let slots = vec![0; (width << bits) + size_of::<u64>() - width];
        let others = worth().fold(u64::MAX, |rest, (at, _)| rest & !(1 << at));
        let mut gathered = Gathered { slots, width, shift: u32::BITS - bits, others };
        for (at, table) in worth() {
            for &hint in table {
                let slot = gathered.slot(u32::from_le_bytes(hint));
                gathered.slots[slot + at as usize / 8] |= 1 << (at % 8);
            }
        }
        gathered
    }

    /// The first byte of a hash's slot. The low bits of a hash choose the bucket in every image's own table, and bit 0 is
    /// not known of all.
    #[inline]
    fn slot(&self, hash: u32) -> usize {
        ((hash >> 1).wrapping_mul(0x9e37_79b1) >> self.shift) as usize * self.width
    }

    #[inline]
    fn candidates(&self, hash: u32) -> u64 {
        let slot = self.slots.get(self.slot(hash)..).and_then(|slots| slots.first_chunk());
        slot.map_or(u64::MAX, |&slot| u64::from_le_bytes(slot) & (u64::MAX >> (64 - 8 * self.width)) | self.others)
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
        let some = |at: usize| at != 7;
        let gathered: Vec<_> = tables.iter().enumerate().map(|(at, table)| some(at).then(|| table.iter())).collect();
        let gathered = Gathered::new(&gathered[..Gathered::IMAGES]);
        for (at, table) in tables.iter().enumerate() {
            for &word in table {
                let hash = u32::from_le_bytes(word);
                let told = [hash, hash & !1].map(|hash| Ones(gathered.candidates(hash)).any(|image| image == at));
                assert_eq!(told, [at < Gathered::IMAGES; 2], "{at}: {hash:#x}");
            }
        }
        // A third of the images has each hash; some more share its slot.
        let told: u32 = (0..50).map(|row| gathered.candidates(hash(0, row)).count_ones()).sum();
        assert!(told < 50 * 60, "nothing is told apart: {told}");
        assert_eq!(Gathered::new(&[]).candidates(5), u64::MAX);
    }

    #[test]
    fn ones_are_counted_from_the_lowest() {
        assert_eq!(Ones(0).count(), 0);
        assert_eq!(Ones(1 | 1 << 5 | 1 << 63).collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!(Ones(u64::MAX).count(), 64);
    }
}
