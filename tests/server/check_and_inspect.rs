//! `sealwright check`, `key list` and `token inspect`.

use std::{io::Write, process::Stdio};

use crate::support::{Backend, TestApp, command, on_both_databases, on_sqlite};

on_both_databases![check_reports_that_everything_is_usable, keys_are_listed_with_their_state_and_nothing_secret,];

on_sqlite![a_token_is_inspected_from_an_argument_and_from_standard_input];

async fn check_reports_that_everything_is_usable(backend: Backend) {
    let app = TestApp::start(backend).await;
    let findings = app.run_json(&["check"]);
    let usable: Vec<_> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["what"].as_str().unwrap(), finding["usable"].as_bool().unwrap()))
        .collect();
    assert_eq!(usable, [("configuration", true), ("database", true), ("sealing key", true), ("signing keys", true), ("record", true)]);
    let shown = app.run(&["check"]).succeeded().stdout;
    assert!(!shown.contains('@'), "neither user nor password: {shown}");
}

async fn keys_are_listed_with_their_state_and_nothing_secret(backend: Backend) {
    let app = TestApp::start(backend).await;
    let keys = app.run_json(&["key", "list"]);
    let key = keys[0].as_object().unwrap();
    assert_eq!((keys.as_array().unwrap().len(), key["alg"].as_str(), key["state"].as_str()), (1, Some("RS256"), Some("active")));
    assert_eq!(key["kid"], app.get("/.well-known/jwks.json").await.json()["keys"][0]["kid"]);
    assert!(key["published_at"].is_string() && key["retires_at"].is_null() && key["expires_at"].is_null());
    let sealed = app.database.texts("SELECT sealed FROM signing_keys").await.remove(0);
    let shown = app.run(&["key", "list"]).succeeded().stdout + &app.run(&["key", "list", "--json"]).succeeded().stdout;
    assert!(!shown.contains(&sealed[..20]), "{shown}");
}

async fn a_token_is_inspected_from_an_argument_and_from_standard_input(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let answer = app.plain_token(&client).await;
    let token = answer.granted()["access_token"].as_str().unwrap().to_owned();
    let by_argument = app.run_json(&["token", "inspect", &token]);
    assert_eq!(by_argument["claims"], answer.claims());
    assert_eq!((by_argument["header"]["typ"].as_str(), by_argument["verified"].as_bool()), (Some("at+jwt"), Some(false)));

    let piped = |input: &str| {
        let mut command = command(app.database.folder());
        let mut child = command
            .args(["token", "inspect", "-", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for input in [token.clone(), format!("  {token}\n"), answer.body] {
        let (code, stdout, stderr) = piped(&input);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&stdout).unwrap(), by_argument);
    }
    for input in ["", "junk", "a.b.c", "a.b", "{}", "[]", "null", r#"{"error":"invalid_client"}"#, r#"{"access_token":7}"#] {
        let (code, stdout, stderr) = piped(input);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{input}");
        assert!(stderr.starts_with("sealwright: this is not a token: "), "{stderr}");
    }
}
