//! A range of memory that was found writable once, for all stores to it.

use crate::addr::{Bias, RunAddr, VmAddr};

/// A range of memory that was found writable once, for all stores to it.
#[derive(Debug)]
pub struct Window<'m> {
    bytes: &'m mut [u8],
    bias: Bias,
}

impl<'m> Window<'m> {
    /// These bytes, of an image with that bias.
    pub(super) fn new(bytes: &'m mut [u8], bias: Bias) -> Window<'m> {
        Window { bytes, bias }
    }

    /// What is added to the image's addresses.
    pub fn bias(&self) -> Bias {
        self.bias
    }

    /// Stores an address in the eight bytes at `offset`; `false` outside the window.
    #[inline]
    pub fn store(&mut self, offset: usize, value: RunAddr) -> bool {
        let place = offset.checked_add(8).and_then(|end| self.bytes.get_mut(offset..end));
        let Some(place) = place else { return false };
        place.copy_from_slice(&value.0.to_le_bytes());
        true
    }

    /// `N` words at each of two offsets; `None` where they are not in the window, or overlap.
    pub fn two<const N: usize>(&mut self, offsets: [usize; 2]) -> Option<[&mut [[u8; 8]; N]; 2]> {
        let [one, other] = offsets.map(|offset| Some(offset..offset.checked_add(8 * N)?));
        let [one, other] = self.bytes.get_disjoint_mut([one?, other?]).ok()?;
        Some([one.as_chunks_mut().0.first_chunk_mut()?, other.as_chunks_mut().0.first_chunk_mut()?])
    }

    /// Stores the run-time address of `target` in the eight bytes at `offset`; `false` outside the window.
    #[inline]
    pub fn rebase(&mut self, offset: usize, target: VmAddr) -> bool {
        self.store(offset, target + self.bias)
    }

    /// The window beside its content in the file, as much of it as the shorter one has.
    #[inline]
    pub fn beside<'w>(&'w mut self, content: &'w [u8]) -> Rebasing<'w> {
        let size = content.len().min(self.bytes.len());
        let mut added = [0; 2 * FEW];
        added[..FEW].fill(self.bias.0);
        Rebasing { places: &mut self.bytes[..size], content: &content[..size], added }
    }
}

/// How many words are stored at once.
const FEW: usize = 8;

/// A window beside what the file has for it, byte for byte: targets are read from the one and stored in the other.
#[derive(Debug)]
pub struct Rebasing<'w> {
    places: &'w mut [u8],
    content: &'w [u8],
    /// The bias and then zeros, as many of each as there are words at once. As many in a row, wherever they start, are what
    /// is added where the first few words are rebased.
    added: [u64; 2 * FEW],
}

impl Rebasing<'_> {
    /// How many bytes [`Rebasing::few`] stores.
    pub const STORED: usize = 8 * FEW;

    /// How many words that is.
    pub const FEW: usize = FEW;

    /// Rebases up to eight words from `offset` on, and stores those behind them, eight in all, as the file has them: nothing
    /// of it may have been relocated before. That takes the same time for every count, where a loop over so few takes longer
    /// to end than to run. `false`, and nothing is stored, where there is no room for eight, or more are asked for.
    #[inline(always)]
    pub fn few(&mut self, offset: usize, count: usize) -> bool {
        let added = self.added.get(FEW.wrapping_sub(count)..).and_then(|added| added.first_chunk::<FEW>());
        let end = offset.checked_add(Self::STORED);
        let (Some(added), Some(end)) = (added, end) else { return false };
        let (Some(content), Some(places)) = (self.content.get(offset..end), self.places.get_mut(offset..end)) else {
            return false;
        };
        let Some(content) = content.as_chunks::<8>().0.first_chunk::<FEW>() else { return false };
        // All are read before the first is stored, so that it can be done with vectors.
        let values: [_; FEW] = std::array::from_fn(|at| u64::from_le_bytes(content[at]).wrapping_add(added[at]));
        for (place, value) in places.as_chunks_mut().0.iter_mut().zip(values) {
            *place = value.to_le_bytes();
        }
        true
    }

    /// Rebases so many words from `offset` on, and stores nothing else; `false`, and nothing at all, outside the window.
    #[inline]
    pub fn all(&mut self, offset: usize, count: usize) -> bool {
        let Some(end) = count.checked_mul(8).and_then(|size| offset.checked_add(size)) else { return false };
        let (Some(content), Some(places)) = (self.content.get(offset..end), self.places.get_mut(offset..end)) else {
            return false;
        };
        let bias = self.added[0];
        for (place, target) in places.as_chunks_mut().0.iter_mut().zip(content.as_chunks().0) {
            *place = u64::from_le_bytes(*target).wrapping_add(bias).to_le_bytes();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty words that hold their numbers in the file, and a hundred more than that in memory.
    fn words() -> (Vec<u8>, Vec<u8>) {
        let words = |first| (first..first + 20).flat_map(u64::to_le_bytes).collect();
        (words(0), words(100))
    }

    fn numbers(bytes: &[u8]) -> Vec<u64> {
        bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }

    #[test]
    fn few_are_rebased_and_the_rest_is_as_in_the_file() {
        for count in 0..=8 {
            let (content, mut memory) = words();
            assert!(Window::new(&mut memory, Bias(1000)).beside(&content).few(24, count as usize));
            let expected = (0..20).map(|at| match at {
                at if at >= 3 && at < 3 + count => at + 1000,
                3..11 => at,
                _ => at + 100,
            });
            assert_eq!(numbers(&memory), expected.collect::<Vec<_>>(), "{count}");
        }
    }

    #[test]
    fn all_are_rebased_and_nothing_else_is_stored() {
        for count in 0..=17 {
            let (content, mut memory) = words();
            assert!(Window::new(&mut memory, Bias(1000)).beside(&content).all(24, count as usize));
            let expected = (0..20).map(|at| if at >= 3 && at < 3 + count { at + 1000 } else { at + 100 });
            assert_eq!(numbers(&memory), expected.collect::<Vec<_>>(), "{count}");
        }
    }

    #[test]
    fn what_has_no_room_is_not_stored() {
        let (content, mut memory) = words();
        let before = memory.clone();
        let mut window = Window::new(&mut memory, Bias(1000));
        for (offset, count) in [(97, 8), (97, 0), (0, 9), (0, usize::MAX), (usize::MAX, 1), (160, 1)] {
            assert!(!window.beside(&content).few(offset, count), "{offset} {count}");
        }
        for (offset, count) in [(97, 8), (0, 21), (0, usize::MAX), (8, usize::MAX / 8), (usize::MAX, 1)] {
            assert!(!window.beside(&content).all(offset, count), "{offset} {count}");
        }
        // The content may be shorter than the window, or longer.
        assert!(!window.beside(&content[..80]).few(24, 1) && !window.beside(&content[..80]).all(24, 8));
        assert!(Window::new(&mut memory[..80], Bias(1000)).beside(&content).few(16, 0));
        assert!(!Window::new(&mut memory[..80], Bias(1000)).beside(&content).few(24, 0));
        assert_eq!(numbers(&memory[..16]), numbers(&before[..16]));
        assert_eq!(memory[80..], before[80..]);
    }
}
