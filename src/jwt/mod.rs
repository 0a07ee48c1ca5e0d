//! Strict reading of signed JWTs (RFC 7519, RFC 7515 section 7.1), by the practices of RFC 8725. It knows no type of token and no claim: the caller
//! gives what it [accepts](Accepted), and reads the claims as its own type.
//!
//! A token becomes what its caller may trust in three steps: [`Unverified::read`] checks its size, its form and its header; `verify` checks its
//! signature with a key that the caller finds, usually in a [`KeySet`]; `read` reads its claims. Nothing is fetched, and keys that a token
//! contains or points to are ignored.

mod error;
mod jwk;
mod key_set;
mod leak;
mod loose;
mod members;
#[cfg(feature = "server")]
mod signature_len;
mod signed;
#[cfg(feature = "server")]
mod single_key;
mod verification_key;

pub(crate) use error::Error;
pub(crate) use key_set::{KeySet, MAX_SET_LEN, NotAKeySet};
pub(crate) use loose::{Loose, NoMembers};
pub(crate) use members::{Members, Unwanted, next};
#[cfg(feature = "server")]
pub(crate) use signed::Verified;
pub(crate) use signed::{Accepted, Unverified, unverified_claims};
#[cfg(feature = "server")]
pub(crate) use single_key::{NotPublic, SingleKey};
pub(crate) use verification_key::VerificationKey;
