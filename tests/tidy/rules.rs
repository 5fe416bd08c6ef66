//! The rules, as functions from a file to what is wrong with it.

use std::collections::BTreeMap;

use crate::source::{Source, close_of, line_of, words};

/// How much unsafe code a file may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Grant {
    /// `[U]`: anything, with its invariant stated.
    Uses,
    /// `[D]`: may declare an `unsafe fn` and call one; holds no pointer.
    Declares,
}

pub(crate) struct Row {
    pub(crate) grant: Grant,
    pub(crate) invariant: String,
}

/// Reads the rows ``| `path` | U | invariant |`` of the ledger's table.
pub(crate) fn parse_ledger(text: &str) -> BTreeMap<String, Row> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let path = cells.next()?.strip_suffix('`')?;
        let grant = match cells.next()? {
            "U" => Grant::Uses,
            "D" => Grant::Declares,
            _ => return None,
        };
        let invariant = cells.next()?.to_owned();
        Some((path.to_owned(), Row { grant, invariant }))
    });
    rows.collect()
}

pub(crate) fn has_unsafe(source: &Source) -> bool {
    unsafe_words(source).next().is_some()
}

/// `unsafe` outside the ledger, or more of it than the file's row grants.
pub(crate) fn unsafe_is_granted(source: &Source, ledger: &BTreeMap<String, Row>) -> Vec<String> {
    let Some(first) = unsafe_words(source).next() else { return Vec::new() };
    match ledger.get(&source.path).map(|row| row.grant) {
        None => vec![format!("{}: unsafe in a file that docs/UNSAFE.md does not list", source.at(first))],
        Some(Grant::Uses) => Vec::new(),
        Some(Grant::Declares) => declares_only(source),
    }
}

fn declares_only(source: &Source) -> Vec<String> {
    let pointers = ["*const", "*mut"].iter().flat_map(|kind| source.code.match_indices(kind)).map(|(at, _)| at);
    let pointers = pointers.filter(|&at| !source.is_test(at)).map(|at| (at, "a raw pointer"));
    let uses = unsafe_words(source).filter(|&at| !source.is_test(at)).filter_map(|at| {
        let rest = source.code[at + "unsafe".len()..].trim_start();
        let declares = rest.starts_with("fn ") || (rest.starts_with("extern") && words(rest).nth(1)?.1 == "fn");
        match rest.starts_with('{') {
            true if is_one_statement(rest) => None,
            true => Some((at, "an unsafe block of more than one statement")),
            false if declares => None,
            false => Some((at, "unsafe that is neither a function's declaration nor a call")),
        }
    });
    pointers.chain(uses).map(|(at, what)| format!("{}: {what} in a [D] file", source.at(at))).collect()
}

fn is_one_statement(block: &str) -> bool {
    let body = block[1..close_of(block, 0) - 1].trim();
    !body.strip_suffix(';').unwrap_or(body).contains(';')
}

/// `unsafe` blocks and impls without a `// SAFETY:` directly above.
pub(crate) fn unsafe_is_explained(source: &Source) -> Vec<String> {
    let lines: Vec<_> = source.text.lines().zip(source.code.lines()).collect();
    let unexplained = unsafe_words(source).filter(|&at| {
        let rest = source.code[at + "unsafe".len()..].trim_start();
        let needs_comment = rest.starts_with('{') || words(rest).next().is_some_and(|(_, word)| word == "impl");
        needs_comment && !has_safety_comment(&lines, line_of(&source.text, at))
    });
    unexplained.map(|at| format!("{}: no `// SAFETY:` comment directly above", source.at(at))).collect()
}

/// Walks up over attributes and the first lines of the same statement to the comment above it.
fn has_safety_comment(lines: &[(&str, &str)], line: usize) -> bool {
    let above = lines[..line].iter().rev().map(|(text, code)| (text.trim(), code.trim()));
    let is_comment = |text: &str| text.starts_with("//");
    let same_statement =
        |text: &str, code: &str| code.starts_with("#[") || !(text.is_empty() || code.ends_with([';', '{', '}', ',']));
    above
        .skip_while(|(text, code)| !is_comment(text) && same_statement(text, code))
        .take_while(|(text, _)| is_comment(text))
        .any(|(text, _)| text.trim_start_matches('/').trim_start().starts_with("SAFETY:"))
}

fn unsafe_words(source: &Source) -> impl Iterator<Item = usize> {
    source.words().filter(|(_, word)| *word == "unsafe").map(|(at, _)| at)
}

pub(crate) fn names_no_operating_system(source: &Source) -> Vec<String> {
    let named = source.words().filter(|(_, word)| *word == "target_os");
    named.map(|(at, _)| format!("{}: target_os outside src/platform/", source.at(at))).collect()
}

/// `elf` or `macho` as a segment of a path, ours or goblin's.
pub(crate) fn names_no_format(source: &Source) -> Vec<String> {
    let code = &source.code;
    let formats = source.words().filter(|(_, word)| matches!(*word, "elf" | "macho" | "mach"));
    let named = formats.filter(|&(at, word)| {
        let line = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let imported = code[line..at].trim_start().starts_with("use ");
        code[..at].ends_with("::") || code[at + word.len()..].starts_with("::") || imported
    });
    named.map(|(at, word)| format!("{}: `{word}` in a file that serves both formats", source.at(at))).collect()
}

pub(crate) fn is_short(source: &Source, limit: usize) -> Vec<String> {
    let lines = source.lines_to_read();
    let too_long = lines > limit;
    too_long
        .then(|| format!("{}: {lines} lines without tests and tables, limit {limit}", source.path))
        .into_iter()
        .collect()
}

/// `todo!`, `unimplemented!`, `.unwrap()`, and `.expect` that names no invariant.
pub(crate) fn has_no_lazy_panic(source: &Source) -> Vec<String> {
    let ours = source.words().filter(|&(at, _)| !source.is_test(at));
    let lazy = ours.filter(|&(at, word)| {
        let after = &source.code[at + word.len()..];
        let is_method = source.code[..at].trim_end().ends_with('.');
        match word {
            "todo" | "unimplemented" => after.starts_with('!'),
            "unwrap" => is_method && after.starts_with('('),
            "expect" => is_method && after.starts_with('(') && !names_invariant(&source.text[at + word.len()..]),
            _ => false,
        }
    });
    lazy.map(|(at, word)| format!("{}: `{word}` outside tests", source.at(at))).collect()
}

fn names_invariant(call: &str) -> bool {
    call[1..].trim_start().starts_with("\"invariant: ")
}

/// `words` anywhere in `text`, unless they are the tail of a longer word.
pub(crate) fn mentions(path: &str, text: &str, unwanted: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for word in unwanted {
        for (at, _) in text.match_indices(word) {
            let inside = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if !inside || word.starts_with('/') {
                found.push(format!("{path}:{}: mentions `{word}`", line_of(text, at) + 1));
            }
        }
    }
    found
}

/// In the crate's root, each of these modules is under `forbid(unsafe_code)`.
pub(crate) fn unsafe_is_forbidden(root: &str, modules: &[&str]) -> Vec<String> {
    let is_forbidden = |module: &&&str| {
        ["pub mod", "mod"].iter().any(|how| root.contains(&format!("\n#[forbid(unsafe_code)]\n{how} {module};\n")))
    };
    let others = modules.iter().filter(|module| !is_forbidden(module));
    others.map(|module| format!("src/lib.rs: `{module}` is not under #[forbid(unsafe_code)]")).collect()
}

/// Calls of the system that the library makes: those pass the gate in `src/platform/`, so that a test can let each fail.
const SYSTEM_CALLS: &[&str] = &[
    "libc::mmap",
    "libc::munmap",
    "libc::mprotect",
    "libc::open",
    "libc::openat",
    "libc::read",
    "libc::pread",
    "libc::fstat",
    "libc::close",
    "File::open",
    "fs::read",
    "region::protect",
    "MmapOptions",
];

pub(crate) fn makes_no_system_call(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for call in SYSTEM_CALLS {
        for (at, _) in source.code.match_indices(call) {
            let next = source.code[at + call.len()..].chars().next();
            let is_longer = next.is_some_and(|next| next.is_alphanumeric() || next == '_');
            if !is_longer && !source.is_test(at) {
                found.push(format!("{}: {call} belongs behind the gate in src/platform/", source.at(at)));
            }
        }
    }
    found
}

/// Each rule must see a planted fault, and must not see one in what is allowed.
#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&Source) -> Vec<String>;

    fn granted(source: &Source) -> Vec<String> {
        unsafe_is_granted(source, &parse_ledger("| `src/d.rs` | D | calls |\n| `src/u.rs` | U | owns |\n"))
    }

    fn short(source: &Source) -> Vec<String> {
        is_short(source, 2)
    }

    const CASES: &[(&str, Rule, &str, &str, usize)] = &[
        ("not in the ledger", granted, "src/x.rs", "fn f() { unsafe { g() } }", 1),
        ("in a comment", granted, "src/x.rs", "// unsafe\nfn f() { g(\"unsafe\") }", 0),
        ("a lint's name", granted, "src/x.rs", "#![deny(unsafe_code)]", 0),
        ("granted", granted, "src/u.rs", "unsafe { *(p as *const u8); g(); }", 0),
        ("declares and calls", granted, "src/d.rs", "unsafe fn f() { unsafe { g(1); } }", 0),
        ("declares for C", granted, "src/d.rs", "unsafe extern \"C\" fn f() {}", 0),
        ("two statements", granted, "src/d.rs", "fn f() { unsafe { g(); h() } }", 1),
        ("pointer", granted, "src/d.rs", "fn f(p: *mut u8, q: *const u8) { unsafe { g(p) } }", 2),
        ("impl", granted, "src/d.rs", "unsafe impl Send for T {}", 1),
        ("no comment", unsafe_is_explained, "src/u.rs", "fn f() {\n    unsafe { g() }\n}", 1),
        ("no comment on impl", unsafe_is_explained, "src/u.rs", "unsafe impl Send for T {}", 1),
        ("comment", unsafe_is_explained, "src/u.rs", "// SAFETY: a\n// and b.\nunsafe { g() }", 0),
        ("above attribute", unsafe_is_explained, "src/u.rs", "// SAFETY: a\n#[rustfmt::skip]\nunsafe { g() }", 0),
        ("above statement", unsafe_is_explained, "src/u.rs", "// SAFETY: a\nlet x =\n    unsafe { g() };", 0),
        ("of another", unsafe_is_explained, "src/u.rs", "// SAFETY: a\nf();\nlet x = unsafe { g() };", 1),
        ("other comment", unsafe_is_explained, "src/u.rs", "// safe\nunsafe { g() }", 1),
        ("declaration", unsafe_is_explained, "src/u.rs", "unsafe fn f() {}", 0),
        ("cfg", names_no_operating_system, "src/x.rs", "#[cfg(all(unix, target_os = \"linux\"))]", 1),
        ("cfg!", names_no_operating_system, "src/x.rs", "if cfg!(target_os = \"linux\") {}", 1),
        ("cfg in prose", names_no_operating_system, "src/x.rs", "/// cfg(target_os)\nfn f() {}", 0),
        ("path", names_no_format, "src/x.rs", "fn f() { crate::elf::parse(); goblin::elf::Elf::parse() }", 2),
        ("use", names_no_format, "src/x.rs", "use crate::{elf, macho};", 2),
        ("variant", names_no_format, "src/x.rs", "let elf = Image::Elf(x); // elf::Tables", 0),
        ("call", makes_no_system_call, "src/x.rs", "fn f() { unsafe { libc::mmap(p) }; File::open(q) }", 2),
        ("call in tests", makes_no_system_call, "src/x.rs", "#[cfg(test)]\nmod tests { fn f() { File::open(q) } }", 0),
        ("longer name", makes_no_system_call, "src/x.rs", "libc::readlink(p); OpenFile::opened()", 0),
        ("short", short, "src/x.rs", "a\nb\n", 0),
        ("long", short, "src/x.rs", "a\nb\nc\n", 1),
        ("unwrap", has_no_lazy_panic, "src/x.rs", "f().unwrap(); g()\n    .unwrap()", 2),
        ("unwrap_or", has_no_lazy_panic, "src/x.rs", "f().unwrap_or(1)", 0),
        ("unwrap in tests", has_no_lazy_panic, "src/x.rs", "#[cfg(test)]\nmod tests { fn f() { g().unwrap() } }", 0),
        ("todo", has_no_lazy_panic, "src/x.rs", "fn f() { todo!() }", 1),
        ("expect", has_no_lazy_panic, "src/x.rs", "f().expect(\"works\")", 1),
        ("invariant", has_no_lazy_panic, "src/x.rs", "f().expect(\n    \"invariant: x\")", 0),
    ];

    #[test]
    fn each_rule_sees_its_fault_and_no_other() {
        for (name, rule, path, text, expected) in CASES {
            let found = rule(&Source::new(path, text));
            assert_eq!(found.len(), *expected, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_pure_module_without_its_attribute_is_found() {
        let root = "\n#[forbid(unsafe_code)]\npub mod a;\nmod b;\n#[allow(unsafe_code)]\nmod c;\n";
        assert_eq!(unsafe_is_forbidden(root, &["a"]), [""; 0]);
        assert_eq!(unsafe_is_forbidden(root, &["a", "b", "c", "d"]).len(), 3);
    }

    #[test]
    fn mentions_finds_whole_words() {
        assert_eq!(mentions("a", "see ../lent/x", &["lent/"]), ["a:1: mentions `lent/`"]);
        assert_eq!(mentions("a", "talent/x", &["lent/"]), [""; 0]);
    }
}
