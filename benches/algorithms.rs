//! What each algorithm costs on one thread, compared with RS256 in the same run: the signature, made by aws-lc-rs as the server makes it, and a
//! complete verification by this crate.

use std::hint::black_box;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use sealwright::verifier::Verifier;
use sealwright_benches::{AUDIENCE, ISSUER, criterion, encode, kid, median_ns, unsigned};
use serde_json::{Value, json};

struct Algorithm {
    name: &'static str,
    jwk: Value,
    sign: Box<dyn Fn(&[u8]) -> Vec<u8>>,
}

fn rsa(name: &'static str, padding: &'static dyn RsaEncoding) -> Algorithm {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let n = encode(key.public_key().modulus().big_endian_without_leading_zero());
    let e = encode(key.public_key().exponent().big_endian_without_leading_zero());
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(padding, &SystemRandom::new(), message, &mut signature).expect("a signature");
        signature
    };
    Algorithm { name, jwk: json!({ "kty": "RSA", "use": "sig", "alg": name, "kid": kid(), "n": n, "e": e }), sign: Box::new(sign) }
}

fn es256() -> Algorithm {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    // An uncompressed point: 4, x, y (SEC 1 section 2.3.3).
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({ "kty": "EC", "use": "sig", "alg": "ES256", "kid": kid(), "crv": "P-256", "x": encode(x), "y": encode(y) });
    let sign = move |message: &[u8]| key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec();
    Algorithm { name: "ES256", jwk, sign: Box::new(sign) }
}

fn ed25519() -> Algorithm {
    let key = Ed25519KeyPair::generate().expect("a key");
    let x = encode(key.public_key().as_ref());
    let jwk = json!({ "kty": "OKP", "use": "sig", "alg": "Ed25519", "kid": kid(), "crv": "Ed25519", "x": x });
    Algorithm { name: "Ed25519", jwk, sign: Box::new(move |message: &[u8]| key.sign(message).as_ref().to_vec()) }
}

fn main() {
    let algorithms = [rsa("RS256", &RSA_PKCS1_SHA256), rsa("PS256", &RSA_PSS_SHA256), es256(), ed25519()];
    let mut criterion = criterion();

    let mut group = criterion.benchmark_group("algorithms-sign");
    for algorithm in &algorithms {
        let unsigned = unsigned(algorithm.name);
        group.bench_function(algorithm.name, |b| b.iter(|| (algorithm.sign)(black_box(unsigned.as_bytes()))));
    }
    group.finish();

    let mut group = criterion.benchmark_group("algorithms-verify");
    for algorithm in &algorithms {
        let unsigned = unsigned(algorithm.name);
        let token = format!("{unsigned}.{}", encode((algorithm.sign)(unsigned.as_bytes())));
        let keys = json!({ "keys": [algorithm.jwk] }).to_string();
        let builder = Verifier::for_issuer(ISSUER).audience(AUDIENCE).algorithms([algorithm.name]).keys(keys);
        let verifier = builder.build().expect("a verifier");
        group.bench_function(algorithm.name, |b| b.iter(|| verifier.verify_cached(black_box(&token)).expect("genuine")));
    }
    group.finish();
    criterion.final_summary();

    println!(
        "\n{:<8} {:>10} {:>12} {:>12} {:>10} {:>12} {:>12}",
        "", "sign us", "per second", "of RS256", "verify us", "per second", "of RS256"
    );
    let of_rs256 = |group: &str, name: &str| median_ns(group, name) / median_ns(group, "RS256");
    for Algorithm { name, .. } in &algorithms {
        print!("{name:<8}");
        for group in ["algorithms-sign", "algorithms-verify"] {
            let ns = median_ns(group, name);
            print!(" {:>10.2} {:>12.0} {:>11.2}x", ns / 1e3, 1e9 / ns, of_rs256(group, name));
        }
        println!();
    }
}
