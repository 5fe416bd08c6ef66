//! Plugins that are linked into the program: the same rows, with addresses, from a list that is written out.
//! Registries that a linker puts together lose what nothing else refers to, without a word.

use super::block::Block;
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
    /// An exported function or static, for [`linked_item`](super::linked_item).
    Export {
        /// What the macro encoded.
        head: Block,
        /// The types that it consists of.
        parts: &'static [Block],
        /// Where it is.
        address: *const (),
    },
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
