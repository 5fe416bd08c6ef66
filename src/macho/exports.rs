//! The export trie (`LC_DYLD_EXPORTS_TRIE`, or the last table of `LC_DYLD_INFO`).
//!
//! Grammar (`<mach-o/loader.h>`): a node is { size: uleb, what it exports: `size` bytes, child count: u8, then for each
//! child { label: string, offset of its node in the trie: uleb } }. What a node exports is { flags: uleb } and then
//! { ordinal: uleb, name: string } for a re-export (an empty name is the same one), or { offset from the header, or
//! an absolute value: uleb }, and { offset of a resolver: uleb } where the flags say so. Of a function with variants, the
//! offset is that of the one that any processor runs, and { number of its table: uleb } follows.

use crate::addr::VmAddr;
use crate::astray::goes_astray;
use crate::bytes::{Bytes, Cursor};
use crate::error::{ErrorKind, Place};

const KIND_MASK: u64 = 3;
const KIND_THREAD_LOCAL: u64 = 1;
const KIND_ABSOLUTE: u64 = 2;
const WEAK_DEFINITION: u64 = 4;
const REEXPORT: u64 = 8;
const STUB_AND_RESOLVER: u64 = 0x10;
const FUNCTION_VARIANT: u64 = 0x20;

/// All names of a trie together may be so many times longer than the trie: shared beginnings are stored once, but not
/// more often than linkers find. Without a limit a small file could ask for the time and memory of its square.
const SHARING: u64 = 1 << 10;

/// Bytes of nodes that one search may pass over without being counted: several times what it is in any real trie.
const USUAL: u64 = 1 << 16;

/// One row of the trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `EXPORT_SYMBOL_FLAGS_…`
    pub flags: u64,
    /// What it leads to.
    pub target: Target<'a>,
}

/// What an export leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A place in the image.
    Here(VmAddr),
    /// The descriptor of a thread-local variable.
    ThreadLocal(VmAddr),
    /// A value that is no address.
    Absolute(u64),
    /// A function that another one chooses when it is first bound.
    Resolved {
        /// What calls jump through meanwhile.
        stub: VmAddr,
        /// What chooses.
        resolver: VmAddr,
    },
    /// A symbol of another image.
    Reexport {
        /// The number of the need, from 1.
        ordinal: u64,
        /// The name there; empty for the same one.
        name: &'a [u8],
    },
}

impl Entry<'_> {
    /// Whether images may agree on one definition of it.
    pub fn weak(&self) -> bool {
        self.flags & WEAK_DEFINITION != 0
    }
}

/// An export trie.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trie<'a> {
    bytes: Bytes<'a>,
    /// Where the header is: what offsets count from.
    header: VmAddr,
    /// Whether a function of which the image has several variants is the one that runs everywhere.
    any_variant: bool,
}

impl<'a> Trie<'a> {
    /// The trie in `bytes`.
    pub fn new(bytes: &'a [u8], header: VmAddr) -> Trie<'a> {
        Trie { bytes: Bytes(bytes), header, any_variant: false }
    }

    /// The same of an image that is not ours to choose variants for: of each function the first, which any processor runs.
    pub fn of_mapped(bytes: &'a [u8], header: VmAddr) -> Trie<'a> {
        Trie { any_variant: true, ..Trie::new(bytes, header) }
    }

    /// Finds the name that `parts` are in one.
    ///
    /// # Errors
    /// A trie that is cut off or runs in a circle, on the way to the name.
    pub fn find(&self, parts: &[&[u8]]) -> Result<Option<Entry<'a>>, ErrorKind> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let mut name = Remainder { parts, at: 0 };
        let (mut node, mut passed, mut empty) = (0, 0, false);
        loop {
            let mut cursor = self.cursor(node);
            let terminal = cursor.uleb128().ok_or_else(|| cut(node))?;
            let content = cursor.at;
            let children = content.checked_add(terminal).ok_or_else(|| cut(node))?;
            if name.is_empty() && terminal > 0 {
                return self.entry(content, children).map(Some);
            }
            cursor.at = children;
            let mut next = None;
            for _ in 0..cursor.u8().ok_or_else(|| cut(node))? {
                let label = cursor.c_str().ok_or_else(|| cut(node))?;
                let child = cursor.uleb128().ok_or_else(|| cut(node))?;
                // Some linkers hang a name that others begin with on a label of its own, which is empty. Two of them after one
                // another could be a circle.
                let may_follow = !label.is_empty() || !empty && next.is_none();
                if let Some(rest) = name.strip(label).filter(|_| may_follow) {
                    next = Some((child, rest, label.is_empty()));
                    if !label.is_empty() {
                        break;
                    }
                }
            }
            // Each node may have as many children as all others together, and be on the way to every name.
            passed += cursor.at - children;
            if passed > USUAL {
                goes_astray(std::mem::take(&mut passed) as usize);
            }
            let Some((child, rest, by_nothing)) = next else { return Ok(None) };
            (node, name, empty) = (child, rest, by_nothing);
        }
    }

    /// Calls `each` with every name, in the order of the trie.
    ///
    /// # Errors
    /// A trie that is cut off, runs in a circle, or whose names are out of proportion.
    pub fn each(&self, mut each: impl FnMut(&[u8], Entry<'a>)) -> Result<(), ErrorKind> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        // A node takes two bytes at least, and its parent two for it: no trie in which each has one has more than this.
        let (mut nodes, mut room) = (self.bytes.len() as u64 / 4 + 1, self.bytes.len() as u64 * SHARING);
        let mut name: Vec<u8> = Vec::new();
        // Nodes to visit, with how much of the name above them is theirs, and their own label.
        let mut stack: Vec<(u64, usize, &[u8])> = vec![(0, 0, &[])];
        while let Some((node, length, label)) = stack.pop() {
            nodes = nodes.checked_sub(1).ok_or_else(|| circle(node))?;
            name.truncate(length);
            name.extend_from_slice(label);
            let mut cursor = self.cursor(node);
            let terminal = cursor.uleb128().ok_or_else(|| cut(node))?;
            let content = cursor.at;
            let children = content.checked_add(terminal).ok_or_else(|| cut(node))?;
            if terminal > 0 {
                room = room.checked_sub(name.len() as u64).ok_or_else(|| circle(node))?;
                each(&name, self.entry(content, children)?);
            }
            cursor.at = children;
            let first = stack.len();
            for _ in 0..cursor.u8().ok_or_else(|| cut(node))? {
                let label = cursor.c_str().ok_or_else(|| cut(node))?;
                let child = cursor.uleb128().ok_or_else(|| cut(node))?;
                stack.push((child, name.len(), label));
            }
            stack[first..].reverse();
            if stack.len() as u64 > nodes {
                return Err(circle(node));
            }
        }
        Ok(())
    }

    fn cursor(&self, at: u64) -> Cursor<'a> {
        Cursor::new(self.bytes.0, at)
    }

    fn entry(&self, start: u64, end: u64) -> Result<Entry<'a>, ErrorKind> {
        let bytes = self.bytes.slice(0, end).ok_or_else(|| cut(start))?;
        let mut cursor = Cursor::new(bytes, start);
        let mut uleb = || cursor.uleb128().ok_or_else(|| cut(start));
        let flags = uleb()?;
        let place = |offset: u64| VmAddr(self.header.0.wrapping_add(offset));
        let target = if flags & REEXPORT != 0 {
            Target::Reexport { ordinal: uleb()?, name: cursor.c_str().ok_or_else(|| cut(start))? }
        } else if flags & FUNCTION_VARIANT != 0 && !self.any_variant {
            return Err(ErrorKind::unsupported("EXPORT_SYMBOL_FLAGS_FUNCTION_VARIANT"));
        } else if flags & STUB_AND_RESOLVER != 0 {
            Target::Resolved { stub: place(uleb()?), resolver: place(uleb()?) }
        } else {
            match (flags & KIND_MASK, uleb()?) {
                (KIND_ABSOLUTE, value) => Target::Absolute(value),
                (KIND_THREAD_LOCAL, offset) => Target::ThreadLocal(place(offset)),
                (_, offset) => Target::Here(place(offset)),
            }
        };
        Ok(Entry { flags, target })
    }
}

/// What is left of a name in pieces.
#[derive(Clone, Copy)]
struct Remainder<'n> {
    parts: &'n [&'n [u8]],
    /// How much of the first part is done.
    at: usize,
}

impl<'n> Remainder<'n> {
    fn is_empty(&self) -> bool {
        self.parts.iter().map(|part| part.len()).sum::<usize>() == self.at
    }

    /// Without `label` at the front, if it begins so.
    fn strip(mut self, label: &[u8]) -> Option<Remainder<'n>> {
        for &byte in label {
            while self.parts.first()?.len() == self.at {
                (self.parts, self.at) = (&self.parts[1..], 0);
            }
            if self.parts[0][self.at] != byte {
                return None;
            }
            self.at += 1;
        }
        Some(self)
    }
}

#[cold]
fn cut(node: u64) -> ErrorKind {
    ErrorKind::malformed("export trie: a node is cut off", Place::Entry(node))
}

#[cold]
fn circle(node: u64) -> ErrorKind {
    ErrorKind::malformed("export trie: runs in a circle", Place::Entry(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libgfortran.5.dylib in numpy's wheels has it: `_time` and `_time_sub` are both children of a node that is neither.
    #[test]
    fn a_label_may_be_empty() {
        let trie: &[u8] = &[
            &[0, 1][..],
            b"_time\0",
            &[9], // the root
            &[0, 2],
            b"_sub\0",
            &[19],
            b"\0",
            &[23],            // both
            &[2, 0, 0x20, 0], // _time_sub
            &[2, 0, 0x10, 1],
            b"\0",
            &[23], // _time, and a circle
        ]
        .concat();
        let find = |name: &[u8]| Trie::new(trie, VmAddr(0x1000)).find(&[name]).unwrap().map(|entry| entry.target);
        assert_eq!(find(b"_time"), Some(Target::Here(VmAddr(0x1010))));
        assert_eq!(find(b"_time_sub"), Some(Target::Here(VmAddr(0x1020))));
        assert_eq!([find(b"_tim"), find(b"_times"), find(b"_time_"), find(b"")], [None; 4]);
    }
}
