//! The guard answers gateways.

use axum::http::Method;
use sealwright::verifier::testing::{Behavior, Issuer};
use serde_json::json;

use super::party::{ALICE, AUDIENCE, Answer, Party, rules_for};

/// The check of a request in the way of one kind of gateway.
fn check(party: &Party, gateway: &str, method: &str, uri: &str) -> reqwest::RequestBuilder {
    match gateway {
        "nginx" | "haproxy" => party.check(method, uri),
        "forward-auth" => party.request(Method::GET, "/check").header("x-forwarded-method", method).header("x-forwarded-uri", uri),
        "envoy" => party.request(method.parse().unwrap(), uri),
        _ => panic!("{gateway}"),
    }
}

const GATEWAYS: [&str; 4] = ["nginx", "forward-auth", "envoy", "haproxy"];

#[tokio::test(flavor = "multi_thread")]
async fn gd1_vf15_each_gateway_gets_the_decision_in_its_own_form() {
    for gateway in GATEWAYS {
        let party = Party::start(&[("gateway", gateway)]).await;
        let (read, none) = (party.token("orders:read"), party.token(""));
        let ask = async |method: &str, uri: &str, token: Option<&str>| {
            let request = check(&party, gateway, method, uri);
            Answer::to(if let Some(token) = token { request.bearer_auth(token) } else { request }).await
        };
        for (method, uri) in [("GET", "/orders?page=2"), ("POST", "/orders"), ("HEAD", "/orders"), ("DELETE", "/orders/1")] {
            let answer = ask(method, uri, Some(&read)).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{gateway}: {method} {uri}: {answer:?}");
            assert_eq!(answer.header("x-token-subject"), Some("billing"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        assert_eq!(ask("GET", "/open", None).await.status, 200, "{gateway}");

        let answer = ask("GET", "/orders", None).await;
        assert_eq!((answer.status, answer.challenge()), (401, "Bearer"), "{gateway}");
        assert_eq!(answer.json()["error"], "no_token");
        let answer = ask("GET", "/orders", Some("junk")).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("invalid_token")), "{gateway}");
        assert!(answer.challenge().starts_with("Bearer error=\"invalid_token\", error_description=\""), "{answer:?}");
        let answer = ask("GET", "/orders", Some(&none)).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("insufficient_scope")), "{gateway}");
        assert!(answer.challenge().ends_with(", scope=\"orders:read\""), "{answer:?}");
        for (uri, method) in [("/nowhere", "GET"), ("/orders", "DELETE")] {
            let answer = ask(method, uri, Some(&read)).await;
            assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("access_denied")), "{gateway}");
            assert_eq!(ask(method, uri, None).await.status, 401, "without a token, it is not said that there is no rule");
        }
        let refused = if gateway == "nginx" { 403 } else { 400 };
        let answer = ask("GET", "/orders;x=y", Some(&read)).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (refused, Some("invalid_request")), "{gateway}");
        let answer = ask("GET", "/orders?access_token=x", Some(&read)).await;
        assert_eq!(answer.status, refused, "a token in two places: {answer:?}");
        assert!(answer.challenge().starts_with("Bearer error=\"invalid_request\""), "{answer:?}");
        assert_eq!(ask("GET", &format!("/orders?access_token={read}"), None).await.status, 401, "a token in the query is none");
        let twice = check(&party, gateway, "GET", "/orders").bearer_auth(&read).bearer_auth(&read);
        assert_eq!(Answer::to(twice).await.status, refused, "two methods of the same kind");
        assert_eq!(Answer::to(check(&party, gateway, "GET", "/orders").header("authorization", "Basic YTpi")).await.challenge(), "Bearer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_nginx_gets_no_status_that_it_does_not_know_and_each_refusal_says_what_it_means() {
    let party = Party::start(&[("gateway", "nginx")]).await;
    let read = party.token("orders:read");
    let meant = async |request: reqwest::RequestBuilder| {
        let answer = Answer::to(request).await;
        (answer.status, answer.header("x-guard-status").map(str::to_owned))
    };
    let said = |status: u16, meant: &str| (status, Some(meant.to_owned()));
    assert_eq!(meant(party.check("GET", "/orders").bearer_auth(&read)).await, (200, None));
    assert_eq!(meant(party.check("GET", "/orders")).await, said(401, "401"));
    assert_eq!(meant(party.check("GET", "/nowhere").bearer_auth(&read)).await, said(403, "403"));
    assert_eq!(meant(party.check("GET", "/a//b").bearer_auth(&read)).await, said(403, "400"));
    assert_eq!(meant(party.request(Method::GET, "/check").bearer_auth(&read)).await, said(500, "500"), "nothing says what it is about");
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_only_the_headers_of_the_configured_gateway_are_read() {
    let party = Party::start(&[("gateway", "envoy")]).await;
    let forged = |path: &str| {
        let request = party.request(Method::GET, path).header("x-original-method", "GET").header("x-original-uri", "/open");
        request.header("x-forwarded-method", "GET").header("x-forwarded-uri", "/open").header("x-envoy-original-path", "/open")
    };
    assert_eq!(Answer::to(forged("/orders")).await.status, 401);
    assert_eq!(Answer::to(forged("/open")).await.status, 200);
    let party = Party::start(&[("gateway", "forward-auth")]).await;
    assert_eq!(Answer::to(party.check("GET", "/open")).await.status, 500, "the headers of nginx say nothing to it");
    assert_eq!(Answer::to(party.request(Method::GET, "/open")).await.status, 500, "nor does the path of the check");
    let party = Party::start(&[("gateway", "nginx")]).await;
    let doubled = party.check("GET", "/orders").header("x-original-uri", "/open");
    assert_eq!(Answer::to(doubled).await.status, 500, "one of the two is the caller's");
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_what_a_caller_sends_is_not_taken_for_a_mistake_in_the_configuration() {
    let party = Party::start(&[("gateway", "haproxy")]).await;
    for description in ["x-original-method: GET\r\nx-original-uri: /caf\u{e9}", "x-original-method: G\u{e9}T\r\nx-original-uri: /open"] {
        let answer = party.raw(&format!("GET /check HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{description}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"invalid_request\""), "{answer}");
    }
    let count = async |outcome: &str| party.metric(&format!("sealwright_guard_requests_total{{outcome=\"{outcome}\"}}")).await;
    assert_eq!((count("ambiguous").await, count("gateway_misconfigured").await), (2.0, 0.0));
    assert_eq!(Answer::to(party.request(Method::GET, "/check")).await.status, 500);
    assert_eq!(count("gateway_misconfigured").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_envoy_may_put_a_prefix_before_the_path() {
    let party = Party::start(&[("gateway", "envoy"), ("gateway_path_prefix", "/check")]).await;
    let read = party.token("orders:read");
    let status = async |path: &str| Answer::to(party.request(Method::GET, path).bearer_auth(&read)).await.status;
    assert_eq!(status("/check/orders?x").await, 200);
    assert_eq!(status("/check/open").await, 200);
    for other in ["/orders", "/open", "/checkopen", "/check", "/CHECK/open"] {
        assert_eq!(status(other).await, 500, "{other}");
    }
    // The prefix of the path of a caller is part of that path.
    assert_eq!(status("/check/check/open").await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn hd1_a_request_for_grpc_without_a_token_gets_401_like_any_other() {
    let party = Party::start(&[("gateway", "nginx")]).await;
    for media_type in ["application/grpc", "application/grpcxyz", "application/grpc+proto", "application/json"] {
        let answer = Answer::to(party.check("POST", "/orders").header("content-type", media_type)).await;
        assert_eq!((answer.status, answer.challenge(), answer.header("grpc-status")), (401, "Bearer", None), "{media_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vf13_the_guard_starts_while_the_issuer_is_down_and_says_503_until_it_has_its_keys() {
    for (gateway, status) in [("haproxy", 503), ("nginx", 503)] {
        let issuer = Issuer::start().await.unwrap();
        issuer.go_down();
        let party = Party::cold(issuer, &[("gateway", gateway)]).await;
        let read = party.token("orders:read");
        let answer = Answer::to(party.check("GET", "/orders").bearer_auth(&read)).await;
        assert_eq!((answer.status, answer.challenge()), (status, ""), "{answer:?}");
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        let ready = party.ready().await;
        assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("not ready")));
        assert!(ready.body.contains(&format!("the keys of {} are not available", party.issuer.url())), "{ready:?}");
        assert_eq!(Answer::to(party.check("GET", "/open")).await.status, 200, "what needs no token needs no keys");
        assert_eq!(Answer::to(party.check("GET", "/orders")).await.status, 401);

        party.issuer.come_back();
        party.issuer.clock().advance(std::time::Duration::from_secs(wait));
        assert_eq!(Answer::to(party.check("GET", "/orders").bearer_auth(&read)).await.status, 200);
        assert_eq!(party.ready().await.status, 200);
        // Cached keys outlive the issuer.
        party.issuer.answer_keys(Behavior::Down);
        assert_eq!(Answer::to(party.check("GET", "/orders").bearer_auth(&read)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vf17_only_the_owner_gets_at_what_is_theirs() {
    let party = Party::start(&[("gateway", "haproxy")]).await;
    let of = |subject: &str| party.issuer.token(AUDIENCE).user(subject).sign().unwrap();
    let status = async |token: String| Answer::to(party.check("GET", &format!("/users/{ALICE}")).bearer_auth(token)).await.status;
    assert_eq!(status(of(ALICE)).await, 200);
    assert_eq!(status(of("0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5c")).await, 403);
    assert_eq!(status(party.issuer.token(AUDIENCE).client(ALICE).sign().unwrap()).await, 403, "a client of that name");
}

#[tokio::test(flavor = "multi_thread")]
async fn vf18_tokens_of_several_issuers_are_accepted_each_by_its_own_keys() {
    let (ours, partner) = (Issuer::start().await.unwrap(), Issuer::start().await.unwrap());
    let rules = rules_for(&[ours.url(), partner.url()]);
    let party = Party::with_rules(ours, &rules, &[("gateway", "haproxy")]).await;
    party.until_ready().await;
    let ask = async |token: String| Answer::to(party.check("GET", "/orders").bearer_auth(token)).await;
    for issuer in [&party.issuer, &partner] {
        let answer = ask(issuer.token(AUDIENCE).scope("orders:read").sign().unwrap()).await;
        assert_eq!((answer.status, answer.header("x-token-issuer")), (200, Some(issuer.url())), "{answer:?}");
    }
    let forged = party.issuer.token(AUDIENCE).scope("orders:read").claim("iss", partner.url()).sign().unwrap();
    assert_eq!(ask(forged).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn vf18_a_guard_is_ready_while_it_has_the_keys_of_one_issuer_and_names_the_others() {
    let (ours, partner) = (Issuer::start().await.unwrap(), Issuer::start().await.unwrap());
    partner.go_down();
    let rules = rules_for(&[ours.url(), partner.url()]);
    let party = Party::with_rules(ours, &rules, &[("gateway", "haproxy")]).await;
    party.until_ready().await;
    let ready = party.ready().await;
    let missing = ready.json()["missing"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let [missing] = &missing[..] else { panic!("{ready:?}") };
    assert!(missing.starts_with(&format!("the keys of {} are not available", partner.url())), "{ready:?}");
    let ask = async |issuer: &Issuer| {
        let token = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
        Answer::to(party.check("GET", "/orders").bearer_auth(token)).await.status
    };
    assert_eq!((ask(&party.issuer).await, ask(&partner).await), (200, 503));
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_name_the_metadata_of_the_api_if_it_is_set() {
    let url = "https://orders.example/.well-known/oauth-protected-resource";
    let party = Party::start(&[("gateway", "haproxy"), ("resource_metadata", url)]).await;
    let answer = Answer::to(party.check("GET", "/orders")).await;
    assert_eq!(answer.challenge(), format!("Bearer resource_metadata=\"{url}\""));
    let answer = Answer::to(party.check("GET", "/orders").bearer_auth(party.token(""))).await;
    assert!(answer.challenge().ends_with(&format!(", resource_metadata=\"{url}\"")), "{answer:?}");
    assert_eq!(answer.json(), json!({ "error": "insufficient_scope", "error_description": "The token does not have the required scope." }));
}
