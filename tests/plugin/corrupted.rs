//! Corrupted rows: an error or a plugin, never a signal.

use crate::build::{passes_alone, plugin};
use crate::rows::{is_mapped, seal_items};
use crate::support::Folder;
use sideload::addr::VmAddr;
use sideload::{ErrorKind, Loader, Plugin, Source, abi};
use std::ops::Range;
use std::process::Command;
use test_fixtures::Random;

/// A place of the file where a plugin says something.
#[derive(Clone)]
struct Piece {
    range: Range<usize>,
    /// Where it has its sum, and what that is of the bytes from there on.
    sum: Option<(usize, Sum)>,
}

type Sum = fn(&[u8], u32) -> u32;

/// All of them: notes, and the rows of items with what they point to.
fn pieces(bytes: &[u8]) -> Vec<Piece> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let is_note = |at: &usize| bytes[*at + 12..].starts_with(b"sideload\0\0\0\0");
    let note = |at: usize| {
        let end = (at + 24 + number(at + 4)).min(bytes.len());
        // The rows of C have no checksum.
        let has_sum = bytes[at + 24..at + 28] != [0; 4];
        let sum: Sum = |desc, kind| abi::checksum(kind, desc);
        Piece { range: at..end, sum: has_sum.then_some((at + 24, sum)) }
    };
    let mut pieces: Vec<Piece> = (0..bytes.len() - 24).filter(is_note).map(note).collect();
    let plan = sideload::plan::plan(bytes, "corrupted").expect("sound");
    let items = plan.item_rows(bytes).expect("sound");
    let place = |vm: VmAddr| plan.file_offset(vm, 1).expect("in the file") as usize;
    for (row, pointers) in items.iter() {
        let at = place(row);
        let size = abi::item_size(&bytes[at..]);
        pieces.push(Piece { range: at..at + size, sum: None });
        for &(_, target) in &pointers[..(size - 16) / 8] {
            let block = place(target);
            let sum: Sum = |block, _| abi::sum(&block[8..]);
            pieces.push(Piece { range: block..block + 8 + number(block + 4), sum: Some((block, sum)) });
        }
    }
    pieces
}

/// Makes the sum of a piece right, if it is still one.
fn seal(bytes: &mut [u8], piece: &Piece) {
    let Some((at, sum)) = piece.sum else { return };
    let kind = piece.range.start + 8;
    let kind = u32::from_le_bytes(bytes[kind..kind + 4].try_into().expect("four bytes"));
    let sum = sum(&bytes[at..piece.range.end], kind);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
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
    // Sums are made right every other time.
    let sources = [(test_fixtures::build("plugin").path, 1500), (stripped, 700)];
    let mut random = Random::new(0x2026_1123);
    for (path, copies) in sources {
        let sound = std::fs::read(&path).expect("it was built");
        let pieces = pieces(&sound);
        assert!(pieces.len() >= 5, "{}", path.display());
        let (mut refused, mut opened) = (0, 0);
        for copy in 0..copies {
            let mut bytes = sound.clone();
            let piece = &pieces[random.below(pieces.len())];
            for _ in 0..=random.below(3) {
                let at = piece.range.start + random.below(piece.range.len());
                bytes[at] = match random.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ 1 << random.below(8),
                    _ => random.below(256) as u8,
                };
            }
            if copy % 2 == 0 {
                seal(&mut bytes, piece);
                seal_items(&mut bytes);
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
