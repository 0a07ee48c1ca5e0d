//! What the command line changes while a server runs is in force within a second.

use crate::support::{Backend, TestApp, on_both_databases};

on_both_databases![
    a_command_run_while_the_server_runs_is_in_force_within_a_second,
    nothing_is_read_again_while_nothing_changes,
    op17_only_the_changed_client_is_read_again,
    op17_every_client_is_read_again_when_the_record_does_not_explain_the_epoch,
];

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

    app.run(&["client", "delete", "billing", "--yes"]).succeeded();
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

async fn op17_only_the_changed_client_is_read_again(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let clients = ["billing", "shop", "stock"].map(|id| app.client(id));
    app.settle().await;
    let reads_of_all = async || {
        let before = app.meters.client_reads.get();
        for client in &clients {
            app.plain_token(client).await.granted();
        }
        app.meters.client_reads.get() - before
    };
    assert_eq!((reads_of_all().await, reads_of_all().await), (3, 0));

    app.run(&["client", "update", "shop", "--allow", "https://orders.example=orders:read"]).succeeded();
    app.settle().await;
    assert_eq!((reads_of_all().await, reads_of_all().await), (1, 0));
    assert_eq!(app.plain_token(&clients[1]).await.granted()["scope"], "orders:read");

    app.run(&["client", "add-secret", "stock"]).succeeded();
    app.run(&["client", "update", "billing", "--token-lifetime", "90s"]).succeeded();
    app.client("unrelated");
    app.user("alice");
    app.settle().await;
    assert_eq!(reads_of_all().await, 2, "those with a new secret and a new lifetime");

    app.run(&["resource", "update", "https://orders.example", "--token-lifetime", "60s"]).succeeded();
    app.settle().await;
    assert_eq!(reads_of_all().await, 0, "the resource is read again, and no client");
    assert_eq!(app.plain_token(&clients[0]).await.granted()["expires_in"], 60);
}

async fn op17_every_client_is_read_again_when_the_record_does_not_explain_the_epoch(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let clients = ["billing", "shop"].map(|id| app.client(id));
    app.settle().await;
    for client in &clients {
        app.plain_token(client).await.granted();
    }
    app.database.execute("DELETE FROM client_scopes WHERE client_id = 'shop'").await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'registry'").await;
    app.run(&["client", "update", "billing", "--token-lifetime", "90s"]).succeeded();
    app.settle().await;
    app.plain_token(&clients[1]).await.refused(400, "invalid_target");
    app.plain_token(&clients[0]).await.granted();
    assert_eq!(app.meters.client_reads.get(), 4);
}
