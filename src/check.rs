//! Invariants of a plan: what every later stage may rely on, whatever the file said. Fuzzing asserts these.
//! What is legal but unwanted is not decided here but by the [`Policy`](crate::audit::Policy).

use crate::addr::{MIN_PAGE, VmRange};
use crate::error::{ErrorKind, Place};
use crate::plan::LoadPlan;

/// Checks that regions are sorted and share no page, and that everything the plan names lies inside the span.
///
/// # Errors
/// The first violation: a plan that a front end made has none.
pub fn check(plan: &LoadPlan) -> Result<(), ErrorKind> {
    let malformed = |what, place| ErrorKind::malformed(what, Place::Vm(place));
    for pair in plan.regions.windows(2) {
        // A page has one protection: what one region may write, the next one would have taken away.
        let end = pair[0].vm.pages(MIN_PAGE).map(VmRange::end);
        if end.is_none_or(|end| end.0 > pair[1].vm.start.0 & !(MIN_PAGE - 1)) {
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
    for seal in &plan.seals {
        // What is sealed there is at most what is sealed anywhere.
        let pages = seal.sealable_pages(MIN_PAGE);
        if pages.size > 0 && !plan.span.holds(pages.start, pages.size) {
            return Err(malformed("plan: a seal reaches outside the span", seal.start));
        }
    }
    let in_file = |range: VmRange| {
        let mut held = plan.regions.iter().map(|region| region.file_backed());
        range.size == 0 || held.any(|held| held.holds(range.start, range.size))
    };
    if let Some(tls) = plan.tls
        && (tls.image.size > tls.size || !tls.align.is_power_of_two() || !in_file(tls.image))
    {
        return Err(malformed("plan: the thread-local template is none", tls.image.start));
    }
    for array in plan.init.arrays.iter().chain(&plan.fini.arrays) {
        if array.range.size % array.form.size() != 0 || !in_file(array.range) {
            let start = array.range.start;
            return Err(malformed("plan: an array of initialisers or finalisers lies outside the file", start));
        }
    }
    for entry in [plan.init.function, plan.fini.function].into_iter().flatten() {
        if !plan.region(entry, 1).is_some_and(|region| region.prot.execute) {
            return Err(malformed("plan: an initialiser or finaliser is not code", entry));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Bias;
    use crate::memory::Scratch;

    #[test]
    fn regions_lie_apart_and_in_the_span() {
        let path = test_fixtures::macho_edit::folder().join("bind-x64-chained.dylib");
        let file = std::fs::read(path).expect("a fixture");
        let plan = crate::plan::plan(&file, "test").expect("a fixture");
        check(&plan).expect("nothing is wrong with it");
        type Edit = fn(&mut LoadPlan);
        let cases: [(&str, Edit); 4] = [
            ("overlap", |plan| plan.regions[0].vm.size = plan.regions[1].vm.end().0 - plan.regions[0].vm.start.0),
            ("overlap", |plan| plan.regions[1].vm.start.0 -= 8), // the last page of the region before
            ("outside the span", |plan| plan.regions.iter_mut().for_each(|region| region.vm.start.0 += 1 << 40)),
            ("outside the span", |plan| plan.regions.last_mut().expect("some").vm.size += 1 << 20),
        ];
        for (word, edit) in cases {
            let mut edited = plan.clone();
            edit(&mut edited);
            let error = check(&edited).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
            // A rehearsal takes any plan, and panics over none.
            if word != "overlap" {
                Scratch::new(&edited, &file, Bias(0)).expect_err(word);
            }
        }
    }
}
