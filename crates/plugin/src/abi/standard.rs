//! Descriptions of the standard library's types.

use super::types::{Field, Repr, STATIC, Shape, Stable, Tier, Type, Typed, Variant};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize,
};

macro_rules! scalars {
    ($($type:ty)*) => {$(
        // SAFETY: it has no parts; its size and alignment are those of the target.
        unsafe impl Typed for $type {
            const NAME: &'static str = stringify!($type);
            const TYPE: Type = Type::scalar::<$type>(stringify!($type));
        }
        impl Stable for $type {}
    )*};
}
scalars! {
    bool char u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 c_void
    AtomicBool AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize
}

// SAFETY: it is the tuple without fields.
unsafe impl Typed for () {
    const NAME: &'static str = "()";
    const TYPE: Type = Type { size: 0, align: 1, tier: Tier::Stable, shape: Shape::Tuple(&[]) };
}
impl Stable for () {}

// SAFETY: it has no values, and so no layout that could differ.
unsafe impl Typed for std::convert::Infallible {
    const NAME: &'static str = "Infallible";
    const TYPE: Type = Type::generic::<std::convert::Infallible>("Infallible", &[]);
}

// SAFETY: bytes, of which a reference states how many.
unsafe impl Typed for str {
    const NAME: &'static str = "str";
    const TYPE: Type = Type { size: 0, align: 1, tier: Tier::Stable, shape: Shape::Str };
}

// SAFETY: elements, of which a reference states how many.
unsafe impl<T: Typed> Typed for [T] {
    const NAME: &'static str = "[]";
    const TYPE: Type = Type { size: 0, align: align_of::<T>(), tier: T::TYPE.tier, shape: Shape::Slice(&T::TYPE) };
}

// SAFETY: elements, of which the type states how many.
unsafe impl<T: Typed, const N: usize> Typed for [T; N] {
    const NAME: &'static str = "[;]";
    const TYPE: Type = Type {
        size: size_of::<[T; N]>(),
        align: align_of::<T>(),
        tier: T::TYPE.tier,
        shape: Shape::Array { of: &T::TYPE, length: N },
    };
}
impl<T: Stable, const N: usize> Stable for [T; N] {}

// SAFETY: only the static lifetime is a `Typed`; what it refers to is described.
unsafe impl<T: Typed + ?Sized> Typed for &'static T {
    const NAME: &'static str = "&";
    const TYPE: Type = Type::reference(false, STATIC, &T::TYPE);
}
impl<T: Stable> Stable for &'static T {}

// SAFETY: as above.
unsafe impl<T: Typed + ?Sized> Typed for &'static mut T {
    const NAME: &'static str = "&mut";
    const TYPE: Type = Type::reference(true, STATIC, &T::TYPE);
}
impl<T: Stable> Stable for &'static mut T {}

const fn pointer(mutable: bool, to: &'static str) -> Type {
    let tier = Tier::Stable;
    Type { size: size_of::<usize>(), align: align_of::<usize>(), tier, shape: Shape::Pointer { mutable, to } }
}

macro_rules! pointers {
    ($($type:ty, $mutable:literal, $name:literal;)*) => {$(
        // SAFETY: a thin pointer. What it points to, the code that follows it asserts.
        unsafe impl<T: Typed> Typed for $type {
            const NAME: &'static str = $name;
            const TYPE: Type = pointer($mutable, T::NAME);
        }
        impl<T: Typed> Stable for $type {}
    )*};
}
pointers! {
    *const T, false, "*const";
    *mut T, true, "*mut";
}

// SAFETY: a thin pointer that is not null; the name keeps it from being taken for one that may be.
unsafe impl<T: Typed> Typed for NonNull<T> {
    const NAME: &'static str = "NonNull";
    const TYPE: Type =
        Type { tier: Tier::Stable, ..Type::generic::<NonNull<T>>("NonNull", &[&pointer(true, T::NAME)]) };
}
impl<T: Typed> Stable for NonNull<T> {}

// SAFETY: it has no content; its parameter is described, since it may stand for an obligation.
unsafe impl<T: Typed> Typed for PhantomData<T> {
    const NAME: &'static str = "PhantomData";
    const TYPE: Type = Type { tier: T::TYPE.tier, ..Type::generic::<PhantomData<T>>("PhantomData", &[&T::TYPE]) };
}

/// Whether `Option` of it is promised to lie in memory as it does itself ("Option representation" in the standard
/// library's documentation).
const fn has_promised_niche(of: &Type) -> bool {
    match of.shape {
        Shape::Reference { .. } | Shape::Function { .. } => true,
        Shape::Generic { name, .. } => matches!(name.as_bytes(), b"NonNull"),
        _ => false,
    }
}

// SAFETY: both variants are described, and the size shows whether there is a niche.
unsafe impl<T: Typed> Typed for Option<T> {
    const NAME: &'static str = "Option";
    const TYPE: Type = {
        let variants: &[Variant] = &[
            Variant { name: "None", discriminant: 0, fields: &[] },
            Variant { name: "Some", discriminant: 1, fields: &[Field { name: "0", offset: 0, of: &T::TYPE }] },
        ];
        let tier = if has_promised_niche(&T::TYPE) { T::TYPE.tier } else { Tier::Build };
        Type { tier, ..Type::enumeration::<Option<T>>("Option", Repr::Rust, variants) }
    };
}

// SAFETY: both variants are described.
unsafe impl<T: Typed, E: Typed> Typed for Result<T, E> {
    const NAME: &'static str = "Result";
    const TYPE: Type = Type::enumeration::<Result<T, E>>(
        "Result",
        Repr::Rust,
        &[
            Variant { name: "Ok", discriminant: 0, fields: &[Field { name: "0", offset: 0, of: &T::TYPE }] },
            Variant { name: "Err", discriminant: 1, fields: &[Field { name: "0", offset: 0, of: &E::TYPE }] },
        ],
    );
}

// SAFETY: its layout is that of the standard library, which is the same in equal builds.
unsafe impl Typed for String {
    const NAME: &'static str = "String";
    const TYPE: Type = Type::generic::<String>("String", &[]);
}

macro_rules! owners {
    ($($type:ident)*) => {$(
        // SAFETY: as for `String`; what it owns is described.
        unsafe impl<T: Typed> Typed for $type<T> {
            const NAME: &'static str = stringify!($type);
            const TYPE: Type = Type::generic::<$type<T>>(stringify!($type), &[&T::TYPE]);
        }
    )*};
}
use std::sync::{Arc, Mutex, OnceLock, RwLock};
owners! { Vec Arc Mutex OnceLock RwLock }

// SAFETY: as for `Vec`; with a trait behind it, the vtable is that of an equal build.
unsafe impl<T: Typed + ?Sized> Typed for Box<T> {
    const NAME: &'static str = "Box";
    const TYPE: Type = Type::generic::<Box<T>>("Box", &[&T::TYPE]);
}

macro_rules! tuples {
    ($($name:ident $index:tt)*) => {
        // SAFETY: every field is described, with its offset.
        unsafe impl<$($name: Typed),*> Typed for ($($name,)*) {
            const NAME: &'static str = "()";
            const TYPE: Type = Type {
                size: size_of::<Self>(),
                align: align_of::<Self>(),
                tier: Tier::Build,
                shape: Shape::Tuple(&[$(Field {
                    name: stringify!($index),
                    offset: std::mem::offset_of!(Self, $index),
                    of: &$name::TYPE,
                }),*]),
            };
        }
    };
}
tuples!(A 0);
tuples!(A 0 B 1);
tuples!(A 0 B 1 C 2);
tuples!(A 0 B 1 C 2 D 3);
tuples!(A 0 B 1 C 2 D 3 E 4);

/// Fails to compile if a static of this type cannot be shared with a host.
pub const fn check_static<T: Typed + Sync>() {}
