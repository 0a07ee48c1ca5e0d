use serde::Serialize;

use super::rfc3339_if_any;
use crate::{
    clock::Timestamp,
    server::model::{KeyState, SigningKeyRow, rfc3339},
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
