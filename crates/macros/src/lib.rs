//! The attributes and derives of plugins. Use them through the crate `sideload`, or, in a plugin, through
//! `sideload-plugin` under that name: what they write refers to `::sideload::abi`.
//!
//! What they write can be read with `cargo expand`: the item itself, unchanged but for its symbol name, and constants
//! beside it that end up as notes in the file.

mod api;
mod arguments;
mod derive;
mod export;
mod init;
mod items;
mod lifetimes;
mod linked;
mod notes;

use proc_macro::TokenStream;
use syn::parse_macro_input;

fn finish(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Exports a function or a static under its name, with its type.
///
/// ```ignore
/// #[sideload::export]
/// pub fn greet(name: &str) -> String { format!("hello, {name}") }
///
/// #[sideload::export]
/// pub static GREETED: AtomicU32 = AtomicU32::new(0);
/// ```
///
/// `name = "…"` exports it under another name. `symbol = "…"` chooses its symbol, for callers that use `dlsym`; without
/// it the symbol holds the crate's name and version too, so that several plugins can be linked into one program.
///
/// On a trait it describes `dyn Trait`, so that trait objects can cross between equal builds.
#[proc_macro_attribute]
pub fn export(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    finish(items::Exported::parse(item.into()).and_then(|item| export::export(&arguments, item)))
}

/// Runs a function once when the plugin is opened, after its constructors.
///
/// It takes nothing or a `&sideload::abi::Host`, and returns nothing or a `Result<(), E>` whose error can be printed.
/// An error or a panic makes the open fail. Such functions run by file and line; `after = "name"` or
/// `after = ["a", "b"]` names others that must have run before.
#[proc_macro_attribute]
pub fn init(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    finish(items::Function::parse(item.into()).and_then(|item| init::init(&arguments, &item)))
}

/// Lists what a plugin consists of, for programs that link it in: `sideload::plugin!(pub PLUGIN: greet, other::COUNT);`
///
/// The items are functions and statics with `#[export]`, and functions with `#[init]`. The list is written out, since
/// a registry that the linker puts together loses what nothing else refers to.
#[proc_macro]
pub fn plugin(input: TokenStream) -> TokenStream {
    let list = parse_macro_input!(input as linked::List);
    linked::plugin(&list).into()
}

/// Describes a type whose layout is written down (`repr(C)`, `repr(transparent)`, `repr(u8)` …), so that it can pass
/// between any two compilers. All its parts must be of that kind.
#[proc_macro_derive(Stable)]
pub fn stable(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    finish(derive::describe(&item, derive::Kind::Stable))
}

/// Describes a type that passes between equal builds only.
#[proc_macro_derive(Typed)]
pub fn typed(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    finish(derive::describe(&item, derive::Kind::Typed))
}

/// Fills a struct from what a plugin exports: each field is a function pointer or a `&'static T`, in an `Option` if the
/// plugin need not have it. `#[api(name = "…")]` looks a field up under another name.
#[proc_macro_derive(Api, attributes(api))]
pub fn api(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    finish(api::api(&item))
}
