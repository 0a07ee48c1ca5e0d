//! The refresh grant: RFC 6749 section 6, RFC 9700 section 4.14.

use std::{collections::HashSet, time::Duration};

use crate::support::{Answer, Backend, PASSWORD, Process, SIGN_IN, TestApp, TestDatabase, furnish, on_both_databases};

on_both_databases![
    rt1_a_refresh_gives_the_next_token_and_the_one_before_is_used_up,
    rt2_a_replay_ends_the_login_and_is_logged_once,
    rt4_two_rotations_within_a_second_are_distinguished,
    rt5_rotations_survive_a_restart,
    rt6_a_database_failure_does_not_use_up_a_refresh_token,
    a_signing_outage_does_not_use_up_a_refresh_token,
    rt7_the_token_of_another_client_is_refused_and_unharmed,
    rt8_a_refresh_needs_the_clients_credentials,
    rt9_a_narrower_scope_is_for_one_access_token,
    rt10_what_was_taken_from_client_or_user_is_not_granted_again,
    rt11_cc4_whatever_ends_the_right_to_it_ends_the_login,
    rt12_a_login_ends_when_it_is_idle_and_at_its_last_day,
    rt13_an_altered_token_is_refused_and_its_login_untouched,
    rt14_no_secret_is_in_the_database,
    rt15_a_lost_answer_is_given_again_for_thirty_seconds,
];

/// The states of all logins, as the command line sees them.
fn endings(app: &TestApp) -> Vec<String> {
    let logins = app.run_json(&["login", "list"]);
    logins.as_array().unwrap().iter().map(|login| login["end_reason"].as_str().unwrap_or("open").to_owned()).collect()
}

async fn rt1_a_refresh_gives_the_next_token_and_the_one_before_is_used_up(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let signed_in = app.sign_in(&client).await;
    let auth_time = signed_in.claims()["auth_time"].clone();
    let mut seen = HashSet::from([signed_in.refresh_token()]);
    let mut ids = HashSet::from([signed_in.claims()["jti"].clone()]);
    let mut current = signed_in.refresh_token();
    for _ in 0..5 {
        app.pass(Duration::from_secs(60)).await;
        let answer = app.refresh(&client, &current).await;
        current = answer.refresh_token();
        assert!(seen.insert(current.clone()) && ids.insert(answer.claims()["jti"].clone()));
        assert_eq!(answer.granted()["scope"], "orders:read orders:write");
        assert_eq!((&answer.claims()["auth_time"], answer.claims()["iat"].as_i64()), (&auth_time, Some(app.now().seconds())));
    }
    assert_eq!(app.database.texts("SELECT CAST(generation AS TEXT) FROM logins").await, ["6"]);
}

async fn rt2_a_replay_ends_the_login_and_is_logged_once(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let url = format!("http://{}/oauth/token", server.addr().await);
    let secret = furnish(&database);
    let http = reqwest::Client::new();
    let ask = async |body: String| {
        let request = http.post(&url).basic_auth("shop", Some(&secret)).header("content-type", "application/x-www-form-urlencoded");
        Answer::to(request.body(body)).await
    };
    let refresh = async |token: &str| ask(format!("grant_type=refresh_token&refresh_token={token}")).await;
    let first = ask(format!("grant_type=password&{SIGN_IN}")).await.refresh_token();
    let second = refresh(&first).await.refresh_token();
    let third = refresh(&second).await.refresh_token();
    for used_up in [&first, &first, &second, &third, &first] {
        refresh(used_up).await.refused(400, "invalid_grant");
    }
    server.signal("TERM");
    assert!(server.wait().success());
    let replays: Vec<_> = server.stderr().into_iter().filter(|line| line.contains("\"reason\":\"replay\"")).collect();
    assert_eq!(replays.len(), 1, "{replays:?}");
    assert!(replays[0].contains("\"client.id\":\"shop\"") && !replays[0].contains(&first), "{replays:?}");
    assert_eq!(database.texts("SELECT ended_because FROM logins").await, ["replay"]);
}

async fn rt4_two_rotations_within_a_second_are_distinguished(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    // The clock stands still.
    let first = app.sign_in(&client).await.refresh_token();
    let second = app.refresh(&client, &first).await.refresh_token();
    let third = app.refresh(&client, &second).await.refresh_token();
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
    app.refresh(&client, &third).await.refused(400, "invalid_grant");
    assert_eq!(endings(&app), ["replay"]);
}

async fn rt5_rotations_survive_a_restart(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let first = app.sign_in(&client).await.refresh_token();
    let second = app.refresh(&client, &first).await.refresh_token();
    let third = app.refresh(&client, &second).await.refresh_token();
    let app = TestApp::start_with(app.stop().await, &[]).await;
    assert_eq!(app.refresh(&client, &second).await.refresh_token(), third, "a lost answer is repaired across a restart");
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
    assert_eq!(endings(&app), ["replay"]);
}

async fn rt6_a_database_failure_does_not_use_up_a_refresh_token(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let first = app.sign_in(&client).await.refresh_token();
    let fail: &[&str] = match backend {
        Backend::Sqlite => &["CREATE TRIGGER failing BEFORE UPDATE ON logins BEGIN SELECT RAISE(ABORT, 'meant to'); END"],
        Backend::Postgres => &[
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'meant to'; END $$",
            "CREATE TRIGGER failing BEFORE UPDATE ON logins FOR EACH ROW EXECUTE FUNCTION fail()",
        ],
    };
    for sql in fail {
        app.database.execute(sql).await;
    }
    for _ in 0..3 {
        let answer = app.refresh(&client, &first).await;
        answer.refused(503, "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    app.database.execute(if backend == Backend::Sqlite { "DROP TRIGGER failing" } else { "DROP TRIGGER failing ON logins" }).await;
    let second = app.refresh(&client, &first).await.refresh_token();
    app.refresh(&client, &second).await.granted();
    assert_eq!(endings(&app), ["open"]);
}

async fn a_signing_outage_does_not_use_up_a_refresh_token(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let first = app.sign_in(&client).await.refresh_token();
    let raise = "UPDATE epochs SET n = n + 1 WHERE kind = 'keys'";
    app.database.execute("UPDATE signing_keys SET activates_at = activates_at + 1000000").await;
    app.database.execute(raise).await;
    app.settle().await;
    app.refresh(&client, &first).await.refused(503, "temporarily_unavailable");
    app.sign_in(&client).await.refused(503, "temporarily_unavailable");
    app.pass(Duration::from_secs(60)).await;
    app.refresh(&client, &first).await.refused(503, "temporarily_unavailable");
    app.database.execute("UPDATE signing_keys SET activates_at = activates_at - 1000000").await;
    app.database.execute(raise).await;
    app.settle().await;
    app.refresh(&client, &first).await.granted();
    assert_eq!(endings(&app), ["open"], "and nobody got a login without its token");
}

async fn rt7_the_token_of_another_client_is_refused_and_unharmed(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let other = app.app_for_users("other");
    let token = app.sign_in(&client).await.refresh_token();
    app.refresh(&other, &token).await.refused(400, "invalid_grant");
    let next = app.refresh(&client, &token).await.refresh_token();
    // Nor does a used one, sent by another, end the login.
    app.refresh(&client, &next).await.granted();
    app.refresh(&other, &token).await.refused(400, "invalid_grant");
    assert_eq!(endings(&app), ["open"]);
    assert_eq!(app.meters.foreign_refresh_tokens.get(), 2);
}

async fn rt8_a_refresh_needs_the_clients_credentials(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let token = app.sign_in(&client).await.refresh_token();
    let body = format!("grant_type=refresh_token&refresh_token={token}");
    for body in [body.clone(), format!("{body}&client_id=shop"), format!("{body}&client_id=shop&client_secret=wrong")] {
        Answer::to(app.token_request(&body)).await.refused(401, "invalid_client");
    }
    app.token(&client, "grant_type=refresh_token").await.refused(400, "invalid_request");
    app.refresh(&client, &token).await.granted();
}

async fn rt9_a_narrower_scope_is_for_one_access_token(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let first = app.sign_in(&client).await.refresh_token();
    let narrow = app.token(&client, &format!("grant_type=refresh_token&refresh_token={first}&scope=orders:read")).await;
    assert_eq!((narrow.granted()["scope"].as_str(), narrow.claims()["scope"].as_str()), (Some("orders:read"), Some("orders:read")));
    let second = narrow.refresh_token();
    for wider in ["orders:read+other", "other", "a++b"] {
        app.token(&client, &format!("grant_type=refresh_token&refresh_token={second}&scope={wider}")).await.refused(400, "invalid_scope");
    }
    app.token(&client, &format!("grant_type=refresh_token&refresh_token={second}&resource=https://other.example"))
        .await
        .refused(400, "invalid_target");
    assert_eq!(app.refresh(&client, &second).await.granted()["scope"], "orders:read orders:write");

    // A login that began narrow stays narrow.
    let narrow = app.token(&client, &format!("grant_type=password&{SIGN_IN}&scope=orders:read")).await.refresh_token();
    app.token(&client, &format!("grant_type=refresh_token&refresh_token={narrow}&scope=orders:write")).await.refused(400, "invalid_scope");
    assert_eq!(app.refresh(&client, &narrow).await.granted()["scope"], "orders:read");
}

async fn rt10_what_was_taken_from_client_or_user_is_not_granted_again(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let mut token = app.sign_in(&client).await.refresh_token();
    let mut granted = Vec::new();
    for command in [
        &["user", "update", "alice", "--allow", "https://orders.example=orders:read"][..],
        &["user", "update", "alice", "--allow", "https://orders.example=orders:read,orders:write"],
        &["client", "update", "shop", "--allow", "https://orders.example=orders:write"],
    ] {
        app.run(command).succeeded();
        app.settle().await;
        let answer = app.refresh(&client, &token).await;
        token = answer.refresh_token();
        granted.push(answer.granted()["scope"].as_str().unwrap().to_owned());
        assert_eq!(answer.claims()["scope"], answer.granted()["scope"]);
    }
    assert_eq!(granted, ["orders:read", "orders:read orders:write", "orders:write"]);
    let asked = |token: &str| format!("grant_type=refresh_token&refresh_token={token}&scope=orders:read");
    app.token(&client, &asked(&token)).await.refused(400, "invalid_scope");
    app.run(&["user", "update", "alice", "--allow", "https://orders.example=orders:read"]).succeeded();
    app.refresh(&client, &token).await.refused(400, "invalid_grant");
    app.run(&["user", "update", "alice", "--disallow", "https://orders.example"]).succeeded();
    app.refresh(&client, &token).await.refused(400, "invalid_grant");
}

async fn rt11_cc4_whatever_ends_the_right_to_it_ends_the_login(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let second = app.second_node().await;
    for (ending, end, restore) in [
        ("user_disabled", vec!["user", "disable", "alice"], vec!["user", "enable", "alice"]),
        ("client_disabled", vec!["client", "disable", "shop"], vec!["client", "enable", "shop"]),
        (
            "grant_withdrawn",
            vec!["client", "update", "shop", "--remove-grant", "password"],
            vec!["client", "update", "shop", "--add-grant", "password"],
        ),
        (
            "grant_withdrawn",
            vec!["client", "update", "shop", "--remove-grant", "refresh_token"],
            vec!["client", "update", "shop", "--add-grant", "refresh_token"],
        ),
        ("operator", vec!["login", "end", "--user", "alice"], vec!["login", "list"]),
        ("operator", vec!["login", "end", "--client", "shop"], vec!["login", "list"]),
    ] {
        let token = app.sign_in(&client).await.refresh_token();
        app.run(&end).succeeded();
        for node in [&app, &second] {
            node.settle().await;
            let answer = node.refresh(&client, &token).await;
            match ending {
                "client_disabled" => answer.refused(401, "invalid_client"),
                _ if end.contains(&"refresh_token") => answer.refused(400, "unauthorized_client"),
                _ => answer.refused(400, "invalid_grant"),
            };
        }
        app.run(&restore).succeeded();
        for node in [&app, &second] {
            node.settle().await;
            node.refresh(&client, &token).await.refused(400, "invalid_grant");
        }
        assert_eq!(endings(&app)[0], ending);
        app.database.execute("DELETE FROM logins").await;
    }

    // A node that has not heard of it yet begins no login that would outlive it.
    app.run(&["client", "update", "shop", "--remove-grant", "password"]).succeeded();
    second.sign_in(&client).await.refused(400, "invalid_grant");
    app.run(&["client", "update", "shop", "--add-grant", "password"]).succeeded();
    for node in [&app, &second] {
        node.settle().await;
    }

    let token = app.sign_in(&client).await.refresh_token();
    app.set_password("alice", "another four words here").succeeded();
    for node in [&app, &second] {
        node.refresh(&client, &token).await.refused(400, "invalid_grant");
    }
    app.sign_in(&client).await.refused(400, "invalid_grant");
    app.set_password("alice", PASSWORD).succeeded();

    let token = app.sign_in(&client).await.refresh_token();
    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    app.user("alice");
    for node in [&app, &second] {
        node.refresh(&client, &token).await.refused(400, "invalid_grant");
    }

    let token = app.sign_in(&client).await.refresh_token();
    app.run(&["client", "delete", "shop", "--yes"]).succeeded();
    for node in [&app, &second] {
        node.settle().await;
        node.refresh(&client, &token).await.refused(401, "invalid_client");
    }
    let again = app.app_for_users("shop");
    for node in [&app, &second] {
        node.settle().await;
        node.refresh(&again, &token).await.refused(400, "invalid_grant");
    }
}

async fn rt12_a_login_ends_when_it_is_idle_and_at_its_last_day(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let day = Duration::from_secs(24 * 3600);
    let idle = app.sign_in(&client).await.refresh_token();
    app.pass(7 * day - Duration::from_secs(1)).await;
    let mut busy = app.sign_in(&client).await.refresh_token();
    let kept = app.refresh(&client, &idle).await.refresh_token();
    app.pass(7 * day).await;
    app.refresh(&client, &kept).await.refused(400, "invalid_grant");
    app.refresh(&client, &busy).await.refused(400, "invalid_grant");

    busy = app.sign_in(&client).await.refresh_token();
    for _ in 0..29 {
        app.pass(day).await;
        busy = app.refresh(&client, &busy).await.refresh_token();
    }
    app.pass(day - Duration::from_secs(1)).await;
    busy = app.refresh(&client, &busy).await.refresh_token();
    app.pass(Duration::from_secs(1)).await;
    app.refresh(&client, &busy).await.refused(400, "invalid_grant");
    // What has long been over is forgotten by and by.
    app.pass(8 * day).await;
    app.settle().await;
    assert_eq!(app.run_json(&["login", "list"]), serde_json::json!([]));
}

async fn rt13_an_altered_token_is_refused_and_its_login_untouched(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let (one, other) = (app.sign_in(&client).await.refresh_token(), app.sign_in(&client).await.refresh_token());
    let one = app.refresh(&client, &one).await.refresh_token();
    let (id, rest) = one.split_once('.').unwrap();
    let (_, mac) = rest.split_once('.').unwrap();
    let mut altered: Vec<String> = (1..one.len()).step_by(7).map(|cut| one[..one.len() - cut].to_owned()).collect();
    let swapped: String =
        one.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    altered.extend([
        swapped,
        format!("{one}A"),
        format!("{one}."),
        format!("{}.{rest}", other.split('.').next().unwrap()),
        "x".repeat(5000),
        "..".to_owned(),
    ]);
    altered.extend([1, 3, 0, 99].map(|generation| format!("{id}.{generation}.{mac}")));
    let before = app.database.texts("SELECT CAST(generation AS TEXT) FROM logins ORDER BY id").await;
    for token in &altered {
        app.refresh(&client, token).await.refused(400, "invalid_grant");
    }
    assert_eq!(app.database.texts("SELECT CAST(generation AS TEXT) FROM logins ORDER BY id").await, before);
    assert_eq!(endings(&app), ["open", "open"]);
    app.refresh(&client, &one).await.granted();
    app.refresh(&client, &other).await.granted();
}

async fn rt14_no_secret_is_in_the_database(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let first = app.sign_in(&client).await.refresh_token();
    let second = app.refresh(&client, &first).await.refresh_token();
    let access = app.refresh(&client, &second).await.granted()["access_token"].as_str().unwrap().to_owned();
    let mac = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let secrets = [client.secret[19..62].to_owned(), mac(&first), mac(&second), mac(&access), PASSWORD.to_owned()];
    let mut everything = Vec::new();
    if backend == Backend::Sqlite {
        for file in ["sealwright.db", "sealwright.db-wal"] {
            everything.extend(std::fs::read(app.database.folder().join(file)).unwrap());
        }
    } else {
        for table in app.database.texts("SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = 'public'").await {
            everything.extend(app.database.texts(&format!("SELECT CAST(t AS TEXT) FROM {table} t")).await.join("\n").into_bytes());
        }
    }
    let contains = |text: &str| everything.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains("alice") && contains("$argon2id$"), "the search finds what is there");
    for secret in &secrets {
        assert!(!contains(secret), "{secret}");
    }
}

async fn rt15_a_lost_answer_is_given_again_for_thirty_seconds(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let first = app.sign_in(&client).await.refresh_token();
    let second = app.refresh(&client, &first).await.refresh_token();
    app.pass(Duration::from_secs(30)).await;
    let again = app.refresh(&client, &first).await;
    assert_eq!(again.refresh_token(), second);
    again.granted();
    // Its successor is used: the first is a replay now, however soon.
    app.refresh(&client, &second).await.granted();
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
    assert_eq!(endings(&app), ["replay"]);

    let first = app.sign_in(&client).await.refresh_token();
    app.refresh(&client, &first).await.granted();
    app.pass(Duration::from_secs(31)).await;
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
    assert_eq!(endings(&app)[0], "replay");
}
