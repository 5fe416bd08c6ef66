//! The build check: what a plugin says of how it was built, against what this program says of itself, row by row.

use super::manifest::Manifest;
use crate::error::ErrorKind;
use sideload_plugin::abi;
use std::fmt;

/// What a difference in a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strictness {
    /// The plugin is refused before anything of it is mapped.
    Deny,
    /// It is opened; [`Plugin::warnings`](crate::Plugin::warnings) has the difference.
    Warn,
    /// Nothing.
    Ignore,
}

/// One row in which a plugin differs from this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowDifference {
    /// The row: `rustc`.
    pub row: String,
    /// What this program states; `None` if it states nothing.
    pub expected: Option<String>,
    /// What the plugin states.
    pub found: Option<String>,
}

impl fmt::Display for RowDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or("nothing".into());
        write!(f, "{}: {} here, {} there", self.row, text(&self.expected), text(&self.found))
    }
}

/// How the rows of a plugin's build identity are compared.
///
/// Compiler, target, panic strategy and allocator have to be equal, since Rust's own types only pass between equal
/// builds; the profile, the features of the processor and those of the crate only warn. A plugin whose exports are all
/// stable types (`repr(C)`, C functions) does not depend on these rows, and they are not compared unless
/// [`BuildPolicy::row`] asks for one by name. What it compares with is this program itself, and what
/// [`BuildPolicy::expect`] adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildPolicy {
    rows: Vec<(String, Strictness)>,
    expected: Vec<(String, String)>,
}

/// What an unset row does.
const DEFAULTS: &[(&str, Strictness)] = &[
    ("rustc", Strictness::Deny),
    ("commit", Strictness::Deny),
    ("target", Strictness::Deny),
    ("panic", Strictness::Deny),
    // A `String` that one side made is freed by the other.
    ("allocator", Strictness::Deny),
    ("debug-assertions", Strictness::Warn),
    ("opt-level", Strictness::Warn),
    ("target-features", Strictness::Warn),
];

impl BuildPolicy {
    /// What a difference in the row called `key` does, also for plugins that export stable types only.
    #[must_use]
    pub fn row(mut self, key: &str, strictness: Strictness) -> BuildPolicy {
        self.rows.retain(|(known, _)| known != key);
        self.rows.push((key.into(), strictness));
        self
    }

    /// What this program expects of a row, or has in it: `expect("features", "fast")`,
    /// `expect("shared-greeter-api", …)`. Such a row has to be equal unless [`BuildPolicy::row`] says otherwise.
    #[must_use]
    pub fn expect(mut self, key: &str, value: &str) -> BuildPolicy {
        self.expected.retain(|(known, _)| known != key);
        self.expected.push((key.into(), value.into()));
        self
    }

    /// Compares; returns the differences that only warn.
    pub(crate) fn compare(&self, plugin: &Manifest) -> Result<Vec<RowDifference>, ErrorKind> {
        let own =
            abi::BUILD.iter().copied().chain([("panic", abi::PANIC), ("debug-assertions", abi::DEBUG_ASSERTIONS)]);
        let own: Vec<(&str, &str)> = own.collect();
        let (mut denied, mut warned) = (Vec::new(), Vec::new());
        for key in self.keys() {
            let strictness = self.strictness(key, plugin.is_stable);
            let stated = self.expected.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
            let expected = stated.or_else(|| own.iter().find(|(known, _)| *known == key).map(|(_, value)| *value));
            let found = plugin.fact(key);
            if strictness == Strictness::Ignore || expected == found {
                continue;
            }
            let owned = |value: Option<&str>| value.map(str::to_owned);
            let difference = RowDifference { row: key.into(), expected: owned(expected), found: owned(found) };
            if strictness == Strictness::Deny { denied.push(difference) } else { warned.push(difference) }
        }
        if denied.is_empty() { Ok(warned) } else { Err(ErrorKind::BuildMismatch(denied)) }
    }

    fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = DEFAULTS.iter().map(|(key, _)| *key).collect();
        let more = self.rows.iter().map(|(key, _)| key).chain(self.expected.iter().map(|(key, _)| key));
        for key in more {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        keys
    }

    fn strictness(&self, key: &str, is_stable: bool) -> Strictness {
        let set = self.rows.iter().find(|(known, _)| known == key).map(|(_, strictness)| *strictness);
        let by_default = DEFAULTS.iter().find(|(known, _)| *known == key).map(|(_, strictness)| *strictness);
        let is_expected = self.expected.iter().any(|(known, _)| known == key);
        set.unwrap_or(match by_default {
            _ if is_expected => Strictness::Deny,
            Some(_) if is_stable => Strictness::Ignore,
            Some(strictness) => strictness,
            None => Strictness::Ignore,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(changes: &[(&str, &str)]) -> Manifest {
        let own =
            abi::BUILD.iter().copied().chain([("panic", abi::PANIC), ("debug-assertions", abi::DEBUG_ASSERTIONS)]);
        let mut identity: Vec<(String, String)> = own.map(|(key, value)| (key.into(), value.into())).collect();
        for (key, value) in changes {
            identity.retain(|(known, _)| known != key);
            identity.push(((*key).into(), (*value).into()));
        }
        Manifest { identity, inits: Vec::new(), is_stable: false }
    }

    #[test]
    fn every_difference_is_listed_with_both_values() {
        let policy = BuildPolicy::default();
        assert_eq!(policy.compare(&plugin(&[])).unwrap(), []);
        let wrong = plugin(&[("rustc", "1.0.0"), ("panic", "other"), ("allocator", "mimalloc"), ("opt-level", "z")]);
        let Err(ErrorKind::BuildMismatch(rows)) = policy.compare(&wrong) else { panic!("not refused") };
        let names: Vec<&str> = rows.iter().map(|row| row.row.as_str()).collect();
        assert_eq!(names, ["rustc", "panic", "allocator"]);
        assert_eq!(rows[2].to_string(), "allocator: nothing here, mimalloc there");
        // What only warns does not refuse; what is set by name is asked for in any plugin.
        assert_eq!(policy.compare(&plugin(&[("opt-level", "z")])).unwrap()[0].row, "opt-level");
        let stable = Manifest { is_stable: true, ..wrong };
        assert_eq!(policy.compare(&stable).unwrap(), []);
        let strict = policy.clone().row("panic", Strictness::Deny).expect("features", "fast");
        let Err(ErrorKind::BuildMismatch(rows)) = strict.compare(&stable) else { panic!("not refused") };
        assert_eq!(rows.iter().map(|row| row.row.as_str()).collect::<Vec<_>>(), ["panic", "features"]);
        assert_eq!(policy.row("rustc", Strictness::Warn).compare(&plugin(&[("rustc", "1")])).unwrap().len(), 1);
    }
}
