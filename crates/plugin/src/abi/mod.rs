//! The contract between plugin and host: every name here is used by the code that the macros write.
//!
//! Invariant: a [`Type`] that an `unsafe impl` states describes that type, and equal fingerprints are equal
//! descriptions; a safe lookup rests on that and on nothing else.

mod border;
mod build;
mod bytes;
#[allow(coherence_leak_check, reason = "told apart by what they bind: accepted since 2018, by the next solver too")]
mod functions;
mod init;
mod linked;
mod note;
mod owned;
mod rows;
mod signature;
mod standard;
mod types;

pub use border::{ADOPT, Adopt, Raise, adopt, guard};
pub use build::{BUILD, DEBUG_ASSERTIONS, Identity, PANIC, Row};
pub use functions::{Api, Exported, Lookup};
pub use init::{Host, InitCall, InitFunction, InitStatus, Outcome, Report, item_fingerprint, run_init};
pub use linked::{Linked, LinkedItem, LinkedPlugin};
pub use note::{
    Draft, ExportKind, FORMAT, Init, ItemType, NOTE_NAME, Note, Notes, Part, SEPARATOR, checksum, note_type,
};
pub use owned::{Described, Description, Difference, OwnedField, OwnedShape, OwnedVariant, decode};
pub use rows::{ExportRow, InitRow, Malformed, RowNote, read_note};
pub use signature::{SignatureError, parse_item, parse_signature};
pub use standard::check_static;
pub use types::{Encoded, Field, Repr, STATIC, Shape, Stable, Tier, Type, Typed, Variant};
