//! Folders under `target/fixtures`, each made once, by whichever process comes first.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns the folder `<name>-<hash of key>`, which `fill` makes if it is not there.
///
/// It is filled under a temporary name and then renamed, so that nobody sees half of it and processes that build the
/// same one at the same time do not disturb each other: the first rename wins, the others throw theirs away.
pub(crate) fn folder(name: &str, key: &impl Hash, fill: impl FnOnce(&Path)) -> PathBuf {
    let root = root();
    let done = root.join(format!("{name}-{:016x}", hash(key)));
    if done.is_dir() {
        return done;
    }
    let temporary = Temporary(root.join(temporary_name(name)));
    create(&temporary.0);
    fill(&temporary.0);
    match fs::rename(&temporary.0, &done) {
        Err(e) if !matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
            panic!("rename {} to {}: {e}", temporary.0.display(), done.display())
        }
        _ => done,
    }
}

/// A folder that is gone at the end, whether it was renamed, came second, or its filling panicked.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove, and in a panic nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Creates a folder and its parents.
pub(crate) fn create(folder: &Path) {
    fs::create_dir_all(folder).unwrap_or_else(|e| panic!("create {}: {e}", folder.display()));
}

fn temporary_name(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(".{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `DefaultHasher` may change between releases of Rust; then everything is built anew, which is all right.
fn hash(key: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// `fixtures` in cargo's target folder.
fn root() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        // Cargo takes a relative one from the folder it was started in, which a test cannot know: the workspace's.
        Some(folder) => workspace().join(folder),
        None => workspace().join("target"),
    };
    target.join("fixtures")
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace's folder")
}
