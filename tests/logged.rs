//! What the verifier and the client log for the program that embeds them, and that no token is in it.
//!
//! These tests have a binary of their own, because a call of `tracing` is switched on or off for the whole process by the thread that
//! reaches it first. Here every test installs the one log first, so no thread is without it. Each reads what its own thread wrote.

use std::{cell::RefCell, io, sync::LazyLock};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request},
    routing::get,
};
use sealwright::{
    client::{Credentials, Secret},
    verifier::{Token, Verifier, scopes, testing::Issuer},
};
use serde_json::Value;
use tower::ServiceExt;
use tracing_subscriber::fmt::format::FmtSpan;

const AUDIENCE: &str = "https://orders.example";

scopes! { Read = "orders:read"; }

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct OfThread;

impl io::Write for OfThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the log. A test calls this first and reads with [`logged`].
fn log() {
    static LOG: LazyLock<()> = LazyLock::new(|| {
        let lines = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_span_events(FmtSpan::CLOSE);
        tracing::subscriber::set_global_default(lines.with_writer(|| OfThread).finish()).unwrap();
    });
    LazyLock::force(&LOG);
}

/// What this thread has logged so far.
fn logged() -> (String, Vec<Value>) {
    let text = LINES.with_borrow(|lines| String::from_utf8(lines.clone()).unwrap());
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (text, lines)
}

#[tokio::test]
async fn spans_state_the_outcome_for_each_token_and_never_show_it() {
    log();
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let revoked = issuer.token(AUDIENCE).scope("orders:read").revocable().sign().unwrap();
    issuer.revoke(&revoked).unwrap();
    let api = Router::new().route("/read", get(|_: Token<Read>| async {})).layer(verifier.layer());
    let ask = async |authorization: Option<HeaderValue>| {
        let mut request = Request::builder().uri("/read");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        api.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    };
    let bearer = |token: &str| format!("Bearer {token}").parse::<HeaderValue>();
    let app = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    let user = issuer.token(AUDIENCE).user("0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b").scope("orders:read").sign().unwrap();
    // The first waits for the keys.
    assert_eq!(ask(Some(bearer(&app).unwrap())).await, 200);
    assert_eq!(ask(Some(bearer(&user).unwrap())).await, 200);
    assert_eq!(ask(None).await, 401);
    let hostile = issuer.hostile_tokens(AUDIENCE, "orders:read").unwrap();
    // Blanks around a token are not part of it, so these tokens are valid in a header.
    for it in hostile.iter().filter(|it| it.token.trim() == it.token) {
        if let Ok(value) = bearer(&it.token) {
            assert_ne!(ask(Some(value)).await, 200, "{}", it.name);
        }
    }
    assert_eq!(verifier.verify("x.y.z").await.unwrap_err().code(), "malformed");
    assert_eq!(ask(Some(bearer(&revoked).unwrap())).await, 401);

    let (text, lines) = logged();
    // Other libraries log within these spans too, so only the ends of spans count.
    let spans: Vec<&Value> = lines.iter().filter(|line| line["fields"]["message"] == "close").map(|line| &line["span"]).collect();
    let named = |name: &str| spans.iter().copied().filter(|span| span["name"] == name).collect::<Vec<_>>();
    assert_eq!(named("fetch_keys").iter().filter(|span| span["outcome"] == "fetched").count(), 1, "{text}");
    assert!(named("fetch_keys").iter().all(|span| span["issuer"] == issuer.url()), "{text}");
    let lists = named("fetch_status_list");
    assert!(matches!(lists[..], [list] if list["outcome"] == "fetched" && list["uri"] == issuer.status_list_uri()), "{text}");
    let tokens = named("verify_token");
    assert_eq!(
        (&tokens[0]["outcome"], &tokens[0]["client.id"], &tokens[0]["user.id"]),
        (&"accepted".into(), &"billing".into(), &Value::Null)
    );
    assert_eq!(tokens[1]["user.id"], "0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b");
    assert_eq!(tokens[2]["outcome"], "no_token");
    assert!(tokens.iter().all(|span| span["outcome"].is_string()), "{text}");
    for reason in ["algorithm_not_allowed", "bad_signature", "expired", "wrong_audience", "wrong_type", "unknown_key", "revoked"] {
        assert!(tokens.iter().any(|span| span["outcome"] == reason), "{reason}");
    }
    let shown = [&app, &user, &revoked].into_iter().chain(hostile.iter().map(|it| &it.token));
    for part in shown.flat_map(|token| token.split('.')).filter(|part| part.len() > 20) {
        assert!(!text.contains(part), "a part of a token is in the log: {part}");
    }
}

#[tokio::test]
async fn hd13_the_log_says_which_key_of_a_given_set_is_refused_and_why() {
    log();
    let issuer = Issuer::start().await.unwrap();
    let leaked = issuer.kid();
    issuer.rotate().unwrap();
    let mut keys: Value = serde_json::from_str(&issuer.jwks()).unwrap();
    let entries = keys["keys"].as_array_mut().unwrap();
    entries.iter_mut().find(|key| key["kid"] == leaked).unwrap()["d"] = "AQAB".into();
    assert!(entries.len() > 1, "the others can be used");
    Verifier::for_issuer("https://auth.example").audience(AUDIENCE).keys(keys.to_string()).build().unwrap();
    let (text, lines) = logged();
    let warnings: Vec<String> = lines.iter().filter(|line| line["level"] == "WARN").map(ToString::to_string).collect();
    assert!(matches!(&warnings[..], [one] if one.contains(&leaked) && one.contains("private member")), "{text}");
    assert!(!warnings[0].contains("AQAB"), "the private member must not be in the log: {text}");
}

#[tokio::test]
async fn the_first_request_to_each_origin_without_a_token_is_logged() {
    log();
    let client = Credentials::client("billing", Secret::value("sw_billing"))
        .issuer("https://auth.example")
        .resource(AUDIENCE)
        .attach_to([AUDIENCE])
        .build()
        .unwrap();
    // Port 1 is closed: the request fails, and it is its origin that counts.
    for url in ["http://127.0.0.1:1/a?key=1", "http://127.0.0.1:1/b", "http://[::1]:1/"] {
        client.get(url).send().await.unwrap_err();
    }
    let (text, lines) = logged();
    let warnings = lines.iter().filter(|line| line["level"] == "WARN");
    let origins: Vec<&Value> = warnings.map(|line| &line["fields"]["origin"]).collect();
    assert_eq!(origins, ["http://127.0.0.1:1", "http://[::1]:1"], "{text}");
    assert!(!text.contains("key=1"), "a query may hold secrets: {text}");
}
