//! Custom claims: fixed ones of clients and resources, and attributes of users.

use std::sync::Arc;

use sealwright::verifier::{Claims, Error, Verifier};
use serde_json::{Value, json};

use crate::support::{Answer, Backend, Credential, ORDERS, TestApp, on_both_databases, on_sqlite};

on_both_databases![
    at4_no_command_accepts_a_registered_claim,
    a_users_token_has_the_attributes_that_its_resource_asks_for_and_no_others,
    a_clients_token_has_the_fixed_claims_of_client_and_resource,
    a_changed_attribute_is_in_the_token_of_the_next_refresh,
    claims_that_could_make_a_token_too_long_are_refused,
    a_damaged_claim_damages_its_row_alone,
];

on_sqlite![
    values_of_every_type_arrive_unchanged,
    the_verifier_reads_claims_by_type,
    a_claim_has_one_source,
    claims_are_shown_recorded_and_removed,
];

/// The claims that AT4 names, those of the formats that this server serves or will serve, and two in another case.
const REGISTERED: [&str; 24] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "scope",
    "client_id",
    "typ",
    "cnf",
    "act",
    "may_act",
    "status",
    "auth_time",
    "acr",
    "amr",
    "azp",
    "nonce",
    "sid",
    "events",
    "active",
    "ISS",
    "Scope",
];

/// The commands that set claims, without the claim.
const SETTERS: [(&[&str], &str); 7] = [
    (&["client", "create", "other", "--fixed-claim"], "=1"),
    (&["client", "update", "shop", "--fixed-claim"], "=1"),
    (&["resource", "create", "https://stock.example", "--scope", "stock:read", "--fixed-claim"], "=1"),
    (&["resource", "update", ORDERS, "--fixed-claim"], "=1"),
    (&["resource", "create", "https://stock.example", "--scope", "stock:read", "--claim"], ""),
    (&["resource", "update", ORDERS, "--claim"], ""),
    (&["user", "update", "alice", "--attribute"], "=1"),
];

fn asks_for(app: &TestApp, names: &[&str]) {
    let options = names.iter().flat_map(|name| ["--claim", name]);
    app.run(&["resource", "update", ORDERS].into_iter().chain(options).collect::<Vec<_>>()).succeeded();
}

fn attribute(app: &TestApp, text: &str) {
    app.run(&["user", "update", "alice", "--attribute", text]).succeeded();
}

/// The claims beyond the registered ones.
fn custom(answer: &Answer) -> Value {
    let mut claims = answer.claims();
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "scope", "client_id", "auth_time", "status"] {
        claims.as_object_mut().unwrap().remove(name);
    }
    claims
}

async fn token_of(app: &TestApp, client: &Credential) -> Answer {
    app.settle().await;
    app.sign_in(client).await
}

async fn verified(app: &TestApp, token: &str) -> Claims {
    let jwks = app.get("/.well-known/jwks.json").await.body;
    let builder = Verifier::for_issuer(&app.issuer).audience(ORDERS).keys(jwks).clock(Arc::new(app.clock.clone()));
    builder.build().unwrap().verify_cached(token).unwrap()
}

async fn at4_no_command_accepts_a_registered_claim(backend: Backend) {
    let (app, _) = TestApp::for_users(backend).await;
    let before = app.run_json(&["change", "list"]);
    for name in REGISTERED {
        for (command, value) in SETTERS {
            let refused = app.run(&[command, &[&format!("{name}{value}")]].concat());
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            assert!(refused.stderr.contains("it is a registered claim"), "{refused:?}");
        }
    }
    let refused = app.user_with("bob", "plum trousers", &["--attribute", "iss=1"]);
    assert!(refused.status.code() == Some(2) && refused.stderr.contains("it is a registered claim"), "{refused:?}");
    for (command, value) in SETTERS.into_iter().filter(|(_, value)| !value.is_empty()) {
        app.run(&[command, &[&format!("preferred_username{value}")]].concat()).failed_saying(&["it is always the user's name"]);
    }
    assert_eq!(app.run_json(&["change", "list"]), before, "nothing was changed");
}

async fn a_users_token_has_the_attributes_that_its_resource_asks_for_and_no_others(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    attribute(&app, r#"roles=["admin","support"]"#);
    attribute(&app, "email=alice@example.com");
    assert_eq!(custom(&token_of(&app, &shop).await), json!({}), "it asks for none");
    asks_for(&app, &["roles", "preferred_username", "groups"]);
    let wanted = json!({ "roles": ["admin", "support"], "preferred_username": "alice" });
    assert_eq!(custom(&token_of(&app, &shop).await), wanted, "email is not asked for, and groups she does not have");
    assert_eq!(custom(&app.plain_token(&shop).await), json!({}), "a client has no attributes");
    app.run(&["resource", "update", ORDERS, "--remove-claim", "roles"]).succeeded();
    assert_eq!(custom(&token_of(&app, &shop).await), json!({ "preferred_username": "alice" }));
}

async fn a_clients_token_has_the_fixed_claims_of_client_and_resource(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let billing = app.client_with(
        "billing",
        &["--grant", "client_credentials", "--allow", "https://orders.example=orders:read", "--fixed-claim", "tier=2"],
    );
    app.run(&["resource", "update", ORDERS, "--fixed-claim", r#"region={"name":"eu"}"#]).succeeded();
    app.settle().await;
    assert_eq!(custom(&app.plain_token(&billing).await), json!({ "tier": 2, "region": { "name": "eu" } }));
    app.run(&["client", "update", "shop", "--fixed-claim", "tier=1"]).succeeded();
    let wanted = json!({ "tier": 1, "region": { "name": "eu" } });
    assert_eq!(custom(&token_of(&app, &shop).await), wanted, "a user's token has them too");
    app.run(&["client", "update", "shop", "--remove-fixed-claim", "tier"]).succeeded();
    assert_eq!(custom(&token_of(&app, &shop).await), json!({ "region": { "name": "eu" } }));
}

async fn a_changed_attribute_is_in_the_token_of_the_next_refresh(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    asks_for(&app, &["roles"]);
    attribute(&app, r#"roles=["admin"]"#);
    let signed_in = token_of(&app, &shop).await;
    assert_eq!(custom(&signed_in), json!({ "roles": ["admin"] }));
    attribute(&app, "roles=[]");
    let refreshed = app.refresh(&shop, &signed_in.refresh_token()).await;
    assert_eq!(custom(&refreshed), json!({ "roles": [] }));
    app.run(&["user", "update", "alice", "--remove-attribute", "roles"]).succeeded();
    assert_eq!(custom(&app.refresh(&shop, &refreshed.refresh_token()).await), json!({}));
}

async fn claims_that_could_make_a_token_too_long_are_refused(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let long = |len: usize| format!("note={}", "x".repeat(len));
    let fits = 1024 - "{\"note\":\"\"}".len();
    for command in [&["user", "update", "alice", "--attribute"][..], &["client", "update", "shop", "--fixed-claim"]] {
        app.run(&[command, &[&long(fits + 1)]].concat()).failed_saying(&["are too long: 1025 characters as JSON; the maximum is 1024"]);
    }
    attribute(&app, &long(fits));
    app.run(&["client", "update", "shop", "--fixed-claim", &format!("other={}", "x".repeat(1000))]).succeeded();
    app.run(&["resource", "update", ORDERS, "--claim", "note", "--fixed-claim", &format!("more={}", "x".repeat(1000))]).succeeded();
    let with_all = token_of(&app, &shop).await.granted();
    let short = with_all["access_token"].as_str().unwrap().len();
    assert!(short > 4000 && short < 8192, "{short}");

    // Scopes fill what is left, and the next one is refused, with the reason.
    let mut refused = None;
    for number in 0..99 {
        let scope = format!("{number:0>100}");
        let added = app.run(&["resource", "update", ORDERS, "--add-scope", &scope]);
        if !added.status.success() {
            refused = Some(added);
            break;
        }
    }
    let refused = refused.expect("no resource may have all of them");
    refused.failed_saying(&["could be longer than 8192 characters", "the fixed claims of the client shop 1012"]);
    let scopes: Vec<String> = serde_json::from_value(app.run_json(&["resource", "show", ORDERS])["scopes"].clone()).unwrap();
    let allow = format!("{ORDERS}={}", scopes.join(","));
    app.run(&["client", "update", "shop", "--allow", &allow]).succeeded();
    app.run(&["user", "update", "alice", "--allow", &allow]).succeeded();
    let longest = token_of(&app, &shop).await.granted()["access_token"].as_str().unwrap().len();
    // The limit allows for a key of 4096 bits, which is 342 characters more than one of 2048, and for the longest position in a status list.
    assert!(longest + 342 <= 8192 && longest > 6400, "{longest}");

    // A resource without claims keeps all the scopes that it may have.
    let scopes: Vec<String> = (0..40).map(|number| format!("--scope={number:0>100}x")).collect();
    let stock = ["resource", "create", "https://stock.example"].into_iter().chain(scopes.iter().map(String::as_str));
    app.run(&stock.collect::<Vec<_>>()).succeeded();
    let first = format!("https://stock.example={:0>100}x", 0);
    app.run(&["client", "update", "shop", "--allow", &first])
        .failed_saying(&["tokens for https://stock.example could be longer than 8192"]);
    app.run(&["resource", "update", "https://stock.example", "--claim", "roles"]).failed_saying(&["could be longer than 8192"]);
}

async fn a_damaged_claim_damages_its_row_alone(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.client("billing");
    app.user("bob");
    app.run(&["resource", "create", "https://stock.example", "--scope", "stock:read"]).succeeded();
    for (damage, command, name, healthy) in [
        ("UPDATE clients SET fixed_claims = '{\"iss\":1}' WHERE id = 'billing'", "client", "billing", "shop"),
        ("UPDATE resources SET fixed_claims = '[' WHERE audience = 'https://stock.example'", "resource", "https://stock.example", ORDERS),
        ("UPDATE users SET attributes = '{\"a\":1,\"a\":2}' WHERE username = 'bob'", "user", "bob", "alice"),
    ] {
        app.database.execute(damage).await;
        app.run(&[command, "show", name]).failed_saying(&["the database contains an invalid"]);
        app.run(&[command, "show", healthy]).succeeded();
        let listed = app.run(&[command, "list"]).succeeded();
        assert!(listed.stdout.contains("damaged") && listed.stdout.contains(healthy), "{listed:?}");
    }
    app.database.execute("UPDATE resources SET fixed_claims = NULL, claims = 'iss' WHERE audience = 'https://stock.example'").await;
    app.run(&["resource", "show", "https://stock.example"]).failed_saying(&["the database contains an invalid claims"]);
    token_of(&app, &shop).await.granted();
}

async fn values_of_every_type_arrive_unchanged(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let values = [
        ("null", "null"),
        ("true", "true"),
        ("18446744073709551615", "18446744073709551615"),
        ("-123456789012345678901234567890", "-123456789012345678901234567890"),
        ("1.10", "1.10"),
        ("1E-7", "1E-7"),
        ("{\"a\": [1, {\"b\": []}], \"ä\": \"\u{1F600}\\u0000\\\"\"}", "{\"a\":[1,{\"b\":[]}],\"ä\":\"\u{1F600}\\u0000\\\"\"}"),
        ("\"quoted\"", "\"quoted\""),
        ("plain text, \"quoted\"\\\n", "\"plain text, \\\"quoted\\\"\\\\\\n\""),
    ];
    for (given, kept) in values {
        attribute(&app, &format!("value={given}"));
        asks_for(&app, &["value"]);
        let answer = token_of(&app, &shop).await.granted();
        let token = answer["access_token"].as_str().unwrap();
        let claims = verified(&app, token).await;
        let read: Box<serde_json::value::RawValue> = claims.get("value").unwrap().unwrap();
        assert_eq!(read.get(), kept, "{given}");
        let shown = app.run(&["user", "show", "alice", "--json"]).succeeded().stdout;
        assert!(shown.contains(kept) || shown.contains("\\u0000"), "{shown}");
    }
    for broken in ["[\"admin\"", "{\"a\":1,\"a\":2}", "\"\\ud800\"", "1e999"] {
        let refused = app.run(&["user", "update", "alice", "--attribute", &format!("value={broken}")]);
        assert_eq!(refused.status.code(), Some(2), "{broken}: {refused:?}");
    }
}

async fn the_verifier_reads_claims_by_type(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    asks_for(&app, &["roles", "preferred_username"]);
    attribute(&app, r#"roles=["admin"]"#);
    let answer = token_of(&app, &shop).await.granted();
    let claims = verified(&app, answer["access_token"].as_str().unwrap()).await;
    assert_eq!(claims.get::<Vec<String>>("roles"), Ok(Some(vec!["admin".to_owned()])));
    assert_eq!(claims.get::<String>("preferred_username"), Ok(Some("alice".to_owned())));
    assert_eq!(claims.get::<String>("email"), Ok(None));
    assert_eq!(claims.get::<u64>("roles"), Err(Error::BadClaim("roles")));
}

async fn a_claim_has_one_source(backend: Backend) {
    let (app, _) = TestApp::for_users(backend).await;
    app.run(&["client", "update", "shop", "--fixed-claim", "tier=1"]).succeeded();
    for option in [&["--fixed-claim", "tier=2"][..], &["--claim", "tier"], &["--claim", "Tier"]] {
        app.run(&[&["resource", "update", ORDERS], option].concat())
            .failed_saying(&["the client shop and the resource https://orders.example both determine the claim"]);
    }
    asks_for(&app, &["roles"]);
    app.run(&["client", "update", "shop", "--fixed-claim", "roles=[]"]).failed_saying(&["both determine the claim roles"]);
    app.run(&["resource", "update", ORDERS, "--fixed-claim", "ROLES=[]"]).failed_saying(&["asks for the users' roles"]);
    app.client_with("other", &["--fixed-claim", "roles=[]"]);
    app.run(&["client", "update", "other", "--allow", "https://orders.example=orders:read"])
        .failed_saying(&["both determine the claim roles"]);
}

async fn claims_are_shown_recorded_and_removed(backend: Backend) {
    let (app, _) = TestApp::for_users(backend).await;
    let resource = app.run_json(&["resource", "update", ORDERS, "--claim", "roles", "--fixed-claim", "region=eu"]);
    assert_eq!((&resource["claims"], &resource["fixed_claims"]), (&json!(["roles"]), &json!({ "region": "eu" })));
    assert_eq!(app.run_json(&["resource", "list"]), json!([resource]));
    let client = app.run_json(&["client", "update", "shop", "--fixed-claim", "tier=1"]);
    assert_eq!(client["fixed_claims"], json!({ "tier": 1 }));
    let user = app.run_json(&["user", "update", "alice", "--attribute", "roles=[\"admin\"]", "--attribute", "big=1.10"]);
    assert_eq!(user["attributes"], json!({ "roles": ["admin"], "big": 1.1 }));
    let newest = app.run_json(&["change", "list"])[0].clone();
    assert_eq!(
        (&newest["before"], &newest["after"]),
        (&json!({ "attributes": null }), &json!({ "attributes": { "roles": ["admin"], "big": "1.10" } }))
    );
    for (command, shown) in [
        (&["resource", "show", ORDERS][..], "region: \"eu\""),
        (&["client", "show", "shop"], "tier: 1"),
        (&["user", "show", "alice"], "roles: [\"admin\"]"),
    ] {
        let screen = app.run(command).succeeded().stdout;
        assert!(screen.contains(shown), "{screen}");
    }
    app.run(&["user", "update", "alice", "--remove-attribute", "email"]).failed_saying(&["the user alice has no attribute email"]);
    app.run(&["client", "update", "shop", "--remove-fixed-claim", "email"]).failed_saying(&["the client shop has no fixed claim email"]);
    let both = ["--attribute", "roles=1", "--remove-attribute", "roles"];
    app.run(&[&["user", "update", "alice"], &both[..]].concat()).failed_saying(&["the attribute roles is both set and removed"]);
    app.run(&["resource", "update", ORDERS, "--claim", "x", "--remove-claim", "x"])
        .failed_saying(&["the claim x is both added and removed"]);
    app.run(&["resource", "update", ORDERS, "--remove-claim", "email"]).failed_saying(&["does not ask for the claim email"]);
    app.run(&["resource", "update", ORDERS, "--remove-fixed-claim", "region", "--remove-claim", "roles"]).succeeded();
    assert_eq!(app.database.texts("SELECT audience FROM resources WHERE claims IS NULL AND fixed_claims IS NULL").await, [ORDERS]);
    let created = app.user_with("carol", "plum trousers at the gate", &["--attribute", "email=c@example.com"]).json();
    assert_eq!(created["attributes"], json!({ "email": "c@example.com" }));
}
