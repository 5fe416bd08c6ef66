//! Function pointers, and what a lookup may ask for.
//!
//! A function pointer over references is a type of its own for each lifetime that it binds: `fn(&str)` is not a
//! `fn(T)` for any one `T`. Up to three arguments every mix of values and references is spelled out below; beyond
//! that, and for types that hold lifetimes otherwise, `#[derive(Api)]` spells out the very signature.

use super::types::{Type, Typed};

/// What a plugin exports and a host looks up: a function pointer, or a `&'static T` for a static.
///
/// # Safety
/// `ITEM` describes the function, or the static itself; a symbol of that type can be read as `Self`, which is as large
/// as a pointer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be looked up by its type alone",
    note = "look up `fn(…) -> …` or `&'static T`; a signature with lifetimes inside its types goes into a struct with \
            `#[derive(sideload::Api)]`"
)]
pub unsafe trait Exported: Copy {
    /// Whether it is a function.
    const IS_FUNCTION: bool;
    /// The type of the item.
    const ITEM: &'static Type;
    /// The fingerprint of that type.
    const FINGERPRINT: u128 = Self::ITEM.fingerprint();
}

// SAFETY: a static of type T is read through its address.
unsafe impl<T: Typed + Sync> Exported for &'static T {
    const IS_FUNCTION: bool = false;
    const ITEM: &'static Type = &T::TYPE;
}

/// Something in which items can be looked up: a plugin.
///
/// # Safety
/// An address that is returned is that of an item of the kind and the type that were asked for, for as long as the
/// process lives.
pub unsafe trait Lookup {
    /// Why an item is not there.
    type Error;

    /// The address of the item called `name`, of the type `of`.
    ///
    /// # Errors
    /// There is none, or it has another type.
    fn find(
        &self,
        name: &str,
        is_function: bool,
        of: &'static Type,
        fingerprint: u128,
    ) -> Result<*const (), Self::Error>;

    /// Whether an item is exported under that name, whatever its type.
    fn has(&self, name: &str) -> bool;
}

/// A struct of typed symbols: `#[derive(Api)]`.
pub trait Api: Sized {
    /// Looks up every field.
    ///
    /// # Errors
    /// The first field that is missing, unless it is optional, or that has another type.
    fn load<L: Lookup>(plugin: &L) -> Result<Self, L::Error>;
}

macro_rules! pointers {
    ($pointer:ty, $abi:literal, $unsafe:literal, [$($bound:tt)*], [$($described:expr),*], $result:expr) => {
        // SAFETY: all parts of the type are listed; a function's address can be read as a pointer to it.
        unsafe impl<$($bound)*> Exported for $pointer {
            const IS_FUNCTION: bool = true;
            const ITEM: &'static Type = &Type::function($abi, $unsafe, &[$($described),*], $result);
        }
        // SAFETY: as above.
        unsafe impl<$($bound)*> Typed for $pointer {
            const NAME: &'static str = concat!("extern \"", $abi, "\" fn");
            const TYPE: Type = *<$pointer as Exported>::ITEM;
        }
    };
}

/// The shape of a signature with each calling convention.
macro_rules! shape {
    ($lives:tt, $arguments:tt, $result:ty, $bounds:tt, $described:tt, $result_type:expr) => {
        shape!(@ $lives, $arguments, $result, $bounds, $described, $result_type, extern "Rust", false);
        shape!(@ $lives, $arguments, $result, $bounds, $described, $result_type, extern "C", false);
        shape!(@ $lives, $arguments, $result, $bounds, $described, $result_type, unsafe extern "Rust", true);
        shape!(@ $lives, $arguments, $result, $bounds, $described, $result_type, unsafe extern "C", true);
        shape!(@ $lives, $arguments, $result, $bounds, $described, $result_type, extern "C-unwind", false);
    };
    (@ [$($life:lifetime)*], [$($argument:ty),*], $result:ty, $bounds:tt, $described:tt, $result_type:expr,
     extern $abi:literal, $flag:literal) => {
        pointers!(for<$($life),*> extern $abi fn($($argument),*) -> $result, $abi, $flag, $bounds, $described,
            $result_type);
    };
    (@ [$($life:lifetime)*], [$($argument:ty),*], $result:ty, $bounds:tt, $described:tt, $result_type:expr,
     unsafe extern $abi:literal, $flag:literal) => {
        pointers!(for<$($life),*> unsafe extern $abi fn($($argument),*) -> $result, $abi, $flag, $bounds, $described,
            $result_type);
    };
}

/// Arguments without lifetimes of the signature's own.
macro_rules! values {
    ($($name:ident)*) => {
        shape!([], [$($name),*], Result, [$($name: Typed,)* Result: Typed], [$(&$name::TYPE),*], &Result::TYPE);
    };
}
values!();
values!(A);
values!(A B);
values!(A B C);
values!(A B C D);
values!(A B C D E);
values!(A B C D E F);
values!(A B C D E F G);
values!(A B C D E F G H);

/// Every mix of values and references: takes each argument off the list in all three forms.
macro_rules! references {
    ([$name:ident $life:lifetime $($rest:tt)*], [$number:literal $($numbers:literal)*],
     [$($lives:lifetime)*], [$($argument:ty),*], [$($bound:tt)*], [$($described:expr),*]) => {
        references!([$($rest)*], [$number $($numbers)*],
            [$($lives)*], [$($argument,)* $name], [$($bound)* $name: Typed,], [$($described,)* &$name::TYPE]);
        references!([$($rest)*], [$($numbers)*],
            [$($lives)* $life], [$($argument,)* &$life $name], [$($bound)* $name: Typed + ?Sized,],
            [$($described,)* &Type::reference(false, $number, &$name::TYPE)]);
        references!([$($rest)*], [$($numbers)*],
            [$($lives)* $life], [$($argument,)* &$life mut $name], [$($bound)* $name: Typed + ?Sized,],
            [$($described,)* &Type::reference(true, $number, &$name::TYPE)]);
    };
    // Values only: see above.
    ([], $numbers:tt, [], $($rest:tt)*) => {};
    // With one reference, the result may borrow from it.
    ([], $numbers:tt, [$life:lifetime], $arguments:tt, [$($bound:tt)*], $described:tt) => {
        shape!([$life], $arguments, Result, [$($bound)* Result: Typed], $described, &Result::TYPE);
        shape!([$life], $arguments, &$life Result, [$($bound)* Result: Typed + ?Sized], $described,
            &Type::reference(false, 0, &Result::TYPE));
    };
    ([], $numbers:tt, $lives:tt, $arguments:tt, [$($bound:tt)*], $described:tt) => {
        shape!($lives, $arguments, Result, [$($bound)* Result: Typed], $described, &Result::TYPE);
    };
}
references!([A 'a], [0 1 2], [], [], [], []);
references!([A 'a B 'b], [0 1 2], [], [], [], []);
references!([A 'a B 'b C 'c], [0 1 2], [], [], [], []);
