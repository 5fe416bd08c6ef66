//! Compiles fixtures: source and directives in, a folder with the object and what it needs out.

use crate::cache;
use crate::directives::{Directives, Expected, GlibcVerdict, Placed};
use crate::elf_edit::ElfEdit;
use crate::patches;
use crate::rows;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

/// A built test object, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// The stem of its source's file name.
    pub name: String,
    /// The built object. Its folder also holds whatever it needs at run time.
    pub path: PathBuf,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// What `answer` returns; `None` where there is no such function, or it cannot be reached.
    ///
    /// With an `expect_error` as well: the default settings refuse it, and it answers once they allow it.
    pub answer: Option<i64>,
    /// The variant of `sideload::ErrorKind` that opening it has to end with.
    pub expect_error: Option<String>,
    /// Words that the error's text has to contain.
    pub error_mentions: Vec<String>,
    /// The rows of its plan that carry the mechanism, by the names in [`ROWS`](crate::ROWS): without any one of them
    /// it no longer gives its answer.
    pub rows: Vec<String>,
    /// Fixtures that it is linked against, in order.
    pub needs: Vec<String>,
    /// What the system loader does with it.
    pub glibc: GlibcVerdict,
    /// What its finalisers write to standard output when the process ends.
    pub at_exit: Option<String>,
    /// What it proves, in a sentence or two.
    pub description: String,
    /// Everything that has to lie beside it at run time: path below its folder, and the file.
    placed: BTreeMap<PathBuf, PathBuf>,
}

/// Builds the fixture of that name, or finds it built. The result does not change afterwards.
///
/// # Panics
/// If there is none of that name, or with the compiler's messages if it does not compile.
pub fn build(name: &str) -> Fixture {
    build_below(name, &mut Vec::new())
}

/// Builds every fixture, in the order of their names.
///
/// # Panics
/// As [`build`].
pub fn all() -> Vec<Fixture> {
    let names = names();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| while names.get(next.fetch_add(1, Ordering::Relaxed)).map(|name| build(name)).is_some() {});
        }
    });
    names.iter().map(|name| build(name)).collect()
}

/// The names of all fixtures, sorted.
///
/// # Panics
/// If the sources cannot be listed.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = listing()
        .into_iter()
        .filter(|path| Language::of(path).is_some())
        .map(|path| path.file_stem().expect("a file name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The folder of the sources.
pub(crate) fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/elf")
}

fn listing() -> Vec<PathBuf> {
    let folder = source_folder();
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.expect("a folder entry").path()).collect()
}

/// Each fixture is built once per process; `trail` holds those whose needs are being built, to catch a circle.
fn build_below(name: &str, trail: &mut Vec<String>) -> Fixture {
    static BUILT: LazyLock<Mutex<HashMap<String, Arc<OnceLock<Fixture>>>>> = LazyLock::new(Mutex::default);
    assert!(!trail.iter().any(|above| above == name), "fixtures need each other: {trail:?}, {name}");
    let cell = BUILT.lock().expect("no panic while locked").entry(name.to_owned()).or_default().clone();
    cell.get_or_init(|| {
        trail.push(name.to_owned());
        let fixture = Recipe::read(name, trail).make();
        trail.pop();
        fixture
    })
    .clone()
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Language {
    C,
    Cxx,
    Assembler,
    Rust,
}

impl Language {
    const EXTENSIONS: [(Language, &str); 4] =
        [(Language::C, "c"), (Language::Cxx, "cpp"), (Language::Assembler, "S"), (Language::Rust, "rs")];

    fn of(path: &Path) -> Option<Language> {
        let extension = path.extension()?;
        Language::EXTENSIONS.iter().find(|(_, known)| extension == *known).map(|&(language, _)| language)
    }

    fn compiler(self) -> &'static str {
        match self {
            Language::C | Language::Assembler => "cc",
            Language::Cxx => "c++",
            Language::Rust => "rustc",
        }
    }

    /// Flags that every fixture of the language gets. They spell out what differs between distributions.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Language::C => &["-std=gnu17", "-O1", "-fPIC", "-Wall", "-fno-stack-protector"],
            Language::Cxx => &["-std=c++17", "-O1", "-fPIC", "-Wall", "-fno-stack-protector"],
            Language::Assembler => &[],
            Language::Rust => &["--crate-type=cdylib", "--edition=2024", "-Copt-level=1", "-Cstrip=debuginfo"],
        }
    }
}

/// Likewise for the linker. An undefined symbol is an error unless the fixture is about one.
const LINK_FLAGS: &[&str] =
    &["-Wl,-z,defs", "-Wl,-z,lazy", "-Wl,--hash-style=gnu", "-Wl,--enable-new-dtags", "-Wl,--build-id"];

/// Everything that goes into one fixture.
struct Recipe {
    name: String,
    language: Language,
    source: PathBuf,
    text: String,
    directives: Directives,
    /// Those linked against.
    needs: Vec<Fixture>,
    placed: BTreeMap<PathBuf, PathBuf>,
}

impl Recipe {
    fn read(name: &str, trail: &mut Vec<String>) -> Recipe {
        let (source, language) = Language::EXTENSIONS
            .iter()
            .map(|&(language, extension)| (source_folder().join(format!("{name}.{extension}")), language))
            .find(|(path, _)| path.is_file())
            .unwrap_or_else(|| panic!("no fixture `{name}` in {}", source_folder().display()));
        let text = fs::read_to_string(&source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        let directives = Directives::parse(&source, &text);
        let unknown = directives.rows.iter().find(|row| !rows::is_known(row));
        assert_eq!(unknown, None, "{}: not the name of a row", source.display());
        let needs = directives.needs.iter().map(|need| build_below(&need.fixture, trail)).collect();
        let placed = placements(&directives, trail);
        Recipe { name: name.to_owned(), language, source, text, directives, needs, placed }
    }

    fn file(&self) -> String {
        self.directives.file.clone().unwrap_or_else(|| format!("lib{}.so", self.name))
    }

    fn soname(&self) -> Option<String> {
        match self.directives.soname.as_deref() {
            Some("none") => None,
            Some(soname) => Some(soname.to_owned()),
            None => Some(self.file()),
        }
    }

    fn make(self) -> Fixture {
        let arguments = self.arguments();
        let linked: Vec<&PathBuf> = self.needs.iter().map(|need| &need.path).collect();
        let key = (
            (&self.text, headers(), &arguments, &linked, &self.placed),
            (self.file(), &self.directives.stubs, &self.directives.patch, patches::SOURCES),
            compiler_version(self.language),
        );
        let folder = cache::folder(&self.name, &key, |folder| self.fill(folder, &arguments));
        let (expect_error, error_mentions) = match &self.directives.expect {
            Some(Expected { kind, mentions }) => (Some(kind.clone()), mentions.clone()),
            None => (None, Vec::new()),
        };
        Fixture {
            path: folder.join(self.file()),
            soname: self.soname(),
            answer: self.directives.answer(),
            expect_error,
            error_mentions,
            rows: self.directives.rows,
            needs: self.needs.into_iter().map(|need| need.name).collect(),
            glibc: self.directives.glibc,
            at_exit: self.directives.at_exit,
            description: self.directives.description,
            placed: self.placed,
            name: self.name,
        }
    }

    /// Compiles into `folder`, and puts links there to everything that is needed at run time.
    ///
    /// Symbolic links, since a hard link would change the inode (its ctime), by which loaded files are told apart.
    fn fill(&self, folder: &Path, arguments: &[String]) {
        let stubs: Vec<PathBuf> = self.directives.stubs.iter().map(|soname| stub(folder, soname)).collect();
        let object = folder.join(self.file());
        let mut command = Command::new(self.language.compiler());
        command.args(arguments).arg("-o").arg(&object);
        let libraries: Vec<&PathBuf> = stubs.iter().chain(self.needs.iter().map(|need| &need.path)).collect();
        if !libraries.is_empty() {
            // Wanted however little of them is used: --as-needed is some distributions' default.
            command.arg("-Wl,--no-as-needed").args(libraries).arg("-Wl,--as-needed");
        }
        run(&mut command);
        for stub in stubs {
            fs::remove_file(&stub).unwrap_or_else(|e| panic!("{}: {e}", stub.display()));
        }
        if let Some(patch) = &self.directives.patch {
            let mut elf = ElfEdit::open(&object);
            patches::apply(patch, &mut elf);
            elf.write(&object);
        }
        for (place, target) in &self.placed {
            let place = folder.join(place);
            cache::create(place.parent().expect("below the folder"));
            symlink(target, &place).unwrap_or_else(|e| panic!("link {}: {e}", place.display()));
        }
    }

    /// The compiler's arguments, but for the output and the libraries: those lie in a folder of changing name.
    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = self.language.flags().iter().map(|flag| (*flag).to_owned()).collect();
        let folder = source_folder();
        let expand = |flag: &String| flag.replace("{src}", &folder.to_string_lossy());
        arguments.extend(self.directives.cflags.iter().map(expand));
        let link = self.link_arguments().into_iter().chain(self.directives.ldflags.iter().map(expand));
        if self.language == Language::Rust {
            arguments.extend(link.map(|flag| format!("-Clink-arg={flag}")));
        } else {
            arguments.extend(link);
        }
        arguments.push(self.source.to_string_lossy().into_owned());
        arguments
    }

    fn link_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = LINK_FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        if self.language != Language::Rust && !self.directives.ldflags.iter().any(|flag| flag == "-pie") {
            arguments.push("-shared".to_owned());
        }
        arguments.extend(self.soname().map(|soname| format!("-Wl,-soname,{soname}")));
        match self.directives.runpath.as_deref() {
            Some("none") => {}
            Some(runpath) => arguments.push(format!("-Wl,-rpath,{runpath}")),
            None => arguments.push("-Wl,-rpath,$ORIGIN".to_owned()),
        }
        arguments
    }
}

/// What has to lie beside a fixture: what it names, then whatever those need in turn, unless it placed that itself.
fn placements(directives: &Directives, trail: &mut Vec<String>) -> BTreeMap<PathBuf, PathBuf> {
    let mut placed = BTreeMap::new();
    let mut of_needs = Vec::new();
    for Placed { fixture, folder } in directives.needs.iter().chain(&directives.beside) {
        let name = directives.replace.iter().find(|(linked, _)| linked == fixture).map_or(fixture, |(_, run)| run);
        let other = build_below(name, trail);
        let folder = PathBuf::from(folder.as_deref().unwrap_or_default());
        // Under the name by which it was linked, whatever the stand-in's own file is called.
        let file = other.soname.clone().map_or_else(|| file_name(&other.path), PathBuf::from);
        placed.insert(folder.join(file), other.path);
        of_needs.extend(other.placed.into_iter().map(|(place, target)| (folder.join(place), target)));
    }
    for (place, target) in of_needs {
        if !placed.keys().any(|known| file_name(known) == file_name(&place)) {
            placed.insert(place, target);
        }
    }
    placed
}

fn file_name(path: &Path) -> PathBuf {
    PathBuf::from(path.file_name().expect("a file"))
}

/// An empty object of that soname: enough for the linker to write a `DT_NEEDED`.
fn stub(folder: &Path, soname: &str) -> PathBuf {
    let path = folder.join(format!("stub-{soname}"));
    run(Command::new("cc")
        .args(["-shared", "-nostdlib", &format!("-Wl,-soname,{soname}"), "-x", "c", "/dev/null", "-o"])
        .arg(&path));
    path
}

/// The text of all headers and version scripts: a fixture is built anew when any of them changes.
fn headers() -> &'static [(PathBuf, String)] {
    static HEADERS: LazyLock<Vec<(PathBuf, String)>> = LazyLock::new(|| {
        let mut paths = listing();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "h" || extension == "map"));
        paths.sort();
        paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("a text file"))).collect()
    });
    &HEADERS
}

/// The compiler's and the linker's versions.
fn compiler_version(language: Language) -> String {
    static VERSIONS: LazyLock<HashMap<&str, String>> = LazyLock::new(|| {
        ["cc", "c++", "rustc", "ld"].into_iter().map(|tool| (tool, run(Command::new(tool).arg("--version")))).collect()
    });
    format!("{}{}", VERSIONS[language.compiler()], VERSIONS["ld"])
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
