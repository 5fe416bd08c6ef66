//! The images that dyld has mapped into a process, read from its memory, as a debugger reads them: the list that dyld
//! keeps for debuggers, and of each image the header and the load commands as they stand there. No file is opened: most
//! libraries of the system have none, they are parts of the *shared cache*, which the kernel maps into every process.
//!
//! What lies where (`<mach-o/dyld_images.h>`, 64-bit): `dyld_all_image_infos` is { version: u32, infoArrayCount: u32,
//! infoArray, …, infoArrayChangeTimestamp }; the array has rows of { header, path, modification time }. While dyld
//! changes the array, its address is null; whenever it was changed, the time is another one.
//!
//! **The shared cache.** An image there differs from its file: its segments are apart from one another, those of data
//! begin anywhere, and all images have one `__LINKEDIT`. So segments are taken as they are, without the checks of a file,
//! and a table at offset `o` of the file is in memory at `__LINKEDIT`'s address + slide + `o` − `__LINKEDIT`'s offset,
//! which holds for both kinds.
//!
//! Nothing here follows a pointer: whoever reads the memory may ask the kernel to, and be told that an image has gone.

use super::commands::{Command, HEADER};
use crate::addr::{Bias, FileRange, RunAddr, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::plan::{Need, NeedKind, Prot, Region, SearchPaths};
use goblin::mach::header as mh;
use goblin::mach::load_command as lc;

/// Fills a buffer with what the process has at an address, all of it; `false` if it cannot be read.
pub type Peek<'p> = dyn Fn(RunAddr, &mut [u8]) -> bool + 'p;

/// Up to `infoArrayChangeTimestamp` and with it: there since this version (macOS 10.12).
const INFOS: usize = 192;
const VERSION: u32 = 15;
/// Size of `dyld_image_info`.
const ROW: usize = 24;
/// Where in it the shared cache is told.
const CACHE: u64 = 176;
/// Up to `sharedRegionSize` of `dyld_cache_header` and with it; before that, `mappingOffset` says how long the header is.
const CACHE_HEADER: usize = 0xf0;
/// More images than any process has.
const MOST_IMAGES: u32 = u16::MAX as u32;
/// Larger ones have no image: the load commands of the largest programs take some tens of kilobytes.
const MOST_COMMANDS: u32 = 1 << 20;
/// `PATH_MAX` is 1024 there.
const LONGEST_PATH: usize = 1 << 12;

/// Which images a process has at one moment, as dyld tells debuggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    stamp: Stamp,
    /// Where the shared cache begins, and how long it is.
    cache: Option<(RunAddr, u64)>,
    /// In dyld's order: the program, then in the order in which they were loaded.
    pub rows: Vec<Row>,
}

/// One image of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where its header is.
    pub header: RunAddr,
    /// Where its path is, a C string.
    pub path: RunAddr,
}

/// What changes with the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    array: RunAddr,
    count: u32,
    changed: u64,
    cache: RunAddr,
}

impl Stamp {
    fn read(peek: &Peek<'_>, infos: RunAddr) -> Option<Stamp> {
        let mut bytes = [0; INFOS];
        if !peek(infos, &mut bytes) {
            return None;
        }
        let bytes = Bytes(&bytes);
        let array = RunAddr(bytes.u64(8)?);
        let count = bytes.u32(4)?.min(MOST_IMAGES);
        let (changed, cache) = (bytes.u64(184)?, RunAddr(bytes.u64(CACHE)?));
        (bytes.u32(0)? >= VERSION && array.0 != 0).then_some(Stamp { array, count, changed, cache })
    }
}

impl Listing {
    /// Reads the list behind the `dyld_all_image_infos` at `infos`; `None` while dyld changes it, and where there is none.
    pub fn read(peek: &Peek<'_>, infos: RunAddr) -> Option<Listing> {
        let stamp = Stamp::read(peek, infos)?;
        let mut bytes = vec![0; stamp.count as usize * ROW];
        if !peek(stamp.array, &mut bytes) {
            return None;
        }
        let word = |row: &[u8; ROW], at| RunAddr(Bytes(row).u64(at).unwrap_or(0));
        let row = |row: &[u8; ROW]| Row { header: word(row, 0), path: word(row, 8) };
        let cache = shared_cache(peek, stamp.cache);
        let listing = Listing { stamp, cache, rows: bytes.as_chunks().0.iter().map(row).collect() };
        listing.is_current(peek, infos).then_some(listing)
    }

    /// Whether what is there is a part of the shared cache, which is never unmapped. That an image says so of itself is not
    /// enough: it may have been taken out of the cache, and be a file again.
    pub fn is_in_cache(&self, at: RunAddr) -> bool {
        self.cache.is_some_and(|(start, size)| at.0.wrapping_sub(start.0) < size)
    }

    /// Whether dyld has not changed the list since.
    pub fn is_current(&self, peek: &Peek<'_>, infos: RunAddr) -> bool {
        Stamp::read(peek, infos) == Some(self.stamp)
    }
}

/// The shared cache (`dyld_cache_format.h`): { magic: 16 bytes, mappingOffset: u32, …, sharedRegionSize: u64 at 0xe8 }. `None`
/// where there is none, or one so old that it does not tell its size.
fn shared_cache(peek: &Peek<'_>, at: RunAddr) -> Option<(RunAddr, u64)> {
    let mut bytes = [0; CACHE_HEADER];
    if at.0 == 0 || !peek(at, &mut bytes) || !bytes.starts_with(b"dyld_v1") {
        return None;
    }
    let bytes = Bytes(&bytes);
    let tells = bytes.u32(16)? as usize >= CACHE_HEADER;
    Some((at, bytes.u64(0xe8)?)).filter(|_| tells)
}

/// The string at `at` without its NUL, as far as it can be read.
pub fn c_string(peek: &Peek<'_>, at: RunAddr) -> Vec<u8> {
    // What does not cross a boundary of this can be read whole or not at all.
    const PIECE: usize = 1 << 6;
    let mut text = Vec::new();
    while text.len() < LONGEST_PATH {
        let Some(next) = at.0.checked_add(text.len() as u64).filter(|_| at.0 != 0) else { break };
        let mut piece = [0; PIECE];
        let piece = &mut piece[..PIECE - next as usize % PIECE];
        if !peek(RunAddr(next), piece) {
            break;
        }
        let end = piece.iter().position(|&byte| byte == 0);
        text.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
        if end.is_some() {
            break;
        }
    }
    text
}

/// What an image is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program (`MH_EXECUTE`).
    Program,
    /// A library or a bundle.
    Library,
    /// Anything else: dyld itself.
    Other,
}

/// An image as it stands in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct MappedImage {
    /// Where its header is.
    pub at: RunAddr,
    /// The same as its own tables count.
    pub header: VmAddr,
    /// What it is.
    pub kind: Kind,
    /// Says of itself that it is a part of the shared cache; [`Listing::is_in_cache`] knows.
    pub in_cache: bool,
    /// Whether it takes part where images agree on one definition (`MH_WEAK_DEFINES`, `MH_BINDS_TO_WEAK`).
    pub weak_definitions: bool,
    /// `LC_ID_DYLIB`
    pub install_name: Option<Vec<u8>>,
    /// All kinds of `LC_LOAD_DYLIB`, in the order in which ordinals number them.
    pub needs: Vec<Need>,
    /// `LC_RPATH`
    pub search: SearchPaths,
    /// `LC_UUID`
    pub uuid: Option<Vec<u8>>,
    /// What of it is mapped, but for `__LINKEDIT`.
    pub regions: Vec<Region>,
    /// Where its export trie is.
    pub exports: VmRange,
    /// `LC_SYMTAB`: rows of 16 bytes.
    pub rows: VmRange,
    /// The names of those.
    pub names: VmRange,
}

/// What the load commands say before all of them are known.
#[derive(Default)]
struct Draft {
    text: Option<VmRange>,
    linkedit: Option<(VmRange, u64)>,
    regions: Vec<Region>,
    install_name: Option<Vec<u8>>,
    needs: Vec<Need>,
    search: SearchPaths,
    uuid: Option<Vec<u8>>,
    exports: Option<(u32, u64)>,
    rows: Option<(u32, u64)>,
    names: Option<(u32, u64)>,
}

impl MappedImage {
    /// Reads the image whose header is at `at`; `None` if there is none that can be read.
    pub fn read(peek: &Peek<'_>, at: RunAddr) -> Option<MappedImage> {
        let mut head = [0; HEADER as usize];
        if !peek(at, &mut head) || head[..4] != mh::MH_MAGIC_64.to_le_bytes() {
            return None;
        }
        let word = |at| Bytes(&head).u32(at);
        let (kind, count, size, flags) = (word(12)?, word(16)?, word(20)?, word(24)?);
        let mut bytes = vec![0; HEADER as usize + size.min(MOST_COMMANDS) as usize];
        if size > MOST_COMMANDS || !peek(at, &mut bytes) {
            return None;
        }
        let draft = Draft::read(Bytes(&bytes), count)?;
        let text = draft.text?;
        let kind = match kind {
            mh::MH_EXECUTE => Kind::Program,
            mh::MH_DYLIB | mh::MH_BUNDLE => Kind::Library,
            _ => Kind::Other,
        };
        const MH_DYLIB_IN_CACHE: u32 = 0x8000_0000;
        let weak_definitions = flags & (super::MH_WEAK_DEFINES | super::MH_BINDS_TO_WEAK) != 0;
        let (exports, rows) = (draft.table(draft.exports), draft.table(draft.rows));
        Some(MappedImage {
            at,
            header: text.start,
            kind,
            in_cache: flags & MH_DYLIB_IN_CACHE != 0,
            weak_definitions,
            exports,
            rows,
            names: draft.table(draft.names),
            install_name: draft.install_name,
            needs: draft.needs,
            search: draft.search,
            uuid: draft.uuid,
            regions: draft.regions,
        })
    }

    /// What is added to its addresses.
    pub fn bias(&self) -> Bias {
        Bias(self.at.0.wrapping_sub(self.header.0))
    }
}

impl Draft {
    fn read(bytes: Bytes<'_>, count: u32) -> Option<Draft> {
        let mut draft = Draft::default();
        let mut at = HEADER;
        for index in 0..u64::from(count) {
            let size = bytes.u32(at + 4).filter(|&size| size >= 8)?;
            let body = Bytes(bytes.slice(at, u64::from(size))?);
            draft.add(&Command { body, index, image: bytes })?;
            at += u64::from(size);
        }
        Some(draft)
    }

    /// What is not known is passed over: dyld has accepted the image.
    fn add(&mut self, command: &Command<'_>) -> Option<()> {
        let body = command.body;
        let table = |at: u64| Some((body.u32(at)?, u64::from(body.u32(at + 4)?)));
        let kind = match body.u32(0)? {
            lc::LC_SEGMENT_64 => return self.segment(body),
            lc::LC_ID_DYLIB => {
                self.install_name = Some(command.string(8).ok()?);
                return Some(());
            }
            lc::LC_RPATH => {
                self.search.run_paths.push(command.string(8).ok()?);
                return Some(());
            }
            lc::LC_UUID => {
                self.uuid = body.slice(8, 16).map(<[u8]>::to_vec);
                return Some(());
            }
            lc::LC_DYLD_INFO | lc::LC_DYLD_INFO_ONLY => {
                self.exports = Some(table(40)?);
                return Some(());
            }
            lc::LC_DYLD_EXPORTS_TRIE => {
                self.exports = Some(table(8)?);
                return Some(());
            }
            lc::LC_SYMTAB => {
                self.rows = table(8).map(|(start, count)| (start, count * 16));
                self.names = table(16);
                return Some(());
            }
            lc::LC_LOAD_DYLIB | lc::LC_LAZY_LOAD_DYLIB => NeedKind::Required,
            lc::LC_LOAD_WEAK_DYLIB => NeedKind::Optional,
            lc::LC_REEXPORT_DYLIB => NeedKind::Reexported,
            lc::LC_LOAD_UPWARD_DYLIB => NeedKind::Upward,
            _ => return Some(()),
        };
        self.needs.push(command.need(kind).ok()?);
        Some(())
    }

    fn segment(&mut self, body: Bytes<'_>) -> Option<()> {
        let name = body.slice(8, 16)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let vm = VmRange::new(body.u64(24)?, body.u64(32)?)?;
        let file = FileRange::new(body.u64(40)?, body.u64(48)?)?;
        let prot = body.u32(60)?;
        let prot = Prot { read: prot & 1 != 0, write: prot & 2 != 0, execute: prot & 4 != 0 };
        if name == b"__LINKEDIT" {
            // In the cache, that of one image is that of all.
            self.linkedit = Some((vm, file.start.0));
            return Some(());
        }
        if name == b"__TEXT" {
            self.text = Some(vm);
        }
        if prot != Prot::NONE && vm.size > 0 {
            self.regions.push(Region { vm, file, prot });
        }
        Some(())
    }

    /// Where a table of the file is in memory; an empty range if it is not in `__LINKEDIT`.
    fn table(&self, table: Option<(u32, u64)>) -> VmRange {
        let place = || {
            let ((offset, size), (linkedit, start)) = (table?, self.linkedit?);
            let offset = u64::from(offset).checked_sub(start)?;
            let range = VmRange::new(linkedit.start.0.checked_add(offset)?, size)?;
            linkedit.holds(range.start, size).then_some(range)
        };
        place().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
