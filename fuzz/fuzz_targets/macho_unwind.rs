//! Any bytes as `__unwind_info` and `__eh_frame`: an error, or records of functions that lie in code.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sideload::addr::{VmAddr, VmRange};
use sideload::macho::unwind;
use sideload_fuzz::{Carrier, parts};

fuzz_target!(|input: &[u8]| {
    let mut carrier = Carrier::of(input);
    let [compact, records] = parts(input).map(|(start, end): (usize, usize)| {
        let start_vm = VmAddr(carrier.vm.start.0 + start as u64);
        (end > start).then_some(VmRange { start: start_vm, size: (end - start) as u64 })
    });
    (carrier.plan.unwind_tables.compact, carrier.plan.unwind_tables.records) = (compact, records);
    let tables = carrier.tables().clone();
    let Ok(Some(table)) = unwind::frames(&carrier.plan, &tables, &carrier.bytes) else { return };
    assert!(table.bytes.len() <= 4096 + input.len() * 64, "{} bytes of records", table.bytes.len());
    let size = table.bytes.len();
    for &at in table.addresses.iter().chain(table.slots.iter().map(|(at, _)| at)) {
        assert!(at + 8 <= size, "an address outside the table");
    }
    for &at in &table.records {
        let length = table.bytes.get(at..at + 4).expect("a record in the table");
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        assert!(at + 4 + length <= size, "a record that is cut off");
    }
});
