//! Operations in bulk: those that nearly all of a stream consists of, applied to a window by a loop without branches but
//! its own. What comes next is as good as random, and a branch that is guessed wrong takes longer than ten fixups.
//!
//! Whatever is not so simple stops the loop before it, and takes the long way: other operations, long operands, places
//! outside the window, more fixups than there may be, the end.

use super::{Binds, POINTER, Rebases, Run, TYPE_POINTER};
use crate::addr::{RunAddr, VmAddr, VmRange};
use crate::bytes::{Cursor, short_uleb128};
use crate::memory::Window;

/// What an operation does: fixups in a row, then a step of so many words, and of as many bytes as its operand says.
#[derive(Clone, Copy)]
struct Step {
    simple: bool,
    count: u8,
    words: u8,
    has_operand: bool,
}

/// By the first byte of the operation.
type Steps = [Step; 256];

const REBASES: Steps = table(&[
    // Operation, count, words, operand; `N` stands for the immediate value.
    (0x30, 0, 0, true),
    (MOVE_WORDS, 0, N, false),
    (0x50, N, 0, false),
    (0x70, 1, 0, true),
]);

/// A bit for each operation of [`REBASES`] that has an operand, by its high four bits.
const WITH_OPERAND: u64 = {
    let (mut bits, mut operation) = (0, 0);
    while operation < 16 {
        bits |= (REBASES[operation << 4].has_operand as u64) << operation;
        operation += 1;
    }
    bits
};

const BINDS: Steps = table(&[(0x80, 0, 0, true), (0x90, 1, 0, false), (0xa0, 1, 0, true), (0xb0, 1, N, false)]);

const N: u8 = u8::MAX;
const MOVE_WORDS: u8 = 0x40;
/// A count and a distance: one in ten binds.
const REPEAT: u8 = 0xc0;

const fn table(rows: &[(u8, u8, u8, bool)]) -> Steps {
    let mut steps = [Step { simple: false, count: 0, words: 0, has_operand: false }; 256];
    let mut at = 0;
    while at < rows.len() {
        let (operation, count, words, has_operand) = rows[at];
        let mut immediate = 0;
        while immediate < 16 {
            let count = if count == N { immediate } else { count };
            let words = if words == N { immediate } else { words };
            steps[(operation | immediate) as usize] = Step { simple: true, count, words, has_operand };
            immediate += 1;
        }
        at += 1;
    }
    steps
}

impl Rebases<'_, '_> {
    /// Applies what comes next to the window of that region, whose content in the file is given.
    pub(in crate::macho) fn apply(&mut self, region: VmRange, content: &[u8], window: &mut Window<'_>) {
        let Rebases { cursor, head } = self;
        if head.kind != TYPE_POINTER {
            return;
        }
        let (mut next, mut left) = (cursor.at, head.left);
        let mut at = head.at.wrapping_sub(region.start.0);
        while let Some([operation, after]) = cursor.ahead(next) {
            let step = REBASES[usize::from(operation)];
            // The next byte is read in any case, and counts only where it is an operand.
            let has_operand = WITH_OPERAND >> (operation >> 4) & 1;
            let operand = u64::from(after) & has_operand.wrapping_neg();
            let count = u64::from(step.count);
            if !step.simple || operand >= 0x80 || count > left || !rebase(at, content, count as usize, window) {
                break;
            }
            // Behind nearly every run is an operation that only moves on: it is done along with it.
            let moves = u64::from(after & 0xf0 == MOVE_WORDS);
            let more = u64::from(after & 0xf) & moves.wrapping_neg() & has_operand.wrapping_sub(1);
            left -= count;
            at = at.wrapping_add((count + u64::from(step.words) + more) * POINTER + operand);
            // All waits for where the next one is, so that takes few steps: no table.
            next += 1 + (has_operand | moves);
        }
        head.at = at.wrapping_add(region.start.0);
        (cursor.at, head.left) = (next, left);
    }
}

/// Rebases so many words from `at` on; `false` if they are not all in the window.
#[inline(always)]
fn rebase(at: u64, content: &[u8], count: usize, window: &mut Window<'_>) -> bool {
    let Some(content) = usize::try_from(at).ok().and_then(|at| content.get(at..)) else { return false };
    let (targets, _) = content.as_chunks::<8>();
    match targets.first_chunk() {
        Some(some) if count <= some.len() => window.rebase_some(at as usize, some, count),
        _ => targets.get(..count).is_some_and(|targets| window.rebase_all(at as usize, targets)),
    }
}

impl Binds<'_, '_> {
    /// Stores the value of the present import in the window of that region, as often as what comes next says.
    pub(in crate::macho) fn apply(&mut self, region: VmRange, value: RunAddr, window: &mut Window<'_>) {
        let Binds { cursor, head, .. } = self;
        if head.kind != TYPE_POINTER {
            return;
        }
        let (mut next, mut left) = (cursor.at, head.left);
        let mut at = head.at.wrapping_sub(region.start.0);
        while let Some([operation, operand @ ..]) = cursor.ahead::<9>(next) {
            let step = BINDS[usize::from(operation)];
            let (operand, size) = short_uleb128(operand);
            let mask = u64::from(step.has_operand).wrapping_neg();
            let count = u64::from(step.count);
            if operation & 0xf0 == REPEAT {
                let mut ahead = Cursor::new(cursor.all(), next + 1);
                let (Some(count), Some(skip)) = (ahead.uleb128(), ahead.uleb128()) else { break };
                let run = Run { place: VmAddr(at), count, distance: skip.wrapping_add(POINTER) };
                let inside = |range: &VmRange| range.end().0 <= region.size;
                if count > left || run.range().filter(inside).is_none() {
                    break;
                }
                for place in run.places() {
                    window.store(place.0 as usize, value);
                }
                left -= count;
                at = at.wrapping_add(run.distance.wrapping_mul(count));
                next = ahead.at;
                continue;
            }
            let fits = step.simple && size & mask <= 8 && count <= left;
            if !fits || (count > 0 && !window.store(at as usize, value)) {
                break;
            }
            left -= count;
            let skip = (count + u64::from(step.words)) * POINTER;
            at = at.wrapping_add(skip).wrapping_add(operand & mask);
            next += 1 + (size & mask);
        }
        head.at = at.wrapping_add(region.start.0);
        (cursor.at, head.left) = (next, left);
    }
}
