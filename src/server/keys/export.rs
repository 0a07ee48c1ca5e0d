//! The public keys for verifiers that cannot fetch them, and how long they suffice.

use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    nid::Nid,
    pkey::{Id, PKey, Public},
    rsa::Rsa,
};

use super::{Error, KeyRequests};
use crate::{
    clock::Timestamp,
    jwt::{KeySet, NotAKeySet},
    protocol::{Algorithm, PublicJwk, PublicKey},
    server::{
        model::{KeyState, SigningKeyRow},
        store::{self, DamagedKey},
    },
};

/// The algorithms of signing keys.
pub(crate) const ALGORITHMS: [Algorithm; 4] = Algorithm::SIGNED_WITH;

/// The public keys that are published.
#[derive(Debug)]
pub(crate) struct Export {
    /// The JWK set, as the server serves it.
    pub(crate) jwks: Vec<u8>,
    pub(crate) keys: Vec<ExportedKey>,
    /// The number of keys that are published.
    pub(crate) published: usize,
    /// The ids, if they can be read, of the damaged keys that are left out although a server that had opened them before still publishes them.
    pub(crate) damaged: Vec<Option<String>>,
    /// From when on a key may sign that is not exported, if no key is rotated by hand, lost or compromised, and no other algorithm is used. `None`
    /// if that may be at once.
    pub(crate) complete_until: Option<Timestamp>,
}

/// A key whose private half this issuer has, and when it signs.
#[derive(Debug)]
pub(crate) struct ExportedKey {
    /// SubjectPublicKeyInfo, as PEM (RFC 7468 section 13).
    pub(crate) pem: String,
    pub(crate) row: SigningKeyRow,
}

/// Why a key is not exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotExported {
    #[error("there is no signing key {0}: `sealwright key list` lists them")]
    Unknown(String),
    #[error("the signing key {kid} is {state}, and verifiers must not accept it any more")]
    Withdrawn { kid: String, state: KeyState },
    #[error("the row of the signing key {kid} is damaged, so that its public key cannot be trusted: {why}")]
    Damaged { kid: String, why: String },
    #[error("no signing key can be read, so that there is nothing to export: `sealwright check` says what is wrong")]
    None,
    #[error("the public key cannot be encoded: {0}")]
    Encoding(#[from] ErrorStack),
    #[error(transparent)]
    Keys(#[from] Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl KeyRequests<'_> {
    /// The published keys, or those of them that `kids` names. As in the JWKS that the server serves, there is no key whose row is damaged: only the
    /// sealing key proves that a public key is this issuer's.
    pub(crate) async fn export(&self, kids: &[String]) -> Result<Export, NotExported> {
        let (keys, now) = (&self.keys, self.now);
        let published = keys.published_kids(now);
        if let Some(kid) = kids.iter().find(|kid| !published.contains(kid)) {
            let damaged = keys.quarantined().iter().find(|key| key.kid == *kid).map(|key| key.why.clone());
            let row = self.stored.rows.iter().find(|row| row.kid == *kid);
            return Err(match (damaged, row) {
                (Some(why), _) => NotExported::Damaged { kid: kid.clone(), why },
                (None, Some(row)) => NotExported::Withdrawn { kid: kid.clone(), state: row.state(now) },
                (None, None) => NotExported::Unknown(kid.clone()),
            });
        }
        if published.is_empty() {
            return Err(NotExported::None);
        }
        let wanted = keys.only(if kids.is_empty() { &published } else { kids });
        let exported = wanted.published(now).map(|key| Ok(ExportedKey { pem: pem(&key.public)?, row: key.row.clone() }));
        let damaged = self.damaged();
        let next_unknown = self.in_use.iter().map(|algorithm| self.next_unknown(*algorithm)).min().flatten();
        Ok(Export {
            jwks: wanted.render(self.policy.ed25519_alg, now)?.document.body.to_vec(),
            keys: exported.collect::<Result<_, NotExported>>()?,
            published: published.len(),
            complete_until: next_unknown.filter(|_| damaged.is_empty()),
            damaged,
        })
    }

    /// The published keys, to check a token of this issuer with.
    pub(crate) fn key_set(&self) -> Result<KeySet, Error> {
        let set = self.keys.render(self.policy.ed25519_alg, self.now)?.set;
        set.map_err(|NotAKeySet(why)| Error::Generation(why.to_owned()))
    }

    /// The damaged keys that a server still publishes if it had opened them before the damage.
    fn damaged(&self) -> Vec<Option<String>> {
        let quarantined = |row: &SigningKeyRow| self.keys.quarantined().iter().any(|key| key.kid == row.kid);
        let unopened = self.stored.rows.iter().filter(|row| row.state(self.now).is_published() && quarantined(row));
        let is_published = |key: &DamagedKey| key.revoked_at.is_none() && key.expires_at.is_none_or(|expires| expires > self.now);
        let unreadable = self.stored.damaged.iter().filter(|key| is_published(key));
        unopened.map(|row| Some(row.kid.clone())).chain(unreadable.map(|key| key.kid.clone())).collect()
    }

    /// When a key of an algorithm may sign that is not published yet, at the earliest: its rotation creates one when the newest has signed for a period
    /// less the lead, and lets it sign after the lead. The clock of a node may be ahead.
    fn next_unknown(&self, algorithm: Algorithm) -> Option<Timestamp> {
        let schedule = self.policy.schedule();
        let active = self.keys.active_row(algorithm, self.now);
        // Another key takes its place at once, and is replaced earlier than its row says.
        if active.is_none() && self.keys.has_lost(algorithm, self.now) {
            return None;
        }
        let due = |row: &SigningKeyRow| row.activates_at + schedule.period.saturating_sub(schedule.lead);
        let created = match (self.keys.successor_row(algorithm, self.now), active) {
            (Some(next), _) => due(next),
            // Its successor is gone.
            (None, Some(key)) if key.retires_at.is_some() => self.now,
            (None, Some(key)) => due(key),
            (None, None) => return None,
        };
        Some(created.max(self.now) + schedule.lead - 2 * schedule.skew)
    }
}

fn pem(key: &PublicJwk) -> Result<String, ErrorStack> {
    let key: PKey<Public> = match key.key() {
        PublicKey::Rsa(rsa) => PKey::from_rsa(Rsa::from_public_components(BigNum::from_slice(rsa.n())?, BigNum::from_slice(rsa.e())?)?)?,
        PublicKey::Ec { x, y } => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            let (x, y) = (BigNum::from_slice(x)?, BigNum::from_slice(y)?);
            PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(&group, &x, &y)?)?
        }
        PublicKey::Okp { x } => PKey::public_key_from_raw_bytes(x, Id::ED25519)?,
    };
    Ok(String::from_utf8_lossy(&key.public_key_to_pem()?).into_owned())
}
