//! Load commands: the list behind the header that says everything else.
//!
//! Grammar (`<mach-o/loader.h>`, little-endian): the header is { magic, cputype, cpusubtype, filetype, ncmds,
//! sizeofcmds, flags, reserved }, eight words; each command { cmd, cmdsize, … }, with `cmdsize` counting all of it.

use super::limits;
use super::segments::Segment;
use crate::addr::{FileOffset, FileRange};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, NotAnImage, Place};
use crate::plan::{Need, NeedKind};
use goblin::mach::header as mh;
use goblin::mach::load_command as lc;

/// Size of `mach_header_64`.
pub const HEADER: u64 = 32;
/// A command that a loader must know, or leave the image alone.
const LC_REQ_DYLD: u32 = 0x8000_0000;
const LC_FUNCTION_VARIANTS: u32 = 0x37;
const LC_FUNCTION_VARIANT_FIXUPS: u32 = 0x38;
/// A `timestamp` that says that a `dylib_use_command` follows, with flags behind the versions.
const USE_MARKER: u32 = 0x1a74_1800;

/// The checked header of one image.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The bytes of the image, without those of its neighbours in a universal file.
    pub bytes: Bytes<'a>,
    /// `MH_BUNDLE`: may be opened, but nothing can need it.
    pub bundle: bool,
    /// `flags`
    pub flags: u32,
    commands: u32,
    size: u32,
}

impl<'a> Header<'a> {
    /// Checks the header: 64-bit, little-endian, a library or a bundle.
    ///
    /// # Errors
    /// The first field that is not as it must be.
    pub fn parse(image: &'a [u8]) -> Result<Header<'a>, ErrorKind> {
        let bytes = Bytes(image);
        let cut = ErrorKind::NotAnImage(NotAnImage::Truncated);
        let words = || Some([bytes.u32(12)?, bytes.u32(16)?, bytes.u32(20)?, bytes.u32(24)?, bytes.u32(28)?]);
        match bytes.array(0) {
            Some([0xcf, 0xfa, 0xed, 0xfe]) => {}
            Some([0xce, 0xfa, 0xed, 0xfe]) => {
                return Err(ErrorKind::WrongTarget {
                    field: "magic",
                    found: "that of a 32-bit image".into(),
                    expected: "a 64-bit one".into(),
                });
            }
            Some(magic) => return Err(ErrorKind::NotAnImage(NotAnImage::Unknown { magic })),
            None => return Err(cut),
        }
        let Some([file_type, commands, size, flags, _]) = words() else { return Err(cut) };
        check_type(file_type)?;
        bytes.slice(HEADER, u64::from(size)).ok_or(ErrorKind::malformed(
            "mach_header_64: sizeofcmds reaches past the end of the image",
            Place::File(FileOffset(20)),
        ))?;
        Ok(Header { bytes, bundle: file_type == mh::MH_BUNDLE, flags, commands, size })
    }

    /// First byte behind the load commands.
    pub fn end(&self) -> u64 {
        HEADER + u64::from(self.size)
    }
}

fn check_type(file_type: u32) -> Result<(), ErrorKind> {
    let found = match file_type {
        mh::MH_DYLIB | mh::MH_BUNDLE => return Ok(()),
        mh::MH_OBJECT => "MH_OBJECT (an object file, which only a linker reads)".into(),
        mh::MH_EXECUTE => "MH_EXECUTE (an executable)".into(),
        mh::MH_CORE => "MH_CORE (a core dump)".into(),
        mh::MH_DYLINKER => "MH_DYLINKER (a dynamic linker)".into(),
        mh::MH_DYLIB_STUB => "MH_DYLIB_STUB (a library without content)".into(),
        mh::MH_DSYM => "MH_DSYM (debug information)".into(),
        mh::MH_KEXT_BUNDLE => "MH_KEXT_BUNDLE (a kernel extension)".into(),
        0xc => "MH_FILESET (a kernel collection)".into(),
        other => format!("{other:#x}"),
    };
    Err(ErrorKind::WrongTarget { field: "filetype", found, expected: "MH_DYLIB or MH_BUNDLE".into() })
}

/// What the load commands of one image say, as far as a loader needs it. Ranges are relative to the image.
#[derive(Debug, Default)]
pub struct Commands {
    /// `LC_SEGMENT_64`, in the order in which fixups number them.
    pub segments: Vec<Segment>,
    /// `LC_ID_DYLIB`
    pub install_name: Option<Vec<u8>>,
    /// All kinds of `LC_LOAD_DYLIB`, in the order in which ordinals number them.
    pub needs: Vec<Need>,
    /// `LC_RPATH`
    pub run_paths: Vec<Vec<u8>>,
    /// `LC_UUID`
    pub uuid: Option<Vec<u8>>,
    /// `LC_ROUTINES_64`
    pub routine: Option<u64>,
    /// `LC_DYLD_INFO(_ONLY)`: rebase, bind, weak bind, lazy bind and export information.
    pub dyld_info: Option<[FileRange; 5]>,
    /// `LC_DYLD_CHAINED_FIXUPS`
    pub chained: Option<FileRange>,
    /// `LC_CODE_SIGNATURE`
    pub signature: Option<FileRange>,
    /// `LC_DYLD_EXPORTS_TRIE`
    pub exports: Option<FileRange>,
    /// `LC_SYMTAB`: the rows, and their names.
    pub symbols: [FileRange; 2],
    /// `LC_DYSYMTAB`: whether there is anything that only classic relocations would fix.
    pub classic: bool,
}

impl Commands {
    /// Reads all of them.
    ///
    /// # Errors
    /// A command that contradicts itself or the image, or that asks for what no loader here can do.
    pub fn read(header: &Header<'_>) -> Result<Commands, ErrorKind> {
        let mut commands = Commands::default();
        let mut at = HEADER;
        for index in 0..u64::from(header.commands) {
            let malformed = |what| ErrorKind::malformed(what, Place::Entry(index));
            let outside = || malformed("load commands: one reaches past sizeofcmds");
            let size = header.bytes.u32(at + 4).filter(|_| at + 8 <= header.end()).ok_or_else(outside)?;
            if size < 8 || size % 8 != 0 {
                return Err(malformed("load commands: cmdsize is no multiple of 8"));
            }
            let end = at + u64::from(size);
            let body = header.bytes.slice(at, u64::from(size)).filter(|_| end <= header.end()).ok_or_else(outside)?;
            commands.add(&Command { body: Bytes(body), index, image: header.bytes })?;
            at = end;
        }
        commands.check_counts()?;
        Ok(commands)
    }

    fn check_counts(&self) -> Result<(), ErrorKind> {
        let searched: usize = self.run_paths.iter().map(|path| path.len() + 1).sum();
        let what = match () {
            () if self.segments.len() > limits::SEGMENTS => "LC_SEGMENT_64: more segments than any loader takes",
            () if self.needs.len() > limits::NEEDS => "LC_LOAD_DYLIB: thousands of needs",
            () if searched > limits::SEARCH_PATHS => "LC_RPATH: more search paths than any image has",
            () => return Ok(()),
        };
        Err(ErrorKind::Malformed { what, place: None })
    }

    fn add(&mut self, command: &Command<'_>) -> Result<(), ErrorKind> {
        match command.word(0)? {
            lc::LC_SEGMENT_64 => self.segments.push(Segment::read(command)?),
            lc::LC_SEGMENT => return Err(ErrorKind::unsupported("LC_SEGMENT (a 32-bit segment)")),
            lc::LC_ID_DYLIB => self.install_name = Some(command.string(8)?),
            lc::LC_LOAD_DYLIB | lc::LC_LAZY_LOAD_DYLIB => self.needs.push(command.need(NeedKind::Required)?),
            lc::LC_LOAD_WEAK_DYLIB => self.needs.push(command.need(NeedKind::Optional)?),
            lc::LC_REEXPORT_DYLIB => self.needs.push(command.need(NeedKind::Reexported)?),
            lc::LC_LOAD_UPWARD_DYLIB => self.needs.push(command.need(NeedKind::Upward)?),
            lc::LC_RPATH => self.run_paths.push(command.string(8)?),
            lc::LC_UUID => self.uuid = command.body.slice(8, 16).map(<[u8]>::to_vec),
            lc::LC_ROUTINES_64 => self.routine = Some(command.body.u64(8).ok_or_else(|| command.cut())?),
            lc::LC_DYLD_INFO | lc::LC_DYLD_INFO_ONLY => {
                let mut ranges = [FileRange::default(); 5];
                for (range, at) in ranges.iter_mut().zip((8..).step_by(8)) {
                    *range = command.payload(at)?;
                }
                self.dyld_info = Some(ranges);
            }
            lc::LC_DYLD_CHAINED_FIXUPS => self.chained = Some(command.payload(8)?),
            lc::LC_DYLD_EXPORTS_TRIE => self.exports = Some(command.payload(8)?),
            lc::LC_CODE_SIGNATURE => self.signature = Some(command.payload(8)?),
            lc::LC_SYMTAB => self.symbols = command.symbols()?,
            lc::LC_DYSYMTAB => {
                let [undefined, external, local] = [28, 68, 76].map(|at| command.word(at));
                self.classic = undefined? | external? | local? != 0;
            }
            lc::LC_ENCRYPTION_INFO | lc::LC_ENCRYPTION_INFO_64 if command.word(16)? != 0 => {
                return Err(ErrorKind::unsupported("LC_ENCRYPTION_INFO_64 (an encrypted image)"));
            }
            LC_FUNCTION_VARIANTS | LC_FUNCTION_VARIANT_FIXUPS => {
                return Err(ErrorKind::unsupported("LC_FUNCTION_VARIANTS (functions chosen by the processor)"));
            }
            lc::LC_MAIN => {}
            other if other & LC_REQ_DYLD != 0 => {
                let symbol = Some(format!("{other:#x}"));
                let place = Some(Place::Entry(command.index));
                return Err(ErrorKind::Unsupported { what: "a load command that LC_REQ_DYLD marks", place, symbol });
            }
            _ => {}
        }
        Ok(())
    }
}

/// One load command.
pub struct Command<'a> {
    /// All of it.
    pub body: Bytes<'a>,
    /// Its number, for messages.
    pub index: u64,
    /// The whole image.
    pub image: Bytes<'a>,
}

impl Command<'_> {
    /// The error that it is shorter than its kind.
    pub fn cut(&self) -> ErrorKind {
        ErrorKind::malformed("load commands: cmdsize is too small", Place::Entry(self.index))
    }

    fn word(&self, at: u64) -> Result<u32, ErrorKind> {
        self.body.u32(at).ok_or_else(|| self.cut())
    }

    /// The string whose offset in the command stands at `at` (`union lc_str`). It may end with the command.
    pub(super) fn string(&self, at: u64) -> Result<Vec<u8>, ErrorKind> {
        let outside =
            || ErrorKind::malformed("load commands: a string lies outside its command", Place::Entry(self.index));
        let rest = self.body.from(u64::from(self.word(at)?)).filter(|rest| !rest.is_empty()).ok_or_else(outside)?;
        let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        if end > limits::PATH {
            return Err(ErrorKind::malformed("load commands: a path longer than any", Place::Entry(self.index)));
        }
        Ok(rest[..end].to_vec())
    }

    /// The file range whose offset and size stand at `at`.
    fn payload(&self, at: u64) -> Result<FileRange, ErrorKind> {
        let (offset, size) = (u64::from(self.word(at)?), u64::from(self.word(at + 4)?));
        if size == 0 {
            return Ok(FileRange::default());
        }
        let outside =
            || ErrorKind::malformed("load commands: a table lies outside the image", Place::Entry(self.index));
        FileRange::new(offset, size).filter(|range| range.end().0 <= self.image.len() as u64).ok_or_else(outside)
    }

    /// `LC_SYMTAB`: offset and count of the rows, offset and size of the names.
    fn symbols(&self) -> Result<[FileRange; 2], ErrorKind> {
        const ROW: u64 = 16;
        let [rows, count, names, size] = [8, 12, 16, 20].map(|at| self.word(at));
        // Only listings read it, so what lies outside is left out: a strip tool may have cut it off.
        let range = |start: u32, size: u64| FileRange::new(u64::from(start), size);
        let inside = |range: &FileRange| range.end().0 <= self.image.len() as u64;
        let rows = range(rows?, u64::from(count?) * ROW).filter(inside).unwrap_or_default();
        Ok([rows, range(names?, u64::from(size?)).filter(inside).unwrap_or_default()])
    }

    pub(super) fn need(&self, kind: NeedKind) -> Result<Need, ErrorKind> {
        let name = self.string(8)?;
        let is_use = self.word(12)? == USE_MARKER && self.word(8)? == 28;
        let flags = if is_use { self.word(24)? } else { 0 };
        let kind = match flags {
            _ if flags & 1 != 0 => NeedKind::Optional,
            _ if flags & 2 != 0 => NeedKind::Reexported,
            _ if flags & 4 != 0 => NeedKind::Upward,
            _ => kind,
        };
        Ok(Need { name, kind })
    }
}
