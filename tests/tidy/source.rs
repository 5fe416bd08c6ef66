//! A Rust file as the tidy rules see it: its text, and the same text with comments and the insides
//! of literals blanked out, so that a rule about code is not misled by prose.
//!
//! Both have the same length, so an offset found in one is valid in the other.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) struct Source {
    /// Relative to the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    tests: Vec<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let whole_file = (Path::new(path).file_stem().is_some_and(|stem| stem == "tests")).then_some(0..text.len());
        let tests = whole_file.into_iter().chain(test_items(&code)).collect();
        Self { path: path.to_owned(), text: text.to_owned(), code, tests }
    }

    /// Identifiers and keywords outside comments and literals, with their offsets.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        words(&self.code)
    }

    pub(crate) fn is_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&offset))
    }

    /// `path:line`, as compilers print it.
    pub(crate) fn at(&self, offset: usize) -> String {
        format!("{}:{}", self.path, line_of(&self.text, offset) + 1)
    }

    /// Lines that are neither test code nor rows of a constant table.
    pub(crate) fn lines_to_read(&self) -> usize {
        let tables = tables(&self.code);
        let skipped = |offset| self.is_test(offset) || tables.iter().any(|table| table.contains(&offset));
        line_starts(&self.text).filter(|&start| !skipped(start)).count()
    }
}

/// Every Rust file below `folder` (relative to `root`), in a stable order.
pub(crate) fn rust_files(root: &Path, folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in files(&root.join(folder)) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            sources.push(Source::new(&relative(root, &path), &text));
        }
    }
    sources
}

/// Every file below `folder`, sorted; what a build or git left there is passed over.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let passed_over = |path: &Path| path.ends_with("target") || path.ends_with(".git");
    let descend = |path: PathBuf| match () {
        () if path.is_symlink() || passed_over(&path) => Vec::new(),
        () if path.is_dir() => files(&path),
        () => vec![path],
    };
    paths.into_iter().flat_map(descend).collect()
}

pub(crate) fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let bytes = code.as_bytes();
        at += bytes.get(at..)?.iter().position(|&byte| is_word(byte))?;
        let start = at;
        at += bytes[start..].iter().take_while(|&&byte| is_word(byte)).count();
        Some((start, &code[start..at]))
    })
}

pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count()
}

fn line_starts(text: &str) -> impl Iterator<Item = usize> {
    let mut next = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = next;
        next += line.len();
        start
    })
}

/// The offset after the bracket that closes the one at `open`.
pub(crate) fn close_of(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return offset + 1;
        }
    }
    code.len()
}

/// The items behind `#[cfg(test)]`, attribute included.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let marks = code.match_indices("#[cfg(").filter(|&(start, _)| {
        let condition = &code[start..close_of(code, start + 1)];
        words(condition).any(|(_, word)| word == "test") && !condition.contains("not(")
    });
    marks.map(|(start, _)| start..item_end(code, close_of(code, start + 1))).collect()
}

/// An item ends at its `;`, or with its first block.
fn item_end(code: &str, start: usize) -> usize {
    let mut offset = start;
    while let Some(&byte) = code.as_bytes().get(offset) {
        match byte {
            b'{' => return close_of(code, offset),
            b';' => return offset + 1,
            b'(' | b'[' => offset = close_of(code, offset),
            _ => offset += 1,
        }
    }
    code.len()
}

/// The rows of each `const` or `static` whose value is an array.
fn tables(code: &str) -> Vec<Range<usize>> {
    let names = words(code).filter(|(_, word)| matches!(*word, "const" | "static"));
    let rows = names.filter_map(|(start, _)| {
        let end = item_end_of_value(code, start);
        let value = start + code[start..end].find('=')? + 1;
        let open = value + code[value..end].find(|c: char| !c.is_whitespace() && c != '&')?;
        (code.as_bytes()[open] == b'[').then(|| open + 1..close_of(code, open))
    });
    rows.collect()
}

/// As `item_end`, for an item whose value may hold braces.
fn item_end_of_value(code: &str, start: usize) -> usize {
    let mut offset = start;
    while let Some(&byte) = code.as_bytes().get(offset) {
        match byte {
            b';' => return offset,
            b'{' | b'(' | b'[' => offset = close_of(code, offset),
            b'}' | b')' | b']' => return offset,
            _ => offset += 1,
        }
    }
    code.len()
}

/// `text` with comments and the insides of literals replaced by spaces, newlines kept.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (hidden, end) = hidden_span(bytes, at);
        for byte in &mut code[hidden] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    // Spans begin and end at ASCII bytes, and what is between them was made ASCII.
    String::from_utf8(code).expect("blanked text stays UTF-8")
}

/// What to hide of the token at `at`, and where the token ends.
fn hidden_span(bytes: &[u8], at: usize) -> (Range<usize>, usize) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let end = at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        (at..end, end)
    } else if rest.starts_with(b"/*") {
        let end = at + block_comment_length(rest);
        (at..end, end)
    } else if let Some(hashes) = raw_string_hashes(bytes, at) {
        let open = at + 1 + hashes;
        let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
        let body = &bytes[open + 1..];
        let length = body.windows(closing.len()).position(|window| window == closing).unwrap_or(body.len());
        let close = open + 1 + length;
        (open + 1..close, (close + closing.len()).min(bytes.len()))
    } else if rest[0] == b'"' {
        let close = at + 1 + quoted_length(&rest[1..], b'"');
        (at + 1..close, (close + 1).min(bytes.len()))
    } else if rest[0] == b'\'' && is_char_literal(rest) {
        let close = at + 1 + quoted_length(&rest[1..], b'\'');
        (at + 1..close, (close + 1).min(bytes.len()))
    } else {
        (at..at, at + 1)
    }
}

/// Rust's block comments nest.
fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The number of `#` of a raw string whose `r` is at `at`, if one is.
fn raw_string_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let before = |back: usize| at.checked_sub(back).map(|index| bytes[index]);
    let prefixed = before(1).is_some_and(|b| matches!(b, b'b' | b'c')) && !before(2).is_some_and(is_word);
    if bytes[at] != b'r' || (before(1).is_some_and(is_word) && !prefixed) {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at.min(rest.len())
}

/// Tells `'a'` from the lifetime `'a`.
fn is_char_literal(rest: &[u8]) -> bool {
    match rest.get(1) {
        None | Some(b'\'') => false,
        Some(b'\\') => true,
        Some(first) => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            rest.get(1 + width) == Some(&b'\'')
        }
    }
}

#[test]
fn blanking_hides_prose_and_keeps_code() {
    const CASES: &[(&str, &str)] = &[
        ("a // unsafe\nb", "a          \nb"),
        ("a /* x /* y */ z */ b", "a                   b"),
        (r#"f("un\"safe") g"#, r#"f("        ") g"#),
        (r##"f(r#"a"b"#, x)"##, r##"f(r#"   "#, x)"##),
        (r#"br"ab" cr"c" bar"d""#, r#"br"  " cr" " bar" ""#),
        ("'{' '\\'' 'é' &'a str", "' ' '  ' '  ' &'a str"),
    ];
    for (text, expected) in CASES {
        assert_eq!(blank(text), *expected, "{text}");
    }
}

#[test]
fn tests_and_tables_are_not_lines_to_read() {
    let text = "\
fn f() {}
const ROWS: &[(u8, [u8; 2])] = &[
    (1, [2, 3]),
    (4, [5, 6]),
];
const ONE: u8 = 1;
#[cfg(not(test))]
fn g() {}
#[cfg(test)]
mod tests {
    fn h() {}
}
fn i() {}
";
    let source = Source::new("src/x.rs", text);
    // f, the table's first line, ONE, g with its attribute, i; the table's rows and end are left out.
    assert_eq!(source.lines_to_read(), 6);
    assert!(source.is_test(text.find("fn h").unwrap()));
    assert!(!source.is_test(text.find("fn g").unwrap()));
    assert!(!source.is_test(text.find("fn i").unwrap()));
}
