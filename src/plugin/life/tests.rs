//! The lives of plugins under `loom`: `cargo xtask model`. See `registry/tests.rs`.

use super::{Life, Lives, Unjoined};
use crate::plugin::state::Key;
use crate::registry::turns::Patience;
use loom::thread;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A plugin that is nothing but a count of how often it was initialised.
#[derive(Debug, Default)]
struct Toy {
    begun: AtomicUsize,
    done: AtomicUsize,
}

type Toys = Arc<Lives<Toy>>;

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

/// Opens as `Loader::open_plugin` does. Returns what was opened, and whether this open ran the init functions.
fn open(
    toys: &Lives<Toy>,
    key: u64,
    init: impl FnOnce(&Life<Toy>) -> Result<(), &'static str>,
) -> (Arc<Life<Toy>>, bool, Result<(), String>) {
    let made = toys.enter::<()>(Key::Instance(key), Path::new("plugin.so"), || Ok(Toy::default()));
    let (life, is_new) = made.expect("a toy can be made");
    let result = match is_new {
        true => toys.run(&life, init).map_err(str::to_owned),
        false => match toys.join(&life, "plugin.so", &mut Patience::new(Duration::MAX)) {
            Ok(()) => Ok(()),
            Err(Unjoined::Failed(why)) => Err(why),
            Err(other) => panic!("{other:?}"),
        },
    };
    (life, is_new, result)
}

fn sound(life: &Life<Toy>) -> Result<(), &'static str> {
    life.begun.fetch_add(1, Ordering::Relaxed);
    // Others may run here.
    thread::yield_now();
    life.done.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[test]
fn one_open_initialises_and_the_others_find_it_done() {
    check(|| {
        let toys = Toys::new(Lives::new());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let toys = Arc::clone(&toys);
                thread::spawn(move || {
                    let (life, ran, result) = open(&toys, 1, sound);
                    assert_eq!(result, Ok(()));
                    assert_eq!((life.begun.load(Ordering::Relaxed), life.done.load(Ordering::Relaxed)), (1, 1));
                    ran
                })
            })
            .collect();
        let ran = others.into_iter().map(|thread| thread.join().unwrap()).filter(|ran| *ran).count();
        assert_eq!(ran, 1, "one of them ran it");
        assert_eq!(toys.lock().len(), 1);
    });
}

#[test]
fn a_failure_is_told_to_all_and_stays() {
    check(|| {
        let toys = Toys::new(Lives::new());
        let other = {
            let toys = Arc::clone(&toys);
            thread::spawn(move || open(&toys, 1, |_| Err("no server")).2)
        };
        let here = open(&toys, 1, |_| Err("no server")).2;
        assert_eq!((here, other.join().unwrap()), (Err("no server".into()), Err("no server".into())));
        assert_eq!(open(&toys, 1, sound).2, Err("no server".into()), "until it is another file");
        assert!(!toys.lock()[0].is_alive());
    });
}

/// What a panic of an observer leaves behind.
#[test]
fn who_waits_is_woken_if_nobody_says_how_it_ended() {
    check(|| {
        let toys = Toys::new(Lives::new());
        let (life, is_new) = toys
            .enter::<()>(Key::Instance(1), Path::new("plugin.so"), || Ok(Toy::default()))
            .expect("a toy can be made");
        assert!(is_new);
        let other = {
            let toys = Arc::clone(&toys);
            thread::spawn(move || open(&toys, 1, sound).2)
        };
        drop(super::Running { lives: &toys, life: &life });
        assert!(other.join().unwrap().unwrap_err().contains("interrupted"));
    });
}

#[test]
fn an_init_that_opens_its_own_plugin_is_told() {
    check(|| {
        let toys = Toys::new(Lives::new());
        let inner = |_: &Life<Toy>| {
            let (life, is_new) = toys
                .enter::<()>(Key::Instance(1), Path::new("plugin.so"), || Ok(Toy::default()))
                .expect("a toy can be made");
            assert!(!is_new);
            let joined = toys.join(&life, "plugin.so", &mut Patience::new(Duration::MAX));
            assert!(matches!(joined, Err(Unjoined::Here)), "{joined:?}");
            Ok(())
        };
        assert_eq!(open(&toys, 1, inner).2, Ok(()));
    });
}

/// Two files, one after the other at one path, opened at the same time.
#[test]
fn the_newest_generation_is_the_current_one() {
    check(|| {
        let toys = Toys::new(Lives::new());
        let other = {
            let toys = Arc::clone(&toys);
            thread::spawn(move || open(&toys, 1, sound).0.generation)
        };
        let here = open(&toys, 2, sound).0.generation;
        let mut generations = [here, other.join().unwrap()];
        generations.sort_unstable();
        assert_eq!(generations, [1, 2]);
        let list = toys.lock();
        let current: Vec<u64> = list.iter().filter(|life| life.is_current()).map(|life| life.generation).collect();
        assert_eq!(current, [2]);
    });
}

/// The same, with a second file whose init functions fail: the first one stays, whichever is done first.
#[test]
fn a_generation_that_fails_takes_nobodys_place() {
    check(|| {
        let toys = Toys::new(Lives::new());
        let other = {
            let toys = Arc::clone(&toys);
            thread::spawn(move || open(&toys, 1, sound).2)
        };
        assert_eq!(open(&toys, 2, |_| Err("no server")).2, Err("no server".into()));
        assert_eq!(other.join().unwrap(), Ok(()));
        let list = toys.lock();
        let alive: Vec<Key> = list.iter().filter(|life| life.is_alive()).map(|life| life.key).collect();
        assert_eq!(alive, [Key::Instance(1)]);
    });
}
