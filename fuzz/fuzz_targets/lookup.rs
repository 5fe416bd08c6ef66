//! Symbol tables of any bytes: what a lookup finds has the name that was looked up, and every loop ends.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use sideload::addr::VmAddr;
use sideload::plan::{self, Query, ScopedSymbols, Symbols};

const NAMES: [&[u8]; 4] = [b"answer", b"", b"malloc", b"_ZTVN10__cxxabiv120__si_class_type_infoE"];

fuzz_target!(|bytes: &[u8]| {
    let Ok(plan) = plan::plan(bytes, "fuzz") else { return };
    let Ok(symbols) = plan.symbols(bytes) else { return };
    let mut names: Vec<Vec<u8>> = NAMES.iter().map(|name| name.to_vec()).collect();
    let _ = symbols.exports(|export| {
        if names.len() < 64 {
            names.push(export.name.to_vec());
        }
    });
    match &symbols {
        Symbols::Scoped(table) => scoped(table, &mut names),
        Symbols::TwoLevel(table) => names.iter().for_each(|name| drop(table.exported(name))),
    }
    for name in &names {
        let _ = symbols.find(&Query::by_name(name));
    }
    for region in &plan.regions {
        for at in [region.vm.start, VmAddr(region.vm.end().0.wrapping_sub(1))] {
            if let Some(near) = symbols.near(at) {
                assert!(near.vm <= at, "{} is not before {at}", near.vm);
            }
        }
    }
});

fn scoped(table: &ScopedSymbols<'_>, names: &mut Vec<Vec<u8>>) {
    names.extend((0..64).filter_map(|index| table.name(index)).map(<[u8]>::to_vec));
    for name in names {
        for query in [Query::by_name(name), Query::by_version(name, b"GLIBC_2.2.5"), Query::by_version(name, b"V_1")] {
            let Some(found) = table.find(&query) else { continue };
            assert_eq!(table.name(found.symbol), Some(&name[..]), "another symbol was found");
        }
    }
    let versions = table.versions();
    for needed in versions.needed() {
        let _ = versions.defines(&needed.version);
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    sideload_fuzz::mutate(data, size, max_size, seed)
});
