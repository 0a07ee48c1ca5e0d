//! The cache of keys: refreshed ahead of time, one fetch for all callers, no fetch caused by a flood, and a bounded age.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use sealwright::verifier::{
    Error, KeyAvailability, Verifier,
    testing::{Behavior, Issuer},
};
use tokio::task::JoinSet;

use crate::support::{AUDIENCE, encode, eventually, fetched, key_state, seconds, warm};

/// A token with an unknown key. Its signature is never checked.
fn unknown(issuer: &Issuer, number: u32) -> String {
    issuer.token(AUDIENCE).header("kid", format!("junk-{number}")).sign().unwrap()
}

/// Many such tokens, without the cost of signing each.
fn flood(issuer: &Issuer, count: u32) -> impl Iterator<Item = String> {
    let genuine = unknown(issuer, 0);
    let (_, rest) = genuine.split_once('.').unwrap();
    let rest = rest.to_owned();
    (0..count).map(move |number| {
        let header = encode(format!(r#"{{"alg":"RS256","kid":"junk-{number}","typ":"at+jwt"}}"#));
        format!("{header}.{rest}")
    })
}

#[tokio::test]
async fn vf12_a_flood_of_unknown_keys_fetches_once_in_10_s_and_harms_no_good_token() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let good = issuer.token(AUDIENCE).lifetime(seconds(3600)).sign().unwrap();
    for round in 1..=3 {
        issuer.clock().advance(seconds(10));
        for token in flood(&issuer, 10_000) {
            assert_eq!(verifier.verify(&token).await.unwrap_err(), Error::UnknownKey);
        }
        assert!(verifier.verify(&good).await.is_ok() && verifier.verify_cached(&good).is_ok());
        assert_eq!(issuer.key_fetches(), 1 + round);
    }
}

#[tokio::test]
async fn vf12_where_tokens_are_looked_up_keys_are_confirmed_on_top_of_one_fetch_in_10_s() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let good = issuer.token(AUDIENCE).lifetime(seconds(3600)).revocable().sign().unwrap();
    assert!(verifier.verify(&good).await.is_ok());
    for second in 0..60 {
        for token in flood(&issuer, 300) {
            assert_eq!(verifier.verify(&token).await.unwrap_err(), Error::UnknownKey);
        }
        assert!(verifier.verify_cached(&good).is_ok());
        eventually(|| !verifier.status().issuers[0].fetching).await;
        // Each attempt to fetch the list, after 7.2 to 8 s, confirms the keys.
        assert!(issuer.key_fetches() <= 1 + second / 10 + second / 7, "{} fetches after {second} s", issuer.key_fetches());
        issuer.clock().advance(seconds(1));
        // An attempt that is due now must not begin together with that of the next flood.
        eventually(|| issuer.clock().sleepers() == ["between fetches"; 2]).await;
    }
    assert!(issuer.key_fetches() > 6, "both happened: {}", issuer.key_fetches());
}

#[tokio::test]
async fn vf12_a_flood_of_unknown_keys_before_the_first_keys_causes_few_fetches() {
    for answer in [Behavior::Body(br#"{"keys":[]}"#.to_vec()), Behavior::Status(503), Behavior::Status(404)] {
        flood_without_keys(answer).await;
    }
}

async fn flood_without_keys(answer: Behavior) {
    let issuer = Issuer::start().await.unwrap();
    issuer.answer_keys(answer);
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    for second in 0..60 {
        for token in flood(&issuer, 300) {
            assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "keys_unavailable");
        }
        // An attempt that the flood did not cause may be in flight.
        eventually(|| !verifier.status().issuers[0].fetching).await;
        assert!(issuer.key_fetches() <= 1 + second / 10, "{} fetches after {second} s", issuer.key_fetches());
        issuer.clock().advance(seconds(1));
    }
    issuer.come_back();
    issuer.clock().advance(seconds(10));
    assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
}

#[tokio::test]
async fn vf12_tokens_that_are_invalid_without_a_key_are_refused_and_not_answered_with_503() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    for (token, code) in [
        ("junk".to_owned(), "malformed"),
        (issuer.token(AUDIENCE).header("alg", "HS256").sign().unwrap(), "algorithm_not_allowed"),
        (issuer.token(AUDIENCE).header("typ", "JWT").sign().unwrap(), "wrong_type"),
        (issuer.token(AUDIENCE).without_header("kid").sign().unwrap(), "malformed"),
    ] {
        assert_eq!(verifier.verify_cached(&token).unwrap_err().code(), code);
    }
    assert_eq!((issuer.key_fetches(), issuer.metadata_fetches()), (0, 0));
    assert_eq!(verifier.verify_cached(&unknown(&issuer, 1)).unwrap_err().code(), "keys_unavailable");
    assert_eq!((issuer.key_fetches(), issuer.metadata_fetches()), (0, 0), "only the cache is read; nothing is fetched");
}

#[tokio::test]
async fn a_thousand_callers_at_a_cold_start_share_one_fetch() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let token: Arc<str> = issuer.token(AUDIENCE).sign().unwrap().into();
    let mut callers = JoinSet::new();
    for _ in 0..1_000 {
        let (verifier, token) = (verifier.clone(), Arc::clone(&token));
        callers.spawn(async move { verifier.verify(&token).await.map(|_| ()) });
    }
    assert!(callers.join_all().await.into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!((issuer.metadata_fetches(), issuer.key_fetches()), (1, 1));
    assert_eq!(issuer.last_key_request("cache-control").as_deref(), Some("no-cache"), "a caller waits for the newest keys");
}

#[tokio::test]
async fn while_a_fetch_hangs_good_tokens_are_accepted_and_all_waiters_time_out_with_it() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    issuer.answer_keys(Behavior::Silent);
    issuer.clock().advance(seconds(10));
    let mut callers = JoinSet::new();
    for token in flood(&issuer, 500) {
        let verifier = verifier.clone();
        callers.spawn(async move { verifier.verify(&token).await.map(|_| ()) });
    }
    eventually(|| issuer.key_fetches() == 2).await;
    let good = issuer.token(AUDIENCE).sign().unwrap();
    assert!(verifier.verify(&good).await.is_ok(), "a token whose key is known does not wait");
    // One waiting caller is cancelled: the others still get an answer.
    let impatient = tokio::spawn({
        let (verifier, token) = (verifier.clone(), unknown(&issuer, 7));
        async move { verifier.verify(&token).await.map(|_| ()) }
    });
    tokio::task::yield_now().await;
    impatient.abort();
    issuer.clock().advance(seconds(5));
    let outcomes = callers.join_all().await;
    // It is unknown whether the issuer publishes these keys now.
    let unsaid = |outcome: &Result<(), Error>| outcome.as_ref().is_err_and(|error| error.status() == 503);
    assert!(outcomes.iter().all(unsaid), "{outcomes:?}");
    assert_eq!(issuer.key_fetches(), 2);
    assert!(verifier.status().issuers[0].last_error.as_ref().unwrap().0.contains("within 5 s"));
}

#[tokio::test]
async fn a_new_key_is_found_when_the_first_token_comes_and_a_withdrawn_one_is_gone() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let old_kid = issuer.kid();
    let by_old = issuer.token(AUDIENCE).lifetime(seconds(36_000)).sign().unwrap();
    issuer.rotate().unwrap();
    issuer.clock().advance(seconds(10));
    let by_new = issuer.token(AUDIENCE).lifetime(seconds(36_000)).sign().unwrap();
    assert!(verifier.verify(&by_new).await.is_ok() && verifier.verify(&by_old).await.is_ok());
    assert_eq!(issuer.key_fetches(), 2);

    // No token with an unknown key arrives: the withdrawal is noticed anyway.
    issuer.withdraw(&old_kid);
    assert!(verifier.verify(&by_old).await.is_ok());
    issuer.clock().advance(seconds(480));
    fetched(&verifier, 3).await;
    assert_eq!(verifier.verify(&by_old).await.unwrap_err(), Error::UnknownKey);
    assert!(verifier.verify(&by_new).await.is_ok());
    assert_eq!(verifier.status().issuers[0].kids, [issuer.kid()]);
}

#[tokio::test]
async fn keys_are_refreshed_ahead_of_time_by_a_conditional_request() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    assert_eq!(issuer.last_key_request("if-none-match"), None);
    for _ in 0..43 {
        issuer.clock().advance(seconds(10));
        eventually(|| issuer.clock().sleepers() == ["between fetches"]).await;
    }
    assert_eq!((key_state(&verifier), issuer.key_fetches()), (KeyAvailability::Fresh, 1), "not before seven tenths of their lifetime");
    issuer.clock().advance(seconds(50));
    fetched(&verifier, 2).await;
    assert!(issuer.last_key_request("if-none-match").is_some(), "the answer is 304");
    assert_eq!(issuer.last_key_request("cache-control"), None, "a cache in between may answer a refresh in the background");
    let status = verifier.status().issuers.remove(0);
    assert_eq!((status.keys, status.age, status.failures), (KeyAvailability::Fresh, Some(Duration::ZERO), 0));
    assert_eq!(issuer.metadata_fetches(), 1);
    let good = issuer.token(AUDIENCE).sign().unwrap();
    assert!(verifier.verify_cached(&good).is_ok());
}

#[tokio::test]
async fn keys_of_an_issuer_that_forbids_caching_are_fetched_at_most_every_10_s() {
    let issuer = Issuer::start().await.unwrap();
    issuer.set_max_age(Duration::ZERO);
    let verifier = issuer.verifier(AUDIENCE).max_stale(Duration::ZERO).build().unwrap();
    for minute in 0..3 {
        for _ in 0..6 {
            assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
            let fetches = issuer.key_fetches();
            issuer.clock().advance(seconds(10));
            eventually(|| issuer.key_fetches() > fetches).await;
            fetched(&verifier, issuer.key_fetches()).await;
        }
        assert_eq!(issuer.key_fetches(), 6 * (minute + 1) + 1);
    }
}

#[tokio::test]
async fn fetching_ends_with_the_last_handle() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let several = Verifier::any_of([verifier.clone()]).unwrap();
    eventually(|| issuer.clock().sleepers() == ["between fetches"]).await;
    drop(verifier);
    issuer.clock().advance(seconds(600));
    fetched(&several, 2).await;
    drop(several);
    eventually(|| issuer.clock().sleepers().is_empty()).await;
    issuer.clock().advance(seconds(6_000));
    assert_eq!(issuer.key_fetches(), 2);
}

#[test]
fn fetching_continues_in_another_runtime_when_the_first_has_ended() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let home = runtime();
    let issuer = home.block_on(Issuer::start()).unwrap();
    let verifier = runtime().block_on(warm(&issuer));
    issuer.clock().advance(seconds(600));
    let second = runtime();
    second.block_on(async {
        assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
        fetched(&verifier, 2).await;
    });
    drop(second);
    issuer.rotate().unwrap();
    issuer.clock().advance(seconds(10));
    // A runtime that is not driven between two calls.
    let third = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..2 {
        let by_new = issuer.token(AUDIENCE).sign().unwrap();
        assert!(third.block_on(verifier.verify(&by_new)).is_ok());
    }
}

#[tokio::test]
async fn keys_are_fetched_after_a_suspend_without_a_token() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    issuer.clock().advance(seconds(7200));
    eventually(|| verifier.status().is_ready()).await;
    // A clock that is set back does not prevent a refresh either.
    issuer.clock().set_back(seconds(7200));
    issuer.rotate().unwrap();
    assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
}

#[tokio::test]
async fn a_key_does_not_count_as_unknown_while_the_issuer_is_unreachable() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    issuer.rotate().unwrap();
    issuer.go_down();
    issuer.clock().advance(seconds(10));
    let by_new = issuer.token(AUDIENCE).sign().unwrap();
    assert_eq!(verifier.verify(&by_new).await.unwrap_err().code(), "keys_unavailable");
    issuer.come_back();
    issuer.clock().advance(seconds(10));
    assert!(verifier.verify(&by_new).await.is_ok());
    assert_eq!(verifier.verify(&unknown(&issuer, 1)).await.unwrap_err(), Error::UnknownKey);
}

#[test]
fn outside_a_runtime_nothing_is_fetched_and_no_caller_waits() {
    let home = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let issuer = home.block_on(Issuer::start()).unwrap();
    let verifier = Verifier::for_issuer(issuer.url()).audience(AUDIENCE).build().unwrap();
    let token = issuer.token(AUDIENCE).sign().unwrap();
    let mut verifying = std::pin::pin!(verifier.verify(&token));
    let polled = verifying.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(Error::KeysUnavailable { .. }))), "{polled:?}");
    assert_eq!((issuer.metadata_fetches(), verifier.status().issuers[0].fetches), (0, 0));
    assert!(home.block_on(verifier.verify(&token)).is_ok());
}

#[tokio::test]
async fn a_verifier_reports_its_status() {
    let issuer = Issuer::start().await.unwrap();
    issuer.publish(serde_json::json!({ "kty": "oct", "kid": "shared", "k": "AAAA" }));
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let before = verifier.status();
    assert!(!before.is_ready() && before.issuers[0].age.is_none() && before.accepted == 0);
    // Reading the status starts the fetch: a readiness check that comes first must not wait forever.
    eventually(|| verifier.status().is_ready()).await;

    assert!(verifier.verify(&issuer.token(AUDIENCE).sign().unwrap()).await.is_ok());
    for _ in 0..2 {
        assert!(verifier.verify_cached(&issuer.token("https://x.example").sign().unwrap()).is_err());
    }
    issuer.clock().advance(seconds(90));
    let status = verifier.status();
    assert_eq!(status.accepted, 1);
    assert_eq!(status.refused.iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [&("wrong_audience", 2)]);
    let keys = &status.issuers[0];
    assert_eq!((keys.issuer.as_str(), keys.keys, keys.age), (issuer.url(), KeyAvailability::Fresh, Some(seconds(90))));
    assert_eq!((keys.kids.len(), keys.fetches, keys.failures), (1, 1, 0));
    assert!(keys.skipped[0].contains("key 1, kid \"shared\""), "{:?}", keys.skipped);
    let metrics = status.prometheus();
    for line in [
        "# TYPE sealwright_verifier_tokens_total counter",
        "sealwright_verifier_tokens_total{result=\"accepted\"} 1",
        "sealwright_verifier_tokens_total{result=\"wrong_audience\"} 2",
        "sealwright_verifier_tokens_total{result=\"expired\"} 0",
        &format!("sealwright_verifier_key_age_seconds{{issuer=\"{}\"}} 90", issuer.url()),
        &format!("sealwright_verifier_keys_usable{{issuer=\"{}\"}} 1", issuer.url()),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    let fixed = issuer.verifier(AUDIENCE).keys(issuer.jwks()).build().unwrap().status();
    assert!(fixed.is_ready() && fixed.issuers[0].keys == KeyAvailability::Fixed && fixed.issuers[0].fetches == 0);
}
