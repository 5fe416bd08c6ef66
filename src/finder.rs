//! The finder that reads the system's folders.

use crate::error::{ErrorKind, NotAnImage};
use crate::image::Image;
use crate::ldcache::LdCache;
use crate::link::{FileBytes, FileStamp, Finder, ImageBytes, ImageFile, LinkedModule};
use crate::plan::{LoadPlan, SearchPaths};
use crate::platform::unix::{self, FileKind};
use crate::search::{Candidate, Outcome, Parent, Requester, SearchOptions, Source, Tried, candidates};
use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};

/// See [`Loader::edit_plans`](crate::Loader::edit_plans).
pub(crate) type PlanEdit = dyn Fn(&str, &mut LoadPlan) + Send + Sync;

/// Searches as `ld.so(8)` describes.
pub(crate) struct FolderFinder<'o> {
    options: &'o SearchOptions,
    /// The executable: whoever asks for a library by name asks on its behalf, and its `DT_RPATH` ends every chain.
    executable: Option<Executable<'o>>,
    edit: Option<&'o PlanEdit>,
    /// `ld.so.cache`, mapped when the first search gets that far.
    cache: OnceCell<Option<memmap2::Mmap>>,
}

/// What the search needs to know of the executable.
#[derive(Clone, Copy)]
pub(crate) struct Executable<'o> {
    /// Its path, for people.
    pub name: &'o str,
    /// The same, for the system.
    pub path: &'o Path,
    /// Its own search paths.
    pub search: &'o SearchPaths,
}

impl<'o> FolderFinder<'o> {
    pub(crate) fn new(
        options: &'o SearchOptions,
        executable: Option<Executable<'o>>,
        edit: Option<&'o PlanEdit>,
    ) -> FolderFinder<'o> {
        FolderFinder { options, executable, edit, cache: OnceCell::new() }
    }

    fn cache(&self) -> Option<LdCache<'_>> {
        let map = self.cache.get_or_init(|| {
            let path = crate::platform::LIBRARY_CACHE.filter(|_| self.options.cache.is_some())?;
            let file = unix::open(Path::new(path)).ok()?;
            let (stamp, _) = unix::stat(&file).ok()?;
            unix::map_file(&file, stamp.size).ok()
        });
        LdCache::parse(map.as_deref()?).ok()
    }
}

impl Finder for FolderFinder<'_> {
    fn find(
        &mut self,
        name: &[u8],
        requester: Option<&LinkedModule>,
        parents: &[&LinkedModule],
    ) -> Result<ImageFile, ErrorKind> {
        let origins: Vec<Option<PathBuf>> =
            requester.iter().chain(parents).map(|module| origin(&module.path)).collect();
        // Of the executable only what it says itself is needed: most say nothing, and then its folder is not looked up.
        let main = self.executable.filter(|main| *main.search != SearchPaths::default());
        let main_origin = main.and_then(|main| origin(main.path));
        let above = parents.iter().zip(origins.get(1..).unwrap_or_default()).map(|(module, origin)| Parent {
            name: &module.name,
            origin: origin.as_deref(),
            rpath: chained(&module.plan.search),
        });
        let main_parent =
            main.map(|main| Parent { name: main.name, origin: main_origin.as_deref(), rpath: chained(main.search) });
        let parents: Vec<Parent<'_>> = above.chain(main_parent).collect();
        let requester = match (requester, main) {
            (Some(module), _) => Requester {
                name: &module.name,
                origin: origins[0].as_deref(),
                rpath: module.plan.search.rpath.as_deref(),
                runpath: module.plan.search.runpath.as_deref(),
                no_default_folders: module.plan.flags.no_default_folders,
                parents: &parents,
            },
            (None, Some(main)) => Requester {
                name: main.name,
                origin: main_origin.as_deref(),
                rpath: main.search.rpath.as_deref(),
                runpath: main.search.runpath.as_deref(),
                ..Requester::default()
            },
            (None, None) => Requester::default(),
        };
        // The cache is mapped only where something before it may fail; a path never needs it.
        let cache = if name.contains(&b'/') { None } else { self.cache() };
        search(name, &requester, self.options, cache.as_ref())
    }

    fn stamp(&mut self, path: &Path) -> Option<FileStamp> {
        let file = unix::open(path).ok()?;
        unix::stat(&file).ok().map(|(stamp, _)| stamp)
    }

    fn edit(&self, name: &str, plan: &mut LoadPlan) {
        if let Some(edit) = self.edit {
            edit(name, plan);
        }
    }
}

fn search(
    name: &[u8],
    requester: &Requester<'_>,
    options: &SearchOptions,
    cache: Option<&LdCache<'_>>,
) -> Result<ImageFile, ErrorKind> {
    let mut tried = Vec::new();
    for candidate in candidates(name, requester, options, cache) {
        let Candidate { path, source } = match candidate {
            Ok(candidate) => candidate,
            Err(refused) => {
                tried.push(refused);
                continue;
            }
        };
        let is_path = source == Source::Path;
        match open(&path) {
            Ok((stamp, bytes)) => match unsuitable(&bytes) {
                Some(outcome) if !is_path => tried.push(Tried { path, source, outcome }),
                _ => return Ok(ImageFile { path, source, tried, stamp, bytes }),
            },
            Err(OpenError::Io(error)) => {
                let outcome = Outcome::from_errno(error.raw_os_error().unwrap_or(0));
                if is_path && !matches!(outcome, Outcome::NotFound) {
                    return Err(ErrorKind::Io { call: "open", path, source: error });
                }
                let ends = outcome.ends_search();
                tried.push(Tried { path, source, outcome });
                if ends {
                    break;
                }
            }
            Err(OpenError::Kind(what)) if is_path => return Err(ErrorKind::NotAnImage(what)),
            Err(OpenError::Kind(_)) => tried.push(Tried { path, source, outcome: Outcome::NotElf }),
        }
    }
    Err(ErrorKind::NotFound { needed_by: None, tried })
}

enum OpenError {
    Io(io::Error),
    Kind(NotAnImage),
}

fn open(path: &Path) -> Result<(FileStamp, FileBytes), OpenError> {
    let file = unix::open(path).map_err(OpenError::Io)?;
    let (stamp, kind) = unix::stat(&file).map_err(OpenError::Io)?;
    match kind {
        FileKind::Folder => return Err(OpenError::Kind(NotAnImage::Folder)),
        FileKind::Other => return Err(OpenError::Kind(NotAnImage::Special)),
        // An empty file cannot be mapped.
        FileKind::Regular if stamp.size == 0 => return Err(OpenError::Kind(NotAnImage::Empty)),
        FileKind::Regular => {}
    }
    let map = unix::map_file(&file, stamp.size).map_err(OpenError::Io)?;
    Ok((stamp, FileBytes { bytes: ImageBytes::Mapped(map), file: Some(file) }))
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
    if now.size != image.stamp.size {
        return Err(ErrorKind::Changed { size: now.size, expected: image.stamp.size });
    }
    Ok(())
}

/// The `DT_RPATH` that counts for the needs of an object's needs: none where it has a `DT_RUNPATH`.
fn chained(paths: &SearchPaths) -> Option<&[u8]> {
    paths.rpath.as_deref().filter(|_| paths.runpath.is_none())
}

/// The folder of an object: what `$ORIGIN` stands for.
fn origin(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    if folder.is_absolute() {
        return Some(folder.to_owned());
    }
    std::path::absolute(folder).ok().or_else(|| std::env::current_dir().ok())
}
