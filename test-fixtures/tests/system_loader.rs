//! Every fixture through the system loader, each in a child process: a second opinion on what the fixtures claim.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use test_fixtures::{Fixture, GlibcVerdict, without_row};

const OBJECT: &str = "TEST_FIXTURES_OBJECT";

/// Not a test of its own: what the children run. Opens the object named by the environment and prints its answer.
#[test]
#[ignore = "run by the others, in child processes"]
fn child() {
    let path = std::env::var_os(OBJECT).expect("the parent names an object");
    // SAFETY: running the fixture's initialisers is what this process is for.
    let library = match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) } {
        Ok(library) => library,
        Err(error) => return println!("refused: {error}"),
    };
    // SAFETY: every fixture declares it as `int answer(void)`.
    let answer: Option<Symbol<unsafe extern "C" fn() -> i32>> = unsafe { library.get(b"answer") }.ok();
    // SAFETY: as above; the library is still open.
    let answer = answer.map(|answer| unsafe { answer() });
    println!("opened: {answer:?}");
    // Finalisers are to run at the end of the process.
    std::mem::forget(library);
}

fn open_in_child(path: &Path) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this test's own path"));
    command.args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(OBJECT, path).env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
    command.output().expect("the child starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is wrong with a child's outcome, by the fixture's own word.
fn complaint(fixture: &Fixture) -> Option<String> {
    let output = open_in_child(&fixture.path);
    let text = stdout(&output);
    let as_expected = match fixture.glibc {
        GlibcVerdict::Skip => true,
        GlibcVerdict::Refuses => text.contains("refused: "),
        GlibcVerdict::Opens => {
            let answer = fixture.answer.map(|answer| i32::try_from(answer).expect("an int"));
            let at_exit = fixture.at_exit.as_deref().unwrap_or_default();
            output.status.success() && text.contains(&format!("opened: {answer:?}")) && text.contains(at_exit)
        }
    };
    (!as_expected).then(|| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        format!("{}: {:?} expected, but {}\n{text}{stderr}", fixture.name, fixture.glibc, output.status)
    })
}

#[test]
fn the_system_loader_agrees() {
    let complaints: Vec<String> = test_fixtures::all().iter().filter_map(complaint).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The mechanism of a fixture is the rows it names: without any one of them it fails, or gives another answer.
#[test]
fn each_row_is_needed() {
    let fixtures = test_fixtures::all();
    let opened = fixtures.iter().filter(|fixture| fixture.glibc == GlibcVerdict::Opens);
    let mut idle = Vec::new();
    for (fixture, row) in opened.flat_map(|fixture| fixture.rows.iter().map(move |row| (fixture, row))) {
        let crippled = write_beside(fixture, row);
        let output = open_in_child(&crippled);
        let outcome = stdout(&output)
            .lines()
            .find(|line| line.contains("opened: ") || line.contains("refused: "))
            .map_or_else(|| output.status.to_string(), str::to_owned);
        println!("{:24} without {:16} {outcome}", fixture.name, row);
        if output.status.success() && outcome.contains(&format!("opened: Some({})", fixture.answer.expect("an answer")))
        {
            idle.push(format!("{} does not need {row}", fixture.name));
        }
        fs::remove_file(&crippled).expect("the file written above");
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
}

/// In the fixture's own folder, where its dependencies are; the name is this process's alone.
fn write_beside(fixture: &Fixture, row: &str) -> std::path::PathBuf {
    let bytes = without_row(&fs::read(&fixture.path).expect("a built fixture"), row);
    let path = fixture.path.with_file_name(format!(".without-{}-{}.so", row.replace(':', "-"), std::process::id()));
    fs::write(&path, bytes).expect("the fixture's folder can be written");
    path
}
