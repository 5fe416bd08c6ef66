//! What a library exports, as its compiler saw it: functions, variables, and a graph of C types.
//!
//! The form of a sidecar as well, so field names are stable and nothing in it is believed: a [`TypeId`] may lead nowhere
//! or in a circle, and whoever follows one asks [`Abi::get`] and counts its steps.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// The version of the sidecar's form.
pub(crate) const FORMAT: u32 = 1;

/// More than anybody writes around one type: typedefs of typedefs, qualifiers.
const MAX_WRAPPERS: usize = 64;

/// What a library exports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// The version of this form: 1.
    pub format: u32,
    /// The library.
    pub library: PathBuf,
    /// Its build id, in hexadecimal.
    pub build_id: Option<String>,
    /// The SHA-256 of the library, in hexadecimal: tells builds apart that have no build id.
    pub sha256: String,
    /// Where the types come from; `None` if nothing tells them.
    pub evidence: Option<Evidence>,
    /// What it exports, by name; of several versions of one name, the default one.
    pub exports: BTreeMap<String, Exported>,
    /// The types, by number; 0 is `void`.
    pub types: Vec<CType>,
}

/// Where types come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The library itself.
    Library,
    /// A separate debug file.
    DebugFile(PathBuf),
    /// A sidecar.
    Sidecar(PathBuf),
}

/// Something that is exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exported {
    /// A function.
    Function(Function),
    /// A variable, of that type.
    Variable(TypeId),
    /// An indirect function: what its resolver chooses is not named.
    Indirect,
    /// A function or variable that is not described.
    Unknown,
}

/// The number of a type in [`Abi::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`
    pub const VOID: TypeId = TypeId(0);
}

/// A function's type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// What it returns.
    pub result: TypeId,
    /// What it takes.
    pub parameters: Vec<Parameter>,
    /// Whether more may follow: `...`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub variadic: bool,
    /// Whether it was declared without a prototype (`int f()`), so that callers promote what they pass.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unprototyped: bool,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type.
    pub of: TypeId,
}

/// A type of C. Sizes and offsets are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum CType {
    Void,
    Bool {
        name: String,
        size: u64,
    },
    Integer {
        name: String,
        size: u64,
        signed: bool,
    },
    Float {
        name: String,
        size: u64,
    },
    Pointer {
        to: TypeId,
    },
    /// Without a length: `int rest[]`.
    Array {
        of: TypeId,
        length: Option<u64>,
    },
    Struct {
        name: Option<String>,
        size: u64,
        fields: Vec<Field>,
    },
    Union {
        name: Option<String>,
        size: u64,
        fields: Vec<Field>,
    },
    Enum {
        name: Option<String>,
        size: u64,
        values: Vec<Enumerator>,
    },
    Function {
        function: Function,
    },
    /// `typedef of name`
    Alias {
        name: String,
        of: TypeId,
    },
    /// `const`, `volatile`, `restrict` or `_Atomic`.
    Qualified {
        qualifier: String,
        of: TypeId,
    },
    /// Declared, and defined elsewhere: `struct FILE`.
    Incomplete {
        what: String,
    },
    /// What this does not describe: `_Complex double`.
    Unknown {
        what: String,
    },
}

/// A field of a struct or a union.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name; an anonymous struct or union in another one has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its offset in bytes.
    pub offset: u64,
    /// Its type.
    pub of: TypeId,
    /// Of a bit field, how many bits it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u64>,
    /// Of a bit field, at which bit of the struct it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_offset: Option<u64>,
}

/// A value of an enum. Unsigned ones beyond `i64` wrap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Enumerator {
    pub name: String,
    pub value: i64,
}

impl Function {
    /// The same over other numbers.
    fn map(&self, to: &impl Fn(TypeId) -> TypeId) -> Function {
        let parameter = |of: &Parameter| Parameter { name: of.name.clone(), of: to(of.of) };
        let parameters = self.parameters.iter().map(parameter).collect();
        Function { result: to(self.result), parameters, ..*self }
    }
}

impl CType {
    /// The same over other numbers.
    fn map(&self, to: &impl Fn(TypeId) -> TypeId) -> CType {
        let all = |fields: &[Field]| fields.iter().map(|field| Field { of: to(field.of), ..field.clone() }).collect();
        match self {
            CType::Pointer { to: of } => CType::Pointer { to: to(*of) },
            CType::Array { of, length } => CType::Array { of: to(*of), length: *length },
            CType::Struct { name, size, fields } => {
                CType::Struct { name: name.clone(), size: *size, fields: all(fields) }
            }
            CType::Union { name, size, fields } => {
                CType::Union { name: name.clone(), size: *size, fields: all(fields) }
            }
            CType::Function { function } => CType::Function { function: function.map(to) },
            CType::Alias { name, of } => CType::Alias { name: name.clone(), of: to(*of) },
            CType::Qualified { qualifier, of } => CType::Qualified { qualifier: qualifier.clone(), of: to(*of) },
            other => other.clone(),
        }
    }
}

impl Abi {
    /// Keeps one of equal types: every unit that includes a header describes all of it once more.
    ///
    /// Types refer to each other in circles, so what is equal is found from the other side: at first all are, then those
    /// are told apart that look different or refer to different ones, until no more are (Moore's algorithm for automata).
    pub(crate) fn unite(&mut self) {
        let mut classes = vec![TypeId::VOID; self.types.len()];
        let mut count = 0;
        loop {
            let class = |id: TypeId| classes.get(id.0 as usize).copied().unwrap_or(id);
            let mut known: HashMap<CType, TypeId> = HashMap::new();
            let mut next = Vec::with_capacity(classes.len());
            for of in &self.types {
                let number = TypeId(known.len() as u32);
                next.push(*known.entry(of.map(&class)).or_insert(number));
            }
            let is_done = known.len() == count;
            count = known.len();
            classes = next;
            if is_done {
                break;
            }
        }
        let class = |id: TypeId| classes.get(id.0 as usize).copied().unwrap_or(id);
        let mut kept = Vec::with_capacity(count);
        for (of, number) in self.types.iter().zip(&classes) {
            // Numbers were given out in the order of the first of each class.
            if number.0 as usize == kept.len() {
                kept.push(of.map(&class));
            }
        }
        self.types = kept;
        for exported in self.exports.values_mut() {
            match exported {
                Exported::Function(function) => *function = function.map(&class),
                Exported::Variable(of) => *of = class(*of),
                Exported::Indirect | Exported::Unknown => {}
            }
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What a type is without its typedefs and qualifiers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare<'a> {
    pub(crate) id: TypeId,
    pub(crate) of: &'a CType,
    pub(crate) is_const: bool,
}

impl Abi {
    /// The type of that number; one that is not there is unknown.
    pub fn get(&self, id: TypeId) -> &CType {
        const MISSING: &CType = &CType::Unknown { what: String::new() };
        self.types.get(id.0 as usize).unwrap_or(MISSING)
    }

    /// Without typedefs and qualifiers.
    pub(crate) fn bare(&self, id: TypeId) -> Bare<'_> {
        const CIRCLE: &CType = &CType::Unknown { what: String::new() };
        let (mut id, mut is_const) = (id, false);
        for _ in 0..MAX_WRAPPERS {
            match self.get(id) {
                CType::Alias { of, .. } => id = *of,
                CType::Qualified { qualifier, of } => {
                    is_const |= qualifier == "const";
                    id = *of;
                }
                of => return Bare { id, of, is_const },
            }
        }
        Bare { id, of: CIRCLE, is_const }
    }

    /// The names that a type goes by: its typedefs from the outermost on, and its tag.
    pub(crate) fn names(&self, id: TypeId) -> Vec<&str> {
        let (mut id, mut names) = (id, Vec::new());
        for _ in 0..MAX_WRAPPERS {
            match self.get(id) {
                CType::Alias { name, of } => {
                    names.push(name.as_str());
                    id = *of;
                }
                CType::Qualified { of, .. } => id = *of,
                CType::Struct { name, .. } | CType::Union { name, .. } | CType::Enum { name, .. } => {
                    names.extend(name.as_deref());
                    break;
                }
                CType::Incomplete { what } => {
                    names.push(what.rsplit(' ').next().unwrap_or(what));
                    break;
                }
                _ => break,
            }
        }
        names
    }

    /// What the elements of an array of arrays are; of another type, itself. `None` if that has no end.
    pub(crate) fn element(&self, mut id: TypeId) -> Option<TypeId> {
        for _ in 0..MAX_WRAPPERS {
            match self.bare(id).of {
                CType::Array { of, .. } => id = *of,
                _ => return Some(id),
            }
        }
        None
    }

    /// Its size, where that is known.
    pub(crate) fn size(&self, id: TypeId) -> Option<u64> {
        let (mut id, mut times) = (id, 1u64);
        for _ in 0..MAX_WRAPPERS {
            let size = match self.bare(id).of {
                CType::Array { of, length } => {
                    times = times.checked_mul((*length)?)?;
                    id = *of;
                    continue;
                }
                CType::Bool { size, .. }
                | CType::Integer { size, .. }
                | CType::Float { size, .. }
                | CType::Struct { size, .. }
                | CType::Union { size, .. }
                | CType::Enum { size, .. } => *size,
                CType::Pointer { .. } => size_of::<usize>() as u64,
                _ => return None,
            };
            return times.checked_mul(size);
        }
        None
    }
}

impl Abi {
    /// The file that the types come from; the library, if nothing tells them.
    pub fn evidence_path(&self) -> &std::path::Path {
        match &self.evidence {
            Some(Evidence::DebugFile(path) | Evidence::Sidecar(path)) => path,
            Some(Evidence::Library) | None => &self.library,
        }
    }
}
