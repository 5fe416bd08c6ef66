//! Plugins: a checked lookup by a constant name, and a call through what it found.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use sideload::Plugin;
use std::hint::black_box;

type Add = extern "C" fn(i32, i32) -> i32;

extern "C" fn add(one: i32, other: i32) -> i32 {
    one.wrapping_add(other)
}

fn plugin(c: &mut Criterion) {
    let path = test_fixtures::build("plugin").path;
    // SAFETY: the fixture's initialiser is made to be run.
    let plugin = unsafe { Plugin::open(path) }.expect("a sound plugin");
    c.bench_function("plugin/lookup", |b| {
        b.iter(|| black_box(&plugin).lookup::<Add>("plugin_add").is_ok());
    });
    let mut group = c.benchmark_group("plugin/call");
    let found = *plugin.lookup::<Add>("plugin_add").expect("exported");
    group.bench_function("plugin", |b| b.iter(|| black_box(found)(black_box(1), black_box(2))));
    group.bench_function("pointer", |b| b.iter(|| black_box(add as Add)(black_box(1), black_box(2))));
    group.finish();
}

criterion_group! { name = benches; config = support::settings(); targets = plugin }
criterion_main!(benches);
