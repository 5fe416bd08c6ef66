//! Images for macOS: those that this system runs are opened up to the seal, and of all others everything is read.

use sideload::addr::RunAddr;
use sideload::memory::Scratch;
use sideload::plan::{self, LoadPlan};
use sideload::{Error, ErrorKind, Loader, Stage};
use std::fs;
use std::path::Path;

/// The processors whose images are read.
const ARCHES: &[&str] = &["x86_64", "arm64", "arm64e"];

/// A span that is laid out in a buffer: no image of ours is as large.
const SPAN: u64 = 4 << 20;

/// Whoever asks gets no answer.
extern "C" fn supplied() -> usize {
    0
}

/// What fixtures import from their host; and what Python modules import stands for all that their program supplies.
pub(crate) fn supply(name: &[u8], _: Option<&[u8]>) -> Option<RunAddr> {
    let ours = name == b"caller_supplied" || name.starts_with(b"Py") || name.starts_with(b"_Py");
    ours.then_some(RunAddr(supplied as *const () as u64))
}

/// Everything before code of the file would run.
pub(crate) fn until_sealed(path: &Path) -> Result<(), Error> {
    let bytes = fs::read(path).expect("written just now");
    for arch in ARCHES {
        let read = plan::plan_for(&bytes, "hostile", Some(arch)).and_then(|plan| {
            sideload::check::check(&plan).expect("what is planned passes the check");
            read(&plan, &bytes).map_err(|kind| kind.at("hostile", Stage::Plan))
        });
        drop(read);
    }
    drop(bytes);
    Loader::new().resolver(supply).link(path)?.map()?.relocate()?.seal().map(drop)
}

/// Reads all tables of an image, and applies its fixups to a buffer.
fn read(plan: &LoadPlan, bytes: &[u8]) -> Result<(), ErrorKind> {
    use sideload::addr::Bias;
    use sideload::link::Bindings;
    use sideload::relocate::{Addresses, relocate};
    use sideload::symbol::{Definition, ModuleId};
    let symbols = plan.symbols(bytes)?;
    symbols.exports(|_| ())?;
    symbols.find(&plan::Query::by_name(b"answer"));
    let mut rows = Vec::new();
    plan.imports::<ErrorKind>(bytes, |id| {
        rows.push((id, Definition::Supplied(0)));
        Ok(())
    })?;
    assert!(rows.len() <= plan.import_bound(), "{} imports", rows.len());
    plan.fixups::<ErrorKind>(bytes, |_| Ok(()))?;
    if plan.span.size > SPAN {
        return Ok(());
    }
    let bias = Bias(0x1234_5000_0000);
    let mut memory = Scratch::new(plan, bytes, bias)?;
    let addresses = Addresses { new: vec![bias], supplied: vec![RunAddr(1)], ..Addresses::default() };
    relocate(ModuleId(0), plan, bytes, &Bindings::of(rows)?, &addresses, &mut memory).map(drop)
}
