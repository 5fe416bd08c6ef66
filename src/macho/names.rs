//! The names of chained imports, which an image may hold compressed (`symbols_format` 1: one zlib stream, RFC 1950).

use crate::bytes::Bytes;
use crate::error::{ErrorKind, Place};
use crate::room;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use std::borrow::Cow;

/// The table of names, as imports have offsets in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Names<'a>(Cow<'a, [u8]>);

impl<'a> Names<'a> {
    /// Names as the file has them.
    pub(super) fn plain(bytes: &'a [u8]) -> Names<'a> {
        Names(Cow::Borrowed(bytes))
    }

    /// Names out of a zlib stream, which may have anything behind it: payloads are padded. Those of real images would take
    /// a few hundredths of the image; what takes more than `most`, all of it, was made to fill memory.
    ///
    /// # Errors
    /// What is no such stream, is cut off, or has another check sum; one that is too long; memory that cannot be had.
    pub(super) fn inflated(stream: &[u8], most: u64, place: Place) -> Result<Names<'a>, ErrorKind> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let bytes = inflate(stream, most).map_err(|wrong| match wrong {
            Wrong::Stream(what) => ErrorKind::malformed(what, place),
            Wrong::Memory(kind) => kind,
        })?;
        Ok(Names(Cow::Owned(bytes)))
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn at(&self, offset: u64) -> Option<&[u8]> {
        Bytes(&self.0).c_str(offset)
    }

    pub(super) fn within(&self, offset: u64, limit: u64) -> Option<&[u8]> {
        Bytes(&self.0).c_str_within(offset, limit)
    }
}

enum Wrong {
    Stream(&'static str),
    Memory(ErrorKind),
}

/// What the stream holds, if that is no more than `most`.
fn inflate(stream: &[u8], most: usize) -> Result<Vec<u8>, Wrong> {
    let flags = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut state = DecompressorOxide::new();
    let mut bytes = Vec::new();
    let (mut read, mut written) = (0, 0);
    loop {
        // A stream says its length only by its end, so the room doubles, and none is taken that no output fills.
        let room = bytes.len().max(stream.len()).min(most - bytes.len());
        room::reserve(&mut bytes, room).map_err(Wrong::Memory)?;
        bytes.resize(bytes.len() + room, 0);
        let (status, more_read, more_written) = decompress(&mut state, &stream[read..], &mut bytes, written, flags);
        (read, written) = (read + more_read, written + more_written);
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput if bytes.len() < most => {}
            TINFLStatus::HasMoreOutput => {
                return Err(Wrong::Stream("chained fixups: compressed names out of proportion"));
            }
            TINFLStatus::Adler32Mismatch => {
                return Err(Wrong::Stream("chained fixups: the check sum of the names differs"));
            }
            TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
                return Err(Wrong::Stream("chained fixups: the compressed names are cut off"));
            }
            _ => return Err(Wrong::Stream("chained fixups: the compressed names are no zlib stream")),
        }
    }
    bytes.truncate(written);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec_zlib;

    fn text(stream: &[u8]) -> Result<Vec<u8>, String> {
        let place = Place::Entry(0);
        Names::inflated(stream, 1 << 16, place).map(|names| names.0.into_owned()).map_err(|kind| kind.to_string())
    }

    #[test]
    fn a_stream_is_read_to_its_end() {
        let names: Vec<u8> =
            (0..2000u32).flat_map(|index| format!("_name{}\0", index * 7919 % 65_521).into_bytes()).collect();
        for level in [0, 1, 9] {
            let mut stream = compress_to_vec_zlib(&names, level);
            assert_eq!(text(&stream).unwrap(), names, "level {level}");
            stream.extend([0; 7]);
            assert_eq!(text(&stream).unwrap(), names, "level {level}, padded");
        }
        assert_eq!(text(&compress_to_vec_zlib(&[], 9)).unwrap(), b"");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let sound = compress_to_vec_zlib(b"\0_one\0_two\0_three\0", 9);
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut stream = sound.clone();
            change(&mut stream);
            stream
        };
        let cases = [
            (Vec::new(), "cut off"),
            (sound[..1].to_vec(), "cut off"),
            (sound[..sound.len() - 1].to_vec(), "cut off"),
            (with(&|stream| *stream.last_mut().unwrap() ^= 1), "check sum"),
            (with(&|stream| stream[0] = 0x79), "no zlib stream"),
            (with(&|stream| stream[2] |= 6), "no zlib stream"),
            (compress_to_vec_zlib(&[0; 1 << 20], 9), "out of proportion"),
        ];
        for (stream, expected) in cases {
            let said = text(&stream).unwrap_err();
            assert!(said.contains(expected), "{said:?}, and not {expected:?}");
        }
    }
}
