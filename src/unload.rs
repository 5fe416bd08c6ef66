//! Taking a library out again: an open, backwards.
//!
//! 1. **Choose.** Under the registry's lock: the library, and of the images that it is bound to, or has opened and closed
//!    (`dlopen`, `dlclose`), those that only it keeps, that the program did not open by name, and that nothing else holds. If
//!    anything holds the library itself, it is refused, and nothing has happened.
//! 2. **Finalise**, in reverse order of initialisation, without a lock. The images are still listed, so their code finds
//!    itself; but who would bind to them waits.
//! 3. **Take off the lists**, the debuggers' and ours, and let go: the last reference deregisters the frames, gives back the thread-local ids and
//!    unmaps. That is at once, unless another thread is just looking at the list.
//!
//! A finaliser may leave something behind that refers to its image, such as the destructor of a thread-local. Then
//! the images are poisoned: off the list, and mapped for ever.

use crate::error::{Error, ErrorKind, Holder, Stage};
use crate::library::Library;
use crate::loader::Event;
use crate::registry::turns::{Subject, Turns};
use crate::registry::{Instance, Member, REGISTRY, Snapshot};
use crate::runtime::{call, debugger, host};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A library that was not unloaded, and why.
pub struct StillLive {
    library: Option<Library>,
    error: Error,
}

impl StillLive {
    /// Why: [`ErrorKind::StillLive`] says what holds it, and, if it is [poisoned](Error::is_poisoned), what its
    /// finalisers left behind; [`ErrorKind::Exiting`] that the process finalises all libraries just now.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The handle, as good as before; `None` if finalisers have run.
    pub fn into_library(self) -> Option<Library> {
        self.library
    }
}

impl From<StillLive> for Error {
    fn from(still: StillLive) -> Error {
        still.error
    }
}

impl fmt::Debug for StillLive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StillLive").field(&self.error).finish()
    }
}

impl fmt::Display for StillLive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for StillLive {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

impl Library {
    /// Takes the library out of the process again: runs its finalisers and unmaps it, and with it what was loaded for its
    /// sake alone.
    ///
    /// Goes with it: every image that it is bound to, that nothing else is bound to, and that the program did not open by its
    /// own name; and in the same way what it has opened itself, by `dlopen`, and closed again. The pages, the unwinder's records and the ids of thread-locals are given back before this returns; if another
    /// thread is looking at the list of images at that very moment, when it is done; and while there is a
    /// [`Location`](crate::Location) in it, when that is dropped.
    ///
    /// # Errors
    /// [`StillLive`], with the handle and nothing changed, while the library has other handles, images that are bound to
    /// it, destructors of thread-locals or of keys still to run, handlers of `fork`, or addresses that `dlsym` gave away;
    /// and always for an image of the host process and one that is marked `DF_1_NODELETE`. What its finalisers leave
    /// behind of these is noticed as well: then it stays mapped, and there is no handle any more.
    ///
    /// # Safety
    /// Runs the finalisers of what is unloaded, for which the caller vouches as for initialisers. And nobody may use code
    /// or data of it afterwards: no thread runs in it, and no pointer to it that was copied out of a
    /// [`Symbol`](crate::Symbol), or that its code gave away (a callback, a signal handler, a string), is followed.
    ///
    /// ```
    /// # fn main() -> Result<(), sideload::Error> {
    /// // SAFETY: zlib's initialisers and finalisers do nothing harmful, and nothing of it is in use.
    /// unsafe {
    ///     let zlib = sideload::Library::open("libz.so.1")?;
    ///     # if zlib.path().is_empty() { return Ok(()) }
    ///     zlib.unload()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub unsafe fn unload(self) -> Result<(), StillLive> {
        let refuse = |library: Library, kind: ErrorKind| {
            let error = kind.at(library.path(), Stage::Unload);
            Err(StillLive { library: Some(library), error })
        };
        if host::exiting() {
            return refuse(self, ErrorKind::Exiting);
        }
        let Member::Ours(root) = self.root() else {
            return refuse(self, ErrorKind::StillLive(vec![Holder::Host]));
        };
        let leaving = match REGISTRY.begin_unload(|snapshot, turns| choose(root, snapshot, turns)) {
            Ok(leaving) => leaving,
            Err(holders) => return refuse(self, ErrorKind::StillLive(holders)),
        };
        for instance in &leaving.to_finalize {
            // SAFETY: it was initialised, nothing is bound to it but what goes with it, and the caller vouches for its
            // code and that nobody else uses it.
            unsafe { finalize(instance) };
        }
        let left: Vec<Holder> = leaving.instances.iter().flat_map(|instance| instance.holds.now()).collect();
        if !left.is_empty() {
            let error = ErrorKind::StillLive(left).at(self.path(), Stage::Unload).poisoned();
            drop(leaving); // which poisons them
            return Err(StillLive { library: None, error });
        }
        debugger::withdraw(leaving.instances.iter().map(|instance| &instance.debugger));
        leaving.finish();
        Ok(())
    }
}

/// What goes when `root` goes.
///
/// # Errors
/// What holds `root`.
fn choose(root: &Arc<Instance>, snapshot: &Snapshot, turns: &Turns) -> Result<Vec<Arc<Instance>>, Vec<Holder>> {
    let mut going = reachable(root, snapshot);
    let stays = |going: &[Arc<Instance>], instance: &Arc<Instance>| {
        let named = instance.holds.opened.load(Ordering::Acquire);
        !Arc::ptr_eq(instance, root) && (named || !holders(instance, 0, going, snapshot, turns).is_empty())
    };
    // What one that stays is bound to stays as well, so until nothing changes.
    while let Some(at) = going.iter().position(|instance| stays(&going, instance)) {
        going.remove(at);
    }
    let holders = holders(root, 1, &going, snapshot, turns);
    if holders.is_empty() { Ok(going) } else { Err(holders) }
}

/// An instance, and all that it is bound to or has opened, directly or not; and what was opened by instances that are
/// gone, and is held by something that may be gone by now.
fn reachable(root: &Arc<Instance>, snapshot: &Snapshot) -> Vec<Arc<Instance>> {
    let is_there = |serial: u64| snapshot.instances.iter().any(|it| it.serial == serial);
    let is_left = |it: &&Arc<Instance>| it.loaded_by.is_some_and(|opener| !is_there(opener));
    let left = snapshot.instances.iter().filter(is_left).filter(|it| !Arc::ptr_eq(it, root));
    let mut found: Vec<_> = std::iter::once(root).chain(left).cloned().collect();
    let mut next = 0;
    while let Some(instance) = found.get(next).cloned() {
        let is_its = |it: &&Arc<Instance>| instance.uses.contains(&it.serial) || it.loaded_by == Some(instance.serial);
        let used = snapshot.instances.iter().filter(is_its);
        let new: Vec<_> = used.filter(|other| !found.iter().any(|it| Arc::ptr_eq(it, other))).cloned().collect();
        found.extend(new);
        next += 1;
    }
    found
}

/// All that keeps an instance when `going` goes, and so many of its handles.
fn holders(
    instance: &Instance,
    handles: usize,
    going: &[Arc<Instance>],
    snapshot: &Snapshot,
    turns: &Turns,
) -> Vec<Holder> {
    let others = instance.holds.handles.load(Ordering::Acquire).saturating_sub(handles);
    let is_bound = |other: &&Arc<Instance>| {
        other.uses.contains(&instance.serial) && !going.iter().any(|it| Arc::ptr_eq(it, other))
    };
    let dependants = snapshot.instances.iter().filter(is_bound);
    let is_opening = turns.find(|subject| subject == Subject::Use(instance.serial)).is_some();
    let mut holders = Vec::new();
    holders.extend(instance.module.plan.flags.no_delete.then_some(Holder::NoDelete));
    holders.extend((others > 0).then_some(Holder::Handles(others)));
    holders.extend(dependants.map(|other| Holder::Dependant(other.module.name.clone())));
    holders.extend((!instance.init.is_done()).then_some(Holder::Initializing));
    holders.extend(is_opening.then_some(Holder::Opening));
    holders.extend(instance.holds.now());
    holders
}

/// Runs the finalisers of everything that was initialised, in reverse: when the process ends, after the exit handlers
/// that the images registered themselves.
///
/// # Safety
/// Only at exit: nothing may use the images any more.
pub(crate) unsafe fn finalize_all() {
    for instance in REGISTRY.take_initialized() {
        // SAFETY: it was initialised; the caller says that it is the end.
        unsafe { finalize(&instance) };
        // Whatever other exit handlers still do: it stays mapped.
        std::mem::forget(instance);
    }
}

/// Runs the finalisers of one instance.
///
/// # Safety
/// It was initialised, this is done once, and nothing uses it any more.
unsafe fn finalize(instance: &Instance) {
    let plan = &instance.module.plan;
    if let Some(handle) = plan.exit_handle() {
        // SAFETY: the image was initialised and is mapped, and nothing uses it, as the caller promises.
        unsafe { call::exit_handlers(instance.memory.run(handle)) };
    }
    let array = call::arrays(plan, &instance.memory, &plan.fini).unwrap_or_default();
    let used = array.into_iter().rev().filter(|entry| entry.0 != 0 && entry.0 != u64::MAX);
    let function = plan.fini.function.map(|vm| instance.memory.run(vm));
    for entry in used.chain(function) {
        // One that is not code of its own image is left out: there is nobody to tell any more.
        if instance.executes(entry) {
            let module = &instance.module.name;
            instance.loader.observe(&Event::Foreign { stage: Stage::Unload, module, address: entry });
            // SAFETY: code of a mapped image that was initialised and that nothing uses, as the caller promises.
            unsafe { call::finalizer(entry) };
        }
    }
    instance.loader.observe(&Event::Native);
}
