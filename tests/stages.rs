//! Whatever stage fails, and wherever a caller lets go: nothing stays behind.
//!
//! Every [`Stage`] × {dropped, failed} × [`Situation`], each in a process of its own. After two failures for warming up
//! (caches, lazily made locks), further failures must change neither our own ledger, nor which files are mapped and what
//! is executable, nor the open descriptors. Heap, stacks and other anonymous memory are left out: they are the
//! allocator's.

mod support;

use sideload::audit::{Policy, Rule};
use sideload::plan::{EntryArray, EntryForm, LoadPlan, Need, NeedKind};
use sideload::{Error, ErrorKind, Ledger, Library, Loader, Stage, ledger};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use support::state::Snapshot;
use support::{Child, Folder, describe, in_parallel, kind, say, text_argument};
use test_fixtures::{ElfEdit, build, malformed};

/// The group that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    /// Four objects, none of them loaded.
    Fresh,
    /// The same, but one that the others need is loaded.
    SharedDependency,
    /// Objects with thread-locals.
    ThreadLocals,
    /// A Rust library, whose frames the unwinder of its panics has to know.
    Frames,
}

const SITUATIONS: [Situation; 4] =
    [Situation::Fresh, Situation::SharedDependency, Situation::ThreadLocals, Situation::Frames];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// What the stage made is dropped.
    Dropped,
    /// The stage fails, in the last object of the group: all before it were taken care of already.
    Failed,
}

/// The stage after. A new stage has to be put here before this compiles, and then asks for a row below.
fn next(stage: Stage) -> Option<Stage> {
    match stage {
        Stage::Find => Some(Stage::Plan),
        Stage::Plan => Some(Stage::Link),
        Stage::Link => Some(Stage::Admit),
        Stage::Admit => Some(Stage::Map),
        Stage::Map => Some(Stage::Relocate),
        Stage::Relocate => Some(Stage::Resolve),
        Stage::Resolve => Some(Stage::Seal),
        Stage::Seal => Some(Stage::Initialize),
        Stage::Initialize => Some(Stage::Lookup),
        Stage::Lookup => Some(Stage::Unload),
        Stage::Unload => None,
    }
}

fn stages() -> impl Iterator<Item = Stage> {
    std::iter::successors(Some(Stage::Find), |&stage| next(stage))
}

/// How a group is brought to fail: by an object that it is made to need as well.
struct Sabotage {
    object: PathBuf,
    /// A change of that object's plan.
    edit: fn(&Path, &mut LoadPlan),
    /// The kind of error that comes of it.
    kind: &'static str,
    /// Whether its file changes between relocation and sealing.
    changes: bool,
}

impl Sabotage {
    fn by(object: PathBuf, kind: &'static str) -> Sabotage {
        Sabotage { object, edit: |_, _| {}, kind, changes: false }
    }

    /// What makes a group fail at that stage; `None` where the failure is not one of the group.
    fn at(stage: Stage, folder: &Folder) -> Option<Sabotage> {
        let fixture = |name| build(name).path;
        let broken = |name| malformed().into_iter().find(|file| file.name == name).expect("one of them").path;
        let sound = || folder.copy(&fixture("relative"));
        Some(match stage {
            Stage::Find => Sabotage::by(folder.file("nowhere.so"), "NotFound"),
            Stage::Plan => Sabotage::by(broken("no_dynamic"), "Malformed"),
            Stage::Link => Sabotage::by(fixture("undefined_many"), "Undefined"),
            Stage::Admit => Sabotage::by(fixture("execstack"), "Refused"),
            // More than the address space has.
            Stage::Map => Sabotage { edit: |_, plan| plan.span.size = 1 << 47, ..Sabotage::by(sound(), "System") },
            Stage::Relocate => Sabotage::by(fixture("abs32_overflow"), "Overflow"),
            Stage::Resolve => Sabotage::by(broken("resolver_not_code"), "EntryNotCode"),
            Stage::Seal => Sabotage { changes: true, ..Sabotage::by(sound(), "Changed") },
            Stage::Initialize => Sabotage { edit: initialise_data, ..Sabotage::by(sound(), "EntryNotCode") },
            Stage::Lookup | Stage::Unload => return None,
        })
    }
}

/// Makes initialisers of the pointers that the object has to its own data.
fn initialise_data(object: &Path, plan: &mut LoadPlan) {
    let is_data = |target: i64| {
        let target = sideload::addr::VmAddr(target as u64);
        plan.region(target, 1).is_some_and(|region| !region.prot.execute)
    };
    let to_data = ElfEdit::open(object).relocations().into_iter().find(|rela| rela.symbol == 0 && is_data(rela.addend));
    let range =
        sideload::addr::VmRange::new(to_data.expect("a pointer to data").place, 8).expect("a place in the file");
    plan.init.arrays = vec![EntryArray { range, form: EntryForm::Pointers }];
}

/// The object that each situation is about.
fn subject(situation: Situation) -> PathBuf {
    let name = match situation {
        Situation::Fresh | Situation::SharedDependency => "init_diamond",
        Situation::ThreadLocals => "tls_import",
        Situation::Frames => "rust_panic",
    };
    build(name).path
}

/// Takes the object through its stages up to `last`, and drops what that made. `look` sees the ledger just before.
fn load(loader: &Loader, object: &Path, last: Stage, change: &dyn Fn(), look: &dyn Fn(Ledger)) -> Result<(), Error> {
    let link = loader.link(object)?;
    if last <= Stage::Link {
        look(ledger());
        return Ok(());
    }
    let mapped = link.map()?;
    if last <= Stage::Map {
        look(ledger());
        return Ok(());
    }
    let relocated = mapped.relocate()?;
    if last == Stage::Relocate {
        look(ledger());
        return Ok(());
    }
    // SAFETY: the fixtures' resolvers and initialisers are made to be run.
    let resolved = unsafe { relocated.run_resolvers() }?;
    if last == Stage::Resolve {
        look(ledger());
        return Ok(());
    }
    change();
    let sealed = resolved.seal()?;
    if last == Stage::Seal {
        look(ledger());
        return Ok(());
    }
    // SAFETY: as above.
    let library: Library = unsafe { sealed.initialize() }?;
    look(ledger());
    if last >= Stage::Lookup {
        // SAFETY: it is only looked for.
        unsafe { library.get::<*const ()>("answer") }?;
    }
    if last == Stage::Unload {
        // SAFETY: nothing of the library is in use.
        unsafe { library.unload() }?;
    }
    Ok(())
}

#[test]
#[ignore = "run by the others, in child processes"]
fn fail_again_and_again() {
    let stage = stages().find(|stage| stage.to_string() == text_argument("STAGE")).expect("a stage");
    let situation = SITUATIONS.into_iter().find(|one| format!("{one:?}") == text_argument("SITUATION"));
    let situation = situation.expect("a situation");
    let end = if text_argument("END") == "Failed" { End::Failed } else { End::Dropped };
    let object = subject(situation);
    let folder = Folder::new("stages");

    let shared = (situation == Situation::SharedDependency).then(|| {
        let journal = object.with_file_name("libjournal.so");
        // SAFETY: it has no initialiser.
        unsafe { Library::open(journal) }.expect("a sound fixture")
    });
    let sabotage = if end == End::Failed { Sabotage::at(stage, &folder) } else { None };
    let attempt = || match (end, &sabotage) {
        (End::Dropped, _) => {
            let before = ledger();
            let look = |now: Ledger| controls(situation, stage, before, now);
            load(&Loader::new(), &object, stage, &|| {}, &look).expect("a sound fixture");
        }
        (End::Failed, Some(sabotage)) => {
            let error = fail(&object, sabotage);
            assert_eq!(error.stage(), stage, "{error}");
            assert_eq!(kind(error.kind()), sabotage.kind, "{error}");
        }
        (End::Failed, None) => fail_beyond(stage, &object),
    };

    attempt();
    attempt();
    let before = Snapshot::take();
    attempt();
    attempt();
    attempt();
    assert_eq!(before, Snapshot::take());
    assert_eq!(before.ledger.claims, 0);

    // And nothing is the worse for it; but the initialisers that ran have noted that in the shared object.
    if let Some(journal) = shared.as_ref().filter(|_| (stage, end) == (Stage::Unload, End::Dropped)) {
        // SAFETY: `void journal_clear(void)` in the fixture.
        unsafe { journal.get::<unsafe extern "C" fn()>("journal_clear").expect("exported")() };
    }
    // SAFETY: the fixture is made to be run.
    let library = unsafe { Library::open(&object) }.expect("a sound fixture");
    // SAFETY: every fixture declares it as `int answer(void)`.
    let answer = unsafe { (library.get::<unsafe extern "C" fn() -> i32>("answer").expect("every fixture has it"))() };
    say(format!("answer {answer}"));
    drop(shared);
}

/// That what is undone afterwards had been done: otherwise this test would see nothing.
fn controls(situation: Situation, stage: Stage, before: Ledger, now: Ledger) {
    let loads_again =
        stage >= Stage::Initialize && before.instances > usize::from(situation == Situation::SharedDependency);
    if stage < Stage::Admit || loads_again {
        return assert_eq!(before, now);
    }
    assert!(now.reservations > before.reservations, "{now:?}");
    let published = stage >= Stage::Initialize;
    assert_eq!(now.claims == 0, published, "{now:?}");
    assert_eq!(now.instances > before.instances, published, "{now:?}");
    // The tests run under glibc of 2.35 or later: debuggers are told of all that is published, and of nothing else.
    let told = now.debugger_entries - before.debugger_entries;
    assert_eq!(told, now.instances - before.instances, "{now:?}");
    if situation == Situation::ThreadLocals {
        assert!(now.thread_local_modules > before.thread_local_modules, "{now:?}");
    }
    if stage >= Stage::Seal {
        assert!(now.frames > before.frames, "{now:?}");
    }
}

fn fail(object: &Path, sabotage: &Sabotage) -> Error {
    let (root, saboteur, edit) = (object.to_owned(), sabotage.object.clone(), sabotage.edit);
    let loader = Loader::new().max_span(u64::MAX).policy(Policy::default().refuse(Rule::ExecutableStack));
    let loader = loader.edit_plans(move |name, plan| {
        if Path::new(name) == root {
            plan.needs.push(Need { name: saboteur.as_os_str().as_bytes().to_vec(), kind: NeedKind::Required });
        } else if Path::new(name) == saboteur {
            edit(&saboteur, plan);
        }
    });
    let size = fs::metadata(&sabotage.object).map_or(0, |data| data.len());
    let resize = |size| {
        let file = fs::File::options().write(true).open(&sabotage.object).expect("a copy of our own");
        file.set_len(size).expect("a regular file");
    };
    let change = || {
        if sabotage.changes {
            resize(size + 1)
        }
    };
    let error = load(&loader, object, Stage::Lookup, &change, &|_| {}).expect_err("a saboteur is in the group");
    if sabotage.changes {
        resize(size);
    }
    error
}

/// Failures after the group was loaded.
fn fail_beyond(stage: Stage, object: &Path) {
    // SAFETY: the fixture is made to be run.
    let library = unsafe { Library::open(object) }.expect("a sound fixture");
    match stage {
        Stage::Lookup => {
            // SAFETY: it is only looked for.
            let error = unsafe { library.get::<*const ()>("nowhere") }.expect_err("no image has it");
            assert_eq!(error.stage(), Stage::Lookup);
            assert!(matches!(error.kind(), ErrorKind::NoSymbol { .. }), "{error}");
        }
        Stage::Unload => {
            let other = library.clone();
            // SAFETY: it is refused.
            let refused = unsafe { library.unload() }.expect_err("there is another handle");
            assert_eq!(refused.error().stage(), Stage::Unload);
            assert!(matches!(refused.error().kind(), ErrorKind::StillLive(_)), "{refused}");
            drop(other);
        }
        _ => unreachable!("every stage before has its saboteur"),
    }
}

#[test]
fn nothing_stays_behind() {
    let mut cases = Vec::new();
    for stage in stages() {
        for end in [End::Dropped, End::Failed] {
            cases.extend(SITUATIONS.map(|situation| (stage, end, situation)));
        }
    }
    let outcomes = in_parallel(&cases, |(stage, end, situation)| {
        let child = Child::new("fail_again_and_again").with("STAGE", stage.to_string());
        child.with("END", format!("{end:?}")).with("SITUATION", format!("{situation:?}")).run()
    });
    let faults: Vec<String> = cases
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.last() != "answer 42")
        .map(|(case, outcome)| format!("{case:?}: {outcome}"))
        .collect();
    assert!(faults.is_empty(), "{} of {}\n{}", faults.len(), cases.len(), faults.join("\n"));
}

/// Once code of a group ran, it may have kept pointers to itself: then nothing of it is unmapped, but the claim on its
/// files is given up, and the next attempt makes a new one.
#[test]
fn code_that_ran_stays() {
    Child::new("drop_after_resolvers_ran").run().expect_success();
}

#[test]
#[ignore = "run by the others, in child processes"]
fn drop_after_resolvers_ran() {
    let object = build("everything").path;
    let before = ledger();
    for round in 1..=2 {
        load(&Loader::new(), &object, Stage::Resolve, &|| {}, &|_| {}).expect("a sound fixture");
        let now = ledger();
        let modules = 2; // it and the provider that it needs
        assert_eq!(now.reservations, before.reservations + round * modules, "{now:?}");
        assert_eq!((now.claims, now.instances), (0, before.instances), "{now:?}");
    }
    let data = Loader::new().edit_plans(|name, plan| {
        if name.contains("everything") {
            initialise_data(Path::new(name), plan);
        }
    });
    let error = load(&data, &object, Stage::Lookup, &|| {}, &|_| {}).expect_err("an initialiser is not code");
    assert!(error.is_poisoned() && error.to_string().ends_with("its code has run, so it stays mapped"), "{error}");
    // SAFETY: the fixture is made to be run.
    let library = unsafe { Library::open(&object) }.unwrap_or_else(|error| panic!("{}", describe(&error)));
    // SAFETY: every fixture declares it as `int answer(void)`.
    let answer = unsafe { (library.get::<unsafe extern "C" fn() -> i32>("answer").expect("every fixture has it"))() };
    assert_eq!(answer, 42);
}
