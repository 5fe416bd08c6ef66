//! Hostile files: every one ends with an error that says which file, at which stage, and why. Never a signal, never a
//! panic, never a hang, for any bytes at all, as long as no code of the file is run.

mod support;

use sideload::addr::VmRange;
use sideload::{ErrorKind, Loader, ledger};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Child, Folder, argument, describe, in_parallel, say, text_argument};
use test_fixtures::Malformed;

#[test]
#[ignore = "run by the others, in child processes"]
fn open_malformed() {
    let path = PathBuf::from(argument("OBJECT"));
    // SAFETY: what is wrong is not its code, but that is for the parent to see: this is a process of its own.
    let opened = unsafe { Loader::new().open(&path) };
    // SAFETY: as above; every fixture declares it as `int answer(void)`.
    let answered = opened.and_then(|library| unsafe {
        let answer = *library.get::<unsafe extern "C" fn() -> i32>("answer")?;
        Ok(answer())
    });
    match answered {
        Ok(answer) => say(format!("answer {answer}")),
        Err(error) => say(format!("{} | {} | {}", describe(&error), error.module(), error.stage())),
    }
}

/// Malformed by the letter, and opened all the same: what comes of it, and why that is right.
const FORGIVEN: &[(&str, &str, &str)] = &[
    ("segments_not_ascending", "answer 42", "sorting them costs nothing, and forgives a linker that does not"),
    // An object's own definitions are bound without the hash table; a lookup in it ends where the table does.
    ("gnu_hash_chain_endless", "NoSymbol | ", "nothing is asked of the table until a symbol is looked up"),
];

/// What is wrong with how the file was refused.
fn complaint(file: &Malformed) -> Option<String> {
    let outcome = Child::new("open_malformed").with("OBJECT", &file.path).run();
    let last = outcome.last();
    if let Some((_, instead, _)) = FORGIVEN.iter().find(|(name, ..)| *name == file.name) {
        let is_so = outcome.is_success() && last.starts_with(instead);
        return (!is_so).then(|| format!("{}: {instead} expected, but {last}\n{}", file.name, outcome.stderr));
    }
    let fields: Vec<&str> = last.split(" | ").collect();
    let [kind, text, module, stage] = fields[..] else {
        return Some(format!("{}: {} expected, but {last}\n{}", file.name, file.error, outcome.stderr));
    };
    // The object itself, or where what it needs comes from: both are named by path.
    let path = file.path.to_string_lossy();
    let wrong = [
        (!file.expects(kind), "kind"),
        (!text.contains(&*path), "no path"),
        (!text.starts_with(&format!("{module}: {stage}: ")), "module and stage do not come first"),
        (text.ends_with(": "), "no cause"),
    ];
    let wrong: Vec<&str> = wrong.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, what)| what).collect();
    (!wrong.is_empty()).then(|| format!("{}: {} expected ({}): {text}", file.name, file.error, wrong.join(", ")))
}

#[test]
fn every_malformed_file_is_refused_with_its_error() {
    let files = test_fixtures::malformed();
    assert!(files.len() > 80, "only {} malformed files", files.len());
    let complaints: Vec<String> = in_parallel(&files, complaint).into_iter().flatten().collect();
    assert!(complaints.is_empty(), "{} of {}\n{}", complaints.len(), files.len(), complaints.join("\n"));
}

/// Libraries that every system of the kind has, each with something that the others lack.
const LIBRARIES: &[&str] = &["libz.so.1", "libcrypto.so.3", "libstdc++.so.6"];

/// Corrupted copies of each library. `SIDELOAD_TEST_COPIES` asks for more, `SIDELOAD_TEST_SEED` for others.
const COPIES: u64 = 100;

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(format!("SIDELOAD_TEST_{name}")).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn corrupted_libraries_neither_kill_nor_hang() {
    let (first, copies) = (setting("SEED", 1), setting("COPIES", COPIES));
    let batches: Vec<(&str, u64)> = LIBRARIES
        .iter()
        .flat_map(|&library| (0..copies.div_ceil(50)).map(move |batch| (library, first + batch * 50)))
        .collect();
    let outcomes = in_parallel(&batches, |&(library, seed)| {
        let count = copies.min(50);
        let child = Child::new("rehearse_corrupted").with("LIBRARY", library);
        child.with("FIRST", seed.to_string()).with("COUNT", count.to_string()).run()
    });
    let mut faults = Vec::new();
    for ((library, _), outcome) in batches.iter().zip(&outcomes) {
        match outcome.is_success() {
            true => println!("{library}: {}", outcome.last()),
            false => faults.push(format!("{library}: {}\n{}", outcome.last(), outcome.stderr)),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
#[ignore = "run by the others, in child processes"]
fn rehearse_corrupted() {
    let name = text_argument("LIBRARY");
    let good = Loader::new().link(&name).expect("the system has the library");
    let original = good.files().next().expect("the library was not loaded yet").to_vec();
    let places = Places::of(&original, &name);
    let folder = Folder::new("corrupted");
    let path = folder.file(&name);
    let [first, count] = ["FIRST", "COUNT"].map(|name| text_argument(name).parse::<u64>().expect("a number"));
    let (mut sealed, mut refused) = (0, 0);
    for seed in first..first + count {
        let mut copy = original.clone();
        let mut random = Random(seed);
        let flips = places.corrupt(&mut copy, &mut random);
        // Should this be the last line, it says which copy it was.
        say(format!("seed {seed}, {flips}"));
        fs::write(&path, &copy).expect("a folder of our own");
        let before = ledger();
        match rehearse(&path) {
            Ok(()) => sealed += 1,
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
        assert_eq!(ledger(), before, "seed {seed} leaves something behind");
        fs::remove_file(&path).expect("written above");
    }
    say(format!("{sealed} sealed, {refused} refused"));
}

/// Everything up to sealing: no code of the file runs.
fn rehearse(path: &Path) -> Result<(), sideload::Error> {
    let sealed = Loader::new().link(path)?.map()?.relocate()?.seal()?;
    drop(sealed);
    Ok(())
}

/// The parts of a file that a loader reads.
struct Places(Vec<(usize, usize)>);

impl Places {
    fn of(file: &[u8], name: &str) -> Places {
        let plan = sideload::plan::plan(file, name).expect("a sound library");
        let elf = test_fixtures::ElfEdit::new(file.to_vec());
        let headers = elf.u16(test_fixtures::elf_edit::ehdr::E_PHNUM);
        let dynamic = elf.phdr(test_fixtures::elf_edit::PT_DYNAMIC, 0, test_fixtures::elf_edit::PhdrField::Offset);
        let in_file = |range: VmRange| {
            let start = plan.file_offset(range.start, 1).expect("in the file") as usize;
            (start, start + range.size as usize)
        };
        let first = plan.regions.first().expect("a segment");
        let mut places = vec![
            (0, 64),
            (64, 64 + usize::from(headers) * 56),
            (dynamic as usize, dynamic as usize + 0x1d0),
            // The linkers put hashes, symbols, strings, versions and relocations into the first segment.
            (first.file.start.0 as usize, (first.file.start.0 + first.file.size) as usize),
        ];
        places.extend(plan.unwind.map(in_file));
        places.extend(plan.unwind.map(in_file).map(|(_, end)| (end, (end + 0x2000).min(file.len()))));
        places.extend(plan.init.array.map(in_file));
        Places(places)
    }

    /// Changes one to eight bytes, most often in one place.
    fn corrupt(&self, bytes: &mut [u8], random: &mut Random) -> String {
        let mut told = String::new();
        for _ in 0..1 + random.below(3) {
            let (start, end) = self.0[random.below(self.0.len())];
            let at = start + random.below(end - start);
            let count = [1, 1, 1, 2, 4, 8][random.below(6)].min(bytes.len() - at);
            for place in &mut bytes[at..at + count] {
                *place = match random.below(4) {
                    0 => *place ^ (1 << random.below(8)),
                    1 => 0xff,
                    2 => 0,
                    _ => random.below(256) as u8,
                };
            }
            fmt::Write::write_fmt(&mut told, format_args!("{count} at {at:#x} ")).expect("a String takes all");
        }
        told
    }
}

/// SplitMix64: the same numbers everywhere, for a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// A file that is cut short after it was mapped: the size is looked at once more before anything is sealed.
#[test]
fn a_file_that_changes_meanwhile_is_noticed() {
    let fixture = test_fixtures::build("relative");
    let folder = Folder::new("changing");
    let path = folder.copy(&fixture.path);
    let relocated = Loader::new().link(&path).and_then(|link| link.map()).and_then(|mapped| mapped.relocate());
    let relocated = relocated.expect("a sound fixture");
    let file = fs::File::options().append(true).open(&path).expect("a copy of our own");
    let size = file.metadata().expect("an open file").len();
    file.set_len(size + 1).expect("a regular file");
    let error = relocated.seal().err().expect("the file has another size");
    assert!(matches!(error.kind(), ErrorKind::Changed { .. }), "{error}");
}
