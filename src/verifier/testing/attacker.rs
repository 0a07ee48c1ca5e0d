//! The attacker of hostile tokens: a key of its own, and addresses under the testing issuer at which an API finds it that believes the token.

use std::{
    io,
    sync::{Arc, MutexGuard, PoisonError},
};

use aws_lc_rs::{
    rsa::KeySize,
    signature::{KeyPair, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    certificate::self_signed,
    published::{Shared, encode, metadata},
};
use crate::protocol::ServerMetadata;

/// The id of the attacker's key.
pub(super) const ATTACKER_KID: &str = "evil";
/// The path below which the attacker answers, under the issuer's own path.
const ROUTE: &str = "/evil";
/// At most this many paths are kept.
const MAX_PATHS: usize = 1000;

/// The attacker's key as it publishes it.
pub(super) fn attacker_jwk(pair: &RsaKeyPair) -> Value {
    let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
    let (n, e) = (encode(n.big_endian_without_leading_zero()), encode(e.big_endian_without_leading_zero()));
    json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": ATTACKER_KID, "n": n, "e": e })
}

impl Shared {
    /// The attacker's key. It is generated when it is first needed.
    pub(super) fn attacker(&self) -> io::Result<Arc<RsaKeyPair>> {
        if let Some(pair) = self.attacker.get() {
            return Ok(Arc::clone(pair));
        }
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        Ok(Arc::clone(self.attacker.get_or_init(|| Arc::new(pair))))
    }

    /// An address of the attacker's. Without a path, it is its issuer identifier.
    pub(super) fn attacker_url(&self, path: &str) -> String {
        self.endpoint(&format!("{ROUTE}{path}"))
    }

    pub(super) fn other_paths(&self) -> MutexGuard<'_, Vec<String>> {
        self.other_paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record_other(&self, path: &str) {
        let mut paths = self.other_paths();
        if paths.len() < MAX_PATHS {
            paths.push(path.to_owned());
        }
    }

    /// What the attacker answers at this path, and its media type. `None` if the path is not one of its own, or no hostile token was made.
    pub(super) fn answer_of_attacker(&self, path: &str) -> Option<(String, &'static str)> {
        let pair = self.attacker.get()?;
        let own = format!("{}{ROUTE}", self.path);
        let below = path.strip_prefix(own.as_str());
        let well_known = [ServerMetadata::ROUTE, ServerMetadata::ALIAS_ROUTE];
        let is_metadata = well_known.iter().any(|route| below == Some(*route) || path.strip_prefix(*route) == Some(own.as_str()));
        if is_metadata {
            let keys = self.attacker_url(ServerMetadata::JWKS_ROUTE);
            return Some((metadata(&self.attacker_url(""), &keys), "application/json"));
        }
        match below?.strip_prefix('/')? {
            "x5u" => {
                let certificate = BASE64_STANDARD.encode(self_signed(pair).ok()?);
                let text = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
                Some((text, "application/pem-certificate-chain"))
            }
            _ => Some((json!({ "keys": [attacker_jwk(pair)] }).to_string(), "application/jwk-set+json")),
        }
    }
}
