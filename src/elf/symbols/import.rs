//! A row of the symbol table that a relocation names.

use super::super::hash::gnu_hash;
use super::super::versions::Row;
use super::{Found, Query, Symbol, SymbolTable, VERSION_GLOBAL, VERSION_INDEX, Wanted, binding};
use crate::error::{ErrorKind, Place};
use crate::plan::Binding;
use crate::symbol::{Class, SymbolKind, Version};
use goblin::elf64::section_header::SHN_ABS;
use goblin::elf64::sym::{STB_WEAK, STT_NOTYPE, STT_TLS};

/// One import, as its own image describes it.
#[derive(Clone, Copy, Debug)]
pub struct ImportRow<'t, 'a> {
    pub(super) table: &'t SymbolTable<'a>,
    pub(super) index: u32,
    pub(super) symbol: Symbol,
}

impl<'a> ImportRow<'_, 'a> {
    /// Its name.
    ///
    /// # Errors
    /// The name lies outside the string table.
    pub fn name(&self) -> Result<&'a [u8], ErrorKind> {
        let outside = || {
            let place = Place::Entry(u64::from(self.index));
            ErrorKind::malformed("DT_SYMTAB: a name lies outside the string table", place)
        };
        self.table.strings.c_str(u64::from(self.symbol.name)).ok_or_else(outside)
    }

    /// Whether that is its name. Costs no more than this name is long, whatever the string table holds.
    pub fn is_named(&self, name: &[u8]) -> bool {
        self.table.strings.c_str_is(u64::from(self.symbol.name), name)
    }

    /// Whether it may stay undefined.
    pub fn weak(&self) -> bool {
        self.symbol.bind() == STB_WEAK
    }

    /// The version it asks for.
    pub fn version(&self) -> Option<Version<'a>> {
        let (versions, row) = (&self.table.versions, self.version_row()?);
        Some(Version { name: versions.name(row)?, hash: row.hash, file: versions.file(row) })
    }

    fn version_row(&self) -> Option<&Row> {
        let versym = self.table.versym(self.index)?;
        self.table.version_row(versym).filter(|_| versym & VERSION_INDEX > VERSION_GLOBAL)
    }

    /// Whether the image only refers to it.
    pub fn is_undefined(&self) -> bool {
        !self.symbol.is_defined()
    }

    /// What the image takes it for; `None` where it does not say.
    pub fn kind(&self) -> Option<SymbolKind> {
        (self.symbol.kind() != STT_NOTYPE).then(|| self.symbol.symbol_kind())
    }

    /// Its binding.
    pub fn binding(&self) -> Binding {
        binding(self.symbol.bind())
    }

    /// The definition in the image itself, if it has one.
    pub fn own(&self) -> Option<Found> {
        let symbol = self.symbol;
        let valued = symbol.value != 0 || symbol.kind() == STT_TLS || u32::from(symbol.section) == SHN_ABS;
        (symbol.is_defined() && (valued || symbol.binds_locally())).then(|| symbol.found(self.index))
    }

    /// Whether that definition is the one to use, whatever comes before it in the scope.
    pub fn binds_locally(&self) -> bool {
        self.symbol.binds_locally()
    }

    /// The lookup that answers it.
    ///
    /// # Errors
    /// As [`ImportRow::name`]; a version index that neither `DT_VERNEED` nor `DT_VERDEF` has.
    pub fn query(&self, class: Class) -> Result<Query<'a>, ErrorKind> {
        let name = self.name()?;
        let version = match self.version_row() {
            Some(row) => Wanted::Exactly { version: self.table.versions.sought(row), hidden: false },
            None if self.table.versym(self.index).is_some_and(|versym| versym & VERSION_INDEX > VERSION_GLOBAL) => {
                let place = Place::Entry(u64::from(self.index));
                return Err(ErrorKind::malformed("DT_VERSYM: an import has a version that no table defines", place));
            }
            None => Wanted::Unversioned,
        };
        Ok(Query { name, gnu_hash: gnu_hash(name), version, class })
    }
}
