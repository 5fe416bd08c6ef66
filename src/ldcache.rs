//! `/etc/ld.so.cache`, where glibc's `ldconfig` notes which name lies at which path.
//!
//! The file, as glibc's `sysdeps/generic/dl-cache.h` has it, every number in the machine's own byte order:
//!
//! ```text
//! cache   := [ old ] new
//! old     := "ld.so-1.7.0" pad nlibs:u32 { flags:i32 key:u32 value:u32 }*nlibs  padding to 8 bytes
//! new     := "glibc-ld.so.cache" "1.1" nlibs:u32 len_strings:u32 endian:u8 pad:u8*3 extension_offset:u32 unused:u32*3
//!            { flags:i32 key:u32 value:u32 osversion:u32 hwcap:u64 }*nlibs  strings  [ extension ]
//! extension := magic:u32 count:u32 { tag:u32 flags:u32 offset:u32 size:u32 }*count  data
//! hwcaps  := the data under tag 1: name:u32*
//! ```
//!
//! `key`, `value` and `name` count from the start of `new`; both `offset`s count from the start of the file. (Behind
//! an old part, glibc's reader takes `name` from the start of the file, where its writer did not put it, and so finds
//! no folder's name there.)
//! An entry's `hwcap` is zero (plain), or has bit 62 set and in its lower half an index into `hwcaps`
//! (a library in a `glibc-hwcaps/<name>` folder), or is a mask of the processor features and platforms of long ago.
//!
//! The entries run downwards, in the order of `_dl_cache_libcmp`: runs of digits compare as numbers. A search that
//! compares bytes misses names at random. The bytes are believed in nothing: whatever they hold, a search answers a
//! path or nothing, after work bounded by their length.

use std::cmp::Ordering;
use std::ffi::c_char;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache";
const NEW_VERSION: &[u8] = b"1.1";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;

/// `cache_extension_magic`, and the tag of the section that names the `glibc-hwcaps` folders.
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
const EXTENSION_HWCAPS: u32 = 1;

/// `DL_CACHE_HWCAP_EXTENSION`; beside it the upper half may only hold the ISA level (ten bits).
const HWCAP_EXTENSION: u64 = 1 << 62;
const HWCAP_ISA_LEVEL: u64 = 0x3ff << 32;

/// `cache_file_new_flags_endian_*`: the byte order of the writer; zero from an `ldconfig` older than the field.
const ENDIAN_MASK: u8 = 3;
const ENDIAN_HERE: u8 = if cfg!(target_endian = "big") { 3 } else { 2 };

/// No path is longer (`PATH_MAX`). Without a limit, a hostile file could make every entry share one endless string
/// and a walk over the entries quadratic.
const MAX_STRING: usize = 4096;

/// Why the bytes are not a cache that can be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Neither magic stands at the start.
    #[error("not an ld.so.cache")]
    NotACache,
    /// Only the table of glibc 2.1 and libc5: written by `ldconfig -c old`, or by an `ldconfig` of that age.
    #[error("an ld.so.cache in the old format only")]
    OldFormat,
    /// The magic is followed by a version other than 1.1.
    #[error("an ld.so.cache of an unknown version")]
    Version,
    /// Written on a machine of the other byte order, or marked invalid.
    #[error("an ld.so.cache of another byte order")]
    ByteOrder,
    /// The file ends before the table that its header announces.
    #[error("ld.so.cache announces {entries} entries and has room for {room}")]
    Truncated {
        /// How many entries the header announces.
        entries: usize,
        /// How many would fit between the header and the end of the file.
        room: usize,
    },
}

/// Which entries a machine's loader may use: `_DL_CACHE_DEFAULT_ID` of its `dl-cache.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheFlags {
    /// `x86_64`, 64-bit pointers.
    X86_64,
    /// `i386` and later.
    X86,
    /// `aarch64`.
    Aarch64,
    /// `riscv64` with floats in double registers (`lp64d`).
    Riscv64,
    /// `loongarch64` with floats in double registers (`lp64d`).
    LoongArch64,
    /// `powerpc64` of either byte order.
    PowerPc64,
    /// `s390x`.
    S390x,
}

impl CacheFlags {
    /// The flags as an entry has them: `FLAG_ELF_LIBC6` (3) with the bits of the architecture (`ldconfig.h`).
    pub const fn bits(self) -> u32 {
        match self {
            Self::X86_64 => 0x0303,
            Self::X86 => 0x0003,
            Self::Aarch64 => 0x0a03,
            Self::Riscv64 => 0x1003,
            Self::LoongArch64 => 0x1203,
            Self::PowerPc64 => 0x0503,
            Self::S390x => 0x0403,
        }
    }

    /// The flags for an architecture as [`std::env::consts::ARCH`] names it.
    pub fn of_arch(arch: &str) -> Option<Self> {
        Some(match arch {
            "x86_64" => Self::X86_64,
            "x86" => Self::X86,
            "aarch64" => Self::Aarch64,
            "riscv64" => Self::Riscv64,
            "loongarch64" => Self::LoongArch64,
            "powerpc64" => Self::PowerPc64,
            "s390x" => Self::S390x,
            _ => return None,
        })
    }
}

/// What an entry asks of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hwcap<'a> {
    /// Nothing.
    Any,
    /// What the `glibc-hwcaps` folder of this name stands for, `x86-64-v3` for one.
    Folder(&'a [u8]),
    /// Something that no longer has a meaning, or an index that leads nowhere: never usable.
    Unknown(u64),
}

/// One row of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheEntry<'a> {
    /// The soname.
    pub name: &'a [u8],
    /// Where it lies.
    pub path: &'a [u8],
    /// Library kind and architecture, as in [`CacheFlags::bits`].
    pub flags: u32,
    /// The oldest kernel it runs on; written zero and not read by today's glibc, nor by [`LdCache::find`].
    pub os_version: u32,
    /// What it asks of the processor.
    pub hwcap: Hwcap<'a>,
}

/// A searchable view of the bytes of an `ld.so.cache`.
#[derive(Clone, Copy, Debug)]
pub struct LdCache<'a> {
    /// From the new header on; every string's offset counts from here.
    strings: &'a [u8],
    entries: &'a [[u8; NEW_ENTRY]],
    /// The hwcaps section: string offsets. Empty if there is none.
    hwcaps: &'a [[u8; 4]],
}

impl<'a> LdCache<'a> {
    /// Checks the header and finds the tables. Costs the same for a cache of any size.
    ///
    /// An extension that does not hold together is passed over, as in glibc: the plain entries remain.
    pub fn parse(file: &'a [u8]) -> Result<Self, CacheError> {
        let strings = new_part(file)?;
        let header = strings.get(..NEW_HEADER).ok_or(CacheError::NotACache)?;
        if !header[NEW_MAGIC.len()..].starts_with(NEW_VERSION) {
            return Err(CacheError::Version);
        }
        let endian = header[28];
        if endian != 0 && endian & ENDIAN_MASK != ENDIAN_HERE {
            return Err(CacheError::ByteOrder);
        }
        let announced = word(header, 20).map_or(0, |count| count as usize);
        let (table, _) = strings[NEW_HEADER..].as_chunks::<NEW_ENTRY>();
        let entries = table.get(..announced).ok_or(CacheError::Truncated { entries: announced, room: table.len() })?;
        let extension = word(header, 32).filter(|&offset| offset != 0);
        let hwcaps = extension.and_then(|offset| hwcaps_section(file, offset));
        Ok(Self { strings, entries, hwcaps: hwcaps.unwrap_or(&[]) })
    }

    /// The path for `name` among the entries for `flags`.
    ///
    /// `hwcaps` lists the `glibc-hwcaps` folders that this processor may use, best first; an entry from one of them
    /// wins over the plain entry, and an entry that asks for anything else is passed over. Unlike glibc's, the
    /// search answers only for exactly this name, not for one that merely compares equal (`libx.so.01`).
    pub fn find(&self, name: &[u8], flags: CacheFlags, hwcaps: &[String]) -> Option<&'a [u8]> {
        let mut best: Option<(usize, &'a [u8])> = None;
        for row in self.entries.get(self.first_equal(name)?..)? {
            let row = Row(row);
            let key = self.tail(row.key())?;
            if library_order(name, key) != Ordering::Equal {
                break;
            }
            let exact = key.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0));
            if !exact || row.flags() != flags.bits() {
                continue;
            }
            let rank = match self.hwcap(row.hwcap()) {
                Hwcap::Any => Some(hwcaps.len()),
                Hwcap::Folder(folder) => hwcaps.iter().position(|known| known.as_bytes() == folder),
                Hwcap::Unknown(_) => None,
            };
            if let (Some(rank), Some(path)) = (rank, self.string(row.value()))
                && best.is_none_or(|(other, _)| rank < other)
            {
                best = Some((rank, path));
            }
        }
        best.map(|(_, path)| path)
    }

    /// Every entry whose strings lie in the file, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = CacheEntry<'a>> + use<'a> {
        let cache = *self;
        cache.entries.iter().filter_map(move |row| {
            let row = Row(row);
            Some(CacheEntry {
                name: cache.string(row.key())?,
                path: cache.string(row.value())?,
                flags: row.flags(),
                os_version: row.os_version(),
                hwcap: cache.hwcap(row.hwcap()),
            })
        })
    }

    /// The first of the entries that compare equal to `name`. The same probes as glibc's `search_cache`: should the
    /// order not be one (a run of digits overflows in [`library_order`]), what glibc finds is found.
    fn first_equal(&self, name: &[u8]) -> Option<usize> {
        if name.len() >= MAX_STRING {
            return None;
        }
        let (mut left, mut right) = (0, self.entries.len());
        while left < right {
            let middle = (left + right - 1) / 2;
            match self.compare(name, middle)? {
                Ordering::Less => left = middle + 1,
                Ordering::Greater => right = middle,
                Ordering::Equal => {
                    let equal = |&index: &usize| self.compare(name, index) == Some(Ordering::Equal);
                    return (0..=middle).rev().take_while(equal).last();
                }
            }
        }
        None
    }

    /// How `name` compares with the name of one entry; `None` if that is not in the file.
    fn compare(&self, name: &[u8], index: usize) -> Option<Ordering> {
        let row = Row(self.entries.get(index)?);
        Some(library_order(name, self.tail(row.key())?))
    }

    fn hwcap(&self, bits: u64) -> Hwcap<'a> {
        if bits == 0 {
            return Hwcap::Any;
        }
        // dl_cache_hwcap_extension: only bit 62, leaving out the index and the ISA level.
        let named = bits & !HWCAP_ISA_LEVEL & !0xffff_ffff == HWCAP_EXTENSION;
        let folder = || {
            let index = usize::try_from(bits & 0xffff_ffff).ok()?;
            let offset = u32::from_ne_bytes(*self.hwcaps.get(index)?);
            self.string(offset)
        };
        let folder = if named { folder() } else { None };
        folder.map_or(Hwcap::Unknown(bits), Hwcap::Folder)
    }

    fn tail(&self, offset: u32) -> Option<&'a [u8]> {
        tail(self.strings, offset)
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        c_string(self.tail(offset)?)
    }
}

/// `struct file_entry_new`.
struct Row<'a>(&'a [u8; NEW_ENTRY]);

impl Row<'_> {
    fn flags(&self) -> u32 {
        self.word::<0>()
    }
    fn key(&self) -> u32 {
        self.word::<4>()
    }
    fn value(&self) -> u32 {
        self.word::<8>()
    }
    fn os_version(&self) -> u32 {
        self.word::<12>()
    }
    fn hwcap(&self) -> u64 {
        let b = self.0;
        u64::from_ne_bytes([b[16], b[17], b[18], b[19], b[20], b[21], b[22], b[23]])
    }
    fn word<const AT: usize>(&self) -> u32 {
        let b = self.0;
        u32::from_ne_bytes([b[AT], b[AT + 1], b[AT + 2], b[AT + 3]])
    }
}

/// From the new header on: at the start of the file, or behind the table of the old format.
fn new_part(file: &[u8]) -> Result<&[u8], CacheError> {
    if file.starts_with(NEW_MAGIC) {
        return Ok(file);
    }
    if !file.starts_with(OLD_MAGIC) {
        return Err(CacheError::NotACache);
    }
    // The eleven bytes of the magic are padded to the alignment of the count that follows.
    let entries = word(file, OLD_HEADER - 4).ok_or(CacheError::NotACache)? as usize;
    let start = entries
        .checked_mul(OLD_ENTRY)
        .and_then(|size| size.checked_add(OLD_HEADER))
        .and_then(|end| end.checked_next_multiple_of(8));
    start.and_then(|start| file.get(start..)).filter(|rest| rest.starts_with(NEW_MAGIC)).ok_or(CacheError::OldFormat)
}

/// `cache_extension_load`, for the one section that matters here.
fn hwcaps_section(file: &[u8], offset: u32) -> Option<&[[u8; 4]]> {
    let directory = file.get(offset as usize..)?;
    if word(directory, 0)? != EXTENSION_MAGIC {
        return None;
    }
    let count = word(directory, 4)? as usize;
    let (sections, _) = directory.get(8..)?.as_chunks::<16>();
    let section = sections.get(..count)?.iter().find(|section| word(*section, 0) == Some(EXTENSION_HWCAPS))?;
    let data = file.get(word(section, 8)? as usize..)?;
    let (names, rest) = data.get(..word(section, 12)? as usize)?.as_chunks::<4>();
    rest.is_empty().then_some(names)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let (word, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*word))
}

/// What follows `offset`, no more of it than a string may be long.
fn tail(bytes: &[u8], offset: u32) -> Option<&[u8]> {
    let rest = bytes.get(offset as usize..)?;
    Some(&rest[..rest.len().min(MAX_STRING)])
}

fn c_string(tail: &[u8]) -> Option<&[u8]> {
    let end = tail.iter().position(|&byte| byte == 0)?;
    Some(&tail[..end])
}

/// `_dl_cache_libcmp` (`elf/dl-cache.c`), the order in which `ldconfig` sorts: a run of digits counts as its number,
/// a digit is greater than anything else, the rest compares as `char`s, whose sign is the platform's.
/// Either side ends with its slice or at its first NUL.
fn library_order(name: &[u8], key: &[u8]) -> Ordering {
    // What both begin with decides nothing, except that a number must be read from its first digit.
    let alike = name.iter().zip(key).take_while(|(a, b)| a == b && **a != 0).count();
    let digits = name[..alike].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (mut i, mut j) = (alike - digits, alike - digits);
    loop {
        let a = name.get(i).copied().unwrap_or(0);
        let b = key.get(j).copied().unwrap_or(0);
        let order = match (a.is_ascii_digit(), b.is_ascii_digit()) {
            (true, true) => {
                // Wrapping, difference included, as C's int does in the program that sorted.
                number(name, &mut i).wrapping_sub(number(key, &mut j)).cmp(&0)
            }
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                (i, j) = (i + 1, j + 1);
                i32::from(a as c_char).cmp(&i32::from(b as c_char))
            }
        };
        if order != Ordering::Equal || a == 0 {
            return order;
        }
    }
}

fn number(text: &[u8], at: &mut usize) -> i32 {
    let mut value = 0i32;
    while let Some(digit) = text.get(*at).filter(|byte| byte.is_ascii_digit()) {
        value = value.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
        *at += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::process::Command;

    const V3: u64 = HWCAP_EXTENSION | 2 << 32 | 1;
    const V2: u64 = HWCAP_EXTENSION | 1 << 32;
    const NOWHERE: u64 = HWCAP_EXTENSION | 9;
    const LEGACY: u64 = 1 << 48;

    type Sample = (&'static str, &'static str, u32, u64);

    /// As `ldconfig` writes them: downwards, and of one name those with a folder first.
    const SAMPLES: &[Sample] = &[
        ("libz3.so.4", "/lib/libz3.so.4", 0x303, 0),
        ("libzstd.so.1", "/lib/libzstd.so.1", 0x303, 0),
        ("libz.so.1", "/lib/glibc-hwcaps/x86-64-v2/libz.so.1", 0x303, V2),
        ("libz.so.1", "/lib/glibc-hwcaps/x86-64-v3/libz.so.1", 0x303, V3),
        ("libz.so.1", "/lib/tls/libz.so.1", 0x303, LEGACY),
        ("libz.so.1", "/lib32/libz.so.1", 0x003, 0),
        ("libz.so.1", "/lib/libz.so.1", 0x303, 0),
        ("libz.so.1", "/opt/libz.so.1", 0x303, 0),
        ("libx.so.4294967297", "/lib/libx.so.4294967297", 0x303, 0),
        ("libx.so.01", "/lib/libx.so.01", 0x303, 0),
        ("libx.so.1", "/lib/libx.so.1", 0x303, 0),
        ("libv.so.10", "/lib/libv.so.10", 0x303, 0),
        ("libv.so.9", "/lib/libv.so.9", 0x303, 0),
        ("liby2.so", "/lib/liby2.so", 0x303, NOWHERE),
        ("libonly32.so", "/lib32/libonly32.so", 0x003, 0),
        ("libonly3.so", "/lib/glibc-hwcaps/x86-64-v3/libonly3.so", 0x303, V3),
    ];

    fn put(out: &mut [u8], at: usize, value: usize) {
        let value = u32::try_from(value).expect("a small file");
        out[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn add_string(out: &mut Vec<u8>, text: &str) -> usize {
        let at = out.len();
        out.extend(text.bytes().chain([0]));
        at
    }

    /// A cache of [`SAMPLES`] behind `old` entries of the old format (`None`: without that part).
    fn build(old: Option<usize>) -> Vec<u8> {
        let mut samples = SAMPLES.to_vec();
        samples.sort_by(|a, b| library_order(b.0.as_bytes(), a.0.as_bytes()));
        let base = old.map_or(0, |count| (OLD_HEADER + count * OLD_ENTRY).next_multiple_of(8));
        let mut out = vec![0; base + NEW_HEADER + samples.len() * NEW_ENTRY];
        if let Some(count) = old {
            out[..OLD_MAGIC.len()].copy_from_slice(OLD_MAGIC);
            put(&mut out, 12, count);
        }
        out[base..base + 17].copy_from_slice(NEW_MAGIC);
        out[base + 17..base + 20].copy_from_slice(NEW_VERSION);
        put(&mut out, base + 20, samples.len());
        out[base + 28] = ENDIAN_HERE;
        for (index, (name, path, flags, hwcap)) in samples.into_iter().enumerate() {
            let row = base + NEW_HEADER + index * NEW_ENTRY;
            let (name, path) = (add_string(&mut out, name), add_string(&mut out, path));
            put(&mut out, row, flags as usize);
            put(&mut out, row + 4, name - base);
            put(&mut out, row + 8, path - base);
            out[row + 16..row + 24].copy_from_slice(&hwcap.to_ne_bytes());
        }
        let folders = ["x86-64-v2", "x86-64-v3"].map(|folder| add_string(&mut out, folder) - base);
        let extension = out.len().next_multiple_of(4);
        out.resize(extension + 8 + 16 + 8, 0);
        put(&mut out, base + 32, extension);
        put(&mut out, extension, EXTENSION_MAGIC as usize);
        let words = [1, EXTENSION_HWCAPS as usize, 0, extension + 24, 8, folders[0], folders[1]];
        words.iter().enumerate().for_each(|(i, &word)| put(&mut out, extension + 4 + 4 * i, word));
        out
    }

    fn text(path: Option<&[u8]>) -> Option<&str> {
        path.map(|path| std::str::from_utf8(path).expect("the samples are ASCII"))
    }

    #[test]
    fn finds_by_name_machine_and_hwcaps() {
        const CASES: &[(&str, &[&str], Option<&str>)] = &[
            ("libz.so.1", &[], Some("/lib/libz.so.1")),
            ("libz.so.1", &["x86-64-v4"], Some("/lib/libz.so.1")),
            ("libz.so.1", &["x86-64-v2"], Some("/lib/glibc-hwcaps/x86-64-v2/libz.so.1")),
            ("libz.so.1", &["x86-64-v3", "x86-64-v2"], Some("/lib/glibc-hwcaps/x86-64-v3/libz.so.1")),
            ("libz3.so.4", &[], Some("/lib/libz3.so.4")),
            ("libzstd.so.1", &[], Some("/lib/libzstd.so.1")),
            ("libv.so.9", &[], Some("/lib/libv.so.9")),
            ("libv.so.10", &[], Some("/lib/libv.so.10")),
            // These three compare equal (the last by overflow) and are not the same name.
            ("libx.so.1", &[], Some("/lib/libx.so.1")),
            ("libx.so.01", &[], Some("/lib/libx.so.01")),
            ("libx.so.4294967297", &[], Some("/lib/libx.so.4294967297")),
            ("libx.so.001", &[], None),
            ("libonly3.so", &[], None),
            ("libonly3.so", &["x86-64-v3"], Some("/lib/glibc-hwcaps/x86-64-v3/libonly3.so")),
            ("libonly32.so", &[], None),
            ("liby2.so", &["x86-64-v2", "x86-64-v3"], None),
            ("libz.so", &[], None),
            ("libz.so.1\0", &[], None),
            ("", &[], None),
            ("zzz", &[], None),
            ("aaa", &[], None),
        ];
        for old in [None, Some(0), Some(1), Some(2)] {
            let file = build(old);
            let cache = LdCache::parse(&file).expect("a cache");
            assert_eq!(cache.iter().count(), SAMPLES.len());
            for &(name, hwcaps, expected) in CASES {
                let hwcaps: Vec<String> = hwcaps.iter().map(ToString::to_string).collect();
                let found = cache.find(name.as_bytes(), CacheFlags::X86_64, &hwcaps);
                assert_eq!(text(found), expected, "{name} with {hwcaps:?} behind {old:?}");
            }
            assert_eq!(text(cache.find(b"libz.so.1", CacheFlags::X86, &[])), Some("/lib32/libz.so.1"));
            assert_eq!(cache.find(b"libz.so.1", CacheFlags::Aarch64, &[]), None);
        }
    }

    #[test]
    fn order_is_glibcs() {
        use Ordering::{Equal, Greater, Less};
        const CASES: &[(&str, &str, Ordering)] = &[
            ("libz.so.1", "libz.so.1", Equal),
            ("libz.so.1", "libz.so.1\0libz.so.2", Equal),
            ("libv.so.9", "libv.so.10", Less),
            ("libv.so.010", "libv.so.10", Equal),
            ("lib1", "liba", Greater),
            ("liba", "lib1", Less),
            ("lib", "lib1", Less),
            ("lib1", "lib", Greater),
            ("lib", "lib.so", Less),
            ("libA", "liba", Less),
            ("", "", Equal),
        ];
        for &(name, key, expected) in CASES {
            assert_eq!(library_order(name.as_bytes(), key.as_bytes()), expected, "{name} {key}");
        }
    }

    #[test]
    fn refuses_what_is_no_cache() {
        let changed = |change: fn(&mut Vec<u8>)| {
            let mut file = build(None);
            change(&mut file);
            file
        };
        let cases: &[(Vec<u8>, CacheError)] = &[
            (vec![], CacheError::NotACache),
            (b"\x7fELF".to_vec(), CacheError::NotACache),
            (changed(|file| file.truncate(40)), CacheError::NotACache),
            (changed(|file| file[19] = b'2'), CacheError::Version),
            (changed(|file| file[28] = ENDIAN_HERE ^ 1), CacheError::ByteOrder),
            (changed(|file| file[28] = 1), CacheError::ByteOrder),
            (changed(|file| file.truncate(48 + 24 + 23)), CacheError::Truncated { entries: SAMPLES.len(), room: 1 }),
            (build(Some(3))[..60].to_vec(), CacheError::OldFormat),
        ];
        for (file, expected) in cases {
            assert_eq!(LdCache::parse(file).map(|_| ()), Err(*expected));
        }
        for (at, what) in [(28, "no byte order"), (32, "no extension")] {
            let mut file = build(None);
            put(&mut file, at, 0);
            assert!(LdCache::parse(&file).is_ok(), "{what}");
        }
    }

    /// Whatever the bytes, nothing panics, and what is found is what some entry says.
    #[test]
    fn survives_any_bytes() {
        let hwcaps = ["x86-64-v3".to_owned(), "x86-64-v2".to_owned()];
        let mut state = 0x1234_5678_9abc_def0u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for round in 0..4_000 {
            let mut file = build([None, Some(2)][round % 2]);
            for _ in 0..=random(8) {
                let at = random(file.len());
                file[at] = [file[at] ^ (1 << random(8)), 0xff, 0][random(3)];
            }
            file.truncate(file.len() - [0, random(file.len())][random(4) / 3]);
            let Ok(cache) = LdCache::parse(&file) else { continue };
            for (name, ..) in SAMPLES {
                if let Some(path) = cache.find(name.as_bytes(), CacheFlags::X86_64, &hwcaps) {
                    let mut entries = cache.iter();
                    assert!(entries.any(|entry| entry.name == name.as_bytes() && entry.path == path));
                }
            }
        }
    }

    /// One endless string of zeros shared by every entry: the walk must stay short.
    #[test]
    fn work_is_bounded() {
        let count = 4_000;
        let mut file = build(None)[..NEW_HEADER].to_vec();
        put(&mut file, 20, count);
        put(&mut file, 32, 0);
        let strings = NEW_HEADER + count * NEW_ENTRY;
        file.resize(strings, 0);
        for row in 0..count {
            put(&mut file, NEW_HEADER + row * NEW_ENTRY + 4, strings);
        }
        file.resize(strings + (1 << 24), b'0');
        let cache = LdCache::parse(&file).expect("a cache");
        assert_eq!(cache.find(b"0", CacheFlags::X86_64, &[]), None);
        assert_eq!(cache.find(&file[strings..], CacheFlags::X86_64, &[]), None);
        assert_eq!(cache.iter().count(), 0);
    }

    /// Every name of this machine's own cache is found, at the path that `ldconfig -p` prints first.
    #[test]
    fn agrees_with_this_machine() {
        let Ok(file) = std::fs::read("/etc/ld.so.cache") else {
            return println!("skipped: no /etc/ld.so.cache");
        };
        let Some(flags) = CacheFlags::of_arch(std::env::consts::ARCH) else {
            return println!("skipped: no flags for this architecture");
        };
        let cache = LdCache::parse(&file).expect("the machine's own cache");
        let mut expected = HashMap::new();
        for entry in cache.iter().filter(|entry| entry.flags == flags.bits() && entry.hwcap == Hwcap::Any) {
            expected.entry(entry.name).or_insert(entry.path);
        }
        for (name, path) in &expected {
            assert_eq!(cache.find(name, flags, &[]), Some(*path));
        }
        let listing = Command::new("/sbin/ldconfig").arg("-p").env_clear().output();
        let Ok(listing) = listing.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()) else {
            return println!("found {} names; no ldconfig to compare with", expected.len());
        };
        assert_eq!(cache.iter().count(), listing.lines().filter(|line| line.contains(" => ")).count());
        let mut compared = HashMap::new();
        for line in listing.lines() {
            if let Some((name, path)) = line.trim_start().split_once(" (libc6,x86-64) => ") {
                compared.entry(name).or_insert(path);
            }
        }
        for (name, path) in &compared {
            assert_eq!(text(cache.find(name.as_bytes(), CacheFlags::X86_64, &[])), Some(*path));
        }
        println!("found {} names, compared {}", expected.len(), compared.len());
    }
}
