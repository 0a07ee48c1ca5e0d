//! Status lists that are late, old or out of reach: how long tokens are accepted without the newest one.

use sealwright::verifier::{
    Error, Revocation, Verifier,
    testing::{Behavior, Issuer, TokenBuilder},
};
use serde_json::json;

use crate::{
    revocation::{list, next_attempt},
    support::{AUDIENCE, eventually, seconds, warm},
};

fn revocable(issuer: &Issuer) -> TokenBuilder<'_> {
    issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable()
}

fn lists(verifier: &Verifier) -> usize {
    verifier.status().issuers[0].status_lists.len()
}

#[tokio::test]
async fn sl4_by_default_a_list_is_used_for_an_hour_however_long_the_keys_may_be() {
    let issuer = Issuer::start().await.unwrap();
    for (keys, used_for) in [(600, 600), (3600, 3600), (86_400, 3600)] {
        issuer.come_back();
        let verifier = issuer.verifier(AUDIENCE).max_stale(seconds(keys)).build().unwrap();
        let token = revocable(&issuer).sign().unwrap();
        assert!(verifier.verify(&token).await.is_ok());
        issuer.answer_status_list(Behavior::Down);
        for (passed, accepted) in [(used_for - 1, true), (1, false)] {
            issuer.clock().advance(seconds(passed));
            eventually(|| list(&verifier).failures > 0).await;
            assert_eq!(verifier.verify(&token).await.is_ok(), accepted, "{keys} s");
        }
    }
}

#[tokio::test]
async fn sl4_a_wall_clock_that_is_set_back_makes_no_list_fresh() {
    let issuer = Issuer::start().await.unwrap();
    let strict = issuer.verifier(AUDIENCE).revocation(Revocation::Strict).build().unwrap();
    assert!(strict.verify(&revocable(&issuer).sign().unwrap()).await.is_ok());
    issuer.answer_status_list(Behavior::Down);
    issuer.clock().set_back(seconds(3600));
    let token = revocable(&issuer).sign().unwrap();
    issuer.clock().advance(seconds(29));
    eventually(|| list(&strict).failures > 0).await;
    assert!(strict.verify(&token).await.is_ok());
    assert_eq!(list(&strict).age, Some(seconds(29)));
    issuer.clock().advance(seconds(1));
    assert_eq!(strict.verify(&token).await.unwrap_err().code(), "status_unavailable");
}

#[test]
fn sl4_until_an_attempt_to_fetch_a_list_has_ended_no_token_is_accepted() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let home = runtime();
    let issuer = home.block_on(Issuer::start()).unwrap();
    let verifier = home.block_on(warm(&issuer));
    issuer.answer_status_list(Behavior::Silent);
    let token = revocable(&issuer).sign().unwrap();
    let refused_for = |why: &str| {
        let refused = verifier.verify_cached(&token).unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(refused.code() == "status_unavailable" && cause.contains(why), "{refused:?}");
    };
    // Outside a runtime nothing is fetched, however long that takes.
    refused_for("no attempt to fetch it has ended yet");
    issuer.clock().advance(seconds(60));
    refused_for("no attempt to fetch it has ended yet");

    // An attempt that ends with its runtime does not count.
    let second = runtime();
    second.block_on(async {
        refused_for("no attempt to fetch it has ended yet");
        eventually(|| issuer.status_list_fetches() == 1).await;
    });
    drop(second);
    issuer.clock().advance(seconds(60));
    refused_for("the runtime of the request ended");
    issuer.come_back();
    assert!(home.block_on(verifier.verify(&token)).is_ok());
}

#[tokio::test]
async fn sl3_a_position_beyond_the_list_waits_for_one_fetch_because_the_list_may_have_grown() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = warm(&issuer).await;
    assert!(verifier.verify(&revocable(&issuer).sign().unwrap()).await.is_ok());
    // The list has room for 1,024 tokens before it grows.
    for _ in 1..1024 {
        drop(revocable(&issuer));
    }
    let grown = revocable(&issuer).sign().unwrap();
    assert_eq!(verifier.verify(&grown).await.unwrap_err().code(), "bad_status", "the list was fetched just now");
    assert_eq!(issuer.status_list_fetches(), 1);
    issuer.clock().advance(seconds(2));
    assert!(verifier.verify(&grown).await.is_ok());
    assert_eq!(issuer.status_list_fetches(), 2);

    let far = json!({ "status_list": { "idx": 1 << 30, "uri": issuer.status_list_uri() } });
    let far = issuer.token(AUDIENCE).claim("status", far).sign().unwrap();
    issuer.clock().advance(seconds(2));
    for _ in 0..3 {
        assert_eq!(verifier.verify(&far).await.unwrap_err().code(), "bad_status");
    }
    assert_eq!(issuer.status_list_fetches(), 3);
    // It is unknown whether the list has grown.
    issuer.answer_status_list(Behavior::Down);
    issuer.clock().advance(seconds(2));
    assert_eq!(verifier.verify(&far).await.unwrap_err().code(), "status_unavailable");
}

#[tokio::test]
async fn in_an_outage_tokens_cause_no_more_attempts_than_there_are_anyway() {
    let issuer = Issuer::start().await.unwrap();
    let strict = issuer.verifier(AUDIENCE).revocation(Revocation::Strict).build().unwrap();
    let token = revocable(&issuer).sign().unwrap();
    issuer.answer_status_list(Behavior::Status(503));
    for second in 0..60 {
        for _ in 0..20 {
            assert_eq!(strict.verify(&token).await.unwrap_err().code(), "status_unavailable");
        }
        eventually(|| !list(&strict).fetching).await;
        // Pauses of 1, 1 to 2, 2 to 4, then 4 to 8 s.
        assert!(issuer.status_list_fetches() <= 4 + second / 4, "{} after {second} s", issuer.status_list_fetches());
        issuer.clock().advance(seconds(1));
    }
}

#[tokio::test]
async fn an_unused_list_is_forgotten_also_in_an_outage_but_not_while_tokens_are_accepted_by_it() {
    let issuer = Issuer::start().await.unwrap();
    let usual = issuer.verifier(AUDIENCE).build().unwrap();
    let long = issuer.verifier(AUDIENCE).revocation_max_stale(seconds(7200)).build().unwrap();
    for verifier in [&usual, &long] {
        assert!(verifier.verify(&revocable(&issuer).sign().unwrap()).await.is_ok());
    }
    issuer.answer_status_list(Behavior::Silent);
    issuer.clock().advance(seconds(3600));
    eventually(|| list(&usual).fetching && list(&long).fetching).await;
    issuer.clock().advance(seconds(5));
    eventually(|| lists(&usual) == 0 && list(&long).failures == 1).await;
    issuer.clock().advance(seconds(3600));
    eventually(|| list(&long).fetching).await;
    issuer.clock().advance(seconds(5));
    eventually(|| lists(&long) == 0).await;
    let status = usual.status().issuers.remove(0);
    assert_eq!((status.status_list_fetches, status.status_list_failures), (2, 1));
}

#[tokio::test]
async fn sl3_a_list_that_the_issuer_does_not_have_refuses_its_tokens_after_a_minute() {
    for status in [404, 410] {
        let issuer = Issuer::start().await.unwrap();
        let (verifier, cold) = (warm(&issuer).await, warm(&issuer).await);
        let (token, revoked) = (revocable(&issuer).sign().unwrap(), revocable(&issuer).sign().unwrap());
        issuer.revoke(&revoked).unwrap();
        assert!(verifier.verify(&token).await.is_ok());
        // The answer is not signed, so for a minute it neither refuses a token nor accepts one.
        issuer.answer_status_list(Behavior::Status(status));
        next_attempt(&issuer, &verifier, seconds(8)).await;
        for verifier in [&verifier, &cold] {
            let refused = verifier.verify(&token).await.unwrap_err();
            assert_eq!((refused.code(), refused.status()), ("status_unavailable", 503));
            assert!(format!("{refused:?}").contains(&format!("it answers {status}")) && !list(verifier).is_gone, "{refused:?}");
        }
        assert_eq!(verifier.verify(&revoked).await.unwrap_err(), Error::Revoked, "of this there is no doubt");
        next_attempt(&issuer, &verifier, seconds(59)).await;
        assert_eq!(verifier.verify_cached(&token).unwrap_err().code(), "status_unavailable");
        next_attempt(&issuer, &verifier, seconds(8)).await;
        eventually(|| list(&cold).is_gone).await;
        for verifier in [&verifier, &cold] {
            let refused = verifier.verify(&token).await.unwrap_err();
            assert_eq!((refused.code(), refused.status()), ("bad_status", 401));
            assert!(refused.to_string().ends_with("its status list does not exist any more") && list(verifier).is_gone);
        }

        // Any other outcome ends that, and the minute begins again.
        issuer.answer_status_list(Behavior::Status(503));
        next_attempt(&issuer, &verifier, seconds(8)).await;
        assert!(verifier.verify_cached(&token).is_ok() && !list(&verifier).is_gone, "by the list that was seen before");
        issuer.answer_status_list(Behavior::Status(status));
        next_attempt(&issuer, &verifier, seconds(8)).await;
        assert_eq!(verifier.verify_cached(&token).unwrap_err().code(), "status_unavailable");
        issuer.answer_status_list(Behavior::Normal);
        next_attempt(&issuer, &verifier, seconds(8)).await;
        assert!(verifier.verify_cached(&token).is_ok());
    }
}
