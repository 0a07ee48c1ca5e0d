//! Accepted tokens, and what an API can read from them.

use std::time::Duration;

use aws_lc_rs::{rand::SystemRandom, signature};
use sealwright::verifier::{BuildError, Verifier};
use serde::Deserialize;
use serde_json::json;

use crate::support::*;

#[test]
fn the_claims_of_a_valid_token_are_readable() {
    let claims = verify(&token_with(&json!({ "sub": "0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b", "tenant": { "id": 7 } }))).unwrap();
    assert_eq!((claims.issuer(), claims.client_id(), claims.token_id()), (ISSUER, "billing", "1"));
    assert!(claims.is_for_user() && !verify(&token_with(&json!({}))).unwrap().is_for_user());
    assert_eq!((claims.issued_at(), claims.expires_at()), (NOW, NOW + 600));
    assert_eq!(claims.scopes().collect::<Vec<_>>(), ["orders:read"]);

    #[derive(Deserialize)]
    struct Tenant {
        id: u32,
    }
    #[derive(Deserialize)]
    struct Mine {
        tenant: Tenant,
    }
    assert_eq!(claims.custom::<Mine>().unwrap().tenant.id, 7);
    assert_eq!(verify(&token_with(&json!({}))).unwrap().custom::<Mine>().err().unwrap().code(), "bad_claim");
}

#[test]
fn every_configured_algorithm_is_accepted() {
    let keys = set(&[
        rsa_jwk(&KEY, "one"),
        with(rsa_jwk(&KEY, "rs384"), &json!({ "alg": "RS384" })),
        with(rsa_jwk(&KEY, "rs512"), &json!({ "alg": "RS512" })),
        with(rsa_jwk(&KEY, "ps256"), &json!({ "alg": "PS256" })),
        ec_jwk(),
        ed_jwk(),
    ]);
    let all = builder().keys(keys).algorithms(["RS256", "RS384", "RS512", "PS256", "ES256", "EdDSA"]).build().unwrap();
    assert!(all.status().issuers[0].skipped.is_empty());
    let payload = encode(claims().to_string());
    let token = |alg: &str, kid: &str, sign: &dyn Fn(&str) -> Vec<u8>| {
        let signed = format!("{}.{payload}", encode(format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{kid}"}}"#)));
        format!("{signed}.{}", encode(sign(&signed)))
    };
    let rsa = |padding| move |message: &str| sign_with(&KEY, padding, message);
    let tokens = [
        token("RS256", "one", &rsa(&signature::RSA_PKCS1_SHA256)),
        token("RS384", "rs384", &rsa(&signature::RSA_PKCS1_SHA384)),
        token("RS512", "rs512", &rsa(&signature::RSA_PKCS1_SHA512)),
        token("PS256", "ps256", &rsa(&signature::RSA_PSS_SHA256)),
        token("ES256", "ec", &|message| EC_KEY.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()),
        token("EdDSA", "ed", &|message| ED_KEY.sign(message.as_bytes()).as_ref().to_vec()),
        token("Ed25519", "ed", &|message| ED_KEY.sign(message.as_bytes()).as_ref().to_vec()),
    ];
    for token in &tokens {
        assert!(all.verify_cached(token).is_ok(), "{token}");
    }
    // The default is RS256 alone.
    all_refused("algorithm_not_allowed", &tokens[1..]);
    for (token, named) in tokens[1..].iter().zip(["RS384", "RS512", "PS256", "ES256", "Ed25519", "Ed25519"]) {
        let text = verify(token).unwrap_err().to_string();
        assert!(text.contains(&format!("signed with {named};")) && text.contains("`.algorithms(..)`"), "{text}");
    }
    // A signature with r = s = 0 is invalid (CVE-2022-21449).
    assert_eq!(all.verify_cached(&token("ES256", "ec", &|_| vec![0; 64])).unwrap_err().code(), "bad_signature");
}

#[test]
fn a_verifier_with_invalid_settings_is_not_built() {
    let keys = || set(&[rsa_jwk(&KEY, "one")]);
    let error = |builder: sealwright::verifier::Builder| builder.build().err().unwrap();
    assert_eq!(error(Verifier::for_issuer(ISSUER).keys(keys())), BuildError::NoAudience);
    assert_eq!(error(Verifier::for_issuer(ISSUER).audience("").keys(keys())), BuildError::NoAudience);
    for issuer in ["http://auth.example", "auth.example", "", "ftp://auth.example"] {
        assert!(matches!(error(Verifier::for_issuer(issuer).audience(AUDIENCE).keys(keys())), BuildError::Issuer(_)), "{issuer}");
    }
    assert!(Verifier::for_issuer("http://localhost:8080").audience(AUDIENCE).keys(keys()).build().is_ok());
    for name in ["HS256", "none", "rs256", "RS1"] {
        assert_eq!(error(builder().algorithms([name])), BuildError::Algorithm(name.to_owned()));
    }
    assert_eq!(error(builder().algorithms(Vec::<String>::new())), BuildError::NoAlgorithm);
    assert_eq!(error(builder().leeway(Duration::from_secs(301))), BuildError::Leeway(301));
    for milliseconds in [0, 999, 60_001] {
        let builder = builder().fetch_timeout(Duration::from_millis(milliseconds));
        assert_eq!(error(builder), BuildError::FetchTimeout(milliseconds.into()));
    }
    for url in ["http://keys.example/jwks", "http://localhost/jwks", "keys", ""] {
        assert_eq!(error(builder().jwks_uri(url)), BuildError::JwksUri(url.to_owned()), "{url}");
    }
    assert!(builder().jwks_uri("https://keys.example/jwks").build().is_ok());
    assert!(matches!(error(builder().keys_file("/nowhere/keys.json")), BuildError::KeysFile { .. }));
    let long = "x".repeat(65);
    for name in ["", "Orders", "orders api", "orders)", "orders\n", "\u{f6}rders", "a\\b", &long, "sw_0123456789abcdef"] {
        assert!(matches!(error(builder().name(name)), BuildError::Name(_)), "{name:?}");
    }
    assert!(builder().name(&long[..64]).build().is_ok() && builder().name("eu/orders-api:1.2@pod_7").build().is_ok());
    for refused in [error(Verifier::for_issuer(ISSUER)), error(builder().algorithms(["HS256"])), error(builder().leeway(seconds(301)))] {
        assert!(refused.to_string().contains([':', '`']), "the error says what to do: {refused}");
    }
}
