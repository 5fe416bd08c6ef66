//! Backtraces that name the functions of objects which [`sideload`] loaded.
//!
//! [`std::backtrace`] walks through the frames of such objects, but cannot name them: it asks the system loader where
//! each address lies, and that knows nothing of them. [`Backtrace`] asks `sideload`, and then reads the object's own file
//! for names, inlined calls and lines (its debug information, or else its symbol table). Where there is no such file any
//! more, the dynamic symbols name what the object exports. All other frames are named as ever.
//!
//! ```
//! sideload_backtrace::print_on_panic();
//! println!("{}", sideload_backtrace::Backtrace::capture());
//! ```
//!
//! An object that is itself written in Rust needs none of this for its own panics: the copy of the standard library in
//! it asks `sideload`.

use addr2line::Loader;
use sideload::Location;
use sideload::addr::RunAddr;
use std::collections::HashMap;
use std::fmt;
use std::panic;
use std::path::{Path, PathBuf};

/// A captured stack: the addresses alone. They are named when it is printed.
#[derive(Clone, Debug)]
pub struct Backtrace {
    addresses: Vec<usize>,
}

impl Backtrace {
    /// The stack of this thread, from the caller of this function outwards.
    #[inline(never)]
    pub fn capture() -> Backtrace {
        let mut addresses = Vec::new();
        let mut own = 0;
        backtrace::trace(|frame| {
            // The address of the call: the one it returns to may lie behind the end of the calling function.
            addresses.push((frame.ip() as usize).saturating_sub(1));
            if frame.symbol_address().addr() == (Backtrace::capture as *const ()).addr() {
                own = addresses.len();
            }
            true
        });
        addresses.drain(..own);
        Backtrace { addresses }
    }

    /// The addresses of the calls, the innermost first.
    pub fn addresses(&self) -> impl Iterator<Item = usize> {
        self.addresses.iter().copied()
    }
}

/// In the form of [`std::backtrace::Backtrace`]. Reads files, and takes milliseconds the first time.
impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files = Files::default();
        for (index, &address) in self.addresses.iter().enumerate() {
            let calls = match Location::of(RunAddr(address as u64)) {
                Some(location) => files.calls(&location),
                None => calls_of_the_host(address),
            };
            if calls.is_empty() {
                writeln!(f, "{index:4}: <unknown>")?;
            }
            for (nth, call) in calls.iter().enumerate() {
                // Inlined calls share their frame's number.
                match nth {
                    0 => writeln!(f, "{index:4}: {}", call.function)?,
                    _ => writeln!(f, "      {}", call.function)?,
                }
                if let Some(place) = &call.place {
                    writeln!(f, "             at {place}")?;
                }
            }
        }
        Ok(())
    }
}

/// One function of a frame, and where in its source.
struct Call {
    function: String,
    place: Option<String>,
}

fn place(file: &Path, line: Option<u32>, column: Option<u32>) -> String {
    let mut text = file.display().to_string();
    for number in [line, column.filter(|_| line.is_some())].into_iter().flatten() {
        text.push_str(&format!(":{number}"));
    }
    text
}

fn calls_of_the_host(address: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    backtrace::resolve(address as *mut _, |symbol| {
        calls.push(Call {
            function: symbol.name().map_or("<unknown>".to_owned(), |name| name.to_string()),
            place: symbol.filename().map(|file| place(file, symbol.lineno(), symbol.colno())),
        });
    });
    calls
}

/// The files of loaded objects, each opened once a backtrace; `None` for those that cannot be read.
#[derive(Default)]
struct Files(HashMap<PathBuf, Option<Loader>>);

impl Files {
    fn calls(&mut self, location: &Location) -> Vec<Call> {
        let path = location.path();
        let file = self.0.entry(path.to_owned()).or_insert_with(|| Loader::new(path).ok());
        let mut calls = Vec::new();
        if let Some(file) = file {
            calls = inlined_calls(file, location.vm().0).unwrap_or_default();
            if calls.is_empty()
                && let Some(name) = file.find_symbol(location.vm().0)
            {
                calls.push(Call { function: addr2line::demangle_auto(name.into(), None).into_owned(), place: None });
            }
        }
        if calls.is_empty() {
            calls.push(Call { function: dynamic_symbol(location), place: None });
        }
        calls
    }
}

/// What the debug information says: the innermost inlined call first.
fn inlined_calls(file: &Loader, vm: u64) -> Option<Vec<Call>> {
    let mut frames = file.find_frames(vm).ok()?;
    let mut calls = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.as_ref()?;
        let function = function.demangle().map_or_else(|_| "<unknown>".to_owned(), |name| name.into_owned());
        let source = frame.location.as_ref();
        let place = source.and_then(|at| Some(place(Path::new(at.file?), at.line, at.column)));
        calls.push(Call { function, place });
    }
    Some(calls)
}

fn dynamic_symbol(location: &Location) -> String {
    let Some(symbol) = location.symbol().filter(|symbol| symbol.holds) else { return location.to_string() };
    addr2line::demangle_auto(String::from_utf8_lossy(symbol.name), None).into_owned()
}

/// Has every panic of this program print such a backtrace, after what the hook that was set before prints. That one's
/// own backtrace is governed by `RUST_BACKTRACE` as before.
pub fn print_on_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        before(panic);
        eprintln!("stack backtrace, with the objects that sideload loaded:\n{}", Backtrace::capture());
    }));
}
