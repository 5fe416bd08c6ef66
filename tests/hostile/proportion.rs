//! Images for macOS that are made to cost time: records that overlap, and one long string that all of them name. Each is
//! refused for that, or read in a time that its size bounds.

use crate::greedy::judge;
use crate::{Folder, mach_o};
use std::fs;
use test_fixtures::macho_build::{MachOBuild, Segment, chained, starts};
use test_fixtures::macho_edit::{lc, uleb};

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;

/// Types of sections.
const INITIALISERS: u8 = 9;
const THREAD_VARIABLES: u8 = 0x13;

/// A page of pointers in one chain, each of which leads to the header.
fn page_of_pointers() -> Vec<u8> {
    let pointer = |index: u64| if index == PAGE / 8 - 1 { 0 } else { 2u64 << 51 };
    (0..PAGE / 8).map(pointer).flat_map(u64::to_le_bytes).collect()
}

/// So many segments, one behind the other in memory, all of the same content.
fn shared_content(segments: u64) -> Vec<u8> {
    let mut image = MachOBuild::new(72 * (segments as usize + 20));
    let content = image.put(&page_of_pointers().repeat((MIB / PAGE) as usize));
    for at in 0..segments {
        image.segment(Segment::data((at + 16) * MIB, (content, MIB)));
    }
    let tables = [starts(&[0; (MIB / PAGE) as usize])];
    let mut which = vec![None];
    which.resize(segments as usize + 1, Some(0));
    image.table(lc::DYLD_CHAINED_FIXUPS, &chained(&which, &tables, &[], &[0]));
    image.build()
}

/// As many segments as there may be, whose chains all have one long table of starts.
fn shared_starts() -> Vec<u8> {
    let mut image = MachOBuild::new(72 * 300);
    for at in 0..254 {
        let page = image.put(&[0; 8]);
        image.segment(Segment::data((at + 256) * PAGE, (page, 8)));
    }
    let mut which = vec![None];
    which.resize(255, Some(0));
    image.table(lc::DYLD_CHAINED_FIXUPS, &chained(&which, &[starts(&[0xffff; 0xffff])], &[], &[0]));
    image.build()
}

/// One segment with thousands of sections of that type, each of which is all of it.
fn same_sections(kind: u8, vm_size: u64, file_size: usize) -> Vec<u8> {
    let mut image = MachOBuild::new(81 * 10_000);
    let content = image.put(&vec![0; file_size]);
    let mut segment = Segment::data(16 * MIB, (content, file_size as u64));
    segment.vm_size = vm_size;
    segment.sections = vec![(16 * MIB, vm_size / 24 * 24, kind); 10_000];
    image.segment(segment);
    image.build()
}

/// One section of thread-local variables, of which the file holds nothing, and which no memory could hold.
fn vast_thread_variables() -> Vec<u8> {
    let mut image = MachOBuild::new(4096);
    let mut segment = Segment::data(16 * MIB, (0, 0));
    segment.vm_size = 1 << 42;
    segment.sections = vec![(16 * MIB, 24 << 36, THREAD_VARIABLES)];
    image.segment(segment);
    image.build()
}

/// Imports that all have the same long name.
fn one_name() -> Vec<u8> {
    let mut image = MachOBuild::new(4096);
    let names = [&[0][..], &vec![b'n'; 400_000], &[0]].concat();
    image.table(lc::DYLD_CHAINED_FIXUPS, &chained(&[], &[], &[1 << 9; 100_000], &names));
    image.build()
}

/// Names that compression makes a thousand times as short as they are.
fn compressed_names() -> Vec<u8> {
    let mut image = MachOBuild::new(4096);
    let names = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; 512 << 20], 1);
    let mut payload = chained(&[], &[], &[0; 1000], &names);
    payload[24] = 1;
    image.table(lc::DYLD_CHAINED_FIXUPS, &payload);
    image.build()
}

/// Imports that all have the same name, as long as compression allows.
fn one_compressed_name() -> Vec<u8> {
    let mut image = MachOBuild::new(4096);
    let random = (0..40_000u64).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7] | 1);
    let names: Vec<u8> = random.flat_map(|byte| [byte; 8]).chain([0]).collect();
    let mut payload = chained(&[], &[], &[0; 100_000], &miniz_oxide::deflate::compress_to_vec_zlib(&names, 9));
    payload[24] = 1;
    image.table(lc::DYLD_CHAINED_FIXUPS, &payload);
    image.build()
}

/// A trie whose one node is on the way to every name, once for each letter, and as long as the trie.
fn one_node() -> Vec<u8> {
    let mut node = vec![0, 255];
    for _ in 0..254 {
        node.extend([b'z'; 1500]);
        node.extend([0, 0]);
    }
    node.extend([b'a', 0, 4]);
    let trie = [&[0, 1, b'_', 0][..], &[4], &node[..]].concat();
    // The child of the root is behind it: at 5.
    let trie: Vec<u8> =
        trie.iter().enumerate().map(|(at, &byte)| if at == 4 || at == trie.len() - 1 { 5 } else { byte }).collect();
    let name = [&b"_"[..], &[b'a'; 300]].concat();
    let mut names = vec![0];
    let mut imports = Vec::new();
    for _ in 0..2000 {
        imports.push((names.len() as u32) << 9);
        names.extend(&name);
        names.push(0);
    }
    let mut image = MachOBuild::new(4096);
    image.table(lc::DYLD_CHAINED_FIXUPS, &chained(&[], &[], &imports, &names));
    image.table(lc::DYLD_EXPORTS_TRIE, &trie);
    image.build()
}

/// Thousands of needs, or of places to look for them.
fn paths(kind: u32, words: &[u32], count: usize) -> Vec<u8> {
    let mut image = MachOBuild::new(count * 64);
    (0..count).for_each(|_| image.path(kind, words, b"/nowhere/at/all"));
    image.build()
}

/// Rebases that go to and fro between as many segments as there may be.
fn to_and_fro() -> Vec<u8> {
    let mut image = MachOBuild::new(72 * 300);
    for at in 0..250 {
        let page = image.put(&[0; 8]);
        image.segment(Segment::data((at + 256) * PAGE, (page, 8)));
    }
    let mut opcodes = vec![0x11, 0x21, 0];
    let far = 249 * PAGE;
    for _ in 0..50_000 {
        // One here, and one as far away as can be.
        opcodes.push(0x70);
        opcodes.extend(uleb(far - 8));
        opcodes.push(0x70);
        opcodes.extend(uleb((far + 8).wrapping_neg()));
    }
    image.dyld_info([&opcodes, &[], &[], &[], &[]]);
    image.build()
}

type Case = (&'static str, fn() -> Vec<u8>, &'static str);

/// What it is, and what is said of it.
const CASES: &[Case] = &[
    ("thousands of segments of one content", || shared_content(6000), "more segments"),
    ("as many as there may be", || shared_content(200), "file contents overlap"),
    ("starts that all segments share", shared_starts, "starts of segments overlap"),
    ("the same initialisers", || same_sections(INITIALISERS, MIB, MIB as usize), "sections overlap"),
    ("the same thread-local variables", || same_sections(THREAD_VARIABLES, MIB, MIB as usize), "sections overlap"),
    ("more thread-local variables than memory", vast_thread_variables, "that the file does not hold"),
    ("one name", one_name, "the same names over and over"),
    ("compressed names", compressed_names, "compressed names out of proportion"),
    ("one compressed name", one_compressed_name, "the same names over and over"),
    ("one node", one_node, "nodes out of proportion"),
    ("needs", || paths(lc::LOAD_DYLIB, &[2, 0, 0], 5000), "thousands of needs"),
    ("search paths", || paths(lc::RPATH, &[], 5000), "more search paths"),
    ("to and fro", to_and_fro, "sealed"),
];

pub(crate) fn run() {
    let folder = Folder::new("proportion");
    let path = folder.file("image.dylib");
    for (name, build, expected) in CASES {
        let bytes = build();
        fs::write(&path, &bytes).expect("a folder of our own");
        let said = judge(name, bytes.len(), || mach_o::until_sealed(&path));
        assert!(said.contains(expected), "{name}: {said:?}, and not {expected:?}");
    }
}
