//! Names of machines and services (`<netdb.h>`): what is found is the host's list, whose rows have two members the other way
//! round there, and is turned back before the host frees it.

use super::super::{Pointer, bits};
use super::{Address, INET6, WITH_LENGTH, family};
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_getaddrinfo" => find as Pointer,
        b"_freeaddrinfo" => free as Pointer,
        b"_getnameinfo" => name_of as Pointer,
        b"_gai_strerror" => describe as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `struct addrinfo`
#[repr(C)]
struct Row {
    flags: c_int,
    family: c_int,
    kind: c_int,
    protocol: c_int,
    size: u32,
    name: *mut c_char,
    address: *mut u8,
    next: *mut Row,
}

/// The host's errors, by their numbers there.
const ERRORS: [(c_int, c_int); 9] = [
    (2, libc::EAI_AGAIN),
    (3, libc::EAI_BADFLAGS),
    (4, libc::EAI_FAIL),
    (5, libc::EAI_FAMILY),
    (6, libc::EAI_MEMORY),
    (8, libc::EAI_NONAME),
    (9, libc::EAI_SERVICE),
    (10, libc::EAI_SOCKTYPE),
    (11, libc::EAI_SYSTEM),
];
/// What every other one is.
const FAIL: c_int = 4;

fn error(host: c_int) -> c_int {
    match host {
        0 => 0,
        _ => ERRORS.iter().find(|(_, known)| *known == host).map_or(FAIL, |(own, _)| *own),
    }
}

const WANTED: [(c_int, c_int); 7] = [
    (0x1, libc::AI_PASSIVE),
    (0x2, libc::AI_CANONNAME),
    (0x4, libc::AI_NUMERICHOST),
    (0x100, libc::AI_ALL),
    (0x400, libc::AI_ADDRCONFIG),
    (0x800, libc::AI_V4MAPPED),
    (0x1000, libc::AI_NUMERICSERV),
];

/// `getaddrinfo`
///
/// # Safety
/// As that.
unsafe extern "C" fn find(
    machine: *const c_char,
    service: *const c_char,
    hints: *const Row,
    list: *mut *mut Row,
) -> c_int {
    // SAFETY: numbers, and pointers that may be null.
    let mut asked: libc::addrinfo = unsafe { std::mem::zeroed() };
    // SAFETY: as the caller promises.
    let hints = unsafe { hints.as_ref() };
    if let Some(hints) = hints {
        let Some(flags) = bits::all_to_host(hints.flags, &WANTED) else { return error(libc::EAI_BADFLAGS) };
        (asked.ai_flags, asked.ai_family) = (flags, family(hints.family));
        (asked.ai_socktype, asked.ai_protocol) = (hints.kind, hints.protocol);
    }
    let asked = hints.map_or(std::ptr::null(), |_| &raw const asked);
    let mut found = std::ptr::null_mut();
    // SAFETY: strings as the caller promises, and null or a row.
    let result = unsafe { libc::getaddrinfo(machine, service, asked, &raw mut found) };
    if result == 0 {
        // SAFETY: the host's list, and room for a pointer.
        unsafe { list.write(turned(found)) };
    }
    error(result)
}

/// Makes a list of the host's one of theirs, in place.
///
/// # Safety
/// The host made it.
unsafe fn turned(first: *mut libc::addrinfo) -> *mut Row {
    let mut at = first;
    while !at.is_null() {
        // SAFETY: a row of the host's, which has the size of one of theirs.
        unsafe {
            let host = at.read();
            let address = host.ai_addr.cast::<u8>();
            let is_inet6 = host.ai_family == libc::AF_INET6;
            let family = if is_inet6 { INET6 } else { host.ai_family };
            if !address.is_null() {
                address.cast::<[u8; 2]>().write([host.ai_addrlen as u8, family as u8]);
            }
            let flags = bits::from_host(host.ai_flags, &WANTED);
            let (name, next) = (host.ai_canonname, host.ai_next.cast());
            let (kind, protocol, size) = (host.ai_socktype, host.ai_protocol, host.ai_addrlen);
            at.cast::<Row>().write(Row { flags, family, kind, protocol, size, name, address, next });
            at = host.ai_next;
        }
    }
    first.cast()
}

/// `freeaddrinfo`
///
/// # Safety
/// The list is one of [`find`].
unsafe extern "C" fn free(first: *mut Row) {
    let mut at = first;
    while !at.is_null() {
        // SAFETY: a row that was the host's. What frees it looks at the pointers, and perhaps at the family.
        unsafe {
            let own = at.read();
            let mut host: libc::addrinfo = std::mem::zeroed();
            (host.ai_family, host.ai_socktype, host.ai_protocol) = (family(own.family), own.kind, own.protocol);
            (host.ai_addrlen, host.ai_canonname, host.ai_next) = (own.size, own.name, own.next.cast());
            host.ai_addr = own.address.cast();
            if let Some(address) = own.address.cast::<[u8; 2]>().as_mut() {
                let family = family(own.family) as u8;
                *address = if WITH_LENGTH { [own.size as u8, family] } else { u16::from(family).to_ne_bytes() };
            }
            at.cast::<libc::addrinfo>().write(host);
            at = own.next;
        }
    }
    if !first.is_null() {
        // SAFETY: the host's list, as it was.
        unsafe { libc::freeaddrinfo(first.cast()) };
    }
}

/// `getnameinfo`
///
/// # Safety
/// As that.
unsafe extern "C" fn name_of(
    own: *const u8,
    size: u32,
    machine: *mut c_char,
    machine_size: u32,
    service: *mut c_char,
    service_size: u32,
    flags: c_int,
) -> c_int {
    const TABLE: [(c_int, c_int); 5] = [
        (0x1, libc::NI_NOFQDN),
        (0x2, libc::NI_NUMERICHOST),
        (0x4, libc::NI_NAMEREQD),
        (0x8, libc::NI_NUMERICSERV),
        (0x10, libc::NI_DGRAM),
    ];
    // SAFETY: as the caller promises.
    let Some(address) = (unsafe { Address::read(own, size) }) else { return error(libc::EAI_FAMILY) };
    let Some(flags) = bits::all_to_host(flags, &TABLE) else { return error(libc::EAI_BADFLAGS) };
    let address = (&raw const address).cast();
    // SAFETY: as the caller promises; the sizes have another type elsewhere.
    error(unsafe { libc::getnameinfo(address, size, machine, machine_size as _, service, service_size as _, flags) })
}

/// `gai_strerror`
extern "C" fn describe(own: c_int) -> *const c_char {
    let host = ERRORS.iter().find(|(known, _)| *known == own).map_or(own, |(_, host)| *host);
    // SAFETY: has no preconditions.
    unsafe { libc::gai_strerror(host) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::ptr::{null, null_mut};

    fn hints(flags: c_int, family: c_int) -> Row {
        let (kind, protocol, size) = (1, 0, 0);
        Row { flags, family, kind, protocol, size, name: null_mut(), address: null_mut(), next: null_mut() }
    }

    #[test]
    fn what_is_found_has_the_other_systems_layout() {
        assert_eq!(
            [std::mem::offset_of!(Row, name), std::mem::offset_of!(Row, address), size_of::<Row>()],
            [24, 32, 48]
        );
        assert_eq!(size_of::<Row>(), size_of::<libc::addrinfo>());
        let cases: [(c_int, &CStr, &[u8]); 2] = [
            (libc::AF_INET, c"127.0.0.1", &[16, 2, 0, 80, 127, 0, 0, 1]),
            (INET6, c"::1", &[28, 30, 0, 80, 0, 0, 0, 0]),
        ];
        for (family, text, expected) in cases {
            // AI_CANONNAME, AI_NUMERICHOST and AI_NUMERICSERV.
            let (asked, mut list) = (hints(0x1006, family), null_mut::<Row>());
            // SAFETY: strings, a row, and a list that is freed once.
            unsafe {
                assert_eq!(find(text.as_ptr(), c"80".as_ptr(), &raw const asked, &raw mut list), 0);
                let row = &*list;
                assert_eq!((row.family, row.kind, row.size), (family, 1, expected[0].into()));
                assert_eq!((CStr::from_ptr(row.name), row.next.is_null()), (text, true));
                let address = std::slice::from_raw_parts(row.address, row.size as usize);
                assert_eq!(&address[..8], expected);
                let (mut machine, mut service) = ([0 as c_char; 64], [0 as c_char; 16]);
                let numbers = 0x2 | 0x8;
                let found = name_of(row.address, row.size, machine.as_mut_ptr(), 64, service.as_mut_ptr(), 16, numbers);
                assert_eq!(
                    (found, CStr::from_ptr(machine.as_ptr()), CStr::from_ptr(service.as_ptr())),
                    (0, text, c"80")
                );
                free(list);
            }
        }
    }

    #[test]
    fn errors_have_the_other_systems_numbers() {
        let (numeric, odd, mut list) = (hints(0x4, 0), hints(0x8, 0), null_mut());
        // SAFETY: strings and rows; nothing is found.
        unsafe {
            assert_eq!(find(c"no number".as_ptr(), null(), &raw const numeric, &raw mut list), 8);
            assert_eq!(find(c"127.0.0.1".as_ptr(), null(), &raw const odd, &raw mut list), 3);
            assert_eq!(name_of([16, 77].as_ptr(), 2, null_mut(), 0, null_mut(), 0, 0), 5);
            assert_eq!(CStr::from_ptr(describe(8)), CStr::from_ptr(libc::gai_strerror(libc::EAI_NONAME)));
            free(null_mut());
        }
    }
}
