//! The unwinder that this library is linked to, for images whose process has none in scope.

use super::Pointer;
use crate::addr::RunAddr;

macro_rules! lent {
    ($($name:ident),* $(,)?) => {
        // Not "C", although nobody calls them here: that says of a function that it never unwinds, and the compiler goes by
        // it in its own calls of `_Unwind_Resume`, in all code that it compiles together with this. A panic that had a
        // cleanup to do there ended the process.
        #[allow(clashing_extern_declarations, reason = "only their addresses are taken")]
        unsafe extern "C-unwind" {
            $(fn $name();)*
        }

        /// The function of that name, which nobody here calls.
        pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
            let name = name.strip_prefix(b"_")?;
            let at: Pointer = match name {
                $(_ if name == stringify!($name).as_bytes() => $name as Pointer,)*
                _ => return None,
            };
            Some(RunAddr(at.expose_provenance() as u64))
        }
    };
}
lent! {
    _Unwind_Backtrace,
    _Unwind_DeleteException,
    _Unwind_FindEnclosingFunction,
    _Unwind_ForcedUnwind,
    _Unwind_GetCFA,
    _Unwind_GetDataRelBase,
    _Unwind_GetGR,
    _Unwind_GetIP,
    _Unwind_GetIPInfo,
    _Unwind_GetLanguageSpecificData,
    _Unwind_GetRegionStart,
    _Unwind_GetTextRelBase,
    _Unwind_RaiseException,
    _Unwind_Resume,
    _Unwind_Resume_or_Rethrow,
    _Unwind_SetGR,
    _Unwind_SetIP,
}
