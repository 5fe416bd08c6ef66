//! Where no image for macOS is run, or where the system itself has what it calls.

use crate::addr::RunAddr;

/// Nothing of ours.
pub(super) fn entry(_name: &[u8]) -> Option<RunAddr> {
    None
}
