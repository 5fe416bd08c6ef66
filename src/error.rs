//! The one error type: which module, at which stage, what went wrong, and where.

mod holder;

pub use holder::Holder;

use crate::addr::{FileOffset, VmAddr, VmRange};
use crate::plugin::RowDifference;
use crate::search::Tried;
use crate::symbol::Name;
use sideload_plugin::abi::Difference;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: module, stage and cause.
///
/// Prints as `libz.so: relocate: R_X86_64_COPY is not supported at vm 0x3fd8 (environ)`; also where a program ends with it
/// and Rust prints it with `{:?}`. `{:#?}` shows its fields.
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    module: String,
    stage: Stage,
    kind: ErrorKind,
    poisoned: bool,
}

/// The stages of a load, in order; an error says in which one it arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Finding and opening the file.
    Find,
    /// Reading the plan out of its bytes.
    Plan,
    /// Finding needs and definitions.
    Link,
    /// Applying the policy and claiming a place in the registry.
    Admit,
    /// Mapping segments.
    Map,
    /// Applying the fixups that run no code.
    Relocate,
    /// Running `IFUNC` resolvers.
    Resolve,
    /// Protecting what must not change any more.
    Seal,
    /// Running initialisers.
    Initialize,
    /// Looking up a symbol.
    Lookup,
    /// Taking an image out again.
    Unload,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Find => "find",
            Stage::Plan => "plan",
            Stage::Link => "link",
            Stage::Admit => "admit",
            Stage::Map => "map",
            Stage::Relocate => "relocate",
            Stage::Resolve => "resolve",
            Stage::Seal => "seal",
            Stage::Initialize => "initialize",
            Stage::Lookup => "lookup",
            Stage::Unload => "unload",
        })
    }
}

impl Error {
    /// The module that the error is about: a path, or the name that was asked for.
    pub fn module(&self) -> &str {
        &self.0.module
    }

    /// The stage in which it arose.
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// The cause.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Whether code of the group had run, its resolvers or finalisers. It may have kept pointers to itself, so the group
    /// stays mapped until the process ends. It belongs to nobody, and the next open makes a new one.
    pub fn is_poisoned(&self) -> bool {
        self.0.poisoned
    }

    pub(crate) fn poisoned(mut self) -> Error {
        self.0.poisoned = true;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", Name(self.0.module.as_bytes()), self.0.stage, self.0.kind)?;
        if self.0.poisoned { f.write_str("; its code has run, so it stays mapped") } else { Ok(()) }
    }
}

/// What `main` returns is printed like this, and names of symbols would be numbers.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { f.debug_tuple("Error").field(&self.0).finish() } else { fmt::Display::fmt(self, f) }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.kind)
    }
}

impl ErrorKind {
    /// Completes the cause to an [`Error`].
    pub fn at(self, module: impl Into<String>, stage: Stage) -> Error {
        Error(Box::new(Inner { module: module.into(), stage, kind: self, poisoned: false }))
    }
}

/// A place in a file, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A file offset.
    File(FileOffset),
    /// A virtual address.
    Vm(VmAddr),
    /// The entry of that index in the table at hand.
    Entry(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(offset) => write!(f, "file offset {offset}"),
            Place::Vm(vm) => write!(f, "vm {vm}"),
            Place::Entry(index) => write!(f, "entry {index}"),
        }
    }
}

/// What a file is that is not a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAnImage {
    /// No bytes at all.
    Empty,
    /// A folder.
    Folder,
    /// A device, socket or pipe.
    Special,
    /// Shorter than its own header.
    Truncated,
    /// A static archive (`.a`).
    Archive,
    /// Text for the static linker, as `libc.so` in a development package is.
    LinkerScript,
    /// A Windows image.
    WindowsImage,
    /// Something else.
    Unknown {
        /// Its first bytes.
        magic: [u8; 4],
    },
}

impl fmt::Display for NotAnImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAnImage::Empty => f.write_str("the file is empty"),
            NotAnImage::Folder => f.write_str("a folder"),
            NotAnImage::Special => f.write_str("not a regular file"),
            NotAnImage::Truncated => f.write_str("a file cut off inside its header"),
            NotAnImage::Archive => f.write_str("a static archive, which only a linker reads"),
            NotAnImage::LinkerScript => f.write_str("a linker script: name the library that it refers to"),
            NotAnImage::WindowsImage => f.write_str("a Windows image"),
            NotAnImage::Unknown { magic } => write!(f, "unknown magic \"{}\"", magic.escape_ascii()),
        }
    }
}

/// A symbol that no image defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undefined {
    /// Who needs it.
    pub module: String,
    /// Its name.
    pub symbol: Vec<u8>,
    /// The version asked for.
    pub version: Option<Vec<u8>>,
}

impl fmt::Display for Undefined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Name(&self.symbol))?;
        if let Some(version) = &self.version {
            write!(f, "@{}", Name(version))?;
        }
        write!(f, " (needed by {})", self.module)
    }
}

/// A version that its provider does not define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingVersion {
    /// Who needs it.
    pub module: String,
    /// The version.
    pub version: Vec<u8>,
    /// The image that should define it.
    pub provider: String,
}

impl fmt::Display for MissingVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} (needed by {})", Name(&self.version), self.provider, self.module)
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\n  {item}")).collect()
}

fn commas<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The cause of an [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No candidate could be opened.
    #[error("not found{}{}", needed(.needed_by), list(.tried))]
    NotFound {
        /// The image that needs it; `None` when it was asked for by the caller.
        needed_by: Option<String>,
        /// What was tried, in order, and why each candidate was passed over.
        tried: Vec<Tried>,
    },
    /// Reading a file failed.
    #[error("{call} {}: {source}", .path.display())]
    Io {
        /// The system call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A system call failed that has nothing to do with a file.
    #[error("{call}{}: {source}", of(*.size))]
    System {
        /// The system call.
        call: &'static str,
        /// How much was asked for; 0 where it is about no memory.
        size: u64,
        /// What the system answered.
        source: io::Error,
    },
    /// Not a shared object at all.
    #[error("not a shared object: {0}")]
    NotAnImage(NotAnImage),
    /// A shared object, but for something else.
    #[error("{field} is {found}, but this process needs {expected}")]
    WrongTarget {
        /// The header field.
        field: &'static str,
        /// What the file says.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The file contradicts itself or the format.
    #[error("malformed {what}{}", at(.place))]
    Malformed {
        /// The part, and what is wrong with it.
        what: &'static str,
        /// Where.
        place: Option<Place>,
    },
    /// Legal, but not supported here.
    #[error("{what} is not supported{}{}", at(.place), named(.symbol))]
    Unsupported {
        /// The feature by its name in the specification.
        what: &'static str,
        /// Where.
        place: Option<Place>,
        /// The symbol concerned.
        symbol: Option<String>,
    },
    /// A relocation type that this architecture's table does not hold.
    #[error("relocation type {r_type} is not supported at vm {place}")]
    UnknownRelocation {
        /// `ELF64_R_TYPE`.
        r_type: u32,
        /// Where it would write.
        place: VmAddr,
    },
    /// The policy refuses it.
    #[error("refused: {what}")]
    Refused {
        /// What, by its name in the specification, and why.
        what: &'static str,
    },
    /// The image spans more than the configured limit.
    #[error("spans {span:#x} bytes, more than the limit of {limit:#x}")]
    SpanTooLarge {
        /// Its span.
        span: u64,
        /// [`Loader::max_span`](crate::Loader::max_span).
        limit: u64,
    },
    /// A fixup writes where it must not.
    #[error("fixup outside the writable segments at vm {place}")]
    PlaceNotWritable {
        /// Where.
        place: VmAddr,
    },
    /// A value does not fit in the relocated field.
    #[error("value {value:#x} does not fit at vm {place}{}", named(.symbol))]
    Overflow {
        /// Where.
        place: VmAddr,
        /// What should be stored.
        value: u64,
        /// The symbol concerned.
        symbol: Option<String>,
    },
    /// Symbols that nothing defines: all of them, up to a mebibyte of names.
    #[error("{} undefined symbol{}:{}", .0.len(), if .0.len() == 1 { "" } else { "s" }, list(.0))]
    Undefined(Vec<Undefined>),
    /// Versions that their providers do not define: all of them, up to a thousand.
    #[error("missing version{}:{}", if .0.len() == 1 { "" } else { "s" }, list(.0))]
    MissingVersions(Vec<MissingVersion>),
    /// A thread-local of an image whose block we cannot locate.
    #[error("thread-local storage of {provider} cannot be located{}", named(.symbol))]
    NoThreadLocals {
        /// The image that defines the variable.
        provider: String,
        /// The variable.
        symbol: Option<String>,
    },
    /// No room for static thread-locals, which initial-exec code needs; see [`StaticTls`](crate::StaticTls).
    #[error(
        "needs {size} bytes of static thread-locals aligned to {align}; the largest piece that is free of the {total} in \
         reserve has {free} (StaticTls::offer adds to the reserve)"
    )]
    StaticTls {
        /// Bytes of the image's block.
        size: u64,
        /// Its alignment.
        align: u64,
        /// The largest piece of the reserve that is free and can be aligned so.
        free: u64,
        /// The whole reserve.
        total: u64,
    },
    /// The process has no reserve of static thread-locals, which initial-exec code needs.
    #[error(
        "no static thread-locals to give away: the thread-local is not a constant StaticTls of the executable or of a \
         library that the process was started with"
    )]
    NoStaticTls,
    /// The process has no instance of a library of which there can only be one.
    #[error("{} must come from the host process, which has none (a static executable?)", Name(.name))]
    HostOnly {
        /// `libc.so.6`, the dynamic linker, …
        name: Vec<u8>,
    },
    /// A library of the system that the process has not loaded, and that is no file: only dyld can make an image of it.
    #[error(
        "{} is a part of the system's shared cache, and not loaded: only dyld can do that (link the program to it)",
        Name(.name)
    )]
    OnlyInCache {
        /// Its install name.
        name: Vec<u8>,
    },
    /// An initialiser or finaliser is not in executable memory of any known image.
    #[error("{what} points to {target:#x}, which is not code of any loaded image")]
    EntryNotCode {
        /// Which table, and which entry.
        what: String,
        /// Where it points.
        target: u64,
    },
    /// No image in the scope defines the symbol.
    #[error("no symbol {}{}", Name(.symbol), versioned(.version))]
    NoSymbol {
        /// The name looked up.
        symbol: Vec<u8>,
        /// The version looked up.
        version: Option<Vec<u8>>,
    },
    /// The symbol exists and is null.
    #[error("symbol {} is null", Name(.symbol))]
    NullSymbol {
        /// The name looked up.
        symbol: Vec<u8>,
    },
    /// An archive has no such member.
    #[error("no member {} in the archive", Name(.member))]
    NoMember {
        /// The name looked for.
        member: Vec<u8>,
    },
    /// Memory for `bytes` could not be had.
    #[error("out of memory: {bytes} bytes asked for")]
    OutOfMemory {
        /// How much.
        bytes: u64,
    },
    /// The process is exiting.
    #[error("the process is exiting")]
    Exiting,
    /// An earlier opening failed after foreign code had run.
    #[error("an earlier attempt failed after its code had run: {reason}")]
    Poisoned {
        /// The earlier error.
        reason: String,
    },
    /// What this open has to wait for came to nothing in the thread that was at it.
    #[error("another thread was loading it, and failed: {reason}")]
    OtherFailed {
        /// What failed there.
        reason: String,
    },
    /// A plugin was opened from its own initialiser, or threads would wait for each other in a circle.
    #[error("opened from its own initialiser: {}", .chain.join(" -> "))]
    InitCycle {
        /// From the outermost open to this one.
        chain: Vec<String>,
    },
    /// Who was asked to vet files refuses this one.
    #[error("not trusted: {reason}")]
    Untrusted {
        /// Why.
        reason: String,
    },
    /// The file is no plugin: it states nothing of itself. [`Library::open`](crate::Library::open) opens it.
    #[error("not a plugin: {why}")]
    NotAPlugin {
        /// What is missing.
        why: &'static str,
    },
    /// A plugin was built in another way than this program: every difference that its policy refuses.
    #[error("built in another way than this program:{}", list(.0))]
    BuildMismatch(Vec<RowDifference>),
    /// The file at this path was replaced since the plugin was opened; it is still open as it was.
    #[error("replaced since it was opened (generation {generation} is still open; a reload opens the new file)")]
    Stale {
        /// Which generation of the plugin is open.
        generation: u64,
    },
    /// The file is a copy of a plugin that is open already, and copies are refused.
    #[error("a copy of {}, which is open already", .path.display())]
    AlreadyOpen {
        /// Where the open one is.
        path: PathBuf,
    },
    /// A plugin exports nothing under that name.
    #[error("nothing called {} is exported{}{}", Name(.symbol), hidden(*.is_symbol), similar(.nearest))]
    NoExport {
        /// The name looked up.
        symbol: Vec<u8>,
        /// Whether the file has a symbol of that name that it does not export as an item.
        is_symbol: bool,
        /// What it exports under similar names, the most similar first.
        nearest: Vec<String>,
    },
    /// An exported item has another type.
    #[error("{symbol} is `{found}`, not `{expected}`{}", first(.difference))]
    TypeMismatch {
        /// The name looked up.
        symbol: String,
        /// The type asked for.
        expected: String,
        /// The type that it has.
        found: String,
        /// The first difference of the two.
        difference: Box<Difference>,
    },
    /// An init function returned an error.
    #[error("init function {function} failed: {message}")]
    InitFailed {
        /// Its name.
        function: String,
        /// The error's text.
        message: String,
    },
    /// An init function panicked.
    #[error("init function {function} panicked: {message}")]
    InitPanicked {
        /// Its name.
        function: String,
        /// The panic's message.
        message: String,
    },
    /// Another thread did not get done with loading or initialising what this open needs. It may wait for this thread
    /// itself: a constructor that joins a thread which opens the constructor's object waits for ever.
    #[error("waited {} ms for another thread that is loading or initialising {}", .limit.as_millis(), .chain.join(" -> "))]
    TimedOut {
        /// What this thread waits for, what the thread that has it waits for, and so on.
        chain: Vec<String>,
        /// [`Loader::wait_limit`](crate::Loader::wait_limit).
        limit: Duration,
    },
    /// A finaliser opened something that is bound to what is being unloaded.
    #[error("needs an image that this thread is unloading")]
    Leaving,
    /// It cannot be unloaded now.
    #[error("still in use: {}", commas(.0))]
    StillLive(Vec<Holder>),
    /// More images at once than the tables can name.
    #[error("more than {limit} images")]
    TooManyImages {
        /// The limit.
        limit: usize,
    },
    /// The host process's own images cannot be read.
    #[error("cannot read the images of this process: {what}")]
    Host {
        /// Why.
        what: &'static str,
    },
    /// The file changed while it was being loaded.
    #[error("the file changed while it was being loaded: {size} bytes, {expected} when opened")]
    Changed {
        /// Its size now.
        size: u64,
        /// Its size when opened.
        expected: u64,
    },
    /// A range of the image that does not fit where it must.
    #[error("{what} at {range} lies outside the image")]
    OutsideImage {
        /// Which one.
        what: &'static str,
        /// Where.
        range: VmRange,
    },
}

fn of(size: u64) -> String {
    if size == 0 { String::new() } else { format!(" of {size:#x} bytes") }
}

fn hidden(is_symbol: bool) -> &'static str {
    if is_symbol { "; a symbol of that name exists, without `#[sideload::export]`" } else { "" }
}

fn similar(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there is {}", names.join(", ")) }
}

fn first(of: &Difference) -> String {
    if of.at.is_empty() { String::new() } else { format!(": {} is {}, not {}", of.at, of.found, of.expected) }
}

fn at(place: &Option<Place>) -> String {
    place.map(|place| format!(" at {place}")).unwrap_or_default()
}

fn named(symbol: &Option<String>) -> String {
    symbol.as_ref().map(|symbol| format!(" ({symbol})")).unwrap_or_default()
}

fn needed(by: &Option<String>) -> String {
    by.as_ref().map(|by| format!(" (needed by {by})")).unwrap_or_default()
}

fn versioned(version: &Option<Vec<u8>>) -> String {
    version.as_ref().map(|version| format!("@{}", Name(version))).unwrap_or_default()
}

impl ErrorKind {
    /// Something malformed at a file offset.
    pub(crate) fn malformed(what: &'static str, place: Place) -> ErrorKind {
        ErrorKind::Malformed { what, place: Some(place) }
    }

    /// Something unsupported, by name.
    pub(crate) fn unsupported(what: &'static str) -> ErrorKind {
        ErrorKind::Unsupported { what, place: None, symbol: None }
    }
}
