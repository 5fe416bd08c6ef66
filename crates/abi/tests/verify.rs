//! Rust types of C functions, against debug information of every kind that compilers and distributions make.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use sideload::Library;
use sideload::abi::Exported;
use sideload_abi::{Abi, Error, Evidence, GetVerified, Search, Unverifiable, Verified};
use sideload_plugin::Stable;
use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI32;
use support::{Built, SHAPES, build};

#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
struct Size {
    width: f64,
    height: f64,
    depth: u8,
}

/// Two fields of one type that changed places: no layout tells them apart, their names do.
#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
struct Turned {
    height: f64,
    width: f64,
    depth: u8,
}

#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
struct Flat {
    width: f64,
    height: f32,
    depth: u8,
}

#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
struct Short {
    width: f64,
    height: f64,
}

/// The name of what a raw pointer points to is all that is compared.
#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
struct Node {
    value: c_int,
    next: *mut c_void,
}

#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
struct Opaque {
    nothing: [u8; 0],
}

#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
struct Packet {
    head: u32,
    word: [u8; 4],
    _bits: u8,
    name: [c_char; 16],
}

#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
enum Color {
    Red,
    Green = 5,
    Blue,
}

#[derive(Stable)]
#[repr(C)]
#[allow(dead_code, reason = "only described")]
enum Fewer {
    Red,
    Green = 5,
}

fn open(path: &Path) -> Library {
    // SAFETY: the library is built from text in this folder, and has no initialisers.
    unsafe { Library::open(path) }.unwrap_or_else(|error| panic!("{error}"))
}

/// The answer as text.
fn answer<T: Exported>(library: &Library, search: &Search, name: &str) -> String {
    // SAFETY: the symbol is not used.
    match unsafe { library.get_verified_in::<T>(name, search) } {
        Ok(Verified::Checked(_)) => "checked".into(),
        Ok(Verified::Unverifiable { why, .. }) => format!("unverifiable: {why}"),
        Ok(Verified::Mismatch(mismatch)) => {
            let difference = &mismatch.difference;
            format!("{}: {}, not {}", difference.at, difference.found, difference.expected)
        }
        Err(error) => format!("error: {error}"),
    }
}

macro_rules! cases {
    ($library:expr, $search:expr, $($name:literal as $type:ty, $expected:expr;)*) => {
        let mut wrong = Vec::new();
        $(
            let found = answer::<$type>($library, $search, $name);
            if found != $expected {
                wrong.push(format!("{} as {}:\n  {found}\n  expected {}", $name, stringify!($type), $expected));
            }
        )*
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    };
}

/// What is checked of every kind of debug information.
#[track_caller]
fn basics(library: &Library, search: &Search) {
    cases! { library, search,
        "area" as extern "C" fn(&Size) -> f64, "checked";
        "area" as extern "C" fn(&Flat) -> f64,
            "parameter 1 (of), behind the pointer, field height: double, not f32";
        "length" as extern "C" fn(*const c_char, usize) -> u32, "checked";
        "length" as extern "C" fn(*const c_char, u32) -> u32,
            "parameter 2 (limit): size_t (long unsigned int), not u32";
        "next_color" as extern "C" fn(Color) -> Color, "checked";
        "visit" as extern "C" fn(&Node, extern "C" fn(&Node, *mut c_void) -> c_int, *mut c_void) -> c_int, "checked";
    }
}

#[test]
fn types_are_checked_part_by_part() {
    let built = build(SHAPES, &["-g"]);
    let (library, search) = (open(&built.path), Search::default());
    basics(&library, &search);
    cases! { &library, &search,
        "area" as extern "C" fn(*const Size) -> f64, "checked";
        "area" as extern "C" fn(*const Node) -> f64,
            "unverifiable: parameter 1 (of), behind the pointer is const size_s (struct size), which raw pointers to \
             Node do not describe";
        "area" as extern "C" fn(*const c_void) -> f64, "checked";
        "area" as extern "C" fn(*const u8) -> f64,
            "parameter 1 (of), behind the pointer: const size_s (struct size), not u8";
        "area" as extern "C" fn(Option<&'static Size>) -> f64, "checked";
        "area" as extern "C" fn(&Turned) -> f64,
            "parameter 1 (of), behind the pointer, field height: at offset 8, not at offset 0";
        "area" as extern "C" fn(&Short) -> f64,
            "parameter 1 (of), behind the pointer, field depth: at offset 16, not nothing";
        "area" as extern "C" fn(&Size, i32) -> f64, ": 1 parameter, not 2 parameters";
        "area" as extern "C" fn(&Size), "result: double, not ()";
        "area" as fn(&Size) -> f64, ": extern \"C\", not extern \"Rust\"";
        "area" as extern "C" fn(Size) -> f64, "parameter 1 (of): const size_s *, not Size";
        "area" as &u32, ": double (const size_s *of), not a static u32";
        "doubled" as extern "C" fn(Size) -> Size, "checked";
        "resize" as extern "C" fn(&mut Size, f64), "checked";
        "resize" as extern "C" fn(&Size, f64),
            "parameter 1 (of): size_s *, which may write to it, not &Size";
        "next_color" as extern "C" fn(Fewer) -> Fewer, "parameter 1 (of): BLUE = 6, not no such value";
        "next_color" as extern "C" fn(u32) -> c_int, "checked";
        "visit" as extern "C" fn(&Node, Option<extern "C" fn(&Node, *mut c_void) -> f64>, *mut c_void) -> c_int,
            "parameter 2 (each), called through the pointer, result: int, not f64";
        "visit" as extern "C" fn(*const Node, *mut c_void, *mut c_void) -> c_int, "checked";
        "head_of" as extern "C" fn(&Packet) -> c_int,
            "unverifiable: parameter 1 (of), behind the pointer, field word is a union";
        "alias_of_head" as extern "C" fn(*const Packet) -> c_int, "checked";
        "open_it" as extern "C" fn(*mut Opaque) -> *mut c_void, "checked";
        "open_it" as extern "C" fn(&mut Opaque) -> *mut c_void, "checked";
        "open_it" as extern "C" fn(&mut Size) -> *mut c_void,
            "unverifiable: parameter 1 (of), behind the pointer is struct opaque, which is only declared";
        "is_even" as extern "C" fn(i64) -> bool, "checked";
        "is_even" as extern "C" fn(u64) -> bool, "parameter 1 (number): int64_t (long int), not u64";
        "is_even" as extern "C" fn(i64) -> u8, "result: _Bool, not u8";
        "half" as extern "C" fn(f32) -> f32, "checked";
        "half" as extern "C" fn(f64) -> f32, "parameter 1 (of): float, not f64";
        "sum" as extern "C" fn(c_int) -> c_int, ": 1 parameter, and any more (...), not 1 parameter";
        "old_style" as extern "C" fn(c_char, f32) -> c_int,
            "unverifiable: parameter 1 (c) is promoted by callers, since the function has no prototype";
        "exact" as extern "C" fn() -> f64, "unverifiable: result is long double";
        "indirect" as extern "C" fn() -> c_int,
            "unverifiable: it is an indirect function, whose resolver chooses among others";
        "by_hand" as extern "C" fn(), format!("unverifiable: {} does not describe it", built.path.display());
        "counter" as &AtomicI32, "checked";
        "counter" as &u64, ": int, not u64";
        "counter" as extern "C" fn(), ": a variable, int, not extern \"C\" fn()";
        "scale" as &[f64; 3], "checked";
        "scale" as &[f64; 4], ": const double[3], not [f64; 4]";
        "absent" as extern "C" fn(), format!("error: {}: lookup: no symbol absent", built.path.display());
    }
}

#[test]
fn every_form_of_debug_information_is_read() {
    let forms: &[&[&str]] = &[
        &["-gdwarf-2", "-gstrict-dwarf"],
        &["-gdwarf-3"],
        &["-gdwarf-4"],
        &["-gdwarf-5"],
        &["-g", "-O2"],
        &["-g", "-O2", "-flto"],
        &["-g", "-gz=zlib"],
        &["-g", "-gz=zlib-gnu"],
        &["-gdwarf-4", "-fdebug-types-section"],
        &["-gdwarf-5", "-fdebug-types-section"],
        &["-g", "-ffunction-sections", "-Wl,--gc-sections"],
    ];
    for flags in forms {
        // Some of what is in it needs an assembler's help that link-time optimisation does not give.
        let source =
            if flags.contains(&"-flto") { SHAPES.split("static int chosen").next().expect("text") } else { SHAPES };
        let built = build(source, flags);
        eprintln!("{flags:?}");
        basics(&open(&built.path), &Search::default());
    }
    // Zstandard is what the linker may have been built without.
    let built = build(SHAPES, &["-g"]);
    let zstd = std::process::Command::new("objcopy").arg("--compress-debug-sections=zstd").arg(&built.path).output();
    if zstd.is_ok_and(|output| output.status.success()) {
        basics(&open(&built.path), &Search::default());
    }
}

/// The files that a compiler split debug information off to, below the library's folder.
fn split_off(built: &Built) -> Vec<PathBuf> {
    let folder = built.path.parent().expect("a file in a folder");
    let files = std::fs::read_dir(folder).expect("ours").map(|entry| entry.expect("ours").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "dwo")).collect()
}

/// Where the package of what was split off a library is looked for.
fn package_of(built: &Built) -> PathBuf {
    built.path.with_file_name(format!("{}.dwp", built.path.file_name().expect("a file").display()))
}

#[test]
fn split_debug_information_is_read_where_it_is() {
    let forms: &[&[&str]] = &[
        &["-gdwarf-5", "-gsplit-dwarf"],
        &["-gdwarf-4", "-gsplit-dwarf"],
        &["-gdwarf-5", "-gsplit-dwarf", "-O2", "-fdebug-types-section"],
        &["-gdwarf-4", "-gsplit-dwarf", "-O2", "-fdebug-types-section"],
    ];
    for flags in forms {
        eprintln!("{flags:?}");
        let built = build(SHAPES, flags);
        let [dwo] = &split_off(&built)[..] else { panic!("{:?}", split_off(&built)) };
        basics(&open(&built.path), &Search::default());
        let missing = format!(
            "cannot be checked: debug information of {} was split off to {}, which is not there, or of another build",
            built.path.display(),
            dwo.display()
        );
        // Of another build: it has another identity.
        let sound = std::fs::read(dwo).expect("the compiler wrote it");
        let other = build(&format!("{SHAPES}\nint one_more(int of) {{ return of; }}\n"), flags);
        std::fs::copy(&split_off(&other)[0], dwo).expect("a folder of ours");
        let said = |built: &Built| {
            let library = open(&built.path);
            // SAFETY: the symbol is not used.
            let found = unsafe { library.get_verified::<extern "C" fn(&Size) -> f64>("area") }.expect("it is there");
            found.checked().map_or_else(|error| error.to_string(), |_| "checked".into())
        };
        assert!(said(&built).ends_with(&missing), "{}", said(&built));
        std::fs::remove_file(dwo).expect("a folder of ours");
        assert!(said(&built).ends_with(&missing), "{}", said(&built));
        // Whatever is in such a file: an error or an answer.
        for at in (0..sound.len()).step_by(61) {
            let mut wrong = sound.clone();
            wrong[at] ^= 0xff;
            std::fs::write(dwo, wrong).expect("a folder of ours");
            let _ = Abi::read(&built.path, &Search::default());
        }
    }
}

#[test]
fn packages_of_split_debug_information_are_read() {
    // Of DWARF 5, what makes packages in the binutils up to 2.40 leaves the units out, without a word.
    let forms: &[&[&str]] = &[
        &["-gdwarf-4", "-gsplit-dwarf"],
        &["-gdwarf-4", "-gsplit-dwarf", "-O2"],
        &["-gdwarf-4", "-gsplit-dwarf", "-O2", "-fdebug-types-section"],
    ];
    for flags in forms {
        eprintln!("{flags:?}");
        let built = build(SHAPES, flags);
        let package = package_of(&built);
        let dwp = std::process::Command::new("dwp").args(split_off(&built)).arg("-o").arg(&package).output();
        let output = dwp.expect("there are binutils");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        split_off(&built).iter().for_each(|dwo| std::fs::remove_file(dwo).expect("a folder of ours"));
        basics(&open(&built.path), &Search::default());
        // Whatever is in it: an error or an answer.
        let sound = std::fs::read(&package).expect("it was just made");
        for at in (0..sound.len()).step_by(61) {
            let mut wrong = sound.clone();
            wrong[at] ^= 0xff;
            std::fs::write(&package, wrong).expect("a folder of ours");
            let _ = Abi::read(&built.path, &Search::default());
        }
        // What it does not have is looked for elsewhere, and missed.
        let other = build(&format!("{SHAPES}\nint one_more(int of) {{ return of; }}\n"), flags);
        std::fs::write(package_of(&other), &sound).expect("a folder of ours");
        basics(&open(&other.path), &Search::default());
        split_off(&other).iter().for_each(|dwo| std::fs::remove_file(dwo).expect("a folder of ours"));
        let library = open(&other.path);
        // SAFETY: the symbol is not used.
        let found = unsafe { library.get_verified::<extern "C" fn(&Size) -> f64>("area") }.expect("it is there");
        let error = found.checked().expect_err("its unit is nowhere").to_string();
        assert!(error.contains("was split off"), "{error}");
    }
}

#[test]
fn separate_debug_files_are_found_and_have_to_be_of_that_build() {
    let place = |search: &Search, path: &Path| Abi::read(path, search).expect("readable").evidence;
    for compressed in [&[][..], &["--compress-debug-sections"][..]] {
        // By build id.
        let built = build(SHAPES, &["-g"]);
        let folder = built.beside("debug");
        let debug = built.by_build_id(&folder);
        built.split(&debug, compressed);
        let search = Search::default().debug_folder(&folder);
        basics(&open(&built.path), &search);
        assert_eq!(place(&search, &built.path), Some(Evidence::DebugFile(debug.clone())));

        // What lies there of another build does not count.
        let other = build(SHAPES, &["-g", "-O2"]);
        let place_of_other = other.by_build_id(&folder);
        std::fs::create_dir_all(place_of_other.parent().expect("below the folder")).expect("a folder of ours");
        std::fs::copy(&debug, place_of_other).expect("a folder of ours");
        let library = open(&other.path);
        std::process::Command::new("strip").arg(&other.path).status().expect("there are binutils");
        let why = Abi::read(&other.path, &search).expect("readable").evidence;
        assert_eq!(why, None);
        drop(library);
    }
    // By name and checksum.
    for below in ["libshapes.debug", ".debug/libshapes.debug"] {
        let built = build(SHAPES, &["-g", "-Wl,--build-id=none"]);
        let debug = built.beside(below);
        built.split(&debug, &[]);
        let link = format!("--add-gnu-debuglink={}", debug.display());
        support::run(std::process::Command::new("objcopy").arg(link).arg(&built.path));
        basics(&open(&built.path), &Search::default());
        let mut bytes = std::fs::read(&debug).expect("made above");
        bytes.push(0);
        std::fs::write(&debug, bytes).expect("made above");
        assert_eq!(place(&Search::default(), &built.path), None, "another checksum");
    }
}

#[test]
fn a_sidecar_stands_in_for_debug_information() {
    let built = build(SHAPES, &["-g"]);
    let abi = Abi::read(&built.path, &Search::default()).expect("readable");
    assert_eq!(abi.evidence, Some(Evidence::Library));
    let sidecar = sideload_abi::sidecar_path(&built.path);
    std::fs::write(&sidecar, abi.to_json().expect("it can be written")).expect("a folder of ours");
    support::run(std::process::Command::new("strip").arg("--strip-all").arg(&built.path));
    let library = open(&built.path);
    basics(&library, &Search::default());
    let again = Abi::read_sidecar(&sidecar).expect("it was written by us");
    assert_eq!(again, abi);

    // Read once, asked often.
    // SAFETY: the symbol is not used.
    let found = unsafe { library.get_verified_by::<extern "C" fn(&Size) -> f64>("area", &again) };
    assert!(matches!(found, Ok(Verified::Checked(_))), "{found:?}");
    // SAFETY: as above.
    let elsewhere = unsafe { library.get_verified_by::<extern "C" fn(*const c_char) -> c_int>("atoi", &again) };
    assert!(matches!(elsewhere, Ok(Verified::Unverifiable { .. })), "{elsewhere:?}");

    // Of another build it says nothing, damaged it is an error.
    let text = std::fs::read_to_string(&sidecar).expect("written above");
    let id = abi.build_id.expect("it has one");
    std::fs::write(&sidecar, text.replace(&id, "00")).expect("a folder of ours");
    let expected = Unverifiable::NoDebugInformation { tried: Vec::new() };
    let answer = answer::<extern "C" fn(&Size) -> f64>(&library, &Search::default(), "area");
    assert!(answer.starts_with(&format!("unverifiable: {expected}")), "{answer}");
    for (from, to) in [("\"format\": 1", "\"format\": 2"), ("\"of\": 1", "\"of\": 9999"), ("{", "[")] {
        std::fs::write(&sidecar, text.replacen(from, to, 1)).expect("a folder of ours");
        let error = Abi::read_sidecar(&sidecar).expect_err(to);
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}

#[test]
fn what_is_found_out_can_be_made_an_error() {
    let built = build(SHAPES, &["-g"]);
    let library = open(&built.path);
    // SAFETY: as the library's source says.
    unsafe {
        let area = library.get_verified::<extern "C" fn(&Size) -> f64>("area").and_then(Verified::checked);
        assert_eq!(area.expect("its type")(&Size { width: 6.0, height: 7.0, depth: 0 }), 42.0);
        let error = library.get_verified::<extern "C" fn(&Flat) -> f64>("area").and_then(Verified::unless_mismatch);
        let text = error.expect_err("another type").to_string();
        let expected = format!(
            "area is `double area(const size_s *of)` by {}, not `extern \"C\" fn(&Flat) -> f64`: parameter 1 (of), behind \
             the pointer, field height is double, not f32",
            built.path.display()
        );
        assert_eq!(text, expected);
        let found = library.get_verified::<extern "C" fn()>("by_hand").expect("it is there");
        assert!(found.clone().unless_mismatch().is_ok());
        let error = found.checked().expect_err("nothing tells its type").to_string();
        assert!(error.starts_with("by_hand cannot be checked: "), "{error}");
    }
}

#[test]
fn a_library_of_the_distribution_is_checked() {
    // libc6-dbg has libm's debug file, where distributions put it.
    // SAFETY: libm's initialisers are harmless.
    let libm = unsafe { Library::open("libm.so.6") }.expect("every system has it");
    let frexp = answer::<extern "C" fn(f64, *mut c_int) -> f64>(&libm, &Search::default(), "frexp");
    if frexp.contains("no debug information") && std::env::var_os("CI").is_none() {
        eprintln!("libc6-dbg is not installed: {frexp}");
        return;
    }
    cases! { &libm, &Search::default(),
        "frexp" as extern "C" fn(f64, &mut c_int) -> f64, "checked";
        "frexp" as extern "C" fn(f32, &mut c_int) -> f64, "parameter 1 (x): double, not f32";
        "frexp" as extern "C" fn(f64, &mut i64) -> f64, "parameter 2 (eptr), behind the pointer: int, not i64";
        // In an image that the process had: its own C library.
        "lldiv" as extern "C" fn(i64, i64) -> [i64; 2], "result: lldiv_t (struct { 2 … }), not [i64; 2]";
        "qsort" as extern "C" fn(
            *mut c_void, usize, usize, extern "C" fn(*const c_void, *const c_void) -> c_int
        ), "checked";
    }
}
