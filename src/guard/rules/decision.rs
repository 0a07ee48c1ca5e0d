//! What a request needs.

use std::borrow::Cow;

use strum::IntoStaticStr;

use crate::{
    protocol::Scope,
    verifier::{Claims, Error},
};

/// What the rules say about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision<'a> {
    /// It needs no token.
    Public,
    /// No rule is for it: it is denied.
    NoRule,
    /// It needs a valid token, with this.
    Needs(Needed<'a>),
}

/// What a token must have besides being valid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needed<'a> {
    /// All of these scope tokens.
    pub(super) scope: &'a Scope,
    pub(super) caller: Caller,
    /// The subject, decoded. There is one only if the caller is a user.
    pub(super) owner: Option<Cow<'a, str>>,
}

/// Whom the token was issued for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Caller {
    Any,
    Client,
    User,
}

impl Needed<'_> {
    /// Checks the claims of a valid token.
    ///
    /// # Errors
    ///
    /// [`Error::InsufficientScope`], [`Error::WrongCaller`] or [`Error::NotOwner`], in this order: a caller is sent to get a scope only if it lacks
    /// one.
    pub(crate) fn check(&self, claims: &Claims) -> Result<(), Error> {
        if self.scope.iter().any(|token| !claims.has_scope(token.as_str())) {
            return Err(Error::InsufficientScope(self.scope.to_string()));
        }
        let is_caller = match self.caller {
            Caller::Any => true,
            Caller::Client => !claims.is_for_user(),
            Caller::User => claims.is_for_user(),
        };
        if !is_caller {
            return Err(Error::WrongCaller);
        }
        // Byte by byte: a subject is a case-sensitive text (RFC 7519 section 4.1.2).
        match &self.owner {
            Some(owner) if owner != claims.subject() => Err(Error::NotOwner),
            _ => Ok(()),
        }
    }
}
