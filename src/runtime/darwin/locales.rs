//! Locales: categories and items have other numbers there (`<locale.h>`, `<langinfo.h>`), and two bytes of `struct lconv`
//! are in another order.

use super::{Pointer, bits};
use crate::addr::RunAddr;
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_setlocale" => set as Pointer,
        b"_newlocale" => new as Pointer,
        b"_localeconv" => conventions as Pointer,
        b"_nl_langinfo" => item as Pointer,
        b"____mb_cur_max_l" => longest_character as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// The categories in the order of their numbers there, from `LC_ALL`.
const CATEGORIES: [c_int; 7] = [
    libc::LC_ALL,
    libc::LC_COLLATE,
    libc::LC_CTYPE,
    libc::LC_MONETARY,
    libc::LC_NUMERIC,
    libc::LC_TIME,
    libc::LC_MESSAGES,
];

/// Their masks there, and here.
const MASKS: [(c_int, c_int); 6] = [
    (1, libc::LC_COLLATE_MASK),
    (1 << 1, libc::LC_CTYPE_MASK),
    (1 << 2, libc::LC_MESSAGES_MASK),
    (1 << 3, libc::LC_MONETARY_MASK),
    (1 << 4, libc::LC_NUMERIC_MASK),
    (1 << 5, libc::LC_TIME_MASK),
];

/// The items in the order of their numbers there, from `CODESET`; 0 where the host has none.
const ITEMS: [libc::nl_item; 57] = [
    libc::CODESET,
    libc::D_T_FMT,
    libc::D_FMT,
    libc::T_FMT,
    libc::T_FMT_AMPM,
    libc::AM_STR,
    libc::PM_STR,
    libc::DAY_1,
    libc::DAY_2,
    libc::DAY_3,
    libc::DAY_4,
    libc::DAY_5,
    libc::DAY_6,
    libc::DAY_7,
    libc::ABDAY_1,
    libc::ABDAY_2,
    libc::ABDAY_3,
    libc::ABDAY_4,
    libc::ABDAY_5,
    libc::ABDAY_6,
    libc::ABDAY_7,
    libc::MON_1,
    libc::MON_2,
    libc::MON_3,
    libc::MON_4,
    libc::MON_5,
    libc::MON_6,
    libc::MON_7,
    libc::MON_8,
    libc::MON_9,
    libc::MON_10,
    libc::MON_11,
    libc::MON_12,
    libc::ABMON_1,
    libc::ABMON_2,
    libc::ABMON_3,
    libc::ABMON_4,
    libc::ABMON_5,
    libc::ABMON_6,
    libc::ABMON_7,
    libc::ABMON_8,
    libc::ABMON_9,
    libc::ABMON_10,
    libc::ABMON_11,
    libc::ABMON_12,
    libc::ERA,
    libc::ERA_D_FMT,
    libc::ERA_D_T_FMT,
    libc::ERA_T_FMT,
    libc::ALT_DIGITS,
    libc::RADIXCHAR,
    libc::THOUSEP,
    libc::YESEXPR,
    libc::NOEXPR,
    0,
    0,
    libc::CRNCYSTR,
];

/// `setlocale`: null for a category that does not exist.
///
/// # Safety
/// `name` is null or a C string; as `setlocale`, it changes the whole process.
unsafe extern "C" fn set(category: c_int, name: *const c_char) -> *mut c_char {
    let host = usize::try_from(category).ok().and_then(|category| CATEGORIES.get(category));
    // SAFETY: as the caller promises.
    host.map_or(std::ptr::null_mut(), |&host| unsafe { libc::setlocale(host, name) })
}

/// `newlocale`
///
/// # Safety
/// As that.
unsafe extern "C" fn new(mask: c_int, name: *const c_char, base: libc::locale_t) -> libc::locale_t {
    // A bit that does not exist is an error, as it is there.
    let host = bits::all_to_host(mask, &MASKS).unwrap_or(-1);
    // SAFETY: as the caller promises.
    unsafe { libc::newlocale(host, name, base) }
}

/// `localeconv`: valid until this thread calls it again.
extern "C" fn conventions() -> *const libc::lconv {
    thread_local!(static COPY: UnsafeCell<MaybeUninit<libc::lconv>> = const { UnsafeCell::new(MaybeUninit::uninit()) });
    // SAFETY: has no preconditions, and the structure stays while it is copied, unless the locale is changed meanwhile,
    // which the function's contract excludes.
    let mut copy = unsafe { libc::localeconv().read() };
    let bytes: [c_char; 6] = [
        copy.int_p_cs_precedes,
        copy.int_n_cs_precedes,
        copy.int_p_sep_by_space,
        copy.int_n_sep_by_space,
        copy.int_p_sign_posn,
        copy.int_n_sign_posn,
    ];
    // The six are the same places in both, filled in Darwin's order.
    let first = std::mem::offset_of!(libc::lconv, int_p_cs_precedes);
    // SAFETY: six bytes from the first of them on, which end the structure but for padding.
    unsafe { (&raw mut copy).cast::<c_char>().add(first).cast::<[c_char; 6]>().write(bytes) };
    let place = COPY.try_with(UnsafeCell::get);
    // A thread that ends has no place any more; what its destructors ask for stays.
    let place = place.unwrap_or_else(|_| Box::leak(Box::new(MaybeUninit::uninit())));
    // SAFETY: of this thread alone.
    unsafe { (*place).write(copy) }
}

/// `nl_langinfo`: an empty string for what the host has not.
extern "C" fn item(item: c_int) -> *const c_char {
    let host = usize::try_from(item).ok().and_then(|item| ITEMS.get(item)).filter(|&&host| host != 0 || item == 0);
    // SAFETY: has no preconditions.
    host.map_or(c"".as_ptr(), |&host| unsafe { libc::nl_langinfo(host) })
}

/// `___mb_cur_max_l`
///
/// # Safety
/// `locale` is one; null stands for that of C.
unsafe extern "C" fn longest_character(locale: libc::locale_t) -> c_int {
    unsafe extern "C" {
        fn __ctype_get_mb_cur_max() -> usize;
    }
    if locale.is_null() {
        return 1;
    }
    // SAFETY: as the caller promises; it is this thread's for as long as the question takes.
    unsafe {
        let before = libc::uselocale(locale);
        let longest = __ctype_get_mb_cur_max();
        libc::uselocale(before);
        longest as c_int
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn items_are_those_of_the_same_meaning() {
        // SAFETY: what is returned is a C string.
        let text = |number| unsafe { CStr::from_ptr(item(number)) }.to_str().expect("ASCII");
        assert_eq!((text(7), text(14), text(21), text(44), text(50)), ("Sunday", "Sun", "January", "Dec", "."));
        assert_eq!((text(54), text(-1), text(1000)), ("", "", ""));
        // SAFETY: has no preconditions.
        assert_eq!(item(0), unsafe { libc::nl_langinfo(libc::CODESET) }.cast_const());
    }

    #[test]
    fn categories_are_those_of_the_same_meaning() {
        // SAFETY: questions only; and a locale that is freed.
        unsafe {
            for category in 0..7 {
                assert_eq!(CStr::from_ptr(set(category, std::ptr::null())), c"C");
            }
            assert!(set(7, std::ptr::null()).is_null() && set(-1, std::ptr::null()).is_null());
            let locale = new(0x3f, c"C".as_ptr(), std::ptr::null_mut());
            assert!(!locale.is_null() && longest_character(locale) == 1);
            libc::freelocale(locale);
            assert!(new(1 << 6, c"C".as_ptr(), std::ptr::null_mut()).is_null());
        }
    }

    #[test]
    fn conventions_are_copied() {
        // SAFETY: has no preconditions.
        let (own, host) = unsafe { (conventions().read(), libc::localeconv().read()) };
        // SAFETY: C strings.
        assert_eq!(unsafe { CStr::from_ptr(own.decimal_point) }, c".");
        assert_eq!((own.grouping, own.n_sign_posn), (host.grouping, host.n_sign_posn));
        assert_eq!(std::mem::offset_of!(libc::lconv, int_frac_digits), 80);
    }
}
