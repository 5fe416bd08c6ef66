//! The finder that reads the system's folders.

use crate::addr::FileOffset;
use crate::error::{ErrorKind, NotAnImage, Place};
use crate::image::Image;
use crate::ldcache::LdCache;
use crate::link::{FileBytes, FileStamp, Finder, ImageBytes, ImageFile, LinkedModule};
use crate::plan::{LoadPlan, SearchPaths};
use crate::platform::unix::{self, FileKind};
use crate::room;
use crate::runtime::host::HostImage;
use crate::search::{
    Asker, Candidate, Outcome, Parent, Requester, Route, SearchOptions, Tried, candidates, install_candidates,
};
use crate::snapshot;
use crate::source::SharedBytes;
use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// See [`Loader::edit_plans`](crate::Loader::edit_plans).
pub(crate) type PlanEdit = dyn Fn(&str, &mut LoadPlan) + Send + Sync;

/// Searches as `ld.so(8)` describes.
pub(crate) struct FolderFinder<'o> {
    options: &'o SearchOptions,
    executable: Executable<'o>,
    /// The loaded image that opens, who opened that, and so on: they ask before the executable does.
    openers: Vec<&'o LinkedModule>,
    edit: Option<&'o PlanEdit>,
    /// Whether what the caller asks for is copied first.
    pub(crate) snapshot: bool,
    /// `ld.so.cache`, looked at when the first search gets that far.
    cache: OnceCell<Option<Seen>>,
}

/// The program that opens: it asks for the first name, and its `DT_RPATH` serves all others as well.
#[derive(Clone, Copy, Default)]
pub(crate) struct Executable<'o> {
    pub(crate) name: &'o str,
    pub(crate) path: Option<&'o Path>,
    pub(crate) search: Option<&'o SearchPaths>,
}

impl<'o> Executable<'o> {
    /// As the system loader's list has it; nothing is known of one that is not there.
    pub(crate) fn of(image: Option<&'o Arc<HostImage>>) -> Executable<'o> {
        image.map_or_else(Executable::default, |image| Executable {
            name: &image.name,
            path: Some(image.path()),
            search: Some(&image.search),
        })
    }
}

impl<'o> FolderFinder<'o> {
    pub(crate) fn new(
        options: &'o SearchOptions,
        executable: Executable<'o>,
        openers: Vec<&'o LinkedModule>,
        edit: Option<&'o PlanEdit>,
    ) -> FolderFinder<'o> {
        FolderFinder { options, executable, openers, edit, snapshot: false, cache: OnceCell::new() }
    }

    /// What a search looked at that the next one may want, if there was a search.
    pub(crate) fn into_seen(self) -> Option<Seen> {
        self.cache.into_inner().flatten()
    }

    /// The folders that a name is searched in, in order.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let folders = |requester: &Requester<'_>| {
            let candidates = candidates(b"name", requester, self.options, None);
            let folder = |candidate: Candidate| candidate.path.parent().map(Path::to_owned);
            candidates.filter_map(Result::ok).filter_map(folder).collect()
        };
        self.ask(&self.openers, folders)
    }

    /// Asks for the first image of `chain`, which the others loaded, each the one before it; for the executable if there
    /// is none.
    fn ask<T>(&self, chain: &[&LinkedModule], ask: impl FnOnce(&Requester<'_>) -> T) -> T {
        let origins: Vec<Option<PathBuf>> = chain.iter().map(|module| origin_of(module)).collect();
        let Executable { name: program, path, search: paths } = self.executable;
        let program_origin = if paths.is_some_and(names_origin) { program_folder(path) } else { None };
        let program = Requester {
            name: program,
            origin: program_origin.as_deref(),
            rpath: paths.and_then(|paths| paths.rpath.as_deref()),
            runpath: paths.and_then(|paths| paths.runpath.as_deref()),
            ..Requester::default()
        };
        let last = Parent {
            name: program.name,
            origin: program.origin,
            rpath: program.rpath.filter(|_| program.runpath.is_none()),
        };
        let modules = chain.iter().zip(&origins);
        let parents: Vec<Parent<'_>> =
            modules.skip(1).map(|(module, origin)| parent(module, origin)).chain([last]).collect();
        ask(&chain.first().map_or(program, |module| Requester {
            name: &module.name,
            origin: origins[0].as_deref(),
            rpath: module.plan.search.rpath.as_deref(),
            runpath: module.plan.search.runpath.as_deref(),
            no_default_folders: module.plan.flags.no_default_folders,
            parents: &parents,
        }))
    }

    /// The paths of an install name that the first image of `chain` needs.
    fn install_candidates(&self, name: &[u8], chain: &[&LinkedModule]) -> Vec<Candidate> {
        let origins: Vec<Option<PathBuf>> = chain.iter().map(|module| origin_of(module)).collect();
        let askers: Vec<Asker<'_>> = chain
            .iter()
            .zip(&origins)
            .map(|(module, origin)| Asker {
                name: &module.name,
                folder: origin.as_deref(),
                run_paths: &module.plan.search.run_paths,
            })
            .collect();
        let library_path = if self.options.secure { &[][..] } else { &self.options.library_path };
        install_candidates(name, &askers, program_folder(self.executable.path).as_deref(), library_path)
    }

    fn cache(&self) -> Result<Option<LdCache<'_>>, ErrorKind> {
        if self.cache.get().is_none() {
            let path = crate::platform::LIBRARY_CACHE.filter(|_| self.options.cache.is_some());
            let kept = path.map(|path| CACHE.now(Path::new(path))).transpose()?.flatten();
            let _ = self.cache.set(kept);
        }
        let seen = self.cache.get().and_then(Option::as_ref);
        Ok(seen.and_then(|seen| LdCache::parse(&seen.0.bytes).ok()))
    }
}

impl Finder for FolderFinder<'_> {
    fn find(
        &mut self,
        name: &[u8],
        requester: Option<&LinkedModule>,
        parents: &[&LinkedModule],
    ) -> Result<ImageFile, ErrorKind> {
        let chain: Vec<&LinkedModule> =
            requester.iter().chain(parents).copied().chain(self.openers.iter().copied()).collect();
        let snapshot = self.snapshot && requester.is_none();
        if requester.is_some_and(|module| module.plan.is_two_level()) && name.contains(&b'/') {
            return search(self.install_candidates(name, &chain).into_iter().map(Ok), snapshot);
        }
        // The cache is looked at only where something before it may fail; a path never needs it.
        let cache = if name.contains(&b'/') { None } else { self.cache()? };
        self.ask(&chain, |requester| search(boxed(name, requester, self.options, cache.as_ref()), snapshot))
    }

    fn stamp(&mut self, path: &Path) -> Result<Option<FileStamp>, ErrorKind> {
        Ok(open_if_there(path)?.map(|(_, stamp)| stamp))
    }

    fn edit(&self, name: &str, plan: &mut LoadPlan) {
        if let Some(edit) = self.edit {
            edit(name, plan);
        }
    }
}

/// The file at `path` and its identity; `None` if there is none that this process may read.
fn open_if_there(path: &Path) -> Result<Option<(File, FileStamp)>, ErrorKind> {
    let failed = |call, source| ErrorKind::Io { call, path: path.to_owned(), source };
    let file = match unix::open(path) {
        Ok(file) => file,
        Err(error) if is_the_systems(&error) => return Err(failed("open", error)),
        Err(_) => return Ok(None),
    };
    let (stamp, _) = unix::stat(&file).map_err(|error| failed("fstat", error))?;
    Ok(Some((file, stamp)))
}

/// Whether a file could not be opened for want of something that the next open may find: no word about the file.
fn is_the_systems(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(unix::is_exhaustion)
}

/// `ld.so.cache` for the searches of this process.
static CACHE: KeptFile = KeptFile(Mutex::new(None));

/// A file that stays mapped for who asks next, as long as it is the same file: mapping it for each search, touching it and
/// taking it back would cost as much as the rest of the search. It is kept only for an open that succeeded: one that fails
/// leaves nothing behind.
///
/// Nobody waits for the lock, so it does not matter if a fork finds it taken: whoever does not get it maps the file for
/// itself.
struct KeptFile(Mutex<Option<Seen>>);

/// A file as it was when it was mapped.
#[derive(Clone)]
pub(crate) struct Seen(Arc<Mapping>);

struct Mapping {
    stamp: FileStamp,
    bytes: memmap2::Mmap,
}

impl Seen {
    /// Leaves it to the next search of `ld.so.cache`.
    pub(crate) fn keep(self) {
        CACHE.keep(self);
    }
}

impl KeptFile {
    /// The file at `path` as it is now; `None` if there is none that this process may read.
    fn now(&self, path: &Path) -> Result<Option<Seen>, ErrorKind> {
        // Also of the file that is mapped already: no page of it that is looked at lies behind its end.
        let Some((file, stamp)) = open_if_there(path)? else { return Ok(None) };
        let kept = self.0.try_lock().ok().and_then(|kept| kept.clone());
        if let Some(kept) = kept.filter(|kept| kept.0.stamp == stamp) {
            return Ok(Some(kept));
        }
        if stamp.size == 0 {
            return Ok(None); // which cannot be mapped
        }
        let failed = |source| ErrorKind::Io { call: "mmap", path: path.to_owned(), source };
        let bytes = unix::map_file(&file, 0, stamp.size).map_err(failed)?;
        Ok(Some(Seen(Arc::new(Mapping { stamp, bytes }))))
    }

    fn keep(&self, seen: Seen) {
        let old = self.0.try_lock().ok().and_then(|mut kept| kept.replace(seen));
        drop(old); // not under the lock
    }
}

/// The candidates in a place of their own: a chain of searches takes 4 KiB, and all that a file is opened with would stand
/// above them on the stack of a thread that may have 16.
#[inline(never)]
fn boxed<'a>(
    name: &'a [u8],
    requester: &'a Requester<'a>,
    options: &'a SearchOptions,
    cache: Option<&'a LdCache<'a>>,
) -> Box<dyn Iterator<Item = Result<Candidate, Tried>> + 'a> {
    Box::new(candidates(name, requester, options, cache))
}

fn search(candidates: impl Iterator<Item = Result<Candidate, Tried>>, snapshot: bool) -> Result<ImageFile, ErrorKind> {
    let mut tried = TriedList(Vec::new());
    for candidate in candidates {
        let Candidate { path, source } = match candidate {
            Ok(candidate) => candidate,
            Err(refused) => {
                tried.push(refused);
                continue;
            }
        };
        let is_path = source == Route::Path;
        match open(&path) {
            Ok((stamp, bytes)) => {
                let file = ImageFile { path, source, tried: Vec::new(), stamp, bytes };
                // Before anything of it is looked at.
                let file = if snapshot { snapshot::of(file)? } else { file };
                match unsuitable(&file.bytes) {
                    Some(outcome) if !is_path => tried.push(Tried { path: file.path, source: file.source, outcome }),
                    _ => return Ok(ImageFile { tried: tried.0, ..file }),
                }
            }
            Err(OpenError::Io(call, error)) => {
                let outcome = Outcome::from_errno(error.raw_os_error().unwrap_or(0));
                // A file that is there and cannot be used is the one that was meant, and its error tells more than that
                // nothing was found.
                if outcome.ends_search() || (is_path && !matches!(outcome, Outcome::NotFound)) {
                    return Err(ErrorKind::Io { call, path, source: error });
                }
                tried.push(Tried { path, source, outcome });
            }
            Err(OpenError::Kind(what)) if is_path => return Err(ErrorKind::NotAnImage(what)),
            Err(OpenError::Kind(_)) => tried.push(Tried { path, source, outcome: Outcome::NotElf }),
        }
    }
    Err(ErrorKind::NotFound { needed_by: None, tried: tried.0 })
}

/// What was tried, as far as anybody reads: a search path can have tens of thousands of folders.
struct TriedList(Vec<Tried>);

impl TriedList {
    const MOST: usize = 1000;

    fn push(&mut self, tried: Tried) {
        if self.0.len() < TriedList::MOST {
            self.0.push(tried);
        }
    }
}

enum OpenError {
    /// Which call failed, and how.
    Io(&'static str, io::Error),
    Kind(NotAnImage),
}

impl OpenError {
    fn at(self, path: &Path) -> ErrorKind {
        match self {
            OpenError::Io(call, source) => ErrorKind::Io { call, path: path.to_owned(), source },
            OpenError::Kind(kind) => ErrorKind::NotAnImage(kind),
        }
    }
}

fn open(path: &Path) -> Result<(FileStamp, FileBytes), OpenError> {
    read(Arc::new(unix::open(path).map_err(|error| OpenError::Io("open", error))?))
}

fn read(file: Arc<File>) -> Result<(FileStamp, FileBytes), OpenError> {
    let (stamp, kind) = unix::stat(&file).map_err(|error| OpenError::Io("fstat", error))?;
    match kind {
        FileKind::Folder => return Err(OpenError::Kind(NotAnImage::Folder)),
        FileKind::Other => return Err(OpenError::Kind(NotAnImage::Special)),
        // An empty file cannot be mapped.
        FileKind::Regular if stamp.size == 0 => return Err(OpenError::Kind(NotAnImage::Empty)),
        FileKind::Regular => {}
    }
    let map = unix::map_file(&file, 0, stamp.size).map_err(|error| OpenError::Io("mmap", error))?;
    let bytes = FileBytes { bytes: ImageBytes::Mapped(map), file: Some(file), offset: 0, file_size: stamp.size };
    Ok((stamp, bytes))
}

fn given(path: &Path, stamp: FileStamp, bytes: FileBytes) -> ImageFile {
    ImageFile { path: path.to_owned(), source: Route::Given, tried: Vec::new(), stamp, bytes }
}

/// The file at a path.
///
/// # Errors
/// What the system says, or what it is that is no regular file.
pub(crate) fn open_path(path: &Path) -> Result<ImageFile, ErrorKind> {
    open(path).map(|(stamp, bytes)| given(path, stamp, bytes)).map_err(|error| error.at(path))
}

/// A file that is open, called `name`.
///
/// # Errors
/// As [`open_path`].
pub(crate) fn open_file(name: &Path, file: Arc<File>) -> Result<ImageFile, ErrorKind> {
    read(file).map(|(stamp, bytes)| given(name, stamp, bytes)).map_err(|error| error.at(name))
}

/// Bytes in memory, called `name`.
///
/// # Errors
/// There are none.
pub(crate) fn open_bytes(name: &Path, bytes: SharedBytes, stamp: FileStamp) -> Result<ImageFile, ErrorKind> {
    if bytes.is_empty() {
        return Err(ErrorKind::NotAnImage(NotAnImage::Empty));
    }
    let range = 0..bytes.len();
    let bytes = FileBytes { bytes: ImageBytes::Shared { bytes, range }, file: None, offset: 0, file_size: 0 };
    Ok(given(name, stamp, bytes))
}

/// The part of a file of which all was opened.
///
/// # Errors
/// It reaches beyond the end, or is empty.
pub(crate) fn part(whole: ImageFile, offset: u64, size: u64) -> Result<ImageFile, ErrorKind> {
    if offset == 0 && size == whole.bytes.len() as u64 {
        return Ok(whole);
    }
    crate::bytes::Bytes(&whole.bytes)
        .slice(offset, size)
        .ok_or_else(|| ErrorKind::malformed("part of a file: it lies outside", Place::File(FileOffset(offset))))?;
    if size == 0 {
        return Err(ErrorKind::NotAnImage(NotAnImage::Empty));
    }
    let ImageFile { path, stamp, bytes, .. } = &whole;
    let (stamp, file) = (FileStamp { offset, ..*stamp }, bytes.file.clone());
    let part = match (&bytes.bytes, &file) {
        (ImageBytes::Mapped(_), Some(file)) => {
            let map = unix::map_file(file, offset, size);
            ImageBytes::Mapped(map.map_err(|source| ErrorKind::Io { call: "mmap", path: path.clone(), source })?)
        }
        (ImageBytes::Shared { bytes, .. }, _) => {
            // Both fit, since the slice above does.
            ImageBytes::Shared { bytes: Arc::clone(bytes), range: offset as usize..(offset + size) as usize }
        }
        (bytes, _) => ImageBytes::Owned(room::copy(&bytes[offset as usize..(offset + size) as usize])?),
    };
    let bytes = FileBytes { bytes: part, file, offset, file_size: whole.bytes.file_size };
    Ok(ImageFile { stamp, bytes, ..whole })
}

/// Why a search passes over the file: it is for another machine, or no shared object at all. Other faults end the
/// search, since the file is the one that was meant.
fn unsuitable(bytes: &[u8]) -> Option<Outcome> {
    match Image::parse(bytes) {
        Err(ErrorKind::NotAnImage(_)) => Some(Outcome::NotElf),
        Err(ErrorKind::WrongTarget { field: "EI_CLASS", .. }) => Some(Outcome::WrongClass),
        Err(ErrorKind::WrongTarget { field: "e_machine" | "EI_DATA", .. }) => Some(Outcome::WrongMachine),
        Ok(image) if Some(image.machine()) != crate::plan::Machine::HOST => Some(Outcome::WrongMachine),
        _ => None,
    }
}

/// Whether a file still has the size that it had when it was opened: pages behind its end would kill with `SIGBUS`.
///
/// # Errors
/// [`ErrorKind::Changed`] with both sizes.
pub(crate) fn unchanged(image: &ImageFile) -> Result<(), ErrorKind> {
    let Some(file) = &image.bytes.file else { return Ok(()) };
    let failed = |source| ErrorKind::Io { call: "fstat", path: image.path.clone(), source };
    let (now, _) = unix::stat(file).map_err(failed)?;
    if now.size != image.bytes.file_size {
        return Err(ErrorKind::Changed { size: now.size, expected: image.bytes.file_size });
    }
    Ok(())
}

fn parent<'m>(module: &'m LinkedModule, origin: &'m Option<PathBuf>) -> Parent<'m> {
    Parent {
        name: &module.name,
        origin: origin.as_deref(),
        // A runpath silences the object's own rpath, also for its needs' needs.
        rpath: module.plan.search.rpath.as_deref().filter(|_| module.plan.search.runpath.is_none()),
    }
}

/// Whether a path has a token in it: only then does it matter where the program is, which takes a system call.
fn names_origin(paths: &SearchPaths) -> bool {
    [&paths.rpath, &paths.runpath].into_iter().flatten().any(|text| text.contains(&b'$'))
}

/// The folder of the executable. What it was started by may be a link, or relative to a working folder of then.
fn program_folder(started_by: Option<&Path>) -> Option<PathBuf> {
    let known = || started_by.filter(|path| path.is_absolute()).map(Path::to_owned);
    unix::executable().ok().or_else(known).as_deref().and_then(origin)
}

/// What `$ORIGIN` stands for in a module. What the caller gave under a name that is no full path is in no folder: least of
/// all in the working one.
fn origin_of(module: &LinkedModule) -> Option<PathBuf> {
    let in_a_folder = module.source != Route::Given || module.path.is_absolute();
    in_a_folder.then(|| origin(&module.path)).flatten()
}

/// The folder of an object: what `$ORIGIN` stands for.
fn origin(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    if folder.is_absolute() {
        return Some(folder.to_owned());
    }
    // Of no name at all, the working folder.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    unix::absolute(folder).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_is_the_one_that_is_there() {
        let folder = std::env::temp_dir().join(format!("sideload-kept-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (path, next) = (folder.join("cache"), folder.join("next"));
        let file = KeptFile(Mutex::new(None));
        let now = || file.now(&path).expect("the system has room");
        let is_same = |one: &Seen, other: &Seen| Arc::ptr_eq(&one.0, &other.0);
        assert!(now().is_none(), "no such file");
        std::fs::write(&path, "one").expect("a file");
        let first = now().expect("a file");
        assert!(!is_same(&first, &now().expect("a file")), "nobody kept it");
        file.keep(first.clone());
        assert!(is_same(&first, &now().expect("a file")));
        std::fs::write(&next, "two").expect("a file");
        std::fs::rename(&next, &path).expect("the same folder");
        let second = now().expect("a file");
        assert_eq!((&*first.0.bytes, &*second.0.bytes), (&b"one"[..], &b"two"[..]));
        file.keep(second.clone());
        assert!(is_same(&second, &now().expect("a file")));
        // Where the lock is taken, as it may be for ever after a fork, the file is mapped for this search.
        let taken = file.0.lock().expect("not poisoned");
        let alone = now().expect("a file");
        assert_eq!((&*alone.0.bytes, is_same(&alone, &second)), (&b"two"[..], false));
        file.keep(alone);
        drop(taken);
        std::fs::write(&path, "").expect("a file");
        assert!(now().is_none(), "empty");
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
