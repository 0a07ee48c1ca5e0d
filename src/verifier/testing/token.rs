//! Tokens of the testing issuer, in the same form as those of the real server.

use std::{io, time::Duration};

use serde_json::{Map, Value, json};

use super::{Issuer, published::encode};
use crate::{clock::Clock, entropy, protocol::AccessTokenClaims};

/// The header and claims of a token to sign. Made by [`Issuer::token`].
#[derive(Debug, Clone)]
#[must_use = "a token does not exist until `sign`"]
pub struct TokenBuilder<'a> {
    issuer: &'a Issuer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Issuer {
    /// Begins a token for an API. By default it is of the client `billing`, valid for 10 min, without any scope.
    pub fn token(&self, audience: impl Into<String>) -> TokenBuilder<'_> {
        TokenBuilder::new(self, audience.into())
    }
}

impl<'a> TokenBuilder<'a> {
    fn new(issuer: &'a Issuer, audience: String) -> Self {
        let now = issuer.clock().now().seconds();
        let header = members(json!({ "alg": "RS256", "kid": issuer.kid(), "typ": AccessTokenClaims::TYPE }));
        let mut claims = members(json!({
            "iss": issuer.url(),
            "exp": now + 600,
            "aud": audience,
            "sub": "billing",
            "client_id": "billing",
            "iat": now,
            "jti": encode(entropy::bytes::<16>()),
            "scope": "",
        }));
        claims.extend(issuer.published().claims.clone());
        Self { issuer, header, claims }
    }

    pub(super) const fn issuer(&self) -> &'a Issuer {
        self.issuer
    }

    /// Sets the scope: scope tokens separated by spaces.
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// Sets the client, also as the subject. For a user's token, call [`user`](Self::user) afterwards.
    pub fn client(self, client_id: &str) -> Self {
        self.claim("client_id", client_id).claim("sub", client_id)
    }

    /// Sets the user as the subject, with a password entered just now.
    pub fn user(self, sub: &str) -> Self {
        let now = self.issuer.clock().now().seconds();
        self.claim("sub", sub).claim("auth_time", now)
    }

    /// Sets the lifetime.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        let end = (self.issuer.clock().now() + lifetime).seconds();
        self.claim("exp", end)
    }

    /// Sets a claim of any name and value, valid or not.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a header member, valid or not.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a header member.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Signs it with the issuer's key and RS256, whatever the header says.
    ///
    /// # Errors
    ///
    /// If every key is withdrawn.
    pub fn sign(&self) -> io::Result<String> {
        self.issuer.sign(self.header_text(), self.claims_text())
    }

    /// The parts that are signed, without a signature.
    #[must_use]
    pub fn unsigned(&self) -> String {
        format!("{}.{}", encode(self.header_text()), encode(self.claims_text()))
    }

    pub(super) fn header_text(&self) -> String {
        Value::Object(self.header.clone()).to_string()
    }

    pub(super) fn claims_text(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
