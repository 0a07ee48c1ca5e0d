//! Signing keys whose private half has been opened, and the JWKS of the public halves.

use std::{fmt::Display, sync::Arc, time::Duration};

use super::{
    Error, SealingKeys,
    plan::{Snapshot, SnapshotKey},
    sealing::Sealed,
    signer::SigningKey,
};
use crate::{
    clock::Timestamp,
    jwt::{KeySet, NotAKeySet},
    protocol::{Algorithm, Ed25519Name, JwkSet, PublicJwk},
    server::{
        document::Document,
        model::{KeyState, SigningKeyRow},
        store::StoredKeys,
    },
};

/// The rendered JWKS. It is rendered once per change.
#[derive(Debug)]
pub(crate) struct Jwks {
    pub(crate) document: Document,
    pub(crate) kids: Arc<[String]>,
    /// The same keys as a verifier reads them.
    pub(super) set: Result<KeySet, NotAKeySet>,
}

/// A key that verifiers may know.
#[derive(Debug)]
pub(crate) struct PublishedKey {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) state: KeyState,
    pub(crate) published_at: Timestamp,
    pub(crate) activates_at: Timestamp,
}

/// Keys whose private half has been opened, the newest generation first.
#[derive(Debug, Default)]
pub(super) struct Keys {
    opened: Vec<OpenedKey>,
    quarantined: Vec<Quarantined>,
}

/// A key whose private half has been opened.
#[derive(Debug, Clone)]
pub(super) struct OpenedKey {
    pub(super) row: SigningKeyRow,
    pub(super) public: PublicJwk,
    signer: SigningKey,
}

/// A key of the database that is damaged. It is not used, unless it was opened before the damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quarantined {
    pub(super) kid: String,
    pub(super) why: String,
    algorithm: Option<Algorithm>,
    retires_at: Option<Timestamp>,
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

    /// Whether `row` still contains this key.
    fn is_in(&self, row: &SigningKeyRow) -> bool {
        let key = |row: &SigningKeyRow| (row.algorithm, row.generation);
        key(row) == key(&self.row) && row.kid == self.row.kid && row.sealed == self.row.sealed && row.public_jwk == self.row.public_jwk
    }

    /// The same key with the times of `row`.
    fn at_times_of(&self, row: &SigningKeyRow) -> Self {
        let SigningKeyRow { published_at, activates_at, retires_at, expires_at, revoked_at, .. } = *row;
        let row = SigningKeyRow { published_at, activates_at, retires_at, expires_at, revoked_at, ..self.row.clone() };
        Self { row, ..self.clone() }
    }
}

impl Keys {
    /// Opens every row. A row that does not open is used neither for signing nor in the JWKS: only the sealing key proves that a public
    /// key belongs to this issuer, and write access to the database must not be enough to publish a key.
    ///
    /// A key that is open already is kept: later damage to its row does not invalidate its tokens.
    pub(super) fn open(stored: &StoredKeys, sealing: &SealingKeys, before: &Self) -> Self {
        let known = |kid: &str| before.opened.iter().find(|key| key.row.kid == kid);
        // A row whose kid was changed still has the same private key.
        let sealed_as = |sealed: &str| before.opened.iter().find(|key| key.row.sealed == sealed);
        let mut keys = Self::default();
        for row in &stored.rows {
            let kept = known(&row.kid).or_else(|| sealed_as(&row.sealed));
            if let Some(kept) = kept.filter(|kept| kept.is_in(row)) {
                keys.opened.push(kept.at_times_of(row));
                continue;
            }
            match OpenedKey::open(row, sealing) {
                Ok(key) => keys.opened.push(key),
                Err(error) => {
                    keys.opened.extend(kept.map(|kept| kept.at_times_of(row)));
                    let kid = kept.map_or(&row.kid, |kept| &kept.row.kid).clone();
                    let (algorithm, retires_at) = (Some(row.algorithm), row.retires_at);
                    keys.quarantined.push(Quarantined { kid, why: error.to_string(), algorithm, retires_at });
                }
            }
        }
        for damaged in &stored.damaged {
            let kept = damaged.kid.as_deref().and_then(known).cloned();
            keys.opened.extend(kept.map(|mut kept| {
                let row = &mut kept.row;
                row.retires_at = damaged.retires_at.or(row.retires_at);
                row.expires_at = damaged.expires_at.or(row.expires_at);
                row.revoked_at = damaged.revoked_at.or(row.revoked_at);
                kept
            }));
            let kid = damaged.kid.clone().unwrap_or_default();
            let (algorithm, retires_at) = (damaged.algorithm, damaged.retires_at);
            keys.quarantined.push(Quarantined { kid, why: damaged.error.to_string(), algorithm, retires_at });
        }
        keys.opened.sort_by_key(|key| std::cmp::Reverse(key.row.generation));
        keys
    }

    /// Those of them with one of these kids.
    pub(super) fn only(&self, kids: &[String]) -> Self {
        let opened = self.opened.iter().filter(|key| kids.contains(&key.row.kid)).cloned().collect();
        Self { opened, quarantined: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.opened.len()
    }

    pub(super) fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// The newest generation of an algorithm that is active at `now`.
    pub(super) fn active(&self, algorithm: Algorithm, now: Timestamp) -> Option<&SigningKey> {
        self.newest_in(KeyState::Active, algorithm, now).map(|key| &key.signer)
    }

    /// The row of the key that signs, see [`Self::active`].
    pub(super) fn active_row(&self, algorithm: Algorithm, now: Timestamp) -> Option<&SigningKeyRow> {
        self.newest_in(KeyState::Active, algorithm, now).map(|key| &key.row)
    }

    /// The row of the newest key that is published and does not sign yet.
    pub(super) fn successor_row(&self, algorithm: Algorithm, now: Timestamp) -> Option<&SigningKeyRow> {
        let superseded = |row: &SigningKeyRow| row.retires_at.is_some_and(|retires| retires <= row.activates_at);
        self.newest_in(KeyState::Published, algorithm, now).map(|key| &key.row).filter(|row| !superseded(row))
    }

    fn newest_in(&self, state: KeyState, algorithm: Algorithm, now: Timestamp) -> Option<&OpenedKey> {
        self.opened.iter().find(|key| key.row.algorithm == algorithm && key.row.state(now) == state)
    }

    /// Whether an algorithm has a key that should sign at `now` and cannot.
    pub(super) fn has_lost(&self, algorithm: Algorithm, now: Timestamp) -> bool {
        let in_use = |retires_at: Option<Timestamp>| retires_at.is_none_or(|retires| retires > now);
        let after_it_signed = |row: &SigningKeyRow| row.revoked_at.is_some_and(|revoked| revoked >= row.activates_at);
        let revoked = |row: &SigningKeyRow| row.algorithm == algorithm && after_it_signed(row) && in_use(row.retires_at);
        let damaged = |key: &Quarantined| key.algorithm == Some(algorithm) && in_use(key.retires_at);
        self.opened.iter().any(|key| revoked(&key.row)) || self.quarantined.iter().any(damaged)
    }

    /// Whether a key signs at `now`, or will.
    pub(super) fn will_sign(&self, algorithm: Algorithm, now: Timestamp) -> bool {
        let will = |state| matches!(state, KeyState::Active | KeyState::Published);
        self.opened.iter().any(|key| key.row.algorithm == algorithm && will(key.row.state(now)))
    }

    /// The latest time at which one of the keys was published.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        // An operator whose clock was ahead withdraws the key that he made.
        self.opened.iter().filter(|key| key.row.revoked_at.is_none()).map(|key| key.row.published_at).max()
    }

    /// `stored` as the plan sees it.
    pub(super) fn snapshot(&self, stored: &StoredKeys, in_use: Vec<Algorithm>) -> Snapshot {
        let is_open = |kid: &str| self.opened.iter().any(|key| key.row.kid == kid);
        let damaged = |row: &SigningKeyRow| self.quarantined.iter().any(|key| key.kid == row.kid);
        let opened = self.opened.iter().map(|key| SnapshotKey { row: key.row.clone(), opens: true, damaged: damaged(&key.row) });
        let unopened = stored.rows.iter().filter(|row| !is_open(&row.kid));
        let unopened = unopened.map(|row| SnapshotKey { row: row.clone(), opens: false, damaged: true });
        Snapshot::new(opened.chain(unopened).collect(), stored, in_use)
    }

    /// The kid of each key, its state at `now`, and the time since it was published.
    pub(super) fn ages(&self, now: Timestamp) -> Vec<(String, &'static str, Duration)> {
        let age = |row: &SigningKeyRow| (row.kid.clone(), row.state(now).as_str(), now.since(row.published_at));
        self.opened.iter().map(|key| age(&key.row)).collect()
    }

    /// The keys of the JWKS.
    pub(super) fn published(&self, now: Timestamp) -> impl Iterator<Item = &OpenedKey> {
        self.opened.iter().filter(move |key| key.row.state(now).is_published())
    }

    pub(super) fn published_kids(&self, now: Timestamp) -> Vec<String> {
        self.published(now).map(|key| key.row.kid.clone()).collect()
    }

    pub(super) fn list_published(&self, now: Timestamp) -> Vec<PublishedKey> {
        let published = |OpenedKey { row, .. }: &OpenedKey| PublishedKey {
            kid: row.kid.clone(),
            algorithm: row.algorithm,
            state: row.state(now),
            published_at: row.published_at,
            activates_at: row.activates_at,
        };
        self.published(now).map(published).collect()
    }

    /// The JWKS at `now`, in which the keys for Ed25519 have the `alg` `ed25519`.
    pub(super) fn render(&self, ed25519: Ed25519Name, now: Timestamp) -> Result<Jwks, Error> {
        let set = JwkSet { keys: self.published(now).map(|key| key.public.clone()).collect() };
        let body = serde_json::to_vec(&set.under(ed25519)).map_err(|e| Error::Generation(e.to_string()))?;
        let algorithms: Vec<Algorithm> = self.published(now).map(|key| key.row.algorithm).collect();
        let set = KeySet::parse(&body, &algorithms);
        Ok(Jwks { document: Document::new(body), kids: self.published_kids(now).into(), set })
    }
}
