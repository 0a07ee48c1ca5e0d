//! What is withdrawn from a client or a user with many logins: the decision counts at once, the logins follow in batches, and what a killed command
//! leaves is finished.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Answer, Backend, Credential, Finished, ORDERS, PASSWORD, Process, TestApp, TestDatabase, on_both_databases, wait_until,
};

on_both_databases![
    many_logins_end_in_batches_each_with_an_epoch_of_its_own,
    what_a_command_has_not_finished_is_finished_by_a_server_and_by_no_one_twice,
    whatever_a_command_withdraws_a_server_finishes,
    a_server_does_not_join_in_while_a_command_goes_on,
    a_command_that_is_refused_because_its_change_was_made_finishes_what_was_left,
    damaged_rows_stop_no_other_withdrawal_and_are_in_the_log,
    a_login_that_a_password_change_has_not_reached_yet_gets_no_token_and_later_ones_go_on,
    a_login_that_a_withdrawn_permission_has_not_reached_yet_gets_no_token_until_the_command_is_repeated,
    a_client_made_again_keeps_its_logins_while_those_of_the_earlier_one_end,
    a_login_that_a_withdrawal_still_has_to_end_is_listed_as_it_will_be,
    ad10_withdrawals_that_are_not_finished_are_in_the_metrics,
];

/// How often a server looks for what is not finished.
const LOOK: Duration = Duration::from_secs(5);
const NOT_FINISHED: [&str; 2] = ["the change was made, but some logins have not followed yet", "made up"];

/// Inserts logins of the app `shop`, `l10001` and so on, each with a position.
async fn many_logins(database: &TestDatabase, number: u32) {
    database.execute("INSERT INTO status_lists (id, width, created_at) VALUES ('AAAAAAAAAAAAAAAAAAAAAA', 1, 1)").await;
    let sql = format!(
        "WITH RECURSIVE numbers (i) AS (SELECT 10001 UNION ALL SELECT i + 1 FROM numbers WHERE i < 10000 + {number})
         INSERT INTO logins (id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at,
                             status_list, status_index)
         SELECT 'l' || i, 'sub', 'shop', '{ORDERS}', 'orders:read', 1, 1, 1, 9000000000, 9000000000, 'AAAAAAAAAAAAAAAAAAAAAA', i FROM numbers"
    );
    database.execute(&sql).await;
}

/// Makes every change of a login fail, so that the database is left as by a command that was killed there.
async fn break_login(database: &TestDatabase, backend: Backend, id: &str) {
    match backend {
        Backend::Sqlite => {
            let trigger = "CREATE TRIGGER made_up BEFORE UPDATE ON logins WHEN NEW.id =";
            database.execute(&format!("{trigger} '{id}' BEGIN SELECT RAISE(ABORT, 'made up'); END")).await;
        }
        Backend::Postgres => {
            let body = "BEGIN RAISE EXCEPTION 'made up'; END";
            database.execute(&format!("CREATE OR REPLACE FUNCTION made_up() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")).await;
            let trigger = "CREATE TRIGGER made_up BEFORE UPDATE ON logins FOR EACH ROW WHEN";
            database.execute(&format!("{trigger} (NEW.id = '{id}') EXECUTE FUNCTION made_up()")).await;
        }
    }
}

async fn repair(database: &TestDatabase, backend: Backend) {
    let drop = match backend {
        Backend::Sqlite => "DROP TRIGGER made_up",
        Backend::Postgres => "DROP TRIGGER made_up ON logins",
    };
    database.execute(drop).await;
}

/// The id of the login of a refresh token.
fn login(answer: &Answer) -> String {
    answer.refresh_token()[4..].split('.').next().unwrap().to_owned()
}

async fn count(app: &TestApp, from: &str) -> u64 {
    app.database.texts(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {from}")).await[0].parse().unwrap()
}

async fn epochs(app: &TestApp) -> u64 {
    count(app, "(SELECT DISTINCT epoch FROM revocations) AS epochs").await
}

/// How often positions of [`many_logins`] were revoked, and how many of them.
async fn revoked(app: &TestApp) -> (u64, u64) {
    let of = "FROM revocations WHERE list_id = 'AAAAAAAAAAAAAAAAAAAAAA'";
    (count(app, &of["FROM ".len()..]).await, count(app, &format!("(SELECT DISTINCT start {of}) AS starts")).await)
}

/// A server goes on with what it has found unchanged at two looks.
async fn two_looks(app: &TestApp) {
    app.pass(LOOK).await;
    app.pass(LOOK).await;
}

fn newest_change(app: &TestApp) -> Value {
    app.run_json(&["change", "list", "--limit", "1"])[0].clone()
}

fn allow_reading(app: &TestApp) -> Finished {
    app.run(&["user", "update", "alice", "--allow", "https://orders.example=orders:read"])
}

async fn sign_in(app: &TestApp, client: &Credential, username: &str, password: &str) -> Answer {
    app.token(client, &format!("grant_type=password&username={username}&password={}", password.replace(' ', "+"))).await
}

async fn many_logins_end_in_batches_each_with_an_epoch_of_its_own(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.sign_in(&shop).await.granted();
    many_logins(&app.database, 2500).await;
    let said = app.run(&["client", "disable", "shop"]).succeeded().stdout;
    assert!(said.contains("ended 2501 logins; verifiers that read the status lists refuse"), "{said}");
    assert_eq!(newest_change(&app)["after"]["logins_ended"], json!(2501));
    assert_eq!((count(&app, "logins WHERE ended_at IS NULL").await, count(&app, "withdrawals").await), (0, 0));
    assert_eq!((revoked(&app).await, epochs(&app).await), ((2500, 2500), 3));
}

async fn what_a_command_has_not_finished_is_finished_by_a_server_and_by_no_one_twice(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let second = app.second_node().await;
    app.plain_token(&shop).await.granted();
    many_logins(&app.database, 2500).await;
    break_login(&app.database, backend, "l11500").await;
    app.run(&["client", "disable", "shop"]).failed_saying(&NOT_FINISHED);
    assert_eq!(count(&app, "logins WHERE ended_because = 'client_disabled'").await, 1000, "one batch");
    assert_eq!(newest_change(&app)["after"]["logins_ended"], json!(2500), "it is decided");
    app.settle().await;
    app.plain_token(&shop).await.refused(401, "invalid_client");
    // A server tries in vain.
    two_looks(&app).await;
    second.pass(LOOK).await;
    assert_eq!((revoked(&app).await, count(&app, "withdrawals").await), ((1000, 1000), 1));

    repair(&app.database, backend).await;
    tokio::join!(app.pass(LOOK), second.pass(LOOK));
    assert_eq!((count(&app, "logins WHERE ended_at IS NULL").await, count(&app, "withdrawals").await), (0, 0));
    assert_eq!(revoked(&app).await, (2500, 2500));
    assert_eq!(epochs(&app).await, 4, "of the tokens of the client, and of three batches");
}

async fn a_server_does_not_join_in_while_a_command_goes_on(backend: Backend) {
    let (app, _) = TestApp::for_users(backend).await;
    many_logins(&app.database, 10).await;
    break_login(&app.database, backend, "l10001").await;
    app.run(&["client", "disable", "shop"]).failed_saying(&NOT_FINISHED);
    repair(&app.database, backend).await;
    for done_to in ["l10001", "l10002"] {
        app.pass(LOOK).await;
        app.database.execute(&format!("UPDATE withdrawals SET done_to = '{done_to}'")).await;
    }
    app.pass(LOOK).await;
    assert_eq!(count(&app, "logins WHERE ended_at IS NULL").await, 10);
    app.pass(LOOK).await;
    assert_eq!((count(&app, "logins WHERE ended_at IS NULL").await, count(&app, "withdrawals").await), (2, 0), "those after it");
}

async fn a_command_that_is_refused_because_its_change_was_made_finishes_what_was_left(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.user("alice");
    for (id, command, refused) in [
        ("deleted", &["client", "delete", "deleted", "--yes"][..], "there is no client deleted"),
        ("signs-in-no-one", &["client", "update", "signs-in-no-one", "--remove-grant", "password"], "does not have the grant password"),
        ("disallowed", &["client", "update", "disallowed", "--disallow", ORDERS], "has no permission at"),
    ] {
        let client = app.app_for_users(id);
        let signed_in = app.sign_in(&client).await;
        break_login(&app.database, backend, &login(&signed_in)).await;
        app.run(command).failed_saying(&NOT_FINISHED);
        repair(&app.database, backend).await;
        assert_eq!(count(&app, "withdrawals").await, 1, "{command:?}");
        app.run(command).failed_saying(&[refused]);
        assert_eq!(count(&app, "withdrawals").await, 0, "{command:?}");
    }
}

async fn damaged_rows_stop_no_other_withdrawal_and_are_in_the_log(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let signed_in = app.sign_in(&shop).await;
    many_logins(&app.database, 2).await;
    app.database.execute("UPDATE logins SET status_index = NULL WHERE id = 'l10001'").await;
    app.database.execute("INSERT INTO withdrawals (n, decided_at, done_to) VALUES (0, 1, '')").await;
    break_login(&app.database, backend, &login(&signed_in)).await;
    app.run(&["client", "disable", "shop"]).failed_saying(&NOT_FINISHED);
    repair(&app.database, backend).await;
    two_looks(&app).await;
    assert_eq!((count(&app, "logins WHERE ended_at IS NULL").await, count(&app, "withdrawals").await), (0, 1));
    assert_eq!(revoked(&app).await, (1, 1), "the position that can be read");

    let database = app.stop().await;
    let mut server = Process::serve(&database);
    server.addr().await;
    wait_until(|| server.stderr().iter().any(|line| line.contains("a row of the table withdrawals is damaged"))).await;
}

async fn whatever_a_command_withdraws_a_server_finishes(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let api = app.api("orders-api").await;
    for (number, (command, reason)) in [
        (&["client", "disable", "CLIENT"][..], "client_disabled"),
        (&["client", "delete", "CLIENT", "--yes"], "client_deleted"),
        (&["client", "update", "CLIENT", "--remove-grant", "password"], "grant_withdrawn"),
        (&["client", "update", "CLIENT", "--disallow", ORDERS], ""),
        (&["login", "end", "--client", "CLIENT"], "operator"),
        (&["login", "end", "--user", "USER"], "operator"),
        (&["user", "disable", "USER"], "user_disabled"),
        (&["user", "delete", "USER", "--yes"], "user_deleted"),
        (&["user", "revoke-tokens", "USER", "--yes"], "operator"),
        (&["user", "update", "USER", "--disallow", ORDERS], ""),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, username) = (format!("client{number}"), format!("user{number}"));
        let client = app.app_for_users(&id);
        app.user(&username);
        let signed_in = sign_in(&app, &client, &username, PASSWORD).await;
        break_login(&app.database, backend, &login(&signed_in)).await;
        let command: Vec<String> = command.iter().map(|word| word.replace("CLIENT", &id).replace("USER", &username)).collect();
        app.run(&command.iter().map(String::as_str).collect::<Vec<_>>()).failed_saying(&NOT_FINISHED);
        assert!(!app.is_active(&api, &signed_in.access_token()).await, "{command:?}: it counts at once");
        repair(&app.database, backend).await;
        assert_eq!(count(&app, "withdrawals").await, 1, "{command:?}");
        two_looks(&app).await;
        assert_eq!(count(&app, "withdrawals").await, 0, "{command:?}");
        let ended = format!("SELECT COALESCE(ended_because, status_list, '') FROM logins WHERE id = '{}'", login(&signed_in));
        assert_eq!(app.database.texts(&ended).await, [reason], "{command:?}");
        assert!(!app.is_active(&api, &signed_in.access_token()).await, "{command:?}");
        let refreshed = app.refresh(&client, &signed_in.refresh_token()).await;
        assert!([400, 401].contains(&refreshed.status), "{command:?}: {refreshed:?}");
    }
}

async fn a_login_that_a_password_change_has_not_reached_yet_gets_no_token_and_later_ones_go_on(backend: Backend) {
    const OTHER: &str = "another plum at the gate";
    let (app, shop) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    let earlier = app.sign_in(&shop).await;
    break_login(&app.database, backend, &login(&earlier)).await;
    let said = app.database.set_password("alice", OTHER).unwrap_err();
    assert!(NOT_FINISHED.iter().all(|words| said.contains(words)), "{said}");
    let later = sign_in(&app, &shop, "alice", OTHER).await;
    app.refresh(&shop, &earlier.refresh_token()).await.refused(503, "temporarily_unavailable");
    assert!(!app.is_active(&api, &earlier.access_token()).await && app.is_active(&api, &later.access_token()).await);
    repair(&app.database, backend).await;
    two_looks(&app).await;
    app.refresh(&shop, &earlier.refresh_token()).await.refused(400, "invalid_grant");
    assert!(!app.is_active(&api, &earlier.access_token()).await && app.is_active(&api, &later.access_token()).await);
    app.refresh(&shop, &later.refresh_token()).await.granted();
}

async fn a_login_that_a_withdrawn_permission_has_not_reached_yet_gets_no_token_until_the_command_is_repeated(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let api = app.api("orders-api").await;
    let signed_in = app.sign_in(&shop).await;
    break_login(&app.database, backend, &login(&signed_in)).await;
    allow_reading(&app).failed_saying(&NOT_FINISHED);
    let signed = app.meters.tokens_issued.get();
    app.refresh(&shop, &signed_in.refresh_token()).await.refused(503, "temporarily_unavailable");
    assert_eq!(app.meters.tokens_issued.get(), signed, "nothing is signed in vain");
    assert!(!app.is_active(&api, &signed_in.access_token()).await);
    repair(&app.database, backend).await;
    allow_reading(&app).succeeded();
    assert_eq!(count(&app, "withdrawals").await, 0);
    let refreshed = app.refresh(&shop, &signed_in.refresh_token()).await;
    assert_eq!(refreshed.granted()["scope"], "orders:read");
    assert!(!app.is_active(&api, &signed_in.access_token()).await && app.is_active(&api, &refreshed.access_token()).await);
    assert_eq!(epochs(&app).await, 1);
}

async fn a_client_made_again_keeps_its_logins_while_those_of_the_earlier_one_end(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let earlier = app.sign_in(&shop).await;
    break_login(&app.database, backend, &login(&earlier)).await;
    app.run(&["client", "delete", "shop", "--yes"]).failed_saying(&NOT_FINISHED);
    let again = app.app_for_users("shop");
    app.settle().await;
    let later = app.sign_in(&again).await;
    app.refresh(&again, &earlier.refresh_token()).await.refused(503, "temporarily_unavailable");
    repair(&app.database, backend).await;
    two_looks(&app).await;
    app.refresh(&again, &earlier.refresh_token()).await.refused(400, "invalid_grant");
    app.refresh(&again, &later.refresh_token()).await.granted();
}

async fn a_login_that_a_withdrawal_still_has_to_end_is_listed_as_it_will_be(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let signed_in = app.sign_in(&shop).await;
    break_login(&app.database, backend, &login(&signed_in)).await;
    let list = |options: &[&str]| app.run_json(&[&["login", "list"], options].concat());
    allow_reading(&app).failed_saying(&NOT_FINISHED);
    assert_eq!(list(&["--active"])[0]["id"], json!(login(&signed_in)), "it goes on with what is left");
    app.run(&["client", "disable", "shop"]).failed_saying(&NOT_FINISHED);
    assert_eq!(list(&["--active"]), json!([]));
    let early = list(&[]);
    assert_eq!((&early[0]["over"], &early[0]["end_reason"]), (&json!(true), &json!("client_disabled")));
    repair(&app.database, backend).await;
    two_looks(&app).await;
    assert_eq!(count(&app, "logins WHERE ended_at IS NOT NULL").await, 1);
    assert_eq!(list(&[]), early);
}

async fn ad10_withdrawals_that_are_not_finished_are_in_the_metrics(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let signed_in = app.sign_in(&shop).await;
    let shown_after_a_look = async |count: u32| {
        app.pass(LOOK).await;
        let (metrics, line) = (app.metrics().await, format!("sealwright_withdrawals_open {count}"));
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    };
    shown_after_a_look(0).await;
    break_login(&app.database, backend, &login(&signed_in)).await;
    app.run(&["client", "disable", "shop"]).failed_saying(&NOT_FINISHED);
    app.database.execute("INSERT INTO withdrawals (n, decided_at, done_to) VALUES (0, 1, '')").await;
    shown_after_a_look(2).await;
    shown_after_a_look(2).await;
    repair(&app.database, backend).await;
    // The damaged row is left.
    shown_after_a_look(1).await;
    app.database.execute("DELETE FROM withdrawals").await;
    shown_after_a_look(0).await;
}
