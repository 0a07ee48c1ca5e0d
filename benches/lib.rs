//! Shared by the benchmarks: a token, its verifier, and ratios between the measurements of one run. Machines differ, and one machine
//! varies over time, so compare only within a run.

use std::{fs, hint::black_box, path::PathBuf, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use sealwright::verifier::Verifier;
use serde::Deserialize;
use serde_json::{Value, json};

pub const ISSUER: &str = "https://auth.example";
pub const AUDIENCE: &str = "https://orders.example";
pub const BARE: &str = "bare signature";
pub const OURS: &str = "sealwright";

/// The claims that an API reads, for libraries that take a type.
#[derive(Debug, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    pub client_id: String,
    pub jti: String,
    pub scope: String,
    pub iat: i64,
    pub exp: i64,
    pub auth_time: i64,
}

/// A token of 12 claims, signed by RS256 with a key of 2,048 bits.
pub struct Signed {
    key: RsaKeyPair,
    pub jwk: Value,
    signed: String,
    signature: Vec<u8>,
    pub token: String,
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

pub fn kid() -> String {
    encode([7; 32])
}

/// A token of 12 claims without its signature.
pub fn unsigned(alg: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b", "client_id": "billing",
        "jti": encode([7; 16]), "scope": "orders:read orders:write", "iat": now, "exp": now + 3600, "auth_time": now,
        "tenant": "example", "region": "eu-central", "tier": 3,
    });
    let header = json!({ "alg": alg, "kid": kid(), "typ": "at+jwt" });
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

impl Signed {
    #[expect(clippy::new_without_default, reason = "it generates a key, which takes a while")]
    pub fn new() -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let n = encode(key.public_key().modulus().big_endian_without_leading_zero());
        let e = encode(key.public_key().exponent().big_endian_without_leading_zero());
        let jwk = json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid(), "n": n, "e": e });
        let signed = unsigned("RS256");
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("a signature");
        let token = format!("{signed}.{}", encode(&signature));
        Self { key, jwk, signed, signature, token }
    }

    pub fn member(&self, name: &str) -> &str {
        self.jwk[name].as_str().expect("a member of the key")
    }

    /// The bare check of the signature, and the complete verification of this crate.
    pub fn bench_bare_and_ours(&self, group: &mut BenchmarkGroup<'_, WallTime>) {
        let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref()).expect("its public key");
        group.bench_function(BARE, |b| {
            b.iter(|| parsed.verify_sig(black_box(self.signed.as_bytes()), &self.signature).expect("genuine"));
        });
        let keys = json!({ "keys": [self.jwk] }).to_string();
        let verifier = Verifier::for_issuer(ISSUER).audience(AUDIENCE).keys(keys).build().expect("a verifier");
        group.bench_function(OURS, |b| b.iter(|| verifier.verify_cached(black_box(&self.token)).expect("genuine")));
    }
}

pub fn criterion() -> Criterion {
    let criterion = Criterion::default().sample_size(60).warm_up_time(Duration::from_millis(500));
    criterion.measurement_time(Duration::from_secs(4)).without_plots().configure_from_args()
}

/// The median of a measurement of this run, in nanoseconds.
pub fn median_ns(group: &str, name: &str) -> f64 {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let path = target.join("criterion").join(group).join(name).join("new/estimates.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let estimates: Value = serde_json::from_str(&text).expect("criterion writes JSON");
    estimates["median"]["point_estimate"].as_f64().expect("criterion writes a median")
}

/// Prints each measurement relative to the bare signature and to this crate.
pub fn print_ratios(group: &str, others: &[&str]) {
    let (bare, ours) = (median_ns(group, BARE), median_ns(group, OURS));
    println!("\n{group:<16} {:>9} {:>20} {:>20}", "us", "us above the bare", "times ours");
    for name in [BARE, OURS].iter().chain(others) {
        let median = median_ns(group, name);
        println!("{name:<16} {:>9.2} {:>20.2} {:>20.2}", median / 1e3, (median - bare) / 1e3, median / ours);
    }
}
