//! Universal files: one Mach-O image for each of several processors.
//!
//! Grammar (`<mach-o/fat.h>`, big-endian): { magic 0xcafebabe or 0xcafebabf, count: u32 }, then `count` entries of
//! { cputype, cpusubtype, offset, size, align }, where offset and size have 32 bits under the first magic, and 64 under
//! the second one, with a reserved word at the entry's end. A file without that header is its own only slice.

use crate::addr::{FileOffset, FileRange};
use crate::bytes::Bytes;
use crate::error::{ErrorKind, NotAnImage, Place};
use goblin::mach::constants::cputype::{CPU_TYPE_ARM, CPU_TYPE_ARM64, CPU_TYPE_I386, CPU_TYPE_X86_64};

/// Java class files begin with the same four bytes, and then their version, which was never as low as this.
const MOST_SLICES: u32 = 42;
/// The high byte of a subtype says what the image can do, not what it needs (`CPU_SUBTYPE_MASK`).
const SUBTYPE: u32 = 0x00ff_ffff;

/// One image of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// `cputype`
    pub cpu: u32,
    /// `cpusubtype` without its capability bits
    pub subtype: u32,
    /// Where it is.
    pub file: FileRange,
}

impl Slice {
    /// The name that `lipo` and compilers give the processor; `None` for one that we do not know.
    pub fn arch(&self) -> Option<&'static str> {
        Some(match (self.cpu, self.subtype) {
            (CPU_TYPE_X86_64, 8) => "x86_64h",
            (CPU_TYPE_X86_64, _) => "x86_64",
            (CPU_TYPE_ARM64, 2) => "arm64e",
            (CPU_TYPE_ARM64, _) => "arm64",
            (CPU_TYPE_I386, _) => "i386",
            (CPU_TYPE_ARM, _) => "arm",
            _ => return None,
        })
    }
}

/// Whether a file begins like a Mach-O image or a universal file, of any byte order and width.
pub fn is_mach_o(file: &[u8]) -> bool {
    const MAGICS: [[u8; 4]; 6] = [
        [0xcf, 0xfa, 0xed, 0xfe],
        [0xce, 0xfa, 0xed, 0xfe],
        [0xfe, 0xed, 0xfa, 0xcf],
        [0xfe, 0xed, 0xfa, 0xce],
        [0xca, 0xfe, 0xba, 0xbe],
        [0xca, 0xfe, 0xba, 0xbf],
    ];
    MAGICS.iter().any(|magic| file.starts_with(magic)) && big(file, 4).is_some_and(|count| !is_java(file, count))
}

fn is_java(file: &[u8], count: u32) -> bool {
    file.starts_with(&[0xca, 0xfe, 0xba, 0xbe]) && count > MOST_SLICES
}

fn big(file: &[u8], at: u64) -> Option<u32> {
    Bytes(file).array(at).map(u32::from_be_bytes)
}

fn big64(file: &[u8], at: u64) -> Option<u64> {
    Bytes(file).array(at).map(u64::from_be_bytes)
}

/// The images that a file holds, in its order.
///
/// # Errors
/// A table or an image that lies outside the file.
pub fn slices(file: &[u8]) -> Result<Vec<Slice>, ErrorKind> {
    let cut = || ErrorKind::NotAnImage(NotAnImage::Truncated);
    let wide = match Bytes(file).array(0).ok_or_else(cut)? {
        [0xca, 0xfe, 0xba, 0xbe] => false,
        [0xca, 0xfe, 0xba, 0xbf] => true,
        _ => return thin(file).map(|slice| vec![slice]),
    };
    let count = big(file, 4).ok_or_else(cut)?;
    if count > MOST_SLICES {
        return Err(ErrorKind::malformed(
            "universal header: more images than there are processors",
            Place::File(FileOffset(4)),
        ));
    }
    let entry = if wide { 32 } else { 20 };
    (0..u64::from(count)).map(|index| slice(file, 8 + index * entry, wide, index)).collect()
}

fn slice(file: &[u8], at: u64, wide: bool, index: u64) -> Result<Slice, ErrorKind> {
    let read = || {
        let (offset, size) = match wide {
            true => (big64(file, at + 8)?, big64(file, at + 16)?),
            false => (u64::from(big(file, at + 8)?), u64::from(big(file, at + 12)?)),
        };
        let range = FileRange::new(offset, size).filter(|range| range.end().0 <= file.len() as u64)?;
        Some(Slice { cpu: big(file, at)?, subtype: big(file, at + 4)? & SUBTYPE, file: range })
    };
    read().ok_or(ErrorKind::malformed("universal header: an image lies outside the file", Place::Entry(index)))
}

fn thin(file: &[u8]) -> Result<Slice, ErrorKind> {
    let cut = ErrorKind::NotAnImage(NotAnImage::Truncated);
    // Before the processor is read, whose bytes stand the other way round there.
    if file.starts_with(&[0xfe, 0xed, 0xfa]) {
        return Err(ErrorKind::WrongTarget {
            field: "magic",
            found: "that of a big-endian image".into(),
            expected: "a little-endian one".into(),
        });
    }
    let (Some(cpu), Some(subtype)) = (Bytes(file).u32(4), Bytes(file).u32(8)) else { return Err(cut) };
    let whole = FileRange { start: FileOffset(0), size: file.len() as u64 };
    Ok(Slice { cpu, subtype: subtype & SUBTYPE, file: whole })
}

/// The image for `wanted`, or without a wish the best for this process, or else the first one.
///
/// # Errors
/// No image of that name; the error lists those that there are.
pub fn choose(slices: &[Slice], wanted: Option<&str>) -> Result<Slice, ErrorKind> {
    let named = |name: &str| slices.iter().find(|slice| slice.arch() == Some(name)).copied();
    let chosen = match wanted {
        Some(name) => named(name),
        None => host_grades().iter().find_map(|name| named(name)).or(slices.first().copied()),
    };
    chosen.ok_or_else(|| ErrorKind::WrongTarget {
        field: "architecture",
        found: slices.iter().map(|slice| slice.arch().unwrap_or("unknown")).collect::<Vec<_>>().join(" "),
        expected: wanted.unwrap_or("any").to_owned(),
    })
}

/// What this processor runs, best first (dyld `GradedArchitectures`). A process with signed pointers could run arm64e,
/// but no compiler of ours makes one.
fn host_grades() -> &'static [&'static str] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi2") {
        return &["x86_64h", "x86_64"];
    }
    if cfg!(target_arch = "aarch64") { &["arm64"] } else { &["x86_64"] }
}
