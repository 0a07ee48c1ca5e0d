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
async fn gd1_a_header_of_the_caller_is_replaced_by_a_value_or_the_request_is_refused() {
    let party = Party::start(&[("gateway", "haproxy")]).await;
    let read = party.token("orders:read");
    for name in NAMES {
        let copy = |uri: &str, name: &str| party.check("GET", uri).header(name, "admin");
        let answer = Answer::to(copy("/orders", name).bearer_auth(&read)).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_ne!(answer.header(name).unwrap_or_default(), "", "the gateway replaces it");
        assert_ne!(answer.header(name), Some("admin"));
        // Not every gateway replaces a header by an empty one.
        assert_eq!(Answer::to(copy("/open", name)).await.status, 400, "{name}");
        // None replaces these, which many APIs take for the same.
        for spelling in [name.replace('-', "_"), name.replacen('-', "_", 1), name.replace('-', ".")] {
            let answer = Answer::to(copy("/orders", &spelling).bearer_auth(&read)).await;
            assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_request")), "{spelling}");
        }
    }
    // A token without a scope has an empty header for it.
    let own = party.issuer.token(AUDIENCE).user(ALICE).sign().unwrap();
    let check = || party.check("GET", &format!("/users/{ALICE}")).bearer_auth(&own);
    assert_eq!(Answer::to(check()).await.status, 200);
    assert_eq!(Answer::to(check().header("x-token-scope", "admin")).await.status, 400);
    assert_eq!(party.metric("sealwright_guard_requests_total{outcome=\"reserved_header\"}").await, 21.0);
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
