//! What imports are bound to in a process of macOS: fixtures stand for the images that dyld has loaded, and the link,
//! which is pure, does not know better.
#![cfg(target_arch = "x86_64")]

use sideload::addr::RunAddr;
use sideload::error::ErrorKind;
use sideload::link::{
    Definitions, FileBytes, FileStamp, Finder, ImageBytes, ImageFile, Inventory, LinkPlan, LinkedModule, Present, Root,
    Rules, link,
};
use sideload::plan::{self, LoadPlan, Need, Symbols, TwoLevelSymbols};
use sideload::search::Route;
use sideload::symbol::{Definition, HostId, Provider, Resolve};
use std::path::Path;

const SYSTEM: &str = "/usr/lib/libSystem.B.dylib";
const CXX: &str = "/usr/lib/libc++.1.dylib";
/// The first image of a process that is not a stand-in.
const FIRST: usize = 3;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/test-fixtures/bin/macho/{name}.dylib", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// An image of the process.
struct Loaded {
    path: String,
    soname: Option<Vec<u8>>,
    symbols: TwoLevelSymbols<'static>,
    needs: Vec<Provider>,
    asks: Vec<Need>,
    shares: bool,
}

impl Loaded {
    fn of(fixture_name: &str, path: &str) -> Loaded {
        let bytes: &'static [u8] = fixture(fixture_name).leak();
        let plan: LoadPlan = plan::plan(bytes, path).expect("a fixture");
        let Ok(Symbols::TwoLevel(symbols)) = plan.symbols(bytes) else { panic!("{path}: of another format") };
        let shares = plan.flags.weak_definitions;
        Loaded { path: path.into(), soname: plan.soname, symbols, needs: Vec::new(), asks: plan.needs, shares }
    }

    fn present(&self) -> Present<'_> {
        Present {
            name: &self.path,
            soname: self.soname.as_deref(),
            stamp: None,
            build_id: None,
            definitions: Definitions::TwoLevel(&self.symbols),
            global: true,
            shares: self.shares,
            needs: &self.needs,
            asks: &self.asks,
        }
    }
}

/// The program, stand-ins for libSystem and libc++ without any name of theirs, and the images of these fixtures.
fn process(style: &str, fixtures: &[&str]) -> Vec<Loaded> {
    let stand_in = |name: &str| Loaded::of(&format!("rebase-{style}"), name);
    let program = Loaded { soname: None, ..stand_in("/bin/program") };
    let system = [SYSTEM, CXX].map(|name| Loaded { soname: Some(name.into()), ..stand_in(name) });
    let rest = fixtures.iter().map(|name| Loaded::of(&format!("{name}-{style}"), &format!("/opt/{name}.dylib")));
    let mut all: Vec<Loaded> = std::iter::once(program).chain(system).chain(rest).collect();
    let names: Vec<_> = all.iter().map(|image| image.soname.clone()).collect();
    for (index, image) in all.iter_mut().enumerate() {
        let place = |need: &Need| names.iter().position(|name| name.as_ref() == Some(&need.name)).unwrap_or(index);
        image.needs = image.asks.iter().map(|need| host(place(need))).collect();
    }
    all
}

fn host(index: usize) -> Provider {
    Provider::Host(HostId(index as u16))
}

/// Opens the one file that there is, and knows no other.
struct OneFile(Vec<u8>);

impl Finder for OneFile {
    fn find(&mut self, name: &[u8], _: Option<&LinkedModule>, _: &[&LinkedModule]) -> Result<ImageFile, ErrorKind> {
        if name != b"/opened.dylib" {
            return Err(ErrorKind::NotFound { needed_by: None, tried: Vec::new() });
        }
        Ok(ImageFile {
            path: "/opened.dylib".into(),
            source: Route::Path,
            tried: Vec::new(),
            stamp: FileStamp { inode: 7, ..FileStamp::default() },
            bytes: FileBytes { bytes: ImageBytes::Owned(self.0.clone()), file: None, offset: 0, file_size: 0 },
        })
    }

    fn stamp(&mut self, _: &Path) -> Result<Option<FileStamp>, ErrorKind> {
        Ok(None)
    }
}

/// What libSystem would have had.
fn supplied(name: &[u8], _version: Option<&[u8]>) -> Option<RunAddr> {
    [&b"strlen"[..], b"pthread_create", b"pthread_join", b"dyld_stub_binder"].contains(&name).then_some(RunAddr(0x1000))
}

fn open_in(images: &[Loaded], name: &[u8], file: Vec<u8>, replaced: &[&[u8]]) -> Result<LinkPlan, sideload::Error> {
    open_with(Inventory { replaced, ..Inventory::default() }, images, name, file)
}

fn open_with<'a>(
    inventory: Inventory<'a>,
    images: &'a [Loaded],
    name: &[u8],
    file: Vec<u8>,
) -> Result<LinkPlan, sideload::Error> {
    let inventory = Inventory { host: images.iter().map(Loaded::present).collect(), ..inventory };
    let rules = Rules { max_span: 1 << 30, deep: false, stubs: false };
    let resolve: &dyn Resolve = &supplied;
    link(Root::Name(name), &inventory, &mut OneFile(file), Some(resolve), rules).map(|linked| linked.plan)
}

fn open(images: &[Loaded], fixture_name: &str) -> Result<LinkPlan, sideload::Error> {
    open_in(images, b"/opened.dylib", fixture(fixture_name), &[])
}

/// Whose definition each import of the one new module is bound to, and where that has it.
fn definitions(plan: &LinkPlan, file: &[u8]) -> Vec<(String, Definition)> {
    let Ok(Symbols::TwoLevel(table)) = plan.modules[0].plan.symbols(file) else { panic!("of another format") };
    let name = |symbol| String::from_utf8_lossy(table.import(symbol).expect("an import").name).into_owned();
    plan.bindings[0].iter().map(|(import, definition)| (name(import.symbol), definition)).collect()
}

#[track_caller]
fn assert_bound(plan: &LinkPlan, file: &[u8], name: &str, images: &[Loaded], by: usize) {
    let found = definitions(plan, file).into_iter().find(|(import, _)| import == name);
    let expected = images[by].symbols.find(&name.as_bytes()[1..]).expect("defined there");
    let expected = Definition::At { provider: host(by), kind: expected.kind, vm: expected.vm };
    assert_eq!(found.map(|(_, definition)| definition), Some(expected), "{name}");
}

const STYLES: [&str; 2] = ["x64-chained", "x64-old"];

#[test]
fn an_import_is_bound_to_the_image_that_it_names() {
    for style in STYLES {
        let images = process(style, &["umbrella", "dep_base"]);
        let opened = format!("reexport-{style}");
        let plan = open(&images, &opened).unwrap();
        assert_eq!(plan.modules.len(), 1, "all that it needs is there");
        assert_eq!(plan.modules[0].needs, [host(FIRST), host(1)]);
        let file = fixture(&opened);
        assert_bound(&plan, &file, "_umbrella_own", &images, FIRST);
        // Through the re-export.
        assert_bound(&plan, &file, "_dep_value", &images, FIRST + 1);
        assert_bound(&plan, &file, "_dep_data", &images, FIRST + 1);
        assert_eq!(plan.basis.host, [FIRST, FIRST + 1].map(|index| HostId(index as u16)));
    }
}

#[test]
fn a_flat_name_is_found_wherever_it_is() {
    for style in STYLES {
        let images = process(style, &["umbrella", "dep_base"]);
        let opened = format!("flat-{style}");
        let plan = open(&images, &opened).unwrap();
        assert_bound(&plan, &fixture(&opened), "_dep_value", &images, FIRST + 1);
    }
}

#[test]
fn images_that_share_agree_with_those_of_the_process() {
    const SHARED: &str = "_shared_data";
    for style in STYLES {
        let (opened, mut images) = (format!("weak_one-{style}"), process(style, &["weak_two"]));
        let plan = open(&images, &opened).unwrap();
        assert_bound(&plan, &fixture(&opened), SHARED, &images, FIRST);
        // One whose header does not say that it shares has no say.
        images[FIRST].shares = false;
        let plan = open(&images, &opened).unwrap();
        let own = definitions(&plan, &fixture(&opened)).into_iter().find(|(name, _)| name == SHARED);
        assert!(!matches!(own, Some((_, Definition::At { provider: Provider::Host(_), .. }))), "{own:?}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let text = |result: Result<LinkPlan, sideload::Error>| result.unwrap_err().to_string();
    let style = STYLES[0];
    let images = process(style, &["dep_base"]);
    // A need that is no file and no image, and is not the system's.
    let missing = text(open(&images, &format!("reexport-{style}")));
    assert!(missing.contains("not found") && missing.contains("umbrella"), "{missing}");
    // One of the system's.
    let missing = text(open(&images[..1], &format!("reexport-{style}")));
    assert!(missing.contains("not found"), "{missing}");
    let missing = text(open(&images[..1], &format!("dep_base-{style}")));
    assert!(missing.contains(SYSTEM) && missing.contains("shared cache"), "{missing}");
    // The image is there, and lacks the name.
    let images = process(style, &["umbrella"]);
    let missing = text(open(&images, &format!("reexport-{style}")));
    assert!(missing.contains("_dep_value") && missing.contains("_dep_data"), "{missing}");
    assert!(!missing.contains("_umbrella_own"), "{missing}");
}

#[test]
fn libraries_of_the_system_are_opened_by_their_names() {
    let images = process(STYLES[0], &[]);
    for name in [SYSTEM, "libSystem.B.dylib"] {
        let plan = open_in(&images, name.as_bytes(), Vec::new(), &[]).unwrap();
        assert_eq!((plan.root, plan.modules.len()), (host(1), 0), "{name}");
    }
    let absent = open_in(&images, b"/usr/lib/libz.1.dylib", Vec::new(), &[]).unwrap_err().to_string();
    assert!(absent.contains("/usr/lib/libz.1.dylib") && absent.contains("shared cache"), "{absent}");
}

#[test]
fn some_names_are_answered_in_the_systems_place() {
    for style in STYLES {
        let images = process(style, &[]);
        let file = fixture(&format!("tlv-{style}"));
        let bootstrap: &[u8] = b"_tlv_bootstrap";
        let plan = open_in(&images, b"/opened.dylib", file.clone(), &[bootstrap]).unwrap();
        let bound = definitions(&plan, &file).into_iter().find(|(name, _)| name == "__tlv_bootstrap");
        let Some((_, Definition::Supplied(row))) = bound else { panic!("{bound:?}") };
        assert_eq!(plan.supplied[row as usize].name, bootstrap);
        let missing = open_in(&images, b"/opened.dylib", file, &[]).unwrap_err().to_string();
        assert!(missing.contains("__tlv_bootstrap"), "{missing}");
    }
}

#[test]
fn functions_are_counted_where_the_host_has_them() {
    let style = STYLES[0];
    let file = fixture(&format!("reexport-{style}"));
    let counted: &[&[u8]] = &[b"umbrella_own", b"dep_value"];
    let is_counted = |name: &[u8]| counted.contains(&name);
    let inventory = || Inventory { counted: Some(&is_counted), ..Inventory::default() };
    let images = process(style, &["umbrella", "dep_base"]);
    let plan = open_with(inventory(), &images, b"/opened.dylib", file.clone()).unwrap();
    for (name, definition) in definitions(&plan, &file) {
        let row = match definition {
            Definition::Supplied(row) => Some(&plan.supplied[row as usize].name[..]),
            _ => None,
        };
        assert_eq!(row, counted.iter().copied().find(|counted| *counted == &name.as_bytes()[1..]), "{name}");
    }
    // What it lacks is missing, not ours.
    let images = process(style, &["umbrella"]);
    let missing = open_with(inventory(), &images, b"/opened.dylib", file).unwrap_err().to_string();
    assert!(missing.contains("_dep_value") && !missing.contains("_umbrella_own"), "{missing}");
}

#[test]
fn images_that_cannot_run_there_are_refused() {
    let elf = test_fixtures::build("provider");
    let elf = std::fs::read(elf.path).expect("built just now");
    let refused = open_in(&process(STYLES[0], &[]), b"/opened.dylib", elf, &[]).unwrap_err().to_string();
    assert!(refused.contains("ELF"), "{refused}");
}
