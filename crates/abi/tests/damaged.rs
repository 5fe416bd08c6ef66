//! Damaged debug information: an error or an answer, never a panic, and never without an end.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use object::{Object, ObjectSection};
use sideload_abi::{Abi, Evidence, Search, diff};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{SHAPES, build};

/// The same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

#[test]
fn damaged_debug_information_is_an_error_or_an_answer() {
    let copies = std::env::var("SIDELOAD_TEST_COPIES").map_or(200, |text| text.parse().expect("a number"));
    let forms: &[&[&str]] = &[
        &["-gdwarf-5"],
        &["-gdwarf-4", "-fdebug-types-section", "-O2"],
        &["-gdwarf-5", "-gz=zlib"],
        &["-gdwarf-2", "-gstrict-dwarf"],
    ];
    let mut random = Random(0x5eed);
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
