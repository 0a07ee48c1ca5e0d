//! `sealwright token get`: the real binary and the running server, with a relay between them that counts requests and fails like a network.

mod cache;
mod credentials;
mod renewal;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::support::{Backend, Credential, Finished, ORDERS, PASSWORD, Relay, TestApp, claims_of, command, finish, on_sqlite};

on_sqlite![
    a_script_gets_one_token_and_the_next_script_gets_the_same,
    twenty_scripts_at_once_make_one_request,
    a_token_is_found_only_by_what_it_was_requested_with,
];

/// The server behind a relay, and a user whose scripts get tokens of the app `shop`.
struct World {
    app: TestApp,
    relay: Relay,
    shop: Credential,
    /// The user's runtime directory.
    runtime: TempDir,
}

impl World {
    async fn begin(backend: Backend) -> Self {
        let relay = Relay::start().await;
        let (app, shop) = TestApp::behind(backend, &relay).await;
        Self { app, relay, shop, runtime: TempDir::new().unwrap() }
    }

    /// `token get` with the client's secret in its variable.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.without_secret(arguments);
        command.env("SEALWRIGHT_CLIENT_SECRET", &self.shop.secret);
        command
    }

    fn without_secret(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare();
        command.args(["--issuer", &self.relay.url, "--client", "shop", "--resource", ORDERS]).args(arguments);
        command
    }

    /// `token get` without arguments.
    fn bare(&self) -> Command {
        let mut command = command(self.runtime.path());
        command.args(["token", "get"]).env("XDG_RUNTIME_DIR", self.runtime.path()).env("SEALWRIGHT_USER_PASSWORD", PASSWORD);
        command
    }

    fn get(&self, arguments: &[&str]) -> Finished {
        run(self.command(arguments))
    }

    /// The token that it prints, without a warning.
    #[track_caller]
    fn token(&self, arguments: &[&str]) -> String {
        token_of(self.get(arguments))
    }

    fn folder(&self) -> PathBuf {
        self.runtime.path().join("sealwright")
    }

    /// The files in the cache whose names end so.
    fn files(&self, end: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_str().unwrap().ends_with(end)).collect()
    }

    /// The only token in the cache.
    #[track_caller]
    fn stored(&self) -> PathBuf {
        let mut files = self.files(".json");
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    /// Makes the token in the cache older, or younger.
    fn age(&self, seconds: i64) {
        let file = self.stored();
        let mut stored: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        for time in ["requested_at", "expires_at"] {
            stored[time] = (stored[time].as_i64().unwrap() - seconds).into();
        }
        fs::write(file, stored.to_string()).unwrap();
    }
}

/// Runs it to its end, while the server goes on.
fn run(command: Command) -> Finished {
    block_in_place(|| finish(command))
}

#[track_caller]
fn token_of(finished: Finished) -> String {
    let Finished { stdout, stderr, .. } = finished.succeeded();
    assert_eq!(stderr, "");
    let token = stdout.strip_suffix('\n').unwrap().to_owned();
    assert_eq!(claims_of(&token)["aud"], ORDERS);
    token
}

async fn a_script_gets_one_token_and_the_next_script_gets_the_same(backend: Backend) {
    let world = World::begin(backend).await;
    let token = world.token(&[]);
    assert_eq!(claims_of(&token)["sub"], "shop");
    assert_eq!(world.token(&[]), token);
    // For `curl -H @-`.
    assert_eq!(world.get(&["--header"]).succeeded().stdout, format!("Authorization: Bearer {token}\n"));
    let json = world.get(&["--json"]).json();
    let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["access_token", "expires_in", "scope", "token_type"]);
    assert_eq!((&json["access_token"], &json["token_type"]), (&token.as_str().into(), &"Bearer".into()));
    assert_eq!(json["scope"], "orders:read orders:write");
    assert!((1..=600).contains(&json["expires_in"].as_u64().unwrap()), "{json}");
    assert_eq!(world.relay.token_requests(), 1);
    assert_eq!(world.get(&["--header", "--json"]).status.code(), Some(2));

    let other = world.token(&["--no-cache"]);
    assert_ne!(other, token);
    assert_eq!((world.token(&[]), world.relay.token_requests()), (token.clone(), 2), "it was not stored");

    // The issuer may be in the variable that the server reads.
    let mut command = world.bare();
    command.args(["--client", "shop", "--resource", ORDERS]);
    command.env("SEALWRIGHT_CLIENT_SECRET", &world.shop.secret).env("SEALWRIGHT_ISSUER", &world.relay.url);
    assert_eq!(token_of(run(command)), token);
    let mut command = world.command(&[]);
    command.env("SEALWRIGHT_ISSUER", "https://other.example");
    assert_eq!(token_of(run(command)), token, "a flag wins over a variable");
}

async fn twenty_scripts_at_once_make_one_request(backend: Backend) {
    let world = World::begin(backend).await;
    let start = |_| world.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let scripts: Vec<_> = (0..20).map(start).collect();
    let tokens = scripts.into_iter().map(|script| token_of(block_in_place(|| script.wait_with_output()).unwrap().into()));
    let mut tokens: Vec<_> = tokens.collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(world.relay.token_requests(), 1);
}

async fn a_token_is_found_only_by_what_it_was_requested_with(backend: Backend) {
    let world = World::begin(backend).await;
    let mut tokens = vec![world.token(&[])];
    for arguments in [&["--scope", "orders:read"][..], &["--scope", "orders:write"], &["--username", "alice"]] {
        tokens.push(world.token(arguments));
        assert_eq!(world.token(arguments), *tokens.last().unwrap());
    }
    assert_eq!(claims_of(&tokens[1])["scope"], "orders:read");
    // In another order, it is the same scope.
    let both = world.token(&["--scope", "orders:read", "--scope", "orders:write"]);
    assert_eq!(world.token(&["--scope", "orders:write", "--scope", "orders:read"]), both);
    tokens.push(both);
    assert_eq!(world.relay.token_requests(), 5);

    let secret = world.app.run_json(&["client", "add-secret", "shop"])["secret"]["value"].as_str().unwrap().to_owned();
    world.app.settle().await;
    let with = |secret: &str| {
        let mut command = world.command(&[]);
        command.env("SEALWRIGHT_CLIENT_SECRET", secret);
        run(command)
    };
    tokens.push(token_of(with(&secret)));
    let count = tokens.len();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), count);
    // The token of the right secret is not given to a wrong one.
    let refused = with("wrong").failed_saying(&["no token", "does not accept this client with this secret"]);
    assert_eq!(refused.stdout, "");
    let mut command = world.command(&["--username", "alice"]);
    command.env("SEALWRIGHT_USER_PASSWORD", "another password than hers");
    run(command).failed_saying(&["no token", "the user name or the password is wrong"]);
}
