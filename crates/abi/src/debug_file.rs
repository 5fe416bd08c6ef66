//! Where the debug information of a library is: in it, beside it, or where distributions put it.
//!
//! Debug information of another build is worse than none, so a file counts only if its build id is the library's, or,
//! for `.gnu_debuglink`, its checksum the one that the library states.

use crate::error::Error;
use crate::model::Evidence;
use crate::sidecar::sidecar_path;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};
use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// More than the debug information of anything that exists; a compressed section that claims more is damaged.
const MAX_SECTION: u64 = 4 << 30;

/// Where to look for debug information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    folders: Vec<PathBuf>,
    sidecar: Option<PathBuf>,
}

impl Default for Search {
    /// `/usr/lib/debug`, and the sidecar beside the library.
    fn default() -> Search {
        Search { folders: vec!["/usr/lib/debug".into()], sidecar: None }
    }
}

impl Search {
    /// Adds a folder of separate debug files, to be looked at before those that were given earlier.
    #[must_use]
    pub fn debug_folder(mut self, folder: impl Into<PathBuf>) -> Search {
        self.folders.insert(0, folder.into());
        self
    }

    /// Uses that sidecar instead of the one beside the library.
    #[must_use]
    pub fn sidecar(mut self, path: impl Into<PathBuf>) -> Search {
        self.sidecar = Some(path.into());
        self
    }

    pub(crate) fn sidecar_of(&self, library: &Path) -> PathBuf {
        self.sidecar.clone().unwrap_or_else(|| sidecar_path(library))
    }
}

/// A file with debug information, and the one that it shares parts of it with (`dwz`).
pub(crate) struct DebugFile<'a> {
    pub(crate) evidence: Evidence,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) supplement: Option<(PathBuf, Vec<u8>)>,
}

/// Finds the debug information of the library at `path`; `tried` gets the places where there was none.
pub(crate) fn find<'a>(
    search: &Search,
    path: &Path,
    bytes: &'a [u8],
    tried: &mut Vec<PathBuf>,
) -> Result<Option<DebugFile<'a>>, Error> {
    tried.push(path.to_owned());
    let library = parse(path, bytes)?;
    let mut found = None;
    if has_debug_information(&library) {
        found = Some((Evidence::Library, path.to_owned(), Cow::Borrowed(bytes)));
    }
    let mut ask = |file: PathBuf, fits: &dyn Fn(&[u8]) -> bool| -> Result<(), Error> {
        if found.is_none() {
            tried.push(file.clone());
            if let Some(bytes) = read(&file)?.filter(|bytes| fits(bytes)) {
                found = Some((Evidence::DebugFile(file.clone()), file, Cow::Owned(bytes)));
            }
        }
        Ok(())
    };
    if let Some(id) = build_id(&library) {
        for folder in &search.folders {
            if let Some(name) = build_id_path(id) {
                ask(folder.join(name), &|bytes| has_build_id(bytes, id))?;
            }
        }
    }
    if let Ok(Some((name, sum))) = library.gnu_debuglink() {
        for file in linked_paths(search, path, name) {
            ask(file, &|bytes| crc32fast::hash(bytes) == sum)?;
        }
    }
    let Some((evidence, path, bytes)) = found else { return Ok(None) };
    let supplement = supplement(search, &path, &bytes)?;
    Ok(Some(DebugFile { evidence, path, bytes, supplement }))
}

/// As `debug_file_directory` of gdb has it: `.build-id/ab/cdef….debug`.
fn build_id_path(id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = id.split_first()?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!(".build-id/{first:02x}/{rest}.debug").into())
}

/// Beside the library, in `.debug` below it, and under the folders by the library's own path.
fn linked_paths(search: &Search, library: &Path, name: &[u8]) -> Vec<PathBuf> {
    // A name with a folder in it would lead elsewhere.
    let Some(name) = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains('/')) else {
        return Vec::new();
    };
    let library = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let folder = library.parent().unwrap_or(Path::new("."));
    let mut paths = vec![folder.join(name), folder.join(".debug").join(name)];
    let below = folder.strip_prefix("/").unwrap_or(folder);
    paths.extend(search.folders.iter().map(|debug| debug.join(below).join(name)));
    // A file that names itself has no debug information, or it would not be looked for.
    paths.retain(|path| *path != library);
    paths
}

/// The file that `dwz` moved common parts into.
fn supplement(search: &Search, path: &Path, bytes: &[u8]) -> Result<Option<(PathBuf, Vec<u8>)>, Error> {
    let file = parse(path, bytes)?;
    let Ok(Some((name, id))) = file.gnu_debugaltlink() else { return Ok(None) };
    let mut places: Vec<PathBuf> = Vec::new();
    if let Ok(name) = std::str::from_utf8(name) {
        let folder = path.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()));
        places.push(folder.unwrap_or_default().join(name));
    }
    if let Some(name) = build_id_path(id) {
        places.extend(search.folders.iter().map(|folder| folder.join(&name)));
    }
    for place in &places {
        if let Some(bytes) = read(place)?.filter(|bytes| has_build_id(bytes, id)) {
            return Ok(Some((place.clone(), bytes)));
        }
    }
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    Err(Error::damaged(path, format!("the file that it shares types with is missing: {}", places.join(", "))))
}

/// The file that a unit of `debug` was split off to: where it was compiled, or else beside `debug`. If there is none, the
/// place where it should be.
pub(crate) fn find_split(
    debug: &Path,
    folder: &Path,
    name: &Path,
) -> Result<Result<(PathBuf, Vec<u8>), PathBuf>, Error> {
    let compiled = folder.join(name);
    let beside = name.file_name().map(|name| debug.with_file_name(name));
    for path in std::iter::once(&compiled).chain(&beside) {
        // What a file names may be anything, a device too.
        if path.metadata().is_ok_and(|about| about.is_file())
            && let Some(bytes) = read(path)?
        {
            return Ok(Ok((path.clone(), bytes)));
        }
    }
    Ok(Err(compiled))
}

/// The package of what was split off, beside the file: its name with `.dwp` behind it, also in place of `.debug`.
pub(crate) fn find_package(debug: &Path) -> Result<Option<(PathBuf, Vec<u8>)>, Error> {
    let with = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dwp");
        PathBuf::from(name)
    };
    let stripped = debug.extension().is_some_and(|extension| extension == "debug").then(|| debug.with_extension(""));
    for path in std::iter::once(with(debug)).chain(stripped.map(|path| with(&path))) {
        if path.metadata().is_ok_and(|about| about.is_file())
            && let Some(bytes) = read(&path)?
        {
            return Ok(Some((path, bytes)));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

pub(crate) type Elf<'a> = ElfFile64<'a>;

/// Only the form of what this library runs: 64 bits.
pub(crate) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Elf<'a>, Error> {
    Elf::parse(bytes).map_err(|error| Error::damaged(path, error))
}

fn build_id<'a>(file: &Elf<'a>) -> Option<&'a [u8]> {
    file.build_id().ok().flatten()
}

fn has_build_id(bytes: &[u8], id: &[u8]) -> bool {
    Elf::parse(bytes).is_ok_and(|file| build_id(&file) == Some(id))
}

fn has_debug_information(file: &Elf<'_>) -> bool {
    file.section_by_name(".debug_info").is_some_and(|section| section.size() > 0)
}

/// The contents of a section, made whole if they are compressed; empty if there is none. A file that no linker has seen may
/// have several of one name (units of types, each in a group of its own), which are put one behind the other.
pub(crate) fn section<'a>(path: &Path, file: &Elf<'a>, name: &str) -> Result<Cow<'a, [u8]>, Error> {
    let wrong = |what: &dyn std::fmt::Display| Error::damaged(path, format!("section {name}: {what}"));
    let mut whole = Cow::Borrowed(&[][..]);
    let mut size = 0u64;
    for section in file.sections().filter(|section| section_name(section, name)) {
        let data = section.compressed_data().map_err(|error| wrong(&error))?;
        size = size.saturating_add(data.uncompressed_size);
        if size > MAX_SECTION {
            return Err(wrong(&format!("it claims to hold {size} bytes")));
        }
        let part = data.decompress().map_err(|error| wrong(&error))?;
        if whole.is_empty() {
            whole = part;
        } else {
            whole.to_mut().extend_from_slice(&part);
        }
    }
    Ok(whole)
}

/// As `object` compares it: `.zdebug_info` is the old name of a compressed `.debug_info`.
fn section_name<'a>(section: &impl ObjectSection<'a>, name: &str) -> bool {
    let is_old =
        |found: &str| name.strip_prefix(".debug_").is_some_and(|name| found.strip_prefix(".zdebug_") == Some(name));
    section.name().is_ok_and(|found| found == name || is_old(found))
}
