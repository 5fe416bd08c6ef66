//! Plugins that are linked into the program: the same rows, with addresses, from a list that is written out.
//! Registries that a linker puts together lose what nothing else refers to, without a word.

use super::build::Identity;
use super::init::InitFunction;
use super::note::Init;

/// One item, as the attributes write it beside a function or a static.
#[derive(Clone, Copy, Debug)]
pub struct Linked {
    /// What it is, and where.
    pub item: LinkedItem,
}

/// What an item is, and where.
#[derive(Clone, Copy, Debug)]
pub enum LinkedItem {
    /// An exported function or static: the description of its note, for [`read_note`](super::read_note), and its address.
    Export(&'static [u8], *const ()),
    /// An init function.
    Init(Init, InitFunction),
}

/// A plugin that is linked in: `sideload::plugin!(pub PLUGIN: greet, GREETED)` in its crate makes one.
#[derive(Debug)]
pub struct LinkedPlugin {
    identity: Identity,
    items: &'static [Linked],
}

// SAFETY: the address is that of a function or of a static, which is `Sync`; the rest is constants.
unsafe impl Send for Linked {}
// SAFETY: as above.
unsafe impl Sync for Linked {}

impl Linked {
    /// An exported item at `address`.
    ///
    /// # Safety
    /// An item of the kind and the type that the note says is at `address`, for as long as the process lives.
    pub const unsafe fn new(desc: &'static [u8], address: *const ()) -> Linked {
        Linked { item: LinkedItem::Export(desc, address) }
    }

    /// An init function.
    ///
    /// # Safety
    /// It may be called with any call that is valid.
    pub const unsafe fn init(row: Init, function: InitFunction) -> Linked {
        Linked { item: LinkedItem::Init(row, function) }
    }
}

impl LinkedPlugin {
    /// A plugin of these items.
    pub const fn new(identity: Identity, items: &'static [Linked]) -> LinkedPlugin {
        LinkedPlugin { identity, items }
    }

    /// Who it is, and how it was built.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it consists of.
    pub fn items(&self) -> &'static [Linked] {
        self.items
    }
}
