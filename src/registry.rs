//! What is loaded now: instances by identity, the state of their initialisation, and who is loading what.
//!
//! Readers take no lock: the list of instances is an immutable snapshot, swapped when a group is published or unloaded
//! (`registry/published.rs`). A snapshot owns its instances, so what a reader sees stays mapped for as long as it holds
//! the snapshot.
//!
//! Everything else is behind one lock, which is held for a few steps of our own and never while foreign code runs: who
//! loads which file, who initialises which instance, who waits for whom (`registry/turns.rs`). One lock, because a
//! circle of waiting threads may go through files and initialisers, and because a `fork` has to hold whatever there is.
//!
//! The list does not know what it holds ([`Listed`]), so that the model checker can run it with less.

pub(crate) mod holds;
mod published;
#[cfg(all(test, loom))]
mod tests;
pub(crate) mod turns;

use crate::addr::{Bias, RunAddr, VmAddr};
use crate::link::{FileStamp, LinkedModule};
use crate::loader::Loader;
use crate::memory::HostMemory;
use crate::runtime::debugger::Entry;
use crate::runtime::frames::Frames;
use crate::runtime::host::HostImage;
use crate::runtime::image::OwnSymbols;
use crate::runtime::tls::{Descriptors, ModuleTls};
use crate::sync::checked::{self, AtomicU8, Condvar, Mutex, MutexGuard, Ordering, lock, thread_id};
use holds::Holds;
use published::{Published, Retired};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use turns::{Blocked, Patience, Subject, Task, Turns};

/// One loaded image, mapped for as long as anything refers to it.
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
    /// The serials of those instances that it needs or is bound to.
    pub uses: Vec<u64>,
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
    /// What keeps it from being unloaded.
    pub holds: Holds,
    /// What debuggers know of it; they read its file, and put breakpoints into its memory.
    pub debugger: Entry,
    /// Its unwind tables' registration; dropped before the memory they lie in.
    pub frames: Vec<Frames>,
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

impl Listed for Instance {
    fn serial(&self) -> u64 {
        self.serial
    }

    fn uses(&self) -> &[u64] {
        &self.uses
    }

    fn init(&self) -> &Init {
        &self.init
    }
}

/// A need of an instance, by what stays the same from one snapshot to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedRef {
    /// The host image of that key.
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

/// How far the initialisation of one instance is. Who runs it is for the registry to know.
#[derive(Debug)]
pub(crate) struct Init {
    state: AtomicU8,
    failure: OnceLock<String>,
}

const RUNNING: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;

impl Init {
    /// Not done yet.
    pub(crate) fn running() -> Init {
        Init { state: AtomicU8::new(RUNNING), failure: OnceLock::new() }
    }

    /// Whether all initialisers have returned.
    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    fn fail(&self, why: Option<&str>) {
        if let Some(why) = why {
            let _ = self.failure.set(why.to_owned()); // the first reason is the one
        }
        self.state.store(FAILED, Ordering::Release);
    }

    /// Why it came to nothing, if it did.
    fn failure(&self) -> Option<String> {
        const FORKED: &str = "another thread was at it when the process forked";
        let failed = self.state.load(Ordering::Acquire) == FAILED;
        failed.then(|| self.failure.get().map_or(FORKED, String::as_str).to_owned())
    }
}

/// Something else that one thread does and others wait for, among them those that wait for initialisers: plugins have
/// init functions of their own.
#[derive(Debug)]
pub(crate) struct Phase {
    serial: u64,
}

impl Phase {
    /// About to be run by this thread.
    pub(crate) fn by_this_thread() -> Phase {
        let serial = next_serial();
        lock(&REGISTRY.state).turns.begin(Task { subject: Subject::Init(serial), owner: thread_id(), claim: 0 });
        Phase { serial }
    }

    fn is_its(&self, subject: Subject) -> bool {
        subject == Subject::Init(self.serial)
    }

    /// It is over, however it ended.
    pub(crate) fn finish(&self) {
        REGISTRY.end(lock(&REGISTRY.state), |task| self.is_its(task.subject));
    }

    /// Whether any thread is in the middle of it.
    #[cfg(not(loom))]
    pub(crate) fn is_running(&self, state: &State<Instance>) -> bool {
        state.turns.find(|subject| self.is_its(subject)).is_some()
    }

    /// Whether this thread is in the middle of it.
    pub(crate) fn is_running_here(&self) -> bool {
        lock(&REGISTRY.state).turns.find(|subject| self.is_its(subject)).is_some_and(|it| it.owner == thread_id())
    }

    /// Blocks until it is over; returns at once in the thread that runs it.
    pub(crate) fn wait(&self, name: &str, patience: &mut Patience) -> Result<(), Blocked> {
        let mut state = lock(&REGISTRY.state);
        while let Some(task) = state.turns.find(|it| self.is_its(it)).filter(|task| task.owner != thread_id()) {
            state = REGISTRY.block(state, task, name, patience)?;
        }
        Ok(())
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What the registry has to know of an instance.
pub(crate) trait Listed {
    /// Tells it from every other instance that there ever was.
    fn serial(&self) -> u64;
    /// The serials of those that it is bound to.
    fn uses(&self) -> &[u64];
    /// How far it is.
    fn init(&self) -> &Init;
}

/// All instances, in load order, as of one epoch.
#[derive(Debug)]
pub(crate) struct Snapshot<T = Instance> {
    /// Changes with every change of the list.
    pub epoch: u64,
    /// How many instances there ever were in the list.
    pub ever: u64,
    /// In load order.
    pub instances: Vec<Arc<T>>,
}

/// The list of instances, and who is at what.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    list: Published<Snapshot<T>>,
    state: Mutex<State<T>>,
    changed: Condvar,
    /// Whether the list has instances that nobody goes on with, since a `fork`.
    abandoned: AtomicBool,
}

/// What the lock is for.
#[derive(Debug)]
pub(crate) struct State<T> {
    turns: Turns,
    claims: u64,
    /// The instances whose initialisers have returned, in that order.
    initialized: Vec<Arc<T>>,
    retired: Retired<Snapshot<T>>,
}

/// What this process has loaded.
#[cfg(not(loom))]
pub(crate) static REGISTRY: Registry<Instance> = Registry::new();
#[cfg(loom)]
loom::lazy_static! {
    pub(crate) static ref REGISTRY: Registry<Instance> = Registry::new();
}

/// A number that no instance had before.
pub(crate) fn next_serial() -> u64 {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// Why a thread may not load some files now.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// The registry changed since the plan was made: link again.
    Moved,
    /// This very thread is already loading one of the files.
    Own,
    /// This very thread is unloading what the files are bound to.
    Leaving,
    /// Another thread has one of them and does not let go.
    Blocked(Blocked),
}

/// The right of one thread to load some files, and to rely on some instances meanwhile; gone when dropped.
#[derive(Debug)]
pub(crate) struct Claim<'r, T: Listed> {
    registry: &'r Registry<T>,
    number: u64,
}

/// Instances that one thread is unloading. If it is dropped before that is done, as when a finaliser unwinds or an observer
/// panics between two, they leave the list and stay mapped for ever: what has been finalised in part is no library any more.
#[derive(Debug)]
pub(crate) struct Leaving<'r, T: Listed> {
    claim: Claim<'r, T>,
    /// All of them.
    pub(crate) instances: Vec<Arc<T>>,
    /// Those whose finalisers are to run, in that order.
    pub(crate) to_finalize: Vec<Arc<T>>,
    /// Whether they are off the list.
    struck: bool,
}

macro_rules! new {
    ($($const:ident)?) => {
        /// With nothing in it.
        pub(crate) $($const)? fn new() -> Registry<T> {
            let state =
                State { turns: Turns::new(), claims: 0, initialized: Vec::new(), retired: Retired::new() };
            Registry {
                list: Published::nothing(),
                state: Mutex::new(state),
                changed: Condvar::new(),
                abandoned: AtomicBool::new(false),
            }
        }
    };
}

impl<T> Registry<T> {
    #[cfg(not(loom))]
    new!(const);
    #[cfg(loom)]
    new!();

    /// The instances as of now. Takes no lock.
    pub(crate) fn snapshot(&self) -> checked::Arc<Snapshot<T>> {
        self.list.load().unwrap_or_else(|| checked::Arc::new(Snapshot { epoch: 0, ever: 0, instances: Vec::new() }))
    }

    /// The registry's lock. Whoever holds it must not run foreign code.
    #[cfg(not(loom))]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

impl<T: Listed> Registry<T> {
    /// Claims files, for a plan that was made at `epoch` and binds to the instances `uses`. Waits while another thread
    /// loads one of the files or unloads one of the instances.
    pub(crate) fn claim(
        &self,
        epoch: u64,
        files: &[(FileStamp, &str)],
        uses: &[u64],
        patience: &mut Patience,
    ) -> Result<Claim<'_, T>, ClaimError> {
        let me = thread_id();
        let hinders = |subject: Subject| match subject {
            Subject::File(stamp) => files.iter().any(|(file, _)| *file == stamp),
            Subject::Leave(serial) => uses.contains(&serial),
            Subject::Use(_) | Subject::Init(_) => false,
        };
        let mut state = lock(&self.state);
        let mut waited = false;
        while let Some(task) = state.turns.find(hinders) {
            if task.owner == me {
                let leaving = matches!(task.subject, Subject::Leave(_));
                return Err(if leaving { ClaimError::Leaving } else { ClaimError::Own });
            }
            waited = true;
            let file = files.iter().find(|(file, _)| task.subject == Subject::File(*file));
            let name = file.or(files.first()).map_or("an image that is being unloaded", |(_, name)| name);
            state = self.block(state, task, name, patience).map_err(ClaimError::Blocked)?;
        }
        if waited || self.snapshot().epoch != epoch {
            return Err(ClaimError::Moved);
        }
        state.claims += 1;
        let number = state.claims;
        let files = files.iter().map(|(stamp, _)| Subject::File(*stamp));
        for subject in files.chain(uses.iter().map(|&serial| Subject::Use(serial))) {
            state.turns.begin(Task { subject, owner: me, claim: number });
        }
        drop(state);
        Ok(Claim { registry: self, number })
    }

    /// Adds the instances of a claimed group, which this thread goes on to initialise, and lets go of the claim.
    pub(crate) fn publish(&self, claim: Claim<'_, T>, instances: &[Arc<T>]) {
        if instances.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        let old = self.snapshot();
        let all = old.instances.iter().chain(instances).cloned().collect();
        let free = self.replace_and_add(&mut state, all, instances.len() as u64);
        for instance in instances {
            let subject = Subject::Init(instance.serial());
            state.turns.begin(Task { subject, owner: thread_id(), claim: 0 });
        }
        drop(state);
        drop(claim);
        // Not under the lock: the last reference to an instance unmaps it.
        drop((old, free));
    }

    fn replace(&self, state: &mut State<T>, instances: Vec<Arc<T>>) -> Vec<checked::Arc<Snapshot<T>>> {
        self.replace_and_add(state, instances, 0)
    }

    fn replace_and_add(
        &self,
        state: &mut State<T>,
        instances: Vec<Arc<T>>,
        new: u64,
    ) -> Vec<checked::Arc<Snapshot<T>>> {
        let old = self.snapshot();
        let (epoch, ever) = (old.epoch + 1, old.ever + new);
        drop(old);
        self.list.publish(checked::Arc::new(Snapshot { epoch, ever, instances }), &mut state.retired)
    }

    /// Notes that this thread has run an instance's initialisers, and wakes those that wait for it.
    pub(crate) fn finish(&self, instance: &Arc<T>) {
        let mut state = lock(&self.state);
        state.initialized.push(Arc::clone(instance));
        instance.init().state.store(DONE, Ordering::Release);
        self.end(state, |task| task.subject == Subject::Init(instance.serial()));
    }

    /// Takes back what this thread published and does not go on to initialise. Who waits for it gets the reason.
    ///
    /// If others are bound to it already, it stays mapped for ever.
    pub(crate) fn withdraw(&self, group: &[Arc<T>], why: &str) {
        let is_of_it = |serial: u64| group.iter().any(|instance| instance.serial() == serial);
        let mut state = lock(&self.state);
        let old = self.snapshot();
        let rest: Vec<Arc<T>> = old.instances.iter().filter(|it| !is_of_it(it.serial())).cloned().collect();
        let bound = rest.iter().any(|other| other.uses().iter().any(|&serial| is_of_it(serial)))
            || state.turns.find(|subject| matches!(subject, Subject::Use(serial) if is_of_it(serial))).is_some();
        let free = self.replace(&mut state, rest);
        group.iter().for_each(|instance| instance.init().fail(Some(why)));
        self.end(state, |task| matches!(task.subject, Subject::Init(serial) if is_of_it(serial)));
        if bound {
            group.iter().for_each(|instance| std::mem::forget(Arc::clone(instance)));
        }
        drop((old, free));
    }

    /// Blocks until an instance is initialised; returns at once in the thread that initialises it, which gets it as far
    /// as it is.
    pub(crate) fn wait_for(&self, instance: &Arc<T>, name: &str, patience: &mut Patience) -> Result<(), Blocked> {
        if instance.init().is_done() {
            return Ok(());
        }
        let mut state = lock(&self.state);
        loop {
            if let Some(why) = instance.init().failure() {
                return Err(Blocked::Failed(why));
            }
            let task = state.turns.find(|subject| subject == Subject::Init(instance.serial()));
            let Some(task) = task.filter(|task| task.owner != thread_id()) else { return Ok(()) };
            state = self.block(state, task, name, patience)?;
        }
    }

    /// Whether this thread is in the middle of an instance's initialisers.
    pub(crate) fn is_initializing_here(&self, instance: &Arc<T>) -> bool {
        let is_its = |subject| subject == Subject::Init(instance.serial());
        !instance.init().is_done() && lock(&self.state).turns.find(is_its).is_some_and(|it| it.owner == thread_id())
    }

    /// Lets go of the lock until the task may be done.
    fn block<'g>(
        &'g self,
        mut state: MutexGuard<'g, State<T>>,
        task: Task,
        name: &str,
        patience: &mut Patience,
    ) -> Result<MutexGuard<'g, State<T>>, Blocked> {
        let me = thread_id();
        state.turns.enlist(me, task, name).map_err(Blocked::Circle)?;
        let Some(left) = patience.left() else {
            state.turns.delist(me);
            return Err(Blocked::TimedOut(state.turns.chain(task, name)));
        };
        state = checked::wait(&self.changed, state, left);
        state.turns.delist(me);
        Ok(state)
    }

    /// Ends tasks, and wakes who waits. Not without need: waking nobody is a system call too, and one that a sandbox may
    /// not allow.
    fn end(&self, mut state: MutexGuard<'_, State<T>>, which: impl Fn(&Task) -> bool) {
        let is_waited_for = state.turns.end(which);
        drop(state);
        if is_waited_for {
            self.changed.notify_all();
        }
    }

    /// Begins to unload what `choose` picks from the list: it sees who is at what, and nothing changes meanwhile. From now
    /// on, who would bind to one of these waits until they are gone.
    pub(crate) fn begin_unload<E>(
        &self,
        choose: impl FnOnce(&Snapshot<T>, &Turns) -> Result<Vec<Arc<T>>, E>,
    ) -> Result<Leaving<'_, T>, E> {
        let mut state = lock(&self.state);
        let instances = choose(&self.snapshot(), &state.turns)?;
        state.claims += 1;
        let number = state.claims;
        for instance in &instances {
            let subject = Subject::Leave(instance.serial());
            state.turns.begin(Task { subject, owner: thread_id(), claim: number });
        }
        let goes = |instance: &Arc<T>| instances.iter().any(|it| Arc::ptr_eq(it, instance));
        let mut to_finalize: Vec<_> = state.initialized.iter().filter(|instance| goes(instance)).cloned().collect();
        to_finalize.reverse();
        state.initialized.retain(|instance| !goes(instance));
        drop(state);
        Ok(Leaving { claim: Claim { registry: self, number }, instances, to_finalize, struck: false })
    }

    /// The instances to finalise at exit, the last initialised first; each is handed out once.
    pub(crate) fn take_initialized(&self) -> Vec<Arc<T>> {
        let mut instances = std::mem::take(&mut lock(&self.state).initialized);
        instances.reverse();
        instances
    }

    /// How many files are being loaded now: part of the ledger that tests compare.
    pub(crate) fn claims(&self) -> usize {
        lock(&self.state).turns.count(|subject| matches!(subject, Subject::File(_)))
    }

    /// Whether another thread runs finalisers.
    #[cfg(not(loom))]
    pub(crate) fn others_finalize(&self) -> bool {
        let others = |task: &Task| matches!(task.subject, Subject::Leave(_)) && task.owner != thread_id();
        lock(&self.state).turns.any(others)
    }

    /// In a child that was just forked: nobody goes on with what other threads were at.
    #[cfg(not(loom))]
    pub(crate) fn abandon(&self, state: &mut State<T>) {
        self.list.forget_readers();
        let snapshot = self.snapshot();
        state.turns.end_others(thread_id(), |subject| {
            if let Subject::Init(serial) | Subject::Leave(serial) = subject
                && let Some(instance) = snapshot.instances.iter().find(|it| it.serial() == serial)
            {
                instance.init().fail(None);
                self.abandoned.store(true, Ordering::Release);
            }
        });
    }

    /// Strikes from the list what was abandoned: it stays mapped for ever, and the next open makes a new one.
    pub(crate) fn strike_abandoned(&self) {
        if !self.abandoned.load(Ordering::Acquire) {
            return;
        }
        let mut state = lock(&self.state);
        let old = self.snapshot();
        let (gone, rest) = old.instances.iter().cloned().partition(|it| it.init().failure().is_some());
        let free = self.replace(&mut state, rest);
        self.abandoned.store(false, Ordering::Release);
        drop(state);
        let gone: Vec<Arc<T>> = gone;
        gone.into_iter().for_each(std::mem::forget);
        drop((old, free));
    }
}

impl Registry<Instance> {
    /// The instance that holds `at`. Takes no lock.
    pub(crate) fn at(&self, at: RunAddr) -> Option<(Arc<Instance>, VmAddr)> {
        let snapshot = self.snapshot();
        snapshot.instances.iter().find_map(|instance| Some((Arc::clone(instance), instance.holds(at)?)))
    }
}

impl<T: Listed> Leaving<'_, T> {
    /// Takes the instances off the list, and lets go of them: what nobody holds is unmapped.
    pub(crate) fn finish(mut self) {
        self.strike();
    }

    fn strike(&mut self) {
        self.struck = true;
        let registry = self.claim.registry;
        let mut state = lock(&registry.state);
        let old = registry.snapshot();
        let goes = |instance: &Arc<T>| self.instances.iter().any(|it| Arc::ptr_eq(it, instance));
        let rest = old.instances.iter().filter(|instance| !goes(instance)).cloned().collect();
        let free = registry.replace(&mut state, rest);
        drop(state);
        drop((old, free));
    }
}

impl<T: Listed> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        if !self.struck {
            self.instances.iter().for_each(|instance| std::mem::forget(Arc::clone(instance)));
            self.strike();
        }
    }
}

impl<T: Listed> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        let state = lock(&self.registry.state);
        self.registry.end(state, |task| task.claim == self.number);
    }
}
