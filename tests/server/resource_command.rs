//! `sealwright resource`.

use serde_json::json;

use crate::support::{Backend, TestApp, on_both_databases};

on_both_databases![
    a_resource_is_created_listed_shown_updated_and_deleted,
    what_is_in_use_is_not_deleted_and_its_users_are_named,
    invalid_input_is_refused_before_anything_is_written,
    wi3_an_audience_that_is_not_a_uri_is_registered_on_demand_and_gets_tokens,
];

const ORDERS: &str = "https://orders.example";

async fn a_resource_is_created_listed_shown_updated_and_deleted(backend: Backend) {
    let app = TestApp::start(backend).await;
    let created =
        app.run_json(&["resource", "create", ORDERS, "--scope", "orders:write", "--scope", "orders:read", "--token-lifetime", "5m"]);
    assert_eq!(created["audience"], ORDERS);
    assert_eq!(created["scopes"], json!(["orders:read", "orders:write"]));
    assert_eq!(created["token_lifetime"], 300);
    let time = created["created_at"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == 20, "{time}");

    assert_eq!(app.run_json(&["resource", "show", ORDERS]), created);
    assert_eq!(app.run_json(&["resource", "list"]), json!([created]));
    let table = app.run(&["resource", "list"]).succeeded().stdout;
    assert!(table.starts_with(" RESOURCE") && table.contains(" orders:read orders:write ") && table.contains("5m"), "{table}");
    app.run(&["resource", "create", ORDERS, "--scope", "other"])
        .failed_saying(&["the resource https://orders.example already exists; `sealwright resource update` changes it"]);

    let updated = app.run_json(&[
        "resource",
        "update",
        ORDERS,
        "--add-scope",
        "orders:cancel",
        "--remove-scope",
        "orders:write",
        "--token-lifetime",
        "default",
    ]);
    assert_eq!((&updated["scopes"], &updated["token_lifetime"]), (&json!(["orders:cancel", "orders:read"]), &json!(null)));
    app.run(&["resource", "update", ORDERS, "--remove-scope", "orders:write"]).failed_saying(&["has no scope orders:write"]);
    app.run(&["resource", "update", ORDERS, "--remove-scope", "orders:read", "--remove-scope", "orders:cancel"])
        .failed_saying(&["delete it instead"]);
    let nothing = app.run(&["resource", "update", ORDERS]);
    assert_eq!(nothing.status.code(), Some(2), "an update without a change: {nothing:?}");

    app.run(&["resource", "delete", ORDERS, "--yes"]).succeeded();
    assert_eq!(app.run_json(&["resource", "list"]), json!([]));
    for arguments in
        [&["resource", "show", ORDERS][..], &["resource", "delete", ORDERS, "--yes"], &["resource", "update", ORDERS, "--add-scope", "x"]]
    {
        app.run(arguments).failed_saying(&["there is no resource https://orders.example"]);
    }
}

async fn what_is_in_use_is_not_deleted_and_its_users_are_named(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client_with("reader", &["--allow", "https://orders.example=orders:read"]);
    app.client_with("orders-api", &["--introspects", ORDERS]);
    app.run(&["resource", "delete", ORDERS, "--yes"]).failed_saying(&["in use by the clients orders-api, reader"]);
    app.run(&["resource", "update", ORDERS, "--remove-scope", "orders:read"])
        .failed_saying(&["the scope orders:read is in use by the client reader"]);
    app.run(&["resource", "update", ORDERS, "--remove-scope", "orders:write"]).succeeded();
    app.run(&["client", "update", "reader", "--disallow", ORDERS]).succeeded();
    app.run(&["resource", "delete", ORDERS, "--yes"]).failed_saying(&["in use by the client orders-api"]);
    app.run(&["client", "update", "orders-api", "--remove-introspects", ORDERS]).succeeded();
    app.run(&["resource", "delete", ORDERS, "--yes"]).succeeded();
}

async fn invalid_input_is_refused_before_anything_is_written(backend: Backend) {
    let app = TestApp::start(backend).await;
    for (audience, scope, lifetime) in [
        ("the orders", "a", "5m"),
        ("https://orders.example#x", "a", "5m"),
        (ORDERS, "a b", "5m"),
        (ORDERS, "a,b", "5m"),
        (ORDERS, "a=b", "5m"),
        (ORDERS, "", "5m"),
        (ORDERS, "a", "59s"),
        (ORDERS, "a", "25h"),
        (ORDERS, "a", "soon"),
    ] {
        let refused = app.run(&["resource", "create", audience, "--scope", scope, "--token-lifetime", lifetime]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains("error:"), "{refused:?}");
    }
    assert_eq!(app.run(&["resource", "create", ORDERS]).status.code(), Some(2), "a resource without a scope");
    let many: Vec<String> = (0..101).map(|number| format!("--scope=s{number}")).collect();
    let create: Vec<&str> = ["resource", "create", ORDERS].into_iter().chain(many.iter().map(String::as_str)).collect();
    app.run(&create).failed_saying(&["at most 100 scopes"]);
    assert_eq!(app.run_json(&["resource", "list"]), json!([]));
}

async fn wi3_an_audience_that_is_not_a_uri_is_registered_on_demand_and_gets_tokens(backend: Backend) {
    const AWS: &str = "sts.amazonaws.com";
    let app = TestApp::start(backend).await.with_orders();
    let refused = app.run(&["resource", "create", AWS, "--scope", "assume"]);
    assert_eq!(refused.status.code(), Some(2), "as for every other malformed resource");
    for words in ["sealwright: \"sts.amazonaws.com\" is not a URI", "--not-a-uri", "nothing was changed"] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert_eq!(app.run_json(&["resource", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(app.run_json(&["resource", "create", AWS, "--not-a-uri", "--scope", "assume"])["audience"], AWS);

    let allow = ["--grant", "client_credentials", "--allow", "sts.amazonaws.com=assume", "--allow", "https://orders.example=orders:read"];
    let client = app.client_with("billing", &allow);
    for named in ["resource=sts.amazonaws.com", "audience=sts.amazonaws.com", "scope=assume"] {
        let answer = app.token(&client, &format!("grant_type=client_credentials&{named}")).await;
        assert_eq!((&answer.claims()["aud"], &answer.claims()["sub"]), (&json!(AWS), &json!("billing")), "{named}");
    }
    app.token(&client, "grant_type=client_credentials&resource=sts.amazonaws").await.refused(400, "invalid_target");
    app.run(&["client", "create", "stock", "--grant", "client_credentials", "--allow", "sts.amazonaws=assume"])
        .failed_saying(&["there is no resource sts.amazonaws", AWS]);
}
