//! Which files a sweep opens, and an audit reads.

use crate::failure::{Failure, diagnose};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// All shared objects at or below `paths`, in the order of their names, then whatever `list` names, a path a line.
pub(crate) fn collect(paths: &[PathBuf], list: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        // A link that the user names is meant; links below it would lead to the same files twice, or in circles.
        let meta = fs::metadata(path).map_err(|error| Failure::file(path, error))?;
        if meta.is_dir() {
            below(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    if let Some(list) = list {
        let text = fs::read(list).map_err(|error| Failure::file(list, error))?;
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        files.extend(lines.map(|line| PathBuf::from(OsString::from_vec(line.to_vec()))));
    }
    Ok(files)
}

fn below(root: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let mut entries: Vec<PathBuf> = fs::read_dir(root)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| Failure::file(root, error))?;
    entries.sort();
    for path in entries {
        match fs::symlink_metadata(&path) {
            // A folder inside that cannot be read hides some files, and is no reason not to open the others.
            Ok(meta) if meta.is_dir() => below(&path, files).unwrap_or_else(|failure| diagnose(&failure)),
            Ok(meta) if meta.is_file() && is_shared_object(&path) => files.push(path),
            // Other kinds, and what vanished in between.
            _ => {}
        }
    }
    Ok(())
}

/// Whether a file starts as a shared object does, of whatever machine: to refuse it is then the loader's business.
fn is_shared_object(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    read.is_ok() && (is_elf_object(&start) || is_mach_object(&start))
}

/// `e_type` is `ET_DYN`, in the file's own byte order.
fn is_elf_object(start: &[u8]) -> bool {
    const ET_DYN: u16 = 3;
    const BIG_ENDIAN: u8 = 2;
    let (Some(&[low, high]), Some(&order)) = (start.get(16..18).and_then(<[u8]>::first_chunk), start.get(5)) else {
        return false;
    };
    let bytes = [low, high];
    let e_type = if order == BIG_ENDIAN { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    start.starts_with(b"\x7fELF") && e_type == ET_DYN
}

/// `filetype` is `MH_DYLIB` or `MH_BUNDLE`; a universal file is taken without a look at its slices. Java's class files
/// share that magic, but no universal file has as many slices as their version says.
fn is_mach_object(start: &[u8]) -> bool {
    const MH_MAGIC_64: [u8; 4] = 0xfeed_facf_u32.to_le_bytes();
    const FAT_MAGICS: [[u8; 4]; 2] = [0xcafe_babe_u32.to_be_bytes(), 0xcafe_babf_u32.to_be_bytes()];
    const OBJECTS: [u8; 2] = [6, 8];
    const SLICES: u8 = 20;
    match start.first_chunk() {
        Some(&MH_MAGIC_64) => matches!(start.get(12..16), Some([kind, 0, 0, 0]) if OBJECTS.contains(kind)),
        Some(magic) if FAT_MAGICS.contains(magic) => {
            matches!(start.get(4..8), Some([0, 0, 0, slices]) if *slices < SLICES)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_by_their_first_bytes() {
        let with = |start: &[u8], at: usize, bytes: &[u8]| {
            let mut all = [0; 64];
            all[..start.len()].copy_from_slice(start);
            all[at..at + bytes.len()].copy_from_slice(bytes);
            all
        };
        let cases = [
            (with(b"\x7fELF\x02\x01", 16, &[3, 0]), true, "ELF, little-endian ET_DYN"),
            (with(b"\x7fELF\x02\x02", 16, &[0, 3]), true, "ELF, big-endian ET_DYN"),
            (with(b"\x7fELF\x02\x01", 16, &[2, 0]), false, "ELF, ET_EXEC"),
            (with(b"\xcf\xfa\xed\xfe", 12, &[6]), true, "Mach-O, MH_DYLIB"),
            (with(b"\xcf\xfa\xed\xfe", 12, &[2]), false, "Mach-O, MH_EXECUTE"),
            (with(b"\xca\xfe\xba\xbe", 7, &[2]), true, "universal, two slices"),
            (with(b"\xca\xfe\xba\xbe", 7, &[61]), false, "Java 17 class"),
            (with(b"!<arch>\n", 16, &[3, 0]), false, "archive"),
        ];
        for (start, expected, what) in cases {
            assert_eq!(is_elf_object(&start) || is_mach_object(&start), expected, "{what}");
        }
        assert!(!is_elf_object(b"\x7fELF"));
        assert!(!is_mach_object(b"\xca"));
    }
}
