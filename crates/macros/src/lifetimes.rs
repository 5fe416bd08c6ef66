//! The description of a signature: its types, and which lifetimes they name.
//!
//! A host that looks up `fn(&str) -> &'static str` must not get a `fn(&str) -> &str`. So every lifetime of a signature
//! is part of its description: numbered by its first appearance, or static.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::visit_mut::{self, VisitMut};
use syn::{Error, Ident, Lifetime, ReturnType, Type, parse_quote};

/// As `sideload_plugin::abi::STATIC`.
const STATIC: u8 = u8::MAX;

/// Describes the types of one signature.
#[derive(Default)]
pub(crate) struct Signature {
    /// The lifetimes that have a number, by name where they have one.
    names: Vec<Option<Ident>>,
    /// In the result, what a lifetime without a name stands for.
    elided: Option<u8>,
    in_result: bool,
    error: Option<Error>,
}

/// A type of a signature.
pub(crate) struct Part {
    /// It, with every lifetime static.
    of: Type,
    /// The lifetimes that it names, in their order, unless all of them are static.
    pub(crate) lifetimes: Vec<u8>,
    /// Whether it is a reference, `&mut` or not, and names no other lifetime.
    reference: Option<bool>,
}

/// What a signature is made of: the arguments, and last the result.
pub(crate) struct Parts {
    pub(crate) parts: Vec<Part>,
    are_static: bool,
}

impl Parts {
    /// A static's: its lifetimes are static, written or not.
    pub(crate) fn one(of: &Type) -> Parts {
        Parts { parts: vec![Part { of: of.clone(), lifetimes: Vec::new(), reference: None }], are_static: true }
    }

    /// For each type, an expression of the constant `name` of the trait `Typed`; and what has to stand before them.
    ///
    /// They go through aliases, since there rustc refuses lifetimes that a path leaves out: `View` for `View<'_>`. They
    /// would be taken for static ones otherwise. (No type is spared that: a crate may have a `u8` of its own.)
    pub(crate) fn constants(&self, name: &Ident) -> (TokenStream, Vec<TokenStream>) {
        let (mut aliases, mut known) = (TokenStream::new(), Vec::<String>::new());
        let constants = self.parts.iter().map(|part| {
            let of = match (&part.of, part.reference) {
                // What a description is made of; a reference is put around it.
                (Type::Reference(reference), Some(_)) if name == "TYPE" => reference.elem.to_token_stream(),
                (of, _) => of.to_token_stream(),
            };
            if self.are_static {
                return quote!(<#of as ::sideload::abi::Typed>::#name);
            }
            let text = of.to_string();
            let at = known.iter().position(|known| *known == text).unwrap_or(known.len());
            let alias = format_ident!("__Type{}", at);
            if at == known.len() {
                known.push(text);
                aliases.extend(quote!(type #alias = #of;));
            }
            quote!(<#alias as ::sideload::abi::Typed>::#name)
        });
        let constants = constants.collect();
        (aliases, constants)
    }

    /// An expression of the type `&'static Type` for a function of these parts.
    pub(crate) fn function(&self, abi: &str, is_unsafe: bool) -> TokenStream {
        let (aliases, types) = self.constants(&format_ident!("TYPE"));
        let parts = self.parts.iter().zip(types).map(|(part, of)| match (part.reference, &part.lifetimes[..]) {
            (Some(mutable), lifetimes) => {
                let lifetime = lifetimes.first().copied().unwrap_or(STATIC);
                quote!(const { &::sideload::abi::Type::reference(#mutable, #lifetime, &#of) })
            }
            (None, []) => quote!(&#of),
            (None, lifetimes) => quote!(const { &::sideload::abi::Type::bound(&[#(#lifetimes),*], &#of) }),
        });
        let mut arguments: Vec<TokenStream> = parts.collect();
        let result = arguments.pop();
        quote!({
            #aliases
            const { &::sideload::abi::Type::function(#abi, #is_unsafe, &[#(#arguments),*], #result) }
        })
    }
}

impl Signature {
    /// The parts of a function of that signature.
    pub(crate) fn parts<'a>(arguments: impl Iterator<Item = &'a Type>, result: &ReturnType) -> syn::Result<Parts> {
        let mut signature = Signature::default();
        let mut parts: Vec<Part> = arguments.map(|argument| signature.part(argument)).collect();
        signature.in_result = true;
        signature.elided = (signature.names.len() == 1).then_some(0);
        parts.push(match result {
            ReturnType::Default => signature.part(&parse_quote!(())),
            ReturnType::Type(_, of) => signature.part(of),
        });
        match signature.error {
            Some(error) => Err(error),
            None => Ok(Parts { parts, are_static: false }),
        }
    }

    fn part(&mut self, of: &Type) -> Part {
        match of {
            Type::Paren(inner) => return self.part(&inner.elem),
            Type::Group(inner) => return self.part(&inner.elem),
            _ => {}
        }
        let (with_static, lifetimes) = self.with_static(of);
        let reference = match (of, &lifetimes[..]) {
            (Type::Reference(reference), [_, others @ ..]) if others.iter().all(is_static) => {
                Some(reference.mutability.is_some())
            }
            _ => None,
        };
        let named = match reference {
            Some(_) => &lifetimes[..1],
            None => &lifetimes[..],
        };
        let numbers = match named.iter().all(is_static) {
            true => Vec::new(),
            false => named.iter().map(|lifetime| self.number(lifetime.as_ref())).collect(),
        };
        Part { of: with_static, lifetimes: numbers, reference }
    }

    /// The type with every lifetime static, and what they were.
    fn with_static(&mut self, of: &Type) -> (Type, Vec<Option<Lifetime>>) {
        let mut of = of.clone();
        let mut visitor = MakeStatic::default();
        visitor.visit_type_mut(&mut of);
        if let Some(error) = visitor.error {
            self.error.get_or_insert(error);
        }
        (of, visitor.found)
    }

    fn number(&mut self, lifetime: Option<&Lifetime>) -> u8 {
        let name = lifetime.filter(|lifetime| lifetime.ident != "_").map(|lifetime| &lifetime.ident);
        let known = |name: &Ident| self.names.iter().position(|known| known.as_ref() == Some(name));
        match name {
            Some(name) if name == "static" => STATIC,
            Some(name) => match known(name) {
                Some(at) => at as u8,
                None => self.new_number(Some(name.clone())),
            },
            // An ambiguous one is an error of the function itself, which rustc explains better.
            None if self.in_result => self.elided.unwrap_or(STATIC),
            None => self.new_number(None),
        }
    }

    fn new_number(&mut self, name: Option<Ident>) -> u8 {
        let number = self.names.len();
        if number >= usize::from(STATIC) {
            let text = format!("a signature of more than {STATIC} lifetimes cannot be described");
            self.error.get_or_insert(Error::new(Span::call_site(), text));
        }
        self.names.push(name);
        number as u8
    }
}

fn is_static(lifetime: &Option<Lifetime>) -> bool {
    lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static")
}

/// Makes every lifetime static, and notes what it was.
#[derive(Default)]
pub(crate) struct MakeStatic {
    found: Vec<Option<Lifetime>>,
    error: Option<Error>,
}

impl VisitMut for MakeStatic {
    fn visit_type_reference_mut(&mut self, reference: &mut syn::TypeReference) {
        self.found.push(reference.lifetime.take());
        reference.lifetime = Some(parse_quote!('static));
        self.visit_type_mut(&mut reference.elem);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        self.found.push(Some(lifetime.clone()));
        *lifetime = parse_quote!('static);
    }

    /// Lifetimes of a function pointer are its own.
    fn visit_type_bare_fn_mut(&mut self, _: &mut syn::TypeBareFn) {}

    fn visit_type_impl_trait_mut(&mut self, of: &mut syn::TypeImplTrait) {
        let text = "an exported item has one type: `impl Trait` stands for many, or hides it";
        self.error.get_or_insert(Error::new_spanned(&*of, text));
        visit_mut::visit_type_impl_trait_mut(self, of);
    }

    fn visit_type_infer_mut(&mut self, of: &mut syn::TypeInfer) {
        self.error.get_or_insert(Error::new_spanned(of, "an exported item states its type"));
    }
}

/// The calling convention as descriptions name it.
pub(crate) fn abi_name(abi: Option<&syn::Abi>) -> syn::Result<String> {
    match abi {
        None => Ok("Rust".into()),
        Some(abi) => match abi.name.as_ref().map(syn::LitStr::value).as_deref() {
            None | Some("C" | "system") => Ok("C".into()),
            Some("C-unwind" | "system-unwind") => Ok("C-unwind".into()),
            Some("Rust") => Ok("Rust".into()),
            Some(_) => Err(Error::new_spanned(abi, "expected the calling convention of Rust or of C")),
        },
    }
}
