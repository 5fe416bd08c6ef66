// A Rust cdylib whose panic is caught by `catch_unwind` inside it.
//# rows: unwind
use std::panic::catch_unwind;

struct Cleanup<'a>(&'a std::cell::Cell<i32>);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 2);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn answer() -> i32 {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = catch_unwind(|| {
        let cleaned = std::cell::Cell::new(0);
        let inner = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _cleanup = Cleanup(&cleaned);
            std::panic::panic_any(20_i32);
        }));
        let first = *inner.unwrap_err().downcast::<i32>().unwrap();
        std::panic::panic_any(first * 2 + cleaned.get());
    });
    let _ = std::panic::take_hook();
    caught.map_or_else(|payload| *payload.downcast::<i32>().unwrap_or(Box::new(1)), |()| 2)
}
