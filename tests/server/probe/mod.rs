//! `sealwright probe`: the real binary against small APIs.

mod holed;
mod results;

use std::net::{SocketAddr, TcpListener};

use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{Finished, command, finish};
use holed::{AUDIENCE, Hole};

/// An address for the probe's issuer, which nothing else takes while this exists: the port is reserved at another address.
struct IssuerAddress {
    reserved: TcpListener,
}

impl IssuerAddress {
    fn reserve() -> Self {
        Self { reserved: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn url(&self) -> String {
        format!("http://127.0.99.1:{}", self.reserved.local_addr().unwrap().port())
    }
}

/// Runs the probe against `url`.
async fn probe(url: String, issuer: &str, more: &[&str]) -> Finished {
    let folder = TempDir::new().unwrap();
    let mut command = command(folder.path());
    command.args(["probe", &url, "--issuer", issuer, "--audience", AUDIENCE, "--scope", "orders:read", "--other-scope", "orders:write"]);
    command.args(more);
    tokio::task::spawn_blocking(move || {
        let finished = finish(command);
        drop(folder);
        finished
    })
    .await
    .unwrap()
}

/// Runs the probe against an API with this hole.
async fn probe_of(hole: Hole, more: &[&str]) -> Finished {
    let issuer = IssuerAddress::reserve();
    let api = holed::start(&issuer.url(), AUDIENCE, hole).await;
    probe(orders(api), &issuer.url(), more).await
}

fn orders(api: SocketAddr) -> String {
    format!("http://{api}/orders")
}

/// The kinds of a severity in a report.
fn kinds(report: &serde_json::Value, severity: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    let of_severity = findings.iter().filter(|finding| finding["severity"] == severity);
    of_severity.map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn gd5_an_api_behind_the_verifier_has_no_hole_and_no_weakness() {
    let finished = probe_of(Hole::Nothing, &["--json"]).await.succeeded();
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(kinds(&report, "hole"), [""; 0], "{report:#}");
    assert_eq!(kinds(&report, "weakness"), [""; 0], "{report:#}");
    assert!(report["hostile"].as_u64().unwrap() > 200 && report["good"] == 5 && report["without_scope"] == 9, "{report:#}");
    assert!(!finished.stdout.contains("eyJ"), "a token is in the report");
}

#[tokio::test(flavor = "multi_thread")]
async fn gd5_each_hole_is_found_by_its_kind_and_fails() {
    let holes = [
        (Hole::Accepts("algorithm_not_allowed"), "hole", "algorithm"),
        (Hole::Accepts("bad_signature"), "hole", "key"),
        (Hole::Accepts("unknown_key"), "hole", "key-from-token"),
        (Hole::Accepts("wrong_type"), "hole", "type"),
        (Hole::Accepts("wrong_audience"), "hole", "audience"),
        (Hole::Accepts("wrong_issuer"), "hole", "issuer"),
        (Hole::Accepts("expired"), "hole", "expiry"),
        (Hole::Accepts("not_yet_valid"), "hole", "not-before"),
        (Hole::Accepts("binding_required"), "hole", "binding"),
        (Hole::Accepts("critical"), "hole", "critical"),
        (Hole::Accepts("missing_claim"), "hole", "claims"),
        (Hole::Accepts("malformed"), "hole", "form"),
        (Hole::AnyScope, "hole", "scope"),
        (Hole::RemembersJti, "hole", "cached-token"),
        (Hole::TrustsHeader, "hole", "trusted-header"),
        (Hole::OtherPath, "hole", "path"),
        (Hole::OtherMethod, "hole", "method"),
        (Hole::FetchesJku, "hole", "fetch"),
        (Hole::FirstKeyOnly, "weakness", "second-key"),
        (Hole::FetchesForEachKid, "weakness", "key-fetches"),
        (Hole::TokenInQuery, "weakness", "token-place"),
        (Hole::Answers("malformed", 500), "weakness", "crash"),
        (Hole::FallsOver, "weakness", "fell-over"),
    ];
    let mut probes = JoinSet::new();
    for (hole, severity, kind) in holes {
        probes.spawn(async move { (hole, severity, kind, probe_of(hole, &["--json"]).await) });
        if probes.len() == 3 {
            found(probes.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(finished) = probes.join_next().await {
        found(finished.unwrap());
    }
}

#[track_caller]
fn found((hole, severity, kind, finished): (Hole, &str, &str, Finished)) {
    assert_eq!(finished.status.code(), Some(1), "{hole:?}: {finished:?}");
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(kinds(&report, severity).contains(&kind.to_owned()), "{hole:?}: {report:#}");
    let others = kinds(&report, "hole").into_iter().chain(kinds(&report, "weakness")).filter(|other| other != kind);
    assert!(others.eq(others_expected(hole).iter().copied()), "{hole:?}: {report:#}");
}

/// The other kinds that such a hole also is: where no signature is checked, a token may bring its own key; what has fallen over refuses everything.
fn others_expected(hole: Hole) -> &'static [&'static str] {
    match hole {
        Hole::Accepts("bad_signature") => &["key-from-token"],
        Hole::FallsOver => &["crash"],
        _ => &[],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gd5_what_is_not_strict_is_a_note_and_fails_only_with_strict() {
    for (hole, kind) in [
        (Hole::WrongStatus, "status"),
        (Hole::NoChallenge, "status"),
        (Hole::TokenInCookie, "token-place"),
        (Hole::NoUsers, "good-token"),
        (Hole::Answers("expired", 503), "unavailable"),
        (Hole::Accepts("bad_claim"), "claims"),
    ] {
        let finished = probe_of(hole, &["--json"]).await.succeeded();
        let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
        assert!(kinds(&report, "note").contains(&kind.to_owned()), "{hole:?}: {report:#}");
    }
    let finished = probe_of(Hole::WrongStatus, &["--strict"]).await;
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
}
