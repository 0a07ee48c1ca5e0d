//! The state of the testing issuer: its keys, and how it answers.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RsaEncoding, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    clock::ManualClock,
    jwt::thumbprint,
    protocol::{Algorithm, PublicJwk, PublicKey, ServerMetadata},
};

/// How the issuer answers a request for its metadata or its keys.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Behavior {
    /// Correctly.
    #[default]
    Normal,
    /// Not at all: connections end without an answer.
    Down,
    /// It accepts the request and never answers.
    Silent,
    /// With this status and an empty body.
    Status(u16),
    /// With 302 to this URL.
    Redirect(String),
    /// With 200 and this body.
    Body(Vec<u8>),
    /// With 200 and a body that never ends.
    Endless,
    /// Correctly, one byte per second of the issuer's clock.
    Trickle,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) url: String,
    pub(super) clock: ManualClock,
    pub(super) published: Mutex<Published>,
    pub(super) key_fetches: AtomicU64,
    pub(super) metadata_fetches: AtomicU64,
    /// Requests for anything else. A token must not cause one.
    pub(super) other_requests: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Published {
    /// The last one signs.
    pub(super) keys: Vec<IssuerKey>,
    /// Further entries of the document.
    pub(super) others: Vec<Value>,
    /// Incremented by every change, and used as the `ETag`.
    pub(super) generation: u64,
    pub(super) max_age: Duration,
    pub(super) metadata_answer: Behavior,
    pub(super) key_answer: Behavior,
    /// The headers of the last request for the keys, by lower-case name.
    pub(super) last_key_request: HashMap<String, String>,
}

#[derive(Debug)]
pub(super) struct IssuerKey {
    pub(super) pair: Arc<RsaKeyPair>,
    pub(super) public: PublicJwk,
}

impl IssuerKey {
    pub(super) fn generate() -> io::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
        let key = PublicKey::rsa(n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero()).map_err(io::Error::other)?;
        let public = PublicJwk::new(thumbprint(&key), Algorithm::Rs256, key).map_err(io::Error::other)?;
        Ok(Self { public, pair: Arc::new(pair) })
    }
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Shared {
    pub(super) fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn jwks(&self) -> String {
        let published = self.published();
        let keys = published.keys.iter().map(|key| json!(key.public)).chain(published.others.iter().cloned());
        json!({ "keys": keys.collect::<Vec<_>>() }).to_string()
    }

    pub(super) fn metadata(&self) -> String {
        let keys = format!("{}{}", self.url, ServerMetadata::JWKS_ROUTE);
        json!({ "issuer": self.url, "jwks_uri": keys }).to_string()
    }
}

/// Signs the text, and appends the signature to it.
pub(super) fn sign(pair: &RsaKeyPair, padding: &'static dyn RsaEncoding, signed: &str) -> io::Result<String> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).map_err(io::Error::other)?;
    Ok(format!("{signed}.{}", encode(signature)))
}
