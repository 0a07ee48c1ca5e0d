//! Several resources may own a scope token of the same name (RFC 6749 section 3.3, RFC 8707).

use std::collections::BTreeMap;

use sealwright::protocol::{Audience, GrantType, Scope};
use serde_json::json;

use crate::support::{Backend, Credential, ORDERS, PASSWORD, SIGN_IN, TestApp, on_both_databases};

on_both_databases![
    at3_a_scope_that_could_mean_several_resources_needs_a_resource,
    at3_a_scope_needs_no_resource_if_the_client_is_allowed_it_at_only_one,
    at3_a_sign_in_that_could_mean_several_resources_is_refused_before_the_password_is_checked,
    at3_a_permission_of_a_user_counts_at_its_own_resource_only,
    at3_a_refresh_stays_at_the_resource_of_its_login,
    a_scope_that_is_removed_at_one_resource_stays_at_the_other,
    the_permissions_of_the_version_before_are_migrated,
    nodes_of_the_version_before_read_the_current_permissions,
];

const ARCHIVE: &str = "https://archive.example";

fn permissions(scopes: &[(&str, &str)]) -> BTreeMap<Audience, Scope> {
    scopes.iter().map(|(audience, scope)| (audience.parse().unwrap(), scope.parse().unwrap())).collect()
}

/// A server with two resources that own `orders:read`. Each owns another scope token too.
async fn with_two_owners(backend: Backend) -> TestApp {
    let app = TestApp::start(backend).await.with_orders();
    app.database.resource(ARCHIVE, "orders:read archive:list", None);
    app
}

/// A client with all grants.
fn client(app: &TestApp, id: &str, scopes: &[(&str, &str)]) -> Credential {
    app.database.client_with(id, |new| {
        new.grants = GrantType::ALL.iter().copied().collect();
        new.permissions = permissions(scopes);
    })
}

/// A client with all grants and all scopes of both resources.
fn at_both(app: &TestApp) -> Credential {
    client(app, "both", &[(ORDERS, "orders:read orders:write"), (ARCHIVE, "orders:read archive:list")])
}

async fn at3_a_scope_that_could_mean_several_resources_needs_a_resource(backend: Backend) {
    let app = with_two_owners(backend).await;
    let both = at_both(&app);
    let ask = async |more: &str| app.token(&both, &format!("grant_type=client_credentials&{more}")).await;

    let answer = ask("scope=orders:read").await;
    answer.refused(400, "invalid_target");
    let description = "The scope could mean several resources. Name one with the resource parameter.";
    assert_eq!(answer.json()["error_description"], description);
    assert_eq!(app.meters.tokens_issued.get(), 0);

    for (more, audience, scope) in [
        (format!("scope=orders:read&resource={ORDERS}"), ORDERS, "orders:read"),
        (format!("scope=orders:read&resource={ARCHIVE}"), ARCHIVE, "orders:read"),
        (format!("scope=orders:read&audience={ARCHIVE}"), ARCHIVE, "orders:read"),
        // Only one resource has all of these.
        ("scope=orders:read+orders:write".to_owned(), ORDERS, "orders:read orders:write"),
        ("scope=archive:list+orders:read".to_owned(), ARCHIVE, "archive:list orders:read"),
        ("scope=archive:list".to_owned(), ARCHIVE, "archive:list"),
    ] {
        let claims = ask(&more).await.claims();
        assert_eq!((&claims["aud"], &claims["scope"]), (&json!(audience), &json!(scope)), "{more}");
    }
    // No resource has all of these.
    for scopes in ["orders:write+archive:list", "orders:read+orders:write+archive:list"] {
        let answer = ask(&format!("scope={scopes}")).await;
        answer.refused(400, "invalid_scope");
        assert!(answer.body.contains("spans several resources"), "{answer:?}");
    }
    ask("scope=orders:read+other").await.refused(400, "invalid_scope");
    ask(&format!("scope=orders:write&resource={ARCHIVE}")).await.refused(400, "invalid_scope");
}

async fn at3_a_scope_needs_no_resource_if_the_client_is_allowed_it_at_only_one(backend: Backend) {
    let app = with_two_owners(backend).await;
    let orders = client(&app, "orders", &[(ORDERS, "orders:read")]);
    let archive = client(&app, "archive", &[(ARCHIVE, "orders:read")]);
    let lister = client(&app, "lister", &[(ORDERS, "orders:read"), (ARCHIVE, "archive:list")]);
    for (client, audience, other) in [(&orders, ORDERS, ARCHIVE), (&archive, ARCHIVE, ORDERS), (&lister, ORDERS, "")] {
        let body = "grant_type=client_credentials&scope=orders:read";
        assert_eq!(app.token(client, body).await.claims()["aud"], audience, "{}", client.id);
        if !other.is_empty() {
            app.token(client, &format!("{body}&resource={other}")).await.refused(400, "invalid_target");
        }
    }
    app.token(&lister, &format!("grant_type=client_credentials&scope=orders:read&resource={ARCHIVE}")).await.refused(400, "invalid_scope");
}

async fn at3_a_sign_in_that_could_mean_several_resources_is_refused_before_the_password_is_checked(backend: Backend) {
    let app = with_two_owners(backend).await;
    let both = at_both(&app);
    app.database.try_user("alice", PASSWORD, permissions(&[(ARCHIVE, "orders:read")])).unwrap();
    let sign_in = async |more: &str| app.token(&both, &format!("grant_type=password&{SIGN_IN}&scope=orders:read{more}")).await;
    // What the user may have does not select the resource: the answer would reveal it.
    sign_in("").await.refused(400, "invalid_target");
    assert_eq!(app.meters.password_hashes.get(), 0);
    assert_eq!(sign_in(&format!("&resource={ARCHIVE}")).await.claims()["aud"], ARCHIVE);
}

async fn at3_a_permission_of_a_user_counts_at_its_own_resource_only(backend: Backend) {
    let app = with_two_owners(backend).await;
    let both = at_both(&app);
    app.database.try_user("alice", PASSWORD, permissions(&[(ARCHIVE, "orders:read")])).unwrap();
    let sign_in = async |more: &str| app.token(&both, &format!("grant_type=password&{SIGN_IN}&{more}")).await;
    for more in [format!("resource={ORDERS}"), format!("resource={ORDERS}&scope=orders:read"), "scope=orders:read+orders:write".to_owned()]
    {
        sign_in(&more).await.refused(400, "invalid_scope");
    }
    assert_eq!(sign_in(&format!("resource={ARCHIVE}")).await.granted()["scope"], "orders:read");
    assert_eq!(app.run_json(&["user", "show", "alice"])["allow"], json!({ ARCHIVE: ["orders:read"] }));
    // Nor does a permission at one resource withdraw that at another.
    app.run(&["user", "update", "alice", "--allow", &format!("{ORDERS}=orders:read")]).succeeded();
    app.run(&["user", "update", "alice", "--disallow", ARCHIVE]).succeeded();
    assert_eq!(app.run_json(&["user", "show", "alice"])["allow"], json!({ ORDERS: ["orders:read"] }));
    sign_in(&format!("resource={ARCHIVE}")).await.refused(400, "invalid_scope");
    assert_eq!(sign_in(&format!("resource={ORDERS}")).await.granted()["scope"], "orders:read");
}

async fn at3_a_refresh_stays_at_the_resource_of_its_login(backend: Backend) {
    let app = with_two_owners(backend).await;
    let both = at_both(&app);
    let at_each = [(ORDERS, "orders:read"), (ARCHIVE, "orders:read")];
    app.database.try_user("alice", PASSWORD, permissions(&at_each)).unwrap();
    let signed_in = app.token(&both, &format!("grant_type=password&{SIGN_IN}&resource={ARCHIVE}")).await;
    let refreshed = app.refresh(&both, &format!("{}&scope=orders:read", signed_in.refresh_token())).await;
    assert_eq!(refreshed.claims()["aud"], ARCHIVE, "a scope alone is that of the login's resource");
    let token = refreshed.refresh_token();
    app.refresh(&both, &format!("{token}&resource={ORDERS}")).await.refused(400, "invalid_target");
    app.run(&["client", "update", "both", "--disallow", ARCHIVE]).succeeded();
    app.settle().await;
    app.refresh(&both, &token).await.refused(400, "invalid_grant");
}

async fn a_scope_that_is_removed_at_one_resource_stays_at_the_other(backend: Backend) {
    let app = with_two_owners(backend).await;
    let reader = client(&app, "reader", &[(ARCHIVE, "orders:read")]);
    app.user("alice");
    let owners = app.run_json(&["resource", "list", "--scope", "orders:read"]);
    let names: Vec<_> = owners.as_array().unwrap().iter().map(|owner| owner["audience"].as_str().unwrap()).collect();
    assert_eq!(names, [ARCHIVE, ORDERS]);

    // Each is in use by its own clients and users only.
    let remove = |audience: &str| app.run(&["resource", "update", audience, "--remove-scope", "orders:read"]);
    let refused = |audience: &str, says: &str| {
        let refused = remove(audience).failed_saying(&[says]);
        assert!(refused.stderr.trim_end().ends_with(says), "{refused:?}");
    };
    refused(ARCHIVE, "the scope orders:read is in use by the client reader");
    refused(ORDERS, "the scope orders:read is in use by the user alice");
    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    remove(ORDERS).succeeded();
    assert_eq!(app.run_json(&["resource", "show", ORDERS])["scopes"], json!(["orders:write"]));
    assert_eq!(app.run_json(&["resource", "show", ARCHIVE])["scopes"], json!(["archive:list", "orders:read"]));
    assert_eq!(app.plain_token(&reader).await.claims()["aud"], ARCHIVE);

    app.run(&["resource", "delete", ORDERS, "--yes"]).succeeded();
    assert_eq!(app.plain_token(&reader).await.granted()["scope"], "orders:read");
    app.run(&["resource", "delete", ARCHIVE, "--yes"]).failed_saying(&["in use by the client reader"]);
}

/// What makes the tables of scopes those of the version before, and forgets the migration.
fn return_to_the_version_before() -> Vec<String> {
    let earlier = [include_str!("../../migrations/0001_init.sql"), include_str!("../../migrations/0002_people.sql")].join("");
    let (drop_views, fill, drop_tables) = (
        ["DROP VIEW client_scopes", "DROP VIEW user_scopes", "DROP VIEW scopes"],
        [
            "INSERT INTO scopes (scope, audience) SELECT scope, audience FROM resource_scopes",
            "INSERT INTO client_scopes (client_id, scope, audience) SELECT client_id, scope, audience FROM client_permissions",
            "INSERT INTO user_scopes (sub, scope, audience) SELECT sub, scope, audience FROM user_permissions",
        ],
        ["DROP TABLE client_permissions", "DROP TABLE user_permissions", "DROP TABLE resource_scopes"],
    );
    let tables = earlier.split_inclusive(';').filter(|statement| {
        ["scopes", "client_scopes", "user_scopes"]
            .iter()
            .any(|table| statement.contains(&format!("CREATE TABLE {table} (")) || statement.contains(&format!(" ON {table} (")))
    });
    let tables: Vec<_> = tables.map(str::to_owned).collect();
    assert_eq!(tables.len(), 6, "three tables, each with an index: {tables:?}");
    let texts = |texts: [&str; 3]| texts.map(str::to_owned).to_vec();
    let forget = "DELETE FROM _sqlx_migrations WHERE version = 6".to_owned();
    [texts(drop_views), tables, texts(fill), texts(drop_tables), vec![forget]].concat()
}

async fn the_permissions_of_the_version_before_are_migrated(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.database.resource(ARCHIVE, "archive:list archive:read", None);
    let reader = client(&app, "reader", &[(ORDERS, "orders:read"), (ARCHIVE, "archive:list archive:read")]);
    app.app_for_users("shop");
    app.user("alice");
    app.database.try_user("bob", PASSWORD, permissions(&[(ORDERS, "orders:read"), (ARCHIVE, "archive:list")])).unwrap();
    let all = |app: &TestApp| ["resource", "client", "user"].map(|noun| app.run_json(&[noun, "list"]));
    let before = all(&app);

    let database = app.stop().await;
    for statement in return_to_the_version_before() {
        database.execute(&statement).await;
    }
    assert_eq!(database.texts("SELECT CAST(COUNT(*) AS TEXT) FROM client_scopes").await, ["5"]);
    if backend == Backend::Sqlite {
        let orphan = "INSERT INTO client_scopes (client_id, scope, audience) VALUES ('gone', 'orders:read', 'https://orders.example')";
        database.execute(&format!("PRAGMA foreign_keys = OFF; {orphan}")).await;
    }

    let app = TestApp::start_with(database, &[]).await;
    assert_eq!(all(&app), before);
    let claims = app.token(&reader, "grant_type=client_credentials&scope=archive:list").await.claims();
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!(ARCHIVE), &json!("archive:list")));
    // The former tables keep nothing from being changed or deleted.
    app.run(&["resource", "update", ARCHIVE, "--add-scope", "orders:read"]).succeeded();
    for delete in
        [["client", "reader"], ["client", "shop"], ["user", "alice"], ["user", "bob"], ["resource", ORDERS], ["resource", ARCHIVE]]
    {
        app.run(&[delete[0], "delete", delete[1], "--yes"]).succeeded();
    }
    assert_eq!(all(&app), [json!([]), json!([]), json!([])]);
}

async fn nodes_of_the_version_before_read_the_current_permissions(backend: Backend) {
    let app = with_two_owners(backend).await;
    at_both(&app);
    app.user("alice");
    let read = async |sql: &str| app.database.texts(sql).await;
    let of_clients = "SELECT scope || ' ' || audience FROM client_scopes WHERE client_id = 'both' ORDER BY audience, scope";
    let of_users = "SELECT s.scope FROM users u JOIN user_scopes s ON s.sub = u.sub ORDER BY s.scope";
    let owners = "SELECT audience FROM scopes WHERE scope = 'orders:read' ORDER BY audience";
    assert_eq!(read(of_users).await, ["orders:read", "orders:write"]);
    assert_eq!(read(owners).await, [ARCHIVE, ORDERS]);
    app.run(&["client", "update", "both", "--disallow", ORDERS]).succeeded();
    assert_eq!(
        read(of_clients).await,
        ["archive:list https://archive.example", "orders:read https://archive.example"],
        "a withdrawn permission is withdrawn there too"
    );
    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    assert_eq!(read(of_users).await, [""; 0]);
}
