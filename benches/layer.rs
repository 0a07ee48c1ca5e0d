//! Requests per second of an axum route over real connections, with the layer and without, in one run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use sealwright::verifier::Verifier;
use sealwright_benches::{AUDIENCE, ISSUER, Signed};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const CONNECTIONS: usize = 4;
const ROUND: Duration = Duration::from_secs(2);

/// Microseconds per request of one connection that sends requests continuously.
async fn round(addr: std::net::SocketAddr, request: Arc<str>) -> f64 {
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let request = Arc::clone(&request);
        callers.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            let (begun, mut count, mut answer) = (Instant::now(), 0_u64, vec![0; 4096]);
            while begun.elapsed() < ROUND {
                stream.write_all(request.as_bytes()).await.expect("sent");
                let length = stream.read(&mut answer).await.expect("answered");
                assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
                count += 1;
            }
            count
        });
    }
    let requests: u64 = callers.join_all().await.into_iter().sum();
    ROUND.as_secs_f64() * 1e6 / requests as f64
}

async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

#[tokio::main]
async fn main() {
    let signed = Signed::new();
    let keys = json!({ "keys": [signed.jwk] }).to_string();
    let verifier = Verifier::for_issuer(ISSUER).audience(AUDIENCE).keys(keys).build().expect("a verifier");
    let hello = || Router::new().route("/", get(|| async { "hello" }));
    let (bare, layered) = (serve(hello()).await, serve(hello().layer(verifier.layer())).await);
    let request: Arc<str> = format!("GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", signed.token).into();
    let mut rounds = Vec::new();
    for _ in 0..5 {
        rounds.push((round(bare, Arc::clone(&request)).await, round(layered, Arc::clone(&request)).await));
    }
    let median = |pick: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (without, with) = (median(|round| round.0), median(|round| round.1));
    let begun = Instant::now();
    for _ in 0..20_000 {
        verifier.verify_cached(&signed.token).expect("genuine");
    }
    let verification = begun.elapsed().as_secs_f64() * 1e6 / 20_000.0;
    // All cores work at once, so a request costs the machine `cores` times the interval.
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    println!("hello world         {:>8.0} requests/s", 1e6 / without);
    println!("behind the layer    {:>8.0} requests/s ({:.2} of it)", 1e6 / with, without / with);
    println!("the layer costs     {:>8.1} us of computing, the verification alone {verification:.1} us", (with - without) * cores);
}
