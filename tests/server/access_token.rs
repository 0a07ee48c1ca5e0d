//! The access token (RFC 9068), checked by other implementations.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use josekit::{
    Value,
    jwk::Jwk,
    jws::{ES256, EdDSA, JwsVerifier, PS256, RS256},
    jwt,
};

use sealwright::{protocol::Algorithm, server::commands::ResourceChange, verifier::Verifier};

use crate::support::{Backend, ORDERS, TestApp, claims_of, header_of, on_both_databases, on_sqlite};

on_both_databases![ky4_a_resource_that_gets_another_algorithm_has_its_tokens_signed_with_it];

on_sqlite![
    at1_a_token_has_the_form_of_rfc_9068,
    at2_the_issuer_is_the_same_text_in_metadata_and_token,
    openssl_verifies_the_signature,
    the_verifier_module_accepts_the_token_and_no_changed_one,
    every_token_has_a_unique_id,
];

async fn at1_a_token_has_the_form_of_rfc_9068(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let answer = app.plain_token(&client).await.granted();
    let token = answer["access_token"].as_str().unwrap();

    let jwks = app.get("/.well-known/jwks.json").await.json();
    let header = header_of(token);
    let mut names: Vec<_> = header.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["alg", "kid", "typ"], "no jku, x5u, jwk or x5c");
    assert_eq!((header["typ"].as_str(), header["alg"].as_str()), (Some("at+jwt"), Some("RS256")));
    assert_eq!(header["kid"], jwks["keys"][0]["kid"]);

    let claims = claims_of(token);
    let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sub"]);
    assert_eq!(claims["aud"], "https://orders.example");
    assert_eq!(claims["scope"], "orders:read orders:write");
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert_eq!(iat, app.now().seconds());
    assert_eq!(exp - iat, answer["expires_in"].as_i64().unwrap());
    assert!(claims["iat"].is_i64() && claims["exp"].is_i64(), "whole numbers: {claims}");
}

async fn at2_the_issuer_is_the_same_text_in_metadata_and_token(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    let claims = app.plain_token(&client).await.claims();
    assert_eq!(claims["iss"], metadata["issuer"]);
    assert_eq!(claims["iss"], format!("http://localhost:{}", app.addr.port()));
}

async fn openssl_verifies_the_signature(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let answer = app.plain_token(&client).await.granted();
    let token = answer["access_token"].as_str().unwrap();
    let jwks = app.get("/.well-known/jwks.json").await.json();
    let jwk = Jwk::from_map(jwks["keys"][0].as_object().unwrap().clone()).unwrap();
    let verifier = RS256.verifier_from_jwk(&jwk).unwrap();
    let (payload, header) = jwt::decode_with_verifier(token, &verifier).unwrap();
    assert_eq!(payload.subject(), Some("billing"));
    assert_eq!(header.token_type(), Some("at+jwt"));

    // One character changed in the middle of the signature, where every bit counts.
    let middle = token.len() - 100;
    let other = if token.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &token[..middle], &token[middle + 1..]);
    assert!(jwt::decode_with_verifier(&forged, &verifier).is_err());
}

async fn every_token_has_a_unique_id(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let jti = app.plain_token(&client).await.claims()["jti"].as_str().unwrap().to_owned();
        assert_eq!(jti.len(), 22, "128 bits in base64url");
        assert!(seen.insert(jti));
    }
}

async fn the_verifier_module_accepts_the_token_and_no_changed_one(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let answer = app.plain_token(&client).await.granted();
    let token = answer["access_token"].as_str().unwrap();
    let jwks = app.get("/.well-known/jwks.json").await.body;
    let verifier = |audience: &str| {
        let builder = Verifier::for_issuer(&app.issuer).audience(audience).keys(jwks.clone());
        builder.clock(std::sync::Arc::new(app.clock.clone())).build().unwrap()
    };
    let orders = verifier("https://orders.example");
    let claims = orders.verify_cached(token).unwrap();
    assert_eq!((claims.subject(), claims.client_id()), ("billing", "billing"));
    assert!(claims.has_scope("orders:read") && claims.has_scope("orders:write"));
    assert_eq!(verifier("https://stock.example").verify_cached(token).unwrap_err().code(), "wrong_audience");
    app.clock.advance(Duration::from_secs(630));
    assert_eq!(orders.verify_cached(token).unwrap_err().code(), "expired");
}

async fn ky4_a_resource_that_gets_another_algorithm_has_its_tokens_signed_with_it(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    for (algorithm, openssl) in [
        (Algorithm::Es256, "ES256"),
        (Algorithm::Ps256, "PS256"),
        // josekit knows only the name before RFC 9864.
        (Algorithm::EdDsa, "EdDSA"),
        (Algorithm::Rs256, "RS256"),
    ] {
        app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(algorithm), ..ResourceChange::default() });
        // The rotation looks every 5 s, and the first key of an algorithm signs 2 s later while the issuer is new.
        app.pass(Duration::from_secs(5)).await;
        app.settle().await;
        app.pass(Duration::from_secs(30)).await;
        let answer = app.plain_token(&client).await.granted();
        let token = answer["access_token"].as_str().unwrap().to_owned();

        let jwks = app.get("/.well-known/jwks.json").await;
        let keys = jwks.json()["keys"].as_array().unwrap().clone();
        let key = keys.iter().find(|key| key["kid"] == header_of(&token)["kid"]).unwrap();
        assert_eq!(key["alg"], algorithm.as_str());
        let mut jwk = Jwk::from_map(key.as_object().unwrap().clone()).unwrap();
        jwk.set_parameter("alg", Some(Value::from(openssl))).unwrap();
        let verifier: Box<dyn JwsVerifier> = match algorithm {
            Algorithm::Es256 => ES256.verifier_from_jwk(&jwk).unwrap().box_clone(),
            Algorithm::Ps256 => PS256.verifier_from_jwk(&jwk).unwrap().box_clone(),
            Algorithm::EdDsa => EdDSA.verifier_from_jwk(&jwk).unwrap().box_clone(),
            _ => RS256.verifier_from_jwk(&jwk).unwrap().box_clone(),
        };
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(verifier.verify(signed.as_bytes(), &signature).is_ok(), "{algorithm}");

        let ours = || {
            let builder = Verifier::for_issuer(&app.issuer).audience(ORDERS).keys(jwks.body.clone());
            builder.clock(std::sync::Arc::new(app.clock.clone()))
        };
        assert!(ours().algorithms([algorithm.as_str()]).build().unwrap().verify_cached(&token).is_ok(), "{algorithm}");
        let by_default = ours().build().unwrap().verify_cached(&token).map_err(|error| error.code()).map(drop);
        let expected = if algorithm == Algorithm::Rs256 { Ok(()) } else { Err("algorithm_not_allowed") };
        assert_eq!(by_default, expected, "the default is RS256 alone");
    }
}
