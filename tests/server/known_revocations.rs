//! What a node knows of the revocations: read page by page, read again after an outage or a failover, and the same on every node.

use std::{collections::BTreeSet, fs, time::Duration};

use serde_json::Value;

use crate::support::{
    Backend, Credential, List, Process, TestApp, TestDatabase, on_both_databases, on_database, on_sqlite, position, wait_until,
};

on_both_databases![
    after_an_outage_other_revocations_under_the_same_epochs_are_read,
    more_revocations_than_three_reads_hold_are_known_to_a_running_node_and_to_one_that_starts,
    the_log_says_that_revocations_cannot_be_read_or_are_damaged,
];

// A file whose revocations were set back is an older copy, which no node uses.
on_database!(
    on_postgres,
    Postgres,
    a_failover_that_lost_the_latest_revocation_is_noticed_by_every_node_and_the_others_stay,
    a_node_that_starts_after_a_failover_raises_the_epoch_above_the_one_that_it_has_seen,
    after_a_failover_a_client_gets_positions_that_the_database_knows,
    the_log_says_that_revocations_were_lost
);

on_sqlite![two_nodes_know_the_same_revocations_and_forget_them_when_their_tokens_have_expired];

pub(crate) const SETTINGS: [(&str, &str); 1] = [("issuer", "https://issuer.example")];
const RAISE: &str = "UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'";
const SET_BACK: &str = "UPDATE epochs SET n = n - 1 WHERE kind = 'revocations'";

pub(crate) async fn start(backend: Backend) -> (TestApp, Credential) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &SETTINGS).await.with_orders();
    let client = app.client("billing");
    (app, client)
}

pub(crate) async fn tokens<const N: usize>(app: &TestApp, client: &Credential) -> [String; N] {
    let mut tokens = Vec::new();
    for _ in 0..N {
        tokens.push(app.plain_token(client).await.access_token());
    }
    tokens.try_into().unwrap()
}

pub(crate) async fn revoke(app: &TestApp, client: &Credential, token: &str) {
    assert_eq!(app.revoke(client, &format!("token={token}")).await.status, 200);
}

pub(crate) fn places(tokens: &[&String]) -> BTreeSet<u64> {
    tokens.iter().map(|token| position(token).1).collect()
}

/// The number of positions that a node knows to be revoked.
pub(crate) async fn known(app: &TestApp) -> u64 {
    let metrics = app.metrics().await;
    metrics.lines().find_map(|line| line.strip_prefix("sealwright_positions_revoked ")).unwrap().parse().unwrap()
}

/// Lets a node notice that the database was replaced, and publish what it holds: it reads all revocations at the second look at the latest.
async fn read_again(node: &TestApp) {
    node.settle().await;
    node.settle().await;
    node.publish().await;
}

async fn a_failover_that_lost_the_latest_revocation_is_noticed_by_every_node_and_the_others_stay(backend: Backend) {
    let (first, client) = start(backend).await;
    let api = first.api("orders-api").await;
    let second = first.second_node_with(&SETTINGS).await;
    let nodes = [&first, &second];
    let [revoked, lost] = tokens(&first, &client).await;
    let uri = position(&revoked).0;
    for token in [&revoked, &lost] {
        revoke(&first, &client, token).await;
    }
    let mut seen = 0;
    for node in nodes {
        node.publish().await;
        let list = List::get(node, &uri).await;
        assert_eq!(list.set, places(&[&revoked, &lost]));
        seen = list.epoch();
    }

    // A replica that did not have the last one takes the place of the database.
    first.database.execute("DELETE FROM revocations WHERE epoch = (SELECT MAX(epoch) FROM revocations)").await;
    first.database.execute(SET_BACK).await;
    for node in nodes {
        read_again(node).await;
    }
    let lists = [List::get(&first, &uri).await, List::get(&second, &uri).await];
    for (node, list) in nodes.into_iter().zip(&lists) {
        assert_eq!(list.set, places(&[&revoked]));
        assert!(list.epoch() > seen, "verifiers take no list for newer that has an epoch which they have seen");
        assert!(!node.is_active(&api, &revoked).await && node.is_active(&api, &lost).await, "introspection agrees");
    }
    assert_eq!((lists[0].epoch(), lists[0].etag()), (lists[1].epoch(), lists[1].etag()));

    // What is revoked from then on is seen as before.
    revoke(&second, &client, &lost).await;
    for (node, before) in nodes.into_iter().zip(&lists) {
        node.publish().await;
        let list = List::get(node, &uri).await;
        assert_eq!((list.set.clone(), list.epoch()), (places(&[&revoked, &lost]), before.epoch() + 1));
    }
}

async fn a_node_that_starts_after_a_failover_raises_the_epoch_above_the_one_that_it_has_seen(backend: Backend) {
    let (app, client) = start(backend).await;
    let [revoked, lost] = tokens(&app, &client).await;
    let uri = position(&revoked).0;
    for token in [&revoked, &lost] {
        revoke(&app, &client, token).await;
    }
    app.publish().await;
    let seen = List::get(&app, &uri).await.epoch();
    // The node's record of the database is written in the background.
    let record = app.database.keys_dir().join("database-record.json");
    let recorded = || serde_json::from_str::<Value>(&fs::read_to_string(&record).unwrap()).unwrap()["seen"]["revocations"].as_i64();
    let mut looks = 0;
    while recorded() != Some(seen) {
        assert!(looks < 100, "it is not recorded");
        app.settle().await;
        looks += 1;
    }

    // While no node runs, a replica that did not have the last one takes the place of the database.
    let database = app.stop().await;
    database.execute("DELETE FROM revocations WHERE epoch = (SELECT MAX(epoch) FROM revocations)").await;
    database.execute(SET_BACK).await;
    let app = TestApp::start_with(database, &SETTINGS).await;
    read_again(&app).await;
    let list = List::get(&app, &uri).await;
    assert_eq!(list.set, places(&[&revoked]));
    assert!(list.epoch() > seen, "verifiers take no list for newer that has an epoch which they have seen");
}

async fn after_an_outage_other_revocations_under_the_same_epochs_are_read(backend: Backend) {
    let (app, client) = start(backend).await;
    let [revoked, lost, other] = tokens(&app, &client).await;
    let uri = position(&revoked).0;
    for token in [&revoked, &lost] {
        revoke(&app, &client, token).await;
    }
    app.publish().await;
    let before = List::get(&app, &uri).await;
    assert_eq!(before.set, places(&[&revoked, &lost]));

    // While the node cannot read it, a replica takes the place of the database, and another token is revoked there.
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.settle().await;
    let replaced = format!("UPDATE revocations SET start = {} WHERE epoch = (SELECT MAX(epoch) FROM revocations)", position(&other).1);
    app.database.execute(&replaced).await;
    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    read_again(&app).await;
    let after = List::get(&app, &uri).await;
    assert_eq!((after.set.clone(), after.epoch()), (places(&[&revoked, &other]), before.epoch()));
}

async fn after_a_failover_a_client_gets_positions_that_the_database_knows(backend: Backend) {
    let (app, client) = start(backend).await;
    app.settle().await;
    app.plain_token(&client).await.granted();
    app.settle().await;
    // The replica has the list, and not the client's span in it.
    app.database.execute("DELETE FROM status_spans").await;
    app.plain_token(&client).await.granted();
    assert_eq!(app.database.texts("SELECT client_id FROM status_spans").await, [""; 0], "the node uses the one that it knows");
    app.database.execute(SET_BACK).await;
    app.settle().await;
    let index = position(&app.plain_token(&client).await.access_token()).1;
    assert_eq!(app.database.texts("SELECT CAST(start AS TEXT) FROM status_spans").await, [(index / 256 * 256).to_string()]);
}

async fn more_revocations_than_three_reads_hold_are_known_to_a_running_node_and_to_one_that_starts(backend: Backend) {
    /// A page has 10,000 rows.
    const MANY: u64 = 30_001;
    let (app, client) = start(backend).await;
    let uri = position(&app.plain_token(&client).await.access_token()).0;
    app.publish().await;
    // All of one epoch, so that pages end within it, and one of the next.
    let list = uri.rsplit('/').next().unwrap();
    let insert = format!(
        "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {MANY})
         INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at)
         SELECT e.n + 1, '{list}', i, 1, 1, {} FROM numbers, epochs e WHERE e.kind = 'revocations'",
        app.now().seconds() + 86_400
    );
    app.database.execute(&insert).await;
    app.database.execute(RAISE).await;
    app.set_position(&uri, 0).await;
    // Each look reads one page at least; one that the database does not answer in time is repeated.
    let mut looks = 0;
    while known(&app).await <= MANY {
        assert!(looks < 100, "they are not read to the end");
        app.settle().await;
        looks += 1;
    }
    app.publish().await;
    let running = List::get(&app, &uri).await;
    assert_eq!(running.set, (0..=MANY).collect());
    assert_eq!(app.database.texts("SELECT CAST(n AS TEXT) FROM epochs WHERE kind = 'revocations'").await, [running.epoch().to_string()]);

    let app = TestApp::start_with(app.stop().await, &SETTINGS).await;
    assert_eq!(known(&app).await, MANY + 1, "without a look");
    let started = List::get(&app, &uri).await;
    assert_eq!((started.etag(), started.epoch()), (running.etag(), running.epoch()));
}

async fn two_nodes_know_the_same_revocations_and_forget_them_when_their_tokens_have_expired(backend: Backend) {
    let (first, client) = start(backend).await;
    let second = first.second_node_with(&SETTINGS).await;
    let nodes = [&first, &second];
    let tokens: [String; 5] = tokens(&first, &client).await;
    let uri = position(&tokens[0]).0;
    for (number, token) in tokens.iter().enumerate() {
        revoke(nodes[number % 2], &client, token).await;
    }
    let publish = async || {
        let mut lists = Vec::new();
        for node in nodes {
            node.publish().await;
            lists.push(List::get(node, &uri).await);
        }
        assert_eq!((lists[0].epoch(), lists[0].etag()), (lists[1].epoch(), lists[1].etag()));
        lists.remove(0)
    };
    let revoked = publish().await;
    assert_eq!(revoked.set, places(&tokens.each_ref()));
    assert_eq!((known(&first).await, known(&second).await), (5, 5));

    // Their ten minutes, the longest leeway, the skew of verifiers and that of this node.
    for _ in 0..42 {
        for node in nodes {
            node.pass(Duration::from_secs(30)).await;
        }
    }
    let expired = publish().await;
    assert_eq!((expired.set.len(), expired.epoch()), (0, revoked.epoch()), "verifiers compare the time of lists of one epoch");
    assert!(expired.iat() > revoked.iat());
    assert_eq!((known(&first).await, known(&second).await), (0, 0));
}

/// Adds a damaged row, as a revocation does.
async fn add_damaged(database: &TestDatabase) {
    let insert = "INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at)
        SELECT n + 1, 'damaged', 0, 1, 1, 4000000000 FROM epochs WHERE kind = 'revocations'";
    database.execute(insert).await;
    database.execute(RAISE).await;
}

async fn logs(server: &Process, words: &str) {
    wait_until(|| server.stderr().iter().any(|line| line.contains(words))).await;
}

async fn the_log_says_that_revocations_cannot_be_read_or_are_damaged(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    server.addr().await;

    database.execute("ALTER TABLE revocations RENAME TO revocations_gone").await;
    database.execute(RAISE).await;
    logs(&server, "the database cannot be read; serving from memory").await;
    database.execute("ALTER TABLE revocations_gone RENAME TO revocations").await;
    logs(&server, "the database can be read again").await;

    add_damaged(&database).await;
    logs(&server, "a row of the table revocations is damaged").await;
    server.signal("TERM");
    assert!(server.wait().success());
}

async fn the_log_says_that_revocations_were_lost(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    server.addr().await;
    let epoch = async || database.texts("SELECT CAST(n AS TEXT) FROM epochs WHERE kind = 'revocations'").await[0].parse::<u64>().unwrap();
    let before = epoch().await;
    add_damaged(&database).await;
    // The server has seen the epoch.
    logs(&server, "a row of the table revocations is damaged").await;
    database.execute(SET_BACK).await;
    logs(&server, "revocations.lost").await;
    server.signal("TERM");
    assert!(server.wait().success());
    let lines: Vec<Value> = server.stderr().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lost: Vec<_> = lines.iter().filter(|line| line["event"] == "revocations.lost").collect();
    assert_eq!(lost.len(), 1, "once: {lost:?}");
    assert_eq!((&lost[0]["level"], &lost[0]["epoch"], &lost[0]["seen"]), (&"ERROR".into(), &before.into(), &(before + 1).into()));
    assert!(epoch().await > 1_000_000, "above all that verifiers can have seen");
}
