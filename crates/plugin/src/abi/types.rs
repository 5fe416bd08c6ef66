//! Types as constants: what a compiler made of a type, as a tree that can be hashed while compiling.

use super::block::Block;
use super::bytes::{Hash, copy};

/// How far a type may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// Only between builds that are equal: its layout, or who frees it, is the compiler's and the allocator's choice.
    Build = 1,
    /// Between any two compilers for one target: its layout is written down (`repr(C)`, scalars, thin references).
    Stable = 2,
}

impl Tier {
    /// The stricter of the two.
    pub const fn min(self, other: Tier) -> Tier {
        match (self, other) {
            (Tier::Stable, Tier::Stable) => Tier::Stable,
            _ => Tier::Build,
        }
    }
}

/// The lifetime of a reference that lives as long as the process.
pub const STATIC: u8 = u8::MAX;

/// A type as its compiler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// Size in bytes; 0 for what has none of its own (`str`, slices, `dyn`).
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// How far it may travel.
    pub tier: Tier,
    /// What it is made of.
    pub shape: Shape,
}

/// What a type is made of.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A type that has no parts, by its name: `u32`, `bool`, `String`.
    Scalar(&'static str),
    /// `&T` or `&mut T`.
    Reference {
        /// Whether it is `&mut`.
        mutable: bool,
        /// Which of the lifetimes that the function binds, numbered as they first appear, or [`STATIC`].
        lifetime: u8,
        /// What it refers to.
        to: &'static Type,
    },
    /// `*const T` or `*mut T`. Who follows one says what is there, so only the name is compared: types may point to
    /// themselves.
    Pointer {
        /// Whether it is `*mut`.
        mutable: bool,
        /// The name of what it points to.
        to: &'static str,
    },
    /// `str`
    Str,
    /// `[T]`
    Slice(&'static Type),
    /// `[T; length]`
    Array {
        /// The elements.
        of: &'static Type,
        /// How many.
        length: usize,
    },
    /// A tuple.
    Tuple(&'static [Field]),
    /// A struct.
    Struct {
        /// Its name: with its module where it may only travel between equal builds.
        name: &'static str,
        /// Its `repr`.
        repr: Repr,
        /// Its fields as declared.
        fields: &'static [Field],
    },
    /// An enum.
    Enum {
        /// As for a struct.
        name: &'static str,
        /// Its `repr`.
        repr: Repr,
        /// Its variants as declared.
        variants: &'static [Variant],
    },
    /// A type of the standard library that is described by its parameters: `Vec<T>`, `Box<T>`.
    Generic {
        /// `Vec`
        name: &'static str,
        /// The parameters.
        arguments: &'static [&'static Type],
    },
    /// A function pointer.
    Function {
        /// `Rust`, `C`, …
        abi: &'static str,
        /// Whether it is `unsafe`.
        is_unsafe: bool,
        /// What it takes.
        arguments: &'static [&'static Type],
        /// What it returns.
        result: &'static Type,
    },
    /// A type that names lifetimes of the function around it, other than as a plain reference.
    Bound {
        /// The lifetimes as they appear in it, numbered as in `Reference`.
        lifetimes: &'static [u8],
        /// The type, with each of them static.
        of: &'static Type,
    },
    /// `dyn Trait`
    Trait {
        /// Its name with its module.
        name: &'static str,
        /// Its methods in the order of the vtable.
        methods: &'static [Field],
    },
}

/// The `repr` of a struct or an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Repr {
    /// The compiler's choice.
    Rust = 0,
    /// `repr(C)`
    C = 1,
    /// `repr(transparent)`
    Transparent = 2,
    /// `repr(u8)` and the like: what size it has is the type's size.
    Integer = 3,
}

/// A field, or a method of a trait.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, or its number in a tuple.
    pub name: &'static str,
    /// Its offset in bytes; a field of an enum's variant has none that can be asked for, and says 0.
    pub offset: usize,
    /// Its type.
    pub of: &'static Type,
}

/// A variant of an enum.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// The number that stands for it, where the source states one; else its place.
    pub discriminant: i128,
    /// Its fields.
    pub fields: &'static [Field],
}

/// A type that may cross the border between a plugin and its host.
///
/// Derived by `#[derive(Stable)]` for types whose layout is written down, and by `#[derive(Typed)]` for those that only
/// pass between equal builds.
///
/// # Safety
/// `TYPE` describes the type: its size, its alignment and all its parts, and its tier is no higher than that of its
/// parts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the border between a plugin and its host",
    label = "has no description that a host could check",
    note = "derive one: `#[derive(sideload::Stable)]` with `repr(C)`, or `#[derive(sideload::Typed)]` for equal builds"
)]
pub unsafe trait Typed: 'static {
    /// Its name, as it is shown and as pointers to it are compared.
    const NAME: &'static str;
    /// Its description.
    const TYPE: Type;
    /// Its description as bytes: made once for each type, whatever how many items name it.
    #[doc(hidden)]
    const ENCODED: Block = Block::describing::<Self>();
}

/// A type whose layout is written down, so that it may pass between compilers: `#[derive(Stable)]`.
pub trait Stable: Typed {}

impl Type {
    /// A type of one word or less that has no parts.
    pub const fn scalar<T>(name: &'static str) -> Type {
        Type { size: size_of::<T>(), align: align_of::<T>(), tier: Tier::Stable, shape: Shape::Scalar(name) }
    }

    /// Whether a reference to it carries a length or a vtable.
    pub(super) const fn is_wide(&self) -> bool {
        matches!(self.shape, Shape::Str | Shape::Slice(_) | Shape::Trait { .. })
    }

    /// A reference to `to`; wide if it carries a length or a vtable.
    pub const fn reference(mutable: bool, lifetime: u8, to: &'static Type) -> Type {
        let wide = to.is_wide();
        let words = if wide { 2 } else { 1 };
        Type {
            size: words * size_of::<usize>(),
            align: align_of::<usize>(),
            // How a wide reference lies in memory is not written down.
            tier: if wide { Tier::Build } else { to.tier },
            shape: Shape::Reference { mutable, lifetime, to },
        }
    }

    /// A function pointer. Only foreign calling conventions are written down.
    pub const fn function(
        abi: &'static str,
        is_unsafe: bool,
        arguments: &'static [&'static Type],
        result: &'static Type,
    ) -> Type {
        let mut tier = match abi.as_bytes() {
            b"Rust" => Tier::Build,
            _ => result.tier,
        };
        let mut at = 0;
        while at < arguments.len() {
            tier = tier.min(arguments[at].tier);
            at += 1;
        }
        let shape = Shape::Function { abi, is_unsafe, arguments, result };
        Type { size: size_of::<usize>(), align: align_of::<usize>(), tier, shape }
    }

    /// The same, if all its parts have a layout that is written down.
    #[must_use]
    pub const fn require_stable(self) -> Type {
        assert!(
            matches!(self.tier, Tier::Stable),
            "a field of this stable type has no layout that is written down: give it one, or derive `Typed`"
        );
        self
    }

    /// `of`, with the lifetimes that it names.
    pub const fn bound(lifetimes: &'static [u8], of: &'static Type) -> Type {
        Type { shape: Shape::Bound { lifetimes, of }, ..*of }
    }

    /// A struct `T`.
    pub const fn structure<T>(name: &'static str, repr: Repr, fields: &'static [Field]) -> Type {
        let tier = of_repr(repr).min(of_fields(fields));
        Type { size: size_of::<T>(), align: align_of::<T>(), tier, shape: Shape::Struct { name, repr, fields } }
    }

    /// The value of a constant parameter: it takes no room.
    pub const fn constant(value: usize) -> Type {
        let shape = Shape::Array { of: &<() as Typed>::TYPE, length: value };
        Type { size: 0, align: 1, tier: Tier::Stable, shape }
    }

    /// An enum `T`.
    pub const fn enumeration<T>(name: &'static str, repr: Repr, variants: &'static [Variant]) -> Type {
        let mut tier = of_repr(repr);
        let mut at = 0;
        while at < variants.len() {
            tier = tier.min(of_fields(variants[at].fields));
            at += 1;
        }
        Type { size: size_of::<T>(), align: align_of::<T>(), tier, shape: Shape::Enum { name, repr, variants } }
    }

    /// A type of the standard library `T`, whose layout is not written down.
    pub const fn generic<T>(name: &'static str, arguments: &'static [&'static Type]) -> Type {
        let shape = Shape::Generic { name, arguments };
        Type { size: size_of::<T>(), align: align_of::<T>(), tier: Tier::Build, shape }
    }

    /// The trait object `dyn name`.
    pub const fn trait_object(name: &'static str, methods: &'static [Field]) -> Type {
        Type { size: 0, align: 1, tier: Tier::Build, shape: Shape::Trait { name, methods } }
    }
}

const fn of_repr(repr: Repr) -> Tier {
    match repr {
        Repr::Rust => Tier::Build,
        Repr::C | Repr::Transparent | Repr::Integer => Tier::Stable,
    }
}

const fn of_fields(fields: &[Field]) -> Tier {
    let mut tier = Tier::Stable;
    let mut at = 0;
    while at < fields.len() {
        tier = tier.min(fields[at].of.tier);
        at += 1;
    }
    tier
}

/// Takes a description part by part: counts its bytes, and keeps those that there is room for, from the one at `skipped`
/// on. They are the description's grammar:
///
/// ```text
/// type    = tag:u8 tier:u8 size:number align:number …   by tag, in the order of the fields of `Shape`
/// number  = unsigned LEB128          text = number bytes          list = number items
/// ```
pub(super) struct Writer<'a> {
    pub(super) length: usize,
    skipped: usize,
    bytes: &'a mut [u8],
}

impl Writer<'_> {
    /// Counts only.
    pub(super) const fn counting() -> Writer<'static> {
        Writer { length: 0, skipped: 0, bytes: &mut [] }
    }

    /// Keeps the bytes that there is room for.
    pub(super) const fn over(bytes: &mut [u8]) -> Writer<'_> {
        Writer { length: 0, skipped: 0, bytes }
    }

    /// Adds what `write` writes to `bytes`.
    pub(super) fn into(bytes: &mut Vec<u8>, write: impl Fn(&mut Writer<'_>)) {
        let mut counted = Writer::counting();
        write(&mut counted);
        let at = bytes.len();
        bytes.resize(at + counted.length, 0);
        write(&mut Writer::over(&mut bytes[at..]));
    }

    pub(super) const fn byte(&mut self, byte: u8) {
        if self.length >= self.skipped && self.length - self.skipped < self.bytes.len() {
            self.bytes[self.length - self.skipped] = byte;
        }
        self.length += 1;
    }

    pub(super) const fn raw(&mut self, mut bytes: &[u8]) {
        let (at, size) = (self.length, bytes.len());
        self.length += size;
        if self.skipped == 0 && size > 0 && size <= self.bytes.len() && at <= self.bytes.len() - size {
            return copy(bytes, self.bytes, at, size);
        }
        if self.length < self.skipped {
            return;
        }
        if at < self.skipped {
            bytes = bytes.split_at(self.skipped - at).1;
        }
        if let Some((_, room)) = self.bytes.split_at_mut_checked(self.length - bytes.len() - self.skipped) {
            let size = if bytes.len() < room.len() { bytes.len() } else { room.len() };
            room.split_at_mut(size).0.copy_from_slice(bytes.split_at(size).0);
        }
    }

    pub(super) const fn number(&mut self, mut number: u128) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    pub(super) const fn text(&mut self, text: &str) {
        self.number(text.len() as u128);
        self.raw(text.as_bytes());
    }

    /// The description of a function pointer, up to that of its first argument.
    pub(super) const fn function(&mut self, tier: Tier, abi: &str, is_unsafe: bool, arguments: usize) {
        let (size, align) = (size_of::<usize>() as u8, align_of::<usize>() as u8);
        // No name of a calling convention is as long as 128 bytes.
        self.raw(&[Shape::FUNCTION, tier as u8, size, align, abi.len() as u8]);
        self.raw(abi.as_bytes());
        self.byte(is_unsafe as u8);
        self.number(arguments as u128);
    }

    /// The description of a reference, up to that of what it refers to.
    pub(super) const fn reference(&mut self, of: &Type, mutable: bool, lifetime: u8) {
        self.raw(&[Shape::REFERENCE, of.tier as u8, of.size as u8, of.align as u8, mutable as u8, lifetime]);
    }

    /// The lifetimes that a type of such a tier, size and alignment names, before its description.
    pub(super) const fn bound(&mut self, tier: u8, size: u128, align: u128, lifetimes: &[u8]) {
        self.raw(&[Shape::BOUND, tier]);
        self.number(size);
        self.number(align);
        self.number(lifetimes.len() as u128);
        self.raw(lifetimes);
    }

    /// The description of any other type, up to those of its parts.
    pub(super) const fn begin(&mut self, described: &Type) {
        self.byte(described.shape.tag());
        self.byte(described.tier as u8);
        self.number(described.size as u128);
        self.number(described.align as u128);
        match described.shape {
            Shape::Scalar(name) | Shape::Generic { name, .. } | Shape::Trait { name, .. } => self.text(name),
            Shape::Pointer { mutable, to } => {
                self.byte(mutable as u8);
                self.text(to);
            }
            Shape::Array { length, .. } => self.number(length as u128),
            Shape::Struct { name, repr, .. } | Shape::Enum { name, repr, .. } => {
                self.text(name);
                self.byte(repr as u8);
            }
            Shape::Bound { lifetimes, .. } => {
                self.number(lifetimes.len() as u128);
                self.raw(lifetimes);
            }
            Shape::Str | Shape::Slice(_) | Shape::Tuple(_) => {}
            Shape::Reference { .. } | Shape::Function { .. } => {}
        }
    }

    const fn fields(&mut self, fields: &[Field]) {
        self.number(fields.len() as u128);
        let mut at = 0;
        while at < fields.len() {
            self.text(fields[at].name);
            self.number(fields[at].offset as u128);
            self.put(fields[at].of);
            at += 1;
        }
    }

    const fn variants(&mut self, variants: &[Variant]) {
        self.number(variants.len() as u128);
        let mut at = 0;
        while at < variants.len() {
            self.text(variants[at].name);
            self.number(variants[at].discriminant as u128);
            self.fields(variants[at].fields);
            at += 1;
        }
    }

    const fn types(&mut self, types: &[&Type]) {
        let mut at = 0;
        while at < types.len() {
            self.put(types[at]);
            at += 1;
        }
    }

    pub(super) const fn put(&mut self, described: &Type) {
        if let Shape::Function { abi, is_unsafe, arguments, result } = described.shape {
            self.function(described.tier, abi, is_unsafe, arguments.len());
            self.types(arguments);
            return self.put(result);
        }
        if let Shape::Reference { mutable, lifetime, to } = described.shape {
            self.reference(described, mutable, lifetime);
            return self.put(to);
        }
        self.begin(described);
        match described.shape {
            Shape::Slice(of) | Shape::Array { of, .. } | Shape::Bound { of, .. } => self.put(of),
            Shape::Tuple(fields) | Shape::Struct { fields, .. } | Shape::Trait { methods: fields, .. } => {
                self.fields(fields);
            }
            Shape::Enum { variants, .. } => self.variants(variants),
            Shape::Generic { arguments, .. } => {
                self.number(arguments.len() as u128);
                self.types(arguments);
            }
            Shape::Scalar(_) | Shape::Pointer { .. } | Shape::Str => {}
            Shape::Reference { .. } | Shape::Function { .. } => {}
        }
    }
}

impl Shape {
    pub(super) const REFERENCE: u8 = 2;
    const FUNCTION: u8 = 11;
    const BOUND: u8 = 12;

    const fn tag(&self) -> u8 {
        match self {
            Shape::Scalar(_) => 1,
            Shape::Reference { .. } => Shape::REFERENCE,
            Shape::Pointer { .. } => 3,
            Shape::Str => 4,
            Shape::Slice(_) => 5,
            Shape::Array { .. } => 6,
            Shape::Tuple(_) => 7,
            Shape::Struct { .. } => 8,
            Shape::Enum { .. } => 9,
            Shape::Generic { .. } => 10,
            Shape::Function { .. } => Shape::FUNCTION,
            Shape::Bound { .. } => Shape::BOUND,
            Shape::Trait { .. } => 13,
        }
    }
}

/// As much of a description as a fingerprint looks at at a time.
const WINDOW: usize = 2048;

impl Type {
    /// The fingerprint: a hash of 128 bits over the whole description. A guard against mistakes, not against forgery.
    pub const fn fingerprint(&self) -> u128 {
        let mut hash = Hash::BASIS;
        let mut skipped = 0;
        // A constant has no memory but what it states beforehand: a long description is written again for each part.
        loop {
            let mut bytes = [0; WINDOW];
            let mut out = Writer { length: 0, skipped, bytes: &mut bytes };
            out.put(self);
            let length = out.length;
            if length - skipped <= WINDOW {
                return hash.part(&bytes, 0, length - skipped).end(length);
            }
            hash = hash.part(&bytes, 0, WINDOW);
            skipped += WINDOW;
        }
    }

    /// How many bytes its description takes.
    pub const fn encoded_size(&self) -> usize {
        let mut writer = Writer::counting();
        writer.put(self);
        writer.length
    }

    /// The description as bytes, to be read with [`decode`](super::decode).
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.encoded_size()];
        Writer::over(&mut bytes).put(self);
        bytes
    }
}
