//! A Rust type against a C type.
//!
//! Follows the Rust type, which is a finite tree; the C types that it meets may lie in circles.

use crate::error::Unverifiable;
use crate::model::{Abi, Bare, CType, Enumerator, Exported, Field, Function, TypeId};
use sideload::abi::{self, Difference, Repr, Shape, Type};

/// Compares what is asked for with what is exported. `Ok(Some(…))`: no difference was found, but a part cannot be told.
pub(crate) fn compare(
    rust: &Type,
    is_function: bool,
    abi: &Abi,
    exported: &Exported,
) -> Result<Option<Unverifiable>, Difference> {
    let mut comparison = Comparison { abi, path: Vec::new(), unknown: None };
    match (exported, is_function) {
        (Exported::Function(function), true) => comparison.function(rust, function)?,
        (Exported::Variable(of), false) => comparison.value(rust, *of)?,
        (Exported::Function(function), false) => {
            return Err(comparison.differs(format!("a static {}", text(rust)), abi.function_text("", function)));
        }
        (Exported::Variable(of), true) => {
            return Err(comparison.differs(text(rust), format!("a variable, {}", abi.type_text(*of))));
        }
        (Exported::Indirect, _) => comparison.unknown = Some(Unverifiable::Indirect),
        (Exported::Unknown, _) => comparison.unknown("a symbol without a description"),
    }
    Ok(comparison.unknown)
}

/// As the source would write it.
pub(crate) fn text(of: &Type) -> String {
    abi::decode(&of.encode()).map_or_else(|| "a type without a description".into(), |of| of.to_string())
}

struct Comparison<'a> {
    abi: &'a Abi,
    path: Vec<String>,
    unknown: Option<Unverifiable>,
}

type Compared = Result<(), Difference>;

impl<'a> Comparison<'a> {
    fn differs(&self, expected: impl Into<String>, found: impl Into<String>) -> Difference {
        Difference { at: self.path.join(", "), expected: expected.into(), found: found.into() }
    }

    /// The first part that cannot be told is kept; a difference behind it still counts.
    fn unknown(&mut self, what: impl Into<String>) {
        let at = self.path.join(", ");
        self.unknown.get_or_insert_with(|| Unverifiable::Part { at, what: what.into() });
    }

    fn inside(&mut self, step: String, compare: impl FnOnce(&mut Self) -> Compared) -> Compared {
        self.path.push(step);
        let compared = compare(self);
        self.path.pop();
        compared
    }

    fn function(&mut self, rust: &Type, function: &'a Function) -> Compared {
        let Shape::Function { abi, arguments, result, .. } = rust.shape else {
            return Err(self.differs(text(rust), self.abi.function_text("", function)));
        };
        if abi != "C" && abi != "C-unwind" {
            return Err(self.differs(format!("extern \"{abi}\""), "extern \"C\""));
        }
        if function.variadic {
            let found = format!("{}, and any more (...)", count(function.parameters.len()));
            return Err(self.differs(count(arguments.len()), found));
        }
        for (number, (rust, parameter)) in (1..).zip(arguments.iter().zip(&function.parameters)) {
            let name = parameter.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            self.inside(format!("parameter {number}{name}"), |it| {
                it.value(rust, parameter.of)?;
                it.is_only_read(rust, parameter.of)?;
                if function.unprototyped && it.is_promoted(parameter.of) {
                    it.unknown("promoted by callers, since the function has no prototype");
                }
                Ok(())
            })?;
        }
        if arguments.len() != function.parameters.len() {
            return Err(self.differs(count(arguments.len()), count(function.parameters.len())));
        }
        self.inside("result".into(), |it| it.value(result, function.result))
    }

    /// `&T` for a function that may write to it. A raw pointer makes no promise, and an atomic may be written to.
    fn is_only_read(&self, rust: &Type, of: TypeId) -> Compared {
        let (Shape::Reference { mutable: false, to, .. }, CType::Pointer { to: pointee }) =
            (&plain(rust).shape, self.abi.bare(of).of)
        else {
            return Ok(());
        };
        let is_atomic = matches!(to.shape, Shape::Scalar(name) if name.starts_with("Atomic"));
        match self.abi.bare(*pointee).is_const || is_atomic {
            true => Ok(()),
            false => Err(self.differs(text(rust), format!("{}, which may write to it", self.abi.type_text(of)))),
        }
    }

    /// Whether a caller that sees no prototype passes it as another type.
    fn is_promoted(&self, of: TypeId) -> bool {
        match self.abi.bare(of).of {
            CType::Float { size, .. } | CType::Integer { size, .. } => *size < 4,
            CType::Bool { .. } => true,
            _ => false,
        }
    }

    fn value(&mut self, rust: &Type, of: TypeId) -> Compared {
        let rust = plain(rust);
        let bare = self.abi.bare(of);
        if let CType::Unknown { what } = bare.of {
            self.unknown(if what.is_empty() { "a type that is not described" } else { what });
            return Ok(());
        }
        match rust.shape {
            Shape::Scalar(name) => self.scalar(name, rust, of, bare),
            Shape::Tuple([]) if matches!(bare.of, CType::Void) => Ok(()),
            Shape::Tuple([]) => Err(self.differs(text(rust), self.abi.full_text(of))),
            Shape::Reference { to, .. } => self.pointer(rust, of, bare, |it, pointee| it.behind(to, pointee)),
            Shape::Pointer { to, .. } => self.pointer(rust, of, bare, |it, pointee| it.named(to, pointee)),
            Shape::Generic { name: "NonNull", arguments: [inner] } => self.value(inner, of),
            Shape::Function { .. } => self.pointer(rust, of, bare, |it, pointee| match it.abi.bare(pointee).of {
                CType::Function { function } => it.function(rust, function),
                CType::Void => Ok(()),
                _ => Err(it.differs(text(rust), it.abi.full_text(of))),
            }),
            Shape::Array { of: element, length } => match bare.of {
                CType::Array { of: found, length: Some(counted) } if *counted == length as u64 => {
                    self.inside("element".into(), |it| it.value(element, *found))
                }
                // `int rest[]`
                CType::Array { of: found, length: None } if length == 0 => {
                    self.inside("element".into(), |it| it.value(element, *found))
                }
                CType::Union { size, .. } if *size == rust.size as u64 => {
                    self.unknown("a union");
                    Ok(())
                }
                _ => Err(self.differs(text(rust), self.abi.full_text(of))),
            },
            Shape::Struct { repr: Repr::Transparent, fields, .. } => {
                match fields.iter().find(|field| field.of.size > 0) {
                    Some(field) => self.value(field.of, of),
                    None => Err(self.differs(text(rust), self.abi.full_text(of))),
                }
            }
            Shape::Struct { repr: Repr::C, fields, .. } => self.structure(rust, fields, of, bare),
            Shape::Enum { repr: Repr::C | Repr::Integer, variants, .. } => self.enumeration(rust, variants, of, bare),
            _ => Err(self.differs(format!("{}, whose layout is not C's", text(rust)), self.abi.full_text(of))),
        }
    }

    fn scalar(&mut self, name: &str, rust: &Type, of: TypeId, bare: Bare<'_>) -> Compared {
        let fits = match (Number::of(name), bare.of) {
            (Some(Number::Bool), CType::Bool { size, .. }) => *size == 1,
            (Some(Number::Float(bytes)), CType::Float { size, .. }) => *size == bytes,
            (Some(Number::Integer { size: bytes, signed }), CType::Integer { name, size, signed: is_signed }) => {
                // Whether plain `char` has a sign is the target's choice, and nobody's intention.
                *size == bytes && (*is_signed == signed || name == "char")
            }
            (Some(Number::Integer { size: bytes, .. }), CType::Enum { size, .. }) => *size == bytes,
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.differs(text(rust), self.abi.full_text(of))) }
    }

    fn pointer(
        &mut self,
        rust: &Type,
        of: TypeId,
        bare: Bare<'_>,
        behind: impl FnOnce(&mut Self, TypeId) -> Compared,
    ) -> Compared {
        match bare.of {
            CType::Pointer { to } if rust.size == size_of::<usize>() => {
                // A function is called through its pointer; nothing lies behind that.
                let is_function = matches!(self.abi.bare(*to).of, CType::Function { .. });
                let step = if is_function { "called through the pointer" } else { "behind the pointer" };
                self.inside(step.into(), |it| behind(it, *to))
            }
            CType::Pointer { .. } => {
                let expected = format!("{}, which is more than an address", text(rust));
                Err(self.differs(expected, self.abi.full_text(of)))
            }
            _ => Err(self.differs(text(rust), self.abi.full_text(of))),
        }
    }

    fn behind(&mut self, rust: &Type, of: TypeId) -> Compared {
        match self.abi.bare(of).of {
            CType::Void => Ok(()),
            // Its size is nobody's business, unless somebody else says that he knows it.
            CType::Incomplete { .. } if rust.size == 0 => Ok(()),
            CType::Incomplete { what } => {
                self.unknown(format!("{what}, which is only declared"));
                Ok(())
            }
            _ if matches!(plain(rust).shape, Shape::Scalar("c_void")) => Ok(()),
            // One of a series: C says `const int *` for arrays, too.
            _ => match plain(rust).shape {
                Shape::Array { of: element, .. } if !matches!(self.abi.bare(of).of, CType::Array { .. }) => {
                    self.value(element, of)
                }
                _ => self.value(rust, of),
            },
        }
    }

    /// A raw pointer knows what it points to by name only.
    fn named(&mut self, name: &str, of: TypeId) -> Compared {
        let number = Number::of(name);
        // A number may be one of a series.
        let of = match number {
            Some(_) => self.abi.element(of),
            None => Some(of),
        };
        let Some(of) = of else {
            self.unknown("an array of arrays without an end");
            return Ok(());
        };
        let bare = self.abi.bare(of);
        let own = name.rsplit("::").next().unwrap_or(name);
        match (number, bare.of) {
            _ if name == "c_void" || matches!(bare.of, CType::Void) => Ok(()),
            (Some(Number::Integer { size: 1, .. }), CType::Integer { size: 1, .. }) => Ok(()),
            (Some(Number::Integer { size: bytes, signed }), CType::Integer { size, signed: is_signed, .. })
                if (*size, *is_signed) == (bytes, signed) =>
            {
                Ok(())
            }
            (Some(Number::Integer { size: bytes, .. }), CType::Enum { size, .. }) if *size == bytes => Ok(()),
            (Some(Number::Float(bytes)), CType::Float { size, .. }) if *size == bytes => Ok(()),
            (Some(Number::Bool), CType::Bool { .. }) => Ok(()),
            (Some(_), _) => Err(self.differs(own, self.abi.full_text(of))),
            (None, CType::Integer { .. } | CType::Float { .. } | CType::Bool { .. } | CType::Enum { .. })
                if !matches!(bare.of, CType::Enum { .. }) =>
            {
                Err(self.differs(own, self.abi.full_text(of)))
            }
            (None, CType::Pointer { .. }) if matches!(own, "*const" | "*mut" | "&" | "&mut" | "NonNull" | "Option") => {
                Ok(())
            }
            (None, _) if self.abi.names(of).iter().any(|known| same_name(known, own)) => Ok(()),
            (None, _) => {
                let found = self.abi.full_text(of);
                self.unknown(format!("{found}, which raw pointers to {own} do not describe"));
                Ok(())
            }
        }
    }

    fn structure(&mut self, rust: &Type, fields: &[abi::Field], of: TypeId, bare: Bare<'a>) -> Compared {
        let (size, known) = match bare.of {
            CType::Struct { size, fields, .. } => (*size, fields),
            CType::Union { size, .. } if *size == rust.size as u64 => {
                self.unknown("a union");
                return Ok(());
            }
            CType::Incomplete { what } => {
                self.unknown(format!("{what}, which is only declared"));
                return Ok(());
            }
            _ => return Err(self.differs(text(rust), self.abi.full_text(of))),
        };
        for field in fields.iter().filter(|field| field.of.size > 0) {
            self.inside(format!("field {}", field.name), |it| it.field(field, known))?;
        }
        for field in known {
            let is_there = fields.iter().any(|own| own.of.size > 0 && counterpart(own, known) == Some(field));
            if field.bits.is_none() && self.abi.size(field.of) != Some(0) && !is_there && !self.is_flexible(field) {
                let name = field.name.as_deref().unwrap_or("without a name");
                let at = format!("at offset {}", field.offset);
                return self.inside(format!("field {name}"), |it| Err(it.differs("nothing", at)));
            }
        }
        if known.iter().any(|field| field.bits.is_some()) {
            self.unknown("a struct with bit fields");
        }
        match size == rust.size as u64 {
            true => Ok(()),
            false => Err(self.differs(format!("{} bytes", rust.size), format!("{size} bytes"))),
        }
    }

    /// `int rest[]`, which takes no room.
    fn is_flexible(&self, field: &Field) -> bool {
        matches!(self.abi.bare(field.of).of, CType::Array { length: None, .. })
    }

    fn field(&mut self, field: &abi::Field, known: &[Field]) -> Compared {
        let offset = field.offset as u64;
        match counterpart(field, known) {
            Some(found) if found.bits.is_some() => {
                self.unknown("a bit field");
                Ok(())
            }
            Some(found) if found.offset != offset => {
                Err(self.differs(format!("at offset {offset}"), format!("at offset {}", found.offset)))
            }
            Some(found) => self.value(field.of, found.of),
            // What a generator puts in where C has a gap, or bits.
            None if field.name.starts_with('_') => Ok(()),
            None => Err(self.differs(format!("at offset {offset}"), "not there")),
        }
    }

    fn enumeration(&mut self, rust: &Type, variants: &[abi::Variant], of: TypeId, bare: Bare<'_>) -> Compared {
        let (size, values): (u64, &[Enumerator]) = match bare.of {
            CType::Enum { size, values, .. } => (*size, values),
            CType::Integer { size, .. } => {
                if *size == rust.size as u64 {
                    self.unknown(format!(
                        "{}, which may have other values than {}",
                        self.abi.full_text(of),
                        text(rust)
                    ));
                    return Ok(());
                }
                (*size, &[])
            }
            _ => return Err(self.differs(text(rust), self.abi.full_text(of))),
        };
        if variants.iter().any(|variant| !variant.fields.is_empty()) {
            self.unknown("an enum, where Rust has one with fields");
            return Ok(());
        }
        if size != rust.size as u64 {
            return Err(self.differs(format!("{} bytes", rust.size), format!("{size} bytes")));
        }
        // A value that Rust does not know is undefined behaviour as soon as it arrives.
        let is_known = |value: &Enumerator| variants.iter().any(|variant| variant.discriminant as i64 == value.value);
        if let Some(value) = values.iter().find(|value| !is_known(value)) {
            return Err(self.differs("no such value", format!("{} = {}", value.name, value.value)));
        }
        let exists = |variant: &abi::Variant| values.iter().any(|value| value.value == variant.discriminant as i64);
        match variants.iter().find(|variant| !exists(variant)) {
            Some(variant) => Err(self.differs(format!("{} = {}", variant.name, variant.discriminant), "no such value")),
            None => Ok(()),
        }
    }
}

/// Without what has no bearing on the layout: lifetimes, and `Option` of what cannot be null.
fn plain(rust: &Type) -> &Type {
    match rust.shape {
        Shape::Bound { of, .. } => plain(of),
        Shape::Enum { name: "Option", variants: [_, some], .. } => match some.fields {
            [field] if field.of.size == rust.size && field.of.size == size_of::<usize>() => plain(field.of),
            _ => rust,
        },
        _ => rust,
    }
}

/// The field of C that a field of Rust stands for: the one of its name, or else the one at its offset whose name is no
/// other field's.
fn counterpart<'k>(field: &abi::Field, known: &'k [Field]) -> Option<&'k Field> {
    let named = |found: &&Field| found.name.as_deref().is_some_and(|name| same_name(name, field.name));
    let there = |found: &&Field| found.offset == field.offset as u64;
    known.iter().find(named).or_else(|| known.iter().find(there))
}

/// Rust writes `NextIn`, `next_in` and `type_` where C writes `next_in`, `nextIn` and `type`.
fn same_name(one: &str, other: &str) -> bool {
    let letters = |name: &'_ str| -> String {
        name.strip_prefix("r#").unwrap_or(name).chars().filter(|&c| c != '_').flat_map(char::to_lowercase).collect()
    };
    letters(one) == letters(other)
}

fn count(parameters: usize) -> String {
    if parameters == 1 { "1 parameter".into() } else { format!("{parameters} parameters") }
}

/// A type without parts, by its name in Rust.
#[derive(Clone, Copy)]
enum Number {
    Bool,
    Float(u64),
    Integer { size: u64, signed: bool },
}

impl Number {
    fn of(name: &str) -> Option<Number> {
        let word = size_of::<usize>() as u64;
        let lower = name.strip_prefix("Atomic").unwrap_or(name).to_lowercase();
        let size = match lower.get(1..)? {
            "8" => 1,
            "16" => 2,
            "32" => 4,
            "64" => 8,
            "128" => 16,
            "size" => word,
            "ool" if lower == "bool" => return Some(Number::Bool),
            _ => return None,
        };
        match lower.as_bytes()[0] {
            b'u' => Some(Number::Integer { size, signed: false }),
            b'i' => Some(Number::Integer { size, signed: true }),
            b'f' if size == 4 || size == 8 => Some(Number::Float(size)),
            _ => None,
        }
    }
}
