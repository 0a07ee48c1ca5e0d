//! The state of the testing issuer: its keys, and how it answers.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, KeyPair, RsaEncoding, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::listed::ListedStatuses;
use crate::{
    clock::ManualClock,
    protocol::{Algorithm, PublicJwk, PublicKey, ServerMetadata},
    signing::thumbprint,
};

/// How the issuer answers a request for its metadata, its keys or its status list.
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
    /// With 200, this body, and an `Age` in seconds, as a cache on the way that repeats an answer.
    Cached {
        /// The body.
        body: Vec<u8>,
        /// For how long the cache has had it.
        age: u64,
    },
    /// With 200, this body, and an `ETag`, also where 304 is expected.
    Tagged(Vec<u8>),
    /// As a cache on the way that takes its old answer for the current one: 304 to every conditional request, unless it carries `no-cache`
    /// (RFC 9111 section 5.2.1.4). Correctly otherwise.
    OldCache,
    /// With 200 and a body that never ends.
    Endless,
    /// Correctly, one byte per second of the issuer's clock.
    Trickle,
}

/// The path of the one status list.
pub(super) const LIST_ROUTE: &str = "/oauth/status-lists/testing";

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) url: String,
    /// The path of the URL, without a slash at its end.
    pub(super) path: String,
    pub(super) clock: ManualClock,
    pub(super) published: Mutex<Published>,
    pub(super) connections: AtomicU64,
    pub(super) key_fetches: AtomicU64,
    pub(super) metadata_fetches: AtomicU64,
    pub(super) list_fetches: AtomicU64,
    /// Requests for anything else. A token must not cause one.
    pub(super) other_requests: AtomicU64,
    /// The paths of the first of these.
    pub(super) other_paths: Mutex<Vec<String>>,
    /// The key of an attacker, once a hostile token needs it.
    pub(super) attacker: OnceLock<Arc<RsaKeyPair>>,
}

#[derive(Debug)]
pub(super) struct Published {
    pub(super) keys: Vec<IssuerKey>,
    /// The id of the key that signs, if it is not the last one.
    pub(super) signs: Option<String>,
    /// Further entries of the document.
    pub(super) others: Vec<Value>,
    /// Incremented by every change, and used as the `ETag`.
    pub(super) generation: u64,
    pub(super) max_age: Duration,
    pub(super) metadata_answer: Behavior,
    pub(super) key_answer: Behavior,
    /// The headers of the last request for the keys, by lower-case name.
    pub(super) last_key_request: HashMap<String, String>,
    pub(super) list: ListedStatuses,
    pub(super) list_answer: Behavior,
    pub(super) last_list_request: HashMap<String, String>,
    /// A further path of the keys, which the metadata then names.
    pub(super) keys_route: Option<String>,
    /// Claims of every token.
    pub(super) claims: Map<String, Value>,
}

#[derive(Debug)]
pub(super) struct IssuerKey {
    pub(super) pair: Arc<RsaKeyPair>,
    pub(super) public: PublicJwk,
}

impl Published {
    pub(super) fn signing_key(&self) -> Option<&IssuerKey> {
        let named = self.signs.as_deref().and_then(|kid| self.keys.iter().find(|key| key.public.kid() == kid));
        named.or_else(|| self.keys.last())
    }
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

    /// The id of the key that signs.
    pub(super) fn kid(&self) -> String {
        self.published().signing_key().map(|key| key.public.kid().to_owned()).unwrap_or_default()
    }

    /// The key pair that signs.
    pub(super) fn pair(&self) -> io::Result<Arc<RsaKeyPair>> {
        let pair = self.published().signing_key().map(|key| Arc::clone(&key.pair));
        pair.ok_or_else(|| io::Error::other("every key of this issuer is withdrawn: `rotate` generates a new one"))
    }

    /// Signs any bytes as a token.
    pub(super) fn sign(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> io::Result<String> {
        self.sign_by(&signature::RSA_PKCS1_SHA256, &encode(header), &encode(payload))
    }

    pub(super) fn sign_by(&self, padding: &'static dyn RsaEncoding, header: &str, payload: &str) -> io::Result<String> {
        let pair = self.pair()?;
        sign(&pair, padding, &format!("{header}.{payload}"))
    }

    pub(super) fn jwks(&self) -> String {
        let published = self.published();
        let keys = published.keys.iter().map(|key| json!(key.public)).chain(published.others.iter().cloned());
        json!({ "keys": keys.collect::<Vec<_>>() }).to_string()
    }

    /// The URI of the status list.
    pub(super) fn list_uri(&self) -> String {
        self.endpoint(LIST_ROUTE)
    }

    /// The URL of the endpoint at `route`, under the issuer's own path.
    pub(super) fn endpoint(&self, route: &str) -> String {
        format!("{}{route}", self.url.trim_end_matches('/'))
    }

    /// The URL without its path.
    fn origin(&self) -> &str {
        let url = self.url.trim_end_matches('/');
        url.strip_suffix(self.path.as_str()).unwrap_or(url)
    }

    pub(super) fn metadata(&self) -> String {
        let keys = match &self.published().keys_route {
            Some(route) => format!("{}{route}", self.origin()),
            None => self.endpoint(ServerMetadata::JWKS_ROUTE),
        };
        metadata(&self.url, &keys)
    }
}

/// The metadata of an issuer. Libraries for OpenID Connect refuse metadata without these members; nothing answers at the endpoints.
pub(super) fn metadata(issuer: &str, keys: &str) -> String {
    let endpoint = |route: &str| format!("{}{route}", issuer.trim_end_matches('/'));
    json!({
        "issuer": issuer,
        "authorization_endpoint": endpoint("/oauth/authorize"),
        "token_endpoint": endpoint(ServerMetadata::TOKEN_ROUTE),
        "jwks_uri": keys,
        "response_types_supported": ["none"],
        "grant_types_supported": ["client_credentials"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    })
    .to_string()
}

/// Signs the text, and appends the signature to it.
pub(super) fn sign(pair: &RsaKeyPair, padding: &'static dyn RsaEncoding, signed: &str) -> io::Result<String> {
    Ok(format!("{signed}.{}", encode(raw_signature(pair, padding, signed.as_bytes())?)))
}

pub(super) fn raw_signature(pair: &RsaKeyPair, padding: &'static dyn RsaEncoding, signed: &[u8]) -> io::Result<Vec<u8>> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), signed, &mut signature).map_err(io::Error::other)?;
    Ok(signature)
}
