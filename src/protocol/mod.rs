//! The words on the wire.
//!
//! Every type here exists only when it is lawful: it is made by parsing, or of parsed parts; it cites the RFC
//! whose rule it keeps, and does no input or output.

mod claims;
mod error_code;
mod identifiers;
mod jwk;
mod metadata;
mod scope;
mod secret_forms;

pub use claims::AccessTokenClaims;
pub use error_code::ErrorCode;
#[cfg(any(feature = "client", feature = "verifier"))]
pub(crate) use identifiers::is_loopback;
pub use identifiers::{Audience, AuthMethod, ClientId, GrantType, Issuer};
pub use jwk::{Algorithm, JwkSet, PublicJwk};
pub use metadata::ServerMetadata;
pub use scope::{Scope, ScopeToken};
#[cfg(feature = "server")]
pub(crate) use secret_forms::{SecretForm, after_prefix, base64url, contains_secret, find_secret};

/// Why a text is not what it should be. The text itself is not repeated: it came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no lawful {what}: {rule}")]
pub struct Malformed {
    /// What the text should have been, such as `client id`.
    pub what: &'static str,
    /// The rule that it breaks, as a whole phrase for a person.
    pub rule: &'static str,
}

/// What every parsed string shares: it prints and serialises as the very text that was parsed.
macro_rules! parsed_text {
    ($name:ident) => {
        impl $name {
            /// The text, exactly as it was parsed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}
use parsed_text;
