//! Fixups applied into a buffer, for every processor, byte for byte against those that another library reads.

use sideload::ErrorKind;
use sideload::addr::{Bias, RunAddr, VmAddr};
use sideload::link::Bindings;
use sideload::memory::{Memory, NotWritable, Scratch};
use sideload::plan::{LoadPlan, Tables, TlsModel};
use sideload::relocate::{Addresses, ThreadLocals, relocate};
use sideload::symbol::{Definition, ModuleId, Provider};
use std::collections::BTreeMap;

/// Where the image is, and where the symbols of others are: far apart, so that no mistake goes unnoticed.
const BIAS: u64 = 0x7_1234_5000_0000;
const SYMBOLS: u64 = 0x3_5000_0000_1000;

#[test]
fn every_fixup_stores_what_it_should() {
    for (name, bytes, arch) in crate::images() {
        let plan = crate::plan(&name, &bytes, arch);
        let mut memory = Scratch::new(&plan, &bytes, Bias(BIAS)).expect("a small image");
        let expected = by_hand(&plan, &bytes, arch, &name);
        let (bindings, addresses) = bindings(&plan, &bytes);
        let deferred = relocate(ModuleId(0), &plan, &bytes, &bindings, &addresses, &mut memory);
        assert!(deferred.unwrap_or_else(|error| panic!("{name}: {error}")).is_empty(), "{name}");
        for region in &plan.regions {
            let actual = memory.bytes(region.vm).expect("in the span");
            let start = region.vm.start.0;
            let size = region.vm.size as usize;
            assert!(actual == &expected[&start][..size], "{name} {arch}: the segment at {start:#x} differs");
        }
    }
}

/// What the keys of thread-local descriptors are to hold.
const KEY: u64 = 0x77;

fn locals(_: Provider, _: TlsModel) -> Result<ThreadLocals, ErrorKind> {
    Ok(ThreadLocals { module: Some(KEY), offset: None })
}

/// Takes stores one by one.
struct Narrow(Scratch);

impl Memory for Narrow {
    fn bias(&self) -> Bias {
        self.0.bias()
    }

    fn store_u64(&mut self, at: VmAddr, value: u64) -> Result<(), NotWritable> {
        self.0.store_u64(at, value)
    }

    fn store_u32(&mut self, at: VmAddr, value: u32) -> Result<(), NotWritable> {
        self.0.store_u32(at, value)
    }
}

/// What most images do not have is left to stores one by one, so both ways have to be right.
#[test]
fn stores_one_by_one_come_to_the_same() {
    for (name, bytes, arch) in crate::images() {
        let plan = crate::plan(&name, &bytes, arch);
        let (bindings, addresses) = bindings(&plan, &bytes);
        let mut wide = Scratch::new(&plan, &bytes, Bias(BIAS)).expect("a small image");
        let mut narrow = Narrow(wide.clone());
        relocate(ModuleId(0), &plan, &bytes, &bindings, &addresses, &mut wide).expect("relocates");
        relocate(ModuleId(0), &plan, &bytes, &bindings, &addresses, &mut narrow).expect("relocates");
        assert!(wide.bytes(plan.span) == narrow.0.bytes(plan.span), "{name} {arch}");
    }
}

/// Opcodes in any order, most of which are sound: what is applied in bulk is what each would do by itself.
#[test]
fn opcodes_in_bulk_come_to_the_same() {
    let (mut fine, mut wrong) = (0, 0);
    for seed in 1..400 {
        let bytes = random_opcodes(seed);
        let plan = crate::plan("random", &bytes, "x86_64");
        let rows = plan.imports::<ErrorKind>(&bytes, |_| Ok(()));
        if rows.is_err() {
            continue;
        }
        let (bindings, addresses) = bindings(&plan, &bytes);
        let mut wide = Scratch::new(&plan, &bytes, Bias(BIAS)).expect("a small image");
        let mut narrow = Narrow(wide.clone());
        let outcomes = [
            relocate(ModuleId(0), &plan, &bytes, &bindings, &addresses, &mut wide),
            relocate(ModuleId(0), &plan, &bytes, &bindings, &addresses, &mut narrow),
        ];
        let [one, other] = outcomes.map(|outcome| outcome.map_err(|error| error.to_string()));
        assert_eq!(one, other, "seed {seed}");
        let counted = if one.is_ok() { &mut fine } else { &mut wrong };
        *counted += 1;
        assert!(one.is_err() || wide.bytes(plan.span) == narrow.0.bytes(plan.span), "seed {seed}");
    }
    assert!(fine > 100 && wrong > 20, "{fine} fine, {wrong} wrong");
}

/// Two segments of data and a gap between them, and streams that go through them, now and then past an end.
fn random_opcodes(seed: u64) -> Vec<u8> {
    use test_fixtures::macho_build::{MachOBuild, Segment};
    use test_fixtures::macho_edit::uleb;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut image = MachOBuild::new(4096);
    for vm in [0x10_0000, 0x20_0000] {
        let content: Vec<u8> = (0..0x4000).map(|at| (at / 8) as u8 ^ at as u8).collect();
        let at = image.put(&content);
        let mut segment = Segment::data(vm, (at, 0x4000));
        segment.vm_size = 0x8000;
        image.segment(segment);
    }
    let mut stream = |operations: &[u8], head: &[u8]| {
        let mut bytes = head.to_vec();
        for _ in 0..random(120) {
            let operation = operations[random(operations.len() as u64) as usize];
            bytes.push(operation | random(if matches!(operation, 0x40 | 0x50 | 0xb0) { 16 } else { 1 }) as u8);
            let small = if random(20) == 0 { random(0x3000) } else { random(200) };
            match operation {
                0x30 | 0x70 | 0xa0 => bytes.extend(uleb(small)),
                0x60 => bytes.extend(uleb(random(40))),
                // There and back again.
                0x8f => bytes.extend(uleb(if random(2) == 0 { small } else { small.wrapping_neg() })),
                0x80 | 0xc0 => {
                    bytes.extend(uleb(random(9)));
                    bytes.extend(uleb(random(40)));
                }
                _ => {}
            }
        }
        bytes
    };
    let rebase = stream(&[0x30, 0x40, 0x40, 0x50, 0x50, 0x50, 0x60, 0x70, 0x80], &[0x11, 0x21, 0x10]);
    let operations = &[0x8f, 0x90, 0x90, 0xa0, 0xa0, 0xb0, 0xc0];
    let bind = stream(operations, &[0x11, 0x51, 0x40, b'_', b'a', 0, 0x71, 0x80, 0x01]);
    let weak = stream(operations, &[0x51, 0x40, b'_', b'b', 0, 0x72, 0xf8, 0x7e]);
    image.dyld_info([&rebase, &bind, &weak, &[], &[]]);
    image.build()
}

/// The address that stands for a symbol.
fn address(name: &str) -> u64 {
    let hash = name.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    SYMBOLS + hash % 0x1000_0000 * 16
}

fn bindings(plan: &LoadPlan, bytes: &[u8]) -> (Bindings, Addresses<'static>) {
    let mut ids = Vec::new();
    plan.imports::<sideload::ErrorKind>(bytes, |id| {
        ids.push(id);
        Ok(())
    })
    .expect("read before");
    let symbols = plan.symbols(bytes).expect("read before");
    let name = |id| sideload::render::import(plan, &symbols, id).expect("an import").symbol.to_string();
    let supplied = ids.iter().map(|&id| RunAddr(address(&name(id)))).collect();
    let rows = ids.iter().zip(0..).map(|(&id, index)| (id, Definition::Supplied(index)));
    let bindings = Bindings::of(rows).expect("few imports");
    (bindings, Addresses { new: vec![Bias(BIAS)], supplied, tls: Some(&locals), ..Addresses::default() })
}

/// The segments, with the lines of the other library carried out on them in the simplest way.
fn by_hand(plan: &LoadPlan, bytes: &[u8], arch: &str, name: &str) -> BTreeMap<u64, Vec<u8>> {
    let mut segments: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for region in &plan.regions {
        let file = region.file.start.0 as usize;
        let mut content = bytes[file..file + region.file.size as usize].to_vec();
        content.resize(region.vm.size as usize, 0);
        segments.insert(region.vm.start.0, content);
    }
    let slices = sideload::macho::fat::slices(bytes).expect("read before");
    let slice = slices.iter().find(|slice| slice.arch() == Some(arch)).expect("read before").file;
    let image = &bytes[slice.start.0 as usize..slice.end().0 as usize];
    let mut lines = crate::other::lines_of(name, image);
    // The weak binds come last.
    lines.sort_by_key(|line| (line.ends_with(" weak"), line.starts_with("bind")));
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).expect("a number");
    for line in &lines {
        let words: Vec<&str> = line.split(' ').collect();
        let value = match words[..] {
            ["rebase", _, target, ..] => hex(target).wrapping_add(BIAS),
            ["bind", _, symbol, _, addend, ..] => {
                address(symbol).wrapping_add_signed(addend.parse().expect("a number"))
            }
            _ => continue,
        };
        let place = hex(words[1]);
        let (start, segment) = segments.range_mut(..=place).next_back().unwrap_or_else(|| panic!("{name}: {line}"));
        let at = (place - start) as usize;
        segment[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let Tables::MachO(tables) = &plan.tables else { panic!("{name}: of another format") };
    for range in &tables.thread_variables {
        let (start, segment) = segments.range_mut(..=range.start.0).next_back().expect("in a segment");
        let (descriptors, _) = segment[(range.start.0 - start) as usize..][..range.size as usize].as_chunks_mut::<24>();
        descriptors.iter_mut().for_each(|descriptor| descriptor[8..16].copy_from_slice(&KEY.to_le_bytes()));
    }
    segments
}
