//! The real binary: settings, signals, TLS, traces.

use std::path::Path;

use sealwright::{
    guard::{
        Config,
        config::{SETTINGS, Sources},
    },
    verifier::testing::Issuer,
};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::party::{AUDIENCE, Answer, Api, rules_for};
use crate::{
    secrecy::receiver,
    support::{Finished, Process, command, finish, wait_until, write_private},
};

const EXAMPLE: &str = include_str!("../../../examples/sealwright-guard.toml");

/// A folder with the rules for tokens of `issuer`.
fn folder(issuer: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("rules.toml"), rules_for(&[issuer])).unwrap();
    folder
}

/// `guard` in a folder, on free ports.
fn guard(folder: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = command(folder);
    command.env("SEALWRIGHT_GUARD_MANAGEMENT_LISTEN", "127.0.0.1:0").env("SEALWRIGHT_GUARD_LISTEN", "127.0.0.1:0");
    command.args(["guard", "--rules", "rules.toml"]).args(arguments);
    command
}

/// Runs it; it must refuse to start.
#[track_caller]
fn refused(arguments: &[&str], variables: &[(&str, &str)], words: &[&str]) -> Finished {
    let folder = folder("https://auth.example");
    let mut command = guard(folder.path(), arguments);
    command.envs(variables.iter().copied());
    let finished = finish(command).failed_saying(words);
    assert_eq!(finished.status.code(), Some(78), "{finished:?}");
    finished
}

/// The address of its management listener.
fn management(process: &Process) -> String {
    let lines = process.stderr();
    let mut events = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let metrics = events.find_map(|event| event["metrics"].as_str().map(str::to_owned)).unwrap();
    metrics.trim_start_matches("http://").trim_end_matches("/metrics").to_owned()
}

/// The check of a request.
fn check(addr: impl std::fmt::Display, uri: &str) -> reqwest::RequestBuilder {
    let request = reqwest::Client::new().get(format!("http://{addr}/check"));
    request.header("x-original-method", "GET").header("x-original-uri", uri)
}

#[test]
fn the_example_file_names_every_setting_of_the_guard_and_loads() {
    let name_of = |line: &str| {
        let (name, _) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
        (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then(|| name.to_owned())
    };
    let mut named: Vec<_> = EXAMPLE.lines().filter_map(name_of).collect();
    let mut known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
    // The value that it shows for a setting is its default, if it has one.
    for (name, default) in SETTINGS.iter().filter_map(|setting| Some((setting.name, setting.default?))) {
        let shown = EXAMPLE.lines().find_map(|line| line.strip_prefix(&format!("# {name} = "))).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(shown.trim_matches('"'), default, "{name}");
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sealwright-guard.toml");
    std::fs::write(&path, EXAMPLE).unwrap();
    Config::load(Sources { file: Some(path), ..Sources::default() }).unwrap();
}

#[test]
fn a_guard_either_answers_a_gateway_or_forwards() {
    refused(&[], &[], &["gateway", "or upstream"]);
    refused(&["--gateway", "nginx", "--upstream", "http://127.0.0.1:1"], &[], &["not both"]);
    refused(&["--gateway", "apache"], &[], &["nginx, forward-auth (Caddy, Traefik), envoy or haproxy"]);
    refused(&["--upstream", "http://127.0.0.1:1/path"], &[], &["upstream", "without a path"]);
    refused(&["--gateway", "nginx", "--pass-token", "true"], &[], &["pass_token", "with upstream"]);
    refused(&["--gateway", "nginx", "--gateway-path-prefix", "/check"], &[], &["only Envoy"]);
    refused(&["--gateway", "nginx", "--subject-header", "Authorization"], &[], &["subject_header", "no other meaning"]);
    refused(&["--gateway", "nginx", "--client-header", "X_Token-Subject"], &[], &["client_header", "another header"]);
    refused(&["--gateway", "nginx", "--listen", "0.0.0.0:0"], &[], &["tls_cert and tls_key, or behind_proxy"]);
    refused(&["--upstream", "https://a.example", "--upstream-protocol", "http2", "--upstream-host", "caller"], &[], &["only HTTP/1.1"]);
}

#[test]
fn an_unknown_setting_is_refused_wherever_it_stands() {
    refused(&["--gateway", "nginx"], &[("SEALWRIGHT_GUARD_LISTNE", "x")], &["unknown setting listne", "did you mean listen?"]);
    // A setting of the server is none of the guard.
    refused(&["--gateway", "nginx", "--database-url", "sqlite://a.db"], &[], &["unknown setting database_url (from a flag)"]);
    let folder = folder("https://auth.example");
    std::fs::write(folder.path().join("sealwright-guard.toml"), "gatway = \"nginx\"").unwrap();
    finish(guard(folder.path(), &[])).failed_saying(&["unknown setting gatway (from sealwright-guard.toml)", "did you mean gateway?"]);
}

#[test]
fn a_rule_file_with_a_mistake_refuses_the_start_with_its_line() {
    let folder = folder("https://auth.example");
    std::fs::write(folder.path().join("rules.toml"), rules_for(&["https://auth.example"]).replace("public = true", "pubic = true"))
        .unwrap();
    let finished = finish(guard(folder.path(), &["--gateway", "nginx"])).failed_saying(&["rules.toml, line 7", "did you mean public?"]);
    assert_eq!(finished.status.code(), Some(78));
    std::fs::write(folder.path().join("rules.toml"), "[[rule]]\npath = \"/open\"\npublic = true\n").unwrap();
    finish(guard(folder.path(), &["--gateway", "nginx"])).failed_saying(&["no [[issuer]]"]);
    std::fs::remove_file(folder.path().join("rules.toml")).unwrap();
    finish(guard(folder.path(), &["--gateway", "nginx"])).failed_saying(&["rules.toml", "cannot be read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_and_guard_share_an_environment_and_neither_takes_the_others_settings() {
    let folder = folder("https://auth.example");
    let of_guard =
        [("SEALWRIGHT_GUARD_GATEWAY", "nginx"), ("SEALWRIGHT_GUARD_PORT", "tcp://10.0.0.1:80"), ("SEALWRIGHT_GUARD_DRAIN_TIMEOUT", "1s")];
    let of_server = [("SEALWRIGHT_ISSUER", "http://localhost:8080"), ("SEALWRIGHT_LISTNE", "x")];
    let mut started = guard(folder.path(), &[]);
    started.envs(of_guard).envs(of_server);
    let mut process = Process::spawn(started);
    let addr = process.addr().await;
    assert_eq!(Answer::to(check(addr, "/open")).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.stderr());
    assert!(process.stderr().iter().any(|line| line.contains("SEALWRIGHT_GUARD_PORT")), "Kubernetes set it, and the log says so");

    let mut serve = command(folder.path());
    serve.args(["serve", "--listen", "127.0.0.1:0"]).envs(of_guard).env("SEALWRIGHT_GUARD_LISTNE", "x");
    let mut server = Process::spawn(serve);
    server.addr().await;
    server.signal("TERM");
    assert!(server.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn op15_health_asks_a_guard_by_its_url_or_by_its_configuration() {
    let issuer = Issuer::start().await.unwrap();
    let folder = folder(issuer.url());
    let mut process = Process::spawn(guard(folder.path(), &["--gateway", "nginx"]));
    process.addr().await;
    let management = management(&process);
    let health = |arguments: &[&str], variable: &str| {
        let mut command = command(folder.path());
        command.arg("health").args(arguments).env("SEALWRIGHT_GUARD_MANAGEMENT_LISTEN", variable);
        finish(command)
    };
    let url = format!("http://{management}");
    wait_until(|| health(&["--url", &url], "").status.success()).await;
    assert_eq!(health(&["--guard"], &management).succeeded().stdout, "ready\n");
    health(&["--guard"], "127.0.0.1:0").failed_saying(&["--url"]);
    health(&["--guard"], "off").failed_saying(&["management_listen is off"]);
    process.signal("KILL");
    process.wait();
    health(&["--guard"], &management).failed_saying(&["did not report"]);
    health(&["--guard", "--live"], &management).failed_saying(&["did not report"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn op15_a_guard_without_keys_is_live_and_not_ready() {
    let folder = folder("http://127.0.0.1:1");
    let mut process = Process::spawn(guard(folder.path(), &["--gateway", "nginx"]));
    process.addr().await;
    let management = management(&process);
    let health = |arguments: &[&str]| {
        let mut command = command(folder.path());
        command.arg("health").args(arguments).env("SEALWRIGHT_GUARD_MANAGEMENT_LISTEN", &management);
        finish(command)
    };
    assert_eq!(health(&["--guard", "--live"]).succeeded().stdout, "live\n");
    assert_eq!(health(&["--guard", "--live", "--json"]).json()["status"], "live");
    assert_eq!(health(&["--url", &format!("http://{management}"), "--live"]).succeeded().stdout, "live\n");
    health(&["--guard"]).failed_saying(&["not ready", "the keys of http://127.0.0.1:1 are not available"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn op14_a_guard_serves_tls_and_loads_a_new_certificate_on_sighup() {
    let issuer = Issuer::start().await.unwrap();
    let folder = folder(issuer.url());
    let issue = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        write_private(folder.path().join("tls.pem"), &certificate.pem());
        write_private(folder.path().join("tls.key"), &key.serialize_pem());
        certificate.pem()
    };
    let first = issue();
    let mut process = Process::spawn(guard(folder.path(), &["--gateway", "nginx", "--tls-cert", "tls.pem", "--tls-key", "tls.key"]));
    let port = process.addr().await.port();
    let ask = async |trusted: &str| {
        let root = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
        let http = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
        let request = http.get(format!("https://localhost:{port}/check"));
        request.header("x-original-method", "GET").header("x-original-uri", "/open").send().await.map(|answer| answer.status().as_u16())
    };
    assert_eq!(ask(&first).await.unwrap(), 200);
    let second = issue();
    process.signal("HUP");
    wait_until(|| process.stderr().iter().any(|line| line.contains("new connections use the new certificate"))).await;
    assert_eq!(ask(&second).await.unwrap(), 200);
    assert!(ask(&first).await.is_err(), "the first one is not served any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn gd2_a_request_that_is_cut_off_at_the_end_of_the_drain_time_is_in_the_log() {
    // It never answers.
    let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", api.local_addr().unwrap());
    let folder = folder("https://auth.example");
    let arguments = ["--upstream", &upstream, "--drain-linger", "0s", "--drain-timeout", "1s"];
    let mut process = Process::spawn(guard(folder.path(), &arguments));
    let url = format!("http://{}/open", process.addr().await);
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut held = Vec::new();
    for http in [reqwest::Client::new(), http2] {
        tokio::spawn(http.get(&url).send());
        let (mut stream, _) = api.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        held.push(stream);
    }
    process.signal("TERM");
    assert!(process.wait().success());
    let lines: Vec<serde_json::Value> = process.stderr().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stopped = lines.iter().position(|line| line["message"] == "stopped").unwrap();
    let abandoned = lines[..stopped].iter().filter(|line| line["event"] == "request.abandoned");
    let causes: Vec<_> = abandoned.map(|line| (line["http.status"].as_u64().unwrap(), line["cause"].as_str().unwrap())).collect();
    assert_eq!(causes, [(499, "the caller disconnected, or the drain time was over"); 2], "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vf13_the_real_guard_checks_tokens_by_the_system_clock() {
    let issuer = Issuer::start().await.unwrap();
    let folder = folder(issuer.url());
    let mut process = Process::spawn(guard(folder.path(), &["--gateway", "nginx", "--name", "orders-guard"]));
    let addr = process.addr().await;
    let token = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    assert_eq!(Answer::to(check(addr, "/orders").bearer_auth(&token)).await.status, 200);
    assert!(issuer.last_key_request("user-agent").unwrap().ends_with("(orders-guard)"));
    assert_eq!(Answer::to(check(addr, "/orders")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn gd2_the_api_continues_the_trace_of_the_guard_if_spans_are_sent() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-";
    let issuer = Issuer::start().await.unwrap();
    let (folder, api) = (folder(issuer.url()), Api::start().await);
    let (otlp, spans) = receiver().await;
    let of_the_caller = format!("{TRACE}b7ad6b7169203331-01");
    let token = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    let arguments = ["--upstream", &api.url, "--otlp-endpoint", &otlp];
    for (arguments, sent) in [(&arguments[..], true), (&arguments[..2], false)] {
        let mut process = Process::spawn(guard(folder.path(), arguments));
        let addr = process.addr().await;
        let ask = async |path: &str| {
            let request = reqwest::Client::new().get(format!("http://{addr}{path}")).bearer_auth(&token);
            let answer = Answer::to(request.header("traceparent", &of_the_caller).header("tracestate", "caller=1")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let received = api.received().pop().unwrap();
            assert_eq!(received.values("tracestate"), ["caller=1"]);
            let [parent] = received.values("traceparent")[..] else { panic!("{received:?}") };
            parent.to_owned()
        };
        let (first, second) = (ask("/orders").await, ask("/open").await);
        for parent in [&first, &second] {
            assert!(parent.starts_with(TRACE) && parent.len() == of_the_caller.len(), "{parent}");
            assert_eq!(*parent == of_the_caller, !sent, "{parent}");
        }
        assert_eq!(first != second, sent, "each request has its span");
        let answer = Answer::to(reqwest::Client::new().get(format!("http://{addr}/open"))).await;
        assert_eq!(answer.status, 200);
        assert_eq!(api.received().pop().unwrap().headers.contains_key("traceparent"), sent);
        process.signal("TERM");
        assert!(process.wait().success());
        // The spans are sent as protobuf, in which an id is its bytes.
        let id = u64::from_str_radix(&first[TRACE.len()..TRACE.len() + 16], 16).unwrap().to_be_bytes();
        if sent {
            wait_until(|| spans.lock().unwrap().windows(id.len()).any(|window| window == id)).await;
        }
    }
}
