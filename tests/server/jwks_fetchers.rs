//! The sources that fetch the keys: recorded by each node, listed for operators; `key plan` warns of those that lag.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, header::HeaderValue};
use sealwright::verifier::Verifier;
use serde_json::{Value, json};

use crate::{
    revocation::join_all,
    support::{Answer, Backend, Finished, ORDERS, TestApp, TestDatabase, on_sqlite},
};

on_sqlite![
    a_fetch_of_the_keys_is_recorded_with_its_source_and_nothing_else_is,
    a_verifier_sends_the_name_that_it_was_given,
    one_address_with_10_000_user_agents_does_not_push_out_another_address,
    hd7_a_hostile_user_agent_is_escaped_truncated_and_shows_no_secret,
    pw10_the_source_of_a_fetch_is_the_address_that_a_trusted_proxy_reports,
    ad2_fetchers_are_listed_only_on_the_management_listener,
    a_source_that_has_not_fetched_the_next_key_is_missing_it_until_it_fetches,
    key_plan_warns_of_a_source_that_fetches_regularly_and_does_not_have_the_next_key,
    key_plan_counts_a_source_that_has_fetched_the_next_key_from_another_node,
    key_plan_says_when_no_server_can_be_asked,
];

const KEYS: &str = "/.well-known/jwks.json";
const HOUR: Duration = Duration::from_secs(3600);

async fn fetch_as(app: &TestApp, agent: &str) {
    let agent = HeaderValue::from_bytes(agent.as_bytes()).unwrap();
    assert_eq!(Answer::to(app.request(Method::GET, KEYS).header("user-agent", agent)).await.status, 200);
}

async fn list(app: &TestApp) -> Value {
    let answer = app.http.get(format!("http://{}/jwks-fetchers", app.management)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &"application/json".parse().unwrap()));
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn fetchers(app: &TestApp) -> Vec<Value> {
    list(app).await["fetchers"].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

async fn a_fetch_of_the_keys_is_recorded_with_its_source_and_nothing_else_is(backend: Backend) {
    let app = TestApp::start(backend).await;
    let with_agent = |method: Method, path: &str| app.request(method, path).header("user-agent", "orders/1.0");
    for path in ["/.well-known/oauth-authorization-server", "/health/ready", "/nowhere"] {
        Answer::to(with_agent(Method::GET, path)).await;
    }
    Answer::to(with_agent(Method::HEAD, KEYS)).await;
    assert!(fetchers(&app).await.is_empty());

    let begun = app.now();
    let first = Answer::to(with_agent(Method::GET, KEYS)).await;
    app.pass(HOUR).await;
    let unchanged = Answer::to(with_agent(Method::GET, KEYS).header("if-none-match", first.header("etag").unwrap())).await;
    assert_eq!((first.status, unchanged.status), (200, 304));
    let [found] = &fetchers(&app).await[..] else { panic!("it is one source") };
    assert_eq!((text(&found["address"]), text(&found["user_agent"]), &found["name"]), ("127.0.0.1", "orders/1.0", &Value::Null));
    assert_eq!((&found["fetches"], &found["missing"], &found["withdrawn"]), (&2.into(), &json!([]), &json!([])));
    assert_eq!((&found["period_s"], &found["silent"]), (&Value::Null, &false.into()), "twice is not regularly");
    assert_ne!(found["first_fetch"], found["last_fetch"]);

    app.pass(HOUR).await;
    fetch_as(&app, "orders/1.0").await;
    let listed = list(&app).await;
    assert_eq!(listed["fetchers"][0]["period_s"], 3600);
    assert_eq!((&listed["dropped"], text(&listed["keys"][0]["state"])), (&0.into(), "active"));
    assert!(text(&listed["since"]) <= text(&listed["fetchers"][0]["first_fetch"]) && app.now() > begun);
}

async fn a_verifier_sends_the_name_that_it_was_given(backend: Backend) {
    let app = TestApp::start(backend).await;
    let verifier = |name: Option<&str>| {
        let builder = Verifier::for_issuer(&app.issuer).audience(ORDERS).clock(Arc::new(app.clock.clone()));
        let builder = if let Some(name) = name { builder.name(name) } else { builder };
        builder.build().unwrap()
    };
    verifier(Some("orders-api")).ready().await.unwrap();
    verifier(None).ready().await.unwrap();
    let found = fetchers(&app).await;
    let named = found.iter().find(|fetcher| fetcher["name"] == "orders-api").unwrap();
    assert!(text(&named["user_agent"]).ends_with(" (orders-api)"), "{named}");
    assert!(found.len() == 2 && found.iter().any(|fetcher| fetcher["name"].is_null()), "{found:?}");
}

/// A server that trusts a proxy on this machine.
async fn behind_proxy(backend: Backend) -> TestApp {
    TestApp::start_with(TestDatabase::create(backend).await, &[("behind_proxy", "127.0.0.1")]).await
}

async fn fetch_from(app: &TestApp, address: &str, agent: &str) -> Answer {
    Answer::to(app.request(Method::GET, KEYS).header("x-forwarded-for", address).header("user-agent", agent)).await
}

async fn one_address_with_10_000_user_agents_does_not_push_out_another_address(backend: Backend) {
    let app = behind_proxy(backend).await;
    fetch_from(&app, "192.0.2.1", "orders").await;
    app.pass(HOUR).await;
    for begin in (0..10_000).step_by(50) {
        let agents: Vec<String> = (begin..begin + 50).map(|number| format!("flood {number}")).collect();
        join_all(agents.iter().map(|agent| fetch_from(&app, "203.0.113.1", agent))).await;
    }
    let listed = list(&app).await;
    let found = listed["fetchers"].as_array().unwrap();
    assert!(found.iter().any(|fetcher| fetcher["user_agent"] == "orders"));
    assert_eq!((found.len(), &listed["dropped"]), (65, &(10_000 - 64).into()));
}

async fn hd7_a_hostile_user_agent_is_escaped_truncated_and_shows_no_secret(backend: Backend) {
    let app = TestApp::start(backend).await;
    let secret = "sw_09a27efed3ca36aez4SCN9tJqsuBFyZ4FfxzAHELIN3z9J-gVxNxYBRaYWsZwVRoQ";
    let hostile = [
        format!("key={secret}"),
        format!("https://user:{secret}@example.com"),
        "sealwright-verifier/0.1.0 (\u{202e}ipa-sredro)".to_owned(),
        "a\u{9b}31mred\u{2028}\u{200b}".to_owned(),
        "\u{202e}".repeat(3000),
        "x".repeat(8000),
        r#""},{"name":"orders-api"#.to_owned(),
    ];
    for agent in &hostile {
        fetch_as(&app, agent).await;
    }
    let found = fetchers(&app).await;
    assert_eq!(found.len(), hostile.len());
    for fetcher in &found {
        let shown = text(&fetcher["user_agent"]);
        assert!(shown.chars().count() <= 200 && !shown.contains(&secret[19..40]) && fetcher["name"].is_null(), "{shown}");
        assert!(!shown.chars().any(|c| c.is_control() || ['\u{202e}', '\u{2028}', '\u{200b}'].contains(&c)), "{shown:?}");
    }
    assert!(found.iter().any(|fetcher| text(&fetcher["user_agent"]).contains("[secret]")));
}

async fn pw10_the_source_of_a_fetch_is_the_address_that_a_trusted_proxy_reports(backend: Backend) {
    let trusting = behind_proxy(backend).await;
    fetch_from(&trusting, "198.51.100.7, 203.0.113.1", "orders").await;
    assert_eq!(text(&fetchers(&trusting).await[0]["address"]), "203.0.113.1");
    let other = TestApp::start(backend).await;
    fetch_from(&other, "203.0.113.1", "orders").await;
    assert_eq!(text(&fetchers(&other).await[0]["address"]), "127.0.0.1", "the header is not that of a trusted proxy");
}

async fn ad2_fetchers_are_listed_only_on_the_management_listener(backend: Backend) {
    let app = TestApp::start(backend).await;
    assert_eq!(app.get("/jwks-fetchers").await.status, 404);
    let foreign = app.http.get(format!("http://{}/jwks-fetchers", app.management)).header("host", "evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 421);
}

/// A server a minute before the next key is published, from which these have fetched the keys every hour.
async fn before_the_next_key(backend: Backend, agents: &[&str]) -> TestApp {
    let app = TestApp::start(backend).await;
    app.pass(29 * 24 * HOUR - 2 * HOUR - Duration::from_secs(60)).await;
    for hour in 0..3 {
        app.pass(if hour > 0 { HOUR } else { Duration::ZERO }).await;
        for agent in agents {
            fetch_as(&app, agent).await;
        }
    }
    app
}

/// Lets the next key be published, and returns its kid.
async fn publish(app: &TestApp) -> String {
    app.pass(Duration::from_secs(65)).await;
    app.settle().await;
    let key = list(app).await["keys"][0].clone();
    assert_eq!(key["state"], "published", "{key}");
    text(&key["kid"]).to_owned()
}

async fn a_source_that_has_not_fetched_the_next_key_is_missing_it_until_it_fetches(backend: Backend) {
    let app = before_the_next_key(backend, &["orders", "stock"]).await;
    let next = publish(&app).await;
    fetch_as(&app, "stock").await;
    let missing = async |agent: &str| {
        let found = fetchers(&app).await.into_iter().find(|fetcher| fetcher["user_agent"] == agent).unwrap();
        found["missing"].clone()
    };
    assert_eq!((missing("orders").await, missing("stock").await), (json!([next]), json!([])));
    fetch_as(&app, "orders").await;
    assert_eq!(missing("orders").await, json!([]));
}

/// `key plan`, which asks the management listener of `app`.
fn plan(app: &TestApp, arguments: &[&str]) -> Finished {
    let management = app.management.to_string();
    app.run(&[&["key", "plan", "--management-listen", &management], arguments].concat())
}

/// What `key plan` says of those that have fetched the keys.
fn warnings(app: &TestApp, arguments: &[&str]) -> String {
    let planned = plan(app, &[arguments, &["--json"]].concat()).json();
    let warnings: Vec<&str> = planned["fetchers"]["warnings"].as_array().unwrap().iter().map(text).collect();
    warnings.join("\n")
}

async fn key_plan_warns_of_a_source_that_fetches_regularly_and_does_not_have_the_next_key(backend: Backend) {
    let app = before_the_next_key(backend, &["orders", "stock", "sealwright-verifier/0.1.0 (billing-api)"]).await;
    fetch_as(&app, "once").await;
    let next = publish(&app).await;
    fetch_as(&app, "stock").await;
    let warned = warnings(&app, &[]);
    for named in ["orders (127.0.0.1) fetches the keys every 1h or so", "billing-api (127.0.0.1)", &next, "--node"] {
        assert!(warned.contains(named), "{named}: {warned}");
    }
    assert!(!warned.contains("stock") && !warned.contains("once"), "{warned}");
    let shown = plan(&app, &[]).succeeded();
    assert!(warned.lines().all(|warning| shown.stderr.contains(&format!("warning: {warning}"))), "{shown:?}");

    // Those that come no more are one line.
    app.pass(4 * HOUR).await;
    let warned = warnings(&app, &[]);
    assert!(warned.contains("2 sources used to fetch the keys regularly") && warned.contains("--node"), "{warned}");
    assert_eq!(warned.lines().count(), 2, "{warned}");

    for agent in ["orders", "sealwright-verifier/0.1.0 (billing-api)"] {
        fetch_as(&app, agent).await;
    }
    let planned = plan(&app, &["--json"]).json();
    let asked = &planned["fetchers"];
    assert_eq!((&asked["warnings"], &asked["behind"]), (&json!([]), &json!([])));
    assert!(asked["nodes"][0]["since"].is_string() && asked["nodes"][0]["error"].is_null(), "{asked}");
}

async fn key_plan_counts_a_source_that_has_fetched_the_next_key_from_another_node(backend: Backend) {
    let app = before_the_next_key(backend, &["orders"]).await;
    let second = app.second_node().await;
    publish(&app).await;
    second.pass(Duration::from_secs(65)).await;
    second.settle().await;
    fetch_as(&second, "orders").await;
    let warned = warnings(&app, &[]);
    assert!(warned.contains("orders (127.0.0.1)") && warned.contains("--node"), "{warned}");
    assert_eq!(warnings(&app, &["--node", &format!("http://{}", second.management)]), "");
}

async fn key_plan_says_when_no_server_can_be_asked(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (management, public) = (app.management.to_string(), app.url(""));
    // The wrong listener of ours.
    let warned = warnings(&app, &["--node", &public]);
    assert!(warned.contains(&public) && warned.contains("404") && !warned.contains("no server"), "{warned}");
    for refused in ["10.0.0.5:8081", "localhost:8081", "http://user:word@10.0.0.5", "10.0.0.5", "http://10.0.0.5/?x"] {
        let finished = plan(&app, &["--node", refused]);
        assert!(finished.status.code() == Some(2) && finished.stderr.contains("such as http://10.0.0.5:8081"), "{finished:?}");
    }
    let database = app.stop().await;
    for arguments in [["--management-listen", &management], ["--management-listen", "off"]] {
        let finished = crate::support::sealwright(&database, &[&["key", "plan"], &arguments[..]].concat()).succeeded();
        assert!(finished.stderr.contains("no server could be asked"), "{finished:?}");
    }
}
