//! What loaded images get in place of functions of macOS that know nothing of them. Everything else, `dlopen` included, is
//! the system's own: what an image opens by it goes to dyld, and `dlsym` does not find what this library has loaded.
//!
//! Invariant: none of its own; the functions' files have theirs.

use super::{ending, tls};
use crate::addr::RunAddr;

/// The names, as C has them.
pub(crate) const NAMES: &[&[u8]] = &[b"dyld_stub_binder", b"_tlv_bootstrap", b"_tlv_atexit", b"atexit"];

/// The function that an import of that name is bound to.
pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let function = match name {
        b"dyld_stub_binder" => ending::stub_binder as *const (),
        b"_tlv_bootstrap" => tls::variable_entry(),
        b"_tlv_atexit" => ending::at_thread_exit as *const (),
        b"atexit" => ending::at_exit as *const (),
        _ => return None,
    };
    Some(RunAddr(function.expose_provenance() as u64))
}
