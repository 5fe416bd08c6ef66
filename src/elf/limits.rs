//! What a file must stay below. No real one comes near; beyond them its size would no longer bound the work on it and
//! the memory for it, since records can overlap, and one string can be named by all of them.

/// Program headers: with more than 64 KiB of them Linux runs no program (`fs/binfmt_elf.c`), and a process can have no
/// more than 65,530 mappings in all.
pub(crate) const PROGRAM_HEADERS: usize = (64 << 10) / super::PHENT;

/// `DT_NEEDED` entries, and as many filters.
pub(crate) const NEEDS: usize = 4096;

/// Bytes of all their names together: one string can be named by each entry.
pub(crate) const NEEDS_NAMES: usize = 1 << 20;

/// Bytes of a path, as for the system (`PATH_MAX`).
pub(crate) const PATH: u64 = 4096;

/// Bytes of a search path (`DT_RUNPATH`). Package managers that give each package a folder write a few thousand.
pub(crate) const SEARCH_PATH: u64 = 64 << 10;

/// Bytes of a build id: the longest hash has 64.
pub(crate) const BUILD_ID: usize = 64;

/// Versions that a file defines, and as many that it needs: an index has 15 bits.
pub(crate) const VERSIONS: u64 = 0x7fff;

/// Bytes of a version's name, and of the file that it comes from.
pub(crate) const VERSION_NAME: u64 = 4096;

/// How many times as long as the string table all names of imports may be together, when each is counted with every
/// symbol that has it. Linkers let a name that another one ends with share its bytes.
pub(crate) const NAMES_SHARED: u64 = 16;
