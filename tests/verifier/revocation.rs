//! Revoked tokens: what becomes of a token whose status list is there, late, gone or out of reach.

use std::time::Duration;

use axum::http::HeaderValue;
use sealwright::verifier::{
    BuildError, Check, Claims, Error, Revocation, StatusListState, Verifier,
    testing::{Behavior, Issuer, TokenBuilder},
};
use serde_json::json;

use crate::{
    layer::{Client, api},
    support::{AUDIENCE, EC_KEY, ec_jwk, encode, eventually, seconds, warm},
};

/// A token that lives for all of a test.
fn revocable(issuer: &Issuer) -> TokenBuilder<'_> {
    issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable()
}

pub(crate) fn list(verifier: &Verifier) -> StatusListState {
    verifier.status().issuers.remove(0).status_lists.remove(0)
}

/// Moves the clock forward, and waits for the next attempt to fetch the list.
pub(crate) async fn next_attempt(issuer: &Issuer, verifier: &Verifier, after: Duration) {
    let before = list(verifier).fetches;
    issuer.clock().advance(after);
    eventually(|| list(verifier).fetches > before && !list(verifier).fetching).await;
}

fn code(outcome: Result<Claims, Error>) -> &'static str {
    outcome.map_or_else(|error| error.code(), |_| "accepted")
}

#[tokio::test]
async fn rv6_a_revoked_token_is_refused_when_the_list_is_fetched_again_and_no_other() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let (token, sibling) = (revocable(&issuer).sign().unwrap(), revocable(&issuer).sign().unwrap());
    assert!(verifier.verify(&token).await.is_ok() && verifier.verify(&sibling).await.is_ok());
    assert_eq!(issuer.status_list_fetches(), 1, "the second token is looked up in memory");
    assert_eq!(issuer.last_status_list_request("accept").as_deref(), Some("application/statuslist+jwt"));
    assert_eq!(issuer.last_status_list_request("cache-control").as_deref(), Some("no-cache"), "a caller waits for the newest list");

    issuer.revoke(&token).unwrap();
    assert!(verifier.verify(&token).await.is_ok(), "until the list is fetched again");
    next_attempt(&issuer, &verifier, seconds(8)).await;
    let refused = verifier.verify_cached(&token).unwrap_err();
    assert_eq!((refused.clone(), refused.status(), refused.retry_after()), (Error::Revoked, 401, None));
    let challenge = r#"Bearer error="invalid_token", error_description="the token was revoked""#;
    assert_eq!(refused.challenge().as_deref(), Some(challenge));
    assert!(verifier.verify_cached(&sibling).is_ok());
    assert!(verifier.status().prometheus().contains("tokens_total{result=\"revoked\"} 1\n"));

    // Unchanged, it is confirmed by a conditional request.
    next_attempt(&issuer, &verifier, seconds(8)).await;
    next_attempt(&issuer, &verifier, seconds(8)).await;
    assert!(issuer.last_status_list_request("if-none-match").is_some());
    assert_eq!((list(&verifier).age, list(&verifier).failures), (Some(Duration::ZERO), 0));
    assert_eq!(code(verifier.verify_cached(&token)), "revoked");
    let plain = issuer.token(AUDIENCE).sign().unwrap();
    assert!(issuer.revoke(&plain).unwrap_err().to_string().contains(".revocable()"));
}

#[tokio::test]
async fn rv6_the_first_token_of_a_list_waits_for_it_also_in_the_layer() {
    let issuer = Issuer::start().await.unwrap();
    let revoked = revocable(&issuer).scope("orders:read").sign().unwrap();
    let good = revocable(&issuer).scope("orders:read").sign().unwrap();
    issuer.revoke(&revoked).unwrap();
    // With neither keys nor list.
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    assert_eq!(verifier.verify(&revoked).await.unwrap_err(), Error::Revoked);
    for token in [&revoked, &good] {
        let client = Client::of(api(issuer.verifier(AUDIENCE).build().unwrap().layer())).await;
        let answer = client.get("/any").bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), if token == &good { 200 } else { 401 });
    }
    // What does not wait does not accept it unseen.
    let verifier = warm(&issuer).await;
    let refused = verifier.verify_cached(&good).unwrap_err();
    assert_eq!((refused.code(), refused.status(), refused.challenge()), ("status_unavailable", 503, None));
    eventually(|| verifier.verify_cached(&good).is_ok()).await;
    assert_eq!(verifier.verify_cached(&revoked).unwrap_err(), Error::Revoked);
}

#[tokio::test]
async fn rv6_after_a_suspend_no_token_is_accepted_by_an_old_list() {
    // After 20 s, even a strict verifier would still use the list, had it been fetched in time.
    for suspended in [20, 600] {
        let issuer = Issuer::start().await.unwrap();
        let verifier = warm(&issuer).await;
        let token = revocable(&issuer).sign().unwrap();
        assert!(verifier.verify(&token).await.is_ok());
        issuer.revoke(&token).unwrap();
        issuer.clock().advance(seconds(suspended));
        assert_eq!(verifier.verify(&token).await.unwrap_err(), Error::Revoked, "after {suspended} s");
    }
}

#[tokio::test]
async fn rv6_an_explanation_names_the_status_as_the_last_check() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let (token, good) = (revocable(&issuer).sign().unwrap(), revocable(&issuer).sign().unwrap());
    issuer.revoke(&token).unwrap();
    let explained = verifier.explain(&token).await;
    assert_eq!((explained.failed, explained.outcome.unwrap_err()), (Some(Check::Status), Error::Revoked));
    assert_eq!(explained.passed, Check::ALL[..Check::ALL.len() - 1]);
    assert_eq!(verifier.explain(&good).await.passed, Check::ALL);
}

#[tokio::test]
async fn sl4_while_a_list_cannot_be_fetched_the_newest_one_is_used_up_to_the_bound() {
    let issuer = Issuer::start().await.unwrap();
    let short = issuer.verifier(AUDIENCE).revocation_max_stale(seconds(120)).build().unwrap();
    let strict = issuer.verifier(AUDIENCE).revocation(Revocation::Strict).build().unwrap();
    let (token, revoked) = (revocable(&issuer).sign().unwrap(), revocable(&issuer).sign().unwrap());
    issuer.revoke(&revoked).unwrap();
    for verifier in [&short, &strict] {
        assert!(verifier.verify(&token).await.is_ok());
    }
    issuer.answer_status_list(Behavior::Down);
    for (second, by_short, by_strict) in
        [(29, "accepted", "accepted"), (30, "accepted", "status_unavailable"), (119, "accepted", "status_unavailable")]
    {
        let passed = list(&strict).age.unwrap().as_secs();
        issuer.clock().advance(seconds(second - passed));
        eventually(|| list(&short).last_error.is_some() && list(&strict).last_error.is_some()).await;
        assert_eq!((code(short.verify(&token).await), code(strict.verify(&token).await)), (by_short, by_strict), "after {second} s");
    }
    issuer.clock().advance(seconds(1));
    let refused = short.verify(&token).await.unwrap_err();
    assert_eq!((refused.code(), refused.status(), refused.challenge()), ("status_unavailable", 503, None));
    assert!((1..=30).contains(&refused.retry_after().unwrap().as_secs()));
    assert!(format!("{refused:?}").contains(&issuer.status_list_uri()) && !refused.to_string().contains("http"), "{refused:?}");
    assert_eq!(short.verify(&revoked).await.unwrap_err(), Error::Revoked, "of this there is no doubt");
    let metrics = short.status().prometheus();
    for line in [
        "sealwright_verifier_tokens_total{result=\"status_unavailable\"} 1".to_owned(),
        format!("sealwright_verifier_status_lists{{issuer=\"{}\"}} 1", issuer.url()),
        format!("sealwright_verifier_status_lists_stale{{issuer=\"{}\"}} 1", issuer.url()),
        format!("sealwright_verifier_status_list_age_seconds{{issuer=\"{}\"}} 120", issuer.url()),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert!(short.status().issuers[0].status_list_failures > 0);

    issuer.come_back();
    issuer.clock().advance(seconds(10));
    assert!(short.verify(&token).await.is_ok() && strict.verify(&token).await.is_ok());
    assert!(!list(&short).is_stale && list(&short).last_error.is_none());
}

#[tokio::test]
async fn sl4_a_list_that_was_never_fetched_delays_the_first_token_alone() {
    let issuer = Issuer::start().await.unwrap();
    let (lenient, strict) = (warm(&issuer).await, issuer.verifier(AUDIENCE).revocation(Revocation::Strict).build().unwrap());
    issuer.answer_status_list(Behavior::Down);
    let token = revocable(&issuer).sign().unwrap();
    assert!(lenient.verify(&token).await.is_ok() && lenient.verify_cached(&token).is_ok());
    assert_eq!(code(strict.verify(&token).await), "status_unavailable");
    issuer.clock().advance(seconds(3599));
    assert!(lenient.verify(&token).await.is_ok());
    issuer.clock().advance(seconds(1));
    assert_eq!(code(lenient.verify(&token).await), "status_unavailable");
}

#[tokio::test]
async fn a_token_without_a_status_list_is_refused_only_by_a_strict_verifier() {
    let issuer = Issuer::start().await.unwrap();
    let of = |mode| issuer.verifier(AUDIENCE).revocation(mode).build().unwrap();
    let (off, lenient, strict) = (of(Revocation::Off), of(Revocation::Lenient), of(Revocation::Strict));
    let token = issuer.token(AUDIENCE).sign().unwrap();
    assert!(off.verify(&token).await.is_ok() && lenient.verify(&token).await.is_ok());
    let refused = strict.verify(&token).await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("bad_status", 401));
    let revoked = revocable(&issuer).sign().unwrap();
    issuer.revoke(&revoked).unwrap();
    assert!(off.verify(&revoked).await.is_ok());
    assert_eq!((issuer.status_list_fetches(), off.status().issuers[0].revocation), (0, Revocation::Off));
    assert_eq!((code(lenient.verify(&revoked).await), code(strict.verify(&revoked).await)), ("revoked", "revoked"));
}

#[tokio::test]
async fn a_claim_status_of_another_kind_refuses_a_token_only_where_the_api_chose_a_mode() {
    let issuer = Issuer::start().await.unwrap();
    let of = |mode| issuer.verifier(AUDIENCE).revocation(mode).build().unwrap();
    let (by_default, lenient, strict) = (warm(&issuer).await, of(Revocation::Lenient), of(Revocation::Strict));
    let elsewhere = |uri: &str| json!({ "status_list": { "idx": 0, "uri": uri } });
    for status in [
        json!("active"),
        json!(1),
        json!(null),
        json!(["active"]),
        json!({}),
        json!({ "another": {} }),
        elsewhere("https://lists.example/1"),
        elsewhere(&format!("{}?list=1", issuer.status_list_uri())),
    ] {
        let token = issuer.token(AUDIENCE).claim("status", status.clone()).sign().unwrap();
        assert!(by_default.verify(&token).await.is_ok() && by_default.verify_cached(&token).is_ok(), "{status}");
        for chosen in [&lenient, &strict] {
            let refused = chosen.verify(&token).await.unwrap_err();
            assert_eq!((refused.code(), refused.status()), ("bad_status", 401), "{status}");
        }
    }
    // What says that it is about a status list is held to it.
    for status in [json!({ "status_list": null }), json!({ "status_list": [] }), json!({ "status_list": {} })] {
        let token = issuer.token(AUDIENCE).claim("status", status.clone()).sign().unwrap();
        assert_eq!(code(by_default.verify(&token).await), "bad_status", "{status}");
    }
    assert_eq!((issuer.status_list_fetches(), issuer.other_requests()), (0, 0));
    let revoked = revocable(&issuer).sign().unwrap();
    issuer.revoke(&revoked).unwrap();
    assert_eq!(code(by_default.verify(&revoked).await), "revoked");
}

#[tokio::test]
async fn a_time_for_stale_lists_is_refused_where_it_has_no_effect() {
    let issuer = Issuer::start().await.unwrap();
    let builder = || issuer.verifier(AUDIENCE).revocation_max_stale(seconds(60));
    for (builder, mode) in [
        (builder().revocation(Revocation::Strict), Revocation::Strict),
        (builder().revocation(Revocation::Off), Revocation::Off),
        (builder().keys(issuer.jwks()), Revocation::Off),
    ] {
        let refused = builder.build().unwrap_err();
        assert_eq!(refused, BuildError::RevocationMaxStale(mode));
        assert!(refused.to_string().contains(&format!("with revocation {mode}")), "{refused}");
        // With given keys, another mode would be the next error.
        assert!(refused.to_string().ends_with("it is for `Revocation::Lenient`, with keys that are fetched"), "{refused}");
    }
    assert!(builder().build().is_ok() && builder().revocation(Revocation::Lenient).build().is_ok());
}

#[tokio::test]
async fn with_given_keys_nothing_is_looked_up() {
    let issuer = Issuer::start().await.unwrap();
    let given = || issuer.verifier(AUDIENCE).keys(issuer.jwks());
    let revoked = revocable(&issuer).sign().unwrap();
    issuer.revoke(&revoked).unwrap();
    for builder in [given(), given().revocation(Revocation::Off)] {
        assert!(builder.build().unwrap().verify(&revoked).await.is_ok());
    }
    for mode in [Revocation::Lenient, Revocation::Strict] {
        let refused = given().revocation(mode).build().unwrap_err();
        assert_eq!(refused, BuildError::RevocationWithGivenKeys(mode));
        assert!(refused.to_string().contains(&format!("revocation cannot be {mode}")), "{refused}");
    }
    assert_eq!(issuer.status_list_fetches(), 0);
}

#[tokio::test]
async fn a_list_is_signed_with_the_issuers_algorithm_whichever_this_api_accepts() {
    let issuer = Issuer::start().await.unwrap();
    issuer.publish(ec_jwk());
    let verifier = issuer.verifier(AUDIENCE).algorithms(["ES256"]).build().unwrap();
    let by_rs256 = revocable(&issuer).sign().unwrap();
    let parts: Vec<&str> = by_rs256.split('.').collect();
    let signed = format!("{}.{}", encode(r#"{"typ":"at+jwt","alg":"ES256","kid":"ec"}"#), parts[1]);
    let signature = EC_KEY.sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
    let by_es256 = format!("{signed}.{}", encode(signature));

    assert!(verifier.verify(&by_es256).await.is_ok());
    assert_eq!((list(&verifier).failures, list(&verifier).is_stale), (0, false), "the list is signed with RS256");
    assert_eq!(code(verifier.verify(&by_rs256).await), "algorithm_not_allowed", "a token is not");
    let status = verifier.status().issuers.remove(0);
    assert_eq!(status.kids, ["ec"]);
    assert!(status.skipped.len() == 1 && status.skipped[0].ends_with("its algorithm, RS256, is not accepted"), "{:?}", status.skipped);
    issuer.revoke(&by_es256).unwrap();
    next_attempt(&issuer, &verifier, seconds(8)).await;
    assert_eq!(verifier.verify_cached(&by_es256).unwrap_err(), Error::Revoked);
}

#[tokio::test]
async fn a_list_that_no_token_names_for_an_hour_is_forgotten() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let token = revocable(&issuer).sign().unwrap();
    assert!(verifier.verify(&token).await.is_ok());
    issuer.clock().advance(seconds(3500));
    eventually(|| list(&verifier).fetches == 2 && !list(&verifier).fetching).await;
    issuer.clock().advance(seconds(100));
    eventually(|| verifier.status().issuers[0].status_lists.is_empty()).await;
    let status = verifier.status().issuers.remove(0);
    assert_eq!((status.status_list_fetches, status.status_list_failures), (3, 0), "the counters do not go back");
    issuer.revoke(&token).unwrap();
    assert_eq!(verifier.verify(&token).await.unwrap_err(), Error::Revoked, "it is fetched again");
}

#[tokio::test]
async fn ky3_while_tokens_are_looked_up_a_withdrawn_key_is_dropped_within_12_s() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let withdrawn = issuer.kid();
    let by_withdrawn = revocable(&issuer).sign().unwrap();
    assert!(verifier.verify(&by_withdrawn).await.is_ok());
    issuer.rotate().unwrap();
    issuer.withdraw(&withdrawn);
    next_attempt(&issuer, &verifier, seconds(8)).await;
    eventually(|| code(verifier.verify_cached(&by_withdrawn)) == "unknown_key").await;
    assert_eq!(issuer.last_key_request("cache-control").as_deref(), Some("no-cache"), "a cache on the way must not answer");
    assert!(issuer.last_key_request("if-none-match").is_some());
    let by_new = revocable(&issuer).sign().unwrap();
    assert!(verifier.verify(&by_new).await.is_ok());

    // It stays so, and a new key is still found by the first token that names it.
    for _ in 0..5 {
        let fetches = issuer.key_fetches();
        next_attempt(&issuer, &verifier, seconds(8)).await;
        eventually(|| issuer.key_fetches() > fetches && !verifier.status().issuers[0].fetching).await;
    }
    issuer.rotate().unwrap();
    assert!(verifier.verify(&revocable(&issuer).sign().unwrap()).await.is_ok());
    assert_eq!(verifier.status().issuers[0].failures, 0);
}

#[tokio::test]
async fn fetching_of_lists_and_keys_ends_with_the_last_handle() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    assert!(verifier.verify(&revocable(&issuer).sign().unwrap()).await.is_ok());
    eventually(|| issuer.clock().sleepers() == ["between fetches", "between fetches"]).await;
    drop(verifier);
    eventually(|| issuer.clock().sleepers().is_empty()).await;
}

#[tokio::test]
async fn a_revoked_token_gets_a_challenge_from_the_layer() {
    let issuer = Issuer::start().await.unwrap();
    let client = Client::of(api(warm(&issuer).await.layer())).await;
    let token = revocable(&issuer).scope("orders:read").sign().unwrap();
    issuer.revoke(&token).unwrap();
    let answer = client.get("/bare").bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let challenge: &HeaderValue = &answer.headers()["www-authenticate"];
    assert!(challenge.to_str().unwrap().contains("the token was revoked"), "{challenge:?}");
}
