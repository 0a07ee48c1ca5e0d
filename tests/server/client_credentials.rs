//! The client credentials grant: RFC 6749 section 4.4, RFC 8707, and the selection of the resource.

use std::collections::BTreeMap;

use sealwright::protocol::{Audience, Scope};

use crate::support::{Answer, Backend, ORDERS, TestApp, lifetime, on_both_databases, on_sqlite};

on_both_databases![the_shortest_lifetime_wins];

on_sqlite![
    ca8_a_client_can_use_only_the_grants_that_it_was_given,
    cc1_there_is_no_refresh_token,
    cc2_a_scope_that_the_client_is_not_allowed_is_refused,
    cc3_a_client_id_cannot_be_a_uuid,
    at3_a_token_is_for_one_resource,
    at3_audience_is_a_synonym_of_resource,
    a_cached_client_costs_no_database_read,
];

const STOCK: &str = "https://stock.example";

fn permissions<const N: usize>(scopes: [(&str, &str); N]) -> BTreeMap<Audience, Scope> {
    scopes.into_iter().map(|(audience, scope)| (audience.parse().unwrap(), scope.parse().unwrap())).collect()
}

async fn ca8_a_client_can_use_only_the_grants_that_it_was_given(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let none = app.database.client("none", &[], "orders:read");
    let others = app.database.client("others", &["password", "refresh_token"], "orders:read");
    app.plain_token(&none).await.refused(400, "unauthorized_client");
    app.plain_token(&others).await.refused(400, "unauthorized_client");
}

async fn cc1_there_is_no_refresh_token(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.app_for_users("billing");
    let body = app.plain_token(&client).await.granted();
    let mut names: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["access_token", "expires_in", "scope", "token_type"]);
}

async fn cc2_a_scope_that_the_client_is_not_allowed_is_refused(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.database.resource(STOCK, "stock:read", None);
    let reader = app.database.client("reader", &["client_credentials"], "orders:read");
    for scope in ["orders:write", "orders:read+orders:write", "stock:read", "orders:read+stock:read", "unknown", "orders"] {
        for resource in ["", "&resource=https://orders.example"] {
            let body = format!("grant_type=client_credentials&scope={scope}{resource}");
            app.token(&reader, &body).await.refused(400, "invalid_scope");
        }
    }
    assert_eq!(app.plain_token(&reader).await.granted()["scope"], "orders:read");
}

async fn cc3_a_client_id_cannot_be_a_uuid(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    for uuid in ["0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "0197a1b2c3d47e5f8a9b0c1d2e3f4a5b"] {
        let refused = app.run(&["client", "create", uuid]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains("UUID"), "{refused:?}");
    }
    let client = app.client("billing");
    let claims = app.plain_token(&client).await.claims();
    assert_eq!((claims["sub"].as_str(), claims["client_id"].as_str()), (Some("billing"), Some("billing")));
    assert!(claims.get("auth_time").is_none(), "no user has signed in");
}

async fn at3_audience_is_a_synonym_of_resource(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.database.resource(STOCK, "stock:read", None);
    let two = app.database.client_with("two", |new| new.permissions = permissions([(ORDERS, "orders:read"), (STOCK, "stock:read")]));
    let ask = async |more: &str| app.token(&two, &format!("grant_type=client_credentials{more}")).await;
    let (orders, stock) = ("https://orders.example", "https://stock.example");
    for (more, audience) in [
        (format!("&audience={orders}"), orders),
        (format!("&audience={stock}"), stock),
        (format!("&audience={stock}&resource={stock}"), stock),
        (format!("&audience=&resource={stock}"), stock),
        (format!("&audience={stock}&resource="), stock),
        (format!("&audience={stock}&scope=stock:read"), stock),
    ] {
        assert_eq!(ask(&more).await.claims()["aud"], audience, "{more}");
    }
    for more in [
        format!("&audience={stock}&resource={orders}"),
        format!("&audience={stock}/&resource={stock}"),
        format!("&audience={stock}&audience={stock}"),
        format!("&audience={stock}&audience={orders}"),
        "&audience=https://other.example".to_owned(),
        "&audience=orders".to_owned(),
        String::new(),
    ] {
        ask(&more).await.refused(400, "invalid_target");
    }
    ask(&format!("&audience={stock}&scope=orders:read")).await.refused(400, "invalid_scope");
}

async fn at3_a_token_is_for_one_resource(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.database.resource(STOCK, "stock:read stock:write", None);
    let one = app.database.client("one", &["client_credentials"], "orders:read");
    let at_both = permissions([(ORDERS, "orders:read"), (STOCK, "stock:read stock:write")]);
    let two = app.database.client_with("two", |new| new.permissions = at_both);
    let none = app.database.client_with("none", |new| new.permissions.clear());
    let ask = async |client, rest: &str| app.token(client, &format!("grant_type=client_credentials{rest}")).await;

    // Neither a resource nor a scope: the client's only resource.
    assert_eq!(ask(&one, "").await.claims()["aud"], "https://orders.example");
    ask(&two, "").await.refused(400, "invalid_target");
    ask(&none, "").await.refused(400, "invalid_target");
    // Selected by scope.
    let claims = ask(&two, "&scope=stock:read").await.claims();
    assert_eq!((claims["aud"].as_str(), claims["scope"].as_str()), (Some("https://stock.example"), Some("stock:read")));
    ask(&two, "&scope=stock:read+orders:read").await.refused(400, "invalid_scope");
    // Selected by resource: the whole scope of the client there.
    let claims = ask(&two, "&resource=https://stock.example").await.claims();
    assert_eq!((claims["aud"].as_str(), claims["scope"].as_str()), (Some("https://stock.example"), Some("stock:read stock:write")));
    ask(&two, "&resource=https://stock.example&scope=orders:read").await.refused(400, "invalid_scope");
    for other in
        ["https://stock.example/", "https://STOCK.example", "https://unknown.example", "stock", "https://stock.example%23x", "%0d%0a"]
    {
        ask(&two, &format!("&resource={other}")).await.refused(400, "invalid_target");
    }
    ask(&one, "&resource=https://stock.example").await.refused(400, "invalid_target");
}

async fn a_cached_client_costs_no_database_read(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    for _ in 0..20 {
        app.plain_token(&client).await.granted();
    }
    assert_eq!(app.meters.client_reads.get(), 1);
    assert_eq!(app.meters.tokens_issued.get(), 20, "one signature per token");
}

async fn the_shortest_lifetime_wins(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.database.resource("https://a.example", "a", lifetime(300));
    app.database.resource("https://b.example", "b", None);
    let client = |id: &str, token_lifetime| {
        app.database.client_with(id, |new| {
            new.permissions = permissions([("https://a.example", "a"), ("https://b.example", "b")]);
            new.token_lifetime = token_lifetime;
        })
    };
    let (plain, short, long) = (client("plain", None), client("short", lifetime(60)), client("long", lifetime(24 * 3600)));
    for (client, scope, seconds) in
        [(&plain, "a", 300), (&plain, "b", 600), (&short, "a", 60), (&short, "b", 60), (&long, "a", 300), (&long, "b", 86_400)]
    {
        let answer: Answer = app.token(client, &format!("grant_type=client_credentials&scope={scope}")).await;
        assert_eq!(answer.granted()["expires_in"], seconds);
        let claims = answer.claims();
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), seconds);
        assert_eq!(claims["iat"], app.now().seconds());
    }
}
