//! One image of the process: first a sketch, with all that its names say, then the whole.

use super::chain::Link;
use super::memory;
use super::origin::Origin;
use super::segments::{self, Segments};
use super::statics::StaticSymbols;
use super::tables::Tables;
use super::vanishing::{self, with_care};
use crate::addr::{Bias, RunAddr, VmAddr};
use crate::elf::dynamic::Dynamic;
use crate::link::Definitions;
use crate::plan::{Export, Found, Near, Need, Query, Region, ScopedSymbols, SearchPaths, TlsTemplate};
use crate::platform::{Auxv, auxv};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An image that the system loader loaded, or the kernel.
#[derive(Debug)]
pub(crate) struct HostImage {
    /// Its path, for people.
    pub(crate) name: String,
    path: Vec<u8>,
    /// The name it gives itself.
    pub(crate) soname: Option<Vec<u8>>,
    /// The names of what it needs, in order.
    pub(crate) needs: Vec<Vec<u8>>,
    /// Folders to search for that; those of the executable count for others as well.
    pub(crate) search: SearchPaths,
    /// Where its dynamic section is; 0 if it has none.
    pub(crate) dynamic: RunAddr,
    /// Whether it is the executable.
    pub(crate) is_main: bool,
    /// Whether it is the dynamic linker.
    pub(crate) is_interpreter: bool,
    /// Whether all images see its definitions: a member of the start-up scope.
    pub(crate) global: bool,
    /// Whether it is never unloaded.
    pub(super) permanent: bool,
    /// The symbols of a static executable.
    pub(crate) static_symbols: Option<StaticSymbols>,
    /// Whether its dynamic section holds run-time addresses, as glibc leaves it.
    pub(super) described_in_place: bool,
    tables: Tables,
    segments: Segments,
    relocations: Option<(RunAddr, u64)>,
    link: Link,
    print: u64,
}

impl HostImage {
    /// Its path, as far as the system loader knows it; empty for the vDSO under musl.
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// Whether it is never unloaded.
    pub(crate) fn stays(&self) -> bool {
        self.permanent
    }

    pub(super) fn path_bytes(&self) -> &[u8] {
        &self.path
    }

    /// What must be added to an address of its file.
    pub(crate) fn bias(&self) -> Bias {
        self.segments.bias
    }

    /// Its segments, by the addresses of its file.
    pub(crate) fn regions(&self) -> &[Region] {
        &self.segments.regions
    }

    /// Tells it from all other images of the host: where its dynamic section is.
    pub(crate) fn key(&self) -> RunAddr {
        self.dynamic
    }

    /// How it needs other images: nobody here asks.
    pub(crate) fn asks(&self) -> &[Need] {
        &[]
    }

    /// Whether it takes part where images agree on one definition: ELF has no such mark.
    pub(crate) fn shares(&self) -> bool {
        false
    }

    /// Where its definitions are looked up; of a static program, by `statics`.
    pub(crate) fn definitions<'a>(&'a self, statics: &'a (dyn Fn(&[u8]) -> Option<Found> + Sync)) -> Definitions<'a> {
        match &self.static_symbols {
            Some(_) => Definitions::Names(statics),
            None => Definitions::Table(self.symbols()),
        }
    }

    /// Calls `each` with every dynamic symbol that others may use.
    pub(crate) fn exports(&self, each: impl FnMut(Export<'_>)) {
        self.symbols().exports(each);
    }

    /// The symbol whose range holds `vm`, or the nearest one below it.
    pub(crate) fn near(&self, vm: VmAddr) -> Option<Near<'_>> {
        self.symbols().near(vm)
    }

    /// Its program headers, if one of its segments holds them.
    ///
    /// # Safety
    /// The slice is not used after the image was unloaded.
    pub(crate) unsafe fn program_headers(&self) -> Option<&'static [u8]> {
        // SAFETY: how long the slice is used says the caller, and nobody writes to headers.
        let (offset, size) = segments::table_of(unsafe { self.segments.borrow_of_file(0, segments::EHSIZE) }?)?;
        // SAFETY: as above.
        unsafe { self.segments.borrow_of_file(offset, size) }
    }

    /// Its build id.
    pub(crate) fn build_id(&self) -> Option<&[u8]> {
        self.segments.build_id.as_deref()
    }

    /// Its dynamic symbols: none in most static executables.
    pub(crate) fn symbols(&self) -> &ScopedSymbols<'_> {
        self.tables.symbols()
    }

    /// Finds a definition among its dynamic symbols, then among those of a static executable.
    pub(crate) fn find(&self, query: &Query<'_>) -> Option<Found> {
        self.symbols().find(query).or_else(|| self.static_symbols.as_ref()?.find(query.name()))
    }

    /// The initial image of each thread's copy of its thread-locals.
    pub(crate) fn thread_locals(&self) -> Option<TlsTemplate> {
        self.segments.tls
    }

    /// Whether one of its segments is at `address`.
    pub(crate) fn holds(&self, address: RunAddr) -> bool {
        self.segments.region(address, 1).is_some()
    }

    /// Whether its code is at `address`.
    pub(crate) fn is_code(&self, address: RunAddr) -> bool {
        self.segments.is_code(address)
    }

    pub(super) fn word(&self, address: RunAddr) -> Option<u64> {
        self.segments.word(address)
    }

    /// The byte at `address`, if it is there.
    pub(crate) fn byte(&self, address: RunAddr) -> Option<u8> {
        self.segments.copy(address, 1)?.first().copied()
    }

    /// As [`Segments::sealed_pages`].
    pub(super) fn sealed_pages(&self, address: RunAddr, size: u64) -> Option<(RunAddr, u64)> {
        self.segments.sealed_pages(address, size)
    }

    /// Its relocations with addends, as bytes, without the leading ones that only add the bias.
    ///
    /// # Safety
    /// The slice is not used after the image was unloaded.
    pub(super) unsafe fn relocations(&self) -> &'static [u8] {
        let Some((at, size)) = self.relocations else { return &[] };
        // SAFETY: the caller's promise; nobody writes to relocations, wherever they are.
        unsafe { self.segments.borrow_even_writable(at.0, Some(size)) }.unwrap_or_default()
    }

    /// Its `link_map` in the system loader's list; 0 in a static process.
    pub(crate) fn node(&self) -> RunAddr {
        self.link.node
    }

    /// Whether `link` is this image, and not another one that was loaded at the same place after it.
    pub(super) fn is_at(&self, link: &Link) -> bool {
        let is_same = || listed_name(link.name) == self.path && self.segments.print() == self.print;
        *link == self.link && (self.permanent || is_same())
    }
}

/// `l_name`.
fn listed_name(name: RunAddr) -> Vec<u8> {
    const LONGEST: u64 = 1 << 16;
    // SAFETY: the name of a node of the list is a C string, and lives as long as the node.
    unsafe { memory::c_string(name, LONGEST) }
}

/// An image as far as its names.
pub(super) struct Sketch {
    pub(super) path: Vec<u8>,
    pub(super) soname: Option<Vec<u8>>,
    pub(super) needs: Vec<Vec<u8>>,
    pub(super) is_interpreter: bool,
    is_main: bool,
    link: Link,
    segments: Segments,
    dynamic: Dynamic,
    print: Option<u64>,
}

impl Sketch {
    /// Reads the image that `link` stands for, the executable or another one.
    pub(super) fn read(origin: &Origin, link: &Link, is_main: bool) -> Sketch {
        // SAFETY: the list says that a dynamic section is there.
        let dynamic = unsafe { segments::read_dynamic(link.dynamic) };
        // All lists begin with the executable. Its name is no mark of it: glibc leaves it empty, musl that of the vDSO.
        let started = (link.dynamic == origin.dynamic()).then(|| origin.started.clone());
        let segments = started.or_else(|| segments::find(link, &dynamic)).unwrap_or_else(|| {
            vanishing::miss();
            Segments::default()
        });
        // Taken before the tables are read: whoever compares it afterwards knows that they are of this image.
        let print = vanishing::scope(|_| segments.print());
        let mut path = listed_name(link.name);
        if is_main && path.is_empty() {
            path = listed_name(RunAddr(auxv(Auxv::ExecFn).unwrap_or(0)));
        }
        let is_interpreter = !is_main && segments.region(origin.interpreter, 1).is_some();
        let strings = Strings::of(&segments, &dynamic);
        let soname = strings.at(dynamic.soname);
        let needs = dynamic.needed.iter().filter_map(|&at| strings.at(Some(at))).collect();
        Sketch { path, soname, needs, is_interpreter, is_main, link: *link, segments, dynamic, print }
    }

    /// Completes the image; `startup` says whether it was there when the process started.
    pub(super) fn finish(self, origin: &Origin, startup: bool) -> HostImage {
        let name = self.soname.as_deref().unwrap_or_default();
        let is_vdso = name.starts_with(b"linux-vdso") || name.starts_with(b"linux-gate");
        let permanent = startup || self.is_interpreter || is_vdso;
        let global = permanent && !is_vdso;
        if permanent {
            return self.complete(origin, permanent, global);
        }
        with_care(|| self.complete(origin, permanent, global))
    }

    fn complete(self, origin: &Origin, permanent: bool, global: bool) -> HostImage {
        let Sketch { path, soname, needs, is_interpreter, is_main, link, segments, dynamic, print } = self;
        let strings = Strings::of(&segments, &dynamic);
        let search = SearchPaths {
            rpath: strings.at(dynamic.rpath),
            runpath: strings.at(dynamic.runpath),
            run_paths: Vec::new(),
        };
        // All that it needs must be in it: also libc, without which this code would not run.
        let is_static = is_main && needs.is_empty();
        let label = if path.is_empty() { soname.as_deref().unwrap_or_default() } else { &path };
        HostImage {
            name: String::from_utf8_lossy(label).into_owned(),
            search,
            dynamic: link.dynamic,
            is_main,
            is_interpreter,
            global,
            permanent,
            static_symbols: is_static.then(|| StaticSymbols::new(origin.headers, path.clone())),
            described_in_place: segments.bias.0 != 0
                && dynamic.strtab.is_some_and(|value| segments.region(RunAddr(value), 1).is_some()),
            tables: Tables::new(&segments, &dynamic, permanent),
            relocations: relocations(&segments, &dynamic),
            print: if permanent { 0 } else { print.unwrap_or_else(|| segments.print()) },
            path,
            soname,
            needs,
            segments,
            link,
        }
    }
}

/// Where the relocations with addends are, past those that `DT_RELACOUNT` says only add the bias.
fn relocations(segments: &Segments, dynamic: &Dynamic) -> Option<(RunAddr, u64)> {
    let (at, size) = (segments.address(dynamic.rela.0?)?, dynamic.rela.1);
    let passed_over = dynamic.relacount.saturating_mul(24).min(size);
    Some((RunAddr(at.0 + passed_over), size - passed_over))
}

/// An image's string table.
struct Strings<'s> {
    segments: &'s Segments,
    start: Option<RunAddr>,
}

impl<'s> Strings<'s> {
    fn of(segments: &'s Segments, dynamic: &Dynamic) -> Strings<'s> {
        Strings { segments, start: dynamic.strtab.and_then(|value| segments.address(value)) }
    }

    fn at(&self, offset: Option<u64>) -> Option<Vec<u8>> {
        self.segments.c_string(RunAddr(self.start?.0.checked_add(offset?)?))
    }
}
