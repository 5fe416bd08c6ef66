//! The same plugins, linked into the program.

use crate::build::passes_alone;
use crate::types::greeter as from_a_file;
use shapes::Greeter;
use sideload::{BuildPolicy, Error, ErrorKind, Loader, Plugin};
use std::sync::atomic::{AtomicU32, Ordering};

fn loader() -> Loader {
    Loader::new().linked(&[&greeter::PLUGIN, &starter::PLUGIN])
}

fn listing(plugin: &Plugin) -> Vec<String> {
    plugin.items().map(|item| format!("{} {} {}", item.is_function(), item.name(), item.type_of())).collect()
}

#[test]
fn a_plugin_that_is_linked_in_has_the_same_items_and_checks() {
    let (linked, loaded) = (loader().open_linked("greeter").expect("it is in the list"), from_a_file());
    assert_eq!(listing(&linked), listing(&loaded));
    assert_eq!((linked.name(), linked.version()), (loaded.name(), loaded.version()));
    assert_eq!(linked.lookup::<fn(&str) -> String>("greet").expect("exported")("you"), "hello, you");
    let make = linked.lookup::<fn() -> Box<dyn Greeter>>("greeter").expect("exported");
    assert_eq!(make().greet("you"), "good day, you");
    let count = linked.lookup::<&AtomicU32>("GREETED").expect("exported");
    assert_eq!(count.as_ptr(), greeter::GREETED.as_ptr(), "it is the program's own");
    let errors = |plugin: &Plugin| {
        let text = |error: Error| error.to_string().replace(plugin.path(), "");
        [
            text(plugin.lookup::<fn(&str) -> u32>("greet").expect_err("another type")),
            text(plugin.lookup::<fn(&str) -> u32>("gret").expect_err("another name")),
        ]
    };
    assert_eq!(errors(&linked), errors(&loaded));
    assert!(loader().open_linked("greeter").expect("again") == linked);
}

#[test]
fn init_functions_of_what_is_linked_in_run_once_and_in_order() {
    if passes_alone("linked::init_functions_of_what_is_linked_in_run_once_and_in_order") {
        return;
    }
    let plugins: Vec<Plugin> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| loader().open_linked("starter").expect("sound"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(plugins.iter().all(|plugin| *plugin == plugins[0]));
    assert_eq!(plugins[0].lookup::<fn() -> String>("order").expect("exported")(), "configure connect listen");
    assert_eq!(starter::RAN.load(Ordering::SeqCst), 3);
    loader().open_linked("greeter").expect("another one");
    assert!(plugins[0].is_current(), "plugins that are linked in do not replace each other");
}

#[test]
fn what_is_not_in_the_list_or_not_as_expected_is_refused() {
    let error = loader().open_linked("greter").expect_err("no such plugin");
    assert!(matches!(error.kind(), ErrorKind::NotAPlugin { .. }), "{error}");
    let strict = loader().build_policy(BuildPolicy::default().expect("server", "9"));
    let error = strict.open_linked("greeter").expect_err("whether it is open or not");
    assert!(matches!(error.kind(), ErrorKind::BuildMismatch(_)), "{error}");
}
