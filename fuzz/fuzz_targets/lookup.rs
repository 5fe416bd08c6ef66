//! Symbol tables of any bytes: what a lookup finds has the name that was looked up, and every loop ends.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use sideload::addr::VmAddr;
use sideload::plan::{self, Query};

fuzz_target!(|bytes: &[u8]| {
    let Ok(plan) = plan::plan(bytes, "fuzz") else { return };
    let Ok(symbols) = plan.symbols(bytes) else { return };
    let mut names = vec![&b"answer"[..], b"", b"malloc", b"_ZTVN10__cxxabiv120__si_class_type_infoE"];
    symbols.exports(|export| {
        if names.len() < 64 {
            names.push(export.name);
        }
    });
    names.extend((0..64).filter_map(|index| symbols.name(index)));
    for name in names {
        for query in [Query::by_name(name), Query::by_version(name, b"GLIBC_2.2.5"), Query::by_version(name, b"V_1")] {
            let Some(found) = symbols.find(&query) else { continue };
            assert_eq!(symbols.name(found.symbol), Some(name), "another symbol was found");
        }
    }
    for region in &plan.regions {
        for at in [region.vm.start, VmAddr(region.vm.end().0.wrapping_sub(1))] {
            if let Some((_, start)) = symbols.at(at) {
                assert!(start <= at, "{start} is not before {at}");
            }
        }
    }
    let versions = symbols.versions();
    for needed in versions.needed() {
        let _ = versions.defines(&needed.version);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    sideload_fuzz::mutate(data, size, max_size, seed)
});
