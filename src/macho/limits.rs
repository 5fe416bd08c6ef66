//! What an image must stay below. No real one comes near; beyond them its size would no longer bound the work on it and
//! the memory for it, since records can overlap, and one string can be named by all of them.

/// `LC_SEGMENT_64` commands: dyld counts them in eight bits (`ImageLoaderMachO::sniffLoadCommands`).
pub(crate) const SEGMENTS: usize = 255;

/// Images that one needs: dyld counts them in twelve bits.
pub(crate) const NEEDS: usize = 4095;

/// Bytes of a path, as for the system (`PATH_MAX`).
pub(crate) const PATH: usize = 4096;

/// Bytes of all search paths (`LC_RPATH`) together: each need may be looked for in each of them.
pub(crate) const SEARCH_PATHS: usize = 64 << 10;

/// How many times as long as the table of names all names of imports may be together, when each is counted with every
/// import that has it. (A table that is compressed may be as long as the image, once it is inflated.)
pub(crate) const NAMES_SHARED: u64 = 16;
