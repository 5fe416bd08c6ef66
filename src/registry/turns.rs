//! Who is at what, and who waits for whom: plain data, for whoever holds the registry's lock.

use crate::link::FileStamp;
use std::time::{Duration, Instant};

/// What a thread can be at, so that others have to wait or to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Loading this file.
    File(FileStamp),
    /// Binding to the instance of that serial: it must not be unloaded meanwhile.
    Use(u64),
    /// Running the initialisers of that instance.
    Init(u64),
    /// Running the finalisers of that instance, which is unloaded then.
    Leave(u64),
}

/// One thing that one thread is at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) subject: Subject,
    pub(crate) owner: u64,
    /// The claim that it belongs to; 0 for none.
    pub(crate) claim: u64,
}

/// A thread that waits until a task of another's is done.
#[derive(Debug)]
struct Waiting {
    thread: u64,
    subject: Subject,
    owner: u64,
    name: String,
}

/// Why a thread does not get what it waits for.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// The thread that has it waits, itself or through others, for what this thread is at: the images of that circle.
    Circle(Vec<String>),
    /// Not within the limit; the images that it and those before it wait for.
    TimedOut(Vec<String>),
    /// It came to nothing.
    Failed(String),
}

/// How long one open waits for other threads. The clock starts with the first wait.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    since: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Patience {
        Patience { limit, since: None }
    }

    /// What is left of it; `None` if nothing is.
    pub(crate) fn left(&mut self) -> Option<Duration> {
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        self.limit.checked_sub(waited).filter(|left| !left.is_zero())
    }
}

/// All tasks, and all that wait for one.
#[derive(Debug)]
pub(crate) struct Turns {
    tasks: Vec<Task>,
    waiting: Vec<Waiting>,
}

impl Turns {
    pub(crate) const fn new() -> Turns {
        Turns { tasks: Vec::new(), waiting: Vec::new() }
    }

    pub(crate) fn begin(&mut self, task: Task) {
        self.tasks.push(task);
    }

    /// The first task of that kind.
    pub(crate) fn find(&self, wanted: impl Fn(Subject) -> bool) -> Option<Task> {
        self.tasks.iter().find(|task| wanted(task.subject)).copied()
    }

    #[cfg(not(loom))]
    pub(crate) fn any(&self, wanted: impl Fn(&Task) -> bool) -> bool {
        self.tasks.iter().any(wanted)
    }

    pub(crate) fn count(&self, wanted: impl Fn(Subject) -> bool) -> usize {
        self.tasks.iter().filter(|task| wanted(task.subject)).count()
    }

    /// Ends tasks. Who waited for one is taken off the list at once, before its thread runs again: the owner may come to
    /// wait for that thread meanwhile, and that is no circle any more. Returns whether anybody has to be woken.
    pub(crate) fn end(&mut self, which: impl Fn(&Task) -> bool) -> bool {
        let before = self.waiting.len();
        for done in self.tasks.iter().filter(|task| which(task)) {
            self.waiting.retain(|row| (row.subject, row.owner) != (done.subject, done.owner));
        }
        self.tasks.retain(|task| !which(task));
        self.waiting.len() != before
    }

    /// Puts a thread on the list of those that wait.
    ///
    /// # Errors
    /// It would close a circle: the images that the threads of the circle wait for.
    pub(crate) fn enlist(&mut self, thread: u64, task: Task, name: &str) -> Result<(), Vec<String>> {
        let mut chain = vec![name.to_owned()];
        let mut at = task.owner;
        // Nobody is enlisted who would close a circle, so this ends.
        while let Some(row) = self.waiting.iter().find(|row| row.thread == at) {
            chain.push(row.name.clone());
            if row.owner == thread {
                chain.insert(0, row.name.clone());
                return Err(chain);
            }
            at = row.owner;
        }
        self.waiting.push(Waiting { thread, subject: task.subject, owner: task.owner, name: name.to_owned() });
        Ok(())
    }

    /// Takes a thread off the list.
    pub(crate) fn delist(&mut self, thread: u64) {
        self.waiting.retain(|row| row.thread != thread);
    }

    /// What the owner of a task waits for in turn, after `name`, as far as that leads.
    pub(crate) fn chain(&self, task: Task, name: &str) -> Vec<String> {
        let next = |owner: &u64| self.waiting.iter().find(|row| row.thread == *owner).map(|row| row.owner);
        let owners = std::iter::successors(Some(task.owner), next);
        let waits = owners.filter_map(|owner| self.waiting.iter().find(|row| row.thread == owner));
        std::iter::once(name.to_owned()).chain(waits.map(|row| row.name.clone())).collect()
    }

    /// In a child that was just forked there is no other thread: ends what they were at, and tells what that was.
    pub(crate) fn end_others(&mut self, this: u64, mut each: impl FnMut(Subject)) {
        self.tasks.iter().filter(|task| task.owner != this).for_each(|task| each(task.subject));
        self.tasks.retain(|task| task.owner == this);
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(owner: u64, serial: u64) -> Task {
        Task { subject: Subject::Init(serial), owner, claim: 0 }
    }

    #[test]
    fn a_circle_is_found_before_it_is_closed() {
        let mut turns = Turns::new();
        (1..=3).for_each(|at| turns.begin(init(at, at * 10)));
        turns.enlist(1, init(2, 20), "two").expect("nobody waits yet");
        turns.enlist(2, init(3, 30), "three").expect("a chain is no circle");
        assert_eq!(turns.enlist(3, init(1, 10), "one").unwrap_err(), ["three", "one", "two", "three"]);
        assert_eq!(turns.chain(init(1, 10), "one"), ["one", "two", "three"]);
        // A thread that was not let in waits for nobody.
        turns.enlist(4, init(3, 30), "three").expect("no circle");
    }

    #[test]
    fn what_is_done_is_waited_for_by_nobody() {
        let mut turns = Turns::new();
        (1..=2).for_each(|at| turns.begin(init(at, at * 10)));
        turns.enlist(1, init(2, 20), "two").expect("nobody waits yet");
        assert!(turns.end(|task| task.subject == Subject::Init(20)), "somebody is to be woken");
        assert!(!turns.end(|task| task.subject == Subject::Init(20)), "once");
        turns.enlist(2, init(1, 10), "one").expect("thread 1 has what it waited for, even if it sleeps still");
    }

    #[test]
    fn a_forked_child_is_alone() {
        let mut turns = Turns::new();
        (1..=3).for_each(|at| turns.begin(init(at, at * 10)));
        turns.enlist(1, init(2, 20), "two").expect("nobody waits yet");
        let mut ended = Vec::new();
        turns.end_others(3, |subject| ended.push(subject));
        assert_eq!(ended, [Subject::Init(10), Subject::Init(20)]);
        assert!(turns.find(|subject| subject == Subject::Init(30)).is_some());
        turns.enlist(3, init(1, 10), "one").expect("the others wait for nothing");
    }
}
