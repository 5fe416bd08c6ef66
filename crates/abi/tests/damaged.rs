//! Damaged debug information: an error or an answer, never a panic, and never without an end.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use object::{Object, ObjectSection};
use sideload::Library;
use sideload_abi::{Abi, CType, Evidence, Exported, GetVerified, Search, TypeId, Unverifiable, Verified, diff};
use std::ffi::{c_int, c_void};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{SHAPES, build};
use test_fixtures::Random;

#[test]
fn damaged_debug_information_is_an_error_or_an_answer() {
    let copies = std::env::var("SIDELOAD_TEST_COPIES").map_or(200, |text| text.parse().expect("a number"));
    let forms: &[&[&str]] = &[
        &["-gdwarf-5"],
        &["-gdwarf-4", "-fdebug-types-section", "-O2"],
        &["-gdwarf-5", "-gz=zlib"],
        &["-gdwarf-2", "-gstrict-dwarf"],
    ];
    let mut random = Random::new(0x5eed);
    let (mut errors, mut answers) = (0, 0);
    for flags in forms {
        let built = build(SHAPES, flags);
        let sound = std::fs::read(&built.path).expect("it was built");
        let file = object::File::parse(&*sound).expect("an object");
        let debug = file.sections().filter(|section| section.name().is_ok_and(|name| name.starts_with(".debug")));
        let ranges: Vec<_> = debug.filter_map(|section| section.file_range()).filter(|range| range.1 > 0).collect();
        assert!(ranges.len() > 3, "{flags:?}");
        let whole = Abi::of_bytes(&built.path, &sound, &Search::default()).expect("it is sound");
        assert_eq!(whole.evidence, Some(Evidence::Library));
        for copy in 0..copies {
            let mut bytes = sound.clone();
            // Most of it is in the entries and what they are read by.
            for _ in 0..=random.below(4) {
                let (start, size) = ranges[random.below(ranges.len())];
                let at = start as usize + random.below(size as usize);
                bytes[at] = [0, 0xff, 0x80, 0x7f, 1, random.below(256) as u8][random.below(6)];
            }
            let begun = Instant::now();
            match Abi::of_bytes(&built.path, &bytes, &Search::default()) {
                Ok(abi) => {
                    answers += 1;
                    // What it says may be nonsense; using it must end as well.
                    let text = abi.exports.iter().map(|(name, of)| abi.export_text(name, of).len()).sum::<usize>();
                    assert!(text > 0);
                    diff(&whole, &abi);
                    diff(&abi, &abi);
                }
                Err(_) => errors += 1,
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{flags:?}: copy {copy}");
        }
    }
    assert!(errors > 50 && answers > 50, "{errors} errors, {answers} answers");
}

#[test]
fn a_truncated_file_is_an_error_or_an_answer() {
    let built = build(SHAPES, &["-g"]);
    let sound = std::fs::read(&built.path).expect("it was built");
    for size in (0..sound.len()).step_by(97) {
        let _ = Abi::of_bytes(Path::new("cut.so"), &sound[..size], &Search::default());
    }
}

/// A section that claims to be larger than all memory when it is unpacked.
#[test]
fn a_compressed_section_cannot_ask_for_all_memory() {
    let built = build(SHAPES, &["-g", "-gz=zlib"]);
    let mut bytes = std::fs::read(&built.path).expect("it was built");
    let file = object::File::parse(&*bytes).expect("an object");
    let info = file.section_by_name(".debug_info").and_then(|section| section.file_range()).expect("it is there");
    // Elf64_Chdr: type, reserved, size.
    let at = info.0 as usize + 8;
    for size in [u64::MAX, 1 << 40, 1 << 31] {
        bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
        let error = Abi::of_bytes(&built.path, &bytes, &Search::default()).expect_err("it is damaged");
        assert!(error.to_string().contains("section .debug_info: "), "{error}");
    }
}

/// The library with a sidecar whose types, from number 1 on, are these.
fn with_types(types: &str) -> (support::Built, Abi) {
    let built = build(SHAPES, &["-g"]);
    let abi = Abi::read(&built.path, &Search::default()).expect("it is sound");
    let mut document: serde_json::Value =
        serde_json::from_str(&abi.to_json().expect("it can be written")).expect("it was written by us");
    let types: serde_json::Value = serde_json::from_str(&format!("[\"void\", {types}]")).expect("JSON");
    let takes_one = r#"{"function": {"result": 0, "parameters": [{"of": 1}]}}"#;
    document["exports"] =
        serde_json::json!({"parse": serde_json::from_str::<serde_json::Value>(takes_one).expect("JSON")});
    document["types"] = types;
    let sidecar = sideload_abi::sidecar_path(&built.path);
    std::fs::write(&sidecar, document.to_string()).expect("a folder of ours");
    let abi = Abi::read_sidecar(&sidecar).unwrap_or_else(|error| panic!("{error}"));
    (built, abi)
}

/// Types that lie in circles of one kind each, followed by each kind of Rust type.
#[test]
fn circles_in_a_sidecar_have_an_end() {
    let circles = [
        r#"{"pointer": {"to": 2}}, {"array": {"of": 2}}"#,
        r#"{"pointer": {"to": 2}}, {"array": {"of": 3, "length": 1}}, {"array": {"of": 2, "length": 1}}"#,
        r#"{"pointer": {"to": 2}}, {"alias": {"name": "it", "of": 3}}, {"array": {"of": 2}}"#,
        r#"{"pointer": {"to": 2}}, {"alias": {"name": "it", "of": 2}}"#,
        r#"{"pointer": {"to": 1}}"#,
        r#"{"array": {"of": 1}}"#,
    ];
    for types in circles {
        let (built, abi) = with_types(types);
        // SAFETY: the library is built from text in this folder, and has no initialisers.
        let library = unsafe { Library::open(&built.path) }.unwrap_or_else(|error| panic!("{error}"));
        macro_rules! ask {
            ($($of:ty),*) => {[$(
                // SAFETY: the symbol is not used.
                unsafe { library.get_verified_by::<extern "C" fn($of)>("parse", &abi) }.map(|found| match found {
                    Verified::Unverifiable { why: Unverifiable::Part { what, .. }, .. } => what,
                    found => found.checked().map_or_else(|error| error.to_string(), |_| "checked".into()),
                })
            ),*]};
        }
        let answers = ask![*const c_int, *const u8, *mut c_void, *mut *mut c_int, &[c_int; 2], &c_int];
        assert!(answers.iter().all(Result::is_ok), "{types}: {answers:?}");
        if types.starts_with(r#"{"pointer": {"to": 2}}, {"array""#) {
            assert_eq!(answers[0].as_ref().ok().map(String::as_str), Some("an array of arrays without an end"));
        }
        assert!(!abi.export_text("parse", &abi.exports["parse"]).is_empty());
        assert_eq!(diff(&abi, &abi), sideload_abi::Diff::default());
    }
}

/// A function that takes itself, many times, is as wide as a power of their number. What is read of it is the beginning.
#[test]
fn a_text_is_not_wider_than_anybody_reads() {
    const LIMIT: usize = 16 << 10;
    for (name, of) in [("f", 2), ("", 2), ("f", 3)] {
        let parameter = format!(r#"{{"name": "{name}", "of": {of}}}"#);
        let parameters = vec![parameter; 100].join(", ");
        let types = format!(
            r#"{{"alias": {{"name": "it", "of": 2}}}}, {{"pointer": {{"to": 4}}}},
               {{"qualified": {{"qualifier": "const", "of": 4}}}},
               {{"function": {{"function": {{"result": {of}, "parameters": [{parameters}]}}}}}},
               {{"struct": {{"name": "of", "size": 8, "fields": [{{"name": "f", "offset": 0, "of": 2}}]}}}}"#
        );
        let (_built, mut abi) = with_types(&types);
        let CType::Function { function } = abi.get(TypeId(4)).clone() else { panic!("{:?}", abi.types) };
        for text in [abi.type_text(TypeId(2)), abi.type_text(TypeId(3)), abi.function_text("wide", &function)] {
            assert!(text.len() < LIMIT && text.contains('…'), "{} bytes", text.len());
        }
        assert!(abi.type_lines().concat().len() < LIMIT);
        abi.exports.insert("wide".into(), Exported::Function(function));
        assert_eq!(diff(&abi, &abi), sideload_abi::Diff::default());
    }
}
