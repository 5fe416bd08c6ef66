//! A process that dyld might have made: fixtures, laid out in memory that is never freed, and a list of them.

use super::*;
use crate::plan::{LoadPlan, plan};

/// Memory of the process, by where it really is: `borrow` goes there.
struct Process {
    runs: Vec<&'static [u8]>,
    rows: Vec<[u64; 3]>,
    changed: u64,
    /// Size of the shared cache, and of its header.
    cache: (u64, u32),
}

/// An image, and where it is.
struct Laid {
    plan: LoadPlan,
    header: RunAddr,
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

impl Process {
    fn new() -> Process {
        Process { runs: Vec::new(), rows: Vec::new(), changed: 1, cache: (u64::MAX, 0x1f8) }
    }

    fn keep(&mut self, bytes: Vec<u8>) -> u64 {
        let bytes: &'static [u8] = bytes.leak();
        self.runs.push(bytes);
        address(bytes)
    }

    /// Adds a fixture under a path. `flags` are added to its header's.
    fn add(&mut self, fixture: &str, path: &str, flags: u32) -> Laid {
        let file = format!("{}/test-fixtures/bin/macho/{fixture}", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(file).unwrap();
        let plan = plan(&file, fixture).unwrap();
        let mut memory = vec![0; plan.span.size as usize];
        for region in &plan.regions {
            let at = (region.vm.start.0 - plan.span.start.0) as usize;
            memory[at..at + region.file.size as usize]
                .copy_from_slice(&file[region.file.start.0 as usize..][..region.file.size as usize]);
        }
        let old = u32::from_le_bytes(memory[24..28].try_into().unwrap());
        memory[24..28].copy_from_slice(&(old | flags).to_le_bytes());
        let header = self.keep(memory);
        let path = self.keep([path.as_bytes(), &[0; 64]].concat());
        self.rows.push([header, path, 0]);
        self.changed += 1;
        Laid { plan, header: RunAddr(header) }
    }

    fn peek(&self, at: RunAddr, bytes: &mut [u8]) -> bool {
        let run = self.runs.iter().find_map(|run| {
            let from = usize::try_from(at.0.checked_sub(address(run))?).ok()?;
            run.get(from..from.checked_add(bytes.len())?)
        });
        run.is_some_and(|run| {
            bytes.copy_from_slice(run);
            true
        })
    }

    /// The images, as dyld's list says now.
    fn images(&mut self, previous: Option<&HostImages>) -> HostImages {
        let array = self.keep(self.rows.as_flattened().iter().flat_map(|word| word.to_le_bytes()).collect());
        let mut cache = vec![0; 0x1f8];
        cache[..16].copy_from_slice(b"dyld_v1   x86_64");
        cache[16..20].copy_from_slice(&self.cache.1.to_le_bytes());
        cache[0xe8..0xf0].copy_from_slice(&self.cache.0.to_le_bytes());
        let cache = self.keep(cache);
        let mut infos = vec![0; 192];
        infos[176..184].copy_from_slice(&cache.to_le_bytes());
        infos[..4].copy_from_slice(&17u32.to_le_bytes());
        infos[4..8].copy_from_slice(&(self.rows.len() as u32).to_le_bytes());
        infos[8..16].copy_from_slice(&array.to_le_bytes());
        infos[184..].copy_from_slice(&self.changed.to_le_bytes());
        let infos = RunAddr(self.keep(infos));
        let peek = |at: RunAddr, bytes: &mut [u8]| self.peek(at, bytes);
        let images = HostImages::read(&peek, infos, previous).unwrap();
        assert!(images.is_current(&peek, infos));
        images
    }
}

const IN_CACHE: u32 = 0x8000_0000;

#[test]
fn what_dyld_lists_is_found_and_so_are_its_functions() {
    for flags in [0, IN_CACHE] {
        for style in ["x64-chained", "x64-old", "a64-chained"] {
            let mut process = Process::new();
            let user = process.add(&format!("reexport-{style}.dylib"), "/opt/program", flags);
            let umbrella = process.add(&format!("umbrella-{style}.dylib"), "/usr/lib/libumbrella.dylib", flags);
            let base = process.add(&format!("dep_base-{style}.dylib"), "/usr/lib/libbase.dylib", flags);
            let images = process.images(None);
            let [one, two, three] = &images.images[..] else { panic!("{:?}", images.images) };
            assert_eq!([one.key(), two.key(), three.key()], [user.header, umbrella.header, base.header]);
            assert_eq!((two.name.as_str(), &two.soname), ("/usr/lib/libumbrella.dylib", &umbrella.plan.soname));
            for (image, laid) in [(one, &user), (two, &umbrella), (three, &base)] {
                assert_eq!(image.build_id(), laid.plan.build_id.as_deref());
                assert_eq!(image.asks(), laid.plan.needs);
                assert_eq!(image.bias().0, laid.header.0.wrapping_sub(laid.plan.span.start.0));
            }
            // Needs keep their numbers; what is not there is the image itself.
            let provider = |index| Provider::Host(HostId(index));
            let expected: Vec<_> = user
                .plan
                .needs
                .iter()
                .map(|need| match &need.name {
                    name if Some(name) == umbrella.plan.soname.as_ref() => provider(1),
                    name if Some(name) == base.plan.soname.as_ref() => provider(2),
                    _ => provider(0),
                })
                .collect();
            assert_eq!(images.needs(0), expected, "{style}");
            assert!(images.needs(1).contains(&provider(2)), "{style}");
            assert!(images.needs(7).is_empty());
            let answer = one.find(&Query::by_name(b"answer")).unwrap().vm + one.bias();
            assert!(images.is_code(answer) && images.at(answer) == Some(0), "{style}");
            assert!(!images.is_code(RunAddr(answer.0 + 0x100_0000)));
            assert!(two.find(&Query::by_name(b"dep_value")).is_none(), "that is another image's");
            let near = one.near(answer.to_vm(one.bias())).map(|near| near.name.to_vec());
            assert_eq!(near.as_deref(), (flags != 0).then_some(&b"answer"[..]), "{style}");
            let mut names = Vec::new();
            three.exports(|export| names.push(export.name.to_vec()));
            assert!(names.contains(&b"_dep_value".to_vec()), "{style}");
        }
    }
}

/// An image that was taken out of the cache still says that it is in it, and may be unmapped.
#[test]
fn what_lies_outside_the_cache_is_copied() {
    // All of memory; a cache without room for an image; and one that does not tell its size.
    for (cache, borrowed) in [((u64::MAX, 0x1f8), true), ((16, 0x1f8), false), ((u64::MAX, 0xe8), false)] {
        let mut process = Process::new();
        process.cache = cache;
        process.add("dep_base-x64-chained.dylib", "/usr/lib/libbase.dylib", IN_CACHE);
        let images = process.images(None);
        let [base] = &images.images[..] else { panic!("{:?}", images.images) };
        assert_eq!(base._copies.is_empty(), borrowed, "{cache:?}");
        assert!(base.find(&Query::by_name(b"dep_value")).is_some(), "{cache:?}");
    }
}

#[test]
fn the_program_is_the_image_of_that_kind() {
    let mut process = Process::new();
    process.add("dep_base-x64-chained.dylib", "/usr/lib/libbase.dylib", IN_CACHE);
    // MH_DYLIB becomes MH_EXECUTE, and MH_DYLINKER, which defines nothing for others.
    for (kind, path) in [(2u8, "/bin/program"), (7, "/usr/lib/dyld")] {
        let laid = process.add("rebase-x64-chained.dylib", path, 0);
        let mut memory = process.runs.iter().find(|run| address(run) == laid.header.0).unwrap().to_vec();
        memory[12] = kind;
        process.rows.last_mut().unwrap()[0] = process.keep(memory);
    }
    let images = process.images(None);
    assert_eq!(images.main().map(|image| image.path()), Some(Path::new("/bin/program")));
    assert!(images.images[0].is_main, "it is the first, wherever it stood");
    assert_eq!(images.images.iter().map(|image| image.global).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn what_stays_is_not_read_again() {
    let mut process = Process::new();
    process.add("dep_base-x64-chained.dylib", "/a", 0);
    process.add("umbrella-x64-chained.dylib", "/b", 0);
    let first = process.images(None);
    process.add("reexport-x64-chained.dylib", "/c", IN_CACHE);
    process.rows.remove(1);
    let second = process.images(Some(&first));
    assert_eq!(second.images.len(), 2);
    assert!(Arc::ptr_eq(&first.images[0], &second.images[0]));
    // Another image where one was: the same path is not enough.
    process.rows[0][0] = process.rows[1][0];
    let third = process.images(Some(&second));
    assert!(!Arc::ptr_eq(&second.images[0], &third.images[0]));
    assert_eq!(third.images[0].key(), third.images[1].key());
}

#[test]
fn what_went_away_is_left_out() {
    let mut process = Process::new();
    let kept = process.add("dep_base-x64-chained.dylib", "/a", 0);
    process.rows.insert(0, [0x1000, 0x2000, 0]);
    let images = process.images(None);
    assert_eq!(images.images.iter().map(|image| image.key()).collect::<Vec<_>>(), [kept.header]);
    assert!(images.main().is_none(), "no program among these");
}
