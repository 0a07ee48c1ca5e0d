//! The programs around the browser: the server, the API, the web application and Redis, each as a process.

use std::{
    env,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "plum trousers at the gate";
pub(crate) const ORDERS: &str = "https://orders.example";

/// A process and its output. It is killed when its handle is dropped.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts it, and waits until its output contains `until`.
    pub(crate) fn start(command: &mut Command, until: &str) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        listen(out, Arc::clone(&said));
        listen(err, Arc::clone(&said));
        let process = Self { child, said };
        for _ in 0..3000 {
            if process.line(until).is_some() {
                return process;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{command:?} never said {until:?}: {:?}", process.said.lock().unwrap());
    }

    /// The first line that contains `text`.
    pub(crate) fn line(&self, text: &str) -> Option<String> {
        self.said.lock().unwrap().iter().find(|line| line.contains(text)).cloned()
    }

    /// The whole output.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }
}

fn listen(stream: impl std::io::Read + Send + 'static, said: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            said.lock().unwrap().push(line);
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server with the resource `https://orders.example`, the app `shop` whose tokens live for a minute, and `alice`.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) issuer: String,
    pub(crate) api: String,
    pub(crate) server: Process,
    pub(crate) orders: Process,
    metrics: String,
}

pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(&env::var_os("E2E_PROGRAMS").expect("tests/e2e/run says where the programs are")).join(name)
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl World {
    pub(crate) fn begin() -> Self {
        let folder = TempDir::new().unwrap();
        let (port, management) = (free_port(), free_port());
        let issuer = format!("http://127.0.0.1:{port}");
        let mut serve = Command::new(program("sealwright"));
        serve.current_dir(&folder).args(["serve", "--log-format", "json", "--issuer", &issuer]);
        serve.args(["--listen", &format!("127.0.0.1:{port}"), "--management-listen", &format!("127.0.0.1:{management}")]);
        let server = Process::start(&mut serve, "\"serving\"");
        let mut orders = Command::new(program("examples/orders_api"));
        orders.env("ORDERS_ISSUER", &issuer).env("ORDERS_AUDIENCE", ORDERS).env("ORDERS_LISTEN", "127.0.0.1:0");
        let orders = Process::start(&mut orders, "orders at ");
        let api = orders.line("orders at ").unwrap().replace("orders at ", "");
        let world = Self { folder, issuer, api, server, orders, metrics: format!("http://127.0.0.1:{management}/metrics") };
        world.run(&["resource", "create", ORDERS, "--scope", "orders:read", "--scope", "orders:write"]);
        let both = format!("{ORDERS}=orders:read,orders:write");
        let grants = ["--grant", "client_credentials", "--grant", "password", "--grant", "refresh_token"];
        let shop = world.run(&[&["client", "create", "shop", "--token-lifetime", "1m", "--allow", &both][..], &grants].concat());
        std::fs::write(world.secret(), shop["secret"]["value"].as_str().unwrap()).unwrap();
        world.user("alice", &both);
        world
    }

    /// Runs a command of the server, and parses the JSON that it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> Value {
        let done = Command::new(program("sealwright")).current_dir(&self.folder).args(arguments).arg("--json").output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap_or_default()
    }

    pub(crate) fn user(&self, name: &str, allow: &str) {
        let mut create = Command::new(program("sealwright"));
        create.current_dir(&self.folder).args(["user", "create", name, "--password-stdin", "--allow", allow]).stdin(Stdio::piped());
        let mut child = create.stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{PASSWORD}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// The file with the secret of `shop`.
    pub(crate) fn secret(&self) -> PathBuf {
        self.folder.path().join("shop.secret")
    }

    /// The command of an example that acts as `shop`.
    pub(crate) fn as_shop(&self, example: &str) -> Command {
        let mut command = Command::new(program(&format!("examples/{example}")));
        command.env("ISSUER", &self.issuer).env("CLIENT_ID", "shop").env("CLIENT_SECRET_FILE", self.secret());
        command.env("ORDERS_URL", &self.api).env("LISTEN", "127.0.0.1:0");
        command
    }

    pub(crate) fn redis(&self, port: u16) -> Process {
        let mut redis = Command::new("redis-server");
        // It persists all data, so that sessions survive a restart.
        redis.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--appendonly", "yes", "--appendfsync", "always"]);
        redis.arg("--dir").arg(self.folder.path());
        Process::start(&mut redis, "Ready to accept connections")
    }

    /// The number of tokens that the server issued for this grant.
    pub(crate) async fn issued(&self, grant: &str) -> u64 {
        let metrics = reqwest::get(&self.metrics).await.unwrap().text().await.unwrap();
        let counted = |line: &&str| {
            let labels = [format!("grant=\"{grant}\""), "result=\"ok\"".to_owned()];
            line.starts_with("sealwright_token_requests_total") && labels.iter().all(|label| line.contains(label))
        };
        let line = metrics.lines().find(counted);
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64)
    }
}
