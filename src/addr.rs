//! Addresses that say what they are relative to.
//!
//! A loader juggles three kinds of number that all look like `u64`: an offset in a file, a virtual address as the
//! file states it, and an address in this process. Mixing them is the classic loader bug, so each has a type, and
//! `VmAddr + Bias = RunAddr` is the only way from the second to the third.

use std::fmt;
use std::ops::Add;

/// The smallest page of any supported machine: memory is mapped and protected in units of at least this.
pub const MIN_PAGE: u64 = 0x1000;

/// An offset in bytes from the start of a file (or of the slice of a universal file).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(pub u64);

/// A virtual address as the file states it, before any bias.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmAddr(pub u64);

/// What must be added to a [`VmAddr`] of one image to get its address in this process; wraps modulo 2^64.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Bias(pub u64);

/// An address in this process.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunAddr(pub u64);

macro_rules! shown_in_hex {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    )*};
}
shown_in_hex!(FileOffset, VmAddr, Bias, RunAddr);

/// A range of virtual addresses: `start .. start + size`, where the end fits in 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmRange {
    /// First address.
    pub start: VmAddr,
    /// Length in bytes.
    pub size: u64,
}

/// A range of a file: `start .. start + size`, where the end fits in 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileRange {
    /// First byte.
    pub start: FileOffset,
    /// Length in bytes.
    pub size: u64,
}

impl Add<Bias> for VmAddr {
    type Output = RunAddr;

    #[inline]
    fn add(self, bias: Bias) -> RunAddr {
        RunAddr(self.0.wrapping_add(bias.0))
    }
}

impl VmAddr {
    /// The address `bytes` further on, or `None` past the end of the address space.
    #[inline]
    pub fn checked_add(self, bytes: u64) -> Option<VmAddr> {
        self.0.checked_add(bytes).map(VmAddr)
    }
}

impl RunAddr {
    /// The address as the file states it, given the image's bias.
    #[inline]
    pub fn to_vm(self, bias: Bias) -> VmAddr {
        VmAddr(self.0.wrapping_sub(bias.0))
    }
}

impl VmRange {
    /// The range of `size` bytes at `start`, or `None` where its end does not fit in 64 bits.
    #[inline]
    pub fn new(start: u64, size: u64) -> Option<VmRange> {
        start.checked_add(size)?;
        Some(VmRange { start: VmAddr(start), size })
    }

    /// First address past the range.
    #[inline]
    pub fn end(self) -> VmAddr {
        VmAddr(self.start.0 + self.size)
    }

    /// Whether `bytes` bytes at `at` all lie in the range.
    #[inline]
    pub fn holds(self, at: VmAddr, bytes: u64) -> bool {
        let offset = at.0.wrapping_sub(self.start.0);
        offset <= self.size && self.size - offset >= bytes
    }

    /// Whether the two ranges share a byte.
    pub fn overlaps(self, other: VmRange) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// The smallest range of whole pages that holds this one, or `None` past the end of the address space.
    pub fn pages(self, page: u64) -> Option<VmRange> {
        let start = self.start.0 & !(page - 1);
        let end = self.end().0.checked_add(page - 1)? & !(page - 1);
        Some(VmRange { start: VmAddr(start), size: end - start })
    }

    /// The whole pages for sealing: the start rounded down, the end rounded **down**, so that data which shares the
    /// last page with the range stays writable.
    pub fn sealable_pages(self, page: u64) -> VmRange {
        let start = self.start.0 & !(page - 1);
        let end = self.end().0 & !(page - 1);
        VmRange { start: VmAddr(start), size: end.saturating_sub(start) }
    }
}

impl FileRange {
    /// The range of `size` bytes at `start`, or `None` where its end does not fit in 64 bits.
    #[inline]
    pub fn new(start: u64, size: u64) -> Option<FileRange> {
        start.checked_add(size)?;
        Some(FileRange { start: FileOffset(start), size })
    }

    /// First byte past the range.
    #[inline]
    pub fn end(self) -> FileOffset {
        FileOffset(self.start.0 + self.size)
    }
}

macro_rules! hex_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    )*};
}
hex_display!(FileOffset, VmAddr, Bias, RunAddr);

impl fmt::Display for VmRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end())
    }
}

impl fmt::Display for FileRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_only_whole_accesses() {
        const CASES: &[(u64, u64, u64, u64, bool)] = &[
            // start, size, at, bytes, held
            (0x1000, 0x10, 0x1000, 8, true),
            (0x1000, 0x10, 0x1008, 8, true),
            (0x1000, 0x10, 0x1009, 8, false),
            (0x1000, 0x10, 0xfff, 1, false),
            (0x1000, 0x10, 0x1010, 0, true),
            (0x1000, 0x10, u64::MAX, 8, false),
            (0, 4, 0, 8, false),
        ];
        for &(start, size, at, bytes, held) in CASES {
            let range = VmRange::new(start, size).unwrap();
            assert_eq!(range.holds(VmAddr(at), bytes), held, "{range} holds {bytes} at {at:#x}");
        }
    }

    #[test]
    fn a_seal_never_takes_a_page_it_shares() {
        let range = VmRange::new(0x1d0, 0x2e40).unwrap();
        assert_eq!(range.sealable_pages(0x1000), VmRange::new(0, 0x3000).unwrap());
        let inside = VmRange::new(0x1100, 0x80).unwrap();
        assert_eq!(inside.sealable_pages(0x1000).size, 0);
    }

    #[test]
    fn no_range_wraps() {
        assert!(VmRange::new(u64::MAX, 1).is_none());
        assert!(VmRange::new(u64::MAX - 4, 4).unwrap().pages(0x1000).is_none());
        assert_eq!(VmAddr(0x10) + Bias(u64::MAX), RunAddr(0xf));
    }
}
