//! Signing keys whose private half has been opened, and the JWKS of the public halves.

use std::{fmt::Display, time::Duration};

use super::{Error, SealingKeys, plan::KnownKey, sealing::Sealed, signer::SigningKey};
use crate::{
    clock::Timestamp,
    protocol::{Algorithm, JwkSet, PublicJwk},
    server::{
        document::Document,
        model::{KeyState, SigningKeyRow},
        store::Store,
    },
};

/// The rendered JWKS. It is rendered once per change.
#[derive(Debug)]
pub(super) struct Jwks {
    pub(super) document: Document,
    pub(super) kids: Vec<String>,
}

/// Reads all rows that can be parsed, the newest generation first.
pub(super) async fn read_rows(store: &Store) -> Result<Vec<SigningKeyRow>, Error> {
    let readable = |row| match row {
        Ok(row) => Some(row),
        Err(error) => {
            tracing::error!(%error, "a signing key is damaged and is not used");
            None
        }
    };
    Ok(store.list_signing_keys().await?.into_iter().filter_map(readable).collect())
}

/// Keys whose private half has been opened, the newest generation first.
#[derive(Debug)]
pub(super) struct Keys(Vec<OpenedKey>);

#[derive(Debug, Clone)]
struct OpenedKey {
    row: SigningKeyRow,
    public: PublicJwk,
    signer: SigningKey,
}

impl OpenedKey {
    fn open(row: &SigningKeyRow, sealing: &SealingKeys) -> Result<Self, Error> {
        let pkcs8 = sealing.open(Sealed { kid: &row.kid, generation: row.generation, algorithm: Some(row.algorithm) }, &row.sealed)?;
        let unopened = |error: &dyn Display| Error::Unopened(format!("its public key is damaged: {error}"));
        let public: PublicJwk = serde_json::from_str(&row.public_jwk).map_err(|error| unopened(&error))?;
        if public.algorithm() != row.algorithm {
            return Err(unopened(&format_args!("it is for {}, and its row for {}", public.algorithm(), row.algorithm)));
        }
        Ok(Self { signer: SigningKey::from_pkcs8(&pkcs8, &public)?, public, row: row.clone() })
    }
}

impl Keys {
    /// Opens every row. A row that does not open is used neither for signing nor in the JWKS: only the sealing key proves that a public
    /// key belongs to this issuer, and write access to the database must not be enough to publish a key.
    ///
    /// A key that is open already is kept: later damage to its row does not invalidate its tokens.
    pub(super) fn open(rows: &[SigningKeyRow], sealing: &SealingKeys, before: Option<&Self>) -> Self {
        let open = |row: &SigningKeyRow| match OpenedKey::open(row, sealing) {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(key.id = row.kid, %error, "a signing key does not open and is not used");
                before?.0.iter().find(|key| key.row.kid == row.kid).cloned()
            }
        };
        Self(rows.iter().filter_map(open).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The newest generation of an algorithm that is active at `now`.
    pub(super) fn active(&self, algorithm: Algorithm, now: Timestamp) -> Option<&SigningKey> {
        let active = |key: &&OpenedKey| key.row.algorithm == algorithm && key.row.state(now) == KeyState::Active;
        self.0.iter().find(active).map(|key| &key.signer)
    }

    /// `rows` as the plan sees them.
    pub(super) fn known<'a>(&self, rows: &'a [SigningKeyRow]) -> Vec<KnownKey<'a>> {
        let opens = |row: &SigningKeyRow| self.0.iter().any(|key| key.row.kid == row.kid);
        rows.iter().map(|row| KnownKey { row, opens: opens(row) }).collect()
    }

    /// The kid of each key, its state at `now`, and the time since it was published.
    pub(super) fn ages(&self, now: Timestamp) -> Vec<(String, &'static str, Duration)> {
        let age = |row: &SigningKeyRow| (row.kid.clone(), row.state(now).as_str(), now.since(row.published_at));
        self.0.iter().map(|key| age(&key.row)).collect()
    }

    fn published(&self, now: Timestamp) -> impl Iterator<Item = &OpenedKey> {
        self.0.iter().filter(move |key| key.row.state(now).is_published())
    }

    pub(super) fn published_kids(&self, now: Timestamp) -> Vec<String> {
        self.published(now).map(|key| key.row.kid.clone()).collect()
    }

    pub(super) fn render(&self, now: Timestamp) -> Result<Jwks, Error> {
        let set = JwkSet { keys: self.published(now).map(|key| key.public.clone()).collect() };
        let body = serde_json::to_vec(&set).map_err(|e| Error::Generation(e.to_string()))?;
        Ok(Jwks { document: Document::new(body), kids: self.published_kids(now) })
    }
}
