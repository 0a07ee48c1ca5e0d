//! `sealwright key list` and `key plan`, and the metrics of what is planned.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use sealwright::{protocol::Algorithm, server::commands::ResourceChange};
use serde_json::Value;

use crate::support::{Backend, ORDERS, TestApp, command_on, finish, on_both_databases, on_sqlite, on_terminal};

on_both_databases![
    the_plan_says_what_the_server_then_does,
    a_damaged_key_is_listed_as_quarantined_with_the_reason,
    the_next_activation_of_each_algorithm_is_a_metric,
    a_clock_that_disagrees_with_that_of_another_node_is_a_metric,
];

on_sqlite![
    a_plan_has_a_range_and_warns_if_it_may_not_come_true,
    without_the_sealing_key_the_rows_are_listed_and_it_is_said_that_they_were_not_opened,
    a_time_line_fits_the_terminal_and_is_ascii_where_the_locale_is,
];

const DAY: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

/// Seconds since 1970, of a time in JSON.
fn seconds(time: &Value) -> u64 {
    humantime::parse_rfc3339(time.as_str().unwrap()).unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Lets time pass until the rotation has looked at the keys and the node has read the result.
async fn look(app: &TestApp) {
    app.pass(5 * SECOND).await;
    app.settle().await;
}

async fn metric(app: &TestApp, name: &str) -> Option<f64> {
    let metrics = app.metrics().await;
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// The times of the events of a plan, by key and by what happens.
fn times(plan: &Value) -> BTreeMap<(String, String), u64> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = plan["events"].as_array().unwrap().iter();
    events.map(|event| ((text(&event["key"]), text(&event["what"])), seconds(&event["at"]))).collect()
}

async fn the_plan_says_what_the_server_then_does(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    look(&app).await;
    app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(Algorithm::Es256), ..ResourceChange::default() });
    let plan = app.run_json(&["key", "plan", "--for", "40days"]);
    assert_eq!(plan["warnings"], serde_json::json!([]), "{plan}");
    let planned = times(&plan);
    let first = app.get("/.well-known/jwks.json").await.json()["keys"][0]["kid"].clone();
    for event in plan["events"].as_array().unwrap() {
        let expected = if event["key"] == "RS256 #1" { &first } else { &Value::Null };
        assert_eq!(event["kid"], *expected, "only a key that exists has a kid: {event}");
    }

    let mut rows = BTreeMap::new();
    look(&app).await;
    for pause in [29 * DAY, DAY, 2 * DAY, 7 * DAY] {
        app.pass(pause).await;
        look(&app).await;
        for key in app.run_json(&["key", "list"]).as_array().unwrap() {
            rows.insert(format!("{} #{}", key["alg"].as_str().unwrap(), key["generation"]), key.clone());
        }
    }
    let names: Vec<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(names, ["ES256 #1", "ES256 #2", "RS256 #1", "RS256 #2"]);
    for (key, what) in [
        ("ES256 #1", "publish"),
        ("ES256 #1", "activate"),
        ("RS256 #2", "publish"),
        ("RS256 #2", "activate"),
        ("RS256 #1", "retire"),
        ("RS256 #1", "expire"),
        ("ES256 #2", "publish"),
        ("ES256 #2", "activate"),
        ("ES256 #1", "retire"),
        ("ES256 #1", "expire"),
    ] {
        let column = match what {
            "publish" => "published_at",
            "activate" => "activates_at",
            "retire" => "retires_at",
            _ => "expires_at",
        };
        let (planned, happened) = (planned[&(key.to_owned(), what.to_owned())], seconds(&rows[key][column]));
        // The server looks every 5 s, by a clock that stood still while commands ran.
        assert!(planned.abs_diff(happened) <= 120, "{what} {key}: {planned} {happened}");
    }
    assert!(planned.contains_key(&("RS256 #1".to_owned(), "delete".to_owned())));
    assert_eq!(app.database.texts("SELECT kid FROM signing_keys WHERE generation = 1").await.len(), 0, "they are deleted");
}

async fn a_damaged_key_is_listed_as_quarantined_with_the_reason(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.pass(29 * DAY).await;
    look(&app).await;
    let kids = app.database.texts("SELECT kid FROM signing_keys ORDER BY generation DESC").await;
    app.database.execute("UPDATE signing_keys SET sealed = 'damaged' WHERE generation = 1").await;
    let listed = app.run(&["key", "list", "--json"]).failed_saying(&["1 of 2 signing keys are damaged", "there is nothing to repair"]);
    let keys: Value = serde_json::from_str(&listed.stdout).unwrap();
    let states: Vec<_> = keys.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!((states[0], states[1]), ("published", "quarantined"));
    assert_eq!((&keys[1]["kid"], &keys[1]["generation"]), (&kids[1].as_str().into(), &1.into()));
    let why = keys[1]["error"].as_str().unwrap();
    assert!(why.contains("does not open") && keys[0].get("error").is_none(), "{keys}");
    let shown = app.run(&["key", "list"]).failed_saying(&["see above"]).stdout;
    for part in [&kids[0], &kids[1], "quarantined", "QUARANTINED BECAUSE", why] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let plan = app.run_json(&["key", "plan"]);
    assert!(plan["warnings"].to_string().contains("damaged keys: 1"), "{plan}");

    if backend == Backend::Sqlite {
        // PostgreSQL takes no text for a time.
        app.database.execute("UPDATE signing_keys SET published_at = 'x', algorithm = 'x'").await;
        let shown = app.run(&["key", "list"]).failed_saying(&["2 of 2 signing keys are damaged"]).stdout;
        assert!(shown.contains("? #2") && shown.contains(&kids[1]), "{shown}");
    }
}

async fn the_next_activation_of_each_algorithm_is_a_metric(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let next = async |alg: &str| {
        let at = metric(&app, &format!("sealwright_signing_key_next_activation_timestamp_seconds{{alg=\"{alg}\"}}")).await?;
        Some((at - app.now().seconds() as f64).round() as i64)
    };
    let near = |found: Option<i64>, expected: Duration| {
        let expected = i64::try_from(expected.as_secs()).unwrap();
        assert!(found.is_some_and(|found| found.abs_diff(expected) <= 30), "{found:?}, not {expected}");
    };
    look(&app).await;
    near(next("RS256").await, 30 * DAY);
    assert_eq!(next("ES256").await, None);
    app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(Algorithm::Es256), ..ResourceChange::default() });
    look(&app).await;
    look(&app).await;
    near(next("ES256").await, 30 * DAY);
    app.pass(29 * DAY).await;
    look(&app).await;
    near(next("RS256").await, DAY);
    app.pass(DAY).await;
    look(&app).await;
    near(next("RS256").await, 30 * DAY);
    app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(Algorithm::Rs256), ..ResourceChange::default() });
    look(&app).await;
    assert_eq!(next("ES256").await, None, "no resource uses it");
    // While rotation is paused, the last plan is kept.
    let before = metric(&app, "sealwright_signing_key_next_activation_timestamp_seconds{alg=\"RS256\"}").await;
    app.clock.set_forward(60 * DAY);
    look(&app).await;
    assert_eq!(metric(&app, "sealwright_signing_key_next_activation_timestamp_seconds{alg=\"RS256\"}").await, before);
    assert_eq!(metric(&app, "sealwright_clock_set_forward_seconds").await, Some(60.0 * 86_400.0));
}

async fn a_clock_that_disagrees_with_that_of_another_node_is_a_metric(backend: Backend) {
    let app = TestApp::start(backend).await;
    let ahead = app.second_node().await;
    look(&app).await;
    assert_eq!(metric(&app, "sealwright_clock_behind_seconds").await, Some(0.0));
    ahead.pass(Duration::from_secs(3600)).await;
    ahead.pass(Duration::from_secs(61)).await;
    look(&app).await;
    let behind = metric(&app, "sealwright_clock_behind_seconds").await.unwrap();
    assert!((3500.0..3700.0).contains(&behind), "{behind}");
    assert_eq!(metric(&app, "sealwright_key_rotation_paused").await, Some(1.0));
    assert_eq!(metric(&ahead, "sealwright_clock_behind_seconds").await, Some(0.0));
}

async fn a_plan_has_a_range_and_warns_if_it_may_not_come_true(backend: Backend) {
    let app = TestApp::start(backend).await;
    look(&app).await;
    let management = app.management.to_string();
    let year = app.run(&["key", "plan", "--management-listen", &management]).succeeded();
    assert_eq!((year.stdout.matches(" publish ").count(), year.stderr.as_str()), (12, ""), "{year:?}");
    assert!(year.stdout.contains("key_rotation_period 30days and key_publish_lead 1day"), "{year:?}");
    let daily = app.run(&["key", "plan", "--key-rotation-period", "1day", "--for", "1000days"]).succeeded();
    assert!((4900..5100).contains(&daily.stdout.lines().count()), "{}", daily.stdout.lines().count());
    for refused in ["1h", "1001days", "x", "0"] {
        let why = app.run(&["key", "plan", "--for", refused]);
        assert!(why.status.code() == Some(2) && why.stderr.contains("from 1day to 1000days"), "{why:?}");
    }

    let warned = async |heartbeat: &str| {
        app.database.execute(&format!("UPDATE epochs SET n = {heartbeat} WHERE kind = 'heartbeat'")).await;
        app.run(&["key", "plan"]).succeeded().stderr
    };
    assert!(warned("n - 86400").await.contains("warning: no server has been alive since 20"));
    assert!(warned("n + 2 * 86400").await.contains("one of the two clocks is wrong"));
    app.database.execute("DELETE FROM epochs WHERE kind = 'heartbeat'").await;
    assert!(app.run(&["key", "plan"]).succeeded().stderr.contains("no server has been alive on this database yet"));
    app.database.execute("UPDATE signing_keys SET published_at = published_at + 86400, activates_at = activates_at + 86400").await;
    assert!(app.run(&["key", "plan"]).succeeded().stderr.contains("in the future by the clock of this machine"));
}

async fn without_the_sealing_key_the_rows_are_listed_and_it_is_said_that_they_were_not_opened(backend: Backend) {
    let app = TestApp::start(backend).await;
    let with = app.run_json(&["key", "list"]);
    std::fs::remove_file(app.database.keys_dir().join("sealing.key")).unwrap();
    let without = app.run(&["key", "list", "--json"]).succeeded();
    assert_eq!(serde_json::from_str::<Value>(&without.stdout).unwrap(), with);
    assert!(without.stderr.contains("warning: the private keys were not opened"), "{without:?}");
    let plan = app.run(&["key", "plan"]).succeeded();
    assert!(plan.stdout.contains(" publish ") && plan.stderr.contains("assumes that all of them can sign"), "{plan:?}");
}

async fn a_time_line_fits_the_terminal_and_is_ascii_where_the_locale_is(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.pass(29 * DAY).await;
    look(&app).await;
    // The command has the clock of this machine: as if 29 days had passed.
    for column in ["published_at", "activates_at", "retires_at", "expires_at"] {
        app.database.execute(&format!("UPDATE signing_keys SET {column} = {column} - 29 * 86400")).await;
    }
    let list = |locale: &str| {
        let mut command = command_on(&app.database);
        command.args(["key", "list"]).env_remove("LC_ALL").env_remove("LC_CTYPE").env("LANG", locale).env("NO_COLOR", "1");
        command
    };
    for columns in [60, 80, 120, 200] {
        let (code, shown) = on_terminal(list("C.UTF-8"), columns, "");
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= columns.into()), "{columns}: {shown}");
        assert!(shown.contains("━━━") && shown.contains("▼ now") || shown.contains("now ▼"), "{columns}: {shown}");
        let kids = app.database.texts("SELECT kid FROM signing_keys").await;
        assert!(kids.iter().all(|kid| shown.contains(kid)), "{columns}: a kid can be copied: {shown}");
    }
    let piped = finish(list("C")).succeeded().stdout;
    assert!(piped.is_ascii() && piped.contains("====") && piped.lines().all(|line| line.len() <= 160), "{piped}");
    app.database.execute("DELETE FROM signing_keys").await;
    assert!(finish(list("C")).succeeded().stdout.contains("There is none yet"));
}
