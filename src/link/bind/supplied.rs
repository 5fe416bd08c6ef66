//! Symbols that no image defines, and yet are bound.

use crate::addr::RunAddr;

/// A symbol that no image defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// Its name.
    pub name: Vec<u8>,
    /// Who supplies it.
    pub by: Supplier,
}

/// Who supplies a symbol that no image defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supplier {
    /// The caller's [`Resolve`](crate::symbol::Resolve), at this address.
    Caller(RunAddr),
    /// This library: it is one of its own functions.
    Library,
    /// Nobody: a call of it ends the process.
    Stub {
        /// The first module that imports it.
        module: String,
    },
}
