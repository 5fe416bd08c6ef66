//! An image's symbol tables, borrowed from where the image has them, or copied.
//!
//! Invariant: what is borrowed lies in a region that nobody can write to, of an image that is never unloaded; what is
//! copied lives as long as the [`Tables`] that refer to it, which never hand out more than a borrow of themselves.

use super::segments::Segments;
use super::vanishing;
use crate::bytes::Bytes;
use crate::elf::dynamic::Dynamic;
use crate::elf::symbols::{Parts, SYMENT};
use crate::plan::ScopedSymbols;
use std::sync::Arc;

/// A symbol table, with what it refers to.
#[derive(Debug)]
pub(super) struct Tables {
    symbols: ScopedSymbols<'static>,
    _copy: Option<Arc<[u8]>>,
}

impl Tables {
    /// The tables of an image; in place if it is `permanent`, which promises that it is never unloaded.
    pub(super) fn new(segments: &Segments, dynamic: &Dynamic, permanent: bool) -> Tables {
        let in_place = if permanent { in_place(segments, dynamic) } else { None };
        // A static executable has none, and tables that make no sense define nothing.
        in_place.or_else(|| copied(segments, dynamic)).unwrap_or_else(|| {
            vanishing::miss();
            Tables::none()
        })
    }

    fn none() -> Tables {
        let symbols =
            ScopedSymbols::new(&Parts::default()).expect("invariant: where there is no table, none can be wrong");
        Tables { symbols, _copy: None }
    }

    /// The table, for no longer than the copy lives.
    pub(super) fn symbols(&self) -> &ScopedSymbols<'_> {
        &self.symbols
    }
}

fn in_place(segments: &Segments, dynamic: &Dynamic) -> Option<Tables> {
    // SAFETY: the image is permanent.
    let parts = unsafe { parts(segments, dynamic, Segments::borrow) }?;
    Some(Tables { symbols: ScopedSymbols::new(&parts).ok()?, _copy: None })
}

/// The tables in one new block of memory, and no more of them than is needed: each is only known to end with its
/// segment, and the one of a big library is a hundred megabytes.
fn copied(segments: &Segments, dynamic: &Dynamic) -> Option<Tables> {
    // SAFETY: the slices are used in this function only, while the system loader lists the image.
    let whole = unsafe { parts(segments, dynamic, Segments::borrow_even_writable) }?;
    let exact = exact(&whole)?;
    let mut copy = Vec::new();
    place(&exact, |bytes| {
        copy.extend_from_slice(bytes);
        bytes
    });
    let copy: Arc<[u8]> = copy.into();
    // SAFETY: the block is not written to, and does not move with the Arc; it is dropped with the `Tables` that are
    // returned, which lend their symbols only for as long as they are borrowed themselves.
    let mut rest: &'static [u8] = unsafe { std::slice::from_raw_parts(copy.as_ptr(), copy.len()) };
    let parts = place(&exact, |bytes| {
        let (head, tail) = rest.split_at(bytes.len());
        rest = tail;
        head
    });
    Some(Tables { symbols: ScopedSymbols::new(&parts).ok()?, _copy: Some(copy) })
}

/// The tables in place, each up to the end of its segment, as `open` answers for an address and a size.
///
/// # Safety
/// As `open` demands.
unsafe fn parts(
    segments: &Segments,
    dynamic: &Dynamic,
    open: unsafe fn(&Segments, u64, Option<u64>) -> Option<&'static [u8]>,
) -> Option<Parts<'static>> {
    let open = |value: Option<u64>, size| match value {
        None => Some(None),
        // SAFETY: the caller's promise, handed on.
        Some(value) => unsafe { open(segments, value, size) }.map(Some),
    };
    let counted = |(value, count)| Some(open(value, None)?.map(|bytes| (bytes, count)));
    Some(Parts {
        symbols: open(dynamic.symtab, None)?.unwrap_or_default(),
        strings: open(dynamic.strtab, dynamic.strsz)?.unwrap_or_default(),
        gnu_hash: open(dynamic.gnu_hash, None)?,
        sysv_hash: open(dynamic.sysv_hash, None)?,
        versym: open(dynamic.versym, None)?,
        verneed: counted(dynamic.verneed)?,
        verdef: counted(dynamic.verdef)?,
    })
}

/// The same tables without what follows them.
fn exact<'a>(whole: &Parts<'a>) -> Option<Parts<'a>> {
    let count = ScopedSymbols::new(whole).ok()?.count() as usize;
    let cut = |bytes: &'a [u8], size: usize| bytes.get(..size);
    let sized = |bytes: Option<&'a [u8]>, size: fn(&[u8], usize) -> Option<usize>| match bytes {
        None => Some(None),
        Some(bytes) => cut(bytes, size(bytes, count)?).map(Some),
    };
    let rows = |table: Option<(&'a [u8], u64)>, form: &Versions| match table {
        None => Some(None),
        Some((bytes, rows)) => cut(bytes, form.size(bytes, rows)?).map(|bytes| Some((bytes, rows))),
    };
    Some(Parts {
        symbols: cut(whole.symbols, count * SYMENT)?,
        strings: whole.strings,
        gnu_hash: sized(whole.gnu_hash, gnu_hash_size)?,
        sysv_hash: sized(whole.sysv_hash, sysv_hash_size)?,
        versym: sized(whole.versym, |_, count| Some(count * 2))?,
        verneed: rows(whole.verneed, &VERNEED)?,
        verdef: rows(whole.verdef, &VERDEF)?,
    })
}

/// The same tables elsewhere: visits them in an order that is always the same.
fn place<'a, 'b>(parts: &Parts<'a>, mut place: impl FnMut(&'a [u8]) -> &'b [u8]) -> Parts<'b> {
    Parts {
        symbols: place(parts.symbols),
        strings: place(parts.strings),
        gnu_hash: parts.gnu_hash.map(&mut place),
        sysv_hash: parts.sysv_hash.map(&mut place),
        versym: parts.versym.map(&mut place),
        verneed: parts.verneed.map(|(bytes, rows)| (place(bytes), rows)),
        verdef: parts.verdef.map(|(bytes, rows)| (place(bytes), rows)),
    }
}

/// Header of four words, filter, buckets, and a chain word for each symbol from the first hashed one on.
fn gnu_hash_size(table: &[u8], count: usize) -> Option<usize> {
    let word = |index: u64| Some(Bytes(table).u32(index * 4)? as usize);
    let (buckets, first_symbol, filter) = (word(0)?, word(1)?, word(2)?);
    Some(16 + filter * 8 + buckets * 4 + count.saturating_sub(first_symbol) * 4)
}

/// Header of two words, which are the numbers of buckets and of chain words that follow.
fn sysv_hash_size(table: &[u8], _: usize) -> Option<usize> {
    let word = |index: u64| Some(Bytes(table).u32(index * 4)? as usize);
    Some(8 + (word(0)? + word(1)?) * 4)
}

/// Where `DT_VERDEF` and `DT_VERNEED` keep what leads from one record to the next.
struct Versions {
    size: u64,
    /// Number of auxiliary records (16 bits).
    count: u64,
    /// Distance to the first of them.
    first: u64,
    /// Distance to the next record.
    next: u64,
    auxiliary_size: u64,
    /// Distance from one auxiliary record to the next.
    auxiliary_next: u64,
}

const VERDEF: Versions = Versions { size: 20, count: 6, first: 12, next: 16, auxiliary_size: 8, auxiliary_next: 4 };
const VERNEED: Versions = Versions { size: 16, count: 2, first: 8, next: 12, auxiliary_size: 16, auxiliary_next: 12 };

impl Versions {
    /// How far the records reach.
    fn size(&self, table: &[u8], rows: u64) -> Option<usize> {
        let bytes = Bytes(table);
        let (mut at, mut end) = (0, 0);
        for _ in 0..rows {
            end = end.max(at + self.size);
            let mut auxiliary = at + u64::from(bytes.u32(at + self.first)?);
            for _ in 0..bytes.u16(at + self.count)? {
                end = end.max(auxiliary + self.auxiliary_size);
                auxiliary += u64::from(bytes.u32(auxiliary + self.auxiliary_next)?);
            }
            let next = bytes.u32(at + self.next)?;
            if next == 0 {
                break;
            }
            at += u64::from(next);
        }
        usize::try_from(end).ok()
    }
}
