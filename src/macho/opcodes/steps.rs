//! Operations in bulk: those that nearly all of a stream consists of, applied to a window by loops that take the same way for
//! each. What comes next is as good as random, and a branch that is guessed wrong takes longer than ten fixups; and to
//! know where the next operation begins must not take longer than the fixups of this one.
//!
//! Whatever is not so simple stops the loop before it, and takes the long way: other operations, long operands, places
//! outside the window, more fixups than there may be, the end.

use super::{Binds, POINTER, Rebases, TYPE_POINTER};
use crate::addr::{MIN_PAGE, RunAddr, VmAddr, VmRange};
use crate::bytes::short_uleb128;
use crate::memory::{Rebasing, Window};

/// A run of words, or one, and a step: two bytes, as nearly all of a stream is. A run is an operation and its step the next
/// one; a single word has its step as its operand. Where the next pair begins is therefore known before either byte is.
#[derive(Clone, Copy)]
struct Pair {
    /// How many words are rebased.
    count: u8,
    /// The bits of the second byte that tell whether it is a pair, and what they are then.
    mask: u8,
    expected: u8,
    /// The bits of the second byte that are the step, and how many bytes it counts in.
    step: u8,
    unit: u8,
}

const MOVE_WORDS: u8 = 0x40;
const WORDS: u8 = 0x50;
/// Words whose number is an operand: they come in hundreds.
const MANY_WORDS: u8 = 0x60;
const WORD_AND_SKIP: u8 = 0x70;

/// By the first byte.
const PAIRS: [Pair; 256] = {
    let never = Pair { count: 0, mask: 0, expected: 1, step: 0, unit: 0 };
    let (mut pairs, mut immediate) = ([never; 256], 0);
    while immediate < 16 {
        pairs[(WORDS | immediate) as usize] =
            Pair { count: immediate, mask: 0xf0, expected: MOVE_WORDS, step: 0xf, unit: 8 };
        pairs[(WORD_AND_SKIP | immediate) as usize] = Pair { count: 1, mask: 0x80, expected: 0, step: 0x7f, unit: 1 };
        immediate += 1;
    }
    pairs
};

impl Rebases<'_, '_> {
    /// Applies what comes next to the window of that region, whose content in the file is given.
    pub(in crate::macho) fn apply(&mut self, region: VmRange, content: &[u8], window: &mut Window<'_>) {
        let Rebases { cursor, head, relocated } = self;
        if head.kind != TYPE_POINTER {
            return;
        }
        let mut words = window.beside(content);
        let (mut rest, mut left) = (cursor.rest(), head.left);
        let mut at = head.at.wrapping_sub(region.start.0);
        let mut fresh = relocated.0.saturating_sub(region.start.0);
        while let [operation, after, third, ..] = *rest {
            let pair = PAIRS[usize::from(operation)];
            let mut count = u64::from(pair.count);
            let mut step = u64::from(after & pair.step) * u64::from(pair.unit);
            let mut size = 2;
            if after & pair.mask != pair.expected {
                if operation != MANY_WORDS || after >= 0x80 {
                    break;
                }
                count = u64::from(after);
                let moves = third & 0xf0 == MOVE_WORDS;
                step = if moves { u64::from(third & 0xf) * POINTER } else { 0 };
                size += usize::from(moves);
            }
            if count > left || !rebase(at, count, at >= fresh, &mut words) {
                break;
            }
            let end = at + count * POINTER;
            fresh = fresh.max(end);
            at = end + step;
            left -= count;
            rest = &rest[size..];
        }
        *relocated = (*relocated).max(VmAddr(region.start.0.saturating_add(fresh)));
        head.at = at.wrapping_add(region.start.0);
        head.left = left;
        cursor.leave(rest);
    }
}

/// Rebases so many words from `at` on; `false` if they are not all in the window. Nothing from there on was relocated before
/// if it is fresh: then words behind them may be stored, too, but only in the page of the last one. A page without a fixup is
/// never written to, since each that is takes memory of its own.
#[inline(always)]
fn rebase(at: u64, count: u64, fresh: bool, words: &mut Rebasing<'_>) -> bool {
    let Ok(mut last) = usize::try_from(at) else { return false };
    let mut few = count as usize;
    while few > Rebasing::FEW && words.few(last, Rebasing::FEW) {
        last += Rebasing::STORED;
        few -= Rebasing::FEW;
    }
    let within = few > 0 && last % MIN_PAGE as usize <= MIN_PAGE as usize - Rebasing::STORED;
    fresh && within && words.few(last, few) || words.all(last, few)
}

/// Bytes that a bind moves on by behind its word, without those of its operand: by the first byte.
const BEHIND_BIND: [u8; 256] = {
    let (mut bytes, mut immediate) = ([0; 256], 0);
    while immediate < 16 {
        bytes[(BIND_AND_MOVE | immediate) as usize] = immediate * POINTER as u8;
        immediate += 1;
    }
    bytes
};

const BIND: u8 = 0x90;
const BIND_AND_MOVE: u8 = 0xb0;
/// A count and a distance: one in ten.
const REPEAT: u8 = 0xc0;

impl Binds<'_, '_> {
    /// Stores the value of the present import in the window of that region, as often as what comes next says.
    pub(in crate::macho) fn apply(&mut self, region: VmRange, value: RunAddr, window: &mut Window<'_>) {
        let Binds { cursor, head, .. } = self;
        if head.kind != TYPE_POINTER {
            return;
        }
        let (mut rest, mut left) = (cursor.rest(), head.left);
        let mut at = head.at.wrapping_sub(region.start.0);
        while let Some(&[operation, ref operand @ ..]) = rest.first_chunk::<9>() {
            if operation & 0xf0 == REPEAT {
                let [count, skip @ ..] = *operand;
                let Some((count, distance, size)) = repetition(count, skip) else { break };
                let last = at.checked_add((count - 1) * distance).and_then(|last| last.checked_add(POINTER));
                if count > left || last.is_none_or(|end| end > region.size) {
                    break;
                }
                for index in 0..count {
                    window.store((at + index * distance) as usize, value);
                }
                left -= count;
                at += count * distance;
                rest = &rest[size..];
                continue;
            }
            if !(BIND..REPEAT).contains(&operation) || left == 0 {
                break;
            }
            let word = u64::from_le_bytes(*operand);
            // The odd ones of these operations have no operand. With one of two bytes, which is what large images have,
            // nothing needs to be looked for: where the next operation begins is known soon.
            let has_operand = u64::from(!operation >> 4 & 1);
            let mask = has_operand.wrapping_neg();
            let (skip, size) = if (word ^ 0x80) & 0x8080 & mask == 0 {
                (word & 0x7f | word >> 1 & 0x3f80, 2 * has_operand)
            } else {
                short_uleb128(*operand)
            };
            if size > 8 || !window.store(at as usize, value) {
                break;
            }
            left -= 1;
            at = at.wrapping_add(POINTER + u64::from(BEHIND_BIND[usize::from(operation)]) + (skip & mask));
            rest = &rest[1 + size as usize..];
        }
        head.at = at.wrapping_add(region.start.0);
        head.left = left;
        cursor.leave(rest);
    }
}

/// How many binds, the distance between them, and the size of the operation; `None` for what is long or nothing.
#[inline(always)]
fn repetition(count: u8, skip: [u8; 7]) -> Option<(u64, u64, usize)> {
    let mut operand = [0x80; 8];
    operand[..7].copy_from_slice(&skip);
    let (skip, size) = short_uleb128(operand);
    let sound = (1..0x80).contains(&count) && size <= 7;
    sound.then_some((u64::from(count), skip + POINTER, 2 + size as usize))
}
