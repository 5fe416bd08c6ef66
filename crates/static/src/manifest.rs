//! What of a `Cargo.toml` matters here.

use crate::{Error, read};
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct File {
    package: Option<Package>,
    lib: Option<Library>,
}

pub(crate) struct Manifest {
    pub(crate) package: Package,
    lib: Library,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Library {
    name: Option<String>,
    path: Option<PathBuf>,
    // Cargo took this word first, and still does.
    #[serde(alias = "crate_type")]
    crate_type: Option<Vec<String>>,
}

impl Manifest {
    /// `None` for the root of a workspace alone.
    pub(crate) fn read(path: &Path) -> Result<Option<Manifest>, Error> {
        let text = read(path)?;
        let malformed = |what: toml::de::Error| Error::Malformed { path: path.to_owned(), what: what.to_string() };
        let file: File = toml::from_str(&text).map_err(malformed)?;
        Ok(file.package.map(|package| Manifest { package, lib: file.lib.unwrap_or_default() }))
    }

    /// The name by which Rust knows the library.
    pub(crate) fn library(&self) -> String {
        self.lib.name.clone().unwrap_or_else(|| self.package.name.replace('-', "_"))
    }

    /// The root of the library, relative to the manifest.
    pub(crate) fn root(&self) -> PathBuf {
        self.lib.path.clone().unwrap_or_else(|| "src/lib.rs".into())
    }

    /// Whether a program can link it.
    pub(crate) fn is_linkable(&self) -> bool {
        let types = self.lib.crate_type.as_deref();
        types.is_none_or(|types| types.iter().any(|of| matches!(of.as_str(), "lib" | "rlib" | "dylib")))
    }
}
