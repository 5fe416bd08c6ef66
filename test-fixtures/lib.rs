//! Builds the test objects: one per feature of an ELF loader, from the sources in `src/elf`.
//!
//! A fixture exports `int answer(void)`, which returns 42 only if every mechanism that it is about did its part.
//! [`build`] compiles one (or finds it in the cache), [`all`] compiles them all, and [`malformed`] makes the files that
//! a loader has to refuse. `README.md` lists them and says how to add one.
//!
//! ```no_run
//! let fixture = test_fixtures::build("relative");
//! assert_eq!(fixture.answer, Some(42));
//! // The same object with its relative relocations taken out: it must no longer answer 42.
//! let crippled = test_fixtures::without_row(&std::fs::read(&fixture.path).unwrap(), &fixture.rows[0]);
//! # let _ = crippled;
//! ```
//!
//! This crate is for tests: what cannot be built or edited panics, with the reason.

mod builder;
mod cache;
mod directives;
pub mod elf_edit;
pub mod hostile;
pub mod macho_build;
pub mod macho_edit;
mod malformed;
mod patches;
mod random;
#[doc(hidden)]
pub mod readme;
mod rows;

pub use builder::{Fixture, all, build, names};
pub use directives::GlibcVerdict;
pub use elf_edit::ElfEdit;
pub use hostile::Hostile;
pub use malformed::{Malformed, malformed};
pub use random::Random;
pub use rows::{ROWS, without_row};
