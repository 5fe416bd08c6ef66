//! Ratios against the system's loader, measured in one run: see README.md.

#[path = "versus/child.rs"]
mod child;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const HELP: &str = "\
usage: cargo bench --bench versus -- [LIBRARY…] [OPTION…]

Without a library: all cases. With libraries: `open` and `rss` of each.

    --pairs N         rounds of each case; 75 unless told; fewer than 51 are too few to report
    --cases WORDS     only these, with commas: open,second,throw,lookup,lookup2,cpu2,call,rss
    --no-huge-pages   the measured processes get no transparent huge pages
    --help            this text";

/// The hidden first argument of a process that measures.
const CHILD: &str = "--measure";

const WORDS: &[&str] = &["open", "second", "throw", "lookup", "lookup2", "cpu2", "call", "rss"];

const LIBRARIES: &[&str] = &[
    "libLLVM-15.so.1",
    "libclang-cpp.so.14",
    "libz3.so.4",
    "librsvg-2.so.2",
    "libcrypto.so.3",
    "libstdc++.so.6",
    "libz.so.1",
];
const ZLIB: &str = "libz.so.1";
/// Opened before the second library, which is timed: of every Debian system, and it needs nothing but libc.
const BEFORE_SECOND: &str = "liblzma.so.5";
/// Opened before the first throw, which has to find its frames among this one's.
const BEFORE_THROW: &str = "libLLVM-15.so.1";

const PAIRS: usize = 75;
/// Rounds that are not counted: they bring the files into the page cache.
const WARM_UP: usize = 2;
/// Rounds of measurements that are themselves a minimum over many batches, or that hardly vary.
const FEW: usize = 21;

/// Us, and twice the system's loader: its ratio to itself is the noise.
const SERIES: [&str; 3] = ["ours", "theirs", "theirs"];

struct Options {
    libraries: Vec<String>,
    words: Vec<String>,
    pairs: usize,
    huge_pages: bool,
}

/// One line of output.
struct Case {
    word: &'static str,
    label: String,
    /// What a child is told after its side.
    measure: Vec<String>,
    unit: Unit,
    rounds: usize,
}

#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
    Kilobytes,
    /// Throughput of two threads, relative to one.
    Scaling,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((CHILD, rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        child::run(rest);
    }
    match parse(&args) {
        Ok(Some(options)) => report(&options),
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("versus: {text}\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(args: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options { libraries: Vec::new(), words: Vec::new(), pairs: PAIRS, huge_pages: true };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--bench" => {} // cargo's own
            "--help" | "-h" => return Ok(None),
            "--pairs" => {
                let pairs = value()?.parse().map_err(|error| format!("--pairs: {error}"))?;
                options.pairs = std::cmp::max(1, pairs);
            }
            "--cases" => options.words = words(value()?)?,
            "--no-huge-pages" => options.huge_pages = false,
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            library => options.libraries.push(library.to_owned()),
        }
    }
    Ok(Some(options))
}

fn words(list: &str) -> Result<Vec<String>, String> {
    let check = |word: &str| match WORDS.contains(&word) {
        true => Ok(word.to_owned()),
        false => Err(format!("--cases: {word} is none of {}", WORDS.join(","))),
    };
    list.split(',').map(check).collect()
}

fn report(options: &Options) -> ExitCode {
    let start = Instant::now();
    if !options.huge_pages {
        // SAFETY: takes no pointer; children inherit the setting.
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    }
    let mut cases = cases(options);
    if !options.words.is_empty() {
        cases.retain(|case| options.words.iter().any(|word| word == case.word));
    }
    eprintln!("# case what ours theirs ours/theirs self theirs/theirs: minima over {} rounds", options.pairs);
    eprintln!("# open and second in ms; throw in us; lookup and call in ns; rss in kB of private dirty pages;");
    eprintln!("# lookup2 and cpu2 in throughput of two threads, relative to one's: the more the better");
    let program = match Installed::copy() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("versus: this program cannot be copied: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for case in cases {
        match case.run(&program.0) {
            Ok(line) => println!("{line}"),
            Err(text) => {
                println!("{} {} failed: {text}", case.word, case.label);
                code = ExitCode::FAILURE;
            }
        }
    }
    eprintln!("# {:.0} s", start.elapsed().as_secs_f64());
    code
}

fn cases(options: &Options) -> Vec<Case> {
    use Unit::{Kilobytes, Microseconds, Milliseconds, Nanoseconds, Scaling};
    let (pairs, few) = (options.pairs, options.pairs.min(FEW));
    let case = |word, label: &str, measure: &[&str], unit, rounds| {
        let measure = measure.iter().map(|&text| text.to_owned()).collect();
        Case { word, label: label.to_owned(), measure, unit, rounds }
    };
    let open = |name: &str| case("open", name, &["open", name], Milliseconds, pairs);
    let rss = |name: &str| case("rss", name, &["rss", name], Kilobytes, few);
    if !options.libraries.is_empty() {
        return options.libraries.iter().flat_map(|name| [open(name), rss(name)]).collect();
    }
    let mut cases: Vec<Case> = LIBRARIES.iter().map(|name| open(name)).collect();
    // Opened like the library before it, then timed: the first call of its `answer`, which throws and catches.
    let thrower = test_fixtures::build("cxx_throw").path;
    let thrower = thrower.to_str().expect("the fixtures' folder has a name in UTF-8");
    cases.extend([
        case("second", ZLIB, &["second", BEFORE_SECOND, ZLIB], Milliseconds, pairs),
        case("throw", BEFORE_THROW, &["throw", BEFORE_THROW, thrower], Microseconds, pairs),
        case("lookup", "libz.so.1:crc32", &["lookup", ZLIB, "crc32"], Nanoseconds, few),
        case("lookup", "libz.so.1:crc32/dlsym", &["bare", ZLIB, "crc32"], Nanoseconds, few),
        case("lookup", "libz.so.1:absent", &["miss", ZLIB, "absent"], Nanoseconds, few),
        case("lookup", "libz.so.1:crc32_z@ZLIB_1.2.9", &["versioned", ZLIB, "crc32_z", "ZLIB_1.2.9"], Nanoseconds, few),
        case("lookup2", "libz.so.1:crc32", &["lookup2", ZLIB, "crc32"], Scaling, few),
        case("cpu2", "arithmetic", &["cpu2"], Scaling, few),
        case("call", "libz.so.1:zlibVersion", &["call", ZLIB], Nanoseconds, few),
        rss(BEFORE_THROW),
    ]);
    cases
}

/// A copy of this program, as programs are installed: written from its beginning to its end. A linker writes here and
/// there, and the system then keeps the file in small pieces, of which each page fault maps only one.
struct Installed(PathBuf);

impl Installed {
    fn copy() -> std::io::Result<Installed> {
        let program = std::env::current_exe()?;
        let copy = Installed(program.with_extension(format!("installed-{}", std::process::id())));
        std::fs::copy(program, &copy.0)?;
        // Pages that are not on the disk yet would count as dirty, and as ours, where code runs for the first time.
        std::fs::File::open(&copy.0)?.sync_all()?;
        Ok(copy)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Case {
    /// Runs the series in turn, each first equally often, and renders the line.
    fn run(&self, program: &Path) -> Result<String, String> {
        let mut minima: [Vec<f64>; 3] = Default::default();
        for round in 0..WARM_UP + self.rounds {
            for turn in 0..SERIES.len() {
                let series = (round + turn) % SERIES.len();
                let numbers = self.measure(program, SERIES[series])?;
                if round >= WARM_UP {
                    keep_minima(&mut minima[series], numbers);
                }
            }
        }
        let [ours, theirs, again] = minima.map(|numbers| self.unit.of(&numbers));
        let (word, label) = (self.word, &self.label);
        let (ratio, noise) = (ours / theirs, again / theirs);
        Ok(format!("{word} {label} {} {} {ratio:.2} self {noise:.2}", short(ours), short(theirs)))
    }

    /// One measurement in a process of its own.
    fn measure(&self, program: &Path, side: &str) -> Result<Vec<f64>, String> {
        let mut command = Command::new(program);
        command.arg(CHILD).arg(side).args(&self.measure);
        // Cargo sets the first, for its own libraries; all of them change what the system's loader does.
        for name in ["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_BIND_NOW", "LD_DEBUG", "GLIBC_TUNABLES"] {
            command.env_remove(name);
        }
        let output = command.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().filter(|_| output.status.success());
        let numbers: Option<Vec<f64>> =
            line.and_then(|line| line.split(' ').map(str::parse).collect::<Result<_, _>>().ok());
        let failed = || format!("{side}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        numbers.ok_or_else(failed)
    }
}

impl Unit {
    /// What is shown, from a child's numbers: nanoseconds, or KiB.
    fn of(self, numbers: &[f64]) -> f64 {
        match (self, numbers) {
            (Unit::Milliseconds, [time]) => time / 1e6,
            (Unit::Microseconds, [time]) => time / 1e3,
            (Unit::Nanoseconds | Unit::Kilobytes, [number]) => *number,
            (Unit::Scaling, [one, two]) => 2.0 * one / two,
            _ => f64::NAN,
        }
    }
}

fn keep_minima(best: &mut Vec<f64>, numbers: Vec<f64>) {
    if best.is_empty() {
        *best = numbers;
    } else {
        best.iter_mut().zip(numbers).for_each(|(best, number)| *best = best.min(number));
    }
}

/// Three figures at the least.
fn short(number: f64) -> String {
    match number {
        0.0..1.0 => format!("{number:.3}"),
        1.0..100.0 => format!("{number:.2}"),
        _ => format!("{number:.0}"),
    }
}
