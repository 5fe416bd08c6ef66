//! Opens libraries and prints the time of each stage.

use std::time::Instant;

fn main() -> Result<(), sideload::Error> {
    for name in std::env::args().skip(1) {
        let mut last = Instant::now();
        let mut lap = |what: &str| {
            eprint!("{what} {:?}  ", last.elapsed());
            last = Instant::now();
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
        eprintln!();
        println!("{}", library.path());
    }
    Ok(())
}
