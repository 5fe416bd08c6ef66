//! What is loaded now: instances by identity, the state of their initialisation, and who is loading what.
//!
//! Readers take no lock: the list of instances is an immutable snapshot behind one pointer, swapped when a group is
//! published. Old snapshots stay reachable until the process ends, since a reader may still hold one; they are a
//! pointer an instance, and there are as many as there were opens.

use crate::addr::{Bias, RunAddr, VmAddr};
use crate::link::{FileStamp, LinkedModule};
use crate::loader::Loader;
use crate::memory::HostMemory;
use crate::platform::thread_id;
use crate::runtime::debugger::Entry;
use crate::runtime::frames::Frames;
use crate::runtime::host::HostImage;
use crate::runtime::image::OwnSymbols;
use crate::runtime::tls::{Descriptors, ModuleTls};
use crate::sync::{Arc, AtomicPtr, AtomicU8, Condvar, Mutex, Ordering, lock, wait};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// One loaded image. It stays mapped for as long as the process lives.
#[derive(Debug)]
pub(crate) struct Instance {
    /// What it was made from: path, identity, plan.
    pub module: LinkedModule,
    /// Its symbols.
    pub symbols: OwnSymbols,
    /// Tells it from every other instance of this process, those that are gone too.
    pub serial: u64,
    /// What it needs, in order.
    pub needs: Vec<NeedRef>,
    /// What it was opened with: for what it opens itself.
    pub loader: Loader,
    /// The serial of the instance that it was loaded for: one that needs it, or that opened it.
    pub loaded_by: Option<u64>,
    /// Whether later opens see its definitions: from the beginning, or since it was opened so once more.
    pub global: AtomicBool,
    /// Its thread-locals.
    pub tls: Option<ModuleTls>,
    /// How far its initialisation is.
    pub init: Init,
    /// What debuggers know of it; they read its file, and put breakpoints into its memory.
    pub debugger: Entry,
    /// Its unwind tables' registration; dropped before the memory they lie in.
    pub _frames: Vec<Frames>,
    /// What its thread-local descriptors point to.
    pub _descriptors: Descriptors,
    /// The memory it is mapped in.
    pub memory: HostMemory,
}

impl Instance {
    /// What is added to its addresses.
    pub(crate) fn bias(&self) -> Bias {
        crate::memory::Memory::bias(&self.memory)
    }

    /// Whether `at` lies in one of its executable segments.
    pub(crate) fn executes(&self, at: RunAddr) -> bool {
        let vm = at.to_vm(self.bias());
        self.module.plan.region(vm, 1).is_some_and(|region| region.prot.execute)
    }

    /// Whether `at` lies in one of its segments.
    pub(crate) fn holds(&self, at: RunAddr) -> Option<VmAddr> {
        let vm = at.to_vm(self.bias());
        self.module.plan.region(vm, 1).map(|_| vm)
    }
}

/// A need of an instance, by what stays the same from one snapshot to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedRef {
    /// The host image with its dynamic section there.
    Host(RunAddr),
    /// The instance of that serial.
    Ours(u64),
}

/// An image of a scope.
#[derive(Clone, Debug)]
pub(crate) enum Member {
    /// Of the host.
    Host(Arc<HostImage>),
    /// Loaded by us.
    Ours(Arc<Instance>),
}

/// The initialisation of one instance: who runs it, and whether it is done.
#[derive(Debug)]
pub(crate) struct Init {
    ready: AtomicU8,
    owner: Mutex<Option<u64>>,
    changed: Condvar,
}

impl Init {
    /// About to be run by this thread.
    pub(crate) fn by_this_thread() -> Init {
        Init { ready: AtomicU8::new(0), owner: Mutex::new(Some(thread_id())), changed: Condvar::new() }
    }

    /// All initialisers have returned.
    pub(crate) fn finish(&self) {
        *lock(&self.owner) = None;
        self.ready.store(1, Ordering::Release);
        // Before this thread can come to wait for one of those that waited for it: that is no circle any more.
        let mut rows = lock(&WAITING);
        let before = rows.len();
        rows.retain(|row| row.init != ptr::from_ref(self).addr());
        let is_waited_for = rows.len() != before;
        drop(rows);
        // Not without need: waking nobody is a system call too, and one that a sandbox may not allow.
        if is_waited_for {
            self.changed.notify_all();
        }
    }

    /// Whether this thread is in the middle of it.
    pub(crate) fn is_running_here(&self) -> bool {
        self.ready.load(Ordering::Acquire) == 0 && *lock(&self.owner) == Some(thread_id())
    }

    /// Blocks until it is done; returns at once in the thread that runs it, which gets the image as far as it is.
    ///
    /// # Errors
    /// The thread that runs it waits, itself or through others, for what this thread runs: the images of that circle.
    pub(crate) fn wait(&self, name: &str) -> Result<(), Vec<String>> {
        if self.ready.load(Ordering::Acquire) == 1 {
            return Ok(());
        }
        let mut owner = lock(&self.owner);
        while let Some(other) = owner.filter(|&owner| owner != thread_id()) {
            let waiting = Waiting::enlist(other, self, name)?;
            owner = wait(&self.changed, owner);
            drop(waiting);
        }
        Ok(())
    }
}

/// Which thread waits for which to be done with its initialisers.
static WAITING: Mutex<Vec<WaitingRow>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct WaitingRow {
    thread: u64,
    owner: u64,
    /// The address of what it waits for, only to be compared.
    init: usize,
    name: String,
}

/// This thread's row; gone when dropped.
struct Waiting;

impl Waiting {
    fn enlist(owner: u64, init: &Init, name: &str) -> Result<Waiting, Vec<String>> {
        let me = thread_id();
        let mut rows = lock(&WAITING);
        let mut chain = vec![name.to_owned()];
        let mut at = owner;
        // Nobody is enlisted who would close a circle, so this ends.
        while let Some(row) = rows.iter().find(|row| row.thread == at) {
            chain.push(row.name.clone());
            if row.owner == me {
                chain.insert(0, row.name.clone());
                return Err(chain);
            }
            at = row.owner;
        }
        rows.push(WaitingRow { thread: me, owner, init: ptr::from_ref(init).addr(), name: name.to_owned() });
        Ok(Waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let me = thread_id();
        lock(&WAITING).retain(|row| row.thread != me);
    }
}

/// All instances, in load order, as of one epoch.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Changes with every change of the list.
    pub epoch: u64,
    /// In load order.
    pub instances: Vec<Arc<Instance>>,
}

/// Files that some thread is loading.
#[derive(Debug, Default)]
struct Loading {
    claims: Vec<(FileStamp, u64)>,
    /// How many threads wait for one of these to go.
    waiting: usize,
    retired: Vec<Arc<Snapshot>>,
}

/// The list of instances, and the claims on files.
#[derive(Debug)]
pub(crate) struct Registry {
    current: AtomicPtr<Snapshot>,
    loading: Mutex<Loading>,
    changed: Condvar,
}

/// What this process has loaded.
pub(crate) static REGISTRY: Registry = Registry {
    current: AtomicPtr::new(ptr::null_mut()),
    loading: Mutex::new(Loading { claims: Vec::new(), waiting: 0, retired: Vec::new() }),
    changed: Condvar::new(),
};

static EMPTY: Snapshot = Snapshot { epoch: 0, instances: Vec::new() };

/// The instances whose initialisers have returned, in that order.
static INITIALIZED: Mutex<Vec<Arc<Instance>>> = Mutex::new(Vec::new());

/// Notes that an instance is initialised, for [`take_initialized`].
pub(crate) fn initialized(instance: &Arc<Instance>) {
    lock(&INITIALIZED).push(Arc::clone(instance));
}

/// The instances to finalise, the last initialised first; each is handed out once.
pub(crate) fn take_initialized() -> Vec<Arc<Instance>> {
    // A thread that was stopped in the middle of noting one holds the lock for ever: then nothing is finalised.
    let Ok(mut list) = INITIALIZED.try_lock() else { return Vec::new() };
    let mut instances = std::mem::take(&mut *list);
    instances.reverse();
    instances
}

/// A number that no instance had before.
pub(crate) fn next_serial() -> u64 {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// What a claim may meet.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// The registry changed since the plan was made: link again.
    Moved,
    /// This very thread is already loading one of the files.
    Cycle,
}

/// The right of one thread to load some files; gone when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    stamps: Vec<FileStamp>,
}

impl Registry {
    /// The instances as of now. Takes no lock.
    pub(crate) fn snapshot(&self) -> &'static Snapshot {
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: the pointer is null or was stored by `publish`, which keeps every snapshot it ever stored.
        unsafe { current.as_ref() }.unwrap_or(&EMPTY)
    }

    /// Claims the files of a plan that was made at `epoch`. Waits while another thread loads one of them.
    pub(crate) fn claim(&self, epoch: u64, modules: &[LinkedModule]) -> Result<Claim, ClaimError> {
        let me = thread_id();
        let mut loading = lock(&self.loading);
        let mut waited = false;
        while let Some(&(_, owner)) =
            loading.claims.iter().find(|(stamp, _)| modules.iter().any(|module| module.stamp == *stamp))
        {
            if owner == me {
                return Err(ClaimError::Cycle);
            }
            waited = true;
            loading.waiting += 1;
            loading = wait(&self.changed, loading);
            loading.waiting -= 1;
        }
        if waited || self.snapshot().epoch != epoch {
            return Err(ClaimError::Moved);
        }
        let stamps: Vec<FileStamp> = modules.iter().map(|module| module.stamp).collect();
        loading.claims.extend(stamps.iter().map(|&stamp| (stamp, me)));
        Ok(Claim { stamps })
    }

    /// Adds the instances of a claimed group, and lets go of the claim.
    pub(crate) fn publish(&self, claim: Claim, instances: &[Arc<Instance>]) {
        let mut loading = lock(&self.loading);
        let old = self.snapshot();
        let all = old.instances.iter().chain(instances).cloned().collect();
        let new = Arc::new(Snapshot { epoch: old.epoch + 1, instances: all });
        self.current.store(Arc::as_ptr(&new).cast_mut(), Ordering::Release);
        loading.retired.push(new);
        drop(loading);
        drop(claim);
    }

    /// The instance that holds `at`. Takes no lock.
    pub(crate) fn at(&self, at: RunAddr) -> Option<(&'static Arc<Instance>, VmAddr)> {
        self.snapshot().instances.iter().find_map(|instance| Some((instance, instance.holds(at)?)))
    }

    /// How many files are being loaded now: part of the ledger that tests compare.
    pub(crate) fn claims(&self) -> usize {
        lock(&self.loading).claims.len()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut loading = lock(&REGISTRY.loading);
        loading.claims.retain(|(stamp, _)| !self.stamps.contains(stamp));
        let is_waited_for = loading.waiting > 0;
        drop(loading);
        if is_waited_for {
            REGISTRY.changed.notify_all();
        }
    }
}
