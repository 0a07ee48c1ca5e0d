//! Private keys of apps, and the assertions that they sign: RFC 7523 section 2.2.

use std::{fmt, path::PathBuf, time::Duration};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::json;
use zeroize::Zeroizing;

use super::place::Place;
use crate::{
    clock::Timestamp,
    entropy,
    protocol::{Algorithm, Issuer},
    signing::{KeyPair, thumbprint},
};

/// Maximum length of a key in bytes. An RSA key of 8,192 bits has about 6,400 in PEM.
const MAX_LEN: usize = 16 * 1024;
/// How long an assertion is valid. It is used at once, and the clocks of app and issuer may differ.
const LIFETIME: Duration = Duration::from_secs(60);

/// The private key by which an app authenticates without a secret (`private_key_jwt`), or the place where it is stored. The issuer has only the
/// public half: `sealwright client create --key FILE` makes both.
///
/// The key is in PEM, not encrypted: PKCS#8, or the older forms for RSA and for elliptic curves (`BEGIN RSA PRIVATE KEY`, `BEGIN EC PRIVATE KEY`).
/// An RSA key signs by RS256, a key on the curve P-256 by ES256, and an Ed25519 key by Ed25519. A file or a variable is read for each
/// token request, so that a replaced key takes effect without a restart. `Debug` shows the place, never the key.
///
/// ```
/// use sealwright::client::{Credentials, PrivateKey};
///
/// let builder = Credentials::client("billing", PrivateKey::file("/run/secrets/billing.pem"));
/// # drop(builder);
/// ```
#[derive(Clone)]
pub struct PrivateKey {
    place: Place,
    kid: Option<String>,
    algorithm: Option<Algorithm>,
}

impl PrivateKey {
    const fn at(place: Place) -> Self {
        Self { place, kid: None, algorithm: None }
    }

    /// The key itself, in PEM. The copy held here is wiped from memory when the last handle is dropped.
    pub fn pem(pem: impl Into<String>) -> Self {
        Self::at(Place::value(pem.into()))
    }

    /// The content of a regular file: at most 16,384 bytes.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(path.into()))
    }

    /// The value of an environment variable.
    pub fn env(name: impl Into<String>) -> Self {
        Self::at(Place::Env(name.into()))
    }

    /// The id under which the issuer has the key. Default: its thumbprint (RFC 7638), by which Sealwright finds it under any id.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The algorithm by which the key signs. Default: the usual one of its type. Only an RSA key has a choice: RS256 or PS256.
    #[must_use]
    pub const fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Reads the text of the key. The error says why that failed, without the text.
    pub(crate) async fn read(&self) -> Result<Zeroizing<String>, String> {
        self.place.read(MAX_LEN).await
    }

    /// Reads the key. The error says why that failed, without the key.
    pub(super) async fn load(&self) -> Result<SigningKey, String> {
        let pem = self.read().await?;
        let unusable = |why: &str| match &self.place {
            Place::Value(_) => why.to_owned(),
            place => format!("{place}: {why}"),
        };
        let pair = key_pair(&pem, self.algorithm).map_err(|why| unusable(&why))?;
        let kid = match &self.kid {
            Some(kid) => kid.clone(),
            None => pair.public_key().map(|key| thumbprint(&key)).ok_or_else(|| unusable("its public half is out of range"))?,
        };
        Ok(SigningKey { pair, kid })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.place)
    }
}

fn key_pair(pem: &str, algorithm: Option<Algorithm>) -> Result<KeyPair, String> {
    if pem.contains("ENCRYPTED") {
        return Err("it is encrypted: store it without a passphrase, readable to this app alone".to_owned());
    }
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "it contains no private key in PEM".to_owned())?;
    let der = Zeroizing::new(der);
    let unusable = || "it is not an RSA key of at least 2,048 bits, a key on the curve P-256, or an Ed25519 key".to_owned();
    let pair = match &*der {
        PrivateKeyDer::Pkcs1(der) => {
            let pair = RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| unusable())?;
            if algorithm == Some(Algorithm::Ps256) { KeyPair::Ps256(pair) } else { KeyPair::Rs256(pair) }
        }
        PrivateKeyDer::Sec1(der) => {
            let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_sec1_der());
            KeyPair::Es256(pair.map_err(|_| unusable())?)
        }
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            // The algorithm that is asked for comes first, as one RSA key can be for two.
            let tried = algorithm.into_iter().chain([Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256]);
            tried.into_iter().find_map(|tried| KeyPair::from_pkcs8(tried, der).ok()).ok_or_else(unusable)?
        }
        _ => return Err("it contains no private key in a known form".to_owned()),
    };
    match algorithm {
        Some(named) if named != pair.algorithm() => Err(format!("its type is not for {named}")),
        _ => Ok(pair),
    }
}

/// A private key in memory.
pub(super) struct SigningKey {
    pair: KeyPair,
    kid: String,
}

impl SigningKey {
    /// Signs an assertion, which the issuer accepts once.
    pub(super) fn assertion(&self, client_id: &str, issuer: &Issuer, now: Timestamp) -> Result<String, String> {
        let header = json!({ "alg": self.pair.algorithm().as_str(), "kid": self.kid, "typ": "client-authentication+jwt" });
        let jti = BASE64_URL_SAFE_NO_PAD.encode(entropy::bytes::<16>());
        // The issuer alone as the audience: an assertion for it cannot be used at another server (draft-ietf-oauth-rfc7523bis).
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": issuer.as_str(),
            "jti": jti,
            "iat": now.seconds(),
            "exp": (now + LIFETIME).seconds(),
        });
        let encode = |part: String| BASE64_URL_SAFE_NO_PAD.encode(part);
        let mut assertion = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.pair.sign(assertion.as_bytes()).map_err(|_| "the private key could not sign".to_owned())?;
        assertion.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut assertion);
        Ok(assertion)
    }
}
