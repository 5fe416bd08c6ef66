//! The rows read back from the bytes of a file: total, whatever the bytes are.

use super::build::{assertions_row, panic_row};
use super::note::{ExportKind, FORMAT, checksum, flag, note_type};
use super::owned::{Description, Reader};
use super::signature::parse_item;

/// What one note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowNote<'a> {
    /// Who the plugin is, or how it was built: keys and values.
    Identity(Vec<(String, String)>),
    /// An exported item.
    Export(ExportRow<'a>),
    /// An init function.
    Init(InitRow),
}

/// An exported item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRow<'a> {
    /// Whether it is a function.
    pub is_function: bool,
    /// The name it is looked up by.
    pub name: &'a str,
    /// The name of its symbol.
    pub symbol: &'a [u8],
    /// The fingerprint of its type.
    pub fingerprint: u128,
    /// Its type.
    pub of: Description<'a>,
}

/// An init function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitRow {
    /// Its name.
    pub name: String,
    /// The name of its symbol.
    pub symbol: String,
    /// Where it was declared.
    pub file: String,
    /// The line.
    pub line: u64,
    /// Those that must have run before.
    pub after: Vec<String>,
}

/// Why a note cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Reads the description of a note called `sideload`, of that type.
///
/// # Errors
/// What is wrong with it; also a format or a type of note that this version does not know, since what a row that is
/// left out would have said cannot be told.
pub fn read_note(kind: u32, desc: &[u8]) -> Result<RowNote<'_>, Malformed> {
    let (sum, body) = desc.split_first_chunk().ok_or(Malformed("plugin row: shorter than its checksum"))?;
    let sum = u32::from_le_bytes(*sum);
    if sum != 0 && sum != checksum(kind, desc) {
        return Err(Malformed("plugin row: its checksum is wrong"));
    }
    let (&format, bytes) = body.split_first().ok_or(Malformed("plugin row: without a format"))?;
    if format != FORMAT {
        return Err(Malformed("plugin row: of a format that this version does not read"));
    }
    let mut reader = Reader { bytes };
    match kind {
        note_type::IDENTITY => reader
            .byte()
            .ok_or(Malformed("plugin row: an identity cut off"))
            .and_then(|flags| read_identity(flags, reader.bytes))
            .map(RowNote::Identity),
        note_type::BUILD => read_build(reader.bytes).map(RowNote::Identity),
        note_type::EXPORT => export(&mut reader).map(RowNote::Export),
        note_type::INIT => init(&mut reader).map(RowNote::Init).ok_or(Malformed("plugin row: an init row cut off")),
        _ => Err(Malformed("plugin row: of a type that this version does not know")),
    }
}

/// Reads who a plugin is.
///
/// # Errors
/// What is wrong with it.
pub fn read_identity(flags: u8, bytes: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let cut = Malformed("plugin row: an identity cut off");
    if flags >> 4 != !flags & 0xf {
        return Err(cut);
    }
    let mut rows = Vec::new();
    if flags & flag::STATED != 0 {
        rows.push(("panic".to_owned(), panic_row(flags & flag::UNWINDS != 0).to_owned()));
        let assertions = assertions_row(flags & flag::DEBUG_ASSERTIONS != 0);
        rows.push(("debug-assertions".to_owned(), assertions.to_owned()));
    }
    rows.extend(pairs(&mut Reader { bytes }).ok_or(cut)?);
    Ok(rows)
}

/// Reads how a plugin was built.
///
/// # Errors
/// What is wrong with it.
pub fn read_build(bytes: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    pairs(&mut Reader { bytes }).ok_or(Malformed("plugin row: build facts cut off"))
}

fn pairs(reader: &mut Reader<'_>) -> Option<Vec<(String, String)>> {
    let mut rows = Vec::new();
    while !reader.bytes.is_empty() {
        rows.push((reader.c_text()?, reader.c_text()?));
    }
    Some(rows)
}

fn export<'a>(reader: &mut Reader<'a>) -> Result<ExportRow<'a>, Malformed> {
    let cut = Malformed("plugin row: an export row cut off");
    let kind =
        reader.byte().and_then(ExportKind::from_byte).ok_or(Malformed("plugin row: an export of an unknown kind"))?;
    let (name, symbol) = reader.c_borrowed().zip(reader.c_borrowed()).ok_or_else(|| cut.clone())?;
    // What a macro writes is an item.
    if kind != ExportKind::Signature {
        return Err(Malformed("plugin row: an export of an unknown kind"));
    }
    let text = reader.c_borrowed().ok_or(cut)?;
    let (is_function, of) = parse_item(text).map_err(|_| Malformed("plugin row: a signature that cannot be read"))?;
    let (fingerprint, of) = (of.fingerprint(), Description::of(&of));
    Ok(ExportRow { is_function, name, symbol: symbol.as_bytes(), fingerprint, of })
}

fn init(reader: &mut Reader<'_>) -> Option<InitRow> {
    let (name, symbol, file) = (reader.c_text()?, reader.c_text()?, reader.c_text()?);
    let line = reader.number()?.try_into().ok()?;
    let after = reader.list(|reader| reader.c_text())?;
    reader.bytes.is_empty().then_some(InitRow { name, symbol, file, line, after })
}
