//! The process that runs these tests is the subject; some need one of their own, and run this program again as that.
//!
//! They hold for every kind of host: `RUSTFLAGS="-C target-feature=+crt-static"` and `-C relocation-model=static` make
//! the others.

use super::*;
use crate::plan::Query;
use crate::symbol::SymbolKind;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;

fn find(images: &HostImages, query: &Query<'_>) -> Option<(usize, RunAddr)> {
    let mut scope = images.images.iter().enumerate().filter(|(_, image)| image.global);
    scope.find_map(|(index, image)| image.find(query).map(|found| (index, found.vm + image.bias())))
}

/// Runs an ignored test of this program in a process of its own, and returns what it printed.
fn in_child(test: &str, variables: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().unwrap();
    let name = format!("runtime::host::tests::{test}");
    let mut command = Command::new(program);
    command.args(["--exact", &name, "--ignored", "--nocapture"]).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{test}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("running 1 test"), "{test}: {text}");
    text
}

fn from_thread_pointer(at: *const u8) -> i64 {
    (at as i64) - tls::thread_pointer().unwrap() as i64
}

#[test]
fn the_executable_is_first_and_holds_this_function() {
    let images = images().unwrap();
    let main = &images.images[0];
    assert!(main.is_main && main.global);
    assert!(std::ptr::eq(&**main, &**images.main().unwrap()));
    assert_eq!(main.path().canonicalize().unwrap(), std::env::current_exe().unwrap());
    let here = RunAddr(from_thread_pointer as *const () as u64);
    assert_eq!(images.at(here), Some(0));
    assert!(images.is_code(here));
    let variable = RunAddr(&raw const CURRENT as u64);
    assert!(main.holds(variable) && !main.is_code(variable));
    assert!(!images.is_code(RunAddr(0)) && images.at(RunAddr(0)).is_none());
}

#[test]
fn libc_is_found_and_so_are_its_functions() {
    let images = images().unwrap();
    let functions: &[(&[u8], *const ())] = &[
        (b"malloc", libc::malloc as *const ()),
        (b"getpid", libc::getpid as *const ()),
        (b"exit", libc::exit as *const ()),
    ];
    for &(name, address) in functions {
        let (index, found) = find(&images, &Query::by_name(name)).unwrap();
        // Under a non-PIE executable the function's address is the executable's own jump to it.
        let address = RunAddr(address as u64);
        assert!(found == address || images.images[0].is_code(address), "{}", name.escape_ascii());
        assert!(images.images[index].is_code(found));
        assert_eq!(index == 0, images.is_static());
    }
    assert_eq!(find(&images, &Query::by_name(b"no such symbol")), None);
}

#[test]
fn every_need_of_the_scope_is_in_the_scope() {
    let images = images().unwrap();
    assert_eq!(images.is_static(), cfg!(target_feature = "crt-static"));
    for (index, image) in images.images.iter().enumerate() {
        assert_eq!(images.needs(index).len(), image.needs.len(), "{}", image.name);
        for need in images.needs(index).iter().filter(|_| image.global) {
            let &Provider::Host(HostId(need)) = need else { panic!("{need:?}") };
            assert!(images.images[usize::from(need)].global, "{} needs {need}", image.name);
        }
        let is_vdso = image.soname.as_deref().is_some_and(|name| name.starts_with(b"linux-vdso"));
        assert!(!(is_vdso && image.global));
    }
    assert_eq!(images.needs(images.images.len()), []);
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "it is no variable there, but a member of the thread's own structure")]
fn errno_is_where_libc_says() {
    let images = images().unwrap();
    let query =
        if images.is_static() { Query::by_name(b"errno") } else { Query::by_version(b"errno", b"GLIBC_PRIVATE") };
    let mut found = images.images.iter().enumerate().filter_map(|(index, image)| Some((index, image.find(&query)?)));
    let Some((index, errno)) = found.next() else { panic!("no errno") };
    assert_eq!(errno.kind, SymbolKind::Tls);
    let tls = images.tls_of(index).unwrap();
    // SAFETY: libc's function has no preconditions.
    let address = unsafe { libc::__errno_location() };
    assert_eq!(tls.offset.unwrap() + errno.vm.0 as i64, from_thread_pointer(address.cast()), "{tls:?}");
    assert!(tls.module.is_some());
}

#[test]
fn offsets_are_the_same_in_every_thread_and_ids_lead_to_them() {
    let images = images().unwrap();
    let check = || {
        for (index, image) in images.images.iter().enumerate().filter(|(_, image)| image.global) {
            let Some(tls) = images.tls_of(index) else { continue };
            let block = tls::block_offset(&images, tls.module.unwrap());
            assert!(block.is_none() == images.is_static() || block == tls.offset, "{}: {tls:?} {block:?}", image.name);
        }
    };
    check();
    std::thread::scope(|scope| scope.spawn(check).join().unwrap());
}

#[test]
fn the_executables_own_block_is_where_its_code_expects_it() {
    #[repr(align(32))]
    struct Aligned([u8; 40]);
    thread_local!(static MINE: Aligned = const { Aligned([7; 40]) });
    let images = images().unwrap();
    let (tls, template) = (images.tls_of(0).unwrap(), images.images[0].thread_locals().unwrap());
    assert_eq!(tls.module, Some(1));
    let mine = MINE.with(|mine| from_thread_pointer(mine.0.as_ptr()));
    let block = tls.offset.unwrap()..tls.offset.unwrap() + template.size as i64;
    assert!(block.contains(&mine) && block.contains(&(mine + 39)), "{mine} in {block:?}");
    // What the file has at that place of the template are the variable's initial bytes.
    let at = template.image.start.0 as i64 + (mine - block.start);
    let word = images.images[0].word(crate::addr::VmAddr(at as u64) + images.images[0].bias());
    assert_eq!(word, Some(u64::from_ne_bytes([7; 8])));
}

#[test]
fn arguments_are_those_of_the_process() {
    let expected: Vec<_> = std::env::args_os().map(|argument| argument.into_encoded_bytes()).collect();
    let given = arguments();
    let (argc, argv) = crate::runtime::process::rebuilt();
    for (argc, argv) in [(given.argc, given.argv), (argc, argv)] {
        assert_eq!(argc as usize, expected.len());
        // SAFETY: the vector ends with a null pointer.
        assert_eq!(unsafe { strings(argv) }, expected);
    }
    // SAFETY: as above.
    let environment = unsafe { strings(given.envp) };
    for (name, value) in std::env::vars_os() {
        let row = [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat();
        assert!(environment.contains(&row), "{name:?}");
    }
    assert!(!secure());
}

/// The strings of a null-terminated vector.
///
/// # Safety
/// It is one.
unsafe fn strings(vector: *const *const std::ffi::c_char) -> Vec<Vec<u8>> {
    // SAFETY: no pointer before was null, so there is one more.
    let at = |index| unsafe { vector.add(index).read() };
    let pointers = (0..).map(at).take_while(|string| !string.is_null());
    // SAFETY: each is a C string.
    pointers.map(|string| unsafe { CStr::from_ptr(string) }.to_bytes().to_vec()).collect()
}

#[test]
fn an_unchanged_list_is_the_same_snapshot() {
    in_child("child_reads_twice", &[]);
}

#[test]
#[ignore = "runs in a process of its own"]
fn child_reads_twice() {
    assert!(Arc::ptr_eq(&images().unwrap(), &images().unwrap()));
    // A child of a fork in which another thread had the lock gets one of its own.
    let _held = CURRENT.lock();
    assert_eq!(images().unwrap().images.len(), std::thread::spawn(images).join().unwrap().unwrap().images.len());
}

#[test]
fn exiting_is_seen_by_handlers_that_run_later() {
    assert!(!exiting());
    assert!(in_child("child_exits", &[]).contains("exiting: true"));
}

#[test]
#[ignore = "runs in a process of its own"]
fn child_exits() {
    extern "C" fn report() {
        println!("exiting: {}", exiting());
    }
    // SAFETY: the handler may run at any time.
    unsafe { libc::atexit(report) };
    arm_exit_flag();
    arm_exit_flag();
    assert!(!exiting());
}

/// Whether libraries can be opened here at all.
const DYNAMIC: bool = cfg!(not(target_feature = "crt-static"));

#[test]
fn a_preloaded_library_and_its_needs_are_in_the_scope() {
    if DYNAMIC && cfg!(target_env = "gnu") {
        in_child("child_with_preloaded_library", &[("LD_PRELOAD", "libstdc++.so.6")]);
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn child_with_preloaded_library() {
    let images = images().unwrap();
    let position = |name: &[u8]| images.images.iter().position(|image| image.soname.as_deref() == Some(name)).unwrap();
    let (cxx, libm) = (position(b"libstdc++.so.6"), position(b"libm.so.6"));
    assert!(images.images[cxx].global && images.images[libm].global);
    assert!(cxx < position(b"libc.so.6"), "preloaded ones come before what the executable needs");
    let variable = images.images[cxx].find(&Query::by_name(b"_ZSt11__once_call")).unwrap();
    assert_eq!(variable.kind, SymbolKind::Tls);
    let system = libloading::os::unix::Library::this();
    // SAFETY: only the address is used.
    let address = unsafe { system.get::<*const u8>(b"_ZSt11__once_call\0") }.unwrap().as_raw_ptr();
    let offset = images.tls_of(cxx).unwrap().offset.unwrap();
    assert_eq!(offset + variable.vm.0 as i64, from_thread_pointer(address.cast()));
    errno_is_where_libc_says();
    offsets_are_the_same_in_every_thread_and_ids_lead_to_them();
    every_need_of_the_scope_is_in_the_scope();
}

#[test]
fn libraries_opened_later_come_and_go() {
    if DYNAMIC {
        in_child("child_opens_libraries", &[]);
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn child_opens_libraries() {
    let before = images().unwrap();
    let folder = Folder::new("later");
    // One that begins at address 0 of its file, and one whose ELF header is not where the list says the image is.
    let plain = folder.compile("plain", "-Wl,-soname,plain.so.1");
    let high = folder.compile("high", "-Wl,-Ttext-segment=0x7f0000000");
    let tables_in_data = folder.compile("data", "-Wl,-N");
    for path in [plain, high, tables_in_data] {
        // SAFETY: a library without initialisers.
        let library = unsafe { libloading::os::unix::Library::new(&path) }.unwrap();
        let during = images().unwrap();
        assert_eq!(during.images.len(), before.images.len() + 1);
        assert!(before.images.iter().zip(&during.images).all(|(old, new)| Arc::ptr_eq(old, new)));
        let (index, image) = (before.images.len(), during.images.last().unwrap());
        assert_eq!((image.path(), image.global, image.is_main), (path.as_path(), false, false));
        // SAFETY: only the addresses are used.
        let address = |name: &[u8]| RunAddr(unsafe { library.get::<*const u8>(name) }.unwrap().as_raw_ptr() as u64);
        let answer = image.find(&Query::by_name(b"answer")).unwrap();
        assert_eq!(answer.vm + image.bias(), address(b"answer"), "{}", path.display());
        assert!(image.is_code(address(b"answer")));
        let variable = image.find(&Query::by_name(b"variable")).unwrap();
        let module = during.tls_of(index).unwrap().module;
        assert_eq!(block_of(&during, module.unwrap()) + variable.vm.0, address(b"variable").0, "{}", path.display());
        library.close().unwrap();
        if cfg!(target_env = "musl") {
            break; // nothing is ever unloaded there
        }
        assert_eq!(images().unwrap().images.len(), before.images.len());
        assert_eq!(
            image.find(&Query::by_name(b"answer")).map(|found| found.vm),
            Some(answer.vm),
            "the tables are copied"
        );
    }
}

#[test]
fn libraries_may_vanish_while_they_are_read() {
    if DYNAMIC {
        in_child("child_reads_what_vanishes", &[]);
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn child_reads_what_vanishes() {
    let folder = Folder::new("vanishing");
    let paths = ["one", "two", "three"].map(|name| folder.compile(name, "-Wl,-z,now"));
    let done = std::sync::atomic::AtomicBool::new(false);
    let permanent = images().unwrap().images.len();
    let reads = std::thread::scope(|scope| {
        scope.spawn(|| {
            for (turn, path) in paths.iter().cycle().take(1500).enumerate() {
                // SAFETY: a library without initialisers.
                let library = unsafe { libloading::os::unix::Library::new(path) }.unwrap();
                // For a while, so that it is seen; or closed at once, in the middle of being read.
                if turn % 2 == 0 {
                    std::thread::sleep(std::time::Duration::from_micros(100));
                }
                library.close().unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut reads = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let images = images().unwrap();
            for (index, image) in images.images.iter().enumerate().skip(permanent) {
                // Not half of one: what is in a snapshot was there.
                assert!(image.find(&Query::by_name(b"answer")).is_some(), "{}", image.name);
                images.tls_of(index);
                reads += 1;
            }
        }
        reads
    });
    assert!(reads > 0, "nothing was ever seen");
}

/// What a list leads to while another image takes the place of the one that is listed: its headers are gone, or its
/// tables. Nothing of it may count, however much of it could be read.
#[test]
fn half_an_image_is_read_again() {
    if !DYNAMIC {
        return;
    }
    const HASH: usize = 0x400;
    let mut bytes = Aligned([0; 0x1000]);
    let start = bytes.0.as_ptr() as u64;
    let mut put = |at: usize, value: &[u8]| bytes.0[at..at + value.len()].copy_from_slice(value);
    put(0, b"\x7fELF\x02\x01\x01");
    put(32, &64u64.to_le_bytes()); // e_phoff
    put(54, &[56, 0, 2, 0]); // e_phentsize, e_phnum
    let (load, dynamic) = ((1u32, 4u32, 0u64, 0x1000u64), (2u32, 4u32, 0x200u64, 0x40u64));
    for (index, (kind, flags, vaddr, size)) in [load, dynamic].into_iter().enumerate() {
        let row = 64 + index * 56;
        put(row, &kind.to_le_bytes());
        put(row + 4, &flags.to_le_bytes());
        for (member, value) in [(8, vaddr), (16, vaddr), (32, size), (40, size)] {
            put(row + member, &value.to_le_bytes());
        }
    }
    // DT_HASH, DT_STRTAB, DT_SYMTAB: the strings are nowhere.
    for (index, (tag, value)) in [(4u64, HASH as u64), (5, 1 << 60), (6, 0x300)].into_iter().enumerate() {
        put(0x200 + index * 16, &tag.to_le_bytes());
        put(0x208 + index * 16, &value.to_le_bytes());
    }
    let link = Link { node: RunAddr(8), base: RunAddr(start), dynamic: RunAddr(start + 0x200), name: RunAddr(0) };
    let origin = origin().unwrap();
    let read = || {
        vanishing::has_missed();
        let sketch = with_care(|| Sketch::read(origin, &link, false));
        let is_missed = vanishing::has_missed();
        (is_missed, sketch)
    };
    let (no_image, sketch) = read();
    assert!(!no_image);
    let image = sketch.finish(origin, false);
    assert!(vanishing::has_missed(), "no tables");
    assert!(image.is_at(&link));

    let (_, sketch) = read();
    std::hint::black_box(&mut bytes).0[64] = 0; // read behind the compiler's back
    let other = sketch.finish(origin, false);
    assert!(!other.is_at(&link), "its tables were read after its headers had changed");
    let (no_image, sketch) = read();
    assert!(no_image && sketch.needs.is_empty(), "no headers");
}

#[repr(align(4096))]
struct Aligned([u8; 0x1000]);

/// This thread's block of a module that was opened late.
fn block_of(images: &HostImages, module: u64) -> u64 {
    tls::thread_pointer().unwrap().wrapping_add_signed(tls::block_offset(images, module).unwrap())
}

/// A folder for the libraries of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("sideload-host-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn compile(&self, name: &str, option: &str) -> PathBuf {
        let source = self.0.join("source.c");
        let text = "__thread int variable = 42; int answer(void) { return variable; }";
        std::fs::write(&source, text).unwrap();
        let library = self.0.join(format!("lib{name}.so"));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-nostdlib", option, "-o"]).args([Path::new(&library), &source]);
        assert!(compiler.status().unwrap().success(), "{compiler:?}");
        library
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
