//! What can be opened besides a name: bytes, open files, members of archives, parts of files, and copies of all these.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use sideload::{Error, ErrorKind, Library, Loader, Location, Source, ledger};
use std::ffi::c_int;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Folder, kind, passes_elsewhere};

/// Objects that need no other fixture, and whose segments carry different things.
const FIXTURES: &[&str] = &[
    "relative",
    "relr_and_rela",
    "bss",
    "tls_gd",
    "ifunc_local",
    "cxx_throw",
    "relro_inexact",
    "init_array",
    "dladdr",
];

fn open(source: impl Into<Source>) -> Result<Library, Error> {
    // SAFETY: fixtures of ours.
    unsafe { Library::open(source) }
}

fn answer(library: &Library) -> c_int {
    // SAFETY: every fixture declares it as `int answer(void)`.
    unsafe { library.get::<unsafe extern "C" fn() -> c_int>("answer").unwrap()() }
}

/// `data` at `offset` of a file of its own.
fn at(folder: &Folder, name: &str, offset: usize, data: &[u8]) -> PathBuf {
    let path = folder.file(name);
    fs::write(&path, [&vec![0xcc; offset], data, b"what follows"].concat()).unwrap();
    path
}

fn ar(folder: &Folder, name: &str, member: &Path) -> PathBuf {
    let archive = folder.file(name);
    // Quick append, no symbol index, no time; the member's name is long enough to stand in the table of names.
    let made = Command::new("ar").arg("qcSD").arg(&archive).arg(member).status().unwrap();
    assert!(made.success());
    archive
}

/// A zip archive that stores one member: the local header, the directory, its end.
fn zip(folder: &Folder, name: &str, member: &str, data: &[u8]) -> PathBuf {
    let (length, size) = ((member.len() as u16).to_le_bytes(), (data.len() as u32).to_le_bytes());
    let local = [b"PK\x03\x04", &[0u8; 14][..], &size, &size, &length, &[0; 2], member.as_bytes()].concat();
    let entry = [b"PK\x01\x02", &[0u8; 16][..], &size, &size, &length, &[0; 16], member.as_bytes()].concat();
    let start = ((local.len() + data.len()) as u32).to_le_bytes();
    let end =
        [b"PK\x05\x06", &[0u8; 4][..], &[1, 0, 1, 0], &(entry.len() as u32).to_le_bytes(), &start, &[0; 2]].concat();
    let path = folder.file(name);
    fs::write(&path, [&local, data, &entry, &end].concat()).unwrap();
    path
}

fn memfd(data: &[u8]) -> File {
    // SAFETY: the name is a C string; the descriptor is new and has no other owner.
    let mut file = unsafe { File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC)) };
    file.write_all(data).unwrap();
    file
}

/// Where an address is mapped from: the protection and the path of its line in the list of mappings.
fn mapping(address: u64) -> (String, String) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let holds = |line: &&str| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        (u64::from_str_radix(start, 16).unwrap()..u64::from_str_radix(end, 16).unwrap()).contains(&address)
    };
    let fields: Vec<&str> = maps.lines().find(holds).expect("it is mapped").split_ascii_whitespace().collect();
    (fields[1].to_owned(), fields[5..].join(" "))
}

#[test]
fn every_source_opens_every_fixture() {
    let folder = Folder::new("sources");
    for fixture in FIXTURES {
        let path = test_fixtures::build(fixture).path;
        let data = fs::read(&path).unwrap();
        let file = |what: &str| format!("{what}-{fixture}.so");
        let page = at(&folder, &file("page"), 0x3000, &data);
        let odd = at(&folder, &file("odd"), 0x1235, &data);
        let end = data.len() as u64;
        // The source, and what its text is mapped from: a file, or nothing.
        let cases: Vec<(&str, Source, Option<&str>)> = vec![
            ("bytes", Source::bytes(file("bytes"), data.clone()), None),
            (
                "file",
                Source::file(file("file"), File::open(folder.copy(&path)).unwrap()),
                Some(path.file_name().unwrap().to_str().unwrap()),
            ),
            ("memfd", Source::file(file("memfd"), memfd(&data)), Some("/memfd:test (deleted)")),
            ("page", Source::path(&page).part(0x3000..0x3000 + end), page.to_str()),
            ("odd", Source::path(&odd).part(0x1235..), None),
            ("odd in memory", Source::bytes(file("odd"), fs::read(&odd).unwrap()).part(0x1235..=0x1234 + end), None),
            ("ar", Source::member(ar(&folder, &file("ar"), &path), path.file_name().unwrap().as_encoded_bytes()), None),
            ("zip", Source::member(zip(&folder, &file("zip"), "lib/one.so", &data), "lib/one.so"), None),
            ("copy", Source::path(at(&folder, &file("copy"), 0, &data)).snapshot(), Some("/memfd:sideload (deleted)")),
            (
                "copy of a part",
                Source::path(at(&folder, &file("part"), 1, &data)).part(1..).snapshot(),
                Some("/memfd:sideload (deleted)"),
            ),
        ];
        for (what, source, mapped_from) in cases {
            let library = open(source).unwrap_or_else(|error| panic!("{fixture} as {what}: {error}"));
            assert_eq!(answer(&library), 42, "{fixture} as {what}");
            // SAFETY: only the address is used.
            let text = unsafe { library.get::<usize>("answer") }.unwrap().address();
            let (protection, from) = mapping(text.0);
            assert_eq!(protection, "r-xp", "{fixture} as {what}");
            match mapped_from {
                Some(file) => assert!(from.ends_with(file), "{fixture} as {what}: {from}"),
                None => assert_eq!(from, "", "{fixture} as {what}"),
            }
            assert_eq!(Location::of(text).unwrap().path(), Path::new(library.path()));
        }
    }
    let both = |line: &str| line.split_ascii_whitespace().nth(1).is_some_and(|it| it.contains('w') && it.contains('x'));
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.lines().any(both), "{maps}");
}

#[test]
fn one_file_is_one_library_however_it_is_given() {
    let folder = Folder::new("identity");
    let path = folder.copy(&test_fixtures::build("init_array").path);
    let link = folder.file("link.so");
    fs::hard_link(&path, &link).unwrap();
    let first = open(&path).unwrap();
    let same = [
        Source::path(&link),
        Source::file("another name", File::open(&path).unwrap()),
        Source::from(&path).snapshot(),
        Source::from(&path).part(..),
    ];
    for source in same {
        let text = format!("{source:?}");
        assert!(open(source).unwrap().is_same(&first), "{text}");
    }

    let data = fs::read(&path).unwrap();
    let bytes = Source::bytes("bytes.so", data.clone());
    let from_memory = open(bytes.clone()).unwrap();
    assert!(open(bytes).unwrap().is_same(&from_memory));
    let others =
        [open(Source::bytes("bytes.so", data.clone())).unwrap(), open(folder.copy_as(&path, "copy.so")).unwrap()];
    for other in &others {
        assert!(!other.is_same(&from_memory) && !other.is_same(&first), "as two copies of a file");
        assert_eq!(answer(other), 42, "initialised by itself");
    }

    let twice = at(&folder, "twice", 0, &[data.as_slice(), &data].concat());
    let half = data.len() as u64;
    let (one, two) = (Source::path(&twice).part(..half), Source::path(&twice).part(half..2 * half));
    let (one, two, again) = (open(one.clone()).unwrap(), open(two).unwrap(), open(one).unwrap());
    assert!(one.is_same(&again) && !one.is_same(&two));
}

#[test]
fn a_library_of_the_host_is_not_loaded_again() {
    let libc = open("libc.so.6").unwrap();
    for source in [Source::path(libc.path()), Source::file("libc", File::open(libc.path()).unwrap())] {
        assert!(open(source).unwrap().is_same(&libc));
    }
    // A copy of libc is not that file, but there can only be one libc.
    let copy = open(Source::bytes("libc", fs::read(libc.path()).unwrap())).unwrap();
    assert!(copy.is_same(&libc));
}

#[test]
fn the_folder_of_the_name_is_the_origin() {
    let fixture = test_fixtures::build("runpath").path;
    let data = fs::read(&fixture).unwrap();
    let error = open(Source::bytes("librunpath.so", data.clone())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("$ORIGIN/deep"), "{error}");
    assert_eq!(answer(&open(Source::bytes(&fixture, data)).unwrap()), 42);
}

#[test]
fn a_snapshot_is_what_was_checked() {
    if passes_elsewhere("a_snapshot_is_what_was_checked") {
        return;
    }
    let folder = Folder::new("snapshot");
    let fixture = test_fixtures::build("relr_and_rela").path;
    let linked = |path: &Path, snapshot: bool| {
        let source = Source::path(path);
        let link = Loader::new().link(if snapshot { source.snapshot() } else { source }).unwrap();
        // Another process overwrites the file, and cuts it off.
        fs::write(path, b"something else").unwrap();
        link
    };
    let path = folder.copy_as(&fixture, "copied.so");
    let relocated = linked(&path, true).map().unwrap().relocate().unwrap();
    // SAFETY: our own fixture, and a copy of it at that.
    let library = unsafe { relocated.run_resolvers().unwrap().seal().unwrap().initialize() }.unwrap();
    assert_eq!(answer(&library), 42);
    // An archive is copied before it is looked at.
    let data = fs::read(test_fixtures::build("bss").path).unwrap();
    let archive = zip(&folder, "one.zip", "one.so", &data);
    assert_eq!(answer(&open(Source::member(archive, "one.so").snapshot()).unwrap()), 42);
    // Names that are searched for can be copied, too.
    let before = ledger().instances;
    let zlib = open(Source::from("libz.so.1").snapshot()).unwrap();
    if ledger().instances > before {
        // SAFETY: only the address is used.
        let text = unsafe { zlib.get::<usize>("crc32") }.unwrap().address();
        assert_eq!(mapping(text.0), ("r-xp".to_owned(), "/memfd:sideload (deleted)".to_owned()));
    }
}

#[test]
fn what_cannot_be_opened_is_said_with_the_name() {
    if passes_elsewhere("what_cannot_be_opened_is_said_with_the_name") {
        return;
    }
    let folder = Folder::new("refused");
    let data = fs::read(test_fixtures::build("relative").path).unwrap();
    let file = at(&folder, "object.so", 0, &data);
    let archive = zip(&folder, "one.zip", "one.so", &data);
    let long = fs::metadata(&file).unwrap().len();
    let device = || File::open("/dev/null").unwrap();
    let cases = [
        (Source::bytes("none.so", vec![]), "NotAnImage", "none.so: find: "),
        (Source::bytes("text.so", &b"not an object"[..]), "NotAnImage", "text.so: plan: "),
        (Source::bytes("short.so", data[..100].to_vec()), "Malformed", "short.so: plan: "),
        (Source::file("device.so", device()), "NotAnImage", "device.so: find: "),
        (Source::file("folder.so", File::open(folder.path()).unwrap()), "NotAnImage", "folder.so: find: "),
        (Source::path(&file).part(long + 1..), "Malformed", "object.so!+"),
        (Source::path(&file).part(long..), "NotAnImage", "object.so!+"),
        (Source::path(&file).part(1..u64::MAX), "Malformed", "object.so!+0x1: find: "),
        (Source::path(&file).part(1..), "NotAnImage", "object.so!+0x1: plan: "),
        (Source::member(&archive, "two.so"), "NoMember", "one.zip!/two.so: find: no member two.so in the archive"),
        (Source::member(&file, "two.so"), "Unsupported", "object.so!/two.so: find: "),
        (Source::member("/nowhere.zip", "two.so"), "Io", "/nowhere.zip!/two.so: find: open /nowhere.zip: "),
    ];
    let before = ledger();
    for (source, expected, text) in cases {
        let error = open(source).expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(kind(error.kind()), expected, "{error}");
    }
    assert_eq!(ledger(), before);
}
