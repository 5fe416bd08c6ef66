//! The images are fixtures, laid out as dyld would, in a memory of our own.

use super::*;
use crate::macho::symbols::SymbolTable;
use crate::plan::{LoadPlan, Symbols, plan};
use std::path::PathBuf;

const SLIDE: u64 = 0x1_0480_0000;
/// What the cache adds to the places of the shared `__LINKEDIT`, in memory and in the file.
const APART: u64 = 0x3000_0000;

/// Runs of memory, each with its address.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) Vec<(u64, Vec<u8>)>);

impl Memory {
    pub(crate) fn peek(&self, at: RunAddr, bytes: &mut [u8]) -> bool {
        let run = self.0.iter().find_map(|(start, run)| {
            let from = usize::try_from(at.0.checked_sub(*start)?).ok()?;
            run.get(from..from.checked_add(bytes.len())?)
        });
        run.is_some_and(|run| {
            bytes.copy_from_slice(run);
            true
        })
    }

    fn bytes(&self, vm: VmRange, bias: Bias) -> Vec<u8> {
        let mut bytes = vec![0; vm.size as usize];
        assert!(self.peek(vm.start + bias, &mut bytes), "{vm}");
        bytes
    }
}

/// The thin images among the fixtures.
fn fixtures() -> Vec<(PathBuf, Vec<u8>, LoadPlan)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/test-fixtures/bin/macho");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        let plan = plan(&bytes, "test").ok().filter(|_| bytes.starts_with(&mh::MH_MAGIC_64.to_le_bytes()))?;
        Some((path, bytes, plan))
    };
    paths.into_iter().filter_map(read).collect()
}

/// The image as dyld maps it, at [`SLIDE`] from where its file says.
fn mapped(bytes: &[u8], plan: &LoadPlan) -> (RunAddr, Memory) {
    let mut memory = Memory::default();
    let mut header = 0;
    for region in &plan.regions {
        let mut run = bytes[region.file.start.0 as usize..][..region.file.size as usize].to_vec();
        run.resize(region.vm.size.next_multiple_of(0x1000) as usize, 0);
        let at = region.vm.start.0 + SLIDE;
        if run.starts_with(&mh::MH_MAGIC_64.to_le_bytes()) {
            header = at;
        }
        memory.0.push((at, run));
    }
    (RunAddr(header), memory)
}

/// Calls `each` with every load command: its place, and the word that says which.
fn commands(bytes: &[u8], mut each: impl FnMut(usize, u32)) {
    let mut at = HEADER as usize;
    for _ in 0..Bytes(bytes).u32(16).unwrap() {
        each(at, Bytes(bytes).u32(at as u64).unwrap());
        at += Bytes(bytes).u32(at as u64 + 4).unwrap() as usize;
    }
}

/// Makes of a mapped image what the builder of the shared cache makes of it: `__LINKEDIT` is far away and begins in the
/// middle of the cache's file, and so does the text.
fn as_in_cache(header: RunAddr, memory: &mut Memory) {
    let text = memory.0.iter().position(|(start, _)| *start == header.0).unwrap();
    let mut edited = memory.0[text].1.clone();
    let add = |edited: &mut Vec<u8>, at: usize, more: u64, wide: bool| {
        let old =
            if wide { Bytes(edited).u64(at as u64).unwrap() } else { u64::from(Bytes(edited).u32(at as u64).unwrap()) };
        let size = if wide { 8 } else { 4 };
        edited[at..at + size].copy_from_slice(&(old + more).to_le_bytes()[..size]);
    };
    commands(&memory.0[text].1, |at, kind| match kind {
        lc::LC_SEGMENT_64 if edited[at + 8..].starts_with(b"__LINKEDIT\0") => {
            add(&mut edited, at + 24, APART, true);
            add(&mut edited, at + 40, APART, true);
        }
        lc::LC_SEGMENT_64 => add(&mut edited, at + 40, APART / 2, true),
        lc::LC_DYLD_INFO | lc::LC_DYLD_INFO_ONLY => add(&mut edited, at + 40, APART, false),
        lc::LC_DYLD_EXPORTS_TRIE => add(&mut edited, at + 8, APART, false),
        lc::LC_SYMTAB => {
            add(&mut edited, at + 8, APART, false);
            add(&mut edited, at + 16, APART, false);
        }
        _ => {}
    });
    edited[27] |= 0x80; // MH_DYLIB_IN_CACHE
    memory.0[text].1 = edited;
    let linkedit = memory.0.iter_mut().max_by_key(|(start, _)| *start).unwrap();
    linkedit.0 += APART;
}

fn assert_is(image: &MappedImage, memory: &Memory, bytes: &[u8], plan: &LoadPlan, name: &str) {
    assert_eq!(image.bias(), Bias(SLIDE), "{name}");
    assert_eq!(image.install_name, plan.soname, "{name}");
    assert_eq!(image.needs, plan.needs, "{name}");
    assert_eq!(image.search, plan.search, "{name}");
    assert_eq!(image.uuid, plan.build_id, "{name}");
    assert_eq!(image.weak_definitions, plan.flags.weak_definitions, "{name}");
    let places = |regions: &[Region]| regions.iter().map(|region| (region.vm, region.prot)).collect::<Vec<_>>();
    assert_eq!(places(&image.regions), places(&plan.regions[..plan.regions.len() - 1]), "{name}");
    let [trie, rows, names] = [image.exports, image.rows, image.names].map(|vm| memory.bytes(vm, image.bias()));
    let table = SymbolTable::of_mapped(image, &trie, &rows, &names);
    let Symbols::TwoLevel(expected) = plan.symbols(bytes).unwrap() else { panic!("{name}") };
    let listed = |table: &SymbolTable<'_>| {
        let mut all = Vec::new();
        table
            .exports(|export| all.push((export.name.to_vec(), export.vm, export.flags, format!("{:?}", export.leads))))
            .unwrap();
        all
    };
    assert_eq!(listed(&table), listed(&expected), "{name}");
    for (symbol, vm, ..) in listed(&expected) {
        let near = |table: &SymbolTable<'_>| table.near(vm).map(|near| (near.name.to_vec(), near.vm));
        assert_eq!(near(&table), near(&expected), "{name}: {}", symbol.escape_ascii());
    }
}

#[test]
fn an_image_in_memory_says_what_its_file_says() {
    let all = fixtures();
    assert!(all.len() > 50, "{}", all.len());
    for (path, bytes, plan) in all {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (header, memory) = mapped(&bytes, &plan);
        let image = MappedImage::read(&|at, bytes| memory.peek(at, bytes), header).expect(&name);
        assert_eq!((image.kind, image.in_cache), (Kind::Library, false), "{name}");
        assert_is(&image, &memory, &bytes, &plan, &name);
    }
}

#[test]
fn an_image_of_the_shared_cache_has_its_tables_elsewhere() {
    for (path, bytes, plan) in fixtures() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (header, mut memory) = mapped(&bytes, &plan);
        as_in_cache(header, &mut memory);
        let image = MappedImage::read(&|at, bytes| memory.peek(at, bytes), header).expect(&name);
        assert!(image.in_cache, "{name}");
        assert!(image.exports.size == 0 || image.exports.start.0 > APART, "{name}");
        assert_is(&image, &memory, &bytes, &plan, &name);
    }
}

#[test]
fn what_is_no_image_is_none() {
    let (_, bytes, plan) = fixtures().swap_remove(0);
    let (header, memory) = mapped(&bytes, &plan);
    let read = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = memory.0[0].1.clone();
        change(&mut changed);
        let memory = Memory(vec![(header.0, changed)]);
        MappedImage::read(&|at, bytes| memory.peek(at, bytes), header)
    };
    assert!(read(&|_| {}).is_some());
    assert!(read(&|bytes| bytes[0] = 0xce).is_none(), "32 bits");
    assert!(read(&|bytes| bytes.truncate(40)).is_none(), "commands that are not there");
    assert!(read(&|bytes| bytes[20..24].copy_from_slice(&u32::MAX.to_le_bytes())).is_none(), "4 GiB of commands");
    assert!(read(&|bytes| bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes())).is_none(), "too many");
    assert!(read(&|bytes| bytes[36..40].copy_from_slice(&0u32.to_le_bytes())).is_none(), "an endless one");
    // Whatever else the commands say, there is an answer, whose tables lie where `__LINKEDIT` is.
    for at in 0..HEADER as usize + Bytes(&bytes).u32(20).unwrap() as usize {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            read(&|bytes| bytes[at] = byte);
        }
    }
}

fn infos(version: u32, count: u32, array: u64, changed: u64) -> Vec<u8> {
    let mut bytes = vec![0; INFOS];
    bytes[..4].copy_from_slice(&version.to_le_bytes());
    bytes[4..8].copy_from_slice(&count.to_le_bytes());
    bytes[8..16].copy_from_slice(&array.to_le_bytes());
    bytes[184..].copy_from_slice(&changed.to_le_bytes());
    bytes
}

#[test]
fn a_list_is_read_when_it_is_at_rest() {
    let rows: Vec<u8> =
        [[0x1000u64, 0x500, 0], [0x8000, 0x520, 0]].into_iter().flatten().flat_map(u64::to_le_bytes).collect();
    let memory = |infos: Vec<u8>| Memory(vec![(0x100, infos), (0x9000, rows.clone())]);
    let read = |memory: &Memory| Listing::read(&|at, bytes| memory.peek(at, bytes), RunAddr(0x100));
    let first = memory(infos(17, 2, 0x9000, 5));
    let listing = read(&first).unwrap();
    let row = |header, path| Row { header: RunAddr(header), path: RunAddr(path) };
    assert_eq!(listing.rows, [row(0x1000, 0x500), row(0x8000, 0x520)]);
    let current = |memory: &Memory| listing.is_current(&|at, bytes| memory.peek(at, bytes), RunAddr(0x100));
    assert!(current(&first));
    for (infos, why) in [
        (infos(17, 2, 0x9000, 6), "one went and another came"),
        (infos(17, 1, 0x9000, 5), "one fewer"),
        (infos(17, 2, 0, 5), "it is being changed"),
    ] {
        assert!(!current(&memory(infos)), "{why}");
    }
    assert_eq!(read(&memory(infos(17, 2, 0, 5))), None, "it is being changed");
    assert_eq!(read(&memory(infos(14, 2, 0x9000, 5))), None, "without a time");
    assert_eq!(read(&memory(infos(17, 3, 0x9000, 5))), None, "longer than what is there");
    assert_eq!(read(&Memory::default()), None);
    // It changes while its rows are read.
    let times = std::cell::Cell::new(0u64);
    let peek = |at: RunAddr, bytes: &mut [u8]| {
        times.set(times.get() + 1);
        memory(infos(17, 2, 0x9000, times.get())).peek(at, bytes)
    };
    assert_eq!(Listing::read(&peek, RunAddr(0x100)), None);
}

#[test]
fn strings_end_at_their_nul_or_where_memory_does() {
    let long = vec![b'x'; 5000];
    let memory = Memory(vec![(0x1030, b"/usr/lib/dyld\0rest, up to a round end".to_vec()), (0x2000, long)]);
    let text = |at| c_string(&|at, bytes: &mut [u8]| memory.peek(at, bytes), RunAddr(at));
    assert_eq!(text(0), b"");
    assert_eq!(text(0x5000), b"");
    assert_eq!(text(0x1030), b"/usr/lib/dyld");
    assert_eq!(text(0x1039), b"dyld");
    assert_eq!(text(0x2000).len(), LONGEST_PATH);
}
