//! The description of a signature: its types, and which lifetimes they name.
//!
//! A host that looks up `fn(&str) -> &'static str` must not get a `fn(&str) -> &str`. So every lifetime of a signature
//! is part of its description: numbered by its first appearance, or static.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::visit_mut::{self, VisitMut};
use syn::{Error, Ident, Lifetime, ReturnType, Type, parse_quote};

/// As `sideload_plugin::abi::STATIC`.
const STATIC: u8 = u8::MAX;

/// What a signature is described as.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    /// A tree: `&'static Type`.
    #[default]
    Tree,
    /// Parts of which a note is made: `ItemType`.
    Parts,
}

/// Describes the types of one signature.
#[derive(Default)]
pub(crate) struct Signature {
    form: Form,
    /// The lifetimes that have a number, by name where they have one.
    names: Vec<Option<Ident>>,
    /// In the result, what a lifetime without a name stands for.
    elided: Option<u8>,
    in_result: bool,
    /// Those that have an alias, by how they are written.
    types: Vec<(String, TokenStream)>,
    arguments: Vec<TokenStream>,
    error: Option<Error>,
}

impl Signature {
    /// An expression of the type `&'static Type` for a function of that signature.
    pub(crate) fn function<'a>(
        abi: &str,
        is_unsafe: bool,
        arguments: impl Iterator<Item = &'a Type>,
        result: &ReturnType,
    ) -> syn::Result<TokenStream> {
        let (aliases, arguments, result) = Signature::describe_all(Form::Tree, arguments, result)?;
        Ok(quote!({
            #(#aliases)*
            const { &::sideload::abi::Type::function(#abi, #is_unsafe, &[#(#arguments),*], #result) }
        }))
    }

    /// An expression of the type `ItemType`.
    pub(crate) fn item<'a>(
        abi: &str,
        is_unsafe: bool,
        arguments: impl Iterator<Item = &'a Type>,
        result: &ReturnType,
    ) -> syn::Result<TokenStream> {
        let (aliases, arguments, result) = Signature::describe_all(Form::Parts, arguments, result)?;
        Ok(quote!({
            #(#aliases)*
            ::sideload::abi::ItemType::Function {
                abi: #abi,
                is_unsafe: #is_unsafe,
                arguments: &[#(#arguments),*],
                result: #result,
            }
        }))
    }

    fn describe_all<'a>(
        form: Form,
        arguments: impl Iterator<Item = &'a Type>,
        result: &ReturnType,
    ) -> syn::Result<(Vec<TokenStream>, Vec<TokenStream>, TokenStream)> {
        let mut signature = Signature { form, ..Signature::default() };
        for argument in arguments {
            let described = signature.describe(argument);
            signature.arguments.push(described);
        }
        signature.in_result = true;
        signature.elided = (signature.names.len() == 1).then_some(0);
        let result = match result {
            ReturnType::Default => signature.bound(&parse_quote!(())),
            ReturnType::Type(_, of) => signature.describe(of),
        };
        let Signature { types, arguments, error, .. } = signature;
        let alias = |(at, (_, of)): (usize, &(String, TokenStream))| {
            let alias = format_ident!("__Type{}", at);
            quote!(type #alias = #of;)
        };
        let aliases = types.iter().enumerate().map(alias).collect();
        match error {
            Some(error) => Err(error),
            None => Ok((aliases, arguments, result)),
        }
    }

    /// An expression of the type `&'static Type`, or `Part`, for one type of the signature.
    fn describe(&mut self, of: &Type) -> TokenStream {
        match of {
            Type::Paren(inner) => self.describe(&inner.elem),
            Type::Group(inner) => self.describe(&inner.elem),
            Type::Reference(reference) => {
                let (inner, lifetimes) = self.with_static(&reference.elem);
                if lifetimes.iter().any(|lifetime| !is_static(lifetime)) {
                    return self.bound(of);
                }
                let mutable = reference.mutability.is_some();
                let number = self.number(reference.lifetime.as_ref());
                let inner = self.typed(&inner);
                match self.form {
                    Form::Tree => quote!(const { &::sideload::abi::Type::reference(#mutable, #number, #inner) }),
                    Form::Parts => {
                        quote!(::sideload::abi::Part::Reference { mutable: #mutable, lifetime: #number, to: #inner })
                    }
                }
            }
            _ => self.bound(of),
        }
    }

    /// A type that names lifetimes in other ways than by being a reference, or names none.
    fn bound(&mut self, of: &Type) -> TokenStream {
        let (of, lifetimes) = self.with_static(of);
        let inner = self.typed(&of);
        if lifetimes.iter().all(is_static) {
            return match self.form {
                Form::Tree => inner,
                Form::Parts => quote!(::sideload::abi::Part::Plain(#inner)),
            };
        }
        let numbers: Vec<u8> = lifetimes.iter().map(|lifetime| self.number(lifetime.as_ref())).collect();
        match self.form {
            Form::Tree => quote!(const { &::sideload::abi::Type::bound(&[#(#numbers),*], #inner) }),
            Form::Parts => quote!(::sideload::abi::Part::Bound { lifetimes: &[#(#numbers),*], of: #inner }),
        }
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

    /// Goes through an alias, since there rustc refuses lifetimes that a path leaves out: `View` for `View<'_>`. They
    /// would be taken for static ones otherwise. (No type is spared that: a crate may have a `u8` of its own.)
    fn typed(&mut self, aliased: &Type) -> TokenStream {
        let aliased = quote!(#aliased);
        let text = aliased.to_string();
        let known = self.types.iter().position(|(known, _)| *known == text);
        let of = format_ident!("__Type{}", known.unwrap_or(self.types.len()));
        if known.is_none() {
            self.types.push((text, aliased));
        }
        match self.form {
            Form::Tree => quote!(&<#of as ::sideload::abi::Typed>::TYPE),
            Form::Parts => quote!(&<#of as ::sideload::abi::Typed>::ENCODED),
        }
    }

    fn number(&mut self, lifetime: Option<&Lifetime>) -> u8 {
        let name = lifetime.filter(|lifetime| lifetime.ident != "_").map(|lifetime| &lifetime.ident);
        let known = |name: &Ident| self.names.iter().position(|known| known.as_ref() == Some(name));
        match name {
            Some(name) if name == "static" => STATIC,
            Some(name) => known(name).map_or_else(|| self.new_number(Some(name.clone())), |at| at as u8),
            // An ambiguous one is an error of the function itself, which rustc explains better.
            None if self.in_result => self.elided.unwrap_or(STATIC),
            None => self.new_number(None),
        }
    }

    fn new_number(&mut self, name: Option<Ident>) -> u8 {
        self.names.push(name);
        (self.names.len() - 1).min(usize::from(STATIC) - 1) as u8
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
