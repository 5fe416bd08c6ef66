//! What breaks between two versions of a library.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use sideload_abi::{Abi, Diff, Search, diff};
use support::{SHAPES, build};

/// The library with parts of its source replaced.
fn version(changes: &[(&str, &str)], flags: &[&str]) -> Abi {
    let mut source = SHAPES.to_owned();
    for (from, to) in changes {
        assert!(source.contains(from), "{from}");
        source = source.replace(from, to);
    }
    Abi::read(&build(&source, flags).path, &Search::default()).expect("a sound library")
}

fn lines(changes: &[sideload_abi::Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

fn between(changes: &[(&str, &str)]) -> Diff {
    diff(&version(&[], &["-g"]), &version(changes, &["-g"]))
}

#[test]
fn what_breaks_is_told_once_with_who_uses_it() {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&[], &[], &[]),
        // Names of parameters, bodies, and another word for the same type.
        (
            &[("uint_t length(const char *text", "unsigned length(const char *string"), ("text[n]", "string[n]")],
            &[],
            &[],
        ),
        (
            &[("int counter = 7;\n", ""), ("static int chosen", "int counted;\nstatic int chosen")],
            &["counter is gone (was int counter)"],
            &["counted is new (int counted)"],
        ),
        (
            &[("uint_t length(const char *text, size_t limit)", "uint_t length(const char *text, uint32_t limit)")],
            &["length: parameter 2 (limit) was size_t (long unsigned int), is uint32_t (unsigned int)"],
            &[],
        ),
        (
            &[("float half(float of) { return", "double half(float of, int how) { return how +")],
            &["half: it was 1 parameter, is 2 parameters", "half: the result was float, is double"],
            &[],
        ),
        (
            &[("double width, height; uint8_t", "float width; double height; uint8_t")],
            &["struct size: field width was double, is float (used by area, doubled and resize)"],
            &[],
        ),
        (
            &[("{ double width, height; uint8_t depth; }", "{ double height, width; uint8_t depth; }")],
            &[
                "struct size: field height was at offset 8, is at offset 0 (used by area, doubled and resize)",
                "struct size: field width was at offset 0, is at offset 8 (used by area, doubled and resize)",
            ],
            &[],
        ),
        (
            &[("uint8_t depth; } size_s", "uint8_t depth; double weight; } size_s")],
            &["struct size: it was 24 bytes, is 32 bytes (used by area, doubled and resize)"],
            &["struct size: field weight is new (double at offset 24) (used by area, doubled and resize)"],
        ),
        (
            &[("struct node { int value; struct node *next; }", "struct node { struct node *next; int value; }")],
            &[
                "struct node: field next was at offset 8, is at offset 0 (used by visit)",
                "struct node: field value was at offset 0, is at offset 8 (used by visit)",
            ],
            &[],
        ),
        (
            &[("uint8_t depth; } size_s", "uint8_t height_; } size_s")],
            &[],
            &["struct size: field depth was depth, is height_ (used by area, doubled and resize)"],
        ),
        (
            &[("RED, GREEN = 5, BLUE }", "RED, GREEN = 4, BLUE = 6, WHITE }")],
            &["enum color: GREEN was 5, is 4 (used by next_color)"],
            &["enum color: WHITE is new (7) (used by next_color)"],
        ),
        (
            &[("unsigned a : 3, b : 5", "unsigned a : 4, b : 4")],
            &[
                "struct packet: field a was 3 bits at bit 64, is 4 bits at bit 64 (used by alias_of_head and head_of)",
                "struct packet: field b was 5 bits at bit 67, is 4 bits at bit 68 (used by alias_of_head and head_of)",
            ],
            &[],
        ),
        (
            &[
                ("(*visit_fn)(const struct node *, void *context)", "(*visit_fn)(const struct node *, long context)"),
                ("each(first, context)", "each(first, (long)context)"),
            ],
            &["int ()(const struct node *, void *): parameter 2 was void *, is long int (used by visit)"],
            &[],
        ),
        // What a caller has may be constant.
        (
            &[("double area(const size_s *of)", "double area(size_s *of)")],
            &["area: parameter 1 (of) was const size_s *, is size_s *"],
            &[],
        ),
    ];
    for (changes, breaks, harmless) in cases {
        let diff = between(changes);
        assert_eq!(lines(&diff.breaks), *breaks, "{changes:?}");
        assert_eq!(lines(&diff.harmless), *harmless, "{changes:?}");
        assert_eq!(diff.unknown, ["by_hand", "indirect"], "{changes:?}");
    }
}

#[test]
fn how_it_was_compiled_changes_nothing() {
    let old = version(&[], &["-gdwarf-4"]);
    for flags in [&["-gdwarf-5", "-O2"][..], &["-gdwarf-2", "-gstrict-dwarf"], &["-g", "-fdebug-types-section"]] {
        let diff = diff(&old, &version(&[], flags));
        assert_eq!((lines(&diff.breaks), lines(&diff.harmless)), (Vec::new(), Vec::new()), "{flags:?}");
    }
}

#[test]
fn without_debug_information_names_are_compared() {
    let diff = diff(&version(&[], &["-g"]), &version(&[("float half", "float whole")], &[]));
    assert_eq!(lines(&diff.breaks), ["half is gone (was float half(float of))"]);
    assert_eq!(lines(&diff.harmless), ["whole is new (whole (not described))"]);
    assert!(diff.unknown.contains(&"area".to_owned()));
}
