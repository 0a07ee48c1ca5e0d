//! The types of the wire protocol.
//!
//! Every value is valid by construction: it is parsed, or built from parsed parts. Each type cites the RFC that defines it, and none does
//! I/O.

mod algorithm;
mod claims;
mod error_code;
mod identifiers;
mod jwk;
#[cfg(feature = "server")]
mod key_id;
mod metadata;
mod scope;
mod secret_forms;
#[cfg(feature = "verifier")]
mod status_list;
#[cfg(any(feature = "server", feature = "testing"))]
mod status_list_encoding;
#[cfg(feature = "verifier")]
mod verifier_name;

use std::fmt;

pub use algorithm::{Algorithm, Ed25519Name};
pub use claims::{AccessTokenClaims, Status, StatusReference};
pub use error_code::ErrorCode;
#[cfg(any(feature = "client", feature = "verifier"))]
pub(crate) use identifiers::is_loopback;
pub use identifiers::{Audience, AuthMethod, ClientId, GrantType, Issuer};
#[cfg(feature = "verifier")]
pub(crate) use jwk::KeyMembers;
pub use jwk::{JwkSet, PublicJwk, PublicKey, RsaPublicKey};
#[cfg(feature = "server")]
pub use key_id::KeyId;
pub use metadata::ServerMetadata;
pub use scope::{Scope, ScopeToken};
#[cfg(feature = "server")]
pub(crate) use secret_forms::{SecretForm, after_prefix, base64url, contains_secret, find_secret};
#[cfg(feature = "verifier")]
pub(crate) use status_list::{StatusListClaims, Statuses};
#[cfg(feature = "verifier")]
pub(crate) use verifier_name::VerifierName;

/// Why a text could not be parsed. It does not contain the text itself, which came from outside.
///
/// `Debug` prints the same sentence as `Display`, so that a `main` that returns it prints a readable message.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what}: {rule}")]
pub struct Malformed {
    /// The expected kind of text, such as `client id`.
    pub what: &'static str,
    /// The rule that the text breaks, as a sentence.
    pub rule: &'static str,
}

impl fmt::Debug for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Implements what all parsed strings share: they print and serialise as the text that was parsed.
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
