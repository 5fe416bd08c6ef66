//! What every row of a plan is for: each fixture runs once more without the rows that carry its mechanism, and must then
//! fail, answer something else, or die in its own code. The table of what happened is printed.
//!
//! There are no switches for this in the library: a plan is data. Rows that are fields of a plan are taken out of the
//! plan that is linked and carried out ([`Loader::edit_plans`]). Fixups are not fields but rows of the file's own tables,
//! which a plan only points to: those are taken out of a copy of the file.

mod support;

use sideload::addr::RunAddr;
use sideload::plan::Tables;
use sideload::{LoadPlan, Loader};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI32;
use support::{Child, argument, describe, in_parallel, say, text_argument};
use test_fixtures::{Fixture, without_row};

/// How a row is taken out.
enum Removal {
    /// Of the plan.
    Plan(fn(&mut LoadPlan)),
    /// Of a copy of the file, since it is a kind of fixup.
    File,
}

/// How the row of that name is taken out; a name without a way of its own would be a hole in this test.
fn removal(row: &str) -> Removal {
    match row {
        "relr" => Removal::Plan(|plan| tables(plan).relr = Default::default()),
        "tls" => Removal::Plan(|plan| {
            // The block keeps its size, so that only its content is missing.
            let template = plan.tls.as_mut().expect("a template");
            template.image.size = 0;
        }),
        "zero_fill" => Removal::Plan(|plan| {
            let filled = plan.regions.iter_mut().filter(|region| region.prot.write);
            filled.for_each(|region| region.vm.size = region.file.size);
            plan.regions.retain(|region| region.vm.size > 0);
        }),
        "seal" => Removal::Plan(|plan| plan.seals.clear()),
        "unwind" => Removal::Plan(|plan| plan.unwind = None),
        "init" => Removal::Plan(|plan| plan.init.function = None),
        "init_array" => Removal::Plan(|plan| plan.init.arrays.clear()),
        "needs" => Removal::Plan(|plan| plan.needs.clear()),
        "version" => Removal::Plan(|plan| (tables(plan).versym, tables(plan).verneed) = (None, None)),
        "symbolic" => Removal::Plan(|plan| plan.flags.symbolic = false),
        "rpath" => Removal::Plan(|plan| plan.search.rpath = None),
        "runpath" => Removal::Plan(|plan| plan.search.runpath = None),
        "gnu_hash" => Removal::Plan(|plan| tables(plan).gnu_hash = None),
        "sysv_hash" => Removal::Plan(|plan| tables(plan).sysv_hash = None),
        fixups => {
            assert!(matches!(fixups.split(':').next(), Some("rebase" | "resolver" | "bind" | "tls")), "{fixups}");
            Removal::File
        }
    }
}

fn tables(plan: &mut LoadPlan) -> &mut sideload::elf::Tables {
    let Tables::Elf(tables) = &mut plan.tables else { panic!("an ELF fixture") };
    tables
}

/// What the fixture `caller_supplied` asks its caller for.
fn supplied(name: &[u8], _version: Option<&[u8]>) -> Option<RunAddr> {
    extern "C" fn function(value: i32) -> i32 {
        value + 2
    }
    static VALUE: AtomicI32 = AtomicI32::new(20);
    match name {
        b"caller_supplied" => Some(RunAddr(function as *const () as u64)),
        b"caller_supplied_value" => Some(RunAddr((&raw const VALUE).addr() as u64)),
        _ => None,
    }
}

#[test]
#[ignore = "run by the others, in child processes"]
fn open_without_a_row() {
    support::reserve_static_tls();
    let path = PathBuf::from(argument("OBJECT"));
    let mut loader = Loader::new().resolver(supplied);
    let row = text_argument("ROW");
    if let (false, Removal::Plan(remove)) = (row.is_empty(), removal_or_none(&row)) {
        let object = path.to_str().expect("a fixture's path is text").to_owned();
        // Of the fixture itself: what it needs keeps its rows.
        loader = loader.edit_plans(move |name, plan| {
            if name == object {
                let before = plan.clone();
                remove(plan);
                assert!(*plan != before, "the plan has no such row");
            }
        });
    }
    // SAFETY: running the fixture's code is what this process is for.
    let library = match unsafe { loader.open(&path) } {
        Ok(library) => library,
        Err(error) => return say(format!("error {}", describe(&error))),
    };
    // SAFETY: every fixture declares it as `int answer(void)`.
    match unsafe { library.get::<unsafe extern "C" fn() -> i32>("answer") } {
        // SAFETY: as above.
        Ok(answer) => say(format!("answer {}", unsafe { answer() })),
        Err(error) => say(format!("error {}", describe(&error))),
    }
}

fn removal_or_none(row: &str) -> Removal {
    if row.is_empty() { Removal::File } else { removal(row) }
}

/// A fixture, and the row to take out of it.
struct Case<'f> {
    fixture: &'f Fixture,
    row: &'f str,
}

impl Case<'_> {
    /// What happens without the row.
    fn run(&self) -> String {
        let path = &self.fixture.path;
        match removal(self.row) {
            Removal::Plan(_) => open(path, self.row),
            Removal::File => {
                let copy = self.write_beside();
                let outcome = open(&copy, "");
                fs::remove_file(&copy).expect("the file written above");
                outcome
            }
        }
    }

    /// In the fixture's own folder, where its dependencies are; the name is this process's alone.
    fn write_beside(&self) -> PathBuf {
        let Case { fixture, row } = self;
        let bytes = without_row(&fs::read(&fixture.path).expect("a built fixture"), row);
        let name = format!(".plan-without-{}-{}.so", row.replace(':', "-"), std::process::id());
        let copy = fixture.path.with_file_name(name);
        fs::write(&copy, bytes).expect("the fixture's folder can be written");
        copy
    }
}

fn open(path: &Path, row: &str) -> String {
    let outcome = Child::new("open_without_a_row").with("OBJECT", path).with("ROW", row).run();
    // A panic is a fault of this test or of the library; the fixture's own death is a signal or an exit.
    assert!(!outcome.stderr.contains("panicked at"), "{} without {row}: {outcome}", path.display());
    outcome.last()
}

#[test]
fn each_row_is_carried_out() {
    let fixtures = test_fixtures::all();
    let with_rows: Vec<&Fixture> = fixtures.iter().filter(|fixture| fixture.expect_error.is_none()).collect();
    let cases: Vec<Case<'_>> = with_rows
        .iter()
        .flat_map(|fixture| fixture.rows.iter().map(|row| Case { fixture, row: row.as_str() }))
        .collect();
    assert!(cases.len() > 80, "only {} rows to take out", cases.len());

    // The fixtures that cannot answer with all their rows prove nothing without one: tests/load.rs reports them.
    let whole = in_parallel(&with_rows, |fixture| open(&fixture.path, ""));
    let answers = |name: &str| {
        let at = with_rows.iter().position(|fixture| fixture.name == name).expect("one of them");
        whole[at] == format!("answer {}", with_rows[at].answer.unwrap_or_default())
    };

    let outcomes = in_parallel(&cases, Case::run);
    let mut idle = Vec::new();
    println!("{:24} {:16} outcome", "fixture", "without");
    for (Case { fixture, row }, outcome) in cases.iter().zip(outcomes) {
        let proves = answers(&fixture.name);
        let shown: String = outcome.chars().take(100).collect();
        println!("{:24} {row:16} {shown}{}", fixture.name, if proves { "" } else { " (and with it)" });
        if proves && outcome == format!("answer {}", fixture.answer.expect("a fixture with rows has an answer")) {
            idle.push(format!("{} does not need {row}", fixture.name));
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
}
