//! From LIB to a file and its plan, for the verbs that look at one image and load nothing.

use crate::failure::Failure;
use sideload::ldcache::LdCache;
use sideload::link::FileBytes;
use sideload::plan::{self, LoadPlan, Machine};
use sideload::search::{Candidate, Outcome, Requester, Route, SearchOptions, Tried, candidates, parse_library_path};
use sideload::{ErrorKind, Source, Stage};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
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
    let bytes = Source::path(path).read()?.bytes;
    let plan = plan::plan_for(&bytes, &path.to_string_lossy(), arch).map_err(|error| match (error.kind(), arch) {
        (ErrorKind::WrongTarget { field: "architecture", found, .. }, Some(arch)) => {
            Failure::malformed(path, format_args!("plan: has no image for {arch}, but for {found}"))
        }
        _ => Failure::Refused(error),
    })?;
    Ok(Planned { path: path.to_owned(), bytes, plan })
}

/// What LIB stands for: a name or a path, `-` for standard input, `fd:N` for an open file, `FILE!/MEMBER` for the member
/// of an archive, `FILE!+OFFSET` for the rest of a file. A file of just that name goes first.
pub(crate) fn source(lib: &OsStr) -> Result<Source, Failure> {
    if lib.is_empty() {
        return Err(Failure::Usage("LIB is empty".to_owned()));
    }
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
    // A pipe that nobody writes to would block the open.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(format!("/dev/fd/{number}"));
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::malformed(Path::new(lib), "find: no descriptor of that number is open"),
        _ => Failure::file(Path::new(lib), error),
    })?;
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
        None => read(Path::new(file)).map_err(|failure| match failure {
            Failure::Refused(error) if is_absent(&error) && !file.as_bytes().contains(&b'/') => Failure::malformed(
                Path::new(file),
                "find: no such file here; FILE is a path, and `sideload link` says where a name is found",
            ),
            other => other,
        }),
    }
}

fn is_absent(error: &sideload::Error) -> bool {
    matches!(error.kind(), ErrorKind::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
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
                ErrorKind::Io { source, .. } => Outcome::from_errno(source.raw_os_error().unwrap_or(0)),
                ErrorKind::NotAnImage(_) if error.stage() == Stage::Find => Outcome::NotElf,
                _ => return Err(Failure::Refused(error)),
            },
            Err(other) => return Err(other),
        };
        tried.push(Tried { path, source, outcome });
    }
    Err(Failure::Refused(ErrorKind::NotFound { needed_by: None, tried }.at(name.to_string_lossy(), Stage::Find)))
}
