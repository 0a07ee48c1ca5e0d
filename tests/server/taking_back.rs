//! `sealwright token revoke`, `client revoke-tokens`, `user revoke-tokens` and `client drop-secret --compromised`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Backend, Credential, Finished, TestApp, TestDatabase, on_both_databases, on_sqlite, sealwright_with_input};

on_both_databases![
    rv6_token_revoke_takes_back_one_token_of_a_client,
    rv6_token_revoke_ends_the_login_of_a_users_token,
    client_revoke_tokens_takes_back_the_clients_own_and_leaves_logins_alone,
    user_revoke_tokens_ends_the_logins_of_the_user_alone,
    drop_secret_warns_of_tokens_that_live_on_and_takes_them_back_if_compromised,
    a_command_says_which_tokens_and_logins_it_took_back,
    a_command_says_that_it_ended_logins_that_had_expired,
];

on_sqlite![
    token_revoke_says_why_a_text_is_not_revoked,
    token_revoke_refuses_a_token_without_a_status_and_one_that_has_expired,
    without_status_lists_no_command_claims_that_tokens_are_refused,
];

fn access_token(answer: &Answer) -> String {
    answer.granted()["access_token"].as_str().unwrap().to_owned()
}

/// The list and the position that a token names.
fn position(answer: &Answer) -> (String, u64) {
    let reference = &answer.claims()["status"]["status_list"];
    (reference["uri"].as_str().unwrap().rsplit('/').next().unwrap().to_owned(), reference["idx"].as_u64().unwrap())
}

/// Lists, starts, widths and ends of the revocations.
async fn revocations(app: &TestApp) -> Vec<String> {
    app.database
        .texts("SELECT list_id || ' ' || start || ' ' || width || ' ' || expires_at FROM revocations ORDER BY epoch, list_id, start")
        .await
}

async fn is_revoked(app: &TestApp, answer: &Answer) -> bool {
    let (list, index) = position(answer);
    let around = format!("SELECT list_id FROM revocations WHERE list_id = '{list}' AND start <= {index} AND start + width > {index}");
    !app.database.texts(&around).await.is_empty()
}

fn newest_change(app: &TestApp) -> Value {
    app.run_json(&["change", "list", "--limit", "1"])[0].clone()
}

fn revoke(app: &TestApp, token: &str) -> Finished {
    sealwright_with_input(&app.database, &["token", "revoke", "-", "--json"], token)
}

async fn rv6_token_revoke_takes_back_one_token_of_a_client(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let billing = app.client("billing");
    let (first, second) = (app.plain_token(&billing).await, app.plain_token(&billing).await);
    let claims = first.claims();
    // The token endpoint's answer is read as by the other commands.
    let revoked = revoke(&app, &first.body).json();
    assert_eq!((&revoked["client_id"], &revoked["jti"], &revoked["sub"]), (&json!("billing"), &claims["jti"], &json!("billing")));
    assert!(revoked["login"].is_null() && revoked["username"].is_null(), "{revoked}");
    let time = |name: &str| humantime::parse_rfc3339(revoked[name].as_str().unwrap()).unwrap();
    assert_eq!(time("verifiers_follow_by").duration_since(time("revoked_at")).unwrap(), Duration::from_secs(12));
    let (list, index) = position(&first);
    assert_eq!(revocations(&app).await, [format!("{list} {index} 1 {}", claims["exp"].as_i64().unwrap() + 420)]);
    assert!(!is_revoked(&app, &second).await);

    let change = newest_change(&app);
    let target = format!("billing {}", claims["jti"].as_str().unwrap());
    assert_eq!((&change["action"], &change["target"]), (&json!("token.revoke"), &json!(target)));
    assert_eq!(change["after"], json!({ "expires_at": revoked["expires_at"] }));
    let log = app.database.texts("SELECT detail || target FROM changes").await.join("\n");
    assert!(!log.contains(access_token(&first).split('.').nth(2).unwrap()), "never the token");

    revoke(&app, &access_token(&first)).failed_saying(&["it is refused already"]);
    assert_eq!(newest_change(&app)["number"], change["number"], "nothing was changed, so nothing is recorded");
    let said = app.run(&["token", "revoke", &access_token(&second)]).succeeded().stdout;
    for word in
        ["a token of the client billing", "same position", "inactive from now on", "verifiers that read the status lists refuse it by"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    app.settle().await;
    assert_eq!(app.plain_token(&billing).await.status, 200, "the client goes on");

    // A failover to a replica may lose the client's row. The token is not refused by that alone.
    let third = app.plain_token(&billing).await;
    app.database.execute("DELETE FROM status_spans").await;
    revoke(&app, &third.body).json();
    assert!(is_revoked(&app, &third).await);
}

async fn rv6_token_revoke_ends_the_login_of_a_users_token(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let (first, other) = (app.sign_in(&shop).await, app.sign_in(&shop).await);
    let refreshed = app.refresh(&shop, &first.refresh_token()).await;
    let revoked = revoke(&app, &access_token(&first)).json();
    let login = first.refresh_token()[4..].split('.').next().unwrap().to_owned();
    assert_eq!((&revoked["login"], &revoked["username"], &revoked["client_id"]), (&json!(login), &json!("alice"), &json!("shop")));
    assert_eq!(app.database.texts("SELECT id || ended_because FROM logins WHERE ended_at IS NOT NULL").await, [format!("{login}operator")]);
    assert!(is_revoked(&app, &first).await && is_revoked(&app, &refreshed).await && !is_revoked(&app, &other).await);
    app.refresh(&shop, &refreshed.refresh_token()).await.refused(400, "invalid_grant");
    let change = newest_change(&app);
    assert_eq!(
        (&change["action"], &change["after"]["login"], &change["after"]["logins_ended"]),
        (&json!("token.revoke"), &json!(login), &json!(1))
    );
    assert_eq!(change["target"], format!("shop {}", first.claims()["jti"].as_str().unwrap()));

    revoke(&app, &access_token(&refreshed)).failed_saying(&["it is refused already"]);
    // The name is only for the message.
    app.database.execute("UPDATE users SET attributes = '{'").await;
    let said = app.run(&["token", "revoke", &access_token(&other)]).succeeded().stdout;
    assert!(said.contains("a token of the user") && said.contains("ended the login"), "{said}");
}

async fn token_revoke_says_why_a_text_is_not_revoked(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let other = TestApp::start(backend).await.with_orders();
    let foreign = access_token(&other.plain_token(&other.client("billing")).await);
    let login = app.sign_in(&shop).await.refresh_token();
    let id = login[4..].split('.').next().unwrap();
    let mine = access_token(&app.plain_token(&shop).await);
    let (signed, signature) = mine.rsplit_once('.').unwrap();
    let (first, rest) = signature.split_at(1);
    let forged = format!("{signed}.{}{rest}", if first == "A" { "B" } else { "A" });
    let hint = format!("`sealwright login end {id}`");
    for (text, why) in [
        (login.as_str(), hint.as_str()),
        (&login[4..], &hint),
        (&shop.secret, "a client secret"),
        (&foreign, "no key that this issuer publishes"),
        (&forged, "its signature is not valid"),
        (&mine[..mine.len() / 2], "not an access token"),
        ("", "not an access token"),
        ("a.b.c", "not an access token"),
        (r#"{"error":"invalid_client"}"#, "error response"),
        (&"x".repeat(60_000), "too long"),
    ] {
        let refused = revoke(&app, text).failed_saying(&[why]);
        assert!(text.len() < 40 || !refused.stderr.contains(&text[text.len() - 30..]), "it does not repeat the token: {refused:?}");
    }
    app.run(&["token", "revoke", &mine, "--issuer", "https://auth.example"])
        .failed_saying(&["from another issuer", "https://auth.example"]);
    assert!(revocations(&app).await.is_empty() && newest_change(&app)["action"] != "token.revoke");
    app.run(&["token", "revoke", &mine, "--issuer", &app.issuer]).succeeded();

    // As after `sealwright restored`, which deletes all lists.
    let mine = access_token(&app.plain_token(&shop).await);
    for table in ["status_spans", "status_lists"] {
        app.database.execute(&format!("DELETE FROM {table}")).await;
    }
    revoke(&app, &mine).failed_saying(&["refused already"]);
}

async fn token_revoke_refuses_a_token_without_a_status_and_one_that_has_expired(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("status_lists", "false")]).await.with_orders();
    let billing = app.client("billing");
    revoke(&app, &access_token(&app.plain_token(&billing).await))
        .failed_saying(&["no position in a status list", "key rotate --now --compromised"]);

    // The key signs since yesterday, and the clock of the server is behind: the token expired before it was issued.
    let app = TestApp::start(backend).await.with_orders();
    let billing = app.client("billing");
    app.database.execute("UPDATE signing_keys SET published_at = published_at - 86400, activates_at = activates_at - 86400").await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'keys'").await;
    app.settle().await;
    app.clock.set_back(Duration::from_secs(3600));
    revoke(&app, &access_token(&app.plain_token(&billing).await)).failed_saying(&["it expired at"]);
}

/// A client that got a token for itself, and by which alice signed in.
async fn both_kinds(backend: Backend) -> (TestApp, Credential, Answer, Answer) {
    let (app, shop) = TestApp::for_users(backend).await;
    let (own, login) = (app.plain_token(&shop).await, app.sign_in(&shop).await);
    (app, shop, own, login)
}

async fn client_revoke_tokens_takes_back_the_clients_own_and_leaves_logins_alone(backend: Backend) {
    let (app, shop, own, login) = both_kinds(backend).await;
    let kiosk = app.client("kiosk");
    let others = app.plain_token(&kiosk).await;
    assert_eq!(app.run(&["client", "revoke-tokens", "shop"]).status.code(), Some(2), "it wants --yes");
    app.run(&["client", "revoke-tokens", "shp", "--yes"]).failed_saying(&["there is no client shp; did you mean shop?"]);
    assert!(revocations(&app).await.is_empty());
    let revoked = app.run_json(&["client", "revoke-tokens", "shop", "--yes"]);
    assert_eq!((&revoked["client_id"], &revoked["tokens_revoked"]), (&json!("shop"), &json!(true)));
    assert_eq!(revoked["logins_continued"], 1);
    assert!(revoked["verifiers_follow_by"].is_string() && revoked["username"].is_null(), "{revoked}");
    assert!(is_revoked(&app, &own).await && !is_revoked(&app, &login).await && !is_revoked(&app, &others).await);
    assert_eq!((&newest_change(&app)["action"], &newest_change(&app)["target"]), (&json!("client.revoke_tokens"), &json!("shop")));

    app.settle().await;
    let fresh = app.plain_token(&shop).await;
    assert!(!is_revoked(&app, &fresh).await, "the client gets new ones");
    app.refresh(&shop, &login.refresh_token()).await.granted();
    let said = app.run(&["client", "revoke-tokens", "shop", "--yes"]).succeeded().stdout;
    for word in ["within 12 s", "1 login of users by it go on", "`sealwright login end --client shop`"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(is_revoked(&app, &fresh).await);
}

async fn user_revoke_tokens_ends_the_logins_of_the_user_alone(backend: Backend) {
    let (app, shop, own, login) = both_kinds(backend).await;
    let second = app.sign_in(&shop).await;
    app.user("bob");
    let bobs = app.token(&shop, "grant_type=password&username=bob&password=plum+trousers+at+the+gate").await;
    assert_eq!(app.run(&["user", "revoke-tokens", "alice"]).status.code(), Some(2), "it wants --yes");
    let revoked = app.run_json(&["user", "revoke-tokens", "alice", "--yes"]);
    assert_eq!((&revoked["username"], &revoked["logins_ended"]), (&json!("alice"), &json!(2)));
    assert!(is_revoked(&app, &login).await && is_revoked(&app, &second).await);
    assert!(!is_revoked(&app, &own).await && !is_revoked(&app, &bobs).await);
    assert_eq!(
        (&newest_change(&app)["action"], &newest_change(&app)["after"]),
        (&json!("user.revoke_tokens"), &json!({ "logins_ended": 2 }))
    );
    app.refresh(&shop, &login.refresh_token()).await.refused(400, "invalid_grant");
    app.refresh(&shop, &bobs.refresh_token()).await.granted();
    app.sign_in(&shop).await.granted();
    let said = app.run(&["user", "revoke-tokens", "alice", "--yes"]).succeeded().stdout;
    assert!(said.contains("ended 1 login; verifiers that read the status lists refuse its access tokens within 12 s"), "{said}");
    app.run(&["user", "revoke-tokens", "alise", "--yes"]).failed_saying(&["there is no user alise; did you mean alice?"]);
}

async fn drop_secret_warns_of_tokens_that_live_on_and_takes_them_back_if_compromised(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let billing = app.client("billing");
    let leaked = [app.database.add_secret(&billing, None), app.database.add_secret(&billing, None)];
    let before = app.plain_token(&leaked[0]).await;
    let drop = |secret: &Credential, more: &[&str]| {
        app.run(&[&["client", "drop-secret", "billing", &secret.secret[3..19], "--yes"], more].concat()).succeeded()
    };
    let dropped = drop(&leaked[0], &[]);
    assert!(dropped.stderr.contains("valid until they expire") && dropped.stderr.contains("--compromised"), "{dropped:?}");
    assert!(dropped.stderr.contains("`sealwright client revoke-tokens billing`"), "{dropped:?}");
    assert!(!is_revoked(&app, &before).await);
    let dropped = drop(&leaked[1], &["--compromised"]);
    assert!(dropped.stderr.is_empty() && dropped.stdout.contains("within 12 s"), "{dropped:?}");
    assert!(is_revoked(&app, &before).await);
    app.settle().await;
    assert!(!is_revoked(&app, &app.plain_token(&billing).await).await, "the client goes on with its other secret");
    let json = app.run_json(&["client", "add-secret", "billing"]);
    let id = json["secret"]["id"].as_str().unwrap();
    let dropped = app.run(&["client", "drop-secret", "billing", id, "--yes", "--compromised", "--json"]).succeeded();
    assert_eq!(dropped.json()["client_id"], "billing", "in JSON, the client is all");
}

async fn a_command_says_which_tokens_and_logins_it_took_back(backend: Backend) {
    const REFUSE: &str = "verifiers that read the status lists refuse";
    let (app, shop, own, login) = both_kinds(backend).await;
    let said = |arguments: &[&str]| app.run(arguments).succeeded().stdout;
    let at_orders = |scopes: &str| format!("https://orders.example={scopes}");
    let (both, one) = (at_orders("orders:read,orders:write"), at_orders("orders:read"));
    // What takes nothing away says nothing of it.
    for more_or_the_same in [&["--token-lifetime", "5m"][..], &["--allow", both.as_str()]] {
        assert!(!said(&[&["client", "update", "shop"], more_or_the_same].concat()).contains("refuse"), "{more_or_the_same:?}");
    }
    assert!(!said(&["user", "update", "alice", "--allow", &both]).contains("refuse"));
    let narrowed = said(&["user", "update", "alice", "--allow", &one]);
    assert!(narrowed.contains(&format!("{REFUSE} their earlier access tokens within 12 s")), "{narrowed}");
    assert!(is_revoked(&app, &login).await && !is_revoked(&app, &own).await);
    let narrowed = said(&["client", "update", "shop", "--allow", &one]);
    assert!(narrowed.contains(&format!("{REFUSE} its earlier access tokens within 12 s")), "{narrowed}");
    assert!(is_revoked(&app, &own).await);

    // All of them were revoked before.
    let removed = said(&["client", "update", "shop", "--remove-grant", "client_credentials"]);
    assert!(!removed.contains("refuse") && !removed.contains("ended"), "{removed}");
    let revoked = said(&["client", "revoke-tokens", "shop", "--yes"]);
    assert!(revoked.starts_with("revoked no token that shop got for itself"), "{revoked}");
    assert_eq!(app.run_json(&["client", "revoke-tokens", "shop", "--yes"])["tokens_revoked"], false);
    said(&["client", "update", "shop", "--add-grant", "client_credentials"]);
    app.settle().await;
    app.refresh(&shop, &login.refresh_token()).await.granted();
    app.plain_token(&shop).await.granted();
    let disabled = said(&["client", "disable", "shop"]);
    assert!(disabled.ends_with(&format!("ended 1 login; {REFUSE} all of its access tokens within 12 s\n")), "{disabled}");
    assert_eq!(said(&["client", "delete", "shop", "--yes"]), "deleted the client shop, and ended 0 logins\n");
    assert_eq!(said(&["user", "delete", "alice", "--yes"]), "deleted the user alice, and ended 0 logins\n");
}

async fn a_command_says_that_it_ended_logins_that_had_expired(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let login = app.sign_in(&shop).await;
    app.database.execute("UPDATE logins SET idle_ends_at = 1").await;
    let revoked = app.run(&["user", "revoke-tokens", "alice", "--yes"]).succeeded().stdout;
    assert!(revoked.contains("and ended 0 logins, and 1 that had expired; verifiers"), "{revoked}");
    assert!(is_revoked(&app, &login).await, "its access token may be valid for longer");
    let revoked = app.run(&["user", "revoke-tokens", "alice", "--yes"]).succeeded().stdout;
    assert!(revoked.starts_with("revoked no token of alice") && revoked.ends_with("; ended 0 logins\n"), "{revoked}");
}

async fn without_status_lists_no_command_claims_that_tokens_are_refused(backend: Backend) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &[("status_lists", "false")]).await.with_orders();
    let shop = app.app_for_users("shop");
    app.user("alice");
    app.plain_token(&shop).await.granted();
    app.sign_in(&shop).await.granted();
    let secret = app.database.add_secret(&shop, None);
    for (arguments, says) in [
        (&["client", "revoke-tokens", "shop", "--yes"][..], "revoked no token that shop got for itself"),
        (&["client", "drop-secret", "shop", &secret.secret[3..19], "--yes", "--compromised"], "revoked no token that shop got for itself"),
        (&["client", "update", "shop", "--remove-grant", "client_credentials"], "shop"),
        (&["user", "disable", "alice"], "ended 1 login\n"),
        (&["client", "disable", "shop"], "ended 0 logins\n"),
    ] {
        let said = app.run(arguments).succeeded().stdout;
        assert!(said.contains(says) && !said.contains("refuse"), "{arguments:?}: {said}");
    }
}
