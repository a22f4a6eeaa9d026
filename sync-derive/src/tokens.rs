//! Small changes to the user's own tokens, which keep their spans.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;

/// `tokens` with `name` for `Self`, for code outside of the item itself.
pub(crate) fn without_self(tokens: impl ToTokens, name: &TokenStream) -> TokenStream {
    map(tokens.into_token_stream(), &|tree| match tree {
        TokenTree::Ident(ident) if ident == "Self" => at(ident.span(), name),
        tree => tree.into(),
    })
}

/// `tokens` with the lifetimes of these names left to be inferred.
pub(crate) fn without_lifetimes(tokens: TokenStream, names: &[&Ident]) -> TokenStream {
    let mut follows_quote = false;
    tokens
        .into_iter()
        .map(|tree| {
            let is_lifetime = follows_quote;
            follows_quote = matches!(&tree, TokenTree::Punct(quote) if quote.as_char() == '\'');
            match tree {
                TokenTree::Ident(name) if is_lifetime && names.contains(&&name) => {
                    Ident::new("_", name.span()).into()
                }
                TokenTree::Group(group) => regroup(&group, without_lifetimes(group.stream(), names)).into(),
                tree => tree,
            }
        })
        .collect()
}

/// Where `tokens` begin.
pub(crate) fn first_span(tokens: &TokenStream) -> Span {
    tokens.clone().into_iter().next().map_or_else(Span::call_site, |token| token.span())
}

/// `tokens`, all at `span`.
pub(crate) fn at(span: Span, tokens: impl ToTokens) -> TokenStream {
    let tokens = tokens.into_token_stream().into_iter();
    tokens
        .map(|mut tree| {
            tree.set_span(span);
            tree
        })
        .collect()
}

/// The tokens one by one with a space between: the same text in every version of the compiler.
pub(crate) fn text(tokens: impl ToTokens) -> String {
    fn write(tokens: TokenStream, into: &mut Vec<String>) {
        for tree in tokens {
            let TokenTree::Group(group) = tree else {
                into.push(tree.to_string());
                continue;
            };
            let (open, close) = match group.delimiter() {
                proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                proc_macro2::Delimiter::Brace => ("{", "}"),
                proc_macro2::Delimiter::Bracket => ("[", "]"),
                proc_macro2::Delimiter::None => {
                    write(group.stream(), into);
                    continue;
                }
            };
            into.push(open.to_owned());
            write(group.stream(), into);
            into.push(close.to_owned());
        }
    }
    let mut words = Vec::new();
    write(tokens.into_token_stream(), &mut words);
    words.join(" ")
}

/// The same, as a person would write a type.
pub(crate) fn compact(tokens: impl ToTokens) -> String {
    let is_word =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let mut compact = String::new();
    for word in text(tokens).split(' ') {
        if is_word(compact.chars().last()) && is_word(word.chars().next()) || compact.ends_with([',', ';']) {
            compact.push(' ');
        }
        compact.push_str(word);
    }
    compact
}

fn map(tokens: TokenStream, f: &dyn Fn(TokenTree) -> TokenStream) -> TokenStream {
    tokens
        .into_iter()
        .flat_map(|tree| match tree {
            TokenTree::Group(group) => TokenTree::Group(regroup(&group, map(group.stream(), f))).into(),
            tree => f(tree),
        })
        .collect()
}

fn regroup(group: &Group, stream: TokenStream) -> Group {
    let mut new = Group::new(group.delimiter(), stream);
    new.set_span(group.span());
    new
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn names_self() {
        let tokens = without_self(quote!(Option<Box<Self>>), &quote!(super::Todo));
        assert_eq!(text(tokens), "Option < Box < super : : Todo > >");
    }

    #[test]
    fn writes_types_as_people_do() {
        let ty = quote!(HashMap<String, Option<[&'static dyn Any; 4]>>);
        assert_eq!(compact(ty), "HashMap<String, Option<[&'static dyn Any; 4]>>");
    }

    #[test]
    fn infers_lifetimes() {
        let tokens = quote!((&'a Todo, Cow<'static, str>, &'a dyn for<'b> Fn(&'b a)));
        let inferred = quote!((&'_ Todo, Cow<'static, str>, &'_ dyn for<'b> Fn(&'b a)));
        let a = Ident::new("a", Span::call_site());
        assert_eq!(without_lifetimes(tokens, &[&a]).to_string(), inferred.to_string());
    }
}
