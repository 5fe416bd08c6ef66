//! Forked children.

use std::time::{Duration, Instant};

/// Runs `work` in a forked child, and returns its exit status; `None` if it did not end in time.
pub(crate) fn in_forked_child(work: impl FnOnce() -> i32) -> Option<i32> {
    // SAFETY: the child runs the work, which is what this test is about, and leaves without running anything else.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(101);
        // SAFETY: always allowed.
        unsafe { libc::_exit(code) };
    }
    let started = Instant::now();
    let mut status = 0;
    // SAFETY: it is our child; the status is ours.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if started.elapsed() > Duration::from_secs(30) {
            // SAFETY: it is our child and has not been waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}
