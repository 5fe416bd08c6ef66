//! Any bytes: an error, or a plan that keeps what `check` promises to the stages after it.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use sideload::render::Lines;
use sideload::{ErrorKind, audit, check, plan};

fuzz_target!(|bytes: &[u8]| {
    let Ok(plan) = plan::plan(bytes, "fuzz") else { return };
    check::check(&plan).expect("what a front end makes passes the check");
    assert_eq!(plan, plan::plan(bytes, "again").expect("it was planned before"), "two plans of one file differ");
    let mut imports = 0;
    let visited = plan.imports::<ErrorKind>(bytes, |_| {
        imports += 1;
        Ok(())
    });
    if visited.is_ok() {
        assert!(imports <= plan.import_bound(), "{imports} imports, no more than {} expected", plan.import_bound());
    }
    let _ = plan.fixups::<ErrorKind>(bytes, |_| Ok(()));
    let _ = audit::findings(&plan, bytes);
    // Overlapping names make these as large as the string table times the symbols.
    if bytes.len() < 1 << 15 {
        let _ = (Lines::fixups(&plan, bytes), Lines::imports(&plan, bytes), Lines::exports(&plan, bytes));
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    sideload_fuzz::mutate(data, size, max_size, seed)
});
