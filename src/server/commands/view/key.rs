use serde::Serialize;

use super::rfc3339_if_any;
use crate::{
    clock::Timestamp,
    server::{
        keys::ListedKey,
        model::{KeyState, SigningKeyRow, rfc3339},
    },
};

/// A signing key, without its private key.
#[derive(Debug, Serialize)]
pub(crate) struct KeyView {
    pub(crate) kid: String,
    pub(crate) alg: String,
    pub(crate) generation: i64,
    pub(crate) state: KeyState,
    pub(crate) published_at: String,
    pub(crate) activates_at: String,
    pub(crate) retires_at: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) revoked_at: Option<String>,
}

impl KeyView {
    pub(crate) fn new(key: SigningKeyRow, now: Timestamp) -> Self {
        Self {
            state: key.state(now),
            alg: key.algorithm.to_string(),
            generation: key.generation,
            published_at: rfc3339(key.published_at),
            activates_at: rfc3339(key.activates_at),
            retires_at: rfc3339_if_any(key.retires_at),
            expires_at: rfc3339_if_any(key.expires_at),
            revoked_at: rfc3339_if_any(key.revoked_at),
            kid: key.kid,
        }
    }
}

/// A signing key of a list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ListedKeyView {
    Whole(KeyView),
    Quarantined(QuarantinedKeyView),
}

/// A damaged signing key, as far as it can be read.
#[derive(Debug, Serialize)]
pub(crate) struct QuarantinedKeyView {
    pub(crate) kid: Option<String>,
    pub(crate) alg: Option<String>,
    pub(crate) generation: Option<i64>,
    pub(crate) state: &'static str,
    pub(crate) published_at: Option<String>,
    pub(crate) activates_at: Option<String>,
    pub(crate) retires_at: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) revoked_at: Option<String>,
    pub(crate) error: String,
}

impl ListedKeyView {
    pub(crate) fn new(key: ListedKey, now: Timestamp) -> Self {
        match key {
            ListedKey::Whole(row) => Self::Whole(KeyView::new(row, now)),
            ListedKey::Quarantined(key) => Self::Quarantined(QuarantinedKeyView {
                kid: key.kid,
                alg: key.algorithm.map(|algorithm| algorithm.to_string()),
                generation: key.generation,
                state: "quarantined",
                published_at: rfc3339_if_any(key.published_at),
                activates_at: rfc3339_if_any(key.activates_at),
                retires_at: rfc3339_if_any(key.retires_at),
                expires_at: rfc3339_if_any(key.expires_at),
                revoked_at: rfc3339_if_any(key.revoked_at),
                error: key.why,
            }),
        }
    }

    /// Why it is not used, if it is damaged.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Whole(_) => None,
            Self::Quarantined(key) => Some(&key.error),
        }
    }
}
