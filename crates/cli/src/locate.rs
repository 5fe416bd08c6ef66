//! From LIB to a file and its plan, for the verbs that look at one image and load nothing.
//!
//! Invariant: a file is mapped for reading, privately, and the mapping lives as long as what borrows from it. Another
//! process that cuts the file off meanwhile can end this one by SIGBUS; a program that only shows files may take that.

use crate::failure::Failure;
use memmap2::Mmap;
use sideload::ldcache::LdCache;
use sideload::link::{FileBytes, ImageBytes};
use sideload::plan::{self, LoadPlan, Machine};
use sideload::search::{Candidate, Outcome, Requester, Route, SearchOptions, Tried, candidates, parse_library_path};
use sideload::{ErrorKind, Source, Stage};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, io};

const CACHE: &str = "/etc/ld.so.cache";

/// A file and its plan.
pub(crate) struct Planned {
    pub(crate) path: PathBuf,
    pub(crate) bytes: FileBytes,
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
    read_for(path, None)
}

/// The same for the processor of that name, where the file holds several images.
pub(crate) fn read_for(path: &Path, arch: Option<&str>) -> Result<Planned, Failure> {
    let bytes = map(path).map_err(|error| Failure::file(path, error))?;
    let plan = plan::plan_for(&bytes, &path.to_string_lossy(), arch)?;
    let bytes = FileBytes { bytes: ImageBytes::Mapped(bytes), file: None, offset: 0, file_size: 0 };
    Ok(Planned { path: path.to_owned(), bytes, plan })
}

/// What LIB stands for: a name or a path, `-` for standard input, `fd:N` for an open file, `FILE!/MEMBER` for the member
/// of an archive, `FILE!+OFFSET` for the rest of a file. A file of just that name goes first.
pub(crate) fn source(lib: &OsStr) -> Result<Source, Failure> {
    let name = || Ok(Source::from(lib));
    let Some(text) = lib.to_str().filter(|text| !Path::new(text).exists()) else { return name() };
    if text == "-" {
        return standard_input();
    }
    if let Some(number) = text.strip_prefix("fd:") {
        return descriptor(lib, number.parse().map_err(|_| Failure::Usage(format!("{text}: no number after fd:")))?);
    }
    match text.split_once('!') {
        Some((archive, member)) if member.starts_with('/') => Ok(Source::member(archive, &member[1..])),
        Some((file, offset)) if offset.starts_with('+') => {
            let offset = &offset[1..];
            let number = match offset.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => offset.parse(),
            };
            let number = number.map_err(|_| Failure::Usage(format!("{text}: {offset} is no offset")))?;
            Ok(Source::path(file).part(number..))
        }
        _ => name(),
    }
}

/// It can be read once, and is asked for by each stage.
fn standard_input() -> Result<Source, Failure> {
    static READ: OnceLock<Source> = OnceLock::new();
    if let Some(source) = READ.get() {
        return Ok(source.clone());
    }
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).map_err(|error| Failure::file(Path::new("-"), error))?;
    Ok(READ.get_or_init(|| Source::bytes("-", bytes)).clone())
}

/// Opened anew, since the descriptor itself is whoever's it was.
fn descriptor(lib: &OsStr, number: u32) -> Result<Source, Failure> {
    let file = File::open(format!("/dev/fd/{number}")).map_err(|error| Failure::file(Path::new(lib), error))?;
    Ok(Source::file(lib, file))
}

/// Reads and plans what [`source`] says that LIB is, unless it is a name to be searched for.
fn given(lib: &OsStr) -> Result<Option<Planned>, Failure> {
    let source = source(lib)?;
    if source.is_name() {
        return Ok(None);
    }
    let file = source.read()?;
    let plan = plan::plan(&file.bytes, &file.path.to_string_lossy())?;
    Ok(Some(Planned { path: file.path, bytes: file.bytes, plan }))
}

/// Reads and plans FILE, a path or another of the forms that [`source`] knows.
pub(crate) fn file(file: &OsStr) -> Result<Planned, Failure> {
    match given(file)? {
        Some(planned) => Ok(planned),
        None => read(Path::new(file)),
    }
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
    if let Some(planned) = given(name)? {
        return Ok(planned);
    }
    let cache = fs::read(CACHE).unwrap_or_default();
    let cache = LdCache::parse(&cache).ok();
    let options = options();
    let mut tried = Vec::new();
    for candidate in candidates(name.as_bytes(), &Requester::default(), &options, cache.as_ref()) {
        let Candidate { path, source } = match candidate {
            Ok(candidate) if candidate.source == Route::Path => return read(&candidate.path),
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
