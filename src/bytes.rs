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
            Some(rest) => rest.len() > name.len() && rest[name.len()] == 0 && rest[..name.len()] == *name,
            None => false,
        }
    }
}

/// Where the first NUL is: eight bytes at a time, since names of C++ are long and every import has one.
#[inline]
fn nul(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The lowest set bit is the top bit of the first byte that is zero; what borrows set above it does not matter.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return Some(at * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| byte == 0).map(|at| words.len() * 8 + at)
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

    fn long_uleb128(&mut self) -> Option<u64> {
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
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Some(u64::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], None),
            (&[0x80], None),
        ];
        for &(input, expected) in CASES {
            assert_eq!(Cursor::new(input, 0).uleb128(), expected, "{input:x?}");
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
