//! What the command line changes while a server runs is in force within a second.

use crate::support::{Backend, TestApp, on_both_databases};

on_both_databases![a_command_run_while_the_server_runs_is_in_force_within_a_second, nothing_is_read_again_while_nothing_changes];

async fn a_command_run_while_the_server_runs_is_in_force_within_a_second(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let scope = async || app.plain_token(&client).await.granted()["scope"].as_str().unwrap().to_owned();
    assert_eq!(scope().await, "orders:read orders:write");

    // The clock stands still between these lines: half a second of its time is all that each change gets.
    app.run(&["client", "update", "billing", "--allow", "https://orders.example=orders:read"]).succeeded();
    app.settle().await;
    assert_eq!(scope().await, "orders:read");

    app.run(&["client", "disable", "billing"]).succeeded();
    app.settle().await;
    app.plain_token(&client).await.refused(401, "invalid_client");

    app.run(&["client", "enable", "billing"]).succeeded();
    app.settle().await;
    assert_eq!(scope().await, "orders:read");

    app.run(&["client", "update", "billing", "--remove-grant", "client_credentials"]).succeeded();
    app.settle().await;
    app.plain_token(&client).await.refused(400, "unauthorized_client");

    app.run(&["client", "update", "billing", "--add-grant", "client_credentials", "--token-lifetime", "90s"]).succeeded();
    app.settle().await;
    assert_eq!(app.plain_token(&client).await.granted()["expires_in"], 90);

    app.run(&["resource", "update", "https://orders.example", "--token-lifetime", "60s"]).succeeded();
    app.settle().await;
    assert_eq!(app.plain_token(&client).await.granted()["expires_in"], 60);

    app.run(&["client", "delete", "billing"]).succeeded();
    app.settle().await;
    app.plain_token(&client).await.refused(401, "invalid_client");

    // A name that was asked for in vain is found as soon as it is there.
    let again = app.client("billing");
    app.settle().await;
    app.plain_token(&client).await.refused(401, "invalid_client");
    app.plain_token(&again).await.granted();
}

async fn nothing_is_read_again_while_nothing_changes(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.settle().await;
    app.plain_token(&client).await.granted();
    for _ in 0..5 {
        app.settle().await;
        app.plain_token(&client).await.granted();
    }
    assert_eq!(app.meters.client_reads.get(), 1);
}
