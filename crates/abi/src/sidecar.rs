//! The sidecar: what the debug information says, in a file that can be shipped with a stripped library.

use crate::error::Error;
use crate::model::{Abi, CType, FORMAT, Function, TypeId};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the sidecar of a library is: `LIBRARY.abi.json`.
pub fn sidecar_path(library: &Path) -> PathBuf {
    let mut path = library.as_os_str().to_owned();
    path.push(".abi.json");
    path.into()
}

/// In hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Abi {
    /// Reads a sidecar.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn read_sidecar(path: impl AsRef<Path>) -> Result<Abi, Error> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Abi::parse(path, &text)
    }

    /// Reads a sidecar, if there is one.
    pub(crate) fn find_sidecar(path: &Path) -> Result<Option<Abi>, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Abi::parse(path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path: path.to_owned(), source }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Abi, Error> {
        let abi: Abi = serde_json::from_str(text).map_err(|error| Error::damaged(path, error))?;
        if abi.format != FORMAT {
            return Err(Error::damaged(path, format!("a sidecar of format {}, not {FORMAT}", abi.format)));
        }
        if !abi.leads_everywhere() {
            return Err(Error::damaged(path, "a type refers to one that is not there"));
        }
        Ok(abi)
    }

    /// The document that [`Abi::read_sidecar`] reads.
    ///
    /// # Errors
    /// Never: the form can be written.
    pub fn to_json(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Whether it is about the library of that build id, or of those bytes if there is no build id.
    pub(crate) fn is_of(&self, build_id: Option<&[u8]>, bytes: &[u8]) -> bool {
        match (&self.build_id, build_id) {
            (Some(known), Some(id)) => *known == hex(id),
            (None, None) => self.sha256 == sha256(bytes),
            _ => false,
        }
    }

    fn leads_everywhere(&self) -> bool {
        use crate::model::Exported;
        let is_there = |id: TypeId| (id.0 as usize) < self.types.len();
        let function = |function: &Function| {
            is_there(function.result) && function.parameters.iter().all(|parameter| is_there(parameter.of))
        };
        let exports = self.exports.values().all(|exported| match exported {
            Exported::Function(of) => function(of),
            Exported::Variable(of) => is_there(*of),
            Exported::Indirect | Exported::Unknown => true,
        });
        exports
            && self.types.iter().all(|of| match of {
                CType::Pointer { to: of }
                | CType::Array { of, .. }
                | CType::Alias { of, .. }
                | CType::Qualified { of, .. } => is_there(*of),
                CType::Struct { fields, .. } | CType::Union { fields, .. } => {
                    fields.iter().all(|field| is_there(field.of))
                }
                CType::Function { function: of } => function(of),
                _ => true,
            })
    }
}
