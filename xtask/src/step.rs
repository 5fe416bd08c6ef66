//! Running a list of commands: each is announced, timed, and the first failure ends the list.

use std::borrow::Cow;
use std::env;
use std::fmt;
use std::io;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// A named command, or the reason why there is none.
pub(crate) struct Step {
    name: Cow<'static, str>,
    work: Work,
}

enum Work {
    Run(Box<Command>),
    Skip(&'static str),
}

/// The step that ended a run.
pub(crate) struct Failure {
    name: String,
    command: String,
    cause: Cause,
}

enum Cause {
    Exit(ExitStatus),
    NotStarted(io::Error),
}

impl Step {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, command: Command) -> Self {
        Self { name: name.into(), work: Work::Run(Box::new(command)) }
    }

    pub(crate) fn skipped(name: &'static str, reason: &'static str) -> Self {
        Self { name: name.into(), work: Work::Skip(reason) }
    }
}

/// Runs the steps in order and ends with a table of how long each took.
pub(crate) fn run_all(steps: Vec<Step>) -> Result<(), Failure> {
    let mut timings = Vec::new();
    for step in steps {
        match step.work {
            Work::Skip(reason) => println!("==> {}: skipped, {reason}", step.name),
            Work::Run(command) => {
                let took = run(&step.name, *command)?;
                timings.push((step.name, took));
            }
        }
    }
    println!("==> passed");
    for (name, took) in timings {
        println!("    {:8.1} s  {name}", took.as_secs_f64());
    }
    Ok(())
}

fn run(name: &str, mut command: Command) -> Result<Duration, Failure> {
    let shown = shell_line(&command);
    println!("==> {name}: {shown}");
    let start = Instant::now();
    let cause = match command.status() {
        Ok(status) if status.success() => {
            let took = start.elapsed();
            println!("<== {name}: {:.1} s", took.as_secs_f64());
            return Ok(took);
        }
        Ok(status) => Cause::Exit(status),
        Err(error) => Cause::NotStarted(error),
    };
    Err(Failure { name: name.to_owned(), command: shown, cause })
}

/// The command as one would type it, without the variables that only undo cargo's own.
fn shell_line(command: &Command) -> String {
    let inherited = env::var("PATH").unwrap_or_default();
    let variables = command.get_envs().filter_map(|(key, value)| {
        let value = value?.display().to_string();
        // What is put in front of PATH is worth reading, the rest of it is not.
        let value = if key == "PATH" { value.replacen(&inherited, "$PATH", 1) } else { value };
        Some(format!("{}={}", key.display(), quoted(value)))
    });
    let program = std::iter::once(command.get_program());
    let words = program.chain(command.get_args());
    let words = words.map(|word| quoted(word.display().to_string()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: String) -> String {
    if word.contains(char::is_whitespace) { format!("'{word}'") } else { word }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.name)?;
        match &self.cause {
            Cause::Exit(status) => write!(f, " ({status})")?,
            Cause::NotStarted(error) => write!(f, " to start ({error})")?,
        }
        write!(f, ": {}", self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Step {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Step::new("shell", command)
    }

    #[test]
    fn first_failure_ends_the_run_and_names_its_command() {
        let marker = env::temp_dir().join(format!("xtask-step-{}", std::process::id()));
        let after = shell(&format!("touch {}", marker.display()));
        let Err(failure) = run_all(vec![shell("true"), shell("exit 3"), after]) else {
            panic!("a failing step passed");
        };
        let text = failure.to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.ends_with("sh -c 'exit 3'"), "{text}");
        assert!(!marker.exists(), "a step ran after the failure");
    }

    #[test]
    fn a_missing_program_is_a_failure() {
        let step = Step::new("missing", Command::new("no-such-program-of-ours"));
        assert!(run_all(vec![step]).is_err());
    }
}
