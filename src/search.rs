//! Where a needed name may lie: the candidate paths, in the order in which they are to be tried. No file is touched.
//!
//! A name with a slash is a path and is tried alone. For any other name the order is (ld.so(8), `_dl_map_new_object`
//! in glibc's `elf/dl-load.c`):
//!
//! 1. `DT_RPATH` of the requester, then of whoever loaded it, up to the executable; none of them if the requester has
//!    a `DT_RUNPATH`, and never that of an object which has one itself
//! 2. the library path (what `LD_LIBRARY_PATH` would say; here the caller's data)
//! 3. `DT_RUNPATH` of the requester alone
//! 4. `ld.so.cache`
//! 5. the default folders
//!
//! In each folder of 1, 2, 3 and 5 the subfolders `glibc-hwcaps/<name>` come first, for the names the caller lists.
//! Not followed are the folders that glibc 2.37 dropped (`tls`, `haswell`, `x86_64`), and `LD_AUDIT`.
//!
//! An element that must not or cannot be tried is still reported, so that an error can say why it was passed over.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::ldcache::{CacheFlags, LdCache};

mod install;
mod tokens;

pub use install::{Asker, install_candidates};
pub use tokens::Token;
use tokens::{as_path, expand, to_path};

/// Whose conventions the default folders follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Linux with glibc: `ld.so.cache`, and Debian's multiarch folders before the others.
    LinuxGnu,
    /// Linux with musl: no cache.
    LinuxMusl,
    /// FreeBSD; what its `ld-elf.so.hints` adds is the caller's to add to the library path.
    FreeBsd,
    /// Any other: the folders of musl.
    Other,
}

impl Os {
    /// The system this was built for.
    pub fn host() -> Self {
        match std::env::consts::OS {
            "linux" if cfg!(target_env = "musl") => Self::LinuxMusl,
            "linux" => Self::LinuxGnu,
            "freebsd" => Self::FreeBsd,
            _ => Self::Other,
        }
    }
}

/// What a search goes by, apart from who asks. Plain data: nothing here is read from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// Folders that go before `DT_RUNPATH`; an empty one is the working folder. See [`parse_library_path`].
    pub library_path: Vec<PathBuf>,
    /// Folders tried last. In a secure process they are also the only ones where `$ORIGIN` may lead.
    pub default_folders: Vec<PathBuf>,
    /// Which entries of `ld.so.cache` to consider; `None`: the cache is not consulted.
    pub cache: Option<CacheFlags>,
    /// `glibc-hwcaps` subfolders this processor may use, best first (`x86-64-v3`). Empty: they are passed over, and
    /// so are the cache's entries for them.
    pub hwcaps: Vec<String>,
    /// What `$PLATFORM` stands for. Empty: not known.
    pub platform: String,
    /// What `$LIB` stands for: `lib/x86_64-linux-gnu` on Debian, `lib64` on most others. Empty: not known.
    pub lib: String,
    /// Whether the process runs with more rights than its user (`AT_SECURE`): then the library path is ignored and
    /// `$ORIGIN` restricted.
    pub secure: bool,
}

impl SearchOptions {
    /// The conventions of the system this was built for.
    pub fn host() -> Self {
        Self::of(Os::host(), std::env::consts::ARCH)
    }

    /// The conventions of `os` on `arch` (named as in [`std::env::consts::ARCH`]).
    pub fn of(os: Os, arch: &str) -> Self {
        // Debian's multiarch triple says i386 for all of 32-bit x86, and powerpc64le for the one that is little.
        let triple = match arch {
            "x86" => "i386-linux-gnu".to_owned(),
            "powerpc64" => "powerpc64le-linux-gnu".to_owned(),
            "arm" => "arm-linux-gnueabihf".to_owned(),
            other => [other, "-linux-gnu"].concat(),
        };
        let folders: &[&str] = match os {
            Os::LinuxGnu => &["/lib64", "/usr/lib64", "/lib", "/usr/lib"],
            Os::LinuxMusl | Os::Other => &["/lib", "/usr/local/lib", "/usr/lib"],
            Os::FreeBsd => &["/lib", "/usr/lib", "/usr/local/lib"],
        };
        let multiarch = ["/lib/", "/usr/lib/"].map(|folder| PathBuf::from([folder, &triple].concat()));
        let multiarch = multiarch.into_iter().filter(|_| os == Os::LinuxGnu);
        Self {
            library_path: Vec::new(),
            default_folders: multiarch.chain(folders.iter().map(PathBuf::from)).collect(),
            cache: CacheFlags::of_arch(arch).filter(|_| os == Os::LinuxGnu),
            hwcaps: Vec::new(),
            platform: arch.to_owned(),
            lib: if os == Os::LinuxGnu { ["lib/", &triple].concat() } else { "lib".to_owned() },
            secure: false,
        }
    }
}

/// Who needs the name. `Requester::default()` is nobody: no origin, no paths of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requester<'a> {
    /// Its name, for the error.
    pub name: &'a str,
    /// The folder it was loaded from: `$ORIGIN`.
    pub origin: Option<&'a Path>,
    /// `DT_RPATH`.
    pub rpath: Option<&'a [u8]>,
    /// `DT_RUNPATH`.
    pub runpath: Option<&'a [u8]>,
    /// `DF_1_NODEFLIB`: not the default folders, nor a cache entry that lies in one.
    pub no_default_folders: bool,
    /// Who loaded it, who loaded that one, and so on; the executable last.
    pub parents: &'a [Parent<'a>],
}

/// One of those through whom a [`Requester`] was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parent<'a> {
    /// Its name, for the error.
    pub name: &'a str,
    /// The folder it was loaded from.
    pub origin: Option<&'a Path>,
    /// Its `DT_RPATH`; `None` also if it has a `DT_RUNPATH` beside it.
    pub rpath: Option<&'a [u8]>,
}

/// A path to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Relative only if what named it is: then it counts from the working folder.
    pub path: PathBuf,
    /// What named it.
    pub source: Route,
}

/// What led to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The name itself, which has a slash.
    Path,
    /// `DT_RPATH` of the named object.
    Rpath {
        /// Whose.
        of: String,
    },
    /// [`SearchOptions::library_path`].
    LibraryPath,
    /// `DT_RUNPATH` of the named object.
    Runpath {
        /// Whose.
        of: String,
    },
    /// An install name (Mach-O).
    InstallName,
    /// `LC_RPATH` of the named image.
    RunPath {
        /// Whose.
        of: String,
    },
    /// `ld.so.cache`.
    Cache,
    /// [`SearchOptions::default_folders`].
    DefaultFolder,
    /// No search: the caller gave bytes, an open file, or a part of one.
    Given,
}

/// A path that was not taken, and why. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The path; with its `$` tokens as written, if they could not be expanded.
    pub path: PathBuf,
    /// What named it.
    pub source: Route,
    /// Why it was passed over.
    pub outcome: Outcome,
}

/// Why a path was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is no such file.
    NotFound,
    /// An ELF file of the other class (32 and 64 bit).
    WrongClass,
    /// An ELF file for another machine.
    WrongMachine,
    /// Not an ELF file at all.
    NotElf,
    /// `ld.so.cache` has no entry of that name for this machine.
    NotListed,
    /// It could not be opened or read, with this `errno`.
    Unreadable(i32),
    /// Not tried: the token stands for nothing here.
    Unknown(Token),
    /// Not tried: the process is a secure one (`AT_SECURE`).
    Secure,
    /// Not tried: it lies in a default folder and the requester has `DF_1_NODEFLIB`.
    NoDefaultFolders,
}

impl Outcome {
    /// What a failed `open` or `read` means here.
    pub fn from_errno(errno: i32) -> Self {
        // ENOENT and ENOTDIR, the same on every Unix.
        if matches!(errno, 2 | 20) { Self::NotFound } else { Self::Unreadable(errno) }
    }

    /// Whether glibc stops the search here (`open_path`, `open_verify`) and reports this as the error: the file is
    /// there and is no ELF file (a linker script named `.so`), or could not be read for another reason than `EACCES`.
    pub fn ends_search(self) -> bool {
        match self {
            Self::NotElf => true,
            Self::Unreadable(errno) => errno != 13,
            _ => false,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("the name is a path"),
            Self::Rpath { of } if of.is_empty() => f.write_str("RPATH"),
            Self::Rpath { of } => write!(f, "RPATH of {of}"),
            Self::LibraryPath => f.write_str("library path"),
            Self::Runpath { of } if of.is_empty() => f.write_str("RUNPATH"),
            Self::Runpath { of } => write!(f, "RUNPATH of {of}"),
            Self::InstallName => f.write_str("install name"),
            Self::RunPath { of } => write!(f, "LC_RPATH of {of}"),
            Self::Cache => f.write_str("ld.so.cache"),
            Self::DefaultFolder => f.write_str("default folder"),
            Self::Given => f.write_str("given by the caller"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found"),
            Self::WrongClass => f.write_str("wrong ELF class"),
            Self::WrongMachine => f.write_str("for another machine"),
            Self::NotElf => f.write_str("not an ELF file"),
            Self::NotListed => f.write_str("not listed"),
            Self::Unreadable(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
            Self::Unknown(token) => write!(f, "not tried: {token} is not known"),
            Self::Secure => f.write_str("not tried in a secure process"),
            Self::NoDefaultFolders => f.write_str("not tried: the requester has DF_1_NODEFLIB"),
        }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.path.display(), self.source, self.outcome)
    }
}

/// The paths to try for `name`, in order; `Err` is a path that is not to be tried, with the reason.
///
/// Lazy: what comes after the candidate that was taken costs nothing. An empty name has no candidates.
pub fn candidates<'a>(
    name: &'a [u8],
    requester: &'a Requester<'a>,
    options: &'a SearchOptions,
    cache: Option<&'a LdCache<'a>>,
) -> impl Iterator<Item = Result<Candidate, Tried>> + 'a {
    let is_path = name.contains(&b'/');
    let alone = is_path.then(|| named_path(name, requester, options));
    let searched = (!is_path && !name.is_empty()).then(|| {
        let rpaths = rpaths(requester).flat_map(|list| list.folders(options));
        let library_path = options.library_path.iter().map(|folder| Folder::library_path(folder, options));
        let runpath = List::runpath(requester).into_iter().flat_map(|list| list.folders(options));
        // Made only when reached: a search of the cache is the dearest step, and RPATH may have answered.
        let cached = std::iter::once_with(move || in_cache(name, requester, options, cache?)).flatten();
        let defaults = options.default_folders.iter().filter(|_| !requester.no_default_folders);
        let defaults = defaults.map(|folder| Folder::new(Cow::Borrowed(folder), Route::DefaultFolder));
        let in_folders = |folder: Folder<'a>| folder.candidates(name, &options.hwcaps);
        let before = rpaths.chain(library_path).chain(runpath).flat_map(in_folders);
        before.chain(cached).chain(defaults.flat_map(in_folders))
    });
    alone.into_iter().chain(searched.into_iter().flatten())
}

/// The folders in the text of an `LD_LIBRARY_PATH`: separated by `:` or `;`, an empty one is the working folder.
///
/// `$ORIGIN` is the executable's folder; an element with a token that is not known is left out. An empty text has no
/// folders.
pub fn parse_library_path(text: &[u8], executable: Option<&Path>, options: &SearchOptions) -> Vec<PathBuf> {
    if text.is_empty() {
        return Vec::new();
    }
    let elements = text.split(|byte| matches!(byte, b':' | b';'));
    elements.filter_map(|element| expand(element, executable, options).ok()).map(|path| to_path(&path)).collect()
}

/// A name with a slash: itself, its tokens expanded for the requester (glibc does so for `DT_NEEDED`).
fn named_path(name: &[u8], requester: &Requester<'_>, options: &SearchOptions) -> Result<Candidate, Tried> {
    match expand(name, requester.origin, options) {
        Ok(path) => Ok(Candidate { path: to_path(&path), source: Route::Path }),
        Err(outcome) => Err(Tried { path: to_path(name), source: Route::Path, outcome }),
    }
}

fn in_cache(
    name: &[u8],
    requester: &Requester<'_>,
    options: &SearchOptions,
    cache: &LdCache<'_>,
) -> Option<Result<Candidate, Tried>> {
    let Some(path) = cache.find(name, options.cache?, &options.hwcaps) else {
        return Some(Err(Tried { path: to_path(name), source: Route::Cache, outcome: Outcome::NotListed }));
    };
    let path = to_path(path);
    let refused = requester.no_default_folders && options.default_folders.iter().any(|folder| path.starts_with(folder));
    let (source, outcome) = (Route::Cache, Outcome::NoDefaultFolders);
    Some(if refused { Err(Tried { path, source, outcome }) } else { Ok(Candidate { path, source }) })
}

fn rpaths<'a>(requester: &'a Requester<'a>) -> impl Iterator<Item = List<'a>> {
    let own = Parent { name: requester.name, origin: requester.origin, rpath: requester.rpath };
    let chain = std::iter::once(own).chain(requester.parents.iter().copied());
    let chain = chain.filter(|_| requester.runpath.is_none());
    chain.filter_map(|Parent { name, origin, rpath }| Some(List { text: rpath?, of: name, origin, is_rpath: true }))
}

/// A `DT_RPATH` or `DT_RUNPATH`, and whose it is.
struct List<'a> {
    text: &'a [u8],
    of: &'a str,
    origin: Option<&'a Path>,
    is_rpath: bool,
}

impl<'a> List<'a> {
    fn runpath(requester: &Requester<'a>) -> Option<Self> {
        Some(List { text: requester.runpath?, of: requester.name, origin: requester.origin, is_rpath: false })
    }

    /// Its elements; an empty one is the working folder, but an empty list has none (`decompose_rpath`).
    fn folders(self, options: &'a SearchOptions) -> impl Iterator<Item = Folder<'a>> {
        let elements = self.text.split(|&byte| byte == b':').filter(move |_| !self.text.is_empty());
        elements.map(move |element| {
            let of = self.of.to_owned();
            let source = if self.is_rpath { Route::Rpath { of } } else { Route::Runpath { of } };
            match expand(element, self.origin, options) {
                Ok(path) => Folder::new(Cow::Owned(to_path(&path)), source),
                Err(outcome) => Folder { path: Cow::Owned(to_path(element)), source, refused: Some(outcome) },
            }
        })
    }
}

/// A folder to look in, or one not to look in.
struct Folder<'a> {
    path: Cow<'a, Path>,
    source: Route,
    refused: Option<Outcome>,
}

impl<'a> Folder<'a> {
    fn new(path: Cow<'a, Path>, source: Route) -> Self {
        Folder { path, source, refused: None }
    }

    fn library_path(path: &'a Path, options: &SearchOptions) -> Self {
        let refused = options.secure.then_some(Outcome::Secure);
        Folder { path: Cow::Borrowed(path), source: Route::LibraryPath, refused }
    }

    /// `name` in its `glibc-hwcaps` subfolders and in itself; a refused folder is reported once.
    fn candidates(self, name: &'a [u8], hwcaps: &'a [String]) -> impl Iterator<Item = Result<Candidate, Tried>> + 'a {
        let hwcaps = if self.refused.is_some() { &[] } else { hwcaps };
        let subfolders = hwcaps.iter().map(Some).chain([None]);
        subfolders.map(move |hwcap| {
            let path = self.join(hwcap.map(String::as_str), name);
            let source = self.source.clone();
            match self.refused {
                Some(outcome) => Err(Tried { path, source, outcome }),
                None => Ok(Candidate { path, source }),
            }
        })
    }

    /// One allocation, made to measure.
    fn join(&self, hwcap: Option<&str>, name: &[u8]) -> PathBuf {
        const HWCAPS: &str = "glibc-hwcaps";
        let subfolder = hwcap.map_or(0, |hwcap| HWCAPS.len() + hwcap.len() + 2);
        let mut path = PathBuf::with_capacity(self.path.as_os_str().len() + subfolder + name.len() + 2);
        // Slashes, doubled or trailing, stay as written: the kernel overlooks them, and `Path` compares without them.
        path.push(self.path.as_ref());
        if let Some(hwcap) = hwcap {
            path.push(HWCAPS);
            path.push(hwcap);
        }
        path.push(as_path(name));
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates as text, those that are not to be tried with their reason behind a `!`.
    fn listed(name: &str, requester: &Requester<'_>, options: &SearchOptions, cache: Option<&LdCache<'_>>) -> String {
        let lines = candidates(name.as_bytes(), requester, options, cache).map(|candidate| match candidate {
            Ok(Candidate { path, source }) => format!("{} ({source})", path.display()),
            Err(tried) => format!("!{tried}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn options() -> SearchOptions {
        SearchOptions {
            default_folders: vec!["/lib".into(), "/usr/lib".into()],
            ..SearchOptions::of(Os::LinuxGnu, "x86_64")
        }
    }

    fn requester<'a>() -> Requester<'a> {
        Requester { name: "r.so", origin: Some(Path::new("/opt/app/lib")), ..Requester::default() }
    }

    /// One entry: `libz.so.1` at `path`, in the layout that `ldcache.rs` describes.
    fn cache_file(path: &str) -> Vec<u8> {
        let mut file = b"glibc-ld.so.cache1.1".to_vec();
        for word in [1u32, 0, 0, 0, 0, 0, 0, 0x303, 72, 82, 0, 0, 0] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(b"libz.so.1\0");
        file.extend(path.bytes().chain([0]));
        file
    }

    #[test]
    fn order() {
        let parents = [
            Parent { name: "p.so", origin: None, rpath: None },
            Parent { name: "main", origin: Some(Path::new("/opt/app")), rpath: Some(b"$ORIGIN/m") },
        ];
        let file = cache_file("/lib/x/libz.so.1");
        let cache = LdCache::parse(&file).expect("a cache");
        let options = SearchOptions { library_path: vec!["/llp".into(), "".into()], ..options() };
        let with_rpath = Requester { rpath: Some(b"/a::b/"), parents: &parents, ..requester() };
        let with_both = Requester { runpath: Some(b"${ORIGIN}/../run:rel"), ..with_rpath };
        let no_default = Requester { no_default_folders: true, ..requester() };
        let cases: &[(&str, &str, Requester<'_>, &str)] = &[
            (
                "RPATH up to the executable",
                "libz.so.1",
                with_rpath,
                "/a/libz.so.1 (RPATH of r.so)\nlibz.so.1 (RPATH of r.so)\nb/libz.so.1 (RPATH of r.so)\n\
                 /opt/app/m/libz.so.1 (RPATH of main)\n\
                 /llp/libz.so.1 (library path)\nlibz.so.1 (library path)\n\
                 /lib/x/libz.so.1 (ld.so.cache)\n\
                 /lib/libz.so.1 (default folder)\n/usr/lib/libz.so.1 (default folder)",
            ),
            (
                "RUNPATH silences every RPATH",
                "libq.so",
                with_both,
                "/llp/libq.so (library path)\nlibq.so (library path)\n\
                 /opt/app/lib/../run/libq.so (RUNPATH of r.so)\nrel/libq.so (RUNPATH of r.so)\n\
                 !libq.so (ld.so.cache): not listed\n/lib/libq.so (default folder)\n/usr/lib/libq.so (default folder)",
            ),
            (
                "DF_1_NODEFLIB",
                "libz.so.1",
                no_default,
                "/llp/libz.so.1 (library path)\nlibz.so.1 (library path)\n\
                 !/lib/x/libz.so.1 (ld.so.cache): not tried: the requester has DF_1_NODEFLIB",
            ),
            ("a path is tried alone", "./libz.so.1", with_both, "./libz.so.1 (the name is a path)"),
            ("tokens in a path", "$ORIGIN//x/libq.so", with_both, "/opt/app/lib//x/libq.so (the name is a path)"),
            ("no name", "", with_both, ""),
        ];
        for (what, name, requester, expected) in cases {
            assert_eq!(&listed(name, requester, &options, Some(&cache)), expected, "{what}");
        }
        let silent = SearchOptions { cache: None, ..options.clone() };
        assert!(!listed("libz.so.1", &with_rpath, &silent, Some(&cache)).contains("cache"));
        let elsewhere = cache_file("/opt/libz.so.1");
        let cache = LdCache::parse(&elsewhere).expect("a cache");
        assert!(listed("libz.so.1", &no_default, &options, Some(&cache)).ends_with("\n/opt/libz.so.1 (ld.so.cache)"));
    }

    #[test]
    fn hwcaps_folders_come_first() {
        let options = SearchOptions { hwcaps: vec!["v3".into(), "v2".into()], ..options() };
        let requester = Requester { runpath: Some(b"/r:$ORIGIN"), ..Requester::default() };
        assert_eq!(
            listed("libq.so", &requester, &options, None),
            "/r/glibc-hwcaps/v3/libq.so (RUNPATH)\n/r/glibc-hwcaps/v2/libq.so (RUNPATH)\n/r/libq.so (RUNPATH)\n\
             !$ORIGIN/libq.so (RUNPATH): not tried: $ORIGIN is not known\n\
             /lib/glibc-hwcaps/v3/libq.so (default folder)\n/lib/glibc-hwcaps/v2/libq.so (default folder)\n\
             /lib/libq.so (default folder)\n\
             /usr/lib/glibc-hwcaps/v3/libq.so (default folder)\n/usr/lib/glibc-hwcaps/v2/libq.so (default folder)\n\
             /usr/lib/libq.so (default folder)"
        );
    }

    #[test]
    fn secure_process() {
        let options = SearchOptions { library_path: vec!["/llp".into()], secure: true, ..options() };
        let runpath = Some(&b"$ORIGIN/../../../lib/x:$ORIGIN/y:/z"[..]);
        assert_eq!(
            listed("libq.so", &Requester { runpath, ..requester() }, &options, None),
            "!/llp/libq.so (library path): not tried in a secure process\n\
             /opt/app/lib/../../../lib/x/libq.so (RUNPATH of r.so)\n\
             !$ORIGIN/y/libq.so (RUNPATH of r.so): not tried in a secure process\n\
             /z/libq.so (RUNPATH of r.so)\n\
             /lib/libq.so (default folder)\n/usr/lib/libq.so (default folder)"
        );
    }

    #[test]
    fn library_path_text() {
        const CASES: &[(&str, &[&str])] = &[
            ("", &[]),
            ("/a", &["/a"]),
            ("p;q::$ORIGIN/x", &["p", "q", "", "/bin/x"]),
            (":", &["", ""]),
            ("${LIB}:$PLATFORM", &["lib/x86_64-linux-gnu", "x86_64"]),
        ];
        for (text, expected) in CASES {
            let folders = parse_library_path(text.as_bytes(), Some(Path::new("/bin")), &options());
            assert_eq!(folders, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{text}");
        }
        assert_eq!(parse_library_path(b"$ORIGIN:/a", None, &options()), [PathBuf::from("/a")]);
    }

    #[test]
    fn conventions() {
        let cases: &[(Os, &str, Option<CacheFlags>, &str, &str)] = &[
            (
                Os::LinuxGnu,
                "x86_64",
                Some(CacheFlags::X86_64),
                "lib/x86_64-linux-gnu",
                "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/lib64:/usr/lib64:/lib:/usr/lib",
            ),
            (Os::LinuxMusl, "aarch64", None, "lib", "/lib:/usr/local/lib:/usr/lib"),
            (Os::FreeBsd, "x86_64", None, "lib", "/lib:/usr/lib:/usr/local/lib"),
        ];
        for &(os, arch, cache, lib, folders) in cases {
            let options = SearchOptions::of(os, arch);
            assert_eq!((options.cache, options.lib.as_str()), (cache, lib), "{os:?}");
            assert_eq!(options.default_folders, folders.split(':').map(PathBuf::from).collect::<Vec<_>>(), "{os:?}");
        }
    }

    #[test]
    fn outcomes() {
        let cases: &[(Outcome, &str, bool)] = &[
            (Outcome::from_errno(2), "not found", false),
            (Outcome::from_errno(20), "not found", false),
            (Outcome::from_errno(13), "Permission denied (os error 13)", false),
            (Outcome::WrongClass, "wrong ELF class", false),
            (Outcome::NotElf, "not an ELF file", true),
            (Outcome::NotListed, "not listed", false),
        ];
        assert!(Outcome::Unreadable(5).ends_search());
        for (outcome, text, ends) in cases {
            assert_eq!((outcome.to_string().as_str(), outcome.ends_search()), (*text, *ends));
            let tried = Tried { path: "/a".into(), source: Route::Cache, outcome: *outcome };
            assert_eq!(tried.to_string(), format!("/a (ld.so.cache): {text}"));
        }
    }
}
