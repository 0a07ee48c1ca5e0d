//! JWKS documents: RFC 7517 section 5. One bad key is skipped, the rest serve.

use sealwright::verifier::BuildError;
use serde_json::{Value, json};

use crate::support::*;

/// Keys that some issuers publish and this verifier has no use for.
fn useless() -> Vec<Value> {
    let rsa = || rsa_jwk(&OTHER_KEY, "useless");
    let short = encode(&KEY_BYTES[..128]);
    vec![
        json!({ "kty": "oct", "kid": "useless", "k": "c2VjcmV0" }),
        json!({ "kty": "OKP", "crv": "Ed448", "kid": "useless", "x": "AAAA" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-65", "kid": "useless", "pub": "AAAA" }),
        json!({ "kty": "EC", "crv": "P-521", "kid": "useless", "x": "AAAA", "y": "AAAA" }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "useless", "x": encode([1; 32]), "y": encode([1; 32]) }),
        with(rsa(), &json!({ "use": "enc" })),
        with(rsa(), &json!({ "key_ops": ["encrypt"] })),
        with(rsa(), &json!({ "alg": "RSA-OAEP" })),
        with(rsa(), &json!({ "alg": "HS256" })),
        with(rsa(), &json!({ "alg": "ES256" })),
        with(rsa(), &json!({ "alg": 7 })),
        with(rsa(), &json!({ "kid": null })),
        with(rsa(), &json!({ "kid": 7 })),
        with(rsa(), &json!({ "n": short })),
        with(rsa(), &json!({ "n": null })),
        with(rsa(), &json!({ "n": "!" })),
        with(rsa(), &json!({ "e": encode([1]) })),
        with(rsa(), &json!({ "e": encode([2]) })),
        with(rsa(), &json!({ "e": "" })),
        with(rsa(), &json!({ "e": encode([1; 9]) })),
        with(rsa(), &json!({ "n": encode([0xfe; 256]) })),
        with(rsa(), &json!({ "n": encode([0xff; 1025]) })),
        with(ed_jwk(), &json!({ "x": encode([1; 31]) })),
        with(ec_jwk(), &json!({ "x": encode([1; 33]) })),
        json!("no key"),
        json!(null),
    ]
}

const KEY_BYTES: [u8; 256] = [0xff; 256];

#[test]
fn vf14_a_key_that_cannot_be_used_is_skipped_and_the_rest_serve() {
    let good = token_with(&json!({}));
    for key in useless() {
        let verifier = builder().keys(set(&[key.clone(), rsa_jwk(&KEY, "one")])).build().unwrap();
        assert_eq!(verifier.status().issuers[0].skipped.len(), 1, "{key}");
        assert!(verifier.verify_cached(&good).is_ok(), "{key}");
        assert!(matches!(builder().keys(set(&[key])).build(), Err(BuildError::NoUsableKey(_))));
    }
    let mut all = useless();
    all.push(rsa_jwk(&KEY, "one"));
    assert!(builder().keys(set(&all)).build().unwrap().verify_cached(&good).is_ok());
}

#[test]
fn vf14_what_is_no_key_set_is_refused_and_its_size_is_bounded() {
    let many: Vec<Value> = (0..65).map(|number| rsa_jwk(&KEY, &number.to_string())).collect();
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "y".repeat(300_000));
    let pem = "-----BEGIN PUBLIC KEY-----";
    for document in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, pem, &set(&many), &large] {
        assert!(matches!(builder().keys(document).build(), Err(BuildError::NotAKeySet(_))), "{}", &document[..document.len().min(60)]);
    }
    assert!(matches!(builder().keys(r#"{"keys":[]}"#).build(), Err(BuildError::NoUsableKey(_))));
}

#[test]
fn members_that_are_not_used_do_not_matter_and_a_missing_alg_means_the_usual_one() {
    let good = token_with(&json!({}));
    for changes in [
        json!({ "x5t": "wrong", "x5c": ["junk"], "foo": {} }),
        json!({ "alg": null }),
        json!({ "use": null }),
        json!({ "key_ops": ["verify"] }),
    ] {
        let verifier = builder().keys(set(&[with(rsa_jwk(&KEY, "one"), &changes)])).build().unwrap();
        assert!(verifier.verify_cached(&good).is_ok(), "{changes}");
    }
}

#[test]
fn vf14_two_keys_of_one_kid_are_neither_unless_they_are_told_apart() {
    let good = token_with(&json!({}));
    let keys = set(&[rsa_jwk(&KEY, "one"), rsa_jwk(&OTHER_KEY, "one"), rsa_jwk(&OTHER_KEY, "two")]);
    let verifier = builder().keys(keys).build().unwrap();
    assert_eq!(verifier.status().issuers[0].skipped.len(), 2, "both are named: {:?}", verifier.status().issuers[0].skipped);
    assert_eq!(verifier.verify_cached(&good).unwrap_err().code(), "unknown_key");

    let same = builder().keys(set(&[rsa_jwk(&KEY, "one"), rsa_jwk(&KEY, "one")])).build().unwrap();
    assert!(same.verify_cached(&good).is_ok() && same.status().issuers[0].skipped.is_empty(), "one key that is there twice is one");
    let by_type = set(&[with(ec_jwk(), &json!({ "kid": "one" })), rsa_jwk(&KEY, "one")]);
    assert!(builder().keys(by_type.clone()).build().unwrap().verify_cached(&good).is_ok());
    assert!(builder().keys(by_type).algorithms(["RS256", "ES256"]).build().unwrap().verify_cached(&good).is_ok());
}

#[test]
fn keys_that_this_api_has_no_algorithm_for_are_no_keys() {
    assert!(matches!(builder().keys(set(&[ed_jwk()])).build(), Err(BuildError::NoUsableKey(_))));
    assert!(matches!(builder().algorithms(["PS256"]).build(), Err(BuildError::NoUsableKey(_))));
    let sixty_four: Vec<Value> = (0..64).map(|number| rsa_jwk(&KEY, &number.to_string())).collect();
    assert!(builder().keys(set(&sixty_four)).build().is_ok());
}
