//! Shutdown: the server first reports it, then answers the connected callers; no request is cut off.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::support::{Backend, Credential, Process, TestApp, TestDatabase, command, command_on, furnish, on_both_databases, wait_until};

on_both_databases![a_rolling_restart_under_load_loses_no_request];

/// One HTTP/1.1 connection without retries.
struct Connection(TcpStream);

/// An answer, and whether it is the last of its connection.
struct Reply {
    status: u16,
    last: bool,
    body: String,
}

impl Connection {
    async fn open(addr: SocketAddr) -> std::io::Result<Self> {
        TcpStream::connect(addr).await.map(Self)
    }

    /// Sends a request and reads its answer, which has a Content-Length.
    async fn ask(&mut self, request: &str) -> std::io::Result<Reply> {
        self.0.write_all(request.as_bytes()).await?;
        let mut read = Vec::new();
        loop {
            if self.0.read_buf(&mut read).await? == 0 {
                return Err(std::io::Error::other(format!("cut off after {:?}", String::from_utf8_lossy(&read))));
            }
            let text = String::from_utf8_lossy(&read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_lowercase();
            let length: usize = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
            if body.len() >= length {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return Ok(Reply { status, last: head.contains("connection: close"), body: body.to_owned() });
            }
        }
    }
}

fn token_request(client: &Credential) -> String {
    let body = format!("grant_type=client_credentials&client_id={}&client_secret={}", client.id, client.secret);
    let head = "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

async fn a_rolling_restart_under_load_loses_no_request(backend: Backend) {
    // Long enough for any caller on any machine; connections whose last answer was announced do not delay the end.
    let settings = [("drain_linger", "1m"), ("drain_timeout", "1m")];
    let mut old = TestApp::start_with(TestDatabase::create(backend).await, &settings).await.with_orders();
    let request: Arc<str> = token_request(&old.client("billing")).into();
    let nodes = Arc::new(Mutex::new(vec![old.addr]));
    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let (nodes, done, asked, request) = (Arc::clone(&nodes), Arc::clone(&done), Arc::clone(&asked), Arc::clone(&request));
        callers.spawn(async move {
            let mut connection = None;
            let mut turn = caller;
            while !done.load(SeqCst) {
                // Only the connection may be retried.
                let Some(mut open) = connection.take() else {
                    turn += 1;
                    let addr = {
                        let nodes = nodes.lock().unwrap();
                        nodes[turn % nodes.len()]
                    };
                    connection = Connection::open(addr).await.ok();
                    continue;
                };
                let reply = Connection::ask(&mut open, &request).await.unwrap_or_else(|error| panic!("a request was lost: {error}"));
                assert_eq!(reply.status, 200, "{}", reply.body);
                asked.fetch_add(1, SeqCst);
                connection = (!reply.last).then_some(open);
            }
        });
    }
    let more = async || {
        let before = asked.load(SeqCst);
        wait_until(|| asked.load(SeqCst) > before + 100 || callers.is_empty()).await;
    };
    for _ in 0..4 {
        more().await;
        let new = old.second_node_with(&settings).await;
        nodes.lock().unwrap().push(new.addr);
        more().await;
        nodes.lock().unwrap().remove(0);
        old.stop().await;
        old = new;
    }
    more().await;
    done.store(true, SeqCst);
    callers.join_all().await;
    assert!(asked.load(SeqCst) > 500);
}

/// A server process with these settings.
async fn serve(settings: &[&str]) -> (TestDatabase, Process, SocketAddr, Credential) {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut command = command_on(&database);
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(settings);
    let mut process = Process::spawn(command);
    let addr = process.addr().await;
    let client = Credential { id: "shop".to_owned(), secret: furnish(&database) };
    (database, process, addr, client)
}

const READY: &str = "GET /health/ready HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_signal_the_server_reports_not_ready_and_serves_until_a_second_signal() {
    let (_database, mut process, addr, client) = serve(&["--drain-delay", "5m"]).await;
    let mut kept = Connection::open(addr).await.unwrap();
    assert_eq!(kept.ask(READY).await.unwrap().status, 200);
    process.signal("TERM");
    let answer = loop {
        let reply = Connection::open(addr).await.unwrap().ask(READY).await.unwrap();
        if reply.status == 503 {
            break reply;
        }
    };
    assert!(answer.body.contains("the server is stopping") && !answer.last);
    // Not ready, but still serving, on new connections and open ones.
    for connection in [&mut Connection::open(addr).await.unwrap(), &mut kept] {
        let reply = connection.ask(&token_request(&client)).await.unwrap();
        assert!(reply.status == 200 && !reply.last);
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_gets_an_announced_last_answer_and_the_exit_code_is_0() {
    let (_database, mut process, addr, client) = serve(&["--drain-linger", "5m", "--drain-timeout", "5m"]).await;
    let mut kept = Connection::open(addr).await.unwrap();
    assert_eq!(kept.ask(READY).await.unwrap().status, 200);
    process.signal("TERM");
    loop {
        let reply = kept.ask(&token_request(&client)).await.unwrap();
        assert_eq!(reply.status, 200);
        if reply.last {
            break;
        }
    }
    // It waits for no one, although the limit has not passed.
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.stderr());
    assert!(Connection::open(addr).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_do_not_delay_the_shutdown() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let app = TestApp::start_with(database, &[("connections", "2"), ("drain_timeout", "2s")]).await;
    // Both places are taken, by an idle connection and by one with half a request; a third waits in the kernel's queue.
    let mut held = Vec::new();
    for begin in ["", "POST /oauth/token HTTP/1.1\r\nhost: x\r\n", "GET / HTTP/1.1\r\n"] {
        let mut stream = TcpStream::connect(app.addr).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        held.push(stream);
    }
    wait_until(|| app.meters.open_connections() == 2).await;
    tokio::time::timeout(Duration::from_secs(30), app.stop()).await.expect("it ends when its time is over");
}

/// A server that is stopped while it has received half of a request, which may take this long.
async fn stopped_during_a_request(limit: &str) -> (tokio::task::JoinHandle<Arc<TestDatabase>>, TcpStream, String) {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let app = TestApp::start_with(database, &[("drain_timeout", limit)]).await.with_orders();
    let request = token_request(&app.client("billing"));
    let (begin, rest) = request.split_at(request.len() - 10);
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    stream.write_all(begin.as_bytes()).await.unwrap();
    wait_until(|| app.meters.open_connections() == 1).await;
    (tokio::spawn(app.stop()), stream, rest.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_gets_its_answer() {
    let (stopping, stream, rest) = stopped_during_a_request("1m").await;
    let reply = Connection(stream).ask(&rest).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_too_long_does_not_delay_the_end() {
    let (stopping, _stream, _) = stopped_during_a_request("1s").await;
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn op14_sighup_and_the_user_signals_do_not_end_the_server_and_the_log_names_the_signal_that_did() {
    for (signal, name) in [("TERM", "SIGTERM"), ("INT", "SIGINT")] {
        let (_database, mut process, addr, client) = serve(&[]).await;
        let said = |process: &Process, words: &str| process.stderr().iter().any(|line| line.contains(words));
        process.signal("HUP");
        wait_until(|| said(&process, "nothing to reload")).await;
        for ignored in ["USR1", "USR2"] {
            process.signal(ignored);
            wait_until(|| said(&process, &format!("SIG{ignored}"))).await;
        }
        assert_eq!(Connection::open(addr).await.unwrap().ask(&token_request(&client)).await.unwrap().status, 200);
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0));
        let stopped: Vec<_> = process.stderr().into_iter().filter(|line| line.contains("\"stopped\"")).collect();
        assert!(stopped.len() == 1 && stopped[0].contains(name), "{stopped:?}");
    }
}

#[test]
fn op14_a_refused_configuration_ends_with_exit_code_78_which_the_unit_does_not_restart() {
    let folder = tempfile::tempdir().unwrap();
    let exit_code = |flags: &[&str]| {
        let mut command = command(folder.path());
        command.arg("serve").args(flags);
        crate::support::finish(command).status.code()
    };
    assert_eq!(exit_code(&["--listen", "nowhere"]), Some(78));
    assert_eq!(exit_code(&["--config", "missing.toml"]), Some(78));
    assert_eq!(exit_code(&["--listen", "192.0.2.1:1", "--issuer", "https://auth.example", "--behind-proxy", "192.0.2.2"]), Some(1));
    let unit = include_str!("../../examples/sealwright.service");
    assert!(unit.contains("RestartPreventExitStatus=78\n") && unit.contains("ExecReload=/bin/kill -HUP $MAINPID\n"));
}
