//! The dynamic symbol table: lookup by GNU or SysV hash, and symbol versions.
//!
//! Nothing here knows how many symbols there are until it has to list them: the program headers do not say, and a
//! lookup only follows the hash table. Every index is checked against the bytes at hand.
//!
//! Sources: gABI "Symbol Table" and "Hash Table"; the LSB's "Symbol Versioning"; for `DT_GNU_HASH`, which no standard
//! describes, binutils' `bfd/elflink.c` and glibc's `elf/dl-lookup.c`.

mod import;

pub use import::ImportRow;

use super::dynamic::Tables;
pub use super::hash::Filter;
use super::hash::{GnuHash, SysvHash, gnu_hash, sysv_hash};
use super::limits;
pub use super::versions::{NeededVersion, Versions};
use super::versions::{Row, Sought};
use crate::addr::VmAddr;
use crate::bytes::Bytes;
use crate::error::ErrorKind;
use crate::plan::{Binding, Export, Leads, Near};
use crate::symbol::{Class, SymbolKind};
use goblin::elf64::section_header::{SHN_ABS, SHN_UNDEF};
use goblin::elf64::sym::{
    STB_GLOBAL, STB_GNU_UNIQUE, STB_LOCAL, STB_WEAK, STT_COMMON, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT,
    STT_TLS, STV_DEFAULT, STV_PROTECTED,
};

/// Size of a symbol (`Elf64_Sym`).
pub const SYMENT: usize = 24;

/// `st_info`: binding and type.
const GLOBAL_FUNC: u8 = STB_GLOBAL << 4 | STT_FUNC;
const GLOBAL_OBJECT: u8 = STB_GLOBAL << 4 | STT_OBJECT;
const WEAK_FUNC: u8 = STB_WEAK << 4 | STT_FUNC;
const WEAK_OBJECT: u8 = STB_WEAK << 4 | STT_OBJECT;

const VERSION_HIDDEN: u16 = 0x8000;
const VERSION_INDEX: u16 = 0x7fff;
/// `VER_NDX_GLOBAL`; the first version that a file defines or needs is 2.
const VERSION_GLOBAL: u16 = 1;

/// A decoded `Elf64_Sym`.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    /// `st_value`
    pub value: u64,
    /// `st_size`
    pub size: u64,
}

impl Symbol {
    #[inline]
    fn decode(raw: &[u8; SYMENT]) -> Symbol {
        let (words, _) = raw.as_chunks::<8>();
        let first = u64::from_le_bytes(words[0]);
        Symbol {
            name: first as u32,
            info: (first >> 32) as u8,
            other: (first >> 40) as u8,
            section: (first >> 48) as u16,
            value: u64::from_le_bytes(words[1]),
            size: u64::from_le_bytes(words[2]),
        }
    }

    fn bind(self) -> u8 {
        self.info >> 4
    }

    fn kind(self) -> u8 {
        self.info & 0xf
    }

    fn visibility(self) -> u8 {
        self.other & 3
    }

    fn is_defined(self) -> bool {
        u32::from(self.section) != SHN_UNDEF
    }

    /// Whether the module that defines it must use its own definition, whatever comes before it in the scope.
    fn binds_locally(self) -> bool {
        self.is_defined() && (self.bind() == STB_LOCAL || self.visibility() != STV_DEFAULT)
    }

    /// Whether it reaches to `vm`; without a size it has but its first byte (glibc `DL_ADDR_SYM_MATCH`).
    fn holds(self, vm: VmAddr) -> bool {
        vm.0.checked_sub(self.value).is_some_and(|offset| offset < self.size.max(1))
    }

    /// Whether it is what most definitions are: a function or data at a place in the image, that others may use and may
    /// take the place of.
    #[inline]
    fn is_plain(self) -> bool {
        let section = u32::from(self.section);
        matches!(self.info, GLOBAL_FUNC | WEAK_FUNC | GLOBAL_OBJECT | WEAK_OBJECT)
            && self.visibility() == STV_DEFAULT
            && self.value != 0
            && section != SHN_UNDEF
            && section != SHN_ABS
    }

    /// Whether a lookup from outside may end here (glibc `do_lookup_x`).
    #[inline]
    fn is_visible(self, class: Class) -> bool {
        self.is_plain() || self.is_visible_though_not_plain(class)
    }

    fn is_visible_though_not_plain(self, class: Class) -> bool {
        let found = matches!(self.bind(), STB_GLOBAL | STB_WEAK | STB_GNU_UNIQUE)
            && matches!(self.visibility(), STV_DEFAULT | STV_PROTECTED);
        let sort = matches!(self.kind(), STT_NOTYPE | STT_OBJECT | STT_FUNC | STT_COMMON | STT_TLS | STT_GNU_IFUNC);
        // A non-PIE executable's undefined function with a value is its canonical PLT entry: every module must use it
        // as the function's *address*, and none may jump through it to itself.
        let canonical_plt = class == Class::Data && self.value != 0 && self.kind() == STT_FUNC;
        let value = self.value != 0 || u32::from(self.section) == SHN_ABS || self.kind() == STT_TLS;
        found && sort && value && (self.is_defined() || canonical_plt)
    }

    #[inline]
    fn found(self, index: u32) -> Found {
        Found {
            symbol: index,
            vm: VmAddr(self.value),
            size: self.size,
            kind: self.symbol_kind(),
            unique: self.bind() == STB_GNU_UNIQUE,
        }
    }

    #[inline]
    fn symbol_kind(self) -> SymbolKind {
        match self.kind() {
            STT_TLS => SymbolKind::Tls,
            STT_GNU_IFUNC if self.is_defined() => SymbolKind::Ifunc,
            _ if u32::from(self.section) == SHN_ABS => SymbolKind::Absolute,
            STT_FUNC => SymbolKind::Code,
            _ => SymbolKind::Data,
        }
    }
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index in the symbol table.
    pub symbol: u32,
    /// Its value.
    pub vm: VmAddr,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub kind: SymbolKind,
    /// Whether all modules must share one definition (`STB_GNU_UNIQUE`).
    pub unique: bool,
}

/// A name to look up, with its hashes computed once.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    name: &'q [u8],
    gnu_hash: u32,
    version: Wanted<'q>,
    class: Class,
}

/// Which version of a name is wanted.
#[derive(Clone, Copy, Debug)]
enum Wanted<'q> {
    /// A reference that names no version: the base one, or the oldest that is not hidden.
    Unversioned,
    /// A lookup by name: the default version.
    Default,
    /// This one.
    Exactly { version: Sought<'q>, hidden: bool },
}

impl<'q> Query<'q> {
    /// The default version of `name`, as `dlsym` finds it.
    #[inline]
    pub fn by_name(name: &'q [u8]) -> Query<'q> {
        Query { name, gnu_hash: gnu_hash(name), version: Wanted::Default, class: Class::Plt }
    }

    /// A given version of `name`, as `dlvsym` finds it.
    pub fn by_version(name: &'q [u8], version: &'q [u8]) -> Query<'q> {
        let version = Sought::new(version, sysv_hash(version));
        Query { name, gnu_hash: gnu_hash(name), version: Wanted::Exactly { version, hidden: true }, class: Class::Plt }
    }

    /// The name.
    pub fn name(&self) -> &'q [u8] {
        self.name
    }

    /// The hash of `DT_GNU_HASH` of the name.
    #[inline]
    pub fn hash(&self) -> u32 {
        self.gnu_hash
    }

    /// The version asked for.
    pub fn version(&self) -> Option<&'q [u8]> {
        match self.version {
            Wanted::Exactly { version, .. } => version.name(),
            _ => None,
        }
    }

    /// How the definition will be used.
    pub fn class(&self) -> Class {
        self.class
    }
}

/// The raw tables, borrowed from a file or from memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// `DT_SYMTAB`
    pub symbols: &'a [u8],
    /// `DT_STRTAB`
    pub strings: &'a [u8],
    /// `DT_GNU_HASH`
    pub gnu_hash: Option<&'a [u8]>,
    /// `DT_HASH`
    pub sysv_hash: Option<&'a [u8]>,
    /// `DT_VERSYM`
    pub versym: Option<&'a [u8]>,
    /// `DT_VERNEED` and `DT_VERNEEDNUM`
    pub verneed: Option<(&'a [u8], u64)>,
    /// `DT_VERDEF` and `DT_VERDEFNUM`
    pub verdef: Option<(&'a [u8], u64)>,
}

/// A symbol table that can be searched.
#[derive(Clone, Debug)]
pub struct SymbolTable<'a> {
    symbols: &'a [[u8; SYMENT]],
    strings: Bytes<'a>,
    gnu: Option<GnuHash<'a>>,
    sysv: Option<SysvHash<'a>>,
    versym: Option<&'a [[u8; 2]]>,
    versions: Versions<'a>,
}

/// Bytes of a name that take as long to compare as a step along a chain.
const LONG_NAME: usize = 32;

impl<'a> SymbolTable<'a> {
    /// The table of a file.
    ///
    /// # Errors
    /// A hash or version table that contradicts itself.
    pub fn from_file(tables: &Tables, file: &'a [u8]) -> Result<SymbolTable<'a>, ErrorKind> {
        SymbolTable::new(&tables.parts(|extent| extent.of(file)))
    }

    /// The table made of the given parts.
    ///
    /// # Errors
    /// A hash or version table that contradicts itself.
    pub fn new(parts: &Parts<'a>) -> Result<SymbolTable<'a>, ErrorKind> {
        let malformed = |what| ErrorKind::Malformed { what, place: None };
        let gnu = match parts.gnu_hash {
            Some(table) => Some(GnuHash::parse(table).ok_or_else(|| malformed("DT_GNU_HASH"))?),
            None => None,
        };
        let sysv = match parts.sysv_hash {
            // Where both exist only the GNU one is read, so only then does the other have to be right.
            Some(table) if gnu.is_none() => Some(SysvHash::parse(table).ok_or_else(|| malformed("DT_HASH"))?),
            _ => None,
        };
        Ok(SymbolTable {
            symbols: parts.symbols.as_chunks().0,
            strings: Bytes(parts.strings),
            gnu,
            sysv,
            versym: parts.versym.map(|table| table.as_chunks().0),
            versions: Versions::read(Bytes(parts.strings), parts.verdef, parts.verneed)?,
        })
    }

    #[inline]
    fn symbol(&self, index: u32) -> Option<Symbol> {
        self.symbols.get(index as usize).map(Symbol::decode)
    }

    /// No more bytes than this have the names of all imports together, each counted with every symbol that has it.
    pub fn names_bound(&self) -> u64 {
        limits::NAMES_SHARED * self.strings.len() as u64
    }

    /// The name of a symbol.
    pub fn name(&self, index: u32) -> Option<&'a [u8]> {
        self.strings.c_str(u64::from(self.symbol(index)?.name))
    }

    #[inline]
    fn versym(&self, index: u32) -> Option<u16> {
        self.versym?.get(index as usize).map(|&raw| u16::from_le_bytes(raw))
    }

    fn version_row(&self, versym: u16) -> Option<&Row> {
        self.versions.row(versym & VERSION_INDEX)
    }

    /// The versions that the file defines, and those that it needs.
    pub fn versions(&self) -> &Versions<'a> {
        &self.versions
    }

    /// The hash table's filter, which tells most names that the file does not define.
    #[inline]
    pub fn filter(&self) -> Option<Filter<'a>> {
        self.gnu.as_ref().map(GnuHash::filter)
    }

    /// The hashes of the names that the filter lets pass, in four bytes each, of which bit 0 is of no account.
    pub fn hints(&self) -> std::slice::Iter<'a, [u8; 4]> {
        self.gnu.as_ref().map_or([].iter(), GnuHash::hints)
    }

    /// Whether a symbol of the hash table has this hash, whose bit 0 is unknown. No name is looked at.
    pub fn holds_either(&self, hash: u32) -> bool {
        self.gnu.as_ref().is_none_or(|gnu| gnu.holds_either(hash))
    }

    /// Finds a definition that others may use.
    #[inline]
    pub fn find(&self, query: &Query<'_>) -> Option<Found> {
        if self.filter().is_some_and(|filter| !filter.may_hold(query.gnu_hash)) {
            return None;
        }
        self.find_unfiltered(query)
    }

    /// The same, where the filter is known to let the name pass.
    #[inline]
    pub fn find_unfiltered(&self, query: &Query<'_>) -> Option<Found> {
        let index = self.index_of(query)?;
        Some(self.symbol(index)?.found(index))
    }

    /// The row that [`SymbolTable::find`] finds: a number, since what is returned in registers need not be copied.
    fn index_of(&self, query: &Query<'_>) -> Option<u32> {
        let mut fallback = Fallback { symbol: None, count: 0 };
        let found = match &self.gnu {
            Some(gnu) => gnu.find(query.gnu_hash, |index| self.accepts(index, query, &mut fallback)),
            None => self.find_by_sysv(query, &mut fallback),
        };
        found.or_else(|| fallback.symbol.filter(|_| fallback.count == 1))
    }

    #[cold]
    fn find_by_sysv(&self, query: &Query<'_>, fallback: &mut Fallback) -> Option<u32> {
        self.sysv.as_ref()?.find(sysv_hash(query.name), |index| self.accepts(index, query, fallback))
    }

    /// Not inlined: a loop over a chain that has all of this in it saves and restores more than it computes.
    #[inline(never)]
    fn accepts(&self, index: u32, query: &Query<'_>, fallback: &mut Fallback) -> Option<u32> {
        let symbol = self.symbol(index)?;
        if !symbol.is_visible(query.class) {
            return None;
        }
        if !self.strings.c_str_is(u64::from(symbol.name), query.name) {
            if query.name.len() >= LONG_NAME {
                // A comparison of long names costs, too.
                crate::astray::goes_astray(query.name.len() / LONG_NAME);
            }
            return None;
        }
        let Some(versym) = self.versym(index) else { return Some(index) };
        let (number, hidden) = (versym & VERSION_INDEX, versym & VERSION_HIDDEN != 0);
        let accepted = match &query.version {
            // glibc `check_match`: an unversioned reference was linked against the library before it had versions,
            // so the base version or the first one is meant; failing that, the only one that is not hidden.
            Wanted::Unversioned if number > VERSION_GLOBAL + 1 => fallback.offer(index, hidden),
            Wanted::Unversioned => true,
            Wanted::Default if number > VERSION_GLOBAL => !hidden,
            Wanted::Default => true,
            Wanted::Exactly { version, hidden: strict } => match self.version_row(versym) {
                Some(row) if self.versions.is(row, version) => true,
                Some(row) => !(*strict || hidden || row.hash != 0) && number <= VERSION_GLOBAL,
                None => !*strict && !hidden && number <= VERSION_GLOBAL,
            },
        };
        accepted.then_some(index)
    }

    /// How many rows there are, whether or not the hash table covers them.
    #[inline]
    pub fn rows(&self) -> usize {
        self.symbols.len()
    }

    /// What row `index` defines, and the hash of its name but for bit 0: for the plain case that most rows are, which is
    /// a definition with a place in the image, that others may use and may take the place of.
    #[inline]
    pub fn plain(&self, index: u32) -> Option<(Found, u32)> {
        let symbol = self.symbol(index).filter(|symbol| symbol.is_plain())?;
        let kind = if symbol.kind() == STT_FUNC { SymbolKind::Code } else { SymbolKind::Data };
        let found = Found { symbol: index, vm: VmAddr(symbol.value), size: symbol.size, kind, unique: false };
        Some((found, self.gnu.as_ref()?.hint(index)?))
    }

    /// The import in row `index`, with what the image says about it.
    pub fn import(&self, index: u32) -> Option<ImportRow<'_, 'a>> {
        Some(ImportRow { table: self, index, symbol: self.symbol(index)? })
    }

    /// How many symbols the hash table covers.
    pub fn count(&self) -> u32 {
        let hashed = match (&self.gnu, &self.sysv) {
            (Some(gnu), _) => gnu.count(),
            (None, Some(sysv)) => sysv.count(),
            (None, None) => 0,
        };
        hashed.min(self.symbols.len() as u32)
    }

    /// Where the resolvers of its indirect functions are.
    pub fn resolvers(&self) -> impl Iterator<Item = VmAddr> {
        let defined = (1..self.count()).filter_map(|index| self.symbol(index)).filter(|symbol| symbol.is_defined());
        defined.filter(|symbol| symbol.kind() == STT_GNU_IFUNC).map(|symbol| VmAddr(symbol.value))
    }

    /// The numbers of all that others may use.
    fn exported(&self) -> impl Iterator<Item = (u32, Symbol)> {
        let symbols = (1..self.count()).filter_map(|index| Some((index, self.symbol(index)?)));
        symbols.filter(|(_, symbol)| symbol.is_defined() && symbol.bind() != STB_LOCAL && symbol.is_visible(Class::Plt))
    }

    /// Where each of the symbols is whose name begins with `prefix`, as far as others may use it.
    pub fn beginning_with(&self, prefix: &[u8]) -> impl Iterator<Item = VmAddr> {
        let name = |symbol: &Symbol| self.strings.from(u64::from(symbol.name)).unwrap_or_default();
        self.exported()
            .filter(move |(_, symbol)| name(symbol).starts_with(prefix))
            .map(|(_, symbol)| VmAddr(symbol.value))
    }

    /// Calls `each` with every defined, non-local symbol, in table order.
    pub fn exports(&self, mut each: impl FnMut(Export<'a>)) {
        for (index, symbol) in self.exported() {
            let Some(name) = self.strings.c_str(u64::from(symbol.name)) else { continue };
            let versym = self.versym(index).unwrap_or(VERSION_GLOBAL);
            let row = self.version_row(versym).filter(|_| versym & VERSION_INDEX > VERSION_GLOBAL);
            each(Export {
                name,
                version: row.and_then(|row| self.versions.name(row)),
                default_version: versym & VERSION_HIDDEN == 0,
                vm: VmAddr(symbol.value),
                size: symbol.size,
                kind: symbol.symbol_kind(),
                binding: binding(symbol.bind()),
                flags: None,
                leads: Leads::Here,
            });
        }
    }

    /// The defined symbol whose range holds `vm`, the last one to begin where there are several; failing that, the
    /// nearest one below it. Visits every symbol.
    pub fn near(&self, vm: VmAddr) -> Option<Near<'a>> {
        let mut best: Option<(bool, u64, u32)> = None;
        for index in 1..self.count() {
            let Some(symbol) = self.symbol(index).filter(|symbol| symbol.is_visible(Class::Plt)) else { continue };
            if symbol.value > vm.0 || matches!(symbol.symbol_kind(), SymbolKind::Tls | SymbolKind::Absolute) {
                continue;
            }
            let rank = (symbol.holds(vm), symbol.value, index);
            if best.is_none_or(|(holds, value, _)| (rank.0, rank.1) > (holds, value)) {
                best = Some(rank);
            }
        }
        let (holds, value, index) = best?;
        Some(Near { name: self.name(index)?, vm: VmAddr(value), holds, row: self.symbols.get(index as usize)? })
    }
}

/// The one non-hidden versioned definition that an unversioned reference may fall back to.
struct Fallback {
    symbol: Option<u32>,
    count: u32,
}

impl Fallback {
    fn offer(&mut self, index: u32, hidden: bool) -> bool {
        if !hidden {
            self.symbol.get_or_insert(index);
            self.count += 1;
        }
        false
    }
}

fn binding(bind: u8) -> Binding {
    match bind {
        STB_GLOBAL => Binding::Global,
        STB_WEAK => Binding::Weak,
        STB_GNU_UNIQUE => Binding::Unique,
        _ => Binding::Local,
    }
}

impl Tables {
    /// The symbol tables' bytes, wherever `place` finds them.
    pub fn parts<'a>(&self, place: impl Fn(&super::dynamic::Extent) -> &'a [u8]) -> Parts<'a> {
        Parts {
            symbols: place(&self.symbols),
            strings: place(&self.strings),
            gnu_hash: self.gnu_hash.as_ref().map(&place),
            sysv_hash: self.sysv_hash.as_ref().map(&place),
            versym: self.versym.as_ref().map(&place),
            verneed: self.verneed.as_ref().map(|(extent, count)| (place(extent), *count)),
            verdef: self.verdef.as_ref().map(|(extent, count)| (place(extent), *count)),
        }
    }
}

/// What the dynamic section must hold for its symbols to be usable at all.
pub(super) fn check(tables: &Tables) -> Result<(), ErrorKind> {
    let relocated = tables.rela.file.size + tables.rel.file.size + tables.plt.file.size > 0;
    if relocated && tables.symbols.file.size == 0 {
        return Err(ErrorKind::Malformed { what: "DT_SYMTAB: missing, but there are relocations", place: None });
    }
    Ok(())
}
