//! The connections on which keys and status lists are fetched.

use sealwright::verifier::{
    Verifier,
    testing::{Behavior, Issuer},
};

use crate::{
    revocation::{list, next_attempt},
    support::{AUDIENCE, eventually, list_with, seconds, warm},
};

/// A verifier that has fetched the status list.
async fn with_list(issuer: &Issuer) -> Verifier {
    let verifier = warm(issuer).await;
    assert!(verifier.verify(&issuer.token(AUDIENCE).lifetime(seconds(86_400)).revocable().sign().unwrap()).await.is_ok());
    verifier
}

/// Lets some attempts pass.
async fn attempts(issuer: &Issuer, verifier: &Verifier, count: u32) {
    for _ in 0..count {
        next_attempt(issuer, verifier, seconds(8)).await;
        // Keys are fetched at the same time.
        eventually(|| issuer.clock().sleepers() == ["between fetches", "between fetches"]).await;
    }
}

/// How many connections were opened, and how many requests sent, since the last call.
fn since(issuer: &Issuer, last: &mut (u64, u64)) -> (u64, u64) {
    let requests = issuer.metadata_fetches() + issuer.key_fetches() + issuer.status_list_fetches();
    let before = std::mem::replace(last, (issuer.connections(), requests));
    (last.0 - before.0, last.1 - before.1)
}

#[tokio::test]
async fn keys_and_lists_are_fetched_over_connections_that_are_kept() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = with_list(&issuer).await;
    attempts(&issuer, &verifier, 1).await;
    let mut last = (0, 0);
    since(&issuer, &mut last);
    attempts(&issuer, &verifier, 20).await;
    let (connections, requests) = since(&issuer, &mut last);
    // A connection that is not free yet when the next request is sent is one more.
    assert!(requests >= 40 && connections < 10, "{connections} connections for {requests} requests");
}

#[tokio::test]
async fn sl3_a_verifier_does_not_stay_with_a_node_that_confirms_nothing_or_fails() {
    let issuer = Issuer::start().await.unwrap();
    let with_tag = |answer| match answer {
        Behavior::Body(body) => Behavior::Tagged(body),
        other => other,
    };
    let blind = with_tag(list_with(&issuer, &serde_json::json!({})));
    for (first, answer) in [
        // As a node that has lost its database: the list as it was, where 304 is expected.
        (blind.clone(), blind),
        (Behavior::Normal, Behavior::Status(502)),
        (Behavior::Normal, Behavior::Down),
    ] {
        issuer.answer_status_list(first);
        let verifier = with_list(&issuer).await;
        issuer.answer_status_list(answer.clone());
        attempts(&issuer, &verifier, 1).await;
        assert!(list(&verifier).last_error.is_some(), "{answer:?}");
        let mut last = (0, 0);
        since(&issuer, &mut last);
        attempts(&issuer, &verifier, 3).await;
        // Behind a load balancer, each may lead to another node.
        let (connections, requests) = since(&issuer, &mut last);
        assert!(requests >= 3 && connections >= requests, "{answer:?}: {connections} connections for {requests} requests");

        // They are kept again some time after the last failure.
        issuer.answer_status_list(Behavior::Normal);
        attempts(&issuer, &verifier, 3).await;
        since(&issuer, &mut last);
        attempts(&issuer, &verifier, 10).await;
        let (connections, requests) = since(&issuer, &mut last);
        assert!(requests >= 20 && connections < 8, "{answer:?}: {connections} connections for {requests} requests");
    }
}

#[tokio::test]
async fn a_list_that_is_gone_does_not_keep_the_connections_of_all_others_apart() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = with_list(&issuer).await;
    issuer.answer_status_list(Behavior::Status(404));
    // A minute until it is certain, and until the connections are kept again.
    attempts(&issuer, &verifier, 11).await;
    assert!(list(&verifier).is_gone);
    let mut last = (0, 0);
    since(&issuer, &mut last);
    attempts(&issuer, &verifier, 10).await;
    let (connections, requests) = since(&issuer, &mut last);
    assert!(requests >= 20 && connections < 8, "{connections} connections for {requests} requests");
}

#[tokio::test]
async fn every_five_minutes_new_connections_are_opened_because_the_issuer_may_have_moved() {
    let issuer = Issuer::start().await.unwrap();
    let verifier = with_list(&issuer).await;
    let mut last = (0, 0);
    attempts(&issuer, &verifier, 37).await;
    since(&issuer, &mut last);
    // After 304 s.
    attempts(&issuer, &verifier, 1).await;
    let (connections, requests) = since(&issuer, &mut last);
    assert!(requests >= 2 && connections >= requests, "{connections} connections for {requests} requests");
    attempts(&issuer, &verifier, 3).await;
    since(&issuer, &mut last);
    attempts(&issuer, &verifier, 10).await;
    let (connections, requests) = since(&issuer, &mut last);
    assert!(requests >= 20 && connections < 8, "{connections} connections for {requests} requests");
}
