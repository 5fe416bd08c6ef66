//! Types as constants: what a compiler made of a type, as a tree that can be hashed while compiling.

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
}

/// A type whose layout is written down, so that it may pass between compilers: `#[derive(Stable)]`.
pub trait Stable: Typed {}

impl Type {
    /// A type of one word or less that has no parts.
    pub const fn scalar<T>(name: &'static str) -> Type {
        Type { size: size_of::<T>(), align: align_of::<T>(), tier: Tier::Stable, shape: Shape::Scalar(name) }
    }

    /// A reference to `to`; `wide` if it carries a length or a vtable.
    pub const fn reference(mutable: bool, lifetime: u8, to: &'static Type) -> Type {
        let wide = matches!(to.shape, Shape::Str | Shape::Slice(_) | Shape::Trait { .. });
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

/// The factor of PCG's generator of 128 bits: odd, and its bits are as many ones as zeros, in no order.
const FACTOR: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;

/// Both steps can be undone, so two hashes stay different whatever follows, if that is equal.
const fn mix(hash: u128, word: u64) -> u128 {
    let hash = (hash ^ word as u128).wrapping_mul(FACTOR);
    hash ^ (hash >> 64)
}

/// Hashes bytes, eight at a time; how many they are is not hashed.
const fn mix_bytes(mut hash: u128, bytes: &[u8]) -> u128 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    while at < words.len() {
        hash = mix(hash, u64::from_le_bytes(words[at]));
        at += 1;
    }
    if rest.is_empty() {
        return hash;
    }
    let (mut tail, mut at) = (0, rest.len());
    while at > 0 {
        at -= 1;
        tail = tail << 8 | rest[at] as u64;
    }
    mix(hash, tail)
}

/// A checksum of 32 bits, which is not 0. Without calls in the loop: the compiler interprets it.
pub(super) const fn sum_of(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum = bytes.len() as u64;
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        let word = word[0] as u64 | (word[1] as u64) << 8 | (word[2] as u64) << 16 | (word[3] as u64) << 24;
        sum = ((sum ^ word) * 0x85eb_ca6b) % 0xffff_fffb;
        at += 1;
    }
    let mut at = 0;
    while at < rest.len() {
        sum = ((sum ^ rest[at] as u64) * 0x85eb_ca6b) % 0xffff_fffb;
        at += 1;
    }
    if sum == 0 { 1 } else { sum as u32 }
}

/// Takes a description part by part: counts its bytes, and keeps or hashes them. The compiler interprets this for each
/// exported item, so it does no more than it is asked for, and nothing byte by byte. The bytes are the description's
/// grammar:
///
/// ```text
/// type    = tag:u8 tier:u8 size:number align:number …   by tag, in the order of the fields of `Shape`
/// number  = unsigned LEB128          text = number bytes          list = number items
/// ```
///
/// The hash is over its parts: each number is a word (three, from 2^63 on), each text its length and then eight bytes a
/// word. What follows a part is told by the parts before it, so no two descriptions have the same words.
pub(super) struct Writer<'a> {
    pub(super) hash: u128,
    pub(super) length: usize,
    bytes: &'a mut [u8],
    hashes: bool,
}

impl Writer<'_> {
    /// Counts only.
    pub(super) const fn counting() -> Writer<'static> {
        Writer { hash: 0, length: 0, bytes: &mut [], hashes: false }
    }

    /// Hashes.
    pub(super) const fn hashing() -> Writer<'static> {
        Writer { hash: BASIS, length: 0, bytes: &mut [], hashes: true }
    }

    /// Keeps the bytes that there is room for.
    pub(super) const fn over(bytes: &mut [u8]) -> Writer<'_> {
        Writer { hash: 0, length: 0, bytes, hashes: false }
    }

    /// Hashes from here on.
    pub(super) const fn begin_hash(&mut self) {
        self.hash = BASIS;
        self.hashes = true;
    }

    /// Keeps the hash at `at`, over 16 bytes that were kept before.
    pub(super) const fn put_hash(&mut self, at: usize) {
        if let Some((_, place)) = self.bytes.split_at_mut_checked(at)
            && let Some((place, _)) = place.split_at_mut_checked(16)
        {
            place.copy_from_slice(&self.hash.to_le_bytes());
        }
    }

    pub(super) const fn byte(&mut self, byte: u8) {
        if self.hashes {
            self.hash = mix(self.hash, byte as u64);
        }
        self.keep(byte);
    }

    const fn keep(&mut self, byte: u8) {
        if self.length < self.bytes.len() {
            self.bytes[self.length] = byte;
        }
        self.length += 1;
    }

    pub(super) const fn raw(&mut self, bytes: &[u8]) {
        if self.hashes {
            self.hash = mix_bytes(self.hash, bytes);
        }
        if let Some((_, room)) = self.bytes.split_at_mut_checked(self.length)
            && let Some((room, _)) = room.split_at_mut_checked(bytes.len())
        {
            room.copy_from_slice(bytes);
        }
        self.length += bytes.len();
    }

    pub(super) const fn number(&mut self, mut number: u128) {
        if self.hashes {
            // Only a discriminant may be that large; no other number is the word that announces it.
            if number >> 63 != 0 {
                self.hash = mix(self.hash, u64::MAX);
                self.hash = mix(self.hash, (number >> 64) as u64);
            }
            self.hash = mix(self.hash, number as u64);
        }
        while number >= 0x80 {
            self.keep(number as u8 | 0x80);
            number >>= 7;
        }
        self.keep(number as u8);
    }

    pub(super) const fn text(&mut self, text: &str) {
        self.number(text.len() as u128);
        self.raw(text.as_bytes());
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

    const fn types(&mut self, types: &[&Type]) {
        self.number(types.len() as u128);
        let mut at = 0;
        while at < types.len() {
            self.put(types[at]);
            at += 1;
        }
    }

    pub(super) const fn put(&mut self, described: &Type) {
        self.byte(described.shape.tag());
        self.byte(described.tier as u8);
        self.number(described.size as u128);
        self.number(described.align as u128);
        match described.shape {
            Shape::Scalar(name) => self.text(name),
            Shape::Reference { mutable, lifetime, to } => {
                self.byte(mutable as u8);
                self.byte(lifetime);
                self.put(to);
            }
            Shape::Pointer { mutable, to } => {
                self.byte(mutable as u8);
                self.text(to);
            }
            Shape::Str => {}
            Shape::Slice(of) => self.put(of),
            Shape::Array { of, length } => {
                self.number(length as u128);
                self.put(of);
            }
            Shape::Tuple(fields) => self.fields(fields),
            Shape::Struct { name, repr, fields } => {
                self.text(name);
                self.byte(repr as u8);
                self.fields(fields);
            }
            Shape::Enum { name, repr, variants } => {
                self.text(name);
                self.byte(repr as u8);
                self.number(variants.len() as u128);
                let mut at = 0;
                while at < variants.len() {
                    self.text(variants[at].name);
                    self.number(variants[at].discriminant as u128);
                    self.fields(variants[at].fields);
                    at += 1;
                }
            }
            Shape::Generic { name, arguments } => {
                self.text(name);
                self.types(arguments);
            }
            Shape::Function { abi, is_unsafe, arguments, result } => {
                self.text(abi);
                self.byte(is_unsafe as u8);
                self.types(arguments);
                self.put(result);
            }
            Shape::Bound { lifetimes, of } => {
                self.number(lifetimes.len() as u128);
                self.raw(lifetimes);
                self.put(of);
            }
            Shape::Trait { name, methods } => {
                self.text(name);
                self.fields(methods);
            }
        }
    }
}

impl Shape {
    const fn tag(&self) -> u8 {
        match self {
            Shape::Scalar(_) => 1,
            Shape::Reference { .. } => 2,
            Shape::Pointer { .. } => 3,
            Shape::Str => 4,
            Shape::Slice(_) => 5,
            Shape::Array { .. } => 6,
            Shape::Tuple(_) => 7,
            Shape::Struct { .. } => 8,
            Shape::Enum { .. } => 9,
            Shape::Generic { .. } => 10,
            Shape::Function { .. } => 11,
            Shape::Bound { .. } => 12,
            Shape::Trait { .. } => 13,
        }
    }
}

impl Type {
    /// The fingerprint: a hash of 128 bits over the whole description. A guard against mistakes, not against forgery.
    pub const fn fingerprint(&self) -> u128 {
        let mut writer = Writer::hashing();
        writer.put(self);
        writer.hash
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
