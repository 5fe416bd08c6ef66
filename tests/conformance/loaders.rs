//! One surface over both loaders, as far as the cases need it.

use sideload::Loader;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

/// Who loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    System,
}

pub(crate) type Answer = unsafe extern "C" fn() -> c_int;

/// An opened library, which stays open: finalisers run at the process's end.
pub(crate) enum Opened {
    Ours(sideload::Library),
    /// The handle.
    System(usize),
}

impl Who {
    pub(crate) const ALL: [Who; 2] = [Who::Ours, Who::System];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Who::Ours => "ours",
            Who::System => "system",
        }
    }

    /// Opens `path`, binding everything at once, visible to nobody else.
    pub(crate) fn open(self, path: &Path) -> Result<Opened, String> {
        self.open_with(path, &Loader::new(), libloading::os::unix::RTLD_LOCAL)
    }

    /// Opens `path` for everything that is opened later, too.
    pub(crate) fn open_global(self, path: &Path) -> Result<Opened, String> {
        self.open_with(path, &Loader::new().global(true), libloading::os::unix::RTLD_GLOBAL)
    }

    /// As the loader's, or the system's flags, say.
    pub(crate) fn open_with(self, path: &Path, loader: &Loader, flags: c_int) -> Result<Opened, String> {
        use libloading::os::unix::{Library, RTLD_NOW};
        // SAFETY: running the fixtures' code is what the process is for.
        unsafe {
            match self {
                Who::Ours => loader.open(path).map(Opened::Ours).map_err(|error| error.to_string()),
                Who::System => Library::open(Some(path), RTLD_NOW | flags)
                    .map(|library| Opened::System(library.into_raw() as usize))
                    .map_err(|error| error.to_string()),
            }
        }
    }
}

impl Opened {
    /// The address of a symbol, of a version if one is given.
    pub(crate) fn find(&self, name: &str, version: Option<&str>) -> Option<usize> {
        let text = |text: &str| CString::new(text).expect("no NUL inside");
        // SAFETY: only the address is used, for which any type serves; the handle stays open.
        unsafe {
            match (self, version) {
                (Opened::Ours(library), None) => {
                    library.get::<*const ()>(name).ok().map(|symbol| symbol.address().0 as usize)
                }
                (Opened::Ours(library), Some(version)) => {
                    library.get_versioned::<*const ()>(name, version).ok().map(|symbol| symbol.address().0 as usize)
                }
                (Opened::System(handle), None) => some(libc::dlsym(*handle as *mut _, text(name).as_ptr())),
                (Opened::System(handle), Some(version)) => {
                    some(libc::dlvsym(*handle as *mut _, text(name).as_ptr(), text(version).as_ptr()))
                }
            }
        }
    }

    /// Calls a function that takes nothing and returns an int.
    pub(crate) fn call(&self, name: &str) -> Result<i32, String> {
        self.call_at(name, None)
    }

    /// The same, of a given version.
    pub(crate) fn call_at(&self, name: &str, version: Option<&str>) -> Result<i32, String> {
        let address = self.find(name, version).ok_or_else(|| format!("no symbol {name}"))?;
        // SAFETY: the fixtures declare everything that is called this way as `int name(void)`.
        Ok(unsafe { std::mem::transmute::<usize, Answer>(address)() })
    }

    /// Unloads it, or says what is in the way. (The system's may keep it and say nothing.)
    pub(crate) fn close(self) -> Result<(), String> {
        // SAFETY: nothing of the library is in use.
        unsafe {
            match self {
                Opened::Ours(library) => library.unload().map_err(|error| error.to_string()),
                Opened::System(handle) if libc::dlclose(handle as *mut _) == 0 => Ok(()),
                Opened::System(_) => Err("dlclose fails".to_owned()),
            }
        }
    }

    /// Calls a function that returns a text.
    pub(crate) fn text(&self, name: &str) -> Result<String, String> {
        let address = self.find(name, None).ok_or_else(|| format!("no symbol {name}"))?;
        // SAFETY: the fixtures declare everything that is called this way as `const char *name(void)`.
        let text = unsafe { CStr::from_ptr(std::mem::transmute::<usize, extern "C" fn() -> *const c_char>(address)()) };
        Ok(text.to_string_lossy().into_owned())
    }

    /// Reads an int.
    pub(crate) fn read(&self, name: &str) -> Result<i32, String> {
        let address = self.find(name, None).ok_or_else(|| format!("no symbol {name}"))?;
        // SAFETY: the fixtures declare everything that is read this way as `int`.
        Ok(unsafe { std::ptr::with_exposed_provenance::<i32>(address).read_volatile() })
    }
}

fn some(found: *mut c_void) -> Option<usize> {
    (!found.is_null()).then_some(found as usize)
}
