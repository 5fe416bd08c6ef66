//! The list of network interfaces (`<ifaddrs.h>`): a copy of the host's in rows of ours.
//!
//! Invariant: a row is boxed, holds what it points to but the next one, and goes with the list.

use super::super::Pointer;
use super::{Address, INET6, WITH_LENGTH};
use crate::addr::RunAddr;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_getifaddrs" => list as Pointer,
        b"_freeifaddrs" => free as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `struct ifaddrs`, the same everywhere; `libc` has other names for its members from one system to the next.
#[repr(C)]
struct Row {
    next: *mut Row,
    name: *const c_char,
    flags: u32,
    address: *const u8,
    mask: *const u8,
    /// For everybody on the net, or of the other end.
    other: *const u8,
    data: *const c_void,
}
const _: () = assert!(size_of::<Row>() == size_of::<libc::ifaddrs>());

/// A row, and what it points to.
#[repr(C)]
struct Own {
    row: Row,
    name: CString,
    addresses: [Option<Address>; 3],
}

/// What an interface is like: the first ten bits are the same everywhere.
fn flags(host: u32) -> u32 {
    const MULTICAST: u32 = 0x8000;
    let multicast = if host & libc::IFF_MULTICAST as u32 != 0 { MULTICAST } else { 0 };
    if WITH_LENGTH { host } else { host & 0x3ff | multicast }
}

/// Turns an address of the host's into theirs; `None` for none, or one of another family.
///
/// # Safety
/// Null, or an address that the host made, of an interface of that name.
unsafe fn address(host: *const u8, name: &[u8]) -> Option<Address> {
    /// The families of addresses of hardware, here and there.
    const PACKET: c_int = 17;
    const LINK: u8 = 18;
    if host.is_null() {
        return None;
    }
    // SAFETY: as the caller promises: all addresses begin so.
    let family = c_int::from(unsafe { (*host.cast::<libc::sockaddr>()).sa_family });
    let (size, own) = match family {
        libc::AF_INET => (16, family as u8),
        libc::AF_INET6 => (28, INET6 as u8),
        PACKET if !WITH_LENGTH => {
            // SAFETY: `struct sockaddr_ll` has that size, with the number of the interface at 4, the kind at 8 and then the
            // size and the bytes of the address.
            return Some(link(name, unsafe { &*host.cast::<[u8; 20]>() }));
        }
        // SAFETY: such addresses begin with their length.
        _ if WITH_LENGTH && family == c_int::from(LINK) => (usize::from(unsafe { *host }), LINK),
        _ => return None,
    };
    let mut address = Address([0; 128]);
    let room = address.0.get_mut(..size)?;
    // SAFETY: an address of that family has that size.
    unsafe { host.copy_to_nonoverlapping(room.as_mut_ptr(), size) };
    address.0[..2].copy_from_slice(&[size as u8, own]);
    Some(address)
}

/// `struct sockaddr_dl`: a header of eight bytes, the name, and the address.
fn link(name: &[u8], host: &[u8; 20]) -> Address {
    const ETHERNET: (u16, u8) = (1, 6);
    const LOOPBACK: (u16, u8) = (772, 24);
    const OTHER: u8 = 1;
    let name = &name[..name.len().min(16)];
    let hardware = &host[12..][..usize::from(host[11]).min(8)];
    let kind = u16::from_ne_bytes([host[8], host[9]]);
    let kind = [ETHERNET, LOOPBACK].into_iter().find(|(known, _)| *known == kind).map_or(OTHER, |(_, own)| own);
    let size = (8 + name.len() + hardware.len()).max(20);
    let mut address = Address([0; 128]);
    let header = [size as u8, 18, host[4], host[5], kind, name.len() as u8, hardware.len() as u8, 0];
    for (place, byte) in address.0.iter_mut().zip(header.iter().chain(name).chain(hardware)) {
        *place = *byte;
    }
    address
}

/// `getifaddrs`. What an interface has counted is left out.
///
/// # Safety
/// `to` has room for a pointer.
unsafe extern "C" fn list(to: *mut *mut Row) -> c_int {
    let mut host = null_mut();
    // SAFETY: room for a pointer.
    if unsafe { libc::getifaddrs(&raw mut host) } != 0 {
        return -1;
    }
    let mut rows = Vec::new();
    let mut next: *const Row = host.cast();
    // SAFETY: the host's list, whose rows have the layout that is the same everywhere.
    while let Some(row) = unsafe { next.as_ref() } {
        // SAFETY: as above.
        rows.push(unsafe { copied(row) });
        next = row.next;
    }
    // SAFETY: what was made just now.
    unsafe { libc::freeifaddrs(host) };
    let first = rows.into_iter().rev().fold(null_mut(), |next: *mut Row, own: *mut Row| {
        // SAFETY: made just now.
        unsafe { (*own).next = next };
        own
    });
    // SAFETY: as the caller promises.
    unsafe { to.write(first) };
    0
}

/// # Safety
/// A row of the host's.
unsafe fn copied(host: &Row) -> *mut Row {
    // SAFETY: every row has a name.
    let name = unsafe { CStr::from_ptr(host.name) }.to_owned();
    // SAFETY: null, or the host's addresses.
    let addresses = [host.address, host.mask, host.other].map(|at| unsafe { address(at, name.to_bytes()) });
    let row = Row {
        next: null_mut(),
        name: name.as_ptr(),
        flags: flags(host.flags),
        address: null(),
        mask: null(),
        other: null(),
        data: null(),
    };
    let own = Box::into_raw(Box::new(Own { row, name, addresses }));
    // SAFETY: nobody else has it yet, and it stays where it is until the list goes.
    unsafe {
        let [address, mask, other] = (*own).addresses.each_ref();
        let at = |address: &Option<Address>| address.as_ref().map_or(null(), |address| address.0.as_ptr());
        let at = [at(address), at(mask), at(other)];
        [(*own).row.address, (*own).row.mask, (*own).row.other] = at;
    }
    own.cast()
}

/// `freeifaddrs`
///
/// # Safety
/// Null, or a list of [`list`].
unsafe extern "C" fn free(first: *mut Row) {
    let mut next = first;
    while !next.is_null() {
        // SAFETY: boxed by `list`, with the row first.
        let own = unsafe { Box::from_raw(next.cast::<Own>()) };
        next = own.row.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_its_address_there() {
        let mut first = null_mut();
        // SAFETY: room for a pointer.
        assert_eq!(unsafe { list(&raw mut first) }, 0);
        let mut found = Vec::new();
        let mut next = first;
        // SAFETY: the list, whose strings and addresses are as long as they say.
        unsafe {
            while let Some(row) = next.as_ref() {
                let bytes = |at: *const u8| (!at.is_null()).then(|| std::slice::from_raw_parts(at, usize::from(*at)));
                if CStr::from_ptr(row.name) == c"lo" {
                    assert_eq!(row.flags & 0x9, 0x9, "up, and a loopback");
                    found.extend(
                        bytes(row.address).map(|address| (address.to_vec(), bytes(row.mask).map(<[u8]>::to_vec))),
                    );
                }
                next = row.next;
            }
            free(first);
            free(null_mut());
        }
        let inet = |last: [u8; 4]| [&[16, 2, 0, 0], &last[..], &[0; 8]].concat();
        assert!(found.contains(&(inet([127, 0, 0, 1]), Some(inet([255, 0, 0, 0])))), "{found:?}");
        let hardware = found.iter().find(|(address, _)| address[1] == 18).map(|(address, _)| &address[..]);
        // Length, family, number 1, a loopback, two letters, six bytes of zero.
        assert_eq!(hardware, Some(&[20, 18, 1, 0, 24, 2, 6, 0, b'l', b'o', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]));
    }

    #[test]
    fn flags_keep_their_meaning() {
        assert_eq!(flags(0x1043), if WITH_LENGTH { 0x1043 } else { 0x8043 });
    }
}
