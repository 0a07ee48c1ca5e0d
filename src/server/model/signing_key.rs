use serde::Serialize;
use strum::{Display, IntoStaticStr};

use crate::{clock::Timestamp, protocol::Algorithm};

/// A signing key as it is stored. Its state follows from its times and `now`, so that nodes agree without communicating.
#[derive(Debug, Clone)]
pub(crate) struct SigningKeyRow {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    /// Counts the keys of one algorithm. It is unique, so that one of several nodes that create the next key wins.
    pub(crate) generation: i64,
    /// The public half as JSON. It is parsed when the key is opened, so that damage to it does not hide the row and its generation.
    pub(crate) public_jwk: String,
    /// The private key, as a JWE under the sealing key.
    pub(crate) sealed: String,
    pub(crate) published_at: Timestamp,
    pub(crate) activates_at: Timestamp,
    /// When it stops signing; `None` while no successor is planned.
    pub(crate) retires_at: Option<Timestamp>,
    /// When it stops being published.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
}

/// The state of a signing key at a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Display, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum KeyState {
    /// Published, so that verifiers know it before it signs.
    Published,
    /// Published, and signs (unless a later generation does).
    Active,
    /// Published, so that what it signed can still be verified.
    Retired,
    /// No longer published.
    Expired,
    /// Withdrawn early.
    Revoked,
}

impl KeyState {
    /// Whether verifiers may know a key in this state.
    pub(crate) const fn is_published(self) -> bool {
        matches!(self, Self::Published | Self::Active | Self::Retired)
    }

    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

impl SigningKeyRow {
    pub(crate) fn state(&self, now: Timestamp) -> KeyState {
        let past = |time: Option<Timestamp>| time.is_some_and(|time| time <= now);
        // Revocation takes effect at once, also if the clock that recorded it was ahead.
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if past(self.expires_at) {
            KeyState::Expired
        } else if past(self.retires_at) {
            KeyState::Retired
        } else if self.activates_at <= now {
            KeyState::Active
        } else {
            KeyState::Published
        }
    }
}
