//! Plugins: a checked lookup by a constant name, a call through what it found, and the same call to another process, to
//! which Go's documentation of its package `plugin` points as the alternative.

mod support;

use criterion::{Criterion, criterion_group};
use memmap2::MmapMut;
use sideload::Plugin;
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

type Add = extern "C" fn(i32, i32) -> i32;

extern "C" fn add(one: i32, other: i32) -> i32 {
    one.wrapping_add(other)
}

fn plugin(c: &mut Criterion) {
    let path = test_fixtures::build("plugin").path;
    // SAFETY: the fixture's initialiser is made to be run.
    let plugin = unsafe { Plugin::open(path) }.expect("a sound plugin");
    c.bench_function("plugin/lookup", |b| {
        b.iter(|| black_box(&plugin).lookup::<Add>("plugin_add").is_ok());
    });
    let mut group = c.benchmark_group("plugin/call");
    let found = *plugin.lookup::<Add>("plugin_add").expect("exported");
    group.bench_function("plugin", |b| b.iter(|| black_box(found)(black_box(1), black_box(2))));
    group.bench_function("pointer", |b| b.iter(|| black_box(add as Add)(black_box(1), black_box(2))));
    let mut memory = Memory::new();
    group.bench_function("shared memory", |b| b.iter(|| memory.call(black_box(1), black_box(2))));
    memory.end();
    let mut pipes = Stream::pipes();
    group.bench_function("pipe", |b| b.iter(|| pipes.call(black_box(1), black_box(2))));
    pipes.end();
    let mut socket = Stream::socket();
    group.bench_function("socket", |b| b.iter(|| socket.call(black_box(1), black_box(2))));
    socket.end();
    group.finish();
}

/// The hidden argument of a process that answers.
const SERVE: &str = "--serve";

/// This program once more, as the one that answers.
fn server(how: &str, stdin: Stdio, stdout: Stdio) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program's own path"));
    command.args([SERVE, how]).stdin(stdin).stdout(stdout).spawn().expect("the server starts")
}

/// Eight bytes there, four bytes back.
struct Stream {
    child: Child,
    to: Option<File>,
    from: File,
}

impl Stream {
    fn pipes() -> Stream {
        let mut child = server("stream", Stdio::piped(), Stdio::piped());
        let to = OwnedFd::from(child.stdin.take().expect("a pipe")).into();
        let from = OwnedFd::from(child.stdout.take().expect("a pipe")).into();
        Stream { child, to: Some(to), from }
    }

    fn socket() -> Stream {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let also = theirs.try_clone().expect("a descriptor");
        let child = server("stream", OwnedFd::from(theirs).into(), OwnedFd::from(also).into());
        let from = OwnedFd::from(ours.try_clone().expect("a descriptor")).into();
        Stream { child, to: Some(OwnedFd::from(ours).into()), from }
    }

    fn call(&mut self, one: i32, other: i32) -> i32 {
        let mut request = [0; 8];
        request[..4].copy_from_slice(&one.to_le_bytes());
        request[4..].copy_from_slice(&other.to_le_bytes());
        self.to.as_mut().expect("not ended").write_all(&request).expect("the server reads");
        let mut answer = [0; 4];
        self.from.read_exact(&mut answer).expect("the server answers");
        i32::from_le_bytes(answer)
    }

    fn end(mut self) {
        self.to = None;
        // The socket has another descriptor.
        drop(self.from);
        self.child.wait().expect("it ends with its input");
    }
}

fn serve_stream() {
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut request = [0; 8];
    while stdin.read_exact(&mut request).is_ok() {
        let (one, other) = request.split_at(4);
        let number = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().expect("four bytes"));
        let answer = add(number(one), number(other)).to_le_bytes();
        if stdout.write_all(&answer).and_then(|()| stdout.flush()).is_err() {
            return;
        }
    }
}

/// A page that both have mapped; both look at it without pause, which takes a processor each.
struct Memory {
    child: Child,
    map: MmapMut,
    turn: u32,
}

/// The number of the last request and of the last answer, the two arguments, the result.
fn words(map: &MmapMut) -> &[AtomicU32; 5] {
    // SAFETY: the mapping is a page, aligned as one, and only accessed through these atomics.
    unsafe { &*map.as_ptr().cast() }
}

const STOP: u32 = u32::MAX;

impl Memory {
    fn new() -> Memory {
        let path = std::env::temp_dir().join(format!("sideload-bench-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.expect("a temporary file");
        std::fs::remove_file(&path).expect("made above");
        file.set_len(4096).expect("a page");
        // SAFETY: nobody truncates it.
        let map = unsafe { MmapMut::map_mut(&file) }.expect("a mapping");
        let child = server("memory", file.into(), Stdio::null());
        Memory { child, map, turn: 0 }
    }

    fn call(&mut self, one: i32, other: i32) -> i32 {
        let [asked, answered, first, second, result] = words(&self.map);
        self.turn += 1;
        first.store(one as u32, Ordering::Relaxed);
        second.store(other as u32, Ordering::Relaxed);
        asked.store(self.turn, Ordering::Release);
        while answered.load(Ordering::Acquire) != self.turn {
            std::hint::spin_loop();
        }
        result.load(Ordering::Relaxed) as i32
    }

    fn end(mut self) {
        words(&self.map)[0].store(STOP, Ordering::Release);
        self.child.wait().expect("it was told to stop");
    }
}

fn serve_memory() {
    use std::os::fd::AsFd;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
    // SAFETY: nobody truncates it.
    let map = unsafe { MmapMut::map_mut(&File::from(stdin)) }.expect("a mapping");
    let [asked, answered, first, second, result] = words(&map);
    let mut turn = 0;
    loop {
        let now = asked.load(Ordering::Acquire);
        match now {
            STOP => return,
            _ if now == turn => std::hint::spin_loop(),
            _ => {
                let sum = add(first.load(Ordering::Relaxed) as i32, second.load(Ordering::Relaxed) as i32);
                result.store(sum as u32, Ordering::Relaxed);
                answered.store(now, Ordering::Release);
                turn = now;
            }
        }
    }
}

criterion_group! { name = benches; config = support::settings(); targets = plugin }

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().skip(1).map(String::as_str).collect::<Vec<_>>().as_slice() {
        [SERVE, "stream"] => serve_stream(),
        [SERVE, _] => serve_memory(),
        _ => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
