//! Plugins that are linked into this program, from an explicit list: the same names, checks and lookups.

use super::Plugin;
use super::init;
use super::manifest::{Manifest, ordered};
use super::state::{About, Content, Key, PLUGINS};
use super::table::Table;
use crate::addr::RunAddr;
use crate::error::{Error, ErrorKind, Stage};
use crate::library::Library;
use crate::link::FileStamp;
use crate::loader::Loader;
use crate::registry::Member;
use crate::runtime::host;
use sideload_plugin::abi::{Init, InitRow, LinkedItem, LinkedPlugin, linked_item};
use std::path::Path;
use std::sync::Arc;

impl Loader {
    /// Adds plugins that are linked into this program, for [`Loader::open_linked`].
    #[must_use]
    pub fn linked(mut self, plugins: &[&'static LinkedPlugin]) -> Loader {
        self.plugins.linked.extend_from_slice(plugins);
        self
    }

    /// Opens the plugin of that name which is linked into this program: as [`Loader::open_plugin`] opens a file, with
    /// the same checks, once, and safely, since its code is the program's own.
    ///
    /// # Errors
    /// [`ErrorKind::NotAPlugin`] if none of that name was added; a build that differs from what the policy expects; and as [`Plugin::open`].
    pub fn open_linked(&self, name: &str) -> Result<Plugin, Error> {
        let named = |plugin: &&&LinkedPlugin| plugin.identity().rows().any(|row| row == ("name", name));
        let at = |kind: ErrorKind| kind.at(name, Stage::Find);
        let plugin = self.plugins.linked.iter().find(named);
        let plugin = plugin.ok_or(at(ErrorKind::NotAPlugin { why: "no plugin of that name is linked in" }))?;
        let host = host::images().map_err(at)?;
        let program = host.images.first().ok_or(at(ErrorKind::Host { what: "there is no executable" }))?;
        let root = Member::Host(Arc::clone(program));
        let library = Library::new_in(root.clone(), Arc::new([root]), true);
        let (about, table) = self.about_linked(plugin).map_err(at)?;
        let key = Key::Linked(std::ptr::from_ref::<LinkedPlugin>(plugin).addr());
        let (state, is_new) =
            PLUGINS.enter(key, Path::new(name), || Ok(Content { library, about, table })).map_err(at)?;
        if !is_new {
            return self.join_plugin(state);
        }
        self.initialize_plugin(state, |state| {
            for row in &state.about.manifest.inits {
                let entries = plugin.items().iter().find_map(|linked| match linked.item {
                    LinkedItem::Init(of, function) if of.symbol == row.symbol => Some(function),
                    _ => None,
                });
                let entry = entries.map(|function| RunAddr(function as usize as u64));
                let entry = entry.ok_or(ErrorKind::NotAPlugin { why: "its list changed" })?;
                // SAFETY: the list holds init functions that the macro made; they are this program's own code.
                unsafe { init::run(entry, &row.name, &self.plugins.provided) }?;
            }
            Ok(())
        })
    }

    /// Checked at every open, as a file is.
    fn about_linked(&self, plugin: &LinkedPlugin) -> Result<(About, Table<RunAddr>), ErrorKind> {
        let (mut exports, mut inits) = (Table::with_room(plugin.items().len())?, Vec::new());
        for linked in plugin.items() {
            match linked.item {
                LinkedItem::Export { head, parts, address } => {
                    let row = linked_item(head, parts);
                    let row = row.map_err(|malformed| ErrorKind::Malformed { what: malformed.0, place: None })?;
                    exports.add(&row, RunAddr(address.expose_provenance() as u64))?;
                }
                LinkedItem::Init(row, _) => inits.push(init_row(&row)),
            }
        }
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let identity = plugin.identity().rows().map(owned).collect();
        let manifest = Manifest { identity, inits: ordered(inits)?, is_stable: exports.is_stable() };
        let warnings = self.plugins.build.compare(&manifest)?;
        Ok((About { stamp: FileStamp::default(), manifest, warnings }, exports))
    }
}

fn init_row(row: &Init) -> InitRow {
    InitRow {
        name: row.name.into(),
        symbol: row.symbol.into(),
        file: row.file.into(),
        line: row.line.into(),
        after: row.after.iter().map(|&name| name.to_owned()).collect(),
    }
}
