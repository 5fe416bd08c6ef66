//! Any bytes as load commands: an error, or a plan that keeps what `check` promises to the stages after it.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use sideload::render::Lines;
use sideload::{ErrorKind, check, plan};

fuzz_target!(|bytes: &[u8]| {
    for arch in [None, Some("x86_64"), Some("arm64"), Some("arm64e")] {
        let Ok(plan) = plan::plan_for(bytes, "fuzz", arch) else { continue };
        check::check(&plan).expect("what a front end makes passes the check");
        let mut imports = 0;
        let visited = plan.imports::<ErrorKind>(bytes, |_| {
            imports += 1;
            Ok(())
        });
        if visited.is_ok() {
            assert!(imports <= plan.import_bound(), "{imports} imports, no more than {} expected", plan.import_bound());
        }
        let _ = (Lines::fixups(&plan, bytes), Lines::imports(&plan, bytes), Lines::exports(&plan, bytes));
        let _ = plan.symbols(bytes).map(|symbols| symbols.find(&plan::Query::by_name(b"answer")));
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    sideload_fuzz::mutate(data, size, max_size, seed)
});
