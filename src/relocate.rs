//! Relocation: fixups and bindings in, stores out. Arithmetic only; runs no code of any image.

use crate::addr::{Bias, RunAddr, VmAddr, VmRange};
use crate::error::{ErrorKind, Place};
use crate::link::Bindings;
use crate::memory::{Memory, NotWritable, Window};
use crate::plan::{Fixup, FixupKind, Form, LoadPlan, TlsModel, Visitor};
use crate::room;
use crate::symbol::{Definition, ImportId, ModuleId, Provider, SymbolKind};

/// Fixups of one image that wait for resolvers: libc has thirty. Each takes more memory than its relocation does.
const MOST_RESOLVERS: usize = 1 << 18;

/// Where every image that a group binds to is in this process.
#[derive(Default)]
pub struct Addresses<'a> {
    /// The group's own modules.
    pub new: Vec<Bias>,
    /// Images that were loaded before.
    pub loaded: Vec<Bias>,
    /// Images of the host.
    pub host: Vec<Bias>,
    /// The symbols in [`LinkPlan::supplied`](crate::link::LinkPlan).
    pub supplied: Vec<RunAddr>,
    /// Whether code expects to find run-time addresses in its own dynamic section, as the host's images have them.
    pub described_in_place: bool,
    /// Where the thread-locals of an image are; asked only for the few fixups that need it.
    pub tls: Option<&'a LocateThreadLocals<'a>>,
    /// Makes thread-local descriptors.
    pub descriptor: Option<&'a DescribeThreadLocal<'a>>,
}

/// Says where the thread-locals of an image are; for a model that wants them at the same place in every thread
/// ([`TlsModel::ThreadOffset`]), they are put there if need be and if they can.
pub type LocateThreadLocals<'a> = dyn Fn(Provider, TlsModel) -> Result<ThreadLocals, ErrorKind> + 'a;

/// Says what a thread-local descriptor ([`TlsModel::Descriptor`]) has to hold for the variable at an offset in a block:
/// the function and its argument. No block stands for a weak variable that nobody defines.
pub type DescribeThreadLocal<'a> = dyn Fn(Option<ThreadLocals>, u64) -> Result<Option<[u64; 2]>, ErrorKind> + 'a;

/// Where the thread-locals of one image are, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadLocals {
    /// What `__tls_get_addr` takes as its module id.
    pub module: Option<u64>,
    /// The offset of its block from the thread pointer, where that is the same in every thread.
    pub offset: Option<i64>,
}

/// A store whose value an `IFUNC` resolver of some image has yet to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// Where to store its result.
    pub place: VmAddr,
    /// The resolver.
    pub resolver: RunAddr,
    /// Added to the result.
    pub addend: i64,
    /// How to store it.
    pub form: Form,
}

impl Addresses<'_> {
    #[inline]
    fn bias(&self, provider: Provider) -> Bias {
        match provider {
            Provider::New(id) => self.new[usize::from(id.0)],
            Provider::Loaded(id) => self.loaded[usize::from(id.0)],
            Provider::Host(id) => self.host[usize::from(id.0)],
        }
    }

    fn tls(&self, provider: Provider, model: TlsModel) -> Result<ThreadLocals, ErrorKind> {
        self.tls.map_or(Ok(ThreadLocals::default()), |locate| locate(provider, model))
    }

    fn descriptor(&self, block: Option<ThreadLocals>, offset: u64) -> Result<Option<[u64; 2]>, ErrorKind> {
        self.descriptor.map_or(Ok(None), |describe| describe(block, offset))
    }
}

/// Applies every fixup of one module that runs no code, and returns those that have to.
///
/// # Errors
/// A fixup outside the writable regions, a value that does not fit, an import that was never resolved, or a
/// thread-local model that cannot be honoured.
pub fn relocate<M: Memory>(
    module: ModuleId,
    plan: &LoadPlan,
    file: &[u8],
    bindings: &Bindings,
    addresses: &Addresses<'_>,
    memory: &mut M,
) -> Result<Vec<Deferred>, ErrorKind> {
    let bias = memory.bias();
    let rest = Rest { module, bindings, addresses, bias, deferred: Vec::new() };
    let mut stores = Stores { rest, memory };
    // A boxed error keeps the result of the common case in registers.
    plan.visit::<Box<ErrorKind>>(file, &mut stores).map_err(|kind| *kind)?;
    if addresses.described_in_place {
        plan.description(file).try_for_each(|fixup| stores.rest.apply(fixup, stores.memory)).map_err(|kind| *kind)?;
    }
    Ok(stores.rest.deferred)
}

/// Fixups become stores.
struct Stores<'r, 'a, M> {
    rest: Rest<'r, 'a>,
    memory: &'r mut M,
}

impl<M: Memory> Visitor<Box<ErrorKind>> for Stores<'_, '_, M> {
    // So that the loop over the rows of a format, which knows the kind, is left with the one case.
    #[inline(always)]
    fn fixup(&mut self, fixup: Fixup) -> Result<(), Box<ErrorKind>> {
        let Stores { rest, memory } = self;
        match fixup.kind {
            // Nearly all fixups of a big library are of this kind, so it stays a load, an add and a store.
            FixupKind::Rebase { target } => {
                memory.store_u64(fixup.place, (target + rest.bias).0).map_err(|_| not_writable(fixup.place))
            }
            // And nearly all others are of this one.
            FixupKind::Bind { import: Some(import), addend, form: Form::Got64 | Form::Abs64 } => {
                match rest.bindings.get(import) {
                    Definition::At { provider, kind: SymbolKind::Code | SymbolKind::Data, vm } => {
                        let value = (vm + rest.addresses.bias(provider)).0.wrapping_add_signed(addend);
                        memory.store_u64(fixup.place, value).map_err(|_| not_writable(fixup.place))
                    }
                    _ => rest.apply(fixup, *memory),
                }
            }
            _ => rest.apply(fixup, *memory),
        }
    }

    #[inline]
    fn window(&mut self, range: VmRange) -> Option<Window<'_>> {
        self.memory.window(range)
    }

    fn value(&self, import: ImportId) -> Option<RunAddr> {
        let addresses = self.rest.addresses;
        match self.rest.bindings.get(import) {
            Definition::At { kind: SymbolKind::Absolute, vm, .. } => Some(RunAddr(vm.0)),
            Definition::At { kind: SymbolKind::Ifunc, .. } | Definition::Unused | Definition::Kept => None,
            Definition::At { provider, vm, .. } => Some(vm + addresses.bias(provider)),
            Definition::Supplied(index) => addresses.supplied.get(index as usize).copied(),
            Definition::WeakNull => Some(RunAddr(0)),
        }
    }
}

/// Stores what a resolver returned.
///
/// # Errors
/// As [`relocate`].
pub fn complete<M: Memory>(deferred: &Deferred, result: RunAddr, memory: &mut M) -> Result<(), ErrorKind> {
    let value = result.0.wrapping_add_signed(deferred.addend);
    store(deferred.place, value, deferred.form, memory).map_err(|kind| *kind)
}

struct Rest<'r, 'a> {
    module: ModuleId,
    bindings: &'r Bindings,
    addresses: &'r Addresses<'a>,
    bias: Bias,
    deferred: Vec<Deferred>,
}

impl Rest<'_, '_> {
    /// Out of line, so that the loop around the common kind stays small enough to be inlined.
    #[inline(never)]
    fn apply<M: Memory>(&mut self, fixup: Fixup, memory: &mut M) -> Result<(), Box<ErrorKind>> {
        match fixup.kind {
            FixupKind::Rebase { target } => store(fixup.place, (target + self.bias).0, Form::Abs64, memory)?,
            FixupKind::Nothing => {}
            FixupKind::Resolver { target } => {
                let resolver = target + self.bias;
                self.defer(Deferred { place: fixup.place, resolver, addend: 0, form: Form::Abs64 })?;
            }
            FixupKind::Bind { import, addend, form } => self.bind(fixup.place, import, addend, form, memory)?,
            FixupKind::Signed { import, addend, .. } => self.bind(fixup.place, import, addend, Form::Abs64, memory)?,
            FixupKind::Tls { model, import, addend } => {
                self.thread_local(fixup.place, model, import, addend, memory)?
            }
        }
        Ok(())
    }

    fn bind<M: Memory>(
        &mut self,
        place: VmAddr,
        import: Option<ImportId>,
        addend: i64,
        form: Form,
        memory: &mut M,
    ) -> Result<(), Box<ErrorKind>> {
        let value = match self.definition(place, import)? {
            Definition::At { provider, kind: SymbolKind::Ifunc, vm } => {
                let resolver = vm + self.addresses.bias(provider);
                return self.defer(Deferred { place, resolver, addend, form });
            }
            Definition::At { kind: SymbolKind::Absolute, vm, .. } => vm.0,
            Definition::At { provider, vm, .. } => (vm + self.addresses.bias(provider)).0,
            Definition::Supplied(index) => self.supplied(place, index)?.0,
            Definition::WeakNull | Definition::Unused => 0,
            Definition::Kept => return Ok(()),
        };
        store(place, value.wrapping_add_signed(addend), form, memory)
    }

    fn defer(&mut self, row: Deferred) -> Result<(), Box<ErrorKind>> {
        if self.deferred.len() >= MOST_RESOLVERS {
            return Err(ErrorKind::malformed(
                "relocations: more IFUNC resolvers than any file has",
                Place::Vm(row.place),
            )
            .into());
        }
        Ok(room::push(&mut self.deferred, row)?)
    }

    fn supplied(&self, place: VmAddr, index: u32) -> Result<RunAddr, Box<ErrorKind>> {
        let missing = || ErrorKind::malformed("bindings: a supplied symbol has no address", Place::Vm(place)).into();
        self.addresses.supplied.get(index as usize).copied().ok_or_else(missing)
    }

    /// What an import is bound to; no import stands for the start of this very image.
    fn definition(&self, place: VmAddr, import: Option<ImportId>) -> Result<Definition, Box<ErrorKind>> {
        let Some(import) = import else {
            return Ok(Definition::At { provider: Provider::New(self.module), kind: SymbolKind::Data, vm: VmAddr(0) });
        };
        match self.bindings.get(import) {
            Definition::Unused => {
                Err(ErrorKind::malformed("DT_RELACOUNT: a relocation it covers names a symbol", Place::Vm(place))
                    .into())
            }
            definition => Ok(definition),
        }
    }

    fn thread_local<M: Memory>(
        &mut self,
        place: VmAddr,
        model: TlsModel,
        import: Option<ImportId>,
        addend: i64,
        memory: &mut M,
    ) -> Result<(), ErrorKind> {
        let (provider, vm) = match self.definition(place, import).map_err(|kind| *kind)? {
            Definition::At { provider, kind: SymbolKind::Tls, vm } => (provider, vm),
            Definition::At { provider, vm, .. } if import.is_none() => (provider, vm),
            // Old linkers name a section instead of a variable of it, which says as well whose block is meant.
            Definition::At { provider, vm, .. } if model == TlsModel::ModuleId => (provider, vm),
            // A weak thread-local that nobody defines: whoever uses it must look at its address first.
            Definition::WeakNull if model == TlsModel::Descriptor => {
                let words = self.addresses.descriptor(None, addend as u64)?;
                return store_words(place, words.unwrap_or_default(), memory);
            }
            Definition::WeakNull => return store(place, 0, Form::Abs64, memory).map_err(|kind| *kind),
            _ => return Err(ErrorKind::malformed("relocation: thread-local, but its symbol is not", Place::Vm(place))),
        };
        let offset = vm.0.wrapping_add_signed(addend);
        let value = match model {
            TlsModel::ModuleOffset => offset,
            TlsModel::ModuleId => self.addresses.tls(provider, model)?.module.ok_or_else(|| unlocated(provider))?,
            TlsModel::ThreadOffset => {
                let block = self.addresses.tls(provider, model)?.offset.ok_or_else(|| unlocated(provider))?;
                offset.wrapping_add_signed(block)
            }
            TlsModel::Descriptor => {
                let block = self.addresses.tls(provider, model)?;
                let words = self.addresses.descriptor(Some(block), offset)?.ok_or_else(|| unlocated(provider))?;
                return store_words(place, words, memory);
            }
        };
        store(place, value, Form::Abs64, memory).map_err(|kind| *kind)
    }
}

fn unlocated(provider: Provider) -> ErrorKind {
    let provider = match provider {
        Provider::New(_) => "the object itself, which has no PT_TLS",
        Provider::Loaded(_) => "a loaded image",
        Provider::Host(_) => "a host image",
    };
    ErrorKind::NoThreadLocals { provider: provider.into(), symbol: None }
}

fn store_words<M: Memory>(place: VmAddr, words: [u64; 2], memory: &mut M) -> Result<(), ErrorKind> {
    let second = VmAddr(place.0.wrapping_add(8));
    store(place, words[0], Form::Abs64, memory).map_err(|kind| *kind)?;
    store(second, words[1], Form::Abs64, memory).map_err(|kind| *kind)
}

#[inline]
fn store<M: Memory>(place: VmAddr, value: u64, form: Form, memory: &mut M) -> Result<(), Box<ErrorKind>> {
    let run = (place + memory.bias()).0;
    let overflow = || ErrorKind::Overflow { place, value, symbol: None };
    let signed = |value: u64| i32::try_from(value as i64).map(|value| value as u32).map_err(|_| overflow());
    let stored = match form {
        Form::Abs64 | Form::Got64 => memory.store_u64(place, value),
        Form::Pc64 => memory.store_u64(place, value.wrapping_sub(run)),
        Form::Abs32 => memory.store_u32(place, u32::try_from(value).map_err(|_| overflow())?),
        Form::Abs32Signed => memory.store_u32(place, signed(value)?),
        Form::Pc32 => memory.store_u32(place, signed(value.wrapping_sub(run))?),
    };
    stored.map_err(|NotWritable| not_writable(place))
}

#[cold]
fn not_writable(place: VmAddr) -> Box<ErrorKind> {
    Box::new(ErrorKind::PlaceNotWritable { place })
}
