//! Status lists that are forged, repeated, damaged or elsewhere: tokens are looked up in the newest list that was seen.

use std::time::Duration;

use sealwright::{
    clock::Clock,
    verifier::{
        Error, Revocation,
        testing::{Behavior, Issuer},
    },
};
use serde_json::{Value, json};

use crate::{
    revocation::{list, next_attempt},
    support::{AUDIENCE, claims_text, eventually, list_with, seconds, warm},
};

/// A token that lives for all of a test.
fn revocable(issuer: &Issuer) -> String {
    issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap()
}

#[tokio::test]
async fn sl3_every_hostile_list_is_refused_for_its_own_reason_and_changes_nothing() {
    let issuer = Issuer::start().await.unwrap();
    let token = || issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap();
    let (revoked, good) = (token(), token());
    issuer.revoke(&revoked).unwrap();
    let hostile = issuer.hostile_status_lists().unwrap();
    assert!(hostile.len() > 40, "{}", hostile.len());
    for hostile in hostile {
        issuer.answer_status_list(Behavior::Normal);
        let verifier = issuer.verifier(AUDIENCE).build().unwrap();
        assert!(verifier.verify(&good).await.is_ok());
        issuer.answer_status_list(hostile.answer.clone());
        next_attempt(&issuer, &verifier, seconds(8)).await;
        let is_older = hostile.error.contains("older");
        if is_older {
            // It may be that of another node for a moment. Only a list that is not confirmed in time makes it an error.
            assert_eq!((list(&verifier).failures, list(&verifier).age), (0, Some(seconds(8))), "{}", hostile.name);
            next_attempt(&issuer, &verifier, seconds(22)).await;
        }
        let state = list(&verifier);
        let (error, _) = state.last_error.expect(&hostile.name);
        assert!(error.contains(hostile.error) && error.contains(&issuer.status_list_uri()), "{}: {error}", hostile.name);
        assert_eq!((state.failures, state.is_gone, state.is_stale), (1, false, is_older), "{}", hostile.name);
        assert_eq!(verifier.verify(&revoked).await.unwrap_err(), Error::Revoked, "{}", hostile.name);
        assert!(verifier.verify(&good).await.is_ok(), "{}", hostile.name);

        // Without a list, a strict verifier accepts no token. A list that is only old is good for one that has seen no other.
        if !is_older {
            let strict = issuer.verifier(AUDIENCE).revocation(Revocation::Strict).build().unwrap();
            assert_eq!(strict.verify(&good).await.unwrap_err().code(), "status_unavailable", "{}", hostile.name);
        }
    }
    assert_eq!(issuer.other_requests(), 0);
}

#[tokio::test]
async fn sl3_a_list_that_a_cache_repeats_is_not_taken_for_a_new_one() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let token = || issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap();
    let (revoked, good) = (token(), token());
    let before = issuer.status_list().unwrap();
    assert!(verifier.verify(&revoked).await.is_ok());
    issuer.revoke(&revoked).unwrap();
    next_attempt(&issuer, &verifier, seconds(8)).await;
    assert_eq!(verifier.verify_cached(&revoked).unwrap_err(), Error::Revoked);

    // The list from before the revocation.
    issuer.answer_status_list(Behavior::Body(before.into_bytes()));
    next_attempt(&issuer, &verifier, seconds(8)).await;
    assert_eq!(verifier.verify_cached(&revoked).unwrap_err(), Error::Revoked);
    assert_eq!((list(&verifier).age, list(&verifier).last_error), (Some(seconds(8)), None), "another node may have it for a moment");
    next_attempt(&issuer, &verifier, seconds(1)).await;
    assert_eq!(issuer.last_status_list_request("cache-control").as_deref(), Some("no-cache"), "the cache must ask the issuer");
    next_attempt(&issuer, &verifier, seconds(20)).await;
    assert_eq!((list(&verifier).age, list(&verifier).last_error), (Some(seconds(29)), None));
    next_attempt(&issuer, &verifier, seconds(1)).await;
    assert!(list(&verifier).last_error.unwrap().0.contains("older than the list that was seen before"));
    assert_eq!(verifier.verify_cached(&revoked).unwrap_err(), Error::Revoked);

    // One of a later epoch is as old as the cache says.
    issuer.revoke(&good).unwrap();
    let newer = issuer.status_list().unwrap();
    issuer.answer_status_list(Behavior::Cached { body: newer.into_bytes(), age: 7 });
    issuer.clock().advance(seconds(8));
    eventually(|| list(&verifier).age == Some(seconds(7))).await;
    assert_eq!(verifier.verify_cached(&good).unwrap_err(), Error::Revoked);
}

#[tokio::test]
async fn sl3_the_same_list_again_confirms_nothing_unless_the_issuer_itself_sent_it_and_has_no_etag() {
    let issuer = Issuer::start().await.unwrap();
    let strict = issuer.verifier(AUDIENCE).revocation(Revocation::Strict).build().unwrap();
    let token = issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap();
    assert!(strict.verify(&token).await.is_ok());
    let current = issuer.status_list().unwrap().into_bytes();
    issuer.answer_status_list(Behavior::Body(current.clone()));
    next_attempt(&issuer, &strict, seconds(8)).await;
    let (error, _) = list(&strict).last_error.unwrap();
    assert!(error.contains("in full where 304 is expected"), "{error}");
    assert_eq!((list(&strict).age, issuer.last_status_list_request("cache-control")), (Some(seconds(8)), None), "from a cache, perhaps");

    // An issuer without `ETag` cannot confirm it in another way.
    for _ in 0..5 {
        next_attempt(&issuer, &strict, seconds(8)).await;
        assert_eq!((list(&strict).age, list(&strict).last_error), (Some(Duration::ZERO), None));
        assert_eq!(issuer.last_status_list_request("cache-control").as_deref(), Some("no-cache"));
    }
    // One with `ETag` can.
    issuer.answer_status_list(Behavior::Tagged(current));
    for _ in 0..6 {
        next_attempt(&issuer, &strict, seconds(8)).await;
    }
    assert!(list(&strict).is_stale && list(&strict).age.unwrap() >= seconds(30));
    let refused = strict.verify(&token).await.unwrap_err();
    assert_eq!(refused.code(), "status_unavailable");
    assert!(format!("{refused:?}").contains("in full where 304 is expected"), "{refused:?}");
}

#[tokio::test]
async fn sl3_a_cache_that_answers_304_for_ever_hides_a_revocation_for_two_ttl_at_most() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let token = issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap();
    assert!(verifier.verify(&token).await.is_ok());
    issuer.answer_status_list(Behavior::OldCache);
    issuer.revoke(&token).unwrap();
    for _ in 0..2 {
        next_attempt(&issuer, &verifier, seconds(8)).await;
        assert!(verifier.verify_cached(&token).is_ok());
        assert_eq!((list(&verifier).age, issuer.last_status_list_request("cache-control")), (Some(Duration::ZERO), None));
    }
    next_attempt(&issuer, &verifier, seconds(8)).await;
    assert!(issuer.last_status_list_request("if-none-match").is_some());
    assert_eq!(issuer.last_status_list_request("cache-control").as_deref(), Some("no-cache"), "the cache must ask the issuer");
    assert_eq!(verifier.verify_cached(&token).unwrap_err(), Error::Revoked);
}

#[tokio::test]
async fn sl3_a_list_of_the_same_epoch_and_a_little_older_confirms_nothing_and_is_not_an_error() {
    let issuer = Issuer::start().await.unwrap();
    let token = issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap();
    // As of a node whose clock is slow.
    let behind = issuer.status_list().unwrap();
    issuer.clock().advance(seconds(2));
    let verifier = warm(&issuer).await;
    assert!(verifier.verify(&token).await.is_ok());
    issuer.answer_status_list(Behavior::Body(behind.into_bytes()));
    for age in [8, 16] {
        next_attempt(&issuer, &verifier, seconds(8)).await;
        let state = list(&verifier);
        assert_eq!((state.age, state.failures, state.last_error), (Some(seconds(age)), 0, None));
    }
    next_attempt(&issuer, &verifier, seconds(8)).await;
    assert_eq!(issuer.last_status_list_request("cache-control").as_deref(), Some("no-cache"), "a cache may have sent it");
    assert!(verifier.verify_cached(&token).is_ok());
}

#[tokio::test]
async fn sl3_a_newer_list_of_a_node_that_has_lost_its_database_keeps_what_another_node_has_confirmed() {
    let issuer = Issuer::start().await.unwrap();
    let strict = issuer.verifier(AUDIENCE).revocation(Revocation::Strict).build().unwrap();
    let (token, revoked) = (revocable(&issuer), revocable(&issuer));
    assert!(strict.verify(&token).await.is_ok());
    next_attempt(&issuer, &strict, seconds(8)).await;
    assert_eq!(list(&strict).age, Some(Duration::ZERO), "by a 304");
    // Of the same epoch, with a later `iat`.
    let body = issuer.status_list().unwrap().into_bytes();
    issuer.answer_status_list(Behavior::Cached { body, age: 50 });
    next_attempt(&issuer, &strict, seconds(8)).await;
    assert_eq!((list(&strict).age, list(&strict).last_error), (Some(seconds(8)), None));
    assert!(strict.verify_cached(&token).is_ok());

    // One of a later epoch was confirmed by this node alone.
    issuer.revoke(&revoked).unwrap();
    let body = issuer.status_list().unwrap().into_bytes();
    issuer.answer_status_list(Behavior::Cached { body, age: 50 });
    next_attempt(&issuer, &strict, seconds(8)).await;
    assert_eq!((list(&strict).age, list(&strict).is_stale), (Some(seconds(50)), true));
    assert_eq!(strict.verify_cached(&revoked).unwrap_err(), Error::Revoked);
}

#[tokio::test]
async fn sl3_a_list_that_another_node_signed_in_the_same_second_confirms_nothing_and_is_not_an_error_while_the_held_one_is_fresh() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    assert!(verifier.verify(&revocable(&issuer)).await.is_ok());
    let body = issuer.status_list().unwrap().into_bytes();
    // With another `ETag`.
    issuer.answer_status_list(Behavior::Tagged(body));
    for age in [8, 16, 24] {
        next_attempt(&issuer, &verifier, seconds(8)).await;
        let state = list(&verifier);
        assert_eq!((state.age, state.failures, state.last_error), (Some(seconds(age)), 0, None));
    }
    next_attempt(&issuer, &verifier, seconds(8)).await;
    assert!(list(&verifier).last_error.unwrap().0.contains("that does not confirm it"));
}

#[tokio::test]
async fn sl3_a_list_that_would_be_the_newest_for_ever_is_left_behind_when_it_expires_or_its_key_is_withdrawn() {
    for withdrawn in [false, true] {
        let issuer = Issuer::start().await.unwrap();
        let verifier = warm(&issuer).await;
        let builder = issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable();
        let token = builder.sign().unwrap();
        let stolen = issuer.kid();
        // By someone who has the key.
        let exp = issuer.clock().now().seconds() + if withdrawn { 86_400 } else { 60 };
        issuer.answer_status_list(list_with(&issuer, &json!({ "sealwright_epoch": i64::MAX, "exp": exp })));
        assert!(verifier.verify(&token).await.is_ok());

        issuer.revoke(&token).unwrap();
        issuer.answer_status_list(Behavior::Normal);
        next_attempt(&issuer, &verifier, seconds(30)).await;
        assert!(list(&verifier).last_error.unwrap().0.contains("older than the list that was seen before"));
        assert!(verifier.verify_cached(&token).is_ok());
        if withdrawn {
            issuer.rotate().unwrap();
            issuer.withdraw(&stolen);
        }
        let token = builder.clone().header("kid", issuer.kid()).sign().unwrap();
        // Beyond the `exp` and the leeway of 30 s.
        issuer.clock().advance(seconds(if withdrawn { 8 } else { 90 }));
        eventually(|| verifier.verify_cached(&token).is_err_and(|error| error == Error::Revoked)).await;
        eventually(|| list(&verifier).last_error.is_none()).await;
    }
}

#[tokio::test]
async fn sl3_an_answer_that_was_long_in_a_cache_does_not_cause_a_request_every_second() {
    let issuer = Issuer::start().await.unwrap();
    let token = issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap();
    let body = issuer.status_list().unwrap().into_bytes();
    issuer.answer_status_list(Behavior::Cached { body, age: 100_000 });
    let verifier = issuer.verifier(AUDIENCE).revocation_max_stale(Duration::MAX).build().unwrap();
    assert!(verifier.verify(&token).await.is_ok() && list(&verifier).is_stale);
    issuer.clock().advance(seconds(5));
    eventually(|| issuer.clock().sleepers() == ["between fetches", "between fetches"]).await;
    assert_eq!(issuer.status_list_fetches(), 1, "not before half the ttl");
    next_attempt(&issuer, &verifier, seconds(1)).await;
    assert_eq!(issuer.last_status_list_request("cache-control").as_deref(), Some("no-cache"));
}

#[tokio::test]
async fn sl3_a_list_that_expires_is_fetched_in_full() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    let token = issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap();
    assert!(verifier.verify(&token).await.is_ok());
    next_attempt(&issuer, &verifier, seconds(8)).await;
    assert!(issuer.last_status_list_request("if-none-match").is_some());
    // A 304 would confirm a list that has expired.
    next_attempt(&issuer, &verifier, seconds(3590)).await;
    assert_eq!(issuer.last_status_list_request("if-none-match"), None);
    assert_eq!((list(&verifier).failures, list(&verifier).age), (0, Some(Duration::ZERO)));
}

#[tokio::test]
async fn sl3_a_list_elsewhere_or_a_position_that_does_not_exist_refuses_the_token_without_a_request() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).revocation(Revocation::Lenient).build().unwrap();
    verifier.ready().await.unwrap();
    let other = Issuer::start().await.unwrap();
    let (uri, base) = (issuer.status_list_uri(), issuer.url());
    let reference = |idx: Value, uri: Value| json!({ "status_list": { "idx": idx, "uri": uri } });
    let claims = [
        json!(null),
        json!("x"),
        json!([1]),
        json!(7),
        json!({ "status_list": null }),
        json!({ "status_list": [] }),
        json!({ "status_list": {} }),
        json!({ "status_list": { "idx": 0 } }),
        json!({ "status_list": { "uri": uri } }),
        reference(json!(-1), json!(uri)),
        reference(json!("0"), json!(uri)),
        reference(json!(0.5), json!(uri)),
        reference(json!(0), json!(["x"])),
        reference(json!(0), json!(other.status_list_uri())),
        reference(json!(0), json!(format!("{uri}?x"))),
        reference(json!(0), json!(format!("{uri}#x"))),
        reference(json!(0), json!(format!("{base}/../x"))),
        reference(json!(0), json!(format!("{base}/%2e%2e/x"))),
        reference(json!(0), json!(format!("{base}.evil.example/x"))),
        reference(json!(0), json!(base.replace("http://", "http://a:b@"))),
        reference(json!(0), json!(base)),
        reference(json!(0), json!("file:///etc/passwd")),
        reference(json!(0), json!(format!("{base}/{}", "x".repeat(512)))),
    ];
    for status in claims {
        let token = issuer.token(AUDIENCE).claim("status", status.clone()).sign().unwrap();
        let refused = verifier.verify(&token).await.expect_err(&status.to_string());
        assert_eq!((refused.code(), refused.status(), refused.retry_after()), ("bad_status", 401, None), "{status}");
    }
    let lists = verifier.status().issuers.remove(0).status_lists;
    assert!(lists.is_empty() && issuer.status_list_fetches() + issuer.other_requests() + other.status_list_fetches() == 0, "{lists:?}");

    let good = issuer.token(AUDIENCE).revocable().sign().unwrap();
    assert!(verifier.verify(&good).await.is_ok());
    for idx in [json!(1024), json!(1 << 30), json!(u64::MAX)] {
        let token = issuer.token(AUDIENCE).claim("status", reference(idx.clone(), json!(uri))).sign().unwrap();
        let refused = verifier.verify(&token).await.unwrap_err();
        assert_eq!(refused.to_string(), "it cannot be looked up whether the token was revoked: its position is not in its status list");
    }
    // Only a token whose every other check has passed leads to a request.
    let elsewhere = format!("{base}/elsewhere");
    for token in [
        issuer.token("https://x.example").claim("status", reference(json!(0), json!(elsewhere))).sign().unwrap(),
        other
            .token(AUDIENCE)
            .claim("iss", base)
            .header("kid", issuer.kid())
            .claim("status", reference(json!(0), json!(elsewhere)))
            .sign()
            .unwrap(),
    ] {
        assert!(verifier.verify(&token).await.is_err());
    }
    assert_eq!((issuer.other_requests(), issuer.status_list_fetches()), (0, 1));

    // A duplicate member makes the claims ambiguous, as everywhere.
    let twice = issuer.token(AUDIENCE).claim("status", reference(json!(0), json!(uri)));
    let claims = claims_text(&twice.sign().unwrap()).replace("\"idx\":0", "\"idx\":0,\"idx\":0");
    let header = json!({ "alg": "RS256", "kid": issuer.kid(), "typ": "at+jwt" }).to_string();
    assert_eq!(verifier.verify(&issuer.sign(header, claims).unwrap()).await.unwrap_err().code(), "malformed");
}
