//! From LIB to a file, for the verbs that look at one image and load nothing.

use crate::failure::Failure;
use sideload::ldcache::LdCache;
use sideload::plan::{self, LoadPlan, Machine};
use sideload::search::{Candidate, Outcome, Requester, SearchOptions, Source, Tried, candidates};
use sideload::{ErrorKind, Stage};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const CACHE: &str = "/etc/ld.so.cache";

/// A file and its plan.
pub(crate) struct Planned {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
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
    let bytes = fs::read(path).map_err(|error| Failure::file(path, error))?;
    let plan = plan::plan(&bytes, &path.to_string_lossy())?;
    Ok(Planned { path: path.to_owned(), bytes, plan })
}

/// Finds what a loader would open for `name`: a path alone, or the first candidate that is meant for this machine.
pub(crate) fn find(name: &OsStr) -> Result<Planned, Failure> {
    let cache = fs::read(CACHE).unwrap_or_default();
    let cache = LdCache::parse(&cache).ok();
    let options = SearchOptions::host();
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
