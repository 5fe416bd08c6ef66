//! The formats of chained pointers: what the 64 bits of one say.

use super::{Imports, UNKNOWN};
use crate::addr::VmAddr;
use crate::plan::{FixupKind, PointerAuth, PointerKey};

/// What the pointers of one format say.
pub(super) trait Pointers: Copy {
    /// How far the next pointer of the chain is; 0 after the last.
    fn next(self, raw: u64) -> u64;

    /// The same in words, where it is a multiple of them: [`Pointers::value`] says where not.
    fn words(self, raw: u64) -> usize;

    /// What it stores, if that is the sum of a value and of what the pointer says itself. The values are the bias, and
    /// what each import comes to.
    fn value(self, raw: u64, values: &[u64]) -> Option<u64>;

    /// All of it; `None` if there is no such import.
    fn kind(self, raw: u64, imports: Imports<'_>) -> Option<FixupKind>;
}

/// `DYLD_CHAINED_PTR_64` (targets are addresses) and `…_64_OFFSET` (they count from the header).
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub(super) base: u64,
}

impl Pointers for Plain {
    #[inline]
    fn next(self, raw: u64) -> u64 {
        (raw >> 51 & 0xfff) * 4
    }

    #[inline]
    fn words(self, raw: u64) -> usize {
        (raw >> 52 & 0x7ff) as usize
    }

    #[inline]
    fn value(self, raw: u64, values: &[u64]) -> Option<u64> {
        // Every fifth may be a bind, as good as at random. A branch would guess wrong, so what chooses is arithmetic.
        let is_bind = (raw as i64 >> 63) as u64;
        let value = *values.get((((raw & 0xff_ffff) + 1) & is_bind) as usize)?;
        // Something in the high byte; or a distance that is no multiple of eight.
        if value == UNKNOWN || raw & (0xff << 36 | 1 << 51) != 0 {
            return None;
        }
        let target = (raw & 0xf_ffff_ffff).wrapping_add(self.base);
        let more = std::hint::select_unpredictable(is_bind != 0, raw >> 24 & 0xff, target);
        Some(value.wrapping_add(more))
    }

    #[inline]
    fn kind(self, raw: u64, imports: Imports<'_>) -> Option<FixupKind> {
        if raw >> 63 != 0 {
            return imports.bind((raw as u32 & 0xff_ffff, (raw >> 24 & 0xff) as i64), None);
        }
        let target = (raw & 0xf_ffff_ffff).wrapping_add(self.base);
        Some(FixupKind::Rebase { target: VmAddr(target | (raw >> 36 & 0xff) << 56) })
    }
}

/// `DYLD_CHAINED_PTR_ARM64E` and its `USERLAND` forms. Targets with a signature always count from the header; the
/// others do so in the `USERLAND` forms only.
#[derive(Clone, Copy)]
pub(super) struct Arm64e {
    pub(super) header: u64,
    pub(super) base: u64,
    pub(super) ordinals: u32,
}

impl Arm64e {
    /// Where a rebase leads to, without its high byte.
    #[inline]
    fn target(self, raw: u64) -> u64 {
        // Signed and other pointers take turns in no order, too.
        let signed = (raw as i64 >> 63) as u64;
        let base = self.base ^ (self.base ^ self.header) & signed;
        (raw & (0x7ff_ffff_ffff & !signed | 0xffff_ffff)).wrapping_add(base)
    }

    #[inline]
    fn bind(self, raw: u64) -> (u32, i64) {
        // 19 bits with a sign, where the signature leaves room.
        let addend = if raw >> 63 == 0 { (raw << 13) as i64 >> 45 } else { 0 };
        (raw as u32 & self.ordinals, addend)
    }
}

impl Pointers for Arm64e {
    #[inline]
    fn next(self, raw: u64) -> u64 {
        (raw >> 51 & 0x7ff) * 8
    }

    #[inline]
    fn words(self, raw: u64) -> usize {
        (raw >> 51 & 0x7ff) as usize
    }

    #[inline]
    fn value(self, raw: u64, values: &[u64]) -> Option<u64> {
        if raw >> 62 & 1 != 0 {
            let (ordinal, addend) = self.bind(raw);
            let value = *values.get(ordinal as usize + 1)?;
            if value == UNKNOWN {
                return None;
            }
            return Some(value.wrapping_add_signed(addend));
        }
        // Nearly all have a target of 32 bits and nothing in the high byte.
        let signed = (raw as i64 >> 63) as u64;
        if raw & 0x7_ffff << 32 & !signed != 0 {
            return None;
        }
        let base = self.base ^ (self.base ^ self.header) & signed;
        Some(u64::from(raw as u32).wrapping_add(base).wrapping_add(*values.first()?))
    }

    #[inline]
    fn kind(self, raw: u64, imports: Imports<'_>) -> Option<FixupKind> {
        let auth = (raw >> 63 != 0).then(|| PointerAuth {
            key: [PointerKey::IA, PointerKey::IB, PointerKey::DA, PointerKey::DB][(raw >> 49 & 3) as usize],
            diversity: (raw >> 32) as u16,
            address: raw >> 48 & 1 != 0,
        });
        if raw >> 62 & 1 != 0 {
            return imports.bind(self.bind(raw), auth);
        }
        let high = if auth.is_none() { (raw >> 43 & 0xff) << 56 } else { 0 };
        let target = VmAddr(self.target(raw) | high);
        Some(match auth {
            Some(auth) => FixupKind::Signed { import: None, addend: target.0 as i64, auth },
            None => FixupKind::Rebase { target },
        })
    }
}
