//! In a process that has more rights than its user (`AT_SECURE`), here those of another group: nothing comes from the
//! environment, and nothing from folders that the user could have made.

use crate::support::{Child, Folder, argument, describe, say};
use crate::{CHECKSUM, answer, outcome, skip};
use sideload::Loader;
use sideload::search::SearchOptions;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What would be loaded, or the error.
fn link(loader: &Loader, name: impl AsRef<OsStr>) -> String {
    let file = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    match loader.link(name) {
        Ok(link) => link.plan().modules.iter().map(|module| file(&module.path)).collect::<Vec<_>>().join(" and "),
        Err(error) => describe(&error),
    }
}

#[test]
#[ignore = "run by the others, in child processes"]
fn child() {
    let (plain, needy) = (PathBuf::from(argument("PLAIN")), PathBuf::from(argument("NEEDY")));
    let (name, folder) = (plain.file_name().expect("a file"), plain.parent().expect("a file"));
    // Now, since the system loader takes the variable out of the environment of a secure process.
    // SAFETY: no other thread runs.
    unsafe { std::env::set_var("LD_LIBRARY_PATH", folder) };
    let claimed = SearchOptions { secure: false, ..SearchOptions::host() };
    let trusted = SearchOptions { default_folders: vec![needy.parent().expect("a file").into()], ..claimed.clone() };
    // SAFETY: getauxval only reads.
    say(format!("AT_SECURE {}", unsafe { libc::getauxval(libc::AT_SECURE) }));
    say(link(&Loader::new(), name));
    say(link(&Loader::new().environment(), name));
    say(link(&Loader::new().library_path(folder), name));
    say(link(&Loader::new(), &plain));
    say(link(&Loader::new(), &needy));
    say(link(&Loader::new().search(claimed), &needy));
    say(link(&Loader::new().search(trusted), &needy));
    say(outcome(answer(&Loader::new(), "libz.so.1")));
}

/// Goes on as another executable, with the environment and the descriptors that the parent gave.
#[test]
#[ignore = "run by the others, in child processes"]
fn child_with_more_rights() {
    let error = Command::new(argument("COPY")).args(["secure::child", "--exact", "--ignored", "--nocapture"]).exec();
    panic!("{error}");
}

/// A group that this process does not run as and may give a file to.
fn other_group() -> Option<u32> {
    // SAFETY: these have no preconditions.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    if user == 0 {
        return Some(if group == 1 { 2 } else { 1 });
    }
    let mut groups = [0; 1024];
    // SAFETY: the array is as long as said.
    let count = unsafe { libc::getgroups(groups.len() as i32, groups.as_mut_ptr()) };
    let count = usize::try_from(count).ok()?;
    groups[..count].iter().copied().find(|&other| other != group)
}

/// Copies this test, to run as that group whoever starts it.
fn copy_for(group: u32, folder: &Folder) -> io::Result<PathBuf> {
    let copy = folder.copy(&std::env::current_exe()?);
    chown(&copy, None, Some(group))?;
    // After the change of group, which takes the bit away.
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o2755))?;
    Ok(copy)
}

#[test]
fn a_process_with_more_rights_trusts_no_folder_of_its_user() {
    let Some(group) = other_group() else { return skip("there is no other group to run as") };
    let folder = Folder::new("secure");
    let copy = match copy_for(group, &folder) {
        Ok(copy) => copy,
        Err(error) => return skip(&format!("no file can be given to group {group}: {error}")),
    };
    let [plain, needy] = ["plugin", "runpath"].map(|name| test_fixtures::build(name).path);
    let run = |test: &str| Child::new(test).with("PLAIN", &plain).with("NEEDY", &needy).with("COPY", &copy).run();
    let (usual, secure) = (run("secure::child"), run("secure::child_with_more_rights"));
    let (usual, secure) = (usual.expect_success().said(), secure.expect_success().said());
    if secure[0] == "AT_SECURE 0" {
        return skip("the system does not honour the set-group-id bit here");
    }

    let nowhere = "NotFound | libplugin.so: find: not found   libplugin.so (ld.so.cache): not listed   \
        /lib/x86_64-linux-gnu/libplugin.so (default folder): not found";
    let both = "librunpath.so and libpath_leaf.so";
    assert_eq!(usual[0], "AT_SECURE 0");
    assert!(usual[1].starts_with(nowhere), "the environment is read only when asked: {}", usual[1]);
    let found = ["libplugin.so", "libplugin.so", "libplugin.so", both, both, both, CHECKSUM];
    assert_eq!(usual[2..], found, "the control");

    assert_eq!(secure[0], "AT_SECURE 1");
    assert!(secure[1].starts_with(nowhere), "{}", secure[1]);
    assert!(secure[2].starts_with(nowhere), "not even when asked: {}", secure[2]);
    let passed_over = format!("find: not found   {} (library path): not tried in a secure process", plain.display());
    assert!(secure[3].contains(&passed_over), "{}", secure[3]);
    assert_eq!(secure[4], "libplugin.so", "a path is the caller's own");
    for (refused, what) in [(secure[5], "by default"), (secure[6], "whatever the options say")] {
        let why = format!("(RUNPATH of {}): not tried in a secure process", needy.display());
        assert!(
            refused.starts_with("NotFound | libpath_leaf.so: find: ") && refused.contains(&why),
            "{what}: {refused}"
        );
    }
    assert_eq!(secure[7..], [both, CHECKSUM], "a default folder is the system's, and so is zlib");
}
