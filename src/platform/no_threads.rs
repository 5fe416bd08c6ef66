//! Systems on which the other threads of a process cannot be found.

use crate::addr::RunAddr;
use crate::error::ErrorKind;

/// Where the C library has what is called so.
type Find<'f> = dyn Fn(&[u8]) -> Option<RunAddr> + 'f;

/// Writes to every other thread: not here.
///
/// # Errors
/// Always.
///
/// # Safety
/// None is needed, where nothing is written.
pub(crate) unsafe fn write_to_others(
    _here: u64,
    _offset: i64,
    _bytes: &[u8],
    _find: &Find<'_>,
) -> Result<(), ErrorKind> {
    Err(ErrorKind::unsupported("initial-exec thread-locals (TPOFF64) on this system"))
}
