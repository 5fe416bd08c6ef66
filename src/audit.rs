//! What is legal but unwanted: findings, and the policy that decides which of them refuse a load.

use crate::error::ErrorKind;
use crate::plan::LoadPlan;

/// Something about an image that a careful loader points out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Finding {
    /// A segment is writable and executable at once.
    WritableCode,
    /// Relocations change read-only segments (`DT_TEXTREL`).
    TextRelocations,
    /// Asks for executable stacks, which are left as they are (`PT_GNU_STACK`).
    ExecutableStack,
    /// Asks to come first in the scope, which only a preloaded object can (`DF_1_INTERPOSE`); it is opened as any other.
    Interpose,
}

impl Finding {
    /// What it is, by its name in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::WritableCode => "PT_LOAD: a segment is writable and executable (PF_W | PF_X)",
            Finding::TextRelocations => "DT_TEXTREL: the object has relocations in read-only segments",
            Finding::ExecutableStack => "PT_GNU_STACK: the object asks for executable stacks",
            Finding::Interpose => "DF_1_INTERPOSE: the object asks to come first in the scope",
        }
    }
}

/// The findings of one plan.
pub fn findings(plan: &LoadPlan) -> Vec<Finding> {
    let writable_code = plan.regions.iter().any(|region| region.prot.write && region.prot.execute);
    let table = [
        (writable_code, Finding::WritableCode),
        (plan.flags.text_relocations, Finding::TextRelocations),
        (plan.flags.executable_stack, Finding::ExecutableStack),
        (plan.flags.interpose, Finding::Interpose),
    ];
    table.into_iter().filter(|(found, _)| *found).map(|(_, finding)| finding).collect()
}

/// Which findings refuse a load.
///
/// Whatever it allows, no page is ever writable and executable at once, so [`Finding::WritableCode`] cannot be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Refuses objects that ask for executable stacks. Off by default: their stacks stay as they are, and 2 in 1,000
    /// distribution libraries only lack the marker.
    pub refuse_executable_stack: bool,
    /// Checks every record of unwind tables, however large they are. Off by default: above 128 KiB only their index and
    /// their end are looked at, since the rest takes as long as a tenth to a half of all else that an open does. A table
    /// that was tampered with in between can end the process at the next exception; [`Event::Tables`] names those that
    /// were not checked whole.
    ///
    /// [`Event::Tables`]: crate::Event::Tables
    pub check_all_frames: bool,
    /// Admits objects with relocations in read-only segments. Off by default: such segments are not shared between
    /// processes, and a system that enforces where code comes from (SELinux `execmod`) refuses them. They are writable and
    /// not executable while they are relocated.
    pub allow_text_relocations: bool,
}

impl Policy {
    /// Whether the policy admits the image.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with the first finding that it does not admit.
    pub fn admit(&self, plan: &LoadPlan) -> Result<(), ErrorKind> {
        for finding in findings(plan) {
            let refused = match finding {
                Finding::WritableCode => true,
                Finding::TextRelocations => !self.allow_text_relocations,
                Finding::ExecutableStack => self.refuse_executable_stack,
                Finding::Interpose => false,
            };
            if refused {
                return Err(ErrorKind::Refused { what: finding.as_str() });
            }
        }
        Ok(())
    }
}
