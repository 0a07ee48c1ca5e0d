//! A name that does not exist is answered with the nearest one: for operators, never over HTTP.

use crate::support::{Backend, Credential, ORDERS, TestApp, on_both_databases};

on_both_databases![a_mistyped_name_is_answered_with_the_nearest_one, a_client_over_http_is_not_helped_to_guess_a_name];

async fn a_mistyped_name_is_answered_with_the_nearest_one(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    app.client("shop");
    app.user("alice");
    let allow = format!("{ORDERS}=orders:raed");
    for (command, says) in [
        (&["client", "show", "biling"][..], "there is no client biling; did you mean billing?"),
        (&["client", "update", "sohp", "--add-grant", "password"], "there is no client sohp; did you mean shop?"),
        (&["client", "disable", "biling"], "did you mean billing?"),
        (&["client", "enable", "biling"], "did you mean billing?"),
        (&["client", "delete", "biling", "--yes"], "did you mean billing?"),
        (&["client", "add-secret", "biling"], "did you mean billing?"),
        (&["client", "drop-secret", "biling", "0123456789abcdef", "--yes"], "did you mean billing?"),
        (&["client", "create", "new", "--allow", &allow], "did you mean orders:read?"),
        (&["client", "create", "new", "--introspects", "https://order.example"], "did you mean https://orders.example?"),
        (&["client", "list", "--resource", "https://order.example"], "did you mean https://orders.example?"),
        (&["user", "show", "alise"], "there is no user alise; did you mean alice?"),
        (&["user", "disable", "alise"], "did you mean alice?"),
        (&["user", "update", "alice", "--allow", &allow], "did you mean orders:read?"),
        (&["user", "list", "--resource", "https://order.example"], "did you mean https://orders.example?"),
        (&["login", "list", "--user", "alise"], "did you mean alice?"),
        (&["login", "list", "--client", "biling"], "did you mean billing?"),
        (&["login", "end", "--user", "alise"], "did you mean alice?"),
        (&["resource", "list", "--scope", "orders:raed"], "there is no resource with the scope orders:raed; did you mean orders:read?"),
        (
            &["resource", "show", "https://order.example"],
            "there is no resource https://order.example; did you mean https://orders.example?",
        ),
        (&["resource", "delete", "https://order.example", "--yes"], "did you mean https://orders.example?"),
    ] {
        app.run(command).failed_saying(&[says]);
    }
    for command in [&["client", "show", "x"][..], &["user", "show", "zzz"], &["resource", "show", "urn:other"]] {
        let refused = app.run(command).failed_saying(&["there is no"]);
        assert!(!refused.stderr.contains("did you mean"), "{refused:?}");
    }
}

async fn a_client_over_http_is_not_helped_to_guess_a_name(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let answers = [
        app.plain_token(&Credential { id: "shpo".to_owned(), secret: shop.secret.clone() }).await,
        app.token(&shop, "grant_type=password&username=alise&password=plum+trousers+at+the+gate").await,
        app.token(&shop, "grant_type=client_credentials&scope=orders:raed").await,
        app.token(&shop, "grant_type=client_credentials&resource=https://order.example").await,
    ];
    for answer in answers {
        assert!((400..500).contains(&answer.status) && !answer.body.contains("did you mean"), "{answer:?}");
    }
}
