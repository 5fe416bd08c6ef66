//! The pipeline, top to bottom.

use crate::addr::RunAddr;
use crate::audit::Policy;
use crate::candidate::Candidate;
use crate::error::{Error, ErrorKind, Stage};
use crate::finder::{Executable, FolderFinder, PlanEdit, Seen};
use crate::library::Library;
use crate::link::{self, Definitions, Inventory, LinkPlan, Linked, LinkedModule, Present, Root, Rules};
use crate::plan::{LoadPlan, Query};
use crate::plugin;
use crate::registry::turns::{Blocked, Patience};
use crate::registry::{ClaimError, Instance, Member, NeedRef, REGISTRY, Snapshot};
use crate::runtime::host::{self, HostImages};
use crate::runtime::{counted, image, replace, sections, stubs};
use crate::search::{SearchOptions, parse_library_path};
use crate::source::Source;
use crate::stage::{Group, Mapped};
use crate::symbol::{HostId, InstanceId, Provider, Resolve};
use crate::sync::checked;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The largest span that is mapped unless told otherwise.
const MAX_SPAN: u64 = 4 << 30;

/// How long an open waits for other threads unless told otherwise.
const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// What happens during a load, for an observer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stage was completed for a module.
    Done {
        /// Which.
        stage: Stage,
        /// The module's path.
        module: &'a str,
    },
    /// Code of a module is about to be called.
    Foreign {
        /// In which stage.
        stage: Stage,
        /// The module's path.
        module: &'a str,
        /// What is called.
        address: RunAddr,
    },
    /// The code of a module has returned.
    Native,
    /// Unwind tables of a module were handed to the unwinder with only their index and their end checked: see
    /// [`Policy::check_all_frames`]. Whatever they hold in between is the module's own, as its code is.
    Tables {
        /// The module's path.
        module: &'a str,
        /// Where the tables start.
        address: RunAddr,
    },
}

/// Told about each [`Event`] as it happens, in the thread that loads.
pub type Observer = dyn Fn(&Event<'_>) + Send + Sync;

/// How to load: where to search, what to admit, who supplies symbols, who watches.
///
/// ```no_run
/// # fn main() -> Result<(), sideload::Error> {
/// let loader = sideload::Loader::new().library_path("/opt/lib").max_span(1 << 30);
/// // SAFETY: opening runs the library's initialisers.
/// let library = unsafe { loader.open("libz.so.1") }?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Loader {
    search: Arc<SearchOptions>,
    policy: Policy,
    resolve: Option<Arc<dyn Resolve>>,
    observer: Option<Arc<Observer>>,
    edit: Option<Arc<PlanEdit>>,
    global: bool,
    deep: bool,
    stubs: bool,
    max_span: u64,
    vet: Option<Arc<Vet>>,
    gate: Option<Arc<Gate>>,
    pub(crate) plugins: plugin::Options,
    /// The serial of the instance whose call of `dlopen` this serves.
    opener: Option<u64>,
    wait_limit: Duration,
}

/// See [`Loader::vet`].
type Vet = dyn Fn(&Candidate<'_>) -> Result<(), String> + Send + Sync;

/// Refuses a group, or lets it in, while nothing of it is mapped.
type Gate = dyn Fn(&Link) -> Result<(), ErrorKind> + Send + Sync;

impl Default for Loader {
    fn default() -> Loader {
        Loader::new()
    }
}

impl Loader {
    /// The system's own search folders, the default policy, nothing from the environment.
    pub fn new() -> Loader {
        let search = SearchOptions { secure: host::secure(), ..SearchOptions::host() };
        Loader {
            search: Arc::new(search),
            policy: Policy::default(),
            resolve: None,
            observer: None,
            edit: None,
            global: false,
            deep: false,
            stubs: false,
            max_span: MAX_SPAN,
            vet: None,
            gate: None,
            plugins: plugin::Options::default(),
            opener: None,
            wait_limit: WAIT_LIMIT,
        }
    }

    /// For what a loaded image opens itself: with the settings that it was opened with, and searched for as what it
    /// needs. Who watches, edits or checks that other open does not for this one.
    pub(crate) fn for_opener(opener: &Instance) -> Loader {
        Loader { opener: Some(opener.serial), observer: None, global: false, ..opener.loader.clone() }
    }

    /// What an instance keeps for [`Loader::for_opener`], and for who is told of its finalisers.
    pub(crate) fn settings(&self) -> Loader {
        Loader { edit: None, gate: None, plugins: plugin::Options::default(), ..self.clone() }
    }

    /// The instance whose call of `dlopen` this serves.
    pub(crate) fn opener(&self) -> Option<u64> {
        self.opener
    }

    /// The folders in which what `image` opens is searched for, in order (`dlinfo(3)`, `RTLD_DI_SERINFO`).
    pub(crate) fn folders_for(&self, image: &Member) -> Vec<PathBuf> {
        let Ok(host) = host::images() else { return Vec::new() };
        let snapshot = REGISTRY.snapshot();
        let (executable, openers) = match image {
            Member::Ours(instance) => (host.main(), openers(&snapshot, Some(instance.serial))),
            Member::Host(image) => (Some(image), Vec::new()),
        };
        let finder = FolderFinder::new(&self.search, Executable::of(executable), openers, None);
        finder.folders()
    }

    /// Adds a folder that is searched before the system's.
    #[must_use]
    pub fn library_path(mut self, folder: impl Into<PathBuf>) -> Loader {
        Arc::make_mut(&mut self.search).library_path.push(folder.into());
        self
    }

    /// Adds the folders of `LD_LIBRARY_PATH`, unless the process runs with more rights than its user.
    #[must_use]
    pub fn environment(mut self) -> Loader {
        if !self.search.secure
            && let Some(text) = std::env::var_os("LD_LIBRARY_PATH")
        {
            let more = parse_library_path(text.as_bytes(), None, &self.search);
            Arc::make_mut(&mut self.search).library_path.extend(more);
        }
        self
    }

    /// Replaces all search options.
    #[must_use]
    pub fn search(mut self, options: SearchOptions) -> Loader {
        self.search = Arc::new(SearchOptions { secure: options.secure || host::secure(), ..options });
        self
    }

    /// Which findings refuse a load.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Loader {
        self.policy = policy;
        self
    }

    /// Asks `vet` about each file that is about to be mapped, and about what is opened even if it is loaded already. It
    /// gets the bytes of the file, and may refuse them ([`ErrorKind::Untrusted`]); nothing is mapped then.
    ///
    /// A file can still be changed by whoever may write it, between this and the mapping; a
    /// [snapshot](Source::snapshot) cannot.
    #[must_use]
    pub fn vet(mut self, vet: impl Fn(&Candidate<'_>) -> Result<(), String> + Send + Sync + 'static) -> Loader {
        self.vet = Some(Arc::new(vet));
        self
    }

    /// Asks `table` for every symbol before any image is asked.
    #[must_use]
    pub fn resolver(mut self, table: impl Resolve + 'static) -> Loader {
        self.resolve = Some(Arc::new(table));
        self
    }

    /// Tells `observer` what happens: while something is opened, and again when its finalisers are called, at an unload or
    /// at the end of the process.
    ///
    /// An observer should not panic, nor should what else a loader is given to call ([`Loader::resolver`],
    /// [`Loader::vet`]). If it does, that passes on to who opens or unloads, which then has failed as with an error; but it
    /// ends the process where only C is there to be passed: at its end, and in what an image opens itself.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Loader {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Whether what is opened is visible to everything that is opened later (`RTLD_GLOBAL`).
    #[must_use]
    pub fn global(mut self, global: bool) -> Loader {
        self.global = global;
        self
    }

    /// Whether what is opened sees its own group's definitions before those of the executable, of what that needs, and of
    /// what was opened as global (`RTLD_DEEPBIND`). Off by default: a library that brings its own `malloc` is one of few
    /// that want it, and the copies of libc's variables that an executable at a fixed address has are passed over.
    #[must_use]
    pub fn deep(mut self, deep: bool) -> Loader {
        self.deep = deep;
        self
    }

    /// Whether an image opens though functions that it imports are defined by nobody: a call of one then ends the process,
    /// with a message that names it and who wanted it. Off by default; on x86-64 only, elsewhere it changes nothing.
    ///
    /// ELF says of most imports whether they are called: those get a stub, and missing variables stay an error. Mach-O says
    /// nothing: there every missing name gets one, and what a variable of that name would hold is code.
    #[must_use]
    pub fn stub_missing(mut self, stub: bool) -> Loader {
        self.stubs = stub;
        self
    }

    /// The largest span, in bytes, that an image may ask for; 4 GiB unless set.
    #[must_use]
    pub fn max_span(mut self, bytes: u64) -> Loader {
        self.max_span = bytes;
        self
    }

    /// How long an open waits, in all, for other threads that load or initialise what it needs; 10 seconds unless set.
    ///
    /// Then it is [`ErrorKind::TimedOut`]. Threads that wait for each other in the loader are told at once
    /// ([`ErrorKind::InitCycle`]); but that a constructor waits for a thread, by joining it, which opens the constructor's
    /// object, the loader cannot see. Other loaders hang there for ever. A constructor that really takes longer
    /// than this, in an object that two threads open at the same time, needs a longer limit (`Duration::MAX` for none).
    #[must_use]
    pub fn wait_limit(mut self, limit: Duration) -> Loader {
        self.wait_limit = limit;
        self
    }

    /// For rehearsals and tests: lets `edit` change the plan of each file, named by its path, before it is linked.
    ///
    /// This is how the test suite shows that every row of a plan is carried out: without it, something is missing.
    /// What is left of the plan is checked as any other, by [`check`](crate::check::check) and by each stage.
    #[must_use]
    pub fn edit_plans(mut self, edit: impl Fn(&str, &mut LoadPlan) + Send + Sync + 'static) -> Loader {
        self.edit = Some(Arc::new(edit));
        self
    }

    /// Asks `gate` about each group once it is linked, and again whenever it had to be linked again.
    pub(crate) fn gate(mut self, gate: impl Fn(&Link) -> Result<(), ErrorKind> + Send + Sync + 'static) -> Loader {
        self.gate = Some(Arc::new(gate));
        self
    }

    pub(crate) fn checks_all_frames(&self) -> bool {
        self.policy.checks_all_frames()
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.wait_limit)
    }

    /// The error for an open that another thread is in the way of.
    pub(crate) fn blocked(&self, blocked: Blocked) -> ErrorKind {
        match blocked {
            Blocked::Circle(chain) => ErrorKind::InitCycle { chain },
            Blocked::TimedOut(chain) => ErrorKind::TimedOut { chain, limit: self.wait_limit },
            Blocked::Failed(reason) => ErrorKind::OtherFailed { reason },
        }
    }

    pub(crate) fn is_global(&self) -> bool {
        self.global
    }

    #[inline]
    pub(crate) fn observe(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer {
            observer(event);
        }
    }

    /// Finds, plans and links `source` and all that it needs: everything that can be decided without mapping anything.
    ///
    /// A name without a slash is searched for; one with a slash is a path. For bytes, open files and archives see
    /// [`Source`].
    ///
    /// # Errors
    /// Whatever is not found, malformed, refused or undefined.
    pub fn link(&self, source: impl Into<Source>) -> Result<Link, Error> {
        let source = source.into();
        #[cfg(not(loom))]
        crate::runtime::fork::arm();
        host::watch_this_thread();
        if host::exiting() {
            return Err(ErrorKind::Exiting.at(source.to_string(), Stage::Find));
        }
        let host = host::images().map_err(|kind| kind.at(source.to_string(), Stage::Link))?;
        prepare(&host);
        REGISTRY.strike_abandoned();
        let snapshot = REGISTRY.snapshot();
        let (linked, seen) = self.link_with(&source, &host, &snapshot)?;
        Ok(Link { loader: self.clone(), source, host, snapshot, linked, seen })
    }

    fn link_with(
        &self,
        source: &Source,
        host: &HostImages,
        snapshot: &Snapshot,
    ) -> Result<(Linked, Option<Seen>), Error> {
        let statics = |name: &[u8]| host.main().and_then(|image| image.find(&Query::by_name(name)));
        let needs: Vec<Vec<Provider>> =
            snapshot.instances.iter().map(|instance| providers(&instance.needs, host, snapshot)).collect();
        let inventory = inventory(host, snapshot, &needs, &statics);
        let openers = openers(snapshot, self.opener);
        let executable = Executable::of(host.main());
        let mut finder = FolderFinder::new(&self.search, executable, openers, self.edit.as_deref());
        finder.snapshot = source.is_snapshot();
        let root = match source.as_name() {
            Some(name) => Root::Name(name),
            None => Root::File(Box::new(source.read()?)),
        };
        let rules = Rules { max_span: self.max_span, deep: self.deep, stubs: self.stubs && stubs::SUPPORTED };
        let linked = link::link(root, &inventory, &mut finder, self.resolve.as_deref(), rules)?;
        Ok((linked, finder.into_seen()))
    }

    /// Opens `source`, a name or something else ([`Source`]): finds it, plans it and all that it needs, and maps,
    /// relocates, seals and initialises what the process does not have yet.
    ///
    /// # Errors
    /// The first stage that fails; everything is then as it was, unless foreign code had run.
    ///
    /// # Safety
    /// Runs the resolvers and initialisers of every module that is loaded: the caller vouches for what they do, as
    /// for any code that is linked in. And what the system loader has opened for the program (`dlopen`) it must not close
    /// while something that binds to it is in use, or the library that is returned is one of those: no reference to it is
    /// held. [`LinkPlan::scope`] lists them, and [`Library::definition`] says whose a symbol is. An initialiser that unwinds
    /// ends the open as an observer's panic does ([`Loader::observer`]).
    pub unsafe fn open(&self, source: impl Into<Source>) -> Result<Library, Error> {
        let sealed = {
            let relocated = self.link(source)?.map()?.relocate()?;
            // SAFETY: the caller vouches for the modules' code.
            unsafe { relocated.run_resolvers() }?.seal()?
        };
        // SAFETY: as above.
        unsafe { sealed.initialize() }
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Loader { search, policy, global, deep, stubs, max_span, .. } = self;
        let mut text = f.debug_struct("Loader");
        text.field("search", search).field("policy", policy).field("max_span", max_span);
        text.field("global", global).field("deep", deep).field("stubs", stubs);
        text.finish_non_exhaustive()
    }
}

/// A linked group: nothing is mapped yet, and everything is decided.
pub struct Link {
    loader: Loader,
    source: Source,
    host: Arc<HostImages>,
    snapshot: checked::Arc<Snapshot>,
    linked: Linked,
    seen: Option<Seen>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Link").field(&self.source).finish()
    }
}

impl Link {
    /// What was decided.
    pub fn plan(&self) -> &LinkPlan {
        &self.linked.plan
    }

    /// The bytes of each module's file, in load order.
    pub fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.linked.files.iter().map(|file| &*file.bytes)
    }

    /// What was asked for, and the bytes of its file; `None` for an image of the host.
    pub(crate) fn root_file(&self) -> Option<(&LinkedModule, &[u8])> {
        match self.linked.plan.root {
            Provider::New(id) => Some((self.linked.plan.module(id), &self.linked.files[usize::from(id.0)].bytes)),
            Provider::Loaded(InstanceId(id)) => {
                let instance = &self.snapshot.instances[usize::from(id)];
                Some((&instance.module, instance.symbols.file()))
            }
            Provider::Host(_) => None,
        }
    }

    /// The path of an image of the scope, new or not.
    pub fn name_of(&self, provider: Provider) -> &str {
        match provider {
            Provider::New(id) => &self.linked.plan.module(id).name,
            Provider::Loaded(InstanceId(id)) => &self.snapshot.instances[usize::from(id)].module.name,
            Provider::Host(HostId(id)) => &self.host.images[usize::from(id)].name,
        }
    }

    /// Applies the policy, claims the files, and maps the group.
    ///
    /// Where another thread is loading one of the files, this waits for it and links again.
    ///
    /// # Errors
    /// The policy refuses, or the system does.
    pub fn map(self) -> Result<Mapped, Error> {
        Mapped::new(self.admit()?)
    }

    /// The files that [`Loader::vet`] is asked about before anything of the group is mapped: in load order, the root
    /// first.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        let new = self.linked.plan.modules.iter().zip(self.linked.files.iter().map(|file| &*file.bytes));
        let root = self.root_file().filter(|_| matches!(self.linked.plan.root, Provider::Loaded(_)));
        new.chain(root).map(|(module, bytes)| Candidate::new(module, bytes))
    }

    /// Asks who was appointed to decide about each file.
    fn vet(&self) -> Result<(), Error> {
        let Some(vet) = &self.loader.vet else { return Ok(()) };
        for candidate in self.candidates() {
            let refused = |reason| ErrorKind::Untrusted { reason }.at(&candidate.module.name, Stage::Admit);
            vet(&candidate).map_err(refused)?;
        }
        Ok(())
    }

    fn admit(mut self) -> Result<Group, Error> {
        let mut patience = self.loader.patience();
        loop {
            for (module, file) in self.linked.plan.modules.iter().zip(&self.linked.files) {
                let admitted = self.loader.policy.admit(&module.plan, &file.bytes);
                admitted.map_err(|kind| kind.at(&module.name, Stage::Admit))?;
            }
            self.vet()?;
            if let Some(gate) = &self.loader.gate {
                gate(&self).map_err(|kind| kind.at(self.name_of(self.linked.plan.root), Stage::Admit))?;
            }
            let plan = &self.linked.plan;
            let files: Vec<_> = plan.modules.iter().map(|module| (module.stamp, module.name.as_str())).collect();
            let kind = match REGISTRY.claim(plan.basis.epoch, &files, &self.uses(), &mut patience) {
                Ok(claim) => {
                    let Link { loader, host, snapshot, linked, seen, .. } = self;
                    let Linked { plan, files } = linked;
                    let claim = Some(claim);
                    return Ok(Group {
                        loader,
                        host,
                        snapshot,
                        plan,
                        files,
                        images: Vec::new(),
                        seen,
                        claim,
                        foreign_ran: false,
                    });
                }
                Err(ClaimError::Moved) => {
                    let Link { loader, source, .. } = self;
                    self = loader.link(source)?;
                    continue;
                }
                Err(ClaimError::Own) => {
                    ErrorKind::InitCycle { chain: plan.modules.iter().map(|module| module.name.clone()).collect() }
                }
                Err(ClaimError::Leaving) => ErrorKind::Leaving,
                Err(ClaimError::Blocked(blocked)) => self.loader.blocked(blocked),
            };
            return Err(kind.at(self.source.to_string(), Stage::Admit));
        }
    }

    /// The serials of the instances that the group is bound to: none of them may be unloaded meanwhile.
    fn uses(&self) -> Vec<u64> {
        let plan = &self.linked.plan;
        let providers = plan.scope.iter().chain([&plan.root]);
        let in_scope = providers.filter_map(|provider| match provider {
            Provider::Loaded(id) => Some(*id),
            Provider::New(_) | Provider::Host(_) => None,
        });
        let mut ids: Vec<InstanceId> = in_scope.chain(plan.basis.loaded.iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().map(|id| self.snapshot.instances[usize::from(id.0)].serial).collect()
    }
}

/// Before anything is loaded. Threads that open for the first time at the same time may each do it: all of this can be
/// done twice, and a `Once` that a fork finds half done would never end in the child.
fn prepare(host: &HostImages) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.load(Ordering::Acquire) {
        host::arm_finalizers();
        image::adopt_get_addr(host);
        if cfg!(target_vendor = "apple") {
            sections::arm(host);
        }
        DONE.store(true, Ordering::Release);
    }
}

/// The instance of that serial, who opened it, and so on: the one that calls `dlopen` first.
fn openers(snapshot: &Snapshot, first: Option<u64>) -> Vec<&LinkedModule> {
    let instance = |serial| snapshot.instances.iter().find(|instance| instance.serial == serial);
    let chain = std::iter::successors(first.and_then(instance), |it| it.loaded_by.and_then(instance));
    chain.map(|instance| &instance.module).collect()
}

/// What the process has, for the linker.
fn inventory<'a>(
    host: &'a HostImages,
    snapshot: &'a Snapshot,
    needs: &'a [Vec<Provider>],
    statics: &'a (dyn Fn(&[u8]) -> Option<crate::plan::Found> + Sync),
) -> Inventory<'a> {
    let host_images = host.images.iter().enumerate().map(|(index, image)| Present {
        name: &image.name,
        soname: image.soname.as_deref(),
        stamp: None,
        build_id: image.build_id(),
        definitions: image.definitions(statics),
        global: image.global,
        shares: image.shares(),
        needs: host.needs(index),
        asks: image.asks(),
    });
    let loaded = snapshot.instances.iter().zip(needs).map(|(instance, needs)| Present {
        name: &instance.module.name,
        soname: instance.module.plan.soname.as_deref(),
        stamp: Some(instance.module.stamp),
        build_id: instance.module.plan.build_id.as_deref(),
        definitions: Definitions::of(&instance.symbols),
        global: instance.global.load(Ordering::Relaxed),
        shares: true,
        needs,
        asks: &instance.module.plan.needs,
    });
    Inventory {
        epoch: snapshot.epoch,
        host: host_images.collect(),
        loaded: loaded.collect(),
        static_host: host.is_static(),
        replaced: replace::REPLACED,
        counted: Some(&counted::answers),
    }
}

/// An instance's needs by their place in this inventory.
fn providers(needs: &[NeedRef], host: &HostImages, snapshot: &Snapshot) -> Vec<Provider> {
    let place = |need: &NeedRef| match *need {
        NeedRef::Host(key) => {
            let at = host.images.iter().position(|image| image.key() == key)?;
            Some(Provider::Host(HostId(at as u16)))
        }
        NeedRef::Ours(serial) => {
            let at = snapshot.instances.iter().position(|instance| instance.serial == serial)?;
            Some(Provider::Loaded(InstanceId(at as u16)))
        }
    };
    needs.iter().filter_map(place).collect()
}
