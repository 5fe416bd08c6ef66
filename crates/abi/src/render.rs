//! Types as text: near to how C declares them, on one line, and in an order that can be read aloud.

use crate::model::{Abi, CType, Exported, Field, Function, TypeId};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Deeper than anybody reads. What is deeper is `…`.
const MAX_DEPTH: usize = 8;

/// More than anybody reads, in bytes. Then comes `…`: within its depth, a type may still be as wide as its width to the
/// power of that.
const MAX_TEXT: usize = 4 << 10;

impl Abi {
    /// A type as a declaration would name it: `const Bytef *`.
    pub fn type_text(&self, id: TypeId) -> String {
        let mut text = String::new();
        Writer::new(self).put(&mut text, id, 0);
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
        Writer::new(self).put_function(&mut text, name, function, 0);
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
}

/// Writes one type.
struct Writer<'a> {
    abi: &'a Abi,
    /// How much may still be written, of all parts together.
    left: usize,
}

impl<'a> Writer<'a> {
    fn new(abi: &'a Abi) -> Self {
        Writer { abi, left: MAX_TEXT }
    }

    /// A part without a text counts as well, or there could be any number of them.
    fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes.max(1));
    }

    fn word(&mut self, text: &mut String, word: &str) {
        self.spend(word.len());
        text.push_str(word);
    }

    fn put(&mut self, text: &mut String, id: TypeId, depth: usize) {
        if depth > MAX_DEPTH || self.left == 0 {
            return self.word(text, "…");
        }
        let depth = depth + 1;
        match self.abi.get(id) {
            CType::Void => self.word(text, "void"),
            CType::Bool { name, .. }
            | CType::Integer { name, .. }
            | CType::Float { name, .. }
            | CType::Alias { name, .. } => self.word(text, name),
            CType::Pointer { to } => match self.abi.get(*to) {
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
            CType::Qualified { qualifier, of } if matches!(self.abi.get(*of), CType::Pointer { .. }) => {
                self.put(text, *of, depth);
                self.word(text, &format!(" {qualifier}"));
            }
            CType::Qualified { qualifier, of } => {
                let mut inner = String::new();
                self.put(&mut inner, *of, depth);
                // Of an array that is constant, compilers say that of its elements, too.
                if !inner.starts_with(&format!("{qualifier} ")) {
                    self.word(text, &format!("{qualifier} "));
                }
                text.push_str(&inner);
            }
            CType::Incomplete { what } => self.word(text, what),
            CType::Unknown { what } => self.word(text, if what.is_empty() { "an unknown type" } else { what }),
        }
    }

    fn put_aggregate(&mut self, text: &mut String, what: &str, name: Option<&str>, parts: usize) {
        match name {
            Some(name) => self.word(text, &format!("{what} {name}")),
            None => self.word(text, &format!("{what} {{ {parts} … }}")),
        }
    }

    fn put_function(&mut self, text: &mut String, name: &str, function: &Function, depth: usize) {
        let mut result = String::new();
        self.put(&mut result, function.result, depth);
        text.push_str(&joined(&result, name));
        text.push('(');
        for (at, parameter) in function.parameters.iter().enumerate() {
            self.word(text, if at == 0 { "" } else { ", " });
            if self.left == 0 {
                text.push('…');
                break;
            }
            let mut of = String::new();
            self.put(&mut of, parameter.of, depth);
            match &parameter.name {
                Some(name) => {
                    self.spend(name.len());
                    text.push_str(&joined(&of, name));
                }
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
