//! The cases that need more than a fixture's answer.

use crate::loaders::{Opened, Who};
use crate::support::Folder;
use sideload::{Library, Loader, Source};
use std::path::{Path, PathBuf};
use std::sync::{Barrier, OnceLock};
use test_fixtures::{build, elf_edit};

pub(crate) type Verdict = Result<(), String>;

/// Fails, with both values, unless they are equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Verdict {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}")) }
}

fn open(who: Who, fixture: &str) -> Result<Opened, String> {
    who.open(&build(fixture).path)
}

/// The error of opening `path`, which must not open.
fn refused(who: Who, path: &Path) -> Result<String, String> {
    match who.open(path) {
        Ok(_) => Err("opened".to_owned()),
        Err(error) => Ok(error),
    }
}

fn mentions(error: &str, words: &[&str]) -> Verdict {
    let missing: Vec<_> = words.iter().filter(|word| !error.contains(**word)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no mention of {missing:?} in: {error}")) }
}

/// One thread is older than the library, one is younger: both have copies of their own with the initial value.
pub(crate) fn threads_before_and_after(who: Who, fixture: &str) -> Verdict {
    let (opened, ready) = (OnceLock::new(), Barrier::new(2));
    std::thread::scope(|scope| {
        let (opened, ready) = (&opened, &ready);
        let answer = || opened.get().map_or(Err("not opened".to_owned()), |opened: &Shared| opened.0.call("answer"));
        let older = scope.spawn(move || {
            ready.wait();
            ready.wait();
            answer()
        });
        ready.wait();
        let library = open(who, fixture);
        if let Ok(library) = library {
            let _ = opened.set(Shared(library));
        }
        ready.wait();
        let younger = scope.spawn(answer);
        same("older thread", older.join().expect("no panic")?, 42)?;
        same("younger thread", younger.join().expect("no panic")?, 42)?;
        same("this thread", answer()?, 42)
    })
}

/// A library that several threads look up in.
struct Shared(Opened);

/// A lookup of an indirect function gives the function, not its resolver.
pub(crate) fn ifunc_by_lookup(who: Who) -> Verdict {
    same("exported_ifunc", open(who, "ifunc_exported")?.call("exported_ifunc")?, 14)
}

/// The default version, and each by its name.
pub(crate) fn versions_by_lookup(who: Who) -> Verdict {
    let library = open(who, "versioned")?;
    same("default", library.call("versioned_value")?, 30)?;
    same("old", library.call_at("versioned_value", Some("VERSIONED_1"))?, 12)?;
    same("new", library.call_at("versioned_value", Some("VERSIONED_2"))?, 30)?;
    same("none such", library.find("versioned_value", Some("VERSIONED_3")), None)
}

/// A symbol that is not there is an error, and the library goes on.
pub(crate) fn missing_symbol(who: Who) -> Verdict {
    let library = open(who, "plugin")?;
    same("missing", library.find("no_such_symbol", None), None)?;
    same("answer", library.call("answer")?, 42)
}

/// A symbolic link, a hard link and a roundabout path lead to one instance.
pub(crate) fn one_file_many_names(who: Who) -> Verdict {
    let folder = Folder::new("names");
    let path = folder.copy(&build("plugin").path);
    let (soft, hard) = (folder.file("soft.so"), folder.file("hard.so"));
    std::os::unix::fs::symlink(&path, &soft).map_err(|error| error.to_string())?;
    std::fs::hard_link(&path, &hard).map_err(|error| error.to_string())?;
    let dotted = folder.path().join(".").join("hard.so");
    let first = who.open(&path)?;
    for name in [soft, hard, dotted] {
        let again = who.open(&name)?;
        same("address", again.find("plugin_variable", None), first.find("plugin_variable", None))?;
    }
    same("initialised", first.read("plugin_initialised")?, 1)
}

/// Two files of one base name are two libraries.
pub(crate) fn twins(who: Who) -> Verdict {
    same("one", open(who, "twin_one")?.call("answer")?, 41)?;
    same("two", open(who, "twin_two")?.call("answer")?, 42)
}

/// Sixteen threads open one library: all get the same instance, which is initialised once.
pub(crate) fn many_threads_one_library(who: Who) -> Verdict {
    const THREADS: usize = 16;
    let (path, start) = (build("plugin").path, Barrier::new(THREADS));
    let found: Vec<Result<(Option<usize>, i32), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let library = who.open(&path)?;
                    // What the initialiser did is done for everybody.
                    Ok((library.find("plugin_variable", None), library.read("plugin_initialised")?))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let first = found.first().cloned().expect("there are some")?;
    same("initialised", first.1, 1)?;
    found.into_iter().try_for_each(|one| same("instance", one?, first))
}

/// What is opened as global defines for what comes later; what is not, does not.
pub(crate) fn global_and_local(who: Who) -> Verdict {
    let folder = Folder::new("scopes");
    let mut edit = elf_edit::ElfEdit::open(&build("glob_dat").path);
    edit.remove_dynamic(elf_edit::DT_NEEDED);
    let consumer = folder.file("libconsumer.so");
    edit.write(&consumer);
    let provider = build("glob_dat").path.with_file_name("libprovider.so");
    who.open(&provider)?;
    refused(who, &consumer)?;
    who.open_global(&provider)?;
    same("answer", who.open(&consumer)?.call("answer")?, 42)
}

/// The child of a fork goes on with what is open, and opens more.
pub(crate) fn fork_and_go_on(who: Who) -> Verdict {
    let library = open(who, "tls_gd")?;
    same("before", library.call("answer")?, 42)?;
    let more = build("everything").path;
    // SAFETY: the child only does what a single-threaded child may: this process has one other thread, which waits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let fine = library.call("answer") == Ok(42) && who.open(&more).and_then(|more| more.call("answer")) == Ok(42);
        // SAFETY: ends the child at once, so that nothing of the test harness runs twice.
        unsafe { libc::_exit(if fine { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: `status` is a place for the child's status.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    same("child", (waited == child, status), (true, 0))?;
    same("after", library.call("answer")?, 42)
}

/// A file that lacks its end is refused before anything of it is used.
pub(crate) fn truncated(who: Who) -> Verdict {
    let (folder, whole) = (Folder::new("truncated"), std::fs::read(build("everything").path).expect("built"));
    for size in [0, 16, 63, 64, 200, whole.len() / 2] {
        let path = folder.file(format!("lib{size}.so"));
        std::fs::write(&path, &whole[..size]).map_err(|error| error.to_string())?;
        refused(who, &path).map_err(|what| format!("{size} bytes: {what}"))?;
    }
    same("the whole", open(who, "everything")?.call("answer")?, 42)
}

/// An object of more than 4 GiB opens where that is allowed.
pub(crate) fn span_above_the_limit(who: Who) -> Verdict {
    let path = build("span_large").path;
    if who == Who::Ours {
        mentions(&refused(who, &path)?, &["spans", "0x100000000"])?;
    }
    let library = who.open_with(&path, &Loader::new().max_span(8 << 30), 0)?;
    same("answer", library.call("answer")?, 42)
}

/// Five hundred opens of what is open, and of what cannot be opened.
pub(crate) fn again_and_again(who: Who) -> Verdict {
    let (good, bad) = (build("plugin").path, build("undefined_many").path);
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = || std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.matches(".so").count());
    let first = who.open(&good)?;
    refused(who, &bad)?;
    let before = (descriptors(), maps());
    for _ in 0..500 {
        same("instance", who.open(&good)?.find("answer", None), first.find("answer", None))?;
        refused(who, &bad)?;
    }
    same("descriptors and maps", (descriptors(), maps()), before)
}

pub(crate) fn refused_for(who: Who, fixture: &str, ours: &[&str]) -> Verdict {
    let error = refused(who, &build(fixture).path)?;
    if who == Who::Ours { mentions(&error, ours) } else { Ok(()) }
}

/// The functions of a library of the distribution work.
pub(crate) fn system_library(who: Who) -> Verdict {
    let library = who.open(&PathBuf::from("libz.so.1"))?;
    let at = library.find("crc32", None).ok_or("no crc32")?;
    // SAFETY: the type is that of zlib.h.
    let crc32: extern "C" fn(u64, *const u8, u32) -> u64 = unsafe { std::mem::transmute(at) };
    same("crc32", crc32(0, b"123456789".as_ptr(), 9), 0xcbf4_3926)
}

fn answers(source: Source) -> Verdict {
    // SAFETY: running the fixture's code is what the process is for.
    let opened = unsafe { Library::open(source) }.map(Opened::Ours).map_err(|error| error.to_string())?;
    same("answer", opened.call("answer")?, 42)
}

pub(crate) fn from_bytes(_: Who) -> Verdict {
    let bytes = std::fs::read(build("tls_gd").path).map_err(|error| error.to_string())?;
    answers(Source::bytes("in memory", bytes))
}

/// As it lies in an archive: neither at the start nor on a page.
pub(crate) fn from_a_part(_: Who) -> Verdict {
    let folder = Folder::new("part");
    let bytes = std::fs::read(build("tls_gd").path).map_err(|error| error.to_string())?;
    let (path, end) = (folder.file("archive"), 100 + bytes.len() as u64);
    std::fs::write(&path, [&[7; 100], &bytes[..], &[7; 50]].concat()).map_err(|error| error.to_string())?;
    answers(Source::path(path).part(100..end))
}

pub(crate) fn from_a_descriptor(_: Who) -> Verdict {
    let file = std::fs::File::open(build("tls_gd").path).map_err(|error| error.to_string())?;
    answers(Source::file("by descriptor", file))
}
