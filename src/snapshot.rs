//! Copies of image files that nobody can change: see [`Source::snapshot`](crate::Source::snapshot).

use crate::error::ErrorKind;
use crate::link::{FileBytes, ImageBytes, ImageFile};
use crate::platform::{seal, sealable_file, unix};
use crate::room;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Fills a buffer from an offset of a file on.
type ReadAt<'r> = dyn Fn(&mut [u8], u64) -> Result<(), ErrorKind> + 'r;

/// The same image, from a copy that nobody can change. Bytes in memory are nobody's to change already.
///
/// # Errors
/// The file cannot be read, or is shorter than it was.
pub(crate) fn of(image: ImageFile) -> Result<ImageFile, ErrorKind> {
    let ImageFile { path, bytes: FileBytes { bytes, file: Some(file), offset, file_size }, .. } = &image else {
        return Ok(image);
    };
    let size = bytes.len() as u64;
    // Read, not copied from the mapping: that would be where another process cuts the file off.
    let read = |piece: &mut [u8], at: u64| {
        let mut done = 0;
        while done < piece.len() {
            match unix::read_at(file, &mut piece[done..], offset + at + done as u64) {
                Ok(0) => {
                    let now = unix::stat(file).map_or(0, |(stamp, _)| stamp.size);
                    return Err(ErrorKind::Changed { size: now, expected: *file_size });
                }
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ErrorKind::Io { call: "pread", path: path.clone(), source }),
            }
        }
        Ok(())
    };
    let bytes = match sealed_copy(size, &read)? {
        Some((map, copy)) => {
            FileBytes { bytes: ImageBytes::Mapped(map), file: Some(Arc::new(copy)), offset: 0, file_size: size }
        }
        None => {
            let length = usize::try_from(size).map_err(|_| ErrorKind::OutOfMemory { bytes: size })?;
            let mut copy = room::filled(0, length)?;
            read(&mut copy, 0)?;
            FileBytes { bytes: ImageBytes::Owned(copy), file: None, offset: 0, file_size: 0 }
        }
    };
    Ok(ImageFile { bytes, ..image })
}

/// A copy in a file without a name that is then sealed; `None` where the system has none, does not allow it, or cannot
/// hold it.
fn sealed_copy(size: u64, read: &ReadAt<'_>) -> Result<Option<(memmap2::Mmap, File)>, ErrorKind> {
    const PIECE: u64 = 1 << 16;
    let Some(copy) = sealable_file() else { return Ok(None) };
    let mut piece = room::filled(0, PIECE as usize)?;
    let mut at = 0;
    while at < size {
        let piece = &mut piece[..(size - at).min(PIECE) as usize];
        read(piece, at)?;
        if unix::write_at(&copy, piece, at).is_err() {
            return Ok(None);
        }
        at += piece.len() as u64;
    }
    if !seal(&copy) {
        return Ok(None);
    }
    Ok(unix::map_file(&copy, 0, size).ok().map(|map| (map, copy)))
}
