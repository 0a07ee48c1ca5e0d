//! `sealwright change`, and what the change log says.

use sealwright::server::commands::{Act, NewResource};
use serde_json::{Value, json};

use crate::support::{Backend, ORDERS, PASSWORD, TestApp, on_both_databases, sealwright_with_input};

on_both_databases![
    a_change_is_listed_with_its_actor_and_the_properties_that_differ,
    the_change_log_has_no_secret_and_no_hash,
    a_refused_change_is_not_recorded,
    a_change_by_a_request_names_the_request,
    changes_of_an_earlier_version_have_no_detail,
    a_damaged_client_can_be_disabled_and_deleted,
    a_damaged_user_can_be_disabled_and_deleted,
    a_user_with_a_damaged_sub_can_be_disabled_and_deleted,
    a_damaged_login_can_be_ended,
    an_expired_login_is_ended_and_not_counted,
    a_change_that_ends_logins_says_how_many_and_whose,
    the_end_of_a_secret_is_recorded_when_its_client_is_created,
    a_damaged_detail_does_not_hide_its_change_or_the_others,
];

/// The changes, newest first.
fn changes(app: &TestApp) -> Vec<Value> {
    app.run_json(&["change", "list"]).as_array().unwrap().clone()
}

/// The newest change: its action, target, and what it was before and after.
fn newest(app: &TestApp) -> (String, String, Value, Value) {
    let change = changes(app).swap_remove(0);
    let text = |name: &str| change[name].as_str().unwrap().to_owned();
    (text("action"), text("target"), change["before"].clone(), change["after"].clone())
}

async fn a_change_is_listed_with_its_actor_and_the_properties_that_differ(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let is = |action: &str, target: &str, before: Value, after: Value| {
        assert_eq!(newest(&app), (action.to_owned(), target.to_owned(), before, after));
    };
    is("resource.create", ORDERS, Value::Null, json!({ "alg": "RS256", "scopes": ["orders:read", "orders:write"] }));
    app.run(&["resource", "update", ORDERS, "--add-scope", "orders:list", "--token-lifetime", "5m"]).succeeded();
    is(
        "resource.update",
        ORDERS,
        json!({ "scopes": ["orders:read", "orders:write"], "token_lifetime": null }),
        json!({ "scopes": ["orders:list", "orders:read", "orders:write"], "token_lifetime": 300 }),
    );

    let secret = app.client("billing").secret[3..19].to_owned();
    let (.., created) = newest(&app);
    assert_eq!((&created["grants"], &created["secrets"]), (&json!(["client_credentials"]), &json!([secret])));
    assert_eq!(created["allow"], json!({ ORDERS: ["orders:read", "orders:write"] }));
    app.run(&["client", "update", "billing", "--add-grant", "password"]).succeeded();
    is("client.update", "billing", json!({ "grants": ["client_credentials"] }), json!({ "grants": ["client_credentials", "password"] }));
    let disabled = app.run_json(&["client", "disable", "billing"])["disabled_at"].clone();
    is("client.disable", "billing", json!({ "disabled_at": null }), json!({ "disabled_at": disabled, "logins_ended": 0 }));
    app.run(&["client", "disable", "billing"]).succeeded();
    is("client.disable", "billing", json!({}), json!({ "logins_ended": 0 }));
    app.run(&["client", "enable", "billing"]).succeeded();
    is("client.enable", "billing", json!({ "disabled_at": disabled }), json!({ "disabled_at": null }));
    app.run(&["client", "drop-secret", "billing", &secret, "--last", "--yes"]).succeeded();
    is("client.drop_secret", &format!("billing {secret}"), json!({ "secret": secret }), Value::Null);
    app.run(&["client", "delete", "billing", "--yes"]).succeeded();
    let (action, _, deleted, after) = newest(&app);
    assert_eq!((action.as_str(), &deleted["secrets"], after), ("client.delete", &json!([]), json!({ "logins_ended": 0 })));

    app.user("alice");
    app.run(&["user", "update", "alice", "--allow", "https://orders.example=orders:read"]).succeeded();
    is(
        "user.update",
        "alice",
        json!({ "allow": { ORDERS: ["orders:read", "orders:write"] } }),
        json!({ "allow": { ORDERS: ["orders:read"] } }),
    );
    app.run(&["login", "end", "--user", "alice"]).succeeded();
    let sub = app.run_json(&["user", "show", "alice"])["sub"].clone();
    is("login.end", "alice", Value::Null, json!({ "logins_ended": 0, "sub": sub, "user": "alice" }));

    let all = changes(&app);
    assert!(all.iter().all(|change| change["actor"].as_str().unwrap().contains('@') && change["request"].is_null()), "{all:?}");
    let first = all.last().unwrap();
    assert_eq!((&first["action"], &first["after"]), (&json!("key.create"), &json!({ "algorithm": "RS256", "generation": 1 })));
    assert!(first["actor"].as_str().unwrap().starts_with("sealwright@"), "the server made it: {first}");
    let table = app.run(&["change", "list"]).succeeded().stdout;
    assert!(
        table.starts_with(" TIME") && table.contains(r#"grants: ["client_credentials"] -> ["client_credentials","password"]"#),
        "{table}"
    );
}

async fn the_change_log_has_no_secret_and_no_hash(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let added = app.run_json(&["client", "add-secret", "shop", "--expires-in", "1h"])["secret"]["value"].as_str().unwrap().to_owned();
    sealwright_with_input(&app.database, &["user", "set-password", "alice", "--password-stdin"], &format!("{PASSWORD} again")).succeeded();
    let mut stored = app.database.texts("SELECT digest FROM client_secrets").await;
    stored.extend(app.database.texts("SELECT password_hash FROM users").await);
    assert_eq!(stored.len(), 3, "two secrets and a password");
    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    app.run(&["client", "delete", "shop", "--yes"]).succeeded();
    let log = app.database.texts("SELECT detail FROM changes").await.join("\n");
    assert!(log.contains("expires_at") && log.contains(&added[3..19]), "{log}");
    for hidden in [&shop.secret[19..], &added[19..], "argon2", "plum", "digest", "hash", "password\":"] {
        assert!(!log.contains(hidden), "{hidden} is in {log}");
    }
    for hidden in stored {
        assert!(!log.contains(&hidden), "{hidden} is in {log}");
    }
}

async fn a_refused_change_is_not_recorded(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let secret = app.client("billing").secret[3..19].to_owned();
    let before = changes(&app);
    app.run(&["client", "create", "billing"]).failed_saying(&["already exists"]);
    app.run(&["client", "drop-secret", "billing", &secret, "--yes"]).failed_saying(&["--last"]);
    app.run(&["client", "disable", "missing"]).failed_saying(&["there is no client missing"]);
    app.run(&["user", "delete", "missing", "--yes"]).failed_saying(&["there is no user missing"]);
    app.run(&["resource", "delete", ORDERS, "--yes"]).failed_saying(&["in use by the client billing"]);
    assert_eq!(changes(&app), before);
}

async fn a_change_by_a_request_names_the_request(backend: Backend) {
    let app = TestApp::start(backend).await;
    let act = Act::new("alice\u{1b}[31m@console", Some("01JD"), app.now());
    let new = NewResource {
        audience: ORDERS.parse().unwrap(),
        scope: "orders:read".parse().unwrap(),
        token_lifetime: None,
        fixed_claims: Default::default(),
        claims: [].into(),
        algorithm: sealwright::protocol::Algorithm::Rs256,
    };
    app.database.operate(async |operator| operator.commands.resources().create(&act, new).await.map(drop).unwrap());
    let change = &changes(&app)[0];
    assert_eq!((&change["actor"], &change["request"]), (&json!("alice[31m@console"), &json!("01JD")));
    assert_eq!(app.database.texts("SELECT CAST(at AS TEXT) FROM changes ORDER BY n DESC").await[0], app.now().seconds().to_string());
}

async fn changes_of_an_earlier_version_have_no_detail(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.settle().await;
    let database = app.stop().await;
    database.execute("ALTER TABLE changes DROP COLUMN detail").await;
    database.execute("DELETE FROM _sqlx_migrations WHERE version = 5").await;
    // The record beside the sealing key is older, and still identifies the database.
    let app = TestApp::start_with(database, &[]).await;
    app.client("billing");
    let all = changes(&app);
    let details: Vec<_> = all.iter().map(|change| (change["action"].as_str().unwrap(), change["after"].is_object())).collect();
    assert_eq!(details, [("client.create", true), ("resource.create", false), ("key.create", false)]);
    app.run(&["change", "list"]).succeeded();
}

async fn a_damaged_client_can_be_disabled_and_deleted(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    app.database.execute("UPDATE client_secrets SET digest = 'damaged'").await;
    let disabled = app.run(&["client", "disable", "billing", "--json"]).succeeded();
    assert!(disabled.stderr.contains("the change was made, but billing cannot be shown"), "{disabled:?}");
    assert_eq!(disabled.json()["client_id"], "billing");
    assert_eq!(app.database.texts("SELECT id FROM clients WHERE disabled_at IS NOT NULL").await, ["billing"]);
    app.run(&["client", "delete", "billing", "--yes"]).succeeded();
    assert_eq!(newest(&app).0, "client.delete");
}

async fn a_damaged_user_can_be_disabled_and_deleted(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.user("alice");
    app.database.execute("INSERT INTO resource_scopes (scope, audience) VALUES ('two words', 'https://orders.example')").await;
    app.database
        .execute("INSERT INTO user_permissions (sub, scope, audience) SELECT sub, 'two words', 'https://orders.example' FROM users")
        .await;
    app.run(&["user", "show", "alice"]).failed_saying(&["the database contains an invalid scope"]);
    let disabled = app.run(&["user", "disable", "alice", "--json"]).succeeded();
    assert!(disabled.stderr.contains("the change was made, but alice cannot be shown"), "{disabled:?}");
    assert_eq!(disabled.json()["username"], "alice");
    assert_eq!(app.database.texts("SELECT username FROM users WHERE disabled_at IS NOT NULL").await, ["alice"]);
    assert_eq!(newest(&app).3, json!({ "logins_ended": 0 }));
    app.run(&["login", "end", "--user", "alice"]).succeeded();
    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    assert_eq!(newest(&app).0, "user.delete");
}

async fn a_user_with_a_damaged_sub_can_be_disabled_and_deleted(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.sign_in(&shop).await.granted();
    for damage in [
        "DELETE FROM user_permissions",
        "DELETE FROM sign_in_sources",
        "UPDATE users SET sub = 'damaged'",
        "UPDATE logins SET sub = 'damaged'",
    ] {
        app.database.execute(damage).await;
    }
    app.run(&["user", "show", "alice"]).failed_saying(&["the database contains an invalid sub"]);
    let disabled = app.run(&["user", "disable", "alice"]).succeeded();
    assert!(disabled.stderr.contains("the change was made, but alice cannot be shown"), "{disabled:?}");
    assert_eq!(app.database.texts("SELECT username FROM users WHERE disabled_at IS NOT NULL").await, ["alice"]);
    assert_eq!(newest(&app).3, json!({ "logins_ended": 1 }));
    app.set_password("alice", &format!("{PASSWORD} again")).succeeded();
    app.run(&["login", "end", "--user", "alice"]).succeeded();
    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    assert_eq!(app.run_json(&["user", "list"]), json!([]));
}

async fn a_damaged_login_can_be_ended(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.sign_in(&shop).await.granted();
    app.database.execute("UPDATE logins SET scope = '', sub = 'damaged', client_id = ''").await;
    let id = app.database.texts("SELECT id FROM logins").await.remove(0);
    let ended = app.run(&["login", "end", &id]).succeeded();
    assert!(ended.stdout.contains("ended 1 login"), "{ended:?}");
    assert_eq!(app.database.texts("SELECT ended_because FROM logins").await, ["operator"]);
}

async fn an_expired_login_is_ended_and_not_counted(backend: Backend) {
    for (expired, command) in [
        ("idle_ends_at", &["user", "disable", "alice"][..]),
        ("absolute_ends_at", &["user", "delete", "alice", "--yes"]),
        ("idle_ends_at", &["client", "disable", "shop"]),
        ("absolute_ends_at", &["client", "delete", "shop", "--yes"]),
        ("idle_ends_at", &["login", "end", "--client", "shop"]),
    ] {
        let (app, shop) = TestApp::for_users(backend).await;
        for _ in 0..2 {
            app.sign_in(&shop).await.granted();
        }
        app.database.execute(&format!("UPDATE logins SET {expired} = 1 WHERE id = (SELECT MIN(id) FROM logins)")).await;
        app.run(command).succeeded();
        assert_eq!(newest(&app).3["logins_ended"], 1, "{command:?}");
        // The clock of the operator's machine may be ahead, and then it is still valid on the servers.
        let open = app.database.texts("SELECT id FROM logins WHERE ended_at IS NULL").await;
        assert!(open.is_empty(), "{command:?}: {open:?}");
    }
}

async fn a_change_that_ends_logins_says_how_many_and_whose(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let ended = |command: &[&str], count: u64| {
        let done = app.run(command).succeeded();
        let said = if count == 1 { "ended 1 login; ".to_owned() } else { format!("ended {count} logins; ") };
        let last = done.stdout.lines().last().unwrap();
        assert!(last.starts_with(&said) && last.ends_with("access tokens within 12 s"), "{done:?}");
        let (action, _, _, after) = newest(&app);
        assert_eq!(after["logins_ended"], count, "{action}");
        after
    };
    for _ in 0..2 {
        app.sign_in(&shop).await.granted();
    }
    let id = app.run_json(&["login", "list"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ended(&["login", "end", &id], 1)["login"], id);
    assert_eq!(ended(&["login", "end", "--client", "shop"], 1)["client"], "shop");
    app.sign_in(&shop).await.granted();
    assert_eq!(ended(&["login", "end", "--user", "alice"], 1)["user"], "alice");
    app.sign_in(&shop).await.granted();
    ended(&["client", "update", "shop", "--remove-grant", "refresh_token"], 1);
    app.run(&["client", "update", "shop", "--add-grant", "refresh_token"]).succeeded();
    app.settle().await;
    app.sign_in(&shop).await.granted();
    ended(&["client", "disable", "shop"], 1);
    app.run(&["client", "enable", "shop"]).succeeded();
    app.settle().await;
    app.sign_in(&shop).await.granted();
    app.set_password("alice", &format!("{PASSWORD} again")).succeeded();
    assert_eq!(newest(&app).3, json!({ "logins_ended": 1 }));
    app.set_password("alice", PASSWORD).succeeded();
    app.sign_in(&shop).await.granted();
    ended(&["user", "disable", "alice"], 1);
    app.run(&["user", "enable", "alice"]).succeeded();
    app.sign_in(&shop).await.granted();
    let deleted = app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    assert!(deleted.stdout.contains("ended 1 login"), "{deleted:?}");
    assert_eq!(newest(&app).3, json!({ "logins_ended": 1 }));
}

async fn the_end_of_a_secret_is_recorded_when_its_client_is_created(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let created = app.run_json(&["client", "create", "billing", "--expires-in", "90days"]);
    let end = &created["secret"]["expires_at"];
    assert!(end.is_string());
    assert_eq!(&newest(&app).3["secret_expires_at"], end);
    app.run(&["client", "create", "reports", "--secret-expires-in", "90days"]).succeeded();
    assert!(newest(&app).3["secret_expires_at"].is_string(), "the former name of the option");
    app.client("forever");
    assert!(newest(&app).3.get("secret_expires_at").is_none());
}

async fn a_damaged_detail_does_not_hide_its_change_or_the_others(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.database.execute("UPDATE changes SET detail = '{' WHERE action = 'resource.create'").await;
    app.client("billing");
    let listed = app.run(&["change", "list", "--json"]).succeeded();
    assert!(listed.stderr.contains("the detail of change 2 cannot be shown"), "{listed:?}");
    let all = listed.json();
    assert_eq!((&all[0]["action"], &all[0]["damaged"]), (&json!("client.create"), &Value::Null));
    assert_eq!(all[1]["action"], "resource.create");
    assert!(all[1]["damaged"].as_str().unwrap().contains("detail of a change"), "{all}");
    let table = app.run(&["change", "list"]).succeeded().stdout;
    assert!(table.lines().any(|line| line.contains("resource.create") && line.ends_with("damaged")), "{table}");
}
