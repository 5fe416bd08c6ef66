//! What a plugin states of itself, read from its file: nothing is mapped, and nothing is believed that can be checked.

use super::table::Table;
use crate::addr::VmAddr;
use crate::error::{ErrorKind, Place};
use crate::plan::{Contents, LoadPlan, Query, Symbols};
use crate::symbol::SymbolKind;
use sideload_plugin::abi::{
    Blocks, ExportRow, InitRow, ItemRow, Malformed, RowNote, note_type, read_build, read_identity, read_note,
};

/// What a plugin states of itself, but for what it exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Who it is, and how it was built.
    pub(crate) identity: Vec<(String, String)>,
    /// What is run once after its constructors, in that order.
    pub(crate) inits: Vec<InitRow>,
    /// Whether everything that it exports may pass between compilers.
    pub(crate) is_stable: bool,
}

impl Manifest {
    /// Reads the rows of the file that `plan` was made from, and where it has what it exports; `None` if there are none.
    pub(crate) fn read(plan: &LoadPlan, bytes: &[u8]) -> Result<Option<(Manifest, Table<VmAddr>)>, ErrorKind> {
        let (symbols, items) = (plan.symbols(bytes)?, plan.item_rows(bytes)?);
        let mut reading = Reading::default();
        let mut exports = Table::with_room(items.len())?;
        let mut export = |row: &ExportRow<'_>| exports.add(row, place(plan, &symbols, row)?);
        plan.plugin_notes(bytes, |kind, desc, at| match reading.note(kind, desc) {
            Ok(Some(row)) => export(&row),
            Ok(None) => Ok(()),
            Err(malformed) => Err(ErrorKind::malformed(malformed.0, Place::File(at))),
        })?;
        let (rows, said) = (Contents::new(plan, bytes), Contents::new(plan, bytes));
        let mut blocks = Blocks::of(bytes.len());
        for (row, pointers) in items.iter() {
            // All words from the first pointer on are pointers.
            let target = |which: usize, at: usize| {
                let (place, target) = pointers.get(which)?;
                (place.0 - row.0 == at as u64).then_some(target.0)
            };
            let item = blocks.item(rows.from(row).unwrap_or_default(), target, |at| said.from(VmAddr(at)));
            let item = item.and_then(|item| reading.item(item));
            export(&item.map_err(|malformed| ErrorKind::malformed(malformed.0, Place::Vm(row)))?)?;
        }
        let Reading { is_plugin: true, identity_rows: identity, inits, .. } = reading else { return Ok(None) };
        let inits = ordered(inits)?;
        Ok(Some((Manifest { identity, inits, is_stable: exports.is_stable() }, exports)))
    }

    /// The value of a row of the identity.
    pub(crate) fn fact(&self, key: &str) -> Option<&str> {
        self.identity.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Where the file has an item. A row is only its word: the symbol has to be there, of that kind, and inside the image.
fn place(plan: &LoadPlan, symbols: &Symbols<'_>, row: &ExportRow<'_>) -> Result<VmAddr, ErrorKind> {
    const MISSING: &str = "plugin row: an export whose symbol is not in the symbol table";
    let missing = || ErrorKind::Malformed { what: MISSING, place: None };
    let found = symbols.find(&Query::by_name(row.symbol)).ok_or_else(missing)?;
    let fits = match (row.is_function, found.kind) {
        (true, SymbolKind::Code) => plan.region(found.vm, 1).is_some_and(|region| region.prot.execute),
        (false, SymbolKind::Data) => {
            let (size, align) = row.of.layout();
            let region = plan.region(found.vm, size);
            region.is_some_and(|region| region.prot.read) && found.vm.0.is_multiple_of(align.max(1))
        }
        _ => false,
    };
    let wrong = "plugin row: an export that is not what its symbol says";
    if fits { Ok(found.vm) } else { Err(ErrorKind::malformed(wrong, Place::Vm(found.vm))) }
}

impl LoadPlan {
    /// What a plugin states of itself and of how it was built, by key: `name`, `version`, `rustc`, …; nothing if the file that
    /// the plan was made from is no plugin.
    ///
    /// # Errors
    /// Rows that are malformed.
    pub fn plugin_facts(&self, bytes: &[u8]) -> Result<Vec<(String, String)>, ErrorKind> {
        Ok(Manifest::read(self, bytes)?.map(|(manifest, _)| manifest.identity).unwrap_or_default())
    }
}

/// Every row brings the same identity along: all but the first are only compared.
#[derive(Default)]
struct Reading<'a> {
    is_plugin: bool,
    /// What was read of the crate: flags and rows.
    identity: Option<(u8, &'a [u8])>,
    /// And of its build.
    build: Option<&'a [u8]>,
    /// What both say.
    identity_rows: Vec<(String, String)>,
    inits: Vec<InitRow>,
}

const SECOND: Malformed = Malformed("plugin row: a second identity, which differs: two plugins in one file");

impl<'a> Reading<'a> {
    /// Returns what is exported.
    fn note(&mut self, kind: u32, desc: &'a [u8]) -> Result<Option<ExportRow<'a>>, Malformed> {
        self.is_plugin = true;
        // Checksum and format come first.
        let body = desc.get(5..).unwrap_or_default();
        let is_known = match (kind, body) {
            (note_type::IDENTITY, [flags, rows @ ..]) => known(&mut self.identity, (*flags, rows))?,
            (note_type::BUILD, rows) => known(&mut self.build, rows)?,
            _ => false,
        };
        if is_known {
            return Ok(None);
        }
        match read_note(kind, desc)? {
            RowNote::Identity(rows) if kind == note_type::BUILD => self.built(rows),
            RowNote::Identity(rows) => self.identity_rows.extend(rows),
            RowNote::Export(row) => return Ok(Some(row)),
            RowNote::Init(row) => self.inits.push(row),
        }
        Ok(None)
    }

    /// Returns what is exported.
    fn item<'b>(&mut self, item: ItemRow<'a, 'b>) -> Result<ExportRow<'b>, Malformed> {
        self.is_plugin = true;
        if !known(&mut self.identity, (item.flags, item.identity))? {
            self.identity_rows.extend(read_identity(item.flags, item.identity)?);
        }
        if !known(&mut self.build, item.build)? {
            self.built(read_build(item.build)?);
        }
        Ok(item.export)
    }

    /// What a build script states comes behind what the compiler does, and cannot replace it.
    fn built(&mut self, rows: Vec<(String, String)>) {
        self.identity_rows.splice(0..0, rows);
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
pub(crate) fn ordered(mut rows: Vec<InitRow>) -> Result<Vec<InitRow>, ErrorKind> {
    let malformed = |what| ErrorKind::Malformed { what, place: None };
    rows.sort_by(|a, b| (&a.file, a.line, &a.name).cmp(&(&b.file, b.line, &b.name)));
    if rows.iter().flat_map(|row| &row.after).any(|name| rows.iter().all(|row| row.name != *name)) {
        return Err(malformed("plugin row: an init function comes after one that does not exist"));
    }
    let mut done: Vec<InitRow> = Vec::with_capacity(rows.len());
    while !rows.is_empty() {
        let is_ready = |row: &InitRow| row.after.iter().all(|name| done.iter().any(|done| done.name == *name));
        let cycle = malformed("plugin row: init functions that come after one another");
        let at = rows.iter().position(is_ready).ok_or(cycle)?;
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
                Err(text) => assert!(order.unwrap_err().to_string().contains(text), "{text}"),
            }
        }
    }
}
