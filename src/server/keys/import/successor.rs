//! An imported key becomes the next one of its algorithm, as if a rotation had created it.

use std::time::Duration;

use super::ForeignKey;
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{
        act::Act,
        keys::{
            Error,
            on_request::{KeyRequests, RequestError, Successor},
            rotation,
        },
        model::{KeyState, rfc3339},
        store,
    },
};

/// Why a key cannot be the next one of its algorithm.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotImported {
    #[error("the issuer has no signing key yet: start the server once, which creates the first one; the imported key then follows it")]
    NoIssuer,
    #[error("it is a signing key of this issuer already ({kid}, {state})")]
    Known { kid: String, state: KeyState },
    #[error("it is a signing key of this issuer already ({kid}), whose row is damaged: `sealwright check` says how")]
    KnownAndDamaged { kid: String },
    #[error(
        "the key {kid} was revoked on {}: the operator who did so may know that others have it; `sealwright change list` names them",
        rfc3339(*at)
    )]
    Revoked { kid: String, at: Timestamp },
    #[error(
        "no resource uses {0}, and a server retires the keys of such an algorithm: `sealwright resource update RESOURCE --alg {0}` first"
    )]
    AlgorithmUnused(Algorithm),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Keys(#[from] Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl KeyRequests<'_> {
    /// What [`Self::import`] would do. Only one key at a time waits for its turn.
    pub(crate) async fn import_of(&self, key: &ForeignKey, lead: Option<Duration>) -> Result<Successor, NotImported> {
        let (algorithm, kid) = (key.algorithm, key.key.public_jwk.kid().to_owned());
        if self.stored.rows.is_empty() && self.stored.damaged.is_empty() {
            return Err(NotImported::NoIssuer);
        }
        if let Some(row) = self.stored.rows.iter().find(|row| row.kid == kid) {
            return Err(NotImported::Known { kid, state: row.state(self.now) });
        }
        if self.stored.damaged.iter().any(|damaged| damaged.kid.as_deref() == Some(&kid)) {
            return Err(NotImported::KnownAndDamaged { kid });
        }
        if let Some(at) = self.store.find_key_revocation(&kid).await? {
            return Err(NotImported::Revoked { kid, at });
        }
        if !self.in_use.contains(&algorithm) {
            return Err(NotImported::AlgorithmUnused(algorithm));
        }
        Ok(Successor { kid: Some(kid), ..self.rotation(algorithm, lead)? })
    }

    /// Publishes a private key from elsewhere, which signs after the lead.
    pub(crate) async fn import(&self, act: &Act, key: &ForeignKey, lead: Option<Duration>) -> Result<Successor, NotImported> {
        let planned = self.import_of(key, lead).await?;
        let generation = self.stored.newest_generation(planned.algorithm).saturating_add(1);
        let row = rotation::sealed(&self.sealing, &key.key, generation, self.now, planned.activates_at)?;
        // A node that creates the next key at this moment has the same generation: one of the two wins.
        if self.store.insert_signing_key(act, "key.import", row, planned.predecessor_expires_at).await? {
            Ok(planned)
        } else {
            Err(RequestError::Raced.into())
        }
    }
}
