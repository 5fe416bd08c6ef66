//! Where a member of an archive lies: `ar` archives (as of static libraries) and zip archives whose member is stored
//! without compression, as Android's packages hold their libraries.
//!
//! ```text
//! ar:     "!<arch>\n" (header data pad?)*      header: name[16] date[12] uid[6] gid[6] mode[8] size[10] "`\n"
//!         name: "text/" | "/offset" into the member "//" (GNU) | "#1/length", then the name before the data (BSD)
//! zip:    … central directory, entry* … end of central directory, comment
//!         entry: "PK\1\2" … method(10) … sizes(20,24) lengths(28,30,32) … local header(42) name extra comment
//!         local header: "PK\3\4" … lengths(26,28) … name extra data
//! ```
//!
//! Sources: `ar(5)` of FreeBSD, "File Format" in GNU binutils' `ar.h`; APPNOTE.TXT 6.3 of PKWARE, 4.3 and 4.4.

use crate::addr::FileRange;
use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};

const AR: &[u8] = b"!<arch>\n";
const AR_HEADER: u64 = 60;
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const END: &[u8] = b"PK\x05\x06";
const END_SIZE: usize = 22;

/// Where the archive holds the member of that name, the first one if there are several.
///
/// # Errors
/// No archive, malformed, without such a member, or the member is compressed or encrypted.
pub(crate) fn member(archive: &[u8], name: &[u8]) -> Result<FileRange, ErrorKind> {
    let bytes = Bytes(archive);
    let found = if archive.starts_with(AR) { in_ar(bytes, name) } else { in_zip(bytes, name) }?;
    let range = found.ok_or_else(|| ErrorKind::NoMember { member: name.to_vec() })?;
    match bytes.slice(range.start.0, range.size) {
        Some(_) => Ok(range),
        None => Err(broken("archive: a member lies outside the file", range.start.0)),
    }
}

fn broken(what: &'static str, offset: u64) -> ErrorKind {
    ErrorKind::malformed(what, Place::File(crate::addr::FileOffset(offset)))
}

fn in_ar(bytes: Bytes<'_>, wanted: &[u8]) -> Result<Option<FileRange>, ErrorKind> {
    let mut long_names: &[u8] = &[];
    let mut at = AR.len() as u64;
    while at < bytes.len() as u64 {
        let header = bytes.slice(at, AR_HEADER).filter(|header| header.ends_with(b"`\n"));
        let header = header.ok_or_else(|| broken("ar: no member's header", at))?;
        let size = decimal(&header[48..58]).ok_or_else(|| broken("ar: a member's size is no number", at))?;
        let outside = || broken("ar: a member lies outside the file", at);
        let (mut start, mut length) = (at + AR_HEADER, size);
        let data = bytes.slice(start, size).ok_or_else(outside)?;
        let field = header[..16].trim_ascii_end();
        let name = match field {
            b"//" => {
                long_names = data;
                b"" as &[u8]
            }
            [b'#', b'1', b'/', digits @ ..] => {
                let in_front = decimal(digits).filter(|&in_front| in_front <= size).ok_or_else(outside)?;
                (start, length) = (start + in_front, size - in_front);
                data[..in_front as usize].trim_ascii_end().split(|&byte| byte == 0).next().unwrap_or_default()
            }
            [b'/', digits @ ..] if !digits.is_empty() => {
                let rest = decimal(digits).and_then(|offset| Bytes(long_names).from(offset)).unwrap_or_default();
                let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
                line.strip_suffix(b"/").unwrap_or(line)
            }
            short => short.strip_suffix(b"/").unwrap_or(short),
        };
        if name == wanted && !name.is_empty() {
            return Ok(FileRange::new(start, length));
        }
        // Members begin at even offsets.
        at = (at + AR_HEADER + size).next_multiple_of(2);
    }
    Ok(None)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.trim_end().parse().ok()
}

fn in_zip(bytes: Bytes<'_>, wanted: &[u8]) -> Result<Option<FileRange>, ErrorKind> {
    let end = end_of_directory(bytes).ok_or(ErrorKind::Unsupported {
        what: "opening a member of a file that is neither an ar nor a zip archive",
        place: None,
        symbol: None,
    })?;
    let outside = |at| broken("zip: the central directory lies outside the file", at);
    let (count, start) = bytes.u16(end + 10).zip(bytes.u32(end + 16)).ok_or_else(|| outside(end))?;
    let mut at = u64::from(start);
    for _ in 0..count {
        if bytes.slice(at, 4) != Some(ENTRY) {
            return Err(broken("zip: no entry of the central directory", at));
        }
        let lengths = [28, 30, 32].map(|field| bytes.u16(at + field).map(u64::from));
        let [Some(name), Some(extra), Some(comment)] = lengths else { return Err(outside(at)) };
        if bytes.slice(at + 46, name) == Some(wanted) {
            return stored(bytes, at).map(Some);
        }
        at += 46 + name + extra + comment;
    }
    Ok(None)
}

/// The record stands at the end, before a comment of which nothing is known but that it reaches to the end.
fn end_of_directory(bytes: Bytes<'_>) -> Option<u64> {
    let last = bytes.len().checked_sub(END_SIZE)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let is_end = |&at: &usize| {
        bytes.0[at..].starts_with(END)
            && bytes.u16(at as u64 + 20).is_some_and(|comment| usize::from(comment) == last - at)
    };
    (first..=last).rev().find(is_end).map(|at| at as u64)
}

/// The data of the entry at `at` of the central directory.
fn stored(bytes: Bytes<'_>, at: u64) -> Result<FileRange, ErrorKind> {
    const ENCRYPTED: u16 = 1;
    let unsupported = |what| ErrorKind::Unsupported { what, place: None, symbol: None };
    let outside = || broken("zip: a member lies outside the file", at);
    let (flags, method) = bytes.u16(at + 8).zip(bytes.u16(at + 10)).ok_or_else(outside)?;
    if flags & ENCRYPTED != 0 {
        return Err(unsupported("zip: an encrypted member"));
    }
    if method != 0 {
        return Err(unsupported("zip: a compressed member (one that is stored can be mapped)"));
    }
    let (size, local) = bytes.u32(at + 24).zip(bytes.u32(at + 42)).ok_or_else(outside)?;
    if size == u32::MAX || local == u32::MAX {
        return Err(unsupported("zip: a member beyond 4 GiB"));
    }
    let local = u64::from(local);
    if bytes.slice(local, 4) != Some(LOCAL) {
        return Err(broken("zip: no member's header", local));
    }
    let (name, extra) = bytes.u16(local + 26).zip(bytes.u16(local + 28)).ok_or_else(outside)?;
    FileRange::new(local + 30 + u64::from(name) + u64::from(extra), u64::from(size)).ok_or_else(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = AR.to_vec();
        for (name, data) in members {
            archive.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, data.len()).bytes());
            archive.extend(*data);
            archive.resize(archive.len().next_multiple_of(2), b'\n');
        }
        archive
    }

    fn zip(name: &str, method: u16, data: &[u8], comment: &[u8]) -> Vec<u8> {
        let (size, length) = (data.len() as u32, name.len() as u16);
        let mut archive = LOCAL.to_vec();
        archive.resize(18, 0);
        archive.extend([size.to_le_bytes(), size.to_le_bytes()].concat());
        archive.extend([length.to_le_bytes(), 3u16.to_le_bytes()].concat());
        archive.extend([name.as_bytes(), b"xyz", data].concat());
        let directory = archive.len() as u32;
        let mut entry = ENTRY.to_vec();
        entry.resize(46, 0);
        entry[10..12].copy_from_slice(&method.to_le_bytes());
        entry[24..28].copy_from_slice(&size.to_le_bytes());
        entry[28..30].copy_from_slice(&length.to_le_bytes());
        archive.extend([&entry, name.as_bytes()].concat());
        let mut end = END.to_vec();
        end.resize(END_SIZE, 0);
        end[10] = 1;
        end[16..20].copy_from_slice(&directory.to_le_bytes());
        end[20..22].copy_from_slice(&(comment.len() as u16).to_le_bytes());
        archive.extend([&end, comment].concat());
        archive
    }

    fn content<'a>(archive: &'a [u8], name: &str) -> Result<&'a [u8], ErrorKind> {
        let range = member(archive, name.as_bytes())?;
        Ok(Bytes(archive).slice(range.start.0, range.size).unwrap())
    }

    #[test]
    fn members_are_found() {
        let long: &[u8] = b"a_name_of_more_than_16.so/\nanother/\n";
        let gnu = ar(&[("//", long), ("one.so/", b"first"), ("/0", b"second"), ("/27", b"third"), ("two.so/", b"")]);
        let bsd = ar(&[("#1/8", b"one.so\0\0first"), ("two.so", b"second")]);
        let cases: &[(&[u8], &str, &[u8])] = &[
            (&gnu, "one.so", b"first"),
            (&gnu, "a_name_of_more_than_16.so", b"second"),
            (&gnu, "another", b"third"),
            (&gnu, "two.so", b""),
            (&bsd, "one.so", b"first"),
            (&bsd, "two.so", b"second"),
            (&zip("lib/one.so", 0, b"first", b""), "lib/one.so", b"first"),
            (&zip("lib/one.so", 0, b"first", b"PK\x05\x06 a comment that looks like an end"), "lib/one.so", b"first"),
        ];
        for (archive, name, expected) in cases {
            assert_eq!(content(archive, name).unwrap(), *expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_said() {
        let cases: &[(&[u8], &str)] = &[
            (&ar(&[("one.so/", b"first")]), "no member two.so"),
            (&zip("one.so", 0, b"first", b""), "no member two.so"),
            (&zip("two.so", 8, b"first", b""), "compressed"),
            (b"\x7fELF, which is no archive at all", "neither an ar nor a zip"),
            (b"", "neither an ar nor a zip"),
            (b"!<arch>\nnonsense", "no member's header"),
        ];
        for (archive, expected) in cases {
            let error = content(archive, "two.so").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let long: &[u8] = b"a_name_of_more_than_16.so/\n";
        for whole in [ar(&[("//", long), ("/0", b"x"), ("#1/3", b"abcd")]), zip("one.so", 0, b"first", b"comment")] {
            for at in 0..whole.len() {
                let _ = member(&whole[..at], b"one.so");
                for value in [0, 0xff, b'9'] {
                    let mut changed = whole.clone();
                    changed[at] = value;
                    if let Ok(range) = member(&changed, b"one.so") {
                        assert!(range.end().0 <= changed.len() as u64);
                    }
                }
            }
        }
    }
}
