//! The images that this process already has, where the system is macOS: what dyld mapped, read without a function of its.
//! The counterpart of `host.rs`, with the same names; the reading itself is `macho::process`, which is safe and tested
//! everywhere.
//!
//! The way there is again the one that debuggers go: the kernel knows where dyld keeps its list for them
//! (`TASK_DYLD_INFO`), and each row leads to an image's header. The kernel reads the memory for us, too, so an image that
//! another thread unloads meanwhile is an image that is not there, not a fault.
//!
//! **Lifetimes.** The program and the images of the shared cache are never unmapped: their export tries are borrowed in
//! place. Those of all others are copied.
//!
//! **Whose definitions count** is a matter of names here: an import says which image it wants. All images are *global* in
//! so far as flat lookups may find them; which ones were opened `RTLD_LOCAL` cannot be seen.
//!
//! Invariant: what is borrowed lies in the program or in the shared cache, where its own load commands say, and nobody
//! writes there (`__LINKEDIT` is mapped read-only).

#[cfg(target_vendor = "apple")]
mod current;
#[cfg(test)]
mod tests;

#[cfg(target_vendor = "apple")]
pub(crate) use self::current::{Lock, hold, images};
#[cfg(target_vendor = "apple")]
pub(crate) use super::exit::{arm_exit_flag, arm_finalizers, exiting, watch_this_thread};
#[cfg(target_vendor = "apple")]
pub(crate) use super::process::{Arguments, arguments, secure};

use crate::addr::{Bias, RunAddr, VmAddr, VmRange};
use crate::link::Definitions;
use crate::macho::process::{Kind, Listing, MappedImage, Peek, Row, c_string};
use crate::plan::{Export, Found, Near, Need, Query, Region, SearchPaths, TwoLevelSymbols};
use crate::symbol::{HostId, Provider};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The images of the process at one moment. A [`HostId`] is an index into them, and means nothing in another snapshot.
#[derive(Debug)]
pub(crate) struct HostImages {
    /// In dyld's order: the program first.
    pub(crate) images: Vec<Arc<HostImage>>,
    needs: Vec<Vec<Provider>>,
    listing: Listing,
}

/// An image that dyld loaded.
#[derive(Debug)]
pub(crate) struct HostImage {
    /// Its path, for people.
    pub(crate) name: String,
    path: Vec<u8>,
    /// The name it gives itself (its install name).
    pub(crate) soname: Option<Vec<u8>>,
    /// Folders to search for what it needs.
    pub(crate) search: SearchPaths,
    /// Whether it is the program.
    pub(crate) is_main: bool,
    /// Whether flat lookups find its definitions.
    pub(crate) global: bool,
    image: MappedImage,
    /// Borrows `_copies`, or what is never unmapped.
    symbols: TwoLevelSymbols<'static>,
    _copies: Vec<Box<[u8]>>,
}

/// Where the initial bytes of some static thread-locals are: nowhere, there are none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StaticPlace {
    pub(crate) template: RunAddr,
    pub(crate) align: u64,
}

/// Where the thread-locals of an image are: for its own code alone to know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostTls {
    pub(crate) offset: Option<i64>,
    pub(crate) module: Option<u64>,
}

/// Debuggers' list, to which nothing can be appended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chain {}

impl Chain {
    pub(crate) fn breakpoint(self) -> RunAddr {
        match self {}
    }

    /// # Safety
    /// There is no such list.
    pub(crate) unsafe fn append(self, _list: RunAddr) {
        match self {}
    }
}

impl HostImages {
    /// The images as of now; `None` while dyld changes its list. What an earlier reading has found is used again.
    pub(crate) fn read(peek: &Peek<'_>, infos: RunAddr, previous: Option<&HostImages>) -> Option<HostImages> {
        let listing = Listing::read(peek, infos)?;
        let known = previous.map_or(&[][..], |images| &images.images);
        let images = listing.rows.iter().filter_map(|row| HostImage::read(peek, &listing, row, known));
        let mut images: Vec<Arc<HostImage>> = images.collect();
        // As it is in dyld's list.
        images.sort_by_key(|image| !image.is_main);
        // What was read while the list changed may be parts of two moments.
        if !listing.is_current(peek, infos) {
            return None;
        }
        let needs = needs(&images);
        Some(HostImages { images, needs, listing })
    }

    pub(crate) fn is_current(&self, peek: &Peek<'_>, infos: RunAddr) -> bool {
        self.listing.is_current(peek, infos)
    }

    /// Who provides each of an image's needs, in their order; an image that the process lacks is the one itself.
    pub(crate) fn needs(&self, index: usize) -> &[Provider] {
        self.needs.get(index).map_or(&[], Vec::as_slice)
    }

    /// The program.
    pub(crate) fn main(&self) -> Option<&Arc<HostImage>> {
        self.images.iter().find(|image| image.is_main)
    }

    /// The image that has a segment at `address`.
    pub(crate) fn at(&self, address: RunAddr) -> Option<usize> {
        self.images.iter().position(|image| image.holds(address))
    }

    /// Whether code of an image is at `address`.
    pub(crate) fn is_code(&self, address: RunAddr) -> bool {
        self.images.iter().any(|image| image.is_code(address))
    }
}

/// What the other kind of system has, and this one has not.
impl HostImages {
    pub(crate) fn debugged(&self) -> Option<Chain> {
        None
    }

    pub(crate) fn describes_in_place(&self) -> bool {
        false
    }

    pub(crate) fn is_static(&self) -> bool {
        false
    }

    pub(crate) fn tls_of(&self, _index: usize) -> Option<HostTls> {
        None
    }

    pub(crate) fn static_place(&self, _offset: i64, _size: u64) -> Option<StaticPlace> {
        None
    }

    pub(crate) fn has_static(&self, _offset: i64, _size: u64) -> bool {
        false
    }

    pub(crate) fn sealed_pages(&self, _at: RunAddr, _size: u64) -> Option<(RunAddr, u64)> {
        None
    }
}

/// For each image, who provides its needs: by the name that a need has, which is the other's install name or its path. An
/// image that is absent, as it may be, is the image itself, so that ordinals still count.
fn needs(images: &[Arc<HostImage>]) -> Vec<Vec<Provider>> {
    let mut places: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        for name in [Some(&image.path), image.soname.as_ref()].into_iter().flatten() {
            places.entry(name).or_insert(index);
        }
    }
    let place = |index: usize, need: &Need| places.get(&*need.name).copied().unwrap_or(index);
    let of = |(index, image): (usize, &Arc<HostImage>)| {
        image.asks().iter().map(|need| Provider::Host(HostId(place(index, need) as u16))).collect()
    };
    images.iter().enumerate().map(of).collect()
}

impl HostImage {
    fn read(peek: &Peek<'_>, listing: &Listing, row: &Row, known: &[Arc<HostImage>]) -> Option<Arc<HostImage>> {
        let image = MappedImage::read(peek, row.header)?;
        let path = c_string(peek, row.path);
        let same = known.iter().find(|known| known.image == image && known.path == path);
        if let Some(same) = same {
            return Some(Arc::clone(same));
        }
        let for_ever = image.in_cache && listing.is_in_cache(image.at) || image.kind == Kind::Program;
        let mut copies = Vec::new();
        let mut table = |vm: VmRange| -> &'static [u8] {
            let at = vm.start + image.bias();
            if vm.size == 0 {
                return &[];
            }
            if for_ever {
                // SAFETY: never unmapped nor written to (see the file's invariant).
                return unsafe { borrow(at, vm.size) };
            }
            let mut copy = vec![0; vm.size as usize].into_boxed_slice();
            if !peek(at, &mut copy) {
                return &[];
            }
            // SAFETY: on the heap, where it stays until the image is dropped, whose symbols are dropped before it.
            let bytes = unsafe { borrow(RunAddr(copy.as_ptr().expose_provenance() as u64), vm.size) };
            copies.push(copy);
            bytes
        };
        let trie = table(image.exports);
        // Local symbols are for people, and may be many.
        let [rows, names] = if for_ever { [image.rows, image.names].map(&mut table) } else { [&[][..]; 2] };
        let symbols = TwoLevelSymbols::of_mapped(&image, trie, rows, names);
        let label = if path.is_empty() { image.install_name.as_deref().unwrap_or_default() } else { &path };
        Some(Arc::new(HostImage {
            name: String::from_utf8_lossy(label).into_owned(),
            soname: image.install_name.clone(),
            search: image.search.clone(),
            is_main: image.kind == Kind::Program,
            global: image.kind != Kind::Other,
            path,
            symbols,
            _copies: copies,
            image,
        }))
    }

    /// Whether it is never unloaded.
    pub(crate) fn stays(&self) -> bool {
        self.is_main || self.image.in_cache
    }

    /// Tells it from all other images of the host: where its header is.
    pub(crate) fn key(&self) -> RunAddr {
        self.image.at
    }

    /// Its path, as far as dyld knows it.
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// What must be added to an address of its file.
    pub(crate) fn bias(&self) -> Bias {
        self.image.bias()
    }

    /// Its segments, by the addresses of its file.
    pub(crate) fn regions(&self) -> &[Region] {
        &self.image.regions
    }

    /// Its `LC_UUID`.
    pub(crate) fn build_id(&self) -> Option<&[u8]> {
        self.image.uuid.as_deref()
    }

    /// How it needs other images: in the order of [`HostImages::needs`].
    pub(crate) fn asks(&self) -> &[Need] {
        &self.image.needs
    }

    /// Whether it takes part where images agree on one definition.
    pub(crate) fn shares(&self) -> bool {
        self.image.weak_definitions
    }

    /// Where its definitions are looked up.
    pub(crate) fn definitions<'a>(&'a self, _statics: &'a (dyn Fn(&[u8]) -> Option<Found> + Sync)) -> Definitions<'a> {
        Definitions::TwoLevel(&self.symbols)
    }

    /// Finds a definition by the name that C has for it.
    pub(crate) fn find(&self, query: &Query<'_>) -> Option<Found> {
        self.symbols.find(query.name())
    }

    /// Calls `each` with every symbol that it exports, as far as its trie can be read.
    pub(crate) fn exports(&self, each: impl FnMut(Export<'_>)) {
        self.symbols.exports(each).unwrap_or_default();
    }

    /// The symbol near `vm`.
    pub(crate) fn near(&self, vm: VmAddr) -> Option<Near<'_>> {
        self.symbols.near(vm)
    }

    /// Whether one of its segments is at `address`.
    pub(crate) fn holds(&self, address: RunAddr) -> bool {
        self.region(address).is_some()
    }

    /// Whether its code is at `address`.
    pub(crate) fn is_code(&self, address: RunAddr) -> bool {
        self.region(address).is_some_and(|region| region.prot.execute)
    }

    /// Nothing of it has a byte that others may look at: nobody here asks.
    pub(crate) fn byte(&self, _address: RunAddr) -> Option<u8> {
        None
    }

    fn region(&self, address: RunAddr) -> Option<&Region> {
        let vm = address.to_vm(self.bias());
        self.image.regions.iter().find(|region| region.vm.holds(vm, 1))
    }
}

/// # Safety
/// `size` bytes at `at` are readable, and nobody writes to them, for as long as the slice is used.
unsafe fn borrow(at: RunAddr, size: u64) -> &'static [u8] {
    if size == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(at.0 as usize), size as usize) }
}
