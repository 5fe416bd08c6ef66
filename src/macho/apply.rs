//! The opcodes of an image → fixups, in bulk where the visitor has windows.

use super::opcodes::{Bind, Binds, Rebases, Run};
use super::{Tables, slice};
use crate::addr::{RunAddr, VmAddr, VmRange};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};
use crate::memory::Window;
use crate::plan::{Fixup, FixupKind, Form, LoadPlan, Region, Visitor};

/// The rebases of the opcodes. They come in runs, most of them in the region of the one before.
pub(super) fn rebases<E: From<ErrorKind>>(
    plan: &LoadPlan,
    tables: &Tables,
    file: &[u8],
    visitor: &mut impl Visitor<E>,
) -> Result<(), E> {
    let mut runs = Rebases::new(tables, file);
    let mut next = runs.next_run()?;
    while let Some(run) = next {
        let outside = || ErrorKind::malformed("rebase opcodes: outside every segment", Place::Vm(run.place));
        let region = plan.region(run.place, 8).ok_or_else(outside)?;
        let (backed, content) = (region.file_backed(), slice(file, region.file));
        if let Some(mut window) = visitor.window(backed) {
            while let Some(run) = next
                && rebase(run, backed, content, &mut window)
            {
                runs.apply(backed, content, &mut window);
                next = runs.advance().map_err(|wrong| runs.error(wrong))?;
            }
        }
        // What is not in a window, or not all of it.
        let Some(run) = next else { return Ok(()) };
        if region.vm.holds(run.place, 8) {
            one_by_one(run, plan, file, visitor)?;
            next = runs.next_run()?;
        }
    }
    Ok(())
}

/// Rebases what lies in the window, whose content in the file is given; says whether all of it does.
#[inline]
fn rebase(run: Run, backed: VmRange, content: &[u8], window: &mut Window<'_>) -> bool {
    let inside = |range: &VmRange| run.distance >= 8 && backed.holds(range.start, range.size);
    let Some(range) = run.range().filter(inside) else { return false };
    let mut at = (range.start.0 - backed.start.0) as usize;
    if run.distance == 8 {
        return window.beside(content).all(at, run.count as usize);
    }
    for _ in 0..run.count {
        window.rebase(at, VmAddr(Bytes(content).u64(at as u64).unwrap_or(0)));
        // Behind the last one this may be anywhere.
        at = at.wrapping_add(run.distance as usize);
    }
    true
}

fn one_by_one<E: From<ErrorKind>>(
    run: Run,
    plan: &LoadPlan,
    file: &[u8],
    visitor: &mut impl Visitor<E>,
) -> Result<(), E> {
    for place in run.places() {
        let outside = || ErrorKind::malformed("rebase opcodes: outside every segment", Place::Vm(place));
        let region = plan.region(place, 8).ok_or_else(outside)?;
        let content = Bytes(slice(file, region.file));
        let target = VmAddr(content.u64(place.0 - region.vm.start.0).unwrap_or(0));
        visitor.fixup(Fixup { place, kind: FixupKind::Rebase { target } })?;
    }
    Ok(())
}

/// The binds of the opcodes. Those of one symbol come together, and most of them in the region of the one before.
pub(super) fn binds<E: From<ErrorKind>>(
    plan: &LoadPlan,
    tables: &Tables,
    file: &[u8],
    visitor: &mut impl Visitor<E>,
) -> Result<(), E> {
    let mut binds = Binds::new(tables, file);
    let (mut region, mut known) = (VmRange::default(), None);
    while let Some(bind) = binds.advance().map_err(|wrong| binds.error(wrong))? {
        let Bind { run, import, addend } = bind;
        if !region.holds(run.place, 8) {
            region = plan.region(run.place, 8).map(Region::file_backed).unwrap_or_default();
        }
        let value = match known {
            Some((last, value)) if last == import => value,
            _ => visitor.value(import),
        };
        known = Some((import, value));
        let inside = run.range().is_some_and(|range| region.holds(range.start, range.size));
        if let Some(value) = value.filter(|_| inside)
            && let Some(mut window) = visitor.window(region)
        {
            let value = RunAddr(value.0.wrapping_add_signed(addend));
            for place in run.places() {
                window.store((place.0 - region.start.0) as usize, value);
            }
            binds.apply(region, value, &mut window);
        } else {
            let kind = FixupKind::Bind { import: Some(import), addend, form: Form::Abs64 };
            run.places().try_for_each(|place| visitor.fixup(Fixup { place, kind }))?;
        }
    }
    Ok(())
}
