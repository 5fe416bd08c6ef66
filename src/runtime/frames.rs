//! Unwinding through loaded objects.
//!
//! An exception needs the frame descriptions (`.eh_frame`) of every function it passes. The unwinder finds those of
//! the system loader's objects through `dl_iterate_phdr` or `_dl_find_object`, which do not know ours; replacing
//! either would take them over for the whole process. So loaded objects' frames are *registered*, as those of
//! just-in-time compilers are: without it a C++ exception terminates and a Rust panic aborts.
//!
//! **Two conventions, one name.** libgcc's `__register_frame` takes a whole section, up to its zero length. That of
//! LLVM's libunwind (musl's Rust, FreeBSD, macOS) takes one FDE, and misreads a section. [`UnwinderKind`] tells them
//! apart: LLVM's defines `__unw_add_dynamic_fde`. A process can hold several unwinders, each with a registry of its
//! own (one in libgcc_s, one linked into a static program); the object's frames go to each that is found.
//!
//! **Where the section ends** is not written down where a loader can rely on it: the index (`PT_GNU_EH_FRAME`) says
//! where it starts and how many FDEs it has at least. libgcc reads until the zero length that `crtend.o` contributes;
//! an object linked without it (5 of 931 on a Debian 12, the dynamic linker among them) would make it run into
//! whatever follows. Such a section is copied, terminated and rebased, to within ±2 GiB of the object.
//!
//! **What is checked.** Every record of a section of up to [`WALK_WHOLE`] bytes, before any unwinder sees it: a length,
//! encoding or address that linkers do not write is an error (`section.rs`). Of a larger one, only the index and the
//! end: the table is scanned for the last FDE in memory, and the zero must follow it. A walk over all of libLLVM-15's
//! 5.2 MB (98,256 FDEs) takes 0.5 ms with its pages mapped and 1.3 ms without; the scan takes 0.03 and 0.16 ms. So a
//! large section that was tampered with in the middle passes, as it does everywhere else, and can end the process at
//! an exception; with libgcc from 13 on, which walks at registration, when it is opened. Who would rather pay has
//! [`Policy::check_all_frames`](crate::audit::Policy): on a busy machine, with cold pages, 2.2 ms of 13 for libLLVM-15, 0.75
//! of 1.4 for libz3, 0.06 of 0.77 for libstdc++. An observer is told which sections were not checked whole.
//!
//! **What it costs.** libgcc up to 12 only links the section into a list at registration. It reads and sorts all that
//! is in the list at the first exception of the process, whether or not that comes near the object: 33 ms for
//! libLLVM-15, 28 ms for libclang-cpp-14, 3 ms for libcrypto, 1.2 ms for libstdc++, where a first throw takes 0.03 ms
//! otherwise; later ones take 2.3 µs in place of 1.9. libgcc from 13 on sorts at the first exception that passes through
//! the object. There is no way around it from outside: handing in sorted tables would mean to write in libgcc's own
//! records without its lock, and to register only when somebody throws would miss what the host throws. An object
//! that is never registered ends the process at its first exception, so the price is paid.
//!
//! **Invariant.** What is registered is deregistered with the same unwinder before the memory it describes goes away;
//! a copy is unmapped after that. Section memory is read through slices of the ranges that the caller vouches for.

mod section;

use self::section::{Header, Record, Section, View, is_last, rebase, walk};
use crate::addr::RunAddr;
use crate::error::ErrorKind;
use crate::plan::FrameTable;
use crate::platform::unix;
use crate::sync::{Mutex, MutexGuard, lock};
use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sections up to this size are checked record by record.
const WALK_WHOLE: u64 = 128 << 10;

/// A run of this process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunRange {
    /// Its first byte.
    pub(crate) start: RunAddr,
    /// Its length.
    pub(crate) size: u64,
}

impl RunRange {
    fn holds(self, at: u64) -> bool {
        at.wrapping_sub(self.start.0) < self.size
    }
}

/// How an unwinder's `__register_frame` wants frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnwinderKind {
    /// A section at a time: libgcc.
    PerSection,
    /// A function at a time: LLVM's libunwind, which defines `__unw_add_dynamic_fde`.
    PerFde,
}

/// One unwinder of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwinder {
    /// Its `__register_frame`.
    pub(crate) register: RunAddr,
    /// Its `__deregister_frame`.
    pub(crate) deregister: RunAddr,
    /// What the two take.
    pub(crate) kind: UnwinderKind,
    /// What takes a whole section and what gives it back, beside functions that take less: `__unw_add_dynamic_eh_frame_section`
    /// and `__unw_remove_dynamic_eh_frame_section` of LLVM's, from version 14 on.
    pub(crate) sections: Option<[RunAddr; 2]>,
}

type Announce = unsafe extern "C" fn(*const c_void);

unsafe extern "C" {
    #[link_name = "__register_frame"]
    fn register_frame(frames: *const c_void);
    #[link_name = "__deregister_frame"]
    fn deregister_frame(frames: *const c_void);
}

impl Unwinder {
    /// The one that this crate is linked to: in a static program the only one there is.
    pub(crate) fn own() -> Unwinder {
        Unwinder {
            register: RunAddr(register_frame as *const () as u64),
            deregister: RunAddr(deregister_frame as *const () as u64),
            kind: if is_llvms() { UnwinderKind::PerFde } else { UnwinderKind::PerSection },
            sections: None,
        }
    }

    /// The same for records that were made for an image, all at once where that can be: for each function that is given
    /// back, LLVM's looks at all that it has.
    fn for_made(self) -> Unwinder {
        match self.sections {
            Some([register, deregister]) => {
                Unwinder { register, deregister, kind: UnwinderKind::PerSection, sections: None }
            }
            None => self,
        }
    }

    /// # Safety
    /// `frames` is what the unwinder's kind takes.
    unsafe fn call(function: RunAddr, frames: u64) {
        let function: *const () = ptr::with_exposed_provenance(function.0 as usize);
        // SAFETY: whoever made the `Unwinder` vouches for its two functions.
        let function = unsafe { std::mem::transmute::<*const (), Announce>(function) };
        // SAFETY: as the caller promises.
        unsafe { function(ptr::with_exposed_provenance(frames as usize)) }
    }
}

impl Unwinder {
    /// Calls one of its functions with what its kind takes.
    ///
    /// # Safety
    /// As [`Unwinder::call`]; `fdes` are those of `section`.
    unsafe fn each(&self, function: RunAddr, section: u64, fdes: &[u64]) {
        let given = match self.kind {
            UnwinderKind::PerSection => std::slice::from_ref(&section),
            UnwinderKind::PerFde => fdes,
        };
        for &frames in given {
            // SAFETY: as the caller promises.
            unsafe { Unwinder::call(function, frames) };
        }
    }
}

/// Whether the unwinder that this crate is linked to is LLVM's: it has a symbol that libgcc has not, and a weak
/// reference to one that nobody defines is null.
fn is_llvms() -> bool {
    let address: usize;
    // SAFETY: loads a word of our own global offset table.
    #[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
    unsafe {
        std::arch::asm!(
            ".weak __unw_add_dynamic_fde",
            "mov {}, qword ptr [rip + __unw_add_dynamic_fde@GOTPCREL]",
            out(reg) address, options(nostack, preserves_flags, readonly),
        );
    }
    // SAFETY: as above.
    #[cfg(all(target_arch = "aarch64", not(target_vendor = "apple")))]
    unsafe {
        std::arch::asm!(
            ".weak __unw_add_dynamic_fde",
            "adrp {0}, :got:__unw_add_dynamic_fde",
            "ldr {0}, [{0}, :got_lo12:__unw_add_dynamic_fde]",
            out(reg) address, options(nostack, preserves_flags, readonly),
        );
    }
    #[cfg(any(target_vendor = "apple", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    {
        address = usize::from(cfg!(target_vendor = "apple"));
    }
    address != 0
}

/// A loaded object's frames, registered until drop.
#[derive(Debug)]
pub(crate) struct Frames {
    /// With whom, and what it was given.
    registered: Vec<(Unwinder, Vec<u64>)>,
    /// The section, if only its index and its end were checked.
    by_index: Option<RunAddr>,
    /// Where they are, if they were made for the object.
    made: Option<Made>,
    /// Unmapped after the drop below has deregistered it.
    _copy: Option<NearCopy>,
}

/// Records that were made for an object, and whom they are told besides the host's unwinders.
struct Made {
    section: u64,
    fdes: Vec<u64>,
    /// Each with what keeps it mapped.
    told: Mutex<Vec<(Unwinder, Arc<dyn Any + Send + Sync>)>>,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("section", &self.section).finish_non_exhaustive()
    }
}

impl Frames {
    /// Registers the frames that the index at `header` leads to.
    ///
    /// `module` is the whole span of the object and `readable` what can be read of it. A large section is checked record
    /// by record only if it is to be checked `whole`. `None` if there is nothing to register, or nobody to register it
    /// with.
    ///
    /// # Errors
    /// Frames that no linker writes, and no memory for a copy where one is needed.
    ///
    /// # Safety
    /// The readable ranges are that until the value is dropped, and no other thread writes the index or the section.
    /// Each unwinder's functions are what they are said to be.
    pub(crate) unsafe fn register(
        header: RunRange,
        module: RunRange,
        readable: &[RunRange],
        unwinders: &[Unwinder],
        whole: bool,
    ) -> Result<Option<Frames>, ErrorKind> {
        let distinct = distinct(unwinders);
        if distinct.is_empty() {
            return Ok(None);
        }
        let malformed = |what| ErrorKind::Malformed { what, place: None };
        let view = |at: u64| {
            let range = readable.iter().find(|range| range.holds(at))?;
            let size = range.size - (at - range.start.0);
            // SAFETY: readable and unwritten, as the caller promises.
            let bytes = unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(at as usize), size as usize) };
            Some(View { bytes, at })
        };
        let mut index = view(header.start.0).ok_or(malformed("PT_GNU_EH_FRAME: not in a readable segment"))?;
        index.bytes = index.bytes.get(..header.size as usize).ok_or(malformed("PT_GNU_EH_FRAME: cut off"))?;
        let header = Header::parse(index).ok_or(malformed(".eh_frame_hdr"))?;
        let section = view(header.section).ok_or(malformed(".eh_frame_hdr: .eh_frame not in a readable segment"))?;
        let one_by_one = distinct.iter().any(|unwinder| unwinder.kind == UnwinderKind::PerFde);
        let checked = match !one_by_one && !whole && is_large_and_ends(&header, index, section) {
            true => Checked { at: section.at, fdes: Vec::new(), copy: None, by_index: true },
            false => match Checked::new(&header, section, module, one_by_one)? {
                Some(checked) => checked,
                None => return Ok(None),
            },
        };
        // SAFETY: the section was checked, and stays as it is until the drop.
        Ok(Some(unsafe { checked.announce(&distinct) }))
    }
}

impl Frames {
    /// Where the section is, if it is so large that only its index and its end were checked.
    pub(crate) fn checked_by_index(&self) -> Option<RunAddr> {
        self.by_index
    }

    /// Registers records that were made for an image: see [`FrameTable`].
    ///
    /// # Errors
    /// No memory for them.
    ///
    /// # Safety
    /// The records are well-formed, and speak of an image that is mapped until the value is dropped. Each unwinder's
    /// functions are what they are said to be.
    pub(crate) unsafe fn register_table(table: &FrameTable, unwinders: &[Unwinder]) -> Result<Frames, ErrorKind> {
        // Absolute pointers, so it may be anywhere.
        let copy = NearCopy::of(&table.bytes)?;
        let fdes: Vec<u64> = table.records.iter().map(|&record| copy.start + record as u64).collect();
        let unwinders: Vec<Unwinder> = distinct(unwinders).into_iter().map(Unwinder::for_made).collect();
        let made = Made { section: copy.start, fdes: fdes.clone(), told: Mutex::default() };
        let checked = Checked { at: copy.start, fdes, copy: Some(copy), by_index: false };
        // SAFETY: a section with its end, which nobody writes any more.
        let mut frames = unsafe { checked.announce(&unwinders) };
        frames.made = Some(made);
        Ok(frames)
    }

    /// Tells an unwinder of records that were made for an image. It is loaded itself, so it does not find them by the list
    /// of images, and stays mapped with `owner` until they are taken off it.
    ///
    /// # Safety
    /// Its functions are what they are said to be, lie in what `owner` keeps mapped, and can run.
    pub(crate) unsafe fn tell(&self, unwinder: Unwinder, owner: &Arc<dyn Any + Send + Sync>) {
        let Some(made) = &self.made else { return };
        let unwinder = unwinder.for_made();
        let _turn = hold();
        let mut told = lock(&made.told);
        let is_known = |known: &Unwinder| known.register == unwinder.register;
        if !told.iter().any(|(known, _)| is_known(known)) && !self.registered.iter().any(|(known, _)| is_known(known)) {
            // SAFETY: a section with its end, and the functions in it; the rest as the caller promises.
            unsafe { unwinder.each(unwinder.register, made.section, &made.fdes) };
            told.push((unwinder, Arc::clone(owner)));
        }
    }

    /// How many objects' frames are registered now.
    pub(crate) fn live() -> usize {
        LIVE.load(Ordering::Relaxed)
    }
}

/// Held while an unwinder's functions are called: they take a lock of its own, and a fork must not find that taken.
static TURN: Mutex<()> = Mutex::new(());

/// Keeps what is registered as it is.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    lock(&TURN)
}

/// Each unwinder once.
fn distinct(unwinders: &[Unwinder]) -> Vec<Unwinder> {
    let mut distinct: Vec<Unwinder> = Vec::new();
    for unwinder in unwinders {
        if !distinct.iter().any(|known| known.register == unwinder.register) {
            distinct.push(*unwinder);
        }
    }
    distinct
}

/// Values of [`Frames`] that exist.
static LIVE: AtomicUsize = AtomicUsize::new(0);

impl Drop for Frames {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        let _turn = hold();
        if let Some(made) = &self.made {
            for (unwinder, _) in lock(&made.told).iter().rev() {
                // SAFETY: what `tell` registered, with one that is still mapped.
                unsafe { unwinder.each(unwinder.deregister, made.section, &made.fdes) };
            }
        }
        for (unwinder, given) in self.registered.iter().rev() {
            for &frames in given.iter().rev() {
                // SAFETY: exactly what was registered, and still as it was then.
                unsafe { Unwinder::call(unwinder.deregister, frames) };
            }
        }
    }
}

/// Whether the section is too large to check whole, and its index leads to a last record that the end follows.
fn is_large_and_ends(header: &Header, index: View<'_>, section: View<'_>) -> bool {
    let mut last = header.last_fdes(index).filter_map(|last| last.checked_sub(section.at));
    last.any(|last| last > WALK_WHOLE && is_last(section, last))
}

/// Frames that may be registered.
struct Checked {
    /// The section, or its copy.
    at: u64,
    /// Its FDEs, for those who want them one by one.
    fdes: Vec<u64>,
    copy: Option<NearCopy>,
    /// Whether only its index and its end were.
    by_index: bool,
}

impl Checked {
    /// Checks a whole section; `None` if it has no frames.
    fn new(
        header: &Header,
        section: View<'_>,
        module: RunRange,
        one_by_one: bool,
    ) -> Result<Option<Checked>, ErrorKind> {
        let code = module.start.0..module.start.0.saturating_add(module.size);
        let mut fdes = Vec::new();
        let walked = walk(section, code.clone(), header.fdes, |record| match record {
            Record::Fde(fde) if one_by_one => fdes.push(section.at + fde.at),
            _ => {}
        })?;
        if walked.fdes == 0 {
            return Ok(None); // libgcc 13 fails to find an empty section again when it is deregistered
        }
        if walked.terminated {
            return Ok(Some(Checked { at: section.at, fdes, copy: None, by_index: false }));
        }
        let copy = NearCopy::new(section, &walked, code)?;
        for fde in &mut fdes {
            *fde = *fde - section.at + copy.start;
        }
        Ok(Some(Checked { at: copy.start, fdes, copy: Some(copy), by_index: false }))
    }

    /// # Safety
    /// The section, or the copy, is unchanged until the result is dropped.
    unsafe fn announce(self, unwinders: &[Unwinder]) -> Frames {
        let mut registered = Vec::with_capacity(unwinders.len());
        let _turn = hold();
        for &unwinder in unwinders {
            let given = match unwinder.kind {
                UnwinderKind::PerSection => vec![self.at],
                UnwinderKind::PerFde => self.fdes.clone(),
            };
            for &frames in &given {
                // SAFETY: a checked section with its end, or an FDE of one, as the unwinder wants it.
                unsafe { Unwinder::call(unwinder.register, frames) };
            }
            registered.push((unwinder, given));
        }
        LIVE.fetch_add(1, Ordering::Relaxed);
        Frames { registered, by_index: self.by_index.then_some(RunAddr(self.at)), made: None, _copy: self.copy }
    }
}

/// A copy of a section, with the end that the original lacks.
#[derive(Debug)]
struct NearCopy {
    start: u64,
    size: usize,
}

/// Distances from the object at which room is looked for. Its pointers to the copy's place have 32 bits.
const DISTANCES: [u64; 6] = [0, 1 << 24, 1 << 26, 1 << 28, 1 << 29, 1 << 30];

impl NearCopy {
    fn new(section: View<'_>, walked: &Section, code: Range<u64>) -> Result<NearCopy, ErrorKind> {
        let original = &section.bytes[..walked.size as usize];
        let size = original.len() + size_of::<u32>(); // fresh memory is zero: that is the end
        let above = DISTANCES.iter().map(|distance| code.end.saturating_add(*distance));
        let below = DISTANCES.iter().map(|distance| code.start.saturating_sub(size as u64 + distance));
        for wish in above.zip(below).flat_map(|(above, below)| [above, below]) {
            let copy = NearCopy::map(wish & !0xffff, size)?;
            if copy.fill(original, section, walked, &code)? {
                return copy.protect();
            }
        }
        Err(ErrorKind::OutOfMemory { bytes: size as u64 })
    }

    /// A copy of what may be anywhere.
    fn of(bytes: &[u8]) -> Result<NearCopy, ErrorKind> {
        let copy = NearCopy::map(0, bytes.len())?;
        let start: *mut u8 = ptr::with_exposed_provenance_mut(copy.start as usize);
        // SAFETY: our own mapping of that size, which nobody else knows yet.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
        copy.protect()
    }

    /// Memory at the wished address, or anywhere else if that is taken.
    fn map(wish: u64, size: usize) -> Result<NearCopy, ErrorKind> {
        let failed = |source| ErrorKind::System { call: "mmap", size: size as u64, source };
        let start = unix::map_memory(wish, size).map_err(failed)?;
        Ok(NearCopy { start: start.expose_provenance() as u64, size })
    }

    /// Copies the section, and makes its pointers right for where it is now: false if one cannot reach.
    fn fill(&self, original: &[u8], section: View<'_>, walked: &Section, code: &Range<u64>) -> Result<bool, ErrorKind> {
        let start: *mut u8 = ptr::with_exposed_provenance_mut(self.start as usize);
        // SAFETY: our own mapping of `size` bytes, which are more than these, and nobody else knows it yet.
        let bytes = unsafe { slice::from_raw_parts_mut(start, original.len()) };
        bytes.copy_from_slice(original);
        let mut reaches = true;
        walk(section, code.clone(), Some(walked.fdes), |record| {
            let mut pointers = record.pointers();
            reaches &= pointers.all(|pointer| rebase(bytes, &[pointer], section.at, self.start).is_some());
        })?;
        Ok(reaches)
    }

    fn protect(self) -> Result<NearCopy, ErrorKind> {
        let start = ptr::with_exposed_provenance_mut(self.start as usize);
        let failed = |source| ErrorKind::System { call: "mprotect", size: self.size as u64, source };
        // SAFETY: our own mapping, which is not written to any more.
        unsafe { unix::freeze_memory(start, self.size) }.map_err(failed)?;
        Ok(self)
    }
}

impl Drop for NearCopy {
    fn drop(&mut self) {
        // SAFETY: our own mapping, registered with nobody any more.
        unsafe { unix::unmap_memory(ptr::with_exposed_provenance_mut(self.start as usize), self.size) };
    }
}

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use crate::plan::{LoadPlan, plan};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::Mutex;
    use std::time::Instant;
    use std::{env, fs, process};

    /// An object whose segments lie in memory as its program headers say, with nothing relocated.
    struct Mapped {
        base: u64,
        plan: LoadPlan,
    }

    impl Mapped {
        fn new(path: &Path) -> Mapped {
            let file = fs::read(path).unwrap();
            let plan = plan(&file, "test").unwrap();
            let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
            // SAFETY: a new mapping.
            let base = unsafe { libc::mmap(ptr::null_mut(), plan.span.size as usize, prot, flags, -1, 0) };
            assert_ne!(base, libc::MAP_FAILED);
            for region in &plan.regions {
                let bytes = &file[region.file.start.0 as usize..][..region.file.size as usize];
                // SAFETY: the regions lie inside the span.
                unsafe {
                    ptr::copy_nonoverlapping(
                        bytes.as_ptr(),
                        base.cast::<u8>().add(region.vm.start.0 as usize),
                        bytes.len(),
                    )
                };
            }
            Mapped { base: base.expose_provenance() as u64, plan }
        }

        fn range(&self, vm: crate::addr::VmRange) -> RunRange {
            RunRange { start: RunAddr(self.base + vm.start.0), size: vm.size }
        }

        fn register(&self, unwinders: &[Unwinder]) -> Result<Option<Frames>, ErrorKind> {
            let readable: Vec<_> = self.plan.regions.iter().map(|region| self.range(region.vm)).collect();
            let header = self.range(self.plan.unwind.unwrap());
            // SAFETY: the memory stays until the test process ends; the unwinders are its own or the mock's.
            unsafe { Frames::register(header, self.range(self.plan.span), &readable, unwinders, false) }
        }

        fn symbol(&self, path: &Path, name: &[u8]) -> u64 {
            let file = fs::read(path).unwrap();
            let symbols = self.plan.symbols(&file).unwrap();
            let mut found = None;
            let listed =
                symbols.exports(|export| found = found.or((export.name == name).then_some(self.base + export.vm.0)));
            listed.expect("a sound table");
            found.unwrap()
        }
    }

    /// Two functions: one calls, so that both need frames of their own.
    const SOURCE: &str = "int g(int *); int f(int a) { int b = a; return g(&b) + 1; } int g(int *a) { return *a; }";

    /// Builds a shared object of `SOURCE`; `-nostartfiles` leaves out `crtend.o`, and with it the section's end.
    fn build(name: &str, options: &[&str]) -> PathBuf {
        let stem = env::temp_dir().join(format!("sideload-frames-{}-{name}", process::id()));
        let (source, object) = (stem.with_extension("c"), stem.with_extension("so"));
        fs::write(&source, SOURCE).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-fno-inline", "-o"]).arg(&object).arg(&source).args(options);
        assert!(cc.status().unwrap().success(), "{cc:?}");
        fs::remove_file(&source).unwrap();
        object
    }

    fn fdes_by_readelf(path: &Path) -> usize {
        let output = Command::new("readelf").arg("--debug-dump=frames").arg(path).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(" FDE ")).count()
    }

    static GIVEN: Mutex<Vec<u64>> = Mutex::new(Vec::new());

    unsafe extern "C" fn give(frames: *const c_void) {
        GIVEN.lock().unwrap().push(frames as u64);
    }

    unsafe extern "C" fn take_back(frames: *const c_void) {
        let last = GIVEN.lock().unwrap().pop();
        assert_eq!(last, Some(frames as u64), "in reverse");
    }

    fn mock(kind: UnwinderKind) -> Unwinder {
        let address = |function: Announce| RunAddr(function as *const () as u64);
        Unwinder { register: address(give), deregister: address(take_back), kind, sections: None }
    }

    /// Times that a section was registered, and given back.
    static SECTIONS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

    unsafe extern "C" fn add_section(_: *const c_void) {
        SECTIONS[0].fetch_add(1, Ordering::Relaxed);
    }

    unsafe extern "C" fn remove_section(_: *const c_void) {
        SECTIONS[1].fetch_add(1, Ordering::Relaxed);
    }

    /// LLVM's compares all that it has with each function that is given back.
    #[test]
    fn what_was_made_is_told_and_taken_back_at_once() {
        let bytes = [[4, 0, 0, 0, 0, 0, 0, 0].repeat(1000), vec![0; 8]].concat();
        let table = FrameTable { bytes, records: (0..1000).map(|at| at * 8).collect(), ..FrameTable::default() };
        let address = |function: Announce| RunAddr(function as *const () as u64);
        let sections = Some([address(add_section), address(remove_section)]);
        let unwinder = Unwinder { sections, ..mock(UnwinderKind::PerFde) };
        let counted = || SECTIONS.each_ref().map(|count| count.load(Ordering::Relaxed));
        let owner: Arc<dyn Any + Send + Sync> = Arc::new(());
        // SAFETY: the mock looks at nothing.
        let frames = unsafe { Frames::register_table(&table, &[]) }.expect("room");
        for _ in 0..2 {
            // SAFETY: as above.
            unsafe { frames.tell(unwinder, &owner) };
            assert_eq!(counted(), [1, 0]);
        }
        drop(frames);
        assert_eq!(counted(), [1, 1]);
        // SAFETY: as above.
        drop(unsafe { Frames::register_table(&table, &[unwinder]) }.expect("room"));
        assert_eq!(counted(), [2, 2]);
    }

    #[test]
    fn each_unwinder_gets_what_it_takes_once() {
        for (name, options) in [("each-end", &[][..]), ("each-no-end", &["-nostartfiles"][..])] {
            let path = build(name, options);
            let (mapped, fdes) = (Mapped::new(&path), fdes_by_readelf(&path));
            fs::remove_file(&path).unwrap();
            assert!(fdes >= 2, "{name}: {fdes}");
            for (kind, expected) in [(UnwinderKind::PerSection, 1), (UnwinderKind::PerFde, fdes)] {
                let frames = mapped.register(&[mock(kind), mock(kind)]).unwrap();
                assert_eq!(GIVEN.lock().unwrap().len(), expected, "{name}: {kind:?}");
                drop(frames);
                assert!(GIVEN.lock().unwrap().is_empty());
            }
            assert!(mapped.register(&[]).unwrap().is_none());
        }
    }

    /// What LLVM's libunwind said that it has: where functions begin.
    static KNOWN: Mutex<Vec<u64>> = Mutex::new(Vec::new());

    extern "C" fn know(start: u64, _end: u64, _fde: u64, _group: u64) {
        lock(&KNOWN).push(start);
    }

    /// Two records that functions have in common, with functions of each in turn, and LLVM's libunwind where there is one:
    /// version 14 on Debian 12, which does not stop at the end of a section.
    #[test]
    fn llvms_takes_all_that_was_made() {
        let path = test_fixtures::macho_edit::folder().join("exception-x64-old.dylib");
        let file = fs::read(path).unwrap();
        let table = plan(&file, "test").unwrap().frames(&file).unwrap().expect("unwind tables");
        let mut commons = 0;
        let mut at = 0;
        while let length @ 1.. = u32::from_le_bytes(table.bytes[at..at + 4].try_into().unwrap()) {
            commons += usize::from(table.bytes[at + 4..at + 8] == [0; 4]);
            at += 4 + length as usize;
        }
        assert!(commons > 1 && table.records.len() > commons, "{commons} {}", table.records.len());
        // SAFETY: its initialisers are harmless.
        let Ok(libunwind) = (unsafe { crate::Library::open("libunwind.so.1") }) else {
            assert!(env::var_os("CI").is_none(), "libunwind.so.1 is missing");
            println!("skipped: no libunwind.so.1");
            return;
        };
        // SAFETY: only the address is taken.
        let at = |name: &str| unsafe { libunwind.get::<*const ()>(name) }.map(|symbol| RunAddr(symbol.addr() as u64));
        let [register, deregister] = ["__register_frame", "__deregister_frame"].map(|name| at(name).expect(name));
        let names = ["__unw_add_dynamic_eh_frame_section", "__unw_remove_dynamic_eh_frame_section"];
        let sections = Some(names.map(|name| at(name).expect(name)));
        let unwinder = Unwinder { register, deregister, kind: UnwinderKind::PerFde, sections };
        let iterate = at("unw_iterate_dwarf_unwind_cache").expect("what tells all");
        let known = || {
            type Iterate = extern "C" fn(extern "C" fn(u64, u64, u64, u64));
            // SAFETY: the function of that name.
            let iterate =
                unsafe { std::mem::transmute::<*const (), Iterate>(ptr::with_exposed_provenance(iterate.0 as usize)) };
            iterate(know);
            let mut known = std::mem::take(&mut *lock(&KNOWN));
            known.sort_unstable();
            known
        };
        let word = |at: usize| u64::from_le_bytes(table.bytes[at..at + 8].try_into().unwrap());
        let mut expected: Vec<u64> = table.records.iter().map(|record| word(record + 8)).collect();
        expected.sort_unstable();
        // SAFETY: nobody unwinds through functions that are not there.
        let frames = unsafe { Frames::register_table(&table, &[unwinder]) }.expect("room");
        assert_eq!(known(), expected);
        drop(frames);
        assert_eq!(known(), []);
    }

    #[cfg(target_env = "gnu")]
    unsafe extern "C" {
        /// libgcc's search: the FDE of the function that holds `pc`; the third word of `bases` is its start.
        #[link_name = "_Unwind_Find_FDE"]
        fn find_fde(pc: *const c_void, bases: *mut [u64; 3]) -> *const c_void;
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn the_unwinder_finds_functions_between_registration_and_drop() {
        let find = |pc: u64| {
            let mut bases = [0; 3];
            // SAFETY: the unwinder searches what is registered with it.
            let fde = unsafe { find_fde(ptr::without_provenance(pc as usize), &raw mut bases) };
            (!fde.is_null()).then_some((fde as u64, bases[2]))
        };
        for (name, options, is_copied) in [("find-end", &[][..], false), ("find-no-end", &["-nostartfiles"][..], true)]
        {
            let path = build(name, options);
            let mapped = Mapped::new(&path);
            let function = mapped.symbol(&path, b"f");
            fs::remove_file(&path).unwrap();
            assert_eq!(find(function + 1), None, "{name}");
            let frames = mapped.register(&[Unwinder::own()]).unwrap();
            let (fde, start) = find(function + 1).expect(name);
            assert_eq!(start, function, "{name}");
            assert_eq!(mapped.range(mapped.plan.span).holds(fde), !is_copied, "{name}");
            drop(frames);
            assert_eq!(find(function + 1), None, "{name}");
        }
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn the_linked_unwinder_is_told_apart() {
        assert_eq!(Unwinder::own().kind, UnwinderKind::PerSection);
    }

    #[test]
    fn a_header_that_leads_astray_is_an_error() {
        let path = build("astray", &[]);
        let mapped = Mapped::new(&path);
        fs::remove_file(&path).unwrap();
        let header: *mut u8 =
            ptr::with_exposed_provenance_mut((mapped.base + mapped.plan.unwind.unwrap().start.0) as usize);
        // offset in the header, new byte
        for (at, byte) in [(0, 2), (1, 0x5b), (7, 0x7f)] {
            // SAFETY: inside the header, which nobody else reads.
            let old = unsafe { header.add(at).replace(byte) };
            assert!(mapped.register(&[mock(UnwinderKind::PerSection)]).is_err(), "{at}: {byte:#x}");
            // SAFETY: as above.
            unsafe { header.add(at).write(old) };
        }
    }

    /// `SIDELOAD_FRAMES_OF=/path/to/lib.so cargo test --release -- --ignored --nocapture cost_of`
    #[test]
    #[ignore = "prints times; needs a large library"]
    fn cost_of_registering_and_of_the_first_throw() {
        let Some(path) = env::var_os("SIDELOAD_FRAMES_OF") else { return };
        let throw = |times: u32| {
            let start = Instant::now();
            (0..times).for_each(|_| drop(std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(())))));
            start.elapsed() / times
        };
        println!("throw: first {:?}, then {:?}", throw(1), throw(1000));
        let mapped = Mapped::new(Path::new(&path));
        let start = Instant::now();
        let frames = mapped.register(&[Unwinder::own()]).unwrap();
        println!("register: {:?}", start.elapsed());
        println!("throw: first {:?}, then {:?}", throw(1), throw(1000));
        drop(frames);
    }
}
