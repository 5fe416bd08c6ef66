//! The plan of every image, against the one in `test-fixtures/macho-plans`. The images are checked in, so the plans
//! hold for every compiler. `BLESS=1` writes them anew.

use sideload::render::{Lines, Summary};
use std::path::{Path, PathBuf};
use std::{env, fs};
use test_fixtures::macho_edit::{MachOEdit, lc, reencoded};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test-fixtures/macho-plans")
}

#[test]
fn every_image_has_its_golden_plan() {
    let bless = env::var_os("BLESS").is_some();
    if bless {
        let _ = fs::remove_dir_all(folder());
        fs::create_dir_all(folder()).expect("the folder of plans");
    }
    let mut faults = Vec::new();
    let images = crate::images();
    for (name, bytes, arch) in &images {
        let plan = crate::plan(name, bytes, arch);
        let parts = [Lines::fixups, Lines::imports, Lines::exports].map(|part| match part(&plan, bytes) {
            Ok(lines) => lines.to_string(),
            Err(kind) => format!("refused {kind}\n"),
        });
        // Hundreds of rebases in a row tell no more than their number.
        let concise = if parts[0].lines().count() > 100 {
            format!("fixups {}\n", parts[0].lines().count())
        } else {
            parts[0].clone()
        };
        let text = format!("{}{concise}{}{}", Summary(&plan), parts[1], parts[2]);
        let path = folder().join(format!("{name}.{arch}.plan"));
        if bless {
            fs::write(&path, text).expect("a golden plan can be written");
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            faults.push(path);
        }
    }
    assert!(faults.is_empty(), "BLESS=1 accepts what differs: {faults:#?}");
    let known = fs::read_dir(folder()).expect("the folder of plans").count();
    assert_eq!(known, images.len(), "a golden plan without an image, or the reverse");
}

#[test]
fn refusals_name_what_they_refuse() {
    use test_fixtures::macho_edit::image;
    let edited = |change: &dyn Fn(&mut MachOEdit)| {
        let mut edit = MachOEdit::new(image("rebase-x64-chained"));
        change(&mut edit);
        edit.into_bytes()
    };
    let with_type = |file_type: u32| edited(&|edit| edit.put(12, &file_type.to_le_bytes()));
    let chained = |format: u16| {
        edited(&|edit| {
            let payload = edit.u32(edit.command(lc::DYLD_CHAINED_FIXUPS) + 8) as usize;
            let starts = payload + edit.u32(payload + 4) as usize;
            let offset = (1..5).map(|index| edit.u32(starts + index * 4)).find(|&offset| offset != 0);
            edit.put(starts + offset.expect("a segment with chains") as usize + 6, &format.to_le_bytes());
        })
    };
    let encrypted = edited(&|edit| {
        let words: Vec<u8> =
            [lc::ENCRYPTION_INFO_64, 24, 0, 0x1000, 1, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        edit.add_command(&words);
    });
    let mut i386 = image("rebase-x64-old");
    i386[..8].copy_from_slice(&[0xce, 0xfa, 0xed, 0xfe, 7, 0, 0, 0]);
    let mut big_endian = image("rebase-x64-old");
    big_endian[..4].copy_from_slice(&[0xfe, 0xed, 0xfa, 0xcf]);
    let required = edited(&|edit| edit.add_command(&[0x77, 0, 0, 0x80, 8, 0, 0, 0]));
    let variants = edited(&|edit| edit.add_command(&[0x37, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("executable", with_type(2), "MH_EXECUTE"),
        ("object file", with_type(1), "MH_OBJECT"),
        ("debug information", with_type(10), "MH_DSYM"),
        ("stub", with_type(9), "MH_DYLIB_STUB"),
        ("kernel extension", with_type(11), "MH_KEXT_BUNDLE"),
        ("encrypted", encrypted, "encrypted"),
        ("i386", i386, "i386"),
        ("big-endian", big_endian, "big-endian"),
        ("unknown command", required, "LC_REQ_DYLD"),
        ("function variants", variants, "LC_FUNCTION_VARIANTS"),
        ("32-bit chains", chained(3), "DYLD_CHAINED_PTR_32"),
        ("kernel chains", chained(7), "DYLD_CHAINED_PTR_ARM64E_KERNEL"),
        ("cache chains", chained(13), "DYLD_CHAINED_PTR_ARM64E_SHARED_CACHE"),
        ("unknown chains", chained(99), "unknown format"),
    ];
    for (name, bytes, expected) in cases {
        let refused = sideload::plan::plan(&bytes, name)
            .and_then(|plan| Lines::fixups(&plan, &bytes).map_err(|kind| kind.at(name, sideload::Stage::Plan)));
        let text = refused.map(|lines| lines.to_string()).expect_err(name).to_string();
        assert!(text.contains(expected), "{name}: {text}");
    }
}

/// A stream that is not what it was is an error before any name of it is believed.
#[test]
fn compressed_names_are_all_there_or_none() {
    let (_, image) = reencoded().into_iter().find(|(name, _)| name == "mutex-x64-zlib").expect("an edited image");
    let edit = MachOEdit::new(image.clone());
    let (start, end) = edit.names();
    let end = (start..end).rev().find(|&at| image[at] != 0).expect("a stream") + 1;
    let cases: [(usize, &[u8], &str); 5] = [
        (start, &[0x79], "no zlib stream"),
        (start + 2, &[0xff], "no zlib stream"),
        (end - 1, &[image[end - 1] ^ 1], "check sum"),
        // Another size of the whole payload, which then ends within the stream.
        (edit.command(lc::DYLD_CHAINED_FIXUPS) + 12, &((end - 9 - payload(&edit)) as u32).to_le_bytes(), "cut off"),
        (payload(&edit) + 24, &[2], "an unknown symbols_format"),
    ];
    for (at, value, expected) in cases {
        let mut bytes = image.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let plan = sideload::plan::plan(&bytes, "mutex").expect("its names are not in the plan");
        let said = plan.symbols(&bytes).map(|_| ()).expect_err(expected).to_string();
        assert!(said.contains(expected), "{said:?}, and not {expected:?}");
    }
}

fn payload(edit: &MachOEdit) -> usize {
    edit.u32(edit.command(lc::DYLD_CHAINED_FIXUPS) + 8) as usize
}

#[test]
fn an_image_is_chosen_by_name() {
    let bytes = test_fixtures::macho_edit::image("rebase-fat");
    let machine = |arch| sideload::plan::plan_for(&bytes, "fat", arch).map(|plan| plan.machine.as_str());
    assert_eq!(machine(Some("arm64")).expect("there is one"), "aarch64");
    assert_eq!(machine(Some("x86_64")).expect("there is one"), "x86_64");
    let error = machine(Some("arm64e")).expect_err("there is none").to_string();
    assert!(error.contains("x86_64 arm64") && error.contains("arm64e"), "{error}");
    // A Java class file begins with the magic of a universal file.
    let java = sideload::plan::plan(b"\xca\xfe\xba\xbe\0\0\0\x34\0\x10", "A.class").expect_err("no image").to_string();
    assert!(java.contains("unknown magic"), "{java}");
}

#[test]
fn a_signature_covers_all_before_it() {
    let mut signed = 0;
    for (name, bytes, arch) in crate::images() {
        let plan = crate::plan(&name, &bytes, arch);
        let Some(signature) = plan.signature else { continue };
        let sideload::plan::Tables::MachO(tables) = &plan.tables else { panic!("{name}: of another format") };
        assert_eq!(signature.image, tables.image, "{name}");
        let start = (signature.image.start.0 + signature.blob.start.0) as usize;
        // CSMAGIC_EMBEDDED_SIGNATURE, big-endian as all of it.
        assert_eq!(bytes.get(start..start + 4), Some(&[0xfa, 0xde, 0x0c, 0xc0][..]), "{name}");
        signed += 1;
    }
    assert!(signed > 10, "{signed} signatures");
}
