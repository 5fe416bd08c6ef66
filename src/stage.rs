//! A group on its way from plan to running code. Each stage consumes the one before it, and dropping any of them, by
//! an error or on purpose, undoes everything: unmaps, gives up thread-local ids, deregisters frames, releases the claim
//! on the files. Only once foreign code ran can nothing be undone, since it may have kept pointers to itself: then the
//! group is *poisoned*: it stays mapped for ever, belongs to nobody, and the next open makes a new one.

use crate::addr::{Bias, RunAddr};
use crate::error::{Error, ErrorKind, Stage};
use crate::finder::Seen;
use crate::library::{Library, Scope};
use crate::link::{ImageFile, LinkPlan, LinkedModule, Supplied, Supplier};
use crate::loader::{Event, Loader};
use crate::memory::{HostMemory, Memory};
use crate::plan::{LoadPlan, TlsModel};
use crate::registry::holds::Holds;
use crate::registry::turns::Blocked;
use crate::registry::{self, Claim, Init, Instance, Member, NeedRef, REGISTRY, Snapshot};
use crate::relocate::{self, Addresses, Deferred, ThreadLocals};
use crate::runtime::debugger::{self, Entry};
use crate::runtime::frames::{Frames, Unwinder};
use crate::runtime::host::{HostImages, exiting};
use crate::runtime::tls::{Descriptors, ModuleTls, host_alias};
use crate::runtime::{call, host, image, replace, stubs, tls};
use crate::symbol::{ModuleId, Provider};
use crate::sync::checked;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One module of the group, mapped. The fields drop in this order: frames lie in memory, and so do thread-local images.
#[derive(Debug)]
pub(crate) struct MappedImage {
    frames: Vec<Frames>,
    tls: Option<ModuleTls>,
    descriptors: Descriptors,
    memory: HostMemory,
}

/// The group, whatever its stage.
pub(crate) struct Group {
    pub(crate) loader: Loader,
    pub(crate) host: Arc<HostImages>,
    pub(crate) snapshot: checked::Arc<Snapshot>,
    pub(crate) plan: LinkPlan,
    pub(crate) files: Vec<ImageFile>,
    pub(crate) images: Vec<MappedImage>,
    /// What the search for the files leaves to the next one.
    pub(crate) seen: Option<Seen>,
    pub(crate) claim: Option<Claim<'static, Instance>>,
    /// Whether code of the group itself has run.
    pub(crate) foreign_ran: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.foreign_ran {
            std::mem::forget(std::mem::take(&mut self.images));
        }
    }
}

impl Group {
    fn module(&self, id: ModuleId) -> &LinkedModule {
        self.plan.module(id)
    }

    /// The error for a failure at this point.
    fn failed(&self, error: Error) -> Error {
        if self.foreign_ran { error.poisoned() } else { error }
    }

    fn event(&self, event: &Event<'_>) {
        self.loader.observe(event);
    }

    fn done(&self, stage: Stage) {
        for module in &self.plan.modules {
            self.event(&Event::Done { stage, module: &module.name });
        }
    }

    /// Whether `at` lies in code of the group itself.
    fn is_own_code(&self, at: RunAddr) -> bool {
        self.plan.modules.iter().zip(&self.images).any(|(module, image)| {
            let vm = at.to_vm(image.memory.bias());
            module.plan.region(vm, 1).is_some_and(|region| region.prot.execute)
        })
    }

    /// Whether code of a known image is at `at`. Most resolvers are libc's, so the host comes first.
    fn is_code(&self, at: RunAddr) -> bool {
        self.host.is_code(at)
            || self.is_own_code(at)
            || self.snapshot.instances.iter().any(|instance| instance.executes(at))
    }

    /// Where the thread-locals of an image are; `new` are those of the group.
    fn thread_locals(
        &self,
        new: &[&Option<ModuleTls>],
        provider: Provider,
        model: TlsModel,
    ) -> Result<ThreadLocals, ErrorKind> {
        type Fix = fn(&ModuleTls, &HostImages) -> Result<i64, ErrorKind>;
        let ours = |tls: &Option<ModuleTls>, fix: Fix| {
            let Some(tls) = tls else { return Ok(ThreadLocals::default()) };
            let wanted = model == TlsModel::ThreadOffset;
            let offset = if wanted { Some(fix(tls, &self.host)?) } else { tls.offset() };
            Ok(ThreadLocals { module: Some(tls.id()), offset })
        };
        match provider {
            Provider::New(id) => ours(new[usize::from(id.0)], ModuleTls::fix),
            Provider::Loaded(id) => ours(&self.snapshot.instances[usize::from(id.0)].tls, ModuleTls::fix_loaded),
            Provider::Host(id) => Ok(self.host.tls_of(usize::from(id.0)).map_or(ThreadLocals::default(), |tls| {
                let module = tls.module.or_else(|| tls.offset.and_then(host_alias));
                ThreadLocals { module, offset: tls.offset }
            })),
        }
    }

    fn supplied(&self) -> Result<Vec<RunAddr>, ErrorKind> {
        let ours = |name: &[u8]| {
            replace::supplied(name).ok_or(ErrorKind::Host { what: "a function that was counted on is gone" })
        };
        let address = |row: &Supplied| match &row.by {
            Supplier::Caller(address) => Ok(*address),
            Supplier::Library => ours(&row.name),
            Supplier::Stub { module } => Ok(stubs::stub(&row.name, module)),
        };
        self.plan.supplied.iter().map(address).collect()
    }
}

/// Every segment of every module is mapped, and nothing is relocated.
pub struct Mapped(pub(crate) Group);

/// Every fixup that runs no code is applied.
pub struct Relocated {
    group: Group,
    deferred: Vec<Vec<Deferred>>,
}

/// Every fixup is applied.
pub struct Resolved(Group);

/// What must not change any more is read-only, and the unwinders know the frames.
pub struct Sealed {
    group: Group,
    left_out: usize,
}

macro_rules! shown {
    ($($stage:ident: $group:tt),*) => {$(
        impl fmt::Debug for $stage {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let modules: Vec<&str> = self.$group.plan.modules.iter().map(|module| module.name.as_str()).collect();
                f.debug_tuple(stringify!($stage)).field(&modules).finish()
            }
        }
    )*};
}
shown!(Mapped: 0, Relocated: group, Resolved: 0, Sealed: group);

impl Mapped {
    pub(crate) fn new(mut group: Group) -> Result<Mapped, Error> {
        if group.plan.modules.iter().any(|module| module.plan.is_two_level() && module.plan.tls.is_some()) {
            tls::prepare(&group.host);
        }
        for (module, file) in group.plan.modules.iter().zip(&group.files) {
            let at = |kind: ErrorKind| kind.at(&module.name, Stage::Map);
            let memory = HostMemory::map(&module.plan, &file.bytes).map_err(at)?;
            let tls = image::register_tls(module, &memory).map_err(at)?;
            group.images.push(MappedImage { frames: Vec::new(), tls, descriptors: Descriptors::default(), memory });
        }
        group.done(Stage::Map);
        Ok(Mapped(group))
    }

    /// Where each module was mapped, in load order.
    pub fn biases(&self) -> Vec<Bias> {
        self.0.images.iter().map(|image| image.memory.bias()).collect()
    }

    /// Applies every fixup of the whole group that runs no code.
    ///
    /// # Errors
    /// A fixup that cannot be applied. Nothing of the group stays mapped.
    pub fn relocate(self) -> Result<Relocated, Error> {
        let mut group = self.0;
        let mut images = std::mem::take(&mut group.images);
        let new = images.iter().map(|image| image.memory.bias()).collect();
        let (thread_locals, mut memories): (Vec<_>, Vec<_>) =
            images.iter_mut().map(|image| (&image.tls, &mut image.memory)).unzip();
        let tls = |provider, model| group.thread_locals(&thread_locals, provider, model);
        let descriptors = RefCell::new(Descriptors::default());
        let describe = |block, offset| descriptors.borrow_mut().make(block, offset, &group.host);
        let supplied = group.supplied().map_err(|kind| kind.at(&group.module(ModuleId(0)).name, Stage::Relocate))?;
        let addresses = Addresses {
            new,
            loaded: group.snapshot.instances.iter().map(|instance| instance.bias()).collect(),
            host: group.host.images.iter().map(|image| image.bias()).collect(),
            supplied,
            described_in_place: group.host.describes_in_place(),
            tls: Some(&tls),
            descriptor: Some(&describe),
        };
        let mut made = Vec::with_capacity(memories.len());
        let mut deferred = Vec::with_capacity(memories.len());
        for (id, module) in group.plan.numbered() {
            let at = usize::from(id.0);
            let memory = &mut *memories[at];
            let bindings = &group.plan.bindings[at];
            let error = |kind: ErrorKind| kind.at(&module.name, Stage::Relocate);
            let in_text = module.plan.flags.text_relocations;
            if in_text {
                memory.lend_text(&module.plan).map_err(error)?;
            }
            let rows = relocate::relocate(id, &module.plan, &group.files[at].bytes, bindings, &addresses, memory);
            deferred.push(rows.map_err(error)?);
            if in_text {
                memory.return_text().map_err(error)?;
            }
            made.push(descriptors.take());
        }
        drop(addresses);
        images.iter_mut().zip(made).for_each(|(image, made)| image.descriptors = made);
        group.images = images;
        group.done(Stage::Relocate);
        Ok(Relocated { group, deferred })
    }
}

impl Relocated {
    /// How many stores wait for an `IFUNC` resolver.
    pub fn deferred(&self) -> usize {
        self.deferred.iter().map(Vec::len).sum()
    }

    /// Runs the `IFUNC` resolvers, dependencies first, and stores what they choose.
    ///
    /// # Errors
    /// A resolver that is not code: then none has run.
    ///
    /// # Safety
    /// Runs code of the modules: the caller vouches for what it does.
    pub unsafe fn run_resolvers(self) -> Result<Resolved, Error> {
        let Relocated { mut group, deferred } = self;
        let order = group.plan.init_order.clone();
        // Each is asked once: the modules of a group mostly import the same few functions of libc.
        let mut chosen = BTreeMap::new();
        for &id in &order {
            for row in &deferred[usize::from(id.0)] {
                if chosen.insert(row.resolver, None).is_none() && !group.is_code(row.resolver) {
                    let kind = ErrorKind::EntryNotCode { what: "an IFUNC resolver".into(), target: row.resolver.0 };
                    return Err(kind.at(&group.module(id).name, Stage::Resolve));
                }
            }
        }
        for &id in &order {
            let at = usize::from(id.0);
            for row in &deferred[at] {
                let choice = chosen.entry(row.resolver).or_default();
                if choice.is_none() {
                    // Code of others, as libc's resolver of strlen, does not know the group and keeps no pointer to it.
                    group.foreign_ran |= group.is_own_code(row.resolver);
                    let name = &group.plan.module(id).name;
                    group.loader.observe(&Event::Foreign {
                        stage: Stage::Resolve,
                        module: name,
                        address: row.resolver,
                    });
                }
                // SAFETY: it lies in code, its image is relocated, and the caller vouches for what it does.
                let result = *choice.get_or_insert_with(|| unsafe { call::resolver(row.resolver) });
                let memory = &mut group.images[at].memory;
                let stored = store_resolved(row, result, &group.plan.module(id).plan, memory);
                stored.map_err(|kind| group.failed(kind.at(&group.plan.module(id).name, Stage::Resolve)))?;
            }
        }
        group.event(&Event::Native);
        group.done(Stage::Resolve);
        Ok(Resolved(group))
    }

    /// Seals without running resolvers, for a rehearsal that runs no foreign code: what they would choose is missing,
    /// so the group cannot be initialised.
    ///
    /// # Errors
    /// As [`Resolved::seal`].
    pub fn seal(self) -> Result<Sealed, Error> {
        let left_out = self.deferred();
        seal(self.group, left_out)
    }
}

/// Stores what a resolver chose. Where that may be in text, the text is writable for the moment, as no code of the
/// module can be running.
fn store_resolved(row: &Deferred, result: RunAddr, plan: &LoadPlan, memory: &mut HostMemory) -> Result<(), ErrorKind> {
    if !plan.flags.text_relocations {
        return relocate::complete(row, result, memory);
    }
    memory.lend_text(plan)?;
    relocate::complete(row, result, memory)?;
    memory.return_text()
}

impl Resolved {
    /// Makes read-only what must not change any more, and registers the frames with the unwinders.
    ///
    /// # Errors
    /// The file changed under the mapping, the system refuses a protection, or the unwind tables are malformed.
    pub fn seal(self) -> Result<Sealed, Error> {
        seal(self.0, 0)
    }
}

fn seal(mut group: Group, left_out: usize) -> Result<Sealed, Error> {
    protect(&mut group).map_err(|error| group.failed(error))?;
    group.done(Stage::Seal);
    Ok(Sealed { group, left_out })
}

fn protect(group: &mut Group) -> Result<(), Error> {
    let unwinders = unwinders(&group.host);
    for ((module, file), mapped) in group.plan.modules.iter().zip(&group.files).zip(&mut group.images) {
        let at = |kind: ErrorKind| kind.at(&module.name, Stage::Seal);
        crate::finder::unchanged(file).map_err(at)?;
        if let Some(tls) = &mapped.tls {
            tls.settle(&group.host).map_err(at)?;
        }
        for &range in &module.plan.seals {
            mapped.memory.seal(range).map_err(at)?;
        }
        let whole = group.loader.checks_all_frames();
        let frames = image::register_frames(module, &file.bytes, &mapped.memory, &unwinders, whole);
        let frames = frames.map_err(at)?;
        if let Some(address) = frames.as_ref().and_then(Frames::checked_by_index) {
            group.loader.observe(&Event::Tables { module: &module.name, address });
        }
        mapped.frames.extend(frames);
    }
    Ok(())
}

/// Every unwinder of the host: the one that we are linked to, and those that images export. One that is loaded itself is
/// told later, by [`tell`]: it is foreign code.
fn unwinders(host: &HostImages) -> Vec<Unwinder> {
    let mut all = vec![Unwinder::own()];
    all.extend(host.images.iter().filter_map(|host| image::unwinder(host)));
    all
}

impl Sealed {
    /// How many stores were left out because no resolver was run.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Runs the initialisers, needs first, and hands out the library.
    ///
    /// # Errors
    /// An initialiser that is not code (none has run then), or resolvers that were left out.
    ///
    /// # Safety
    /// Runs code of the modules: the caller vouches for what it does.
    pub unsafe fn initialize(self) -> Result<Library, Error> {
        let Sealed { mut group, left_out } = self;
        let root = group.plan.modules.first().map_or(String::new(), |module| module.name.clone());
        if left_out > 0 {
            return Err(ErrorKind::unsupported("initialising a group whose resolvers were left out")
                .at(root, Stage::Initialize));
        }
        if exiting() {
            return Err(ErrorKind::Exiting.at(root, Stage::Initialize));
        }
        let entries = entries(&group).map_err(|error| group.failed(error))?;
        let (library, instances) = publish(&mut group).map_err(|error| group.failed(error))?;
        let mut turn = Turn { instances: &instances, ran: group.foreign_ran, why: None };
        if let Err(error) = wait_for_needs(&group.loader, library.scope(), &instances) {
            turn.why = Some(error.to_string());
            return Err(group.failed(error));
        }
        if group.loader.is_global() {
            make_global(library.scope());
        }
        let arguments = host::arguments();
        let made = instances.iter().filter(|instance| instance.module.plan.is_two_level());
        let made: Vec<&Frames> = made.flat_map(|instance| &instance.frames).collect();
        tell_all(library.scope(), &made);
        for (id, calls) in &entries {
            let instance = &instances[usize::from(id.0)];
            for &address in calls {
                let module = &instance.module.name;
                group.event(&Event::Foreign { stage: Stage::Initialize, module, address });
                turn.ran = true;
                // SAFETY: checked to be code; everything that it needs is initialised, and the caller vouches for it.
                unsafe { call::initializer(address, arguments) };
            }
            group.event(&Event::Native);
            REGISTRY.finish(instance);
            tell(instance, &made);
            group.event(&Event::Done { stage: Stage::Initialize, module: &instance.module.name });
        }
        drop(turn);
        if !entries.is_empty() {
            host::arm_exit_flag();
        }
        Ok(library)
    }
}

/// Tells the unwinder that an image brings along, if it does and can run, of records that were made for others. Needs
/// come first, so whoever throws through that unwinder does so later.
fn tell(owner: &Arc<Instance>, made: &[&Frames]) {
    if !made.is_empty() && owner.init.is_done() {
        image::tell_unwinder(owner, made);
    }
}

fn tell_all(scope: &Scope, made: &[&Frames]) {
    for member in scope.iter() {
        if let Member::Ours(owner) = member {
            tell(owner, made);
        }
    }
}

/// What to call for each module, in order, each checked to be code of a known image before any of it runs.
fn entries(group: &Group) -> Result<Vec<(ModuleId, Vec<RunAddr>)>, Error> {
    let mut all = Vec::with_capacity(group.plan.init_order.len());
    for &id in &group.plan.init_order {
        let module = group.module(id);
        let memory = &group.images[usize::from(id.0)].memory;
        let function = module.plan.init.function.map(|vm| memory.run(vm));
        let array = call::arrays(&module.plan, memory, &module.plan.init);
        let mut calls = array.map_err(|kind| kind.at(&module.name, Stage::Initialize))?;
        // Empty slots are 0, or −1 as the linkers of old wrote at both ends.
        calls.retain(|entry| entry.0 != 0 && entry.0 != u64::MAX);
        if let Some(function) = function {
            calls.insert(0, function);
        }
        if let Some(wrong) = calls.iter().find(|&&entry| !group.is_own_code(entry) && !group.is_code(entry)) {
            let kind = ErrorKind::EntryNotCode { what: "an initialiser".into(), target: wrong.0 };
            return Err(kind.at(&module.name, Stage::Initialize));
        }
        all.push((id, calls));
    }
    Ok(all)
}

/// Lets later opens see what was opened and all that it needs, those too that were there already.
fn make_global(scope: &Scope) {
    for member in scope.iter() {
        if let Member::Ours(instance) = member {
            instance.global.store(true, Ordering::Relaxed);
        }
    }
}

/// Makes instances of the group's modules and adds them to the registry: from now on other opens find them, and wait
/// until they are initialised. The handle is made before the claim is given up: from the one to the other, something
/// keeps the instances from being unloaded. Out of line: an instance is made on the stack, where initialisers want room.
#[inline(never)]
fn publish(group: &mut Group) -> Result<(Library, Vec<Arc<Instance>>), Error> {
    let modules = std::mem::take(&mut group.plan.modules);
    let images = std::mem::take(&mut group.images);
    let serials: Vec<u64> = modules.iter().map(|_| registry::next_serial()).collect();
    let mut instances = Vec::with_capacity(modules.len());
    let files = std::mem::take(&mut group.files);
    let settings = group.loader.settings();
    let bindings = std::mem::take(&mut group.plan.bindings);
    let parts = modules.into_iter().zip(images).zip(files).zip(&bindings).zip(&serials);
    for ((((module, mapped), file), bindings), &serial) in parts {
        // Before `mapped` is taken apart: dropped whole, it deregisters its frames before their memory goes.
        let symbols = image::OwnSymbols::new(&module.plan, file.bytes.bytes)
            .map_err(|kind| kind.at(&module.name, Stage::Initialize))?;
        let needs: Vec<NeedRef> = module.needs.iter().map(|need| need_ref(group, &serials, *need)).collect();
        let uses = uses(&needs, bindings.providers().iter().map(|it| need_ref(group, &serials, *it)), serial);
        let MappedImage { frames, tls, descriptors, memory } = mapped;
        let loaded_by = module.parent.map_or(settings.opener(), |parent| Some(serials[usize::from(parent.0)]));
        let debugger = Entry::new(&module, memory.bias());
        instances.push(Arc::new(Instance {
            module,
            symbols,
            serial,
            needs,
            uses,
            loader: settings.clone(),
            loaded_by,
            global: AtomicBool::new(group.loader.is_global()),
            tls,
            init: Init::running(),
            holds: Holds::default(),
            debugger,
            frames,
            _descriptors: descriptors,
            memory,
        }));
    }
    let for_program = group.loader.opener().is_none();
    let library = Library::new_in(member(group, &instances, &group.plan.root), scope(group, &instances), for_program);
    if let Some(claim) = group.claim.take() {
        REGISTRY.publish(claim, &instances);
    }
    if let Some(seen) = group.seen.take() {
        seen.keep();
    }
    // Before any of its code runs, so that a breakpoint in an initialiser is reached.
    debugger::announce(&group.host, instances.iter().map(|instance| &instance.debugger));
    Ok((library, instances))
}

/// The other instances that one needs or is bound to, each once.
fn uses(needs: &[NeedRef], bound: impl Iterator<Item = NeedRef>, own: u64) -> Vec<u64> {
    let ours = |need: NeedRef| if let NeedRef::Ours(serial) = need { Some(serial) } else { None };
    let mut uses: Vec<u64> = needs.iter().copied().chain(bound).filter_map(ours).filter(|&it| it != own).collect();
    uses.sort_unstable();
    uses.dedup();
    uses
}

/// This thread's turn to initialise a group that was published. If it ends early, by an error, or since an observer or an
/// initialiser unwinds, what is not initialised is taken back: nobody else would go on with it.
struct Turn<'i> {
    instances: &'i [Arc<Instance>],
    /// Whether code of the group has run, which may have kept pointers to it.
    ran: bool,
    why: Option<String>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let is_left = |instance: &&Arc<Instance>| !instance.init.is_done();
        let left: Vec<Arc<Instance>> = self.instances.iter().filter(is_left).cloned().collect();
        if left.is_empty() {
            return;
        }
        if self.ran {
            left.iter().for_each(|instance| std::mem::forget(Arc::clone(instance)));
        }
        let why = self.why.as_deref().unwrap_or("an initialiser or an observer of the other open panicked");
        REGISTRY.withdraw(&left, why);
    }
}

fn need_ref(group: &Group, serials: &[u64], need: Provider) -> NeedRef {
    match need {
        Provider::New(id) => NeedRef::Ours(serials[usize::from(id.0)]),
        Provider::Loaded(id) => NeedRef::Ours(group.snapshot.instances[usize::from(id.0)].serial),
        Provider::Host(id) => NeedRef::Host(group.host.images[usize::from(id.0)].key()),
    }
}

/// A provider, as an image.
fn member(group: &Group, instances: &[Arc<Instance>], provider: &Provider) -> Member {
    match provider {
        Provider::New(id) => Member::Ours(Arc::clone(&instances[usize::from(id.0)])),
        Provider::Loaded(id) => Member::Ours(Arc::clone(&group.snapshot.instances[usize::from(id.0)])),
        Provider::Host(id) => Member::Host(Arc::clone(&group.host.images[usize::from(id.0)])),
    }
}

/// The group's scope, as images.
fn scope(group: &Group, instances: &[Arc<Instance>]) -> Scope {
    group.plan.scope.iter().map(|provider| member(group, instances, provider)).collect()
}

/// Blocks until everything of the scope that another thread initialises is done.
///
/// # Errors
/// The other thread waits for this one, and all that was asked for is being initialised; or it fails, or takes too long.
fn wait_for_needs(loader: &Loader, scope: &Scope, new: &[Arc<Instance>]) -> Result<(), Error> {
    let mut patience = loader.patience();
    for member in scope.iter() {
        let Member::Ours(instance) = member else { continue };
        if new.iter().any(|new| Arc::ptr_eq(new, instance)) {
            continue;
        }
        match REGISTRY.wait_for(instance, &instance.module.name, &mut patience) {
            Ok(()) => {}
            // New modules go on with their needs as far as those are, as in a cycle of needs: the initialiser that the
            // other thread is in waits for them.
            Err(Blocked::Circle(_)) if !new.is_empty() => {}
            Err(blocked) => return Err(loader.blocked(blocked).at(&instance.module.name, Stage::Initialize)),
        }
    }
    Ok(())
}
