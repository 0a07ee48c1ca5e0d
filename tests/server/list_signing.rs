//! When status lists are signed: after a change, before they expire, and never more often than needed.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    revocation::join_all,
    support::{Backend, List, TestApp, header_of, kids, on_sqlite, position},
};

on_sqlite![
    sl1_a_list_is_signed_at_most_once_a_second_while_fifty_tokens_a_second_are_revoked,
    a_list_is_signed_again_every_few_minutes_and_when_the_key_changes,
    a_caller_that_has_another_list_gets_one_with_a_current_time,
    sl1_a_node_that_cannot_sign_a_change_does_not_say_that_nothing_has_changed,
    sl5_a_list_that_no_one_requests_is_not_signed,
    many_first_requests_for_a_list_share_one_signature,
];

const SECOND: Duration = Duration::from_secs(1);

async fn sl1_a_list_is_signed_at_most_once_a_second_while_fifty_tokens_a_second_are_revoked(backend: Backend) {
    const SECONDS: u64 = 4;
    let (app, client) = TestApp::for_users(backend).await;
    let (uri, _) = position(&app.sign_in(&client).await.access_token());
    app.publish().await;
    let mut etags = BTreeSet::from([List::get(&app, &uri).await.etag().to_owned()]);
    let signed = app.meters.status_lists_signed.get();
    for position in 0..50 * SECONDS {
        app.set_position(&uri, position).await;
        app.pass(SECOND / 50).await;
        etags.insert(app.get(app.list_path(&uri)).await.header("etag").unwrap().to_owned());
    }
    let signed = app.meters.status_lists_signed.get() - signed;
    assert!((SECONDS - 1..=SECONDS).contains(&signed), "{signed}");
    assert_eq!(etags.len() as u64, 1 + signed);
    app.publish().await;
    assert_eq!(List::get(&app, &uri).await.set, (0..50 * SECONDS).collect());
    let metrics = app.metrics().await;
    for line in ["sealwright_positions_revoked 200", "sealwright_status_lists_held 1", "sealwright_status_lists 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

async fn a_list_is_signed_again_every_few_minutes_and_when_the_key_changes(backend: Backend) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let (app, client) = TestApp::for_users(backend).await;
    let (uri, _) = position(&app.sign_in(&client).await.access_token());
    app.publish().await;
    let mut signed = BTreeSet::new();
    for _ in 0..12 {
        let list = List::get(&app, &uri).await;
        assert!(list.claims["exp"].as_i64().unwrap() > app.now().seconds() + 3000, "{}", list.claims);
        signed.insert(list.answer.body);
        app.pass(200 * SECOND).await;
        app.settle().await;
    }
    assert!((5..=7).contains(&signed.len()), "about every 400 seconds: {}", signed.len());

    // The next key is published, and signs a day later.
    let first = kids(&app).await;
    app.pass(29 * DAY).await;
    for _ in 0..2 {
        app.pass(5 * SECOND).await;
        app.settle().await;
    }
    assert_eq!(kids(&app).await.len(), 2);
    let kid = |list: &List| header_of(&list.answer.body)["kid"].as_str().unwrap().to_owned();
    // The list is gone unless its tokens last: another one.
    let (uri, _) = position(&app.sign_in(&client).await.access_token());
    app.pass(DAY - 4 * 3600 * SECOND - 60 * SECOND).await;
    app.settle().await;
    let mut before = List::get(&app, &uri).await;
    assert_eq!(kid(&before), first[0]);
    for _ in 0..40 {
        app.pass(600 * SECOND).await;
        app.settle().await;
        let list = List::get(&app, &uri).await;
        if kid(&list) != kid(&before) {
            assert_ne!(list.etag(), before.etag(), "a verifier that no longer trusts the old key must get it");
            return;
        }
        before = list;
    }
    panic!("it is still signed with the old key");
}

async fn a_caller_that_has_another_list_gets_one_with_a_current_time(backend: Backend) {
    const ANOTHER: &str = "W/\"another\"";
    let (app, client) = TestApp::for_users(backend).await;
    let (uri, _) = position(&app.sign_in(&client).await.access_token());
    app.publish().await;
    let first = List::get(&app, &uri).await;
    let path = app.list_path(&uri);
    for _ in 0..3 {
        app.publish().await;
        assert_eq!(app.get_again(path, ANOTHER).await.body, first.answer.body, "it has just been signed");
    }
    app.pass(30 * SECOND).await;
    app.settle().await;
    assert_eq!(app.get(path).await.body, first.answer.body);
    assert_eq!(app.get_again(path, first.etag()).await.status, 304);
    assert_eq!(app.meters.status_lists_signed.get(), 1);

    let mut answers = join_all((0..10).map(|_| app.get_again(path, ANOTHER))).await;
    assert_eq!(app.meters.status_lists_signed.get(), 2, "once for all of them");
    let renewed = List::read(&app, answers.remove(0)).await;
    assert!(answers.iter().all(|answer| answer.body == renewed.answer.body));
    assert_eq!((renewed.iat(), renewed.etag()), (app.now().seconds(), first.etag()));

    // A node that cannot read its database has nothing to add.
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.pass(30 * SECOND).await;
    let blind = app.get_again(path, ANOTHER).await;
    assert_eq!((blind.status, &blind.body, blind.header("age")), (200, &renewed.answer.body, Some("30")));
}

async fn sl1_a_node_that_cannot_sign_a_change_does_not_say_that_nothing_has_changed(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let (uri, position) = position(&app.sign_in(&client).await.access_token());
    app.publish().await;
    let list = List::get(&app, &uri).await;
    let path = app.list_path(&uri);
    // No key signs for some time.
    app.database.execute(&format!("UPDATE signing_keys SET activates_at = {}", app.now().seconds() + 100)).await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'keys'").await;
    app.set_position(&uri, position).await;
    app.settle().await;
    assert_eq!(app.get_again(path, list.etag()).await.status, 304, "it may still be signed in time");
    app.pass(3 * SECOND).await;
    let outdated = app.get_again(path, list.etag()).await;
    assert_eq!((outdated.status, &outdated.body), (200, &list.answer.body));
    assert_eq!(outdated.header("age"), Some("3"), "for so long it has not shown all revocations");

    app.pass(100 * SECOND).await;
    app.publish().await;
    let signed = List::get(&app, &uri).await;
    assert_eq!((signed.set.clone(), signed.answer.header("age")), (BTreeSet::from([position]), None));
    assert_eq!(app.get_again(path, signed.etag()).await.status, 304);
}

async fn sl5_a_list_that_no_one_requests_is_not_signed(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let (uri, position) = position(&app.sign_in(&client).await.access_token());
    app.publish().await;
    assert_eq!(app.meters.status_lists_signed.get(), 0);
    List::get(&app, &uri).await;
    app.pass(3601 * SECOND).await;
    let signed = app.meters.status_lists_signed.get();
    app.set_position(&uri, position).await;
    app.publish().await;
    assert_eq!(app.meters.status_lists_signed.get(), signed);
    assert_eq!(List::get(&app, &uri).await.set, BTreeSet::from([position]));
}

async fn many_first_requests_for_a_list_share_one_signature(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let (uri, _) = position(&app.sign_in(&client).await.access_token());
    app.publish().await;
    let path = app.list_path(&uri);
    let answers = join_all((0..30).map(|_| app.get(path))).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(app.meters.status_lists_signed.get(), 1);
}
