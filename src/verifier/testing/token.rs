//! Tokens of the testing issuer, in the form of the real server's.

use std::{io, time::Duration};

use serde_json::{Map, Value, json};

use super::{Issuer, encode};
use crate::{clock::Clock, entropy, protocol::AccessTokenClaims};

/// A token to be signed. Begun by [`Issuer::token`].
#[derive(Debug, Clone)]
#[must_use = "a token is not there until `sign`"]
pub struct TokenBuilder<'a> {
    issuer: &'a Issuer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'a> TokenBuilder<'a> {
    pub(super) fn new(issuer: &'a Issuer, audience: String) -> Self {
        let now = issuer.clock().now().seconds();
        let header = members(json!({ "alg": "RS256", "kid": issuer.kid(), "typ": AccessTokenClaims::TYPE }));
        let claims = members(json!({
            "iss": issuer.url(),
            "exp": now + 600,
            "aud": audience,
            "sub": "billing",
            "client_id": "billing",
            "iat": now,
            "jti": encode(entropy::bytes::<16>()),
            "scope": "",
        }));
        Self { issuer, header, claims }
    }

    /// What it grants: scope tokens with a space between two of them.
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// The client that asked for it, in whose own name it is; for a user's token, call [`user`](Self::user) after it.
    pub fn client(self, client_id: &str) -> Self {
        self.claim("client_id", client_id).claim("sub", client_id)
    }

    /// The user for whom it speaks, who gave the password just now.
    pub fn user(self, sub: &str) -> Self {
        let now = self.issuer.clock().now().seconds();
        self.claim("sub", sub).claim("auth_time", now)
    }

    /// How long it is good.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        let end = (self.issuer.clock().now() + lifetime).seconds();
        self.claim("exp", end)
    }

    /// A claim of any name and value, lawful or not.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a claim away.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// A member of its header, lawful or not.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a member of its header away.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Signs it with the issuer's key, by RS256 whatever the header says.
    ///
    /// # Errors
    ///
    /// When every key is withdrawn.
    pub fn sign(&self) -> io::Result<String> {
        self.issuer.sign(self.header_text(), self.claims_text())
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
