//! How often a token request allocates memory. The allocator of the process counts, so this test has a binary of its own.

use std::{
    alloc::System,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sealwright::{
    clock::{Clock, ManualClock, SystemClock},
    server::{Config, Server, config::Sources},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations of one request for a token by client credentials, of a cached client, over a connection that is open: reading it,
/// signing on another thread, and the answer. A change that needs more has to say why.
const LIMIT: usize = 95;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_request_of_a_cached_client_allocates_within_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("sealwright.db").display());
    let keys = folder.path().join("keys").display().to_string();
    let flags = vec![("listen".to_owned(), "127.0.0.1:0".to_owned()), ("keys_dir".to_owned(), keys)];
    let environment = vec![("SEALWRIGHT_DATABASE_URL".to_owned(), database.clone())];
    let config = Config::load(Sources { flags, environment, ..Sources::default() }).unwrap();
    // Its time stands still, so that no task runs beside the requests.
    let server = Server::build(config, Arc::new(ManualClock::at(SystemClock.now()))).await.unwrap();
    let addr = server.local_addr();
    tokio::spawn(server.run_until(std::future::pending()));
    run(folder.path(), &database, &["resource", "create", "https://orders.example", "--scope", "orders:read"]);
    let grant = ["--grant", "client_credentials", "--allow", "https://orders.example=orders:read"];
    let created = run(folder.path(), &database, &[&["client", "create", "billing"], &grant[..]].concat());
    let secret = created["secret"]["value"].as_str().unwrap().to_owned();

    let counted = tokio::task::spawn_blocking(move || {
        let credentials = BASE64_STANDARD.encode(format!("billing:{secret}"));
        let body = "grant_type=client_credentials";
        let request = format!(
            "POST /oauth/token HTTP/1.1\r\nhost: {addr}\r\nauthorization: Basic {credentials}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = Connection { stream: TcpStream::connect(addr).unwrap(), answer: vec![0; 16 * 1024] };
        for _ in 0..20 {
            connection.ask(request.as_bytes());
        }
        const REQUESTS: usize = 200;
        let before = ALLOCATOR.stats();
        for _ in 0..REQUESTS {
            connection.ask(request.as_bytes());
        }
        let used = ALLOCATOR.stats() - before;
        (used.allocations / REQUESTS, used.reallocations / REQUESTS, used.bytes_allocated / REQUESTS)
    });
    let (allocations, reallocations, bytes) = counted.await.unwrap();
    println!("per token request: {allocations} allocations, {reallocations} reallocations, {bytes} bytes");
    assert!(allocations <= LIMIT, "{allocations} allocations per token request; the limit is {LIMIT}");
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads its answer, without allocating.
    fn ask(&mut self, request: &[u8]) {
        self.stream.write_all(request).unwrap();
        let mut length = 0;
        loop {
            length += self.stream.read(&mut self.answer[length..]).unwrap();
            let answer = &self.answer[..length];
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(answer));
            if answer.ends_with(b"}") {
                return;
            }
        }
    }
}

/// Runs a command of the binary against the database, and reads the JSON that it prints.
fn run(folder: &Path, database: &str, arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealwright"));
    command.current_dir(folder).env("SEALWRIGHT_DATABASE_URL", database).args(arguments).arg("--json");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
