//! Opens a library, stage by stage and timed, as far as a verb wants it.
//!
//! Invariant: code of a library runs only where the user of this program named the library and did not stop before
//! [`Until::Initialised`]. Naming it is how a user vouches for what its code does; nobody else could.

use crate::failure::Failure;
use crate::locate;
use clap::ValueEnum;
use sideload::{Library, Loader, Sealed, Source};
use std::ffi::OsStr;
use std::time::{Duration, Instant};

/// The stages of an open, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Until {
    /// The file is found and read
    Planned,
    /// So is everything that it needs, and every import is bound
    Linked,
    /// Memory holds the segments
    Mapped,
    /// The fixups that run no code are applied
    Relocated,
    /// What must not change any more is protected; no code of the library has run, and IFUNC binds are left out
    Sealed,
    /// IFUNC resolvers and initialisers have run
    Initialised,
}

impl Until {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Until::Planned => "planned",
            Until::Linked => "linked",
            Until::Mapped => "mapped",
            Until::Relocated => "relocated",
            Until::Sealed => "sealed",
            Until::Initialised => "initialised",
        }
    }
}

/// An open that got as far as it should.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The library's own path.
    pub(crate) path: String,
    /// How long each stage took.
    pub(crate) times: Vec<(Until, Duration)>,
    /// How many IFUNC binds were left out, since resolvers are code of the library.
    pub(crate) left_out: usize,
    /// The library, if it was opened to the end.
    pub(crate) library: Option<Library>,
    /// How long it took to unload it again.
    pub(crate) unloaded: Option<Duration>,
}

impl Opened {
    /// Takes the library out again, if it was opened to the end.
    ///
    /// # Errors
    /// As [`Library::unload`].
    pub(crate) fn unload(&mut self) -> Result<(), Failure> {
        let Some(library) = self.library.take() else { return Ok(()) };
        let start = Instant::now();
        // SAFETY: nothing of it is in use here, and the user wants it unloaded.
        unsafe { library.unload() }.map_err(sideload::Error::from)?;
        self.unloaded = Some(start.elapsed());
        Ok(())
    }
}

/// A watch that tells the time since it was last looked at.
struct Laps {
    last: Instant,
    times: Vec<(Until, Duration)>,
}

impl Laps {
    fn done(&mut self, stage: Until) {
        let now = Instant::now();
        self.times.push((stage, now - self.last));
        self.last = now;
    }
}

/// Opens `name` and stops after the stage `until`; what was done up to there is then undone.
///
/// # Errors
/// As [`Loader::open`].
pub(crate) fn open(loader: &Loader, name: &OsStr, until: Until) -> Result<Opened, Failure> {
    open_source(loader, name, locate::source(name)?, until)
}

/// The same, where `source` is what `name` stands for, or a copy of it.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_source(loader: &Loader, name: &OsStr, source: Source, until: Until) -> Result<Opened, Failure> {
    let mut laps = Laps { last: Instant::now(), times: Vec::new() };
    let path = locate::find(name)?.path.to_string_lossy().into_owned();
    laps.done(Until::Planned);
    let mut opened = Opened { path, times: Vec::new(), left_out: 0, library: None, unloaded: None };
    if until > Until::Planned {
        load(loader, source, until, &mut laps, &mut opened)?;
    }
    opened.times = laps.times;
    Ok(opened)
}

fn load(
    loader: &Loader,
    source: Source,
    until: Until,
    laps: &mut Laps,
    opened: &mut Opened,
) -> Result<(), sideload::Error> {
    let linked = loader.link(source)?;
    opened.path = linked.name_of(linked.plan().root).to_owned();
    laps.done(Until::Linked);
    if until == Until::Linked {
        return Ok(());
    }
    let mapped = linked.map()?;
    laps.done(Until::Mapped);
    if until == Until::Mapped {
        return Ok(());
    }
    let relocated = mapped.relocate()?;
    laps.done(Until::Relocated);
    if until == Until::Relocated {
        return Ok(());
    }
    if until == Until::Sealed {
        opened.left_out = relocated.seal()?.left_out();
        laps.done(Until::Sealed);
        return Ok(());
    }
    // SAFETY: the user named the library and wants it initialised.
    let sealed: Sealed = unsafe { relocated.run_resolvers() }?.seal()?;
    laps.done(Until::Sealed);
    // SAFETY: as above.
    opened.library = Some(unsafe { sealed.initialize() }?);
    laps.done(Until::Initialised);
    Ok(())
}
