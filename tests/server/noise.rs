//! Log lines that strangers can cause at will do not displace important ones.

use std::{io::BufRead, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    logs::with_pipe,
    support::{Backend, SIGN_IN, TestDatabase, furnish, sealwright},
};

/// Sends `count` requests for an unknown path over one connection, as fast as possible.
async fn flood(addr: &str, count: usize) {
    let (mut answers, mut requests) = TcpStream::connect(addr).await.unwrap().into_split();
    let sending = tokio::spawn(async move {
        let request = b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
        for _ in 0..count / 100 {
            requests.write_all(&request).await.unwrap();
        }
        requests
    });
    let (mut found, mut chunk, mut rest) = (0, vec![0; 64 * 1024], Vec::new());
    while found < count {
        let length = answers.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the connection ended after {found} answers");
        rest.extend_from_slice(&chunk[..length]);
        let needle = b"HTTP/1.1 404";
        found += rest.windows(needle.len()).filter(|window| window == needle).count();
        let keep = rest.len().min(needle.len() - 1);
        rest.drain(..rest.len() - keep);
    }
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn hd10_a_flood_of_noise_and_a_slow_reader_hide_neither_a_replay_nor_a_new_client() {
    const FLOOD: usize = 20_000;
    let database = TestDatabase::create(Backend::Sqlite).await;
    let (mut child, mut lines, serving) = with_pipe(&database).await;
    let shop = furnish(&database);
    let addr = serving["listen"].as_str().unwrap().to_owned();
    let http = reqwest::Client::new();
    let post = async |form: String| {
        let request = http.post(format!("http://{addr}/oauth/token")).header("content-type", "application/x-www-form-urlencoded");
        let body = format!("{form}&client_id=shop&client_secret={shop}");
        serde_json::from_str::<Value>(&request.body(body).send().await.unwrap().text().await.unwrap()).unwrap()
    };
    let refresh = |from: &Value| format!("grant_type=refresh_token&refresh_token={}", from["refresh_token"].as_str().unwrap());
    let first = post(format!("grant_type=password&{SIGN_IN}")).await;
    let second = post(refresh(&first)).await;
    post(refresh(&second)).await;

    // The log is not read at first, and later slowly.
    let floods: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let addr = addr.clone();
                async move { flood(&addr, FLOOD / 4).await }
            })
        })
        .collect();
    post(refresh(&first)).await;
    sealwright(&database, &["client", "create", "newcomer", "--grant", "client_credentials"]).succeeded();
    for flood in floods {
        flood.await.unwrap();
    }
    let metrics = async || reqwest::get(serving["metrics"].as_str().unwrap()).await.unwrap().text().await.unwrap();
    let count = |metrics: &str, name: &str| -> usize {
        metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {metrics}")).trim().parse().unwrap()
    };
    let measured = metrics().await;
    let left_out = count(&measured, "sealwright_log_lines_left_out_total{kind=\"not_found\"}");
    assert_eq!(count(&measured, "sealwright_log_lines_dropped_total"), 0, "no line found its queue full");
    assert!(left_out > FLOOD / 2, "{left_out} of {FLOOD} were left out");

    let reading = std::thread::spawn(move || {
        let mut events = Vec::new();
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            events.push(serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
            line.clear();
            std::thread::sleep(Duration::from_micros(200));
        }
        events
    });
    // The server notices the new client within half a second, and logs its event then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let signalled = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success() && child.wait().unwrap().success());
    let events = tokio::task::spawn_blocking(move || reading.join().unwrap()).await.unwrap();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert!(named("login.ended").iter().any(|event| event["reason"] == "replay"), "the replay is in the log");
    assert!(named("client.create").iter().any(|event| event["target"] == "newcomer"), "the new client is in the log");
    assert_eq!(named("token.issued").len(), 3, "and so is every token");
    // Each request for an unknown path is logged or counted, in the metrics and in the log.
    let logged = events.iter().filter(|event| event["http.status"] == 404).count();
    assert_eq!(logged + left_out, FLOOD);
    let sampled = named("log.sampled").into_iter().filter(|event| event["kind"] == "not_found");
    assert_eq!(sampled.map(|event| event["count"].as_u64().unwrap() as usize).sum::<usize>(), left_out);
}

#[tokio::test(flavor = "multi_thread")]
async fn hd10_repeated_refusals_of_one_source_are_sampled_after_the_first() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut process = crate::support::Process::serve(&database);
    let url = format!("http://{}/oauth/token", process.addr().await);
    furnish(&database);
    let http = reqwest::Client::new();
    for number in 0..1000 {
        let form = format!("grant_type=client_credentials&client_id=shop&client_secret=wrong{number}");
        let request = http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(form);
        assert!([401, 429].contains(&request.send().await.unwrap().status().as_u16()));
    }
    process.signal("TERM");
    assert!(process.wait().success());
    let events: Vec<Value> = process.stderr().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    let limited = count("attempt.limited");
    assert!(limited > 0 && limited < 900 && count("token.refused") >= 10, "{limited}");
    let left_out: u64 = events.iter().filter(|event| event["event"] == "log.sampled").map(|event| event["count"].as_u64().unwrap()).sum();
    assert_eq!(limited + count("token.refused") + left_out as usize, 1000);
}
