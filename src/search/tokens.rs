//! `$ORIGIN`, `$LIB` and `$PLATFORM` in paths and names, bare or in braces.

use std::borrow::Cow;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::{Outcome, SearchOptions};

/// A dynamic string token (ld.so(8), gABI "Substitution Sequences").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// `$ORIGIN`, the folder of the object that contains the text.
    Origin,
    /// `$LIB`.
    Lib,
    /// `$PLATFORM`.
    Platform,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Origin => "$ORIGIN",
            Self::Lib => "$LIB",
            Self::Platform => "$PLATFORM",
        })
    }
}

/// `text` with its tokens replaced (`_dl_dst_substitute`). A `$` that begins no token stays as it is.
///
/// In a secure process `$ORIGIN` must come first and lead into a default folder: a hard link may have put the object
/// anywhere. glibc asks that of the executable alone, we of every object.
pub(super) fn expand<'a>(
    text: &'a [u8],
    origin: Option<&Path>,
    options: &SearchOptions,
) -> Result<Cow<'a, [u8]>, Outcome> {
    if !text.contains(&b'$') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut rest = text;
    let mut has_origin = false;
    while let Some((&byte, after)) = rest.split_first() {
        let Some((token, len)) = (byte == b'$').then(|| token(after)).flatten() else {
            out.push(byte);
            rest = after;
            continue;
        };
        rest = &after[len..];
        let value = match token {
            Token::Origin => origin.map(|origin| origin.as_os_str().as_encoded_bytes()),
            Token::Lib => Some(options.lib.as_bytes()),
            Token::Platform => Some(options.platform.as_bytes()),
        };
        if token == Token::Origin {
            let leads = out.is_empty() && matches!(rest.first(), None | Some(b'/'));
            has_origin = true;
            if options.secure && !leads {
                return Err(Outcome::Secure);
            }
        }
        out.extend(value.filter(|value| !value.is_empty()).ok_or(Outcome::Unknown(token))?);
    }
    if options.secure && has_origin && !is_trusted(&as_path(&out), options) {
        return Err(Outcome::Secure);
    }
    Ok(Cow::Owned(out))
}

/// Whether a path, taken by its text alone, lies in a default folder (`is_trusted_path_normalize`).
fn is_trusted(path: &Path, options: &SearchOptions) -> bool {
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    options.default_folders.iter().any(|folder| plain.starts_with(folder))
}

/// The token that begins after a `$`, bare or in braces, and its length. A name is as long as it can be: `$LIBx` is
/// no token (`is_dst`).
fn token(text: &[u8]) -> Option<(Token, usize)> {
    let braced = text.first() == Some(&b'{');
    let text = &text[usize::from(braced)..];
    let len = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let token = match &text[..len] {
        b"ORIGIN" => Token::Origin,
        b"LIB" => Token::Lib,
        b"PLATFORM" => Token::Platform,
        _ => return None,
    };
    if braced { (text.get(len) == Some(&b'}')).then_some((token, len + 2)) } else { Some((token, len)) }
}

pub(super) fn to_path(bytes: &[u8]) -> PathBuf {
    as_path(bytes).into_owned()
}

#[cfg(unix)]
pub(super) fn as_path(bytes: &[u8]) -> Cow<'_, Path> {
    use std::os::unix::ffi::OsStrExt;
    Cow::Borrowed(Path::new(std::ffi::OsStr::from_bytes(bytes)))
}

/// Elsewhere a path is not bytes; nothing is loaded there either.
#[cfg(not(unix))]
pub(super) fn as_path(bytes: &[u8]) -> Cow<'_, Path> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => Cow::Borrowed(Path::new(text)),
        Cow::Owned(text) => Cow::Owned(PathBuf::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Os;

    fn expanded(text: &str, origin: Option<&str>, secure: bool) -> Result<String, Outcome> {
        let options = SearchOptions { secure, ..SearchOptions::of(Os::LinuxGnu, "x86_64") };
        let expanded = expand(text.as_bytes(), origin.map(Path::new), &options)?;
        Ok(String::from_utf8(expanded.into_owned()).expect("the cases are ASCII"))
    }

    /// As glibc 2.36 does (`LD_DEBUG=libs`), but for its other notion of `$PLATFORM`.
    #[test]
    fn replaces_tokens() {
        const CASES: &[(&str, &str)] = &[
            ("/plain", "/plain"),
            ("$ORIGIN", "/o"),
            ("${ORIGIN}/../lib", "/o/../lib"),
            ("a$ORIGIN/$ORIGIN", "a/o//o"),
            ("$PLATFORM.$LIB", "x86_64.lib/x86_64-linux-gnu"),
            ("${LIB}x/$LIBx/$ORIGIN_/${ORIGIN", "lib/x86_64-linux-gnux/$LIBx/$ORIGIN_/${ORIGIN"),
            ("$HOME/$/${}/$$LIB", "$HOME/$/${}/$lib/x86_64-linux-gnu"),
            ("$", "$"),
            ("${", "${"),
        ];
        for (text, expected) in CASES {
            assert_eq!(expanded(text, Some("/o"), false).as_deref(), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_may_not_expand() {
        type Case = (&'static str, Option<&'static str>, bool, Result<&'static str, Outcome>);
        const CASES: &[Case] = &[
            ("$ORIGIN/x", None, false, Err(Outcome::Unknown(Token::Origin))),
            ("$ORIGIN/x", Some("/usr/lib/app"), true, Ok("/usr/lib/app/x")),
            ("$ORIGIN", Some("/opt"), true, Err(Outcome::Secure)),
            ("$ORIGIN/../../lib/x", Some("/usr/bin"), true, Ok("/usr/bin/../../lib/x")),
            ("$ORIGIN/../../home/x", Some("/usr/lib"), true, Err(Outcome::Secure)),
            ("$ORIGIN/../../../..", Some("/usr/lib"), true, Err(Outcome::Secure)),
            ("$ORIGIN/x", Some("/usr/library"), true, Err(Outcome::Secure)),
            ("$ORIGIN/x", Some("usr/lib"), true, Err(Outcome::Secure)),
            ("/usr/lib$ORIGIN", Some("/x"), true, Err(Outcome::Secure)),
            ("${ORIGIN}x", Some("/usr/lib/"), true, Err(Outcome::Secure)),
            ("/opt/$LIB", None, true, Ok("/opt/lib/x86_64-linux-gnu")),
        ];
        for (text, origin, secure, expected) in CASES {
            assert_eq!(expanded(text, *origin, *secure).as_deref(), expected.as_ref().map(|x| &**x), "{text}");
        }
        let nowhere = SearchOptions { platform: String::new(), ..SearchOptions::of(Os::LinuxGnu, "x86_64") };
        assert_eq!(expand(b"/$PLATFORM", None, &nowhere), Err(Outcome::Unknown(Token::Platform)));
    }
}
