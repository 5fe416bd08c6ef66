//! How a [`Loader`] opens plugins.

use super::identity::BuildPolicy;
use super::init::Provided;
use crate::loader::Loader;
use sideload_plugin::abi::{Exported, LinkedPlugin};

/// The settings that only plugins have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) build: BuildPolicy,
    pub(crate) provided: Vec<Provided>,
    pub(crate) copies: Copies,
    pub(crate) reload: bool,
    pub(crate) linked: Vec<&'static LinkedPlugin>,
}

/// What to do with a file that is a copy of a plugin which is open already: another file of the same content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Copies {
    /// Opens it: a plugin of its own, with statics of its own.
    #[default]
    Isolate,
    /// Hands out the plugin that is open.
    Share,
    /// Refuses it ([`ErrorKind::AlreadyOpen`](crate::ErrorKind::AlreadyOpen)).
    Refuse,
}

impl Loader {
    /// How a plugin's build identity is compared with this program's.
    #[must_use]
    pub fn build_policy(mut self, policy: BuildPolicy) -> Loader {
        self.plugins.build = policy;
        self
    }

    /// What to do with copies of plugins that are open.
    #[must_use]
    pub fn copies(mut self, copies: Copies) -> Loader {
        self.plugins.copies = copies;
        self
    }

    /// Opens a plugin whose file was replaced since it was opened as a new generation beside the old one, instead of
    /// refusing it ([`ErrorKind::Stale`](crate::ErrorKind::Stale)). The old one is retired: who has it keeps it, with
    /// its own state, and nobody gets it any more. A plugin whose init functions failed is tried again in the same way,
    /// with statics of its own.
    #[must_use]
    pub fn reload(mut self, reload: bool) -> Loader {
        self.plugins.reload = reload;
        self
    }

    /// Gives `item`, a function pointer or a `&'static T`, to init functions of plugins that ask for it by this name
    /// and this very type.
    ///
    /// ```
    /// fn log(text: &str) { println!("{text}") }
    /// let loader = sideload::Loader::new().provide("log", log as fn(&str));
    /// ```
    #[must_use]
    pub fn provide<T: Exported + 'static>(mut self, name: impl Into<String>, item: T) -> Loader {
        self.plugins.provided.push(Provided::new(name.into(), item));
        self
    }
}
