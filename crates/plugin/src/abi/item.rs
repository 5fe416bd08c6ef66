//! The row of an exported item, as the macro writes it: a constant with a symbol of its own, whose name begins with
//! [`ITEM_PREFIX`], and which points to what it says.
//!
//! ```text
//! row      = "sideload" parts:u32 format:u8 flags:u8 word:u8 0:u8 head:pointer build:pointer { part:pointer }
//! head     = block of: kind:u8 name:text symbol:text abi:text is_unsafe:u8 bounds identity
//! bounds   = list of lifetimes                      for each part: none, or those that it names, in their order
//! build    = block of what a `build` note says      identity = { key:text value:text }
//! part     = block of a description                 the arguments, and then the result; or the type of a static
//! ```
//!
//! A pointer is what the image's relocations make of it. `word` is its size.
//!
//! It is no note, as the others are: notes lie among what is only read, which linkers give up for one that has pointers. And
//! it has pointers since the compiler interprets whatever a row is made by, for each exported item, and takes tenths of a
//! microsecond for a step: names and rows are encoded by the macro, the description of a type is made once
//! ([`Typed::ENCODED`](super::Typed::ENCODED)), and what follows from them is left to whoever reads it.

use super::block::{Block, Held, read};
use super::build::{ENCODED, SHARED_SIZE};
use super::bytes::hash_of;
use super::linked::{Linked, LinkedItem};
use super::note::{ExportKind, FORMAT, flags};
use super::owned::{Description, Reader};
use super::rows::{ExportRow, Malformed};
use super::types::{STATIC, Shape, Tier, Writer};

/// What the symbols of rows begin with.
pub const ITEM_PREFIX: &str = "__sideload_row_";

const MAGIC: &[u8; 8] = b"sideload";

/// A row with its `N` parts.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Item<const N: usize> {
    magic: [u8; 8],
    size: u32,
    format: u8,
    flags: u8,
    word: u8,
    zero: u8,
    head: Block,
    build: Block,
    parts: [Block; N],
}

/// Where a row has its first pointer.
const POINTERS: usize = 16;

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
        Item {
            magic: *MAGIC,
            size: N as u32,
            format: FORMAT,
            flags: flags(unwinds, asserts),
            word: size_of::<usize>() as u8,
            zero: 0,
            // SAFETY: the caller says so.
            head: unsafe { Block::encoded(head) },
            build: BUILD,
            parts,
        }
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
pub struct ItemRow<'a> {
    /// The flags of the plugin's identity.
    pub flags: u8,
    /// The rest of it.
    pub identity: &'a [u8],
    /// How it was built.
    pub build: &'a [u8],
    /// The item.
    pub export: ExportRow,
}

/// How many bytes the row takes that `bytes` begin with, by what it says of itself.
pub fn item_size(bytes: &[u8]) -> usize {
    let (magic, rest) = bytes.split_first_chunk::<8>().unwrap_or((MAGIC, &[]));
    match rest.split_first_chunk::<4>() {
        Some((size, [_, _, word, ..])) if magic == MAGIC => POINTERS
            .saturating_add((u32::from_le_bytes(*size) as usize).saturating_add(2).saturating_mul((*word).into())),
        _ => 0,
    }
}

/// What rows of one file point to, as far as it was read: many of them point to the same.
#[derive(Debug)]
pub struct Blocks<'a> {
    build: Option<(u64, &'a [u8])>,
    /// Descriptions, by the lower bits of where they are.
    parts: [Option<(u64, &'a [u8])>; Blocks::KEPT],
    description: Vec<u8>,
}

impl Default for Blocks<'_> {
    fn default() -> Self {
        Blocks { build: None, parts: [None; Blocks::KEPT], description: Vec::with_capacity(256) }
    }
}

/// The name of a calling convention is shorter.
const LONGEST_ABI: usize = 16;
/// No more than the description of a function takes up to its first argument: see [`Writer::function`].
const FUNCTION: usize = 5 + LONGEST_ABI + 1 + 5;
const NOWHERE: Malformed = Malformed("plugin row: an item row that points nowhere");
const WRONG_SUM: Malformed = Malformed("plugin row: what it points to has a wrong sum");
const NO_DESCRIPTION: Malformed = Malformed("plugin row: a description that cannot be read");
const CUT_OFF: Malformed = Malformed("plugin row: an item row cut off");
const UNKNOWN: Malformed = Malformed("plugin row: an item row with unknown content");

impl<'a> Blocks<'a> {
    const KEPT: usize = 64;

    /// Reads the row that `bytes` begin with. `target` says where the pointer of that number points to, and `memory` what is
    /// there, up to the end of what can be read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn item(
        &mut self,
        bytes: &[u8],
        target: impl Fn(usize, usize) -> Option<u64>,
        memory: impl Fn(u64) -> Option<&'a [u8]>,
    ) -> Result<ItemRow<'a>, Malformed> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(UNKNOWN)?;
        let (size, rest) = rest.split_first_chunk::<4>().ok_or(UNKNOWN)?;
        let &[format, flags, word, 0] = rest.first_chunk().ok_or(UNKNOWN)? else { return Err(UNKNOWN) };
        if magic != MAGIC || !matches!(word, 4 | 8) {
            return Err(UNKNOWN);
        }
        if format != FORMAT {
            return Err(Malformed("plugin row: of a format that this version does not read"));
        }
        let (word, size) = (usize::from(word), u32::from_le_bytes(*size) as usize);
        // Also keeps what is read below from being more than there is.
        if (bytes.len() - POINTERS) / word < size.saturating_add(2) {
            return Err(CUT_OFF);
        }
        let target = |at: usize| target(at, POINTERS + at * word).ok_or(NOWHERE);
        let block = |at: u64| read(memory(at).ok_or(NOWHERE)?).ok_or(WRONG_SUM);
        let head = block(target(0)?)?;
        let build = kept(&mut self.build, target(1)?, block)?;
        let parts = (2..size + 2).map(|at| {
            let at = target(at)?;
            // Words apart.
            let place = &mut self.parts[(at / 8) as usize % Blocks::KEPT];
            kept(place, at, |at| block(at).and_then(described))
        });
        let (export, identity) = item(head, size, parts, &mut self.description)?;
        Ok(ItemRow { flags, identity, build, export })
    }
}

/// What was read at `at`, if that was the last, or else what is read now.
fn kept<'a>(
    last: &mut Option<(u64, &'a [u8])>,
    at: u64,
    read: impl FnOnce(u64) -> Result<&'a [u8], Malformed>,
) -> Result<&'a [u8], Malformed> {
    match last {
        Some((place, block)) if *place == at => Ok(block),
        _ => Ok(last.insert((at, read(at)?)).1),
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
pub fn linked_item(head: Block, parts: &[Block]) -> Result<ExportRow, Malformed> {
    let block = |of: Block| read(of.bytes()).ok_or(WRONG_SUM);
    let described = parts.iter().map(|part| block(*part).and_then(described));
    item(block(head)?, parts.len(), described, &mut Vec::new()).map(|(export, _)| export)
}

/// An item of so many parts, and the identity behind its head.
fn item<'a, 'b>(
    head: &'a [u8],
    size: usize,
    mut parts: impl Iterator<Item = Result<&'b [u8], Malformed>>,
    description: &mut Vec<u8>,
) -> Result<(ExportRow, &'a [u8]), Malformed> {
    let mut head = Reader { bytes: head };
    let (kind, name, symbol, abi, is_unsafe) = begin(&mut head).ok_or(CUT_OFF)?;
    let is_function = match kind {
        ExportKind::Function => true,
        ExportKind::Static => false,
        ExportKind::Signature => return Err(UNKNOWN),
    };
    if size == 0 || (!is_function && size != 1) || head.number() != Some(size as u128) {
        return Err(CUT_OFF);
    }
    description.clear();
    let mut tier = if abi == "Rust" { Tier::Build } else { Tier::Stable };
    if is_function {
        let mut start = [0; FUNCTION];
        let mut out = Writer::over(&mut start);
        out.function(tier, abi, is_unsafe, size - 1);
        let length = out.length;
        description.extend_from_slice(&start[..length]);
    }
    for _ in 0..size {
        let (part, lifetimes) = (parts.next().ok_or(CUT_OFF)??, head.raw().ok_or(CUT_OFF)?);
        if part.get(1) != Some(&(Tier::Stable as u8)) {
            tier = Tier::Build;
        }
        put(description, part, lifetimes).ok_or(NO_DESCRIPTION)?;
    }
    if let (true, Some(place)) = (is_function, description.get_mut(1)) {
        *place = tier as u8;
    }
    let (fingerprint, of) = (hash_of(description), Description::of_parts(description));
    Ok((ExportRow { is_function, name: name.to_owned(), symbol: symbol.to_owned(), fingerprint, of }, head.bytes))
}

/// What a head begins with: kind, name, symbol, calling convention, and whether it is unsafe.
fn begin<'a>(head: &mut Reader<'a>) -> Option<(ExportKind, &'a str, &'a str, &'a str, bool)> {
    let kind = ExportKind::from_byte(head.byte()?)?;
    let (name, symbol, abi) = (head.borrowed()?, head.borrowed()?, head.borrowed()?);
    (abi.len() < LONGEST_ABI).then_some(())?;
    Some((kind, name, symbol, abi, head.byte()? != 0))
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
