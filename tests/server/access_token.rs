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

use crate::support::{
    Answer, Backend, Credential, ORDERS, TestApp, TestDatabase, claims_of, command, finish, header_of, on_both_databases, on_sqlite,
};

on_both_databases![ky4_a_resource_that_gets_another_algorithm_has_its_tokens_signed_with_it];

on_sqlite![
    at1_a_token_has_the_form_of_rfc_9068,
    at2_the_issuer_is_the_same_text_in_metadata_and_token,
    openssl_verifies_the_signature,
    only_signatures_that_take_long_wait_for_their_turn,
    ky4_ed25519_has_the_name_that_the_setting_chooses_and_both_names_are_verified,
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
    assert_eq!(names, ["aud", "client_id", "exp", "iat", "iss", "jti", "scope", "status", "sub"]);
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

/// Gives `https://orders.example` this algorithm, and waits until its key signs.
async fn sign_with(app: &TestApp, algorithm: Algorithm) {
    app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(algorithm), ..ResourceChange::default() });
    // The rotation looks every 5 s, and the first key of an algorithm signs 2 s later while the issuer is new.
    app.pass(Duration::from_secs(5)).await;
    app.settle().await;
    app.pass(Duration::from_secs(5)).await;
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
        sign_with(&app, algorithm).await;
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

async fn only_signatures_that_take_long_wait_for_their_turn(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let waited = async || {
        let metrics = app.metrics().await;
        let sum = metrics.lines().find_map(|line| line.strip_prefix("sealwright_signing_queue_seconds_sum "));
        sum.unwrap().parse::<f64>().unwrap()
    };
    for (algorithm, waits) in [(Algorithm::Rs256, true), (Algorithm::Es256, false), (Algorithm::Ps256, true), (Algorithm::EdDsa, false)] {
        sign_with(&app, algorithm).await;
        let before = waited().await;
        app.plain_token(&client).await.granted();
        assert_eq!(waited().await > before, waits, "{algorithm}");
    }
}

/// Sealwright's two verifications of a token with these keys: the module's, and that of the command.
fn both_verify(app: &TestApp, token: &str, jwks: &Answer) {
    let file = app.database.folder().join("jwks.json");
    std::fs::write(&file, &jwks.body).unwrap();
    for allowed in ["Ed25519", "EdDSA"] {
        let builder = Verifier::for_issuer(&app.issuer).audience(ORDERS).keys(jwks.body.clone()).algorithms([allowed]);
        let verifier = builder.clock(std::sync::Arc::new(app.clock.clone())).build().unwrap();
        assert!(verifier.verify_cached(token).is_ok(), "{allowed}: {:?}", header_of(token));
        let mut verify = command(app.database.folder());
        verify.args(["token", "verify", token, "--issuer", &app.issuer, "--audience", ORDERS, "--alg", allowed, "--jwks"]).arg(&file);
        finish(verify).succeeded();
    }
}

async fn ky4_ed25519_has_the_name_that_the_setting_chooses_and_both_names_are_verified(backend: Backend) {
    let other_name = |name| if name == "Ed25519" { "EdDSA" } else { "Ed25519" };
    for name in ["Ed25519", "EdDSA"] {
        let app = TestApp::start_with(TestDatabase::create(backend).await, &[("ed25519_alg", name)]).await.with_orders();
        let client = app.client("billing");
        // The other algorithms keep their names.
        assert_eq!(header_of(&token_of(&app, &client).await)["alg"], "RS256");
        sign_with(&app, Algorithm::EdDsa).await;
        let token = token_of(&app, &client).await;
        let header = header_of(&token);
        let jwks = app.get("/.well-known/jwks.json").await;
        let published = |jwks: &Answer| {
            let keys = jwks.json()["keys"].as_array().unwrap().clone();
            let mut algorithms: Vec<_> = keys.iter().map(|key| (key["alg"].as_str().unwrap().to_owned(), key["kid"].clone())).collect();
            algorithms.sort_by(|one, other| one.0.cmp(&other.0));
            algorithms
        };
        assert_eq!(header["alg"], name);
        let advertised = &app.get("/.well-known/openid-configuration").await.json()["id_token_signing_alg_values_supported"];
        assert_eq!(*advertised, serde_json::json!(["RS256", "PS256", "ES256", name]));
        assert_eq!(published(&jwks)[0], (name.to_owned(), header["kid"].clone()));
        assert_eq!(published(&jwks)[1].0, "RS256");
        both_verify(&app, &token, &jwks);
        let mut by_default = command(app.database.folder());
        by_default.args(["token", "verify", &token, "--issuer", &app.issuer, "--audience", ORDERS]);
        let by_default = finish(by_default);
        let explained = format!("`.algorithms(..)`; \"{name}\", expected \"RS256\", which --alg changes for this check");
        assert!(by_default.stdout.contains(&explained), "{}", by_default.stdout);
        by_default.failed_saying(&["signed with Ed25519;", "algorithm_not_allowed"]);

        // After a change of the setting it is the same key, and tokens and keys of before and after fit together.
        let changed = app.second_node_with(&[("issuer", &app.issuer), ("ed25519_alg", other_name(name))]).await;
        let (changed_token, changed_jwks) = (token_of(&changed, &client).await, changed.get("/.well-known/jwks.json").await);
        assert_eq!(header_of(&changed_token)["alg"], other_name(name));
        assert_eq!(published(&changed_jwks)[0], (other_name(name).to_owned(), header["kid"].clone()));
        both_verify(&app, &token, &changed_jwks);
        both_verify(&app, &changed_token, &jwks);
    }
}

async fn token_of(app: &TestApp, client: &Credential) -> String {
    app.plain_token(client).await.granted()["access_token"].as_str().unwrap().to_owned()
}
