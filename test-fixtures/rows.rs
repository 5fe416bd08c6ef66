//! The rows of a load plan that a fixture can depend on, and how to take them out of a file.
//!
//! A loader that keeps its plan as data takes the same rows out of the plan. Doing it to the file shows, with any
//! loader, that the fixture would notice.

use crate::elf_edit::*;

type Remove = fn(&mut ElfEdit);

/// Every name that `//# rows:` may use, with what it stands for. `bind:` and `tls:` are followed by a relocation type.
pub const ROWS: &[(&str, &str)] = &[
    ("rebase", "fixups of R_X86_64_RELATIVE"),
    ("relr", "fixups of DT_RELR"),
    ("bind:TYPE", "fixups of symbolic relocations: 64, GLOB_DAT, JUMP_SLOT, PC32, 32, SIZE64"),
    ("tls:TYPE", "fixups of thread-locals: DTPMOD64, DTPOFF64, TPOFF64, TLSDESC"),
    ("resolver", "fixups of R_X86_64_IRELATIVE"),
    ("tls", "the template of the thread-locals (PT_TLS): its initial bytes"),
    ("zero_fill", "what a segment has in memory beyond its bytes in the file"),
    ("seal", "the range to be sealed (PT_GNU_RELRO)"),
    ("unwind", "where the unwind tables are (PT_GNU_EH_FRAME)"),
    ("init", "DT_INIT"),
    ("init_array", "DT_INIT_ARRAY"),
    ("needs", "DT_NEEDED"),
    ("version", "the versions of imports (DT_VERSYM, DT_VERNEED)"),
    ("symbolic", "the flag DF_SYMBOLIC"),
    ("rpath", "DT_RPATH"),
    ("runpath", "DT_RUNPATH"),
    ("gnu_hash", "DT_GNU_HASH"),
    ("sysv_hash", "DT_HASH"),
];

/// Returns the bytes of an object with the rows of that name taken out.
///
/// # Panics
/// If the name is not one of [`ROWS`], or the object has no such row.
pub fn without_row(bytes: &[u8], row: &str) -> Vec<u8> {
    let mut elf = ElfEdit::new(bytes.to_vec());
    match row.split_once(':') {
        Some(("bind" | "tls", r_type)) => drop_relocations(&mut elf, r_type),
        _ => removal(row)(&mut elf),
    }
    assert!(elf.bytes() != bytes, "the object has no row `{row}`");
    elf.into_bytes()
}

/// Whether `//# rows:` may use that name.
pub(crate) fn is_known(row: &str) -> bool {
    let known = |name: &str| ROWS.iter().any(|(known, _)| *known == name);
    match row.split_once(':') {
        Some((kind, r_type)) => {
            known(&format!("{kind}:TYPE")) && RELOCATION_TYPES.iter().any(|(known, _)| *known == r_type)
        }
        None => known(row),
    }
}

fn removal(row: &str) -> Remove {
    match row {
        "rebase" => |elf| drop_relocations(elf, "RELATIVE"),
        "relr" => |elf| elf.set_dynamic(DT_RELRSZ, 0),
        "resolver" => |elf| drop_relocations(elf, "IRELATIVE"),
        // The block keeps its size, so that only its content is missing.
        "tls" => |elf| elf.set_phdr(PT_TLS, 0, PhdrField::Filesz, 0),
        "zero_fill" => drop_zero_fill,
        "seal" => |elf| elf.set_phdr(PT_GNU_RELRO, 0, PhdrField::Type, PT_NULL),
        "unwind" => |elf| elf.set_phdr(PT_GNU_EH_FRAME, 0, PhdrField::Type, PT_NULL),
        "init" => |elf| elf.remove_dynamic(DT_INIT),
        "init_array" => |elf| elf.remove_dynamic(DT_INIT_ARRAY),
        "needs" => |elf| elf.remove_dynamic(DT_NEEDED),
        "version" => |elf| [DT_VERSYM, DT_VERNEED, DT_VERNEEDNUM].into_iter().for_each(|tag| elf.remove_dynamic(tag)),
        "symbolic" => |elf| elf.set_dynamic(DT_FLAGS, elf.dynamic(DT_FLAGS).unwrap_or(0) & !DF_SYMBOLIC),
        "rpath" => |elf| elf.remove_dynamic(DT_RPATH),
        "runpath" => |elf| elf.remove_dynamic(DT_RUNPATH),
        "gnu_hash" => |elf| elf.remove_dynamic(DT_GNU_HASH),
        "sysv_hash" => |elf| elf.remove_dynamic(DT_HASH),
        _ => panic!("`{row}` is not the name of a row"),
    }
}

fn drop_relocations(elf: &mut ElfEdit, r_type: &str) {
    let count = elf.retype_relocations(r_type, "NONE");
    assert_ne!(count, 0, "no R_X86_64_{r_type} to take out");
}

fn drop_zero_fill(elf: &mut ElfEdit) {
    let nth = elf.load_with(PF_W, 0);
    let in_file = elf.phdr(PT_LOAD, nth, PhdrField::Filesz);
    elf.set_phdr(PT_LOAD, nth, PhdrField::Memsz, in_file);
}
