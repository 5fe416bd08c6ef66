//! Descriptions: what two sides must agree on is equal, and what they must not mistake for one another differs.
#![allow(missing_docs, dead_code, unreachable_pub, reason = "types to be described")]

extern crate sideload_plugin as sideload;

use sideload::abi::{Api, Described, Exported, Linked, LinkedItem, Lookup, RowNote, Stable, Tier, Type, Typed, decode};
use sideload::abi::{Export, read_note};
use std::sync::atomic::AtomicU32;

#[derive(sideload::Stable)]
#[repr(C)]
pub struct Point {
    x: u32,
    y: f32,
}

mod swapped {
    #[derive(sideload::Stable)]
    #[repr(C)]
    pub struct Point {
        x: f32,
        y: u32,
    }
}

#[derive(sideload::Typed)]
struct View<'a> {
    text: &'a str,
    marks: Vec<u8>,
}

#[derive(sideload::Stable)]
#[repr(u8)]
enum Colour {
    Red = 3,
    Green,
    Mixed(u8, u8) = 9,
}

#[derive(sideload::Typed)]
struct Pair<T> {
    one: T,
    two: Option<Box<T>>,
}

#[sideload::export]
trait Shape: Send {
    fn area(&self, scale: f64) -> f64;
    fn name(&self) -> &str;
}

#[sideload::export]
fn greet(name: &str) -> String {
    name.to_owned()
}

#[sideload::export(name = "other", symbol = "my_symbol")]
pub extern "C" fn add(one: i32, other: i32) -> i32 {
    one + other
}

#[sideload::export]
fn pick<'a>(one: &'a str, _other: &str) -> &'a str {
    one
}

#[sideload::export]
fn view<'a>(text: &'a str, _of: View<'_>) -> View<'a> {
    View { text, marks: Vec::new() }
}

#[sideload::export]
static COUNT: AtomicU32 = AtomicU32::new(7);

#[derive(sideload::Api)]
struct All {
    greet: fn(&str) -> String,
    #[api(name = "other")]
    add: extern "C" fn(i32, i32) -> i32,
    pick: for<'a> fn(&'a str, &str) -> &'a str,
    view: for<'a> fn(&'a str, View<'_>) -> View<'a>,
    #[api(name = "COUNT")]
    count: &'static AtomicU32,
    absent: Option<fn()>,
}

fn row(linked: Linked) -> (Export, *const ()) {
    match linked.item {
        LinkedItem::Export(row, address) => (row, address),
        LinkedItem::Init(..) => panic!("an init function"),
    }
}

/// A plugin of what is exported above.
struct Here;

// SAFETY: items are found by kind and fingerprint.
unsafe impl Lookup for Here {
    type Error = String;

    fn find(&self, name: &str, _is_function: bool, of: &'static Type, wanted: u128) -> Result<*const (), String> {
        let all = [__sideload_greet, __sideload_add, __sideload_pick, __sideload_view, __sideload_COUNT].map(row);
        let (row, address) = all.into_iter().find(|(row, _)| row.name == name).ok_or(format!("no {name}"))?;
        if row.of.fingerprint() == wanted { Ok(address) } else { Err(explain(of, row.of)) }
    }

    fn has(&self, name: &str) -> bool {
        name != "absent"
    }
}

fn owned(of: &Type) -> Described {
    let described = decode(&of.encode()).expect("it was just encoded");
    assert_eq!(described.fingerprint(), of.fingerprint(), "both write the same bytes");
    described
}

fn explain(expected: &Type, found: &Type) -> String {
    let difference = owned(expected).first_difference(&owned(found)).expect("they differ");
    format!("{}: expected {}, found {}", difference.at, difference.expected, difference.found)
}

#[test]
fn an_api_finds_what_the_attributes_exported() {
    let all = All::load(&Here).expect("the very same signatures");
    assert_eq!((all.greet)("you"), "you");
    assert_eq!((all.add)(40, 2), 42);
    assert_eq!((all.pick)("a", "b"), "a");
    assert_eq!((all.view)("text", View { text: "", marks: Vec::new() }).text, "text");
    assert_eq!(all.count.load(std::sync::atomic::Ordering::Relaxed), 7);
    assert!(all.absent.is_none());
}

#[test]
fn a_type_alone_describes_what_the_attribute_does() {
    assert_eq!(<fn(&str) -> String as Exported>::FINGERPRINT, row(__sideload_greet).0.of.fingerprint());
    assert_eq!(<extern "C" fn(i32, i32) -> i32 as Exported>::FINGERPRINT, row(__sideload_add).0.of.fingerprint());
    assert_eq!(<&'static AtomicU32 as Exported>::FINGERPRINT, row(__sideload_COUNT).0.of.fingerprint());
    assert_eq!(row(__sideload_add).0.symbol, "my_symbol");
}

#[test]
fn what_differs_is_told_apart_and_named() {
    type Case = (&'static Type, &'static Type, &'static str);
    const CASES: &[Case] = &[
        (&Point::TYPE, &swapped::Point::TYPE, "field x: expected u32, found f32"),
        (
            <fn(&str) -> String as Exported>::ITEM,
            <fn(&'static str) -> String as Exported>::ITEM,
            "argument 1: expected &str, found &'static str",
        ),
        (
            <fn(&str) -> &str as Exported>::ITEM,
            <fn(&str) -> &'static str as Exported>::ITEM,
            "result: expected &str, found &'static str",
        ),
        (
            <fn(u32) -> u32 as Exported>::ITEM,
            <unsafe fn(u32) -> u32 as Exported>::ITEM,
            ": expected fn(u32) -> u32, found unsafe fn(u32) -> u32",
        ),
        (
            <fn(u32) -> u32 as Exported>::ITEM,
            <extern "C" fn(u32) -> u32 as Exported>::ITEM,
            ": expected fn(u32) -> u32, found extern \"C\" fn(u32) -> u32",
        ),
        (
            <fn(&mut Vec<u8>) as Exported>::ITEM,
            <fn(&mut Vec<i8>) as Exported>::ITEM,
            "argument 1, behind the reference, parameter 1: expected u8, found i8",
        ),
    ];
    for (expected, found, text) in CASES {
        assert_ne!(expected.fingerprint(), found.fingerprint(), "{text}");
        assert_eq!(explain(expected, found), *text);
    }
}

#[test]
fn tiers_follow_from_the_parts() {
    fn is_stable<T: Stable>() -> Tier {
        T::TYPE.tier
    }
    assert_eq!(is_stable::<Point>(), Tier::Stable);
    assert_eq!(is_stable::<Colour>(), Tier::Stable);
    let cases = [
        ("View", View::TYPE.tier, Tier::Build),
        ("Pair", Pair::<u8>::TYPE.tier, Tier::Build),
        ("&Point", <&'static Point>::TYPE.tier, Tier::Stable),
        ("&str", <&'static str>::TYPE.tier, Tier::Build),
        ("Option<&Point>", Option::<&'static Point>::TYPE.tier, Tier::Stable),
        ("Option<u32>", Option::<u32>::TYPE.tier, Tier::Build),
        ("extern C fn(&Point)", <extern "C" fn(&Point)>::TYPE.tier, Tier::Stable),
        ("fn(&Point)", <fn(&Point)>::TYPE.tier, Tier::Build),
        ("Box<dyn Shape>", Box::<dyn Shape>::TYPE.tier, Tier::Build),
    ];
    for (what, tier, expected) in cases {
        assert_eq!(tier, expected, "{what}");
    }
}

#[test]
fn an_enum_states_its_numbers() {
    let described = format!("{:?}", owned(&Colour::TYPE));
    for text in ["\"Red\", discriminant: 3", "\"Green\", discriminant: 4", "\"Mixed\", discriminant: 9"] {
        assert!(described.contains(text), "no {text} in {described}");
    }
}

#[test]
fn a_note_is_read_back_and_no_byte_of_it_can_change() {
    let (export, _) = row(__sideload_view);
    const SIZE: usize = 4096;
    let draft = export.draft();
    assert!(draft.size() <= SIZE);
    let note = export.note::<SIZE>(&draft).0;
    let desc_size = u32::from_le_bytes(note[4..8].try_into().expect("four bytes")) as usize;
    let desc = note[24..24 + desc_size].to_vec();
    let Ok(RowNote::Export(read)) = read_note(2, &desc) else { panic!("not read: {:?}", read_note(2, &desc)) };
    assert_eq!((read.name.as_str(), read.symbol.as_str()), (export.name, export.symbol));
    assert_eq!(read.of, owned(export.of));
    for at in 4..desc.len() {
        let mut wrong = desc.clone();
        wrong[at] ^= 0x41;
        assert!(read_note(2, &wrong).is_err(), "byte {at}");
        // Without a checksum, as a C plugin writes it: anything but a panic.
        wrong[..4].fill(0);
        let _ = read_note(2, &wrong);
        let _ = read_note(2, &wrong[..at]);
    }
}
