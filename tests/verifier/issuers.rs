//! The issuer for the tests of an API, its hostile tokens, and several issuers at once.

use sealwright::verifier::{BuildError, Check, Error, Verifier, testing::Issuer};
use serde_json::json;

use crate::support::{AUDIENCE, seconds, warm};

#[tokio::test]
async fn vf7_every_hostile_token_is_refused_for_its_own_reason_and_causes_no_request() {
    let issuer = Issuer::start().await.unwrap();
    for key in issuer.useless_keys().unwrap() {
        issuer.publish(key);
    }
    let verifier = warm(&issuer).await;
    assert_eq!(verifier.status().issuers[0].skipped.len(), issuer.useless_keys().unwrap().len());
    let hostile = issuer.hostile_tokens(AUDIENCE, "orders:read").unwrap();
    assert!(hostile.len() > 150, "{}", hostile.len());
    // One request is allowed: the first token with an unknown key causes it.
    issuer.clock().advance(seconds(10));
    let mut codes = std::collections::BTreeSet::new();
    for hostile in &hostile {
        assert_eq!(verifier.verify(&hostile.token).await.unwrap_err().code(), hostile.code, "{}", hostile.name);
        codes.insert(hostile.code);
    }
    assert_eq!(
        codes.len(),
        Error::CODES.len() - 10,
        "every reason except scope, caller, owner, unavailable keys, the status, and those of the layer: {codes:?}"
    );
    assert_eq!((issuer.metadata_fetches(), issuer.key_fetches(), issuer.other_requests()), (1, 2, 0));

    for scope in ["orders:read", "READ"] {
        let scoped = issuer.verifier(AUDIENCE).require_scope(scope).build().unwrap();
        for hostile in issuer.tokens_without_scope(AUDIENCE, scope).unwrap() {
            assert!(verifier.verify(&hostile.token).await.is_ok(), "{}", hostile.name);
            let refused = scoped.verify(&hostile.token).await.unwrap_err();
            assert_eq!((refused.code(), refused.status()), (hostile.code, 403), "{}", hostile.name);
        }
    }
    let scoped = issuer.verifier(AUDIENCE).require_scope("orders:read").build().unwrap();
    assert!(scoped.verify(&issuer.token(AUDIENCE).scope("a orders:read b").sign().unwrap()).await.is_ok());
}

#[tokio::test]
async fn an_explanation_names_the_check_that_failed_and_those_before_it() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).require_scope("orders:read").build().unwrap();
    let good = issuer.token(AUDIENCE).scope("orders:read");
    for (token, failed) in [
        (good.clone().claim("x", "y".repeat(16_000)).sign().unwrap(), Check::Size),
        ("a.b.c".to_owned(), Check::Form),
        (good.clone().header("alg", "PS256").sign().unwrap(), Check::Algorithm),
        (good.clone().header("crit", json!(["exp"])).sign().unwrap(), Check::Extensions),
        (good.clone().header("typ", "JWT").sign().unwrap(), Check::Type),
        (good.clone().header("kid", "x").sign().unwrap(), Check::Key),
        (good.sign().unwrap().replace(".ey", ".eY"), Check::Signature),
        (good.clone().claim("exp", "soon").sign().unwrap(), Check::Claims),
        (good.clone().claim("iss", "x").sign().unwrap(), Check::Issuer),
        (good.clone().claim("aud", "x").sign().unwrap(), Check::Audience),
        (good.clone().without("jti").sign().unwrap(), Check::Required),
        (good.clone().claim("exp", 1).sign().unwrap(), Check::Expiry),
        (good.clone().claim("nbf", i64::MAX).sign().unwrap(), Check::Start),
        (good.clone().claim("cnf", json!({})).sign().unwrap(), Check::Binding),
        (good.clone().scope("orders").sign().unwrap(), Check::Scope),
    ] {
        let explained = verifier.explain(&token).await;
        assert_eq!(explained.failed, Some(failed));
        let before: Vec<Check> = Check::ALL.iter().copied().take_while(|check| *check != failed).collect();
        assert_eq!(explained.passed, before, "{failed}");
        assert_eq!(explained.outcome.unwrap_err(), verifier.verify(&token).await.unwrap_err());
    }
    let explained = verifier.explain(&good.sign().unwrap()).await;
    assert!(explained.outcome.is_ok() && explained.failed.is_none() && explained.passed == Check::ALL);
}

#[tokio::test]
async fn vf17_vf18_tokens_of_each_issuer_are_checked_with_its_own_keys() {
    let (ours, theirs) = (Issuer::start().await.unwrap(), Issuer::start().await.unwrap());
    let verifier = Verifier::any_of([ours.verifier(AUDIENCE).build().unwrap(), theirs.verifier("orders").build().unwrap()]).unwrap();
    assert!(!verifier.status().is_ready());
    verifier.ready().await.unwrap();

    let mut subjects = Vec::new();
    for (issuer, audience) in [(&ours, AUDIENCE), (&theirs, "orders")] {
        let claims = verifier.verify(&issuer.token(audience).sign().unwrap()).await.unwrap();
        subjects.push((claims.issuer().to_owned(), claims.subject().to_owned()));
    }
    // The same subject from two issuers means two different people.
    assert!(subjects[0].1 == subjects[1].1 && subjects[0] != subjects[1]);
    assert_eq!(verifier.verify(&ours.token("orders").sign().unwrap()).await.unwrap_err(), Error::WrongAudience);

    // Each names one issuer and is signed with the key of the other.
    let as_theirs = ours.token("orders").claim("iss", theirs.url()).sign().unwrap();
    let as_ours = theirs.token(AUDIENCE).claim("iss", ours.url()).sign().unwrap();
    for token in [&as_theirs, &as_ours] {
        assert_eq!(verifier.verify(token).await.unwrap_err(), Error::UnknownKey);
    }
    let kid = ours.kid();
    let with_our_kid = theirs.token(AUDIENCE).claim("iss", ours.url()).header("kid", kid).sign().unwrap();
    assert_eq!(verifier.verify(&with_our_kid).await.unwrap_err(), Error::BadSignature);

    // Tokens of other issuers are refused without a request for keys.
    ours.clock().advance(seconds(10));
    theirs.clock().advance(seconds(10));
    let fetches = (ours.key_fetches(), theirs.key_fetches());
    for (token, code) in [
        (ours.token(AUDIENCE).claim("iss", "https://evil.example").header("kid", "x").sign().unwrap(), "wrong_issuer"),
        (ours.token(AUDIENCE).without("iss").header("kid", "x").sign().unwrap(), "missing_claim"),
        ("a.b.c".to_owned(), "malformed"),
        ("x".repeat(20_000), "too_large"),
    ] {
        assert_eq!(verifier.verify(&token).await.unwrap_err().code(), code);
        assert_eq!(verifier.explain(&token).await.outcome.unwrap_err().code(), code);
    }
    assert_eq!((ours.key_fetches(), theirs.key_fetches()), fetches);

    // One issuer is down: tokens of the other are accepted.
    theirs.go_down();
    theirs.clock().advance(seconds(7200));
    assert!(verifier.verify(&ours.token(AUDIENCE).sign().unwrap()).await.is_ok());
    assert_eq!(verifier.verify(&theirs.token("orders").sign().unwrap()).await.unwrap_err().code(), "keys_unavailable");
}

#[tokio::test]
async fn a_verifier_without_an_issuer_or_with_a_duplicate_issuer_is_not_built() {
    let issuer = Issuer::start().await.unwrap();
    assert_eq!(Verifier::any_of([]).err().unwrap(), BuildError::NoIssuer);
    let twice = [issuer.verifier("a").build().unwrap(), issuer.verifier("b").build().unwrap()];
    assert_eq!(Verifier::any_of(twice).err().unwrap(), BuildError::DuplicateIssuer(issuer.url().to_owned()));
}

#[tokio::test]
async fn keys_from_a_file_need_no_issuer() {
    let issuer = Issuer::start().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), issuer.jwks()).unwrap();
    issuer.go_down();
    let verifier = issuer.verifier(AUDIENCE).keys_file(file.path()).build().unwrap();
    assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
    assert_eq!(issuer.key_fetches(), 0);
    issuer.rotate().unwrap();
    assert_eq!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.unwrap_err(), Error::UnknownKey);
    std::fs::write(file.path(), "<html>").unwrap();
    assert!(matches!(issuer.verifier(AUDIENCE).keys_file(file.path()).build(), Err(BuildError::NotAKeySet(_))));
}
