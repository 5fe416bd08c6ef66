//! What the targets share: a mutator that knows the formats, beside libFuzzer's own, which does not, and a sound Mach-O
//! image that carries what is fuzzed.

use sideload::addr::{FileOffset, FileRange, VmAddr, VmRange};
use sideload::macho;
use sideload::plan::{self, LoadPlan, Tables};
use std::sync::LazyLock;
use test_fixtures::Hostile;
use test_fixtures::macho_edit::{MachOEdit, image};

/// Changes the first `size` bytes of `data`, and returns how many there are now: most often by a fault that is right in
/// form and wrong in meaning, else, or where the bytes are no image any more, as libFuzzer would.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let hostile = if seed % 4 == 0 { None } else { Hostile::of(data[..size].to_vec()) };
    let Some(hostile) = hostile else { return libfuzzer_sys::fuzzer_mutate(data, size, max_size) };
    let bytes = hostile.copy(u64::from(seed)).bytes;
    let size = bytes.len().min(max_size).min(data.len());
    data[..size].copy_from_slice(&bytes[..size]);
    size.max(1)
}

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| image("exception-x64-chained"));

/// A sound image with the input behind its last segment's content, so that both a range of the file and one of the
/// image lead to it.
pub struct Carrier {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its plan.
    pub plan: LoadPlan,
    /// Where the input is in the file.
    pub input: FileRange,
    /// Where it is in the image.
    pub vm: VmRange,
}

impl Carrier {
    /// Takes the input up.
    pub fn of(input: &[u8]) -> Carrier {
        let start = SOUND.len().next_multiple_of(8);
        let mut edit = MachOEdit::new(SOUND.clone());
        edit.extend_linkedit((start + input.len()) as u64);
        let mut bytes = edit.into_bytes();
        bytes.resize(start, 0);
        bytes.extend_from_slice(input);
        let plan = plan::plan(&bytes, "fuzz").expect("a sound image");
        let last = *plan.regions.last().expect("a sound image has segments");
        let vm = VmAddr(last.vm.start.0 + start as u64 - last.file.start.0);
        let size = input.len() as u64;
        let input = FileRange { start: FileOffset(start as u64), size };
        Carrier { bytes, plan, input, vm: VmRange { start: vm, size } }
    }

    /// A part of the input, as a range of the file.
    pub fn part(&self, from: usize, to: usize) -> FileRange {
        let [from, to] = [from, to].map(|at| (at as u64).min(self.input.size));
        FileRange { start: FileOffset(self.input.start.0 + from), size: to.saturating_sub(from) }
    }

    /// The tables, to be led to the input.
    pub fn tables(&mut self) -> &mut macho::Tables {
        match &mut self.plan.tables {
            Tables::MachO(tables) => tables,
            Tables::Elf(_) => unreachable!("it is an image of the other format"),
        }
    }

    /// The writable segment with most content: what chains run through. Returns where the file holds it.
    pub fn data(&self) -> FileRange {
        let writable = self.plan.regions.iter().filter(|region| region.prot.write);
        writable.max_by_key(|region| region.file.size).expect("a sound image has data").file
    }
}

/// Splits an input in parts: each begins with its length in two bytes.
pub fn parts<const N: usize>(input: &[u8]) -> [(usize, usize); N] {
    let mut at = 0;
    [(); N].map(|()| {
        let length = input.get(at..at + 2).map_or(0, |length| usize::from(u16::from_le_bytes([length[0], length[1]])));
        let start = (at + 2).min(input.len());
        at = (start + length).min(input.len());
        (start, at)
    })
}

/// The reverse of [`parts`].
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    let part = |part: &&[u8]| {
        let part = &part[..part.len().min(0xffff)];
        [&(part.len() as u16).to_le_bytes()[..], part].concat()
    };
    parts.iter().flat_map(part).collect()
}

/// Applies all fixups in both ways, and says whether the outcomes agree.
pub fn relocate(carrier: &Carrier) -> [Result<sideload::memory::Scratch, sideload::ErrorKind>; 2] {
    use sideload::addr::{Bias, RunAddr};
    use sideload::link::Bindings;
    use sideload::memory::Scratch;
    use sideload::relocate::{Addresses, ThreadLocals, relocate};
    use sideload::symbol::{Definition, ModuleId};
    let (plan, bytes) = (&carrier.plan, &carrier.bytes[..]);
    let mut rows = Vec::new();
    let read = plan.imports::<sideload::ErrorKind>(bytes, |id| {
        rows.push((id, Definition::Supplied(0)));
        Ok(())
    });
    assert!(rows.len() <= plan.import_bound(), "{} imports", rows.len());
    let bindings = Bindings::of(rows).expect("few imports");
    let bias = Bias(0x7000_0000_0000);
    let tls = |_, _| Ok(ThreadLocals { module: Some(1), offset: None });
    let addresses = Addresses { new: vec![bias], supplied: vec![RunAddr(1)], tls: Some(&tls), ..Addresses::default() };
    let sound = Scratch::new(plan, bytes, bias).expect("a small image");
    let wide = || {
        let mut memory = sound.clone();
        relocate(ModuleId(0), plan, bytes, &bindings, &addresses, &mut memory).map(|_| memory)
    };
    let narrow = || {
        let mut memory = Narrow(sound.clone());
        relocate(ModuleId(0), plan, bytes, &bindings, &addresses, &mut memory).map(|_| memory.0)
    };
    let outcomes = [wide(), narrow()];
    for memory in outcomes.iter().flatten() {
        for region in plan.regions.iter().filter(|region| !region.prot.write) {
            assert!(memory.bytes(region.vm) == sound.bytes(region.vm), "a fixup hit a read-only segment");
        }
    }
    let _ = read;
    outcomes
}

/// Takes stores one by one.
struct Narrow(sideload::memory::Scratch);

impl sideload::memory::Memory for Narrow {
    fn bias(&self) -> sideload::addr::Bias {
        self.0.bias()
    }

    fn store_u64(&mut self, at: VmAddr, value: u64) -> Result<(), sideload::memory::NotWritable> {
        self.0.store_u64(at, value)
    }

    fn store_u32(&mut self, at: VmAddr, value: u32) -> Result<(), sideload::memory::NotWritable> {
        self.0.store_u32(at, value)
    }
}
