//! A small issuer that signs any text.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sealwright::{
    clock::{ManualClock, Timestamp},
    verifier::{
        Builder, Claims, Error, KeyAvailability, Verifier,
        testing::{Behavior, Issuer},
    },
};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://auth.example";
pub(crate) const AUDIENCE: &str = "https://orders.example";
pub(crate) const NOW: i64 = 1_795_500_000;

pub(crate) static KEY: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub(crate) static OTHER_KEY: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub(crate) static EC_KEY: LazyLock<EcdsaKeyPair> = LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
pub(crate) static ED_KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn rsa_jwk(key: &RsaKeyPair, kid: &str) -> Value {
    let public = key.public_key();
    let (n, e) = (public.modulus().big_endian_without_leading_zero(), public.exponent().big_endian_without_leading_zero());
    json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": encode(n), "e": encode(e) })
}

/// The same key with some members changed; `null` removes one.
pub(crate) fn with(mut jwk: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        let members = jwk.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    jwk
}

pub(crate) fn ec_jwk() -> Value {
    let point = EC_KEY.public_key().as_ref();
    json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "ec", "x": encode(&point[1..33]), "y": encode(&point[33..]) })
}

pub(crate) fn ed_jwk() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "ed", "x": encode(ED_KEY.public_key().as_ref()) })
}

pub(crate) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The claims of a good token.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "billing", "client_id": "billing", "jti": "1", "scope": "orders:read",
        "iat": NOW, "exp": NOW + 600,
    })
}

pub(crate) const HEADER: &str = r#"{"typ":"at+jwt","alg":"RS256","kid":"one"}"#;

pub(crate) fn sign_with(key: &RsaKeyPair, padding: &'static dyn RsaEncoding, message: &str) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    signature
}

/// A token of exactly these texts, signed by [`KEY`] with RS256 whatever the header says.
pub(crate) fn token_of(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    sealed(&encode(header), &encode(payload))
}

/// A token of encoded parts.
pub(crate) fn sealed(header: &str, payload: &str) -> String {
    let signed = format!("{header}.{payload}");
    let signature = sign_with(&KEY, &signature::RSA_PKCS1_SHA256, &signed);
    format!("{signed}.{}", encode(signature))
}

/// A token with the usual header and some claims changed; `null` removes one.
pub(crate) fn token_with(changes: &Value) -> String {
    token_of(HEADER, with(claims(), changes).to_string())
}

pub(crate) fn builder() -> Builder {
    let clock = ManualClock::at(Timestamp::from_seconds(NOW));
    Verifier::for_issuer(ISSUER).audience(AUDIENCE).keys(set(&[rsa_jwk(&KEY, "one"), rsa_jwk(&OTHER_KEY, "two")])).clock(Arc::new(clock))
}

pub(crate) static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| builder().build().unwrap());

pub(crate) fn verify(token: &str) -> Result<Claims, Error> {
    VERIFIER.verify_cached(token)
}

/// Requires that each token is refused with this code.
#[track_caller]
pub(crate) fn all_refused(code: &str, tokens: impl IntoIterator<Item = impl AsRef<str>>) {
    for token in tokens {
        let token = token.as_ref();
        let refused = verify(token).expect_err(&token[..token.len().min(300)]);
        assert_eq!(refused.code(), code, "{refused}: {}", &token[..token.len().min(300)]);
    }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The private key's public half in the forms that forgers use as an HMAC secret.
pub(crate) fn public_forms() -> Vec<Vec<u8>> {
    let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = KEY.public_key().as_der().unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64::prelude::BASE64_STANDARD.encode(der.as_ref()));
    let modulus = KEY.public_key().modulus().big_endian_without_leading_zero().to_vec();
    vec![der.as_ref().to_vec(), pem.into_bytes(), modulus, rsa_jwk(&KEY, "one").to_string().into_bytes(), Vec::new()]
}

/// The claims of a token, as text.
pub(crate) fn claims_text(token: &str) -> String {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    String::from_utf8(claims).unwrap()
}

/// The issuer's status list as it is now, with some claims changed; `null` removes one.
pub(crate) fn list_with(issuer: &Issuer, changes: &Value) -> Behavior {
    let claims = serde_json::from_str(&claims_text(&issuer.status_list().unwrap())).unwrap();
    let header = json!({ "alg": "RS256", "kid": issuer.kid(), "typ": "statuslist+jwt" });
    Behavior::Body(issuer.sign(header.to_string(), with(claims, changes).to_string()).unwrap().into_bytes())
}

/// A verifier of an issuer's tokens that has the issuer's keys.
pub(crate) async fn warm(issuer: &Issuer) -> Verifier {
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    verifier.ready().await.unwrap();
    verifier
}

/// Waits for a condition.
pub(crate) async fn eventually(happened: impl Fn() -> bool) {
    let patience = tokio::time::timeout(seconds(60), async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    patience.await.expect("it happens within a minute");
}

/// Waits until this many attempts to fetch keys have ended.
pub(crate) async fn fetched(verifier: &Verifier, attempts: u64) {
    eventually(|| {
        let status = verifier.status().issuers.remove(0);
        status.fetches >= attempts && !status.fetching
    })
    .await;
}

pub(crate) fn key_state(verifier: &Verifier) -> KeyAvailability {
    verifier.status().issuers[0].keys
}
