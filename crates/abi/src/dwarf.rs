//! From DWARF to types: the functions and variables at given addresses, and what they are made of.
//!
//! Symbols are matched by address, not by name: a name may be an alias, or that of another unit's static function.
//! Types refer to each other in circles, so each one gets its number first and is read later, from a queue: nothing here
//! recurses, and no input makes it. Nothing of the input is believed: every visit of an entry is counted, and who makes
//! entries overlap runs out of steps.

mod package;
mod source;

use crate::debug_file::DebugFile;
use crate::error::Error;
use crate::exports::Wanted;
use crate::model::{CType, Enumerator, Exported, Field, Function, Parameter, TypeId};
use gimli::{
    DW_AT_GNU_vector, DW_AT_artificial, DW_AT_bit_offset, DW_AT_bit_size, DW_AT_byte_size, DW_AT_calling_convention,
    DW_AT_const_value, DW_AT_count, DW_AT_data_bit_offset, DW_AT_data_member_location, DW_AT_declaration,
    DW_AT_encoding, DW_AT_prototyped, DW_AT_type, DW_AT_upper_bound, constants as dw,
};
use source::{Damage, Die, Place, Source};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// More parameters, fields or values than this, nobody writes by hand; generated enums come near.
const MAX_PARTS: usize = 1 << 20;

/// What was read.
pub(crate) struct Read {
    pub(crate) exports: BTreeMap<String, Exported>,
    pub(crate) types: Vec<CType>,
    /// The files with a part of the information that are not there.
    pub(crate) missing: Vec<PathBuf>,
}

/// Reads what is wanted; what is not described is left out.
pub(crate) fn read(file: &DebugFile<'_>, wanted: &[Wanted]) -> Result<Read, Error> {
    source::with(file, |source, missing| {
        let places = source.find(wanted)?;
        let mut builder = Builder::new(source);
        let mut exports = BTreeMap::new();
        for wanted in wanted {
            if let Some(&place) = places.get(wanted.name.as_str()) {
                exports.insert(wanted.name.clone(), builder.export(place)?);
            }
        }
        builder.finish()?;
        Ok(Read { exports, types: builder.types, missing })
    })
}

struct Builder<'s, 'd> {
    source: &'s Source<'d>,
    types: Vec<CType>,
    known: HashMap<Place, TypeId>,
    queue: Vec<(TypeId, Place)>,
}

type Result_<T> = Result<T, Damage>;

impl<'s, 'd> Builder<'s, 'd> {
    fn new(source: &'s Source<'d>) -> Self {
        Builder { source, types: vec![CType::Void], known: HashMap::new(), queue: Vec::new() }
    }

    fn export(&mut self, place: Place) -> Result_<Exported> {
        let die = self.source.entry(place)?;
        if die.tag() == dw::DW_TAG_subprogram {
            return Ok(Exported::Function(self.function(place, &die)?));
        }
        Ok(Exported::Variable(self.type_of(place, &die)?))
    }

    /// Reads what has only a number yet.
    fn finish(&mut self) -> Result_<()> {
        while let Some((id, place)) = self.queue.pop() {
            let of = self.read_type(place)?;
            self.types[id.0 as usize] = of;
        }
        Ok(())
    }

    fn id_of(&mut self, place: Place) -> Result_<TypeId> {
        if let Some(&id) = self.known.get(&place) {
            return Ok(id);
        }
        // A declaration may be completed by a unit of the type's own.
        let whole = self.source.completed(place)?;
        let id = match self.known.get(&whole) {
            Some(&id) => id,
            None => {
                let id = TypeId(u32::try_from(self.types.len()).map_err(|_| Damage::Endless)?);
                self.types.push(CType::Unknown { what: String::new() });
                self.known.insert(whole, id);
                self.queue.push((id, whole));
                id
            }
        };
        self.known.insert(place, id);
        Ok(id)
    }

    /// What `DW_AT_type` leads to, of the entry or of the one that it completes; nothing is `void`.
    fn type_of(&mut self, place: Place, die: &Die<'d>) -> Result_<TypeId> {
        match self.source.inherited(place, die, DW_AT_type)? {
            Some((from, value)) => match self.source.refers(from, value) {
                Some(to) => self.id_of(to),
                None => Ok(self.unknown("a type that is described elsewhere")),
            },
            None => Ok(TypeId::VOID),
        }
    }

    fn unknown(&mut self, what: &str) -> TypeId {
        self.types.push(CType::Unknown { what: what.to_owned() });
        TypeId((self.types.len() - 1) as u32)
    }

    fn function(&mut self, place: Place, die: &Die<'d>) -> Result_<Function> {
        // A copy of an inlined function refers to the one that has the parameters.
        let (place, die) = self.source.origin(place, die.clone())?;
        let is_prototyped = !self.source.is_c(place) || self.source.inherited(place, &die, DW_AT_prototyped)?.is_some();
        let mut function = Function {
            result: self.type_of(place, &die)?,
            parameters: Vec::new(),
            variadic: false,
            unprototyped: !is_prototyped,
        };
        for (at, child) in self.source.children(place)? {
            match child.tag() {
                dw::DW_TAG_formal_parameter => {
                    let name = self.source.name(at, &child)?;
                    // `this` is no parameter that anybody wrote, but it is passed as one.
                    let name = if child.has_attr(DW_AT_artificial) { name.or(Some("this".into())) } else { name };
                    function.parameters.push(Parameter { name, of: self.type_of(at, &child)? });
                }
                dw::DW_TAG_unspecified_parameters => function.variadic = true,
                _ => {}
            }
        }
        Ok(function)
    }

    fn read_type(&mut self, place: Place) -> Result_<CType> {
        let die = self.source.entry(place)?;
        let die = &die;
        let name = self.source.name(place, die)?;
        Ok(match die.tag() {
            dw::DW_TAG_base_type => base(die, name.unwrap_or_default()),
            dw::DW_TAG_pointer_type | dw::DW_TAG_reference_type | dw::DW_TAG_rvalue_reference_type => {
                CType::Pointer { to: self.type_of(place, die)? }
            }
            dw::DW_TAG_const_type => self.qualified("const", place, die)?,
            dw::DW_TAG_volatile_type => self.qualified("volatile", place, die)?,
            dw::DW_TAG_restrict_type => self.qualified("restrict", place, die)?,
            dw::DW_TAG_atomic_type => self.qualified("_Atomic", place, die)?,
            dw::DW_TAG_typedef => CType::Alias { name: name.unwrap_or_default(), of: self.type_of(place, die)? },
            dw::DW_TAG_structure_type | dw::DW_TAG_class_type => self.aggregate("struct", name, place, die)?,
            dw::DW_TAG_union_type => self.aggregate("union", name, place, die)?,
            dw::DW_TAG_enumeration_type => self.enumeration(name, place, die)?,
            dw::DW_TAG_array_type => self.array(place, die)?,
            dw::DW_TAG_subroutine_type => CType::Function { function: self.function(place, die)? },
            tag => CType::Unknown { what: format!("a {tag}") },
        })
    }

    fn qualified(&mut self, qualifier: &str, place: Place, die: &Die<'d>) -> Result_<CType> {
        Ok(CType::Qualified { qualifier: qualifier.to_owned(), of: self.type_of(place, die)? })
    }

    fn aggregate(&mut self, what: &str, name: Option<String>, place: Place, die: &Die<'d>) -> Result_<CType> {
        let title = || format!("{what} {}", name.as_deref().unwrap_or("{ … }"));
        if die.has_attr(DW_AT_declaration) {
            return Ok(CType::Incomplete { what: title() });
        }
        if let Some(gimli::AttributeValue::CallingConvention(dw::DW_CC_pass_by_reference)) =
            die.attr_value(DW_AT_calling_convention)
        {
            return Ok(CType::Unknown { what: format!("{}, which C++ never passes by value", title()) });
        }
        let Some(size) = number(die, DW_AT_byte_size) else {
            return Ok(CType::Unknown { what: format!("{} without a size", title()) });
        };
        let mut fields = Vec::new();
        for (at, child) in self.source.children(place)? {
            let is_member = child.tag() == dw::DW_TAG_member && !child.has_attr(DW_AT_declaration);
            if is_member || child.tag() == dw::DW_TAG_inheritance {
                fields.push(self.field(at, &child)?);
            }
        }
        Ok(match what {
            "union" => CType::Union { name, size, fields },
            _ => CType::Struct { name, size, fields },
        })
    }

    fn field(&mut self, place: Place, die: &Die<'d>) -> Result_<Field> {
        let of = self.type_of(place, die)?;
        let name = self.source.name(place, die)?;
        let bits = number(die, DW_AT_bit_size);
        let location = self.source.member_location(place, die, DW_AT_data_member_location)?;
        let bit_offset = match (bits, number(die, DW_AT_data_bit_offset), number(die, DW_AT_bit_offset)) {
            (Some(_), Some(at), _) => Some(at),
            // DWARF 2 and 3 count from the most significant bit of a storage unit.
            (Some(bits), None, Some(from_top)) => {
                let unit = number(die, DW_AT_byte_size).unwrap_or(4).wrapping_mul(8);
                let start = location.unwrap_or(0).wrapping_mul(8);
                Some(start.wrapping_add(unit.wrapping_sub(from_top).wrapping_sub(bits)))
            }
            (Some(_), None, None) => Some(location.unwrap_or(0).wrapping_mul(8)),
            (None, ..) => None,
        };
        let offset = location.or(bit_offset.map(|bits| bits / 8)).unwrap_or(0);
        Ok(Field { name, offset, of, bits, bit_offset })
    }

    fn enumeration(&mut self, name: Option<String>, place: Place, die: &Die<'d>) -> Result_<CType> {
        let title = || format!("enum {}", name.as_deref().unwrap_or("{ … }"));
        if die.has_attr(DW_AT_declaration) {
            return Ok(CType::Incomplete { what: title() });
        }
        let Some(size) = number(die, DW_AT_byte_size) else {
            return Ok(CType::Unknown { what: format!("{} without a size", title()) });
        };
        let mut values = Vec::new();
        for (at, child) in self.source.children(place)? {
            if child.tag() == dw::DW_TAG_enumerator {
                let value = match child.attr_value(DW_AT_const_value) {
                    Some(gimli::AttributeValue::Sdata(value)) => value,
                    Some(value) => value.udata_value().unwrap_or(0) as i64,
                    None => 0,
                };
                values.push(Enumerator { name: self.source.name(at, &child)?.unwrap_or_default(), value });
            }
        }
        Ok(CType::Enum { name, size, values })
    }

    /// `int x[2][3]` is one entry with two ranges; here it is an array of arrays.
    fn array(&mut self, place: Place, die: &Die<'d>) -> Result_<CType> {
        if die.has_attr(DW_AT_GNU_vector) {
            return Ok(CType::Unknown { what: "a vector".into() });
        }
        let mut lengths = Vec::new();
        for (_, child) in self.source.children(place)? {
            if child.tag() == dw::DW_TAG_subrange_type {
                let bound = number(&child, DW_AT_upper_bound).and_then(|bound| bound.checked_add(1));
                lengths.push(number(&child, DW_AT_count).or(bound));
            }
        }
        let outermost = if lengths.is_empty() { None } else { lengths.remove(0) };
        let mut of = self.type_of(place, die)?;
        for length in lengths.into_iter().rev() {
            self.types.push(CType::Array { of, length });
            of = TypeId((self.types.len() - 1) as u32);
        }
        Ok(CType::Array { of, length: outermost })
    }
}

/// An attribute that is a constant.
fn number(die: &Die<'_>, name: gimli::DwAt) -> Option<u64> {
    die.attr_value(name)?.udata_value()
}

fn base(die: &Die<'_>, name: String) -> CType {
    let Some(size) = number(die, DW_AT_byte_size) else {
        return CType::Unknown { what: format!("{name} without a size") };
    };
    match die.attr_value(DW_AT_encoding) {
        Some(gimli::AttributeValue::Encoding(encoding)) => match encoding {
            dw::DW_ATE_boolean => CType::Bool { name, size },
            dw::DW_ATE_signed | dw::DW_ATE_signed_char => CType::Integer { name, size, signed: true },
            dw::DW_ATE_unsigned | dw::DW_ATE_unsigned_char | dw::DW_ATE_UTF => {
                CType::Integer { name, size, signed: false }
            }
            dw::DW_ATE_float if size == 4 || size == 8 => CType::Float { name, size },
            _ => CType::Unknown { what: name },
        },
        _ => CType::Unknown { what: name },
    }
}
