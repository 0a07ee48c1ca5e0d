//! What the probe says: why it does not attack, and the forms of its result.

use axum::http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    AUDIENCE, IssuerAddress,
    holed::{self, Hole},
    kinds, orders, probe, probe_of,
};
use crate::support::{Finished, Process, command, wait_until};

const PAGE: &str = include_str!("../../../docs/probe.md");

/// The API was not attacked: a code of its own, a sentence, and no table.
#[track_caller]
fn not_probed(finished: Finished, words: &str) {
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    assert!(finished.stderr.contains(words) && finished.stdout.is_empty(), "{words}: {finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gd5_an_api_that_is_down_public_redirecting_or_not_configured_is_not_attacked() {
    let issuer = IssuerAddress::reserve();
    let run = async |url: String| probe(url, &issuer.url(), &["--wait", "1s"]).await;
    let holed = async |hole| run(orders(holed::start(&issuer.url(), AUDIENCE, hole).await)).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    not_probed(run(orders(closed)).await, "does not answer");
    not_probed(run(orders(holed::start_answering(StatusCode::OK, None).await)).await, "the path is public");
    not_probed(run(orders(holed::start_answering(StatusCode::FOUND, Some("/login")).await)).await, "redirects to /login");
    not_probed(run(orders(holed::start_answering(StatusCode::NOT_FOUND, None).await)).await, "no such path");
    not_probed(run(orders(holed::start_answering(StatusCode::UNAUTHORIZED, None).await)).await, "has not fetched the probe's keys");
    not_probed(
        run(orders(holed::start_answering(StatusCode::BAD_GATEWAY, None).await)).await,
        "fails on a request with a good token (502)",
    );
    not_probed(holed(Hole::Incomplete).await, "answers 422 to a request with a good token: the request lacks something else");
    not_probed(holed(Hole::Once).await, "answers 409 to the second request with a good token");
    not_probed(holed(Hole::SaysInBody).await, "but with another body");
    let other = holed::start(&issuer.url(), "https://other.example", Hole::Nothing).await;
    let finished = run(orders(other)).await;
    not_probed(finished, &format!("set its ISSUER to {} and its AUDIENCE to {AUDIENCE}. It has fetched the probe's keys", issuer.url()));
}

#[tokio::test(flavor = "multi_thread")]
async fn gd5_an_api_that_asks_for_the_keys_again_and_again_gets_all_of_them_in_the_first_answer() {
    let issuer = IssuerAddress::reserve();
    let api = holed::start(&issuer.url(), AUDIENCE, Hole::Nothing).await;
    let keys = format!("{}/.well-known/jwks.json", issuer.url());
    let first_answer = tokio::spawn(async move {
        let http = reqwest::Client::new();
        loop {
            match http.get(&keys).send().await {
                Ok(answer) => break answer.json::<Value>().await.unwrap(),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    probe(orders(api), &issuer.url(), &["--json"]).await.succeeded();
    let keys = first_answer.await.unwrap();
    assert!(keys["keys"].as_array().unwrap().len() > 2, "two that sign, and others: {keys:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_did_not_look_at_all_requests_has_not_passed() {
    let folder = TempDir::new().unwrap();
    let (junit, sarif) = (folder.path().join("junit.xml"), folder.path().join("probe.sarif"));
    for (hole, least) in [(Hole::Limits, 100), (Hole::Locks, 16)] {
        std::fs::write(&sarif, "of an earlier run").unwrap();
        let files = [&junit, &sarif].map(|file| file.display().to_string());
        let finished = probe_of(hole, &["--json", "--junit", &files[0], "--sarif", &files[1]]).await;
        assert_eq!(finished.status.code(), Some(3), "{hole:?}: {finished:?}");
        assert!(finished.stderr.contains("because there were too many"), "{finished:?}");
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert!(report["limited"].as_u64().unwrap() >= least, "{hole:?}: {report:#}");
        assert!(!sarif.exists(), "code scanning would close every alert that is not in it");
        // No test passes there.
        let junit = std::fs::read_to_string(&junit).unwrap();
        assert_eq!(junit.matches("<skipped").count(), junit.matches("<testcase").count(), "{junit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_stops_is_one_weakness_and_not_one_per_token() {
    let finished = probe_of(Hole::Stops, &["--json"]).await;
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(kinds(&report, "weakness").contains(&"fell-over".to_owned()) && report["stopped"] == true, "{report:#}");
    let crashes = report["findings"].as_array().unwrap().iter().filter(|finding| finding["kind"] == "crash");
    // The requests that were under way.
    assert!(crashes.map(|finding| finding["evidence"].as_array().unwrap().len()).sum::<usize>() <= 4, "{report:#}");
    assert_eq!(kinds(&report, "hole"), [""; 0], "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_without_a_token_may_have_another_status() {
    for hole in [Hole::NoHead, Hole::Redirects] {
        let finished = probe_of(hole, &["--json"]).await.succeeded();
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(kinds(&report, "weakness"), [""; 0], "{hole:?}: {report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_a_result_replaces_the_result_of_an_earlier_run() {
    let (folder, issuer) = (TempDir::new().unwrap(), IssuerAddress::reserve());
    let (junit, sarif) = (folder.path().join("junit.xml"), folder.path().join("probe.sarif"));
    for file in [&junit, &sarif] {
        std::fs::write(file, "of an earlier run").unwrap();
    }
    let (junit_name, sarif_name) = (junit.display().to_string(), sarif.display().to_string());
    let public = orders(holed::start_answering(StatusCode::OK, None).await);
    not_probed(probe(public, &issuer.url(), &["--junit", &junit_name, "--sarif", &sarif_name]).await, "the path is public");
    let text = std::fs::read_to_string(&junit).unwrap();
    assert!(text.contains(r#"errors="1""#) && text.contains("the path is public"), "{text}");
    assert!(!sarif.exists(), "code scanning would close every alert that is not in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_elsewhere_is_attacked_only_if_it_is_said_to_be_ones_own() {
    let issuer = IssuerAddress::reserve();
    let finished = probe("https://api.example/orders".to_owned(), &issuer.url(), &[]).await;
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
    assert!(finished.stderr.contains("--this-api-is-mine"), "{finished:?}");
    let finished = probe("http://127.0.0.1:9/orders".to_owned(), "http://auth.example", &[]).await;
    assert!(finished.status.code() == Some(2) && finished.stderr.contains("invalid issuer"), "{finished:?}");
    let finished = probe("http://me:secret@127.0.0.1:9/orders".to_owned(), &issuer.url(), &[]).await;
    assert!(finished.status.code() == Some(2) && !finished.stderr.contains("secret"), "{finished:?}");
    for wrong in [&["--rate", "0"][..], &["--library", "none"], &["--show", "no such token"], &["--header", "Authorization: Bearer x"]] {
        let finished = probe("http://127.0.0.1:9/orders".to_owned(), &issuer.url(), wrong).await;
        assert_eq!(finished.status.code(), Some(2), "{wrong:?}: {finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gd5_people_and_ci_systems_read_the_result_with_the_line_to_change() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (junit, sarif) = (file("junit.xml"), file("sarif.json"));
    let arguments = ["--junit", &junit, "--sarif", &sarif, "--sarif-location", "src/api.js", "--library", "jose"];
    let finished = probe_of(Hole::Accepts("wrong_audience"), &arguments).await;
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    for words in ["hole", "audience", "aud [\"https://x.example\"] (200)", "jose: jwtVerify(token, keys, { audience: AUDIENCE, .. })"] {
        assert!(finished.stdout.contains(words), "{words}: {}", finished.stdout);
    }
    assert!(finished.stderr.contains("1 hole"), "{finished:?}");

    let junit = std::fs::read_to_string(&junit).unwrap();
    assert!(junit.contains(r#"failures="1""#) && junit.contains(r#"<failure message="the API accepts tokens for other APIs""#), "{junit}");
    assert!(junit.contains("aud [&quot;https://x.example&quot;]") || junit.contains("aud [\"https://x.example\"]"), "{junit}");

    // Each kind is a test there, and a line of the page.
    let kinds: Vec<&str> = junit.split("<testcase name=\"").skip(1).filter_map(|test| test.split('"').next()).collect();
    assert_eq!(kinds.len(), 27, "{kinds:?}");
    for kind in kinds {
        assert!(PAGE.contains(&format!("\n| `{kind}` | ")), "docs/probe.md has no line for {kind}");
    }

    let sarif: Value = serde_json::from_slice(&std::fs::read(&sarif).unwrap()).unwrap();
    let result = sarif["runs"][0]["results"].as_array().unwrap().iter().find(|result| result["level"] == "error").unwrap();
    assert_eq!((&sarif["version"], &result["ruleId"]), (&Value::from("2.1.0"), &Value::from("audience-hole")));
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "src/api.js");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_as_a_command_that_works_while_the_probe_answers_as_the_issuer() {
    let issuer = IssuerAddress::reserve();
    let api = orders(holed::start(&issuer.url(), AUDIENCE, Hole::Accepts("wrong_type")).await);
    let folder = TempDir::new().unwrap();
    let mut command = command(folder.path());
    let name = "no typ: an ID token";
    command.args(["probe", &api, "--issuer", &issuer.url(), "--audience", AUDIENCE, "--scope", "orders:read", "--show", name]);
    let mut process = Process::spawn(command);
    wait_until(|| process.stdout().iter().any(|line| line.starts_with("curl "))).await;
    let shown = process.stdout().concat();
    let token = shown.split("Bearer ").nth(1).unwrap().trim_end_matches('\'').to_owned();
    let answer = reqwest::Client::new().get(&api).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    process.signal("TERM");
    assert!(process.wait().success());
}
