//! The pure half: from the bytes of a file to its plan, to its fixups, and to the link plan of its group.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sideload::ErrorKind;
use sideload::plan::{self, LoadPlan};
use std::hint::black_box;

/// The smallest, one of many symbols, and one of many relocations.
const LIBRARIES: &[&str] = &["libz.so.1", "libcrypto.so.3", "libz3.so.4"];

fn plans(c: &mut Criterion) {
    for name in LIBRARIES {
        let link = sideload::Loader::new().link(name).expect("the library links");
        let bytes = link.files().next().expect("the library itself comes first");
        c.bench_function(&format!("plan/{name}"), |b| b.iter(|| plan::plan(black_box(bytes), name)));

        let plan = plan::plan(bytes, name).expect("the library has a plan");
        let mut group = c.benchmark_group("fixups");
        group.throughput(Throughput::Elements(fixups(&plan, bytes)));
        group.bench_function(*name, |b| b.iter(|| fixups(&plan, black_box(bytes))));
        group.finish();
    }
}

fn fixups(plan: &LoadPlan, bytes: &[u8]) -> u64 {
    let mut count = 0;
    let each = |fixup| {
        black_box(fixup);
        count += 1;
        Ok::<(), ErrorKind>(())
    };
    plan.fixups(bytes, each).map(|()| count).unwrap_or_default()
}

/// Searching, planning and binding every import, against the least that the system's loader does with a file: it has
/// no step that maps nothing, so a lazy open and close stands in.
fn links(c: &mut Criterion) {
    use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};
    for name in support::LIBRARIES {
        support::keep_needs(name);
        let mut group = c.benchmark_group(format!("link/{name}"));
        let loader = sideload::Loader::new();
        group.bench_function("sideload", |b| b.iter(|| loader.link(name)));
        // SAFETY: a library of the distribution, whose initialisers are meant for any process.
        let open = || unsafe { Library::open(Some(*name), RTLD_LAZY | RTLD_LOCAL) };
        group.bench_function("libloading, lazy, and close", |b| b.iter(|| open().map(Library::close)));
        group.finish();
    }
}

criterion_group! { name = benches; config = support::settings(); targets = plans, links }
criterion_main!(benches);
