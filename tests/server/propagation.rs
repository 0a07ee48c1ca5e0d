//! A change while a server runs takes effect within a second.

use sealwright::{
    protocol::GrantType,
    server::commands::{ClientChange, ResourceChange},
};

use crate::support::{Backend, ORDERS, TestApp, at_orders, lifetime, on_both_databases};

on_both_databases![
    a_change_while_the_server_runs_takes_effect_within_a_second,
    nothing_is_read_again_while_nothing_changes,
    op17_only_the_changed_client_is_read_again,
    op17_every_client_is_read_again_when_the_record_does_not_explain_the_epoch,
];

fn no_change() -> ClientChange {
    ClientChange::default()
}

async fn a_change_while_the_server_runs_takes_effect_within_a_second(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let scope = async || app.plain_token(&client).await.granted()["scope"].as_str().unwrap().to_owned();
    assert_eq!(scope().await, "orders:read orders:write");

    // The clock stands still between these lines: each change has half a second.
    app.database.update_client("billing", ClientChange { allow: at_orders("orders:read"), ..no_change() });
    app.settle().await;
    assert_eq!(scope().await, "orders:read");

    app.database.disable_client("billing");
    app.settle().await;
    app.plain_token(&client).await.refused(401, "invalid_client");

    app.database.enable_client("billing");
    app.settle().await;
    assert_eq!(scope().await, "orders:read");

    app.database.update_client("billing", ClientChange { remove_grants: [GrantType::ClientCredentials].into(), ..no_change() });
    app.settle().await;
    app.plain_token(&client).await.refused(400, "unauthorized_client");

    let add_grants = [GrantType::ClientCredentials].into();
    app.database.update_client("billing", ClientChange { add_grants, token_lifetime: Some(lifetime(90)), ..no_change() });
    app.settle().await;
    assert_eq!(app.plain_token(&client).await.granted()["expires_in"], 90);

    app.database.update_resource(ORDERS, ResourceChange { token_lifetime: Some(lifetime(60)), ..ResourceChange::default() });
    app.settle().await;
    assert_eq!(app.plain_token(&client).await.granted()["expires_in"], 60);

    app.database.delete_client("billing");
    app.settle().await;
    app.plain_token(&client).await.refused(401, "invalid_client");

    // A client id that was unknown is found once the client exists.
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

    app.database.update_client("shop", ClientChange { allow: at_orders("orders:read"), ..no_change() });
    app.settle().await;
    assert_eq!((reads_of_all().await, reads_of_all().await), (1, 0));
    assert_eq!(app.plain_token(&clients[1]).await.granted()["scope"], "orders:read");

    app.database.add_secret(&clients[2], None);
    app.database.update_client("billing", ClientChange { token_lifetime: Some(lifetime(90)), ..no_change() });
    app.client("unrelated");
    app.user("alice");
    app.settle().await;
    assert_eq!(reads_of_all().await, 2, "the client with a new secret and the one with a new lifetime");

    app.database.update_resource(ORDERS, ResourceChange { token_lifetime: Some(lifetime(60)), ..ResourceChange::default() });
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
    app.database.execute("DELETE FROM client_permissions WHERE client_id = 'shop'").await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'registry'").await;
    app.database.update_client("billing", ClientChange { token_lifetime: Some(lifetime(90)), ..no_change() });
    app.settle().await;
    app.plain_token(&clients[1]).await.refused(400, "invalid_target");
    app.plain_token(&clients[0]).await.granted();
    assert_eq!(app.meters.client_reads.get(), 4);
}
