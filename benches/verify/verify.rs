//! A complete verification on one thread by this crate, jsonwebtoken, josekit and huskarl, compared with the bare check of the signature.

use std::{
    hint::black_box,
    time::{Instant, SystemTime},
};

use huskarl::{Huskarl, bearer};
use sealwright_benches::{AUDIENCE, Claims, ISSUER, Signed, criterion, print_ratios};
use serde_json::json;

fn main() {
    let signed = Signed::new();
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("verify");
    signed.bench_bare_and_ours(&mut group);

    let key = jsonwebtoken::DecodingKey::from_rsa_components(signed.member("n"), signed.member("e")).expect("its public key");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.validate_nbf = true;
    group.bench_function("jsonwebtoken", |b| {
        b.iter(|| jsonwebtoken::decode::<Claims>(black_box(&signed.token), &key, &validation).expect("genuine"));
    });

    let members = signed.jwk.as_object().expect("an object").clone();
    let key = josekit::jwk::Jwk::from_map(members).expect("a JWK");
    let verifier = josekit::jws::RS256.verifier_from_jwk(&key).expect("its public key");
    let mut validator = josekit::jwt::JwtPayloadValidator::new();
    validator.set_issuer(ISSUER);
    validator.set_audience(AUDIENCE);
    validator.set_base_time(SystemTime::now());
    group.bench_function("josekit", |b| {
        b.iter(|| {
            let (payload, _) = josekit::jwt::decode_with_verifier(black_box(&signed.token), &verifier).expect("genuine");
            validator.validate(&payload).expect("valid");
            payload
        });
    });

    // It is asynchronous. Its future is never pending here, so all iterations are one run of the executor.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let huskarl = runtime.block_on(Huskarl::new(ISSUER, AUDIENCE, json!({ "keys": [signed.jwk] }).to_string()));
    let headers = bearer(&signed.token).expect("text");
    group.bench_function("huskarl", |b| {
        b.iter_custom(|times| {
            runtime.block_on(async {
                let begun = Instant::now();
                for _ in 0..times {
                    assert!(huskarl.accepts(black_box(&headers)).await, "genuine");
                }
                begun.elapsed()
            })
        });
    });
    group.finish();
    criterion.final_summary();
    print_ratios("verify", &["jsonwebtoken", "josekit", "huskarl"]);
}
