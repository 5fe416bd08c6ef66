//! What the criterion benches have in common. Each uses a part of it.
#![allow(dead_code)]

use criterion::Criterion;
use std::time::Duration;

/// `int crc32(…)` and the like: looked up, and never called through this.
pub(crate) type Function = unsafe extern "C" fn();

/// Few samples: all benches together take two minutes.
pub(crate) fn settings() -> Criterion {
    let (warm_up, measurement) = (Duration::from_millis(300), Duration::from_millis(1_000));
    Criterion::default().sample_size(20).warm_up_time(warm_up).measurement_time(measurement).without_plots()
}

pub(crate) fn ours(name: &str) -> sideload::Library {
    // SAFETY: a library of the distribution, whose initialisers are meant for any process.
    unsafe { sideload::Library::open(name) }.expect("the library opens")
}

pub(crate) fn theirs(name: &str) -> libloading::os::unix::Library {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: as above.
    unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.expect("the library opens")
}

/// Of three sizes; glibc unmaps these when they are closed, so that it opens them anew each time.
pub(crate) const LIBRARIES: &[&str] = &["libz.so.1", "libsqlite3.so.0", "librsvg-2.so.2"];

/// Opens everything that `name` needs through the system's loader and keeps it, so that both loaders have only `name`
/// itself to load.
///
/// # Panics
/// If that is not so.
pub(crate) fn keep_needs(name: &str) {
    let modules = |name| -> Vec<String> {
        let link = sideload::Loader::new().link(name).expect("the library links");
        link.plan().modules.iter().map(|module| module.name.clone()).collect()
    };
    modules(name).iter().skip(1).for_each(|need| std::mem::forget(theirs(need)));
    assert_eq!(modules(name).len(), 1, "what {name} needs is in the process");
    theirs(name).close().expect("the library closes");
    assert_eq!(modules(name).len(), 1, "glibc unmaps {name}");
}
