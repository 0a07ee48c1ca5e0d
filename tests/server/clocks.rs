//! A clock that is set back makes nothing valid again.

use std::time::Duration;

use crate::support::{Backend, TestApp, TestDatabase, lifetime, on_both_databases, on_sqlite};

on_both_databases![
    hd11_a_used_up_refresh_token_is_not_revived_when_the_clock_is_set_back,
    hd11_a_login_that_is_over_stays_over_when_the_clock_is_set_back,
    hd11_a_node_whose_clock_is_behind_repeats_nothing_and_ends_nothing,
    hd11_stale_clients_and_keys_do_not_live_longer_when_the_clock_is_set_back,
];

on_sqlite![
    hd11_a_clock_that_was_set_back_is_reported_and_stops_nothing,
    hd11_an_expired_secret_stays_expired_when_the_clock_is_set_back,
    hd11_in7_after_a_clock_was_set_forward_and_corrected_introspection_does_not_guess,
];

const HOUR: Duration = Duration::from_secs(3600);

async fn open_logins(app: &TestApp) -> usize {
    app.database.texts("SELECT id FROM logins WHERE ended_because IS NULL").await.len()
}

async fn hd11_a_used_up_refresh_token_is_not_revived_when_the_clock_is_set_back(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.pass(2 * HOUR).await;
    let first = app.sign_in(&client).await.refresh_token();
    app.refresh(&client, &first).await.granted();
    app.pass(Duration::from_secs(31)).await;
    app.clock.set_back(HOUR);
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
    assert_eq!(open_logins(&app).await, 0, "it is a replay");

    // Later logins work as before.
    let first = app.sign_in(&client).await.refresh_token();
    let second = app.refresh(&client, &first).await.refresh_token();
    app.pass(Duration::from_secs(30)).await;
    assert_eq!(app.refresh(&client, &first).await.refresh_token(), second);
    app.pass(Duration::from_secs(1)).await;
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
}

async fn hd11_a_login_that_is_over_stays_over_when_the_clock_is_set_back(backend: Backend) {
    let short = [("login_idle_lifetime", "5m")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &short).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    app.pass(2 * HOUR).await;
    let token = app.sign_in(&client).await.refresh_token();
    app.pass(Duration::from_secs(300)).await;
    app.clock.set_back(HOUR);
    app.refresh(&client, &token).await.refused(400, "invalid_grant");

    let token = app.sign_in(&client).await.refresh_token();
    app.pass(Duration::from_secs(299)).await;
    let token = app.refresh(&client, &token).await.refresh_token();
    app.pass(Duration::from_secs(300)).await;
    app.refresh(&client, &token).await.refused(400, "invalid_grant");
}

async fn hd11_a_node_whose_clock_is_behind_repeats_nothing_and_ends_nothing(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.pass(2 * HOUR).await;
    let behind = app.second_node_behind(HOUR).await;
    let first = app.sign_in(&client).await.refresh_token();
    let second = app.refresh(&client, &first).await.refresh_token();
    let unclear = behind.refresh(&client, &first).await;
    unclear.refused(503, "temporarily_unavailable");
    assert!(unclear.header("retry-after").is_some());
    assert_eq!(open_logins(&app).await, 1);
    // The current token works there, and the time in which other nodes repeat it is not shortened.
    let third = behind.refresh(&client, &second).await.refresh_token();
    assert_eq!(app.refresh(&client, &second).await.refresh_token(), third);
    app.pass(Duration::from_secs(31)).await;
    app.refresh(&client, &second).await.refused(400, "invalid_grant");
    assert_eq!(open_logins(&app).await, 0);
}

async fn hd11_a_clock_that_was_set_back_is_reported_and_stops_nothing(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.pass(2 * HOUR).await;
    let set_back = async || {
        let metrics = app.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix("sealwright_clock_set_back_seconds "));
        value.unwrap_or_else(|| panic!("{metrics}")).parse::<f64>().unwrap()
    };
    assert_eq!(set_back().await, 0.0);
    app.clock.set_back(HOUR);
    assert_eq!(set_back().await, 3600.0);
    assert_eq!(app.get("/health/ready").await.status, 200, "it goes on");
    app.clock.advance(HOUR);
    assert_eq!(set_back().await, 3600.0, "it is reported until the clock has caught up");
}

async fn hd11_an_expired_secret_stays_expired_when_the_clock_is_set_back(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.pass(2 * HOUR).await;
    let short = app.database.add_secret(&client, Some(3 * HOUR));
    app.settle().await;
    app.plain_token(&short).await.granted();
    app.pass(2 * HOUR).await;
    app.plain_token(&short).await.refused(401, "invalid_client");
    app.clock.set_back(2 * HOUR);
    app.plain_token(&short).await.refused(401, "invalid_client");
    app.plain_token(&client).await.granted();
}

async fn hd11_stale_clients_and_keys_do_not_live_longer_when_the_clock_is_set_back(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("key_publish_lead", "2h"), ("registry_stale_for", "1h")]).await.with_orders();
    let client = app.client("billing");
    app.pass(2 * HOUR).await;
    app.plain_token(&client).await.granted();
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.clock.advance(Duration::from_secs(3599));
    app.plain_token(&client).await.granted();
    app.clock.advance(Duration::from_secs(2));
    app.plain_token(&client).await.refused(503, "temporarily_unavailable");
    let max_age = async || app.get("/.well-known/jwks.json").await.header("cache-control").unwrap().to_owned();
    assert_eq!(max_age().await, "public, max-age=60");
    app.clock.set_back(HOUR);
    app.plain_token(&client).await.refused(503, "temporarily_unavailable");
    assert_eq!(max_age().await, "public, max-age=60");
    let ready = app.get("/health/ready").await;
    assert_eq!((ready.status, ready.body.contains("unreachable for too long")), (503, true), "{ready:?}");
}

async fn hd11_in7_after_a_clock_was_set_forward_and_corrected_introspection_does_not_guess(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let long = app.database.client_with("long", |new| new.token_lifetime = lifetime(24 * 3600));
    let api = app.api("orders-api").await;
    // By no more than a time server corrects: no token becomes valid again.
    let token = app.plain_token(&shop).await.access_token();
    app.clock.set_forward(Duration::from_secs(30));
    app.clock.set_back(Duration::from_secs(30));
    app.pass(Duration::from_secs(560)).await;
    assert!(app.is_active(&api, &token).await);
    app.pass(Duration::from_secs(20)).await;
    assert!(!app.is_active(&api, &token).await, "20 s before its exp by the clock that was set back");

    let earlier = app.plain_token(&shop).await.access_token();
    app.clock.set_forward(HOUR);
    app.clock.set_back(HOUR);
    app.settle().await;
    for token in [&earlier, &app.plain_token(&shop).await.access_token()] {
        let answer = app.introspect(&api, &format!("token={token}")).await;
        answer.refused(503, "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
        assert!(!app.is_active(&shop, token).await, "a client that does not introspect the token learns nothing");
    }
    // Where it does not depend on the clock, the answer is known.
    let lasting = app.plain_token(&long).await.access_token();
    assert!(app.is_active(&api, &lasting).await && !app.is_active(&api, "junk").await);
    app.pass(Duration::from_secs(600)).await;
    assert!(!app.is_active(&api, &earlier).await, "it has expired by either clock");
}
