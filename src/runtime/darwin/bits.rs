//! Sets of bits that have other numbers on the host, by tables of each bit there and the host's.

use std::ffi::c_int;

/// The host's bits for those that are set, as far as the table has them.
pub(super) fn to_host(own: c_int, table: &[(c_int, c_int)]) -> c_int {
    table.iter().filter(|(bit, _)| own & bit != 0).fold(0, |all, (_, host)| all | host)
}

/// The same; `None` if a bit is set that the table does not have.
pub(super) fn all_to_host(own: c_int, table: &[(c_int, c_int)]) -> Option<c_int> {
    let known = table.iter().fold(0, |all, (bit, _)| all | bit);
    (own & !known == 0).then(|| to_host(own, table))
}

/// Theirs for the host's that are set, as far as the table has them.
pub(super) fn from_host(host: c_int, table: &[(c_int, c_int)]) -> c_int {
    table.iter().filter(|(_, bit)| host & bit != 0).fold(0, |all, (own, _)| all | own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_go_there_and_back() {
        const TABLE: [(c_int, c_int); 3] = [(0x1, 0x4), (0x2, 0x1), (0x8, 0x100)];
        for (own, host) in [(0, 0), (0x1, 0x4), (0x3, 0x5), (0xb, 0x105)] {
            assert_eq!((to_host(own, &TABLE), from_host(host, &TABLE)), (host, own));
            assert_eq!(all_to_host(own, &TABLE), Some(host));
            assert_eq!((to_host(own | 0x10, &TABLE), from_host(host | 0x10, &TABLE)), (host, own));
            assert_eq!(all_to_host(own | 0x10, &TABLE), None);
        }
    }
}
