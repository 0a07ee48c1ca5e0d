//! What verify/verify.rs measures, for jwt-simple. Separate from josekit, because its BoringSSL and josekit's OpenSSL define the same symbols, so
//! that no program can link both.

use std::{collections::HashSet, hint::black_box};

use jwt_simple::prelude::{RS256PublicKey, RSAPublicKeyLike, VerificationOptions};
use sealwright_benches::{AUDIENCE, ISSUER, Signed, criterion, decode, print_ratios};
use serde_json::Value;

fn main() {
    let signed = Signed::new();
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("verify-2");
    signed.bench_bare_and_ours(&mut group);

    let key = RS256PublicKey::from_components(&decode(signed.member("n")), &decode(signed.member("e"))).expect("its public key");
    let options = VerificationOptions {
        allowed_issuers: Some(HashSet::from([ISSUER.to_owned()])),
        allowed_audiences: Some(HashSet::from([AUDIENCE.to_owned()])),
        ..VerificationOptions::default()
    };
    group.bench_function("jwt-simple", |b| {
        b.iter(|| key.verify_token::<Value>(black_box(&signed.token), Some(options.clone())).expect("genuine"));
    });
    group.finish();
    criterion.final_summary();
    print_ratios("verify-2", &["jwt-simple"]);
}
