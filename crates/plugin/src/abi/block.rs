//! Bytes that a row points to: descriptions of types, and what the macro encoded. They are the same for many rows, so a row
//! has no copy of its own, and the compiler nothing to copy.
//!
//! ```text
//! block    = sum:u32 size:u32 bytes              sum: the lower half of the lower half of the hash over the bytes
//! ```
//!
//! Invariant: a [`Block`] points to a header, and to as many bytes behind it as that says, which never change.

use super::bytes::hash_of;
use super::types::{Type, Typed, Writer};

/// Before the bytes of a block. It is read and written without a call, which the compiler would have to interpret.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Header {
    sum: u32,
    size: u32,
}

const HEADER: usize = size_of::<Header>();

/// No description is longer: the compiler would be at it for seconds.
const LONGEST: usize = 1 << 16;

/// A block of this program.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Block(*const Header);

// SAFETY: what it points to never changes.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// A block with room for `N` bytes.
#[repr(C)]
pub(super) struct Held<const N: usize> {
    header: Header,
    bytes: [u8; N],
}

impl Block {
    /// A block that a macro encoded: header and bytes.
    ///
    /// # Safety
    /// It is one.
    pub const unsafe fn encoded(block: &'static [u8]) -> Block {
        Block((&raw const *block).cast())
    }

    /// The description of a type.
    pub(super) const fn describing<T: Typed + ?Sized>() -> Block {
        match T::TYPE.encoded_size() {
            0..=32 => described::<T, 32>(),
            33..=64 => described::<T, 64>(),
            65..=128 => described::<T, 128>(),
            129..=256 => described::<T, 256>(),
            257..=512 => described::<T, 512>(),
            513..=1024 => described::<T, 1024>(),
            1025..=2048 => described::<T, 2048>(),
            2049..=4096 => described::<T, 4096>(),
            4097..=8192 => described::<T, 8192>(),
            8193..=16384 => described::<T, 16384>(),
            16385..=32768 => described::<T, 32768>(),
            32769..=LONGEST => described::<T, LONGEST>(),
            _ => panic!(
                "the description of a type takes more than 64 KiB: export a function that takes it behind a raw pointer"
            ),
        }
    }

    /// The sum of its bytes.
    pub(super) const fn sum(self) -> u32 {
        // SAFETY: it points to a header.
        u32::from_le(unsafe { (*self.0).sum })
    }

    /// All of it.
    pub fn bytes(self) -> &'static [u8] {
        // SAFETY: it points to a header.
        let size = u32::from_le(unsafe { (*self.0).size });
        // SAFETY: and to as many bytes behind it.
        unsafe { std::slice::from_raw_parts(self.0.cast(), HEADER + size as usize) }
    }
}

/// A type's description with room for `N` bytes: a constant for each pair of the two that is asked for, and for no other.
const fn described<T: Typed + ?Sized, const N: usize>() -> Block {
    const { &Held::<N>::of(&T::TYPE) }.block()
}

impl<const N: usize> Held<N> {
    const fn of(described: &Type) -> Held<N> {
        let mut bytes = [0; N];
        let mut out = Writer::over(&mut bytes);
        out.put(described);
        let size = out.length;
        Held::new(bytes, size)
    }

    /// The first `size` bytes.
    pub(super) const fn new(bytes: [u8; N], size: usize) -> Held<N> {
        let sum = sum(bytes.split_at(size).0);
        Held { header: Header { sum: sum.to_le(), size: (size as u32).to_le() }, bytes }
    }

    pub(super) const fn block(&'static self) -> Block {
        Block((&raw const *self).cast())
    }
}

/// The sum that stands before the bytes of a block.
pub const fn sum(bytes: &[u8]) -> u32 {
    hash_of(bytes) as u32
}

/// The sum and the bytes of the block that `bytes` begin with, as it says.
pub(super) fn stated(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (sum, rest) = bytes.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    Some((u32::from_le_bytes(*sum), rest.get(..u32::from_le_bytes(*size) as usize)?))
}

/// Reads the block that `bytes` begin with.
pub(super) fn read(bytes: &[u8]) -> Option<&[u8]> {
    let (stated, bytes) = stated(bytes)?;
    (sum(bytes) == stated).then_some(bytes)
}
