//! Looking a symbol up by its name: found, absent, of a version, and from two threads at a time.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use support::Function;

fn lookup(c: &mut Criterion) {
    let (ours, theirs) = (support::ours("libz.so.1"), support::theirs("libz.so.1"));
    for (what, name, terminated) in [("hit", "crc32", c"crc32"), ("miss", "absent", c"absent")] {
        let terminated = terminated.to_bytes_with_nul();
        let mut group = c.benchmark_group(format!("lookup/{what}"));
        group.bench_function("sideload", |b| {
            // SAFETY: the symbol is not used.
            b.iter(|| unsafe { ours.get::<Function>(black_box(name)) }.is_ok());
        });
        group.bench_function("libloading", |b| {
            // SAFETY: as above.
            b.iter(|| unsafe { theirs.get::<Function>(black_box(terminated)) }.is_ok());
        });
        group.finish();
    }
}

/// libloading has no lookup by version: `dlvsym` itself.
fn versioned(c: &mut Criterion) {
    let (ours, theirs) = (support::ours("libz.so.1"), support::theirs("libz.so.1").into_raw());
    let mut group = c.benchmark_group("lookup/versioned");
    group.bench_function("sideload", |b| {
        // SAFETY: the symbol is not used.
        b.iter(|| unsafe { ours.get_versioned::<Function>(black_box("crc32_z"), "ZLIB_1.2.9") }.is_ok());
    });
    group.bench_function("dlvsym", |b| {
        // SAFETY: the handle is open, and both names end.
        b.iter(|| unsafe { libc::dlvsym(theirs, black_box(c"crc32_z").as_ptr(), c"ZLIB_1.2.9".as_ptr()) });
    });
    group.finish();
}

/// Both threads do every iteration, so as much time as for one thread is twice its throughput.
fn two_threads(c: &mut Criterion) {
    let (ours, theirs) = (support::ours("libz.so.1"), support::theirs("libz.so.1"));
    let mut group = c.benchmark_group("lookup/two threads");
    group.throughput(Throughput::Elements(2));
    group.bench_function("sideload", |b| {
        // SAFETY: the symbol is not used.
        b.iter_custom(|times| in_two(times, || unsafe { ours.get::<Function>(black_box("crc32")) }.is_ok()));
    });
    group.bench_function("libloading", |b| {
        // SAFETY: as above.
        b.iter_custom(|times| in_two(times, || unsafe { theirs.get::<Function>(black_box(b"crc32\0")) }.is_ok()));
    });
    group.finish();
}

/// How long it takes two threads to do `operation` so many times each.
fn in_two(times: u64, operation: impl Fn() -> bool + Sync) -> Duration {
    let barrier = Barrier::new(2);
    let work = || {
        barrier.wait();
        let start = Instant::now();
        for _ in 0..times {
            black_box(operation());
        }
        start.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work().max(other.join().expect("the other thread returns"))
    })
}

criterion_group! { name = benches; config = support::settings(); targets = lookup, versioned, two_threads }
criterion_main!(benches);
