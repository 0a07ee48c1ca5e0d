//! `examples/orders_api.rs` with the running server: only trusted apps and signed-in users get access, each to their own orders.

use serde_json::{Value, json};

use crate::support::{Backend, ORDERS, Process, TestApp, on_sqlite, wait_until};

on_sqlite![the_example_serves_allowed_callers_and_refuses_others_with_json];

/// Cargo builds the examples with the tests, in a folder beside theirs.
fn example(app: &TestApp) -> std::process::Command {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples/orders_api");
    assert!(program.exists(), "`cargo test` builds it; for this test alone: cargo build --example orders_api");
    let mut command = std::process::Command::new(program);
    command.env("ORDERS_ISSUER", &app.issuer).env("ORDERS_AUDIENCE", ORDERS).env("ORDERS_LISTEN", "127.0.0.1:0");
    command
}

async fn the_example_serves_allowed_callers_and_refuses_others_with_json(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let shop = app.app_for_users("shop");
    app.database.user("alice", crate::support::PASSWORD, "orders:read");
    let token = |answer: crate::support::Answer| answer.granted()["access_token"].as_str().unwrap().to_owned();
    let (of_app, of_alice) = (token(app.plain_token(&shop).await), token(app.sign_in(&shop).await));

    let mut api = Process::spawn(example(&app));
    wait_until(|| api.stdout().iter().any(|line| line.starts_with("orders at "))).await;
    let url = api.stdout()[0].strip_prefix("orders at ").unwrap().to_owned();
    let base = url.strip_suffix("/orders").unwrap().to_owned();
    let http = reqwest::Client::new();
    let ready = async || http.get(format!("{base}/health/ready")).send().await.unwrap().status() == 200;
    for _ in 0..3000 {
        if ready().await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let ask = async |request: reqwest::RequestBuilder, token: &str| {
        let answer = request.bearer_auth(token).send().await.unwrap();
        let (status, challenge) = (answer.status().as_u16(), answer.headers().contains_key("www-authenticate"));
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert!(challenge || status != 401, "a 401 says what is wanted: {body}");
        (status, body)
    };
    let order = || http.post(&url).header("content-type", "application/json").body(json!({ "item": "tea" }).to_string());

    let (status, made) = ask(order(), &of_app).await;
    assert_eq!((status, &made["item"], &made["owner"]), (201, &"tea".into(), &"shop".into()));
    assert_eq!(ask(http.get(&url), &of_app).await, (200, json!([made])));
    assert_eq!(ask(http.get(&url), &of_alice).await, (200, json!([])), "each sees their own");
    let one = format!("{url}/{}", made["id"]);
    assert_eq!(ask(http.get(&one), &of_app).await, (200, made.clone()));
    let refused =
        |status: u16| move |answer: (u16, Value)| assert_eq!((answer.0, &answer.1["status"]), (status, &status.into()), "{answer:?}");
    let plain = http.get(&one).bearer_auth(&of_alice).send().await.unwrap();
    assert_eq!((plain.status().as_u16(), plain.headers().contains_key("www-authenticate")), (403, false), "no scope would help");
    refused(403)(ask(order(), &of_alice).await);
    app.run(&["resource", "update", ORDERS, "--claim", "roles"]).succeeded();
    app.run(&["user", "update", "alice", "--attribute", r#"roles=["support"]"#]).succeeded();
    app.settle().await;
    let of_support = token(app.sign_in(&shop).await);
    assert_eq!(ask(http.get(&one), &of_support).await, (200, made.clone()), "her role allows it");
    refused(401)(ask(http.get(&url), "junk").await);
    let anonymous = http.get(&url).send().await.unwrap();
    let challenge = anonymous.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert_eq!(anonymous.status(), 401);
    assert_eq!(challenge, format!("Bearer resource_metadata=\"{ORDERS}/.well-known/oauth-protected-resource\""));
    let described = http.get(format!("{base}/.well-known/oauth-protected-resource")).send().await.unwrap().text().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&described).unwrap()["authorization_servers"], json!([app.issuer]));

    api.signal("TERM");
    assert!(api.wait().success());
}
