//! What loaded images get from the functions of `<dlfcn.h>` and `<link.h>` that they import.
#![cfg(target_os = "linux")]

use sideload::Library;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

#[test]
fn fixtures_answer() {
    for name in ["dlsym_default", "dlsym_next", "dlerror", "dladdr", "init_dlsym"] {
        let path = test_fixtures::build(name).path;
        // SAFETY: our own fixture, whose `answer` is of that type.
        let answer = unsafe {
            let library = Library::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            library.get::<extern "C" fn() -> c_int>("answer").unwrap()()
        };
        assert_eq!(answer, 42, "{name}");
    }
}

/// A shared object of `source`, built once for this run of the tests.
fn build(name: &str, source: &str, options: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dl");
    fs::create_dir_all(&folder).unwrap();
    let (input, output) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    fs::write(&input, source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-Wl,-rpath,$ORIGIN", "-o"]).arg(&output).arg(&input);
    let soname = format!("-Wl,-soname,lib{name}.so");
    cc.arg(soname).arg(format!("-L{}", folder.display())).args(options);
    assert!(cc.status().unwrap().success(), "{cc:?}");
    output
}

/// What an initialiser throws reaches who called `dlopen`, and the next `dlopen` finds everything in order.
#[test]
fn an_initialiser_may_throw_through_dlopen() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dl");
    let object = |name: &str, source: &str| {
        let (input, output) = (folder.join(format!("{name}.cpp")), folder.join(format!("lib{name}.so")));
        fs::create_dir_all(&folder).unwrap();
        fs::write(&input, source).unwrap();
        let mut cc = Command::new("c++");
        cc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&output).arg(&input);
        assert!(cc.status().unwrap().success(), "{cc:?}");
        output
    };
    let thrower = object("throwing_init", "static struct Thrower { Thrower() { throw 40; } } thrower;");
    // <dlfcn.h> says that `dlopen` throws nothing, so a compiler would leave the handler out.
    let catcher = r#"
        extern "C" void *dlopen(const char *, int);
        extern "C" int opens(const char *name) {
            try {
                dlopen(name, 2);
            } catch (int value) {
                return value + 2;
            }
            return 1;
        }"#;
    let catcher = object("throwing_init_catcher", catcher);
    let thrower = std::ffi::CString::new(thrower.to_str().unwrap()).unwrap();
    // SAFETY: the fixtures are our own.
    let library = unsafe { Library::open(&catcher) }.unwrap();
    // SAFETY: the function is of that type.
    let opens = unsafe { library.get::<extern "C" fn(*const c_char) -> c_int>("opens") }.unwrap();
    for _ in 0..2 {
        assert_eq!(opens(thrower.as_ptr()), 42);
    }
    let other = std::thread::scope(|scope| scope.spawn(|| opens(thrower.as_ptr())).join());
    assert_eq!(other.unwrap(), 42);
}

/// Passes its arguments on to the functions, so that the test sees what a loaded image sees.
const CALLS: &str = r#"
#include <dlfcn.h>
#include <link.h>
#include <errno.h>
void *call_open(const char *name, int flags) { return dlopen(name, flags); }
void *call_open_in(long space, const char *name, int flags) { return dlmopen(space, name, flags); }
void *call_sym(void *handle, const char *name) { void *found = dlsym(handle, name); __asm__(""); return found; }
void *tail_sym(void *handle, const char *name) { return dlsym(handle, name); }
void *call_vsym(void *handle, const char *name, const char *version) {
    void *found = dlvsym(handle, name, version); __asm__(""); return found;
}
int call_close(void *handle) { return dlclose(handle); }
char *call_error(void) { return dlerror(); }
int call_addr(void *at, Dl_info *info) { return dladdr(at, info); }
int call_addr1(void *at, Dl_info *info, void **extra, int flags) { return dladdr1(at, info, extra, flags); }
int call_info(void *handle, int request, void *result) { return dlinfo(handle, request, result); }
int call_iterate(int (*visit)(struct dl_phdr_info *, size_t, void *), void *data) {
    return dl_iterate_phdr(visit, data);
}
int call_find(void *at, void *result) { return _dl_find_object(at, result); }
__thread int counter = 7;
int *counter_here(void) { return &counter; }
int *errno_here(void) { return &errno; }
static int chosen(void) { return 42; }
static void *choose(void) { return chosen; }
int indirect(void) __attribute__((ifunc("choose")));
int only_here(void) { return 1; }
"#;

const RTLD_NOW: c_int = 2;
const RTLD_NOLOAD: c_int = 4;
const DEFAULT: usize = 0;
const NEXT: usize = usize::MAX;

type Visit = unsafe extern "C" fn(*const libc::dl_phdr_info, usize, *mut c_void) -> c_int;

fn calls() -> &'static Library {
    static CALLS_LIBRARY: OnceLock<Library> = OnceLock::new();
    CALLS_LIBRARY.get_or_init(|| {
        let path = build("calls", CALLS, &["-Wl,-z,nodelete"]);
        // SAFETY: the source above, which has no initialisers.
        unsafe { Library::open(&path) }.unwrap()
    })
}

/// Calls a function of the library above.
macro_rules! call {
    ($name:ident($($argument:expr => $type:ty),*) -> $result:ty) => {{
        // SAFETY: the type is that of the function in the source above.
        let function = unsafe { calls().get::<unsafe extern "C" fn($($type),*) -> $result>(stringify!($name)) };
        // SAFETY: the arguments are what the function of the C library asks for.
        unsafe { function.unwrap()($($argument),*) }
    }};
}

fn open(name: Option<&CStr>, flags: c_int) -> usize {
    call!(call_open(name.map_or(std::ptr::null(), CStr::as_ptr) => *const c_char, flags => c_int) -> usize)
}

fn sym(handle: usize, name: &CStr) -> usize {
    call!(call_sym(handle => usize, name.as_ptr() => *const c_char) -> usize)
}

fn error() -> Option<String> {
    let text = call!(call_error() -> *const c_char);
    // SAFETY: null, or a C string that stays until this thread asks again.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn address(name: &str) -> usize {
    // SAFETY: only the address is used.
    unsafe { calls().get::<usize>(name) }.unwrap().address().0 as usize
}

#[test]
fn default_is_the_host_then_the_global_images_then_the_callers_group() {
    assert_eq!(sym(DEFAULT, c"malloc"), libc::malloc as *const () as usize, "the host's");
    assert_eq!(sym(DEFAULT, c"only_here"), address("only_here"));
    assert_eq!(
        call!(tail_sym(DEFAULT => usize, c"malloc".as_ptr() => *const c_char) -> usize),
        sym(DEFAULT, c"malloc")
    );
    assert_eq!(sym(DEFAULT, c"sideload_nowhere"), 0);
    assert!(error().unwrap().contains("sideload_nowhere"));
    assert_eq!(error(), None, "once");
}

#[test]
fn next_is_what_follows_the_caller() {
    assert_eq!(sym(NEXT, c"malloc"), libc::malloc as *const () as usize);
    assert_eq!(sym(NEXT, c"only_here"), 0, "the caller's own");
    assert!(error().unwrap().contains("only_here"));
}

#[test]
fn lookup_functions_look_up_as_ours() {
    let plain = sym(DEFAULT, c"dlsym");
    // SAFETY: this is a function of that type.
    let plain: extern "C" fn(usize, *const c_char) -> usize = unsafe { std::mem::transmute(plain) };
    assert_eq!(plain(DEFAULT, c"only_here".as_ptr()), 0, "the caller is this program now");
    assert_eq!(plain(open(Some(c"libcalls.so"), RTLD_NOW), c"only_here".as_ptr()), address("only_here"));
}

/// `open` and `longjmp` of images for macOS, which this library answers itself, but not to an ELF one.
#[test]
fn names_of_macos_mean_nothing() {
    for name in [c"_open", c"_mmap", c"_dlsym", c"_pthread_mutex_lock"] {
        let handle = open(Some(c"libcalls.so"), RTLD_NOW);
        assert_eq!((sym(DEFAULT, name), sym(NEXT, name), sym(handle, name)), (0, 0, 0), "{name:?}");
        assert!(error().unwrap().contains("undefined symbol"), "{name:?}");
    }
    unsafe extern "C" {
        fn _longjmp();
    }
    assert_eq!(sym(DEFAULT, c"_longjmp"), _longjmp as *const () as usize, "the host's");
}

#[test]
fn versions_are_told_apart() {
    let version = |name: &CStr, version: &CStr| {
        let (name, version) = (name.as_ptr(), version.as_ptr());
        call!(call_vsym(DEFAULT => usize, name => *const c_char, version => *const c_char) -> usize)
    };
    let (old, new) = (version(c"memcpy", c"GLIBC_2.2.5"), version(c"memcpy", c"GLIBC_2.14"));
    assert!(old != 0 && new != 0 && old != new, "{old:#x} {new:#x}");
    assert_eq!(version(c"memcpy", c"GLIBC_1.0"), 0);
    assert!(error().unwrap().contains("GLIBC_1.0"));
}

#[test]
fn indirect_functions_and_thread_locals_are_resolved() {
    let indirect = sym(DEFAULT, c"indirect");
    // SAFETY: a function of that type.
    let indirect: extern "C" fn() -> c_int = unsafe { std::mem::transmute(indirect) };
    assert_eq!(indirect(), 42);
    let here = sym(DEFAULT, c"counter");
    assert_eq!(here, call!(counter_here() -> usize));
    let there = std::thread::spawn(|| (sym(DEFAULT, c"counter"), call!(counter_here() -> usize))).join().unwrap();
    assert_eq!(there.0, there.1);
    assert_ne!(there.0, here);
    let version = c"GLIBC_PRIVATE".as_ptr();
    let errno =
        call!(call_vsym(DEFAULT => usize, c"errno".as_ptr() => *const c_char, version => *const c_char) -> usize);
    assert_eq!(errno, call!(errno_here() -> usize), "a thread-local of the host");
}

#[test]
fn handles() {
    let program = open(None, RTLD_NOW);
    assert_eq!(program, open(Some(c""), RTLD_NOW));
    assert_eq!(sym(program, c"malloc"), libc::malloc as *const () as usize);
    assert_eq!(sym(program, c"only_here"), 0, "not global");
    let own = open(Some(c"libcalls.so"), RTLD_NOW | RTLD_NOLOAD);
    let path = std::ffi::CString::new(calls().path()).unwrap();
    assert_eq!(own, open(Some(&path), RTLD_NOW), "by its path");
    assert_eq!(sym(own, c"only_here"), address("only_here"));
    assert_eq!(sym(own, c"malloc"), libc::malloc as *const () as usize, "and what it needs");
    assert_eq!(sym(open(Some(c"libc.so.6"), RTLD_NOW), c"malloc"), libc::malloc as *const () as usize);
    assert_eq!(call!(call_close(program => usize) -> c_int), 0, "it is always open");
    assert_ne!(sym(program, c"malloc"), 0);
    for bogus in [1, 0x1000, own + 8, usize::MAX - 1] {
        assert_eq!(call!(call_close(bogus => usize) -> c_int), -1);
        assert!(error().unwrap().contains("handle"));
        assert_eq!(sym(bogus, c"malloc"), 0);
        assert!(error().unwrap().contains("handle"));
    }
}

/// As often as it was opened, and no more; nothing is unmapped.
#[test]
fn handles_are_closed_as_often_as_they_were_opened() {
    let path = build("closing", "int closing = 42;", &[]);
    let path = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
    let handle = open(Some(&path), RTLD_NOW);
    assert_eq!(open(Some(&path), RTLD_NOW), handle);
    for expected in [0, 0, -1] {
        assert_eq!(call!(call_close(handle => usize) -> c_int), expected);
        assert_ne!(sym(handle, c"closing"), 0);
    }
    assert_eq!(error().unwrap(), "shared object not open");
    assert_eq!(open(Some(&path), RTLD_NOW), handle);
    assert_eq!(call!(call_close(handle => usize) -> c_int), 0);
}

#[test]
fn opens_what_is_not_there_yet() {
    let name = c"libbz2.so.1.0";
    assert_eq!(open(Some(name), RTLD_NOW | RTLD_NOLOAD), 0);
    assert_eq!(error(), None, "that is an answer and no error");
    let handle = open(Some(name), RTLD_NOW);
    assert_ne!(handle, 0, "{:?}", error());
    assert_eq!(open(Some(name), RTLD_NOW | RTLD_NOLOAD), handle);
    // SAFETY: that function has this type.
    let version: extern "C" fn() -> *const c_char = unsafe { std::mem::transmute(sym(handle, c"BZ2_bzlibVersion")) };
    // SAFETY: it returns a C string.
    assert!(unsafe { CStr::from_ptr(version()) }.to_bytes().starts_with(b"1."));
    let system: Vec<_> = fs::read_to_string("/proc/self/maps").unwrap().lines().map(str::to_owned).collect();
    assert!(system.iter().any(|line| line.contains("libbz2")));

    let namespace =
        |id: c_long| call!(call_open_in(id => c_long, name.as_ptr() => *const c_char, RTLD_NOW => c_int) -> usize);
    assert_eq!(namespace(0), handle);
    assert_eq!(namespace(-1), 0);
    assert!(error().unwrap().contains("namespace"));
}

/// glibc's words, since programs look at them.
#[test]
fn errors_are_in_the_words_of_glibc() {
    let path = calls().path();
    let missing = "cannot open shared object file: No such file or directory";
    let flags: &[(&CStr, c_int, String)] = &[
        (c"libsideload_absent.so", RTLD_NOW, format!("libsideload_absent.so: {missing}")),
        (c"/nowhere/libabsent.so", RTLD_NOW, format!("/nowhere/libabsent.so: {missing}")),
        (c"libz.so.1", 0, "libz.so.1: invalid mode for dlopen(): Invalid argument".to_owned()),
    ];
    for (name, flags, expected) in flags {
        assert_eq!(open(Some(name), *flags), 0);
        let text = error().unwrap();
        assert!(text.starts_with(expected) && !text.ends_with('\n'), "{text}");
    }
    let own = open(Some(c"libcalls.so"), RTLD_NOW);
    for handle in [own, DEFAULT, NEXT] {
        assert_eq!(sym(handle, c"absent"), 0);
        assert_eq!(error().unwrap(), format!("{path}: undefined symbol: absent"));
    }
    let (name, version) = (c"only_here".as_ptr(), c"ABSENT_1".as_ptr());
    assert_eq!(call!(call_vsym(own => usize, name => *const c_char, version => *const c_char) -> usize), 0);
    assert_eq!(error().unwrap(), format!("{path}: undefined symbol: only_here, version ABSENT_1"));
}

/// What an image opens is opened with the loader that opened the image.
#[test]
fn the_loader_of_the_caller_serves_its_opens() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dl/elsewhere");
    fs::create_dir_all(&folder).unwrap();
    let source = "int supplied(void); int value(void) { return supplied(); }";
    let path = build("settings_leaf", source, &["-Wl,-z,lazy"]);
    fs::rename(path, folder.join("libsettings_leaf.so")).unwrap();
    let source = r#"
        #include <dlfcn.h>
        int answer(void) {
            void *leaf = dlopen("libsettings_leaf.so", RTLD_NOW);
            int (*value)(void) = leaf ? dlsym(leaf, "value") : 0;
            return value ? value() : 1;
        }
    "#;
    let path = build("settings", source, &[]);
    extern "C" fn supplied() -> c_int {
        42
    }
    let table = |name: &[u8], _: Option<&[u8]>| {
        (name == b"supplied").then_some(sideload::addr::RunAddr(supplied as *const () as u64))
    };
    let loader = sideload::Loader::new().library_path(&folder).resolver(table);
    // SAFETY: the sources above.
    let answer = unsafe { loader.open(&path).unwrap().get::<extern "C" fn() -> c_int>("answer").unwrap()() };
    assert_eq!(answer, 42);
}

/// What was opened as local becomes global, with all that it needs, when it is opened so again.
#[test]
fn a_second_open_can_make_an_image_global() {
    build("late_need", "int in_the_need;", &[]);
    let path = build(
        "late_global",
        "extern int in_the_need; int late_global; int *need(void) { return &in_the_need; }",
        &["-llate_need"],
    );
    // SAFETY: the sources above.
    let library = unsafe { Library::open(&path) }.unwrap();
    let symbols = [c"late_global", c"in_the_need"];
    assert_eq!(symbols.map(|name| sym(DEFAULT, name)), [0, 0]);
    // SAFETY: as above.
    let again = unsafe { sideload::Loader::new().global(true).open(&path) }.unwrap();
    assert!(again.is_same(&library));
    for name in symbols {
        assert_ne!(sym(DEFAULT, name), 0, "{name:?}");
    }
}

#[test]
fn errors_belong_to_their_thread() {
    assert_eq!(open(Some(c"libsideload_absent.so"), RTLD_NOW), 0);
    assert_eq!(std::thread::spawn(error).join().unwrap(), None);
    assert!(error().unwrap().contains("libsideload_absent.so"));
}

/// `Dl_info` before anything is in it.
fn nothing() -> libc::Dl_info {
    use std::ptr::{null, null_mut};
    libc::Dl_info { dli_fname: null(), dli_fbase: null_mut(), dli_sname: null(), dli_saddr: null_mut() }
}

fn described(at: usize) -> Option<(PathBuf, Option<String>, usize)> {
    let mut info = nothing();
    if call!(call_addr(at => usize, &raw mut info => *mut libc::Dl_info) -> c_int) == 0 {
        return None;
    }
    // SAFETY: C strings that stay, or null.
    let text = |text: *const c_char| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned();
    let symbol = (!info.dli_sname.is_null()).then(|| text(info.dli_sname));
    Some((text(info.dli_fname).into(), symbol, info.dli_saddr as usize))
}

#[test]
fn addresses_are_described() {
    let at = address("only_here");
    let (path, symbol, start) = described(at + 1).unwrap();
    assert_eq!((path.as_path(), symbol.as_deref(), start), (Path::new(calls().path()), Some("only_here"), at));
    let free = libc::free as *const () as usize;
    let (path, symbol, start) = described(free).unwrap();
    assert!(path.ends_with("libc.so.6"), "{}", path.display());
    assert_eq!(start, free);
    assert!(symbol.is_some_and(|name| name.contains("free")));
    let (path, ..) = described(addresses_are_described as *const () as usize).unwrap();
    assert_eq!(path.file_name(), env::current_exe().unwrap().file_name());
    assert_eq!(described(&raw const at as usize), None, "the stack");
    assert_eq!(described(0), None);
}

#[test]
fn link_maps_say_where_an_image_is() {
    let (mut info, mut map) = (nothing(), std::ptr::null::<[usize; 3]>());
    let at = address("only_here");
    let (into, extra) = (&raw mut info, &raw mut map);
    let told = call!(call_addr1(at => usize, into => *mut libc::Dl_info, extra => *mut _, 2 => c_int) -> c_int);
    assert_eq!(told, 1);
    // SAFETY: `l_addr`, `l_name`, `l_ld`.
    let [bias, name, _] = unsafe { *map };
    assert_eq!(bias, info.dli_fbase as usize);
    // SAFETY: both are C strings.
    let text = |at: *const c_char| unsafe { CStr::from_ptr(at) };
    assert_eq!(text(name as *const c_char), text(info.dli_fname));
    let handle = open(Some(c"libcalls.so"), RTLD_NOW);
    let mut again = std::ptr::null::<[usize; 3]>();
    assert_eq!(call!(call_info(handle => usize, 2 => c_int, &raw mut again => *mut _) -> c_int), 0);
    assert_eq!(again, map);

    let mut folder = [0u8; 4096];
    assert_eq!(call!(call_info(handle => usize, 6 => c_int, &raw mut folder => *mut _) -> c_int), 0);
    let folder = CStr::from_bytes_until_nul(&folder).unwrap().to_str().unwrap();
    assert_eq!(Path::new(folder), Path::new(calls().path()).parent().unwrap());
    assert_eq!(call!(call_info(handle => usize, 3 => c_int, std::ptr::null_mut() => *mut c_void) -> c_int), -1);
    assert_eq!(error().unwrap(), "unsupported dlinfo request");
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    name: Vec<u8>,
    bias: u64,
    headers: usize,
    count: u16,
}

#[derive(Default)]
struct Visited {
    images: Vec<Seen>,
    changes: Vec<(u64, u64)>,
}

unsafe extern "C" fn visit(info: *const libc::dl_phdr_info, size: usize, data: *mut c_void) -> c_int {
    assert_eq!(size, size_of::<libc::dl_phdr_info>());
    // SAFETY: both are what `dl_iterate_phdr` was given and gives.
    let (info, visited) = unsafe { (&*info, &mut *data.cast::<Visited>()) };
    visited.images.push(Seen {
        // SAFETY: a C string.
        name: unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes().to_vec(),
        bias: info.dlpi_addr,
        headers: info.dlpi_phdr as usize,
        count: info.dlpi_phnum,
    });
    visited.changes.push((info.dlpi_adds, info.dlpi_subs));
    0
}

fn visited() -> Visited {
    let mut visited = Visited::default();
    let result = call!(call_iterate(visit => Visit, (&raw mut visited).cast() => *mut c_void) -> c_int);
    assert_eq!(result, 0);
    visited
}

unsafe extern "C" fn stop(_: *const libc::dl_phdr_info, _: usize, count: *mut c_void) -> c_int {
    // SAFETY: the test passes a counter.
    let count = unsafe { &mut *count.cast::<c_int>() };
    *count += 1;
    if *count == 2 { 17 } else { 0 }
}

#[test]
fn headers_of_the_host_then_ours() {
    calls();
    let mut system = Visited::default();
    let callback: unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int =
        // SAFETY: the two types differ in `const` alone.
        unsafe { std::mem::transmute(visit as Visit) };
    // SAFETY: the callback takes what it gets.
    unsafe { libc::dl_iterate_phdr(Some(callback), (&raw mut system).cast()) };
    let ours = visited();
    let places = |images: &[Seen]| -> Vec<_> { images.iter().map(|it| (it.bias, it.headers, it.count)).collect() };
    let host = &ours.images[..system.images.len()];
    assert_eq!(places(host), places(&system.images), "as the system has them");
    let rest = &ours.images[system.images.len()..];
    assert!(rest.iter().any(|image| image.name == calls().path().as_bytes()));
    let mut count: c_int = 0;
    assert_eq!(call!(call_iterate(stop => Visit, (&raw mut count).cast() => *mut c_void) -> c_int), 17);
    assert_eq!(count, 2);
}

#[test]
fn a_new_image_is_a_change() {
    let before = visited().changes[0];
    let path = build("newcomer", "int here;", &[]);
    // SAFETY: it has no initialisers.
    let newcomer = unsafe { Library::open(&path) }.unwrap();
    let after = visited();
    assert!(after.changes[0].0 > before.0, "{before:?} {:?}", after.changes[0]);
    assert!(after.images.iter().any(|image| image.name == newcomer.path().as_bytes()));
}

#[test]
fn unwind_tables_are_found() {
    /// `struct dl_find_object`
    #[repr(C)]
    #[derive(Default)]
    struct Found([usize; 12]);
    let find = |at: usize| {
        let mut found = Found::default();
        (call!(call_find(at => usize, &raw mut found => *mut Found) -> c_int) == 0).then_some(found.0)
    };
    let version = |at: usize| {
        // SAFETY: `.eh_frame_hdr` begins with its version.
        unsafe { *(at as *const u8) }
    };
    for at in [address("only_here"), libc::free as *const () as usize, unwind_tables_are_found as *const () as usize] {
        let [_, start, end, map, index, ..] = find(at).unwrap();
        assert!((start..end).contains(&at) && (start..end).contains(&index));
        assert_ne!(map, 0);
        assert_eq!(version(index), 1);
    }
    assert_eq!(find(0), None);
}

/// A constructor that opens: its own group is published, and no lock is held.
#[test]
fn constructors_may_open() {
    let source = r#"
        #include <dlfcn.h>
        static int seen;
        __attribute__((constructor)) static void start(void) {
            void *own = dlopen("libopener.so", RTLD_NOW | RTLD_NOLOAD);
            void *other = dlopen("libz.so.1", RTLD_NOW);
            seen = own && other && dlsym(own, "answer") && dlsym(other, "crc32") ? 42 : 1;
        }
        int answer(void) { return seen; }
    "#;
    let path = build("opener", source, &[]);
    // SAFETY: the source above.
    let answer = unsafe { Library::open(&path).unwrap().get::<extern "C" fn() -> c_int>("answer").unwrap()() };
    assert_eq!(answer, 42);
}

/// The scope of a need is that of the object that was opened, which itself may define what the need looks up.
#[test]
fn needs_are_searched_from_the_group_that_was_opened() {
    let leaf = r#"
        #include <dlfcn.h>
        void *of_root(void) { void *found = dlsym(RTLD_DEFAULT, "root_only"); __asm__(""); return found; }
    "#;
    build("leaf", leaf, &[]);
    let root = "void *of_root(void); int root_only = 42; int answer(void) { int *p = of_root(); return p ? *p : 1; }";
    let path = build("root", root, &["-lleaf"]);
    // SAFETY: the sources above.
    let answer = unsafe { Library::open(&path).unwrap().get::<extern "C" fn() -> c_int>("answer").unwrap()() };
    assert_eq!(answer, 42);
}

/// A provider is a plugin: libcrypto opens it by its path, and looks its entry up in the handle.
#[test]
fn libcrypto_opens_a_provider() {
    type Load = unsafe extern "C" fn(*const c_void, *const c_char) -> *const c_void;
    type Fetch = unsafe extern "C" fn(*const c_void, *const c_char, *const c_char) -> *const c_void;
    // SAFETY: libcrypto's initialisers are harmless, and its functions have these types.
    unsafe {
        let crypto = Library::open("libcrypto.so.3").unwrap();
        let load = crypto.get::<Load>("OSSL_PROVIDER_load").unwrap();
        let fetch = crypto.get::<Fetch>("EVP_MD_fetch").unwrap();
        let digest = |name: &CStr| fetch(std::ptr::null(), name.as_ptr(), std::ptr::null());
        assert!(digest(c"MD4").is_null(), "only the legacy provider has it");
        assert!(!load(std::ptr::null(), c"legacy".as_ptr()).is_null());
        assert!(!digest(c"MD4").is_null());
        assert!(load(std::ptr::null(), c"sideload_absent".as_ptr()).is_null());
    }
    assert!(visited().images.iter().any(|image| image.name.ends_with(b"ossl-modules/legacy.so")));
}

/// Rust code in a library: its standard library looks for weak symbols by `dlsym`.
#[test]
fn librsvg_parses() {
    type Parse = unsafe extern "C" fn(*const u8, usize, *mut *mut c_void) -> *mut c_void;
    let parses = |text: &[u8]| {
        let mut error = std::ptr::null_mut();
        // SAFETY: librsvg's initialisers are harmless, and the function has this type.
        let handle = unsafe {
            let rsvg = Library::open("librsvg-2.so.2").unwrap();
            rsvg.get::<Parse>("rsvg_handle_new_from_data").unwrap()(text.as_ptr(), text.len(), &raw mut error)
        };
        assert_ne!(handle.is_null(), error.is_null());
        !handle.is_null()
    };
    assert!(parses(b"<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"));
    assert!(!parses(b"<svg"));
}

/// A backtrace that a loaded Rust object makes: its standard library finds the object by `dl_iterate_phdr`.
#[test]
fn backtraces_name_functions_of_loaded_images() {
    let source = r#"
        #[inline(never)]
        fn sought_in_the_backtrace() -> String {
            std::hint::black_box(std::backtrace::Backtrace::force_capture()).to_string()
        }
        #[unsafe(no_mangle)]
        pub extern "C" fn answer() -> i32 {
            if sought_in_the_backtrace().contains("sought_in_the_backtrace") { 42 } else { 1 }
        }
    "#;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dl");
    fs::create_dir_all(&folder).unwrap();
    let (input, path) = (folder.join("backtrace.rs"), folder.join("libbacktrace.so"));
    fs::write(&input, source).unwrap();
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "--crate-type=cdylib", "-g", "-o"]).arg(&path).arg(&input);
    assert!(rustc.status().unwrap().success(), "{rustc:?}");
    // SAFETY: the source above.
    let answer = unsafe { Library::open(&path).unwrap().get::<extern "C" fn() -> c_int>("answer").unwrap()() };
    assert_eq!(answer, 42);
}
