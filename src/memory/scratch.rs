//! A rehearsal: relocates into a buffer, never touching the process. Works for any machine.

use super::{Memory, NotWritable, Window};
use crate::addr::{Bias, VmAddr, VmRange};
use crate::error::ErrorKind;
use crate::plan::LoadPlan;
use crate::room;

/// The memory image of one plan, in a buffer.
#[derive(Clone, Debug)]
pub struct Scratch {
    bytes: Vec<u8>,
    span: VmRange,
    bias: Bias,
    writable: Vec<VmRange>,
    /// The writable range that the last store hit: stores come in runs.
    current: VmRange,
}

impl Scratch {
    /// Lays the regions of `plan` out as mapping would, at `bias`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] if the span cannot be had, [`ErrorKind::OutsideImage`] for a region that is not in it or
    /// in the file.
    pub fn new(plan: &LoadPlan, file: &[u8], bias: Bias) -> Result<Scratch, ErrorKind> {
        let size = usize::try_from(plan.span.size).map_err(|_| ErrorKind::OutOfMemory { bytes: plan.span.size })?;
        let mut bytes = room::filled(0, size)?;
        for region in &plan.regions {
            let outside = || ErrorKind::OutsideImage { what: "segment", range: region.vm };
            plan.span.holds(region.vm.start, region.vm.size).then_some(()).ok_or_else(outside)?;
            let start = region.vm.start.0.checked_sub(plan.span.start.0).ok_or_else(outside)? as usize;
            let content = crate::bytes::Bytes(file).slice(region.file.start.0, region.file.size).ok_or_else(outside)?;
            let place = start.checked_add(content.len()).and_then(|end| bytes.get_mut(start..end));
            place.ok_or_else(outside)?.copy_from_slice(content);
        }
        let writable = plan.regions.iter().filter(|region| region.prot.write).map(|region| region.vm).collect();
        Ok(Scratch { bytes, span: plan.span, bias, writable, current: VmRange::default() })
    }

    /// The bytes at `range`, as relocated so far.
    pub fn bytes(&self, range: VmRange) -> Option<&[u8]> {
        if !self.span.holds(range.start, range.size) {
            return None;
        }
        let start = (range.start.0 - self.span.start.0) as usize;
        self.bytes.get(start..start + range.size as usize)
    }

    #[inline]
    fn place(&mut self, at: VmAddr, size: u64) -> Result<&mut [u8], NotWritable> {
        if !self.current.holds(at, size) {
            let hit = self.writable.iter().find(|range| range.holds(at, size));
            self.current = *hit.ok_or(NotWritable)?;
        }
        let start = (at.0 - self.span.start.0) as usize;
        Ok(&mut self.bytes[start..start + size as usize])
    }
}

impl Memory for Scratch {
    #[inline]
    fn bias(&self) -> Bias {
        self.bias
    }

    #[inline]
    fn store_u64(&mut self, at: VmAddr, value: u64) -> Result<(), NotWritable> {
        self.place(at, 8)?.copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn store_u32(&mut self, at: VmAddr, value: u32) -> Result<(), NotWritable> {
        self.place(at, 4)?.copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn window(&mut self, range: VmRange) -> Option<Window<'_>> {
        let bias = self.bias;
        let bytes = self.place(range.start, range.size).ok()?;
        Some(Window::new(bytes, bias))
    }
}
