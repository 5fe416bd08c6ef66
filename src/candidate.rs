//! Files that are about to be loaded, for who decides whether they may be.

use crate::link::{FileStamp, LinkedModule};
use crate::plan::LoadPlan;
use crate::plugin;
use std::path::Path;
use std::sync::OnceLock;

/// A file that is about to be loaded: [`Loader::vet`](crate::Loader::vet). Nothing of it is mapped for running yet.
#[derive(Debug)]
pub struct Candidate<'a> {
    pub(crate) module: &'a LinkedModule,
    bytes: &'a [u8],
    plugin: OnceLock<Option<(String, String)>>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(module: &'a LinkedModule, bytes: &'a [u8]) -> Candidate<'a> {
        Candidate { module, bytes, plugin: OnceLock::new() }
    }

    /// The path that it was found under.
    pub fn path(&self) -> &'a Path {
        &self.module.path
    }

    /// Its identity.
    pub fn stamp(&self) -> FileStamp {
        self.module.stamp
    }

    /// The bytes that will be mapped.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What loading it will do.
    pub fn plan(&self) -> &'a LoadPlan {
        &self.module.plan
    }

    /// The name that a plugin states; `None` for what is no plugin, or whose rows cannot be read.
    pub fn name(&self) -> Option<&str> {
        self.plugin().as_ref().map(|(name, _)| name.as_str())
    }

    /// The version that a plugin states.
    pub fn version(&self) -> Option<&str> {
        self.plugin().as_ref().map(|(_, version)| version.as_str())
    }

    fn plugin(&self) -> &Option<(String, String)> {
        self.plugin.get_or_init(|| plugin::name_and_version(&self.module.plan, self.bytes))
    }
}
