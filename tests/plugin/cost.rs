//! What a lookup does not do: allocate.

use crate::types::greeter;
use shapes::Size;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::AtomicU32;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local!(static COUNT: Cell<usize> = const { Cell::new(0) });

// SAFETY: the system's allocator, with a count beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn a_lookup_allocates_nothing_unless_it_fails() {
    let plugin = greeter();
    let count = || COUNT.with(Cell::get);
    let before = count();
    for _ in 0..100 {
        assert!(plugin.lookup::<fn(&str) -> String>("greet").is_ok());
        assert!(plugin.lookup::<extern "C" fn(&Size) -> f64>("area").is_ok());
        assert!(plugin.lookup::<&AtomicU32>("GREETED").is_ok());
    }
    assert_eq!(count(), before);
    assert!(plugin.lookup::<fn()>("greet").is_err());
    assert!(count() > before, "the count counts");
}
