//! What may not be left in the code.

use proc_macro2::{Group, TokenTree};

use crate::source::{Finding, Source, caught, is_mark, line_of};

/// `unsafe`, what is still to be written, and tests that are skipped.
pub(crate) fn left_over(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    source.scan(|tokens| {
        let advice = match tokens {
            [TokenTree::Ident(word), ..] if word == "unsafe" => "`unsafe`: a library that is well kept does it for us, or it is not done",
            [TokenTree::Ident(word), bang, ..] if is_mark(bang, '!') && (word == "todo" || word == "unimplemented") => {
                "what is not there yet is not called: write it, or take its caller away"
            }
            [hash, TokenTree::Group(attribute), ..] if is_mark(hash, '#') && ignores(attribute) => {
                "a test that does not run proves nothing: fix it, or remove it"
            }
            _ => return,
        };
        found.push(source.finding(line_of(&tokens[0]), advice));
    });
    found
}

/// `[ignore]`, `[ignore = ".."]`, `[cfg_attr(.., ignore)]`.
fn ignores(attribute: &Group) -> bool {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    let is_ignore = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word == "ignore");
    match &tokens[..] {
        [TokenTree::Ident(word), TokenTree::Group(condition)] if word == "cfg_attr" => {
            condition.stream().into_iter().any(|t| is_ignore(&t))
        }
        [first, ..] => is_ignore(first),
        [] => false,
    }
}

#[test]
fn what_is_left_over_is_caught() {
    for text in [
        "fn f() { unsafe { g() } }",
        "unsafe impl Send for S {}",
        "fn f() { todo!() }",
        "fn f() { g(|| std::unimplemented!(\"later\")) }",
        "#[test] #[ignore] fn f() {}",
        "#[ignore = \"slow\"] #[test] fn f() {}",
        "#[test] #[cfg_attr(windows, ignore)] fn f() {}",
        "macro_rules! m { () => { #[ignore] fn f() {} } }",
    ] {
        assert_eq!(caught(left_over, "tests/any.rs", text), [1], "{text}");
    }
    let valid = "// todo!()\n#[expect(unused, reason = \"ignore\")] fn ignore() { let todo = \"unsafe\"; ignore() }";
    assert_eq!(caught(left_over, "tests/any.rs", valid), []);
}
