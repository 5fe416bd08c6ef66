//! One measurement, in a process of its own: the open it times is the first thing that the loader does there.

use std::ffi::{CString, c_char, c_int, c_void};
use std::hint::{black_box, spin_loop};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is asked within a process is answered with the minimum over this many batches.
const BATCHES: usize = 200;
/// Lookups in a batch: about 50 µs.
const LOOKUPS: usize = 2_000;
/// Calls in a batch: about 30 µs.
const CALLS: usize = 20_000;
/// Lookups in a batch of which each of two threads does as many: long against the start of a batch.
const SHARED_LOOKUPS: usize = 10_000;
const SHARED_BATCHES: usize = 40;

type Crc32 = unsafe extern "C" fn(u64, *const u8, u32) -> u64;
type ZlibVersion = unsafe extern "C" fn() -> *const c_char;
type Answer = unsafe extern "C" fn() -> c_int;

/// An opened library, never closed.
enum Opened {
    Ours(&'static sideload::Library),
    Theirs(&'static libloading::os::unix::Library, *mut c_void),
}

/// Measures what `args` (side, measurement, arguments) ask for, prints the numbers on the last line, and ends the
/// process without running the finalisers of what was opened.
pub(crate) fn run(args: &[String]) -> ! {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let code = match measure(&args) {
        Ok(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
            println!("{}", numbers.join(" "));
            0
        }
        Err(text) => {
            eprintln!("{text}");
            1
        }
    };
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process, at a point where nothing is left to be written.
    unsafe { libc::_exit(code) }
}

fn measure(args: &[&str]) -> Result<Vec<f64>, String> {
    match args {
        [side, "open", library] => {
            let (_, time) = Opened::open(side, library)?;
            Ok(vec![time.as_secs_f64() * 1e9])
        }
        [side, "second", first, library] => {
            Opened::open(side, first)?;
            let (_, time) = Opened::open(side, library)?;
            Ok(vec![time.as_secs_f64() * 1e9])
        }
        [side, "rss", library] => {
            private_dirty_kb()?; // the first reading allocates
            let before = private_dirty_kb()?;
            let _opened = Opened::open(side, library)?;
            Ok(vec![private_dirty_kb()? - before])
        }
        [side, "throw", library, thrower] => {
            Opened::open(side, library)?;
            let (opened, _) = Opened::open(side, thrower)?;
            throw(&opened)
        }
        [side, "call", library] => {
            let (opened, _) = Opened::open(side, library)?;
            call(&opened)
        }
        [side, "lookup2", library, name] => {
            let (opened, _) = Opened::open(side, library)?;
            lookup2(&opened, name)
        }
        [_, "cpu2"] => Ok(one_and_two(arithmetic)),
        [side, how @ ("lookup" | "miss" | "bare" | "versioned"), library, name @ ..] => {
            let (opened, _) = Opened::open(side, library)?;
            lookup(&opened, how, name)
        }
        _ => Err(format!("not a measurement: {args:?}")),
    }
}

impl Opened {
    /// Opens `library`, and says how long the one call took.
    fn open(side: &str, library: &str) -> Result<(Opened, Duration), String> {
        if side == "ours" {
            let start = Instant::now();
            // SAFETY: the initialisers are those of libraries that the caller chose to open.
            let opened = unsafe { sideload::Library::open(library) };
            let time = start.elapsed();
            let opened = opened.map_err(|error| error.to_string())?;
            return Ok((Opened::Ours(Box::leak(Box::new(opened))), time));
        }
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        let start = Instant::now();
        // SAFETY: as above.
        let opened = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) };
        let time = start.elapsed();
        let handle = opened.map_err(|error| error.to_string())?.into_raw();
        // SAFETY: the handle was just taken out of a library, and is never closed.
        let opened = unsafe { Library::from_raw(handle) };
        Ok((Opened::Theirs(Box::leak(Box::new(opened)), handle), time))
    }
}

/// The first call of a function that throws and catches a C++ exception.
fn throw(opened: &Opened) -> Result<Vec<f64>, String> {
    // SAFETY: every fixture's `answer` has this type.
    let answer: Answer = unsafe {
        match opened {
            Opened::Ours(library) => *library.get::<Answer>("answer").map_err(|error| error.to_string())?,
            Opened::Theirs(library, _) => *library.get::<Answer>(b"answer\0").map_err(|error| error.to_string())?,
        }
    };
    let start = Instant::now();
    // SAFETY: as above; the exception does not leave it.
    let value = unsafe { answer() };
    let time = start.elapsed();
    if value == 42 { Ok(vec![time.as_secs_f64() * 1e9]) } else { Err(format!("the fixture answers {value}")) }
}

/// Nanoseconds per lookup. The system's loader is asked through libloading, which clears `dlerror` first, except by
/// `bare` and `versioned`: those call `dlsym` and `dlvsym` themselves.
fn lookup(opened: &Opened, how: &str, name: &[&str]) -> Result<Vec<f64>, String> {
    let terminated: Vec<CString> = name.iter().map(|part| CString::new(*part).expect("no NUL")).collect();
    let found = |expected: bool, found: bool| match expected == found {
        true => Ok(()),
        false => Err(format!("{how} {name:?}: found is {found}")),
    };
    // SAFETY: none of the symbols is used, and the handle is open.
    let time = unsafe {
        match (opened, how, name, &*terminated) {
            (Opened::Ours(library), "lookup" | "miss" | "bare", [name], _) => {
                found(how != "miss", library.get::<Crc32>(name).is_ok())?;
                batches(LOOKUPS, || library.get::<Crc32>(black_box(*name)).is_ok())
            }
            (Opened::Ours(library), "versioned", [name, version], _) => {
                found(true, library.get_versioned::<Crc32>(name, version).is_ok())?;
                batches(LOOKUPS, || library.get_versioned::<Crc32>(black_box(*name), black_box(*version)).is_ok())
            }
            (Opened::Theirs(library, _), "lookup" | "miss", _, [name]) => {
                let name = name.as_bytes_with_nul();
                found(how != "miss", library.get::<Crc32>(name).is_ok())?;
                batches(LOOKUPS, || library.get::<Crc32>(black_box(name)).is_ok())
            }
            (Opened::Theirs(_, handle), "bare", _, [name]) => {
                found(true, !libc::dlsym(*handle, name.as_ptr()).is_null())?;
                batches(LOOKUPS, || libc::dlsym(*handle, black_box(name.as_ptr())))
            }
            (Opened::Theirs(_, handle), "versioned", _, [name, version]) => {
                found(true, !libc::dlvsym(*handle, name.as_ptr(), version.as_ptr()).is_null())?;
                batches(LOOKUPS, || libc::dlvsym(*handle, black_box(name.as_ptr()), version.as_ptr()))
            }
            _ => return Err(format!("not a lookup: {how} {name:?}")),
        }
    };
    Ok(vec![time])
}

/// Nanoseconds per lookup of a batch in one thread, and of one in each of two threads at the same time.
fn lookup2(opened: &Opened, name: &str) -> Result<Vec<f64>, String> {
    let terminated = CString::new(name).expect("no NUL");
    let terminated = terminated.as_bytes_with_nul();
    // SAFETY: none of the symbols is used.
    let numbers = unsafe {
        match opened {
            Opened::Ours(library) => one_and_two(|| library.get::<Crc32>(black_box(name)).is_ok()),
            Opened::Theirs(library, _) => one_and_two(|| library.get::<Crc32>(black_box(terminated)).is_ok()),
        }
    };
    Ok(numbers)
}

/// Nanoseconds per call of `zlibVersion`: through our `Symbol`, and by a plain function pointer.
fn call(opened: &Opened) -> Result<Vec<f64>, String> {
    // SAFETY: `zlibVersion` has this type.
    let time = unsafe {
        match opened {
            Opened::Ours(library) => {
                let symbol = library.get::<ZlibVersion>("zlibVersion").map_err(|error| error.to_string())?;
                batches(CALLS, || symbol())
            }
            Opened::Theirs(library, _) => {
                let symbol = library.get::<ZlibVersion>(b"zlibVersion\0").map_err(|error| error.to_string())?;
                let pointer: ZlibVersion = *symbol;
                batches(CALLS, || pointer())
            }
        }
    };
    Ok(vec![time])
}

/// Nanoseconds per `operation`: the fastest batch.
fn batches<T>(size: usize, mut operation: impl FnMut() -> T) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..BATCHES {
        best = best.min(batch(size, &mut operation));
    }
    best.as_secs_f64() * 1e9 / size as f64
}

/// Never inlined, so that every batch of an operation is the same code, whichever loop it is called from.
#[inline(never)]
fn batch<T>(size: usize, mut operation: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..size {
        black_box(operation());
    }
    start.elapsed()
}

/// Nanoseconds per `operation` in one thread, and in two that both do a whole batch: from the start of a batch until
/// the later of the two is done.
fn one_and_two<T>(operation: impl Fn() -> T + Sync) -> Vec<f64> {
    let (turn, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait = |cell: &AtomicUsize, value| {
        while cell.load(Ordering::Acquire) != value {
            spin_loop();
        }
    };
    let (mut one, mut two) = (Duration::MAX, Duration::MAX);
    for _ in 0..SHARED_BATCHES {
        one = one.min(batch(SHARED_LOOKUPS, &operation));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=SHARED_BATCHES {
                wait(&turn, number);
                batch(SHARED_LOOKUPS, &operation);
                done.store(number, Ordering::Release);
            }
        });
        for number in 1..=SHARED_BATCHES {
            let start = Instant::now();
            turn.store(number, Ordering::Release);
            batch(SHARED_LOOKUPS, &operation);
            wait(&done, number);
            two = two.min(start.elapsed());
        }
    });
    [one, two].map(|time| time.as_secs_f64() * 1e9 / SHARED_LOOKUPS as f64).to_vec()
}

/// Work of about a lookup's length that shares nothing: what two threads reach on this machine.
fn arithmetic() -> u64 {
    (0..16).fold(black_box(1), |value: u64, step| value.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) ^ step)
}

/// The process's private dirty pages, in KiB.
fn private_dirty_kb() -> Result<f64, String> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").map_err(|error| error.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.ok_or_else(|| "no Private_Dirty in smaps_rollup".to_owned())
}
