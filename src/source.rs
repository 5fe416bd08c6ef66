//! What a caller opens: a name to be searched for, a file, a part of one, or bytes.

use crate::error::{Error, ErrorKind, Stage};
use crate::finder;
use crate::link::{FileStamp, ImageFile};
use crate::search::Route;
use crate::snapshot;
use crate::symbol::Name;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::ops::{Bound, RangeBounds};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What to open. A name or a path turns into one by itself; what else there is to open is made here.
///
/// | Source | What it is | Two are the same if |
/// | --- | --- | --- |
/// | a name, a path, [`Source::path`] | a file that is searched for, or not | it is the same file ([`FileStamp`]) |
/// | [`Source::file`] | an open file | as above |
/// | [`Source::member`], [`Source::part`] | a part of a file | as above, and it is the same part |
/// | [`Source::bytes`] | bytes in memory | one is a clone of the other |
///
/// Opening what is open already gives the same instance, whatever it is called.
///
/// Segments are mapped from the file where that can be done: it must begin at a multiple of the page size, which parts of
/// archives mostly do not. All else is copied into anonymous memory, which is made executable only after it was
/// written and is not writable any more by then; policies that watch executable mappings of files, and profilers,
/// see less of that.
///
/// ```no_run
/// use sideload::{Library, Source};
/// # fn main() -> Result<(), sideload::Error> {
/// # static EMBEDDED: &[u8] = &[];
/// # let file = std::fs::File::open("/opt/plugin.so").unwrap();
/// // SAFETY: opening runs the initialisers of each.
/// unsafe {
///     Library::open("libz.so.1")?;
///     Library::open(Source::bytes("embedded.so", EMBEDDED))?;
///     Library::open(Source::file("/opt/plugin.so", file))?;
///     Library::open(Source::member("bundle.zip", "lib/plugin.so"))?;
///     Library::open(Source::path("/tmp/untrusted.so").snapshot())?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Source {
    what: What,
    part: Part,
    snapshot: bool,
}

#[derive(Clone)]
enum What {
    Name(Vec<u8>),
    File { name: PathBuf, file: Arc<File> },
    Bytes { name: PathBuf, bytes: SharedBytes, serial: u64 },
}

#[derive(Clone, Debug)]
enum Part {
    All,
    /// Up to the end of the file, or to where another one begins.
    Range(u64, Option<u64>),
    Member(Vec<u8>),
}

/// Bytes that nobody changes, and that stay where they are.
pub(crate) type SharedBytes = Arc<Cow<'static, [u8]>>;

impl Source {
    /// The file at `path`, which is not searched for even if it has no slash.
    pub fn path(path: impl AsRef<Path>) -> Source {
        Source::from(path.as_ref()).at_a_path()
    }

    /// An object in memory: `include_bytes!`, or what was read from elsewhere.
    ///
    /// `name` stands for it in errors, backtraces and debuggers. If it is an absolute path, its folder is the object's
    /// `$ORIGIN`; otherwise the object has none.
    pub fn bytes(name: impl Into<PathBuf>, bytes: impl Into<Cow<'static, [u8]>>) -> Source {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Source::of(What::Bytes { name: name.into(), bytes: Arc::new(bytes.into()), serial })
    }

    /// An open file: readable, regular or of `memfd_create`. Its position does not matter. `name` is as in
    /// [`Source::bytes`].
    pub fn file(name: impl Into<PathBuf>, file: impl Into<File>) -> Source {
        Source::of(What::File { name: name.into(), file: Arc::new(file.into()) })
    }

    /// The member called `member` of the archive at `archive`: of an `ar` archive, or of a zip archive in which it is
    /// stored without compression. Its `$ORIGIN` is the archive's folder.
    pub fn member(archive: impl AsRef<Path>, member: impl Into<Vec<u8>>) -> Source {
        Source { part: Part::Member(member.into()), ..Source::path(archive) }
    }

    /// A range of bytes of it instead of the whole. A name is then a path.
    #[must_use]
    pub fn part(self, range: impl RangeBounds<u64>) -> Source {
        let after = |at: u64| at.saturating_add(1);
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => after(before),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => Some(after(last)),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => None,
        };
        Source { part: Part::Range(start, end), ..self.at_a_path() }
    }

    /// A copy, made when it is opened, that nobody can change any more: what is checked is what is mapped, whatever
    /// another process does to the file meanwhile. (Without it, a file that is cut off while it is loaded can end this
    /// process by `SIGBUS`.) What the object needs is opened as ever.
    ///
    /// The copy is a sealed `memfd` where the system has such and allows it, and else anonymous memory. Its identity is
    /// the file's: if that is open already, this gives the instance which is there.
    #[must_use]
    pub fn snapshot(self) -> Source {
        Source { snapshot: true, ..self }
    }

    fn of(what: What) -> Source {
        Source { what, part: Part::All, snapshot: false }
    }

    /// A name without a slash becomes a path.
    pub(crate) fn at_a_path(self) -> Source {
        let what = match self.what {
            What::Name(name) if !name.contains(&b'/') => What::Name([b"./", &*name].concat()),
            what => what,
        };
        Source { what, ..self }
    }

    /// The name, as the path of what is loaded.
    pub(crate) fn display_path(&self) -> PathBuf {
        match (&self.what, &self.part) {
            (What::Name(name), Part::All) => PathBuf::from(OsStr::from_bytes(name)),
            (What::File { name, .. } | What::Bytes { name, .. }, Part::All) => name.clone(),
            _ => PathBuf::from(self.to_string()),
        }
    }

    /// The name to search for, if it is one and nothing else.
    pub(crate) fn as_name(&self) -> Option<&[u8]> {
        match (&self.what, &self.part) {
            (What::Name(name), Part::All) => Some(name),
            _ => None,
        }
    }

    /// Whether it is just a name, or a path.
    pub fn is_name(&self) -> bool {
        self.as_name().is_some()
    }

    pub(crate) fn is_snapshot(&self) -> bool {
        self.snapshot
    }

    /// Opens the file and shows what is in it, without loading anything. A name is taken for a path.
    ///
    /// # Errors
    /// What the system says of the file, or that it has no such part.
    pub fn read(&self) -> Result<ImageFile, Error> {
        self.open_whole().and_then(|file| self.cut(file)).map_err(|kind| kind.at(self.to_string(), Stage::Find))
    }

    fn open_whole(&self) -> Result<ImageFile, ErrorKind> {
        match &self.what {
            What::Name(name) => finder::open_path(Path::new(OsStr::from_bytes(name))),
            What::File { name, file } => finder::open_file(name, Arc::clone(file)),
            What::Bytes { name, bytes, serial } => {
                // No device has this number.
                let stamp =
                    FileStamp { device: u64::MAX, inode: *serial, size: bytes.len() as u64, ..FileStamp::default() };
                finder::open_bytes(name, Arc::clone(bytes), stamp)
            }
        }
    }

    fn cut(&self, file: ImageFile) -> Result<ImageFile, ErrorKind> {
        // An archive has to be looked at, to find the member: it is copied before that, whole.
        let first = self.snapshot && matches!(self.part, Part::Member(_));
        let file = if first { snapshot::of(file)? } else { file };
        let whole = file.bytes.len() as u64;
        let (offset, size) = match &self.part {
            Part::All => (0, whole),
            // One that begins behind the end of the file has no byte, and a part says which offset is wrong.
            &Part::Range(start, end) => (start, end.unwrap_or(whole.max(start)).saturating_sub(start)),
            Part::Member(name) => {
                let range = crate::archive::member(&file.bytes, name)?;
                (range.start.0, range.size)
            }
        };
        let mut file = finder::part(file, offset, size)?;
        file.path = self.display_path();
        file.source = Route::Given;
        if self.snapshot && !first { snapshot::of(file) } else { Ok(file) }
    }
}

/// The name; of a part, `archive!/member` or `file!+offset`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Name(name) => Name(name).fmt(f)?,
            What::File { name, .. } | What::Bytes { name, .. } => name.display().fmt(f)?,
        }
        match &self.part {
            Part::All => Ok(()),
            Part::Range(start, _) => write!(f, "!+{start:#x}"),
            Part::Member(member) => write!(f, "!/{}", Name(member)),
        }
    }
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Name(name) => f.debug_tuple("Name").field(&Name(name)).finish(),
            What::File { name, .. } => f.debug_tuple("File").field(name).finish(),
            What::Bytes { name, bytes, .. } => f.debug_tuple("Bytes").field(name).field(&bytes.len()).finish(),
        }
    }
}

/// A name that is searched for, or a path if it has a slash.
impl<T: AsRef<OsStr>> From<T> for Source {
    fn from(name: T) -> Source {
        Source::of(What::Name(name.as_ref().as_bytes().to_vec()))
    }
}
