//! The registry under `loom`, which runs each test with every order of events that the memory model allows (of those
//! with up to three preemptions): `cargo xtask model`.
//!
//! What is checked is the registry itself, with instances that are a number: see [`crate::sync`].

use super::published::{Published, Retired};
use super::turns::{Blocked, Patience, Subject};
use super::{ClaimError, Init, Listed, Registry};
use crate::link::FileStamp;
use crate::sync::checked::thread_id;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An instance that is nothing but that.
#[derive(Debug)]
struct Toy {
    serial: u64,
    uses: Vec<u64>,
    init: Init,
    gone: Arc<AtomicBool>,
}

impl Toy {
    fn new(serial: u64, uses: &[u64]) -> Arc<Toy> {
        Arc::new(Toy { serial, uses: uses.to_vec(), init: Init::running(), gone: Arc::default() })
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}

impl Listed for Toy {
    fn serial(&self) -> u64 {
        self.serial
    }

    fn uses(&self) -> &[u64] {
        &self.uses
    }

    fn init(&self) -> &Init {
        &self.init
    }
}

type Toys = loom::sync::Arc<Registry<Toy>>;

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

fn toys() -> Toys {
    loom::sync::Arc::new(Registry::new())
}

fn spawn<R: 'static>(toys: &Toys, work: impl FnOnce(&Registry<Toy>) -> R + 'static) -> JoinHandle<R> {
    let toys = toys.clone();
    thread::spawn(move || work(&toys))
}

fn stamp(inode: u64) -> FileStamp {
    FileStamp { inode, ..FileStamp::default() }
}

fn for_ever() -> Patience {
    Patience::new(Duration::MAX)
}

fn find(toys: &Registry<Toy>, serial: u64) -> Option<Arc<Toy>> {
    toys.snapshot().instances.iter().find(|toy| toy.serial == serial).cloned()
}

/// Opens as the loader does: finds the instance and waits until it is done, or loads it. Returns whether it did.
fn open(toys: &Registry<Toy>, serial: u64, uses: &[u64]) -> Result<bool, Blocked> {
    loop {
        let snapshot = toys.snapshot();
        if let Some(toy) = snapshot.instances.iter().find(|toy| toy.serial == serial) {
            return toys.wait_for(toy, "toy", &mut for_ever()).map(|()| false);
        }
        match toys.claim(snapshot.epoch, &[(stamp(serial), "toy")], uses, &mut for_ever()) {
            Ok(claim) => {
                let toy = Toy::new(serial, uses);
                toys.publish(claim, &[Arc::clone(&toy)]);
                toys.finish(&toy);
                return Ok(true);
            }
            Err(ClaimError::Moved) => {}
            Err(ClaimError::Blocked(blocked)) => return Err(blocked),
            Err(own) => panic!("{own:?}"),
        }
    }
}

/// Unloads one, unless somebody is about to bind to it. Returns whether it did.
fn unload(toys: &Registry<Toy>, serial: u64) -> bool {
    let begun = toys.begin_unload(|snapshot, turns| {
        let used = turns.find(|subject| subject == Subject::Use(serial)).is_some();
        let bound = snapshot.instances.iter().any(|toy| toy.uses.contains(&serial));
        let toy = snapshot.instances.iter().find(|toy| toy.serial == serial && toy.init.is_done());
        toy.filter(|_| !used && !bound).map(|toy| vec![Arc::clone(toy)]).ok_or(())
    });
    let Ok(leaving) = begun else { return false };
    assert_eq!(leaving.to_finalize.len(), 1, "it was initialised, once");
    leaving.finish();
    true
}

/// A reference that a reader takes after the last one was given up would be one to freed memory. Here nothing is freed,
/// so that it shows in the count.
#[test]
fn nobody_enters_what_was_given_up() {
    check(|| {
        let list = loom::sync::Arc::new((Published::nothing(), loom::sync::Mutex::new(Retired::new())));
        let publish = |number: u64| {
            let (published, retired) = &*list;
            published.publish(loom::sync::Arc::new(number), &mut retired.lock().expect("no panic"))
        };
        assert!(publish(1).is_empty(), "nothing was there");
        let readers = [list.clone(), list.clone()].map(|list| thread::spawn(move || list.0.load()));
        let given_up = publish(2);
        let counts: Vec<usize> = given_up.iter().map(loom::sync::Arc::strong_count).collect();
        let seen = readers.map(|reader| reader.join().expect("no panic"));
        assert!(seen.iter().flatten().all(|number| [1, 2].contains(&**number)));
        for (number, count) in given_up.iter().zip(counts) {
            assert_eq!(loom::sync::Arc::strong_count(number), count, "{} was entered after it was given up", **number);
        }
    });
}

#[test]
fn what_a_reader_sees_stays() {
    check(|| {
        let toys = toys();
        assert!(open(&toys, 1, &[]).is_ok());
        let reader = spawn(&toys, |toys| {
            let first = toys.snapshot();
            for toy in &first.instances {
                assert!(!toy.gone.load(Ordering::SeqCst), "freed while it is in a snapshot");
            }
            let second = toys.snapshot();
            assert!(second.epoch >= first.epoch, "time goes forward");
        });
        assert!(unload(&toys, 1));
        assert!(open(&toys, 2, &[]).is_ok());
        reader.join().expect("no panic");
    });
}

#[test]
fn nothing_is_kept_that_nobody_sees() {
    check(|| {
        let toys = toys();
        assert!(open(&toys, 1, &[]).is_ok());
        let gone = Arc::clone(&find(&toys, 1).expect("just opened").gone);
        let reader = spawn(&toys, |toys| drop(toys.snapshot()));
        assert!(unload(&toys, 1));
        reader.join().expect("no panic");
        // If a reader was just coming in, the next change frees it.
        assert!(open(&toys, 2, &[]).is_ok());
        assert!(gone.load(Ordering::SeqCst));
    });
}

#[test]
fn one_file_is_loaded_once() {
    check(|| {
        let toys = toys();
        let others = [spawn(&toys, |toys| open(toys, 1, &[])), spawn(&toys, |toys| open(toys, 1, &[]))];
        let loaded = others.map(|other| other.join().expect("no panic").expect("nobody waits for who waits"));
        assert_eq!(loaded.iter().filter(|&&loaded| loaded).count(), 1);
        assert!(find(&toys, 1).is_some_and(|toy| toy.init.is_done()));
        assert_eq!(toys.snapshot().instances.len(), 1);
        assert_eq!(toys.claims(), 0);
    });
}

/// Publishes one whose initialiser opens the other, which does the same.
fn open_crosswise(toys: &Registry<Toy>, own: u64, other: u64) -> bool {
    let toy = loop {
        match toys.claim(toys.snapshot().epoch, &[(stamp(own), "own")], &[], &mut for_ever()) {
            Ok(claim) => {
                let toy = Toy::new(own, &[]);
                toys.publish(claim, &[Arc::clone(&toy)]);
                break toy;
            }
            Err(ClaimError::Moved) => {}
            Err(other) => panic!("{other:?}"),
        }
    };
    let inner = find(toys, other).map_or(Ok(()), |other| toys.wait_for(&other, "other", &mut for_ever()));
    toys.finish(&toy);
    match inner {
        Ok(()) => true,
        Err(Blocked::Circle(chain)) => {
            assert_eq!(chain.len(), 3, "{chain:?}");
            false
        }
        Err(wrong) => panic!("{wrong:?}"),
    }
}

#[test]
fn initialisers_that_wait_for_each_other_end() {
    check(|| {
        let toys = toys();
        let other = spawn(&toys, |toys| open_crosswise(toys, 1, 2));
        let here = open_crosswise(&toys, 2, 1);
        let there = other.join().expect("no panic");
        assert!(here || there, "one of them gets what it waits for");
    });
}

/// Claims two files, one after the other.
fn claim_both(toys: &Registry<Toy>, first: u64, second: u64) -> bool {
    let epoch = toys.snapshot().epoch;
    let claim = |file| loop {
        match toys.claim(epoch, &[(stamp(file), "file")], &[], &mut for_ever()) {
            Err(ClaimError::Moved) => {} // waited; nothing is published here
            other => return other,
        }
    };
    let _held = claim(first).expect("nobody waits for this thread");
    match claim(second) {
        Ok(_) => true,
        Err(ClaimError::Blocked(Blocked::Circle(_))) => false,
        Err(wrong) => panic!("{wrong:?}"),
    }
}

#[test]
fn claims_that_wait_for_each_other_end() {
    check(|| {
        let toys = toys();
        let other = spawn(&toys, |toys| claim_both(toys, 1, 2));
        let here = claim_both(&toys, 2, 1);
        let there = other.join().expect("no panic");
        assert!(here || there);
        assert_eq!(toys.claims(), 0);
    });
}

#[test]
fn what_is_bound_to_is_not_unloaded() {
    check(|| {
        let toys = toys();
        assert!(open(&toys, 1, &[]).is_ok());
        let binder = spawn(&toys, |toys| {
            let snapshot = toys.snapshot();
            if !snapshot.instances.iter().any(|toy| toy.serial == 1) {
                return false;
            }
            // As the loader: a plan that binds to it, made of this snapshot, and carried out if nothing has changed.
            match toys.claim(snapshot.epoch, &[(stamp(2), "binder")], &[1], &mut for_ever()) {
                Ok(claim) => {
                    assert!(find(toys, 1).is_some(), "it stays while there is a claim");
                    let toy = Toy::new(2, &[1]);
                    toys.publish(claim, &[Arc::clone(&toy)]);
                    assert!(find(toys, 1).is_some(), "and while something is bound to it");
                    toys.finish(&toy);
                    true
                }
                Err(ClaimError::Moved) => false,
                Err(wrong) => panic!("{wrong:?}"),
            }
        });
        let unloaded = unload(&toys, 1);
        let bound = binder.join().expect("no panic");
        assert_ne!(unloaded, bound, "one of the two");
        assert_eq!(find(&toys, 1).is_some(), bound);
    });
}

#[test]
fn who_waits_for_what_fails_is_told() {
    check(|| {
        let toys = toys();
        let other = spawn(&toys, |toys| {
            let toy = find(toys, 1)?;
            Some(toys.wait_for(&toy, "toy", &mut for_ever()))
        });
        let claim = toys.claim(0, &[(stamp(1), "toy")], &[], &mut for_ever()).expect("nothing is loaded");
        toys.publish(claim, &[Toy::new(1, &[])]);
        let toy = find(&toys, 1).expect("just published");
        assert!(toys.is_initializing_here(&toy), "{}", thread_id());
        toys.withdraw(&[toy], "no reason");
        match other.join().expect("no panic") {
            None => {}
            Some(Err(Blocked::Failed(why))) => assert_eq!(why, "no reason"),
            Some(wrong) => panic!("{wrong:?}"),
        }
        assert!(toys.snapshot().instances.is_empty());
    });
}
