//! macOS: compiled, linted and linked, not run (see README). There are no ELF images in the process and no auxiliary vector.

use super::Auxv;
use std::fs::File;

/// There is no such flag: pages are filled by faults.
pub(crate) const POPULATE: libc::c_int = 0;

/// Address space that is only reserved counts for nothing.
pub(crate) const NO_RESERVE: libc::c_int = libc::MAP_NORESERVE;

/// dyld's shared cache is not a list of files.
pub(crate) const LIBRARY_CACHE: Option<&str> = None;

/// Only whether the process runs with more rights than its user.
pub(crate) fn auxv(kind: Auxv) -> Option<u64> {
    // SAFETY: issetugid has no preconditions.
    let secure = || unsafe { libc::issetugid() } != 0;
    (kind == Auxv::Secure && secure()).then_some(1)
}

/// There is none that this library knows how to seal.
pub(crate) fn sealable_file() -> Option<File> {
    None
}

/// Not reached: there is no such file.
pub(crate) fn seal(_: &File) -> bool {
    false
}

/// What dyld's `ProgramVars` points to (`<crt_externs.h>`): the program's header, and where argc, argv, the environment and
/// the program's name are kept.
pub(crate) fn program_variables() -> Option<[*const (); 5]> {
    unsafe extern "C" {
        fn _NSGetMachExecuteHeader() -> *const ();
        fn _NSGetArgc() -> *const ();
        fn _NSGetArgv() -> *const ();
        fn _NSGetEnviron() -> *const ();
        fn _NSGetProgname() -> *const ();
    }
    // SAFETY: the functions have no preconditions, and return addresses that stay.
    Some(unsafe { [_NSGetMachExecuteHeader(), _NSGetArgc(), _NSGetArgv(), _NSGetEnviron(), _NSGetProgname()] })
}

/// Code was written to memory: what the processor has cached of instructions there is of no use any more.
///
/// # Safety
/// The range is mapped.
pub(crate) unsafe fn code_was_written(start: *const u8, size: usize) {
    unsafe extern "C" {
        fn sys_icache_invalidate(start: *const u8, size: usize);
    }
    // SAFETY: mapped, says the caller; nothing there changes.
    unsafe { sys_icache_invalidate(start, size) };
}

/// A number that tells this thread from all others alive.
pub(crate) fn thread_id() -> u64 {
    // SAFETY: pthread_self has no preconditions.
    unsafe { libc::pthread_self() as usize as u64 }
}

/// Whether the process is known to have begun with this thread.
pub(crate) fn is_first_thread() -> bool {
    false
}

/// Where dyld keeps its list of images for debuggers (`dyld_all_image_infos`), as the kernel knows it; `None` if it does
/// not say, or for a process of another width.
pub(crate) fn image_infos() -> Option<u64> {
    /// `task_dyld_info`
    #[repr(C)]
    #[derive(Default)]
    struct DyldInfo {
        address: u64,
        size: u64,
        format: i32,
    }
    const TASK_DYLD_INFO: u32 = 17;
    const TASK_DYLD_ALL_IMAGE_INFO_64: i32 = 1;
    // In words of 32 bits, without what pads the structure.
    const COUNT: u32 = 5;
    let (mut info, mut count) = (DyldInfo::default(), COUNT);
    // SAFETY: the structure has room for that many words, and the task is this one.
    let told = unsafe { task_info(mach_task_self_, TASK_DYLD_INFO, (&raw mut info).cast(), &raw mut count) };
    (told == 0 && info.format == TASK_DYLD_ALL_IMAGE_INFO_64 && info.address != 0).then_some(info.address)
}

/// Fills `bytes` with what this process has at `at`; `false` where that cannot be read. The kernel does it, so nothing
/// happens if it is unmapped meanwhile.
pub(crate) fn read_own_memory(at: u64, bytes: &mut [u8]) -> bool {
    let (size, mut read) = (bytes.len() as u64, 0);
    let into = bytes.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: the buffer has that many bytes, and nobody else uses it; the task is this one.
    let told = unsafe { mach_vm_read_overwrite(mach_task_self_, at, size, into, &raw mut read) };
    told == 0 && read == size
}

// `<mach/mach_init.h>`, `<mach/task.h>`, `<mach/mach_vm.h>`. The crate `libc` refers to another for the first two, and lacks the last.
unsafe extern "C" {
    static mach_task_self_: u32;
    fn task_info(task: u32, flavor: u32, info: *mut i32, count: *mut u32) -> i32;
    fn mach_vm_read_overwrite(task: u32, address: u64, size: u64, data: u64, read: *mut u64) -> i32;
}

/// What `F_ADDFILESIGS_RETURN` takes (`fsignatures_t` of `<sys/fcntl.h>`).
#[repr(C)]
struct FileSignatures {
    /// In: where the image is in its file. Out: up to where the signature covers the image.
    file_start: libc::off_t,
    /// Where the signature is in the image, as a pointer that is none.
    blob_start: *mut libc::c_void,
    blob_size: libc::size_t,
    own_size: libc::size_t,
    hash: [libc::c_char; 20],
    hash_kind: libc::c_int,
}

/// What `F_CHECK_LV` takes (`fchecklv_t`).
#[repr(C)]
struct CheckLibraryValidation {
    file_start: libc::off_t,
    message_size: libc::size_t,
    message: *mut libc::c_void,
}

const F_ADDFILESIGS_RETURN: libc::c_int = 97;
const F_CHECK_LV: libc::c_int = 98;

/// Hands the kernel the signature of an image that begins at `offset` of its file plus where the plan says, as dyld does
/// (`Loader::validateCodeSignature`): it maps no code from a file without. Then asks whether this process may use it.
///
/// # Errors
/// The kernel takes no such signature, or it does not cover all that comes before it, or the process may load only
/// what its own maker or the system's signed.
pub(crate) fn register_signature(file: &File, offset: u64, signature: crate::plan::Signature) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let too_large = || std::io::Error::from_raw_os_error(libc::EFBIG);
    let start = offset.checked_add(signature.image.start.0).ok_or_else(too_large)?;
    let file_start = libc::off_t::try_from(start).map_err(|_| too_large())?;
    let blob = signature.blob;
    let mut signatures = FileSignatures {
        file_start,
        blob_start: std::ptr::without_provenance_mut(blob.start.0 as usize),
        blob_size: blob.size as usize,
        own_size: size_of::<FileSignatures>(),
        hash: [0; 20],
        hash_kind: 0,
    };
    // SAFETY: the descriptor is open, and the argument is the structure that the command takes; the pointer in it is an
    // offset, which the kernel does not follow.
    if unsafe { libc::fcntl(file.as_raw_fd(), F_ADDFILESIGS_RETURN, &raw mut signatures) } == -1 {
        return Err(std::io::Error::last_os_error());
    }
    // A signature of a part would leave code after it that nobody vouched for.
    if (signatures.file_start as u64) < blob.start.0 {
        return Err(std::io::Error::from_raw_os_error(libc::EPERM));
    }
    let mut message = [0u8; 512];
    let mut check =
        CheckLibraryValidation { file_start, message_size: message.len(), message: message.as_mut_ptr().cast() };
    // SAFETY: as above; the message's buffer is as long as it says, and outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), F_CHECK_LV, &raw mut check) } == -1 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
