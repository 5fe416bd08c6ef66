//! Names that loaded images must not bind to the host's definitions, because those know nothing of images that the
//! system loader did not load.

use super::{counted, darwin, instead};
use crate::addr::RunAddr;

/// The names, for the linker to know. Besides these there are those of [`counted`], if the host has them.
pub(crate) use super::instead::NAMES as REPLACED;

/// Our function of that name, for images that mean what the host does by it.
pub(crate) fn replacement(name: &[u8]) -> Option<RunAddr> {
    instead::entry(name).or_else(|| counted::entry(name))
}

/// What the linker said that this library supplies: one of these, or what an image for macOS means by the name.
pub(crate) fn supplied(name: &[u8]) -> Option<RunAddr> {
    replacement(name).or_else(|| darwin::entry(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_replaced_name_has_a_function() {
        for name in REPLACED {
            assert!(replacement(name).is_some_and(|at| at.0 != 0), "{}", name.escape_ascii());
        }
        assert_eq!(replacement(b"malloc"), None);
    }

    #[test]
    fn what_images_for_macos_mean_is_no_replacement() {
        for name in crate::darwin::OURS {
            assert_eq!(replacement(name), None, "{}", name.escape_ascii());
            #[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
            assert!(supplied(name).is_some_and(|at| at.0 != 0), "{}", name.escape_ascii());
        }
    }
}
