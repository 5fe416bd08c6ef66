//! An image in this process's memory: a reservation with the file's segments mapped over it.
//!
//! Invariant: `base + (vm - span.start)` is the address of `vm`, all of the span lies in the reservation, and the ranges
//! in `writable` are mapped readable and writable until [`HostMemory::seal`] shrinks them. Every store is checked
//! against them, so no fixup can reach text, read-only data or anything outside the image.

use super::{Memory, NotWritable, Window};
use crate::addr::{Bias, RunAddr, VmAddr, VmRange};
use crate::error::ErrorKind;
use crate::link::FileBytes;
use crate::plan::{LoadPlan, Prot, Region};
use crate::platform;
use crate::platform::unix::{Reservation, page_size};
use std::fs::File;

/// The mapped image.
#[derive(Debug)]
pub(crate) struct HostMemory {
    reservation: Reservation,
    span: VmRange,
    writable: Vec<VmRange>,
    /// The writable range that the last store hit: stores come in runs.
    current: VmRange,
    /// Pages that had to be writable for their zero-filled tail, and still have to get their own protection.
    pending: Vec<(VmRange, Prot)>,
    /// Read-only regions that are writable for now, and their own protection.
    lent: Vec<(VmRange, Prot)>,
}

impl HostMemory {
    /// Reserves the span of `plan` and maps its regions.
    pub(crate) fn map(plan: &LoadPlan, source: &FileBytes) -> Result<HostMemory, ErrorKind> {
        let page = page_size();
        let span = plan.span.pages(page).ok_or(ErrorKind::OutsideImage { what: "span", range: plan.span })?;
        // The bias must be a multiple of the alignment: the span's start may not be one.
        let lead = span.start.0 % plan.align;
        let reservation = Reservation::new(span.size + lead, plan.align)?;
        let span = VmRange { start: VmAddr(span.start.0 - lead), size: span.size + lead };
        let mut memory = HostMemory {
            reservation,
            span,
            writable: Vec::new(),
            current: VmRange::default(),
            pending: Vec::new(),
            lent: Vec::new(),
        };
        if let (Some(file), Some(signature)) = (&source.file, plan.signature) {
            platform::register_signature(file, source.offset, signature).map_err(|error| ErrorKind::System {
                call: "fcntl",
                size: signature.blob.size,
                source: error,
            })?;
        }
        for region in &plan.regions {
            match &source.file {
                Some(file) if source.offset.is_multiple_of(page) => {
                    memory.map_region(plan, region, file, source, page)?
                }
                _ => memory.copy_region(region, source, page)?,
            }
            if region.prot.write {
                memory.writable.push(region.vm);
            }
        }
        Ok(memory)
    }

    fn offset(&self, vm: VmAddr) -> u64 {
        vm.0.wrapping_sub(self.span.start.0)
    }

    fn map_region(
        &mut self,
        plan: &LoadPlan,
        region: &Region,
        file: &File,
        source: &FileBytes,
        page: u64,
    ) -> Result<(), ErrorKind> {
        let bytes: &[u8] = source;
        let whole = region.vm.pages(page).ok_or(ErrorKind::OutsideImage { what: "segment", range: region.vm })?;
        let backed = region.file_backed();
        // Pages behind the file's end would kill with SIGBUS. A front end has checked this; an edited plan may be off.
        crate::bytes::Bytes(bytes)
            .slice(region.file.start.0, region.file.size)
            .ok_or(ErrorKind::OutsideImage { what: "segment", range: region.vm })?;
        let mut mapped_end = whole.start;
        if backed.size > 0 {
            let pages = backed.pages(page).ok_or(ErrorKind::OutsideImage { what: "segment", range: backed })?;
            let lead = backed.start.0 - pages.start.0;
            let from =
                region.file.start.0.checked_sub(lead).filter(|from| from % page == 0).ok_or(ErrorKind::malformed(
                    "PT_LOAD: p_offset and p_vaddr differ within the page",
                    crate::error::Place::Vm(backed.start),
                ))?;
            let tail = pages.end().0 - backed.end().0;
            let zero_tail = tail > 0 && region.vm.end() > backed.end();
            let prot = if zero_tail && !region.prot.write { Prot::READ_WRITE } else { region.prot };
            let populate = prot.write && plan.touches_most_pages(region, bytes, page);
            let from =
                from.checked_add(source.offset).ok_or(ErrorKind::OutsideImage { what: "segment", range: backed })?;
            self.reservation.map(self.offset(pages.start), pages.size, prot, file, from, populate)?;
            if zero_tail {
                self.zero_bytes(backed.end(), tail);
                self.pending.extend((prot != region.prot).then_some((pages, region.prot)));
            }
            mapped_end = pages.end();
        }
        let rest = whole.end().0.saturating_sub(mapped_end.0);
        if rest > 0 {
            self.reservation.zero(self.offset(mapped_end), rest, region.prot, false)?;
        }
        self.settle()
    }

    /// Without a file to map from: anonymous memory with a copy.
    fn copy_region(&mut self, region: &Region, bytes: &[u8], page: u64) -> Result<(), ErrorKind> {
        let whole = region.vm.pages(page).ok_or(ErrorKind::OutsideImage { what: "segment", range: region.vm })?;
        let content = crate::bytes::Bytes(bytes)
            .slice(region.file.start.0, region.file.size)
            .ok_or(ErrorKind::OutsideImage { what: "segment", range: region.vm })?;
        self.reservation.zero(self.offset(whole.start), whole.size, Prot::READ_WRITE, false)?;
        let at = self.reservation.base().wrapping_add(self.offset(region.vm.start) as usize);
        // SAFETY: `whole` was mapped writable just now, holds the region, and nothing refers to it yet.
        unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), at, content.len()) };
        self.pending.extend((region.prot != Prot::READ_WRITE).then_some((whole, region.prot)));
        self.settle()?;
        if region.prot.execute {
            // SAFETY: `whole` was mapped just now, and holds the region.
            unsafe { platform::code_was_written(at, content.len()) };
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), ErrorKind> {
        for (pages, prot) in std::mem::take(&mut self.pending) {
            self.reservation.protect(self.offset(pages.start), pages.size, prot)?;
        }
        Ok(())
    }

    fn zero_bytes(&mut self, start: VmAddr, size: u64) {
        let at = self.reservation.base().wrapping_add(self.offset(start) as usize);
        // SAFETY: the range is the rest of a page that was mapped writable just now.
        unsafe { std::ptr::write_bytes(at, 0, size as usize) };
    }

    /// Makes the whole pages of `range` read-only for good.
    pub(crate) fn seal(&mut self, range: VmRange) -> Result<(), ErrorKind> {
        let pages = range.sealable_pages(page_size());
        if pages.size == 0 {
            return Ok(());
        }
        if !self.span.holds(pages.start, pages.size) {
            return Err(ErrorKind::OutsideImage { what: "PT_GNU_RELRO", range });
        }
        self.reservation.protect(self.offset(pages.start), pages.size, Prot::READ)?;
        let cut = |range: VmRange| {
            let before =
                VmRange { start: range.start, size: pages.start.0.saturating_sub(range.start.0).min(range.size) };
            let after_start = range.start.max(pages.end().min(range.end()));
            let after = VmRange { start: after_start, size: range.end().0 - after_start.0 };
            if range.overlaps(pages) { [before, after] } else { [range, VmRange::default()] }
        };
        self.writable = self.writable.iter().flat_map(|&range| cut(range)).filter(|range| range.size > 0).collect();
        self.current = VmRange::default();
        Ok(())
    }

    /// Makes the regions of `plan` that are not writable so, and not executable, for text relocations.
    pub(crate) fn lend_text(&mut self, plan: &LoadPlan) -> Result<(), ErrorKind> {
        for region in plan.regions.iter().filter(|region| !region.prot.write && region.vm.size > 0) {
            self.protect(region.vm, Prot::READ_WRITE)?;
            self.lent.push((region.vm, region.prot));
            self.writable.push(region.vm);
        }
        Ok(())
    }

    /// Gives the regions of [`HostMemory::lend_text`] their own protection again.
    pub(crate) fn return_text(&mut self) -> Result<(), ErrorKind> {
        for (range, prot) in std::mem::take(&mut self.lent) {
            self.writable.retain(|writable| *writable != range);
            self.protect(range, prot)?;
        }
        self.current = VmRange::default();
        Ok(())
    }

    fn protect(&self, range: VmRange, prot: Prot) -> Result<(), ErrorKind> {
        let pages = range.pages(page_size()).ok_or(ErrorKind::OutsideImage { what: "segment", range })?;
        self.reservation.protect(self.offset(pages.start), pages.size, prot)
    }

    /// Where `vm` is in this process.
    pub(crate) fn run(&self, vm: VmAddr) -> RunAddr {
        vm + self.bias()
    }

    /// Bytes of a table that nobody can write: all of it lies in a region without write permission, or sealed.
    /// `None` where it is writable, or outside.
    ///
    /// # Safety
    /// The reservation must outlive every use of the slice.
    pub(crate) unsafe fn constant(&self, plan: &LoadPlan, range: VmRange) -> Option<&'static [u8]> {
        let region = plan.region(range.start, range.size)?;
        if !region.prot.read || self.writable.iter().any(|writable| writable.overlaps(range)) {
            return None;
        }
        let at = self.reservation.base().wrapping_add(self.offset(range.start) as usize);
        // SAFETY: the range lies in one readable region of this reservation, no part of it is writable, and the caller
        // keeps the reservation.
        Some(unsafe { std::slice::from_raw_parts(at, range.size as usize) })
    }

    /// The word at `vm`, as it is now; `None` outside what can be read.
    pub(crate) fn word(&self, plan: &LoadPlan, vm: VmAddr) -> Option<u64> {
        plan.region(vm, 8).filter(|region| region.prot.read)?;
        let at = self.reservation.base().wrapping_add(self.offset(vm) as usize);
        // SAFETY: the eight bytes lie in one readable region of this reservation; they may be unaligned.
        Some(unsafe { at.cast::<u64>().read_unaligned() })
    }

    /// Makes the writable range that holds the place the current one.
    #[cold]
    fn turn_to(&mut self, at: VmAddr, size: u64) -> Result<(), NotWritable> {
        let hit = self.writable.iter().find(|range| range.holds(at, size));
        self.current = *hit.ok_or(NotWritable)?;
        Ok(())
    }

    #[inline]
    fn place(&mut self, at: VmAddr, size: u64) -> Result<*mut u8, NotWritable> {
        if !self.current.holds(at, size) {
            self.turn_to(at, size)?;
        }
        Ok(self.reservation.base().wrapping_add(self.offset(at) as usize))
    }
}

impl Memory for HostMemory {
    #[inline]
    fn bias(&self) -> Bias {
        Bias((self.reservation.base().addr() as u64).wrapping_sub(self.span.start.0))
    }

    #[inline]
    fn store_u64(&mut self, at: VmAddr, value: u64) -> Result<(), NotWritable> {
        let place = self.place(at, 8)?;
        // SAFETY: `place` checked that eight bytes there are in a writable range of this image; they may be unaligned.
        unsafe { place.cast::<u64>().write_unaligned(value) };
        Ok(())
    }

    #[inline]
    fn store_u32(&mut self, at: VmAddr, value: u32) -> Result<(), NotWritable> {
        let place = self.place(at, 4)?;
        // SAFETY: as above, for four bytes.
        unsafe { place.cast::<u32>().write_unaligned(value) };
        Ok(())
    }

    #[inline]
    fn window(&mut self, range: VmRange) -> Option<Window<'_>> {
        let bias = self.bias();
        let at = self.place(range.start, range.size).ok()?;
        // SAFETY: `place` checked that the range lies in one writable range of this image, which is mapped readable and
        // writable; the slice borrows the memory as a whole, and no code that could refer to it has run.
        let bytes = unsafe { std::slice::from_raw_parts_mut(at, range.size as usize) };
        Some(Window::new(bytes, bias))
    }
}
