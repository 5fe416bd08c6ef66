//! Sockets: an address begins with its length and a family of one byte there, levels, options and flags have other numbers
//! (`<sys/socket.h>`). Errors that are an option's value have the host's numbers, as `errno` has.

mod interfaces;
mod names;

use super::times::Time;
use super::{Pointer, bits};
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int, c_void};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_socket" => make as Pointer,
        b"_socketpair" => make_two as Pointer,
        b"_bind" => bind as Pointer,
        b"_connect" => connect as Pointer,
        b"_accept" => accept as Pointer,
        b"_getsockname" => own_address as Pointer,
        b"_getpeername" => other_address as Pointer,
        b"_send" => send as Pointer,
        b"_recv" => receive as Pointer,
        b"_sendto" => send_to as Pointer,
        b"_recvfrom" => receive_from as Pointer,
        b"_sendmsg" => send_message as Pointer,
        b"_recvmsg" => receive_message as Pointer,
        b"_getsockopt" => option as Pointer,
        b"_setsockopt" => set_option as Pointer,
        b"_inet_pton" => read_address as Pointer,
        b"_inet_ntop" => write_address as Pointer,
        _ => return names::entry(name).or_else(|| interfaces::entry(name)),
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `AF_INET6`; the families of the local and the older internet have the same numbers everywhere.
const INET6: c_int = 30;

/// The host's number; −1 is none.
fn family(own: c_int) -> c_int {
    match own {
        0 | libc::AF_UNIX | libc::AF_INET => own,
        INET6 => libc::AF_INET6,
        _ => -1,
    }
}

fn refused(error: c_int) -> c_int {
    crate::platform::set_errno(error);
    -1
}

/// Whether the host's addresses begin with their length, too: then the family has a byte.
const WITH_LENGTH: bool = size_of::<libc::sa_family_t>() == 1;

/// An address of the host's; larger than any of the families that we know.
#[repr(C, align(8))]
struct Address([u8; 128]);

impl Address {
    /// Reads one of theirs; `None` for a length or a family that we do not know.
    ///
    /// # Safety
    /// `own` has `size` bytes.
    unsafe fn read(own: *const u8, size: u32) -> Option<Address> {
        let mut address = Address([0; 128]);
        let room = address.0.get_mut(..size as usize).filter(|room| room.len() >= 2)?;
        // SAFETY: as the caller promises.
        unsafe { own.copy_to_nonoverlapping(room.as_mut_ptr(), room.len()) };
        let host = u8::try_from(family(c_int::from(address.0[1]))).ok()?;
        let host = if WITH_LENGTH { [size as u8, host] } else { u16::from(host).to_ne_bytes() };
        address.0[..2].copy_from_slice(&host);
        Some(address)
    }

    /// Writes as much of it as there is room for in the way of theirs, and its size.
    ///
    /// # Safety
    /// `own` is null, or has room for `*size` bytes.
    unsafe fn write(&mut self, found: u32, own: *mut u8, size: *mut u32) {
        if own.is_null() {
            return;
        }
        let [first, second] = [self.0[0], self.0[1]];
        let host = if WITH_LENGTH { c_int::from(second) } else { c_int::from(u16::from_ne_bytes([first, second])) };
        let family = if host == libc::AF_INET6 { INET6 } else { host };
        self.0[..2].copy_from_slice(&[found as u8, family as u8]);
        // SAFETY: as the caller promises.
        unsafe {
            let room = (*size).min(found).min(self.0.len() as u32);
            own.copy_from_nonoverlapping(self.0.as_ptr(), room as usize);
            size.write(found);
        }
    }
}

/// Calls a function of the host's that takes an address.
///
/// # Safety
/// As [`Address::read`].
unsafe fn with_address(own: *const u8, size: u32, call: impl FnOnce(*const libc::sockaddr) -> c_int) -> c_int {
    // SAFETY: as the caller promises.
    match unsafe { Address::read(own, size) } {
        Some(address) => call((&raw const address).cast()),
        None => refused(libc::EAFNOSUPPORT),
    }
}

/// Calls a function of the host's that fills an address.
///
/// # Safety
/// As [`Address::write`].
unsafe fn for_address(
    own: *mut u8,
    size: *mut u32,
    call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> isize,
) -> isize {
    let (mut address, mut found) = (Address([0; 128]), size_of::<Address>() as u32);
    let result = call((&raw mut address).cast(), &raw mut found);
    if result >= 0 {
        // SAFETY: as the caller promises.
        unsafe { address.write(found, own, size) };
    }
    result
}

/// `socket`: the types have the same numbers.
extern "C" fn make(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: has no preconditions.
    unsafe { libc::socket(family(domain), kind, protocol) }
}

/// `socketpair`
///
/// # Safety
/// `both` has room for two numbers.
unsafe extern "C" fn make_two(domain: c_int, kind: c_int, protocol: c_int, both: *mut c_int) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { libc::socketpair(family(domain), kind, protocol, both) }
}

/// `bind`
///
/// # Safety
/// As [`Address::read`].
unsafe extern "C" fn bind(file: c_int, own: *const u8, size: u32) -> c_int {
    // SAFETY: as the caller promises; an address of that size.
    unsafe { with_address(own, size, |address| libc::bind(file, address, size)) }
}

/// `connect`
///
/// # Safety
/// As [`Address::read`].
unsafe extern "C" fn connect(file: c_int, own: *const u8, size: u32) -> c_int {
    // SAFETY: as the caller promises; an address of that size.
    unsafe { with_address(own, size, |address| libc::connect(file, address, size)) }
}

/// `accept`
///
/// # Safety
/// As [`Address::write`].
unsafe extern "C" fn accept(file: c_int, own: *mut u8, size: *mut u32) -> c_int {
    // SAFETY: as the caller promises; room for an address.
    unsafe { for_address(own, size, |address, found| libc::accept(file, address, found) as isize) as c_int }
}

/// `getsockname`
///
/// # Safety
/// As [`Address::write`].
unsafe extern "C" fn own_address(file: c_int, own: *mut u8, size: *mut u32) -> c_int {
    // SAFETY: as the caller promises; room for an address.
    unsafe { for_address(own, size, |address, found| libc::getsockname(file, address, found) as isize) as c_int }
}

/// `getpeername`
///
/// # Safety
/// As [`Address::write`].
unsafe extern "C" fn other_address(file: c_int, own: *mut u8, size: *mut u32) -> c_int {
    // SAFETY: as the caller promises; room for an address.
    unsafe { for_address(own, size, |address, found| libc::getpeername(file, address, found) as isize) as c_int }
}

/// What is said of data that is sent or received: theirs, and the host's.
const FLAGS: [(c_int, c_int); 9] = [
    (0x1, libc::MSG_OOB),
    (0x2, libc::MSG_PEEK),
    (0x4, libc::MSG_DONTROUTE),
    (0x8, libc::MSG_EOR),
    (0x10, libc::MSG_TRUNC),
    (0x20, libc::MSG_CTRUNC),
    (0x40, libc::MSG_WAITALL),
    (0x80, libc::MSG_DONTWAIT),
    (0x8_0000, libc::MSG_NOSIGNAL),
];

/// The host's flags; `None` for one that it has not.
fn flags(own: c_int) -> Option<c_int> {
    bits::all_to_host(own, &FLAGS)
}

/// `send`
///
/// # Safety
/// `start` has `size` bytes.
unsafe extern "C" fn send(file: c_int, start: *const c_void, size: usize, own: c_int) -> isize {
    let Some(flags) = flags(own) else { return refused(libc::EINVAL) as isize };
    // SAFETY: as the caller promises.
    unsafe { libc::send(file, start, size, flags) }
}

/// `recv`
///
/// # Safety
/// `start` has room for `size` bytes.
unsafe extern "C" fn receive(file: c_int, start: *mut c_void, size: usize, own: c_int) -> isize {
    let Some(flags) = flags(own) else { return refused(libc::EINVAL) as isize };
    // SAFETY: as the caller promises.
    unsafe { libc::recv(file, start, size, flags) }
}

/// `sendto`
///
/// # Safety
/// As [`send`]; `to` is null or as [`Address::read`] has it.
unsafe extern "C" fn send_to(
    file: c_int,
    start: *const c_void,
    size: usize,
    own: c_int,
    to: *const u8,
    to_size: u32,
) -> isize {
    if to.is_null() {
        // SAFETY: as the caller promises.
        return unsafe { send(file, start, size, own) };
    }
    // SAFETY: as the caller promises.
    let (address, flags) = (unsafe { Address::read(to, to_size) }, flags(own));
    let (Some(address), Some(flags)) = (address, flags) else { return refused(libc::EINVAL) as isize };
    // SAFETY: as the caller promises; an address of that size.
    unsafe { libc::sendto(file, start, size, flags, (&raw const address).cast(), to_size) }
}

/// `recvfrom`
///
/// # Safety
/// As [`receive`] and [`Address::write`].
unsafe extern "C" fn receive_from(
    file: c_int,
    start: *mut c_void,
    size: usize,
    own: c_int,
    from: *mut u8,
    from_size: *mut u32,
) -> isize {
    let Some(flags) = flags(own) else { return refused(libc::EINVAL) as isize };
    // SAFETY: as the caller promises; room for an address.
    unsafe { for_address(from, from_size, |address, found| libc::recvfrom(file, start, size, flags, address, found)) }
}

/// `struct msghdr`, whose counts have half the size.
#[repr(C)]
struct Message {
    name: *mut u8,
    name_size: u32,
    parts: *mut libc::iovec,
    count: c_int,
    control: *mut c_void,
    control_size: u32,
    flags: c_int,
}

impl Message {
    /// The host's message of the same parts; `None` where there is something beside the data, which has a layout of its own.
    fn host(&self) -> Option<libc::msghdr> {
        if !self.control.is_null() && self.control_size > 0 {
            return None;
        }
        // SAFETY: numbers, and pointers that may be null.
        let mut host: libc::msghdr = unsafe { std::mem::zeroed() };
        host.msg_iov = self.parts;
        host.msg_iovlen = usize::try_from(self.count).ok()? as _;
        Some(host)
    }
}

/// `sendmsg`
///
/// # Safety
/// There is a message.
unsafe extern "C" fn send_message(file: c_int, message: *const Message, own: c_int) -> isize {
    // SAFETY: as the caller promises.
    let message = unsafe { &*message };
    let (Some(mut host), Some(flags)) = (message.host(), flags(own)) else { return refused(libc::EINVAL) as isize };
    let mut to = None;
    if !message.name.is_null() {
        // SAFETY: as the caller promises.
        let Some(address) = (unsafe { Address::read(message.name, message.name_size) }) else {
            return refused(libc::EAFNOSUPPORT) as isize;
        };
        host.msg_name = (&raw mut *to.insert(address)).cast();
        host.msg_namelen = message.name_size;
    }
    // SAFETY: the message's own parts, and an address of that size.
    unsafe { libc::sendmsg(file, &raw const host, flags) }
}

/// `recvmsg`
///
/// # Safety
/// There is a message.
unsafe extern "C" fn receive_message(file: c_int, message: *mut Message, own: c_int) -> isize {
    // SAFETY: as the caller promises.
    let message = unsafe { &mut *message };
    let (Some(mut host), Some(flags)) = (message.host(), flags(own)) else { return refused(libc::EINVAL) as isize };
    let mut from = Address([0; 128]);
    (host.msg_name, host.msg_namelen) = ((&raw mut from).cast(), size_of::<Address>() as u32);
    // SAFETY: the message's own parts, and room for an address.
    let received = unsafe { libc::recvmsg(file, &raw mut host, flags) };
    if received >= 0 {
        // SAFETY: as the caller promises.
        unsafe { from.write(host.msg_namelen, message.name, &raw mut message.name_size) };
        message.control_size = 0;
        message.flags = bits::from_host(host.msg_flags, &FLAGS);
    }
    received
}

/// The host's level and option: those whose values mean the same.
fn host_option(level: c_int, option: c_int) -> Option<(c_int, c_int)> {
    const SOCKET: c_int = 0xffff;
    const TABLE: [(c_int, c_int, c_int, c_int); 25] = [
        (SOCKET, 0x1, libc::SOL_SOCKET, libc::SO_DEBUG),
        (SOCKET, 0x2, libc::SOL_SOCKET, libc::SO_ACCEPTCONN),
        (SOCKET, 0x4, libc::SOL_SOCKET, libc::SO_REUSEADDR),
        (SOCKET, 0x8, libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        (SOCKET, 0x10, libc::SOL_SOCKET, libc::SO_DONTROUTE),
        (SOCKET, 0x20, libc::SOL_SOCKET, libc::SO_BROADCAST),
        // In seconds; another one is in ticks (0x80).
        (SOCKET, 0x1080, libc::SOL_SOCKET, libc::SO_LINGER),
        (SOCKET, 0x100, libc::SOL_SOCKET, libc::SO_OOBINLINE),
        (SOCKET, 0x200, libc::SOL_SOCKET, libc::SO_REUSEPORT),
        (SOCKET, 0x1001, libc::SOL_SOCKET, libc::SO_SNDBUF),
        (SOCKET, 0x1002, libc::SOL_SOCKET, libc::SO_RCVBUF),
        (SOCKET, 0x1003, libc::SOL_SOCKET, libc::SO_SNDLOWAT),
        (SOCKET, 0x1004, libc::SOL_SOCKET, libc::SO_RCVLOWAT),
        (SOCKET, 0x1005, libc::SOL_SOCKET, libc::SO_SNDTIMEO),
        (SOCKET, 0x1006, libc::SOL_SOCKET, libc::SO_RCVTIMEO),
        (SOCKET, 0x1007, libc::SOL_SOCKET, libc::SO_ERROR),
        (SOCKET, 0x1008, libc::SOL_SOCKET, libc::SO_TYPE),
        (libc::IPPROTO_IP, 3, libc::IPPROTO_IP, libc::IP_TOS),
        (libc::IPPROTO_IP, 4, libc::IPPROTO_IP, libc::IP_TTL),
        (libc::IPPROTO_TCP, 1, libc::IPPROTO_TCP, libc::TCP_NODELAY),
        (libc::IPPROTO_TCP, 2, libc::IPPROTO_TCP, libc::TCP_MAXSEG),
        (libc::IPPROTO_TCP, 0x10, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
        (libc::IPPROTO_TCP, 0x101, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
        (libc::IPPROTO_TCP, 0x102, libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
        (libc::IPPROTO_IPV6, 27, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    ];
    let row = TABLE.iter().find(|row| (row.0, row.1) == (level, option));
    row.map(|&(_, _, level, option)| (level, option))
}

/// `getsockopt`. A time is { seconds, microseconds } in two words; there the second is half a word, and the rest of it zero.
///
/// # Safety
/// As that.
unsafe extern "C" fn option(file: c_int, level: c_int, option: c_int, value: *mut c_void, size: *mut u32) -> c_int {
    let Some((level, option)) = host_option(level, option) else { return refused(libc::ENOPROTOOPT) };
    // SAFETY: as the caller promises.
    unsafe { libc::getsockopt(file, level, option, value, size) }
}

/// `setsockopt`
///
/// # Safety
/// As that.
unsafe extern "C" fn set_option(file: c_int, level: c_int, option: c_int, value: *const c_void, size: u32) -> c_int {
    let Some((level, option)) = host_option(level, option) else { return refused(libc::ENOPROTOOPT) };
    let is_time = level == libc::SOL_SOCKET && matches!(option, libc::SO_SNDTIMEO | libc::SO_RCVTIMEO);
    if is_time && size as usize >= size_of::<libc::timeval>() {
        // SAFETY: as the caller promises.
        let time = unsafe { value.cast::<Time>().read_unaligned() }.host();
        // SAFETY: a time.
        return unsafe { libc::setsockopt(file, level, option, (&raw const time).cast(), size_of_val(&time) as u32) };
    }
    // SAFETY: as the caller promises.
    unsafe { libc::setsockopt(file, level, option, value, size) }
}

unsafe extern "C" {
    fn inet_pton(family: c_int, text: *const c_char, address: *mut c_void) -> c_int;
    fn inet_ntop(family: c_int, address: *const c_void, text: *mut c_char, size: libc::socklen_t) -> *const c_char;
}

/// `inet_pton`
///
/// # Safety
/// As that.
unsafe extern "C" fn read_address(own: c_int, text: *const c_char, address: *mut c_void) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { inet_pton(family(own), text, address) }
}

/// `inet_ntop`
///
/// # Safety
/// As that.
unsafe extern "C" fn write_address(own: c_int, address: *const c_void, text: *mut c_char, size: u32) -> *const c_char {
    // SAFETY: as the caller promises.
    unsafe { inet_ntop(family(own), address, text, size) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null_mut;

    const STREAM: c_int = 1;
    const DATAGRAM: c_int = 2;
    const SOCKET: c_int = 0xffff;

    /// The loopback address of a family, with that port.
    fn loopback(family: c_int, port: u16) -> Vec<u8> {
        let mut bytes = vec![0; if family == INET6 { 28 } else { 16 }];
        (bytes[0], bytes[1]) = (bytes.len() as u8, family as u8);
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        if family == INET6 {
            bytes[23] = 1;
        } else {
            bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
        }
        bytes
    }

    /// One end that listens, and its port; `None` where the system has no such family.
    unsafe fn listener(family: c_int, kind: c_int) -> Option<(c_int, u16)> {
        // SAFETY: an address of that size, and room for one.
        unsafe {
            let file = make(family, kind, 0);
            let address = loopback(family, 0);
            if file < 0 || bind(file, address.as_ptr(), address.len() as u32) != 0 {
                return None;
            }
            let (mut found, mut size) = ([0xffu8; 64], 64);
            assert_eq!(own_address(file, found.as_mut_ptr(), &raw mut size), 0);
            assert_eq!((size as usize, &found[..2]), (address.len(), &address[..2]));
            Some((file, u16::from_be_bytes([found[2], found[3]])))
        }
    }

    #[test]
    fn a_connection_has_addresses_of_the_other_system() {
        for family in [libc::AF_INET, INET6] {
            // SAFETY: addresses and rooms of the sizes that are said.
            unsafe {
                let Some((server, port)) = listener(family, STREAM) else { continue };
                assert_eq!(libc::listen(server, 1), 0);
                let (client, address) = (make(family, STREAM, 0), loopback(family, port));
                assert_eq!(connect(client, address.as_ptr(), address.len() as u32), 0);
                let (mut peer, mut size) = ([0u8; 64], 64);
                let other = accept(server, peer.as_mut_ptr(), &raw mut size);
                assert_eq!((other >= 0, &peer[..2], size as usize), (true, &address[..2], address.len()));
                assert_eq!(other_address(client, peer.as_mut_ptr(), &raw mut size), 0);
                assert_eq!(peer[..size as usize], address);
                let mut room = [0u8; 4];
                assert_eq!(send(client, c"four".as_ptr().cast(), 4, 0x8_0000), 4);
                assert_eq!((receive(other, room.as_mut_ptr().cast(), 4, 0x40), &room), (4, b"four"));
                assert_eq!(receive(other, room.as_mut_ptr().cast(), 4, 0x80), -1);
                assert_eq!(std::io::Error::last_os_error().kind(), std::io::ErrorKind::WouldBlock);
                assert_eq!(receive(other, room.as_mut_ptr().cast(), 4, 0x1000), -1, "a flag that nobody has here");
                let _ = [server, client, other].map(|file| libc::close(file));
            }
        }
    }

    #[test]
    fn a_datagram_tells_who_sent_it() {
        // SAFETY: as above.
        unsafe {
            let (one, port) = listener(libc::AF_INET, DATAGRAM).expect("a loopback");
            let (other, back) = listener(libc::AF_INET, DATAGRAM).expect("a loopback");
            let to = loopback(libc::AF_INET, port);
            assert_eq!(send_to(other, c"hi".as_ptr().cast(), 2, 0, to.as_ptr(), 16), 2);
            let (mut room, mut from, mut size) = ([0u8; 8], [0u8; 16], 16);
            assert_eq!(receive_from(one, room.as_mut_ptr().cast(), 8, 0, from.as_mut_ptr(), &raw mut size), 2);
            assert_eq!((&from[..], size), (&loopback(libc::AF_INET, back)[..], 16));
            // The same in two parts, as messages.
            let mut parts = [c"he".as_ptr(), c"y".as_ptr()]
                .map(|part| libc::iovec { iov_base: part.cast_mut().cast(), iov_len: 1 });
            parts[0].iov_len = 2;
            let name = to.as_ptr().cast_mut();
            let mut message = Message {
                name,
                name_size: 16,
                parts: parts.as_mut_ptr(),
                count: 2,
                control: null_mut(),
                control_size: 0,
                flags: -1,
            };
            assert_eq!(send_message(other, &raw const message, 0), 3);
            let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: 2 };
            (from, size) = ([0; 16], 16);
            message = Message { name: from.as_mut_ptr(), name_size: size, parts: &raw mut part, count: 1, ..message };
            // All that there was, of which there is room for two bytes.
            assert_eq!(
                (receive_message(one, &raw mut message, 0x10), &room[..2], message.flags),
                (3, &b"he"[..], 0x10)
            );
            assert_eq!((&from[..], message.name_size), (&loopback(libc::AF_INET, back)[..], 16));
            (message.control, message.control_size) = (from.as_mut_ptr().cast(), 12);
            assert_eq!(send_message(other, &raw const message, 0), -1, "descriptors, say");
            let unknown = [16u8, 77, 0, 0, 0, 0, 0, 0];
            assert_eq!(bind(one, unknown.as_ptr(), 8), -1);
            let _ = [one, other].map(|file| libc::close(file));
        }
    }

    #[test]
    fn options_have_the_other_systems_numbers() {
        let mut both = [0; 2];
        let (mut value, mut size) = (0i32, 4);
        // SAFETY: places for what the options take.
        unsafe {
            assert_eq!(make_two(libc::AF_UNIX, STREAM, 0, both.as_mut_ptr()), 0);
            let at = (&raw mut value).cast::<c_void>();
            assert_eq!((option(both[0], SOCKET, 0x1008, at, &raw mut size), value), (0, STREAM));
            at.cast::<i32>().write(1);
            assert_eq!(set_option(both[0], SOCKET, 0x8, at, 4), 0);
            at.cast::<i32>().write(0);
            assert_eq!((option(both[0], SOCKET, 0x8, at, &raw mut size), value), (0, 1));
            // A time with something behind its half word.
            let (time, mut found, mut size) = ([3i64, -1 << 32 | 500_000], [0i64; 2], 16);
            assert_eq!(set_option(both[0], SOCKET, 0x1006, time.as_ptr().cast(), 16), 0);
            assert_eq!(option(both[0], SOCKET, 0x1006, found.as_mut_ptr().cast(), &raw mut size), 0);
            assert_eq!(found, [3, 500_000]);
            // SO_NOSIGPIPE, which the host has not, and a level of the host's.
            assert_eq!([set_option(both[0], SOCKET, 0x1022, at, 4), set_option(both[0], 1, 9, at, 4)], [-1; 2]);
            let _ = both.map(|file| libc::close(file));
        }
    }

    #[test]
    fn addresses_are_read_and_written() {
        let (mut address, mut text) = ([0u8; 16], [0 as c_char; 46]);
        // SAFETY: rooms of the sizes that are said.
        unsafe {
            assert_eq!(read_address(INET6, c"2001:db8::1".as_ptr(), address.as_mut_ptr().cast()), 1);
            assert_eq!((address[0], address[15]), (0x20, 1));
            assert!(!write_address(INET6, address.as_ptr().cast(), text.as_mut_ptr(), 46).is_null());
            assert_eq!(std::ffi::CStr::from_ptr(text.as_ptr()), c"2001:db8::1");
            assert_eq!(read_address(10, c"::1".as_ptr(), address.as_mut_ptr().cast()), -1);
            assert!(write_address(10, address.as_ptr().cast(), null_mut(), 0).is_null());
        }
    }
}
