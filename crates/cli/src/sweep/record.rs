//! What a child tells about itself: one line in a file that parent and child both have open. It survives any death of
//! the child, and a later line takes the place of an earlier one.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Where a child has got to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum State {
    /// The loader is at work.
    Loading,
    /// The loader is about to jump to an address that it checked to lie in an executable range: what happens now is
    /// the object's own doing.
    Foreign { stage: String, module: String, address: u64 },
    /// The object was opened.
    Opened { microseconds: u64 },
    /// The object was refused.
    Refused { microseconds: u64, message: String },
}

/// The file.
#[derive(Debug)]
pub(super) struct Record(File);

impl Record {
    /// A new one, which vanishes with its last user.
    pub(super) fn new() -> io::Result<Record> {
        tempfile::tempfile().map(Record)
    }

    /// The one that this process got as its standard input, the only descriptor that is passed on without `unsafe`.
    pub(super) fn inherited() -> io::Result<Record> {
        Ok(Record(io::stdin().as_fd().try_clone_to_owned()?.into()))
    }

    /// The same, to be passed on.
    pub(super) fn share(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    /// Writes the child's state. By position, since foreign code may have read from standard input.
    pub(super) fn write(&self, state: &State) -> io::Result<()> {
        let mut line = serde_json::to_vec(state).map_err(io::Error::from)?;
        line.push(b'\n');
        self.0.write_all_at(&line, 0)
    }

    /// What the child wrote last; [`State::Loading`] if it never got so far.
    pub(super) fn read(&self) -> io::Result<State> {
        let mut text = vec![0; usize::try_from(self.0.metadata()?.len()).unwrap_or(0)];
        self.0.read_exact_at(&mut text, 0)?;
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        Ok(if line.is_empty() { State::Loading } else { serde_json::from_slice(line).map_err(io::Error::from)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_counts() {
        let record = Record::new().unwrap();
        assert!(matches!(record.read().unwrap(), State::Loading));
        let message = "x".repeat(10_000);
        record.write(&State::Refused { microseconds: 1, message }).unwrap();
        record.write(&State::Opened { microseconds: 7 }).unwrap();
        assert!(matches!(record.read().unwrap(), State::Opened { microseconds: 7 }));
    }
}
