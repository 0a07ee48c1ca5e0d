//! Which rule decides a request, and what it needs.

use http::{HeaderMap, HeaderValue, Method};

use super::{Ambiguous, Decision, Rules, decide, outcome, rules};
use crate::verifier::{Claims, Error, Verifier, testing::Issuer};

fn assert_outcomes(rules: &Rules, expected: &[(&str, &str, &str)]) {
    for (method, path, expected) in expected {
        assert_eq!(outcome(rules, method, path), *expected, "{method} {path}");
    }
}

#[test]
fn gd3_the_most_specific_path_decides_and_what_no_rule_is_for_is_denied() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/{tenant}/public"
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
            ("GET", "/acme/private", "denied"),
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
fn gd3_a_path_that_an_api_may_take_for_another_is_refused() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/admin"
        scope = "admin"
        [[rule]]
        path = "/admin/{*rest}"
        scope = "admin"
        [[rule]]
        path = "/keys/{*rest}"
        scope = "keys"
        [[rule]]
        path = "/{*rest}"
        public = true
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/admin", "admin"),
            ("GET", "/admin/users", "admin"),
            ("GET", "/administrator", "public"),
            ("GET", "/other/admin", "public"),
            ("GET", "/caf%C3%A9", "public"),
            ("GET", "/ADMIN", "case"),
            ("GET", "/Admin/users", "case"),
            ("GET", "/admin/", "trailing_slash"),
            ("GET", "/adm%C4%B1n", "escape"),
            ("GET", "/%E2%84%AAeys/1", "escape"),
            ("GET", "/%EF%BC%A1dmin", "escape"),
            ("GET", "/ad%E2%80%8Bmin", "escape"),
            ("GET", "/admin.json", "suffix"),
            ("GET", "/ADMIN.JSON", "suffix"),
            ("GET", "/keys", "nothing_below"),
            ("GET", "/keys/", "nothing_below"),
            ("GET", "/", "nothing_below"),
            ("GET", "/admin%20", "trimmed_segment"),
            ("GET", "/admin.", "trimmed_segment"),
            ("GET", "/%61dmin", "needless_escape"),
            ("GET", "/admin;x=y", "path_parameters"),
            ("GET", "//admin", "empty_segment"),
            ("GET", "/x/../admin", "dot_segment"),
            ("GET", "/x/..%2fadmin", "encoded_slash"),
            ("GET", "/x/%2e%2e/admin", "needless_escape"),
            ("GET", "/x%5c..%5cadmin", "encoded_slash"),
            ("GET", "/x%252f..%252fadmin", "encoded_percent"),
            ("GET", "/admin%EF%BC%8Fusers", "lookalike"),
            ("GET", "/admin::$DATA", "file_stream"),
            ("GET", "/admin%00", "control"),
            ("OPTIONS", "*", "not_absolute"),
        ],
    );
}

#[test]
fn gd3_a_suffix_or_a_path_below_a_file_leads_to_no_other_rule() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/robots"
        scope = "robots"
        [[rule]]
        path = "/robots.txt"
        public = true
        [[rule]]
        path = "/orders/{id}"
        scope = "read"
        [[rule]]
        path = "/orders/export"
        scope = "export"
        [[rule]]
        path = "/admin.php"
        scope = "admin"
        [[rule]]
        path = "/v1.2"
        scope = "version"
        [[rule]]
        path = "/v1.2/orders/{id}"
        scope = "read"
        [[rule]]
        path = "/{*rest}"
        public = true
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/robots.txt", "public"),
            ("GET", "/robots.html", "suffix"),
            ("GET", "/orders/1.json", "read"),
            ("GET", "/orders/.json", "read"),
            ("GET", "/orders/export.csv", "suffix"),
            ("GET", "/orders/export.tar.gz", "suffix"),
            ("GET", "/orders/exported.csv", "read"),
            ("GET", "/admin.php", "admin"),
            ("GET", "/admin.php/users", "below_file"),
            ("GET", "/admin.php/users/1", "below_file"),
            ("GET", "/admin.html/users", "public"),
            ("GET", "/v1.2", "version"),
            ("GET", "/v1.2/orders/1", "read"),
            ("GET", "/v1.2/other", "below_file"),
        ],
    );
}

#[test]
fn gd3_paths_that_differ_only_in_a_slash_or_case_may_have_rules_that_need_the_same() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/orders"
        scope = "read"
        [[rule]]
        path = "/orders/"
        scope = "read"
        [[rule]]
        path = "/Orders"
        methods = ["GET"]
        scope = "read"
        "#,
    );
    assert_outcomes(
        &rules,
        &[("GET", "/orders", "read"), ("GET", "/orders/", "read"), ("GET", "/Orders", "read"), ("GET", "/Orders/", "case")],
    );
}

#[test]
fn gd3_an_encoded_character_matches_a_name_and_never_a_text() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/users/@me"
        scope = "me"
        [[rule]]
        path = "/users/{name}"
        scope = "users"
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/users/@me", "me"),
            ("GET", "/users/%40me", "escape"),
            ("GET", "/users/a%40b.example", "users"),
            ("GET", "/users/%7Bname%7D", "users"),
            ("GET", "/users/stra%C3%9Fe", "users"),
        ],
    );
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
    for (path, expected) in [
        ("/users/7b0e", Ok(Some("7b0e".to_owned()))),
        ("/users/auth0%7C7", Ok(Some("auth0|7".to_owned()))),
        ("/users/caf%C3%A9", Ok(Some("caf\u{e9}".to_owned()))),
        ("/acme/7/orders/a.b+c", Ok(Some("7".to_owned()))),
        ("/acme/a%40b.example/orders/1", Ok(Some("a@b.example".to_owned()))),
        ("/users/alice.json", Err(Ambiguous::OwnerSegment)),
        ("/acme/a+b/orders/1", Err(Ambiguous::OwnerSegment)),
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
