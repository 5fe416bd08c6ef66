//! Terminals (`<sys/termios.h>`), and the few requests of `ioctl` that mean the same everywhere.
//!
//! What has no counterpart is left out of what an image reads, and what the host alone has stays as it was when an image
//! writes.

use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::{c_int, c_ulong, c_void};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_tcgetattr" => get as Pointer,
        b"_tcsetattr" => set as Pointer,
        b"_ioctl" => control as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `struct termios`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terminal {
    /// Input, output, control and local modes.
    modes: [u64; 4],
    characters: [u8; 20],
    /// Of input and output, in bauds.
    speeds: [u64; 2],
}

// The crate `libc` asks for these by a version of glibc's, which a static one has not.
unsafe extern "C" {
    fn cfgetispeed(of: *const libc::termios) -> libc::speed_t;
    fn cfgetospeed(of: *const libc::termios) -> libc::speed_t;
    fn cfsetispeed(of: *mut libc::termios, speed: libc::speed_t) -> c_int;
    fn cfsetospeed(of: *mut libc::termios, speed: libc::speed_t) -> c_int;
    fn tcgetattr(file: c_int, to: *mut libc::termios) -> c_int;
    fn tcsetattr(file: c_int, when: c_int, from: *const libc::termios) -> c_int;
}

type Bits = [(u64, libc::tcflag_t)];

const INPUT: &Bits = &[
    (0x1, libc::IGNBRK),
    (0x2, libc::BRKINT),
    (0x4, libc::IGNPAR),
    (0x8, libc::PARMRK),
    (0x10, libc::INPCK),
    (0x20, libc::ISTRIP),
    (0x40, libc::INLCR),
    (0x80, libc::IGNCR),
    (0x100, libc::ICRNL),
    (0x200, libc::IXON),
    (0x400, libc::IXOFF),
    (0x800, libc::IXANY),
    (0x2000, libc::IMAXBEL),
];

const OUTPUT: &Bits =
    &[(0x1, libc::OPOST), (0x2, libc::ONLCR), (0x10, libc::OCRNL), (0x20, libc::ONOCR), (0x40, libc::ONLRET)];

/// Besides these, the size of a character: two bits in a row, which mean the same.
const CONTROL: &Bits = &[
    (0x100, CHARACTER_BIT),
    (0x200, CHARACTER_BIT << 1),
    (0x400, libc::CSTOPB),
    (0x800, libc::CREAD),
    (0x1000, libc::PARENB),
    (0x2000, libc::PARODD),
    (0x4000, libc::HUPCL),
    (0x8000, libc::CLOCAL),
    (0x3_0000, libc::CRTSCTS),
];
const CHARACTER_BIT: libc::tcflag_t = libc::CSIZE & libc::CSIZE.wrapping_neg();

const LOCAL: &Bits = &[
    (0x1, libc::ECHOKE),
    (0x2, libc::ECHOE),
    (0x4, libc::ECHOK),
    (0x8, libc::ECHO),
    (0x10, libc::ECHONL),
    (0x20, libc::ECHOPRT),
    (0x40, libc::ECHOCTL),
    (0x80, libc::ISIG),
    (0x100, libc::ICANON),
    (0x400, libc::IEXTEN),
    (0x40_0000, libc::TOSTOP),
    (0x80_0000, libc::FLUSHO),
    (0x2000_0000, libc::PENDIN),
    (0x8000_0000, libc::NOFLSH),
];

const MODES: [&Bits; 4] = [INPUT, OUTPUT, CONTROL, LOCAL];

/// Places of characters: theirs, and the host's.
const CHARACTERS: [(usize, usize); 16] = [
    (0, libc::VEOF),
    (1, libc::VEOL),
    (2, libc::VEOL2),
    (3, libc::VERASE),
    (4, libc::VWERASE),
    (5, libc::VKILL),
    (6, libc::VREPRINT),
    (8, libc::VINTR),
    (9, libc::VQUIT),
    (10, libc::VSUSP),
    (12, libc::VSTART),
    (13, libc::VSTOP),
    (14, libc::VLNEXT),
    (15, libc::VDISCARD),
    (16, libc::VMIN),
    (17, libc::VTIME),
];
/// Those are numbers.
const NUMBERS: [usize; 2] = [libc::VMIN, libc::VTIME];
/// What says that there is no such character (`_POSIX_VDISABLE`).
const NONE: u8 = 0xff;
const HOST_NONE: u8 = 0;

const SPEEDS: [(u64, libc::speed_t); 21] = [
    (0, libc::B0),
    (50, libc::B50),
    (75, libc::B75),
    (110, libc::B110),
    (134, libc::B134),
    (150, libc::B150),
    (200, libc::B200),
    (300, libc::B300),
    (600, libc::B600),
    (1200, libc::B1200),
    (1800, libc::B1800),
    (2400, libc::B2400),
    (4800, libc::B4800),
    (9600, libc::B9600),
    (19_200, libc::B19200),
    (38_400, libc::B38400),
    (57_600, libc::B57600),
    (115_200, libc::B115200),
    (230_400, libc::B230400),
    (460_800, libc::B460800),
    (921_600, libc::B921600),
];

fn modes(host: &mut libc::termios) -> [&mut libc::tcflag_t; 4] {
    [&mut host.c_iflag, &mut host.c_oflag, &mut host.c_cflag, &mut host.c_lflag]
}

fn from_host(host: &mut libc::termios) -> Terminal {
    // SAFETY: a terminal's settings.
    let speeds = unsafe { [cfgetispeed(host), cfgetospeed(host)] };
    let mut own = Terminal { modes: [0; 4], characters: [NONE; 20], speeds: [0; 2] };
    for ((own, host), table) in own.modes.iter_mut().zip(modes(host)).zip(MODES) {
        *own = table.iter().filter(|(_, bits)| *host & bits == *bits).fold(0, |all, (own, _)| all | own);
    }
    for (at, from) in CHARACTERS {
        let byte = host.c_cc[from];
        own.characters[at] = if byte == HOST_NONE && !NUMBERS.contains(&from) { NONE } else { byte };
    }
    own.speeds = speeds.map(|speed| SPEEDS.iter().find(|(_, host)| *host == speed).map_or(0, |(own, _)| *own));
    own
}

/// Writes what both have; `None` for a speed that the host has not.
fn to_host(own: &Terminal, host: &mut libc::termios) -> Option<()> {
    for ((own, host), table) in own.modes.iter().zip(modes(host)).zip(MODES) {
        for (bits, to) in table {
            *host = if own & bits == *bits { *host | to } else { *host & !to };
        }
    }
    for (from, at) in CHARACTERS {
        let byte = own.characters[from];
        host.c_cc[at] = if byte == NONE && !NUMBERS.contains(&at) { HOST_NONE } else { byte };
    }
    let speed = |own: u64| SPEEDS.iter().find(|(bauds, _)| *bauds == own).map(|(_, host)| *host);
    let [input, output] = own.speeds.map(speed);
    // SAFETY: a terminal's settings, and speeds.
    unsafe {
        cfsetispeed(host, input?);
        cfsetospeed(host, output?);
    }
    Some(())
}

/// # Errors
/// `errno` has been set.
fn settings(file: c_int) -> Option<libc::termios> {
    // SAFETY: numbers only.
    let mut host: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: room for settings.
    (unsafe { tcgetattr(file, &raw mut host) } == 0).then_some(host)
}

/// `tcgetattr`
///
/// # Safety
/// `own` has room for settings.
unsafe extern "C" fn get(file: c_int, own: *mut Terminal) -> c_int {
    let Some(mut host) = settings(file) else { return -1 };
    // SAFETY: as the caller promises.
    unsafe { own.write(from_host(&mut host)) };
    0
}

/// `tcsetattr`
///
/// # Safety
/// `own` has settings.
unsafe extern "C" fn set(file: c_int, when: c_int, own: *const Terminal) -> c_int {
    // TCSANOW, TCSADRAIN and TCSAFLUSH are 0, 1 and 2 everywhere; a bit leaves the control modes alone (TCSASOFT).
    const SOFT: c_int = 0x10;
    let Some(mut host) = settings(file) else { return -1 };
    let (before, speeds) = (host.c_cflag, when & SOFT != 0);
    // SAFETY: as the caller promises.
    if to_host(unsafe { &*own }, &mut host).is_none() {
        crate::platform::set_errno(libc::EINVAL);
        return -1;
    }
    if speeds {
        host.c_cflag = before;
    }
    // SAFETY: settings.
    unsafe { tcsetattr(file, when & !SOFT, &raw const host) }
}

/// `ioctl`: whatever is not in the table is refused as what the file does not know. What these pass is the same: a number, or
/// a window's size.
///
/// # Safety
/// As that.
unsafe extern "C" fn control(file: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    const TABLE: [(c_ulong, c_ulong); 6] = [
        (0x2000_6601, libc::FIOCLEX as c_ulong),
        (0x2000_6602, libc::FIONCLEX as c_ulong),
        (0x8004_667e, libc::FIONBIO as c_ulong),
        (0x4004_667f, libc::FIONREAD as c_ulong),
        (0x4008_7468, libc::TIOCGWINSZ as c_ulong),
        (0x8008_7467, libc::TIOCSWINSZ as c_ulong),
    ];
    match TABLE.iter().find(|(own, _)| *own == request & 0xffff_ffff) {
        // SAFETY: as the caller promises.
        Some(&(_, host)) => unsafe { libc::ioctl(file, host, argument) },
        None => {
            crate::platform::set_errno(libc::ENOTTY);
            -1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null_mut;

    /// Both ends of a terminal of this test.
    fn pair() -> [c_int; 2] {
        let (mut one, mut other) = (0, 0);
        // SAFETY: room for two numbers.
        let made = unsafe { libc::openpty(&raw mut one, &raw mut other, null_mut(), null_mut(), null_mut()) };
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        [one, other]
    }

    #[test]
    fn settings_go_there_and_back() {
        const ICANON_AND_ECHO: u64 = 0x108;
        assert_eq!(
            [std::mem::offset_of!(Terminal, characters), std::mem::offset_of!(Terminal, speeds), size_of::<Terminal>()],
            [32, 56, 72]
        );
        let [one, other] = pair();
        let mut own = Terminal { modes: [0; 4], characters: [0; 20], speeds: [0; 2] };
        // SAFETY: a terminal, and settings.
        unsafe {
            assert_eq!(get(other, &raw mut own), 0);
            // ICANON, ECHO, ISIG; eight bits; ^C, ^D; and a speed.
            assert_eq!(
                (own.modes[3] & 0x188, own.modes[2] & 0x300, own.characters[8], own.characters[0]),
                (0x188, 0x300, 3, 4)
            );
            assert_eq!(own.speeds, [38_400; 2]);
            own.modes[3] &= !ICANON_AND_ECHO;
            (own.characters[16], own.characters[17], own.characters[8], own.speeds) = (0, 7, NONE, [9600; 2]);
            assert_eq!(set(other, 0, &raw const own), 0);
            let host = settings(other).expect("a terminal");
            assert_eq!(host.c_lflag & (libc::ICANON | libc::ECHO | libc::ISIG), libc::ISIG);
            assert_eq!([libc::VMIN, libc::VTIME, libc::VINTR].map(|at| host.c_cc[at]), [0, 7, HOST_NONE]);
            let mut again = own;
            assert_eq!((get(other, &raw mut again), again, cfgetospeed(&raw const host)), (0, own, libc::B9600));
            own.speeds = [12_345; 2];
            assert_eq!((set(other, 0, &raw const own), get(-1, &raw mut own)), (-1, -1));
            let _ = [one, other].map(|file| libc::close(file));
        }
    }

    #[test]
    fn requests_are_translated_or_refused() {
        let [one, other] = pair();
        let (mut size, mut waiting) = ([0u16; 4], 0);
        // SAFETY: a terminal, and what the requests take.
        unsafe {
            let mut new = [24u16, 80, 0, 0];
            assert_eq!(control(other, 0x8008_7467, new.as_mut_ptr().cast()), 0);
            assert_eq!((control(one, 0x4008_7468, size.as_mut_ptr().cast()), size), (0, new));
            assert_eq!(libc::write(one, c"abc\n".as_ptr().cast(), 4), 4);
            // A worker of the kernel's passes it on.
            let mut ready = libc::pollfd { fd: other, events: libc::POLLIN, revents: 0 };
            assert_eq!(libc::poll(&raw mut ready, 1, 10_000), 1);
            assert_eq!((control(other, 0x4004_667f, (&raw mut waiting).cast()), waiting), (0, 4));
            assert_eq!(
                (control(other, 0x5413, null_mut()), std::io::Error::last_os_error().raw_os_error()),
                (-1, Some(libc::ENOTTY))
            );
            let _ = [one, other].map(|file| libc::close(file));
        }
    }
}
