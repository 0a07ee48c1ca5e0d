//! Which rule decides a request, and what it needs.

use http::{HeaderMap, HeaderValue, Method};

use super::{super::ambiguous::Leniency, Ambiguous, Decision, Rules, assert_outcomes, decide, rules};
use crate::verifier::{Claims, Error, Verifier, testing::Issuer};

#[test]
fn gd3_the_most_specific_path_decides_and_what_no_rule_is_for_is_denied() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/{tenant}/{page}"
        public = true
        [[rule]]
        path = "/orders"
        scope = "list"
        [[rule]]
        path = "/orders/{id}"
        methods = ["GET"]
        scope = "read"
        [[rule]]
        path = "/orders/{id}"
        methods = ["DELETE", "PATCH"]
        scope = "write"
        [[rule]]
        path = "/orders/export"
        scope = "export"
        [[rule]]
        path = "/files/{*path}"
        public = true
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/orders", "list"),
            ("PROPFIND", "/orders", "list"),
            ("GET", "/orders/1", "read"),
            ("HEAD", "/orders/1", "read"),
            ("PATCH", "/orders/1", "write"),
            ("POST", "/orders/1", "denied"),
            ("get", "/orders/1", "denied"),
            ("GET", "/orders/export", "export"),
            ("GET", "/orders/public", "read"),
            ("GET", "/acme/public", "public"),
            ("GET", "/files/a/b.txt", "public"),
            ("GET", "/files/a/", "public"),
            ("GET", "/", "denied"),
            ("GET", "/other", "denied"),
            ("GET", "/orders/1/items", "denied"),
        ],
    );
}

#[test]
fn gd3_a_name_comes_before_a_rest_at_the_same_place() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/users/{*rest}"
        scope = "all"
        [[rule]]
        path = "/users/{id}"
        scope = "one"
        [[rule]]
        path = "/users/{id}/orders"
        scope = "orders"
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/users/1", "one"),
            ("GET", "/users/1/orders", "orders"),
            ("GET", "/users/1/x", "all"),
            ("GET", "/users/1/orders/", "trailing_slash"),
        ],
    );
}

#[test]
fn gd3_a_method_that_no_rule_of_a_path_names_is_denied_whatever_broader_rules_say() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/admin"
        methods = ["GET", "POST"]
        scope = "admin"
        [[rule]]
        path = "/{*rest}"
        public = true
        "#,
    );
    assert_outcomes(&rules, &[("GET", "/admin", "admin"), ("DELETE", "/admin", "denied"), ("DELETE", "/other", "public")]);
}

#[test]
fn gd3_a_header_or_a_parameter_cannot_change_what_was_decided() {
    let rules = rules("[[rule]]\npath = \"/orders\"\npublic = true\n");
    let decide = |query, headers: &HeaderMap| rules.decide(&Method::POST, "/orders", query, headers);
    assert_eq!(decide(Some("page=2"), &HeaderMap::new()), Ok(Decision::Public));
    assert_eq!(decide(Some("_method=DELETE"), &HeaderMap::new()), Err(Ambiguous::MethodParameter));
    for (name, why) in [("x-http-method-override", Ambiguous::MethodHeader), ("x-original-url", Ambiguous::PathHeader)] {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static("/admin"))]);
        assert_eq!(decide(None, &headers), Err(why));
    }
}

fn owner(rules: &Rules, path: &str) -> Result<Option<String>, Ambiguous> {
    match decide(rules, "GET", path)? {
        Decision::Needs(needed) => Ok(needed.owner.map(Into::into)),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn gd3_the_owner_is_the_decoded_segment_and_one_that_apis_read_differently_is_refused() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/users/{id}"
        owner = "id"
        [[rule]]
        path = "/{tenant}/{id}/orders/{order}"
        owner = "id"
        "#,
    );
    let suffix = Ambiguous::OtherReading { how: Leniency::Suffix, line: Some(5) };
    for (path, expected) in [
        ("/users/7b0e", Ok(Some("7b0e".to_owned()))),
        ("/users/auth0%7C7", Ok(Some("auth0|7".to_owned()))),
        ("/users/caf%C3%A9", Ok(Some("caf\u{e9}".to_owned()))),
        ("/acme/7/orders/a.b+c", Ok(Some("7".to_owned()))),
        ("/acme/a%40b.example/orders/1", Ok(Some("a@b.example".to_owned()))),
        ("/users/alice.json", Err(suffix)),
        ("/acme/a+b/orders/1", Err(Ambiguous::OwnerSegment)),
        ("/users/cafe%CC%81", Err(Ambiguous::OwnerSegment)),
        ("/users/%EF%BC%A1lice", Err(Ambiguous::OwnerSegment)),
        ("/users/al%E2%80%8Bice", Err(Ambiguous::OwnerSegment)),
    ] {
        assert_eq!(owner(&rules, path), expected, "{path}");
    }
}

async fn claims(verifier: &Verifier, token: String) -> Claims {
    verifier.verify(&token).await.unwrap()
}

#[tokio::test]
async fn gd3_a_token_must_have_the_scope_the_caller_and_the_subject_that_a_rule_names() {
    const AUDIENCE: &str = "https://orders.example";
    let issuer = Issuer::start().await.unwrap();
    let verifier = issuer.verifier(AUDIENCE).build().unwrap();
    let token = |scope: &str| issuer.token(AUDIENCE).scope(scope);
    let client = claims(&verifier, token("read write").sign().unwrap()).await;
    let reader = claims(&verifier, token("read").sign().unwrap()).await;
    let alice = claims(&verifier, token("read write").user("alice").sign().unwrap()).await;
    // A client that is called like a user.
    let impostor = claims(&verifier, token("read write").client("alice").sign().unwrap()).await;
    let rules = rules(
        r#"
        [[rule]]
        path = "/any"
        [[rule]]
        path = "/both"
        scope = "write read"
        [[rule]]
        path = "/clients"
        caller = "client"
        [[rule]]
        path = "/users"
        caller = "user"
        [[rule]]
        path = "/users/{id}"
        scope = "read"
        owner = "id"
        "#,
    );
    let check = |path: &'static str, claims: &Claims| match decide(&rules, "GET", path) {
        Ok(Decision::Needs(needed)) => needed.check(claims),
        other => panic!("{path}: {other:?}"),
    };
    let lacks = || Err(Error::InsufficientScope("read write".to_owned()));
    for (path, claims, expected) in [
        ("/any", &reader, Ok(())),
        ("/any", &alice, Ok(())),
        ("/both", &client, Ok(())),
        ("/both", &alice, Ok(())),
        ("/both", &reader, lacks()),
        ("/clients", &reader, Ok(())),
        ("/clients", &alice, Err(Error::WrongCaller)),
        ("/users", &alice, Ok(())),
        ("/users", &reader, Err(Error::WrongCaller)),
        ("/users/alice", &alice, Ok(())),
        ("/users/Alice", &alice, Err(Error::NotOwner)),
        ("/users/bob", &alice, Err(Error::NotOwner)),
        ("/users/alice", &impostor, Err(Error::WrongCaller)),
        ("/users/billing", &client, Err(Error::WrongCaller)),
    ] {
        assert_eq!(check(path, claims), expected, "{path} {claims:?}");
    }
}
