//! What breaks between two versions of a library, for programs that were built against the old one.
//!
//! Both graphs of types are walked side by side, from each function that both have. A struct or an enum that changed is
//! told once, with who uses it; what only got a new name is no change.

use crate::model::{Abi, CType, Enumerator, Exported, Field, Function, TypeId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// What changed between two libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// What breaks programs that were built against the old one, sorted.
    pub breaks: Vec<Change>,
    /// What does not.
    pub harmless: Vec<Change>,
    /// What both have, but one or both do not describe: its type may have changed.
    pub unknown: Vec<String>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The export, or the type as C names it: `crc32`, `struct z_stream_s`.
    pub what: String,
    /// Where in it: `parameter 1 (strm)`, `field avail_in`; empty for the whole.
    pub at: String,
    /// What the old library has there; `None` if nothing.
    pub old: Option<String>,
    /// What the new one has.
    pub new: Option<String>,
    /// Of a type, the exports that it concerns, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.at.is_empty() {
            write!(f, ": {}", self.at)?;
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, " was {old}, is {new}")?,
            (Some(old), None) => write!(f, " is gone (was {old})")?,
            (None, Some(new)) => write!(f, " is new ({new})")?,
            (None, None) => {}
        }
        const SHOWN: usize = 3;
        if let [first @ .., last] = self.used_by.as_slice() {
            let shown: Vec<&str> = first.iter().take(SHOWN).map(String::as_str).collect();
            match first.len() {
                0 => write!(f, " (used by {last})")?,
                1..=SHOWN => write!(f, " (used by {} and {last})", shown.join(", "))?,
                more => write!(f, " (used by {} and {} more)", shown.join(", "), more + 1 - SHOWN)?,
            }
        }
        Ok(())
    }
}

/// Compares what two libraries export.
pub fn diff(old: &Abi, new: &Abi) -> Diff {
    let mut diff = Diff::default();
    let mut walk = Walk { old, new, numbers: HashMap::new(), nodes: Vec::new(), changes: BTreeMap::new() };
    for (name, exported) in &old.exports {
        match new.exports.get(name) {
            Some(now) => compare(&mut walk, &mut diff, name, exported, now),
            None => diff.breaks.push(change(name, "", Some(old.export_text(name, exported)), None)),
        }
    }
    for (name, exported) in new.exports.iter().filter(|(name, _)| !old.exports.contains_key(*name)) {
        diff.harmless.push(change(name, "", None, Some(new.export_text(name, exported))));
    }
    for ((mut change, is_harmless), used_by) in walk.changes_with_users() {
        change.used_by = used_by;
        if is_harmless { diff.harmless.push(change) } else { diff.breaks.push(change) }
    }
    diff.breaks.sort();
    diff.harmless.sort();
    diff
}

fn change(what: &str, at: &str, old: Option<String>, new: Option<String>) -> Change {
    Change { what: what.to_owned(), at: at.to_owned(), old, new, used_by: Vec::new() }
}

fn compare<'a>(walk: &mut Walk<'a>, diff: &mut Diff, name: &'a str, old: &Exported, new: &Exported) {
    let whole = |walk: &Walk<'_>| {
        change(name, "", Some(walk.old.export_text(name, old)), Some(walk.new.export_text(name, new)))
    };
    match (old, new) {
        (Exported::Function(one), Exported::Function(two)) => {
            diff.breaks.extend(walk.signature(name, one, two));
        }
        (Exported::Variable(one), Exported::Variable(two)) => {
            let root = (*one, *two);
            if !walk.is_same(root) {
                diff.breaks.push(whole(walk));
            }
            walk.follow(name, root);
        }
        (Exported::Function(_), Exported::Variable(_)) | (Exported::Variable(_), Exported::Function(_)) => {
            diff.breaks.push(whole(walk));
        }
        _ => diff.unknown.push(name.to_owned()),
    }
}

/// A type of the old library and the one in its place in the new one.
type Pair = (TypeId, TypeId);

struct Walk<'a> {
    old: &'a Abi,
    new: &'a Abi,
    /// The numbers of pairs in `nodes`.
    numbers: HashMap<Pair, usize>,
    /// Pairs that were visited, and what leads to them.
    nodes: Vec<Node<'a>>,
    /// Changes of types, whether they are harmless, and at which pairs they were found.
    changes: BTreeMap<(Change, bool), BTreeSet<Pair>>,
}

#[derive(Default)]
struct Node<'a> {
    from: Vec<usize>,
    exports: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn signature(&mut self, name: &'a str, old: &Function, new: &Function) -> Vec<Change> {
        let mut changes = Vec::new();
        let parameters = |function: &Function| match (function.parameters.len(), function.variadic) {
            (1, false) => "1 parameter".to_owned(),
            (count, false) => format!("{count} parameters"),
            (count, true) => format!("{count} parameters and more (...)"),
        };
        if (old.parameters.len(), old.variadic) != (new.parameters.len(), new.variadic) {
            changes.push(change(name, "it", Some(parameters(old)), Some(parameters(new))));
        }
        for (number, (one, two)) in (1..).zip(old.parameters.iter().zip(&new.parameters)) {
            let label = two.name.as_ref().or(one.name.as_ref()).map(|name| format!(" ({name})")).unwrap_or_default();
            changes.extend(self.place(name, &format!("parameter {number}{label}"), (one.of, two.of)));
        }
        changes.extend(self.place(name, "the result", (old.result, new.result)));
        changes
    }

    fn place(&mut self, name: &'a str, at: &str, pair: Pair) -> Option<Change> {
        let change = (!self.is_same(pair)).then(|| self.told(name, at, pair));
        self.follow(name, pair);
        change
    }

    fn told(&self, what: &str, at: &str, pair: Pair) -> Change {
        change(what, at, Some(self.old.full_text(pair.0)), Some(self.new.full_text(pair.1)))
    }

    /// Whether the two are one type as far as this level goes: what structs and enums are made of is told by themselves.
    fn is_same(&self, pair: Pair) -> bool {
        let (mut one, mut two) = (self.old.bare(pair.0), self.new.bare(pair.1));
        // Pointers to pointers to the same are the same; as many as there are, but no circle.
        for _ in 0..64 {
            match (one.of, two.of) {
                (CType::Pointer { to: a }, CType::Pointer { to: b })
                | (CType::Array { of: a, length: None }, CType::Array { of: b, length: None }) => {
                    let (next_one, next_two) = (self.old.bare(*a), self.new.bare(*b));
                    // Less may be done with what is const now; what a caller has may be const.
                    if next_one.is_const && !next_two.is_const {
                        return false;
                    }
                    (one, two) = (next_one, next_two);
                }
                (CType::Array { of: a, length: x }, CType::Array { of: b, length: y }) if x == y => {
                    (one, two) = (self.old.bare(*a), self.new.bare(*b));
                }
                (one, two) => return is_same_kind(one, two),
            }
        }
        true
    }

    /// Visits all that can be reached.
    fn follow(&mut self, name: &'a str, root: Pair) {
        let mut queue = Vec::new();
        let root = self.number(root, &mut queue);
        self.nodes[root].exports.push(name);
        while let Some((number, pair)) = queue.pop() {
            for next in self.visit(pair) {
                let next = self.number(next, &mut queue);
                self.nodes[next].from.push(number);
            }
        }
    }

    /// The number of a pair, without typedefs and qualifiers; one that is new is to be visited.
    fn number(&mut self, pair: Pair, queue: &mut Vec<(usize, Pair)>) -> usize {
        let pair = (self.old.bare(pair.0).id, self.new.bare(pair.1).id);
        let number = *self.numbers.entry(pair).or_insert(self.nodes.len());
        if number == self.nodes.len() {
            self.nodes.push(Node::default());
            queue.push((number, pair));
        }
        number
    }

    /// Compares one level, and says what is below it.
    fn visit(&mut self, pair: Pair) -> Vec<Pair> {
        let (old, new) = (self.old, self.new);
        match (old.get(pair.0), new.get(pair.1)) {
            (CType::Pointer { to: a }, CType::Pointer { to: b })
            | (CType::Array { of: a, .. }, CType::Array { of: b, .. }) => vec![(*a, *b)],
            (CType::Struct { size: a, fields: one, .. }, CType::Struct { size: b, fields: two, .. })
            | (CType::Union { size: a, fields: one, .. }, CType::Union { size: b, fields: two, .. }) => {
                self.layouts(pair, (*a, one), (*b, two))
            }
            (CType::Enum { values: one, .. }, CType::Enum { values: two, .. }) => {
                self.values(pair, one, two);
                Vec::new()
            }
            (CType::Function { function: one }, CType::Function { function: two }) => {
                let title = old.type_text(pair.0);
                for change in self.signature_of_pointer(&title, one, two) {
                    self.note(pair, change, false);
                }
                let parameters = one.parameters.iter().zip(&two.parameters).map(|(a, b)| (a.of, b.of));
                parameters.chain([(one.result, two.result)]).collect()
            }
            _ => Vec::new(),
        }
    }

    fn signature_of_pointer(&self, title: &str, old: &Function, new: &Function) -> Vec<Change> {
        let mut changes = Vec::new();
        if (old.parameters.len(), old.variadic) != (new.parameters.len(), new.variadic) {
            let text = |abi: &Abi, function: &Function| Some(abi.function_text("()", function));
            changes.push(change(title, "it", text(self.old, old), text(self.new, new)));
        }
        for (number, (one, two)) in (1..).zip(old.parameters.iter().zip(&new.parameters)) {
            if !self.is_same((one.of, two.of)) {
                changes.push(self.told(title, &format!("parameter {number}"), (one.of, two.of)));
            }
        }
        if !self.is_same((old.result, new.result)) {
            changes.push(self.told(title, "the result", (old.result, new.result)));
        }
        changes
    }

    fn note(&mut self, pair: Pair, change: Change, is_harmless: bool) {
        self.changes.entry((change, is_harmless)).or_default().insert(pair);
    }

    fn layouts(&mut self, pair: Pair, old: (u64, &[Field]), new: (u64, &[Field])) -> Vec<Pair> {
        let title = self.old.title(pair.0);
        let mut below = Vec::new();
        if old.0 != new.0 {
            let bytes = |size: u64| Some(format!("{size} bytes"));
            self.note(pair, change(&title, "it", bytes(old.0), bytes(new.0)), false);
        }
        for (number, field) in old.1.iter().enumerate() {
            let label =
                field.name.as_ref().map_or_else(|| format!("field {}", number + 1), |name| format!("field {name}"));
            let found = match &field.name {
                Some(name) => new.1.iter().find(|other| other.name.as_ref() == Some(name)),
                None => new.1.iter().filter(|other| other.name.is_none()).find(|other| other.offset == field.offset),
            };
            // One in its place, of another name.
            let renamed = || {
                let is_free = |other: &&Field| old.1.iter().all(|field| field.name != other.name);
                new.1.iter().filter(is_free).find(|other| {
                    (other.offset, other.bit_offset) == (field.offset, field.bit_offset)
                        && self.is_same((field.of, other.of))
                })
            };
            let Some(found) = found.or_else(renamed) else {
                let old = Some(self.old.full_text(field.of));
                self.note(pair, change(&title, &label, old, None), false);
                continue;
            };
            let place = |field: &Field| match (field.bits, field.bit_offset) {
                (Some(bits), Some(at)) => format!("{bits} bits at bit {at}"),
                _ => format!("at offset {}", field.offset),
            };
            if place(field) != place(found) {
                self.note(pair, change(&title, &label, Some(place(field)), Some(place(found))), false);
            }
            if !self.is_same((field.of, found.of)) {
                let told = self.told(&title, &label, (field.of, found.of));
                self.note(pair, told, false);
            }
            if field.name != found.name {
                let name = |field: &Field| field.name.clone();
                self.note(pair, change(&title, &label, name(field), name(found)), true);
            }
            below.push((field.of, found.of));
        }
        for field in new.1.iter().filter(|field| is_new(field, old.1)) {
            let label = format!("field {}", field.name.as_deref().unwrap_or("without a name"));
            let at = format!("{} at offset {}", self.new.full_text(field.of), field.offset);
            // What it does to the others, and to the size, is told by them.
            self.note(pair, change(&title, &label, None, Some(at)), true);
        }
        below
    }

    fn values(&mut self, pair: Pair, old: &[Enumerator], new: &[Enumerator]) {
        let title = self.old.title(pair.0);
        let text = |value: i64| Some(value.to_string());
        for value in old {
            match new.iter().find(|other| other.name == value.name) {
                Some(other) if other.value == value.value => {}
                Some(other) => {
                    self.note(pair, change(&title, &value.name, text(value.value), text(other.value)), false);
                }
                None => self.note(pair, change(&title, &value.name, text(value.value), None), false),
            }
        }
        for value in new.iter().filter(|value| old.iter().all(|other| other.name != value.name)) {
            self.note(pair, change(&title, &value.name, None, text(value.value)), true);
        }
    }

    /// The changes, and the exports from which their pairs can be reached, sorted.
    fn changes_with_users(mut self) -> Vec<((Change, bool), Vec<String>)> {
        // Many changes are in one struct.
        let mut known: HashMap<BTreeSet<Pair>, BTreeSet<&str>> = HashMap::new();
        let changes = std::mem::take(&mut self.changes).into_iter().map(|(change, pairs)| {
            let users = known.entry(pairs).or_insert_with_key(|pairs| self.users(pairs));
            (change, users.iter().map(|&name| name.to_owned()).collect())
        });
        changes.collect()
    }

    /// The exports from which these pairs can be reached.
    fn users(&self, pairs: &BTreeSet<Pair>) -> BTreeSet<&'a str> {
        let mut queue: Vec<usize> = pairs.iter().filter_map(|pair| self.numbers.get(pair).copied()).collect();
        let (mut users, mut seen) = (BTreeSet::new(), vec![false; self.nodes.len()]);
        while let Some(number) = queue.pop() {
            if !std::mem::replace(&mut seen[number], true) {
                users.extend(&self.nodes[number].exports);
                queue.extend(&self.nodes[number].from);
            }
        }
        users
    }
}

fn is_new(field: &Field, old: &[Field]) -> bool {
    old.iter()
        .all(|other| other.name != field.name && (other.offset, other.bit_offset) != (field.offset, field.bit_offset))
}

fn is_same_kind(one: &CType, two: &CType) -> bool {
    use CType as C;
    match (one, two) {
        (C::Integer { size: a, signed: x, .. }, C::Integer { size: b, signed: y, .. }) => (a, x) == (b, y),
        (C::Bool { size: a, .. }, C::Bool { size: b, .. })
        | (C::Float { size: a, .. }, C::Float { size: b, .. })
        | (C::Enum { size: a, .. }, C::Enum { size: b, .. }) => a == b,
        // Where one library defines what the other only declares, nothing is known to have changed.
        (C::Struct { .. } | C::Union { .. } | C::Enum { .. }, C::Incomplete { .. })
        | (C::Incomplete { .. }, C::Struct { .. } | C::Union { .. } | C::Enum { .. } | C::Incomplete { .. }) => true,
        (C::Struct { .. }, C::Struct { .. })
        | (C::Union { .. }, C::Union { .. })
        | (C::Function { .. }, C::Function { .. })
        | (C::Void, C::Void) => true,
        (C::Array { length: a, .. }, C::Array { length: b, .. }) => a == b,
        (C::Unknown { what: a }, C::Unknown { what: b }) => a == b,
        _ => false,
    }
}
