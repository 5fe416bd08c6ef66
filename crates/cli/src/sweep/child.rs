//! One file in a process of its own, from the parent's side: start it, wait for its end, say what became of it.

use super::record::{Record, State};
use crate::open::Until;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What became of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Error,
    Signal,
    Foreign,
    Timeout,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Signal => "signal",
            Outcome::Foreign => "foreign",
            Outcome::Timeout => "timeout",
        }
    }
}

/// The same, with the particulars.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    /// How long the open took; how long the process lived, where it did not live to tell.
    pub(super) microseconds: u64,
}

/// Opens `file` in a child process and waits for its end.
pub(super) fn open(file: &Path, until: Until, limit: Duration) -> io::Result<Report> {
    let record = Record::new()?;
    let started = Instant::now();
    let mut child = Command::new(executable()?)
        .args([super::opener::VERB, "--until", until.as_str(), "--"])
        .arg(file)
        .stdin(record.share()?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let ended = wait(&mut child, limit.saturating_sub(started.elapsed()))?;
    let lived = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(judge(ended, record.read()?, lived))
}

/// This very program, also after its file was replaced.
fn executable() -> io::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { Ok(own) } else { std::env::current_exe() }
}

/// Waits for the child's end; `None`: it was killed when its time was over.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    // An open takes from under a millisecond to seconds.
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn judge(ended: Option<ExitStatus>, state: State, lived: u64) -> Report {
    let report = |outcome, detail, microseconds| Report { outcome, detail, microseconds };
    let death = match ended {
        None => "killed: out of time".to_owned(),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, Some(code)) => format!("exit status {code}"),
            (None, None) => status.to_string(),
        },
    };
    let fine = ended.is_some_and(|status| status.success());
    match state {
        State::Opened { microseconds } if fine => report(Outcome::Ok, String::new(), microseconds),
        State::Refused { microseconds, message } if fine => report(Outcome::Error, message, microseconds),
        State::Foreign { stage, module, address } => {
            let outcome = if ended.is_some() { Outcome::Foreign } else { Outcome::Timeout };
            report(outcome, format!("{death} in {stage} of {module} at {address:#x}"), lived)
        }
        _ if ended.is_none() => report(Outcome::Timeout, death, lived),
        State::Loading => report(Outcome::Signal, format!("{death} in the loader"), lived),
        State::Opened { .. } => report(Outcome::Signal, format!("{death} after the open"), lived),
        State::Refused { .. } => report(Outcome::Signal, format!("{death} after the refusal"), lived),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign() -> State {
        State::Foreign { stage: "initialize".into(), module: "liba.so".into(), address: 0x1130 }
    }

    #[test]
    fn a_death_is_the_objects_own_only_under_the_marker() {
        let (fine, segv) = (Some(ExitStatus::from_raw(0)), Some(ExitStatus::from_raw(11)));
        let refused = || State::Refused { microseconds: 5, message: "no".into() };
        let opened = || State::Opened { microseconds: 5 };
        let cases = [
            (fine, opened(), Outcome::Ok, ""),
            (fine, refused(), Outcome::Error, "no"),
            (segv, State::Loading, Outcome::Signal, "signal 11 in the loader"),
            (segv, opened(), Outcome::Signal, "signal 11 after the open"),
            (segv, refused(), Outcome::Signal, "signal 11 after the refusal"),
            (segv, foreign(), Outcome::Foreign, "signal 11 in initialize of liba.so at 0x1130"),
            // An initialiser that calls `exit` ends the process as well.
            (fine, foreign(), Outcome::Foreign, "exit status 0 in initialize of liba.so at 0x1130"),
            (None, foreign(), Outcome::Timeout, "killed: out of time in initialize of liba.so at 0x1130"),
            (None, State::Loading, Outcome::Timeout, "killed: out of time"),
        ];
        for (ended, state, outcome, detail) in cases {
            let report = judge(ended, state, 9);
            assert_eq!((report.outcome, report.detail.as_str()), (outcome, detail));
        }
    }
}
