//! `sealwright demo`: what it prints can be pasted, and it leaves nothing behind.

use std::{net::TcpListener, path::Path, process::Command};

use tempfile::TempDir;

use crate::support::{Process, command, header_of};

/// A demo in an empty folder, whose temporary files go into another.
async fn demo(folder: &Path, temporary: &Path) -> (Process, Vec<String>) {
    let mut command = command(folder);
    command.arg("demo").env("TMPDIR", temporary);
    let demo = Process::spawn(command);
    crate::support::wait_until(|| demo.stdout().iter().any(|line| line.contains("Ctrl-C ends the demo"))).await;
    let requests = demo.stdout().iter().filter_map(|line| line.strip_prefix("  curl ")).map(|rest| format!("curl {rest}")).collect();
    (demo, requests)
}

fn paste(request: &str) -> String {
    let output = Command::new("bash").args(["-c", request]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{request}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_requests_run_as_printed_and_ctrl_c_leaves_nothing_behind() {
    let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    // With 8080 taken, by whomever, it takes a free port.
    let taken = TcpListener::bind("127.0.0.1:8080");
    let (mut demo, requests) = demo(folder.path(), temporary.path()).await;
    drop(taken);
    assert_eq!(requests.len(), 7, "{:?}", demo.stdout());

    let token: serde_json::Value = serde_json::from_str(&paste(&requests[0])).unwrap();
    let kid = header_of(token["access_token"].as_str().unwrap())["kid"].clone();
    let jwks: serde_json::Value = serde_json::from_str(&paste(&requests[1])).unwrap();
    assert_eq!(jwks["keys"][0]["kid"], kid);
    let inspected = paste(&requests[2]);
    for said in ["https://orders.example", "billing", "orders:read orders:write", "The signature was not verified"] {
        assert!(inspected.contains(said), "{inspected}");
    }

    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let verified = paste(&requests[3]);
    assert!(verified.contains("signature") && verified.contains(" ok ") && !verified.contains("FAILED"), "{verified}");
    let signed_in = json(&paste(&requests[4]));
    let refreshed = json(&paste(&requests[5]));
    for answer in [&signed_in, &refreshed] {
        assert!(answer["access_token"].is_string() && answer["refresh_token"].is_string(), "{answer}");
    }
    assert_eq!(paste(&requests[6]), "200\n");

    demo.signal("INT");
    assert_eq!(demo.wait().code(), Some(0), "{:?}", demo.stderr());
    let lines: Vec<_> = demo.stderr().into_iter().filter(|line| line.contains("http.status=")).collect();
    assert_eq!(lines.len(), 11, "a line per request: {lines:?}");
    assert!(lines[0].contains("POST /oauth/token") && lines[1].contains("GET /.well-known/jwks.json"), "{lines:?}");
    for left in [folder.path(), temporary.path()] {
        assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_keeps_to_the_port_that_it_was_told() {
    let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut command = command(folder.path());
    command.args(["demo", "--listen", &addr]).env("TMPDIR", temporary.path());
    crate::support::finish(command).failed_saying(&[&addr]);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_refuses_what_it_would_not_do() {
    let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for [flag, value] in
        [["--database-url", "sqlite://x.db"], ["--keys-dir", "x"], ["--issuer", "https://auth.example"], ["--config", "x.toml"]]
    {
        let mut command = command(folder.path());
        command.args(["demo", flag, value]).env("TMPDIR", temporary.path());
        crate::support::finish(command).failed_saying(&[flag, "temporary folder"]);
    }
    for left in [folder.path(), temporary.path()] {
        assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_and_a_second_ctrl_c_leave_nothing_behind_either() {
    for signals in [&["HUP"][..], &["INT", "INT"]] {
        let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let (mut demo, _) = demo(folder.path(), temporary.path()).await;
        for signal in signals {
            demo.signal(signal);
        }
        demo.wait();
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "{signals:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hd14_a_demo_asked_by_a_foreign_host_refuses() {
    let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (demo, _) = demo(folder.path(), temporary.path()).await;
    let docs = demo.stdout().iter().find_map(|line| line.strip_prefix("Open ")?.split(' ').next().map(str::to_owned)).unwrap();
    let http = reqwest::Client::new();
    for (host, status) in [("localhost", 200), ("127.0.0.1:8080", 200), ("evil.example", 421), ("evil.example:8080", 421)] {
        let answer = http.get(&docs).header("host", host).send().await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
        assert_eq!(status == 421, answer.text().await.unwrap().contains("Open the address"));
    }
}
