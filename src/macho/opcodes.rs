//! `LC_DYLD_INFO`: rebase and bind opcodes → fixups.
//!
//! Grammar (`<mach-o/loader.h>`): each byte is an operation in its high four bits and an immediate value in the low
//! four; some have ULEB128, SLEB128 or string operands. They drive a machine with an address, and for binds also a
//! symbol, a library ordinal, flags and an addend; a `DO` operation makes a fixup from its present state and moves on.
//! In the lazy stream `DONE` ends an entry, not the stream.

mod steps;

use super::Tables;
use super::symbols::{Import, Stream};
use crate::addr::{FileOffset, VmAddr, VmRange};
use crate::bytes::Cursor;
use crate::error::{ErrorKind, Place};
use crate::symbol::ImportId;

const POINTER: u64 = 8;
const TYPE_POINTER: u8 = 1;

/// Where the machine writes: an address in a segment, and a limit, since a few bytes can ask for 2^64 fixups.
struct Head<'t> {
    tables: &'t Tables,
    at: u64,
    kind: u8,
    left: u64,
}

impl<'t> Head<'t> {
    fn new(tables: &'t Tables) -> Head<'t> {
        Head { tables, at: 0, kind: TYPE_POINTER, left: tables.image.size }
    }

    fn segment(&mut self, index: u8, offset: u64) -> Result<(), Wrong> {
        let segment = self.tables.segments.get(usize::from(index)).ok_or(Wrong("opcodes: no such segment"))?;
        self.at = segment.vm.start.0.wrapping_add(offset);
        Ok(())
    }

    /// So many fixups from here on, with so many bytes between them; moves on behind them.
    #[inline]
    fn run(&mut self, count: u64, skip: u64) -> Result<Run, Wrong> {
        if self.kind != TYPE_POINTER {
            return Err(Wrong("opcodes: a fixup of text, not of a pointer"));
        }
        self.left = self.left.checked_sub(count).ok_or(Wrong("opcodes: more fixups than the image has bytes"))?;
        let run = Run { place: VmAddr(self.at), count, distance: skip.wrapping_add(POINTER) };
        self.at = self.at.wrapping_add(run.distance.wrapping_mul(count));
        Ok(run)
    }
}

/// Rebases at equal distances.
#[derive(Clone, Copy)]
pub struct Run {
    /// The first byte written.
    pub place: VmAddr,
    /// How many.
    pub count: u64,
    /// From one to the next, in bytes.
    pub distance: u64,
}

impl Run {
    /// The place of each of them.
    #[inline]
    pub fn places(self) -> impl Iterator<Item = VmAddr> {
        let after = move |place: &VmAddr| Some(VmAddr(place.0.wrapping_add(self.distance)));
        std::iter::successors(Some(self.place), after).take(usize::try_from(self.count).unwrap_or(usize::MAX))
    }

    /// All that it writes, with what lies between; `None` if it wraps the address space.
    #[inline]
    pub fn range(&self) -> Option<VmRange> {
        let size = self.count.checked_sub(1)?.checked_mul(self.distance)?.checked_add(POINTER)?;
        VmRange::new(self.place.0, size)
    }
}

/// The rebase opcodes of an image.
pub struct Rebases<'t, 'a> {
    cursor: Cursor<'a>,
    head: Head<'t>,
    /// Behind all places so far: from here on, memory is still as in the file.
    relocated: VmAddr,
}

impl<'t, 'a> Rebases<'t, 'a> {
    /// Before the first of them.
    pub fn new(tables: &'t Tables, file: &'a [u8]) -> Rebases<'t, 'a> {
        let cursor = Cursor::new(super::slice(file, tables.rebase), 0);
        Rebases { cursor, head: Head::new(tables), relocated: VmAddr(0) }
    }

    /// The next places that are rebased; none after the last.
    ///
    /// # Errors
    /// Opcodes that are unknown or end inside an operand, or a segment that does not exist.
    pub fn next_run(&mut self) -> Result<Option<Run>, ErrorKind> {
        self.advance().map_err(|wrong| self.error(wrong))
    }

    /// The error for what [`Rebases::advance`] found wrong just now.
    #[cold]
    pub(super) fn error(&self, Wrong(what): Wrong) -> ErrorKind {
        ErrorKind::malformed(what, Place::File(FileOffset(self.head.tables.rebase.start.0 + self.cursor.at)))
    }

    /// As [`Rebases::next_run`], and always inlined, for the one loop that loading spends its time in.
    #[inline(always)]
    pub(super) fn advance(&mut self) -> Result<Option<Run>, Wrong> {
        const CUT: Wrong = Wrong("rebase opcodes: end inside an operand");
        let Rebases { cursor, head, relocated } = self;
        loop {
            let Some(byte) = cursor.u8() else { return Ok(None) };
            let mut uleb = || cursor.uleb128().ok_or(CUT);
            let (count, skip) = match (byte & 0xf0, byte & 0xf) {
                (0x00, _) => return Ok(None),
                (0x10, kind) => {
                    head.kind = kind;
                    continue;
                }
                (0x20, segment) => {
                    head.segment(segment, uleb()?)?;
                    continue;
                }
                (0x30, _) => {
                    head.at = head.at.wrapping_add(uleb()?);
                    continue;
                }
                (0x40, scaled) => {
                    head.at = head.at.wrapping_add(u64::from(scaled) * POINTER);
                    continue;
                }
                (0x50, count) => (u64::from(count), 0),
                (0x60, _) => (uleb()?, 0),
                (0x70, _) => (1, uleb()?),
                (0x80, _) => (uleb()?, uleb()?),
                _ => return Err(Wrong("rebase opcodes: an unknown one")),
            };
            if count > 0 {
                let run = head.run(count, skip)?;
                let end = run.range().map_or(VmAddr(u64::MAX), VmRange::end);
                *relocated = (*relocated).max(end);
                return Ok(Some(run));
            }
        }
    }
}

/// Binds of one symbol at equal distances.
#[derive(Clone, Copy)]
pub struct Bind {
    /// Where.
    pub run: Run,
    /// The symbol: its number counts the imports of all streams.
    pub import: ImportId,
    /// Added to its address.
    pub addend: i64,
}

/// The bind opcodes of an image: one stream after the other, with their imports numbered through.
pub struct Binds<'t, 'a> {
    file: &'a [u8],
    cursor: Cursor<'a>,
    head: Head<'t>,
    /// The stream, and those after it.
    streams: &'static [Stream],
    import: Import<'a>,
    named: bool,
    /// Whether a bind has used the present import: then it has the last number.
    used: bool,
    numbers: u32,
    addend: i64,
}

impl<'t, 'a> Binds<'t, 'a> {
    /// Before the first of them.
    pub fn new(tables: &'t Tables, file: &'a [u8]) -> Binds<'t, 'a> {
        let mut binds = Binds {
            file,
            cursor: Cursor::new(&[], 0),
            head: Head::new(tables),
            streams: &Stream::OPCODES,
            import: Import { name: &[], ordinal: 0, flags: 0, stream: Stream::Bind },
            named: false,
            used: false,
            numbers: 0,
            addend: 0,
        };
        binds.begin();
        binds
    }

    /// The next binds; none after the last.
    ///
    /// # Errors
    /// As [`Rebases::next_run`]; a bind before any symbol was named, or `BIND_OPCODE_THREADED`.
    pub fn next_bind(&mut self) -> Result<Option<Bind>, ErrorKind> {
        self.advance().map_err(|wrong| self.error(wrong))
    }

    /// The symbol of the binds that came last.
    pub fn import(&self) -> Import<'a> {
        self.import
    }

    /// The error for what [`Binds::advance`] found wrong just now.
    #[cold]
    pub(super) fn error(&self, wrong: Wrong) -> ErrorKind {
        if wrong == THREADED {
            return ErrorKind::unsupported(THREADED.0);
        }
        let start = self.streams.first().map_or(0, |&stream| self.head.tables.stream(stream).start.0);
        ErrorKind::malformed(wrong.0, Place::File(FileOffset(start + self.cursor.at)))
    }

    /// Goes on to the next stream; `false` if there is none.
    fn begin_next(&mut self) -> bool {
        let Some(rest @ [_, ..]) = self.streams.get(1..) else { return false };
        self.streams = rest;
        self.begin();
        true
    }

    /// Sets the machine to the beginning of a stream.
    fn begin(&mut self) {
        let Some(&stream) = self.streams.first() else { return };
        let tables = self.head.tables;
        self.cursor = Cursor::new(super::slice(self.file, tables.stream(stream)), 0);
        self.head = Head::new(tables);
        self.import = Import { name: &[], ordinal: 0, flags: 0, stream };
        (self.named, self.used, self.addend) = (false, false, 0);
    }

    /// As [`Binds::next_bind`], and always inlined, for the one loop that loading spends its time in.
    #[inline(always)]
    pub(super) fn advance(&mut self) -> Result<Option<Bind>, Wrong> {
        const CUT: Wrong = Wrong("bind opcodes: end inside an operand");
        loop {
            let Some(byte) = self.cursor.u8() else {
                if !self.begin_next() {
                    return Ok(None);
                }
                continue;
            };
            let Binds { cursor, head, import, .. } = self;
            let (operation, immediate) = (byte & 0xf0, byte & 0xf);
            let mut uleb = || cursor.uleb128().ok_or(CUT);
            let (count, skip) = match operation {
                0x00 if import.stream == Stream::Lazy => continue,
                0x00 => {
                    *cursor = Cursor::new(&[], 0);
                    continue;
                }
                0x10..=0x40 => {
                    match operation {
                        0x10 => import.ordinal = i32::from(immediate),
                        0x20 => {
                            let ordinal = i32::try_from(uleb()?);
                            import.ordinal = ordinal.map_err(|_| Wrong("bind opcodes: no such ordinal"))?;
                        }
                        // Zero, or a small negative number whose high bits are left out.
                        0x30 => import.ordinal = if immediate == 0 { 0 } else { i32::from((immediate | 0xf0) as i8) },
                        _ => {
                            import.flags = immediate;
                            import.name = cursor.c_str().ok_or(CUT)?;
                            self.named = true;
                        }
                    }
                    self.used = false;
                    continue;
                }
                0x50 => {
                    head.kind = immediate;
                    continue;
                }
                0x60 => {
                    self.addend = cursor.sleb128().ok_or(CUT)?;
                    continue;
                }
                0x70 => {
                    head.segment(immediate, uleb()?)?;
                    continue;
                }
                0x80 => {
                    head.at = head.at.wrapping_add(uleb()?);
                    continue;
                }
                0x90 => (1, 0),
                0xa0 => (1, uleb()?),
                0xb0 => (1, u64::from(immediate) * POINTER),
                0xc0 => (uleb()?, uleb()?),
                0xd0 => return Err(THREADED),
                _ => return Err(Wrong("bind opcodes: an unknown one")),
            };
            if !self.named {
                return Err(Wrong("bind opcodes: a bind before any symbol"));
            }
            if count == 0 {
                continue;
            }
            if !std::mem::replace(&mut self.used, true) {
                let more = self.numbers.checked_add(1);
                self.numbers = more.ok_or(Wrong("bind opcodes: too many symbols"))?;
            }
            let run = head.run(count, skip)?;
            let import = ImportId { symbol: self.numbers - 1, class: import.stream.class() };
            return Ok(Some(Bind { run, import, addend: self.addend }));
        }
    }
}

/// What is wrong with a stream of opcodes: small, since every operation may return it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong(&'static str);

const THREADED: Wrong = Wrong("BIND_OPCODE_THREADED");
