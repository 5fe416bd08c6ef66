//! From LIB to a file and its plan, for the verbs that look at one image and load nothing.
//!
//! Invariant: a file is mapped for reading, privately, and the mapping lives as long as what borrows from it. Another
//! process that cuts the file off meanwhile can end this one by SIGBUS; a program that only shows files may take that.

use crate::failure::Failure;
use memmap2::Mmap;
use sideload::ldcache::LdCache;
use sideload::plan::{self, LoadPlan, Machine};
use sideload::search::{Candidate, Outcome, Requester, SearchOptions, Source, Tried, candidates, parse_library_path};
use sideload::{ErrorKind, Stage};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, io};

const CACHE: &str = "/etc/ld.so.cache";

/// A file and its plan.
pub(crate) struct Planned {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Mmap,
    pub(crate) plan: LoadPlan,
}

impl Planned {
    /// Completes an error that has no module yet.
    pub(crate) fn blame(&self, kind: ErrorKind) -> Failure {
        Failure::Refused(kind.at(self.path.to_string_lossy(), Stage::Plan))
    }
}

/// Reads the file at `path` and plans it.
pub(crate) fn read(path: &Path) -> Result<Planned, Failure> {
    let bytes = map(path).map_err(|error| Failure::file(path, error))?;
    let plan = plan::plan(&bytes, &path.to_string_lossy())?;
    Ok(Planned { path: path.to_owned(), bytes, plan })
}

/// Maps a file; an empty one too, which the plan stage then refuses by name.
fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // Opening a folder works, and mapping it fails in words that tell nobody anything.
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // SAFETY: nobody writes to the mapping; see above for who may write to the file.
    unsafe { Mmap::map(&file) }
}

/// Where names are searched: as the system's loader does, `LD_LIBRARY_PATH` included.
pub(crate) fn options() -> SearchOptions {
    let mut options = SearchOptions::host();
    if let Some(text) = env::var_os("LD_LIBRARY_PATH") {
        options.library_path = parse_library_path(text.as_bytes(), None, &options);
    }
    options
}

/// Finds what a loader would open for `name`: a path alone, or the first candidate that is meant for this machine.
pub(crate) fn find(name: &OsStr) -> Result<Planned, Failure> {
    let cache = fs::read(CACHE).unwrap_or_default();
    let cache = LdCache::parse(&cache).ok();
    let options = options();
    let mut tried = Vec::new();
    for candidate in candidates(name.as_bytes(), &Requester::default(), &options, cache.as_ref()) {
        let Candidate { path, source } = match candidate {
            Ok(candidate) if candidate.source == Source::Path => return read(&candidate.path),
            Ok(candidate) => candidate,
            Err(passed_over) => {
                tried.push(passed_over);
                continue;
            }
        };
        let outcome = match read(&path) {
            Ok(planned) if Some(planned.plan.machine) == Machine::HOST => return Ok(planned),
            Ok(_) => Outcome::WrongMachine,
            Err(Failure::Refused(error)) => match error.kind() {
                ErrorKind::WrongTarget { field: "EI_CLASS", .. } => Outcome::WrongClass,
                ErrorKind::WrongTarget { field: "e_machine", .. } => Outcome::WrongMachine,
                _ => return Err(Failure::Refused(error)),
            },
            Err(Failure::File { error, .. }) => Outcome::from_errno(error.raw_os_error().unwrap_or(0)),
            Err(other) => return Err(other),
        };
        tried.push(Tried { path, source, outcome });
    }
    Err(Failure::Refused(ErrorKind::NotFound { needed_by: None, tried }.at(name.to_string_lossy(), Stage::Find)))
}
