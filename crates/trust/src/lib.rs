//! Which plugins a program opens: a [`Policy`] of rules in TOML, and a [`Trust`] that opens what they allow, safely.
//!
//! ```toml
//! # The first rule that matches decides; what none matches is refused.
//! [[rule]]
//! action = "deny"
//! sha256 = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
//!
//! [[rule]]
//! action = "allow"
//! name = "greeter"                     # as the plugin states it; `*` at the end stands for anything
//! keys = ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]
//!
//! [[rule]]
//! action = "allow"
//! folder = "/opt/app/plugins"          # and below; links are followed first
//! owner = 0                            # the numeric id of a user
//! only-owner-writes = true             # neither group nor others may write the file or its folder
//! ```
//!
//! A rule matches if everything that it names does. A signature is beside its file, as `FILE.minisig`, and its trusted comment
//! says what it is for: `name:greeter version:1.0.0`, by which one plugin's signature is not another's.
//!
//! The rules are asked about every file that is about to be mapped, plugins and libraries that they need. What the
//! process has already is not asked about again, but for the plugin itself.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use sideload::{Candidate, Error, Loader, Plugin, Source};
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Rules, in order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The first one that matches decides.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// A rule: matches if everything that it names does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// What it decides.
    pub action: Action,
    /// The name that the plugin states; `*` at the end stands for anything.
    pub name: Option<String>,
    /// Hashes of the whole file, in hexadecimal: any of them.
    pub sha256: Option<Vec<String>>,
    /// Public keys of minisign: the signature of any of them.
    pub keys: Option<Vec<String>>,
    /// The file lies in this folder or below it.
    pub folder: Option<PathBuf>,
    /// The file belongs to this user.
    pub owner: Option<u32>,
    /// Neither the group nor others may write the file or the folder it lies in.
    #[serde(default)]
    pub only_owner_writes: bool,
}

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The file is opened.
    Allow,
    /// It is refused.
    Deny,
}

/// A policy that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("policy: {0}")]
pub struct PolicyError(String);

impl Policy {
    /// Reads a policy. An unknown key is an error, since what it was meant to forbid would be allowed.
    ///
    /// # Errors
    /// Text that is no policy, keys and hashes that are none, and rules that name nothing.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let policy: Policy = toml::from_str(text).map_err(|error| PolicyError(error.to_string()))?;
        for (number, rule) in (1..).zip(&policy.rules) {
            rule.check().map_err(|what| PolicyError(format!("rule {number}: {what}")))?;
        }
        Ok(policy)
    }

    /// Whether a file may be loaded.
    ///
    /// # Errors
    /// The rule that refuses it, or why no rule allows it.
    pub fn admit(&self, candidate: &Candidate<'_>) -> Result<(), String> {
        self.decide(candidate).map(drop)
    }

    /// The number of the rule that allows a file, counted from 1.
    ///
    /// # Errors
    /// As [`Policy::admit`].
    pub fn decide(&self, candidate: &Candidate<'_>) -> Result<usize, String> {
        let mut reasons = String::new();
        for (number, rule) in (1..).zip(&self.rules) {
            match (rule.matches(candidate), rule.action) {
                (Ok(()), Action::Allow) => return Ok(number),
                (Ok(()), Action::Deny) => return Err(format!("rule {number} denies it")),
                (Err(reason), Action::Allow) => {
                    let _ = write!(reasons, "\n  rule {number}: {reason}");
                }
                // Why a rule does not refuse it is of no help.
                (Err(_), Action::Deny) => {}
            }
        }
        Err(format!("no rule allows it{reasons}"))
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let names_something = self.name.is_some()
            || self.sha256.is_some()
            || self.keys.is_some()
            || self.folder.is_some()
            || self.owner.is_some()
            || self.only_owner_writes;
        if !names_something {
            return Err("it names nothing, and so would match everything".into());
        }
        for hash in self.sha256.iter().flatten() {
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("`{hash}` is not a SHA-256 in hexadecimal"));
            }
        }
        for key in self.keys.iter().flatten() {
            minisign_verify::PublicKey::from_base64(key).map_err(|error| format!("key `{key}`: {error}"))?;
        }
        if let Some(folder) = self.folder.as_ref().filter(|folder| !folder.is_absolute()) {
            return Err(format!("folder `{}` is not an absolute path", folder.display()));
        }
        Ok(())
    }

    /// `Err` says what does not match. What costs least comes first.
    fn matches(&self, candidate: &Candidate<'_>) -> Result<(), String> {
        if let Some(pattern) = &self.name {
            let name = candidate.name().ok_or("it states no name")?;
            let fits = match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            };
            if !fits {
                return Err(format!("its name is {name}, not {pattern}"));
            }
        }
        self.place(candidate)?;
        if let Some(hashes) = &self.sha256 {
            let hash = sha256(candidate.bytes());
            if !hashes.iter().any(|allowed| allowed.eq_ignore_ascii_case(&hash)) {
                return Err(format!("its SHA-256 is {hash}"));
            }
        }
        match &self.keys {
            Some(keys) => signed(candidate, keys),
            None => Ok(()),
        }
    }

    fn place(&self, candidate: &Candidate<'_>) -> Result<(), String> {
        if self.folder.is_none() && self.owner.is_none() && !self.only_owner_writes {
            return Ok(());
        }
        let path = candidate.path();
        let text = |error: std::io::Error| format!("{}: {error}", path.display());
        let path = path.canonicalize().map_err(text)?;
        let file = path.metadata().map_err(text)?;
        // The file at this path now has to be the one that is about to be mapped.
        if (file.dev(), file.ino()) != (candidate.stamp().device, candidate.stamp().inode) {
            return Err(format!("{} was replaced meanwhile", path.display()));
        }
        if let Some(folder) = &self.folder {
            let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
            if !path.starts_with(&folder) {
                return Err(format!("it does not lie in {}", folder.display()));
            }
        }
        if let Some(owner) = self.owner.filter(|&owner| owner != file.uid()) {
            return Err(format!("it belongs to user {}, not {owner}", file.uid()));
        }
        if self.only_owner_writes {
            let parent = path.parent().unwrap_or(Path::new("/"));
            for (what, mode) in [(path.as_path(), file.mode()), (parent, parent.metadata().map_err(text)?.mode())] {
                if mode & 0o022 != 0 {
                    return Err(format!("others may write {}", what.display()));
                }
            }
        }
        Ok(())
    }
}

/// In hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The trusted comment of a plugin's signature.
pub fn trusted_comment(name: &str, version: &str) -> String {
    format!("name:{name} version:{version}")
}

/// Where the signature of a file is.
pub fn signature_path(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".minisig");
    path.into()
}

fn signed(candidate: &Candidate<'_>, keys: &[String]) -> Result<(), String> {
    let path = signature_path(candidate.path());
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let signature =
        minisign_verify::Signature::decode(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let is_valid = |key: &String| {
        let key = minisign_verify::PublicKey::from_base64(key);
        key.is_ok_and(|key| key.verify(candidate.bytes(), &signature, false).is_ok())
    };
    if !keys.iter().any(is_valid) {
        return Err("its signature is none of these keys'".into());
    }
    // A library that is no plugin has neither; then the comment has to say so, too.
    let (name, version) = (candidate.name().unwrap_or_default(), candidate.version().unwrap_or_default());
    let expected = trusted_comment(name, version);
    match signature.trusted_comment() == expected {
        true => Ok(()),
        false => Err(format!("its signature is for `{}`, not for `{expected}`", signature.trusted_comment())),
    }
}

/// The right to open what a policy allows.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sideload_trust::{Policy, Trust};
/// let policy = Policy::parse(&std::fs::read_to_string("/etc/app/plugins.toml")?)?;
/// // SAFETY: what is signed with these keys was reviewed.
/// let trust = unsafe { Trust::new(sideload::Loader::new(), policy) };
/// let plugin = trust.open("./libgreeter.so")?; // safe
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Trust {
    loader: Loader,
}

impl Trust {
    /// Takes over the obligation of [`Plugin::open`] for everything that the policy allows.
    ///
    /// # Safety
    /// Whatever file the policy allows, its initialisers may be run, and what its rows state of types is true.
    pub unsafe fn new(loader: Loader, policy: Policy) -> Trust {
        Trust { loader: loader.vet(move |candidate| policy.admit(candidate)) }
    }

    /// Opens the plugin at `path`, if the policy allows it and all that it needs.
    ///
    /// The policy is asked about a copy that nobody can change, and the copy is what is mapped ([`Source::snapshot`]).
    /// Libraries that it needs and that the process does not have are mapped from their files: let a `folder` that only
    /// its owner writes allow those.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`](sideload::ErrorKind::Untrusted), with nothing mapped; and as [`Plugin::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Plugin, Error> {
        // SAFETY: whoever made this vouches for what the policy allows, and the policy is asked before anything is
        // mapped.
        unsafe { self.loader.open_plugin(Source::path(path).snapshot()) }
    }
}
