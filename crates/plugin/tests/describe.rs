//! Descriptions: what two sides must agree on is equal, and what they must not mistake for one another differs.
#![allow(missing_docs, dead_code, unreachable_pub, reason = "types to be described")]

extern crate sideload_plugin as sideload;

use sideload::abi::{
    Api, Described, Description, Exported, LinkedItem, Lookup, OwnedShape, Stable, Tier, Type, Typed, decode,
};
use sideload::abi::{Block, Blocks, ExportRow, Item, linked_item};
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

/// Promises that its number is below `N`.
#[derive(sideload::Stable)]
#[repr(C)]
struct Below<const N: usize>(usize);

#[derive(sideload::Typed)]
enum Signed<const IS: bool, const AT: i8> {
    One(u8),
    Two,
}

#[sideload::export]
trait Shape: Send {
    fn area(&self, scale: f64) -> f64;
    fn name(&self) -> &str;
}

#[sideload::export]
trait Solid: Shape + std::fmt::Debug {
    fn volume(&self) -> f64;
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

sideload::plugin!(ALL: greet, add, pick, view, COUNT, long, nothing, homonyms::mix);

/// All rows, with the addresses of what they describe.
fn rows() -> impl Iterator<Item = (ExportRow<'static>, *const ())> {
    ALL.items().iter().map(|linked| match linked.item {
        LinkedItem::Export { head, parts, address } => (linked_item(head, parts).expect("its own"), address),
        LinkedItem::Init(..) => panic!("an init function"),
    })
}

fn row(name: &str) -> ExportRow<'static> {
    rows().find(|(row, _)| row.name == name).expect("exported").0
}

/// A plugin of what is exported above.
struct Here;

// SAFETY: items are found by kind and fingerprint.
unsafe impl Lookup for Here {
    type Error = String;

    fn find(&self, name: &str, _is_function: bool, of: &'static Type, wanted: u128) -> Result<*const (), String> {
        let (row, address) = rows().find(|(row, _)| row.name == name).ok_or(format!("no {name}"))?;
        if row.fingerprint == wanted { Ok(address) } else { Err(explain(&owned(of), &row.of.read())) }
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

fn explain(expected: &Described, found: &Described) -> String {
    let difference = expected.first_difference(found).expect("they differ");
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

/// More than a fingerprint takes at a time.
type Long = [(Long4, Long4, Long4, Long4, Long4); 2];
type Long4 = [(Long3, Long3, Long3, Long3, Long3); 3];
type Long3 = ((Point, Point, Point), (Point, Point, Point), Option<(Point, Point, Point)>);

#[sideload::export]
fn long(_of: &mut Long, _and: Point) -> Long {
    unreachable!("only described")
}

#[sideload::export]
unsafe extern "C" fn nothing() {}

/// Types of a plugin that are called as those that the macro's own code is made of, or as the language's.
mod homonyms {
    #![allow(non_camel_case_types, reason = "the point")]

    #[derive(sideload::Typed)]
    pub struct Type(pub u8);
    #[derive(sideload::Typed)]
    pub enum Variant {
        Field(Type),
        Repr,
    }
    #[derive(sideload::Typed)]
    pub struct Part(pub f64, pub Variant);
    #[derive(sideload::Typed)]
    pub struct Typed(pub f32);
    #[derive(sideload::Typed)]
    pub struct u8(pub std::primitive::u64);

    #[sideload::export]
    pub fn mix(_part: Part, _typed: &Typed) -> u8 {
        unreachable!("only described")
    }
}

#[test]
fn names_mean_what_they_mean_in_the_plugin() {
    use homonyms::{Part, Typed, u8};
    assert_eq!(row("mix").fingerprint, <fn(Part, &Typed) -> u8 as Exported>::FINGERPRINT, "the plugin's own types");
}

/// What the macro writes, part by part, and what the type alone says.
#[test]
fn a_type_alone_describes_what_the_attribute_does() {
    let cases = [
        (<fn(&str) -> String as Exported>::FINGERPRINT, <fn(&str) -> String as Exported>::ITEM, "greet"),
        (
            <extern "C" fn(i32, i32) -> i32 as Exported>::FINGERPRINT,
            <extern "C" fn(i32, i32) -> i32 as Exported>::ITEM,
            "other",
        ),
        (<unsafe extern "C" fn() as Exported>::FINGERPRINT, <unsafe extern "C" fn() as Exported>::ITEM, "nothing"),
        (
            <fn(&mut Long, Point) -> Long as Exported>::FINGERPRINT,
            <fn(&mut Long, Point) -> Long as Exported>::ITEM,
            "long",
        ),
        (<&'static AtomicU32 as Exported>::FINGERPRINT, <&'static AtomicU32 as Exported>::ITEM, "COUNT"),
    ];
    for (fingerprint, of, name) in cases {
        let row = row(name);
        assert_eq!(row.of.read(), owned(of), "{}", row.name);
        assert_eq!((row.fingerprint, of.fingerprint()), (fingerprint, fingerprint), "{}", row.name);
    }
    assert_eq!(row("other").symbol, b"my_symbol");
    let long = row("long").of.read().encode().len();
    assert!(long > 8192, "as long as was meant: {long}");
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
        assert_eq!(explain(&owned(expected), &owned(found)), *text);
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

/// The bytes of a row, and the blocks that it points to, by address.
fn memory<const N: usize>(item: &'static Item<N>) -> (Vec<u8>, Vec<(usize, &'static [u8])>) {
    let start = std::ptr::from_ref(item).cast::<u8>();
    // SAFETY: a static without padding.
    let row = unsafe { std::slice::from_raw_parts(start, size_of::<Item<N>>()) }.to_vec();
    let blocks = row[16..].as_chunks::<8>().0.iter().map(|pointer| {
        let at = usize::from_le_bytes(*pointer);
        // SAFETY: a block, as its type says.
        (at, unsafe { std::mem::transmute::<usize, Block>(at) }.bytes())
    });
    let mut blocks: Vec<_> = blocks.collect();
    blocks.dedup_by_key(|(at, _)| *at);
    (row, blocks)
}

#[test]
fn a_row_is_read_back_and_no_byte_of_it_can_change() {
    let (row, blocks) = memory(&__sideload_row_view);
    let read = |row: &[u8], blocks: &[(usize, &[u8])]| {
        let target = |_, at| Some(usize::from_le_bytes(*row.get(at..)?.first_chunk()?) as u64);
        let memory = |at| blocks.iter().find(|(start, _)| *start as u64 == at).map(|(_, bytes)| *bytes);
        let mut read = Blocks::of(1 << 20);
        read.item(row, target, memory).map(|item| {
            assert_eq!(item.export, self::row("view"));
            assert!(item.export.name == "view" && item.export.symbol.ends_with(b"_export_view"));
        })
    };
    read(&row, &blocks).expect("as it was written");
    for at in 0..row.len() {
        let mut wrong = row.clone();
        wrong[at] ^= 0x41;
        assert!(read(&wrong, &blocks).is_err(), "byte {at}");
        assert!(read(&wrong[..at], &blocks).is_err(), "cut at {at}");
    }
    for which in 0..blocks.len() {
        for at in 0..blocks[which].1.len() {
            let mut wrong = blocks.clone();
            let mut bytes = wrong[which].1.to_vec();
            bytes[at] ^= 0x41;
            wrong[which].1 = &bytes;
            assert!(read(&row, &wrong).is_err(), "block {which}, byte {at}");
            let described = bytes.get(8..).unwrap_or_default();
            assert_eq!(decode(described).is_some(), Description::new(described).is_some(), "byte {at}");
        }
    }
}

#[test]
fn a_pointer_to_another_sound_block_is_noticed() {
    let (row, blocks) = memory(&__sideload_row_view);
    let read = |row: &[u8]| {
        let target = |_, at| Some(usize::from_le_bytes(*row.get(at..)?.first_chunk()?) as u64);
        let memory = |at| blocks.iter().find(|(start, _)| *start as u64 == at).map(|(_, bytes)| *bytes);
        Blocks::of(1 << 20).item(row, target, memory).map(drop)
    };
    read(&row).expect("as it was written");
    // Head and build differ from any part, and so do the parts of `view` from one another.
    for at in (16..row.len()).step_by(size_of::<usize>()) {
        for (other, _) in &blocks {
            let mut wrong = row.clone();
            let pointer = &mut wrong[at..at + size_of::<usize>()];
            if *pointer != other.to_le_bytes() {
                pointer.copy_from_slice(&other.to_le_bytes());
                assert!(read(&wrong).is_err(), "the pointer at {at}");
            }
        }
    }
    let swapped = [&row[..32], &row[40..48], &row[32..40], &row[48..]].concat();
    let error = read(&swapped).expect_err("its types changed places");
    assert!(error.0.contains("another block"), "{error:?}");
}

#[test]
fn rows_that_say_too_much_end_in_an_error() {
    let (row, blocks) = memory(&__sideload_row_view);
    let mut read = Blocks::of(0);
    let mut again = || {
        let target = |_, at| Some(usize::from_le_bytes(*row.get(at..)?.first_chunk()?) as u64);
        let memory = |at| blocks.iter().find(|(start, _)| *start as u64 == at).map(|(_, bytes)| *bytes);
        read.item(&row, target, memory).map(drop)
    };
    let error = (0..1 << 20).find_map(|_| again().err()).expect("more than a mebibyte of no file at all");
    assert!(error.0.contains("16 times"), "{error:?}");
}

#[test]
fn constant_parameters_are_part_of_a_type() {
    let text = |one: &Type, other: &Type| explain(&owned(one), &owned(other));
    assert_eq!(Below::<3>::TYPE.fingerprint(), <Below<3> as Typed>::TYPE.fingerprint());
    assert_ne!(Below::<3>::TYPE.fingerprint(), Below::<4>::TYPE.fingerprint());
    assert_eq!(Below::<3>::TYPE.tier, Tier::Stable);
    let said = text(&Below::<3>::TYPE, &Below::<4>::TYPE);
    assert!(said.contains("const N") && said.contains('3') && said.contains('4'), "{said}");
    assert_ne!(Signed::<true, -1>::TYPE.fingerprint(), Signed::<false, -1>::TYPE.fingerprint());
    assert_ne!(Signed::<true, -1>::TYPE.fingerprint(), Signed::<true, 1>::TYPE.fingerprint());
}

#[test]
fn what_a_trait_inherits_is_part_of_it() {
    let OwnedShape::Trait { name, methods } = owned(&<dyn Solid>::TYPE).shape else { panic!("not a trait") };
    assert!(name.ends_with("Solid: Shape + std :: fmt :: Debug"), "{name}");
    let names: Vec<&str> = methods.iter().map(|method| method.name.as_str()).collect();
    assert_eq!(names, ["volume(& self)", "supertrait Shape"]);
    assert_eq!(methods[1].of, owned(&<dyn Shape>::TYPE));
}
