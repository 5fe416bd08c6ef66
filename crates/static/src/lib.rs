//! The list of plugins that a program links in, written from a folder of their crates.
//!
//! A plugin that is linked in has to be named: what a linker collects by itself, it also drops by itself, without a
//! word. This writes the names. In a program's build script:
//!
//! ```no_run
//! // build.rs of a program with `[build-dependencies] sideload-static = "0.1"`
//! fn main() -> Result<(), sideload_static::Error> {
//!     sideload_static::Plugins::find("plugins")?.emit()
//! }
//! ```
//!
//! ```ignore
//! // main.rs
//! include!(concat!(env!("OUT_DIR"), "/plugins.rs"));
//!
//! let loader = sideload::Loader::new().linked(PLUGINS);
//! let greeter = loader.open_linked("greeter")?;
//! ```
//!
//! Each crate states its items with [`sideload::plugin!`], is built as an `rlib` (beside its `cdylib`), and is a dependency
//! of the program: [`Plugins::dependencies`] has the lines for its `Cargo.toml`. An item that is exported and missing in
//! `plugin!` would be missing in the program alone; that is an [`Error`] here.
//!
//! [`sideload::plugin!`]: https://docs.rs/sideload-plugin
#![forbid(unsafe_code)]

mod items;
mod manifest;

use items::Items;
use manifest::Manifest;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The plugins below a folder, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plugins {
    /// In the order of their names.
    pub plugins: Vec<Plugin>,
    /// Crates below the folder that export nothing.
    pub others: Vec<PathBuf>,
    /// Files and folders that the list depends on: with what is in it, the folder that was searched; of each crate, plugin
    /// or not, the manifest and the folder of its sources.
    pub watched: Vec<PathBuf>,
}

/// A crate that is a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// The name of the package.
    pub name: String,
    /// The name by which Rust knows its library.
    pub library: String,
    /// The static that `plugin!` makes.
    pub list: String,
    /// The crate's folder.
    pub folder: PathBuf,
    /// Its items, as `plugin!` lists them.
    pub items: Vec<String>,
}

/// Why no list can be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Something that is exported would be missing.
    #[error("{path}: `{missing}` is exported, and missing in `sideload::plugin!(pub {list}: {listed})`")]
    NotListed {
        /// The file with `plugin!`, or the one that should have it.
        path: PathBuf,
        /// What is exported.
        missing: String,
        /// The static.
        list: String,
        /// What is listed.
        listed: String,
    },
    /// The crate exports items and has no list.
    #[error("{path}: add `sideload::plugin!(pub PLUGIN: {items});` for what the crate exports")]
    NoList {
        /// The crate's root.
        path: PathBuf,
        /// What is exported.
        items: String,
    },
    /// The crate cannot be linked into a program.
    #[error("{path}: a crate that is linked into a program is an rlib: `[lib] crate-type = [\"cdylib\", \"rlib\"]`")]
    NotLinkable {
        /// The manifest.
        path: PathBuf,
    },
    /// Two crates of one name.
    #[error("{one} and {two} are both called `{name}`")]
    Twice {
        /// Their name.
        name: String,
        /// One folder.
        one: PathBuf,
        /// The other one.
        two: PathBuf,
    },
}

impl Error {
    fn file(path: &Path, source: io::Error) -> Error {
        Error::File { path: path.to_owned(), source }
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::file(path, source))
}

impl Plugins {
    /// Finds the crates right below a folder; the folder itself, if it is a crate.
    ///
    /// # Errors
    /// Any [`Error`]: a list that leaves something out would not be noticed before somebody misses it.
    pub fn find(folder: impl AsRef<Path>) -> Result<Plugins, Error> {
        let folder = folder.as_ref();
        let mut crates = vec![folder.to_owned()];
        let mut found = Plugins::default();
        if !folder.join("Cargo.toml").is_file() {
            // A new crate makes its folder newer. A folder that is a crate is not watched as a whole, since what is built
            // may lie in it.
            found.watched.push(folder.to_owned());
            let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let entries = entries.map_err(|source| Error::file(folder, source))?;
            crates = entries.iter().map(fs::DirEntry::path).filter(|path| path.join("Cargo.toml").is_file()).collect();
            crates.sort();
        }
        for folder in crates {
            match Plugin::read(&folder, &mut found.watched)? {
                Some(plugin) => found.plugins.push(plugin),
                None => found.others.push(folder),
            }
        }
        found.plugins.sort_by(|one, two| one.library.cmp(&two.library));
        if let Some([one, two]) = found.plugins.windows(2).find(|pair| pair[0].library == pair[1].library) {
            return Err(Error::Twice { name: one.name.clone(), one: one.folder.clone(), two: two.folder.clone() });
        }
        Ok(found)
    }

    /// The Rust source of the list: a static `PLUGINS`, for `Loader::linked`.
    pub fn source(&self) -> String {
        let mut text = String::from(
            "/// The plugins that are linked into this program: for `sideload::Loader::linked`.\n\
             pub static PLUGINS: &[&sideload::abi::LinkedPlugin] = &[\n",
        );
        for plugin in &self.plugins {
            let _ = writeln!(text, "    &::{}::{}, // {}", plugin.library, plugin.list, plugin.items.join(", "));
        }
        text.push_str("];\n");
        text
    }

    /// The lines for `[dependencies]` of a program whose `Cargo.toml` is in `folder`.
    pub fn dependencies(&self, folder: impl AsRef<Path>) -> String {
        let folder = folder.as_ref().canonicalize().unwrap_or_else(|_| folder.as_ref().to_owned());
        let line = |plugin: &Plugin| {
            let path = plugin.folder.canonicalize().unwrap_or_else(|_| plugin.folder.clone());
            let path = between(&folder, &path).display().to_string();
            format!("{} = {{ path = {path:?} }}\n", plugin.name)
        };
        self.plugins.iter().map(line).collect()
    }

    /// Writes the list to `$OUT_DIR/plugins.rs`, and tells Cargo what it depends on: for build scripts.
    ///
    /// # Errors
    /// The file cannot be written, or this is no build script.
    pub fn emit(&self) -> Result<(), Error> {
        let folder = std::env::var_os("OUT_DIR").map(PathBuf::from);
        let no_folder = || io::Error::other("OUT_DIR is not set: this is for build scripts");
        let folder = folder.ok_or_else(|| Error::file(Path::new("plugins.rs"), no_folder()))?;
        let path = folder.join("plugins.rs");
        fs::write(&path, self.source()).map_err(|source| Error::file(&path, source))?;
        for path in &self.watched {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        Ok(())
    }
}

/// The path that leads from one folder to another, both from the root.
fn between(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(one, two)| one == two).count();
    let up = from.components().skip(common).map(|_| Path::new(".."));
    up.chain(to.components().skip(common).map(|part| Path::new(part.as_os_str()))).collect()
}

impl Plugin {
    fn read(folder: &Path, watched: &mut Vec<PathBuf>) -> Result<Option<Plugin>, Error> {
        let path = folder.join("Cargo.toml");
        watched.push(path.clone());
        let Some(manifest) = Manifest::read(&path)? else { return Ok(None) };
        let root = folder.join(manifest.root());
        // Cargo takes what is not there for what has changed, at each build.
        watched.extend(root.ancestors().skip(1).find(|above| above.is_dir()).map(Path::to_owned));
        let items = Items::read(&root)?;
        let Some(list) = items.list else {
            return match items.exported.is_empty() {
                true => Ok(None),
                false => Err(Error::NoList { path: root, items: items.exported.join(", ") }),
            };
        };
        let last = |path: &str| path.rsplit("::").next().map(str::trim).unwrap_or_default().to_owned();
        let listed: Vec<String> = list.items.iter().map(|item| last(item)).collect();
        if let Some(missing) = items.exported.iter().find(|item| !listed.contains(item)) {
            let (missing, listed) = (missing.clone(), list.items.join(", "));
            return Err(Error::NotListed { path: root, missing, list: list.name, listed });
        }
        if !manifest.is_linkable() {
            return Err(Error::NotLinkable { path });
        }
        let (name, library) = (manifest.package.name.clone(), manifest.library());
        Ok(Some(Plugin { name, library, list: list.name, folder: folder.to_owned(), items: list.items }))
    }
}
