//! Plans as text: the lines that golden files, the command line and the comparison with `readelf` share.
//!
//! One line a row, its words separated by single spaces. Addresses are hexadecimal, as the file says them:
//!
//! ```text
//! rebase VMADDR TARGET
//! bind VMADDR TYPE SYMBOL[@VERSION] ADDEND      TYPE by its ELF name, ADDEND decimal; SYMBOL - is this image itself
//! resolver VMADDR TARGET
//! import SYMBOL[@VERSION] CLASS [weak] [own] [from=FILE]
//! export NAME[@VERSION|@@VERSION] VMADDR KIND
//! ```
//!
//! In a two-level namespace (Mach-O):
//!
//! ```text
//! rebase VMADDR TARGET [auth=KEY,DIVERSITY,ADDRDIV]
//! bind VMADDR SYMBOL ORDINAL ADDEND WEAK KIND [auth=…]      ORDINAL signed, - in the weak stream; WEAK 0 or 1;
//!                                                           KIND bind, lazy, weak or chained
//! export NAME VMADDR FLAGS [reexport=ORDINAL:NAME] [resolver=VMADDR] [abs]
//! ```
//!
//! [`Lines`] sorts them bytewise, so two listings can be compared line by line, and `LC_ALL=C sort -c` accepts them.

use crate::addr::{VmAddr, VmRange};
use crate::error::ErrorKind;
use crate::plan::{
    Binding, Entries, EntryForm, Export, Fixup, FixupKind, Flags, Import, Leads, Level, LoadPlan, NeedKind,
    PointerAuth, Prot, ScopedSymbols, Stream, Symbols,
};
use crate::symbol::{Class, ImportId, SymbolKind};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};

/// What a fixup does, with the symbol by its name instead of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixupRow<'a> {
    /// The address of `target` is stored at `place`.
    Rebase {
        /// The first byte written.
        place: VmAddr,
        /// An address of this image.
        target: VmAddr,
        /// How the pointer would be signed.
        auth: Option<PointerAuth>,
    },
    /// The address of a symbol of a two-level namespace is stored at `place`.
    BindLevel {
        /// The first byte written.
        place: VmAddr,
        /// The symbol, and who should define it.
        import: Import<'a>,
        /// Added to its address.
        addend: i64,
        /// How the pointer would be signed.
        auth: Option<PointerAuth>,
    },
    /// Something about a symbol is stored at `place`.
    Bind {
        /// The first byte written.
        place: VmAddr,
        /// The relocation's name in its psABI: `R_X86_64_GLOB_DAT`.
        relocation: &'static str,
        /// The symbol; `None` stands for this image itself.
        symbol: Option<Versioned<'a>>,
        /// Added to what the symbol stands for.
        addend: i64,
    },
    /// What the function at `target` returns is stored at `place`.
    Resolver {
        /// The first byte written.
        place: VmAddr,
        /// An address of this image.
        target: VmAddr,
    },
}

/// A symbol's name, and the version asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its version.
    pub version: Option<&'a [u8]>,
}

/// What an image takes from others, or lets others take the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportRow<'a> {
    /// What is looked up.
    pub symbol: Versioned<'a>,
    /// What for.
    pub class: Class,
    /// Whether it may stay undefined.
    pub weak: bool,
    /// Whether the image holds a definition itself.
    pub own: bool,
    /// The file that should define the version.
    pub from: Option<&'a [u8]>,
}

/// Calls `each` with every fixup of the image, in the order in which they are applied.
///
/// # Errors
/// As [`LoadPlan::fixups`], or a symbol whose name lies outside the string table.
pub fn fixups(plan: &LoadPlan, bytes: &[u8], mut each: impl FnMut(FixupRow<'_>)) -> Result<(), ErrorKind> {
    let symbols = plan.symbols(bytes)?;
    plan.fixups(bytes, |fixup| {
        // The keys of thread-local descriptors stand in no list of the file: their sections say where they are.
        if !(matches!(fixup.kind, FixupKind::Tls { .. }) && plan.is_two_level()) {
            each(fixup_row(plan, &symbols, &fixup)?);
        }
        Ok(())
    })
}

fn fixup_row<'a>(plan: &LoadPlan, symbols: &'a Symbols<'_>, fixup: &Fixup) -> Result<FixupRow<'a>, ErrorKind> {
    let place = fixup.place;
    let (named, addend) = match fixup.kind {
        FixupKind::Rebase { target } => return Ok(FixupRow::Rebase { place, target, auth: None }),
        FixupKind::Signed { import: None, addend, auth } => {
            return Ok(FixupRow::Rebase { place, target: VmAddr(addend as u64), auth: Some(auth) });
        }
        FixupKind::Signed { import, addend, .. } => (import, addend),
        FixupKind::Resolver { target } => return Ok(FixupRow::Resolver { place, target }),
        FixupKind::Bind { import, addend, .. } | FixupKind::Tls { import, addend, .. } => (import, addend),
        FixupKind::Nothing => (None, 0),
    };
    let symbol = match (named, symbols) {
        (Some(id), Symbols::Scoped(table)) => Some(scoped_import(table, id)?.symbol),
        (Some(id), Symbols::TwoLevel(table)) => {
            let auth = if let FixupKind::Signed { auth, .. } = fixup.kind { Some(auth) } else { None };
            let import = table.import(id.symbol).ok_or_else(|| outside(id))?;
            return Ok(FixupRow::BindLevel { place, import, addend, auth });
        }
        (None, _) => None,
    };
    Ok(FixupRow::Bind { place, relocation: plan.fixup_name(&fixup.kind), symbol, addend })
}

/// Calls `each` with every import of the image, once per class, in the order of its tables.
///
/// # Errors
/// As [`fixups`].
pub fn imports(plan: &LoadPlan, bytes: &[u8], mut each: impl FnMut(ImportRow<'_>)) -> Result<(), ErrorKind> {
    let symbols = plan.symbols(bytes)?;
    let mut seen = BTreeSet::new();
    plan.imports(bytes, |id| {
        if seen.insert(id) {
            each(import(plan, &symbols, id)?);
        }
        Ok(())
    })
}

/// A symbol that an image leaves to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndefinedRow<'a> {
    /// What is looked up.
    pub symbol: Versioned<'a>,
    /// What the image takes it for; `None` where it does not say.
    pub kind: Option<SymbolKind>,
    /// Whether it is weak or not.
    pub binding: Binding,
    /// The file that should define the version.
    pub from: Option<&'a [u8]>,
}

/// Calls `each` with every symbol that the image refers to but does not define, in the order of its table.
///
/// # Errors
/// As [`fixups`].
pub fn undefined(plan: &LoadPlan, bytes: &[u8], mut each: impl FnMut(UndefinedRow<'_>)) -> Result<(), ErrorKind> {
    let symbols = match plan.symbols(bytes)? {
        Symbols::Scoped(symbols) => symbols,
        symbols => {
            return plan.imports(bytes, |id| {
                let ImportRow { symbol, weak, from, .. } = import(plan, &symbols, id)?;
                let binding = if weak { Binding::Weak } else { Binding::Global };
                each(UndefinedRow { symbol, kind: None, binding, from });
                Ok(())
            });
        }
    };
    // The hash table of an image without exports may not say how many symbols there are; then fixups do.
    let mut count = symbols.count();
    plan.imports::<ErrorKind>(bytes, |id| {
        count = count.max(id.symbol.saturating_add(1));
        Ok(())
    })?;
    for row in (1..count).filter_map(|index| symbols.import(index)).filter(|row| row.is_undefined()) {
        let version = row.version();
        each(UndefinedRow {
            symbol: Versioned { name: row.name()?, version: version.map(|version| version.name) },
            kind: row.kind(),
            binding: row.binding(),
            from: version.and_then(|version| version.file),
        });
    }
    Ok(())
}

/// One import, by name.
///
/// # Errors
/// An index outside the symbol table, or a name outside the string table.
pub fn import<'a>(plan: &'a LoadPlan, symbols: &'a Symbols<'_>, id: ImportId) -> Result<ImportRow<'a>, ErrorKind> {
    let table = match symbols {
        Symbols::Scoped(table) => return scoped_import(table, id),
        Symbols::TwoLevel(table) => table,
    };
    let import = table.import(id.symbol).ok_or_else(|| outside(id))?;
    Ok(ImportRow {
        symbol: Versioned { name: import.name, version: None },
        class: id.class,
        weak: import.weak(),
        own: import.level() == Some(Level::Own),
        from: match import.level() {
            Some(Level::Need(index)) => plan.needs.get(index).map(|need| &*need.name),
            Some(Level::Main) => Some(b"@executable"),
            Some(Level::Flat) => Some(b"@flat"),
            Some(Level::Weak) => Some(b"@weak"),
            Some(Level::Own) | None => None,
        },
    })
}

fn outside(id: ImportId) -> ErrorKind {
    let place = crate::error::Place::Entry(u64::from(id.symbol));
    ErrorKind::malformed("fixup: symbol index outside the symbol table", place)
}

fn scoped_import<'a>(symbols: &ScopedSymbols<'a>, id: ImportId) -> Result<ImportRow<'a>, ErrorKind> {
    let row = symbols.import(id.symbol).ok_or_else(|| outside(id))?;
    let version = row.version();
    Ok(ImportRow {
        symbol: Versioned { name: row.name()?, version: version.map(|version| version.name) },
        class: id.class,
        weak: row.weak(),
        own: row.own().is_some(),
        from: version.and_then(|version| version.file),
    })
}

/// Lines of text, sorted bytewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    text: String,
    /// Where each line begins and ends in `text`.
    spans: Vec<(usize, usize)>,
}

impl<R: Display> FromIterator<R> for Lines {
    fn from_iter<T: IntoIterator<Item = R>>(rows: T) -> Lines {
        let mut lines = Lines::default();
        rows.into_iter().for_each(|row| lines.push(&row));
        lines.sorted()
    }
}

impl Lines {
    /// The `rebase`, `bind` and `resolver` lines of a plan.
    ///
    /// # Errors
    /// As [`fixups`].
    pub fn fixups(plan: &LoadPlan, bytes: &[u8]) -> Result<Lines, ErrorKind> {
        let mut lines = Lines::default();
        fixups(plan, bytes, |row| lines.push(&row))?;
        Ok(lines.sorted())
    }

    /// The `import` lines of a plan.
    ///
    /// # Errors
    /// As [`imports`].
    pub fn imports(plan: &LoadPlan, bytes: &[u8]) -> Result<Lines, ErrorKind> {
        let mut lines = Lines::default();
        imports(plan, bytes, |row| lines.push(&row))?;
        Ok(lines.sorted())
    }

    /// The `export` lines of a plan.
    ///
    /// # Errors
    /// As [`LoadPlan::symbols`].
    pub fn exports(plan: &LoadPlan, bytes: &[u8]) -> Result<Lines, ErrorKind> {
        let mut lines = Lines::default();
        plan.symbols(bytes)?.exports(|export| lines.push(&ExportRow(export)))?;
        Ok(lines.sorted())
    }

    fn push(&mut self, row: &dyn Display) {
        let start = self.text.len();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{row}");
        self.spans.push((start, self.text.len()));
    }

    fn sorted(mut self) -> Lines {
        let text = &self.text;
        self.spans.sort_unstable_by_key(|&(start, end)| &text[start..end]);
        self
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The lines, without line ends.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.spans.iter().map(|&(start, end)| &self.text[start..end])
    }
}

impl Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|line| {
            f.write_str(line)?;
            f.write_char('\n')
        })
    }
}

impl Display for FixupRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FixupRow::Rebase { place, target, auth } => {
                write!(f, "rebase {place} {target}")?;
                auth_word(f, *auth)
            }
            FixupRow::BindLevel { place, import, addend, auth } => {
                write!(f, "bind {place} {} ", Word(import.name))?;
                match import.stream {
                    Stream::Weak => f.write_char('-')?,
                    _ => write!(f, "{}", import.ordinal)?,
                }
                write!(f, " {addend} {} {}", u8::from(import.weak()), import.stream.as_str())?;
                auth_word(f, *auth)
            }
            FixupRow::Resolver { place, target } => write!(f, "resolver {place} {target}"),
            FixupRow::Bind { place, relocation, symbol: Some(symbol), addend } => {
                write!(f, "bind {place} {relocation} {symbol} {addend}")
            }
            FixupRow::Bind { place, relocation, symbol: None, addend } => {
                write!(f, "bind {place} {relocation} - {addend}")
            }
        }
    }
}

fn auth_word(f: &mut fmt::Formatter<'_>, auth: Option<PointerAuth>) -> fmt::Result {
    auth.map_or(Ok(()), |auth| write!(f, " auth={:?},{:#x},{}", auth.key, auth.diversity, u8::from(auth.address)))
}

impl Display for Versioned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{}", Word(self.name), Word(version)),
            None => Display::fmt(&Word(self.name), f),
        }
    }
}

impl Display for ImportRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "import {} {}", self.symbol, self.class_name())?;
        for (set, word) in [(self.weak, " weak"), (self.own, " own")] {
            f.write_str(if set { word } else { "" })?;
        }
        match self.from {
            Some(file) => write!(f, " from={}", Word(file)),
            None => Ok(()),
        }
    }
}

impl ImportRow<'_> {
    /// The word for its class.
    pub fn class_name(&self) -> &'static str {
        match self.class {
            Class::Data => "data",
            Class::Plt => "plt",
            Class::Tls => "tls",
            Class::Size => "size",
        }
    }
}

/// An export as a line.
#[derive(Clone, Copy, Debug)]
pub struct ExportRow<'a>(pub Export<'a>);

impl Display for ExportRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let export = &self.0;
        write!(f, "export {}", Word(export.name))?;
        if let Some(version) = export.version {
            write!(f, "{}{}", if export.default_version { "@@" } else { "@" }, Word(version))?;
        }
        let Some(flags) = export.flags else { return write!(f, " {} {}", export.vm, export.kind.as_str()) };
        write!(f, " {} {flags:#x}", export.vm)?;
        match export.leads {
            Leads::Elsewhere { need, name } => write!(f, " reexport={need}:{}", Word(name)),
            Leads::Resolver(resolver) => write!(f, " resolver={resolver}"),
            Leads::Here if export.kind == SymbolKind::Absolute => f.write_str(" abs"),
            Leads::Here => Ok(()),
        }
    }
}

/// A name out of a file, for one line of text: what would end the line or is not UTF-8 is escaped.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a>(pub &'a [u8]);

impl Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if !text.bytes().any(|byte| byte.is_ascii_control()) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

/// What a plan says apart from its fixups, imports and exports, as lines of a keyword and its values.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a>(pub &'a LoadPlan);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        writeln!(f, "machine {}", plan.machine.as_str())?;
        word_line(f, "soname", plan.soname.as_deref())?;
        if let Some(id) = &plan.build_id {
            writeln!(f, "build-id {}", Hex(id))?;
        }
        writeln!(f, "span {} align {:#x}", plan.span, plan.align)?;
        for region in &plan.regions {
            writeln!(f, "region {} file {} {}", region.vm, region.file, ProtWord(region.prot))?;
        }
        range_lines(f, "seal", plan.seals.iter())?;
        if let Some(tls) = plan.tls {
            writeln!(f, "tls {} size {:#x} align {:#x}", tls.image, tls.size, tls.align)?;
        }
        range_lines(f, "unwind", plan.unwind.iter())?;
        range_lines(f, "unwind-compact", plan.unwind_tables.compact.iter())?;
        range_lines(f, "unwind-records", plan.unwind_tables.records.iter())?;
        for need in &plan.needs {
            let keyword = match need.kind {
                NeedKind::Required => "need",
                NeedKind::Optional => "need-optional",
                NeedKind::Reexported => "need-reexported",
                NeedKind::Upward => "need-upward",
            };
            word_line(f, keyword, Some(&need.name))?;
        }
        for filtee in &plan.filters {
            word_line(f, if filtee.required { "filter" } else { "auxiliary" }, Some(&filtee.name))?;
        }
        word_line(f, "rpath", plan.search.rpath.as_deref())?;
        word_line(f, "runpath", plan.search.runpath.as_deref())?;
        for path in &plan.search.run_paths {
            word_line(f, "run-path", Some(path))?;
        }
        entry_lines(f, "init", &plan.init)?;
        entry_lines(f, "fini", &plan.fini)?;
        if let Some(runtime) = plan.foreign_runtime {
            writeln!(f, "foreign-runtime {runtime}")?;
        }
        for name in flag_names(plan.flags) {
            writeln!(f, "flag {name}")?;
        }
        Ok(())
    }
}

fn word_line(f: &mut fmt::Formatter<'_>, keyword: &str, word: Option<&[u8]>) -> fmt::Result {
    word.map_or(Ok(()), |word| writeln!(f, "{keyword} {}", Word(word)))
}

fn range_lines<'r>(
    f: &mut fmt::Formatter<'_>,
    keyword: &str,
    mut ranges: impl Iterator<Item = &'r VmRange>,
) -> fmt::Result {
    ranges.try_for_each(|range| writeln!(f, "{keyword} {range}"))
}

fn entry_lines(f: &mut fmt::Formatter<'_>, keyword: &str, entries: &Entries) -> fmt::Result {
    if let Some(function) = entries.function {
        writeln!(f, "{keyword} {function}")?;
    }
    entries.arrays.iter().try_for_each(|array| match array.form {
        EntryForm::Pointers => writeln!(f, "{keyword}-array {}", array.range),
        EntryForm::Offsets { from } => writeln!(f, "{keyword}-offsets {} from {from}", array.range),
    })
}

/// The names of the flags that are set.
pub fn flag_names(flags: Flags) -> impl Iterator<Item = &'static str> {
    // By pattern, so that a new flag does not compile until it has its name here.
    let Flags {
        symbolic,
        text_relocations,
        no_delete,
        init_first,
        interpose,
        no_default_folders,
        static_tls,
        executable_stack,
        weak_definitions,
        never_needed,
        pointer_auth,
    } = flags;
    let names = [
        (symbolic, "symbolic"),
        (text_relocations, "text-relocations"),
        (no_delete, "no-delete"),
        (init_first, "init-first"),
        (interpose, "interpose"),
        (no_default_folders, "no-default-folders"),
        (static_tls, "static-tls"),
        (executable_stack, "executable-stack"),
        (weak_definitions, "weak-definitions"),
        (never_needed, "never-needed"),
        (pointer_auth, "pointer-auth"),
    ];
    names.into_iter().filter_map(|(set, name)| set.then_some(name))
}

/// A protection as three letters: `r-x`.
#[derive(Clone, Copy, Debug)]
pub struct ProtWord(pub Prot);

impl Display for ProtWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prot { read, write, execute } = self.0;
        for (set, letter) in [(read, 'r'), (write, 'w'), (execute, 'x')] {
            f.write_char(if set { letter } else { '-' })?;
        }
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: VmAddr = VmAddr(0x3fd8);

    #[test]
    fn fixups_read_as_the_contract_says() {
        let bind = |symbol, addend| FixupRow::Bind { place: PLACE, relocation: "R_X86_64_64", symbol, addend };
        let free = Versioned { name: b"free", version: Some(b"GLIBC_2.2.5") };
        let own = Versioned { name: b"mine", version: None };
        let cases = [
            (FixupRow::Rebase { place: PLACE, target: VmAddr(0x10), auth: None }, "rebase 0x3fd8 0x10"),
            (FixupRow::Resolver { place: PLACE, target: VmAddr(0x10) }, "resolver 0x3fd8 0x10"),
            (bind(Some(free), 0), "bind 0x3fd8 R_X86_64_64 free@GLIBC_2.2.5 0"),
            (bind(Some(own), -8), "bind 0x3fd8 R_X86_64_64 mine -8"),
            (bind(None, 16), "bind 0x3fd8 R_X86_64_64 - 16"),
        ];
        for (row, expected) in cases {
            assert_eq!(row.to_string(), expected);
        }
    }

    #[test]
    fn exports_tell_the_default_version() {
        let export = |version, default_version| Export {
            name: b"crc32",
            version,
            default_version,
            vm: VmAddr(0x2f0),
            size: 9,
            kind: SymbolKind::Code,
            binding: Binding::Global,
            flags: None,
            leads: Leads::Here,
        };
        let cases = [
            (export(None, true), "export crc32 0x2f0 func"),
            (export(Some(&b"V1"[..]), false), "export crc32@V1 0x2f0 func"),
            (export(Some(&b"V2"[..]), true), "export crc32@@V2 0x2f0 func"),
        ];
        for (row, expected) in cases {
            assert_eq!(ExportRow(row).to_string(), expected);
        }
    }

    #[test]
    fn no_name_can_forge_a_line() {
        assert_eq!(Word(b"a\nexport b").to_string(), "a\\nexport b");
        assert_eq!(Word(b"\xff").to_string(), "\\xff");
        assert_eq!(Word("größe".as_bytes()).to_string(), "größe");
    }

    #[test]
    fn lines_are_sorted_bytewise() {
        let places = [0x9, 0x10, 0xa].map(VmAddr);
        let lines: Lines =
            places.iter().map(|&place| FixupRow::Rebase { place, target: VmAddr(0), auth: None }).collect();
        assert_eq!(lines.to_string(), "rebase 0x10 0x0\nrebase 0x9 0x0\nrebase 0xa 0x0\n");
        assert_eq!(lines.len(), 3);
    }
}
