//! The images that this process already has: what the system loader mapped, read without libdl.
//!
//! The way there is the one that debuggers go: the auxiliary vector leads to the executable's program headers, those to
//! its dynamic section, `DT_DEBUG` in there to `r_debug`, and that to the list of `link_map`s ([`origin`], [`chain`]).
//! Each entry leads to the image's own headers and tables ([`segments`], [`tables`]). Nothing is read from a file and,
//! as images are laid out by all current linkers, no system call is made.
//!
//! **The scope.** The executable, the preloaded and all that these need, breadth-first, are the global scope, and the
//! list has them in that order. What the process opened later stands behind them, and whether it was opened
//! `RTLD_GLOBAL` cannot be seen, so it is not taken to be. Where the one ends and the other begins is not marked
//! either; but all that an image of the scope needs is in the scope. So the scope is the shortest beginning of the list
//! that holds the executable and, with each image, everything that this needs. (A preloaded library that nothing needs
//! stands right behind the executable, before what the executable needs.) The dynamic linker is always in the scope,
//! wherever it stands: FreeBSD keeps it at the end of the list, behind all that was opened later. The vDSO never is.
//!
//! **Lifetimes.** Images of the scope are never unloaded, by any of the three system loaders: they are held by the
//! executable. So their symbol tables are borrowed in place; the tables of all others are copied.
//!
//! Invariant: the system loader's memory is trusted to be what the ABI says, since the process would not run otherwise;
//! it is read while the loader calls it consistent. What is borrowed from it for longer than a call is never unmapped.

mod chain;
mod image;
mod memory;
mod origin;
mod segments;
mod statics;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
mod vanishing;

pub(crate) use super::exit::{arm_exit_flag, arm_finalizers, exiting, watch_this_thread};
pub(crate) use super::process::{Arguments, arguments, secure};
pub(crate) use image::HostImage;
pub(crate) use tls::HostTls;

use crate::addr::{RunAddr, VmAddr};
use crate::error::ErrorKind;
use crate::plan::Query;
use crate::symbol::{HostId, Provider};
use crate::sync::Lazy;
pub(crate) use chain::Chain;
use chain::Link;
use image::Sketch;
use origin::Origin;
use statics::StaticSymbols;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use vanishing::with_care;

/// The images of the process at one moment. A [`HostId`] is an index into them, and means nothing in another snapshot.
#[derive(Debug)]
pub(crate) struct HostImages {
    /// In the order of the system loader's list: the executable first.
    pub(crate) images: Vec<Arc<HostImage>>,
    needs: Vec<Vec<Provider>>,
    /// How many at the beginning of the list never go away.
    permanent: usize,
    tls: Lazy<Vec<HostTls>>,
}

/// Where the initial bytes of some static thread-locals are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StaticPlace {
    /// In memory.
    pub(crate) template: RunAddr,
    /// What each thread's pointer is aligned to.
    pub(crate) align: u64,
}

static ORIGIN: Lazy<Origin> = Lazy::new();
static CURRENT: Mutex<Option<Arc<HostImages>>> = Mutex::new(None);

/// The images of the process now. As long as the system loader neither adds nor removes any, this is the same snapshot.
///
/// # Errors
/// The process has no auxiliary vector, or its system loader's list cannot be read.
pub(crate) fn images() -> Result<Arc<HostImages>, ErrorKind> {
    let origin = origin()?;
    let read = |previous: Option<&HostImages>| {
        let images = HostImages::read(origin, previous)?;
        let statics = images.main().and_then(|main| main.static_symbols.as_ref());
        statics.map_or(Ok(()), StaticSymbols::prepare).map(|()| Arc::new(images))
    };
    let Some(mut current) = lock() else { return read(None) };
    if let Some(images) = &*current
        && images.are_current(&links(origin, images.permanent)?)
    {
        return Ok(Arc::clone(images));
    }
    let images = read(current.as_deref())?;
    *current = Some(Arc::clone(&images));
    Ok(images)
}

fn origin() -> Result<&'static Origin, ErrorKind> {
    if let Some(origin) = ORIGIN.get() {
        return Ok(origin);
    }
    let origin = Origin::find()?;
    Ok(ORIGIN.get_or(|| origin))
}

/// The lock of what is known of the host.
pub(crate) type Lock = MutexGuard<'static, Option<Arc<HostImages>>>;

/// Keeps what is known as it is.
pub(crate) fn hold() -> Lock {
    crate::sync::lock(&CURRENT)
}

/// Waits for another thread that reads the list, but not for ever: it may not exist in a child that was forked before
/// our handlers were there.
fn lock() -> Option<MutexGuard<'static, Option<Arc<HostImages>>>> {
    const SPINS: u32 = 100_000;
    for _ in 0..SPINS {
        match CURRENT.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

/// The list, whose first `permanent` images never go away; in a static process, the executable alone.
fn links(origin: &Origin, permanent: usize) -> Result<Vec<Link>, ErrorKind> {
    if let Some(chain) = origin.chain {
        return chain.links(permanent);
    }
    let base = RunAddr(origin.started.bias.0);
    Ok(vec![Link { node: RunAddr(0), base, dynamic: origin.dynamic(), name: RunAddr(0) }])
}

impl HostImages {
    fn read(origin: &Origin, previous: Option<&HostImages>) -> Result<HostImages, ErrorKind> {
        const ATTEMPTS: u32 = 1000;
        // In so many passes in a row an image would have to go and come back each time.
        const PATIENCE: u32 = 16;
        // At first, nothing is known to go away.
        let mut permanent = previous.map_or(usize::MAX, |images| images.permanent);
        for attempt in 0..ATTEMPTS {
            let before = links(origin, permanent)?;
            vanishing::has_missed();
            let images = HostImages::build(origin, &before, previous);
            permanent = images.permanent;
            // What was made while the list changed may mix two moments; and where the same image went and came back, it
            // may lack a part. (An image whose file was cut off, or that has no tables, lacks a part for good.)
            let complete = !vanishing::has_missed() || attempt >= PATIENCE;
            if complete && images.are_current(&links(origin, permanent)?) {
                return Ok(images);
            }
        }
        Err(ErrorKind::Host { what: "the system loader keeps changing its list" })
    }

    fn build(origin: &Origin, links: &[Link], previous: Option<&HostImages>) -> HostImages {
        let known: BTreeMap<_, _> =
            previous.iter().flat_map(|it| &it.images).map(|image| (image.node(), image)).collect();
        let mut wanted = Wanted::default();
        let draft = |(index, link): (usize, &Link)| {
            let permanent = index == 0 || previous.map_or(!wanted.names.is_empty(), |images| index < images.permanent);
            let read = || match known.get(&link.node).filter(|image| image.is_at(link)) {
                Some(image) => Draft::Known(Arc::clone(image)),
                None => Draft::New(Box::new(Sketch::read(origin, link, index == 0))),
            };
            let draft = if permanent { read() } else { with_care(read) };
            wanted.add(&draft);
            draft
        };
        let drafts: Vec<_> = links.iter().enumerate().map(draft).collect();
        let needs = needs(&drafts);
        let startup = startup(&needs);
        let finish = |(index, draft)| match draft {
            Draft::Known(image) => image,
            Draft::New(sketch) => Arc::new(sketch.finish(origin, index < startup)),
        };
        let images = drafts.into_iter().enumerate().map(finish).collect();
        let providers = |needs: Vec<_>| needs.into_iter().map(|index| Provider::Host(HostId(index as u16))).collect();
        let needs = needs.into_iter().map(providers).collect();
        HostImages { images, needs, permanent: startup, tls: Lazy::new() }
    }

    fn are_current(&self, links: &[Link]) -> bool {
        let same = || self.images.iter().zip(links).all(|(image, link)| image.is_at(link));
        self.images.len() == links.len() && if links.len() > self.permanent { with_care(same) } else { same() }
    }

    /// Where debuggers find the lists of images, if another list can be put behind them: the system loader is glibc's,
    /// of version 2.35 or later. Before that, and in other loaders, `r_debug` ends where the next list would be told.
    pub(crate) fn debugged(&self) -> Option<Chain> {
        let chain = origin().ok()?.chain?;
        let libc = self.images.iter().find(|image| image.soname.as_deref() == Some(b"libc.so.6"))?;
        // Came with the same release, and is exported where `r_debug_extended` is not.
        libc.symbols().find(&Query::by_version(b"_dl_find_object", b"GLIBC_2.35"))?;
        let loaders_own = |image: &&Arc<HostImage>| image.is_interpreter && image.holds(chain.last_byte());
        self.images.iter().find(loaders_own).map(|_| chain)
    }

    /// Who provides each of an image's needs, in their order; one that is not in the process is left out.
    pub(crate) fn needs(&self, index: usize) -> &[Provider] {
        self.needs.get(index).map_or(&[], Vec::as_slice)
    }

    /// The executable.
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

    /// Whether the system loader leaves run-time addresses in the dynamic sections of what it loads (glibc does on
    /// x86-64 and AArch64, musl does not): code that reads its own counts on it, as the run-time system of D does.
    pub(crate) fn describes_in_place(&self) -> bool {
        self.images.iter().any(|image| image.described_in_place)
    }

    /// Whether the executable is linked statically, so that it stands for libc as well.
    pub(crate) fn is_static(&self) -> bool {
        self.main().is_some_and(|main| main.static_symbols.is_some())
    }

    /// Where each thread has the thread-locals of an image, as far as that can be found out; `None` if it has none.
    pub(crate) fn tls_of(&self, index: usize) -> Option<HostTls> {
        self.images.get(index)?.thread_locals()?;
        self.tls.get_or(|| tls::read_back(self)).get(index).copied()
    }

    /// The place of what every thread has at `offset` from its thread pointer, in the initial bytes of an image that is
    /// never unloaded.
    ///
    /// All thread pointers are aligned to the largest alignment of a static block, not only to that of this image's
    /// (glibc's `_dl_determine_tlsoffset`, musl's `__copy_tls`), or the others' offsets could not be constants.
    pub(crate) fn static_place(&self, offset: i64, size: u64) -> Option<StaticPlace> {
        let permanent = || self.images.iter().filter(|image| image.permanent);
        let align = permanent().filter_map(|image| Some(image.thread_locals()?.align)).max().unwrap_or(1);
        (0..self.images.len()).filter(|&index| self.images[index].permanent).find_map(|index| {
            let template = self.images[index].thread_locals()?;
            let start = u64::try_from(offset.checked_sub(self.tls_of(index)?.offset?)?).ok()?;
            (start.checked_add(size)? <= template.image.size).then_some(())?;
            let vm = VmAddr(template.image.start.0 + start);
            Some(StaticPlace { template: vm + self.images[index].bias(), align })
        })
    }

    /// Whether `size` bytes at `offset` from its thread pointer are static thread-locals in every thread.
    pub(crate) fn has_static(&self, offset: i64, size: u64) -> bool {
        (0..self.images.len()).filter(|&index| self.images[index].permanent).any(|index| {
            let block = self.images[index].thread_locals().zip(self.tls_of(index).and_then(|tls| tls.offset));
            let start = block.and_then(|(_, block)| u64::try_from(offset.checked_sub(block)?).ok());
            let end = start.and_then(|start| start.checked_add(size));
            block.zip(end).is_some_and(|((template, _), end)| end <= template.size)
        })
    }

    /// The pages around initial bytes that were found by [`HostImages::static_place`] that are read-only.
    pub(crate) fn sealed_pages(&self, at: RunAddr, size: u64) -> Option<(RunAddr, u64)> {
        self.images.iter().filter(|image| image.permanent).find_map(|image| image.sealed_pages(at, size))
    }

    /// The images that the system loader has not unloaded since this snapshot was made.
    fn still_there(&self) -> Vec<(usize, &HostImage)> {
        let links = origin().and_then(|origin| links(origin, self.permanent)).unwrap_or_default();
        let is_listed = |image: &HostImage| with_care(|| links.iter().any(|link| image.is_at(link)));
        let listed = |image: &HostImage| image.permanent || is_listed(image);
        self.images.iter().map(|image| &**image).enumerate().filter(|(_, image)| listed(image)).collect()
    }
}

/// An image of the list: in an earlier snapshot already, or read as far as its names.
enum Draft {
    Known(Arc<HostImage>),
    New(Box<Sketch>),
}

/// What an image says of itself.
struct Names<'d> {
    soname: &'d [u8],
    path: &'d [u8],
    needs: &'d [Vec<u8>],
    is_interpreter: bool,
}

impl Draft {
    fn names(&self) -> Names<'_> {
        let (soname, path, needs, is_interpreter) = match self {
            Draft::Known(image) => (&image.soname, image.path_bytes(), &image.needs, image.is_interpreter),
            Draft::New(sketch) => (&sketch.soname, &*sketch.path, &sketch.needs, sketch.is_interpreter),
        };
        Names { soname: soname.as_deref().unwrap_or_default(), path, needs, is_interpreter }
    }
}

/// While the list is first read: the names that images of the scope need and that no image had yet, by their hashes. As
/// long as there are any, the scope goes on (see the top of this file).
#[derive(Default)]
struct Wanted {
    names: Vec<u64>,
    had: Vec<u64>,
}

impl Wanted {
    fn add(&mut self, draft: &Draft) {
        let Names { soname, path, needs, .. } = draft.names();
        self.had.extend([soname, path, base_name(path)].map(name_hash));
        self.names.extend(needs.iter().map(|need| name_hash(need)));
        self.names.retain(|name| !self.had.contains(name));
    }
}

/// For each image, which images it needs. musl's libc is its dynamic linker, and answers to names that no image has
/// (`libc.so`, `libc.musl-x86_64.so.1`, `libpthread.so.0`).
fn needs(drafts: &[Draft]) -> Vec<Vec<usize>> {
    let mut names = Vec::with_capacity(drafts.len() * 3);
    for (index, draft) in drafts.iter().enumerate() {
        let Names { soname, path, .. } = draft.names();
        names.extend([soname, path, base_name(path)].map(|name| (name, index)));
    }
    names.sort_unstable();
    let find = |need: &[u8]| {
        let first = names.partition_point(|&(name, _)| name < need);
        names.get(first).filter(|&&(name, _)| name == need).map(|&(_, index)| index)
    };
    let interpreter = drafts.iter().position(|draft| draft.names().is_interpreter);
    let provider = |need: &Vec<u8>| find(need).or(interpreter);
    drafts.iter().map(|draft| draft.names().needs.iter().filter_map(provider).collect()).collect()
}

/// FNV-1a.
fn name_hash(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// How many images at the beginning of the list were there at start-up (see the top of this file).
fn startup(needs: &[Vec<usize>]) -> usize {
    let (mut next, mut end) = (0, 1.min(needs.len()));
    while next < end {
        end = needs[next].iter().map(|&need| need + 1).fold(end, usize::max);
        next += 1;
    }
    end
}
