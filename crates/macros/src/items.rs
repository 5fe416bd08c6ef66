//! What an attribute stands on. The body of a function is left as the tokens that it is: to parse it would take longer than
//! all the rest, and nothing asks for it.

use proc_macro2::TokenStream;
use quote::{ToTokens, TokenStreamExt};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, ItemStatic, ItemTrait, Signature, Token, Visibility};

/// A function.
pub(crate) struct Function {
    attributes: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) signature: Signature,
    body: TokenStream,
}

/// Something that can be exported.
pub(crate) enum Exported {
    Function(Function),
    Static(ItemStatic),
    Trait(ItemTrait),
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Function> {
        let attributes = input.call(Attribute::parse_outer)?;
        Ok(Function { attributes, vis: input.parse()?, signature: input.parse()?, body: input.parse()? })
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(&self.attributes);
        self.vis.to_tokens(tokens);
        self.signature.to_tokens(tokens);
        self.body.to_tokens(tokens);
    }
}

impl Parse for Exported {
    fn parse(input: ParseStream<'_>) -> syn::Result<Exported> {
        let ahead = input.fork();
        ahead.call(Attribute::parse_outer)?;
        ahead.parse::<Visibility>()?;
        if ahead.peek(Token![static]) {
            return input.parse().map(Exported::Static);
        }
        // Or one whose implementations make a promise.
        if ahead.peek(Token![trait]) || ahead.peek2(Token![trait]) {
            return input.parse().map(Exported::Trait);
        }
        if ahead.peek(Token![struct]) || ahead.peek(Token![enum]) || ahead.peek(Token![impl]) || ahead.peek(Token![mod])
        {
            return Err(ahead.error("expected a function, a static or a trait"));
        }
        input.parse().map(Exported::Function)
    }
}
