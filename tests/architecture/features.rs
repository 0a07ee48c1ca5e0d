//! Where code may depend on a feature.

use proc_macro2::{Delimiter, Group, TokenTree};

use crate::source::{Finding, Source, caught, is_mark, line_of};

/// Conditions on a feature that do not gate a whole `mod` or `use`: scattered over the code, they would hide what a feature is.
pub(crate) fn scattered(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    source.scan(|tokens| {
        let condition = match tokens {
            [hash, TokenTree::Group(attribute), item @ ..] if is_mark(hash, '#') => is_condition(attribute) && !is_mod_or_use(item),
            [hash, bang, TokenTree::Group(attribute), ..] if is_mark(hash, '#') && is_mark(bang, '!') => is_condition(attribute),
            // `cfg!(..)`, `cfg_select! {..}`
            [TokenTree::Ident(word), bang, TokenTree::Group(body), ..] if is_mark(bang, '!') => {
                word.to_string().starts_with("cfg") && names_feature(body)
            }
            _ => false,
        };
        if condition {
            let advice = "a feature gates a whole `mod` or `use`: move what depends on it into a module of its own";
            found.push(source.finding(line_of(&tokens[0]), advice));
        }
    });
    found
}

/// `[cfg(..feature = "..")]` or `[cfg_attr(..feature = "..", ..)]`.
fn is_condition(attribute: &Group) -> bool {
    let first = attribute.stream().into_iter().next();
    let is_cfg = matches!(first, Some(TokenTree::Ident(word)) if word == "cfg" || word == "cfg_attr");
    attribute.delimiter() == Delimiter::Bracket && is_cfg && names_feature(attribute)
}

/// Whether `feature = ..` stands in it, at any depth. The `feature(..)` of `cfg_attr(docsrs, feature(doc_cfg))` is another thing.
fn names_feature(group: &Group) -> bool {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    let named = tokens.windows(2).any(|pair| matches!(&pair[0], TokenTree::Ident(word) if word == "feature") && is_mark(&pair[1], '='));
    named || tokens.iter().any(|token| matches!(token, TokenTree::Group(group) if names_feature(group)))
}

/// Whether the item that carries the attribute before `tokens` is a `mod` or a `use`.
fn is_mod_or_use(mut tokens: &[TokenTree]) -> bool {
    loop {
        tokens = match tokens {
            [hash, TokenTree::Group(_), after @ ..] if is_mark(hash, '#') => after,
            [TokenTree::Ident(word), TokenTree::Group(_), after @ ..] if word == "pub" => after,
            [TokenTree::Ident(word), after @ ..] if word == "pub" => after,
            [TokenTree::Ident(word), ..] => return word == "mod" || word == "use",
            _ => return false,
        };
    }
}

#[test]
fn a_feature_that_gates_less_than_a_module_is_caught() {
    for text in [
        "#[cfg(feature = \"server\")] fn f() {}",
        "#[cfg(feature = \"server\")] #[inline] pub(crate) fn f() {}",
        "#[cfg(all(test, not(feature = \"server\")))] struct S;",
        "struct S { #[cfg(feature = \"server\")] field: u8 }",
        "fn f() { #[cfg(feature = \"server\")] g(); }",
        "fn f() { if cfg!(feature = \"server\") {} }",
        "fn f() { cfg_select! { feature = \"server\" => {} } }",
        "#[cfg_attr(feature = \"server\", derive(Debug))] struct S;",
        "#![cfg(feature = \"server\")]",
        "m! { #[cfg(feature = \"server\")] fn f() {} }",
    ] {
        assert_eq!(caught(scattered, "src/lib.rs", text), [1], "{text}");
    }
}

#[test]
fn a_feature_that_gates_a_module_is_left_alone() {
    let text = "#![cfg_attr(docsrs, feature(doc_cfg))]
        #[cfg(feature = \"server\")] mod a;
        #[cfg(all(feature = \"server\", unix))] #[doc(inline)] pub(crate) use a::B;
        #[cfg(feature = \"server\")] pub mod c;
        #[cfg(unix)] fn f() {}
        #[cfg(test)] mod tests {}";
    assert_eq!(caught(scattered, "src/lib.rs", text), []);
}
