//! Full opens of corrupted files, each in a fork: with code of the file run, death cannot be excluded, but whose it is can
//! be told. A mark on a page that both processes share says what was called last, and where the open stands.
//!
//! The one place that no mark reaches is what an object registers with libc, to be run when the process ends (its C++
//! destructors): those deaths are counted apart, and may be no more than the system loader's.

use crate::support::{argument, say, text_argument};
use crate::{HANG, Place, mach_o};
use sideload::{Event, Loader};
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use test_fixtures::Hostile;

/// What the fork says before it may die.
#[repr(C)]
struct Mark {
    /// One of the constants below.
    state: AtomicU8,
    /// The stage in which code of the file is called, by its first letter.
    stage: AtomicU8,
    /// Bytes of `module` that count.
    length: AtomicU8,
    /// What is called.
    address: AtomicU64,
    /// Unwind tables that were not checked whole.
    tables: AtomicU64,
    /// The end of the module's path.
    module: [AtomicU8; 64],
}

const LOADING: u8 = 0;
const FOREIGN: u8 = 1;
const OPENED: u8 = 2;
const REFUSED: u8 = 3;
/// A panic unwinds, and there are unwind tables that were not checked whole.
const UNWINDING: u8 = 4;
/// The process exits.
const ENDING: u8 = 5;

impl Mark {
    /// On a page that stays the same one across a fork.
    fn shared() -> &'static Mark {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, which is never unmapped.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Mark>(), prot, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        // SAFETY: zeroed, large enough, aligned to a page, and of atomics only.
        unsafe { &*page.cast::<Mark>() }
    }

    /// Called before code of a file is.
    fn see(&self, event: &Event<'_>, rest: u8) {
        match event {
            Event::Foreign { stage, module, address } => {
                self.stage.store(stage.to_string().as_bytes()[0], Ordering::Relaxed);
                self.address.store(address.0, Ordering::Relaxed);
                let end = &module.as_bytes()[module.len().saturating_sub(self.module.len())..];
                end.iter().zip(&self.module).for_each(|(&byte, place)| place.store(byte, Ordering::Relaxed));
                self.length.store(end.len() as u8, Ordering::Relaxed);
                self.state.store(FOREIGN, Ordering::Release);
            }
            Event::Native => self.state.store(rest, Ordering::Release),
            Event::Tables { address, .. } => self.tables.store(address.0, Ordering::Relaxed),
            _ => {}
        }
    }

    fn module(&self) -> String {
        let bytes = self.module.iter().take(usize::from(self.length.load(Ordering::Relaxed)));
        String::from_utf8_lossy(&bytes.map(|byte| byte.load(Ordering::Relaxed)).collect::<Vec<u8>>()).into_owned()
    }
}

/// How a copy ended.
pub(crate) fn run() {
    let path = PathBuf::from(argument("OBJECT"));
    let [first, end] = ["FIRST", "END"].map(|name| text_argument(name).parse::<u64>().expect("a number"));
    let good = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let is_mach_o = sideload::macho::fat::is_mach_o(&good);
    let Some(hostile) = Hostile::of(good) else { return };
    let place = Place::beside(&path);
    let mark = Mark::shared();
    for number in first..end {
        let copy = hostile.copy(number);
        fs::write(&place.path, &copy.bytes).expect("a folder of our own");
        say(format_args!("ours {}", in_a_fork(mark, number, &copy.faults, || open(&place.path, mark))));
        // The system loader opens no images for macOS.
        if !is_mach_o {
            say(format_args!("glibc {}", in_a_fork(mark, number, "", || open_by_glibc(&place.path, mark))));
        }
        fs::remove_file(&place.path).expect("written above");
    }
}

fn open(path: &Path, mark: &'static Mark) {
    let rest = AtomicU8::new(LOADING);
    let rest: &'static AtomicU8 = Box::leak(Box::new(rest));
    let loader =
        Loader::new().resolver(mach_o::supply).observer(move |event| mark.see(event, rest.load(Ordering::Relaxed)));
    // SAFETY: what its code does is what the parent wants to know.
    let opened = unsafe { loader.open(path) };
    let state = if opened.is_ok() { OPENED } else { REFUSED };
    rest.store(state, Ordering::Relaxed);
    mark.state.store(state, Ordering::Release);
}

fn open_by_glibc(path: &Path, mark: &Mark) {
    let flags = libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_LOCAL;
    // SAFETY: as above.
    let opened = unsafe { libloading::os::unix::Library::open(Some(path), flags) };
    mark.state.store(if opened.is_ok() { OPENED } else { REFUSED }, Ordering::Release);
    std::mem::forget(opened);
}

/// Opens in a fork, which then does what programs do: it runs a thread, unwinds, and exits. Says what became of it.
fn in_a_fork(mark: &Mark, number: u64, faults: &str, open: impl FnOnce()) -> String {
    mark.state.store(LOADING, Ordering::Release);
    mark.tables.store(0, Ordering::Relaxed);
    // SAFETY: no other thread of this process does anything but wait.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process to be had");
    if child == 0 {
        std::panic::set_hook(Box::new(|_| {}));
        let lived = std::panic::catch_unwind(AssertUnwindSafe(|| live(mark, open)));
        end(if matches!(lived, Ok(true)) { 0 } else { 99 });
    }
    let status = wait(child);
    let state = mark.state.load(Ordering::Acquire);
    if status == Some(0) {
        return if state == REFUSED { "refused".into() } else { "opened".into() };
    }
    let how = match status {
        None => "no end".into(),
        Some(status) if libc::WIFSIGNALED(status) => format!("signal {}", libc::WTERMSIG(status)),
        Some(status) => format!("status {}", libc::WEXITSTATUS(status)),
    };
    let stage = char::from(mark.stage.load(Ordering::Relaxed));
    let address = mark.address.load(Ordering::Relaxed);
    match state {
        FOREIGN => {
            format!("foreign {how} at {address:#x} of {}, stage {stage} (copy {number}: {faults})", mark.module())
        }
        LOADING => format!("dead {how} in the loader (copy {number}: {faults})"),
        UNWINDING => {
            let tables = mark.tables.load(Ordering::Relaxed);
            format!("foreign {how} in the unwinder's tables at {tables:#x} (copy {number}: {faults})")
        }
        ENDING => format!("exit {how} (copy {number}: {faults})"),
        OPENED => format!("dead {how} after the open (copy {number}: {faults})"),
        _ => format!("dead {how} after the refusal (copy {number}: {faults})"),
    }
}

/// Ends the process, with its handlers and finalisers. They may throw, but not past
/// here, into a copy of its parent.
extern "C" fn end(status: libc::c_int) -> ! {
    unsafe extern "C-unwind" {
        fn exit(status: libc::c_int) -> !;
    }
    // SAFETY: this process is done.
    unsafe { exit(status) }
}

/// Opens, runs a thread, and unwinds in it; says whether the panic was caught.
fn live(mark: &Mark, open: impl FnOnce()) -> bool {
    open();
    let opened = mark.state.load(Ordering::Acquire);
    if mark.tables.load(Ordering::Relaxed) != 0 {
        mark.state.store(UNWINDING, Ordering::Release);
    }
    let unwound = std::thread::spawn(|| std::panic::catch_unwind(|| panic!("thrown to be caught")).is_err()).join();
    mark.state.store(if opened == OPENED { ENDING } else { opened }, Ordering::Release);
    matches!(unwound, Ok(true))
}

/// The child's status; `None` if it had to be killed.
fn wait(child: libc::pid_t) -> Option<libc::c_int> {
    let (started, mut status) = (Instant::now(), 0);
    loop {
        // SAFETY: a child of this process, and a place for its status.
        if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
            return Some(status);
        }
        if started.elapsed() > HANG {
            // SAFETY: as above.
            unsafe { (libc::kill(child, libc::SIGKILL), libc::waitpid(child, &raw mut status, 0)) };
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
