//! One file in a process of its own, from the child's side: open it, then do what programs do, and end.

use super::record::{Record, State};
use crate::failure::{Done, Failure};
use crate::locate;
use crate::open::{Until, open};
use clap::Args;
use sideload::{Event, Loader};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{panic, thread};

/// The hidden verb.
pub(crate) const VERB: &str = "sweep-opener";

#[derive(Args)]
pub(crate) struct Arguments {
    file: PathBuf,
    #[arg(long, value_enum)]
    until: Until,
}

/// Exits with 0 whether the file opens or not: that is what the record says. Anything else is a death.
pub(crate) fn run(arguments: &Arguments) -> Done {
    let witness = Arc::new(Witness {
        record: Record::inherited().map_err(|error| Failure::file(Path::new("standard input"), error))?,
        rest: Mutex::new(State::Loading),
        tables: Mutex::new(Vec::new()),
    });
    let loader = Loader::new().search(locate::options()).observer({
        let witness = Arc::clone(&witness);
        move |event| witness.see(event)
    });
    let started = Instant::now();
    let opened = open(&loader, as_path(&arguments.file).as_os_str(), arguments.until);
    let microseconds = microseconds(started.elapsed());
    witness.settle(match opened {
        Ok(_) => State::Opened { microseconds },
        Err(failure) => State::Refused { microseconds, message: failure.to_string() },
    });
    go_on(&witness);
    Ok(ExitCode::SUCCESS)
}

/// What any program may do after it opened a library: run a thread, unwind. Its finalisers run when this ends.
fn go_on(witness: &Witness) {
    panic::set_hook(Box::new(|_| {}));
    witness.unwind();
    let unwound = thread::spawn(|| panic::catch_unwind(|| panic!("thrown to be caught")).is_err()).join();
    assert!(unwound.is_ok_and(|unwound| unwound), "a panic was not caught");
    witness.rest();
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The file as a path: a bare name would be searched.
fn as_path(file: &Path) -> PathBuf {
    if OsStr::as_bytes(file.as_os_str()).contains(&b'/') { file.to_owned() } else { Path::new(".").join(file) }
}

/// Leaves word of where the open stands. Where that cannot be written, a death counts against the loader.
struct Witness {
    record: Record,
    /// What holds when no foreign code runs.
    rest: Mutex<State>,
    /// Unwind tables that were not checked whole: module and address.
    tables: Mutex<Vec<(String, u64)>>,
}

impl Witness {
    fn see(&self, event: &Event<'_>) {
        match *event {
            Event::Foreign { stage, module, address } => {
                let foreign =
                    State::Foreign { stage: stage.to_string(), module: module.to_owned(), address: address.0 };
                let _ = self.record.write(&foreign);
            }
            Event::Native => self.rest(),
            Event::Tables { module, address } => {
                let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
                tables.push((module.to_owned(), address.0));
            }
            _ => {}
        }
    }

    /// No code of the object is running.
    fn rest(&self) {
        let _ = self.record.write(&self.rest.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// An unwinder is about to read all tables that it has. Should it die, it died in one that was not checked whole, if
    /// there is such a one: the last, which it reads first.
    fn unwind(&self) {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((module, address)) = tables.last() {
            let state = State::Foreign { stage: "unwind".into(), module: module.clone(), address: *address };
            let _ = self.record.write(&state);
        }
    }

    fn settle(&self, state: State) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.record.write(&state);
        *rest = state;
    }
}
