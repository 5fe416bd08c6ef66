//! The symbols of a static executable: nothing at run time needs them, so they are in its file only, in `.symtab`, if
//! they were not stripped.
//!
//! Much of a static libc is local or hidden there; both are accepted, as there is nothing better. A global definition
//! goes before a weak one and both before local ones; a name that only differing locals have is nobody's.

use crate::addr::VmAddr;
use crate::bytes::Bytes;
use crate::elf::hash::gnu_hash;
use crate::elf::symbols::SYMENT;
use crate::error::ErrorKind;
use crate::plan::Found;
use crate::platform::unix;
use crate::symbol::SymbolKind;
use crate::sync::Lazy;
use goblin::elf64::section_header::{SHN_ABS, SHN_LORESERVE, SHN_UNDEF, SHT_SYMTAB};
use goblin::elf64::sym::{
    STB_GLOBAL, STB_GNU_UNIQUE, STB_LOCAL, STB_WEAK, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT, STT_TLS,
};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Larger tables than any executable has.
const LARGEST: u64 = 1 << 30;
const SHENT: usize = 64;

/// The symbols of this process's executable, read from its file once.
#[derive(Debug)]
pub(crate) struct StaticSymbols {
    /// The program headers in memory, which those of the file must equal.
    headers: &'static [u8],
    path: Vec<u8>,
    table: Lazy<Table>,
}

impl StaticSymbols {
    pub(super) fn new(headers: &'static [u8], path: Vec<u8>) -> StaticSymbols {
        StaticSymbols { headers, path, table: Lazy::new() }
    }

    /// Finds a definition, once [`StaticSymbols::prepare`] has read them. There are no versions.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Found> {
        self.table.get()?.find(name)
    }

    /// Reads them, if nobody has.
    ///
    /// # Errors
    /// The system fails for now, as when it is out of descriptors. Nothing is kept then: an empty table would leave the
    /// process without symbols for ever.
    pub(super) fn prepare(&self) -> Result<(), ErrorKind> {
        if self.table.get().is_none() {
            let table = self.read()?;
            self.table.get_or(|| table);
        }
        Ok(())
    }

    /// The path that the process was started by may mean another file by now, and /proc need not be there.
    fn read(&self) -> Result<Table, ErrorKind> {
        for path in [b"/proc/self/exe", self.path.as_slice()] {
            let path = Path::new(OsStr::from_bytes(path));
            let failed = |call, source| ErrorKind::Io { call, path: path.to_owned(), source };
            let table = match unix::open(path) {
                Ok(file) => match Table::read(&file, self.headers) {
                    Err(source) if is_for_now(&source) => return Err(failed("pread", source)),
                    read => read.unwrap_or_default(),
                },
                Err(source) if is_for_now(&source) => return Err(failed("open", source)),
                Err(_) => None,
            };
            if let Some(table) = table {
                return Ok(table);
            }
        }
        Ok(Table::default())
    }
}

/// Whether the same call may work a moment later, or says nothing about the file. Where it is not there, or a sandbox
/// keeps it away, there are no symbols.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EIO | libc::EINTR))
}

/// Definitions, by the hash of their names.
#[derive(Debug, Default)]
struct Table {
    strings: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    hash: u32,
    /// The better the smaller.
    rank: u8,
    name: u32,
    vm: u64,
    size: u64,
    index: u32,
    kind: SymbolKind,
}

impl Table {
    /// `None` if it is another file, or has no such table.
    fn read(file: &File, headers: &[u8]) -> io::Result<Option<Table>> {
        let mut failed = Ok(());
        let table = Table::read_by(headers, |offset, size| {
            let mut bytes = vec![0; usize::try_from(size).ok().filter(|_| size <= LARGEST)?];
            let read = unix::read_at(file, &mut bytes, offset).map_err(|error| failed = Err(error)).ok()?;
            (read == bytes.len()).then_some(bytes)
        });
        failed.map(|()| table)
    }

    fn read_by(headers: &[u8], mut part: impl FnMut(u64, u64) -> Option<Vec<u8>>) -> Option<Table> {
        let header = part(0, 64)?;
        let (offset, size) = super::segments::table_of(&header)?;
        if size != headers.len() as u64 || part(offset, size)? != headers {
            return None;
        }
        let field = Bytes(&header);
        let (sections, count) = (field.u64(40)?, u64::from(field.u16(60)?));
        let sections = part(sections, count * SHENT as u64)?;
        let section = |index: usize| {
            let row = Bytes(sections.as_chunks::<SHENT>().0.get(index)?);
            Some((row.u32(4)?, row.u64(24)?, row.u64(32)?, row.u32(40)? as usize))
        };
        let (_, at, size, strings) = (0..count as usize).filter_map(section).find(|&(kind, ..)| kind == SHT_SYMTAB)?;
        let (_, strings_at, strings_size, _) = section(strings)?;
        Some(Table::new(&part(at, size)?, part(strings_at, strings_size)?))
    }

    fn new(symbols: &[u8], strings: Vec<u8>) -> Table {
        let (symbols, _) = symbols.as_chunks::<SYMENT>();
        let numbered = symbols.iter().zip(0u32..);
        let mut rows: Vec<_> = numbered.filter_map(|(symbol, index)| Row::read(symbol, index, &strings)).collect();
        rows.sort_unstable();
        Table { strings, rows }
    }

    fn find(&self, name: &[u8]) -> Option<Found> {
        let hash = gnu_hash(name);
        let start = self.rows.partition_point(|row| row.hash < hash);
        let same_hash = self.rows[start..].iter().take_while(|row| row.hash == hash);
        let mut named = same_hash.filter(|row| Bytes(&self.strings).c_str_is(u64::from(row.name), name));
        let best = named.next()?;
        let is_clear = best.rank != Row::LOCAL || named.all(|other| other.vm == best.vm);
        is_clear.then_some(Found {
            symbol: best.index,
            vm: VmAddr(best.vm),
            size: best.size,
            kind: best.kind,
            unique: false,
        })
    }
}

impl Row {
    const LOCAL: u8 = 2;

    fn read(symbol: &[u8; SYMENT], index: u32, strings: &[u8]) -> Option<Row> {
        let field = Bytes(symbol);
        let (name, [info], section) = (field.u32(0)?, field.array(4)?, u32::from(field.u16(6)?));
        let rank = match info >> 4 {
            STB_GLOBAL | STB_GNU_UNIQUE => 0,
            STB_WEAK => 1,
            STB_LOCAL => Row::LOCAL,
            _ => return None,
        };
        let kind = match info & 0xf {
            STT_TLS => SymbolKind::Tls,
            STT_GNU_IFUNC => SymbolKind::Ifunc,
            STT_FUNC | STT_NOTYPE | STT_OBJECT if section == SHN_ABS => SymbolKind::Absolute,
            STT_FUNC => SymbolKind::Code,
            STT_NOTYPE | STT_OBJECT => SymbolKind::Data,
            _ => return None,
        };
        if section == SHN_UNDEF || (section >= SHN_LORESERVE && section != SHN_ABS) {
            return None;
        }
        let text = Bytes(strings).c_str(u64::from(name)).filter(|text| !text.is_empty())?;
        Some(Row { hash: gnu_hash(text), rank, name, vm: field.u64(8)?, size: field.u64(16)?, index, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u16 = 1;

    fn table(symbols: &[(&str, u8, u16, u64)]) -> Table {
        let (mut rows, mut strings) = (Vec::new(), vec![0]);
        for &(name, info, section, value) in symbols {
            rows.extend((strings.len() as u32).to_le_bytes());
            rows.extend([info, 0]);
            rows.extend(section.to_le_bytes());
            rows.extend(value.to_le_bytes());
            rows.extend(8u64.to_le_bytes());
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        Table::new(&rows, strings)
    }

    #[test]
    fn globals_go_before_locals_and_rivals_are_nobody() {
        const LOCAL_FUNC: u8 = STB_LOCAL << 4 | STT_FUNC;
        const GLOBAL_FUNC: u8 = STB_GLOBAL << 4 | STT_FUNC;
        let table = table(&[
            ("", LOCAL_FUNC, TEXT, 1),
            ("both", LOCAL_FUNC, TEXT, 0x10),
            ("both", GLOBAL_FUNC, TEXT, 0x20),
            ("weak", STB_WEAK << 4 | STT_OBJECT, TEXT, 0x30),
            ("rivals", LOCAL_FUNC, TEXT, 0x40),
            ("rivals", LOCAL_FUNC, TEXT, 0x50),
            ("twice", LOCAL_FUNC, TEXT, 0x60),
            ("twice", LOCAL_FUNC, TEXT, 0x60),
            ("undefined", GLOBAL_FUNC, 0, 0),
            ("memcpy", STB_GLOBAL << 4 | STT_GNU_IFUNC, TEXT, 0x70),
            ("errno", STB_LOCAL << 4 | STT_TLS, TEXT, 0),
            ("constant", GLOBAL_FUNC, 0xfff1, 0x80),
        ]);
        const CASES: &[(&str, Option<(u64, SymbolKind)>)] = &[
            ("", None),
            ("both", Some((0x20, SymbolKind::Code))),
            ("weak", Some((0x30, SymbolKind::Data))),
            ("rivals", None),
            ("twice", Some((0x60, SymbolKind::Code))),
            ("undefined", None),
            ("memcpy", Some((0x70, SymbolKind::Ifunc))),
            ("errno", Some((0, SymbolKind::Tls))),
            ("constant", Some((0x80, SymbolKind::Absolute))),
            ("absent", None),
        ];
        for &(name, expected) in CASES {
            assert_eq!(table.find(name.as_bytes()).map(|found| (found.vm.0, found.kind)), expected, "{name}");
        }
    }
}
