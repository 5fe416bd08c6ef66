//! From a library to its [`Abi`]: its exported symbols, and what its debug information says of each.

use crate::debug_file::{self, Search};
use crate::dwarf;
use crate::error::{Error, Unverifiable};
use crate::model::{Abi, CType, Evidence, Exported, FORMAT};
use crate::sidecar::{hex, sha256};
use sideload::plan;
use sideload::symbol::SymbolKind;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// A symbol that is looked for in the debug information.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) vm: u64,
    pub(crate) is_function: bool,
}

/// A library's file.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a> {
    pub(crate) path: &'a Path,
    pub(crate) bytes: &'a [u8],
    pub(crate) build_id: Option<&'a [u8]>,
}

impl Abi {
    /// Reads what a library's debug information says of what it exports, wherever `search` finds it. Without any, the
    /// names are there, and [`Abi::evidence`] is `None`.
    ///
    /// # Errors
    /// A file that cannot be read, and a library or debug information that is damaged.
    pub fn read(library: impl AsRef<Path>, search: &Search) -> Result<Abi, Error> {
        let path = library.as_ref();
        let bytes = fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Abi::of_bytes(path, &bytes, search)
    }

    /// The same of a library whose bytes are at hand.
    ///
    /// # Errors
    /// As [`Abi::read`].
    pub fn of_bytes(path: &Path, bytes: &[u8], search: &Search) -> Result<Abi, Error> {
        let plan = plan::plan(bytes, &path.to_string_lossy())?;
        let blame = |kind: sideload::ErrorKind| kind.at(path.to_string_lossy(), sideload::Stage::Plan);
        let mut exports = BTreeMap::new();
        // By name, where those of that name are in the list: the default version takes the place of others.
        let mut wanted: Vec<Option<Wanted>> = Vec::new();
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        let symbols = plan.symbols(bytes).map_err(blame)?;
        let listed = symbols.exports(|export| {
            let name = String::from_utf8_lossy(export.name).into_owned();
            if export.version.is_some() && !export.default_version && exports.contains_key(&name) {
                return;
            }
            let exported = match export.kind {
                SymbolKind::Ifunc => Exported::Indirect,
                // A version's own name is no variable.
                SymbolKind::Absolute => return,
                kind => {
                    let is_function = kind == SymbolKind::Code;
                    let places = places.entry(name.clone()).or_default();
                    if export.default_version {
                        places.drain(..).for_each(|at| wanted[at] = None);
                    }
                    places.push(wanted.len());
                    wanted.push(Some(Wanted { name: name.clone(), vm: export.vm.0, is_function }));
                    Exported::Unknown
                }
            };
            exports.insert(name, exported);
        });
        listed.map_err(blame)?;
        let wanted: Vec<Wanted> = wanted.into_iter().flatten().collect();
        let image = Image { path, bytes, build_id: plan.build_id.as_deref() };
        let mut abi = described(&image, search, &wanted)?.unwrap_or_else(|_| empty(&image));
        abi.unite();
        abi.sha256 = sha256(bytes);
        for (name, exported) in exports {
            abi.exports.entry(name).or_insert(exported);
        }
        Ok(abi)
    }
}

fn empty(image: &Image<'_>) -> Abi {
    Abi {
        format: FORMAT,
        library: image.path.to_owned(),
        build_id: image.build_id.map(hex),
        // Reading all of a large library takes longer than anything else here, so who needs it computes it.
        sha256: String::new(),
        evidence: None,
        exports: BTreeMap::new(),
        types: vec![CType::Void],
    }
}

/// What is known of the symbols that are wanted; the inner error says why nothing is.
pub(crate) fn described(
    image: &Image<'_>,
    search: &Search,
    wanted: &[Wanted],
) -> Result<Result<Abi, Unverifiable>, Error> {
    let mut tried: Vec<PathBuf> = Vec::new();
    if let Some(file) = debug_file::find(search, image.path, image.bytes, &mut tried)? {
        let read = dwarf::read(&file, wanted)?;
        if read.exports.is_empty() && !read.missing.is_empty() {
            return Ok(Err(Unverifiable::Split { file: file.path, missing: read.missing }));
        }
        let (exports, types) = (read.exports, read.types);
        return Ok(Ok(Abi { evidence: Some(file.evidence), exports, types, ..empty(image) }));
    }
    let path = search.sidecar_of(image.path);
    match Abi::find_sidecar(&path)? {
        Some(abi) if abi.is_of(image.build_id, image.bytes) => {
            Ok(Ok(Abi { evidence: Some(Evidence::Sidecar(path)), ..abi }))
        }
        _ => {
            tried.push(path);
            Ok(Err(Unverifiable::NoDebugInformation { tried }))
        }
    }
}
