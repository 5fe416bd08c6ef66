//! Total reads from untrusted bytes: every accessor answers `None` where the bytes end, and none can panic.

/// A borrowed run of bytes with checked, little-endian accessors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// Number of bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// `size` bytes at `offset`.
    #[inline]
    pub fn slice(self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        self.0.get(start..end)
    }

    /// Everything from `offset` on.
    #[inline]
    pub fn from(self, offset: u64) -> Option<&'a [u8]> {
        self.0.get(usize::try_from(offset).ok()?..)
    }

    /// `N` bytes at `offset`.
    #[inline]
    pub fn array<const N: usize>(self, offset: u64) -> Option<[u8; N]> {
        self.slice(offset, N as u64)?.try_into().ok()
    }

    /// A little-endian `u16` at `offset`.
    #[inline]
    pub fn u16(self, offset: u64) -> Option<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }

    /// A little-endian `u32` at `offset`.
    #[inline]
    pub fn u32(self, offset: u64) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// A little-endian `u64` at `offset`.
    #[inline]
    pub fn u64(self, offset: u64) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// The bytes of the NUL-terminated string at `offset`, without its NUL; `None` where no NUL follows.
    #[inline]
    pub fn c_str(self, offset: u64) -> Option<&'a [u8]> {
        let rest = self.from(offset)?;
        Some(&rest[..nul(rest)?])
    }

    /// The same for a string of at most `limit` bytes: the scan for its end stops there.
    #[inline]
    pub fn c_str_within(self, offset: u64, limit: u64) -> Option<&'a [u8]> {
        let rest = self.from(offset)?;
        let most = usize::try_from(limit).ok()?.saturating_add(1).min(rest.len());
        Bytes(&rest[..most]).c_str(0)
    }

    /// Whether the NUL-terminated string at `offset` equals `name`: no scan for the end of a string that differs.
    #[inline]
    pub fn c_str_is(self, offset: u64, name: &[u8]) -> bool {
        match self.from(offset) {
            Some(rest) => rest.len() > name.len() && rest[name.len()] == 0 && same(&rest[..name.len()], name),
            None => false,
        }
    }
}

/// Whether two slices of the same length are equal. A name of C is so short that a call of `memcmp` would take longer than
/// what it does: its first and last bytes, which may overlap, are all of it.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
        one.first_chunk::<N>() == other.first_chunk::<N>() && one.last_chunk::<N>() == other.last_chunk::<N>()
    }
    match one.len() {
        4..8 => ends::<4>(one, other),
        8..=16 => ends::<8>(one, other),
        _ => one == other,
    }
}

/// Where the first NUL is: eight bytes at a time, and four times eight where there are as many, since names of C++ are long
/// and every import has one.
#[inline]
fn nul(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let holds = |block: &[u8; BLOCK]| block.as_chunks().0.iter().fold(0, |found, word| found | zeros(*word)) != 0;
    let (before, block) = match blocks.iter().position(holds) {
        Some(at) => (at * BLOCK, &blocks[at][..]),
        None => (blocks.len() * BLOCK, rest),
    };
    let (words, rest) = block.as_chunks::<8>();
    let in_words = words.iter().map(|word| zeros(*word)).zip((0..).step_by(8)).find(|&(zeros, _)| zeros != 0);
    let at = match in_words {
        Some((zeros, at)) => at + zeros.trailing_zeros() as usize / 8,
        None => words.len() * 8 + rest.iter().position(|&byte| byte == 0)?,
    };
    Some(before + at)
}

/// Not zero if one of the bytes is: then the lowest set bit is the top bit of the first such byte.
#[inline]
fn zeros(word: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(word);
    // What borrows set above it does not matter.
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

/// The unsigned LEB128 number at the front of eight bytes, and how many of them it takes: more than eight, and the number
/// means nothing, if it does not end among them. Takes the same time for every length.
#[inline]
pub(crate) fn short_uleb128(bytes: [u8; 8]) -> (u64, u64) {
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(bytes);
    // The first byte without its top bit is the last one.
    let last = !word & TOPS;
    let size = u64::from(last.trailing_zeros()) / 8 + 1;
    let word = word & (last ^ last.wrapping_sub(1)) & !TOPS;
    // Seven bits of each byte: pairs are brought together, then pairs of pairs, then the halves.
    let word = (word & 0x7f00_7f00_7f00_7f00) >> 1 | word & 0x007f_007f_007f_007f;
    let word = (word & 0x3fff_0000_3fff_0000) >> 2 | word & 0x0000_3fff_0000_3fff;
    let word = (word & 0x0fff_ffff_0000_0000) >> 4 | word & 0x0fff_ffff;
    (word, size)
}

/// A cursor over [`Bytes`] for variable-length data (DWARF pointer encodings, ULEB128).
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: Bytes<'a>,
    /// Offset of the next byte.
    pub at: u64,
}

impl<'a> Cursor<'a> {
    /// A cursor that stands at `at`.
    pub fn new(bytes: &'a [u8], at: u64) -> Cursor<'a> {
        Cursor { bytes: Bytes(bytes), at }
    }

    /// The next byte.
    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        let [byte] = self.bytes.array(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let value = self.bytes.array(self.at)?;
        self.at += N as u64;
        Some(value)
    }

    /// The next little-endian `u32`.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next little-endian `u64`.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// An unsigned LEB128 number (DWARF 5 §7.6); `None` past 64 bits.
    #[inline]
    pub fn uleb128(&mut self) -> Option<u64> {
        // Most have one byte.
        match self.bytes.array(self.at)? {
            [byte @ ..0x80] => {
                self.at += 1;
                Some(u64::from(byte))
            }
            _ => self.long_uleb128(),
        }
    }

    /// All from here on.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.from(self.at).unwrap_or_default()
    }

    /// Goes on to where no more than this is left.
    #[inline]
    pub(crate) fn leave(&mut self, rest: &[u8]) {
        self.at = self.bytes.len().saturating_sub(rest.len()) as u64;
    }

    fn long_uleb128(&mut self) -> Option<u64> {
        // Negative offsets, which linkers write as large ones, have ten bytes.
        if let Some([bytes @ .., ninth, tenth]) = self.bytes.array::<10>(self.at) {
            let (value, size) = short_uleb128(bytes);
            let (value, size) = match (ninth, tenth) {
                _ if size <= 8 => (value, size),
                (0..0x80, _) => (value | u64::from(ninth) << 56, 9),
                (_, 0..2) => (value | u64::from(ninth & 0x7f) << 56 | u64::from(tenth) << 63, 10),
                _ => return None,
            };
            self.at += size;
            return Some(value);
        }
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            let byte = self.u8()?;
            let low = u64::from(byte & 0x7f);
            if shift >= 64 || (shift == 63 && low > 1) {
                return None;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    }

    /// A signed LEB128 number (DWARF 5 §7.6); `None` past 64 bits.
    pub fn sleb128(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0i64, 0u32);
        loop {
            let byte = self.u8()?;
            if shift >= 64 {
                return None;
            }
            value |= i64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0 && shift < 64;
                return Some(if negative { value | -1 << shift } else { value });
            }
        }
    }

    /// The bytes of the NUL-terminated string here, without its NUL.
    pub fn c_str(&mut self) -> Option<&'a [u8]> {
        let text = self.bytes.c_str(self.at)?;
        self.at += text.len() as u64 + 1;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_total() {
        let bytes = Bytes(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(bytes.u64(0), Some(0x0807_0605_0403_0201));
        assert_eq!(bytes.u64(1), Some(0x0908_0706_0504_0302));
        assert_eq!(bytes.u64(2), None);
        assert_eq!(bytes.u16(u64::MAX), None);
        assert_eq!(bytes.slice(4, u64::MAX), None);
    }

    #[test]
    fn strings_need_their_terminator() {
        let bytes = Bytes(b"\0crc32\0crc");
        assert_eq!(bytes.c_str(1), Some(&b"crc32"[..]));
        assert_eq!(bytes.c_str(7), None);
        assert_eq!(bytes.c_str_within(1, 5), Some(&b"crc32"[..]));
        assert_eq!(bytes.c_str_within(1, 4), None);
        assert_eq!(bytes.c_str_within(7, u64::MAX), None);
        assert!(bytes.c_str_is(1, b"crc32"));
        assert!(!bytes.c_str_is(1, b"crc3"));
        assert!(!bytes.c_str_is(7, b"crc"));
        assert!(bytes.c_str_is(0, b""));
    }

    #[test]
    fn a_name_differs_wherever_one_byte_does() {
        for length in 0..40 {
            let name: Vec<u8> = (1..=length).collect();
            let table = [&name[..], &[0]].concat();
            assert!(Bytes(&table).c_str_is(0, &name), "{length}");
            for at in 0..name.len() {
                let mut other = name.clone();
                other[at] ^= 0x80;
                assert!(!Bytes(&table).c_str_is(0, &other), "{length}: {at}");
            }
        }
    }

    #[test]
    fn the_first_nul_is_found_wherever_it_stands() {
        // 0x01 behind a zero byte and 0x80 before it are what the trick with words could take for zeros.
        for fill in [0x01, 0x61, 0x80, 0xff] {
            for length in 0..40 {
                for at in 0..length {
                    let mut bytes = vec![fill; length];
                    bytes[at] = 0;
                    assert_eq!(nul(&bytes), Some(at));
                    bytes[at..].fill(0);
                    assert_eq!(nul(&bytes), Some(at));
                }
                assert_eq!(nul(&vec![fill; length]), None);
            }
        }
    }

    #[test]
    fn uleb128_stops_at_64_bits() {
        const CASES: &[(&[u8], Option<u64>)] = &[
            (&[0x00], Some(0)),
            (&[0xe5, 0x8e, 0x26], Some(624_485)),
            (&[0x81, 0x01], Some(0x81)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], Some((1 << 49) - 1)),
            (&[0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x08], Some(0x10_1c30_5080_c101)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], Some(1 << 56)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Some(u64::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], None),
            (&[0x80], None),
        ];
        for &(input, expected) in CASES {
            // With nothing behind it, and with so much that it can be read at once.
            let longer = [input, &[0xff; 8]].concat();
            assert_eq!(Cursor::new(input, 0).uleb128(), expected, "{input:x?}");
            assert_eq!(
                Cursor::new(&longer, 0).uleb128().filter(|_| input.last() < Some(&0x80)),
                expected,
                "{input:x?}"
            );
        }
    }

    #[test]
    fn sleb128_extends_its_sign() {
        const CASES: &[(&[u8], Option<i64>)] = &[
            (&[0x02], Some(2)),
            (&[0x7e], Some(-2)),
            (&[0x80, 0x7f], Some(-128)),
            (&[0xff, 0x00], Some(127)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f], Some(i64::MIN)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], None),
            (&[0x80], None),
        ];
        for &(input, expected) in CASES {
            assert_eq!(Cursor::new(input, 0).sleb128(), expected, "{input:x?}");
        }
    }
}
