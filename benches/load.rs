//! Loading as often as one likes in one process: everything up to the sealed group, which is then undone.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use sideload::{Error, Loader, Sealed};

fn load(c: &mut Criterion) {
    for name in support::LIBRARIES {
        support::keep_needs(name);
        let loader = Loader::new();
        let mut group = c.benchmark_group(format!("load/{name}"));
        group.bench_function("sideload, to the seal, and drop", |b| b.iter(|| sealed(&loader, name).map(drop)));
        group.bench_function("libloading, and close", |b| b.iter(|| support::theirs(name).close()));
        group.finish();
    }
}

/// Code that has run cannot be undone: neither resolvers nor initialisers are called.
fn sealed(loader: &Loader, name: &str) -> Result<Sealed, Error> {
    loader.link(name)?.map()?.relocate()?.seal()
}

/// Opening what is open already.
fn reopen(c: &mut Criterion) {
    let mut group = c.benchmark_group("reopen/libz.so.1");
    let _ours = support::ours("libz.so.1");
    group.bench_function("sideload", |b| b.iter(|| support::ours("libz.so.1")));
    let _theirs = support::theirs("libz.so.1");
    group.bench_function("libloading", |b| b.iter(|| support::theirs("libz.so.1")));
    group.finish();
}

criterion_group! { name = benches; config = support::settings(); targets = load, reopen }
criterion_main!(benches);
