//! Where a process may be: in a sandbox, without /proc, with more rights than its user, about to exit, linked
//! statically. Each case is a child process, since there is no way back from any of them.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

#[path = "../support/mod.rs"]
mod support;

mod exit;
mod hidden;
mod hosts;
mod messages;
mod sandbox;
mod secure;
mod statics;

use sideload::{Error, Loader, Source};

/// Opens an object and has it do something: the checksum of zlib, or the answer of a fixture.
fn answer(loader: &Loader, source: impl Into<Source>) -> Result<u64, Error> {
    let source = source.into();
    let name = source.to_string();
    // SAFETY: zlib and the fixtures have initialisers that are made to be run; these are the types of their functions.
    unsafe {
        let library = loader.open(source)?;
        if name == "libz.so.1" {
            let crc32 = library.get::<unsafe extern "C" fn(u64, *const u8, u32) -> u64>("crc32")?;
            return Ok(crc32(0, b"sideload".as_ptr(), 8));
        }
        let answer = library.get::<unsafe extern "C" fn() -> i32>("answer")?;
        Ok(u64::from(answer().unsigned_abs()))
    }
}

/// The answer, or the error, in a line.
fn outcome(answer: Result<u64, Error>) -> String {
    match answer {
        Ok(answer) => format!("answer {answer:#x}"),
        Err(error) => support::describe(&error),
    }
}

/// What [`outcome`] says of zlib: the checksum of "sideload".
const CHECKSUM: &str = "answer 0x9f26ce5c";

/// What it says of a fixture.
const FORTY_TWO: &str = "answer 0x2a";

/// Where this machine does not let a test bring a process into its place, that is a failure in CI and told elsewhere.
#[track_caller]
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
    eprintln!("SKIPPED: {why}");
}

/// The error of the last system call.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().expect("a system call failed")
}
