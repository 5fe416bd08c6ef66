//! A module's block at the same place in every thread: when it gets one, and how the threads get its bytes.
//!
//! **Order.** The initial bytes for new threads are changed first ([`super::template`]), then the running threads are
//! written to, again and again until a round finds none that it had not seen. A thread that is missed all the same is
//! one whose creator had copied its thread-locals before the change and had not yet put it into the list of threads when
//! the last round ended; glibc's own `dlopen` has the same gap. Nobody uses the bytes before this is done, so
//! it does no harm to write them twice.
//!
//! **Invariant.** Of each thread only the bytes of the slice are written, which are nobody else's in any thread.

use super::reserve::{Reserves, Slice, hold};
use super::{ANYWHERE, ModuleTls, UNDECIDED, template};
use crate::addr::RunAddr;
use crate::error::ErrorKind;
use crate::plan::Query;
use crate::platform::threads;
use crate::runtime::host::{HostImage, HostImages};
use std::ptr;
use std::sync::atomic::Ordering;

impl ModuleTls {
    /// The offset of its block from the thread pointer, if it has been decided that it is the same in every thread.
    pub(crate) fn offset(&self) -> Option<i64> {
        let offset = self.row().offset.load(Ordering::Acquire);
        (offset != UNDECIDED && offset != ANYWHERE).then_some(offset)
    }

    /// The offset of its block from the thread pointer in every thread, for a module whose group is being relocated.
    /// [`ModuleTls::settle`] has to follow when that is done.
    ///
    /// # Errors
    /// There is no room in the static thread-locals of the process.
    pub(crate) fn fix(&self, host: &HostImages) -> Result<i64, ErrorKind> {
        let mut reserves = hold();
        if let Some(offset) = self.offset() {
            return Ok(offset);
        }
        let slice = self.take(&mut reserves, host)?;
        self.row().offset.store(slice.offset, Ordering::Release);
        Ok(slice.offset)
    }

    /// As [`ModuleTls::fix`], for a module that is loaded: every thread has its bytes when this returns.
    ///
    /// # Errors
    /// As [`ModuleTls::fix`]; or a thread has a block of it elsewhere; or threads cannot be written to.
    pub(crate) fn fix_loaded(&self, host: &HostImages) -> Result<i64, ErrorKind> {
        let mut reserves = hold();
        if let Some(offset) = self.offset() {
            return Ok(offset);
        }
        let slice = self.take(&mut reserves, host)?;
        let decided = self.fill(&slice, host).and_then(|()| {
            let row = &self.row().offset;
            row.compare_exchange(UNDECIDED, slice.offset, Ordering::AcqRel, Ordering::Relaxed).map_err(|_| {
                ErrorKind::unsupported("initial-exec access to thread-locals of an image that threads use already")
            })
        });
        if decided.is_err() {
            reserves.give_back(slice.offset);
        }
        decided.map(|_| slice.offset)
    }

    /// Where a module has a static block: copies its image, as it stands in memory now, to every thread.
    ///
    /// # Errors
    /// The threads cannot be found or written to; the error names the call.
    pub(crate) fn settle(&self, host: &HostImages) -> Result<(), ErrorKind> {
        let Some(offset) = self.offset() else { return Ok(()) };
        let reserves = hold();
        reserves.at(offset).map_or(Ok(()), |slice| self.fill(&slice, host))
    }

    fn take(&self, reserves: &mut Reserves, host: &HostImages) -> Result<Slice, ErrorKind> {
        let row = self.row();
        let [size, align, skew] = [&row.size, &row.align, &row.skew].map(|field| field.load(Ordering::Relaxed) as u64);
        reserves.take(size.max(1), align, skew, host)
    }

    /// The caller has the lock of the reserves.
    fn fill(&self, slice: &Slice, host: &HostImages) -> Result<(), ErrorKind> {
        let row = self.row();
        let image: *const u8 = ptr::with_exposed_provenance(row.image.load(Ordering::Relaxed) as usize);
        // SAFETY: the image is readable until this value is dropped, as was promised when it was registered.
        let image = unsafe { std::slice::from_raw_parts(image, row.image_size.load(Ordering::Relaxed)) };
        let mut bytes = vec![0; slice.size as usize]; // no more than a reserve has
        bytes[..image.len()].copy_from_slice(image);
        // SAFETY: the slice is this module's, as long as these bytes, and its owner lets nobody use it before.
        unsafe { spread(slice, &bytes, host) }
    }
}

/// Makes `bytes` the value of a slice in every thread, and in all that will be created.
///
/// # Errors
/// The system or a sandbox does not let us write, or find the threads: the error names the call.
///
/// # Safety
/// The slice is as long as `bytes`, taken, and not used yet; the caller has the lock of the reserves.
unsafe fn spread(slice: &Slice, bytes: &[u8], host: &HostImages) -> Result<(), ErrorKind> {
    // SAFETY: as the caller promises.
    unsafe { template::write(slice, bytes, host) }?;
    let here = super::thread_pointer();
    let own: *mut u8 = ptr::with_exposed_provenance_mut(here.wrapping_add_signed(slice.offset) as usize);
    // SAFETY: the slice in this thread, unused says the caller.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), own, bytes.len()) };
    if is_single_threaded(host) {
        return Ok(());
    }
    let find = |name: &[u8]| defined(host, name).map(|(_, at)| at);
    // SAFETY: the slice has the same place in every thread, and is unused.
    unsafe { threads::write_to_others(here, slice.offset, bytes, &find) }
}

/// What the process's start-up images call by that name.
fn defined<'h>(host: &'h HostImages, name: &[u8]) -> Option<(&'h HostImage, RunAddr)> {
    let query = Query::by_name(name);
    let mut images = host.images.iter().filter(|image| image.global);
    images.find_map(|image| Some((&**image, image.find(&query)?.vm + image.bias())))
}

/// Whether glibc knows of one thread only: then nothing has to be asked of the system.
fn is_single_threaded(host: &HostImages) -> bool {
    let flag = defined(host, b"__libc_single_threaded").and_then(|(image, at)| image.byte(at));
    flag.is_some_and(|flag| flag != 0)
}
