//! What a plugin states of itself, read from its file: nothing is mapped, and nothing is believed that can be checked.

use crate::error::{ErrorKind, Place};
use crate::plan::LoadPlan;
use sideload_plugin::abi::{ExportRow, InitRow, RowNote, note_type, read_note};

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
        let mut manifest = Manifest::default();
        // What was read of the crate, and of its build.
        let mut read: [Option<&[u8]>; 2] = [None; 2];
        let mut is_plugin = false;
        plan.plugin_rows(bytes, |kind, desc, at| {
            is_plugin = true;
            let wrong = |what| ErrorKind::malformed(what, Place::File(at));
            let identity = [note_type::IDENTITY, note_type::BUILD].iter().position(|known| *known == kind);
            // Every row brings the same identity along: all but the first are only compared.
            if let Some(which) = identity {
                if let Some(first) = read[which] {
                    let text = "plugin row: a second identity, which differs: two plugins in one file";
                    return if first == desc { Ok(()) } else { Err(wrong(text)) };
                }
                read[which] = Some(desc);
            }
            match read_note(kind, desc).map_err(|malformed| wrong(malformed.0))? {
                // What a build script states comes behind what the compiler does, and cannot replace it.
                RowNote::Identity(rows) if kind == note_type::BUILD => drop(manifest.identity.splice(0..0, rows)),
                RowNote::Identity(rows) => manifest.identity.extend(rows),
                RowNote::Export(row) => manifest.exports.push(row),
                RowNote::Init(row) => manifest.inits.push(row),
            }
            Ok(())
        })?;
        if !is_plugin {
            return Ok(None);
        }
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
