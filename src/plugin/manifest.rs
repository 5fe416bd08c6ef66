//! What a plugin states of itself, read from its file: nothing is mapped, and nothing is believed that can be checked.

use crate::addr::VmAddr;
use crate::error::{ErrorKind, Place};
use crate::plan::LoadPlan;
use crate::room;
use sideload_plugin::abi::{
    Blocks, ExportRow, InitRow, ItemRow, Malformed, RowNote, note_type, read_build, read_identity, read_note,
};

/// The rows of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Who it is, and how it was built.
    pub(crate) identity: Vec<(String, String)>,
    /// What it exports.
    pub(crate) exports: Vec<ExportRow>,
    /// What is run once after its constructors, in that order.
    pub(crate) inits: Vec<InitRow>,
}

impl Manifest {
    /// Reads the rows of the file that `plan` was made from; `None` if there are none.
    pub(crate) fn read(plan: &LoadPlan, bytes: &[u8]) -> Result<Option<Manifest>, ErrorKind> {
        let mut reading = Reading::default();
        plan.plugin_notes(bytes, |kind, desc, at| {
            reading.note(kind, desc).map_err(|malformed| ErrorKind::malformed(malformed.0, Place::File(at)))
        })?;
        let items = plan.item_rows(bytes)?;
        let mut blocks = Blocks::default();
        room::reserve(&mut reading.manifest.exports, items.rows().len())?;
        for &row in items.rows() {
            let content = plan.bytes_from(bytes, row).unwrap_or_default();
            // All words from the first pointer on are pointers.
            let pointers = items.pointers_from(row);
            let target = |which: usize, at: usize| {
                let (place, target) = pointers.get(which)?;
                (place.0.checked_sub(row.0)? == at as u64).then_some(target.0)
            };
            let item = blocks.item(content, target, |at| plan.bytes_from(bytes, VmAddr(at)));
            let wrong = |malformed: Malformed| ErrorKind::malformed(malformed.0, Place::Vm(row));
            item.and_then(|item| reading.item(item)).map_err(wrong)?;
        }
        let Reading { is_plugin: true, mut manifest, .. } = reading else { return Ok(None) };
        manifest.check()?;
        Ok(Some(manifest))
    }

    /// Checks what concerns more than one row, and puts the init functions into their order.
    pub(crate) fn check(&mut self) -> Result<(), ErrorKind> {
        let malformed = |what| ErrorKind::Malformed { what, place: None };
        let mut names: Vec<&str> = self.exports.iter().map(|row| row.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(malformed("plugin row: one name is exported twice"));
        }
        self.inits = ordered(std::mem::take(&mut self.inits)).map_err(malformed)?;
        Ok(())
    }

    /// The value of a row of the identity.
    pub(crate) fn fact(&self, key: &str) -> Option<&str> {
        self.identity.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether everything that it exports may pass between compilers.
    pub(crate) fn is_stable(&self) -> bool {
        self.exports.iter().all(|row| row.of.is_stable())
    }
}

impl LoadPlan {
    /// What a plugin states of itself and of how it was built, by key: `name`, `version`, `rustc`, …; nothing if the file that
    /// the plan was made from is no plugin.
    ///
    /// # Errors
    /// Rows that are malformed.
    pub fn plugin_facts(&self, bytes: &[u8]) -> Result<Vec<(String, String)>, ErrorKind> {
        Ok(Manifest::read(self, bytes)?.unwrap_or_default().identity)
    }
}

/// Every row brings the same identity along: all but the first are only compared.
#[derive(Default)]
struct Reading<'a> {
    manifest: Manifest,
    is_plugin: bool,
    /// What was read of the crate: flags and rows.
    identity: Option<(u8, &'a [u8])>,
    /// And of its build.
    build: Option<&'a [u8]>,
}

const SECOND: Malformed = Malformed("plugin row: a second identity, which differs: two plugins in one file");

impl<'a> Reading<'a> {
    fn note(&mut self, kind: u32, desc: &'a [u8]) -> Result<(), Malformed> {
        self.is_plugin = true;
        // Checksum and format come first.
        let body = desc.get(5..).unwrap_or_default();
        let is_known = match (kind, body) {
            (note_type::IDENTITY, [flags, rows @ ..]) => known(&mut self.identity, (*flags, rows))?,
            (note_type::BUILD, rows) => known(&mut self.build, rows)?,
            _ => false,
        };
        if is_known {
            return Ok(());
        }
        match read_note(kind, desc)? {
            RowNote::Identity(rows) if kind == note_type::BUILD => self.built(rows),
            RowNote::Identity(rows) => self.manifest.identity.extend(rows),
            RowNote::Export(row) => self.manifest.exports.push(row),
            RowNote::Init(row) => self.manifest.inits.push(row),
        }
        Ok(())
    }

    fn item(&mut self, item: ItemRow<'a>) -> Result<(), Malformed> {
        self.is_plugin = true;
        if !known(&mut self.identity, (item.flags, item.identity))? {
            self.manifest.identity.extend(read_identity(item.flags, item.identity)?);
        }
        if !known(&mut self.build, item.build)? {
            self.built(read_build(item.build)?);
        }
        self.manifest.exports.push(item.export);
        Ok(())
    }

    /// What a build script states comes behind what the compiler does, and cannot replace it.
    fn built(&mut self, rows: Vec<(String, String)>) {
        self.manifest.identity.splice(0..0, rows);
    }
}

/// Whether it is what was read before; if nothing was, it is from now on.
fn known<T: Copy + PartialEq>(read: &mut Option<T>, now: T) -> Result<bool, Malformed> {
    match read.replace(now) {
        None => Ok(false),
        Some(before) if before == now => Ok(true),
        Some(_) => Err(SECOND),
    }
}

/// By file and line, each after those that it names.
fn ordered(mut rows: Vec<InitRow>) -> Result<Vec<InitRow>, &'static str> {
    rows.sort_by(|a, b| (&a.file, a.line, &a.name).cmp(&(&b.file, b.line, &b.name)));
    if rows.iter().flat_map(|row| &row.after).any(|name| rows.iter().all(|row| row.name != *name)) {
        return Err("plugin row: an init function comes after one that does not exist");
    }
    let mut done: Vec<InitRow> = Vec::with_capacity(rows.len());
    while !rows.is_empty() {
        let is_ready = |row: &InitRow| row.after.iter().all(|name| done.iter().any(|done| done.name == *name));
        let at = rows.iter().position(is_ready).ok_or("plugin row: init functions that come after one another")?;
        done.push(rows.remove(at));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, line: u64, after: &[&str]) -> InitRow {
        let after = after.iter().map(|&name| name.to_owned()).collect();
        InitRow { name: name.into(), symbol: name.into(), file: "src/lib.rs".into(), line, after }
    }

    #[test]
    fn init_functions_run_by_line_and_after_what_they_name() {
        type Case<'a> = (&'a [InitRow], Result<&'a [&'a str], &'a str>);
        let cases: &[Case<'_>] = &[
            (&[row("b", 9, &[]), row("a", 2, &[])], Ok(&["a", "b"])),
            (&[row("a", 2, &["b"]), row("b", 9, &[]), row("c", 5, &[])], Ok(&["c", "b", "a"])),
            (&[row("a", 2, &["b"]), row("b", 9, &["a"])], Err("one another")),
            (&[row("a", 2, &["gone"])], Err("does not exist")),
        ];
        for (rows, expected) in cases {
            let order = ordered(rows.to_vec());
            match expected {
                Ok(names) => assert_eq!(order.unwrap().iter().map(|row| &*row.name).collect::<Vec<_>>(), *names),
                Err(text) => assert!(order.unwrap_err().contains(text), "{text}"),
            }
        }
    }
}
