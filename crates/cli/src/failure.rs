//! Why a verb could not do its work, and the exit status that says so.

use sideload::{ErrorKind, Ledger};
use std::fmt;
use std::io::{self, BufWriter, StdoutLock};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a verb returns.
pub(crate) type Done = Result<ExitCode, Failure>;

/// A file is refused, does not resolve or does not open.
pub(crate) const REFUSED: u8 = 1;
/// The arguments make no sense together; what clap itself finds ends in the same status.
const USAGE: u8 = 2;

/// Why a verb ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library refuses.
    Refused(sideload::Error),
    /// Debug information or a sidecar cannot be read.
    Abi(sideload_abi::Error),
    /// A file is not what it should be.
    Malformed { path: String, what: String },
    /// No list of plugins can be written.
    Static(sideload_static::Error),
    /// A file cannot be read or written.
    File { path: String, error: io::Error },
    /// Opening and unloading has left something behind.
    Left { path: String, before: Box<Ledger>, after: Box<Ledger> },
    /// Standard output cannot be written.
    Output(io::Error),
    /// The arguments make no sense together.
    Usage(String),
}

impl Failure {
    pub(crate) fn file(path: &Path, error: io::Error) -> Failure {
        Failure::File { path: path.display().to_string(), error }
    }

    pub(crate) fn malformed(path: &Path, what: impl fmt::Display) -> Failure {
        Failure::Malformed { path: path.display().to_string(), what: what.to_string() }
    }

    /// The file in the working folder, of the name that was searched for in vain.
    fn here(&self) -> Option<PathBuf> {
        let (Failure::Refused(error) | Failure::Abi(sideload_abi::Error::Library(error))) = self else { return None };
        let ErrorKind::NotFound { needed_by: None, .. } = error.kind() else { return None };
        let path = Path::new(".").join(error.module());
        (!error.module().contains('/') && path.is_file()).then_some(path)
    }

    /// Tells the user, and picks the exit status.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            // Whoever reads our output has seen enough: `sideload plan … | head` is no error.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            _ => diagnose(&self),
        }
        if let Some(path) = self.here() {
            diagnose(&format_args!("there is {}: a name without a slash is searched for", path.display()));
        }
        ExitCode::from(if matches!(self, Failure::Usage(_)) { USAGE } else { REFUSED })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(error) => write!(f, "{error}"),
            Failure::Abi(error) => write!(f, "{error}"),
            Failure::Malformed { path, what } => write!(f, "{path}: {what}"),
            Failure::Static(error) => write!(f, "{error}"),
            Failure::File { path, error } => write!(f, "{path}: {error}"),
            Failure::Left { path, before, after } => {
                write!(f, "{path}: held after the first round: {before:?}; after the last: {after:?}")
            }
            Failure::Output(error) => write!(f, "standard output: {error}"),
            Failure::Usage(message) => f.write_str(message),
        }
    }
}

impl From<sideload::Error> for Failure {
    fn from(error: sideload::Error) -> Failure {
        Failure::Refused(error)
    }
}

impl From<sideload_abi::Error> for Failure {
    fn from(error: sideload_abi::Error) -> Failure {
        Failure::Abi(error)
    }
}

impl From<sideload_static::Error> for Failure {
    fn from(error: sideload_static::Error) -> Failure {
        Failure::Static(error)
    }
}

/// The only I/O that verbs pass on by `?` is writing their output; files are named.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// Writes a diagnostic. Should standard error be closed, there is nobody left to tell.
pub(crate) fn diagnose(message: &dyn fmt::Display) {
    use io::Write;
    let _ = writeln!(io::stderr(), "sideload: {message}");
}

/// Standard output, buffered: listings have hundreds of thousands of lines.
pub(crate) fn output() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}
