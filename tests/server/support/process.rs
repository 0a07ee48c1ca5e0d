use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use serde_json::Value;

use super::{TestDatabase, app::PASSWORD};

/// The outcome of a command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Finished {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.succeeded().stdout).unwrap()
    }

    /// Requires that it failed with one message on standard error that contains all of `words`.
    #[track_caller]
    pub(crate) fn failed_saying(self, words: &[&str]) -> Self {
        // 78 is for a refused configuration; `op14_...` distinguishes the two.
        assert!(matches!(self.status.code(), Some(1 | 78)), "{self:?}");
        let sentences: Vec<_> = self.stderr.lines().filter(|line| line.starts_with("sealwright: ")).collect();
        assert_eq!(sentences.len(), 1, "{self:?}");
        for word in words {
            assert!(sentences[0].contains(word), "{word:?} is not in {:?}", sentences[0]);
        }
        self
    }
}

/// The real binary in a folder, without settings from the environment of the test run.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealwright"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEALWRIGHT_") {
            command.env_remove(name);
        }
    }
    // Tests run in parallel.
    command.env("SEALWRIGHT_MANAGEMENT_LISTEN", "127.0.0.1:0");
    command
}

/// Writes a file that only its owner may read, as required for secrets.
pub(crate) fn write_private(path: impl AsRef<Path>, text: &str) {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

    let path = path.as_ref();
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    // A process that reads it meanwhile finds the earlier text or this one.
    std::fs::rename(new, path).unwrap();
}

pub(crate) fn finish(mut command: Command) -> Finished {
    command.output().unwrap().into()
}

/// The same for `database`. Its URL contains a password, so it is not passed as a flag.
pub(crate) fn command_on(database: &TestDatabase) -> Command {
    let mut command = command(database.folder());
    command.env("SEALWRIGHT_DATABASE_URL", &database.url);
    command
}

/// Runs a command against `database`, to its end.
pub(crate) fn sealwright(database: &TestDatabase, arguments: &[&str]) -> Finished {
    let mut command = command_on(database);
    command.args(arguments);
    finish(command)
}

/// The same, with a line on standard input.
pub(crate) fn sealwright_with_input(database: &TestDatabase, arguments: &[&str], line: &str) -> Finished {
    let mut command = command_on(database);
    command.args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses early does not read it.
    drop(writeln!(child.stdin.take().unwrap(), "{line}"));
    child.wait_with_output().unwrap().into()
}

/// Creates one resource with one scope, the app `shop` with every grant, and the user `alice`; returns the app's secret.
pub(crate) fn furnish(database: &TestDatabase) -> String {
    database.orders("orders:read");
    let shop = database.app_for_users("shop", "orders:read");
    database.user("alice", PASSWORD, "orders:read");
    shop.secret
}

/// A running server or demo process.
pub(crate) struct Process {
    child: Child,
    stderr: Arc<Mutex<Vec<String>>>,
    stdout: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, first) = follow(child.stdout.take().unwrap());
        let (stderr, second) = follow(child.stderr.take().unwrap());
        Self { child, stderr, stdout, readers: vec![first, second] }
    }

    /// `serve` on a free port, against `database`.
    pub(crate) fn serve(database: &TestDatabase) -> Self {
        let mut command = command_on(database);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        Self::spawn(command)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lock().unwrap().clone()
    }

    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until it listens, and returns the address.
    pub(crate) async fn addr(&mut self) -> SocketAddr {
        for _ in 0..6000 {
            let found = self.stderr().iter().find_map(|line| {
                let event: Value = serde_json::from_str(line).ok()?;
                (event["message"] == "serving").then(|| event["listen"].as_str().unwrap().parse().unwrap())
            });
            if let Some(addr) = found {
                return addr;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {:?}", self.stderr());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it does not serve: {:?}", self.stderr());
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn follow(stream: impl std::io::Read + Send + 'static) -> (Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let reader = std::thread::spawn({
        let lines = Arc::clone(&lines);
        move || BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
    });
    (lines, reader)
}
