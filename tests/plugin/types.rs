//! Checked types: what a lookup hands out, and what it refuses.

use crate::build::plugin;
use shapes::{Greeter, Shape, Size};
use sideload::{Error, ErrorKind, Plugin, Source};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) fn open(path: impl Into<Source>) -> Result<Plugin, Error> {
    // SAFETY: the plugins are built from this repository.
    unsafe { Plugin::open(path) }
}

#[track_caller]
pub(crate) fn greeter() -> Plugin {
    open(plugin("greeter")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn items_are_used_as_what_they_are() {
    let plugin = greeter();
    let greet = plugin.lookup::<fn(&str) -> String>("greet").expect("exported");
    let greeted = plugin.lookup::<&'static AtomicU32>("GREETED").expect("exported");
    let before = greeted.load(Ordering::Relaxed);
    assert_eq!(greet("you"), "hello, you");
    assert_eq!(greeted.load(Ordering::Relaxed), before + 1);
    assert_eq!(**plugin.lookup::<&&'static str>("MOTTO").expect("exported"), "well met");
    let add = plugin.lookup::<extern "C" fn(i32, i32) -> i32>("add").expect("exported");
    assert_eq!(add(40, 2), 42);
    let area = plugin.lookup::<extern "C" fn(&Size) -> f64>("area").expect("exported");
    assert_eq!(area(&Size { width: 6.0, height: 7.0, depth: 8 }), 42.0);
}

/// Lifetimes within types, which no type alone can tell.
#[derive(sideload_plugin::Api)]
#[allow(clippy::type_complexity, reason = "the very signatures of the plugin")]
struct Api {
    first: for<'a> fn(&'a [Shape], &str) -> Option<&'a Shape>,
    each: fn(&[&'static str], fn(&str) -> u32) -> u32,
    #[api(name = "GREETED")]
    greeted: &'static AtomicU32,
    nothing: Option<fn(u8)>,
}

/// A part of it, for others.
#[derive(sideload_plugin::Api)]
#[allow(clippy::type_complexity, reason = "the very signature of the plugin")]
pub(crate) struct Each {
    pub(crate) each: fn(&[&'static str], fn(&str) -> u32) -> u32,
}

#[test]
fn a_struct_is_filled_from_a_plugin() {
    fn length(name: &str) -> u32 {
        name.len() as u32
    }
    let plugin = greeter();
    let api: Api = plugin.api().expect("all of it is exported");
    let shapes = ["square", "circle"].map(|name| Shape { name: name.into(), corners: vec![(0.0, 1.0)] });
    assert_eq!((api.first)(&shapes, "circle"), Some(&shapes[1]));
    assert_eq!((api.each)(&["one", "three"], length), 8);
    assert!(api.nothing.is_none());
    assert_eq!(api.greeted.as_ptr(), plugin.lookup::<&AtomicU32>("GREETED").expect("exported").as_ptr());
}

#[test]
fn trait_objects_cross_between_equal_builds() {
    let plugin = greeter();
    let greeted = plugin.lookup::<&AtomicU32>("GREETED").expect("exported");
    let make = plugin.lookup::<fn() -> Box<dyn Greeter>>("greeter").expect("exported");
    let greeter = make();
    assert_eq!(greeter.greet("you"), "good day, you");
    let before = greeted.load(Ordering::Relaxed);
    drop(greeter);
    assert!(greeted.load(Ordering::Relaxed) >= before + 100, "the plugin's own drop runs");
}

#[test]
fn what_is_asked_for_wrongly_is_refused_with_the_first_difference() {
    #[derive(sideload_plugin::Stable)]
    #[repr(C)]
    #[allow(dead_code, reason = "only described")]
    struct Size {
        width: f64,
        height: u64,
        depth: u8,
    }
    let plugin = greeter();
    let cases = [
        (
            plugin.lookup::<fn(&str) -> u32>("greet").map(drop),
            "greet is `fn(&str) -> String`, not `fn(&str) -> u32`: result is String, not u32",
        ),
        (
            plugin.lookup::<extern "C" fn(&Size) -> f64>("area").map(drop),
            "area is `extern \"C\" fn(&Size) -> f64`, not `extern \"C\" fn(&Size) -> f64`: \
             argument 1, behind the reference, field height is f64, not u64",
        ),
        (plugin.lookup::<&u32>("MOTTO").map(drop), "MOTTO is `static &'static str`, not `static u32`"),
    ];
    for (result, expected) in cases {
        let error = result.expect_err(expected);
        assert!(matches!(error.kind(), ErrorKind::TypeMismatch { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("{}: lookup: {expected}", plugin.path()));
    }
}

#[test]
fn plugins_come_from_files_descriptors_and_memory() {
    let path = plugin("greeter");
    let file = std::fs::File::open(&path).expect("a file");
    assert!(open(Source::file("given.so", file)).expect("the same file") == greeter());
    let bytes = std::fs::read(&path).expect("a file");
    let other = open(Source::bytes("/in/memory/greeter.so", bytes)).unwrap_or_else(|error| panic!("{error}"));
    assert!(other != greeter());
    assert_eq!(other.path(), "/in/memory/greeter.so");
    assert_eq!(other.lookup::<fn(&str) -> String>("greet").expect("exported")("you"), "hello, you");
    let error = open(Source::bytes("text.so", &b"no plugin"[..])).expect_err("no object");
    assert!(error.to_string().starts_with("text.so: "), "{error}");
}
