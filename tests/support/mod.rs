//! What the integration tests share: cases that run in child processes, so that one that dies is reported by name.
#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod fork;
pub(crate) mod state;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The functions of `<dlfcn.h>` and `<link.h>` that a program can take over for the whole process.
pub(crate) const LIBDL: [&str; 11] = [
    "dlopen",
    "dlmopen",
    "dlsym",
    "dlvsym",
    "dladdr",
    "dladdr1",
    "dlinfo",
    "dlclose",
    "dlerror",
    "dl_iterate_phdr",
    "_dl_find_object",
];

thread_local!(static ROOM: sideload::StaticTls<{ 64 << 10 }> = const { sideload::StaticTls::new() });

/// Gives the library more room for static thread-locals than it has of its own, as the fixtures want.
pub(crate) fn reserve_static_tls() {
    sideload::StaticTls::offer(&ROOM).expect("a test is an executable");
}

/// Longer than the slowest case takes on a busy machine by far.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run of one test of this very binary, in a process of its own.
pub(crate) struct Child {
    command: Command,
    patience: Duration,
}

impl Child {
    /// Will run the test of that name.
    pub(crate) fn new(test: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("this test's own path"));
        command.args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]);
        command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD").env_remove("RUST_BACKTRACE");
        Child { command, patience: PATIENCE }
    }

    /// Has another program run it, which takes the command line behind its own arguments.
    pub(crate) fn under(mut self, mut program: Command) -> Child {
        program.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        self.command = program;
        self
    }

    /// Lets it take so long, where that is more than usual.
    pub(crate) fn patient(mut self, patience: Duration) -> Child {
        self.patience = patience;
        self
    }

    /// Gives it a value, to be read with [`argument`].
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Child {
        self.command.env(key(name), value);
        self
    }

    /// Sets a variable of its environment under that very name.
    pub(crate) fn environment(mut self, name: &str, value: impl AsRef<OsStr>) -> Child {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Outcome {
        // Files, not pipes: a child that fills a pipe nobody reads would never end.
        let (mut stdout, mut stderr) = (anonymous_file(), anonymous_file());
        self.command.stdin(Stdio::null());
        self.command.stdout(stdout.try_clone().expect("a descriptor"));
        self.command.stderr(stderr.try_clone().expect("a descriptor"));
        let mut child = self.command.spawn().expect("the child starts");
        let start = Instant::now();
        let status = loop {
            match child.try_wait().expect("the child is ours to wait for") {
                Some(status) => break Some(status),
                None if start.elapsed() > self.patience => {
                    child.kill().expect("the child is ours to kill");
                    child.wait().expect("the child is ours to wait for");
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Outcome { status, stdout: text(&mut stdout), stderr: text(&mut stderr) }
    }
}

/// Runs the test of that name once more in a process of its own, where it may hang or die, or have the process to
/// itself: returns true here, once that has passed, and false there.
#[track_caller]
pub(crate) fn passes_elsewhere(test: &str) -> bool {
    let here = std::env::var_os(key("ELSEWHERE")).is_none();
    if here {
        Child::new(test).with("ELSEWHERE", "").run().expect_success();
    }
    here
}

/// The variable that carries a value of [`Child::with`].
pub(crate) fn key(name: &str) -> String {
    format!("SIDELOAD_TEST_{name}")
}

/// A value that the parent gave with [`Child::with`].
pub(crate) fn argument(name: &str) -> OsString {
    std::env::var_os(key(name)).unwrap_or_else(|| panic!("the parent gives {name}"))
}

/// The same as text.
pub(crate) fn text_argument(name: &str) -> String {
    argument(name).into_string().expect("the parent gives text")
}

fn anonymous_file() -> File {
    let path = temporary("output");
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let file = file.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    std::fs::remove_file(&path).expect("the file made above");
    file
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a regular file");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A path that nobody uses yet, in this package's folder for tests.
pub(crate) fn temporary(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let serial = COUNT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{serial}", std::process::id()))
}

/// A folder of a test's own, removed with all it holds.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub(crate) fn new(name: &str) -> Folder {
        let path = temporary(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Folder(path)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Copies a file into it, under the same name.
    pub(crate) fn copy(&self, from: &Path) -> PathBuf {
        self.copy_as(from, from.file_name().expect("a file"))
    }

    /// Copies a file into it, under a name of its own.
    pub(crate) fn copy_as(&self, from: &Path, name: impl AsRef<Path>) -> PathBuf {
        let to = self.file(name);
        std::fs::copy(from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        to
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody to tell if it fails.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a child ended, and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `None` if it had to be ended.
    pub(crate) status: Option<ExitStatus>,
    /// Its standard output, with the test harness' own lines.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

const MARK: &str = "said: ";

/// Reports a line from a child; the harness' own output may stand before it in the same line.
pub(crate) fn say(line: impl fmt::Display) {
    println!("{MARK}{line}");
}

impl Outcome {
    /// Whether the child's test passed.
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// What the child said, line by line.
    pub(crate) fn said(&self) -> Vec<&str> {
        self.stdout.lines().filter_map(|line| line.split_once(MARK)).map(|(_, said)| said).collect()
    }

    /// What it said last, or else how it died.
    pub(crate) fn last(&self) -> String {
        match self.status {
            None => "no end".to_owned(),
            Some(status) if status.success() => self.said().last().copied().unwrap_or("nothing").to_owned(),
            Some(status) => format!("{status}, after saying {:?}", self.said().last().copied().unwrap_or("nothing")),
        }
    }

    /// Fails, with all that is known, unless the child's test passed.
    #[track_caller]
    pub(crate) fn expect_success(&self) -> &Outcome {
        assert!(self.is_success(), "{self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("did not end")?,
        }
        write!(f, "\n{}{}", self.stdout, self.stderr)
    }
}

/// What an error is, and its text, in one line: `Kind | text`.
pub(crate) fn describe(error: &sideload::Error) -> String {
    format!("{} | {}", kind(error.kind()), error.to_string().replace('\n', " "))
}

/// The name of the variant.
pub(crate) fn kind(kind: &sideload::ErrorKind) -> String {
    let text = format!("{kind:?}");
    text.chars().take_while(|letter| letter.is_alphanumeric()).collect()
}

/// Applies `work` to each item, on all processors, and returns what it gave in the items' order.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let result = work(item);
                    results.lock().expect("no panic while locked").push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no panic while locked");
    results.sort_by_key(|&(at, _)| at);
    results.into_iter().map(|(_, result)| result).collect()
}
