//! Hostile tokens, in both modes: none is accepted.

use std::time::Duration;

use axum::http::{HeaderValue, Method};
use sealwright::verifier::testing::InHeader;

use super::party::{AUDIENCE, Answer, Api, Party};

#[tokio::test(flavor = "multi_thread")]
async fn vf1_vf16_no_hostile_token_is_accepted_in_either_mode() {
    let api = Api::start().await;
    for mode in
        [("gateway", "haproxy"), ("gateway", "nginx"), ("gateway", "forward-auth"), ("gateway", "envoy"), ("upstream", api.url.as_str())]
    {
        let party = Party::start(&[mode]).await;
        for key in party.issuer.useless_keys().unwrap() {
            party.issuer.publish(key);
        }
        party.issuer.clock().advance(Duration::from_secs(10));
        let ask = |token: HeaderValue| {
            let request = match mode.1 {
                "haproxy" | "nginx" => party.check("GET", "/orders"),
                "forward-auth" => {
                    let request = party.request(Method::GET, "/").header("x-forwarded-method", "GET");
                    request.header("x-forwarded-uri", "/orders")
                }
                _ => party.request(Method::GET, "/orders"),
            };
            Answer::to(request.header("authorization", token))
        };
        let value = |token: &str| HeaderValue::from_str(&format!("Bearer {token}"));
        let mut refused = 0;
        for hostile in party.issuer.hostile_tokens(AUDIENCE, "orders:read").unwrap() {
            let Some(token) = value(&hostile.token).ok().filter(|_| hostile.in_header == InHeader::Unchanged) else { continue };
            let answer = ask(token).await;
            let refusals = if mode.1 == "nginx" { [401, 403] } else { [400, 401] };
            assert!(refusals.contains(&answer.status), "{mode:?}: {}: {answer:?}", hostile.name);
            let challenge = answer.challenge();
            assert!(challenge.starts_with("Bearer error=\"") && challenge.matches('"').count() % 2 == 0, "{}: {challenge}", hostile.name);
            assert!(challenge.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}: {challenge}", hostile.name);
            assert!(answer.body.len() < 500, "{}: {answer:?}", hostile.name);
            assert!(hostile.token.len() < 20 || !answer.body.contains(&hostile.token), "{}: {answer:?}", hostile.name);
            refused += 1;
        }
        assert!(refused > 150, "{refused}");
        for hostile in party.issuer.tokens_without_scope(AUDIENCE, "orders:read").unwrap() {
            assert_eq!(ask(value(&hostile.token).unwrap()).await.status, 403, "{mode:?}: {}", hostile.name);
        }
        assert_eq!(party.issuer.other_requests(), 0, "no token makes the guard ask elsewhere");
        assert_eq!(party.metric("sealwright_guard_requests_total{outcome=\"allowed\"}").await, 0.0);
        assert_eq!(ask(value(&party.token("orders:read")).unwrap()).await.status, 200, "a good token is accepted");
    }
    assert_eq!(api.received().len(), 1, "the good one");
}
