//! Fixups applied into a buffer, for every processor, byte for byte against those that another library reads.

use sideload::ErrorKind;
use sideload::addr::{Bias, RunAddr, VmAddr, VmRange};
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

/// Words are stored a few at a time, with some that are as they were: never in a page without a fixup, since each that
/// is written to takes memory of its own.
#[test]
fn pages_without_fixups_stay_as_they_are() {
    use test_fixtures::macho_build::{MachOBuild, Segment};
    use test_fixtures::macho_edit::uleb;
    let page = |number: u64| VmAddr(0x10_0000 + number * 0x1000);
    // The last words of the first page and the first one of the third; the second has none.
    for count in 1..16_u64 {
        let mut image = MachOBuild::new(4096);
        let at = image.put(&[0; 0x3000]);
        image.segment(Segment::data(page(0).0, (at, 0x3000)));
        let mut rebase = vec![0x11, 0x21];
        rebase.extend(uleb(0x1000 - 8 * count - 8));
        // The first run is done by itself. Behind it come a run with a step, another step, and a run.
        rebase.extend([0x51, 0x50 | count as u8, 0x4f, 0x30]);
        rebase.extend(uleb(0x1000 - 15 * 8));
        rebase.extend([0x51, 0x40, 0]);
        image.dyld_info([&rebase, &[], &[], &[], &[]]);
        let bytes = image.build();
        let plan = crate::plan("pages", &bytes, "x86_64");
        let (bindings, addresses) = bindings(&plan, &bytes);
        let mut memory = Scratch::new(&plan, &bytes, Bias(BIAS)).expect("a small image");
        let second = VmRange::new(page(1).0, 0x1000).expect("a page");
        for place in (second.start.0..second.end().0).step_by(8) {
            memory.store_u64(VmAddr(place), u64::MAX).expect("it is writable");
        }
        relocate(ModuleId(0), &plan, &bytes, &bindings, &addresses, &mut memory).expect("relocates");
        assert!(memory.bytes(second).expect("a page").iter().all(|&byte| byte == 0xff), "{count}");
        let bias = BIAS.to_le_bytes();
        for place in [page(1).0 - 8, page(1).0 - 8 * count, page(1).0 - 8 * count - 8, page(2).0] {
            assert_eq!(memory.bytes(VmRange::new(place, 8).expect("a word")), Some(&bias[..]), "{count}");
        }
    }
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
            let mut immediate = |below: u64| random(below) as u8;
            bytes.push(operation | immediate(if matches!(operation, 0x40 | 0x50 | 0xb0) { 16 } else { 1 }));
            let small = if random(20) == 0 { random(0x3000) } else { random(200) };
            match operation {
                0x30 | 0x70 | 0xa0 => bytes.extend(uleb(small)),
                0x60 => bytes.extend(uleb(random(40))),
                // There and back again.
                0x3f | 0x8f => bytes.extend(uleb(if random(2) == 0 { small } else { small.wrapping_neg() })),
                0x80 | 0xc0 => {
                    bytes.extend(uleb(random(9)));
                    bytes.extend(uleb(random(40)));
                }
                _ => {}
            }
        }
        bytes
    };
    let rebase = stream(&[0x30, 0x3f, 0x40, 0x40, 0x50, 0x50, 0x50, 0x60, 0x70, 0x80], &[0x11, 0x21, 0x90, 0x01]);
    let operations = &[0x8f, 0x90, 0x90, 0xa0, 0xa0, 0xb0, 0xc0];
    let bind = stream(operations, &[0x11, 0x51, 0x40, b'_', b'a', 0, 0x71, 0x80, 0x01]);
    let weak = stream(operations, &[0x51, 0x40, b'_', b'b', 0, 0x72, 0xf8, 0x7e]);
    image.dyld_info([&rebase, &bind, &weak, &[], &[]]);
    image.build()
}

/// Pages of chains in every format, with all that a pointer may say: two at a time come to what each comes to by itself.
#[test]
fn chains_in_bulk_come_to_the_same() {
    use sideload::symbol::{HostId, ImportId, SymbolKind};
    let (mut fine, mut wrong) = (0, 0);
    for seed in 1..400 {
        let (bytes, sound) = random_chains(seed);
        let plan = crate::plan("random", &bytes, "x86_64");
        let at = |symbol: u32| {
            // One of them is what a resolver will say.
            let kind = if symbol == 1 { SymbolKind::Ifunc } else { SymbolKind::Data };
            let vm = VmAddr(0x1000 * (1 + u64::from(symbol)));
            let import = ImportId { symbol, class: sideload::symbol::Class::Data };
            (import, Definition::At { provider: Provider::Host(HostId(0)), kind, vm })
        };
        let bindings = Bindings::of((0..IMPORTS).map(at)).expect("few imports");
        let addresses = Addresses { new: vec![Bias(BIAS)], host: vec![Bias(SYMBOLS)], ..Addresses::default() };
        let mut wide = Scratch::new(&plan, &bytes, Bias(BIAS)).expect("a small image");
        let mut narrow = Narrow(wide.clone());
        let outcomes = [
            relocate(ModuleId(0), &plan, &bytes, &bindings, &addresses, &mut wide),
            relocate(ModuleId(0), &plan, &bytes, &bindings, &addresses, &mut narrow),
        ];
        let [one, other] = outcomes.map(|outcome| {
            let mut rows = outcome.map_err(|error| error.to_string())?;
            rows.sort_by_key(|row| row.place);
            Ok::<_, String>(rows)
        });
        assert_eq!(one.is_ok(), sound, "seed {seed}: {one:?}");
        assert_eq!(one.is_ok(), other.is_ok(), "seed {seed}: {one:?} and {other:?}");
        assert!(!sound || one == other, "seed {seed}");
        assert!(!sound || wide.bytes(plan.span) == narrow.0.bytes(plan.span), "seed {seed}");
        *(if sound { &mut fine } else { &mut wrong }) += 1;
    }
    assert!(fine > 100 && wrong > 50, "{fine} fine, {wrong} wrong");
}

const IMPORTS: u32 = 5;

/// Some pages of one chain each, in one of the formats; and whether all of them are sound.
fn random_chains(seed: u64) -> (Vec<u8>, bool) {
    use test_fixtures::macho_build::{MachOBuild, Segment, chained, starts};
    use test_fixtures::macho_edit::lc;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let format = [1, 2, 6, 9, 12][random(5) as usize];
    let page = [0x1000, 0x4000, 0x2000][random(3) as usize];
    let (pages, is_plain) = (1 + random(6), matches!(format, 2 | 6));
    let spoiled = (random(4) == 0).then(|| random(pages));
    let mut content = vec![0u8; (pages * page) as usize];
    let mut first = Vec::new();
    for number in 0..pages {
        let start = 8 * random(page / 8);
        let mut at = start;
        first.push(if random(8) == 0 && spoiled != Some(number) { 0xffff } else { start as u16 });
        while *first.last().expect("just put there") != 0xffff {
            let next = match (random(40), is_plain) {
                (0, true) => 12,
                (0..6, _) => 8 * random(30),
                _ => 8,
            };
            let ends = at + next + 8 > page;
            let next = if ends && spoiled == Some(number) {
                page - at
            } else if ends {
                0
            } else {
                next
            };
            let raw = pointer(&mut random, is_plain, next);
            let place = (number * page + at) as usize;
            content[place..place + 8].copy_from_slice(&raw.to_le_bytes());
            at += next;
            if next == 0 || at >= page {
                break;
            }
        }
    }
    // A chain that was to leave its page may have ended before.
    let sound = spoiled.is_none_or(|number| !leaves(&content, number * page, &first, page, is_plain));
    let mut image = MachOBuild::new(4096);
    let at = image.put(&content);
    image.segment(Segment::data(0x10_0000, (at, content.len() as u64)));
    let mut table = starts(&first);
    table[4..6].copy_from_slice(&(page as u16).to_le_bytes());
    table[6..8].copy_from_slice(&(format as u16).to_le_bytes());
    let rows: Vec<u32> = (0..IMPORTS).map(|_| 0).collect();
    image.table(lc::DYLD_CHAINED_FIXUPS, &chained(&[None, Some(0)], &[table], &rows, b"_a\0"));
    (image.build(), sound)
}

/// Any pointer, of a kind that its format has, with the next one so far behind it.
fn pointer(random: &mut impl FnMut(u64) -> u64, is_plain: bool, next: u64) -> u64 {
    let (bind, signed) = (u64::from(random(4) == 0), u64::from(random(3) == 0));
    let high = if random(30) == 0 { 1 + random(255) } else { 0 };
    let (target, ordinal, addend) = (random(1 << 20), random(u64::from(IMPORTS)), random(256));
    let of = |parts: &[(u64, u32)]| parts.iter().fold(0, |raw, (part, shift)| raw | part << shift);
    match (is_plain, bind, signed) {
        (true, 0, _) => of(&[(next / 4, 51), (high, 36), (target, 0)]),
        (true, ..) => of(&[(1, 63), (next / 4, 51), (addend, 24), (ordinal, 0)]),
        (false, 0, 0) => of(&[(next / 8, 51), (high, 43), (random(1 << 40), 0)]),
        (false, 0, _) => of(&[(1, 63), (next / 8, 51), (random(1 << 19), 32), (target, 0)]),
        (false, ..) => of(&[(signed, 63), (1, 62), (next / 8, 51), (random(1 << 19), 32), (ordinal, 0)]),
    }
}

/// Whether a page's chain goes past its end.
fn leaves(content: &[u8], page_start: u64, first: &[u16], page: u64, is_plain: bool) -> bool {
    let mut at = u64::from(first[(page_start / page) as usize]);
    loop {
        let place = (page_start + at) as usize;
        let raw = u64::from_le_bytes(content[place..place + 8].try_into().expect("eight"));
        match if is_plain { (raw >> 51 & 0xfff) * 4 } else { (raw >> 51 & 0x7ff) * 8 } {
            0 => return false,
            next => at += next,
        }
        if at >= page {
            return true;
        }
    }
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
