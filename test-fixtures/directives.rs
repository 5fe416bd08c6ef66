//! What the head of a fixture's source says about it: a description, and `//#` directives for the builder.

use std::path::Path;

/// What the system loader does with a fixture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GlibcVerdict {
    /// Opens it, and gets the same answer.
    #[default]
    Opens,
    /// Refuses to open it.
    Refuses,
    /// Not asked: it differs between versions, or accepts what we refuse.
    Skip,
}

/// The error that opening a fixture has to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The variant of `sideload::ErrorKind`.
    pub(crate) kind: String,
    /// Words that the message has to contain: what was missing, who needs it.
    pub(crate) mentions: Vec<String>,
}

/// An object that is put beside the fixture, in a folder below it if one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) fixture: String,
    pub(crate) folder: Option<String>,
}

/// The head of one source, parsed.
#[derive(Debug, Default)]
pub(crate) struct Directives {
    /// The first paragraph of the leading comment.
    pub(crate) description: String,
    pub(crate) cflags: Vec<String>,
    pub(crate) ldflags: Vec<String>,
    /// Linked against, and placed beside the fixture.
    pub(crate) needs: Vec<Placed>,
    /// Placed beside the fixture, not linked against.
    pub(crate) beside: Vec<Placed>,
    /// (linked against, placed in its stead)
    pub(crate) replace: Vec<(String, String)>,
    /// File names of empty objects that are linked against and then not placed.
    pub(crate) stubs: Vec<String>,
    pub(crate) file: Option<String>,
    pub(crate) soname: Option<String>,
    pub(crate) runpath: Option<String>,
    pub(crate) patch: Option<String>,
    pub(crate) rows: Vec<String>,
    pub(crate) answer: Option<String>,
    pub(crate) at_exit: Option<String>,
    pub(crate) expect: Option<Expected>,
    pub(crate) glibc: GlibcVerdict,
}

impl Directives {
    /// Parses the leading comment of a source. `path` is for messages only.
    ///
    /// # Panics
    /// If a directive is unknown or malformed, or the description is missing: a misspelt one must not be ignored.
    pub(crate) fn parse(path: &Path, source: &str) -> Directives {
        let mut parsed = Directives::default();
        let mut in_first_paragraph = true;
        for line in source.lines().map_while(|line| line.strip_prefix("//")) {
            if let Some(directive) = line.strip_prefix('#') {
                in_first_paragraph = false;
                parsed.directive(path, directive);
            } else if line.trim().is_empty() {
                in_first_paragraph = false;
            } else if in_first_paragraph {
                let space = if parsed.description.is_empty() { "" } else { " " };
                parsed.description += space;
                parsed.description += line.trim();
            }
        }
        assert!(!parsed.description.is_empty(), "{}: no description in the first comment", path.display());
        parsed
    }

    fn directive(&mut self, path: &Path, directive: &str) {
        let bad = || -> ! { panic!("{}: cannot read the directive `//#{directive}`", path.display()) };
        let Some((key, value)) = directive.split_once(": ") else { bad() };
        let value = value.trim();
        let text = || Some(value.to_owned());
        match key.trim() {
            "cflags" => self.cflags = words(value),
            "ldflags" => self.ldflags = words(value),
            "needs" => self.needs = items(value).map(placed).collect(),
            "beside" => self.beside = items(value).map(placed).collect(),
            "replace" => match value.split_once(" by ") {
                Some((linked, run)) => self.replace.push((linked.to_owned(), run.to_owned())),
                None => bad(),
            },
            "stub" => self.stubs.push(value.to_owned()),
            "file" => self.file = text(),
            "soname" => self.soname = text(),
            "runpath" => self.runpath = text(),
            "patch" => self.patch = text(),
            "rows" => self.rows = items(value).map(str::to_owned).collect(),
            "answer" => self.answer = text(),
            "at_exit" => self.at_exit = text(),
            "expect" => match value.strip_prefix("error ") {
                Some(error) => self.expect = Some(expected(error)),
                None => bad(),
            },
            "glibc" => {
                self.glibc = match value {
                    "opens" => GlibcVerdict::Opens,
                    "refuses" => GlibcVerdict::Refuses,
                    "skip" => GlibcVerdict::Skip,
                    _ => bad(),
                }
            }
            _ => bad(),
        }
    }

    /// What `answer` returns. 42 unless said otherwise; a fixture that must be refused has none unless said otherwise.
    pub(crate) fn answer(&self) -> Option<i64> {
        match self.answer.as_deref() {
            Some("none") => None,
            Some(number) => Some(number.parse().expect("`answer` is a number or none")),
            None => self.expect.is_none().then_some(42),
        }
    }
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

fn words(value: &str) -> Vec<String> {
    value.split_whitespace().map(str::to_owned).collect()
}

/// `fixture` or `fixture in folder`
fn placed(item: &str) -> Placed {
    match item.split_once(" in ") {
        Some((fixture, folder)) => Placed { fixture: fixture.to_owned(), folder: Some(folder.to_owned()) },
        None => Placed { fixture: item.to_owned(), folder: None },
    }
}

fn expected(error: &str) -> Expected {
    let mut words = words(error).into_iter();
    Expected { kind: words.next().expect("an error kind"), mentions: words.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read() {
        let source = "// What it\n// proves.\n//\n// Why.\n//# needs: a, b in deep\n//# expect: error Undefined x y\n//# glibc: refuses\nint z;\n//# answer: 1\n";
        let read = Directives::parse(Path::new("x.c"), source);
        assert_eq!(read.description, "What it proves.");
        assert_eq!(read.needs[1], Placed { fixture: "b".into(), folder: Some("deep".into()) });
        assert_eq!(read.expect, Some(Expected { kind: "Undefined".into(), mentions: vec!["x".into(), "y".into()] }));
        assert_eq!(read.glibc, GlibcVerdict::Refuses);
        assert_eq!(read.answer(), None, "directives end with the leading comment");
    }

    #[test]
    #[should_panic = "cannot read the directive"]
    fn a_misspelt_directive_is_not_ignored() {
        Directives::parse(Path::new("x.c"), "// Text.\n//# ldflag: -z\n");
    }
}
