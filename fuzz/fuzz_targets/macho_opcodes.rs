//! Any bytes as rebase and bind opcodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sideload_fuzz::{Carrier, parts, relocate};

fuzz_target!(|input: &[u8]| {
    let mut carrier = Carrier::of(input);
    let [rebase, bind, lazy, weak] = parts(input).map(|(start, end)| carrier.part(start, end));
    let tables = carrier.tables();
    (tables.rebase, tables.binds, tables.chained) = (rebase, [bind, lazy, weak], Default::default());
    if let [Ok(wide), Ok(narrow)] = relocate(&carrier) {
        assert!(wide.bytes(carrier.plan.span) == narrow.bytes(carrier.plan.span), "it depends on the way");
    }
});
