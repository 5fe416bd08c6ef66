//! The two hash tables of `.dynsym`. Every index in them is checked when it is followed.
//!
//! Sources: gABI "Hash Table"; for `DT_GNU_HASH`, which no standard describes, binutils' `bfd/elflink.c` and glibc's
//! `elf/dl-lookup.c`.

use crate::astray::goes_astray;
use crate::bytes::Bytes;

/// Steps along one chain that are of no account: linkers make chains of a few.
const USUAL: usize = 256;

/// The hash of `DT_GNU_HASH`: Bernstein's, modulo 2^32.
///
/// Eight bytes at a time: `h·33⁸ + b₀·33⁷ + … + b₇` is the same number as eight steps of `h·33 + b`, but its products do
/// not wait for one another. Names of C++ are 50 bytes and more.
#[inline]
pub fn gnu_hash(name: &[u8]) -> u32 {
    const POWERS: [u32; 9] = {
        let mut powers = [1u32; 9];
        let mut at = 1;
        while at < 9 {
            powers[at] = powers[at - 1].wrapping_mul(33);
            at += 1;
        }
        powers
    };
    let (blocks, rest) = name.as_chunks::<8>();
    let hash = blocks.iter().fold(5381u32, |hash, block| {
        let terms = block.iter().enumerate().map(|(at, &byte)| u32::from(byte).wrapping_mul(POWERS[7 - at]));
        terms.fold(hash.wrapping_mul(POWERS[8]), u32::wrapping_add)
    });
    rest.iter().fold(hash, |hash, &byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

/// The hash of `DT_HASH` and of version names (gABI figure 5-13).
pub(super) fn sysv_hash(name: &[u8]) -> u32 {
    name.iter().fold(0u32, |hash, &byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

/// `DT_GNU_HASH`: header { nbuckets, symoffset, bloom words, bloom shift }, bloom filter, buckets, chains.
#[derive(Clone, Copy, Debug)]
pub(super) struct GnuHash<'a> {
    filter: Filter<'a>,
    first_symbol: u32,
    buckets: Buckets<'a>,
    /// One word a symbol from `first_symbol` on: its hash, with bit 0 set on the last one of a bucket.
    chains: &'a [[u8; 4]],
}

impl<'a> GnuHash<'a> {
    pub(super) fn parse(table: &'a [u8]) -> Option<GnuHash<'a>> {
        let bytes = Bytes(table);
        let (buckets, first_symbol) = (bytes.u32(0)?, bytes.u32(4)?);
        let (bloom_words, bloom_shift) = (bytes.u32(8)?, bytes.u32(12)?);
        if buckets == 0 || !bloom_words.is_power_of_two() || bloom_shift >= 32 {
            return None;
        }
        let bloom_size = u64::from(bloom_words) * 8;
        let bucket_size = u64::from(buckets) * 4;
        Some(GnuHash {
            filter: Filter::new(bytes.slice(16, bloom_size)?.as_chunks().0, bloom_shift),
            first_symbol,
            buckets: Buckets::new(bytes.slice(16 + bloom_size, bucket_size)?.as_chunks().0),
            chains: bytes.from(16 + bloom_size + bucket_size)?.as_chunks().0,
        })
    }

    #[inline]
    pub(super) fn filter(&self) -> Filter<'a> {
        self.filter
    }

    /// The hash of a symbol's name but for bit 0, which marks the end of its chain.
    #[inline]
    pub(super) fn hint(&self, symbol: u32) -> Option<u32> {
        let at = symbol.checked_sub(self.first_symbol)?;
        self.chains.get(at as usize).map(|&word| u32::from_le_bytes(word) & !1)
    }

    /// The hashes of all symbols that can be found, but for bit 0, which is of no account.
    pub(super) fn hints(&self) -> std::slice::Iter<'a, [u8; 4]> {
        let hashed = self.count().saturating_sub(self.first_symbol) as usize;
        self.chains.get(..hashed).unwrap_or(self.chains).iter()
    }

    /// Whether there is a symbol of this hash, whose bit 0 is unknown.
    pub(super) fn holds_either(&self, hash: u32) -> bool {
        [hash & !1, hash | 1].into_iter().any(|hash| self.find(hash, Some).is_some())
    }

    /// Visits the symbols whose chain word carries `hash`, until one is accepted. The filter is not asked: whoever
    /// searches several tables has asked all of theirs first.
    #[inline]
    pub(super) fn find<T>(&self, hash: u32, mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let first = self.buckets.first(hash);
        let chain = self.chains.get(first.checked_sub(self.first_symbol)? as usize..)?;
        for (at, &word) in chain.iter().enumerate() {
            let word = u32::from_le_bytes(word);
            if word | 1 == hash | 1
                && let Some(found) = accept(first.checked_add(at as u32)?)
            {
                return Some(found);
            }
            if word & 1 == 1 {
                break;
            }
            if at % USUAL == USUAL - 1 {
                goes_astray(USUAL);
            }
        }
        None
    }

    /// How many symbols there are: the end of the chain of the highest bucket.
    pub(super) fn count(&self) -> u32 {
        let highest = self.buckets.words.iter().map(|&bucket| u32::from_le_bytes(bucket)).max().unwrap_or(0);
        let Some(start) = highest.checked_sub(self.first_symbol) else { return self.first_symbol };
        let rest = self.chains.get(start as usize..).unwrap_or_default();
        let chain = rest.iter().take_while(|&&word| u32::from_le_bytes(word) & 1 == 0).count();
        highest.saturating_add(chain as u32 + 1)
    }
}

/// Where the chains begin. A hash's bucket is its remainder, and a lookup waits for it; so the division is done once for
/// all, and what each lookup does is two multiplications (D. Lemire, O. Kaser, N. Kurz: "Faster remainder by direct
/// computation", 2019; exact for every dividend and divisor of 32 bits).
#[derive(Clone, Copy, Debug)]
struct Buckets<'a> {
    words: &'a [[u8; 4]],
    /// 2^64 divided by their number, rounded up.
    inverse: u64,
}

impl<'a> Buckets<'a> {
    /// There is at least one, and no file has 2^32.
    fn new(words: &'a [[u8; 4]]) -> Buckets<'a> {
        Buckets { words, inverse: (u64::MAX / words.len().max(1) as u64).wrapping_add(1) }
    }

    /// The first symbol in the bucket of a hash; 0 if there is none.
    #[inline]
    fn first(&self, hash: u32) -> u32 {
        let fraction = u128::from(self.inverse.wrapping_mul(u64::from(hash)));
        let bucket = ((fraction * self.words.len() as u128) >> 64) as usize;
        self.words.get(bucket).map_or(0, |&word| u32::from_le_bytes(word))
    }
}

/// A Bloom filter of two bits a name.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    words: &'a [[u8; 8]],
    shift: u32,
}

impl<'a> Filter<'a> {
    /// `words` must be a power of two of words. Without a shift both bits are the same, and bit 0 of a hash decides
    /// them: no linker makes such a filter, so it is one that lets everything pass.
    fn new(words: &'a [[u8; 8]], shift: u32) -> Filter<'a> {
        if shift == 0 { Filter { words: &[[0xff; 8]], shift: 1 } } else { Filter { words, shift } }
    }

    #[inline]
    fn word(&self, hash: u32) -> u64 {
        let at = (hash >> 6) as usize & self.words.len().wrapping_sub(1);
        self.words.get(at).map_or(u64::MAX, |&word| u64::from_le_bytes(word))
    }

    /// Whether the table may hold a name of this hash; most that it does not hold are told here.
    #[inline]
    pub fn may_hold(&self, hash: u32) -> bool {
        let word = self.word(hash);
        (word >> (hash & 63)) & (word >> ((hash >> self.shift) & 63)) & 1 == 1
    }

    /// The same for a hash whose bit 0 is unknown, as it is in another table's chain: it decides neither the word nor the
    /// second bit.
    #[inline]
    pub fn may_hold_either(&self, hash: u32) -> bool {
        let word = self.word(hash);
        let pair = (word >> (hash & 62)) & 3;
        pair != 0 && (word >> ((hash >> self.shift) & 63)) & 1 == 1
    }
}

/// `DT_HASH`: { nbucket, nchain }, buckets, chains.
#[derive(Clone, Copy, Debug)]
pub(super) struct SysvHash<'a> {
    buckets: Buckets<'a>,
    chains: &'a [[u8; 4]],
}

impl<'a> SysvHash<'a> {
    pub(super) fn parse(table: &'a [u8]) -> Option<SysvHash<'a>> {
        let bytes = Bytes(table);
        let (buckets, chains) = (u64::from(bytes.u32(0)?), u64::from(bytes.u32(4)?));
        if buckets == 0 {
            return None;
        }
        Some(SysvHash {
            buckets: Buckets::new(bytes.slice(8, buckets * 4)?.as_chunks().0),
            chains: bytes.slice(8 + buckets * 4, chains * 4)?.as_chunks().0,
        })
    }

    pub(super) fn find<T>(&self, hash: u32, mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut symbol = self.buckets.first(hash);
        // A chain longer than the table is a cycle.
        for steps in 1..=self.chains.len() {
            if symbol == 0 {
                return None;
            }
            if steps.is_multiple_of(USUAL) {
                // A step reads a symbol and compares a name.
                goes_astray(USUAL * 8);
            }
            if let Some(found) = accept(symbol) {
                return Some(found);
            }
            symbol = u32::from_le_bytes(*self.chains.get(symbol as usize)?);
        }
        None
    }

    /// How many symbols there are: one chain word each.
    pub(super) fn count(&self) -> u32 {
        self.chains.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_the_remainder() {
        let numbered: Vec<[u8; 4]> = (0..70_000u32).map(u32::to_le_bytes).collect();
        for count in [1, 2, 3, 7, 64, 641, 1009, 4096, 65_521, 65_536, 65_537, 70_000] {
            let buckets = Buckets::new(&numbered[..count as usize]);
            let near = |hash: u32| (hash.saturating_sub(2)..=hash.saturating_add(2)).chain([hash / count * count]);
            let hashes = (0..32).map(|bit| 1 << bit).chain([0, u32::MAX, 0x0101_4b25, count]).flat_map(near);
            for hash in hashes.chain((0..100_000).map(|at: u32| at.wrapping_mul(0x9e37_79b1))) {
                assert_eq!(buckets.first(hash), hash % count, "{hash:#x} in {count}");
            }
        }
    }

    #[test]
    fn either_is_what_the_two_together_say() {
        let words = [0x8001_0040_0200_1081u64.to_le_bytes(), 0x0102_0408_1020_4080u64.to_le_bytes()];
        for shift in [0, 1, 6, 31] {
            let filter = Filter::new(&words, shift);
            for hash in (0..1 << 20).step_by(7) {
                let both = filter.may_hold(hash & !1) || filter.may_hold(hash | 1);
                assert_eq!(filter.may_hold_either(hash), both, "{hash:#x} >> {shift}");
            }
        }
    }

    #[test]
    fn the_hash_by_blocks_is_the_hash_by_bytes() {
        let by_bytes = |name: &[u8]| name.iter().fold(5381u32, |h, &b| h.wrapping_mul(33).wrapping_add(u32::from(b)));
        let name = b"_ZN4llvm15LoopInfoWrapperPass13runOnFunctionERNS_8FunctionE\xff\x80";
        for end in 0..=name.len() {
            assert_eq!(gnu_hash(&name[..end]), by_bytes(&name[..end]));
        }
    }

    #[test]
    fn hashes_match_the_published_values() {
        // From the gABI's algorithm run by hand, and from glibc's `elf/tst-gnu2-hash` family.
        assert_eq!(gnu_hash(b""), 5381);
        assert_eq!(gnu_hash(b"printf"), 0x156b_2bb8);
        assert_eq!(gnu_hash(b"exit"), 0x7c96_7e3f);
        assert_eq!(sysv_hash(b""), 0);
        assert_eq!(sysv_hash(b"printf"), 0x077905a6);
        assert_eq!(sysv_hash(b"GLIBC_2.2.5"), 0x09691a75);
    }

    #[test]
    fn a_chain_that_runs_in_a_circle_ends() {
        // nbucket 1, nchain 2; bucket 0 → symbol 1 → symbol 1 …
        let table: Vec<u8> = [1u32, 2, 1, 0, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut steps = 0;
        let found: Option<()> = SysvHash::parse(&table).unwrap().find(0, |_| {
            steps += 1;
            None
        });
        assert!(found.is_none());
        assert_eq!(steps, 2);
    }

    #[test]
    fn a_chain_past_the_last_index_ends() {
        // One bucket that starts at the highest symbol there can be; the filter lets all pass; no chain word is the last.
        let header = [1u32, u32::MAX, 1, 0, u32::MAX, u32::MAX, u32::MAX];
        let table: Vec<u8> = header.iter().chain(&[4u32; 4]).flat_map(|word| word.to_le_bytes()).collect();
        let mut seen = Vec::new();
        let found: Option<()> = GnuHash::parse(&table).unwrap().find(4, |symbol| {
            seen.push(symbol);
            None
        });
        assert!(found.is_none());
        assert_eq!(seen, [u32::MAX]);
    }

    #[test]
    fn a_filter_that_cannot_be_indexed_is_refused() {
        let table: Vec<u8> =
            [1u32, 1, 3, 6, 0, 0, 0, 0, 0, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert!(GnuHash::parse(&table).is_none());
    }
}
