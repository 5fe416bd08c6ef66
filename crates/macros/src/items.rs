//! What an attribute stands on. The body of a function is left as the tokens that it is: to parse it would take longer than
//! all the rest, and nothing asks for it.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, ItemStatic, ItemTrait, Signature, Visibility};

/// A function.
pub(crate) struct Function {
    /// All of it, as it was written.
    tokens: TokenStream,
    pub(crate) vis: Visibility,
    pub(crate) signature: Signature,
}

/// What comes before a function's body.
struct Head {
    vis: Visibility,
    signature: Signature,
}

/// Something that can be exported.
pub(crate) enum Exported {
    Function(Function),
    Static(ItemStatic),
    Trait(ItemTrait),
}

impl Function {
    pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Function> {
        let mut head: Vec<TokenTree> = tokens.clone().into_iter().collect();
        head.pop_if(|last| matches!(last, TokenTree::Group(body) if body.delimiter() == Delimiter::Brace));
        let Head { vis, signature } = syn::parse2(head.into_iter().collect())?;
        Ok(Function { tokens, vis, signature })
    }
}

impl Parse for Head {
    fn parse(input: ParseStream<'_>) -> syn::Result<Head> {
        input.call(Attribute::parse_outer)?;
        Ok(Head { vis: input.parse()?, signature: input.parse()? })
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.tokens.clone());
    }
}

impl Exported {
    pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Exported> {
        for token in tokens.clone() {
            let TokenTree::Ident(word) = token else { continue };
            match word.to_string().as_str() {
                "fn" => break,
                "static" => return syn::parse2(tokens).map(Exported::Static),
                "trait" => return syn::parse2(tokens).map(Exported::Trait),
                "struct" | "enum" | "union" | "impl" | "mod" | "use" | "type" => {
                    return Err(Error::new(word.span(), "expected a function, a static or a trait"));
                }
                _ => {}
            }
        }
        Function::parse(tokens).map(Exported::Function)
    }
}
