//! The cost of the client while it has a valid token: per call of `TokenSource::token()` on one thread and on two, and per request
//! compared with reqwest alone, in one run.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use axum::{Router, http::header, routing};
use sealwright::client::{Client, Credentials, Secret, TokenSource};
use tokio::net::TcpListener;

const CALLS: u32 = 2_000_000;
const REQUESTS: u32 = 4_000;
const ROUNDS: usize = 9;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (client, api) = runtime.block_on(begin());
    let source = client.token_source();
    let token = runtime.block_on(async { source.token().await.expect("a token").as_str().to_owned() });

    let rounds = (0..ROUNDS).map(|_| (calls(&runtime, &source, 1), calls(&runtime, &source, 2))).collect::<Vec<_>>();
    let (one, two) = (median(rounds.iter().map(|round| round.0)), median(rounds.iter().map(|round| round.1)));
    println!("TokenSource::token()      {:>8.1} ns per call on one thread", 1e9 / one);
    println!("  two threads             {:>8.2} times the calls of one", two / one);

    let plain = reqwest::Client::new();
    let rounds = (0..ROUNDS).map(|_| {
        let bare = runtime.block_on(requests(async || {
            plain.get(&api).header(header::AUTHORIZATION, format!("Bearer {token}")).send().await.expect("an answer")
        }));
        let ours = runtime.block_on(requests(async || client.get(&api).send().await.expect("an answer")));
        (bare, ours)
    });
    let rounds = rounds.collect::<Vec<_>>();
    let (bare, ours) = (median(rounds.iter().map(|round| round.0)), median(rounds.iter().map(|round| round.1)));
    println!("a request by reqwest      {bare:>8.1} us");
    println!("  by the client           {ours:>8.1} us, {:+.1} us, {:.3} times", ours - bare, ours / bare);
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Calls per second of this many threads together.
fn calls(runtime: &tokio::runtime::Runtime, source: &TokenSource, threads: usize) -> f64 {
    let start = Barrier::new(threads + 1);
    let handle = runtime.handle();
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let begun = Instant::now();
                    handle.block_on(async {
                        for _ in 0..CALLS {
                            black_box(source.token().await.expect("a token"));
                        }
                    });
                    begun.elapsed()
                })
            })
            .collect();
        start.wait();
        let longest = callers.into_iter().map(|caller| caller.join().expect("it ends")).max().unwrap_or(Duration::MAX);
        f64::from(CALLS) * threads as f64 / longest.as_secs_f64()
    })
}

/// Microseconds per request, one after another.
async fn requests(ask: impl AsyncFn() -> reqwest::Response) -> f64 {
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        let answer = ask().await;
        assert_eq!(answer.status(), 200);
        black_box(answer.bytes().await.expect("a body"));
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
}

/// A client, and the URL of an API that accepts its token. The token is valid for an hour.
async fn begin() -> (Client, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let metadata: Arc<str> = format!(r#"{{"issuer":"{url}","token_endpoint":"{url}/oauth/token"}}"#).into();
    let token = format!(r#"{{"access_token":"{}","token_type":"Bearer","expires_in":3600}}"#, "x".repeat(900));
    let json = || [(header::CONTENT_TYPE, "application/json")];
    let app = Router::new()
        .route("/.well-known/oauth-authorization-server", routing::get(async move || (json(), metadata.to_string())))
        .route("/oauth/token", routing::post(async move || (json(), token.clone())))
        .route("/", routing::get(async || "hello"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let credentials = Credentials::client("billing", Secret::value("secret"));
    let client = credentials.issuer(&url).attach_to([&url]).build().expect("a client");
    (client, url)
}
