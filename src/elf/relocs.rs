//! `RELR`, `REL`, `RELA` and `JMPREL` → [`Fixup`]s.
//!
//! Grammar: `RELA` is { offset: u64, info: symbol << 32 | type, addend: i64 }; `REL` lacks the addend, which is what the
//! file holds at the place; `RELR` is a run of words: an even one is the place of a relative relocation, and each odd
//! one after it a bitmap of the next 63 words (gABI, "Relative Relocation Table").
//!
//! In-place addends are read from the file, never from memory, where an earlier fixup may have written.

use super::dynamic::Tables;
use super::machine::{self, Relocation, Usual};
use crate::addr::{VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};
use crate::plan::{Fixup, FixupKind, LoadPlan, Visitor};
use crate::room;
use crate::symbol::{ImportId, Name};

const RELR_WORD: u64 = 8;

/// So many relative relocations in a row are worth a window.
const RUN: usize = 8;

/// Visits every fixup, in the order in which they apply; relative ones that follow one another are stored in the
/// visitor's windows, where it has any.
///
/// # Errors
/// A relocation that cannot be expressed, or an error of `visitor`.
pub fn fixups<E: From<ErrorKind>>(
    plan: &LoadPlan,
    tables: &Tables,
    file: &[u8],
    visitor: &mut impl Visitor<E>,
) -> Result<(), E> {
    relr(plan, tables.relr.of(file), file, visitor)?;
    rel(plan, tables.rel.of(file), file, visitor)?;
    rela(plan, tables, tables.rela.of(file), file, visitor)?;
    if tables.plt_has_addends {
        rela(plan, tables, tables.plt.of(file), file, visitor)
    } else {
        rel(plan, tables.plt.of(file), file, visitor)
    }
}

fn rela<E: From<ErrorKind>>(
    plan: &LoadPlan,
    tables: &Tables,
    table: &[u8],
    file: &[u8],
    visitor: &mut impl Visitor<E>,
) -> Result<(), E> {
    let mut entries = wanted(table.as_chunks::<24>().0, visitor);
    let mut has_windows = true;
    while let Some((entry, mut rest)) = entries.split_first() {
        let relocation = decode(entry);
        let place = relocation.place;
        match machine::usual(plan.machine, relocation.r_type) {
            Usual::Bind(class, form) if relocation.symbol != 0 => {
                let import = Some(ImportId { symbol: relocation.symbol, class });
                visitor.fixup(Fixup { place, kind: FixupKind::Bind { import, addend: relocation.addend, form } })?;
            }
            Usual::Relative => {
                let stored = if has_windows { store_relatives(plan, entries, visitor) } else { None };
                has_windows = stored.is_some();
                let kind = FixupKind::Rebase { target: VmAddr(relocation.addend as u64) };
                match stored {
                    None => visitor.fixup(Fixup { place, kind })?,
                    Some(0) => take(visitor, Fixup { place, kind })?,
                    Some(stored) => rest = &entries[stored..],
                }
            }
            _ => take(visitor, lower(plan, tables, file, &relocation)?)?,
        }
        entries = wanted(rest, visitor);
    }
    Ok(())
}

/// From the first entry on that the visitor wants: all of them, for most.
#[inline(always)]
fn wanted<'t, E>(entries: &'t [[u8; 24]], visitor: &impl Visitor<E>) -> &'t [[u8; 24]] {
    let unwanted = entries.iter().take_while(|entry| !visitor.wants(decode(entry).place)).count();
    &entries[unwanted..]
}

/// Out of line, for the loops around the kinds that are not frequent.
#[inline(never)]
fn take<E>(visitor: &mut impl Visitor<E>, fixup: Fixup) -> Result<(), E> {
    visitor.fixup(fixup)
}

/// Stores the first entries in a window on the region of the first one's place, up to the first that is not relative or
/// lies elsewhere, and says how many there were. `None` if the visitor has no window there: most have none at all.
#[inline(never)] // with what is around it, there are not registers enough
fn store_relatives<E>(plan: &LoadPlan, entries: &[[u8; 24]], visitor: &mut impl Visitor<E>) -> Option<usize> {
    let relative = machine::relative(plan.machine);
    let [first, .., last] = entries.first_chunk::<RUN>().map_or(&[][..], |run| run) else { return Some(0) };
    if decode(last).r_type != relative {
        return Some(0);
    }
    let Some(region) = plan.region(decode(first).place, 8) else { return Some(0) };
    let mut window = visitor.window(region.vm)?;
    let store = |entry: &&[u8; 24]| {
        let relocation = decode(entry);
        let offset = relocation.place.0.wrapping_sub(region.vm.start.0) as usize;
        relocation.r_type == relative && window.rebase(offset, VmAddr(relocation.addend as u64))
    };
    Some(entries.iter().take_while(store).count())
}

#[inline(always)] // as `machine::lower`
fn lower(plan: &LoadPlan, tables: &Tables, file: &[u8], relocation: &Relocation) -> Result<Fixup, ErrorKind> {
    machine::lower(plan.machine, relocation).map_err(|kind| named(kind, tables, file, relocation.symbol))
}

/// Adds the name of its symbol to the error about a relocation.
#[cold]
fn named(kind: ErrorKind, tables: &Tables, file: &[u8], symbol: u32) -> ErrorKind {
    let ErrorKind::Unsupported { what, place, symbol: None } = kind else { return kind };
    let row = u64::from(symbol) * super::symbols::SYMENT as u64;
    let name = Bytes(tables.symbols.of(file)).u32(row).filter(|_| symbol != 0);
    let name = name.and_then(|at| Bytes(tables.strings.of(file)).c_str(u64::from(at)));
    ErrorKind::Unsupported { what, place, symbol: name.map(|name| Name(name).to_string()) }
}

/// An entry of `RELA`: one of `REL`, and the addend.
#[inline]
fn decode(entry: &[u8; 24]) -> Relocation {
    let [head @ .., a, b, c, d, e, f, g, h] = entry;
    Relocation { addend: i64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), ..without_addend(head) }
}

/// An entry of `REL`: its addend is what the file holds at the place.
#[inline]
fn without_addend(entry: &[u8; 16]) -> Relocation {
    let (words, _) = entry.as_chunks::<8>();
    let info = u64::from_le_bytes(words[1]);
    Relocation {
        place: VmAddr(u64::from_le_bytes(words[0])),
        r_type: info as u32,
        symbol: (info >> 32) as u32,
        addend: 0,
    }
}

fn rel<E: From<ErrorKind>>(plan: &LoadPlan, table: &[u8], file: &[u8], visitor: &mut impl Visitor<E>) -> Result<(), E> {
    let (entries, _) = table.as_chunks::<16>();
    for entry in entries {
        let mut relocation = without_addend(entry);
        relocation.addend = in_place(plan, file, relocation.place)? as i64;
        visitor.fixup(machine::lower(plan.machine, &relocation)?)?;
    }
    Ok(())
}

fn relr<E: From<ErrorKind>>(
    plan: &LoadPlan,
    table: &[u8],
    file: &[u8],
    visitor: &mut impl Visitor<E>,
) -> Result<(), E> {
    let relative = |place: u64, visitor: &mut _| -> Result<(), E> {
        let place = VmAddr(place);
        let target = VmAddr(in_place(plan, file, place)?);
        Visitor::fixup(visitor, Fixup { place, kind: FixupKind::Rebase { target } })
    };
    let (words, _) = table.as_chunks::<8>();
    let mut next = None;
    for word in words {
        let word = u64::from_le_bytes(*word);
        if word & 1 == 0 {
            relative(word, visitor)?;
            next = Some(word.wrapping_add(RELR_WORD));
            continue;
        }
        let start = next.ok_or(ErrorKind::malformed("DT_RELR: begins with a bitmap", Place::Entry(0)))?;
        if !store_bitmap(plan, file, start, word >> 1, visitor) {
            for bit in (0..63u64).filter(|bit| word >> (bit + 1) & 1 == 1) {
                relative(start.wrapping_add(bit * RELR_WORD), visitor)?;
            }
        }
        next = Some(start.wrapping_add(63 * RELR_WORD));
    }
    Ok(())
}

/// Stores the relative relocations of a bitmap in a window on all its words; `false` if these do not all lie in the file,
/// nor all in one zero-filled part.
fn store_bitmap<E>(plan: &LoadPlan, file: &[u8], start: u64, bits: u64, visitor: &mut impl Visitor<E>) -> bool {
    const ZEROS: [u8; 63 * RELR_WORD as usize] = [0; 63 * RELR_WORD as usize];
    let range = VmRange { start: VmAddr(start), size: 63 * RELR_WORD };
    let content = match plan.file_offset(range.start, range.size) {
        Some(offset) => Bytes(file).slice(offset, range.size),
        None if is_zero_filled(plan, range) => Some(&ZEROS[..]),
        None => None,
    };
    let Some((content, _)) = content.map(<[u8]>::as_chunks::<8>) else { return false };
    let Some(mut window) = visitor.window(range) else { return false };
    let marked = content.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    let mut marked = marked.map(|(bit, word)| (bit * RELR_WORD as usize, VmAddr(u64::from_le_bytes(*word))));
    marked.all(|(at, target)| window.rebase(at, target))
}

/// Whether a relocation changes what is not writable, as `DT_TEXTREL` says. The tag alone is no proof: some linkers set
/// it because they were allowed to make such relocations (`-z notext`), not because they made one.
pub fn change_read_only(plan: &LoadPlan, file: &[u8]) -> bool {
    let mut found = false;
    let all_seen = plan.fixups::<ErrorKind>(file, |fixup| {
        let writable = plan.region(fixup.place, 1).is_some_and(|region| region.prot.write);
        found |= !writable && fixup.kind != FixupKind::Nothing;
        Ok(())
    });
    found || all_seen.is_err()
}

/// Whether all of `range` lies in the part of one region that is not in the file.
fn is_zero_filled(plan: &LoadPlan, range: VmRange) -> bool {
    plan.region(range.start, range.size).is_some_and(|region| range.start >= region.file_backed().end())
}

/// The word that the file holds at `place`; zero in the zero-filled part.
fn in_place(plan: &LoadPlan, file: &[u8], place: VmAddr) -> Result<u64, ErrorKind> {
    match plan.file_offset(place, 8) {
        Some(offset) => Ok(Bytes(file).u64(offset).unwrap_or(0)),
        None if is_zero_filled(plan, VmRange { start: place, size: 8 }) => Ok(0),
        None => Err(ErrorKind::malformed("REL or RELR: an in-place addend lies outside the file", Place::Vm(place))),
    }
}

/// Visits the (symbol, class) of every relocation that names one, in table order.
///
/// `DT_RELACOUNT` entries are skipped: this pass is what linking a large library costs, and they name no symbol. If
/// the count lies, a skipped relocation's import is missing from the bindings, which relocation reports.
///
/// # Errors
/// A relocation that cannot be expressed, or an error of `each`.
pub fn imports<E: From<ErrorKind>>(
    plan: &LoadPlan,
    tables: &Tables,
    file: &[u8],
    mut each: impl FnMut(ImportId) -> Result<(), E>,
) -> Result<(), E> {
    let (rel, rela, plt) = (tables.rel.of(file), tables.rela.of(file), tables.plt.of(file));
    let skip = usize::try_from(tables.relative_count).unwrap_or(usize::MAX).saturating_mul(24).min(rela.len());
    let (with, without) =
        if tables.plt_has_addends { ([&rela[skip..], plt], [rel, &[]]) } else { ([&rela[skip..], &[]], [rel, plt]) };
    // Addends do not matter here, so those of `REL` are not read.
    for entry in without.iter().flat_map(|table| table.as_chunks().0) {
        import(plan, tables, file, &without_addend(entry)).map_err(|kind| *kind)?.map_or(Ok(()), &mut each)?;
    }
    for table in with {
        for entry in table.as_chunks().0 {
            import(plan, tables, file, &decode(entry)).map_err(|kind| *kind)?.map_or(Ok(()), &mut each)?;
        }
    }
    Ok(())
}

/// The import that a relocation names.
#[inline(always)] // A loop over it costs less than a call of it.
fn import(
    plan: &LoadPlan,
    tables: &Tables,
    file: &[u8],
    relocation: &Relocation,
) -> Result<Option<ImportId>, Box<ErrorKind>> {
    match machine::usual(plan.machine, relocation.r_type) {
        Usual::Relative => Ok(None),
        Usual::Bind(class, _) => Ok((relocation.symbol != 0).then_some(ImportId { symbol: relocation.symbol, class })),
        Usual::No => unusual_import(plan, tables, file, relocation),
    }
}

#[inline(never)]
fn unusual_import(
    plan: &LoadPlan,
    tables: &Tables,
    file: &[u8],
    relocation: &Relocation,
) -> Result<Option<ImportId>, Box<ErrorKind>> {
    Ok(match lower(plan, tables, file, relocation)?.kind {
        FixupKind::Bind { import, .. } | FixupKind::Tls { import, .. } => import,
        _ => None,
    })
}

/// An upper bound for the imports: the relocations that are not known to be relative.
pub fn import_bound(tables: &Tables) -> usize {
    let rela = (tables.rela.file.size / 24).saturating_sub(tables.relative_count);
    let plt = tables.plt.file.size / if tables.plt_has_addends { 24 } else { 16 };
    (rela + tables.rel.file.size / 16 + plt) as usize
}

/// A writable segment of up to this many pages is filled at once without a look.
const SMALL: usize = 8;

/// Whether a sample of the `RELA` entries (four a page, evenly spaced) hits at least 7 pages of 8 of `range`.
pub fn touches_most_pages(tables: &Tables, range: VmRange, file: &[u8], page: u64) -> bool {
    let (entries, _) = tables.rela.of(file).as_chunks::<24>();
    let pages = (range.size / page) as usize + 1;
    // The few writable pages of a small library hold its offset table, its vtables and the like: nearly all are written.
    if pages <= SMALL {
        return true;
    }
    // Fewer than two a page on average cannot fill most of them.
    if entries.len() < pages * 2 {
        return false;
    }
    let Ok(mut hit) = room::filled(false, pages) else { return false };
    let step = (entries.len() / (pages * 4)).max(1);
    for entry in entries.iter().step_by(step) {
        let place = decode(entry).place;
        if range.holds(place, 8)
            && let Some(page) = hit.get_mut(((place.0 - range.start.0) / page) as usize)
        {
            *page = true;
        }
    }
    hit.iter().filter(|&&hit| hit).count() * 8 >= pages * 7
}
