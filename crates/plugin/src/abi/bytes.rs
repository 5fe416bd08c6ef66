//! Bytes that the compiler hashes and copies for each exported item. It interprets what is here, and a call costs it as much
//! as many steps: so there is none to the standard library, whose functions call further ones, in what runs often.
//!
//! Invariant: what is read and written lies inside of the slice that was passed, which is asserted first.

/// A hash of 128 bits over bytes: 16 of them at a time, then the rest with zeros behind it, then how many they are. The
/// compiler interprets this for each exported item, hence hardly a call in the loop.
///
/// The steps are rounds of a Feistel network: each can be undone, so two hashes stay different whatever follows, if that
/// is equal; and three of them reach all bits of both halves.
#[derive(Clone, Copy)]
pub(super) struct Hash {
    low: u64,
    high: u64,
}

impl Hash {
    /// The first digits of pi; nothing up our sleeve.
    pub(super) const BASIS: Hash = Hash { low: 0x2437_6a88_85a3_08d3, high: 0x1319_8a2e_0370_7344 };
    const FACTORS: [u128; 3] = [0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89, 0x4528_21e6_38d0_1377];

    const fn add(self, word: u128) -> Hash {
        let Hash { mut low, mut high } = self;
        low ^= word as u64;
        high ^= (word >> 64) as u64;
        let product = low as u128 * Hash::FACTORS[0];
        high ^= (product >> 64) as u64 ^ product as u64;
        let product = high as u128 * Hash::FACTORS[1];
        low ^= (product >> 64) as u64 ^ product as u64;
        let product = low as u128 * Hash::FACTORS[2];
        high ^= (product >> 64) as u64 ^ product as u64;
        Hash { low, high }
    }

    /// Adds the bytes from `at` to `end`, the last of them with zeros behind them.
    pub(super) const fn part(mut self, bytes: &[u8], mut at: usize, end: usize) -> Hash {
        while end - at >= size_of::<Word>() {
            self = self.add(Word::at(bytes, at));
            at += size_of::<Word>();
        }
        let rest = 8 * (end - at) as u32;
        if rest == 0 {
            return self;
        }
        let word = if bytes.len() - at >= size_of::<Word>() {
            Word::at(bytes, at) & !(u128::MAX << rest)
        } else {
            let mut tail = [0; size_of::<Word>()];
            tail.split_at_mut(end - at).0.copy_from_slice(bytes.split_at(at).1.split_at(end - at).0);
            Word::at(&tail, 0) & !(u128::MAX << rest)
        };
        self.add(word)
    }

    pub(super) const fn end(self, length: usize) -> u128 {
        let Hash { low, high } = self.add(length as u128);
        (high as u128) << 64 | low as u128
    }
}

/// Sixteen bytes at any address, which are read and written without a call.
#[repr(C, packed)]
struct Word(u128);

impl Word {
    const fn at(bytes: &[u8], at: usize) -> u128 {
        assert!(at + size_of::<Word>() <= bytes.len());
        // SAFETY: inside (asserted), aligned to one, and all values are valid.
        let word = unsafe { (*bytes.as_ptr().add(at).cast::<Word>()).0 };
        if cfg!(target_endian = "big") { word.swap_bytes() } else { word }
    }
}

/// The hash of bytes.
pub(super) const fn hash_of(bytes: &[u8]) -> u128 {
    Hash::BASIS.part(bytes, 0, bytes.len()).end(bytes.len())
}

/// Copies the first `size` bytes to `at`.
pub(super) const fn copy(from: &[u8], to: &mut [u8], at: usize, size: usize) {
    assert!(0 < size && size <= from.len() && size <= to.len() && at <= to.len() - size);
    // SAFETY: inside of both (asserted), and what is borrowed mutably does not overlap what is borrowed.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr().add(at), size) }
}
