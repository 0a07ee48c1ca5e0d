//! What is counted.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sealwright::{
    clock::{Clock, ManualClock, SystemClock},
    server::{Config, Server, config::Sources},
    verifier::Verifier,
};
use tokio::runtime::{Builder, Runtime};

const AUDIENCE: &str = "https://orders.example";
const ISSUER: &str = "https://auth.example";

/// Work that can be repeated.
pub(crate) enum Work {
    Requests { connection: Connection, request: String, _server: Runtime },
    Verifications { verifier: Box<Verifier>, token: String },
}

/// Creates a database with a client, and notes its secret, a token and the keys.
pub(crate) fn prepare(folder: &Path) {
    let server = serve(folder);
    run(folder, &["resource", "create", AUDIENCE, "--scope", "orders:read"]);
    let grant = ["--grant", "client_credentials", "--allow", "https://orders.example=orders:read"];
    let created = run(folder, &[&["client", "create", "billing"], &grant[..]].concat());
    fs::write(folder.join("secret"), created["secret"]["value"].as_str().unwrap()).unwrap();
    let mut connection = Connection::open(server.1);
    let answer = |answered: &[u8]| String::from_utf8(answered.to_vec()).unwrap().split_once("\r\n\r\n").unwrap().1.to_owned();
    let issued = answer(connection.ask(token_request(folder).as_bytes()));
    let issued: serde_json::Value = serde_json::from_str(&issued).unwrap();
    fs::write(folder.join("token"), issued["access_token"].as_str().unwrap()).unwrap();
    fs::write(folder.join("jwks"), answer(connection.ask(b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: auth.example\r\n\r\n"))).unwrap();
}

impl Work {
    pub(crate) fn begin(kind: &str, folder: &Path) -> Self {
        match kind {
            "token" => {
                let (server, addr) = serve(folder);
                Self::Requests { connection: Connection::open(addr), request: token_request(folder), _server: server }
            }
            "verification" => {
                let verifier = Verifier::for_issuer(ISSUER).audience(AUDIENCE).keys(fs::read(folder.join("jwks")).unwrap());
                let token = fs::read_to_string(folder.join("token")).unwrap();
                Self::Verifications { verifier: Box::new(verifier.build().unwrap()), token }
            }
            _ => panic!("{kind} is not counted"),
        }
    }

    pub(crate) fn repeat(&mut self, times: usize) {
        for _ in 0..times {
            match self {
                Self::Requests { connection, request, .. } => drop(connection.ask(request.as_bytes())),
                Self::Verifications { verifier, token } => drop(verifier.verify_cached(token).unwrap()),
            }
        }
    }
}

/// A server on the database of this folder. Its time stands still, so that no task runs beside the requests, and it answers on one thread, so that none
/// looks for work that another one does.
fn serve(folder: &Path) -> (Runtime, SocketAddr) {
    let keys = folder.join("keys").display().to_string();
    let flags = [("listen", "127.0.0.1:0"), ("management_listen", "off"), ("issuer", ISSUER), ("keys_dir", &keys)];
    let sources = Sources {
        flags: flags.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        environment: vec![("SEALWRIGHT_DATABASE_URL".to_owned(), database(folder))],
        ..Sources::default()
    };
    let config = Config::load(sources).unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(Server::build(config, Arc::new(ManualClock::at(SystemClock.now())))).unwrap();
    let addr = server.local_addr();
    runtime.spawn(server.run_until(std::future::pending()));
    (runtime, addr)
}

fn database(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("sealwright.db").display())
}

/// Runs a command of the binary against the database, and reads the JSON that it prints.
fn run(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealwright"));
    command.current_dir(folder).env("SEALWRIGHT_DATABASE_URL", database(folder)).args(arguments).arg("--json");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn token_request(folder: &Path) -> String {
    let secret = fs::read_to_string(folder.join("secret")).unwrap();
    let (credentials, body) = (BASE64_STANDARD.encode(format!("billing:{secret}")), "grant_type=client_credentials");
    format!(
        "POST /oauth/token HTTP/1.1\r\nhost: auth.example\r\nauthorization: Basic {credentials}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    fn open(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).unwrap(), answer: vec![0; 16 * 1024] }
    }

    /// Sends a request and reads its answer, without allocating.
    fn ask(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).unwrap();
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.answer[length..]).unwrap();
            assert!(read > 0, "the answer is incomplete, or too long");
            length += read;
            let answer = &self.answer[..length];
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(answer));
            // The end of the JSON.
            if answer.ends_with(b"}") {
                return &self.answer[..length];
            }
        }
    }
}
