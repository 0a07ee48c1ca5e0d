//! The command: its settings, its sockets, its log.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::get};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{Notify, Semaphore},
};

use super::{Api, World, api_with};
use crate::{
    secrecy::receiver,
    support::{Backend, Finished, Process, command, finish, on_sqlite, wait_until},
};

on_sqlite![
    gd4_a_unix_socket_is_for_its_user_alone_and_ends_with_the_process,
    gd4_a_stopping_process_leaves_its_unix_socket_to_its_successor,
    op15_a_process_without_a_token_is_live_and_not_ready,
    gd4_the_api_continues_the_trace_of_the_process_if_spans_are_sent,
    gd4_a_listener_that_others_could_reach_refuses_the_start,
    gd4_a_setting_that_could_send_a_token_to_the_wrong_party_refuses_the_start,
    hd7_a_secret_in_the_wrong_place_is_neither_used_nor_shown,
    hd7_no_token_and_no_secret_is_in_the_log,
    hd10_a_flood_of_requests_without_a_route_hides_no_refused_page,
];

/// `sealwright attach` for the client `shop`, with these arguments.
fn attach(world: &World, arguments: &[&str]) -> std::process::Command {
    let mut command = command(world.app.database.folder());
    command.env("SEALWRIGHT_ATTACH_MANAGEMENT_LISTEN", "127.0.0.1:0");
    command.env("SEALWRIGHT_ATTACH_ISSUER", &world.relay.url).env("SEALWRIGHT_CLIENT_SECRET", &world.shop.secret);
    command.env("SEALWRIGHT_ATTACH_CLIENT", "shop").env("SEALWRIGHT_ATTACH_DRAIN_LINGER", "0s");
    command.arg("attach").args(arguments);
    command
}

fn refused(world: &World, arguments: &[&str]) -> Finished {
    let finished = finish(attach(world, arguments));
    assert_eq!(finished.status.code(), Some(78), "{finished:?}");
    finished
}

/// The line that the process writes when it serves.
async fn serving(process: &Process) -> Value {
    for _ in 0..6000 {
        let lines = process.stderr();
        let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(event) = events.into_iter().find(|event| event["message"] == "serving") {
            return event;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not serve: {:?}", process.stderr());
}

fn url_of(serving: &Value) -> String {
    format!("http://{}", serving["listen"].as_str().unwrap())
}

async fn ask_on(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(format!("{request}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn gd4_a_unix_socket_is_for_its_user_alone_and_ends_with_the_process(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let path = world.app.database.folder().join("orders.sock");
    let listen = format!("unix:{}", path.display());
    let mut first = Process::spawn(attach(&world, &["--listen", &listen, "--to", &api.origin]));
    assert_eq!(serving(&first).await["listen"], listen);
    let mode = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        assert!(metadata.file_type().is_socket());
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&path), 0o600);
    // The name in a request does not matter: no browser reaches the socket.
    let answer = ask_on(&path, "GET /orders/1 HTTP/1.1\r\nHost: orders.example\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("fine"), "{answer}");
    let seen = api.only();
    assert_eq!(seen.target, "/orders/1");
    seen.token();
    let page = ask_on(&path, "GET /orders/1 HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n").await;
    assert!(page.starts_with("HTTP/1.1 403 "), "a proxy in front may pass on what a page sends: {page}");

    let second = finish(attach(&world, &["--listen", &listen, "--to", &api.origin]));
    second.failed_saying(&["something listens on", "orders.sock"]);
    first.signal("KILL");
    first.wait();
    assert!(path.exists(), "it could not remove it");
    let arguments = ["--listen", &listen, "--to", &api.origin, "--socket-mode", "0660"];
    let mut third = Process::spawn(attach(&world, &arguments));
    serving(&third).await;
    assert_eq!(mode(&path), 0o660, "the socket of a process that was killed is replaced");
    third.signal("TERM");
    assert!(third.wait().success());
    assert!(!path.exists());
}

async fn gd4_a_stopping_process_leaves_its_unix_socket_to_its_successor(backend: Backend) {
    let world = World::begin(backend).await;
    let (arrived, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let slow = {
        let (arrived, gate) = (arrived.clone(), gate.clone());
        move || {
            let (arrived, gate) = (arrived.clone(), gate.clone());
            async move {
                arrived.notify_one();
                gate.acquire().await.unwrap().forget();
                "done"
            }
        }
    };
    let origin = api_with(Router::new().route("/slow", get(slow)).route("/", get(async || "fine"))).await;
    let path = world.app.database.folder().join("orders.sock");
    let listen = format!("unix:{}", path.display());
    let arguments = ["--listen", &listen, "--to", &origin, "--drain-timeout", "5m"];
    let mut first = Process::spawn(attach(&world, &arguments));
    serving(&first).await;
    let under_way = {
        let path = path.clone();
        tokio::spawn(async move { ask_on(&path, "GET /slow HTTP/1.1\r\nHost: localhost\r\n").await })
    };
    arrived.notified().await;
    first.signal("TERM");
    wait_until(|| !path.exists()).await;

    let second = Process::spawn(attach(&world, &arguments));
    serving(&second).await;
    gate.add_permits(1);
    let answer = under_way.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
    assert!(first.wait().success());
    let answer = ask_on(&path, "GET / HTTP/1.1\r\nHost: localhost\r\n").await;
    assert!(answer.ends_with("fine"), "the end of the first leaves the socket of the second alone: {answer}");
}

async fn op15_a_process_without_a_token_is_live_and_not_ready(backend: Backend) {
    let world = World::begin(backend).await;
    world.relay.goes_down();
    let api = Api::start().await;
    let process = Process::spawn(attach(&world, &["--listen", "127.0.0.1:0", "--to", &api.origin]));
    let serving = serving(&process).await;
    let management = serving["metrics"].as_str().unwrap().trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
    let health = |arguments: &[&str]| {
        let mut command = command(world.app.database.folder());
        command.arg("health").args(arguments).env("SEALWRIGHT_ATTACH_MANAGEMENT_LISTEN", &management);
        finish(command)
    };
    assert_eq!(health(&["--attach", "--live"]).succeeded().stdout, "live\n");
    health(&["--attach"]).failed_saying(&["not ready", "there is no token for route 1"]);
    world.relay.comes_back();
    wait_until(|| health(&["--attach"]).status.success()).await;
    assert_eq!(health(&["--attach"]).succeeded().stdout, "ready\n");
}

async fn gd4_the_api_continues_the_trace_of_the_process_if_spans_are_sent(backend: Backend) {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-";
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let (otlp, _) = receiver().await;
    let of_the_app = format!("{TRACE}b7ad6b7169203331-01");
    let arguments = ["--listen", "127.0.0.1:0", "--to", &api.origin, "--otlp-endpoint", &otlp];
    for (arguments, sent) in [(&arguments[..], true), (&arguments[..4], false)] {
        let process = Process::spawn(attach(&world, arguments));
        let url = url_of(&serving(&process).await);
        world.get(&url).header("traceparent", &of_the_app).header("tracestate", "app=1").send().await.unwrap();
        let seen = api.only();
        let parent = seen.header("traceparent").unwrap();
        assert!(parent.starts_with(TRACE) && parent.len() == of_the_app.len(), "{parent}");
        assert_eq!((parent == of_the_app, seen.header("tracestate")), (!sent, Some("app=1")), "{parent}");
        world.get(&url).send().await.unwrap();
        assert_eq!(api.only().header("traceparent").is_some(), sent);
    }
}

async fn gd4_a_listener_that_others_could_reach_refuses_the_start(backend: Backend) {
    let world = World::begin(backend).await;
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9100"] {
        refused(&world, &["--listen", listen, "--to", "https://orders.example"])
            .failed_saying(&["listen", "every caller acts as the client"]);
        let to = format!("{listen}=https://orders.example");
        refused(&world, &["--to", &to]).failed_saying(&["setting to", "every caller acts as the client"]);
    }
    let folder = world.app.database.folder().join("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let listen = format!("unix:{}/orders.sock", folder.display());
    finish(attach(&world, &["--listen", &listen, "--to", "https://orders.example"])).failed_saying(&["others can replace the socket"]);
}

async fn gd4_a_setting_that_could_send_a_token_to_the_wrong_party_refuses_the_start(backend: Backend) {
    let world = World::begin(backend).await;
    for (arguments, words) in [
        (&["--to", "http://orders.example"][..], &["others could read the tokens", "to_unprotected"][..]),
        (&["--to", "https://orders.example/v1"], &["is not an origin"]),
        (&["--to", "/a=https://a.example", "--to", "/b=https://b.example"], &["needs a resource"]),
        (&["--to", "/a=https://a.example", "--to", "/b=https://b.example", "--resource", "urn:a"], &["needs a resource of its own"]),
        (
            &["--to", "/a=https://a.example resource=urn:a", "--to", "/b=https://b.example resource=urn:a"],
            &["https://a.example", "https://b.example", "would receive tokens for the same resource"],
        ),
        (
            &["--to", "/a=https://a.example resource=urn:a scope=a", "--to", "/b=https://b.example resource=urn:a scope=b"],
            &["would receive tokens for the same resource", "whatever their scopes"],
        ),
        (
            &["--listen", "localhost:9101", "--to", "https://a.example", "--to", "127.0.0.1:9101=https://a.example"],
            &["127.0.0.1:9101 is `listen` as well"],
        ),
        (&["--to", "https://a.example", "--client", "No client"], &["setting client", "1 to 64 characters"]),
        (&["--to", "https://a.example ressource=urn:a"], &["nor one of the options resource, scope"]),
        (&[], &["setting to", "not set"]),
        (&["--to", "https://a.example", "--authorization", "keep"], &["refuse", "replace"]),
        (&["--to", "https://a.example", "--database-url", "sqlite://x.db"], &["unknown setting database_url"]),
    ] {
        refused(&world, arguments).failed_saying(words);
    }
    let exposed = world.app.database.folder().join("exposed");
    fs::write(&exposed, &world.shop.secret).unwrap();
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
    let finished = refused(&world, &["--to", "https://a.example", "--secret-file", exposed.to_str().unwrap()]);
    finished.failed_saying(&["can be read or written by others"]);
}

async fn hd7_a_secret_in_the_wrong_place_is_neither_used_nor_shown(backend: Backend) {
    let world = World::begin(backend).await;
    let secret = world.shop.secret.as_str();
    let as_scope = format!("https://a.example scope={secret}");
    for arguments in [
        &["--to", "https://a.example", "--client", secret][..],
        &["--to", &as_scope],
        &["--to", "https://a.example", "--resource", secret],
        &["--to", "https://a.example", "--issuer", secret],
    ] {
        let finished = refused(&world, arguments);
        assert!(!finished.stderr.contains(&secret[..20]), "{finished:?}");
    }
    let with_password = refused(&world, &["--to", "https://shop:hunter2@orders.example"]);
    assert!(!with_password.stderr.contains("hunter2"), "{with_password:?}");
    assert_eq!(world.relay.token_requests(), 0);
}

async fn hd7_no_token_and_no_secret_is_in_the_log(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let mut process = Process::spawn(attach(&world, &["--listen", "127.0.0.1:0", "--to", &api.origin, "--log", "info,sealwright=trace"]));
    let serving = serving(&process).await;
    let url = url_of(&serving);
    world.get(&url).send().await.unwrap();
    let token = api.only().token();
    let secret = world.shop.secret.as_str();
    for request in [
        world.get(format!("{url}/{secret}/x")),
        world.get(format!("{url}/?token={token}")),
        world.get(&url).header("x-request-id", secret),
        world.get(&url).header("authorization", format!("Bearer {token}")),
    ] {
        request.send().await.unwrap();
    }
    let metrics = world.get(serving["metrics"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    process.signal("TERM");
    assert!(process.wait().success());
    let log = process.stderr().join("\n");
    for (text, what) in [(&log, "the log"), (&metrics, "the metrics")] {
        assert!(!text.contains(&secret[..20]) && !text.contains(&token[..20]), "{what}: {text}");
        let signature = token.rsplit('.').next().unwrap();
        assert!(!text.contains(&signature[..20]), "{what}: {text}");
    }
    for place in ["path", "query", "X-Request-Id"] {
        assert!(log.contains(&format!("\"misplaced_secret\":\"{place}\"")), "{place}: {log}");
    }
    assert!(log.contains("[secret]"), "{log}");
}

async fn hd10_a_flood_of_requests_without_a_route_hides_no_refused_page(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let to = format!("/orders={}", api.origin);
    let mut process = Process::spawn(attach(&world, &["--listen", "127.0.0.1:0", "--to", &to]));
    let serving = serving(&process).await;
    let url = url_of(&serving);
    let flood = (0..20).map(|_| {
        let (http, url) = (world.http.clone(), format!("{url}/nowhere"));
        tokio::spawn(async move {
            for _ in 0..200 {
                assert_eq!(http.get(&url).send().await.unwrap().status(), 404);
            }
        })
    });
    for caller in flood.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(world.get(&url).header("origin", "https://evil.example").send().await.unwrap().status(), 403);
    let metrics = world.get(serving["metrics"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    process.signal("TERM");
    process.wait();
    let lines = process.stderr();
    let with = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(with("page_refused"), 1, "{lines:?}");
    let left_out = "sealwright_attach_log_lines_left_out_total{kind=\"not_found\"} ";
    let counted: usize = metrics.lines().find_map(|line| line.strip_prefix(left_out)).unwrap().parse().unwrap();
    assert_eq!(with("no_route") + counted, 4000, "every line is in the log or counted");
    assert!(counted > 0);
}
