//! Any bytes as chained fixups, and any content of the data that the chains run through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sideload_fuzz::{Carrier, parts, relocate};

fuzz_target!(|input: &[u8]| {
    let mut carrier = Carrier::of(input);
    let [(start, end), data] = parts(input);
    let payload = carrier.part(start, end);
    carrier.tables().chained = payload;
    let place = carrier.data();
    let content = &input[data.0..data.1];
    let content = &content[..content.len().min(place.size as usize)];
    let at = place.start.0 as usize;
    carrier.bytes[at..at + content.len()].copy_from_slice(content);
    let _ = relocate(&carrier);
    // The names, which fixups do without, may be compressed.
    let _ = carrier.plan.symbols(&carrier.bytes).map(|symbols| drop(symbols));
});
