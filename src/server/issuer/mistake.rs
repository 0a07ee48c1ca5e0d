//! Describes for the log what is wrong with a refused scope or resource, so that the operator can say what to change. The caller does
//! not get these texts, because they reveal which scopes and resources exist.

use std::collections::BTreeMap;

use crate::{
    protocol::{Audience, Scope, ScopeToken},
    server::caller_text::quoted,
};

/// Describes why a scope does not parse (RFC 6749 section 3.3).
pub(super) fn in_scope(text: &str) -> String {
    let why = if text.starts_with(' ') {
        "begins with a space"
    } else if text.ends_with(' ') {
        "ends with a space"
    } else if text.contains("  ") {
        "has two spaces in a row"
    } else if is_in_quotes(text) {
        "is in quotes"
    } else if text.starts_with('[') && text.contains('"') {
        "is a JSON array; it must be scope tokens separated by single spaces"
    } else if text.contains(|c: char| c != ' ' && c.is_whitespace()) {
        "contains white space other than a space"
    } else if !text.bytes().all(|byte| byte == b' ' || ScopeToken::may_contain(byte)) {
        "contains a character that is not allowed in a scope token"
    } else {
        "is too long or has too many scope tokens"
    };
    format!("the scope {why}: {}", quoted(text))
}

/// Names the first scope token that the client is not allowed.
pub(super) fn excess_scope(asked: &Scope, is_allowed: impl Fn(&ScopeToken) -> bool) -> String {
    excess("the client is not allowed", asked, is_allowed)
}

/// Names the first scope token that the login was not granted. The client may be allowed it.
pub(super) fn excess_scope_of_login(asked: &Scope, is_granted: impl Fn(&ScopeToken) -> bool) -> String {
    excess("the login was not granted", asked, is_granted)
}

fn excess(refusal: &str, asked: &Scope, is_allowed: impl Fn(&ScopeToken) -> bool) -> String {
    const NOT_SEPARATORS: [char; 3] = [',', ';', '|'];
    let Some(token) = asked.iter().find(|token| !is_allowed(token)) else { return "the scope exceeds what is allowed".to_owned() };
    let text = token.as_str();
    if let Some(separator) = NOT_SEPARATORS.into_iter().find(|separator| text.contains(*separator)) {
        let is_known = |part: &str| part.parse().is_ok_and(|part| is_allowed(&part));
        if text.split(separator).any(is_known) {
            return format!("the scope tokens are separated by {separator:?} instead of a space: {}", quoted(text));
        }
    }
    format!("{refusal} the scope token {}", quoted(text))
}

/// Names the first scope token that is not `allowed` at the requested resource, and where else the client is allowed it.
pub(super) fn excess_scope_at(asked: &Scope, allowed: &Scope, permissions: &BTreeMap<Audience, Scope>) -> String {
    let excess = asked.iter().find(|token| !allowed.contains(token));
    let elsewhere = excess.and_then(|token| permissions.iter().find(|(_, scope)| scope.contains(token)).map(|(other, _)| (token, other)));
    match elsewhere {
        Some((token, other)) => {
            let (token, other) = (quoted(token.as_str()), quoted(other.as_str()));
            format!("the client is allowed the scope token {token} at {other}, but not at the requested resource")
        }
        None => excess_scope(asked, |token| allowed.contains(token)),
    }
}

/// Names two of the resources that a scope without a resource could mean.
pub(super) fn ambiguous_scope(first: &Audience, second: &Audience) -> String {
    format!("the client is allowed the scope at several resources, among them {} and {}", quoted(first.as_str()), quoted(second.as_str()))
}

/// Describes why a resource does not parse (RFC 8707 section 2).
pub(super) fn in_resource(text: &str) -> String {
    let why = if text.trim() != text {
        "it has leading or trailing white space"
    } else if is_in_quotes(text) {
        "it is in quotes"
    } else {
        text.parse::<Audience>().map_or_else(|malformed| malformed.rule, |_| "it cannot be used")
    };
    format!("the resource {} is malformed: {why}", quoted(text))
}

/// Describes how a resource that is not allowed differs from those that are.
pub(super) fn other_resource<'a>(asked: &Audience, allowed: impl Iterator<Item = &'a Audience> + Clone) -> String {
    let without_slash = |audience: &'a Audience| audience.as_str().trim_end_matches('/');
    let text = asked.as_str();
    let shown = quoted(text);
    if is_in_quotes(text) {
        return format!("the resource {shown} is in quotes");
    }
    if let Some(same) = allowed.clone().find(|audience| without_slash(audience) == text.trim_end_matches('/')) {
        let what = if text.len() > same.as_str().len() { "has an extra slash" } else { "lacks a slash" };
        return format!("the resource {shown} {what} at its end; the client is allowed at {}", quoted(same.as_str()));
    }
    let has_scheme = |long: &str, short: &str| long.split_once("://").is_some_and(|(_, rest)| rest == short);
    let hint = |difference: &str, is: &dyn Fn(&str) -> bool| {
        let same = allowed.clone().find(|audience| is(audience.as_str()))?;
        Some(format!("the resource {shown} {difference}; the client is allowed at {}", quoted(same.as_str())))
    };
    hint("lacks its scheme", &|same| has_scheme(same, text))
        .or_else(|| hint("has a scheme", &|same| has_scheme(text, same)))
        .or_else(|| hint("differs in case", &|same| same.eq_ignore_ascii_case(text)))
        .unwrap_or_else(|| format!("the client is not allowed at the resource {shown}"))
}

fn is_in_quotes(text: &str) -> bool {
    ['"', '\''].into_iter().any(|quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote))
}
