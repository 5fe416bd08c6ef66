//! Fixups of Mach-O images against `memcpy`, and what planning one reads: see README.md.

#[path = "macho/resident.rs"]
mod resident;

use sideload::addr::{Bias, VmAddr};
use sideload::link::Bindings;
use sideload::memory::{Memory, Scratch};
use sideload::plan::{self, LoadPlan, TlsModel};
use sideload::relocate::{Addresses, ThreadLocals, relocate};
use sideload::symbol::{Definition, HostId, ModuleId, Provider, SymbolKind};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "\
usage: cargo bench --bench macho -- [FILE…] [OPTION…]

`fixups` and `plan` of each image of each file; without a file, of a fixture.

    --rounds N    rounds of `fixups`; 51 unless told
    --help        this text";

/// Pages that are counted and copied. Those of arm64 are larger, so this is what is hardest to keep up with.
const PAGE: u64 = 0x1000;

struct Options {
    files: Vec<PathBuf>,
    rounds: usize,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for path in &options.files {
        if let Err(error) = measure(path, options.rounds) {
            println!("{} failed: {error}", path.display());
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { files: Vec::new(), rounds: 51 };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--help" => return Err(HELP.to_owned()),
            "--rounds" => {
                let number = arguments.next().and_then(|number| number.parse().ok()).filter(|&number| number > 0);
                options.rounds = number.ok_or("--rounds takes a number")?;
            }
            option if option.starts_with('-') => return Err(format!("{option}: unknown\n{HELP}")),
            file => options.files.push(file.into()),
        }
    }
    if options.files.is_empty() {
        options.files.push(test_fixtures::macho_edit::folder().join("rebase-a64-chained.dylib"));
    }
    Ok(options)
}

type Failure = Box<dyn std::error::Error>;

fn measure(path: &Path, rounds: usize) -> Result<(), Failure> {
    let bytes = std::fs::read(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for slice in sideload::macho::fat::slices(&bytes)? {
        let Some(arch) = slice.arch() else { continue };
        let Ok(plan) = plan::plan_for(&bytes, &name, Some(arch)) else { continue };
        println!("fixups {name} {arch} {}", fixups(&plan, &bytes, rounds)?);
        println!("plan {name} {arch} {}", resident::of_a_plan(path, arch)?);
    }
    Ok(())
}

/// Applies all fixups of an image again and again, in turn with a copy of the pages that they are on.
fn fixups(plan: &LoadPlan, bytes: &[u8], rounds: usize) -> Result<String, Failure> {
    let mut memory = Scratch::new(plan, bytes, Bias(0x7_1234_5000_0000))?;
    let (pages, count) = pages(plan, bytes)?;
    let runs = runs(plan, &pages);
    let mut copy = vec![1u8; runs.iter().map(ExactSizeIterator::len).sum()];
    let (bindings, addresses) = bindings(plan, bytes, memory.bias())?;
    let (mut applied, mut copied) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        let started = Instant::now();
        relocate(ModuleId(0), plan, black_box(bytes), &bindings, &addresses, &mut memory)?;
        applied = applied.min(started.elapsed());
        let started = Instant::now();
        let mut to = &mut copy[..];
        for range in &runs {
            let (part, rest) = to.split_at_mut(range.len());
            part.copy_from_slice(black_box(&bytes[range.clone()]));
            to = rest;
        }
        copied = copied.min(started.elapsed());
        black_box(&mut copy);
    }
    let [applied, copied] = [applied, copied].map(|time| time.as_secs_f64() * 1e6);
    let ratio = copied / applied;
    Ok(format!("{count} on {} pages: {applied:.1} us, memcpy {copied:.1} us, ratio {ratio:.2}", pages.len()))
}

/// The pages that hold fixups, and how many fixups there are.
fn pages(plan: &LoadPlan, bytes: &[u8]) -> Result<(BTreeSet<u64>, u64), sideload::ErrorKind> {
    let (mut pages, mut count) = (BTreeSet::new(), 0);
    plan.fixups::<sideload::ErrorKind>(bytes, |fixup| {
        pages.insert(fixup.place.0 / PAGE);
        count += 1;
        Ok(())
    })?;
    Ok((pages, count))
}

/// Where the file holds them: neighbours are one range.
fn runs(plan: &LoadPlan, pages: &BTreeSet<u64>) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for page in pages {
        let Some(region) = plan.region(VmAddr(page * PAGE), 1) else { continue };
        let start = page * PAGE - region.vm.start.0;
        let (start, end) = (start.min(region.file.size), (start + PAGE).min(region.file.size));
        let [start, end] = [start, end].map(|at| (region.file.start.0 + at) as usize);
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

/// Every import at some place of an image of the host.
fn bindings(plan: &LoadPlan, bytes: &[u8], bias: Bias) -> Result<(Bindings, Addresses<'static>), sideload::ErrorKind> {
    let mut rows = Vec::new();
    plan.imports::<sideload::ErrorKind>(bytes, |id| {
        let vm = VmAddr(0x1000 + 16 * rows.len() as u64);
        rows.push((id, Definition::At { provider: Provider::Host(HostId(0)), kind: SymbolKind::Data, vm }));
        Ok(())
    })?;
    Ok((
        Bindings::of(rows)?,
        Addresses { new: vec![bias], host: vec![Bias(0x3_5000_0000_0000)], tls: Some(&locals), ..Addresses::default() },
    ))
}

fn locals(_: Provider, _: TlsModel) -> Result<ThreadLocals, sideload::ErrorKind> {
    Ok(ThreadLocals { module: Some(1), offset: None })
}
