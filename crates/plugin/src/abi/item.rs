//! The row of an exported item, as the macro writes it: a constant with a symbol of its own, whose name begins with
//! [`ITEM_PREFIX`], and which points to what it says.
//!
//! ```text
//! row      = "sideload" sum:u32 parts:u8 format:u8 flags:u8 word:u8 head:pointer build:pointer { part:pointer }
//! head     = block of: kind:u8 name:text symbol:text abi:text is_unsafe:u8 bounds identity
//! bounds   = list of lifetimes                      for each part: none, or those that it names, in their order
//! build    = block of what a `build` note says      identity = { key:text value:text }
//! part     = block of a description                 the arguments, and then the result; or the type of a static
//! ```
//!
//! A pointer is what the image's relocations make of it. `word` is its size. `sum` is over the four bytes behind it and the
//! sums of the blocks that the pointers lead to: one that leads to another block than it was written with is noticed.
//!
//! It is no note, as the others are: notes lie among what is only read, which linkers give up for one that has pointers. And
//! it has pointers since the compiler interprets whatever a row is made by, for each exported item, and takes tenths of a
//! microsecond for a step: names and rows are encoded by the macro, the description of a type is made once
//! ([`Typed::ENCODED`](super::Typed::ENCODED)), and what follows from them is left to whoever reads it.

use super::block::{self, Block, Held, stated};
use super::build::{ENCODED, SHARED_SIZE};
use super::bytes::hash_of;
use super::linked::{Linked, LinkedItem};
use super::note::{ExportKind, FORMAT, flags};
use super::owned::{Description, Reader};
use super::rows::{ExportRow, Malformed};
use super::types::{STATIC, Shape, Tier, Writer};
use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

/// What the symbols of rows begin with.
pub const ITEM_PREFIX: &str = "__sideload_row_";

const MAGIC: &[u8; 8] = b"sideload";

/// A row with its `N` parts.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Item<const N: usize> {
    magic: [u8; 8],
    sum: u32,
    plain: u32,
    head: Block,
    build: Block,
    parts: [Block; N],
}

/// Where a row has its first pointer.
const POINTERS: usize = 16;

/// What a row says without a pointer: how many parts it has, its format, its flags, and the size of a pointer.
const fn plain(parts: u8, format: u8, flags: u8, word: u8) -> u32 {
    parts as u32 | (format as u32) << 8 | (flags as u32) << 16 | (word as u32) << 24
}

/// A sum with one more. Each step can be undone, so one difference is never lost.
const fn summed(sum: u32, block: u32) -> u32 {
    ((sum ^ block) as u64 * 0x0100_0193) as u32
}

/// The sum of a row: of what it says without a pointer, and of the sums of the blocks that it points to.
const fn sum_of(plain: u32, head: u32, build: u32, parts: u32) -> u32 {
    summed(summed(summed(plain, head), build), parts)
}

/// The sum of a row, by the four bytes behind it and the sums of the blocks that the row points to.
pub fn item_sum(plain: [u8; 4], [head, build]: [u32; 2], parts: impl Iterator<Item = u32>) -> u32 {
    sum_of(u32::from_le_bytes(plain), head, build, parts.fold(0, summed))
}

macro_rules! sizes {
    ($($name:ident $size:literal)*) => {$(
        /// A name for the compiler, which takes its time for a number in a type.
        #[doc(hidden)]
        pub type $name = Item<$size>;
    )*};
}
sizes! { Item1 1 Item2 2 Item3 3 Item4 4 Item5 5 Item6 6 Item7 7 Item8 8 Item9 9 }

const BUILD: Block = {
    const HELD: &Held<SHARED_SIZE> = {
        let mut bytes = [0; SHARED_SIZE];
        bytes.copy_from_slice(ENCODED);
        &Held::new(bytes, SHARED_SIZE)
    };
    HELD.block()
};

impl<const N: usize> Item<N> {
    /// Of what the macro encoded and the compiler knows.
    ///
    /// # Safety
    /// The head is a block.
    pub const unsafe fn new(head: &'static [u8], unwinds: bool, asserts: bool, parts: [Block; N]) -> Item<N> {
        assert!(N < 256, "a function of more than 254 arguments");
        // SAFETY: the caller says so.
        let head = unsafe { Block::encoded(head) };
        let plain = plain(N as u8, FORMAT, flags(unwinds, asserts), size_of::<usize>() as u8);
        let (mut of, mut at) = (0, 0);
        while at < N {
            of = summed(of, parts[at].sum());
            at += 1;
        }
        let sum = sum_of(plain, head.sum(), BUILD.sum(), of);
        Item { magic: *MAGIC, sum: sum.to_le(), plain: plain.to_le(), head, build: BUILD, parts }
    }

    /// It, as one of a plugin that is linked in.
    ///
    /// # Safety
    /// An item of that kind and that type is at `address`, for as long as the process lives.
    pub const unsafe fn linked(&'static self, address: *const ()) -> Linked {
        Linked { item: LinkedItem::Export { head: self.head, parts: &self.parts, address } }
    }
}

/// A row that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRow<'a, 'b> {
    /// The flags of the plugin's identity.
    pub flags: u8,
    /// The rest of it.
    pub identity: &'a [u8],
    /// How it was built.
    pub build: &'a [u8],
    /// The item.
    pub export: ExportRow<'b>,
}

/// How many bytes the row takes that `bytes` begin with, by what it says of itself.
pub fn item_size(bytes: &[u8]) -> usize {
    match bytes.first_chunk::<POINTERS>() {
        Some([magic @ .., _, _, _, _, parts, _, _, word]) if magic == MAGIC => {
            POINTERS + (usize::from(*parts) + 2) * usize::from(*word)
        }
        _ => 0,
    }
}

/// What rows of one file point to, as far as it was read: many of them point to the same.
#[derive(Debug)]
pub struct Blocks<'a> {
    build: Option<Found<'a>>,
    /// Descriptions, by the lower bits of where they are.
    parts: [Option<Found<'a>>; Blocks::KEPT],
    /// And what was put together from them, likewise.
    signatures: [Option<Signature<'a>>; Blocks::KEPT],
    /// The descriptions of the signatures, one behind the other.
    descriptions: Vec<u8>,
    work: Work,
}

/// The type of an item, made of `parts` in the way that a head says.
#[derive(Debug)]
struct Signature<'a> {
    is_function: bool,
    said: &'a [u8],
    parts: [u64; Signature::MOST],
    /// Over the parts.
    sum: u32,
    fingerprint: u128,
    description: Range<usize>,
}

impl Signature<'_> {
    /// Those of more parts are not kept.
    const MOST: usize = 4;
}

/// A block that was read.
#[derive(Clone, Copy, Debug)]
struct Found<'a> {
    at: u64,
    sum: u32,
    bytes: &'a [u8],
}

/// How many more bytes may be looked at: rows can all point to one long block, or to as many that overlap.
#[derive(Debug)]
struct Work(Cell<usize>);

impl Work {
    fn take(&self, bytes: usize) -> Result<(), Malformed> {
        self.0.set(self.0.get().checked_sub(bytes).ok_or(TOO_MUCH)?);
        Ok(())
    }
}

const UNKNOWN: Malformed = Malformed("plugin row: of a kind that this version does not know");
const CUT_OFF: Malformed = Malformed("plugin row: an export row cut off");
const NOWHERE: Malformed = Malformed("plugin row: it points to nothing");
const WRONG_SUM: Malformed = Malformed("plugin row: a block whose checksum is wrong");
const MOVED: Malformed =
    Malformed("plugin row: its checksum is wrong, or a pointer leads to another block than it did");
const NO_DESCRIPTION: Malformed = Malformed("plugin row: a description of a type that is none");
const TOO_MUCH: Malformed = Malformed("plugin row: rows that say more than 16 times what the file has bytes");
/// Longer than any name of a calling convention, whose length then takes more than a byte.
const LONGEST_ABI: usize = 0x80;
/// What the description of a function begins with, up to its first argument, takes no more.
const FUNCTION: usize = 5 + LONGEST_ABI + 1 + 19;

impl<'a> Blocks<'a> {
    /// A power of two.
    const KEPT: usize = 64;

    /// Of a file of that size.
    pub fn of(file: usize) -> Blocks<'a> {
        // The rows of a small file may well say more than it has bytes: what is equal is there once.
        let work = Work(Cell::new(file.saturating_mul(16).saturating_add(1 << 20)));
        let (parts, signatures) = ([None; Blocks::KEPT], [const { None }; Blocks::KEPT]);
        Blocks { build: None, parts, signatures, descriptions: Vec::new(), work }
    }

    /// Reads the row that `bytes` begin with. `target` says where the pointer of that number points to, which is so far
    /// behind the row's start, and `memory` what is there, up to the end of what can be read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn item(
        &mut self,
        bytes: &[u8],
        target: impl Fn(usize, usize) -> Option<u64>,
        memory: impl Fn(u64) -> Option<&'a [u8]>,
    ) -> Result<ItemRow<'a, '_>, Malformed> {
        let first = bytes.first_chunk::<POINTERS>().ok_or(UNKNOWN)?;
        let [magic @ .., s0, s1, s2, s3, size, format, flags, word] = *first;
        if magic != *MAGIC || !matches!(word, 4 | 8) {
            return Err(UNKNOWN);
        }
        if format != FORMAT {
            return Err(Malformed("plugin row: of a format that this version does not read"));
        }
        if bytes.len() < item_size(bytes) {
            return Err(CUT_OFF);
        }
        let plain = plain(size, format, flags, word);
        let size = usize::from(size);
        let target = |at: usize| target(at, POINTERS + at * usize::from(word)).ok_or(NOWHERE);
        let block = |work: &Work, at: u64| {
            let (sum, bytes) = stated(memory(at).ok_or(NOWHERE)?).ok_or(WRONG_SUM)?;
            work.take(bytes.len())?;
            if sum == block::sum(bytes) { Ok(Found { at, sum, bytes }) } else { Err(WRONG_SUM) }
        };
        let head = block(&self.work, target(0)?)?;
        let build = kept(&mut self.build, target(1)?, |at| block(&self.work, at))?;
        let read = Head::read(head.bytes, size)?;
        let mut parts = [0; Signature::MOST];
        for (at, part) in parts.iter_mut().enumerate().take(size) {
            *part = target(2 + at)?;
        }
        // Blocks are words apart.
        let place = parts.iter().fold(0, |all, part| all * 3 + part / 8) as usize % Blocks::KEPT;
        let known = |kept: &Signature<'_>| {
            size <= Signature::MOST && (kept.is_function, kept.said, kept.parts) == (read.is_function, read.said, parts)
        };
        if !self.signatures[place].as_ref().is_some_and(known) {
            let mut sum = 0;
            let described = (2..size + 2).map(|at| {
                let at = target(at)?;
                let place = &mut self.parts[(at / 8) as usize % Blocks::KEPT];
                let part = kept(place, at, |at| {
                    let part = block(&self.work, at)?;
                    described(part.bytes).map(|_| part)
                })?;
                sum = summed(sum, part.sum);
                self.work.take(part.bytes.len())?;
                Ok(part.bytes)
            });
            let start = self.descriptions.len();
            read.describe(described, &mut self.descriptions)?;
            let description = start..self.descriptions.len();
            let fingerprint = hash_of(&self.descriptions[description.clone()]);
            let (is_function, said) = (read.is_function, read.said);
            self.signatures[place] = Some(Signature { is_function, said, parts, sum, fingerprint, description });
        }
        let Some(Signature { sum, fingerprint, description, .. }) = &self.signatures[place] else {
            return Err(UNKNOWN);
        };
        if sum_of(plain, head.sum, build.sum, *sum) != u32::from_le_bytes([s0, s1, s2, s3]) {
            return Err(MOVED);
        }
        let description = Cow::Borrowed(&self.descriptions[description.clone()]);
        let Head { is_function, name, symbol, identity, .. } = read;
        let of = Description::of_parts(description);
        let export = ExportRow { is_function, name, symbol, fingerprint: *fingerprint, of };
        Ok(ItemRow { flags, identity, build: build.bytes, export })
    }
}

/// What was read at `at`, if that was the last, or else what is read now.
fn kept<'a>(
    last: &mut Option<Found<'a>>,
    at: u64,
    read: impl FnOnce(u64) -> Result<Found<'a>, Malformed>,
) -> Result<Found<'a>, Malformed> {
    match last {
        Some(found) if found.at == at => Ok(*found),
        _ => Ok(*last.insert(read(at)?)),
    }
}

/// A block that is a part.
fn described(block: &[u8]) -> Result<&[u8], Malformed> {
    Description::is_part(block).then_some(block).ok_or(NO_DESCRIPTION)
}

/// The row of an item that is linked in.
///
/// # Errors
/// As [`Blocks::item`].
pub fn linked_item(head: Block, parts: &[Block]) -> Result<ExportRow<'static>, Malformed> {
    let block = |of: Block| block::read(of.bytes()).ok_or(WRONG_SUM);
    let described = parts.iter().map(|part| block(*part).and_then(described));
    let head = Head::read(block(head)?, parts.len())?;
    let mut description = Vec::new();
    head.describe(described, &mut description)?;
    let Head { is_function, name, symbol, .. } = head;
    let fingerprint = hash_of(&description);
    Ok(ExportRow { is_function, name, symbol, fingerprint, of: Description::of_parts(Cow::Owned(description)) })
}

/// What the head of a row says.
struct Head<'a> {
    is_function: bool,
    name: &'a str,
    symbol: &'a [u8],
    abi: &'a str,
    is_unsafe: bool,
    /// How many parts there are, and the lifetimes that each of them names.
    size: usize,
    bounds: &'a [u8],
    /// From the calling convention to the lifetimes.
    said: &'a [u8],
    identity: &'a [u8],
}

impl<'a> Head<'a> {
    /// That of an item of so many parts.
    fn read(bytes: &'a [u8], size: usize) -> Result<Head<'a>, Malformed> {
        let mut head = Reader { bytes };
        let (kind, name, symbol) = names(&mut head).ok_or(CUT_OFF)?;
        let is_function = match kind {
            ExportKind::Function => true,
            ExportKind::Static => false,
            ExportKind::Signature => return Err(UNKNOWN),
        };
        let begin = head.bytes;
        let (abi, is_unsafe) = convention(&mut head).ok_or(CUT_OFF)?;
        if size == 0 || (!is_function && size != 1) || head.number() != Some(size as u128) {
            return Err(CUT_OFF);
        }
        let bounds = head.bytes;
        for _ in 0..size {
            head.raw().ok_or(CUT_OFF)?;
        }
        let identity = head.bytes;
        let up_to = |from: &'a [u8]| &from[..from.len() - identity.len()];
        let (said, bounds) = (up_to(begin), up_to(bounds));
        Ok(Head { is_function, name, symbol, abi, is_unsafe, size, bounds, said, identity })
    }

    /// Adds the description that it and its parts make to others.
    fn describe<'b>(
        &self,
        mut parts: impl Iterator<Item = Result<&'b [u8], Malformed>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let begin = out.len();
        let mut tier = if self.abi == "Rust" { Tier::Build } else { Tier::Stable };
        if self.is_function {
            let mut start = [0; FUNCTION];
            let mut writer = Writer::over(&mut start);
            writer.function(tier, self.abi, self.is_unsafe, self.size - 1);
            let length = writer.length;
            out.extend_from_slice(&start[..length]);
        }
        let mut bounds = Reader { bytes: self.bounds };
        for _ in 0..self.size {
            let (part, lifetimes) = (parts.next().ok_or(CUT_OFF)??, bounds.raw().ok_or(CUT_OFF)?);
            if part.get(1) != Some(&(Tier::Stable as u8)) {
                tier = Tier::Build;
            }
            put(out, part, lifetimes).ok_or(NO_DESCRIPTION)?;
        }
        if let (true, Some(place)) = (self.is_function, out.get_mut(begin + 1)) {
            *place = tier as u8;
        }
        Ok(())
    }
}

/// What a head begins with: the kind of the item, its name, and its symbol.
fn names<'a>(head: &mut Reader<'a>) -> Option<(ExportKind, &'a str, &'a [u8])> {
    Some((ExportKind::from_byte(head.byte()?)?, head.borrowed()?, head.raw()?))
}

/// The calling convention, and whether the function is unsafe.
fn convention<'a>(head: &mut Reader<'a>) -> Option<(&'a str, bool)> {
    let abi = match head.raw()? {
        b"Rust" => "Rust",
        other => std::str::from_utf8(other).ok()?,
    };
    (abi.len() < LONGEST_ABI).then_some((abi, head.byte()? != 0))
}

/// A part with the lifetimes that it names; its own description has them static.
fn put(description: &mut Vec<u8>, part: &[u8], lifetimes: &[u8]) -> Option<()> {
    /// Behind tag, tier, size, alignment, and whether it is mutable.
    const LIFETIME: usize = 5;
    let start = description.len();
    match (part, lifetimes) {
        (_, []) => description.extend_from_slice(part),
        // The lifetime of a reference is its own, if it is the only one.
        ([Shape::REFERENCE, ..], [lifetime]) if part.get(LIFETIME) == Some(&STATIC) => {
            description.extend_from_slice(part);
            description[start + LIFETIME] = *lifetime;
        }
        _ => {
            let tier = *part.get(1)?;
            let mut reader = Reader { bytes: part.get(2..)? };
            let (size, align) = (reader.number()?, reader.number()?);
            Writer::into(description, |out| out.bound(tier, size, align, lifetimes));
            description.extend_from_slice(part);
        }
    }
    Some(())
}
