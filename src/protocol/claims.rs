//! The claims of an access token: RFC 9068 section 2.2.

use serde::{Deserialize, Serialize};

use super::{Audience, ClientId, Issuer, Scope};

/// The claims of an access token. Times are whole seconds since 1970-01-01T00:00:00Z (RFC 7519 section 2, `NumericDate`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccessTokenClaims {
    /// The issuer, byte for byte as in its metadata.
    pub iss: Issuer,
    /// The first second at which the token is no longer valid.
    pub exp: i64,
    /// The one resource that may accept the token.
    pub aud: Audience,
    /// The subject: the client id of a client, or the UUID of a user.
    pub sub: String,
    /// The client that requested the token (RFC 8693 section 4.3).
    pub client_id: ClientId,
    /// When the token was issued.
    pub iat: i64,
    /// Unique per token: 128 random bits in base64url.
    pub jti: String,
    /// When the user entered the password (RFC 9068 section 2.2.1). `None` in a client's own token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// The granted scope (RFC 9068 section 2.2.3).
    pub scope: Scope,
    /// Where the status of the token is published. `None` if the server publishes no status lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// The claim `status` (draft-ietf-oauth-status-list section 6.2): where to look up whether a token was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The position in a status list.
    pub status_list: StatusReference,
}

/// A position in a status list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusReference {
    /// The index of the status; the first is 0.
    pub idx: u64,
    /// The URI of the list.
    pub uri: String,
}

impl AccessTokenClaims {
    /// The `typ` of the header of every access token (RFC 9068 section 2.1).
    pub const TYPE: &'static str = "at+jwt";
}
