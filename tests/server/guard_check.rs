//! `sealwright guard --check`.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Finished, command, finish};

const RULES: &str = r#"[[issuer]]
issuer = "https://auth.example"
audience = "https://orders.example"

[[rule]]
methods = ["GET"]
path = "/orders/{id}"
scope = "orders:read"
caller = "user"
owner = "id"

[[rule]]
path = "/health"
public = true

[[rule]]
path = "/site/{*rest}"
scope = "site"

[[rule]]
path = "/site/about"
public = true
"#;

fn check(rules: &str, request: &[&str]) -> Finished {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("rules.toml"), rules).unwrap();
    let mut command = command(folder.path());
    command.args(["guard", "--check", "rules.toml"]).args(request);
    finish(command)
}

#[test]
fn gd3_check_says_which_rule_decides_and_what_it_needs() {
    let finished = check(RULES, &["GET", "/orders/1"]).succeeded();
    let needs = "a valid token of a user with the scope orders:read, whose subject (sub) is the segment {id}";
    assert_eq!(finished.stdout, format!("Decided by the rule at line 5 (path /orders/{{id}}, GET, HEAD). It needs {needs}.\n"));
    let finished = check(RULES, &["POST", "/health?full=1"]).succeeded();
    assert!(finished.stdout.contains("line 12") && finished.stdout.contains("public"), "{finished:?}");
    let shown = check(RULES, &["GET", "/orders/1", "--json"]).json();
    assert_eq!((&shown["decision"], &shown["line"], &shown["path"]), (&json!("token"), &json!(5), &json!("/orders/{id}")));
    assert_eq!(shown["needs"], json!({ "scope": "orders:read", "caller": "user", "owner": "id" }));
}

#[test]
fn gd3_check_fails_for_a_request_that_is_denied_or_ambiguous_and_says_why() {
    for (method, path, says) in [
        ("DELETE", "/orders/1", "are for GET, HEAD (line 5), and not for DELETE"),
        ("GET", "/other", "there is no rule for this path"),
        ("GET", "/orders/a%2Fb", "an encoded slash"),
        ("GET", "/Health", "the rule at line 12"),
        ("GET", "/health/", "a trailing slash"),
        ("GET", "/site/about.json", "the rule at line 20"),
        ("POST", "/health?_method=DELETE", "overrides the method"),
        ("GET", "/orders/\u{1b}[31m", "a control character"),
    ] {
        let finished = check(RULES, &[method, path]);
        assert_eq!(finished.status.code(), Some(1), "{method} {path}: {finished:?}");
        assert!(finished.stdout.contains(says), "{method} {path}: {finished:?}");
        assert!(!finished.stdout.contains('\u{1b}') && !finished.stderr.contains('\u{1b}'), "{finished:?}");
    }
    let shown = check(RULES, &["GET", "/site/about/", "--json"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["decision"], &shown["ambiguous"], &shown["line"]), (&json!("ambiguous"), &json!("trailing_slash"), &json!(20)));
}

#[test]
fn gd3_check_fails_if_the_decision_is_not_the_expected_one() {
    for (method, path, decision) in [
        ("POST", "/health", "public"),
        ("GET", "/orders/1", "token"),
        ("DELETE", "/orders/1", "denied"),
        ("GET", "/other", "denied"),
        ("GET", "/site/About", "denied"),
        ("GET", "//", "denied"),
    ] {
        for expected in ["public", "token", "denied"] {
            let finished = check(RULES, &[method, path, "--expect", expected]);
            assert_eq!(finished.status.code(), Some(i32::from(expected != decision)), "{method} {path} {expected}: {finished:?}");
            assert_eq!(finished.stderr.contains("--expect"), expected != decision, "{finished:?}");
        }
    }
    let folder = TempDir::new().unwrap();
    let mut command = command(folder.path());
    command.args(["guard", "--expect", "public"]);
    let alone = finish(command);
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
}

#[test]
fn gd3_check_refuses_a_bad_file_with_its_line_and_exit_code_2() {
    let typo = RULES.replace("public = true", "pubic = true");
    let slash = RULES.replace("\"/health\"", "\"/Orders/{id}/\"");
    for (rules, request, says) in [
        (typo.as_str(), ["GET", "/health"], "the rule file rules.toml, line 14: a rule has no key \"pubic\"; did you mean public?"),
        (slash.as_str(), ["GET", "/health"], "line 12: the path /Orders/{id}/ differs from that of the rule at line 5"),
        ("", ["GET", "/health"], "there is no [[rule]]"),
        (RULES, ["G T", "/health"], "not a method"),
    ] {
        let finished = check(rules, &request);
        assert_eq!((finished.status.code(), finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
        assert!(finished.stderr.contains(says), "{says}: {finished:?}");
    }
    let missing = check(RULES, &["GET"]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}
