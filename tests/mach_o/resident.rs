//! What a plan reads of a large file: its load commands. Asked of the kernel, with read-ahead off.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use test_fixtures::macho_edit::{MachOEdit, image};

const SIZE: u64 = 100 << 20;

/// Pages of the file that are in memory.
fn resident(map: &[u8]) -> usize {
    let mut pages = vec![0u8; map.len().div_ceil(4096)];
    // SAFETY: a mapping of this process, and no fewer bytes than it has pages.
    let status = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    pages.iter().filter(|&&page| page & 1 != 0).count()
}

#[test]
fn the_plan_of_a_large_image_reads_its_load_commands() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("large-{}.dylib", std::process::id()));
    let mut edit = MachOEdit::new(image("cxx-x64-chained"));
    edit.extend_linkedit(SIZE);
    fs::write(&path, edit.into_bytes()).expect("a folder of our own");
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("written just now");
    fs::remove_file(&path).expect("written just now");
    file.set_len(SIZE).expect("a file with a hole");
    file.sync_all().expect("pages that can be dropped are clean");
    // SAFETY: the advice concerns the page cache only.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    // SAFETY: nobody else has the file.
    let map = unsafe { memmap2::Mmap::map(&file) }.expect("room for a file");
    map.advise(memmap2::Advice::Random).expect("advice is taken");
    // A memory file system keeps what was written.
    let before = resident(&map);
    let plan = sideload::plan::plan(&map, "large").expect("as good as before");
    let read = resident(&map) - before;
    assert!(plan.regions.last().is_some_and(|last| last.file.end().0 == SIZE), "{:?}", plan.regions);
    assert!(read <= 2, "{read} pages");
}
