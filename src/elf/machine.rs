//! What a relocation type of each machine means: the only place that knows relocation numbers.
//!
//! Sources: AMD64 psABI §4.4.1 with the TLS supplement; AArch64 ELF ABI §5.7.

use crate::addr::VmAddr;
use crate::error::ErrorKind;
use crate::plan::{Fixup, FixupKind, Form, Machine, TlsModel};
use crate::symbol::{Class, ImportId};
use goblin::elf::{header, reloc};

/// The machine of an `e_machine`.
pub fn from_e_machine(e_machine: u16) -> Result<Machine, ErrorKind> {
    match e_machine {
        header::EM_X86_64 => Ok(Machine::X86_64),
        header::EM_AARCH64 => Ok(Machine::Aarch64),
        other => Err(ErrorKind::WrongTarget {
            field: "e_machine",
            found: format!("{other} ({})", header::machine_to_str(other)),
            expected: Machine::HOST.map_or("a supported machine", Machine::as_str).into(),
        }),
    }
}

/// One relocation as the table holds it; `addend` is the stored one, or was read at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// `r_offset`
    pub place: VmAddr,
    /// `ELF64_R_TYPE`
    pub r_type: u32,
    /// `ELF64_R_SYM`; 0 stands for the image itself
    pub symbol: u32,
    /// `r_addend`
    pub addend: i64,
}

/// The type that adds the bias to an address of this image: nearly all of a big library's relocations.
pub const fn relative(machine: Machine) -> u32 {
    match machine {
        Machine::X86_64 => reloc::R_X86_64_RELATIVE,
        Machine::Aarch64 => reloc::R_AARCH64_RELATIVE,
    }
}

/// What a relocation writes.
///
/// # Errors
/// A type that only object files have, that is reserved, or that no shared object may have.
#[inline(always)] // half a million times a library, and nearly always one of three types
pub fn lower(machine: Machine, relocation: &Relocation) -> Result<Fixup, ErrorKind> {
    let kind = match machine {
        Machine::X86_64 => x86_64(relocation)?,
        Machine::Aarch64 => aarch64(relocation)?,
    };
    Ok(Fixup { place: relocation.place, kind })
}

/// What the four most frequent types do with their symbol; [`lower`] says the same, and more.
#[inline]
pub fn usual(machine: Machine, r_type: u32) -> Usual {
    use reloc::{
        R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT, R_AARCH64_RELATIVE, R_X86_64_64, R_X86_64_GLOB_DAT,
        R_X86_64_JUMP_SLOT, R_X86_64_RELATIVE,
    };
    match (machine, r_type) {
        (Machine::X86_64, R_X86_64_JUMP_SLOT) | (Machine::Aarch64, R_AARCH64_JUMP_SLOT) => {
            Usual::Bind(Class::Plt, Form::Got64)
        }
        (Machine::X86_64, R_X86_64_GLOB_DAT) | (Machine::Aarch64, R_AARCH64_GLOB_DAT) => {
            Usual::Bind(Class::Data, Form::Got64)
        }
        (Machine::X86_64, R_X86_64_64) | (Machine::Aarch64, R_AARCH64_ABS64) => Usual::Bind(Class::Data, Form::Abs64),
        (Machine::X86_64, R_X86_64_RELATIVE) | (Machine::Aarch64, R_AARCH64_RELATIVE) => Usual::Relative,
        _ => Usual::No,
    }
}

/// See [`usual`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// Binds it.
    Bind(Class, Form),
    /// Has none.
    Relative,
    /// Not one of the four.
    No,
}

#[inline]
fn x86_64(relocation: &Relocation) -> Result<FixupKind, ErrorKind> {
    Ok(match relocation.r_type {
        reloc::R_X86_64_RELATIVE => rebase(relocation),
        reloc::R_X86_64_GLOB_DAT => bind(relocation, Class::Data, Form::Got64),
        reloc::R_X86_64_JUMP_SLOT => bind(relocation, Class::Plt, Form::Got64),
        reloc::R_X86_64_64 => bind(relocation, Class::Data, Form::Abs64),
        reloc::R_X86_64_DTPMOD64 => tls(relocation, TlsModel::ModuleId),
        reloc::R_X86_64_DTPOFF64 => tls(relocation, TlsModel::ModuleOffset),
        reloc::R_X86_64_TPOFF64 => tls(relocation, TlsModel::ThreadOffset),
        reloc::R_X86_64_TLSDESC => tls(relocation, TlsModel::Descriptor),
        reloc::R_X86_64_IRELATIVE => resolver(relocation),
        reloc::R_X86_64_PC32 => bind(relocation, Class::Data, Form::Pc32),
        reloc::R_X86_64_PC64 => bind(relocation, Class::Data, Form::Pc64),
        reloc::R_X86_64_32 => bind(relocation, Class::Data, Form::Abs32),
        reloc::R_X86_64_32S => bind(relocation, Class::Data, Form::Abs32Signed),
        reloc::R_X86_64_SIZE64 => bind(relocation, Class::Size, Form::Abs64),
        reloc::R_X86_64_SIZE32 => bind(relocation, Class::Size, Form::Abs32),
        reloc::R_X86_64_NONE => FixupKind::Nothing,
        // It copies a variable *out of* the object that defines it: only an executable may ask for that.
        reloc::R_X86_64_COPY => return Err(refused("R_X86_64_COPY", relocation)),
        _ => return Err(unknown(relocation)),
    })
}

fn aarch64(relocation: &Relocation) -> Result<FixupKind, ErrorKind> {
    Ok(match relocation.r_type {
        reloc::R_AARCH64_RELATIVE => rebase(relocation),
        reloc::R_AARCH64_GLOB_DAT => bind(relocation, Class::Data, Form::Got64),
        reloc::R_AARCH64_JUMP_SLOT => bind(relocation, Class::Plt, Form::Got64),
        reloc::R_AARCH64_ABS64 => bind(relocation, Class::Data, Form::Abs64),
        reloc::R_AARCH64_TLS_DTPMOD => tls(relocation, TlsModel::ModuleId),
        reloc::R_AARCH64_TLS_DTPREL => tls(relocation, TlsModel::ModuleOffset),
        reloc::R_AARCH64_TLS_TPREL => tls(relocation, TlsModel::ThreadOffset),
        reloc::R_AARCH64_TLSDESC => tls(relocation, TlsModel::Descriptor),
        reloc::R_AARCH64_IRELATIVE => resolver(relocation),
        reloc::R_AARCH64_NONE => FixupKind::Nothing,
        reloc::R_AARCH64_COPY => return Err(refused("R_AARCH64_COPY", relocation)),
        _ => return Err(unknown(relocation)),
    })
}

/// The name of the relocation that lowers to `kind`: the inverse of [`lower`], for listings.
pub fn name(machine: Machine, kind: &FixupKind) -> &'static str {
    let x86_64 = machine == Machine::X86_64;
    let pick = |on_x86_64, on_aarch64| if x86_64 { on_x86_64 } else { on_aarch64 };
    match *kind {
        FixupKind::Rebase { .. } => pick("R_X86_64_RELATIVE", "R_AARCH64_RELATIVE"),
        FixupKind::Resolver { .. } => pick("R_X86_64_IRELATIVE", "R_AARCH64_IRELATIVE"),
        FixupKind::Nothing => pick("R_X86_64_NONE", "R_AARCH64_NONE"),
        // The AArch64 psABI has its own ("PAuth ABI"), which no system uses yet.
        FixupKind::Signed { .. } => "signed",
        FixupKind::Bind { import, form, .. } => {
            let class = import.map_or(Class::Data, |import| import.class);
            match (form, class) {
                (Form::Got64, Class::Plt) => pick("R_X86_64_JUMP_SLOT", "R_AARCH64_JUMP_SLOT"),
                (Form::Got64, _) => pick("R_X86_64_GLOB_DAT", "R_AARCH64_GLOB_DAT"),
                (Form::Abs64, Class::Size) => "R_X86_64_SIZE64",
                (Form::Abs32, Class::Size) => "R_X86_64_SIZE32",
                (Form::Abs64, _) => pick("R_X86_64_64", "R_AARCH64_ABS64"),
                (Form::Abs32, _) => "R_X86_64_32",
                (Form::Abs32Signed, _) => "R_X86_64_32S",
                (Form::Pc32, _) => "R_X86_64_PC32",
                (Form::Pc64, _) => "R_X86_64_PC64",
            }
        }
        FixupKind::Tls { model, .. } => match model {
            TlsModel::ModuleId => pick("R_X86_64_DTPMOD64", "R_AARCH64_TLS_DTPMOD"),
            TlsModel::ModuleOffset => pick("R_X86_64_DTPOFF64", "R_AARCH64_TLS_DTPREL"),
            TlsModel::ThreadOffset => pick("R_X86_64_TPOFF64", "R_AARCH64_TLS_TPREL"),
            TlsModel::Descriptor => pick("R_X86_64_TLSDESC", "R_AARCH64_TLSDESC"),
        },
    }
}

fn rebase(relocation: &Relocation) -> FixupKind {
    FixupKind::Rebase { target: VmAddr(relocation.addend as u64) }
}

fn resolver(relocation: &Relocation) -> FixupKind {
    FixupKind::Resolver { target: VmAddr(relocation.addend as u64) }
}

fn import(relocation: &Relocation, class: Class) -> Option<ImportId> {
    (relocation.symbol != 0).then_some(ImportId { symbol: relocation.symbol, class })
}

fn bind(relocation: &Relocation, class: Class, form: Form) -> FixupKind {
    FixupKind::Bind { import: import(relocation, class), addend: relocation.addend, form }
}

fn tls(relocation: &Relocation, model: TlsModel) -> FixupKind {
    FixupKind::Tls { model, import: import(relocation, Class::Tls), addend: relocation.addend }
}

#[cold]
fn refused(what: &'static str, relocation: &Relocation) -> ErrorKind {
    ErrorKind::Unsupported { what, place: Some(crate::error::Place::Vm(relocation.place)), symbol: None }
}

#[cold]
fn unknown(relocation: &Relocation) -> ErrorKind {
    ErrorKind::UnknownRelocation { r_type: relocation.r_type, place: relocation.place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lowered_type_has_its_name_back() {
        const CASES: &[(u32, &str)] = &[
            (reloc::R_X86_64_NONE, "R_X86_64_NONE"),
            (reloc::R_X86_64_64, "R_X86_64_64"),
            (reloc::R_X86_64_PC32, "R_X86_64_PC32"),
            (reloc::R_X86_64_GLOB_DAT, "R_X86_64_GLOB_DAT"),
            (reloc::R_X86_64_JUMP_SLOT, "R_X86_64_JUMP_SLOT"),
            (reloc::R_X86_64_RELATIVE, "R_X86_64_RELATIVE"),
            (reloc::R_X86_64_32, "R_X86_64_32"),
            (reloc::R_X86_64_32S, "R_X86_64_32S"),
            (reloc::R_X86_64_DTPMOD64, "R_X86_64_DTPMOD64"),
            (reloc::R_X86_64_DTPOFF64, "R_X86_64_DTPOFF64"),
            (reloc::R_X86_64_TPOFF64, "R_X86_64_TPOFF64"),
            (reloc::R_X86_64_PC64, "R_X86_64_PC64"),
            (reloc::R_X86_64_SIZE32, "R_X86_64_SIZE32"),
            (reloc::R_X86_64_SIZE64, "R_X86_64_SIZE64"),
            (reloc::R_X86_64_TLSDESC, "R_X86_64_TLSDESC"),
            (reloc::R_X86_64_IRELATIVE, "R_X86_64_IRELATIVE"),
        ];
        for &(r_type, expected) in CASES {
            let relocation = Relocation { place: VmAddr(0x1000), r_type, symbol: 7, addend: -8 };
            let fixup = lower(Machine::X86_64, &relocation).unwrap();
            match (usual(Machine::X86_64, r_type), fixup.kind) {
                (Usual::Bind(class, form), kind) => {
                    let import = Some(ImportId { symbol: 7, class });
                    assert_eq!(kind, FixupKind::Bind { import, addend: -8, form }, "{expected}");
                }
                (Usual::Relative, FixupKind::Rebase { .. }) | (Usual::No, _) => {}
                (usual, kind) => panic!("{expected}: {usual:?}, but {kind:?}"),
            }
            assert_eq!(name(Machine::X86_64, &fixup.kind), expected);
        }
    }

    #[test]
    fn copy_is_refused_by_name_and_others_by_number() {
        let copy = Relocation { place: VmAddr(0x3fd8), r_type: reloc::R_X86_64_COPY, symbol: 1, addend: 0 };
        let message = lower(Machine::X86_64, &copy).unwrap_err().to_string();
        assert_eq!(message, "R_X86_64_COPY is not supported at vm 0x3fd8");
        let unknown = Relocation { r_type: 99, ..copy };
        let message = lower(Machine::X86_64, &unknown).unwrap_err().to_string();
        assert_eq!(message, "relocation type 99 is not supported at vm 0x3fd8");
    }
}
