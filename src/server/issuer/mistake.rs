//! What is wrong with a scope or a resource that was refused, for the log: whoever runs the server can then say what to change.
//! The caller does not learn it, because it tells which scopes and resources exist.

use crate::{
    protocol::{Audience, Scope, ScopeToken},
    server::caller_text::quoted,
};

/// Why a scope does not parse (RFC 6749 section 3.3).
pub(super) fn in_scope(text: &str) -> String {
    let why = if text.starts_with(' ') {
        "begins with a space"
    } else if text.ends_with(' ') {
        "ends with a space"
    } else if text.contains("  ") {
        "has two spaces in a row"
    } else if is_in_quotes(text) {
        "stands in quotes"
    } else if text.starts_with('[') && text.contains('"') {
        "is a JSON list; it must be scope tokens with one space between two of them"
    } else if text.contains(|c: char| c != ' ' && c.is_whitespace()) {
        "has white space other than a space in it"
    } else if !text.bytes().all(|byte| byte == b' ' || ScopeToken::may_contain(byte)) {
        "has a character that no scope token may have"
    } else {
        "is too long, or has too many scope tokens"
    };
    format!("the scope {why}: {}", quoted(text))
}

/// Which scope token is one too many.
pub(super) fn excess_scope(asked: &Scope, is_allowed: impl Fn(&ScopeToken) -> bool) -> String {
    const NOT_SEPARATORS: [char; 3] = [',', ';', '|'];
    let Some(token) = asked.iter().find(|token| !is_allowed(token)) else { return "the scope is more than is allowed".to_owned() };
    let text = token.as_str();
    if let Some(separator) = NOT_SEPARATORS.into_iter().find(|separator| text.contains(*separator)) {
        let is_known = |part: &str| part.parse().is_ok_and(|part| is_allowed(&part));
        if text.split(separator).any(is_known) {
            return format!("the scope has {separator:?} between two scope tokens, which must be a space: {}", quoted(text));
        }
    }
    format!("the client is not allowed the scope token {}", quoted(text))
}

/// Why a resource does not parse (RFC 8707 section 2).
pub(super) fn in_resource(text: &str) -> String {
    let why = if text.trim() != text {
        "white space stands around it"
    } else if is_in_quotes(text) {
        "it stands in quotes"
    } else {
        text.parse::<Audience>().map_or_else(|malformed| malformed.rule, |_| "it cannot be used")
    };
    format!("the resource {} is malformed: {why}", quoted(text))
}

/// How a resource that is not allowed differs from those that are.
pub(super) fn other_resource<'a>(asked: &Audience, mut allowed: impl Iterator<Item = &'a Audience> + Clone) -> String {
    let without_slash = |audience: &'a Audience| audience.as_str().trim_end_matches('/');
    let text = asked.as_str();
    let shown = quoted(text);
    if let Some(same) = allowed.clone().find(|audience| without_slash(audience) == text.trim_end_matches('/')) {
        let what = if text.len() > same.as_str().len() { "has a slash too many" } else { "lacks a slash" };
        return format!("the resource {shown} {what} at its end: the client is allowed at {}", quoted(same.as_str()));
    }
    if let Some(same) = allowed.find(|audience| audience.as_str().eq_ignore_ascii_case(text)) {
        return format!("the resource {shown} differs in case: the client is allowed at {}", quoted(same.as_str()));
    }
    format!("the client is not allowed at the resource {shown}")
}

fn is_in_quotes(text: &str) -> bool {
    ['"', '\''].into_iter().any(|quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote))
}
