//! What the JSON documents have in common. Field names are stable; addresses and sizes are numbers; names are text, in
//! which bytes that are not UTF-8 appear as `\xNN`.

use crate::failure::Failure;
use serde::Serialize;
use sideload::addr::VmRange;
use sideload::render::Word;
use std::io::{self, Write};

/// A name out of a file.
pub(crate) fn text(name: &[u8]) -> String {
    Word(name).to_string()
}

/// The same, if there is one.
pub(crate) fn optional(name: Option<&[u8]>) -> Option<String> {
    name.map(text)
}

/// A range of addresses.
#[derive(Serialize)]
pub(crate) struct Range {
    vm: u64,
    size: u64,
}

impl From<VmRange> for Range {
    fn from(range: VmRange) -> Range {
        Range { vm: range.start.0, size: range.size }
    }
}

/// Prints one document.
pub(crate) fn print(document: &impl Serialize) -> Result<(), Failure> {
    let mut output = crate::failure::output();
    serde_json::to_writer_pretty(&mut output, document).map_err(io::Error::from)?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}
