//! The images of this very process, and who waits for whom to read them.

use super::HostImages;
use crate::addr::RunAddr;
use crate::error::ErrorKind;
use crate::platform;
use crate::sync::lock;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

static CURRENT: Mutex<Option<Arc<HostImages>>> = Mutex::new(None);

/// The lock of what is known of the host.
pub(crate) type Lock = MutexGuard<'static, Option<Arc<HostImages>>>;

/// Keeps what is known as it is.
pub(crate) fn hold() -> Lock {
    lock(&CURRENT)
}

/// The images of the process now. As long as dyld neither adds nor removes any, this is the same snapshot.
///
/// # Errors
/// The kernel does not say where dyld has its list, or dyld keeps changing it.
pub(crate) fn images() -> Result<Arc<HostImages>, ErrorKind> {
    const ATTEMPTS: u32 = 1000;
    let infos = platform::image_infos().map(RunAddr);
    let infos = infos.ok_or(ErrorKind::Host { what: "the kernel does not say where dyld has its list of images" })?;
    let peek = |at: RunAddr, bytes: &mut [u8]| platform::read_own_memory(at.0, bytes);
    let mut current = hold();
    if let Some(images) = current.as_ref().filter(|images| images.is_current(&peek, infos)) {
        return Ok(Arc::clone(images));
    }
    for _ in 0..ATTEMPTS {
        if let Some(images) = HostImages::read(&peek, infos, current.as_deref()) {
            let images = Arc::new(images);
            *current = Some(Arc::clone(&images));
            return Ok(images);
        }
        // Another thread is in dyld, perhaps waiting for a disk.
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(ErrorKind::Host { what: "dyld keeps changing its list of images" })
}
