//! How much of a file becomes resident when it is planned: asked of the kernel by `mincore`, with read-ahead off.

use sideload::plan::{self, LoadPlan, Tables};
use std::error::Error;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

const KIB: usize = 1024;

/// Plans the image of a file that is not in memory. The file has to be on a disk: what a memory file system holds is
/// always resident.
pub(crate) fn of_a_plan(path: &Path, arch: &str) -> Result<String, Box<dyn Error>> {
    let file = File::open(path)?;
    // SAFETY: the advice concerns the page cache only.
    let dropped = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    // SAFETY: nobody writes to the file of a benchmark meanwhile.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    map.advise(memmap2::Advice::Random)?;
    let before = resident(&map)?;
    let plan = plan::plan_for(&map, "bench", Some(arch))?;
    let after = resident(&map)?;
    if dropped != 0 || before > 0 {
        return Ok(format!("not measured: {before} KiB of the file cannot be dropped"));
    }
    let header = file_start(&plan);
    let commands =
        map.get(header + 20..header + 24).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes);
    let whole = map.len() / KIB;
    Ok(format!("{after} KiB of {whole} KiB became resident, load commands {} KiB", commands as usize / KIB))
}

/// Where the image's header is.
fn file_start(plan: &LoadPlan) -> usize {
    match &plan.tables {
        Tables::MachO(tables) => tables.image.start.0 as usize,
        _ => 0,
    }
}

/// KiB of the file that are in memory.
fn resident(map: &[u8]) -> Result<usize, std::io::Error> {
    // SAFETY: no preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut pages = vec![0u8; map.len().div_ceil(page)];
    // SAFETY: a mapping of this process, and a byte for each of its pages.
    let status = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
    if status != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(pages.iter().filter(|&&page| page & 1 != 0).count() * page / KIB)
}
