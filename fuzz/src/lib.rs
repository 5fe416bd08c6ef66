//! What the targets share: a mutator that knows ELF, beside libFuzzer's own, which does not.

use test_fixtures::Hostile;

/// Changes the first `size` bytes of `data`, and returns how many there are now: most often by a fault that is right in
/// form and wrong in meaning, else, or where the bytes are no ELF file any more, as libFuzzer would.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let hostile = if seed % 4 == 0 { None } else { Hostile::of(data[..size].to_vec()) };
    let Some(hostile) = hostile else { return libfuzzer_sys::fuzzer_mutate(data, size, max_size) };
    let bytes = hostile.copy(u64::from(seed)).bytes;
    let size = bytes.len().min(max_size).min(data.len());
    data[..size].copy_from_slice(&bytes[..size]);
    size.max(1)
}
