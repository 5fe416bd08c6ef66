//! Corrupted rows: an error or a plugin, never a signal.

use crate::build::{passes_alone, plugin};
use crate::rows::is_mapped;
use crate::support::Folder;
use sideload::{ErrorKind, Loader, Plugin, Source, abi};
use std::ops::Range;
use std::process::Command;

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

/// Where the file has rows: each with its header of 24 bytes.
fn rows(bytes: &[u8]) -> Vec<Range<usize>> {
    let is_row = |at: &usize| bytes[*at + 12..].starts_with(b"sideload\0\0\0\0");
    let starts = (0..bytes.len() - 24).filter(is_row);
    let size = |at: usize| u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize;
    starts.map(|at| at..(at + 24 + size(at)).min(bytes.len())).collect()
}

/// Makes the checksum of a row right, if the row is still one.
fn seal(bytes: &mut [u8], row: Range<usize>) {
    let body = row.start + 24;
    if row.end >= body + 4 {
        let kind = u32::from_le_bytes(bytes[row.start + 8..row.start + 12].try_into().expect("four bytes"));
        let sum = abi::checksum(kind, &bytes[body..row.end]);
        bytes[body..body + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Asks for everything that needs no promise.
fn use_it(plugin: &Plugin) {
    for item in plugin.items() {
        let text = format!("{} {}", item.name(), item.type_of());
        assert!(!text.is_empty());
        let _ = plugin.lookup::<fn(&str) -> String>(item.name()).map(drop);
        let _ = plugin.lookup::<&u64>(item.name()).map(drop);
    }
    let _ = (plugin.name(), plugin.version(), plugin.warnings().len());
}

#[test]
fn corrupted_rows_are_an_error_or_a_plugin() {
    if passes_alone("corrupted::corrupted_rows_are_an_error_or_a_plugin") {
        return;
    }
    let folder = Folder::new("corrupted");
    let stripped = folder.file("libgreeter.so");
    let strip = Command::new("objcopy").arg("--strip-all").arg(plugin("greeter")).arg(&stripped).status();
    assert!(strip.expect("there are binutils").success());
    // The rows of C have no checksum; those of Rust get a right one every other time.
    let sources = [(test_fixtures::build("plugin").path, 1500), (stripped, 700)];
    let mut random = Random(0x2026_1123);
    for (path, copies) in sources {
        let sound = std::fs::read(&path).expect("it was built");
        let rows = rows(&sound);
        assert!(rows.len() >= 5, "{}", path.display());
        let (mut refused, mut opened) = (0, 0);
        for copy in 0..copies {
            let mut bytes = sound.clone();
            let row = rows[random.below(rows.len())].clone();
            for _ in 0..=random.below(3) {
                // The header states sizes and the type; what is behind it is what the compiler wrote.
                let at = row.start + random.below(row.len());
                bytes[at] = match random.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ 1 << random.below(8),
                    _ => random.below(256) as u8,
                };
            }
            if copy % 2 == 0 && sound[row.start + 24..row.start + 28] != [0; 4] {
                seal(&mut bytes, row);
            }
            let name = format!("/corrupted/{copy}/{}", path.file_name().expect("a file").display());
            // SAFETY: only rows were changed. An entry that a row names is checked to be code of the plugin, and these
            // plugins have no init functions, which would be called as what they are not.
            match unsafe { Loader::new().open_plugin(Source::bytes(&name, bytes)) } {
                Ok(plugin) => {
                    opened += 1;
                    use_it(&plugin);
                }
                Err(error) => {
                    refused += 1;
                    let expected = matches!(
                        error.kind(),
                        ErrorKind::Malformed { .. } | ErrorKind::NotAPlugin { .. } | ErrorKind::BuildMismatch(_)
                    );
                    assert!(expected, "{error}");
                    assert!(!is_mapped(std::path::Path::new(&name)), "{error}");
                }
            }
        }
        assert!(refused > copies / 4 && opened > copies / 50, "{}: {refused} {opened}", path.display());
    }
}
