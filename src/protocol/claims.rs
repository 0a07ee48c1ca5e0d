//! The claims of an access token: RFC 9068 section 2.2.

use serde::Serialize;

use super::{Audience, ClientId, Issuer, Scope};

/// What an access token says. Times are whole seconds since 1970-01-01T00:00:00Z (RFC 7519 section 2, `NumericDate`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessTokenClaims {
    /// Who issued it, byte for byte as the metadata says.
    pub iss: Issuer,
    /// The first second at which it is no longer good.
    pub exp: i64,
    /// The one resource that may accept it.
    pub aud: Audience,
    /// For whom it speaks: the client itself, or a user's UUID.
    pub sub: String,
    /// The client that asked for it (RFC 8693 section 4.3).
    pub client_id: ClientId,
    /// When it was issued.
    pub iat: i64,
    /// Unique per token: 128 random bits in base64url.
    pub jti: String,
    /// When the user gave the password that this token goes back to (RFC 9068 section 2.2.1). None in a client's own token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// What was granted (RFC 9068 section 2.2.3).
    pub scope: Scope,
}

impl AccessTokenClaims {
    /// The `typ` of the header of every access token (RFC 9068 section 2.1).
    pub const TYPE: &'static str = "at+jwt";
}
