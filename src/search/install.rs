//! Where the library of an install name may lie (dyld(1)).
//!
//! `@loader_path` is the folder of the image that asks, `@executable_path` that of the program, and `@rpath` stands for
//! each `LC_RPATH` in turn: those of the image that asks, then those of the image that asked for it, up to the one that
//! was opened. An `LC_RPATH` may itself begin with `@loader_path`, which is then the folder of the image that says so.
//! What is not found there is looked for by its last component in the caller's library path, as dyld does with
//! `DYLD_FALLBACK_LIBRARY_PATH`.

use super::{Candidate, Route};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One image of the chain that leads to a need: the one that asks first, the one that was opened last.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Its name, for the error.
    pub name: &'a str,
    /// The folder it was loaded from.
    pub folder: Option<&'a Path>,
    /// Its `LC_RPATH`s.
    pub run_paths: &'a [Vec<u8>],
}

/// The paths to try for `install_name`, in order.
pub fn install_candidates(
    install_name: &[u8],
    askers: &[Asker<'_>],
    program: Option<&Path>,
    library_path: &[PathBuf],
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let folder = askers.first().and_then(|asker| asker.folder);
    if let Some(rest) = install_name.strip_prefix(b"@rpath/") {
        for asker in askers {
            for run_path in asker.run_paths {
                let source = Route::RunPath { of: asker.name.to_owned() };
                let start = expand(run_path, asker.folder, program);
                candidates.extend(start.map(|start| Candidate { path: start.join(OsStr::from_bytes(rest)), source }));
            }
        }
    } else if let Some(path) = expand(install_name, folder, program) {
        candidates.push(Candidate { path, source: Route::InstallName });
    }
    let last = install_name.rsplit(|&byte| byte == b'/').next().unwrap_or(install_name);
    let in_folder =
        |folder: &PathBuf| Candidate { path: folder.join(OsStr::from_bytes(last)), source: Route::LibraryPath };
    candidates.extend(library_path.iter().map(in_folder));
    candidates
}

/// A path with its first component in place; `None` where that is not known.
fn expand(path: &[u8], folder: Option<&Path>, program: Option<&Path>) -> Option<PathBuf> {
    let under = |start: Option<&Path>, rest: &[u8]| {
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        Some(start?.join(OsStr::from_bytes(rest)))
    };
    if let Some(rest) = path.strip_prefix(b"@loader_path") {
        return under(folder, rest);
    }
    if let Some(rest) = path.strip_prefix(b"@executable_path") {
        return under(program, rest);
    }
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_paths_are_those_of_the_chain() {
        let paths = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        let (inner, outer) = (paths(&["@loader_path/../lib", "/opt/x"]), paths(&["@executable_path/y"]));
        let askers = [
            Asker { name: "inner", folder: Some(Path::new("/a/b")), run_paths: &inner },
            Asker { name: "outer", folder: Some(Path::new("/c")), run_paths: &outer },
        ];
        let found = |name: &str, library_path: &[PathBuf]| {
            let candidates = install_candidates(name.as_bytes(), &askers, Some(Path::new("/bin")), library_path);
            candidates.into_iter().map(|candidate| candidate.path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("@rpath/z.dylib", &[]), ["/a/b/../lib/z.dylib", "/opt/x/z.dylib", "/bin/y/z.dylib"]);
        assert_eq!(found("@loader_path/z.dylib", &[]), ["/a/b/z.dylib"]);
        assert_eq!(found("@executable_path/z.dylib", &[]), ["/bin/z.dylib"]);
        assert_eq!(found("/opt/z.dylib", &["/l".into()]), ["/opt/z.dylib", "/l/z.dylib"]);
    }
}
