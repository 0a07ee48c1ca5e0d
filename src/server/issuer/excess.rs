//! The refusal of a scope that exceeds what is allowed, by the name of the first scope token that is in excess.
//!
//! The answer repeats what an authenticated client has sent, and is the same whether or not a resource owns the scope token: it says nothing
//! about the scopes of other clients.

use std::borrow::Cow;

use super::{Error, Refusal};
use crate::{
    protocol::{ErrorCode, Scope, ScopeToken},
    server::caller_text,
};

/// Refuses `asked`, with the text of `named` for the first scope token that is not allowed. If that one cannot be repeated, the text is `unnamed`.
pub(super) fn refuse_excess(
    asked: &Scope,
    is_allowed: impl Fn(&ScopeToken) -> bool,
    named: impl FnOnce(&str) -> String,
    unnamed: &'static str,
    cause: String,
) -> Error {
    let excess = asked.iter().find(|token| !is_allowed(token)).and_then(|token| caller_text::plain_word(token.as_str()));
    let description = excess.map_or(Cow::Borrowed(unnamed), |token| Cow::Owned(named(token)));
    Error::Explained { refusal: Refusal { code: ErrorCode::InvalidScope, description }, cause }
}
