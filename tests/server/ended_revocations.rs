//! How revocations that have ended are dropped: neither early nor late, by clocks that may be wrong as well.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    known_revocations::{SETTINGS, known, places, revoke, start, tokens},
    support::{Backend, Credential, List, TestApp, TestDatabase, on_sqlite, position},
};

on_sqlite![
    a_node_that_starts_shows_no_revocation_that_has_ended_and_its_position_rests,
    hd11_a_node_whose_clock_was_set_back_drops_ended_revocations_and_deletes_them,
    hd11_a_node_whose_clock_is_behind_drops_ended_revocations_by_its_own_time,
    hd11_on_a_node_whose_clock_was_set_forward_revocations_end_neither_early_nor_late,
    hd11_after_an_outage_of_all_nodes_revocations_end_neither_early_nor_an_hour_late,
    hd11_a_restart_does_not_end_the_doubt_about_a_clock_that_was_ahead_at_the_first_start,
    hd11_a_restart_does_not_end_the_doubt_about_a_clock_that_was_set_forward,
];

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn a_node_that_starts_shows_no_revocation_that_has_ended_and_its_position_rests(backend: Backend) {
    let settings = [SETTINGS[0], ("status_span", "16")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &settings).await.with_orders();
    let client = app.client("serverless");
    let revoked: [String; 7] = tokens(&app, &client).await;
    for token in &revoked {
        revoke(&app, &client, token).await;
    }
    app.settle().await;
    assert_eq!(known(&app).await, 7);
    // Rows are kept for ten minutes after that.
    let now = app.now();
    app.database.execute(&format!("UPDATE revocations SET expires_at = {}", now.seconds() - 181)).await;
    let app = TestApp::start_at(app.stop().await, &settings, now).await;
    assert_eq!(known(&app).await, 0, "without a look");
    assert_eq!(List::get(&app, &position(&revoked[0]).0).await.set, BTreeSet::new());
    let revoked = places(&revoked.each_ref());
    let fresh: [String; 18] = tokens(&app, &client).await;
    assert!(places(&fresh.each_ref()).is_disjoint(&revoked), "a verifier may still have a list in which they are set");
    pass(&[&app], 5).await;
    let fresh: [String; 16] = tokens(&app, &client).await;
    assert!(places(&fresh.each_ref()).is_superset(&revoked));
}

/// Lets minutes pass on each node.
async fn pass(nodes: &[&TestApp], minutes: u32) {
    for _ in 0..minutes {
        for node in nodes {
            node.pass(MINUTE).await;
        }
    }
}

/// Revokes a token. The revocation ends after seventeen minutes, and is dropped at the twentieth.
async fn revoke_one(app: &TestApp, client: &Credential) {
    let [token] = tokens(app, client).await;
    revoke(app, client, &token).await;
    pass(&[app], 1).await;
    assert_eq!(known(app).await, 1);
}

async fn hd11_a_node_whose_clock_was_set_back_drops_ended_revocations_and_deletes_them(backend: Backend) {
    let (app, client) = start(backend).await;
    revoke_one(&app, &client).await;
    app.clock.set_back(5 * MINUTE);
    pass(&[&app], 22).await;
    assert_eq!(known(&app).await, 1, "late, but not early");
    pass(&[&app], 4).await;
    assert_eq!(known(&app).await, 0);
    pass(&[&app], 10).await;
    assert_eq!(app.database.texts("SELECT list_id FROM revocations").await, [""; 0]);
}

async fn hd11_a_node_whose_clock_is_behind_drops_ended_revocations_by_its_own_time(backend: Backend) {
    let (app, client) = start(backend).await;
    pass(&[&app], 10).await;
    let behind = app.second_node_behind(5 * MINUTE).await;
    revoke_one(&app, &client).await;
    pass(&[&behind], 1).await;
    pass(&[&app, &behind], 20).await;
    assert_eq!((known(&app).await, known(&behind).await), (0, 1));
    pass(&[&app, &behind], 6).await;
    assert_eq!(known(&behind).await, 0);
}

async fn hd11_on_a_node_whose_clock_was_set_forward_revocations_end_neither_early_nor_late(backend: Backend) {
    let (app, client) = start(backend).await;
    revoke_one(&app, &client).await;
    app.clock.set_forward(DAY);
    pass(&[&app], 15).await;
    assert_eq!(known(&app).await, 1);
    pass(&[&app], 6).await;
    assert_eq!(known(&app).await, 0);
}

async fn hd11_after_an_outage_of_all_nodes_revocations_end_neither_early_nor_an_hour_late(backend: Backend) {
    let (app, client) = start(backend).await;
    revoke_one(&app, &client).await;
    let later = app.now() + 60 * MINUTE;
    // Its clock may also be ahead by so much.
    let app = TestApp::start_at(app.stop().await, &SETTINGS, later).await;
    pass(&[&app], 15).await;
    assert_eq!(known(&app).await, 1);
    pass(&[&app], 6).await;
    assert_eq!(known(&app).await, 0);
}

/// Restarts a node that has served for some minutes by a clock which is a day ahead.
async fn restart_in_doubt(app: TestApp) {
    pass(&[&app], 5).await;
    let now = app.now();
    let app = TestApp::start_at(app.stop().await, &SETTINGS, now).await;
    assert_eq!(known(&app).await, 1, "without a look");
    pass(&[&app], 10).await;
    assert_eq!(known(&app).await, 1);
    assert_eq!(app.database.texts("SELECT list_id FROM revocations").await.len(), 1);
    // At both starts, up to a minute is lost.
    pass(&[&app], 8).await;
    assert_eq!(known(&app).await, 0);
}

async fn hd11_a_restart_does_not_end_the_doubt_about_a_clock_that_was_ahead_at_the_first_start(backend: Backend) {
    let (app, client) = start(backend).await;
    revoke_one(&app, &client).await;
    let ahead = app.now() + DAY;
    restart_in_doubt(TestApp::start_at(app.stop().await, &SETTINGS, ahead).await).await;
}

async fn hd11_a_restart_does_not_end_the_doubt_about_a_clock_that_was_set_forward(backend: Backend) {
    let (app, client) = start(backend).await;
    revoke_one(&app, &client).await;
    app.clock.set_forward(DAY);
    restart_in_doubt(app).await;
}
