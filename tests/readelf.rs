//! Every fixup of every shared object on this machine, against what `readelf -rW` prints: place, type,
//! symbol@version and addend of each row, compared as text. No relocation type is left out.
//!
//! `readelf` finds the tables by section headers, the plan by program headers alone: neither the code nor the way in
//! is the same. Its rows are rewritten as the lines that a plan is listed in, and both sides are sorted and merged.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use goblin::elf::{Elf, dynamic, header, program_header, section_header};
use sideload::render::{FixupRow, Lines};
use sideload::{ErrorKind, plan, render};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io, thread};

/// Fewer than these, and the machine does not hold what the test is meant to be run on.
const MIN_OBJECTS: usize = 800;
const MIN_ROWS: usize = 3_000_000;

#[test]
fn agrees_with_readelf_on_every_shared_object_of_the_machine() {
    let files = shared_objects(Path::new("/"));
    let total = compare_all(&files);
    // Not `println!`, which the test harness would keep to itself.
    writeln!(io::stdout(), "objects {} rows {} differing {}", total.objects, total.rows, total.differing)
        .expect("standard output is open");
    assert_eq!(total.differing, 0, "\n{}", total.examples.join("\n"));
    assert!(total.objects >= MIN_OBJECTS, "{} shared objects, fewer than {MIN_OBJECTS}", total.objects);
    assert!(total.rows >= MIN_ROWS, "{} rows, fewer than {MIN_ROWS}", total.rows);
}

/// Alters a row, if it is one that it can alter.
type Fault = fn(&mut FixupRow<'_>) -> bool;

const FAULTS: &[(&str, Fault)] = &[
    ("place", |row| match row {
        FixupRow::Rebase { place, .. } => edit(&mut place.0, |at| at + 8),
        _ => false,
    }),
    ("target", |row| match row {
        FixupRow::Rebase { target, .. } => edit(&mut target.0, |at| at + 1),
        _ => false,
    }),
    ("type", |row| match row {
        FixupRow::Bind { relocation, .. } => edit(relocation, |_| "R_X86_64_PC64"),
        _ => false,
    }),
    ("version", |row| match row {
        FixupRow::Bind { symbol: Some(symbol), .. } if symbol.version.is_some() => edit(&mut symbol.version, |_| None),
        _ => false,
    }),
    ("addend", |row| match row {
        FixupRow::Bind { addend, .. } => edit(addend, |addend| addend - 1),
        _ => false,
    }),
];

/// The control: one wrong row among thousands is found, whatever is wrong with it.
#[test]
fn one_planted_wrong_row_is_found() {
    let path = Path::new("/usr/lib/x86_64-linux-gnu/libstdc++.so.6");
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let theirs = readelf(path, &bytes);
    assert_eq!(compare(path, &our_lines(&bytes, |_| false), &theirs).differing, 0);
    for (what, fault) in FAULTS {
        let tally = compare(path, &our_lines(&bytes, fault), &theirs);
        assert_eq!(tally.differing, 1, "a wrong {what}");
        assert_eq!(tally.examples.len(), 2, "both sides of it: {:?}", tally.examples);
    }
}

fn edit<T: Copy>(field: &mut T, change: impl FnOnce(T) -> T) -> bool {
    *field = change(*field);
    true
}

/// The plan's lines, with `fault` done to the first row that it applies to.
fn our_lines(bytes: &[u8], fault: impl Fn(&mut FixupRow<'_>) -> bool) -> Lines {
    let plan = plan::plan(bytes, "planted").expect("a plan");
    let (mut lines, mut done) = (Vec::new(), false);
    let push = |mut row: FixupRow<'_>| {
        done = done || fault(&mut row);
        lines.push(row.to_string());
    };
    render::fixups(&plan, bytes, push).expect("its fixups");
    lines.iter().collect()
}

#[derive(Default)]
struct Tally {
    objects: usize,
    rows: usize,
    differing: usize,
    /// The first rows that only one side has.
    examples: Vec<String>,
}

impl Tally {
    const EXAMPLES: usize = 40;

    fn add(&mut self, other: Tally) {
        self.objects += other.objects;
        self.rows += other.rows;
        self.differing += other.differing;
        let room = Self::EXAMPLES - self.examples.len();
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

fn compare_all(files: &[PathBuf]) -> Tally {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    let work = || {
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let tally = compare_file(path);
            total.lock().expect("no worker has panicked").add(tally);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    total.into_inner().expect("no worker has panicked")
}

fn compare_file(path: &Path) -> Tally {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        // Removed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Tally::default(),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let theirs = readelf(path, &bytes);
    let name = path.to_string_lossy();
    let ours = plan::plan(&bytes, &name).and_then(|plan| {
        Lines::fixups(&plan, &bytes).map_err(|kind: ErrorKind| kind.at(name.clone(), sideload::Stage::Plan))
    });
    match ours {
        Ok(ours) => compare(path, &ours, &theirs),
        // No file may get out of the comparison by being refused.
        Err(error) => {
            let rows = theirs.len();
            Tally { objects: 1, rows, differing: rows.max(1), examples: vec![format!("refused: {error}")] }
        }
    }
}

/// Merges the two sorted listings. A row that is wrong is one that only we have beside one that only they have.
fn compare(path: &Path, ours: &Lines, theirs: &Lines) -> Tally {
    let (mut only_ours, mut only_theirs) = (Vec::new(), Vec::new());
    let (mut left, mut right) = (ours.iter().peekable(), theirs.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(our), Some(their)) if our == their => {
                left.next();
                right.next();
            }
            (Some(our), their) if their.is_none_or(|their| our < their) => only_ours.extend(left.next()),
            _ => only_theirs.extend(right.next()),
        }
    }
    let example = |side: &str, line: &str| format!("{}: {side} {line}", path.display());
    let examples = only_ours.iter().map(|line| example("ours  ", line));
    let examples = examples.chain(only_theirs.iter().map(|line| example("theirs", line)));
    Tally {
        objects: 1,
        rows: theirs.len(),
        differing: only_ours.len().max(only_theirs.len()),
        examples: examples.take(Tally::EXAMPLES).collect(),
    }
}

/// The rows of `readelf -rW`, as the lines of a plan.
fn readelf(path: &Path, bytes: &[u8]) -> Lines {
    let mut child = Command::new("readelf")
        .args([OsStr::new("-rW"), path.as_os_str()])
        .env("LC_ALL", "C")
        .stdout(Stdio::piped())
        .spawn()
        .expect("readelf runs");
    let output = BufReader::with_capacity(1 << 16, child.stdout.take().expect("piped"));
    let mut rows = Vec::new();
    for line in output.split(b'\n') {
        let line = line.expect("readelf's output");
        let line = std::str::from_utf8(&line).unwrap_or_else(|_| panic!("{}: {}", path.display(), line.escape_ascii()));
        rows.extend(parse(line, bytes).unwrap_or_else(|| panic!("{}: unknown line {line:?}", path.display())));
    }
    assert!(child.wait().expect("readelf ends").success(), "readelf -rW {}", path.display());
    rows.into_iter().collect()
}

/// One line of `readelf -rW`. `Some(None)`: it is no row. `None`: it is none that we know.
fn parse(line: &str, bytes: &[u8]) -> Option<Option<String>> {
    const HEADINGS: [&str; 4] = ["Relocation section", "    Offset ", "There are no relocations", "File: "];
    if line.is_empty() || HEADINGS.iter().any(|heading| line.starts_with(heading)) || line.ends_with(" offsets") {
        return Some(None);
    }
    let place = u64::from_str_radix(line.get(..16)?, 16).ok()?;
    let rest = line[16..].trim_start();
    if rest.is_empty() {
        // RELR: readelf 2.40 prints places only, so the target is read from the file here.
        return Some(Some(format!("rebase {place:#x} {:#x}", word_at(bytes, place)?)));
    }
    let (_info, rest) = rest.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    let rest = rest.trim_start();
    let row = match (name, rest.split_once(' ')) {
        ("R_X86_64_RELATIVE", None) => format!("rebase {place:#x} {:#x}", hex(rest)?),
        ("R_X86_64_IRELATIVE", None) => format!("resolver {place:#x} {:#x}", hex(rest)?),
        (_, None) => format!("bind {place:#x} {name} - {}", hex(rest)? as i64),
        // The value's column, which holds `name()` instead for an IFUNC symbol, then SYMBOL SIGN ADDEND.
        (_, Some((_value, symbol))) => {
            let (symbol, addend) = symbol.trim_start().rsplit_once(' ')?;
            let (symbol, sign) = symbol.rsplit_once(' ')?;
            let addend = if sign == "-" { hex(addend)?.wrapping_neg() } else { hex(addend)? };
            // `@@` marks a version that this very file defines; the import is the same.
            let mut row = format!("bind {place:#x} {name} ");
            let _ = write!(row, "{} {}", symbol.replacen("@@", "@", 1), addend as i64);
            row
        }
    };
    Some(Some(row))
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

/// The 64-bit word at an address, by the program headers; zero where the file holds nothing.
fn word_at(bytes: &[u8], vm: u64) -> Option<u64> {
    let header = Elf::parse_header(bytes).ok()?;
    let (start, count) = (usize::try_from(header.e_phoff).ok()?, usize::from(header.e_phnum));
    let context = goblin::container::Ctx::default();
    let headers = program_header::ProgramHeader::parse(bytes, start, count, context).ok()?;
    let segment = headers
        .iter()
        .find(|segment| segment.p_type == program_header::PT_LOAD && segment.vm_range().contains(&(vm as usize)))?;
    let offset = usize::try_from(vm - segment.p_vaddr).ok()?;
    let word = bytes.get(segment.file_range())?.get(offset..offset + 8);
    Some(word.map_or(0, |word| u64::from_le_bytes(word.try_into().unwrap_or_default())))
}

/// All shared objects below `root`, the largest first, each file once whatever its links.
fn shared_objects(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
            if meta.is_dir() && !is_skipped(&path) {
                folders.push(path);
            } else if meta.is_file() && seen.insert((meta.dev(), meta.ino())) && is_shared_object(&path) {
                found.push((meta.len(), path));
            }
        }
    }
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, path)| path).collect()
}

/// What is no part of the machine's installation: kernel interfaces, scratch files, and caches, as the folder that a
/// compiler is writing to.
fn is_skipped(folder: &Path) -> bool {
    ["/proc", "/sys", "/dev", "/run", "/tmp"].iter().any(|skipped| folder == Path::new(skipped))
        || folder.join("CACHEDIR.TAG").exists()
}

/// Whether a file is an ELF shared object for x86-64 with a dynamic section, and no executable.
///
/// An executable has `DF_1_PIE`, or from an older linker at least the `DT_DEBUG` that only executables get.
fn is_shared_object(path: &Path) -> bool {
    let Ok(mut file) = fs::File::open(path) else { return false };
    let mut start = [0; 20];
    if file.read_exact(&mut start).is_err() || !start.starts_with(header::ELFMAG) {
        return false;
    }
    let [.., type_low, type_high, machine_low, machine_high] = start;
    if u16::from_le_bytes([type_low, type_high]) != header::ET_DYN
        || u16::from_le_bytes([machine_low, machine_high]) != header::EM_X86_64
        || start[header::EI_CLASS] != header::ELFCLASS64
    {
        return false;
    }
    let Ok(bytes) = fs::read(path) else { return false };
    // What goblin cannot read has to be compared all the same.
    let Ok(elf) = Elf::parse(&bytes) else { return true };
    let Some(dynamic) = &elf.dynamic else { return false };
    // A separate debug file has the headers of the object it belongs to, and nothing behind them.
    let is_debug_file = elf.section_headers.iter().any(|section| {
        section.sh_type == section_header::SHT_NOBITS
            && section.sh_flags & u64::from(section_header::SHF_EXECINSTR) != 0
    });
    let is_executable = dynamic.info.flags_1 & dynamic::DF_1_PIE != 0
        || dynamic.dyns.iter().any(|entry| entry.d_tag == dynamic::DT_DEBUG);
    !is_executable && !is_debug_file
}
