//! What stands in the brackets of an attribute.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, LitStr, Token, bracketed};

/// `name = "…", symbol = "…", after = […]`
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) name: Option<LitStr>,
    pub(crate) symbol: Option<LitStr>,
    pub(crate) after: Vec<LitStr>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Arguments> {
        let mut arguments = Arguments::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            match key.to_string().as_str() {
                "name" => arguments.name = Some(input.parse()?),
                "symbol" => arguments.symbol = Some(input.parse()?),
                "after" if input.peek(syn::token::Bracket) => {
                    let list;
                    bracketed!(list in input);
                    arguments.after = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?.into_iter().collect();
                }
                "after" => arguments.after = vec![input.parse()?],
                _ => return Err(Error::new(key.span(), "expected `name`, `symbol` or `after`")),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    /// Refuses the keys that the attribute at hand does not have.
    pub(crate) fn only(&self, allowed: &[&str]) -> syn::Result<()> {
        let given = [("name", self.name.as_ref()), ("symbol", self.symbol.as_ref()), ("after", self.after.first())];
        match given.into_iter().find(|(key, value)| value.is_some() && !allowed.contains(key)) {
            Some((key, Some(value))) => Err(Error::new(value.span(), format!("`{key}` means nothing here"))),
            _ => Ok(()),
        }
    }
}
