//! Keys that an operator replaces or revokes, outside the schedule.

use std::time::Duration;

use sealwright::{
    clock::Timestamp,
    protocol::Algorithm,
    server::commands::{Act, ResourceChange},
};

use crate::support::{Backend, ORDERS, Process, TestApp, TestDatabase, kids, on_both_databases, sealwright, signing};

on_both_databases![
    a_key_that_an_operator_rotates_signs_after_the_lead_and_no_token_becomes_invalid,
    a_lead_that_is_too_short_and_a_second_next_key_are_refused,
    jk5_a_compromised_key_leaves_the_jwks_at_once_and_another_signs,
    jk5_a_compromised_key_is_replaced_by_the_one_that_is_published_already,
    a_key_that_does_not_sign_is_revoked_alone,
    a_revoked_first_key_of_an_algorithm_lets_its_tokens_wait_for_the_next_one,
    a_key_that_is_not_published_is_not_revoked,
    jk5_the_command_revokes_the_key_that_signs_while_a_server_runs,
];

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Lets time pass until `early` before the newest key signs.
async fn pass_until_the_newest_key_signs(app: &TestApp, early: Duration) {
    let newest = "SELECT CAST(activates_at AS TEXT) FROM signing_keys ORDER BY generation DESC LIMIT 1";
    let activates_at = Timestamp::from_seconds(app.database.texts(newest).await[0].parse().unwrap());
    app.pass((activates_at - early).since(app.now())).await;
}

/// An operator acts by the clock of the server.
fn act(app: &TestApp) -> Act {
    Act::new("operator", None, app.now())
}

fn rotate(app: &TestApp, lead: Option<Duration>) -> Result<String, String> {
    let act = act(app);
    let rotated = app.database.operate(async |operator| operator.commands.keys().rotate(&act, Algorithm::Rs256, lead).await);
    rotated.map(|next| format!("{next:?}")).map_err(|error| error.to_string())
}

pub(crate) fn replace(app: &TestApp, kid: &str) -> Result<(), String> {
    let act = act(app);
    let replaced = app.database.operate(async |operator| operator.commands.keys().replace(&act, kid).await);
    replaced.map(drop).map_err(|error| error.to_string())
}

pub(crate) fn revoke(app: &TestApp, kid: &str) {
    let act = act(app);
    app.database.operate(async |operator| operator.commands.keys().revoke(&act, kid).await).unwrap();
}

pub(crate) fn activate(app: &TestApp, kid: &str) {
    let act = act(app);
    app.database.operate(async |operator| operator.commands.keys().activate(&act, kid).await).unwrap();
}

async fn a_key_that_an_operator_rotates_signs_after_the_lead_and_no_token_becomes_invalid(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let first = kids(&app).await;
    rotate(&app, Some(2 * HOUR)).unwrap();
    app.settle().await;
    let both = kids(&app).await;
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
    app.pass(2 * HOUR - Duration::from_secs(2)).await;
    assert_eq!(signing(&app, &client).await, first[0]);
    pass_until_the_newest_key_signs(&app, Duration::ZERO).await;
    assert_eq!((signing(&app, &client).await, kids(&app).await), (both[0].clone(), both.clone()));
    app.pass(DAY + Duration::from_secs(420)).await;
    assert_eq!(kids(&app).await, both[..1]);
}

async fn a_lead_that_is_too_short_and_a_second_next_key_are_refused(backend: Backend) {
    let app = TestApp::start(backend).await;
    let why = rotate(&app, Some(2 * HOUR - Duration::from_secs(1))).unwrap_err();
    assert!(
        why.contains("verifiers may cache the JWKS for 1h") && why.contains("at least 2h") && why.contains("nothing was changed"),
        "{why}"
    );
    rotate(&app, None).unwrap();
    let why = rotate(&app, None).unwrap_err();
    assert!(why.contains("is published already and signs from"), "{why}");
}

async fn jk5_a_compromised_key_leaves_the_jwks_at_once_and_another_signs(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let compromised = kids(&app).await.remove(0);
    replace(&app, &compromised).unwrap();
    app.settle().await;
    assert_eq!(signing(&app, &client).await, compromised, "if the operator is interrupted now, nothing is lost");
    revoke(&app, &compromised);
    app.settle().await;
    // The kid of the next key makes verifiers fetch: they must not find the compromised key then.
    let next = kids(&app).await;
    assert!(next.len() == 1 && next[0] != compromised, "{next:?}");
    app.plain_token(&client).await.refused(503, "temporarily_unavailable");
    assert_eq!(app.get("/health/ready").await.status, 200, "it is a matter of a moment");
    let next = next[0].clone();
    activate(&app, &next);
    app.settle().await;
    assert_eq!(signing(&app, &client).await, next);
    // The rotation finds nothing to replace.
    app.pass(Duration::from_secs(10)).await;
    app.settle().await;
    assert_eq!(kids(&app).await, [next]);
}

async fn jk5_a_compromised_key_is_replaced_by_the_one_that_is_published_already(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let compromised = kids(&app).await.remove(0);
    rotate(&app, None).unwrap();
    app.settle().await;
    let next = kids(&app).await.remove(0);
    replace(&app, &compromised).unwrap();
    revoke(&app, &compromised);
    app.settle().await;
    assert_eq!(kids(&app).await, std::slice::from_ref(&next));
    // The operator is interrupted here. The servers go on by themselves.
    app.pass(Duration::from_secs(5)).await;
    app.pass(Duration::from_secs(3)).await;
    assert_eq!((kids(&app).await, signing(&app, &client).await), (vec![next.clone()], next));
}

async fn a_key_that_does_not_sign_is_revoked_alone(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let first = kids(&app).await.remove(0);
    rotate(&app, None).unwrap();
    app.settle().await;
    let next = kids(&app).await.remove(0);
    replace(&app, &next).unwrap();
    revoke(&app, &next);
    app.settle().await;
    assert_eq!((kids(&app).await, signing(&app, &client).await), (vec![first.clone()], first.clone()));
    // The first one does not retire at the time of the revoked one.
    app.pass(2 * DAY).await;
    app.settle().await;
    assert_eq!((kids(&app).await, signing(&app, &client).await), (vec![first.clone()], first));
}

async fn a_revoked_first_key_of_an_algorithm_lets_its_tokens_wait_for_the_next_one(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.pass(2 * HOUR).await;
    let first = kids(&app).await.remove(0);
    app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(Algorithm::Es256), ..ResourceChange::default() });
    let look = async || {
        app.settle().await;
        app.pass(Duration::from_secs(5)).await;
        app.settle().await;
    };
    look().await;
    let waiting = kids(&app).await.into_iter().find(|kid| *kid != first).unwrap();
    revoke(&app, &waiting);
    app.settle().await;
    assert_eq!(signing(&app, &client).await, first);
    look().await;
    app.pass(Duration::from_secs(30)).await;
    assert_eq!((kids(&app).await.len(), signing(&app, &client).await), (2, first), "verifiers do not know the other one yet");
}

async fn jk5_the_command_revokes_the_key_that_signs_while_a_server_runs(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    server.addr().await;
    let before = database.texts("SELECT kid FROM signing_keys").await;
    let revoked = sealwright(&database, &["key", "rotate", "--now", "--compromised", "--yes", "--json"]).json();
    assert_eq!(revoked["kid"], before[0]);
    assert_eq!(database.texts("SELECT kid FROM signing_keys WHERE revoked_at IS NOT NULL").await, before);
    let next = "SELECT kid FROM signing_keys WHERE revoked_at IS NULL AND activates_at < published_at";
    assert_eq!(database.texts(next).await, [revoked["successor"].as_str().unwrap()]);
}

async fn a_key_that_is_not_published_is_not_revoked(backend: Backend) {
    let app = TestApp::start(backend).await;
    let why = replace(&app, "nowhere").unwrap_err();
    assert!(why.contains("there is no signing key nowhere") && why.contains("key list"), "{why}");
    let first = kids(&app).await.remove(0);
    revoke(&app, &first);
    let why = replace(&app, &first).unwrap_err();
    assert!(why.contains("is revoked and no longer published"), "{why}");
}
