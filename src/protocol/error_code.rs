//! The error codes of OAuth 2: RFC 6749 section 5.2 and what later RFCs added.

/// The machine-readable reason why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ErrorCode {
    /// RFC 6749 5.2: a parameter is missing, malformed or repeated, or two authentication methods were mixed.
    InvalidRequest,
    /// RFC 6749 5.2: the client is unknown, its secret is wrong, or it sent none.
    InvalidClient,
    /// RFC 6749 5.2: the user's password or the refresh token is wrong, has ended, or belongs to another client.
    InvalidGrant,
    /// RFC 6749 5.2: the client may not use this grant type.
    UnauthorizedClient,
    /// RFC 6749 5.2: this server does not offer this grant type.
    UnsupportedGrantType,
    /// RFC 6749 4.1.2.1: this server does not offer this response type. It offers none.
    UnsupportedResponseType,
    /// RFC 6749 5.2: the scope is malformed, unknown, or exceeds what the client may have.
    InvalidScope,
    /// RFC 8707 2: the resource is malformed, unknown, or not allowed for this client.
    InvalidTarget,
    /// RFC 7009 2.2.1: this server does not revoke tokens of this kind.
    UnsupportedTokenType,
    /// Borrowed from RFC 6749 4.1.2.1: the fault is the server's.
    ServerError,
    /// Borrowed from RFC 6749 4.1.2.1: the server cannot answer now; the same request may succeed later.
    TemporarilyUnavailable,
}

impl ErrorCode {
    /// The code as sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
