//! Status lists that are late, old or out of reach: how long tokens are accepted without the newest one.

use std::time::Duration;

use sealwright::{
    clock::Clock,
    verifier::{
        Error, Revocation, Verifier,
        testing::{Behavior, Issuer, TokenBuilder},
    },
};
use serde_json::json;

use crate::{
    revocation::{list, next_attempt},
    support::{AUDIENCE, eventually, list_with, seconds, warm},
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
async fn an_unused_list_is_not_forgotten_while_tokens_are_accepted_by_it() {
    let issuer = Issuer::start().await.unwrap();
    let usual = issuer.verifier(AUDIENCE).build().unwrap();
    let long = issuer.verifier(AUDIENCE).revocation_max_stale(seconds(7200)).build().unwrap();
    for verifier in [&usual, &long] {
        assert!(verifier.verify(&revocable(&issuer).sign().unwrap()).await.is_ok());
    }
    issuer.clock().advance(seconds(3600));
    eventually(|| lists(&usual) == 0 && list(&long).fetches == 2 && !list(&long).fetching).await;
    issuer.clock().advance(seconds(3600));
    eventually(|| lists(&long) == 0).await;
}

#[tokio::test]
async fn sl4_in_an_outage_an_unused_list_keeps_its_revocations_and_the_time_for_which_it_is_used() {
    let issuer = Issuer::start().await.unwrap();
    let (seen, never_fetched) = (warm(&issuer).await, warm(&issuer).await);
    let (token, revoked) = (revocable(&issuer).sign().unwrap(), revocable(&issuer).sign().unwrap());
    issuer.revoke(&revoked).unwrap();
    assert!(seen.verify(&token).await.is_ok());
    issuer.answer_status_list(Behavior::Down);
    assert!(never_fetched.verify(&token).await.is_ok());
    next_attempt(&issuer, &seen, seconds(3700)).await;
    eventually(|| list(&never_fetched).failures > 1 && !list(&never_fetched).fetching).await;

    assert_eq!(seen.verify(&revoked).await.unwrap_err(), Error::Revoked);
    for verifier in [&seen, &never_fetched] {
        assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "status_unavailable");
    }
    issuer.come_back();
    issuer.clock().advance(seconds(3600));
    eventually(|| lists(&seen) == 0 && lists(&never_fetched) == 0).await;
}

#[tokio::test]
async fn a_list_that_is_gone_is_not_fetched_for_ever() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).revocation_max_stale(Duration::MAX).build().unwrap();
    assert!(verifier.verify(&revocable(&issuer).sign().unwrap()).await.is_ok());
    issuer.answer_status_list(Behavior::Status(404));
    next_attempt(&issuer, &verifier, seconds(8)).await;
    next_attempt(&issuer, &verifier, seconds(60)).await;
    assert!(list(&verifier).is_gone, "a token that names it is refused without a fetch");
    // No token that named it is valid by then.
    issuer.clock().advance(seconds(86_400));
    eventually(|| lists(&verifier) == 0).await;
}

#[tokio::test]
async fn sl4_a_list_that_is_gone_is_not_forgotten_in_an_outage_nor_sooner_than_another() {
    let issuer = Issuer::start().await.unwrap();
    let lenient = warm(&issuer).await;
    let token = revocable(&issuer).sign().unwrap();
    assert!(lenient.verify(&token).await.is_ok());
    issuer.answer_status_list(Behavior::Status(404));
    for passed in [8, 60, 3400] {
        next_attempt(&issuer, &lenient, seconds(passed)).await;
    }
    issuer.answer_status_list(Behavior::Status(503));
    for passed in [100, 7200] {
        next_attempt(&issuer, &lenient, seconds(passed)).await;
        assert!(list(&lenient).is_gone, "after {passed} s");
    }
    assert_eq!(lenient.verify(&token).await.unwrap_err().code(), "bad_status");
}

#[tokio::test]
async fn sl3_a_list_that_the_issuer_does_not_have_refuses_its_tokens_after_a_minute() {
    for status in [404, 410] {
        let issuer = Issuer::start().await.unwrap();
        let (verifier, cold) = (warm(&issuer).await, warm(&issuer).await);
        let (token, revoked) = (revocable(&issuer).sign().unwrap(), revocable(&issuer).sign().unwrap());
        issuer.revoke(&revoked).unwrap();
        assert!(verifier.verify(&token).await.is_ok());
        // The answer is not signed: it does not stop an API that holds a fresh list.
        issuer.answer_status_list(Behavior::Status(status));
        next_attempt(&issuer, &verifier, seconds(8)).await;
        assert!(verifier.verify(&token).await.is_ok() && list(&verifier).last_error.is_some());
        assert_eq!(verifier.verify(&revoked).await.unwrap_err(), Error::Revoked);
        assert_eq!(cold.verify(&token).await.unwrap_err().code(), "status_unavailable");
        // Without one, for a minute it neither refuses a token nor accepts one.
        next_attempt(&issuer, &verifier, seconds(22)).await;
        for verifier in [&verifier, &cold] {
            let refused = verifier.verify(&token).await.unwrap_err();
            assert_eq!((refused.code(), refused.status()), ("status_unavailable", 503));
            assert!(format!("{refused:?}").contains(&format!("it answers {status}")) && !list(verifier).is_gone, "{refused:?}");
        }
        assert_eq!(verifier.verify(&revoked).await.unwrap_err(), Error::Revoked, "of this there is no doubt");
        next_attempt(&issuer, &verifier, seconds(37)).await;
        assert_eq!(verifier.verify_cached(&token).unwrap_err().code(), "status_unavailable");
        next_attempt(&issuer, &verifier, seconds(8)).await;
        eventually(|| list(&cold).is_gone).await;
        for verifier in [&verifier, &cold] {
            let refused = verifier.verify(&token).await.unwrap_err();
            assert_eq!((refused.code(), refused.status()), ("bad_status", 401));
            assert!(refused.to_string().ends_with("its status list does not exist any more") && list(verifier).is_gone);
        }

        // A failed attempt does not bring it back. The list itself does.
        for other in [Behavior::Status(502), Behavior::Down] {
            issuer.answer_status_list(other);
            next_attempt(&issuer, &verifier, seconds(8)).await;
            for verifier in [&verifier, &cold] {
                eventually(|| !list(verifier).fetching).await;
                assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "bad_status");
            }
        }
        issuer.answer_status_list(Behavior::Normal);
        next_attempt(&issuer, &verifier, seconds(8)).await;
        eventually(|| !list(&cold).is_gone).await;
        for verifier in [&verifier, &cold] {
            assert!(verifier.verify_cached(&token).is_ok() && !list(verifier).is_gone);
        }
    }
}

#[tokio::test]
async fn sl4_a_strict_verifier_uses_no_list_beyond_its_exp_and_fetches_it_again_before() {
    let issuer = Issuer::start().await.unwrap();
    let lenient = warm(&issuer).await;
    let strict = issuer.verifier(AUDIENCE).revocation(Revocation::Strict).build().unwrap();
    let token = revocable(&issuer).sign().unwrap();
    // By its `ttl`, it would be fetched again after 200 s, and not be stale before 900 s.
    let exp = issuer.clock().now().seconds() + 60;
    issuer.answer_status_list(list_with(&issuer, &json!({ "exp": exp, "ttl": 300 })));
    for verifier in [&lenient, &strict] {
        assert!(verifier.verify(&token).await.is_ok());
    }
    issuer.answer_status_list(Behavior::Down);
    // The leeway is 30 s.
    issuer.clock().advance(seconds(89));
    for verifier in [&lenient, &strict] {
        eventually(|| list(verifier).failures == 1).await;
        assert!(verifier.verify(&token).await.is_ok() && !list(verifier).is_stale);
    }
    issuer.clock().advance(seconds(1));
    assert_eq!(strict.verify(&token).await.unwrap_err().code(), "status_unavailable");
    assert!(lenient.verify(&token).await.is_ok() && list(&lenient).is_stale);
}
