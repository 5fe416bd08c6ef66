//! What the sources of a crate export, and what its `plugin!` lists.
//!
//! Files are read as they are written: what another macro makes, or a `cfg` leaves out, is not known. An item under a
//! `cfg` need not be listed.

use crate::{Error, read};
use std::fs;
use std::path::{Path, PathBuf};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Ident, Item, Token, Visibility};

#[derive(Default)]
pub(crate) struct Items {
    /// Functions and statics with `#[export]` or `#[init]`, in the order of files and lines.
    pub(crate) exported: Vec<String>,
    pub(crate) list: Option<List>,
}

/// `pub PLUGIN: greet, other::COUNT`
pub(crate) struct List {
    pub(crate) name: String,
    pub(crate) items: Vec<String>,
}

impl Parse for List {
    fn parse(input: ParseStream<'_>) -> syn::Result<List> {
        input.parse::<Visibility>()?;
        let name: Ident = input.parse()?;
        input.parse::<Token![:]>()?;
        let items: Punctuated<syn::Path, Token![,]> = Punctuated::parse_terminated(input)?;
        let text = |path: &syn::Path| {
            path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>().join("::")
        };
        Ok(List { name: name.to_string(), items: items.iter().map(text).collect() })
    }
}

impl Items {
    /// Reads the crate whose root is that file. The list counts only there: a module's may not be reached.
    pub(crate) fn read(root: &Path) -> Result<Items, Error> {
        let mut items = Items::default();
        if !root.is_file() {
            return Ok(items);
        }
        for path in sources(root)? {
            let malformed = |what: String| Error::Malformed { path: path.clone(), what };
            let file = syn::parse_file(&read(&path)?).map_err(|error| malformed(error.to_string()))?;
            items.visit(&file.items, path == root).map_err(|error| malformed(error.to_string()))?;
        }
        Ok(items)
    }

    fn visit(&mut self, within: &[Item], is_root: bool) -> syn::Result<()> {
        for item in within {
            match item {
                Item::Fn(function) => self.note(&function.sig.ident, &function.attrs),
                Item::Static(of) => self.note(&of.ident, &of.attrs),
                Item::Mod(module) if !is_conditional(&module.attrs) => {
                    if let Some((_, within)) = &module.content {
                        self.visit(within, false)?;
                    }
                }
                Item::Macro(call) if is_root && is_called(&call.mac.path, "plugin") => {
                    self.list = Some(call.mac.parse_body()?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, name: &Ident, attributes: &[Attribute]) {
        let is_item =
            |attribute: &Attribute| is_called(attribute.path(), "export") || is_called(attribute.path(), "init");
        if attributes.iter().any(is_item) && !is_conditional(attributes) {
            self.exported.push(name.to_string());
        }
    }
}

/// `name` or `sideload::name`
fn is_called(path: &syn::Path, name: &str) -> bool {
    let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    match segments.as_slice() {
        [only] => only == name,
        [of, only] => of.starts_with("sideload") && only == name,
        _ => false,
    }
}

fn is_conditional(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg"))
}

/// The root, and every other file below its folder that is not a program's.
fn sources(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![root.to_owned()];
    let mut folders: Vec<PathBuf> = root.parent().map(Path::to_owned).into_iter().collect();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries: Vec<PathBuf> =
            entries.map_err(|source| Error::file(&folder, source))?.iter().map(fs::DirEntry::path).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "bin" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "main.rs" && path != root {
                found.push(path);
            }
        }
    }
    Ok(found)
}
