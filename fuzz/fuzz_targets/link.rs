//! Any bytes as a library that a program opens: an error, or a group whose every fixup lands where it may.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use sideload::addr::{Bias, RunAddr, VmAddr};
use sideload::link::{
    Definitions, FileBytes, FileStamp, Finder, ImageBytes, ImageFile, Inventory, LinkedModule, Present, Root, Rules,
    link,
};
use sideload::memory::Scratch;
use sideload::plan::Found;
use sideload::relocate::{Addresses, ThreadLocals, relocate};
use sideload::search::Route;
use sideload::symbol::SymbolKind;
use sideload::{ErrorKind, check};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Room for a group; what is larger is refused, as it is with a program's own limit.
const SPAN: u64 = 8 << 20;

/// A sound library, which every need is found to be.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let fixture = test_fixtures::build("provider");
    std::fs::read(fixture.path).expect("built just now")
});

struct Table<'b>(&'b [u8]);

impl Finder for Table<'_> {
    fn find(&mut self, name: &[u8], _: Option<&LinkedModule>, _: &[&LinkedModule]) -> Result<ImageFile, ErrorKind> {
        // Every third name is missing, and there are four files of sound ones.
        let (inode, bytes) = match name {
            b"/fuzz" => (100, self.0),
            name if name.len() % 3 == 0 => return Err(ErrorKind::NotFound { needed_by: None, tried: Vec::new() }),
            name => (name.len() as u64 % 4, &SOUND[..]),
        };
        Ok(ImageFile {
            path: PathBuf::from(format!("/{inode}")),
            source: Route::Path,
            tried: Vec::new(),
            stamp: FileStamp { inode, ..FileStamp::default() },
            bytes: FileBytes { bytes: ImageBytes::Owned(bytes.to_vec()), file: None, offset: 0, file_size: 0 },
        })
    }

    fn stamp(&mut self, _: &Path) -> Result<Option<FileStamp>, ErrorKind> {
        Ok(None)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let found = Found { symbol: 1, vm: VmAddr(0x1000), size: 8, kind: SymbolKind::Code, unique: false };
    let defines = |name: &[u8]| (name.len() % 2 == 0).then_some(found);
    let host = Present {
        name: "program",
        soname: None,
        stamp: None,
        build_id: None,
        definitions: Definitions::Names(&defines),
        global: true,
        shares: false,
        needs: &[],
        asks: &[],
    };
    let inventory = Inventory { host: vec![host], static_host: true, ..Inventory::default() };
    let rules = Rules { max_span: SPAN, deep: bytes.len() % 2 == 0, stubs: bytes.len() % 3 == 0 };
    let Ok(linked) = link(Root::Name(b"/fuzz"), &inventory, &mut Table(bytes), None, rules) else { return };
    let plan = &linked.plan;
    let mut order: Vec<u16> = plan.init_order.iter().map(|id| id.0).collect();
    order.sort_unstable();
    assert!(order.into_iter().eq(0..plan.modules.len() as u16), "not every module is initialised once");
    assert!(plan.scope.contains(&plan.root), "the root is not in its own scope");

    let tls = |_, _| Ok(ThreadLocals { module: Some(1), offset: Some(-64) });
    let bias = |index: usize| Bias(0x7000_0000_0000 + 0x1_0000_0000 * index as u64);
    let addresses = Addresses {
        new: (0..plan.modules.len()).map(bias).collect(),
        host: vec![Bias(0x5000_0000_0000)],
        supplied: vec![RunAddr(1); plan.supplied.len()],
        tls: Some(&tls),
        ..Addresses::default()
    };
    for (id, module) in plan.numbered() {
        let at = usize::from(id.0);
        check::check(&module.plan).expect("what is linked passes the check");
        let file = &linked.files[at].bytes;
        let mut memory = Scratch::new(&module.plan, file, bias(at)).expect("its span is within the limit");
        let before = memory.clone();
        let relocated = relocate(id, &module.plan, file, &plan.bindings[at], &addresses, &mut memory);
        for region in module.plan.regions.iter().filter(|region| !region.prot.write) {
            assert!(memory.bytes(region.vm) == before.bytes(region.vm), "a fixup hit a read-only segment");
        }
        for deferred in relocated.into_iter().flatten() {
            let region = module.plan.region(deferred.place, 1);
            // What is outside is found out when the resolver's result is stored.
            let _ = region.is_some_and(|region| region.prot.write);
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    sideload_fuzz::mutate(data, size, max_size, seed)
});
