//! `sealwright demo`: what it prints can be pasted, and it leaves nothing behind.

use std::{net::TcpListener, os::unix::fs::MetadataExt, path::Path, process::Command};

use tempfile::TempDir;

use crate::support::{Process, command, header_of};

/// Demos that run at the same time want the same port, so a test that is about this port waits for the others.
static ALONE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// A demo in an empty folder, whose temporary files go into another.
async fn demo(folder: &Path, temporary: &Path) -> (Process, Vec<String>) {
    let mut command = command(folder);
    command.arg("demo").env("TMPDIR", temporary);
    let demo = Process::spawn(command);
    crate::support::wait_until(|| demo.stdout().iter().any(|line| line.contains("Ctrl-C ends the demo"))).await;
    let lines = demo.stdout();
    let commands = lines.iter().skip_while(|line| !line.starts_with("Or paste these")).skip(1);
    let mut steps: Vec<String> = Vec::new();
    for line in commands {
        match line.strip_prefix("  ") {
            Some(command) => steps.last_mut().unwrap().push_str(&format!("{command}\n")),
            // A step begins with what it is about.
            None => steps.push(String::new()),
        }
    }
    steps.retain(|step| !step.is_empty());
    (demo, steps)
}

/// What each step prints when all of them are pasted into one shell.
fn paste(steps: &[String]) -> Vec<String> {
    const END: &str = "--- end of a step";
    let script: String = steps.iter().map(|step| format!("{step}echo; echo '{END}'\n")).collect();
    let output = Command::new("bash").args(["-ec", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{script}: {output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.split(END).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_requests_run_as_printed_and_ctrl_c_leaves_nothing_behind() {
    let _alone = ALONE.read().await;
    let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    // With 8080 taken, by whomever, it takes a free port.
    let taken = TcpListener::bind("127.0.0.1:8080");
    let (mut demo, requests) = demo(folder.path(), temporary.path()).await;
    drop(taken);
    assert_eq!(requests.len(), 12, "the variables, and eleven steps: {:?}", demo.stdout());
    let [token, listed, refused, jwks, inspected, verified, signed_in, ordered, introspected, refreshed, signed_out] =
        &paste(&requests)[..]
    else {
        panic!("{requests:?}")
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let kid = header_of(json(token)["access_token"].as_str().unwrap())["kid"].clone();
    assert_eq!(json(jwks)["keys"][0]["kid"], kid);
    assert_eq!(json(listed), serde_json::json!([{ "id": 1, "item": "a desk" }]));
    let refused: Vec<_> = refused.lines().map(json).collect();
    assert_eq!(refused.iter().map(|answer| &answer["status"]).collect::<Vec<_>>(), [401, 403]);
    assert!(refused[1]["www-authenticate"].as_str().unwrap().contains("scope=\"orders:write\""), "{refused:?}");
    for said in ["https://orders.example", "billing", "orders:read", "The signature was not verified"] {
        assert!(inspected.contains(said), "{inspected}");
    }
    assert_eq!(json(ordered), serde_json::json!({ "id": 2, "item": "tea" }));
    let introspected = json(introspected);
    assert_eq!((&introspected["active"], &introspected["username"]), (&true.into(), &"alice".into()), "{introspected}");
    assert!(verified.contains("signature") && verified.contains(" ok ") && !verified.contains("FAILED"), "{verified}");
    for answer in [json(signed_in), json(refreshed)] {
        assert!(answer["access_token"].is_string() && answer["refresh_token"].is_string(), "{answer}");
    }
    assert_eq!(signed_out, "200");

    // The path of the program is as long as it is.
    let stdout = demo.stdout();
    let wide: Vec<_> = stdout.iter().filter(|line| line.len() > 100 && !line.starts_with("  SEALWRIGHT=")).collect();
    assert!(wide.is_empty(), "{wide:?}");

    demo.signal("INT");
    assert_eq!(demo.wait().code(), Some(0), "{:?}", demo.stderr());
    // How often the API fetches the list of revoked tokens depends on how long this takes.
    let is_of_request = |line: &String| line.contains("http.status=") && !line.contains("/oauth/status-lists");
    let lines: Vec<_> = demo.stderr().into_iter().filter(is_of_request).collect();
    let (of_api, of_issuer): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains("the API: "));
    assert_eq!(of_issuer.len(), 10, "a line per request, two of them by the API and two by `token verify`: {lines:?}");
    assert_eq!(of_api.len(), 4, "{lines:?}");
    assert!(of_issuer[0].contains("POST /oauth/token") && of_api[0].contains("the API: GET /orders"), "{lines:?}");
    for left in [folder.path(), temporary.path()] {
        assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_api_takes_a_free_port_if_9080_is_taken_and_refuses_foreign_hosts() {
    let _alone = ALONE.write().await;
    let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    // Perhaps another program has the port already.
    let taken = TcpListener::bind("127.0.0.1:9080");
    let (demo, _) = demo(folder.path(), temporary.path()).await;
    let orders = demo.stdout().iter().find_map(|line| line.strip_prefix("  ORDERS=").map(str::to_owned)).unwrap();
    assert_ne!(orders, "http://127.0.0.1:9080/orders");
    drop(taken);
    let http = reqwest::Client::new();
    let ask = async |path: &str, host: &str| http.get(format!("{orders}{path}")).header("host", host).send().await.unwrap();
    let refused = ask("", "localhost").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
    let body: serde_json::Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(body["status"], 401);
    assert_eq!(ask("/eyJhbGciOiJub25lIn0", "localhost").await.status(), 401);
    assert_eq!(ask("", "evil.example").await.status(), 421);
    assert!(!demo.stderr().iter().any(|line| line.contains("eyJ")), "{:?}", demo.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_demos_that_start_together_do_not_disturb_each_other() {
    let _alone = ALONE.read().await;
    let folders: [TempDir; 4] = std::array::from_fn(|_| TempDir::new().unwrap());
    let (one, other) = tokio::join!(demo(folders[0].path(), folders[1].path()), demo(folders[2].path(), folders[3].path()));
    let orders = |demo: &Process| demo.stdout().iter().find(|line| line.starts_with("  ORDERS=")).unwrap().clone();
    assert_ne!(orders(&one.0), orders(&other.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hd9_no_one_else_has_access_to_the_folder_of_a_demo() {
    let _alone = ALONE.read().await;
    let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let _demo = demo(folder.path(), temporary.path()).await;
    let modes: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().mode()).collect();
    assert_eq!(modes, [0o40700]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_keeps_to_the_given_port() {
    let _alone = ALONE.read().await;
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
    let _alone = ALONE.read().await;
    let (folder, temporary) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for [flag, value] in
        [["--database-url", "sqlite://x.db"], ["--keys-dir", "x"], ["--issuer", "https://auth.example"], ["--config", "x.toml"]]
    {
        let mut command = command(folder.path());
        command.args(["demo", flag, value]).env("TMPDIR", temporary.path());
        crate::support::finish(command).failed_saying(&[flag, "temporary folder"]);
    }
    let mut without_docs = command(folder.path());
    without_docs.args(["demo", "--api-docs", "false"]).env("TMPDIR", temporary.path());
    crate::support::finish(without_docs).failed_saying(&["--api-docs", "begins with that page"]);
    for left in [folder.path(), temporary.path()] {
        assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_and_a_second_ctrl_c_leave_nothing_behind_either() {
    let _alone = ALONE.read().await;
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
    let _alone = ALONE.read().await;
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
