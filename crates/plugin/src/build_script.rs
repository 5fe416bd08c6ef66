//! For a plugin's build script: states what no macro can see, so that a host can compare it.
//!
//! ```no_run
//! // In `main` of a plugin's build.rs:
//! sideload_plugin::build_script::Facts::new().allocator("mimalloc").shared("greeter-api", "../greeter-api").emit();
//! ```

use std::io;
use std::path::{Path, PathBuf};

/// What a build script knows of its crate.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    rows: Vec<(String, String)>,
    watched: Vec<PathBuf>,
}

impl Facts {
    /// The crate's features, sorted, as Cargo tells its build script.
    pub fn new() -> Facts {
        let enabled = std::env::vars().filter_map(|(key, _)| key.strip_prefix("CARGO_FEATURE_").map(str::to_lowercase));
        let mut features: Vec<String> = enabled.filter(|feature| feature != "default").collect();
        features.sort();
        Facts { rows: vec![("features".into(), features.join(","))], watched: Vec::new() }
    }

    /// Names the global allocator, if it is not the standard library's.
    #[must_use]
    pub fn allocator(self, name: &str) -> Facts {
        self.row("allocator", name)
    }

    /// A row of your own. Neither part may hold a line break, nor the key a `=`.
    #[must_use]
    pub fn row(mut self, key: &str, value: &str) -> Facts {
        let clean = |text: &str| text.replace(['\n', '\r'], " ");
        self.rows.push((clean(key).replace('=', "-"), clean(value)));
        self
    }

    /// States the sources of a crate that plugin and host share: a hash over its `Cargo.toml` and everything in `src`.
    #[must_use]
    pub fn shared(mut self, name: &str, folder: impl AsRef<Path>) -> Facts {
        let folder = folder.as_ref();
        let hash = hash_of(folder).map_or_else(|error| format!("unreadable: {error}"), |hash| format!("{hash:016x}"));
        self.watched.push(folder.to_owned());
        self.row(&format!("shared-{name}"), &hash)
    }

    /// The rows as lines `key=value`.
    pub fn lines(&self) -> String {
        self.rows.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    /// Writes the rows where the macros find them, and tells Cargo what they depend on.
    pub fn emit(&self) {
        println!("cargo::rerun-if-changed=build.rs");
        for folder in &self.watched {
            println!("cargo::rerun-if-changed={}", folder.display());
        }
        // A value of `rustc-env` is one line; the macros' side takes `\x1f` for a line break.
        println!("cargo::rustc-env=SIDELOAD_FACTS={}", self.lines().trim_end().replace('\n', "\x1f"));
    }
}

/// FNV-1a over names and contents, in the order of the names: the same on every machine.
fn hash_of(folder: &Path) -> io::Result<u64> {
    let mut files = vec![folder.join("Cargo.toml")];
    let mut folders = vec![folder.join("src")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        add(name.as_os_str().as_encoded_bytes());
        add(&std::fs::read(&file)?);
    }
    Ok(hash)
}
