//! What debuggers know of the images that we load.
//!
//! A debugger finds the images of a process in lists of `link_map`s: `DT_DEBUG` of the executable leads to an `r_debug`,
//! which leads to the system loader's list. Since glibc 2.35 that `r_debug` may have a successor (`r_next`, version 2):
//! one `r_debug` a namespace of `dlmopen`. We append one more, with a list of our own. (Nodes of ours in the system
//! loader's list would be followed by its own `dl_iterate_phdr`, which takes them for larger structures and crashes.)
//! Where there is no such chain (musl, glibc before 2.35, static executables) nothing is announced.
//!
//! A debugger also puts a breakpoint where `r_brk` points and reads the lists when it is hit, so that breakpoints which
//! wait for a function get their place before any initialiser runs. gdb does so where the dynamic linker has no
//! SystemTap probes (Debian's has none), or not those it wants; where it has them, gdb stops at these alone, and sees our
//! images when it is told to (`sharedlibrary`), when it attaches, and when the system loader opens something.
//!
//! Nobody in this process follows the list, and a debugger reads it while the process stands still; so it is kept
//! such that it is a list at each moment. The cost of an entry is its memory, a few stores and two calls of an
//! empty function.
//!
//! Invariant: what is appended to the host's chain is never freed, so the chain holds even if this library were unloaded;
//! a node is in the list only while its [`Entry`] lives; `r_brk` is called as the function without arguments that it is.
//!
//! Sources: `<link.h>` of glibc 2.36, `elf/dl-debug.c` there; `gdb/solib-svr4.c` of gdb 13.

use super::host::{Chain, HostImages};
use crate::addr::{Bias, RunAddr};
use crate::link::LinkedModule;
use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `RT_CONSISTENT`, `RT_ADD`, `RT_DELETE`.
const CONSISTENT: u32 = 0;
const ADD: u32 = 1;
const DELETE: u32 = 2;

/// `struct link_map`, as far as it is public. Addresses are numbers: nobody in this process follows them.
#[derive(Debug)]
#[repr(C)]
struct LinkMap {
    address: u64,
    name: u64,
    dynamic: u64,
    next: AtomicU64,
    previous: AtomicU64,
}

/// `struct r_debug_extended`.
#[derive(Debug)]
#[repr(C)]
struct Debug {
    version: i32,
    map: AtomicU64,
    breakpoint: u64,
    state: AtomicU32,
    loader: u64,
    /// What glibc appends to the chain after us.
    next: AtomicU64,
}

/// Our list, and where it was appended.
#[derive(Debug)]
struct List {
    debug: &'static Debug,
    host: Chain,
}

/// What the lock is for.
#[derive(Debug)]
pub(crate) struct State {
    /// Set at the first open; `Some(None)` where there is no chain.
    list: Option<Option<List>>,
    /// The nodes that are in the list, in its order.
    nodes: Vec<Arc<Node>>,
}

static STATE: Mutex<State> = Mutex::new(State { list: None, nodes: Vec::new() });

/// The lock of the list. Nobody takes the registry's while holding this one.
pub(crate) type Lock = MutexGuard<'static, State>;

/// Keeps the list as it is.
pub(crate) fn lock() -> Lock {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(crate) struct Node {
    map: LinkMap,
    name: CString,
}

impl Node {
    fn address(self: &Arc<Node>) -> u64 {
        Arc::as_ptr(self).expose_provenance() as u64 + std::mem::offset_of!(Node, map) as u64
    }
}

/// One image, as debuggers are told of it; taken out of their list when dropped.
#[derive(Debug)]
pub(crate) struct Entry(Arc<Node>);

impl Entry {
    /// About a module that is mapped, and not announced yet. A debugger opens the file at the module's path: of one that
    /// was not opened by a path it shows the name alone.
    pub(crate) fn new(module: &LinkedModule, bias: Bias) -> Entry {
        let name = CString::new(module.path.as_os_str().as_encoded_bytes()).unwrap_or_default();
        let map = LinkMap {
            address: bias.0,
            name: name.as_ptr().expose_provenance() as u64,
            dynamic: module.plan.dynamic_section().map_or(0, |vm| (vm + bias).0),
            next: AtomicU64::new(0),
            previous: AtomicU64::new(0),
        };
        Entry(Arc::new(Node { map, name }))
    }
}

impl Entry {
    /// The node of debuggers' list, for as long as the entry lives: a `struct link_map` as far as that is public.
    pub(crate) fn link_map(&self) -> RunAddr {
        RunAddr(self.0.address())
    }

    /// The path that the node has, for as long as the entry lives.
    pub(crate) fn name(&self) -> *const c_char {
        self.0.name.as_ptr()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        withdraw([&*self]);
    }
}

/// How many images debuggers know now.
pub(crate) fn listed() -> usize {
    lock().nodes.len()
}

/// Tells debuggers of images that are mapped and relocated.
pub(crate) fn announce<'e>(host: &HostImages, entries: impl Iterator<Item = &'e Entry>) {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return;
    }
    let mut state = lock();
    let State { list, nodes: listed } = &mut *state;
    let Some(list) = list.get_or_insert_with(|| Some(List::new(host.debugged()?))) else { return };
    list.begin(ADD);
    for Entry(node) in entries {
        let place = match listed.last() {
            Some(last) => {
                node.map.previous.store(last.address(), Ordering::Relaxed);
                &last.map.next
            }
            None => &list.debug.map,
        };
        place.store(node.address(), Ordering::Release);
        listed.push(Arc::clone(node));
    }
    list.end();
}

/// Takes images out of the debuggers' list, before they are unmapped: the breakpoints in them go then.
pub(crate) fn withdraw<'e>(entries: impl IntoIterator<Item = &'e Entry>) {
    let mut state = lock();
    let State { list: Some(Some(list)), nodes: listed } = &mut *state else { return };
    let mut begun = false;
    for Entry(node) in entries {
        let Some(at) = listed.iter().position(|known| Arc::ptr_eq(known, node)) else { continue };
        if !begun {
            list.begin(DELETE);
            begun = true;
        }
        let before = at.checked_sub(1).map(|at| &listed[at]);
        let after = listed.get(at + 1);
        before.map_or(&list.debug.map, |node| &node.map.next).store(after.map_or(0, Node::address), Ordering::Release);
        if let Some(after) = after {
            after.map.previous.store(before.map_or(0, Node::address), Ordering::Release);
        }
        listed.remove(at);
    }
    if begun {
        list.end();
    }
}

impl List {
    fn new(host: Chain) -> List {
        let debug = Debug {
            version: 2,
            map: AtomicU64::new(0),
            breakpoint: host.breakpoint().0,
            state: AtomicU32::new(CONSISTENT),
            loader: 0,
            next: AtomicU64::new(0),
        };
        List { debug: Box::leak(Box::new(debug)), host }
    }

    /// The list is about to change. (Each time it is made sure that it is in the chain: glibc appends to the chain under
    /// a lock of its own, and may overwrite what was appended at the same moment.)
    fn begin(&self, state: u32) {
        let ours = RunAddr(ptr::from_ref(self.debug).expose_provenance() as u64);
        // SAFETY: `HostImages::debugged` has made sure that the host's is an extended one; ours was leaked.
        unsafe { self.host.append(ours) };
        self.debug.state.store(state, Ordering::Release);
        self.stop();
    }

    fn end(&self) {
        self.debug.state.store(CONSISTENT, Ordering::Release);
        self.stop();
    }

    /// Where debuggers stop.
    fn stop(&self) {
        let at = self.debug.breakpoint;
        if at != 0 {
            // SAFETY: the system loader's own `_dl_debug_state`, a function without arguments that does nothing.
            let function: extern "C" fn() = unsafe { std::mem::transmute(at as usize as *const ()) };
            function();
        }
    }
}
