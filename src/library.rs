//! What callers hold: a [`Library`], and [`Symbol`]s of it. As libloading's users expect them.
//!
//! Invariant: an image that a `Library` refers to stays mapped for as long as the handle lives, and a `Symbol` borrows its
//! handle; what a `Symbol` is read as is what the caller of the `unsafe` [`Library::get`] says it is.

use crate::addr::VmAddr;
use crate::addr::{Bias, RunAddr};
use crate::error::{Error, ErrorKind, Stage};
use crate::loader::Loader;
use crate::plan::{Export, Found, Near, Query};
use crate::registry::{Member, REGISTRY};
use crate::runtime::tls::host_alias;
use crate::runtime::{host, image};
use crate::source::Source;
use crate::symbol::SymbolKind;
use std::ffi::{CStr, CString};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The images that a lookup visits, in order: the library itself first.
pub(crate) type Scope = Arc<[Member]>;

/// A loaded library: an image that we loaded, or one that the host process already had.
///
/// Dropping it unmaps nothing: code and data of a library stay valid for as long as the process lives, unless somebody
/// opens it again and calls [`Library::unload`].
#[derive(Clone)]
pub struct Library {
    root: Handle,
    scope: Scope,
}

/// The image that a [`Library`] is a handle of: there are as many of these as the image counts.
#[derive(Debug)]
struct Handle(Member);

impl Handle {
    fn new(member: Member) -> Handle {
        if let Member::Ours(instance) = &member {
            instance.holds.handles.fetch_add(1, Ordering::Relaxed);
        }
        Handle(member)
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        Handle::new(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Member::Ours(instance) = &self.0 {
            // What was done with the library comes before what an unload does that finds no other handle.
            instance.holds.handles.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Names that a lookup takes: text, bytes or C strings. One trailing NUL is not part of the name.
pub trait SymbolName {
    /// The bytes of the name, without a NUL.
    fn bytes(&self) -> &[u8];
}

macro_rules! symbol_names {
    ($($type:ty => |$name:ident| $bytes:expr),* $(,)?) => {$(
        impl SymbolName for $type {
            #[inline]
            fn bytes(&self) -> &[u8] {
                let $name = self;
                let bytes: &[u8] = $bytes;
                bytes.strip_suffix(b"\0").unwrap_or(bytes)
            }
        }
    )*};
}
symbol_names! {
    str => |name| name.as_bytes(),
    String => |name| name.as_bytes(),
    [u8] => |name| name,
    Vec<u8> => |name| name,
    CStr => |name| name.to_bytes(),
    CString => |name| name.to_bytes(),
}

impl<const N: usize> SymbolName for [u8; N] {
    #[inline]
    fn bytes(&self) -> &[u8] {
        SymbolName::bytes(self.as_slice())
    }
}

impl<T: SymbolName + ?Sized> SymbolName for &T {
    #[inline]
    fn bytes(&self) -> &[u8] {
        T::bytes(self)
    }
}

impl Library {
    /// A handle for the program, or, for as long as the call takes, for loaded code that opens something.
    pub(crate) fn new_in(root: Member, scope: Scope, for_program: bool) -> Library {
        if let (Member::Ours(instance), true) = (&root, for_program) {
            instance.holds.opened.store(true, Ordering::Relaxed);
        }
        Library { root: Handle::new(root), scope }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Opens a library with the default [`Loader`]: a name is searched for as the system's loader would, a path (with a
    /// slash) is opened as it is. For bytes, open files and archives see [`Source`].
    ///
    /// # Errors
    /// As [`Loader::open`].
    ///
    /// # Safety
    /// As [`Loader::open`]: initialisers run.
    ///
    /// ```
    /// # fn main() -> Result<(), sideload::Error> {
    /// // SAFETY: zlib's initialisers do nothing harmful, and `crc32` has this type.
    /// let crc = unsafe {
    ///     let zlib = sideload::Library::open("libz.so.1")?;
    ///     let crc32 = zlib.get::<extern "C" fn(u64, *const u8, u32) -> u64>("crc32")?;
    ///     crc32(0, b"sideload".as_ptr(), 8)
    /// };
    /// assert_eq!(crc, 0x9f26_ce5c);
    /// # Ok(())
    /// # }
    /// ```
    pub unsafe fn open(source: impl Into<Source>) -> Result<Library, Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { Loader::new().open(source) }
    }

    /// The same as [`Library::open`], under the name that libloading gives it.
    ///
    /// # Errors
    /// As [`Loader::open`].
    ///
    /// # Safety
    /// As [`Loader::open`].
    pub unsafe fn new(source: impl Into<Source>) -> Result<Library, Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { Library::open(source) }
    }

    /// Looks a symbol up by name, in the library and then in what it needs: the default version of it.
    ///
    /// Takes no lock and allocates nothing, unless it fails.
    ///
    /// # Errors
    /// [`ErrorKind::NoSymbol`].
    ///
    /// # Safety
    /// `T` must be a pointer-sized type that the symbol can be used as: a function pointer of its signature, or a
    /// pointer to its data. If the symbol is an indirect function, its resolver runs.
    #[inline]
    pub unsafe fn get<T>(&self, name: impl SymbolName) -> Result<Symbol<'_, T>, Error> {
        let name = name.bytes();
        // SAFETY: the caller's promise is the same.
        unsafe { self.default(name) }.map_or_else(|| Err(self.missing(name, None)), |at| Ok(Symbol::of(at)))
    }

    /// Looks a given version of a symbol up (`dlvsym`).
    ///
    /// # Errors
    /// [`ErrorKind::NoSymbol`].
    ///
    /// # Safety
    /// As [`Library::get`].
    pub unsafe fn get_versioned<T>(
        &self,
        name: impl SymbolName,
        version: impl SymbolName,
    ) -> Result<Symbol<'_, T>, Error> {
        let (name, version) = (name.bytes(), version.bytes());
        // SAFETY: the caller's promise is the same.
        let found = unsafe { self.lookup(&Query::by_version(name, version)) };
        found.map_or_else(|| Err(self.missing(name, Some(version))), |at| Ok(Symbol::of(at)))
    }

    /// Says where a symbol is defined that [`Library::get`] would find. No resolver runs.
    ///
    /// Of a unique symbol (`STB_GNU_UNIQUE`) this is the first definition in the library's scope, where `get` takes the
    /// one that the process settled on.
    ///
    /// ```
    /// # fn main() -> Result<(), sideload::Error> {
    /// // SAFETY: zlib's initialisers do nothing harmful.
    /// let zlib = unsafe { sideload::Library::open("libz.so.1") }?;
    /// let close = zlib.definition("close").unwrap();
    /// assert!(close.path.contains("libc.so"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn definition(&self, name: impl SymbolName) -> Option<Defined<'_>> {
        let query = Query::by_name(name.bytes());
        self.scope.iter().find_map(|member| {
            let Found { vm, kind, .. } = member.find(&query)?;
            let (build_id, file) = match member {
                Member::Ours(instance) => (instance.module.plan.build_id.as_deref(), Some(instance.symbols.file())),
                Member::Host(image) => (image.build_id(), None),
            };
            Some(Defined { path: member.name(), build_id, vm, kind, file })
        })
    }

    /// The path of the library itself.
    pub fn path(&self) -> &str {
        self.root().name()
    }

    /// Whether the two are handles of one instance.
    pub fn is_same(&self, other: &Library) -> bool {
        match (self.root(), other.root()) {
            (Member::Ours(one), Member::Ours(two)) => Arc::ptr_eq(one, two),
            (Member::Host(one), Member::Host(two)) => one.key() == two.key(),
            _ => false,
        }
    }

    /// Calls `each` with every symbol that the library itself exports, as far as its tables can be read.
    pub fn exports(&self, each: impl FnMut(Export<'_>)) {
        match self.root() {
            // What is malformed behind the rows that were read is of no use to anybody any more.
            Member::Ours(instance) => instance.symbols.exports(each).unwrap_or_default(),
            Member::Host(image) => image.exports(each),
        }
    }

    pub(crate) fn root(&self) -> &Member {
        &self.root.0
    }

    /// The default version of a name: not inlined into each caller, which have little use for some hundred instructions.
    ///
    /// # Safety
    /// As [`Library::lookup`].
    unsafe fn default(&self, name: &[u8]) -> Option<RunAddr> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.lookup(&Query::by_name(name)) }
    }

    /// # Safety
    /// The resolver of an indirect function runs.
    #[inline]
    pub(crate) unsafe fn lookup(&self, query: &Query<'_>) -> Option<RunAddr> {
        // SAFETY: the caller allows a resolver to run.
        self.scope.iter().find_map(|member| unsafe { member.address(query) })
    }

    #[cold]
    fn missing(&self, symbol: &[u8], version: Option<&[u8]>) -> Error {
        let (symbol, version) = (symbol.to_vec(), version.map(<[u8]>::to_vec));
        ErrorKind::NoSymbol { symbol, version }.at(self.path(), Stage::Lookup)
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Library").field(&self.path()).finish()
    }
}

/// Where a symbol is defined: what debug information about it is found by.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Defined<'lib> {
    /// The path of the image that defines it.
    pub path: &'lib str,
    /// The image's build id, if it has one.
    pub build_id: Option<&'lib [u8]>,
    /// The symbol's address as the image's file writes it.
    pub vm: VmAddr,
    /// What it is; of an indirect function, `vm` is the address of its resolver.
    pub kind: SymbolKind,
    /// The bytes of the image's file, as of when it was opened; `None` for an image that the host process already had.
    pub file: Option<&'lib [u8]>,
}

impl fmt::Debug for Defined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Defined({} {} {})", self.path, self.vm, self.kind.as_str())
    }
}

impl Member {
    /// Its path.
    pub(crate) fn name(&self) -> &str {
        match self {
            Member::Ours(instance) => &instance.module.name,
            Member::Host(image) => &image.name,
        }
    }

    /// The symbol near `vm`.
    pub(crate) fn near(&self, vm: VmAddr) -> Option<Near<'_>> {
        match self {
            Member::Ours(instance) => instance.symbols.near(vm),
            Member::Host(image) => image.near(vm),
        }
    }

    #[inline(always)]
    pub(crate) fn find(&self, query: &Query<'_>) -> Option<Found> {
        match self {
            Member::Ours(instance) => instance.symbols.find(query),
            Member::Host(image) => image.find(query),
        }
    }

    #[inline]
    pub(crate) fn bias(&self) -> Bias {
        match self {
            Member::Ours(instance) => instance.bias(),
            Member::Host(image) => image.bias(),
        }
    }

    /// # Safety
    /// The resolver of an indirect function runs.
    #[inline]
    pub(crate) unsafe fn address(&self, query: &Query<'_>) -> Option<RunAddr> {
        let found = self.find(query)?;
        // Nearly all definitions. What follows takes the rest in memory, which costs more than to add.
        if let Found { vm, kind: SymbolKind::Code | SymbolKind::Data, unique: false, .. } = found {
            return Some(vm + self.bias());
        }
        // SAFETY: the caller allows a resolver to run.
        unsafe { self.unusual_address(query, &Found { ..found }) }
    }

    /// # Safety
    /// As [`Member::address`], and the definition is this image's.
    #[cold]
    unsafe fn unusual_address(&self, query: &Query<'_>, found: &Found) -> Option<RunAddr> {
        if found.unique {
            // SAFETY: the caller's promise is the same.
            return unsafe { self.unique_address(query, found) };
        }
        // SAFETY: as above.
        unsafe { self.run_time_address(found) }
    }

    /// # Safety
    /// As [`Member::address`], and the definition is this image's.
    unsafe fn run_time_address(&self, found: &Found) -> Option<RunAddr> {
        let tls = if found.kind == SymbolKind::Tls { self.thread_locals() } else { None };
        // SAFETY: the caller allows a resolver to run; the symbol is this image's.
        unsafe { image::address(found, self.bias(), tls) }
    }

    /// The id of its thread-locals.
    #[cold]
    fn thread_locals(&self) -> Option<u64> {
        match self {
            Member::Ours(instance) => instance.tls.as_ref().map(|tls| tls.id()),
            Member::Host(image) => {
                let host = host::images().ok()?;
                let known = host.tls_of(host.images.iter().position(|it| it.key() == image.key())?)?;
                known.module.or_else(|| known.offset.and_then(host_alias))
            }
        }
    }

    /// Where the one definition of a unique symbol is that counts; `found` is this image's.
    ///
    /// # Safety
    /// As [`Member::address`].
    unsafe fn unique_address(&self, query: &Query<'_>, found: &Found) -> Option<RunAddr> {
        match Member::first_unique(query) {
            // SAFETY: the caller's promise is the same.
            Some((first, found)) => unsafe { first.run_time_address(&found) },
            // SAFETY: as above.
            None => unsafe { self.run_time_address(found) },
        }
    }

    /// The host's definition of a unique symbol, or that of the image that was loaded first.
    fn first_unique(query: &Query<'_>) -> Option<(Member, Found)> {
        Member::all()?.into_iter().find_map(|member| {
            let found = member.find(query).filter(|found| found.unique)?;
            Some((member, found))
        })
    }

    /// All images of the process: the host's, then ours in the order in which they were loaded.
    pub(crate) fn all() -> Option<Vec<Member>> {
        let (host, snapshot) = (host::images().ok()?, REGISTRY.snapshot());
        let host = host.images.iter().map(|image| Member::Host(Arc::clone(image)));
        let loaded = snapshot.instances.iter().map(|instance| Member::Ours(Arc::clone(instance)));
        Some(host.chain(loaded).collect())
    }
}

/// A symbol of a library, used as a `T`: a function pointer, or a pointer to data.
pub struct Symbol<'lib, T> {
    pointer: *const (),
    library: PhantomData<(&'lib Library, T)>,
}

impl<T> Symbol<'_, T> {
    #[inline]
    pub(crate) fn of(at: RunAddr) -> Self {
        const { assert!(size_of::<T>() == size_of::<*const ()>(), "a symbol is read as something pointer-sized") };
        Symbol { pointer: at.0 as usize as *const (), library: PhantomData }
    }

    /// The address.
    pub fn address(&self) -> RunAddr {
        RunAddr(self.pointer.addr() as u64)
    }
}

impl<T> Deref for Symbol<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `T` is as large as the pointer (asserted where a symbol is made), and the caller of `get` said that
        // the address can be read as one.
        unsafe { &*(&raw const self.pointer).cast::<T>() }
    }
}

impl<T> Clone for Symbol<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Symbol<'_, T> {}

impl<T> fmt::Debug for Symbol<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Symbol({:p})", self.pointer)
    }
}

// SAFETY: a symbol is a `T` as far as threads are concerned.
unsafe impl<T: Send> Send for Symbol<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Symbol<'_, T> {}
