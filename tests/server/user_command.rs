//! `sealwright user`.

use serde_json::json;

use crate::support::{Backend, PASSWORD, TestApp, on_both_databases};

on_both_databases![a_user_is_created_listed_shown_updated_disabled_and_deleted, a_resource_that_users_may_use_is_not_deleted];

const ALLOW: [&str; 2] = ["--allow", "https://orders.example=orders:read,orders:write"];

async fn a_user_is_created_listed_shown_updated_disabled_and_deleted(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let created = app.user_with("Alice", PASSWORD, &ALLOW).json();
    assert_eq!(created["username"], "alice");
    assert_eq!(created["allow"], json!({ "https://orders.example": ["orders:read", "orders:write"] }));
    assert!(created["sub"].as_str().unwrap().len() == 36 && created["signed_in_at"].is_null());
    assert!(!created.to_string().contains("argon2") && !created.to_string().contains("password"));
    assert_eq!(app.run_json(&["user", "show", "ALICE"]), created);
    assert_eq!(app.run_json(&["user", "list"]), json!([created]));
    let table = app.run(&["user", "list"]).succeeded().stdout;
    assert!(table.starts_with(" USER") && table.contains("alice") && table.contains("never"), "{table}");

    let updated = app.run_json(&["user", "update", "alice", "--allow", "https://orders.example=orders:read"]);
    assert_eq!(updated["allow"], json!({ "https://orders.example": ["orders:read"] }));
    app.run(&["user", "update", "alice", "--allow", "https://orders.example=other"]).failed_saying(&["there is no scope other"]);
    app.run(&["user", "update", "alice", "--disallow", "https://other.example"]).failed_saying(&["no permission at"]);
    assert_eq!(app.run(&["user", "update", "alice"]).status.code(), Some(2), "an update without a change");

    let disabled = app.run_json(&["user", "disable", "alice"]);
    assert!(disabled["disabled_at"].is_string());
    assert_eq!(app.run_json(&["user", "disable", "alice"])["disabled_at"], disabled["disabled_at"]);
    assert!(app.run_json(&["user", "enable", "alice"])["disabled_at"].is_null());

    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    for arguments in
        [&["user", "show", "alice"][..], &["user", "delete", "alice", "--yes"], &["user", "disable", "alice"], &["user", "enable", "alice"]]
    {
        app.run(arguments).failed_saying(&["there is no user alice"]);
    }
    app.set_password("alice", PASSWORD).failed_saying(&["there is no user alice"]);
    assert_ne!(app.user_with("alice", PASSWORD, &ALLOW).json()["sub"], created["sub"], "a name may come again, a sub does not");

    // A password must not be on a command line, and there is no terminal to ask on.
    app.run(&["user", "create", "bob"]).failed_saying(&["not a terminal", "--password-stdin"]);
    app.run(&["user", "set-password", "bob"]).failed_saying(&["not a terminal", "--password-stdin"]);
    app.user_with("-bob", PASSWORD, &[]).succeeded();
    assert_eq!(app.run_json(&["user", "show", "-bob"])["username"], "-bob", "a name that begins with a hyphen needs no `--`");
    app.run(&["login", "list", "--user", "-bob"]).succeeded();
    app.run(&["login", "end", "--user", "-bob"]).succeeded();
    app.run(&["user", "delete", "-bob", "--yes"]).succeeded();
    app.user_with("bob", &format!("{PASSWORD}\nand a second line"), &[]).succeeded();
    app.user_with("eve", &format!("a{}", "é".repeat(100_000)), &[]).failed_saying(&["too long"]);
    app.user_with("eve", "", &[]).failed_saying(&["1 to 1,024 characters"]);
    for name in ["a b", "", "a\u{200b}"] {
        assert_eq!(app.user_with(name, PASSWORD, &[]).status.code(), Some(2), "{name:?}");
    }
}

async fn a_resource_that_users_may_use_is_not_deleted(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.user("alice");
    app.client("billing");
    app.run(&["resource", "delete", "https://orders.example", "--yes"]).failed_saying(&["in use by the client billing and the user alice"]);
    app.run(&["client", "delete", "billing", "--yes"]).succeeded();
    let update = ["resource", "update", "https://orders.example", "--remove-scope", "orders:write"];
    app.run(&update).failed_saying(&["the scope orders:write is in use by the user alice"]);
    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    app.run(&["resource", "delete", "https://orders.example", "--yes"]).succeeded();
}
