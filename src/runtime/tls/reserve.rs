//! Static thread-locals of loaded objects: room at a fixed offset from every thread's thread pointer.
//!
//! Code of the initial-exec model adds a constant, stored once by `TPOFF64`, to the thread pointer (Drepper, §4.3). So
//! its variables must be at the same offset in every thread, the running ones included, and only what was there when
//! the process started has such a place: the system loader lays out the static blocks once. But a thread-local array
//! of *ours* is among them. It is a reserve: slices of it are handed out to objects, and each new thread gets the
//! object's bytes because the array's initial bytes, from which the C library makes every thread's copy, are memory of
//! this process like any other ([`super::template`]). Threads that run already are written to ([`super::fixed`]).
//!
//! That works where the array is in static thread-locals itself: in an executable, static or not, and in a library
//! that the process was started with. A library that was opened later has none, and then there is no reserve.
//!
//! glibc does the same with a surplus behind its static blocks, of 1664 bytes unless a tunable says otherwise, which
//! cannot be asked for room. This one has the size that the program wants.
//!
//! **Invariant.** An [`Area`] lies inside the static block of an image that is never unloaded, at the same offset in
//! every thread, and inside that image's initial bytes; nothing but this module refers to the bytes of one. Slices that
//! are taken never overlap.

use crate::addr::RunAddr;
use crate::error::{Error, ErrorKind, Stage};
use crate::runtime::host::{self, HostImages};
use crate::sync::{Mutex, MutexGuard, lock};
use std::cell::UnsafeCell;
use std::thread::LocalKey;

/// Bytes of the library's own reserve: `SIDELOAD_STATIC_TLS` in the environment of the build, in bytes.
///
/// Every thread of the process pays for it, whether it uses it or not, in memory and in the time to fill it. The
/// distribution's libraries together want less than 2 KiB.
const DEFAULT: usize = match option_env!("SIDELOAD_STATIC_TLS") {
    None => 4096,
    Some(text) => match usize::from_str_radix(text, 10) {
        Ok(bytes) => bytes.next_multiple_of(ALIGN),
        Err(_) => panic!("SIDELOAD_STATIC_TLS is not a number of bytes"),
    },
};

/// What a reserve is aligned to: as much as libc's own static thread-locals are.
const ALIGN: usize = 64;

/// What fills a reserve that nobody uses: not zero, or it would be zero-filled and have no initial bytes to change.
const FILLING: u8 = 0xa5;

thread_local!(static OWN: StaticTls<DEFAULT> = const { StaticTls::new() });

/// Room for the static thread-locals of loaded objects: `BYTES` in every thread.
///
/// Objects whose code was compiled to the initial-exec model (`-ftls-model=initial-exec`; `R_X86_64_TPOFF64`,
/// `DF_STATIC_TLS`) need room at the same place in every thread, which cannot be added to a process that runs. The
/// library has a little of its own, 4096 bytes unless `SIDELOAD_STATIC_TLS` said otherwise when it was built. A program
/// that wants to open objects with more than that reserves it as a thread-local of its own, and offers it before it
/// opens them:
///
/// ```
/// use sideload::StaticTls;
///
/// thread_local!(static ROOM: StaticTls<{ 64 << 10 }> = const { StaticTls::new() });
///
/// fn main() -> Result<(), sideload::Error> {
///     StaticTls::offer(&ROOM)?;
///     // … Library::open("librustc_driver-….so")
///     Ok(())
/// }
/// ```
///
/// Each thread has all of it, used or not: `BYTES` of memory, filled when the thread starts. Objects whose
/// thread-locals ask for an alignment above 64 find room only in a process that was started with a thread-local of that
/// alignment, in the program or in a library; so it is with glibc.
/// When there is no room, opening ends with [`ErrorKind::StaticTls`].
#[repr(C, align(64))]
pub struct StaticTls<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

impl<const BYTES: usize> StaticTls<BYTES> {
    /// The initial value of a reserve: one that is not used.
    #[allow(clippy::new_without_default, reason = "only of use as the constant that initialises a thread-local")]
    pub const fn new() -> StaticTls<BYTES> {
        StaticTls(UnsafeCell::new([FILLING; BYTES]))
    }

    /// Gives the reserve to the library, for good. Offered twice, it counts once.
    ///
    /// # Errors
    /// It cannot serve: it is not declared with `const { StaticTls::new() }`, or lies in a library that was opened
    /// after the process had started, where thread-locals have no fixed place; or the process's images cannot be read.
    pub fn offer(reserve: &'static LocalKey<StaticTls<BYTES>>) -> Result<(), Error> {
        let name = "StaticTls";
        let host = host::images().map_err(|kind| kind.at(name, Stage::Link))?;
        let offered = hold().add(reserve, &host);
        offered.then_some(()).ok_or_else(|| ErrorKind::NoStaticTls.at(name, Stage::Link))
    }
}

/// A reserve, and what is taken of it.
#[derive(Debug)]
struct Area {
    /// From the thread pointer to its first byte, in every thread.
    offset: i64,
    size: u64,
    /// Where its initial bytes are.
    template: RunAddr,
    /// Its address modulo [`Area::align`], in every thread.
    residue: u64,
    align: u64,
    /// Ascending, disjoint: start and end.
    taken: Vec<(u64, u64)>,
}

/// All reserves. Whoever gives a module its place, or writes the bytes of one, has the lock: two slices may share a page,
/// which is sealed again when one of them has been written, and a `fork` has to find all of it done or not begun.
#[derive(Debug)]
pub(crate) struct Reserves(Vec<Area>);

static RESERVES: Mutex<Reserves> = Mutex::new(Reserves(Vec::new()));

/// The lock of the reserves.
pub(crate) type Lock = MutexGuard<'static, Reserves>;

/// Keeps the reserves as they are, but for the holder.
pub(crate) fn hold() -> Lock {
    lock(&RESERVES)
}

/// Part of a reserve that belongs to one module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// From the thread pointer to its first byte, in every thread.
    pub(super) offset: i64,
    pub(super) size: u64,
    /// Where its initial bytes are.
    pub(super) template: RunAddr,
}

impl Reserves {
    /// Takes `size` bytes at an address that is `skew` modulo `align`.
    ///
    /// # Errors
    /// There is no such room, or no reserve at all.
    pub(super) fn take(&mut self, size: u64, align: u64, skew: u64, host: &HostImages) -> Result<Slice, ErrorKind> {
        if DEFAULT > 0 {
            self.add(&OWN, host);
        }
        let areas = &mut self.0;
        if areas.is_empty() {
            return Err(ErrorKind::NoStaticTls);
        }
        if let Some(slice) = areas.iter_mut().find_map(|area| area.take(size, align, skew)) {
            return Ok(slice);
        }
        let total = areas.iter().map(|area| area.size).sum();
        let free = areas.iter().filter(|area| align <= area.align).map(Area::largest_gap).max().unwrap_or(0);
        Err(ErrorKind::StaticTls { size, align, free, total })
    }

    /// Bytes of all reserves that are taken.
    pub(super) fn taken(&self) -> usize {
        self.0.iter().flat_map(|area| &area.taken).map(|(start, end)| (end - start) as usize).sum()
    }

    /// The slice that starts `offset` bytes from the thread pointer.
    pub(super) fn at(&self, offset: i64) -> Option<Slice> {
        self.0.iter().find_map(|area| {
            let start = area.start_of(offset);
            let &(_, end) = area.taken.iter().find(|&&(from, _)| from == start)?;
            Some(area.slice(start, end - start))
        })
    }

    /// Gives back the slice that starts there.
    pub(super) fn give_back(&mut self, offset: i64) {
        for area in &mut self.0 {
            let start = area.start_of(offset);
            area.taken.retain(|&(from, _)| from != start);
        }
    }

    /// Adds a reserve to those that are known, and says whether it is one of them now.
    fn add<const BYTES: usize>(&mut self, reserve: &'static LocalKey<StaticTls<BYTES>>, host: &HostImages) -> bool {
        let Ok(here) = reserve.try_with(|reserve| reserve.0.get().addr() as u64) else { return false };
        let offset = here.wrapping_sub(super::thread_pointer()) as i64;
        if self.0.iter().any(|area| area.offset == offset) {
            return true;
        }
        let size = BYTES as u64;
        let Some(place) = host.static_place(offset, size).filter(|place| place.align.is_power_of_two()) else {
            return false;
        };
        // All that was deduced is put to the test: the bytes must be the reserve's, here and in the image.
        let aligned = here.wrapping_sub(offset as u64) & (place.align - 1) == 0;
        // SAFETY: the host keeps the image's initial bytes, which are readable; this thread's copy is its own.
        let ours = |at: RunAddr| unsafe { super::template::is_filled(at, size, FILLING) };
        if BYTES == 0 || !aligned || !ours(place.template) || !ours(RunAddr(here)) {
            return false;
        }
        let residue = offset as u64 & (place.align - 1);
        self.0.push(Area { offset, size, template: place.template, residue, align: place.align, taken: Vec::new() });
        true
    }
}

impl Area {
    fn take(&mut self, size: u64, align: u64, skew: u64) -> Option<Slice> {
        if align > self.align {
            return None;
        }
        let fits = |(from, to): &(u64, u64)| {
            let misplaced = self.residue.wrapping_add(*from).wrapping_sub(skew) & (align - 1);
            let start = from + (align - misplaced) % align;
            (start.checked_add(size)? <= *to).then_some(start)
        };
        let (at, start) = self.gaps().enumerate().find_map(|(at, gap)| Some((at, fits(&gap)?)))?;
        self.taken.insert(at, (start, start + size));
        Some(self.slice(start, size))
    }

    fn slice(&self, start: u64, size: u64) -> Slice {
        Slice { offset: self.offset + start as i64, size, template: RunAddr(self.template.0 + start) }
    }

    /// The inverse: where in the reserve something is that is so far from the thread pointer.
    fn start_of(&self, offset: i64) -> u64 {
        offset.wrapping_sub(self.offset) as u64
    }

    /// What lies before, between and behind what is taken.
    fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        let starts = std::iter::once(0).chain(self.taken.iter().map(|&(_, end)| end));
        let ends = self.taken.iter().map(|&(start, _)| start).chain([self.size]);
        starts.zip(ends)
    }

    fn largest_gap(&self) -> u64 {
        self.gaps().map(|(from, to)| to - from).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(size: u64, residue: u64, align: u64) -> Area {
        Area { offset: -0x1000, size, template: RunAddr(0x7000), residue, align, taken: Vec::new() }
    }

    #[test]
    fn slices_fit_and_do_not_overlap() {
        // size of the area, its residue, then size, alignment, skew and the expected start of each slice
        type Case = (u64, u64, &'static [(u64, u64, u64, Option<u64>)]);
        const CASES: &[Case] = &[
            (64, 0, &[(8, 8, 0, Some(0)), (8, 8, 0, Some(8)), (48, 16, 0, Some(16)), (1, 1, 0, None)]),
            (64, 0, &[(1, 1, 0, Some(0)), (16, 16, 0, Some(16)), (8, 8, 0, Some(8)), (33, 1, 0, None)]),
            (64, 0, &[(8, 16, 4, Some(4)), (8, 16, 4, Some(20)), (4, 4, 0, Some(0))]),
            (64, 16, &[(16, 64, 0, Some(48)), (48, 16, 0, Some(0))]),
            (64, 0, &[(8, 128, 0, None), (65, 1, 0, None), (u64::MAX, 1, 0, None), (64, 64, 0, Some(0))]),
        ];
        for &(size, residue, wanted) in CASES {
            let mut area = area(size, residue, 64);
            for &(size, align, skew, expected) in wanted {
                let slice = area.take(size, align, skew);
                let start = slice.as_ref().map(|slice| (slice.offset + 0x1000) as u64);
                assert_eq!(start, expected, "{size} {align} {skew} of {area:?}");
                assert_eq!(slice.as_ref().map(|slice| slice.template.0 - 0x7000), expected);
            }
            let ordered = area.taken.is_sorted_by(|before, after| before.1 <= after.0);
            assert!(ordered && area.taken.iter().all(|&(from, to)| from <= to && to <= area.size), "{area:?}");
        }
    }

    #[test]
    fn what_is_left_is_told() {
        let mut area = area(100, 0, 8);
        assert_eq!(area.largest_gap(), 100);
        for size in [40, 8] {
            area.take(size, 8, 0).expect("there is room");
        }
        assert_eq!(area.largest_gap(), 52);
        area.taken.remove(0);
        assert_eq!((area.gaps().collect::<Vec<_>>(), area.largest_gap()), (vec![(0, 40), (48, 100)], 52));
    }

    #[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
    mod offered {
        use super::super::*;
        use std::cell::Cell;

        thread_local! {
            static GOOD: StaticTls<1024> = const { StaticTls::new() };
            static EMPTY: StaticTls<0> = const { StaticTls::new() };
            // With no `const`: its bytes are made when it is first used, and would be made anew in each thread.
            #[allow(clippy::missing_const_for_thread_local)]
            static LATE: StaticTls<128> = StaticTls::new();
            static OTHER: Cell<u64> = const { Cell::new(1) };
        }

        #[test]
        fn only_what_has_a_fixed_place_serves() {
            let total = || hold().0.iter().map(|area| area.size).sum::<u64>();
            OTHER.set(2);
            StaticTls::offer(&GOOD).unwrap();
            let before = total();
            StaticTls::offer(&GOOD).unwrap();
            std::thread::spawn(|| StaticTls::offer(&GOOD).unwrap()).join().unwrap();
            assert_eq!(total(), before, "it counts once");
            for error in [StaticTls::offer(&EMPTY), StaticTls::offer(&LATE)].map(Result::unwrap_err) {
                assert!(matches!(error.kind(), ErrorKind::NoStaticTls), "{error}");
            }
            assert_eq!(total(), before);
        }
    }
}
