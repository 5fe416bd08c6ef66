//! Hostile bytes: whatever they are, a plan and its rows end with rows or with an error.

use sideload::render::Lines;

/// Reads all that a plan leads to.
fn read(name: &str, bytes: &[u8], arch: &str) -> Result<usize, sideload::ErrorKind> {
    let plan = match sideload::plan::plan_for(bytes, name, Some(arch)) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(0);
        }
    };
    sideload::check::check(&plan).unwrap_or_else(|error| panic!("{name}: a plan breaks an invariant: {error}"));
    let counts =
        [Lines::fixups, Lines::imports, Lines::exports].map(|part| part(&plan, bytes).map(|lines| lines.len()));
    let symbols = plan.symbols(bytes)?;
    symbols.find(&sideload::plan::Query::by_name(b"answer"));
    let frames = plan.frames(bytes)?;
    // Each row of the tables makes one record, of less than a hundred bytes.
    let size = frames.map_or(0, |table| table.bytes.len());
    assert!(size <= bytes.len() * 25, "{name}: {size} bytes of unwind records");
    counts.into_iter().sum()
}

/// What a loader reads of an image: the load commands, the unwind tables, and the end, where the other tables are.
fn places(bytes: &[u8], arch: &str) -> Vec<usize> {
    let plan = sideload::plan::plan_for(bytes, "a fixture", Some(arch)).expect("not yet corrupted");
    let frames = plan.unwind_tables.compact.and_then(|range| {
        let start = plan.file_offset(range.start, range.size)? as usize;
        Some(start..start + range.size.min(0x100) as usize)
    });
    let tables = bytes.len().saturating_sub(0x700);
    // Every second byte of the load commands: most of their words are small.
    let (commands, tables) = ((0..0x600.min(bytes.len())).step_by(2), (tables..bytes.len()).step_by(2));
    commands.chain(frames.into_iter().flatten()).chain(tables).collect()
}

const SAMPLE: &[(&str, &str)] = &[
    ("cxx-x64-old", "x86_64"),
    ("cxx-x64-chained", "x86_64"),
    ("tlv-a64-chained", "arm64"),
    ("addend-a64-huge", "arm64"),
    ("init-fat", "x86_64"),
    ("exception-x64-chained", "x86_64"),
];

#[test]
fn a_file_may_end_anywhere() {
    for &(name, arch) in SAMPLE {
        let bytes = test_fixtures::macho_edit::image(name);
        for end in places(&bytes, arch) {
            let _ = read(name, &bytes[..end], arch);
        }
    }
}

#[test]
fn any_bit_may_be_wrong() {
    let (mut fine, mut wrong) = (0, 0);
    let edited = test_fixtures::macho_edit::reencoded().into_iter();
    let edited =
        edited.filter(|(name, _)| matches!(&**name, "bind-arm64e-12-2" | "rebase-x64-exports" | "mutex-x64-zlib"));
    let edited = edited.map(|(name, bytes)| {
        let arch = if name.contains("arm64e") { "arm64e" } else { "x86_64" };
        (name, bytes, arch)
    });
    let sample = SAMPLE.iter().map(|&(name, arch)| (name.to_owned(), test_fixtures::macho_edit::image(name), arch));
    for (name, original, arch) in sample.chain(edited) {
        for at in places(&original, arch) {
            let mut bytes = original.clone();
            for value in [original[at] ^ 1 << (at % 8), 0xff] {
                bytes[at] = value;
                match read(&name, &bytes, arch) {
                    Ok(_) => fine += 1,
                    Err(_) => wrong += 1,
                }
            }
        }
    }
    assert!(fine > 300 && wrong > 300, "{fine} fine, {wrong} wrong: the bits do not matter?");
}

/// Found by the campaign of `tests/hostile`.
#[test]
fn counts_of_classic_relocations_may_be_any() {
    use test_fixtures::macho_edit::{MachOEdit, image, lc};
    for name in ["rebase-x64-chained", "rebase-x64-old"] {
        let mut edit = MachOEdit::new(image(name));
        let command = edit.command(lc::DYSYMTAB);
        edit.put(command + 8, &[0xff; 72]);
        sideload::plan::plan(&edit.into_bytes(), name).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Found by fuzzing: a chain that starts behind its segment, which ends where addresses do.
#[test]
fn a_chain_may_start_past_the_last_address() {
    use test_fixtures::macho_edit::{MachOEdit, image, lc};
    const CHAINED_FIXUPS: u32 = 0x8000_0034;
    for name in ["rebase-x64-chained", "addend-x64-chained"] {
        let mut edit = MachOEdit::new(image(name));
        let segments = edit.commands().into_iter().filter(|(kind, _)| *kind == lc::SEGMENT_64);
        let segments: Vec<_> = segments.map(|(_, at)| (at, edit.u32(at + 64) as usize)).collect();
        // All of the image moves up, and ends a page before the addresses do.
        let ends = segments.iter().map(|&(at, _)| u64::from(edit.u32(at + 24)) + u64::from(edit.u32(at + 32)));
        let up = (ends.max().unwrap_or(0).next_multiple_of(0x1000) + 0x1000).wrapping_neg();
        let mut move_up = |at: usize| {
            let address = u64::from(edit.u32(at)) + up;
            edit.put(at, &address.to_le_bytes());
        };
        for (at, sections) in segments {
            move_up(at + 24);
            (0..sections).for_each(|section| move_up(at + 72 + 80 * section + 32));
        }
        // `dyld_chained_fixups_header.starts_offset`, then `seg_count`, then an offset a segment.
        let header = edit.u32(edit.command(CHAINED_FIXUPS) + 8) as usize;
        let starts = header + edit.u32(header + 4) as usize;
        let segments = (1..=edit.u32(starts) as usize).map(|at| edit.u32(starts + 4 * at) as usize);
        for segment in segments.filter(|&offset| offset != 0).collect::<Vec<_>>() {
            edit.put(starts + segment + 22, &0x7ff8u16.to_le_bytes()); // `page_start[0]`
        }
        let bytes = edit.into_bytes();
        let _plan = sideload::plan::plan(&bytes, name).unwrap_or_else(|error| panic!("{error}"));
        let error = read(name, &bytes, "x86_64").expect_err("nothing is there").to_string();
        assert!(error.contains("leaves"), "{name}: {error}");
    }
}
