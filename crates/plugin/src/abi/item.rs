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

/// Reads the row that `bytes` begin with. `follow` gives the bytes that the pointer at an offset in it points to, up to the
/// end of what can be read there.
///
/// # Errors
/// What is wrong with it.
pub fn read_item<'a>(
    bytes: &[u8],
    mut follow: impl FnMut(usize) -> Option<&'a [u8]>,
) -> Result<ItemRow<'a>, Malformed> {
    let unknown = Malformed("plugin row: an item row with unknown content");
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(unknown.clone())?;
    let (size, rest) = rest.split_first_chunk::<4>().ok_or(unknown.clone())?;
    let &[format, flags, word, 0] = rest.first_chunk().ok_or(unknown.clone())? else {
        return Err(unknown);
    };
    if magic != MAGIC || !matches!(word, 4 | 8) {
        return Err(unknown);
    }
    if format != FORMAT {
        return Err(Malformed("plugin row: of a format that this version does not read"));
    }
    let (word, size) = (usize::from(word), u32::from_le_bytes(*size) as usize);
    // Also keeps what is read below from being more than there is.
    if (bytes.len() - POINTERS) / word < size.saturating_add(2) {
        return Err(Malformed("plugin row: an item row cut off"));
    }
    let mut block = |at| {
        let bytes = follow(POINTERS + at * word).ok_or(Malformed("plugin row: an item row that points nowhere"))?;
        read(bytes).ok_or(Malformed("plugin row: what it points to has a wrong sum"))
    };
    let (head, build) = (block(0)?, block(1)?);
    let parts = (2..size + 2).map(block).collect::<Result<Vec<_>, _>>()?;
    let (export, identity) = item(head, &parts)?;
    Ok(ItemRow { flags, identity, build, export })
}

/// The row of an item that is linked in.
///
/// # Errors
/// As [`read_item`].
pub fn linked_item(head: Block, parts: &[Block]) -> Result<ExportRow, Malformed> {
    let block = |of: Block| read(of.bytes()).ok_or(Malformed("plugin row: what it points to has a wrong sum"));
    let parts = parts.iter().map(|part| block(*part)).collect::<Result<Vec<_>, _>>()?;
    item(block(head)?, &parts).map(|(export, _)| export)
}

/// An item, and the identity behind it.
fn item<'a>(head: &'a [u8], parts: &[&[u8]]) -> Result<(ExportRow, &'a [u8]), Malformed> {
    let mut reader = Reader { bytes: head };
    let read = read_head(&mut reader, parts).ok_or(Malformed("plugin row: an item row cut off"))?;
    let (is_function, name, symbol, description) = read;
    let fingerprint = hash_of(&description);
    let of = Description::new(&description).ok_or(Malformed("plugin row: a description that cannot be read"))?;
    Ok((ExportRow { is_function, name, symbol, fingerprint, of }, reader.bytes))
}

fn read_head(head: &mut Reader<'_>, parts: &[&[u8]]) -> Option<(bool, String, String, Vec<u8>)> {
    let is_function = match ExportKind::from_byte(head.byte()?)? {
        ExportKind::Function => true,
        ExportKind::Static => false,
        ExportKind::Signature => return None,
    };
    let (name, symbol, abi, is_unsafe) = (head.text()?, head.text()?, head.borrowed()?, head.byte()? != 0);
    let mut bounds = head.list(Reader::raw)?.into_iter();
    if bounds.len() != parts.len() {
        return None;
    }
    let mut description = Vec::with_capacity(256);
    if is_function {
        let stable = abi != "Rust" && parts.iter().all(|part| part.get(1) == Some(&(Tier::Stable as u8)));
        let tier = if stable { Tier::Stable } else { Tier::Build };
        let (_, arguments) = parts.split_last()?;
        Writer::into(&mut description, |out| out.function(tier, abi, is_unsafe, arguments.len()));
    }
    parts.iter().zip(&mut bounds).try_for_each(|(part, lifetimes)| put(&mut description, part, lifetimes))?;
    Some((is_function, name, symbol, description))
}

/// A part with the lifetimes that it names; its own description has them static.
fn put(description: &mut Vec<u8>, part: &[u8], lifetimes: &[u8]) -> Option<()> {
    /// Tag, tier, size and alignment, whether it is mutable.
    const LIFETIME: usize = 5;
    match (part, lifetimes) {
        (_, []) => {}
        // The lifetime of a reference is its own, if it is the only one.
        ([Shape::REFERENCE, ..], [lifetime]) if part.get(LIFETIME) == Some(&STATIC) => {
            description.extend_from_slice(&part[..LIFETIME]);
            description.push(*lifetime);
            description.extend_from_slice(&part[LIFETIME + 1..]);
            return Some(());
        }
        _ => {
            let tier = *part.get(1)?;
            let mut reader = Reader { bytes: part.get(2..)? };
            let (size, align) = (reader.number()?, reader.number()?);
            Writer::into(description, |out| out.bound(tier, size, align, lifetimes));
        }
    }
    description.extend_from_slice(part);
    Some(())
}
