//! The contract between plugin and host: every name here is used by the code that the macros write.
//!
//! Invariant: a [`Type`] that an `unsafe impl` states describes that type, and equal fingerprints are equal
//! descriptions; a safe lookup rests on that and on nothing else.

mod block;
mod border;
mod build;
mod bytes;
#[allow(coherence_leak_check, reason = "told apart by what they bind: accepted since 2018, by the next solver too")]
mod functions;
mod init;
mod item;
mod linked;
mod note;
mod owned;
mod rows;
mod signature;
mod standard;
mod types;

pub use block::{Block, sum};
pub use border::{ADOPT, Adopt, Raise, adopt, guard};
pub use border::{guard0, guard1, guard2, guard3, guard4, guard5, guard6, guard7, guard8};
pub use build::{BUILD, DEBUG_ASSERTIONS, Identity, PANIC, Row};
pub use functions::{Api, Exported, Lookup};
pub use init::{Host, InitCall, InitFunction, InitStatus, Outcome, Report, item_fingerprint, run_init};
pub use item::{
    Blocks, ITEM_PREFIX, Item, Item1, Item2, Item3, Item4, Item5, Item6, Item7, Item8, Item9, ItemRow, item_size,
    item_sum, linked_item,
};
pub use linked::{Linked, LinkedItem, LinkedPlugin};
pub use note::{ExportKind, FORMAT, Init, NOTE_NAME, Note, Notes, SEPARATOR, checksum, note_type};
pub use owned::{Described, Description, Difference, OwnedField, OwnedShape, OwnedVariant, decode};
pub use rows::{ExportRow, InitRow, Malformed, RowNote, read_build, read_identity, read_note};
pub use signature::{SignatureError, parse_item, parse_signature};
pub use standard::check_static;
pub use types::{Field, Repr, STATIC, Shape, Stable, Tier, Type, Typed, Variant};
