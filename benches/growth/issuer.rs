//! The server in this process, on SQLite, with a clock that the benchmark moves.

use std::{collections::BTreeMap, fs, future, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use josekit::{
    jwe::{self, Dir},
    jwk::JwkSet,
};
use sealwright::{
    clock::{Clock, ManualClock, SystemClock},
    protocol::{Algorithm, Audience, GrantType, Scope},
    server::{
        Config, Meters, Server,
        commands::{Act, Commands, CustomClaims, NewClient, NewResource, NewUser, Password},
        config::Sources,
    },
};
use sealwright_benches::{AUDIENCE, decode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::{AbortHandle, LocalSet};

use crate::{
    requests::{Connection, Requests},
    seeds::client_id,
};

/// The app to which all logins belong.
const APP: &str = "shop";
const PASSWORD: &str = "plum trousers at the gate";
const SCOPE: &str = "orders:read";
/// How many commands run at once.
const AT_ONCE: usize = 64;

pub struct Issuer {
    pub addr: SocketAddr,
    /// Its issuer identifier.
    pub url: String,
    pub clock: ManualClock,
    pub meters: Arc<Meters>,
    pub requests: Requests,
    /// The URL of its database.
    pub database: String,
    commands: Commands,
    tasks: Vec<&'static str>,
    running: AbortHandle,
    _folder: TempDir,
}

impl Issuer {
    /// Starts a server with an app, and the user `alice` with a login, from which others are copied.
    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("sealwright-growth-").expect("a folder");
        let (database, keys) = (format!("sqlite://{}", folder.path().join("sealwright.db").display()), folder.path().join("keys"));
        let keys_dir = keys.display().to_string();
        // All callers are at one address.
        let flags =
            [("listen", "127.0.0.1:0"), ("management_listen", "off"), ("keys_dir", keys_dir.as_str()), ("connections_per_source", "4096")];
        let sources = Sources {
            flags: flags.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
            environment: vec![("SEALWRIGHT_DATABASE_URL".to_owned(), database.clone())],
            ..Sources::default()
        };
        let config = Config::load(sources).expect("valid settings");
        let clock = ManualClock::at(SystemClock.now());
        let server = Server::build(config.clone(), Arc::new(clock.clone())).await.expect("a server");
        let (addr, url, meters, tasks) = (server.local_addr(), server.issuer().to_string(), server.meters(), server.tasks().collect());
        let running = tokio::spawn(server.run_until(future::pending())).abort_handle();
        let commands = Commands::open(config.commands()).await.expect("its database");
        let secret = create_app(&commands, &Act::new("benchmark", None, clock.now())).await;
        let requests = Requests::new(APP, &secret, key_of_refresh_tokens(&database, &keys).await);
        let issuer = Self { addr, url, clock, meters, requests, database, commands, tasks, running, _folder: folder };
        issuer.wait_for_key().await;
        issuer.sign_in().await;
        issuer
    }

    /// The first key of an algorithm signs after seconds. Until then another one does.
    async fn wait_for_key(&self) {
        let mut connection = Connection::open(self.addr).await;
        for _ in 0..600 {
            self.pass(Duration::from_secs(1)).await;
            let token = token(&mut connection, &self.requests.app("grant_type=client_credentials")).await;
            let header: Value = serde_json::from_slice(&decode(token.split('.').next().unwrap_or_default())).expect("a header");
            if header["alg"] == "ES256" {
                return;
            }
        }
        panic!("no token is signed with ES256");
    }

    async fn sign_in(&self) {
        let form = format!("grant_type=password&username=alice&password={}", PASSWORD.replace(' ', "+"));
        let (status, body) = Connection::open(self.addr).await.send(&self.requests.app(&form)).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        let refresh_token = answer["refresh_token"].as_str().expect("a refresh token");
        let login = refresh_token.strip_prefix("swr_").and_then(|rest| rest.split('.').next()).expect("a login");
        assert_eq!(refresh_token, self.requests.refresh_token(login, 1), "the benchmark makes other refresh tokens than the server");
    }

    /// Lets time pass, and waits until the server's tasks have done what was due.
    pub async fn pass(&self, time: Duration) {
        self.tasks_sleep().await;
        self.clock.advance(time);
        self.tasks_sleep().await;
    }

    pub async fn pass_often(&self, time: Duration, times: u32) {
        for _ in 0..times {
            self.pass(time).await;
        }
    }

    async fn tasks_sleep(&self) {
        let sleep = async {
            loop {
                let sleepers = self.clock.sleepers();
                if self.tasks.iter().all(|task| sleepers.contains(task)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(300), sleep).await.expect("the tasks of the server sleep between their rounds");
    }

    /// Lets the server read what has changed. A large revocation takes several looks.
    pub async fn notice(&self) {
        self.pass_often(Duration::from_millis(500), 20).await;
    }

    /// Lets time pass until no more rows are deleted, and returns how long that was. What has ended is looked for once a minute.
    pub async fn settle(&self) -> Duration {
        const ROUND: Duration = Duration::from_secs(10);
        let (mut passed, mut deleted, mut before) = (Duration::ZERO, Duration::ZERO, self.rows().await);
        while passed < deleted + 7 * ROUND {
            self.pass(ROUND).await;
            passed += ROUND;
            let rows = self.rows().await;
            if rows != before {
                (deleted, before) = (passed, rows);
            }
        }
        deleted
    }

    /// The number of rows of each table.
    pub async fn rows(&self) -> BTreeMap<String, i64> {
        let mut sql = self.sql().await;
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '_sqlx%'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut sql).await.expect("tables");
        let mut rows = BTreeMap::new();
        for table in tables {
            let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            let count = sqlx::query_scalar(count).fetch_one(&mut sql).await.expect("a number");
            rows.insert(table, count);
        }
        rows
    }

    /// Revokes the tokens of clients, which go on, by the command of operators.
    pub async fn revoke_tokens_of_clients(&self, numbers: impl Iterator<Item = u64>) {
        let (numbers, act) = (numbers.collect::<Vec<_>>(), Act::new("benchmark", None, self.clock.now()));
        let running = LocalSet::new();
        for part in numbers.chunks(numbers.len().div_ceil(AT_ONCE).max(1)) {
            let (part, act, commands) = (part.to_vec(), act.clone(), self.commands.clone());
            running.spawn_local(async move {
                for number in part {
                    let id = client_id(number).parse().expect("a client id");
                    commands.clients().revoke_tokens(&act, id).await.expect("revoked");
                }
            });
        }
        running.await;
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The access token in the answer to this request.
pub async fn token(connection: &mut Connection, request: &str) -> String {
    let (status, body) = connection.send(request).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    answer["access_token"].as_str().expect("a token").to_owned()
}

/// Creates the resource, the app and the user, and returns the secret of the app.
async fn create_app(commands: &Commands, act: &Act) -> String {
    let (audience, scope): (Audience, Scope) = (AUDIENCE.parse().expect("an audience"), SCOPE.parse().expect("a scope"));
    let permissions: BTreeMap<Audience, Scope> = [(audience.clone(), scope.clone())].into();
    let resource = NewResource {
        audience,
        scope,
        token_lifetime: None,
        algorithm: Algorithm::Es256,
        fixed_claims: CustomClaims::default(),
        claims: [].into(),
    };
    commands.resources().create(act, resource).await.expect("a resource");
    let app = NewClient {
        id: APP.parse().expect("a client id"),
        auth_methods: [].into(),
        grants: [GrantType::ClientCredentials, GrantType::Password, GrantType::RefreshToken].into(),
        permissions: permissions.clone(),
        introspects: [].into(),
        token_lifetime: None,
        fixed_claims: CustomClaims::default(),
        credential_lifetime: None,
    };
    let (_, secret) = commands.clients().create(act, app).await.expect("an app");
    let (username, password) = ("alice".parse().expect("a user name"), Password::parse(PASSWORD).expect("a password"));
    let alice = NewUser { username, password, permissions, attributes: CustomClaims::default() };
    commands.users().create(act, alice).await.expect("a user");
    secret.expose().to_owned()
}

/// The key with which the server makes refresh tokens, from its database.
async fn key_of_refresh_tokens(database: &str, keys: &Path) -> hmac::Key {
    use sqlx::{Connection, SqliteConnection};

    let set = JwkSet::from_bytes(fs::read(keys.join("sealing.key")).expect("the sealing key")).expect("a JWK set");
    let decrypter = Dir.decrypter_from_jwk(set.keys().first().expect("a key")).expect("a key of its kind");
    let mut sql = SqliteConnection::connect(database).await.expect("the database");
    let sealed: String =
        sqlx::query_scalar("SELECT sealed FROM mac_keys WHERE name = 'refresh_token'").fetch_one(&mut sql).await.expect("a row");
    sql.close().await.expect("closed");
    let (key, _) = jwe::deserialize_compact(&sealed, &decrypter).expect("the key of the database");
    hmac::Key::new(hmac::HMAC_SHA256, &key)
}
