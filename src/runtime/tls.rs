//! Thread-locals of loaded objects, for code compiled to the general-dynamic and local-dynamic models.
//!
//! **The models.** A library cannot know at link time where its thread-locals will be, so its code asks at run time:
//! it passes two words of its GOT, a module id (`DTPMOD64`) and an offset (`DTPOFF64`), to `__tls_get_addr` and gets
//! an address in the calling thread (Drepper, "ELF Handling For Thread-Local Storage", §3.4 and §4). Local-dynamic
//! asks once per function, with offset 0. Whoever relocates an object chooses both its ids and the function, so a
//! loader beside the system's needs nothing from it: loaded objects are bound to *our* `__tls_get_addr`, and their
//! `DTPMOD64` slots hold *our* ids. The function is never exported: the rest of the process keeps the system's.
//!
//! **Ids.** Bit 62 tells ours from the system's, which counts modules from 1. The rest is a position in a table and a
//! serial number, and as no serial number is given out twice, an id is never used again. An object may also name a
//! variable of a host library by its `DTPMOD64`: an untagged id is handed on to the host's `__tls_get_addr`. Where the
//! host's id is not known but its block's offset from the thread pointer is, the id is an *alias*: that offset itself.
//!
//! **The vector.** Each thread has a vector of slots, id and block, indexed by position in the table (glibc's DTV).
//! The fast path is: this thread's vector, bounds, `slot.id == id`. The one comparison says that the id is ours, that
//! the module has not been replaced by another, and that this thread has its block. It takes no lock and reads nothing
//! that another thread writes.
//!
//! **Blocks are made at first use**, by the thread that uses them. Made at load time they would have to be made for
//! every other thread as well; and most threads never touch most modules. They come from `mmap` through an arena per
//! thread, not from `malloc`, which may itself use thread-locals and be what is being initialised. The template is
//! the module's image *in memory*: it is relocated there before any thread can ask for a copy.
//!
//! **Thread exit.** A block must outlive the destructors that use it: those of C++ and Rust thread-locals
//! (`__cxa_thread_atexit_impl`, which libc runs first) and those of pthread keys, in rounds and in no order. So our
//! key's destructor sets its key again until the last round (`PTHREAD_DESTRUCTOR_ITERATIONS`) and only then frees the
//! thread's arena. A key destructor that runs later still in that round gets a fresh block, which is never freed; nor
//! are the blocks of a thread whose first use of any is in a key's destructor. With fewer than 32 keys before ours,
//! glibc stores a thread's value of it without `calloc`.
//! The main thread's blocks live as long as the process.
//!
//! **Invariant.** A [`Thread`] and everything in its arena is touched by its own thread only. A slot that holds an id
//! holds a block of that module's size and alignment, filled from its image, which stays where it is until the id is
//! retired (or, for an id that is retired, until the thread next makes a block, or ends). A row of [`MODULES`] is
//! written only between its claim and its publication, and read only where its id was seen first.
//!
//! No access locks, so a `fork` at any moment leaves the child a working copy. (The reserve of static blocks has a lock,
//! which a `fork` waits for.) A signal handler may use a variable
//! that its thread has used before; as with glibc's own lazily made blocks, not one that its thread is just making.
//! **Static blocks.** Code of the initial-exec model wants a module's block at the same offset in every thread. Such a
//! module gets a slice of a reserve in our own static thread-locals ([`reserve`]), before any thread has a block of it:
//! from then on its block in a thread is that slice, also for those who ask by its id. Modules of a group that is being
//! loaded get theirs while the group is relocated, and its bytes when that is done ([`ModuleTls::settle`]). A module
//! that is loaded already gets one only if no thread has asked for its block before, as with glibc.

mod arena;
mod descriptor;
mod end;
mod fixed;
mod present;
mod reserve;
mod template;
mod variable;

pub(crate) use self::descriptor::{Descriptors, prepare};
pub use self::reserve::StaticTls;
pub(crate) use self::variable::{variable, variable_entry};

use self::arena::{Arena, Mapping};
use self::end::exit_key;
pub(crate) use self::present::block;
pub(crate) use self::reserve::{Lock, hold};
use crate::addr::{Bias, RunAddr};
use crate::error::ErrorKind;
use crate::plan::TlsTemplate;
use std::cell::Cell;
use std::fmt::Write;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Set in every id of ours; the system counts its modules from 1.
const TAG: u64 = 1 << 62;
/// Set in the id of a host library's block: what is below the two bits is its offset from the thread pointer.
const ALIAS: u64 = 1 << 61;
/// Bits of an id that hold the position of the module in [`MODULES`], counted from 1.
const POSITION_BITS: u32 = 12;
const POSITION: u64 = (1 << POSITION_BITS) - 1;
/// Modules with thread-locals at one time.
const LIMIT: usize = POSITION as usize;
/// Larger blocks and alignments are refused when the module is registered, since no thread could have them.
const LARGEST: u64 = 1 << 30;

/// Whether objects with thread-locals can be loaded on this architecture.
const SUPPORTED: bool = cfg!(any(target_arch = "x86_64", all(target_arch = "aarch64", target_vendor = "apple")));

/// The thread-locals of one loaded module, from registration to drop.
#[derive(Debug)]
pub(crate) struct ModuleTls {
    id: u64,
    /// For the message when a thread gets no memory; the module's row points to it.
    _name: Box<str>,
}

impl ModuleTls {
    /// Makes an id for the thread-locals of the module called `name`, mapped with `bias`.
    ///
    /// Blocks are copies of the image as it stands in memory when a thread first asks.
    ///
    /// # Errors
    /// An architecture without support, a template that no thread could have a copy of, too many modules.
    ///
    /// # Safety
    /// `template.image` with `bias` is readable memory until the value is dropped, and no thread uses the id before
    /// it has been relocated. Nobody uses the id, or an address that came of it, after the drop.
    pub(crate) unsafe fn register(name: &str, template: &TlsTemplate, bias: Bias) -> Result<ModuleTls, ErrorKind> {
        if !SUPPORTED {
            return Err(ErrorKind::unsupported("thread-locals on this architecture"));
        }
        let (size, align) = (template.size, template.align.max(1));
        if template.image.size > size || !align.is_power_of_two() {
            return Err(ErrorKind::Malformed {
                what: "PT_TLS: image larger than block, or odd alignment",
                place: None,
            });
        }
        if size > LARGEST || align > LARGEST {
            return Err(ErrorKind::OutOfMemory { bytes: size.max(align) });
        }
        exit_key()?;
        let name: Box<str> = name.into();
        let (position, module) = Module::claim().ok_or(ErrorKind::TooManyImages { limit: LIMIT })?;
        module.name.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
        module.name_size.store(name.len(), Ordering::Relaxed);
        module.image.store((template.image.start + bias).0, Ordering::Relaxed);
        module.image_size.store(template.image.size as usize, Ordering::Relaxed);
        module.size.store(size as usize, Ordering::Relaxed);
        module.align.store(align as usize, Ordering::Relaxed);
        // gABI, "Thread-Local Storage": a block's address equals `p_vaddr` modulo `p_align`.
        module.skew.store((template.image.start.0 & (align - 1)) as usize, Ordering::Relaxed);
        module.offset.store(UNDECIDED, Ordering::Relaxed);
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let id = TAG | SERIAL.fetch_add(1, Ordering::Relaxed) << POSITION_BITS | (position as u64 + 1);
        module.id.store(id, Ordering::Release);
        Ok(ModuleTls { id, _name: name })
    }

    fn row(&self) -> &'static Module {
        Module::of(self.id).expect("invariant: an id stays in the table until its owner is dropped").1
    }

    /// What the `DTPMOD64` slots that mean this module are to hold.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Blocks that exist now, of all modules in all threads: what a test asks to see that none is left behind.
    pub(crate) fn live_blocks() -> usize {
        BLOCKS.load(Ordering::Relaxed)
    }

    /// Bytes of static thread-locals that modules have now.
    pub(crate) fn fixed_bytes() -> usize {
        hold().taken()
    }

    /// Modules that have an id now.
    pub(crate) fn live_modules() -> usize {
        MODULES.iter().filter(|module| module.id.load(Ordering::Relaxed) != FREE).count()
    }
}

impl Drop for ModuleTls {
    fn drop(&mut self) {
        let fixed = self.offset();
        self.row().id.store(FREE, Ordering::Release);
        if let Some(offset) = fixed {
            hold().give_back(offset);
        }
    }
}

/// The id for a host library's block whose id the host keeps to itself: the block starts `tp_offset` bytes from the
/// thread pointer in every thread, as the blocks of everything loaded at start-up do.
///
/// `None` where the offset is none that static thread-locals can have.
pub(crate) fn host_alias(tp_offset: i64) -> Option<u64> {
    let bits = tp_offset as u64 & (ALIAS - 1);
    (alias_offset(bits) == tp_offset).then_some(TAG | ALIAS | bits)
}

/// The offset in an alias: the bits below [`ALIAS`], sign-extended.
fn alias_offset(id: u64) -> i64 {
    const ABOVE: u32 = ALIAS.leading_zeros() + 1;
    ((id << ABOVE) as i64) >> ABOVE
}

/// The address of our `__tls_get_addr`, for the imports of that name of loaded objects.
pub(crate) fn get_addr_entry() -> RunAddr {
    RunAddr(entry as *const () as u64)
}

/// The address, in the calling thread, of the variable at `offset` in the module of that id (ours, alias or host's).
///
/// # Safety
/// The id is that of a live [`ModuleTls`], an alias, or one that the host gave out.
pub(crate) unsafe fn address(id: u64, offset: u64) -> RunAddr {
    let index = TlsIndex { module: id, offset };
    // SAFETY: the index is ours, and its id is one that `resolve` takes, as the caller promises.
    RunAddr(unsafe { resolve(&raw const index) } as u64)
}

/// The calling thread's thread pointer, to which initial-exec offsets are relative.
pub(crate) fn thread_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: x86-64 psABI §3.4.6: the word at %fs:0 holds the thread pointer itself; nothing else is touched.
    #[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: reading TPIDR_EL0 is always allowed and has no effect.
    #[cfg(all(target_arch = "aarch64", not(target_vendor = "apple")))]
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags));
    }
    #[cfg(any(target_vendor = "apple", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    {
        pointer = 0; // no image that asks for it can be registered
    }
    pointer
}

/// The two words that compilers pass (`tls_index` in every libc).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct TlsIndex {
    module: u64,
    offset: u64,
}

/// What loaded objects call. GCC before 4.9 called `__tls_get_addr` with the stack off by 8 (GCC bug 58066), and
/// Rust code may use aligned vector stores, so the stack is aligned here.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn entry(index: *const TlsIndex) -> *mut u8 {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "and rsp, -16",
        "call {resolve}",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        resolve = sym resolve,
    )
}
#[cfg(not(target_arch = "x86_64"))]
use resolve as entry;

type GetAddr = unsafe extern "C" fn(*const TlsIndex) -> *mut u8;

/// The host's own `__tls_get_addr`, once somebody said where it is.
static HOST: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Says where the host's `__tls_get_addr` is, for ids that the host gave out.
///
/// It is looked up in the host's images, not linked to, since a static glibc program has none: there the linker turns
/// every call of it into something simpler, and a reference that it cannot turn is an error, even a weak one.
///
/// # Safety
/// `function` is that.
pub(crate) unsafe fn use_host_get_addr(function: RunAddr) {
    HOST.store(ptr::with_exposed_provenance_mut(function.0 as usize), Ordering::Release);
}

fn host_get_addr() -> Option<GetAddr> {
    let function = HOST.load(Ordering::Acquire);
    // SAFETY: null, which is `None`, or what `use_host_get_addr` was promised to be.
    unsafe { std::mem::transmute::<*mut (), Option<GetAddr>>(function) }
}

/// The fast path: everything that is not a thread's first use of a module ends here.
///
/// # Safety
/// `index` points to two words, of which the first is the id of a live module, an alias, or one of the host's.
unsafe extern "C" fn resolve(index: *const TlsIndex) -> *mut u8 {
    // SAFETY: as the caller promises.
    let at = unsafe { *index };
    let thread = THREAD.get();
    if !thread.is_null() {
        // SAFETY: THREAD is null or this thread's own state, whose vector has `count` slots.
        let vector = unsafe { &(*thread).vector };
        let position = position(at.module);
        if position < vector.count {
            // SAFETY: in bounds, and initialised when the vector was made.
            let slot = unsafe { &*vector.slots.add(position) };
            if slot.id == at.module {
                return slot.block.wrapping_add(at.offset as usize);
            }
        }
    }
    // SAFETY: as the caller promises.
    unsafe { slow(at) }
}

/// Position in the table, from 0; an id whose position bits are 0 (none of ours has them) gets one out of bounds.
fn position(id: u64) -> usize {
    (id.wrapping_sub(1) & POSITION) as usize
}

/// # Safety
/// As [`resolve`].
#[cold]
#[inline(never)]
unsafe fn slow(at: TlsIndex) -> *mut u8 {
    if at.module & TAG == 0 {
        let Some(get_addr) = host_get_addr() else {
            die(format_args!("thread-local of host module {}, but no __tls_get_addr of the host is known", at.module));
        };
        // SAFETY: an id that is not ours came from the host, which knows it.
        return unsafe { get_addr(&raw const at) };
    }
    if at.module & ALIAS != 0 {
        let address = thread_pointer().wrapping_add_signed(alias_offset(at.module)).wrapping_add(at.offset);
        return ptr::with_exposed_provenance_mut(address as usize);
    }
    let Some((position, module)) = Module::of(at.module) else {
        die(format_args!("thread-local of a module that was unloaded (id {:#x})", at.module));
    };
    // SAFETY: the id was just seen in the module's row, and its owner keeps the image mapped.
    match unsafe { Thread::current().and_then(|thread| (*thread).install(position, at.module, module)) } {
        Some(block) => block.wrapping_add(at.offset as usize),
        None => {
            let size = module.size.load(Ordering::Relaxed);
            let (name, length) = (module.name.load(Ordering::Relaxed), module.name_size.load(Ordering::Relaxed));
            // SAFETY: the owner of the id keeps the name, and the id is live, as the caller promises.
            let name = String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(name, length) });
            die(format_args!("{name}: no memory for {size} bytes of thread-locals"))
        }
    }
}

/// Ends the process with a message. A thread-local's address has no way to be an error: glibc ends here, too.
#[cold]
fn die(message: std::fmt::Arguments<'_>) -> ! {
    /// A buffer on the stack: what failed may be the allocator.
    struct Line([u8; 256], usize);
    impl Write for Line {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let room = &mut self.0[self.1..];
            let taken = text.len().min(room.len());
            room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
            self.1 += taken;
            Ok(())
        }
    }
    let mut line = Line([0; 256], 0);
    let _ = writeln!(line, "sideload: {message}"); // cannot fail: it cuts off
    // SAFETY: the buffer holds that many bytes.
    unsafe { libc::write(2, line.0.as_ptr().cast(), line.1) };
    // SAFETY: always allowed.
    unsafe { libc::abort() }
}

/// A row of the table. Rows are static and atomic, so that a reader needs no lock and no row is ever freed.
struct Module {
    /// [`FREE`], [`CLAIMED`] or an id. The id is stored after everything else and loaded before everything else.
    id: AtomicU64,
    name: AtomicPtr<u8>,
    name_size: AtomicUsize,
    image: AtomicU64,
    image_size: AtomicUsize,
    size: AtomicUsize,
    align: AtomicUsize,
    /// What the block's address is, modulo `align`.
    skew: AtomicUsize,
    /// From the thread pointer to the block in every thread, or [`UNDECIDED`], or [`ANYWHERE`].
    offset: AtomicI64,
}

/// No thread has a block yet. (No block starts at the thread pointer.)
const UNDECIDED: i64 = 0;
/// Threads have blocks of their own making.
const ANYWHERE: i64 = i64::MIN;

const FREE: u64 = 0;
const CLAIMED: u64 = 1;

static MODULES: [Module; LIMIT] = [const {
    Module {
        id: AtomicU64::new(FREE),
        name: AtomicPtr::new(ptr::null_mut()),
        name_size: AtomicUsize::new(0),
        image: AtomicU64::new(0),
        image_size: AtomicUsize::new(0),
        size: AtomicUsize::new(0),
        align: AtomicUsize::new(0),
        skew: AtomicUsize::new(0),
        offset: AtomicI64::new(UNDECIDED),
    }
}; LIMIT];

impl Module {
    /// The row of a live id, and its position.
    fn of(id: u64) -> Option<(usize, &'static Module)> {
        let module = MODULES.get(position(id))?;
        (module.id.load(Ordering::Acquire) == id).then_some((position(id), module))
    }

    /// The calling thread's block, if the module has it at the same place in every thread. If not, it never will: this
    /// thread is about to make one elsewhere.
    fn static_block(&self) -> Option<*mut u8> {
        let decided = self.offset.compare_exchange(UNDECIDED, ANYWHERE, Ordering::AcqRel, Ordering::Acquire);
        let offset = decided.err().filter(|&offset| offset != ANYWHERE)?;
        Some(ptr::with_exposed_provenance_mut(thread_pointer().wrapping_add_signed(offset) as usize))
    }

    /// Takes the first free row. Low positions first: vectors stay short, and a reloaded module finds its old block.
    fn claim() -> Option<(usize, &'static Module)> {
        let free = |module: &Module| module.id.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
        MODULES.iter().enumerate().find(|(_, module)| free(module).is_ok())
    }
}

/// Blocks that exist.
static BLOCKS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The thread's state, null before its first block. It has no destructor, so it can be used in destructors.
    static THREAD: Cell<*mut Thread> = const { Cell::new(ptr::null_mut()) };
}

/// What one thread has: it lives at the start of its own arena.
struct Thread {
    vector: Vector,
    arena: Arena,
    /// Rounds of key destructors that have passed.
    rounds: u32,
}

#[derive(Clone, Copy)]
struct Vector {
    slots: *mut Slot,
    count: usize,
}

/// A thread's block of one module.
#[derive(Clone, Copy)]
struct Slot {
    /// Whose block it is: an id of ours, or [`FREE`].
    id: u64,
    block: *mut u8,
    /// Bytes that may be used from `block` on.
    room: usize,
    /// The block's own mapping, empty where it lies in the arena.
    mapping: Mapping,
    /// Whether the block is static, hence not the slot's to release or to give to another module.
    fixed: bool,
}

impl Slot {
    const EMPTY: Slot = Slot { id: FREE, block: ptr::null_mut(), room: 0, mapping: Mapping::NONE, fixed: false };
}

impl Thread {
    /// This thread's state, made at first use.
    fn current() -> Option<*mut Thread> {
        let thread = THREAD.get();
        if !thread.is_null() {
            return Some(thread);
        }
        let key = exit_key().ok()?; // made when the first module was registered
        let mut arena = Arena::new()?;
        let thread = arena.allocate(size_of::<Thread>(), align_of::<Thread>())?.cast::<Thread>();
        // SAFETY: fresh memory of that size and alignment, which no other thread knows.
        unsafe { thread.write(Thread { vector: Vector { slots: ptr::null_mut(), count: 0 }, arena, rounds: 0 }) };
        // SAFETY: the key is live for the rest of the process, and its destructor takes a Thread.
        if unsafe { libc::pthread_setspecific(key, thread.cast()) } != 0 {
            // SAFETY: nobody else has seen it.
            unsafe { Thread::free(thread) };
            return None;
        }
        THREAD.set(thread);
        Some(thread)
    }

    /// Makes this thread's block of a module.
    ///
    /// # Safety
    /// `id` was seen in the row `module` at `position`, and its image is readable.
    unsafe fn install(&mut self, position: usize, id: u64, module: &Module) -> Option<*mut u8> {
        let [image_size, size, align, skew] =
            [&module.image_size, &module.size, &module.align, &module.skew].map(|field| field.load(Ordering::Relaxed));
        let image: *const u8 = ptr::with_exposed_provenance(module.image.load(Ordering::Relaxed) as usize);
        self.sweep();
        self.grow(position + 1)?;
        // SAFETY: `grow` made the slot.
        let slot = unsafe { &mut *self.vector.slots.add(position) };
        if let Some(block) = module.static_block() {
            slot.release();
            *slot = Slot { id, block, fixed: true, ..Slot::EMPTY };
            return Some(block);
        }
        if slot.fixed || slot.block.is_null() || slot.room < size || slot.block.addr() & (align - 1) != skew {
            slot.release();
            (slot.block, slot.mapping) = self.arena.block(size, align, skew)?;
            slot.room = size;
            BLOCKS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the block has room for `size`, which is not less than `image_size`; the image is readable, as the
        // caller promises. Another module's block may be taken over here, so the rest is cleared, too.
        unsafe {
            ptr::copy_nonoverlapping(image, slot.block, image_size);
            ptr::write_bytes(slot.block.add(image_size), 0, size - image_size);
        }
        slot.id = id; // last, since only now the fast path may find it
        Some(slot.block)
    }

    /// Unmaps the blocks of modules that are gone, where they have mappings of their own. Those in the arena stay in
    /// their slots for the next module at that position.
    fn sweep(&mut self) {
        for slot in self.slots().iter_mut().filter(|slot| slot.id != FREE && Module::of(slot.id).is_none()) {
            slot.id = FREE;
            if !slot.mapping.is_none() {
                slot.release();
            }
        }
    }

    fn slots(&mut self) -> &mut [Slot] {
        match self.vector.count {
            0 => &mut [],
            // SAFETY: the vector holds that many initialised slots, which belong to this thread.
            count => unsafe { std::slice::from_raw_parts_mut(self.vector.slots, count) },
        }
    }

    /// Makes room for `count` slots. The old vector stays in the arena; as they double, all old ones together are
    /// no larger than the new one.
    fn grow(&mut self, count: usize) -> Option<()> {
        if count <= self.vector.count {
            return Some(());
        }
        let count = count.next_power_of_two().max(16);
        let slots = self.arena.allocate(count * size_of::<Slot>(), align_of::<Slot>())?.cast::<Slot>();
        let old = self.slots();
        // SAFETY: fresh memory for `count` slots, of which the old ones are fewer.
        unsafe {
            ptr::copy_nonoverlapping(old.as_ptr(), slots, old.len());
            for position in old.len()..count {
                slots.add(position).write(Slot::EMPTY);
            }
        }
        self.vector = Vector { slots, count };
        Some(())
    }

    /// Unmaps everything that the thread has, its state included.
    ///
    /// # Safety
    /// Nothing uses the state or a block of it any more.
    unsafe fn free(thread: *mut Thread) {
        // SAFETY: as the caller promises; the arena is read out of the state before it unmaps that, too.
        unsafe {
            (*thread).slots().iter_mut().for_each(Slot::release);
            ptr::read(&raw const (*thread).arena).free();
        }
    }
}

impl Slot {
    /// Gives up the block.
    fn release(&mut self) {
        if !self.block.is_null() && !self.fixed {
            BLOCKS.fetch_sub(1, Ordering::Relaxed);
            self.mapping.unmap();
        }
        *self = Slot::EMPTY;
    }
}

#[cfg(test)]
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
mod tests {
    use super::arena::{CHUNK, MAPPED};
    use super::end::ROUNDS;
    use super::*;
    use crate::addr::VmRange;
    use std::ffi::c_void;
    use std::sync::{Barrier, Mutex, PoisonError};
    use std::thread;

    /// Runs a test by itself in a thread of its own, and waits until the thread is gone: blocks and mappings are counted
    /// for the whole process.
    fn alone(test: impl FnOnce() + Send + 'static) {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(panic) = thread::spawn(test).join() {
            std::panic::resume_unwind(panic);
        }
    }

    /// A module whose image is `bytes`, which stay; its link-time address is `vm`.
    fn module(bytes: &'static [u8], vm: u64, size: u64, align: u64) -> Result<ModuleTls, ErrorKind> {
        let image = VmRange::new(vm, bytes.len() as u64).unwrap();
        let bias = Bias((bytes.as_ptr() as u64).wrapping_sub(vm));
        // SAFETY: the image is static.
        unsafe { ModuleTls::register("test", &TlsTemplate { image, size, align }, bias) }
    }

    /// The address that loaded code would get.
    fn get(id: u64, offset: u64) -> *mut u8 {
        let index = TlsIndex { module: id, offset };
        // SAFETY: the tests use live ids only.
        unsafe { entry(&raw const index) }
    }

    fn read(at: *mut u8, size: usize) -> Vec<u8> {
        // SAFETY: the tests read inside blocks.
        unsafe { std::slice::from_raw_parts(at, size) }.to_vec()
    }

    #[test]
    fn a_block_is_the_image_then_zeroes_at_its_alignment() {
        alone(|| {
            // size of the block, alignment, p_vaddr
            const CASES: &[(u64, u64, u64)] = &[
                (4, 1, 0x3001),
                (4, 0, 0x3000),
                (8, 4, 0x3004),
                (100, 64, 0x3000),
                (100, 64, 0x3010),
                (4096, 16, 0x3000),
                (4097, 16, 0x3000),
                (5000, 4096, 0x3000),
                (5000, 4096, 0x3010),
                (100, 65536, 0x10000),
                (100, 65536, 0x10040),
                (3 << 20, 1 << 20, 0x10_0100),
            ];
            for &(size, align, vm) in CASES {
                let module = module(b"abcd", vm, size, align).unwrap();
                let block = get(module.id(), 0);
                assert_eq!(block as u64 % align.max(1), vm % align.max(1), "{size} {align} {vm:#x}");
                let bytes = read(block, size as usize);
                assert_eq!(&bytes[..4], b"abcd");
                assert!(bytes[4..].iter().all(|&byte| byte == 0), "{size} {align} {vm:#x}");
                assert_eq!(get(module.id(), 2), block.wrapping_add(2));
                // SAFETY: the id is live.
                assert_eq!(unsafe { address(module.id(), 3) }.0, block as u64 + 3);
                // SAFETY: inside the block; the next case may take it over and must not see it.
                unsafe { ptr::write_bytes(block, 0xff, size as usize) };
            }
        });
    }

    #[test]
    fn what_no_thread_could_have_is_refused() {
        const CASES: &[(&[u8], u64, u64, &str)] = &[
            (b"abcd", 3, 1, "malformed"),
            (b"", 8, 3, "malformed"),
            (b"", u64::MAX, 8, "out of memory"),
            (b"", 8, 1 << 63, "out of memory"),
        ];
        for &(image, size, align, expected) in CASES {
            let error = module(image, 0x1000, size, align).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn each_thread_has_its_own_block() {
        alone(|| {
            let module = module(&[7, 0, 0, 0], 0x1000, 8, 4).unwrap();
            let all_have_one = Barrier::new(8);
            let addresses = thread::scope(|scope| {
                let run = |n: u8| {
                    let (id, barrier) = (module.id(), &all_have_one);
                    move || {
                        let variable = get(id, 0);
                        assert_eq!(read(variable, 1), [7]);
                        // SAFETY: this thread's variable.
                        unsafe { *variable = n };
                        barrier.wait();
                        assert_eq!((get(id, 0), read(variable, 1)), (variable, vec![n]));
                        variable as u64
                    }
                };
                let threads: Vec<_> = (0..8).map(|n| scope.spawn(run(n))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            let mut distinct = addresses.clone();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), addresses.len());
        });
    }

    #[test]
    fn nothing_is_left_of_200_threads() {
        alone(|| {
            let modules = [(100, 8), (5000, 16), (64, 8192)].map(|(size, align)| module(b"x", 0, size, align).unwrap());
            let many: Vec<_> = (0..40).map(|_| module(b"y", 0, 3000, 8).unwrap()).collect();
            let before = (ModuleTls::live_blocks(), MAPPED.load(Ordering::Relaxed));
            for _ in 0..20 {
                let threads: Vec<_> = (0..10)
                    .map(|_| {
                        let ids: Vec<_> = modules.iter().chain(&many).map(ModuleTls::id).collect();
                        thread::spawn(move || ids.iter().for_each(|&id| assert!(!get(id, 0).is_null())))
                    })
                    .collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            }
            assert_eq!((ModuleTls::live_blocks(), MAPPED.load(Ordering::Relaxed)), before);
        });
    }

    /// Runs in every round but the last, and asks for the variable each time.
    unsafe extern "C" fn late(id: *mut c_void) {
        static ROUND: AtomicU64 = AtomicU64::new(0);
        let variable = get(id as u64, 0);
        let round = ROUND.fetch_add(1, Ordering::Relaxed);
        // SAFETY: this thread's variable.
        unsafe {
            assert_eq!(*variable, 40 + round as u8, "a fresh block in round {round}");
            *variable += 1;
        }
        SEEN.store(round + 1, Ordering::Relaxed);
        if round + 2 < u64::from(ROUNDS) {
            // SAFETY: the key was stored before the thread began.
            unsafe { libc::pthread_setspecific(LATE.load(Ordering::Relaxed) as _, id) };
        }
    }
    static SEEN: AtomicU64 = AtomicU64::new(0);
    static LATE: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn blocks_outlive_the_destructors_of_other_keys() {
        alone(|| {
            let module = module(&[39], 0, 1, 1).unwrap();
            let mut key = 0;
            // SAFETY: the destructor takes an id as its value.
            assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(late)) }, 0);
            LATE.store(key as u64, Ordering::Relaxed);
            let (id, before) = (module.id(), ModuleTls::live_blocks());
            let run = move || {
                // SAFETY: this thread's variable; the key was made above.
                unsafe {
                    *get(id, 0) += 1;
                    libc::pthread_setspecific(key, id as *const c_void);
                }
            };
            thread::spawn(run).join().unwrap();
            assert_eq!(SEEN.load(Ordering::Relaxed), 3);
            assert_eq!(ModuleTls::live_blocks(), before);
        });
    }

    #[test]
    fn a_retired_id_is_never_given_out_again() {
        alone(|| {
            let first = module(b"first", 0, 64, 8).unwrap();
            let (id, block) = (first.id(), get(first.id(), 0));
            drop(first);
            let blocks = ModuleTls::live_blocks();
            let second = module(b"second", 0, 48, 8).unwrap();
            assert_ne!(second.id(), id);
            assert_eq!(position(second.id()), position(id), "the lowest free row");
            assert_eq!(read(get(second.id(), 0), 7), b"second\0");
            assert_eq!((get(second.id(), 0), ModuleTls::live_blocks()), (block, blocks), "the block was taken over");
        });
    }

    #[test]
    fn large_blocks_of_retired_modules_are_unmapped() {
        alone(|| {
            let other = module(b"", 0, 8, 8).unwrap();
            let large = module(b"", 0, 1 << 20, 8).unwrap();
            let before = MAPPED.load(Ordering::Relaxed);
            get(large.id(), 0);
            assert!(MAPPED.load(Ordering::Relaxed) >= before + (1 << 20));
            drop(large);
            get(other.id(), 0);
            assert!(MAPPED.load(Ordering::Relaxed) <= before + CHUNK);
        });
    }

    #[test]
    fn aliases_reach_the_host() {
        thread_local!(static OWN: Cell<u64> = const { Cell::new(0x0123_4567_89ab_cdef) });
        let own = OWN.with(|own| own.as_ptr() as u64);
        let alias = host_alias(own.wrapping_sub(thread_pointer()) as i64 - 16).unwrap();
        assert_eq!(get(alias, 16) as u64, own);
        assert_eq!(get(alias, 0x10), get(alias, 0).wrapping_add(0x10));
        thread::spawn(move || {
            let here = OWN.with(|own| own.as_ptr() as u64);
            assert_eq!(get(alias, 16) as u64, here);
        })
        .join()
        .unwrap();
        assert!(host_alias(1 << 60).is_none());
        assert_eq!(alias_offset(host_alias(-184).unwrap()), -184);
        assert_eq!(alias_offset(host_alias(184).unwrap()), 184);
    }

    #[cfg(not(target_feature = "crt-static"))]
    #[test]
    fn ids_of_the_host_go_to_the_host() {
        unsafe extern "C" {
            #[link_name = "__tls_get_addr"]
            fn hosts(index: *const TlsIndex) -> *mut u8;
        }
        // SAFETY: it is the host's.
        unsafe { use_host_get_addr(RunAddr(hosts as *const () as u64)) };
        let program = TlsIndex { module: 1, offset: 8 };
        // SAFETY: module 1 is the program, which has thread-locals.
        assert_eq!(get(1, 8), unsafe { hosts(&raw const program) });
    }

    #[test]
    fn works_with_a_misaligned_stack() {
        alone(|| {
            let module = module(b"\x2a", 0, 1, 1).unwrap();
            let index = TlsIndex { module: module.id(), offset: 0 };
            for push in [0_u64, 8] {
                let address: *mut u8;
                // SAFETY: a call by the C convention, with a stack that is aligned or off by 8, put back afterwards.
                unsafe {
                    std::arch::asm!(
                        "mov r12, rsp", "and rsp, -16", "sub rsp, {push}", "call {entry}", "mov rsp, r12",
                        push = in(reg) push, entry = sym entry,
                        in("rdi") &raw const index, lateout("rax") address, out("r12") _, clobber_abi("C"),
                    );
                }
                assert_eq!(read(address, 1), [0x2a]);
            }
        });
    }

    #[test]
    fn a_forked_child_goes_on() {
        alone(|| {
            let (old, new) = (module(b"\x01", 0, 1, 1).unwrap(), module(b"\x02", 0, 1, 1).unwrap());
            get(old.id(), 0);
            // SAFETY: the child allocates nothing and ends by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: both variables are this thread's; `_exit` is always allowed.
                unsafe { libc::_exit(i32::from(*get(old.id(), 0) + *get(new.id(), 0))) };
            }
            let mut status = 0;
            // SAFETY: our own child.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 3, "{status:#x}");
        });
    }

    #[test]
    fn modules_come_and_go_beside_readers() {
        alone(|| {
            let kept = module(b"kept", 0, 4, 1).unwrap();
            let (id, stop) = (kept.id(), AtomicU64::new(0));
            let look = move || assert_eq!(read(get(id, 0), 4), b"kept");
            let looks = || {
                while stop.load(Ordering::Relaxed) == 0 {
                    look();
                    thread::spawn(look).join().unwrap();
                }
            };
            thread::scope(|scope| {
                let readers = [(); 3].map(|()| scope.spawn(looks));
                for round in 0..2000_u64 {
                    let passing = module(b"new", 0, 16 + round % 8000, 16).unwrap();
                    assert_eq!(read(get(passing.id(), 0), 4), b"new\0");
                }
                stop.store(1, Ordering::Relaxed);
                readers.into_iter().for_each(|reader| reader.join().unwrap());
            });
        });
    }
}
