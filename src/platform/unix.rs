//! Memory and files, as all Unix systems have them.
//!
//! Invariant: an address that a caller passes with a `MAP_FIXED` call lies in a [`Reservation`] that it owns, so that
//! nothing else in the process is ever mapped over, protected or unmapped. The one exception is [`protect_data`], whose
//! caller vouches for the pages.

use super::gate::{self, Call};
use crate::addr::RunAddr;
use crate::error::ErrorKind;
use crate::link::FileStamp;
use crate::plan::Prot;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reservations that exist now: the ledger that tests compare before and after a failure.
static RESERVATIONS: AtomicUsize = AtomicUsize::new(0);

/// How many reservations exist now.
pub(crate) fn reservations() -> usize {
    RESERVATIONS.load(Ordering::Relaxed)
}

/// The system's page size in bytes.
pub(crate) fn page_size() -> u64 {
    region::page::size() as u64
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    gate::pass(Call::Open)?;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string. O_NONBLOCK keeps a pipe of that name from blocking the open.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just now and has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Whether the system was out of descriptors or memory.
pub(crate) fn is_exhaustion(errno: i32) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM)
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Folder,
    Other,
}

/// Identity and kind of an open file, by `fstat` (std would use `statx`, which a sandbox may not allow).
#[allow(clippy::unnecessary_cast)] // the fields' types differ from system to system
pub(crate) fn stat(file: &File) -> io::Result<(FileStamp, FileKind)> {
    gate::pass(Call::Stat)?;
    let mut raw = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer is a `struct stat`, and the descriptor is open.
    if unsafe { libc::fstat(file.as_raw_fd(), raw.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat succeeded, so it filled the buffer.
    let raw = unsafe { raw.assume_init() };
    let nanoseconds = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    #[allow(clippy::unnecessary_cast, reason = "the types differ between systems: macOS has a dev_t of 32 bits")]
    let stamp = FileStamp {
        device: raw.st_dev as u64,
        inode: raw.st_ino as u64,
        size: raw.st_size as u64,
        modified: nanoseconds(raw.st_mtime as i64, raw.st_mtime_nsec as i64),
        offset: 0,
    };
    let kind = match raw.st_mode & libc::S_IFMT {
        libc::S_IFREG => FileKind::Regular,
        libc::S_IFDIR => FileKind::Folder,
        _ => FileKind::Other,
    };
    Ok((stamp, kind))
}

/// Maps a whole file for reading. `size` is what `fstat` said.
pub(crate) fn map_file(file: &File, offset: u64, size: u64) -> io::Result<memmap2::Mmap> {
    let length = usize::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    gate::pass(Call::Map)?;
    // SAFETY: the mapping is private and read-only. That another process changes the file meanwhile is the documented
    // limit of loading from a file; every value read from it is checked after the read.
    // (Shared, it would be refused for a file that is sealed, by Linux before 6.7, and by file systems without coherent
    // pages.)
    unsafe { memmap2::MmapOptions::new().offset(offset).len(length).map_copy_read_only(file) }
}

/// Anonymous memory that can be read and written, at `wish` if there is room.
pub(crate) fn map_memory(wish: u64, size: usize) -> io::Result<*mut u8> {
    gate::pass(Call::Map)?;
    let wish: *mut libc::c_void = ptr::without_provenance_mut(wish as usize);
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
    // SAFETY: a new mapping; the wish is only that, so nothing is mapped over.
    let start = unsafe { libc::mmap(wish, size, prot, flags, -1, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.cast()) }
}

/// Makes memory of [`map_memory`] read-only.
///
/// # Safety
/// The range is one such mapping, and nobody writes to it any more.
pub(crate) unsafe fn freeze_memory(start: *mut u8, size: usize) -> io::Result<()> {
    gate::pass(Call::Protect)?;
    // SAFETY: the caller's own mapping.
    let done = unsafe { libc::mprotect(start.cast(), size, libc::PROT_READ) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives memory of [`map_memory`] back.
///
/// # Safety
/// The range is one such mapping, and nobody uses it any more.
pub(crate) unsafe fn unmap_memory(start: *mut u8, size: usize) {
    // SAFETY: the caller's own mapping, which it gives up.
    unsafe { libc::munmap(start.cast(), size) };
}

/// Whether the kernel can read the byte at `at`: it is asked for the name of a folder to open there, which is none.
///
/// Linux reads the name before it looks for a free descriptor (`do_sys_openat2`), so that the answer is the same when there
/// is none; others look for the descriptor first, and then have not looked at the byte. A sandbox that forbids the call does
/// not answer: then better not.
pub(crate) fn can_read(at: u64) -> bool {
    const NO_FOLDER: libc::c_int = -1;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the kernel checks the address itself; that it may be anything is the point.
    let opened = unsafe { libc::openat(NO_FOLDER, ptr::with_exposed_provenance(at as usize), flags) };
    if opened >= 0 {
        // SAFETY: the descriptor was just opened here, and nobody else knows it.
        unsafe { libc::close(opened) };
        return true;
    }
    let named = [libc::EBADF, libc::ENOENT, libc::ENOTDIR, libc::ENAMETOOLONG];
    let without_descriptor = [libc::EMFILE, libc::ENFILE];
    let answers = |errno| named.contains(&errno) || cfg!(target_os = "linux") && without_descriptor.contains(&errno);
    io::Error::last_os_error().raw_os_error().is_some_and(answers)
}

/// Reads from a file at an offset, as much as there is.
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    gate::pass(Call::Read)?;
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

/// Writes to a file at an offset, all of it.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    gate::pass(Call::Write)?;
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// The path from the root: only that of a relative one takes a system call.
pub(crate) fn absolute(path: &Path) -> io::Result<PathBuf> {
    if path.is_relative() {
        gate::pass(Call::WorkingFolder)?;
    }
    std::path::absolute(path)
}

/// The path of the program that runs.
pub(crate) fn executable() -> io::Result<PathBuf> {
    gate::pass(Call::ReadLink)?;
    std::env::current_exe()
}

/// A run of address space that belongs to one image.
#[derive(Debug)]
pub(crate) struct Reservation {
    base: *mut u8,
    size: usize,
}

// SAFETY: a reservation is an address range with one owner; nothing about it is bound to a thread.
unsafe impl Send for Reservation {}
// SAFETY: shared references only read the two numbers.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `size` bytes at a multiple of `align` (at least a page), with no access.
    pub(crate) fn new(size: u64, align: u64) -> Result<Reservation, ErrorKind> {
        let system = |source| ErrorKind::System { call: "mmap", size, source };
        let too_large = || system(io::Error::from_raw_os_error(libc::ENOMEM));
        let page = region::page::size();
        let (size_here, align) = (usize::try_from(size), usize::try_from(align));
        let (Ok(length), Ok(align)) = (size_here, align) else { return Err(too_large()) };
        let align = align.max(page);
        let whole = length.checked_add(align - page).ok_or_else(too_large)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | super::NO_RESERVE;
        gate::pass(Call::Map).map_err(system)?;
        // SAFETY: no address is asked for, so nothing that exists is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), whole, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(system(io::Error::last_os_error()));
        }
        let start: *mut u8 = start.cast();
        let skip = start.addr().next_multiple_of(align) - start.addr();
        let base = start.wrapping_add(skip);
        for (at, spare) in [(start, skip), (base.wrapping_add(length), whole - skip - length)] {
            if spare > 0 {
                // SAFETY: both ends lie in the mapping made above, outside the part that is kept.
                unsafe { libc::munmap(at.cast(), spare) };
            }
        }
        RESERVATIONS.fetch_add(1, Ordering::Relaxed);
        Ok(Reservation { base, size: length })
    }

    /// First byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    fn at(&self, offset: u64, size: u64, call: &'static str) -> Result<(*mut u8, usize), ErrorKind> {
        let inside = offset.checked_add(size).is_some_and(|end| end <= self.size as u64);
        let page = page_size();
        if !inside || !offset.is_multiple_of(page) {
            let source = io::Error::from_raw_os_error(libc::EINVAL);
            return Err(ErrorKind::System { call, size, source });
        }
        Ok((self.base.wrapping_add(offset as usize), size as usize))
    }

    /// Maps `size` bytes of `file` from `from` on, privately, at `offset`.
    pub(crate) fn map(
        &self,
        offset: u64,
        size: u64,
        prot: Prot,
        file: &File,
        from: u64,
        populate: bool,
    ) -> Result<(), ErrorKind> {
        let flags = libc::MAP_PRIVATE | if populate { super::POPULATE } else { 0 };
        self.map_fixed(offset, size, prot, flags, file.as_raw_fd(), from)
    }

    /// Replaces `size` bytes at `offset` by zeros.
    pub(crate) fn zero(&self, offset: u64, size: u64, prot: Prot, populate: bool) -> Result<(), ErrorKind> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | if populate { super::POPULATE } else { 0 };
        self.map_fixed(offset, size, prot, flags, -1, 0)
    }

    fn map_fixed(&self, offset: u64, size: u64, prot: Prot, flags: i32, fd: i32, from: u64) -> Result<(), ErrorKind> {
        let (at, length) = self.at(offset, size, "mmap")?;
        let from = libc::off_t::try_from(from).map_err(|_| ErrorKind::System {
            call: "mmap",
            size,
            source: io::ErrorKind::FileTooLarge.into(),
        })?;
        gate::pass(Call::Map).map_err(|source| ErrorKind::System { call: "mmap", size, source })?;
        // SAFETY: `at` checked that the range lies in this reservation, which is all that MAP_FIXED replaces.
        let got = unsafe { libc::mmap(at.cast(), length, raw(prot), flags | libc::MAP_FIXED, fd, from) };
        if got == libc::MAP_FAILED {
            return Err(ErrorKind::System { call: "mmap", size, source: io::Error::last_os_error() });
        }
        Ok(())
    }

    /// Changes the protection of whole pages.
    pub(crate) fn protect(&self, offset: u64, size: u64, prot: Prot) -> Result<(), ErrorKind> {
        let (at, length) = self.at(offset, size, "mprotect")?;
        let flags = match (prot.read, prot.write, prot.execute) {
            (_, false, true) => region::Protection::READ_EXECUTE,
            (_, true, _) => region::Protection::READ_WRITE,
            (true, false, false) => region::Protection::READ,
            (false, false, false) => region::Protection::NONE,
        };
        gate::pass(Call::Protect).map_err(|source| ErrorKind::System { call: "mprotect", size, source })?;
        // SAFETY: the pages lie in this reservation; callers take away access only from what they stop writing to.
        let changed = unsafe { region::protect(at, length, flags) };
        changed.map_err(|error| refused_protection(size, error))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the range is this reservation's own, and its owner gives it up.
        unsafe { libc::munmap(self.base.cast(), self.size) };
        RESERVATIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes whole pages of data read-only, or writable.
///
/// # Safety
/// The pages are mapped and hold data, and nobody writes to them while they are read-only.
pub(crate) unsafe fn protect_data(start: RunAddr, size: u64, writable: bool) -> Result<(), ErrorKind> {
    let protection = if writable { region::Protection::READ_WRITE } else { region::Protection::READ };
    let at: *const u8 = ptr::with_exposed_provenance(start.0 as usize);
    gate::pass(Call::Protect).map_err(|source| ErrorKind::System { call: "mprotect", size, source })?;
    // SAFETY: as the caller promises; neither protection allows execution.
    let changed = unsafe { region::protect(at, size as usize, protection) };
    changed.map_err(|error| refused_protection(size, error))
}

fn refused_protection(size: u64, error: region::Error) -> ErrorKind {
    let source = match error {
        region::Error::SystemCall(source) => source,
        _ => io::Error::from_raw_os_error(libc::EINVAL),
    };
    ErrorKind::System { call: "mprotect", size, source }
}

fn raw(prot: Prot) -> libc::c_int {
    let flag = |set, bit| if set { bit } else { 0 };
    flag(prot.read, libc::PROT_READ) | flag(prot.write, libc::PROT_WRITE) | flag(prot.execute, libc::PROT_EXEC)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn files_are_mapped_privately() {
        let file = open(Path::new("/proc/self/exe")).unwrap();
        let map = map_file(&file, 0, page_size()).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.starts_with(&format!("{:x}-", map.as_ptr().addr()))).unwrap();
        assert_eq!(line.split(' ').nth(1), Some("r--p"), "{line}");
    }

    /// A process that has no descriptor to spare must not take an image for one without program headers, for good.
    #[test]
    fn memory_can_be_read_without_a_descriptor() {
        let text = (can_read as *const ()).addr() as u64;
        // SAFETY: the child makes system calls only, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: a structure of ours; the process is at its end.
            unsafe {
                let limited = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) == 0;
                let is_full = libc::open(c"/".as_ptr(), libc::O_RDONLY) < 0;
                let told = [can_read(text), !can_read(8)];
                libc::_exit(if [limited, is_full, told[0], told[1]].contains(&false) { 1 } else { 42 });
            }
        }
        let mut status = 0;
        // SAFETY: our own child, and room for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 42);
    }
}
