//! Names that loaded images must not bind to the host's definitions, because those know nothing of images that the
//! system loader did not load.

use super::tls;
use crate::addr::RunAddr;

/// The names, for the linker to know.
pub(crate) const REPLACED: &[&[u8]] = &[b"__tls_get_addr"];

/// Our function of that name.
pub(crate) fn replacement(name: &[u8]) -> Option<RunAddr> {
    match name {
        b"__tls_get_addr" => Some(tls::get_addr_entry()),
        _ => None,
    }
}
