//! Opens libraries and prints the time and the page faults of each stage: where an open spends its time.
//!
//!     cargo run --release --example stages -- libLLVM-15.so.1

use std::time::Instant;

fn main() -> Result<(), sideload::Error> {
    for name in std::env::args().skip(1) {
        let mut last = (Instant::now(), faults());
        let mut laps = Vec::new();
        let mut lap = |stage| {
            let now = (Instant::now(), faults());
            laps.push((stage, now.0 - last.0, now.1 - last.1));
            last = (Instant::now(), faults());
        };
        let linked = sideload::Loader::new().link(&name)?;
        lap("link");
        let mapped = linked.map()?;
        lap("map");
        let relocated = mapped.relocate()?;
        lap("relocate");
        // SAFETY: the caller named the library to be run.
        let resolved = unsafe { relocated.run_resolvers() }?;
        lap("resolve");
        let sealed = resolved.seal()?;
        lap("seal");
        // SAFETY: as above.
        let library = unsafe { sealed.initialize() }?;
        lap("initialize");
        println!("{}", library.path());
        for (stage, time, faults) in laps {
            println!("{stage:>12} {:9.3} ms {faults:5} faults", time.as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

/// Page faults of this process so far that needed no reading.
fn faults() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the buffer is a `struct rusage`, which is all zeros until it is filled.
    unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init().ru_minflt
    }
}
