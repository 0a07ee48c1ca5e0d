//! What the lists of the command line select, and how they look.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Backend, ORDERS, TestApp, command_on, on_both_databases, on_terminal};

on_both_databases![
    clients_are_listed_by_resource_grant_state_last_use_and_the_end_of_their_secrets,
    users_are_listed_by_resource_state_and_last_sign_in,
    logins_and_changes_are_listed_by_whose_they_are_and_no_more_than_wanted,
    a_damaged_row_hides_neither_itself_nor_the_others,
    a_name_that_is_not_a_text_makes_no_list_fail,
    a_list_of_many_pages_is_complete_and_in_order,
    a_list_fits_a_terminal_and_a_pipe_is_not_cut,
];

const STOCK: &str = "https://stock.example";

/// The names in a list: the values of this key.
fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

fn listed(app: &TestApp, arguments: &[&str], key: &str) -> Vec<String> {
    names(&app.run_json(arguments), key)
}

async fn clients_are_listed_by_resource_grant_state_last_use_and_the_end_of_their_secrets(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.run(&["resource", "create", STOCK, "--scope", "stock:read"]).succeeded();
    app.client("billing");
    app.app_for_users("shop");
    app.client_with("stock-reader", &["--allow", "https://stock.example=stock:read", "--expires-in", "10days"]);
    app.client_with("stock-api", &["--introspects", STOCK]);
    app.run(&["client", "disable", "stock-api"]).succeeded();
    let list = |arguments: &[&str]| listed(&app, &[&["client", "list"], arguments].concat(), "client_id");

    assert_eq!(list(&[]), ["billing", "shop", "stock-api", "stock-reader"]);
    assert_eq!(list(&["--resource", STOCK]), ["stock-api", "stock-reader"], "with scopes there, or introspecting its tokens");
    assert_eq!(list(&["--resource", ORDERS]), ["billing", "shop"]);
    assert_eq!(list(&["--grant", "password"]), ["shop"]);
    assert_eq!(list(&["--grant", "client_credentials"]), ["billing", "shop"]);
    assert_eq!(list(&["--disabled"]), ["stock-api"]);
    assert_eq!(list(&["--enabled", "--resource", STOCK]), ["stock-reader"]);
    assert_eq!(list(&["--secret-expires-within", "9days"]), [""; 0]);
    assert_eq!(list(&["--secret-expires-within", "11days"]), ["stock-reader"]);

    // All but one are older than 30 days; one of them was used since.
    let ago = |days: u64| (app.now() - Duration::from_secs(days * 24 * 3600)).seconds();
    app.database.execute(&format!("UPDATE clients SET created_at = {} WHERE id <> 'stock-reader'", ago(31))).await;
    app.database.execute(&format!("UPDATE client_secrets SET last_used_at = {} WHERE client_id = 'billing'", ago(29))).await;
    app.database.execute(&format!("UPDATE client_secrets SET last_used_at = {} WHERE client_id = 'shop'", ago(32))).await;
    assert_eq!(list(&["--unused-for", "30days"]), ["shop", "stock-api"]);
    assert_eq!(list(&["--unused-for", "30days", "--enabled"]), ["shop"]);
    let shown = app.run_json(&["client", "list", "--grant", "password"]);
    assert_eq!(shown[0]["last_used_at"], shown[0]["secrets"][0]["last_used_at"]);
    assert_eq!(app.run(&["client", "list", "--enabled", "--disabled"]).status.code(), Some(2));
    let table = app.run(&["client", "list"]).succeeded().stdout;
    assert!(table.contains(&format!("{ORDERS}: orders:read orders:write")), "scopes by resource: {table}");
}

async fn users_are_listed_by_resource_state_and_last_sign_in(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.run(&["resource", "create", STOCK, "--scope", "stock:read"]).succeeded();
    app.user("bob");
    app.user_with("carol", crate::support::PASSWORD, &["--allow", "https://stock.example=stock:read"]).succeeded();
    app.run(&["user", "disable", "bob"]).succeeded();
    app.sign_in(&shop).await.granted();
    let list = |arguments: &[&str]| listed(&app, &[&["user", "list"], arguments].concat(), "username");
    assert_eq!(list(&[]), ["alice", "bob", "carol"]);
    assert_eq!(list(&["--resource", STOCK]), ["carol"]);
    assert_eq!(list(&["--disabled"]), ["bob"]);
    assert_eq!(list(&["--enabled", "--resource", ORDERS]), ["alice"]);
    assert_eq!(list(&["--unused-for", "1day"]), [""; 0], "none has existed for so long");
    app.database.execute("UPDATE users SET created_at = 1").await;
    assert_eq!(list(&["--unused-for", "1day"]), ["bob", "carol"]);
    app.database.execute("UPDATE users SET signed_in_at = 1").await;
    assert_eq!(list(&["--unused-for", "1day"]), ["bob", "carol"], "a login of alice was refreshed since");
    app.database.execute("UPDATE logins SET stepped_at = 1").await;
    assert_eq!(list(&["--unused-for", "1day"]), ["alice", "bob", "carol"]);
    assert_eq!(app.run_json(&["user", "list", "--resource", STOCK])[0]["allow"], json!({ STOCK: ["stock:read"] }));
    let owner = app.run_json(&["resource", "list", "--scope", "stock:read"]);
    assert_eq!((names(&owner, "audience"), &owner[0]["scopes"]), (vec![STOCK.to_owned()], &json!(["stock:read"])));
}

async fn logins_and_changes_are_listed_by_whose_they_are_and_no_more_than_wanted(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let other = app.app_for_users("other");
    app.user("bob");
    for client in [&shop, &shop, &other] {
        app.sign_in(client).await.granted();
    }
    app.token(&shop, "grant_type=password&username=bob&password=plum+trousers+at+the+gate").await.granted();
    let list = |arguments: &[&str]| listed(&app, &[&["login", "list"], arguments].concat(), "client_id");
    assert_eq!(list(&[]).len(), 4);
    assert_eq!(list(&["--user", "alice"]).len(), 3);
    assert_eq!(list(&["--client", "other"]), ["other"]);
    assert_eq!(list(&["--user", "alice", "--client", "shop"]), ["shop", "shop"]);
    assert_eq!(list(&["--user", "bob", "--client", "other"]), [""; 0]);
    assert_eq!(list(&["--resource", ORDERS]).len(), 4);
    assert_eq!(list(&["--limit", "2"]).len(), 2);
    app.run(&["login", "end", "--client", "other"]).succeeded();
    assert_eq!(list(&["--active"]), ["shop"; 3]);
    app.run(&["user", "delete", "bob", "--yes"]).succeeded();
    let all = app.run_json(&["login", "list"]);
    assert_eq!(all.as_array().unwrap().iter().filter(|login| login["username"].is_null()).count(), 1, "the user was deleted: {all}");

    app.run(&["login", "end", "--user", "alice"]).succeeded();
    let changes = |arguments: &[&str]| listed(&app, &[&["change", "list"], arguments].concat(), "action");
    assert_eq!(changes(&["--target", "bob"]), ["user.delete", "user.create"]);
    for spelling in ["alice", "ALICE"] {
        assert_eq!(changes(&["--target", spelling]), ["login.end", "user.create"]);
    }
    assert_eq!(changes(&["--action", "user.create"]), ["user.create", "user.create"]);
    assert_eq!(changes(&["--action", "user"]), ["user.delete", "user.create", "user.create"]);
    assert_eq!(changes(&["--limit", "1"]), ["login.end"]);
    assert_eq!(changes(&["--action", "use"]), [""; 0], "a noun, not a part of one");
    let secret = app.run_json(&["client", "add-secret", "shop"])["secret"]["id"].as_str().unwrap().to_owned();
    assert_eq!(changes(&["--target", "shop"]), ["client.add_secret", "client.create"], "of the client and of its secrets");
    assert_eq!(changes(&["--target", &format!("shop {secret}")]), ["client.add_secret"]);
    assert_eq!(changes(&["--actor", "no one@nowhere"]), [""; 0]);
    for filter in [
        &["change", "list", "--target"][..],
        &["change", "list", "--action"],
        &["change", "list", "--actor"],
        &["login", "list", "--user"],
        &["login", "list", "--client"],
        &["login", "list", "--resource"],
        &["client", "list", "--grant"],
        &["client", "list", "--resource"],
        &["user", "list", "--resource"],
        &["resource", "list", "--scope"],
    ] {
        assert_eq!(app.run(&[filter, &[""]].concat()).status.code(), Some(2), "{filter:?}: an empty value would select all");
    }
    app.database.execute("UPDATE changes SET at = 1 WHERE action <> 'user.delete'").await;
    assert_eq!(changes(&["--within", "1day"]), ["user.delete"]);
}

async fn a_damaged_row_hides_neither_itself_nor_the_others(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.client("billing");
    app.user("bob");
    app.sign_in(&shop).await.granted();
    app.sign_in(&shop).await.granted();
    app.run(&["resource", "create", STOCK, "--scope", "stock:read"]).succeeded();
    for damage in [
        "UPDATE clients SET grants = 'no_such_grant' WHERE id = 'billing'",
        "UPDATE users SET sub = 'damaged' WHERE username = 'bob'",
        "UPDATE resources SET token_lifetime = 1 WHERE audience = 'https://stock.example'",
        "UPDATE logins SET scope = '' WHERE id = (SELECT MIN(id) FROM logins)",
    ] {
        // A user with scopes keeps their id.
        app.database.execute("DELETE FROM user_permissions WHERE sub = (SELECT sub FROM users WHERE username = 'bob')").await;
        app.database.execute(damage).await;
    }
    let login = app.database.texts("SELECT MIN(id) FROM logins").await.remove(0);
    for (noun, key, damaged) in
        [("client", "client_id", "billing"), ("user", "username", "bob"), ("resource", "audience", STOCK), ("login", "id", login.as_str())]
    {
        let listed = app.run(&[noun, "list", "--json"]).succeeded();
        assert!(listed.stderr.contains(&format!("warning: {damaged} cannot be shown: the database contains an invalid")), "{listed:?}");
        let list = listed.json();
        assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
        let row = list.as_array().unwrap().iter().find(|row| row[key] == damaged).unwrap_or_else(|| panic!("{list}"));
        assert!(row["damaged"].is_string() && row.as_object().unwrap().len() == 2, "{row}");
        let table = app.run(&[noun, "list"]).succeeded().stdout;
        assert!(table.lines().any(|line| line.contains(damaged) && line.contains("damaged")), "{table}");
    }
}

async fn a_name_that_is_not_a_text_makes_no_list_fail(backend: Backend) {
    // PostgreSQL stores nothing but text in a column of texts.
    if backend != Backend::Sqlite {
        return;
    }
    let (app, shop) = TestApp::for_users(backend).await;
    app.sign_in(&shop).await.granted();
    for damage in [
        "INSERT INTO clients (id, auth_methods, grants, token_lifetime, created_at, disabled_at) VALUES (x'ff', 'client_secret_basic', '', NULL, 1, NULL)",
        "INSERT INTO resources (audience, token_lifetime, created_at) VALUES (x'ff', NULL, 1)",
        "INSERT INTO users (sub, username, password_hash, created_at, disabled_at, signed_in_at) VALUES ('00000000-0000-4000-8000-000000000000', x'ff', '', 1, NULL, NULL)",
        "INSERT INTO logins (id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at)
         SELECT x'ff', sub, client_id, audience, scope, 1, 1, 1, 1, 1 FROM logins",
    ] {
        app.database.execute(damage).await;
    }
    for (noun, key) in [("client", "client_id"), ("user", "username"), ("resource", "audience"), ("login", "id")] {
        let list = app.run_json(&[noun, "list"]);
        let damaged: Vec<_> = list.as_array().unwrap().iter().filter(|row| row["damaged"].is_string()).collect();
        assert_eq!((damaged.len(), &damaged[0][key]), (1, &json!("(not readable)")), "{list}");
        assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    }
}

async fn a_list_of_many_pages_is_complete_and_in_order(backend: Backend) {
    let app = TestApp::start(backend).await;
    // Letters, digits and hyphens: the databases do not order them alike.
    let numbers = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1233)";
    let name = "CASE WHEN n % 2 = 0 THEN 'app-' ELSE 'app' END || n";
    let into = |table: &str, rest: &str| format!("INSERT INTO {table} {numbers} SELECT {rest} FROM numbers");
    app.database
        .execute(&into(
            "clients (id, auth_methods, grants, token_lifetime, created_at, disabled_at)",
            &format!("{name}, 'client_secret_basic', '', NULL, 1, NULL"),
        ))
        .await;
    app.database.execute(&into("resources (audience, token_lifetime, created_at)", &format!("'https://' || {name}, NULL, 1"))).await;
    let sub = "'00000000-0000-4000-8000-' || SUBSTR('000000000000' || n, LENGTH('000000000000' || n) - 11)";
    app.database
        .execute(&into(
            "users (sub, username, password_hash, created_at, disabled_at, signed_in_at)",
            &format!("{sub}, {name}, '', 1, NULL, NULL"),
        ))
        .await;
    for (noun, key) in [("client", "client_id"), ("user", "username"), ("resource", "audience")] {
        let list = listed(&app, &[noun, "list"], key);
        assert_eq!(list.len(), 1234, "{noun}");
        for limit in [1, 500, 501, 2000] {
            let some = listed(&app, &[noun, "list", "--limit", &limit.to_string()], key);
            assert_eq!(some.len(), limit.min(1234), "{noun}");
            assert!(some.is_sorted(), "{noun}");
        }
        assert!(list.is_sorted() && list.windows(2).all(|pair| pair[0] != pair[1]), "{noun}");
    }
}

async fn a_list_fits_a_terminal_and_a_pipe_is_not_cut(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.client("a-client-with-a-name-that-is-as-long-as-such-a-name-may-ever-be1");
    app.run(&["client", "disable", "shop"]).succeeded();
    app.run(&["client", "enable", "shop"]).succeeded();
    app.settle().await;
    app.sign_in(&shop).await.granted();
    app.run(&["client", "disable", "shop"]).succeeded();
    for noun in ["client", "user", "login", "key", "change", "resource"] {
        let on = |columns: u16, no_color: &str| {
            let mut command = command_on(&app.database);
            command.args([noun, "list"]);
            command.env("NO_COLOR", no_color);
            let (code, shown) = on_terminal(command, columns, "");
            assert_eq!(code, Some(0), "{shown}");
            shown
        };
        for columns in [80, 120] {
            let shown = on(columns, "1");
            assert!(shown.lines().all(|line| line.chars().count() <= columns.into()), "{noun}: {shown}");
            assert!(!shown.contains('\u{1b}'), "NO_COLOR: {shown}");
        }
        assert!(on(80, "").contains("\u{1b}[1m"), "{noun}: a heading in bold");
        let piped = app.run(&[noun, "list"]).succeeded().stdout;
        assert!(!piped.contains('\u{1b}'), "{piped}");
    }
    let piped = app.run(&["client", "list"]).succeeded().stdout;
    assert!(piped.contains("a-client-with-a-name-that-is-as-long-as-such-a-name-may-ever-be1"), "{piped}");
}
