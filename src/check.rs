//! Invariants of a plan: what every later stage may rely on, whatever the file said. Fuzzing asserts these.
//! What is legal but unwanted is not decided here but by the [`Policy`](crate::audit::Policy).

use crate::error::{ErrorKind, Place};
use crate::plan::LoadPlan;

/// Checks that regions are sorted and disjoint, and that everything the plan names lies inside the span.
///
/// # Errors
/// The first violation: a plan that a front end made has none.
pub fn check(plan: &LoadPlan) -> Result<(), ErrorKind> {
    let malformed = |what, place| ErrorKind::malformed(what, Place::Vm(place));
    for pair in plan.regions.windows(2) {
        if pair[0].vm.end() > pair[1].vm.start {
            return Err(malformed("plan: regions overlap", pair[1].vm.start));
        }
    }
    for region in &plan.regions {
        if !plan.span.holds(region.vm.start, region.vm.size) || region.file.size > region.vm.size {
            return Err(malformed("plan: a region lies outside the span", region.vm.start));
        }
    }
    if !plan.align.is_power_of_two() {
        return Err(malformed("plan: the alignment is no power of two", plan.span.start));
    }
    for entry in [plan.init.function, plan.fini.function].into_iter().flatten() {
        if !plan.region(entry, 1).is_some_and(|region| region.prot.execute) {
            return Err(malformed("plan: an initialiser or finaliser is not code", entry));
        }
    }
    Ok(())
}
