//! From an address to the loaded object that it lies in, and to the symbol near it.

use crate::addr::{Bias, RunAddr, VmAddr};
use crate::registry::{Instance, REGISTRY};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where an address lies: in which object that this library loaded, and near which symbol.
///
/// For backtraces, profilers and crash reports: the system's `dladdr` and `dl_iterate_phdr`, and with them
/// [`std::backtrace`], know nothing of these objects. Of the objects that the host loaded itself they know, and this
/// does not. What a location lies in stays mapped for as long as there is the location, also if it is unloaded.
///
/// ```
/// # fn main() -> Result<(), sideload::Error> {
/// // SAFETY: zlib's initialisers do nothing harmful; of `crc32`, only the address is used.
/// let crc32 = unsafe {
///     let zlib = sideload::Library::open("libz.so.1")?;
///     zlib.get::<*const u8>("crc32")?.address()
/// };
/// if let Some(location) = sideload::Location::of(crc32) {
///     assert!(location.path().to_string_lossy().contains("libz.so"));
///     assert_eq!(location.symbol().unwrap().name, b"crc32");
///     println!("{location}"); // /lib/x86_64-linux-gnu/libz.so.1.2.13(crc32+0x0)[0x2f60]
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Location {
    instance: Arc<Instance>,
    vm: VmAddr,
}

/// The symbol near an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearSymbol<'l> {
    /// Its name as the object has it, mangled if it was.
    pub name: &'l [u8],
    /// Where it begins.
    pub address: RunAddr,
    /// How far behind that the address lies, in bytes.
    pub offset: u64,
    /// Whether the symbol reaches to the address, by the size that it has. If not, the address lies behind its end, most
    /// likely in a function that the object does not export.
    pub holds: bool,
}

impl Location {
    /// The object that has a segment at `address`; `None` if that is none that this library loaded.
    ///
    /// Of a backtrace, ask for the addresses as they are and for all but the first one less by one: a return address
    /// may lie behind the end of the function that called.
    ///
    /// Takes no lock and allocates nothing; goes through the loaded objects in turn.
    pub fn of(address: RunAddr) -> Option<Location> {
        let (instance, vm) = REGISTRY.at(address)?;
        Some(Location { instance, vm })
    }

    /// The path that the object was opened under first, or the name that its opener gave.
    pub fn path(&self) -> &Path {
        &self.instance.module.path
    }

    /// The object's build id, if it has one: what separate debug files are found by.
    pub fn build_id(&self) -> Option<&[u8]> {
        self.instance.module.plan.build_id.as_deref()
    }

    /// What is added to the addresses in the object's file.
    pub fn bias(&self) -> Bias {
        self.instance.bias()
    }

    /// The address as the object's file writes it: what its debug information and `addr2line(1)` understand.
    pub fn vm(&self) -> VmAddr {
        self.vm
    }

    /// The dynamic symbol that the address lies in, or else the nearest one before it in the same segment.
    ///
    /// Only the dynamic symbol table is in memory, so functions that the object does not export have no name here; a
    /// debugger, or the crate `addr2line`, reads their names in the file's other tables.
    ///
    /// Takes no lock and allocates nothing. Visits every symbol of the object: some hundred microseconds for the largest.
    pub fn symbol(&self) -> Option<NearSymbol<'_>> {
        let near = self.instance.symbols.near(self.vm)?;
        let plan = &self.instance.module.plan;
        let in_one_segment = || plan.region(near.vm, 1) == plan.region(self.vm, 1);
        (near.holds || in_one_segment()).then(|| NearSymbol {
            name: near.name,
            address: near.vm + self.bias(),
            offset: self.vm.0 - near.vm.0,
            holds: near.holds,
        })
    }
}

/// As `backtrace_symbols(3)` prints it: `path(symbol+0x12)[0x1234]`, with the address as the file writes it.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.path().display())?;
        if let Some(symbol) = self.symbol().filter(|symbol| symbol.holds) {
            write!(f, "{}+{:#x}", crate::symbol::Name(symbol.name), symbol.offset)?;
        }
        write!(f, ")[{:#x}]", self.vm)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Location").field(&format_args!("{self}")).finish()
    }
}
