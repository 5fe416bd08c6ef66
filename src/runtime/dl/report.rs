//! The text that `dlerror` gives: each thread's own, once.

use std::cell::Cell;
use std::ffi::{CString, c_char};
use std::fmt::Display;
use std::ptr;

#[derive(Default)]
struct Report {
    pending: Option<CString>,
    /// What was handed out last: held, since the caller may read it until it asks again.
    _given: Option<CString>,
}

thread_local! {
    static REPORT: Cell<Report> = const { Cell::new(Report { pending: None, _given: None }) };
}

/// Keeps the text for this thread's next `dlerror`. A thread that is ending has nowhere to keep it.
pub(super) fn fail(text: &dyn Display) {
    let text = text.to_string().replace('\0', "?");
    let _ = REPORT.try_with(|report| {
        let old = report.take();
        report.set(Report { pending: CString::new(text).ok(), ..old });
    });
}

/// The result, or what C callers get for a failure, with the cause kept for `dlerror`.
pub(super) fn or_fail<T, E: Display>(result: Result<T, E>, failed: T) -> T {
    result.unwrap_or_else(|error| {
        fail(&error);
        failed
    })
}

/// The text of this thread's last failure; null if there was none since this was last asked.
pub(super) fn take() -> *const c_char {
    let give = |report: &Cell<Report>| {
        let given = report.take().pending;
        let text = given.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        report.set(Report { pending: None, _given: given });
        text
    };
    REPORT.try_with(give).unwrap_or_default()
}
