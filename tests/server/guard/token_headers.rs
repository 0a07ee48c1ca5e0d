//! What the API learns about the caller, and that only the guard can say it.

use axum::http::Method;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::party::{ALICE, AUDIENCE, Answer, Api, Party};

const NAMES: [&str; 5] = ["x-token-subject", "x-token-client", "x-token-scope", "x-token-issuer", "x-token-claims"];

fn claims_of(token: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_the_headers_say_for_whom_and_through_which_client_the_token_was_issued_and_what_it_allows() {
    let party = Party::start(&[("gateway", "haproxy")]).await;
    let token =
        party.issuer.token(AUDIENCE).client("shop").user(ALICE).scope("orders:read orders:write").claim("tenant", 7).sign().unwrap();
    let answer = Answer::to(party.check("GET", "/orders").bearer_auth(&token)).await;
    let expected = [Some(ALICE), Some("shop"), Some("orders:read orders:write"), Some(party.issuer.url())];
    assert_eq!(NAMES[..4].iter().map(|name| answer.header(name)).collect::<Vec<_>>(), expected);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(answer.header("x-token-claims").unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims, &claims["tenant"]), (&claims_of(&token), &json!(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_no_claim_breaks_out_of_its_header_or_looks_like_another() {
    let party = Party::start(&[("gateway", "haproxy")]).await;
    for (subject, shown) in [
        ("a\r\nX-Token-Scope: admin", "a%0D%0AX-Token-Scope:%20admin"),
        ("a%0D%0A", "a%250D%250A"),
        ("caf\u{e9} \u{202e}", "caf%C3%A9%20%E2%80%AE"),
        ("auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
        ("a,b", "a,b"),
    ] {
        let token = party.issuer.token(AUDIENCE).scope("orders:read a\tb").claim("sub", subject).sign().unwrap();
        let answer = Answer::to(party.check("GET", "/orders").bearer_auth(token)).await;
        assert_eq!((answer.status, answer.header("x-token-subject")), (200, Some(shown)), "{subject:?}");
        assert_eq!(answer.header("x-token-scope"), Some("orders:read a%09b"));
    }
    // A header that no gateway would pass on is refused instead of cut.
    let token = party.issuer.token(AUDIENCE).scope("orders:read").claim("long", "x".repeat(8 * 1024)).sign().unwrap();
    let answer = Answer::to(party.check("GET", "/orders").bearer_auth(&token)).await;
    assert_eq!((answer.status, answer.header("x-token-claims")), (500, None), "{answer:?}");
    let party = Party::start(&[("gateway", "haproxy"), ("claims_header", "off")]).await;
    let token = party.issuer.token(AUDIENCE).scope("orders:read").claim("long", "x".repeat(8 * 1024)).sign().unwrap();
    assert_eq!(Answer::to(party.check("GET", "/orders").bearer_auth(&token)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_the_names_are_settable_and_each_header_can_be_turned_off() {
    let settings =
        [("gateway", "haproxy"), ("subject_header", "X-User"), ("scope_header", "off"), ("issuer_header", "off"), ("claims_header", "off")];
    let party = Party::start(&settings).await;
    let answer = Answer::to(party.check("GET", "/orders").bearer_auth(party.token("orders:read"))).await;
    assert_eq!((answer.header("x-user"), answer.header("x-token-client")), (Some("billing"), Some("billing")));
    for name in ["x-token-subject", "x-token-scope", "x-token-issuer", "x-token-claims"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    // A name that is not used is still not the caller's to use: the API may read it.
    let copy = party.check("GET", "/orders").bearer_auth(party.token("orders:read")).header("x-token-scope", "admin");
    assert_eq!(Answer::to(copy).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_without_a_token_the_headers_are_there_and_empty_so_that_a_gateway_replaces_those_of_the_caller() {
    let party = Party::start(&[("gateway", "haproxy")]).await;
    let answer = Answer::to(party.check("GET", "/open")).await;
    assert!(NAMES.iter().all(|name| answer.header(name) == Some("")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_a_header_of_the_caller_that_only_the_guard_sets_is_refused_whether_or_not_the_gateway_would_replace_it() {
    let party = Party::start(&[("gateway", "haproxy"), ("issuer_header", "off")]).await;
    let read = party.token("orders:read");
    let mut refused = 0.0;
    for name in NAMES {
        for spelling in [name.to_owned(), name.to_uppercase(), name.replace('-', "_"), name.replacen('-', "_", 1), name.replace('-', ".")] {
            for request in [party.check("GET", "/orders").bearer_auth(&read), party.check("GET", "/open")] {
                let answer = Answer::to(request.header(&spelling, "admin")).await;
                assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_request")), "{spelling}: {answer:?}");
                assert_eq!(answer.header(name), None, "{spelling}");
                refused += 1.0;
            }
        }
    }
    assert_eq!(party.metric("sealwright_guard_requests_total{outcome=\"reserved_header\"}").await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_a_gateway_that_has_copied_the_answer_may_ask_again_about_the_same_request() {
    let party = Party::start(&[("gateway", "haproxy")]).await;
    let read = party.token("orders:read");
    // A token without a scope has an empty header for it, and a request without a token has nothing but empty ones.
    let own = party.issuer.token(AUDIENCE).user(ALICE).sign().unwrap();
    let (of_alice, open) = (format!("/users/{ALICE}"), "/open".to_owned());
    for (path, token) in [("/orders".to_owned(), Some(&read)), (of_alice, Some(&own)), (open, None)] {
        let ask = || {
            let request = party.check("GET", &path);
            if let Some(token) = token { request.bearer_auth(token) } else { request }
        };
        let first = Answer::to(ask()).await;
        let copied = |request: reqwest::RequestBuilder, except: &str, other: &str| {
            let names = NAMES.into_iter().filter(|name| *name != except);
            let request = names.fold(request, |request, name| request.header(name, first.header(name).unwrap()));
            if except.is_empty() { request } else { request.header(except, other) }
        };
        let again = Answer::to(copied(ask(), "", "")).await;
        assert_eq!(again.status, 200, "{path}: {again:?}");
        for name in NAMES {
            assert_eq!(again.header(name), first.header(name), "{path}");
            assert_eq!(Answer::to(copied(ask(), name, "admin")).await.status, 400, "{path}: {name}");
            let twice = copied(ask(), "", "").header(name, first.header(name).unwrap());
            assert_eq!(Answer::to(twice).await.status, 400, "{path}: {name} is there twice");
            let value = first.header(name).unwrap();
            assert_eq!(Answer::to(ask().header(name.replace('-', "_"), value)).await.status, 400, "{path}: {name} in another spelling");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_headers_of_these_names_from_the_caller_never_reach_the_api() {
    let api = Api::start().await;
    let party = Party::start(&[("upstream", &api.url), ("claims_header", "X-Claims")]).await;
    let read = party.token("orders:read");
    let forged = |path: &str| {
        let names = NAMES.into_iter().chain(["x-claims"]);
        let spellings = names.flat_map(|name| [name.to_owned(), name.to_uppercase(), name.replace('-', "_"), name.replace('-', ".")]);
        spellings.fold(party.request(Method::GET, path), |request, name| request.header(name, "admin"))
    };
    assert_eq!(Answer::to(forged("/orders").bearer_auth(&read)).await.status, 200);
    assert_eq!(Answer::to(forged("/open")).await.status, 200);
    let [with_token, public] = &api.received()[..] else { panic!("{:?}", api.received()) };
    assert_eq!(with_token.values("x-token-subject"), ["billing"]);
    assert_eq!(with_token.values("x-token-scope"), ["orders:read"]);
    for received in [with_token, public] {
        assert!(received.headers.values().all(|value| value != "admin"), "{received:?}");
        assert!(received.headers.keys().all(|name| !name.as_str().contains(['_', '.'])), "{received:?}");
    }
    assert!(public.headers.keys().all(|name| !name.as_str().contains("token") && name != "x-claims"), "{public:?}");
    assert_eq!(with_token.values("x-token-claims"), [""; 0], "its default name is not the caller's to use either");
}
