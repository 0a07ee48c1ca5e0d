//! Issuers that are down or slow, or answer with something other than keys.

use std::time::Duration;

use sealwright::verifier::{
    Error, KeyAvailability, Verifier,
    testing::{Behavior, Issuer},
};

use crate::support::{AUDIENCE, eventually, fetched, key_state, seconds, warm};

#[tokio::test]
async fn vf13_while_the_issuer_is_down_cached_keys_are_used_for_one_more_hour() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    issuer.go_down();
    // The keys are fresh for ten minutes, and may be stale for an hour.
    for minute in 0..70 {
        let token = issuer.token(AUDIENCE).sign().unwrap();
        assert!(verifier.verify(&token).await.is_ok(), "after {minute} min");
        assert_eq!(key_state(&verifier), if minute < 10 { KeyAvailability::Fresh } else { KeyAvailability::Stale }, "after {minute} min");
        issuer.clock().advance(seconds(60));
    }
    let token = issuer.token(AUDIENCE).sign().unwrap();
    let refused = verifier.verify(&token).await.unwrap_err();
    assert_eq!((refused.code(), refused.status(), refused.challenge()), ("keys_unavailable", 503, None));
    assert!((1..=30).contains(&refused.retry_after().unwrap().as_secs()));
    assert!(!verifier.status().is_ready());
    let (why, _) = verifier.status().issuers.remove(0).last_error.unwrap();
    assert!(why.contains(issuer.url()), "{why}");

    issuer.come_back();
    issuer.clock().advance(refused.retry_after().unwrap());
    assert!(verifier.verify(&token).await.is_ok());
    assert!(verifier.status().issuers[0].last_error.is_none());
}

#[tokio::test]
async fn vf13_with_the_issuer_down_at_the_start_nothing_is_accepted_until_it_is_up() {
    let issuer = Issuer::start().await.unwrap();
    issuer.go_down();
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let token = issuer.token(AUDIENCE).sign().unwrap();
    assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "keys_unavailable");
    assert_eq!(verifier.ready().await.unwrap_err().code(), "keys_unavailable");
    assert!(!verifier.status().is_ready());
    issuer.come_back();
    // The background task tries again after a second, also without a request.
    issuer.clock().advance(seconds(1));
    eventually(|| verifier.status().is_ready()).await;
    assert!(verifier.verify_cached(&token).is_ok() && verifier.ready().await.is_ok());
}

#[tokio::test]
async fn vf13_the_time_for_which_stale_keys_are_used_can_be_set() {
    let issuer = Issuer::start().await.unwrap();
    let (never, always) = (issuer.verifier(AUDIENCE).max_stale(Duration::ZERO), issuer.verifier(AUDIENCE).max_stale(Duration::MAX));
    let (never, always) = (never.build().unwrap(), always.build().unwrap());
    never.ready().await.unwrap();
    always.ready().await.unwrap();
    issuer.go_down();
    issuer.clock().advance(seconds(599));
    assert!(never.verify_cached(&issuer.token(AUDIENCE).sign().unwrap()).is_ok());
    issuer.clock().advance(seconds(1));
    assert_eq!(never.verify_cached(&issuer.token(AUDIENCE).sign().unwrap()).unwrap_err().code(), "keys_unavailable");
    issuer.clock().advance(seconds(10 * 365 * 86_400));
    assert!(always.verify_cached(&issuer.token(AUDIENCE).sign().unwrap()).is_ok());
}

/// The issuer's document with additional members in its only key.
fn only_key_with(issuer: &Issuer, more: &str) -> Behavior {
    Behavior::Body(issuer.jwks().replacen("[{", &format!("[{{{more},"), 1).into_bytes())
}

#[tokio::test]
async fn hd13_a_fetched_document_with_a_duplicate_member_changes_nothing() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let doubled = issuer.jwks().replacen('{', r#"{"keys":[],"#, 1);
    issuer.answer_keys(Behavior::Body(doubled.into_bytes()));
    issuer.clock().advance(seconds(600));
    fetched(&verifier, 2).await;
    assert!(verifier.verify_cached(&issuer.token(AUDIENCE).sign().unwrap()).is_ok());
    let (why, _) = verifier.status().issuers.remove(0).last_error.unwrap();
    assert!(why.contains("it has a duplicate member"), "{why}");
}

#[tokio::test]
async fn hd13_a_key_is_no_longer_trusted_once_the_issuer_publishes_its_private_half() {
    let issuer = Issuer::start().await.unwrap();
    let leaked = issuer.kid();
    let by_leaked = issuer.token(AUDIENCE).lifetime(seconds(7200)).sign().unwrap();
    let verifier = warm(&issuer).await;
    assert!(verifier.verify_cached(&by_leaked).is_ok());

    // Also when it is the only key: then no key is left, and the former one is not used.
    issuer.answer_keys(only_key_with(&issuer, r#""d":"AQAB""#));
    issuer.clock().advance(seconds(600));
    fetched(&verifier, 2).await;
    let refused = verifier.verify(&by_leaked).await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("keys_unavailable", 503));
    assert!(refused.retry_after().unwrap() >= seconds(1));
    assert_eq!(verifier.verify_cached(&by_leaked).unwrap_err().code(), "keys_unavailable");
    assert_eq!(verifier.ready().await.unwrap_err().code(), "keys_unavailable");
    let status = verifier.status();
    assert!(!status.is_ready() && status.issuers[0].keys == KeyAvailability::Missing && status.issuers[0].kids.is_empty());
    let skipped = &status.issuers[0].skipped[0];
    assert!(skipped.contains(&leaked) && skipped.contains("private member \"d\""), "{skipped}");
    assert!(status.prometheus().contains("keys_usable{issuer=") && status.prometheus().contains("} 0\n"));

    // The issuer replaces it.
    issuer.rotate().unwrap();
    issuer.withdraw(&leaked);
    issuer.come_back();
    issuer.clock().advance(seconds(10));
    assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
    assert_eq!(verifier.verify(&by_leaked).await.unwrap_err().code(), "unknown_key");
}

#[tokio::test]
async fn hd13_metadata_with_a_duplicate_member_is_refused() {
    let issuer = Issuer::start().await.unwrap();
    let good = format!(r#""issuer":"{0}","jwks_uri":"{0}/.well-known/jwks.json""#, issuer.url());
    for doubled in [
        format!(r#"{{{good},"jwks_uri":"https://elsewhere.example/jwks"}}"#),
        format!(r#"{{"jwks_uri":"https://elsewhere.example/jwks",{good}}}"#),
        format!(r#"{{{good},"issuer":"https://elsewhere.example"}}"#),
        format!(r#"{{"issuer":"https://elsewhere.example",{good}}}"#),
        format!(r#"{{{good},"\u0069ssuer":"{}"}}"#, issuer.url()),
    ] {
        issuer.answer_metadata(Behavior::Body(doubled.clone().into_bytes()));
        let verifier = issuer.verifier(AUDIENCE).build().unwrap();
        assert_eq!(verifier.ready().await.unwrap_err().code(), "keys_unavailable", "{doubled}");
        assert_eq!(issuer.key_fetches(), 0);
    }
}

/// Answers without keys, and the error that an operator sees for each.
fn useless(issuer: &Issuer) -> Vec<(Behavior, &'static str)> {
    let body = |text: &str| Behavior::Body(text.as_bytes().to_vec());
    let rsa = |n: usize, e: &str| format!(r#"{{"keys":[{{"kty":"RSA","kid":"x","n":"{}","e":"{e}"}}]}}"#, "_".repeat(n));
    vec![
        (body("<!doctype html><title>Sign in</title>"), "not JSON"),
        (Behavior::Body(Vec::new()), "not JSON"),
        (body(r#"{"keys":[]}"#), "the set is empty"),
        (body(r#"{"keys":[{"kty":"oct","kid":"x","k":"AAAA"}]}"#), "private member \"k\""),
        (body(&rsa(172, "AQAB")), "2,048"),
        (body(&rsa(344, "AQ")), "exponent"),
        (Behavior::Body(vec![b' '; 50_000_000]), "larger than 256 KiB"),
        (Behavior::Endless, "larger than 256 KiB"),
        (Behavior::Redirect(format!("{}/elsewhere", issuer.url())), "redirects are not followed"),
        (Behavior::Redirect("https://keys.elsewhere.example/".to_owned()), "redirects are not followed"),
        (Behavior::Status(204), "204"),
        (Behavior::Status(404), "404"),
        (Behavior::Status(500), "500"),
        (Behavior::Status(503), "503"),
        (Behavior::Down, "error sending request"),
    ]
}

#[tokio::test]
async fn vf14_an_answer_without_keys_leaves_the_cached_ones_in_use() {
    let issuer = Issuer::start().await.unwrap();
    for (answer, why) in useless(&issuer) {
        issuer.come_back();
        let verifier = warm(&issuer).await;
        issuer.answer_keys(answer.clone());
        issuer.clock().advance(seconds(480));
        fetched(&verifier, 2).await;
        let (error, _) = verifier.status().issuers.remove(0).last_error.unwrap();
        assert!(error.contains(why) && error.contains(issuer.url()), "{error}");
        assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok(), "{answer:?}");

        // A new verifier has no keys, and does not blame the token.
        let cold = issuer.verifier(AUDIENCE).build().unwrap();
        let refused = cold.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.unwrap_err();
        assert_eq!(refused.code(), "keys_unavailable", "{answer:?}");
    }
    assert_eq!(issuer.other_requests(), 0, "no redirect was followed");

    // 304 for a verifier that has no keys.
    issuer.answer_keys(Behavior::Status(304));
    let cold = issuer.verifier(AUDIENCE).build().unwrap();
    assert_eq!(cold.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.unwrap_err().code(), "keys_unavailable");
}

#[tokio::test]
async fn vf14_keys_that_arrive_byte_by_byte_or_never_time_out() {
    for answer in [Behavior::Trickle, Behavior::Silent] {
        let issuer = Issuer::start().await.unwrap();
        issuer.answer_keys(answer);
        let verifier = issuer.verifier(AUDIENCE).fetch_timeout(seconds(9)).build().unwrap();
        let waiting = tokio::spawn({
            let (verifier, token) = (verifier.clone(), issuer.token(AUDIENCE).sign().unwrap());
            async move { verifier.verify(&token).await }
        });
        eventually(|| issuer.key_fetches() == 1).await;
        for _ in 0..8 {
            issuer.clock().advance(seconds(1));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(!waiting.is_finished());
        issuer.clock().advance(seconds(1));
        assert_eq!(waiting.await.unwrap().unwrap_err().code(), "keys_unavailable");
        let (error, _) = verifier.status().issuers.remove(0).last_error.unwrap();
        assert!(error.contains("within 9 s"), "{error}");
        issuer.come_back();
        issuer.clock().advance(seconds(5));
        assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
    }
}

#[tokio::test]
async fn vf14_the_same_holds_for_metadata() {
    let issuer = Issuer::start().await.unwrap();
    let elsewhere = format!("{}/elsewhere", issuer.url());
    let answers =
        [Behavior::Redirect(elsewhere), Behavior::Endless, Behavior::Body(b"<html>".to_vec()), Behavior::Status(500), Behavior::Down];
    for answer in answers {
        issuer.answer_metadata(answer.clone());
        let cold = issuer.verifier(AUDIENCE).build().unwrap();
        let refused = cold.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.unwrap_err();
        assert_eq!(refused.code(), "keys_unavailable", "{answer:?}");
    }
    assert_eq!((issuer.key_fetches(), issuer.other_requests()), (0, 0));

    // When the metadata is not available for a while, the known URL of the keys is used.
    issuer.come_back();
    let verifier = warm(&issuer).await;
    issuer.answer_metadata(Behavior::Down);
    issuer.clock().advance(seconds(3600));
    fetched(&verifier, 2).await;
    assert_eq!(key_state(&verifier), KeyAvailability::Fresh);
}

#[tokio::test]
async fn md3_metadata_of_another_issuer_is_refused_by_an_exact_comparison() {
    let issuer = Issuer::start().await.unwrap();
    let keys = format!("{}/.well-known/jwks.json", issuer.url());
    let others = [
        format!("{}/", issuer.url()),
        issuer.url().replace("http", "HTTP"),
        issuer.url().replace("127.0.0.1", "127.0.0.2"),
        format!("{}0", issuer.url()),
        issuer.url().rsplit_once(':').unwrap().0.to_owned(),
        "https://auth.example".to_owned(),
        String::new(),
        "x".repeat(10_000),
    ];
    let mut documents: Vec<String> =
        others.iter().map(|other| serde_json::json!({ "issuer": other, "jwks_uri": keys }).to_string()).collect();
    documents.push(serde_json::json!({ "jwks_uri": keys }).to_string());
    documents.push(serde_json::json!({ "issuer": issuer.url() }).to_string());
    for jwks_uri in ["http://auth.example/jwks", "file:///etc/passwd", "//127.0.0.1/", ""] {
        documents.push(serde_json::json!({ "issuer": issuer.url(), "jwks_uri": jwks_uri }).to_string());
    }
    for document in documents {
        issuer.answer_metadata(Behavior::Body(document.clone().into_bytes()));
        let verifier = issuer.verifier(AUDIENCE).build().unwrap();
        let refused = verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.unwrap_err();
        assert_eq!(refused.code(), "keys_unavailable", "{document}");
        let (error, _) = verifier.status().issuers.remove(0).last_error.unwrap();
        assert!(error.contains("oauth-authorization-server") && error.len() < 1_000, "{error}");
        assert!(matches!(&refused, Error::KeysUnavailable { cause: Some(cause), .. } if cause.to_string() == error), "{refused:?}");
    }
    assert_eq!(issuer.key_fetches(), 0);
}

#[tokio::test]
async fn an_error_says_that_the_issuer_has_an_extra_trailing_slash() {
    let issuer = Issuer::start().await.unwrap();
    let with_slash = format!("{}/", issuer.url());
    let verifier = Verifier::for_issuer(&with_slash).audience(AUDIENCE).build().unwrap();
    let error = verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains(&format!("{:?}", issuer.url())) && cause.contains(&format!("{with_slash:?}")), "{cause}");
    assert!(format!("{error:?}").ends_with(&cause) && !error.to_string().contains(&with_slash));
}

#[tokio::test]
async fn keys_that_moved_are_found_at_their_new_url() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    assert_eq!(issuer.metadata_fetches(), 1);
    issuer.answer_keys(Behavior::Status(410));
    issuer.clock().advance(seconds(480));
    fetched(&verifier, 2).await;
    issuer.come_back();
    issuer.clock().advance(seconds(10));
    fetched(&verifier, 3).await;
    assert_eq!(issuer.metadata_fetches(), 2, "after a failure the URL of the keys is read from the metadata again");
    assert_eq!(key_state(&verifier), KeyAvailability::Fresh);

    // A configured URL is used as it is.
    let given = format!("{}/.well-known/jwks.json", issuer.url());
    let verifier = issuer.verifier(AUDIENCE).jwks_uri(given).build().unwrap();
    assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
    assert_eq!(issuer.metadata_fetches(), 2);
}
