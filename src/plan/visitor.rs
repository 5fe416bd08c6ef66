//! Who takes the fixups of a plan.

use super::Fixup;
use crate::addr::{RunAddr, VmAddr, VmRange};
use crate::memory::Window;
use crate::symbol::ImportId;

/// What visits the fixups of an image: any function of one, or what can also take many at once.
pub trait Visitor<E> {
    /// Takes one fixup.
    ///
    /// # Errors
    /// Whatever ends the visit.
    fn fixup(&mut self, fixup: Fixup) -> Result<(), E>;

    /// Whether a fixup at `place` concerns it. A table of fixups of equal size leaves those out that do not.
    #[inline]
    fn wants(&self, place: VmAddr) -> bool {
        let _ = place;
        true
    }

    /// Where rebases within `range` may be stored at once instead of being passed one by one; `None` where they may not.
    /// Signed pointers to the image itself are rebases there.
    fn window(&mut self, range: VmRange) -> Option<Window<'_>> {
        let _ = range;
        None
    }

    /// What a bind of the import stores if it adds nothing, where it is no more than that: then binds, too, may be stored
    /// in a window.
    fn value(&self, import: ImportId) -> Option<RunAddr> {
        let _ = import;
        None
    }
}

impl<E, F: FnMut(Fixup) -> Result<(), E>> Visitor<E> for F {
    #[inline]
    fn fixup(&mut self, fixup: Fixup) -> Result<(), E> {
        self(fixup)
    }
}
