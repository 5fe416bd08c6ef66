//! The threads of this process: where their thread pointers are, and how to write to memory that may go away.
//!
//! There is no call that tells another thread's thread pointer. glibc has lists of its threads, and symbols by which
//! debuggers read them (`nptl_db/structs.def`): a thread is in a list before it exists for the kernel. Static programs
//! have no such symbols. There, `/proc` lists the threads, and glibc has told the kernel, for each, the address of its list
//! of robust mutexes (`set_robust_list(2)`), which lies in the thread's descriptor: from one thread to another it is as far
//! away as their thread pointers are. musl has all descriptors in a ring.
//!
//! A thread may end meanwhile and its memory be unmapped, so nothing of another thread is touched directly: the kernel
//! copies, and says so if there is nothing. `process_vm_writev(2)` does it in one call; where a sandbox does not let
//! it through, a pipe does the same in two.
//!
//! **Invariant.** Memory of another thread is only read and written by the kernel; and written to only where its thread
//! pointer was confirmed just before, by the word there that points to itself (psABI x86-64, §3.4.6).

use crate::addr::RunAddr;
use crate::error::ErrorKind;
use crate::platform::gate::{self, Call};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// How often, and for how long each time, a thread without a list is waited for: between its first instruction and its
/// first system call, which tells the kernel of the list. What never has one is no thread of the C library: the
/// kernel's own workers (io_uring), or made by `clone` alone.
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// Rounds after which we do not expect the threads to come to rest.
const ROUNDS: u32 = 1000;

/// Writes `bytes` at `offset` from the thread pointer of every thread but this one, whose thread pointer is `here`.
/// When this returns, every thread that the kernel knew at the end has them. `find` says where the C library has what
/// is called so.
///
/// # Errors
/// The system or a sandbox does not let us, or threads keep coming; the error names the call.
///
/// # Safety
/// In every thread, these bytes belong to the caller.
pub(crate) unsafe fn write_to_others(
    here: u64,
    offset: i64,
    bytes: &[u8],
    find: &dyn Fn(&[u8]) -> Option<RunAddr>,
) -> Result<(), ErrorKind> {
    let mut copier = Copier::new();
    let mut seen = BTreeSet::new();
    let mut patience = PATIENCE;
    for _ in 0..ROUNDS {
        let Round { threads, starting } = round(here, &mut copier, find)?;
        let new: Vec<_> = threads.into_iter().filter(|&thread| seen.insert(thread)).collect();
        for &Thread { pointer, .. } in new.iter().filter(|thread| thread.pointer != here) {
            // SAFETY: the bytes are the caller's, in the thread that this is the thread pointer of, if it still is.
            unsafe { copier.write(pointer.wrapping_add_signed(offset), bytes) }?;
        }
        if new.is_empty() && (!starting || patience == 0) {
            return Ok(());
        }
        if starting {
            patience = patience.saturating_sub(1);
            std::thread::sleep(PAUSE);
        }
    }
    Err(ErrorKind::Host { what: "new threads keep coming" })
}

/// A thread, by its number and its thread pointer: both may be used again, hardly both together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Thread {
    number: u64,
    pointer: u64,
}

/// The threads at one moment.
struct Round {
    threads: Vec<Thread>,
    /// Whether there are some of which it is not known yet whether they are the C library's.
    starting: bool,
}

fn round(here: u64, copier: &mut Copier, find: &dyn Fn(&[u8]) -> Option<RunAddr>) -> Result<Round, ErrorKind> {
    if let Some(lists) = Lists::find(find, copier)? {
        return lists.round(copier);
    }
    match robust_list(0)? {
        Some(own) => numbered(here, own, &tasks()?, copier),
        None => ring(here, copier),
    }
}

/// glibc's threads, by their numbers.
fn numbered(here: u64, own: u64, tasks: &[libc::pid_t], copier: &mut Copier) -> Result<Round, ErrorKind> {
    let mut round = Round { threads: Vec::new(), starting: false };
    for &task in tasks {
        match robust_list(task) {
            Ok(Some(list)) => {
                let pointer = list.wrapping_sub(own).wrapping_add(here);
                match copier.read(pointer)? {
                    Some(word) if word == pointer => {
                        round.threads.push(Thread { number: u64::from(task.unsigned_abs()), pointer });
                    }
                    Some(_) => {
                        return Err(ErrorKind::Host { what: "a thread has a list of robust mutexes of its own" });
                    }
                    None => {} // it has ended
                }
            }
            Ok(None) => round.starting = true,
            Err(ErrorKind::System { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(round)
}

/// glibc's lists of threads: those whose stacks it made, and the others.
struct Lists {
    heads: [u64; 2],
    /// Of `next` in a node.
    next: u64,
    /// Of the node and of the thread's number in a descriptor, which is where the thread pointer points.
    node: u64,
    number: u64,
}

impl Lists {
    fn find(find: &dyn Fn(&[u8]) -> Option<RunAddr>, copier: &mut Copier) -> Result<Option<Lists>, ErrorKind> {
        // What debuggers are told of a field: its size in bits, how many there are, its offset, a word each.
        let mut offset = |name: &[u8]| {
            let Some(at) = find(name) else { return Ok(None) };
            let field = copier.read(at.0 + 4)?;
            Ok(field.map(|field| field >> 32))
        };
        let fields = [
            offset(b"_thread_db_rtld_global__dl_stack_used")?,
            offset(b"_thread_db_rtld_global__dl_stack_user")?,
            offset(b"_thread_db_list_t_next")?,
            offset(b"_thread_db_pthread_list")?,
            offset(b"_thread_db_pthread_tid")?,
        ];
        let ([Some(used), Some(user), Some(next), Some(node), Some(number)], Some(global)) =
            (fields, find(b"_rtld_global"))
        else {
            return Ok(None);
        };
        Ok(Some(Lists { heads: [global.0 + used, global.0 + user], next, node, number }))
    }

    /// The lists may change under our hands: a thread that ends goes over to the list of those that can be used again,
    /// and who follows it there never comes back to where the walk began, but soon to where it has been.
    fn round(&self, copier: &mut Copier) -> Result<Round, ErrorKind> {
        for _ in 0..ROUNDS {
            let walked = self.heads.map(|head| self.walk(head, copier));
            let [used, user] = walked;
            if let (Some(mut threads), Some(others)) = (used?, user?) {
                threads.extend(others);
                return Ok(Round { threads, starting: false });
            }
        }
        Err(ErrorKind::Host { what: "the list of threads keeps changing" })
    }

    fn walk(&self, head: u64, copier: &mut Copier) -> Result<Option<Vec<Thread>>, ErrorKind> {
        let (mut nodes, mut threads) = (BTreeSet::from([head]), Vec::new());
        let mut at = head;
        loop {
            let Some(next) = copier.read(at.wrapping_add(self.next))? else { return Ok(None) };
            if !nodes.insert(next) {
                return Ok((next == head).then_some(threads));
            }
            let pointer = next.wrapping_sub(self.node);
            let (itself, number) = (copier.read(pointer)?, copier.read(pointer.wrapping_add(self.number))?);
            let (Some(itself), Some(number)) = (itself, number) else { return Ok(None) };
            if itself != pointer {
                return Ok(None);
            }
            threads.push(Thread { number: number & u64::from(u32::MAX), pointer });
            at = next;
        }
    }
}

/// musl's threads: `struct pthread` begins with itself, the DTV, the one before and the one behind (musl 1.2,
/// `src/internal/pthread_impl.h`), and has the thread's number behind two more words.
fn ring(here: u64, copier: &mut Copier) -> Result<Round, ErrorKind> {
    const BEHIND: u64 = 24;
    const BEFORE: u64 = 16;
    const NUMBER: u64 = 48;
    const MOST: usize = 1 << 20;
    let mut threads = Vec::new();
    let mut at = here;
    while threads.len() < MOST {
        let word = |copier: &mut Copier, place: u64| copier.read(place);
        let itself = word(copier, at)?;
        let (Some(behind), Some(number)) = (word(copier, at + BEHIND)?, word(copier, at + NUMBER)?) else { break };
        if itself != Some(at) || word(copier, behind.wrapping_add(BEFORE))? != Some(at) {
            break;
        }
        threads.push(Thread { number: number & u64::from(u32::MAX), pointer: at });
        at = behind;
        if at == here {
            return Ok(Round { threads, starting: false });
        }
    }
    Err(ErrorKind::Host { what: "the threads of this C library cannot be found" })
}

/// The numbers of this process's threads.
fn tasks() -> Result<Vec<libc::pid_t>, ErrorKind> {
    let refused = |source| ErrorKind::System { call: "openat of /proc/self/task", size: 0, source };
    let mut tasks = Vec::new();
    gate::pass(Call::Open).map_err(refused)?;
    for entry in std::fs::read_dir("/proc/self/task").map_err(refused)? {
        let entry = entry.map_err(|source| ErrorKind::System { call: "getdents64", size: 0, source })?;
        tasks.extend(entry.file_name().to_str().and_then(|name| name.parse::<libc::pid_t>().ok()));
    }
    Ok(tasks)
}

/// Where a thread's list of robust mutexes is; 0 is this thread.
fn robust_list(task: libc::pid_t) -> Result<Option<u64>, ErrorKind> {
    let refused = |source| ErrorKind::System { call: "get_robust_list", size: 0, source };
    gate::pass(Call::FindThread).map_err(refused)?;
    let (mut head, mut size) = (0usize, 0usize);
    // SAFETY: the kernel writes two words, to two words.
    let failed = unsafe { libc::syscall(libc::SYS_get_robust_list, task, &raw mut head, &raw mut size) };
    if failed != 0 {
        return Err(system("get_robust_list", 0));
    }
    Ok((head != 0).then_some(head as u64))
}

fn system(call: &'static str, size: usize) -> ErrorKind {
    ErrorKind::System { call, size: size as u64, source: io::Error::last_os_error() }
}

/// Copies from and to memory that may not be there.
struct Copier {
    /// In and out, once the direct way turned out to be closed.
    pipe: Option<(OwnedFd, OwnedFd)>,
}

impl Copier {
    fn new() -> Copier {
        Copier { pipe: None }
    }

    /// The word at `at`, if it is there.
    fn read(&mut self, at: u64) -> Result<Option<u64>, ErrorKind> {
        let mut word = [0; 8];
        // SAFETY: the word is ours, and only read on the other side.
        let there = unsafe { self.copy(word.as_mut_ptr() as u64, at, word.len(), Direction::FromThere) }?;
        Ok(there.then_some(u64::from_ne_bytes(word)))
    }

    /// Writes `bytes` to `at`, and says whether there was anything.
    ///
    /// # Safety
    /// If memory is there, those bytes of it are the caller's.
    unsafe fn write(&mut self, at: u64, bytes: &[u8]) -> Result<bool, ErrorKind> {
        // SAFETY: the bytes are only read on this side, and what is written to is the caller's.
        unsafe { self.copy(bytes.as_ptr() as u64, at, bytes.len(), Direction::ToThere) }
    }

    /// # Safety
    /// `size` bytes at `here` are there, and the side that is written to is the caller's.
    unsafe fn copy(&mut self, here: u64, there: u64, size: usize, way: Direction) -> Result<bool, ErrorKind> {
        if self.pipe.is_none() {
            // SAFETY: as the caller promises.
            match unsafe { copy_directly(here, there, size, way) } {
                Err(refused) if is_forbidden(&refused) => self.pipe = Some(pipe().ok_or(refused)?),
                done => return done,
            }
        }
        let Some((out, into)) = &self.pipe else { return Ok(false) };
        let (from, to) = if way == Direction::ToThere { (here, there) } else { (there, here) };
        const CHUNK: usize = 4096;
        for start in (0..size).step_by(CHUNK) {
            let (length, start) = ((size - start).min(CHUNK), start as u64);
            // SAFETY: the kernel reads from one side, and answers EFAULT where nothing is.
            let written = unsafe { libc::write(into.as_raw_fd(), pointer(from + start), length) };
            if usize::try_from(written) != Ok(length) {
                return self.missed("write", size, written);
            }
            // SAFETY: the kernel writes to the other side, which is the caller's if it is there.
            let read = unsafe { libc::read(out.as_raw_fd(), pointer(to + start), length) };
            if usize::try_from(read) != Ok(length) {
                return self.missed("read", size, read);
            }
        }
        Ok(true)
    }

    /// What a failed copy means: that nothing is there any more, or an error. What is left in the pipe goes with it.
    fn missed(&mut self, call: &'static str, size: usize, copied: isize) -> Result<bool, ErrorKind> {
        let refused = system(call, size);
        let gone = copied >= 0 || is_fault(&refused);
        self.pipe = if gone { Some(pipe().ok_or_else(|| system("pipe2", 0))?) } else { None };
        if gone { Ok(false) } else { Err(refused) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    FromThere,
    ToThere,
}

impl Direction {
    fn gate(self) -> Call {
        match self {
            Direction::FromThere => Call::ReadThread,
            Direction::ToThere => Call::WriteThread,
        }
    }

    fn call(self) -> &'static str {
        match self {
            Direction::FromThere => "process_vm_readv",
            Direction::ToThere => "process_vm_writev",
        }
    }
}

/// # Safety
/// As [`Copier::copy`].
unsafe fn copy_directly(here: u64, there: u64, size: usize, way: Direction) -> Result<bool, ErrorKind> {
    gate::pass(way.gate()).map_err(|source| ErrorKind::System { call: way.call(), size: size as u64, source })?;
    let local = libc::iovec { iov_base: pointer(here), iov_len: size };
    let remote = libc::iovec { iov_base: pointer(there), iov_len: size };
    // SAFETY: it has no preconditions.
    let process = unsafe { libc::getpid() };
    if process < 0 {
        // In a sandbox. It cannot fail elsewhere, so libc sets no errno.
        let source = io::Error::from_raw_os_error(-process);
        return Err(ErrorKind::System { call: "getpid", size: 0, source });
    }
    // SAFETY: one vector on each side; the kernel checks the remote one, and the local one is there.
    let copied = unsafe {
        match way {
            Direction::FromThere => libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0),
            Direction::ToThere => libc::process_vm_writev(process, &raw const local, 1, &raw const remote, 1, 0),
        }
    };
    if usize::try_from(copied) == Ok(size) {
        return Ok(true);
    }
    let error = system(way.call(), size);
    // Less than all: the rest is in a page that is gone.
    if copied >= 0 || is_fault(&error) { Ok(false) } else { Err(error) }
}

/// Whether it says that a sandbox or the kernel does not have the call.
fn is_forbidden(error: &ErrorKind) -> bool {
    let forbidden =
        |source: &io::Error| matches!(source.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EACCES));
    matches!(error, ErrorKind::System { source, .. } if forbidden(source))
}

/// Whether it says that no memory is there.
fn is_fault(error: &ErrorKind) -> bool {
    matches!(error, ErrorKind::System { source, .. } if source.raw_os_error() == Some(libc::EFAULT))
}

fn pipe() -> Option<(OwnedFd, OwnedFd)> {
    gate::pass(Call::Pipe).ok()?;
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written to two numbers.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } == 0;
    // SAFETY: just made, with no other owner.
    made.then(|| unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

fn pointer(at: u64) -> *mut libc::c_void {
    std::ptr::with_exposed_provenance_mut(at as usize)
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::Barrier;

    thread_local!(static PLACE: Cell<[u8; 8]> = const { Cell::new([1; 8]) });

    fn thread_pointer() -> u64 {
        let pointer: u64;
        // SAFETY: as `runtime::tls::thread_pointer`.
        unsafe { std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly)) };
        pointer
    }

    /// As in a static program, where glibc's own lists cannot be found.
    #[test]
    fn without_the_lists_threads_are_found_by_their_robust_mutexes() {
        const THREADS: usize = 4;
        let (ready, written) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
        let here = thread_pointer();
        let offset = (PLACE.with(|place| place.as_ptr().addr() as u64)).wrapping_sub(here) as i64;
        std::thread::scope(|scope| {
            let work = || {
                ready.wait();
                written.wait();
                PLACE.get()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            ready.wait();
            // SAFETY: the bytes are this test's own in every thread.
            let done = unsafe { write_to_others(here, offset, &[7; 8], &|_| None) };
            written.wait();
            let found: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
            assert!(done.is_ok(), "{done:?}");
            assert_eq!(found, [[7; 8]; THREADS]);
            assert_eq!(PLACE.get(), [1; 8], "this thread's own is for the caller to write");
        });
    }
}
