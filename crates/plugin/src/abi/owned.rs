//! Descriptions read back from bytes that nobody vouches for: decoded, printed, compared.

use super::bytes::hash_of;
use super::types::{STATIC, Writer};
use std::borrow::Cow;
use std::fmt;

/// Deeper than any type that somebody writes; what is deeper is no description.
const MAX_DEPTH: usize = 64;

/// A type as read from a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Size in bytes.
    pub size: u64,
    /// Alignment in bytes.
    pub align: u64,
    /// Whether it may pass between compilers.
    pub is_stable: bool,
    /// What it is made of.
    pub shape: OwnedShape,
}

/// [`Shape`](super::Shape), owned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in Shape")]
pub enum OwnedShape {
    Scalar(String),
    Reference { mutable: bool, lifetime: u8, to: Box<Described> },
    Pointer { mutable: bool, to: String },
    Str,
    Slice(Box<Described>),
    Array { of: Box<Described>, length: u64 },
    Tuple(Vec<OwnedField>),
    Struct { name: String, repr: u8, fields: Vec<OwnedField> },
    Enum { name: String, repr: u8, variants: Vec<OwnedVariant> },
    Generic { name: String, arguments: Vec<Described> },
    Function { abi: String, is_unsafe: bool, arguments: Vec<Described>, result: Box<Described> },
    Bound { lifetimes: Vec<u8>, of: Box<Described> },
    Trait { name: String, methods: Vec<OwnedField> },
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedField {
    /// Its name.
    pub name: String,
    /// Its offset in bytes.
    pub offset: u64,
    /// Its type.
    pub of: Described,
}

/// A variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedVariant {
    /// Its name.
    pub name: String,
    /// The number that stands for it.
    pub discriminant: i128,
    /// Its fields.
    pub fields: Vec<OwnedField>,
}

/// Reads a description that fills `bytes`.
pub fn decode(bytes: &[u8]) -> Option<Described> {
    let mut reader = Reader { bytes };
    let described = reader.described(0)?;
    reader.bytes.is_empty().then_some(described)
}

pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Option<u128> {
        match self.bytes {
            // Most are of one byte.
            [byte @ ..0x80, rest @ ..] => {
                self.bytes = rest;
                Some((*byte).into())
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Option<u128> {
        let mut value = 0u128;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            // The last of the 19 bytes holds two bits.
            if shift > 126 || (shift == 126 && bits > 3) {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn size(&mut self) -> Option<u64> {
        self.number()?.try_into().ok()
    }

    pub(super) fn raw(&mut self) -> Option<&'a [u8]> {
        let size = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.bytes.split_at_checked(size)?;
        self.bytes = rest;
        Some(text)
    }

    pub(super) fn borrowed(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.raw()?).ok()
    }

    pub(super) fn text(&mut self) -> Option<String> {
        self.borrowed().map(str::to_owned)
    }

    /// A text that may bring the NUL of a C string along.
    pub(super) fn c_borrowed(&mut self) -> Option<&'a str> {
        let text = self.borrowed()?;
        Some(text.strip_suffix('\0').unwrap_or(text))
    }

    pub(super) fn c_text(&mut self) -> Option<String> {
        self.c_borrowed().map(str::to_owned)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A list. Each item takes a byte at least, so a count beyond the rest ends early and allocates nothing.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        if count > self.bytes.len() as u128 {
            return None;
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn fields(&mut self, depth: usize) -> Option<Vec<OwnedField>> {
        self.list(|reader| {
            Some(OwnedField { name: reader.text()?, offset: reader.size()?, of: reader.described(depth)? })
        })
    }

    fn boxed(&mut self, depth: usize) -> Option<Box<Described>> {
        self.described(depth).map(Box::new)
    }

    fn described(&mut self, depth: usize) -> Option<Described> {
        let depth = depth + 1;
        if depth > MAX_DEPTH {
            return None;
        }
        let tag = self.byte()?;
        let is_stable = match self.byte()? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let (size, align) = (self.size()?, self.size()?);
        let shape = self.shape(tag, depth)?;
        Some(Described { size, align, is_stable, shape })
    }

    fn shape(&mut self, tag: u8, depth: usize) -> Option<OwnedShape> {
        Some(match tag {
            1 => OwnedShape::Scalar(self.text()?),
            2 => OwnedShape::Reference { mutable: self.flag()?, lifetime: self.byte()?, to: self.boxed(depth)? },
            3 => OwnedShape::Pointer { mutable: self.flag()?, to: self.text()? },
            4 => OwnedShape::Str,
            5 => OwnedShape::Slice(self.boxed(depth)?),
            6 => {
                let length = self.size()?;
                OwnedShape::Array { of: self.boxed(depth)?, length }
            }
            7 => OwnedShape::Tuple(self.fields(depth)?),
            8 => OwnedShape::Struct { name: self.text()?, repr: self.byte()?, fields: self.fields(depth)? },
            9 => OwnedShape::Enum {
                name: self.text()?,
                repr: self.byte()?,
                variants: self.list(|reader| {
                    let (name, discriminant) = (reader.text()?, reader.number()? as i128);
                    Some(OwnedVariant { name, discriminant, fields: reader.fields(depth)? })
                })?,
            },
            10 => OwnedShape::Generic { name: self.text()?, arguments: self.list(|reader| reader.described(depth))? },
            11 => OwnedShape::Function {
                abi: self.text()?,
                is_unsafe: self.flag()?,
                arguments: self.list(|reader| reader.described(depth))?,
                result: self.boxed(depth)?,
            },
            12 => OwnedShape::Bound { lifetimes: self.raw()?.to_vec(), of: self.boxed(depth)? },
            13 => OwnedShape::Trait { name: self.text()?, methods: self.fields(depth)? },
            _ => return None,
        })
    }
}

/// Reads as `decode` does, and keeps nothing but what the type begins with.
impl Reader<'_> {
    fn each(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let count = self.number()?;
        if count > self.bytes.len() as u128 {
            return None;
        }
        (0..count).try_for_each(|_| item(self))
    }

    fn pass_fields(&mut self, depth: usize) -> Option<()> {
        self.each(|reader| {
            reader.borrowed()?;
            reader.size()?;
            reader.pass(depth)
        })
    }

    fn pass(&mut self, depth: usize) -> Option<()> {
        let depth = depth + 1;
        if depth > MAX_DEPTH {
            return None;
        }
        let (tag, tier) = (self.byte()?, self.byte()?);
        if !matches!(tier, 1 | 2) {
            return None;
        }
        self.size()?;
        self.size()?;
        match tag {
            1 | 8 | 9 | 10 | 11 | 13 => drop(self.borrowed()?),
            2 | 3 => drop(self.flag()?),
            6 => drop(self.size()?),
            12 => drop(self.raw()?),
            4 | 5 | 7 => {}
            _ => return None,
        }
        match tag {
            2 | 8 | 9 => drop(self.byte()?),
            3 => drop(self.borrowed()?),
            11 => drop(self.flag()?),
            _ => {}
        }
        match tag {
            2 | 5 | 6 | 12 => self.pass(depth),
            7 | 8 | 13 => self.pass_fields(depth),
            9 => self.each(|reader| {
                reader.borrowed()?;
                reader.number()?;
                reader.pass_fields(depth)
            }),
            10 => self.each(|reader| reader.pass(depth)),
            11 => {
                self.each(|reader| reader.pass(depth))?;
                self.pass(depth)
            }
            _ => Some(()),
        }
    }
}

/// A description that was found to be one, and is read when somebody asks: most are only compared by their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description<'a> {
    bytes: Cow<'a, [u8]>,
}

impl<'a> Description<'a> {
    /// Checks a description that fills `bytes`.
    pub fn new(bytes: &'a [u8]) -> Option<Description<'a>> {
        let mut reader = Reader { bytes };
        reader.pass(0)?;
        reader.bytes.is_empty().then_some(Description { bytes: Cow::Borrowed(bytes) })
    }

    /// Whether `bytes` are a description that may stand in that of a function, behind the lifetimes that it names.
    pub(super) fn is_part(bytes: &[u8]) -> bool {
        let mut reader = Reader { bytes };
        reader.pass(2).is_some() && reader.bytes.is_empty()
    }

    /// One that was put together from parts.
    pub(super) fn of_parts(bytes: Cow<'a, [u8]>) -> Description<'a> {
        Description { bytes }
    }

    /// The description of a type.
    pub fn of(described: &Described) -> Description<'static> {
        Description { bytes: Cow::Owned(described.encode()) }
    }

    /// The bytes that it is written in.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the type may pass between compilers.
    pub fn is_stable(&self) -> bool {
        self.bytes.get(1) == Some(&2)
    }

    /// Size and alignment in bytes.
    pub fn layout(&self) -> (u64, u64) {
        let mut reader = Reader { bytes: self.bytes.get(2..).unwrap_or_default() };
        (reader.size().unwrap_or_default(), reader.size().unwrap_or_default())
    }

    /// The whole of it.
    pub fn read(&self) -> Described {
        decode(&self.bytes).expect("invariant: what was checked can be read")
    }
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
    }
    Ok(())
}

/// As the source would write it, with lifetimes that a function binds left out.
impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mutability = |mutable: bool, no: &'static str| if mutable { "mut " } else { no };
        match &self.shape {
            OwnedShape::Scalar(name) => f.write_str(name),
            OwnedShape::Reference { mutable, lifetime, to } => {
                let lifetime = if *lifetime == STATIC { "'static " } else { "" };
                write!(f, "&{lifetime}{}{to}", mutability(*mutable, ""))
            }
            OwnedShape::Pointer { mutable, to } => write!(f, "*{}{to}", mutability(*mutable, "const ")),
            OwnedShape::Str => f.write_str("str"),
            OwnedShape::Slice(of) => write!(f, "[{of}]"),
            OwnedShape::Array { of, length } => write!(f, "[{of}; {length}]"),
            OwnedShape::Tuple(fields) => {
                f.write_str("(")?;
                separated(f, &fields.iter().map(|field| &field.of).collect::<Vec<_>>())?;
                f.write_str(if fields.len() == 1 { ",)" } else { ")" })
            }
            OwnedShape::Struct { name, .. } | OwnedShape::Enum { name, .. } if name != "Option" && name != "Result" => {
                f.write_str(name)
            }
            OwnedShape::Struct { name, .. } => f.write_str(name),
            OwnedShape::Enum { name, variants, .. } => {
                let fields: Vec<_> =
                    variants.iter().flat_map(|variant| &variant.fields).map(|field| &field.of).collect();
                write!(f, "{name}<")?;
                separated(f, &fields)?;
                f.write_str(">")
            }
            OwnedShape::Generic { name, arguments } if arguments.is_empty() => f.write_str(name),
            OwnedShape::Generic { name, arguments } => {
                write!(f, "{name}<")?;
                separated(f, arguments)?;
                f.write_str(">")
            }
            OwnedShape::Function { abi, is_unsafe, arguments, result } => {
                f.write_str(if *is_unsafe { "unsafe " } else { "" })?;
                if abi != "Rust" {
                    write!(f, "extern \"{abi}\" ")?;
                }
                f.write_str("fn(")?;
                separated(f, arguments)?;
                f.write_str(")")?;
                match &result.shape {
                    OwnedShape::Tuple(fields) if fields.is_empty() => Ok(()),
                    _ => write!(f, " -> {result}"),
                }
            }
            OwnedShape::Bound { of, .. } => write!(f, "{of}"),
            OwnedShape::Trait { name, .. } => write!(f, "dyn {name}"),
        }
    }
}

/// The first place at which two descriptions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: `argument 1, field width`; empty for the type as a whole.
    pub at: String,
    /// What the one asks for there.
    pub expected: String,
    /// What the other has.
    pub found: String,
}

impl Described {
    /// The fingerprint, as [`Type::fingerprint`](super::Type::fingerprint) makes it.
    pub fn fingerprint(&self) -> u128 {
        hash_of(&self.encode())
    }

    /// The description as bytes, as [`Type::encode`](super::Type::encode) makes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::counting();
        self.put(&mut out);
        let mut bytes = vec![0; out.length];
        self.put(&mut Writer::over(&mut bytes));
        bytes
    }

    fn put(&self, out: &mut Writer<'_>) {
        use OwnedShape as S;
        out.byte(self.shape.tag());
        out.byte(if self.is_stable { 2 } else { 1 });
        out.number(self.size.into());
        out.number(self.align.into());
        match &self.shape {
            S::Scalar(name) => out.text(name),
            S::Reference { mutable, lifetime, to } => {
                out.byte(u8::from(*mutable));
                out.byte(*lifetime);
                to.put(out);
            }
            S::Pointer { mutable, to } => {
                out.byte(u8::from(*mutable));
                out.text(to);
            }
            S::Str => {}
            S::Slice(of) => of.put(out),
            S::Array { of, length } => {
                out.number((*length).into());
                of.put(out);
            }
            S::Tuple(fields) => put_fields(fields, out),
            S::Struct { name, repr, fields } => {
                out.text(name);
                out.byte(*repr);
                put_fields(fields, out);
            }
            S::Enum { name, repr, variants } => {
                out.text(name);
                out.byte(*repr);
                out.number(variants.len() as u128);
                for variant in variants {
                    out.text(&variant.name);
                    out.number(variant.discriminant as u128);
                    put_fields(&variant.fields, out);
                }
            }
            S::Generic { name, arguments } => {
                out.text(name);
                put_list(arguments, out);
            }
            S::Function { abi, is_unsafe, arguments, result } => {
                out.text(abi);
                out.byte(u8::from(*is_unsafe));
                put_list(arguments, out);
                result.put(out);
            }
            S::Bound { lifetimes, of } => {
                out.number(lifetimes.len() as u128);
                out.raw(lifetimes);
                of.put(out);
            }
            S::Trait { name, methods } => {
                out.text(name);
                put_fields(methods, out);
            }
        }
    }

    /// The first difference to `found`, part by part; the sizes of a type come after those of its parts, since they
    /// follow from them.
    pub fn first_difference(&self, found: &Described) -> Option<Difference> {
        let mut path = Vec::new();
        difference(self, found, &mut path)
    }
}

fn put_list(list: &[Described], out: &mut Writer<'_>) {
    out.number(list.len() as u128);
    list.iter().for_each(|item| item.put(out));
}

fn put_fields(fields: &[OwnedField], out: &mut Writer<'_>) {
    out.number(fields.len() as u128);
    for field in fields {
        out.text(&field.name);
        out.number(field.offset.into());
        field.of.put(out);
    }
}

impl OwnedShape {
    fn tag(&self) -> u8 {
        match self {
            OwnedShape::Scalar(_) => 1,
            OwnedShape::Reference { .. } => 2,
            OwnedShape::Pointer { .. } => 3,
            OwnedShape::Str => 4,
            OwnedShape::Slice(_) => 5,
            OwnedShape::Array { .. } => 6,
            OwnedShape::Tuple(_) => 7,
            OwnedShape::Struct { .. } => 8,
            OwnedShape::Enum { .. } => 9,
            OwnedShape::Generic { .. } => 10,
            OwnedShape::Function { .. } => 11,
            OwnedShape::Bound { .. } => 12,
            OwnedShape::Trait { .. } => 13,
        }
    }
}

type Path = Vec<String>;

fn differ(path: &Path, expected: impl fmt::Display, found: impl fmt::Display) -> Option<Difference> {
    Some(Difference { at: path.join(", "), expected: expected.to_string(), found: found.to_string() })
}

fn within<T>(path: &mut Path, step: String, look: impl FnOnce(&mut Path) -> Option<T>) -> Option<T> {
    path.push(step);
    let found = look(path);
    path.pop();
    found
}

fn difference(expected: &Described, found: &Described, path: &mut Path) -> Option<Difference> {
    if expected == found {
        return None;
    }
    use OwnedShape as S;
    let parts = match (&expected.shape, &found.shape) {
        (S::Reference { mutable: a, to: one, .. }, S::Reference { mutable: b, to: two, .. }) if a == b => {
            within(path, "behind the reference".into(), |path| difference(one, two, path))
        }
        (S::Slice(one), S::Slice(two)) => within(path, "element".into(), |path| difference(one, two, path)),
        (S::Array { of: one, length: a }, S::Array { of: two, length: b }) if a == b => {
            within(path, "element".into(), |path| difference(one, two, path))
        }
        (S::Tuple(one), S::Tuple(two)) => in_fields(one, two, path),
        (S::Struct { name: a, fields: one, .. }, S::Struct { name: b, fields: two, .. }) if a == b => {
            in_fields(one, two, path)
        }
        (S::Enum { name: a, variants: one, .. }, S::Enum { name: b, variants: two, .. }) if a == b => {
            in_variants(one, two, path)
        }
        (S::Generic { name: a, arguments: one }, S::Generic { name: b, arguments: two }) if a == b => {
            in_list("parameter", one, two, path)
        }
        (
            S::Function { abi: a, is_unsafe: c, arguments: one, result: first },
            S::Function { abi: b, is_unsafe: d, arguments: two, result: second },
        ) if (a, c, one.len()) == (b, d, two.len()) => in_list("argument", one, two, path)
            .or_else(|| within(path, "result".into(), |path| difference(first, second, path))),
        (S::Bound { of: one, .. }, S::Bound { of: two, .. }) => difference(one, two, path),
        (S::Trait { name: a, methods: one }, S::Trait { name: b, methods: two }) if a == b => in_fields(one, two, path),
        _ => None,
    };
    parts.or_else(|| whole(expected, found, path))
}

/// The difference of two types whose parts, as far as they can be compared, are equal.
fn whole(expected: &Described, found: &Described, path: &Path) -> Option<Difference> {
    let (one, two) = (expected.to_string(), found.to_string());
    if one != two {
        return differ(path, one, two);
    }
    let layout = |of: &Described| format!("{of} of {} bytes, aligned to {}", of.size, of.align);
    if (expected.size, expected.align) != (found.size, found.align) {
        return differ(path, layout(expected), layout(found));
    }
    let repr = |of: &Described| match &of.shape {
        OwnedShape::Struct { repr, .. } | OwnedShape::Enum { repr, .. } => *repr,
        _ => 0,
    };
    if repr(expected) != repr(found) {
        const REPRS: [&str; 4] = ["Rust", "C", "transparent", "an integer"];
        let text =
            |of: &Described| format!("{of} with repr({})", REPRS.get(usize::from(repr(of))).unwrap_or(&"unknown"));
        return differ(path, text(expected), text(found));
    }
    differ(path, format!("{one} with other lifetimes"), two)
}

fn in_fields(one: &[OwnedField], two: &[OwnedField], path: &mut Path) -> Option<Difference> {
    for (at, pair) in one.iter().zip(two).enumerate() {
        let (a, b) = pair;
        if a.name != b.name {
            return differ(path, format!("field {at} called {}", a.name), &b.name);
        }
        let inner = within(path, format!("field {}", a.name), |path| {
            difference(&a.of, &b.of, path).or_else(|| match a.offset == b.offset {
                true => None,
                false => differ(path, format!("offset {}", a.offset), format!("offset {}", b.offset)),
            })
        });
        if inner.is_some() {
            return inner;
        }
    }
    more("field", one.iter().map(|field| &field.name), two.iter().map(|field| &field.name), path)
}

fn in_variants(one: &[OwnedVariant], two: &[OwnedVariant], path: &mut Path) -> Option<Difference> {
    for (a, b) in one.iter().zip(two) {
        if (&a.name, a.discriminant) != (&b.name, b.discriminant) {
            let text = |of: &OwnedVariant| format!("variant {} = {}", of.name, of.discriminant);
            return differ(path, text(a), text(b));
        }
        let inner = within(path, format!("variant {}", a.name), |path| in_fields(&a.fields, &b.fields, path));
        if inner.is_some() {
            return inner;
        }
    }
    more("variant", one.iter().map(|variant| &variant.name), two.iter().map(|variant| &variant.name), path)
}

/// One list goes on where the other has ended.
fn more<'a>(
    what: &str,
    mut one: impl ExactSizeIterator<Item = &'a String>,
    mut two: impl ExactSizeIterator<Item = &'a String>,
    path: &Path,
) -> Option<Difference> {
    let (a, b) = (one.len(), two.len());
    let text = |name: Option<&String>| name.map_or(format!("no more {what}s"), |name| format!("{what} {name}"));
    if a == b { None } else { differ(path, text(one.nth(b.min(a))), text(two.nth(a.min(b)))) }
}

fn in_list(what: &str, one: &[Described], two: &[Described], path: &mut Path) -> Option<Difference> {
    for (at, (a, b)) in one.iter().zip(two).enumerate() {
        let inner = within(path, format!("{what} {}", at + 1), |path| difference(a, b, path));
        if inner.is_some() {
            return inner;
        }
    }
    None
}
