//! Which names of libdl the library's own object code for another system defines or wants: none, as `tests/no_libdl.rs`
//! shows for this one.

use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol};
use std::fs;
use std::path::Path;

/// As in `tests/support`: those that the loader does without.
const LIBDL: [&str; 11] = [
    "dlopen",
    "dlmopen",
    "dlsym",
    "dlvsym",
    "dladdr",
    "dladdr1",
    "dlinfo",
    "dlclose",
    "dlerror",
    "dl_iterate_phdr",
    "_dl_find_object",
];

/// The control: what the library does want of macOS.
const WANTED: &str = "_mach_vm_read_overwrite";

/// Looks through the objects of the library that was built last in a folder, for macOS.
///
/// # Errors
/// There is none, or it has such a name.
pub(crate) fn check(folder: &Path) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let rlibs = entries.flatten().filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libsideload-") && name.ends_with(".rlib")
    });
    let newest = rlibs.max_by_key(|entry| entry.metadata().and_then(|it| it.modified()).ok());
    check_rlib(&newest.ok_or_else(|| format!("{}: no libsideload", folder.display()))?.path())
}

fn check_rlib(rlib: &Path) -> Result<(), String> {
    let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", rlib.display());
    let bytes = fs::read(rlib).map_err(|error| failed(&error))?;
    let archive = ArchiveFile::parse(&*bytes).map_err(|error| failed(&error))?;
    let (mut objects, mut names, mut sees) = (0, 0, false);
    for member in archive.members() {
        let member = member.map_err(|error| failed(&error))?;
        let name = String::from_utf8_lossy(member.name());
        if !(name.starts_with("sideload-") && name.ends_with(".o")) {
            continue;
        }
        objects += 1;
        let object = object::File::parse(member.data(&*bytes).map_err(|error| failed(&error))?);
        for symbol in object.map_err(|error| failed(&error))?.symbols() {
            let symbol = symbol.name().map_err(|error| failed(&error))?;
            names += 1;
            sees |= symbol == WANTED;
            // C names have an underscore there.
            if LIBDL.contains(&symbol.strip_prefix('_').unwrap_or(symbol)) {
                return Err(failed(&format_args!("{name} has the name {symbol}")));
            }
        }
    }
    if !sees {
        return Err(failed(&format_args!("{WANTED} is not wanted: {objects} objects were looked through")));
    }
    println!("{}: no name of libdl among {names} in {objects} objects", rlib.display());
    Ok(())
}
