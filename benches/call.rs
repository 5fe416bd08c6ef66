//! Calling what was looked up: through our symbol, through libloading's, and by a plain pointer.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::ffi::c_char;

type ZlibVersion = unsafe extern "C" fn() -> *const c_char;

fn call(c: &mut Criterion) {
    let (ours, theirs) = (support::ours("libz.so.1"), support::theirs("libz.so.1"));
    // SAFETY: `zlibVersion` has this type.
    let (ours, theirs) =
        unsafe { (ours.get::<ZlibVersion>("zlibVersion"), theirs.get::<ZlibVersion>(b"zlibVersion\0")) };
    let (ours, theirs) = (ours.expect("zlib has it"), theirs.expect("zlib has it"));
    let pointer: ZlibVersion = *theirs;
    let mut group = c.benchmark_group("call/zlibVersion");
    // SAFETY: as above, and it returns a constant.
    group.bench_function("sideload", |b| b.iter(|| unsafe { ours() }));
    // SAFETY: as above.
    group.bench_function("libloading", |b| b.iter(|| unsafe { theirs() }));
    // SAFETY: as above.
    group.bench_function("pointer", |b| b.iter(|| unsafe { pointer() }));
    group.finish();
}

criterion_group! { name = benches; config = support::settings(); targets = call }
criterion_main!(benches);
