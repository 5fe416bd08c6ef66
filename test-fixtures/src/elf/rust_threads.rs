// A Rust cdylib with thread_local! values that have destructors, std threads and a channel.
//# rows: tls
use std::cell::Cell;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;

static DROPPED: AtomicI32 = AtomicI32::new(0);

struct Local(Cell<i32>);

impl Drop for Local {
    fn drop(&mut self) {
        DROPPED.fetch_add(self.0.get(), Ordering::SeqCst);
    }
}

thread_local! {
    static LOCAL: Local = const { Local(Cell::new(3)) };
    static PLAIN: Cell<i32> = const { Cell::new(4) };
}

#[unsafe(no_mangle)]
pub extern "C" fn answer() -> i32 {
    DROPPED.store(0, Ordering::SeqCst);
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                LOCAL.with(|local| local.0.set(local.0.get() + 7));
                PLAIN.set(PLAIN.get() + 0);
                sender.send(PLAIN.get()).unwrap();
            })
        })
        .collect();
    drop(sender);
    for thread in threads {
        thread.join().unwrap();
    }
    // 3 × 4 by the channel and 3 × 10 by the destructors.
    receiver.iter().sum::<i32>() + DROPPED.load(Ordering::SeqCst)
}
