//! What is done on a signal. A handler is told its number, so the host is given one of ours, which translates that and goes on
//! to the image's. Handlers that also take the signal's circumstances (`SA_SIGINFO`) are refused: the structures hold all
//! registers, and are nothing like the host's.
//!
//! What somebody else has set is handed out as it is, and taken back: an image puts back what it found.

use super::super::bits;
use super::{SIGNALS, host, host_set, own, own_set};
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `struct sigaction`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action {
    handler: usize,
    mask: u32,
    flags: c_int,
}

const SA_RESTART: c_int = 2;
const SA_SIGINFO: c_int = 0x40;
const FLAGS: [(c_int, c_int); 7] = [
    (0x1, libc::SA_ONSTACK),
    (SA_RESTART, libc::SA_RESTART),
    (0x4, libc::SA_RESETHAND),
    (0x8, libc::SA_NOCLDSTOP),
    (0x10, libc::SA_NODEFER),
    (0x20, libc::SA_NOCLDWAIT),
    (SA_SIGINFO, libc::SA_SIGINFO),
];

/// By their numbers, from 1: the image's handler, and what somebody else's handler was when an image last asked.
static HANDLERS: [AtomicUsize; SIGNALS.len()] = [const { AtomicUsize::new(0) }; SIGNALS.len()];
static OTHERS: [AtomicUsize; SIGNALS.len()] = [const { AtomicUsize::new(0) }; SIGNALS.len()];

/// What the host calls on a signal.
extern "C" fn handle(signal: c_int) {
    let Some(number) = own(signal) else { return };
    let handler = HANDLERS[number as usize - 1].load(Ordering::Acquire);
    if handler > libc::SIG_IGN {
        let handler: super::Pointer = std::ptr::with_exposed_provenance(handler);
        // SAFETY: whoever set it said that it is a handler.
        unsafe { std::mem::transmute::<super::Pointer, extern "C" fn(c_int)>(handler)(number) };
    }
}

/// `sigaction`
///
/// # Safety
/// `new` is null or an action, whose handler stays where it is for as long as it is set; `old` is null or room for one.
pub(super) unsafe extern "C" fn change(signal: c_int, new: *const Action, old: *mut Action) -> c_int {
    // SAFETY: as the caller promises.
    let new = unsafe { new.as_ref() };
    match changed(signal, new) {
        Ok(before) => {
            if !old.is_null() {
                // SAFETY: as the caller promises.
                unsafe { old.write(before) };
            }
            0
        }
        Err(error) => {
            crate::platform::set_errno(error);
            -1
        }
    }
}

/// `signal`, with what interrupted calls do there: they go on.
///
/// # Safety
/// As [`change`].
pub(super) unsafe extern "C" fn set_handler(signal: c_int, handler: usize) -> usize {
    match changed(signal, Some(&Action { handler, mask: 0, flags: SA_RESTART })) {
        Ok(before) => before.handler,
        Err(error) => {
            crate::platform::set_errno(error);
            libc::SIG_ERR
        }
    }
}

/// Sets what is done on a signal, and returns what was.
fn changed(signal: c_int, new: Option<&Action>) -> Result<Action, c_int> {
    let slot = usize::try_from(signal - 1).ok().filter(|&slot| slot < SIGNALS.len() && host(signal) > 0);
    let slot = slot.ok_or(libc::EINVAL)?;
    let ours = HANDLERS[slot].load(Ordering::Acquire);
    let new = new.map(|new| translated(new, slot).map(|host| (host, new.handler))).transpose()?;
    if let Some((_, handler)) = new {
        // Before the host calls ours, which reads it.
        HANDLERS[slot].store(handler, Ordering::Release);
    }
    let new = new.map(|(new, _)| new);
    let pointer = new.as_ref().map_or(std::ptr::null(), |new| &raw const *new);
    let mut before = action(0, 0, 0);
    // SAFETY: null or an action, whose handler is ours or was set before, and room for one.
    if unsafe { libc::sigaction(host(signal), pointer, &raw mut before) } != 0 {
        HANDLERS[slot].store(ours, Ordering::Release);
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
    }
    let is_ours = before.sa_sigaction == handle as *const () as usize;
    if !is_ours {
        OTHERS[slot].store(before.sa_sigaction, Ordering::Release);
    }
    Ok(Action {
        handler: if is_ours { ours } else { before.sa_sigaction },
        mask: own_set(&before.sa_mask),
        flags: bits::from_host(before.sa_flags, &FLAGS),
    })
}

/// What the host is told.
fn translated(new: &Action, slot: usize) -> Result<libc::sigaction, c_int> {
    let is_others = new.handler > libc::SIG_IGN && new.handler == OTHERS[slot].load(Ordering::Acquire);
    if new.flags & SA_SIGINFO != 0 && !is_others {
        return Err(libc::ENOTSUP);
    }
    let handler = match new.handler {
        libc::SIG_DFL | libc::SIG_IGN => new.handler,
        other if is_others => other,
        _ => handle as *const () as usize,
    };
    Ok(action(handler, new.mask, bits::to_host(new.flags, &FLAGS)))
}

fn action(handler: usize, mask: u32, flags: c_int) -> libc::sigaction {
    // SAFETY: numbers, and a pointer that may be null.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    (action.sa_sigaction, action.sa_mask, action.sa_flags) = (handler, host_set(mask), flags);
    action
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicI32;

    static TOLD: AtomicI32 = AtomicI32::new(0);

    extern "C" fn image(number: c_int) {
        TOLD.store(number, Ordering::Relaxed);
    }

    extern "C" fn somebody_else(signal: c_int) {
        TOLD.store(-signal, Ordering::Relaxed);
    }

    fn raise(signal: c_int) -> c_int {
        // SAFETY: has no preconditions; a handler is set.
        unsafe { libc::raise(signal) };
        TOLD.swap(0, Ordering::Relaxed)
    }

    /// `SIGUSR2`, which no other test uses: 31 there.
    #[test]
    fn a_handler_is_told_the_number_it_knows() {
        const USER: c_int = 31;
        let [mine, theirs] = [image as *const () as usize, somebody_else as *const () as usize];
        let new = Action { handler: mine, mask: 1 << 29, flags: SA_RESTART };
        let mut old = Action { handler: 7, mask: 7, flags: 7 };
        // SAFETY: actions and handlers.
        unsafe {
            assert_eq!((set_handler(USER, mine), raise(libc::SIGUSR2)), (libc::SIG_DFL, USER));
            assert_eq!(change(USER, &raw const new, &raw mut old), 0);
            assert_eq!(old, Action { handler: mine, mask: 0, flags: SA_RESTART });
            assert_eq!(change(USER, std::ptr::null(), &raw mut old), 0);
            assert_eq!((old, raise(libc::SIGUSR2)), (new, USER));
            // The host's own, with circumstances: handed out, and put back as it was.
            let other = action(theirs, 0, libc::SA_SIGINFO);
            libc::sigaction(libc::SIGUSR2, &raw const other, std::ptr::null_mut());
            assert_eq!(change(USER, &raw const new, &raw mut old), 0);
            assert_eq!((old.handler, old.flags, raise(libc::SIGUSR2)), (theirs, SA_SIGINFO, USER));
            assert_eq!(change(USER, &raw const old, std::ptr::null_mut()), 0);
            assert_eq!(raise(libc::SIGUSR2), -libc::SIGUSR2);
            // Those of images are refused.
            let new = Action { flags: SA_SIGINFO, ..new };
            assert_eq!(
                (change(USER, &raw const new, std::ptr::null_mut()), raise(libc::SIGUSR2)),
                (-1, -libc::SIGUSR2)
            );
            assert_eq!((set_handler(USER, libc::SIG_IGN), raise(libc::SIGUSR2)), (theirs, 0));
            assert_eq!((set_handler(USER, libc::SIG_DFL), set_handler(9, mine)), (libc::SIG_IGN, libc::SIG_ERR));
            assert_eq!([0, 7, 32].map(|number| set_handler(number, mine)), [libc::SIG_ERR; 3]);
        }
    }
}
