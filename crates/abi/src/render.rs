//! Types as text: near to how C declares them, on one line, and in an order that can be read aloud.

use crate::model::{Abi, CType, Exported, Field, Function, TypeId};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Deeper than anybody reads. What is deeper is `…`.
const MAX_DEPTH: usize = 8;

impl Abi {
    /// A type as a declaration would name it: `const Bytef *`.
    pub fn type_text(&self, id: TypeId) -> String {
        let mut text = String::new();
        self.put(&mut text, id, 0);
        text
    }

    /// The same with what its typedef stands for: `uInt (unsigned int)`.
    pub(crate) fn full_text(&self, id: TypeId) -> String {
        let (text, bare) = (self.type_text(id), self.type_text(self.bare(id).id));
        if text == bare || text.ends_with(&bare) { text } else { format!("{text} ({bare})") }
    }

    /// A function with its name: `uLong crc32(uLong crc, const Bytef *buf, uInt len)`.
    pub fn function_text(&self, name: &str, function: &Function) -> String {
        let mut text = String::new();
        self.put_function(&mut text, name, function, 0);
        text
    }

    /// What is exported under a name.
    pub fn export_text(&self, name: &str, exported: &Exported) -> String {
        match exported {
            Exported::Function(function) => self.function_text(name, function),
            Exported::Variable(of) => joined(&self.type_text(*of), name),
            Exported::Indirect => format!("{name} (indirect function)"),
            Exported::Unknown => format!("{name} (not described)"),
        }
    }

    /// The structs, unions and enums with what they are made of, a line each, sorted:
    /// `struct size 24 bytes: 0 double width, 8 double height, 16 uint8_t depth`.
    pub fn type_lines(&self) -> Vec<String> {
        let lines: BTreeSet<String> =
            (0..self.types.len()).filter_map(|at| self.type_line(TypeId(at as u32))).collect();
        lines.into_iter().collect()
    }

    fn type_line(&self, id: TypeId) -> Option<String> {
        let (size, parts): (u64, Vec<String>) = match self.get(id) {
            CType::Struct { size, fields, .. } | CType::Union { size, fields, .. } => {
                let part = |field: &Field| {
                    let of = joined(&self.type_text(field.of), field.name.as_deref().unwrap_or_default());
                    match (field.bits, field.bit_offset) {
                        (Some(bits), Some(at)) => format!("{}.{} {of}:{bits}", at / 8, at % 8),
                        _ => format!("{} {}", field.offset, of.trim_end()),
                    }
                };
                (*size, fields.iter().map(part).collect())
            }
            CType::Enum { size, values, .. } => {
                (*size, values.iter().map(|value| format!("{} = {}", value.name, value.value)).collect())
            }
            _ => return None,
        };
        Some(format!("{} {size} bytes: {}", self.title(id), parts.join(", ")))
    }

    /// A struct without a tag is known by its typedef.
    pub(crate) fn title(&self, id: TypeId) -> String {
        let text = self.type_text(id);
        let is_alias = |of: &&CType| matches!(of, CType::Alias { of, .. } if self.bare(*of).id == id);
        match text.contains('{').then(|| self.types.iter().find(is_alias)).flatten() {
            Some(CType::Alias { name, .. }) => format!("{} {name}", text.split(' ').next().unwrap_or_default()),
            _ => text,
        }
    }

    fn put(&self, text: &mut String, id: TypeId, depth: usize) {
        if depth > MAX_DEPTH {
            text.push('…');
            return;
        }
        let depth = depth + 1;
        match self.get(id) {
            CType::Void => text.push_str("void"),
            CType::Bool { name, .. }
            | CType::Integer { name, .. }
            | CType::Float { name, .. }
            | CType::Alias { name, .. } => {
                text.push_str(name);
            }
            CType::Pointer { to } => match self.get(*to) {
                CType::Function { function } => self.put_function(text, "(*)", function, depth),
                _ => {
                    self.put(text, *to, depth);
                    text.push_str(if text.ends_with('*') { "*" } else { " *" });
                }
            },
            CType::Array { of, length } => {
                self.put(text, *of, depth);
                let _ = match length {
                    Some(length) => write!(text, "[{length}]"),
                    None => write!(text, "[]"),
                };
            }
            CType::Struct { name, fields, .. } => self.put_aggregate(text, "struct", name.as_deref(), fields.len()),
            CType::Union { name, fields, .. } => self.put_aggregate(text, "union", name.as_deref(), fields.len()),
            CType::Enum { name, values, .. } => self.put_aggregate(text, "enum", name.as_deref(), values.len()),
            CType::Function { function } => self.put_function(text, "()", function, depth),
            CType::Qualified { qualifier, of } if matches!(self.get(*of), CType::Pointer { .. }) => {
                self.put(text, *of, depth);
                let _ = write!(text, " {qualifier}");
            }
            CType::Qualified { qualifier, of } => {
                let mut inner = String::new();
                self.put(&mut inner, *of, depth);
                // Of an array that is constant, compilers say that of its elements, too.
                if !inner.starts_with(&format!("{qualifier} ")) {
                    let _ = write!(text, "{qualifier} ");
                }
                text.push_str(&inner);
            }
            CType::Incomplete { what } => text.push_str(what),
            CType::Unknown { what } => text.push_str(if what.is_empty() { "an unknown type" } else { what }),
        }
    }

    fn put_aggregate(&self, text: &mut String, what: &str, name: Option<&str>, parts: usize) {
        let _ = match name {
            Some(name) => write!(text, "{what} {name}"),
            None => write!(text, "{what} {{ {parts} … }}"),
        };
    }

    fn put_function(&self, text: &mut String, name: &str, function: &Function, depth: usize) {
        let mut result = String::new();
        self.put(&mut result, function.result, depth);
        text.push_str(&joined(&result, name));
        text.push('(');
        for (at, parameter) in function.parameters.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { ", " });
            let mut of = String::new();
            self.put(&mut of, parameter.of, depth);
            match &parameter.name {
                Some(name) => text.push_str(&joined(&of, name)),
                None => text.push_str(&of),
            }
        }
        match (function.parameters.is_empty(), function.variadic) {
            (true, true) => text.push_str("..."),
            (false, true) => text.push_str(", ..."),
            (true, false) if !function.unprototyped => text.push_str("void"),
            _ => {}
        }
        text.push(')');
    }
}

/// `int` and `x` are `int x`, `char *` and `x` are `char *x`, `int (*)(void)` and `x` are `int (*x)(void)`.
fn joined(of: &str, name: &str) -> String {
    if let Some(at) = of.find("(*)") {
        return format!("{}(*{name}){}", &of[..at], &of[at + 3..]);
    }
    if let Some(at) = of.find('[') {
        return format!("{} {name}{}", &of[..at], &of[at..]);
    }
    if of.ends_with('*') { format!("{of}{name}") } else { format!("{of} {name}") }
}
