use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use sealwright::{
    clock::{Clock, ManualClock, Timestamp},
    server::{Config, Meters, Reload, Server, config::Sources},
};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{Backend, Finished, TestDatabase, process::sealwright_with_input, sealwright};

/// A server in this process with a real port and a real database. The test moves its clock.
pub(crate) struct TestApp {
    pub(crate) database: Arc<TestDatabase>,
    pub(crate) clock: ManualClock,
    /// The names of the server's tasks.
    tasks: Vec<&'static str>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) addr: SocketAddr,
    pub(crate) issuer: String,
    pub(crate) management: SocketAddr,
    pub(crate) reload: Reload,
    pub(crate) http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

/// A client's id and secret.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A complete answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) const PASSWORD: &str = "plum trousers at the gate";
/// The user name and the password of `alice`, as a form.
pub(crate) const SIGN_IN: &str = "username=alice&password=plum+trousers+at+the+gate";

pub(crate) const ORDERS: &str = "https://orders.example";
/// The scopes of `https://orders.example`.
pub(crate) const BOTH: &str = "orders:read orders:write";

impl TestApp {
    pub(crate) async fn start(backend: Backend) -> Self {
        Self::start_with(TestDatabase::create(backend).await, &[]).await
    }

    pub(crate) async fn start_with(database: impl Into<Arc<TestDatabase>>, settings: &[(&str, &str)]) -> Self {
        Self::start_at(database.into(), settings, sealwright::clock::SystemClock.now()).await
    }

    /// Another server on the same database, with its own clock.
    pub(crate) async fn second_node(&self) -> Self {
        self.second_node_with(&[]).await
    }

    pub(crate) async fn second_node_with(&self, settings: &[(&str, &str)]) -> Self {
        Self::start_at(Arc::clone(&self.database), settings, self.now()).await
    }

    /// Another server on the same database, whose clock is behind.
    pub(crate) async fn second_node_behind(&self, by: Duration) -> Self {
        Self::start_at(Arc::clone(&self.database), &[], self.now() - by).await
    }

    /// Why another server on the same database, whose clock is behind, does not start.
    pub(crate) async fn second_node_refused(&self, behind: Duration) -> String {
        self.start_behind(behind).await.unwrap_err().to_string()
    }

    /// Starts another server on the same database, whose clock is behind, and stops it. Time passes for both until it has started or failed.
    pub(crate) async fn start_behind(&self, behind: Duration) -> Result<(), sealwright::server::Error> {
        let clock = ManualClock::at(self.now() - behind);
        let build = Server::build(Self::config(&self.database, &[]), Arc::new(clock.clone()));
        tokio::pin!(build);
        loop {
            tokio::select! {
                built = &mut build => return built.map(drop),
                () = wait_until(|| clock.sleepers().contains(&"start")) => {}
            }
            clock.advance(Duration::from_secs(1));
            self.pass(Duration::from_secs(1)).await;
        }
    }

    fn config(database: &TestDatabase, settings: &[(&str, &str)]) -> Config {
        let mut flags = vec![
            ("listen".to_owned(), "127.0.0.1:0".to_owned()),
            ("management_listen".to_owned(), "127.0.0.1:0".to_owned()),
            ("keys_dir".to_owned(), database.keys_dir().display().to_string()),
        ];
        flags.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        // A flag may not contain a password.
        let environment = vec![("SEALWRIGHT_DATABASE_URL".to_owned(), database.url.clone())];
        Config::load(Sources { flags, environment, ..Sources::default() }).unwrap()
    }

    pub(crate) async fn start_at(database: Arc<TestDatabase>, settings: &[(&str, &str)], now: Timestamp) -> Self {
        let clock = ManualClock::at(now);
        let config = Self::config(&database, settings);
        let server = Server::build(config, Arc::new(clock.clone())).await.unwrap();
        let (addr, issuer, meters) = (server.local_addr(), server.issuer().to_string(), server.meters());
        let (management, reload, tasks) = (server.management_addr().unwrap(), server.reload(), server.tasks().collect());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run_until(async move { drop(stopped.await) }));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { database, clock, tasks, meters, addr, issuer, management, reload, http, stop: Some(stop), running: Some(running) }
    }

    /// A server with the app `shop`, by which `alice` signs in.
    pub(crate) async fn for_users(backend: Backend) -> (Self, Credential) {
        let app = Self::start(backend).await.with_orders();
        let client = app.app_for_users("shop");
        app.user("alice");
        (app, client)
    }

    /// The same, with the URL of a relay as its issuer.
    pub(crate) async fn behind(backend: Backend, relay: &super::Relay) -> (Self, Credential) {
        let app = Self::start_with(TestDatabase::create(backend).await, &[("issuer", &relay.url)]).await.with_orders();
        relay.leads_to(app.addr);
        let client = app.app_for_users("shop");
        app.user("alice");
        (app, client)
    }

    /// Stops the server and returns its database.
    pub(crate) async fn stop(mut self) -> Arc<TestDatabase> {
        drop(self.stop.take());
        self.running.take().unwrap().await.unwrap();
        self.database
    }

    /// Stops the server and starts another one on its database, at the same time of the clock.
    pub(crate) async fn restart(self) -> Self {
        let now = self.now();
        Self::start_at(self.stop().await, &[], now).await
    }

    /// Runs the real binary against the server's database.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        sealwright(&self.database, arguments)
    }

    /// Runs a command that must succeed, and parses the JSON that it prints.
    pub(crate) fn run_json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).json()
    }

    /// The resource `https://orders.example` with two scopes.
    pub(crate) fn with_orders(self) -> Self {
        self.database.orders(BOTH);
        self
    }

    /// A client that may have both scopes of `https://orders.example` by client credentials.
    pub(crate) fn client(&self, id: &str) -> Credential {
        self.database.client(id, &["client_credentials"], BOTH)
    }

    /// A client that the command line creates, with these arguments.
    pub(crate) fn client_with(&self, id: &str, arguments: &[&str]) -> Credential {
        let created = self.run_json(&[&["client", "create", id], arguments].concat());
        Credential { id: id.to_owned(), secret: created["secret"]["value"].as_str().unwrap().to_owned() }
    }

    /// A client with all grants that may have both scopes of `https://orders.example`.
    pub(crate) fn app_for_users(&self, id: &str) -> Credential {
        self.database.app_for_users(id, BOTH)
    }

    /// A user who may have both scopes of `https://orders.example`, with the password [`PASSWORD`].
    pub(crate) fn user(&self, name: &str) {
        self.database.user(name, PASSWORD, BOTH);
    }

    /// Creates a user on the command line, with these arguments.
    pub(crate) fn user_with(&self, name: &str, password: &str, arguments: &[&str]) -> Finished {
        let create = [&["user", "create", "--password-stdin", "--json"], arguments, &["--", name]].concat();
        sealwright_with_input(&self.database, &create, password)
    }

    pub(crate) fn set_password(&self, name: &str, password: &str) -> Finished {
        sealwright_with_input(&self.database, &["user", "set-password", name, "--password-stdin"], password)
    }

    /// The password grant for `alice` by `client`.
    pub(crate) async fn sign_in(&self, client: &Credential) -> Answer {
        self.token(client, &format!("grant_type=password&{SIGN_IN}")).await
    }

    /// The refresh grant.
    pub(crate) async fn refresh(&self, client: &Credential, refresh_token: &str) -> Answer {
        self.token(client, &format!("grant_type=refresh_token&refresh_token={refresh_token}")).await
    }

    /// `POST /oauth/revoke` with this body.
    pub(crate) async fn revoke(&self, client: &Credential, body: &str) -> Answer {
        Answer::to(self.form("/oauth/revoke", body).basic_auth(&client.id, Some(&client.secret))).await
    }

    /// `POST /oauth/introspect` with this body.
    pub(crate) async fn introspect(&self, client: &Credential, body: &str) -> Answer {
        Answer::to(self.form("/oauth/introspect", body).basic_auth(&client.id, Some(&client.secret))).await
    }

    /// Whether a token is active, as `api` learns it. An inactive one is answered exactly so.
    pub(crate) async fn is_active(&self, api: &Credential, token: &str) -> bool {
        let answer = self.introspect(api, &format!("token={token}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let active = answer.json()["active"] == true;
        assert!(active || answer.body == r#"{"active":false}"#, "{answer:?}");
        active
    }

    /// An API that introspects the tokens of `https://orders.example`. All clients there are older than the tokens that come.
    pub(crate) async fn api(&self, id: &str) -> Credential {
        let api = self.database.api(id);
        // Commands have the time of this machine, and the server that of its own clock.
        self.pass(Duration::from_secs(60)).await;
        api
    }

    /// Lets time pass and waits until the server's tasks have done what was due.
    pub(crate) async fn pass(&self, time: Duration) {
        self.tasks_sleep().await;
        self.clock.advance(time);
        self.tasks_sleep().await;
    }

    /// Waits until all tasks of the server sleep.
    async fn tasks_sleep(&self) {
        wait_until(|| {
            let sleepers = self.clock.sleepers();
            self.tasks.iter().all(|task| sleepers.contains(task))
        })
        .await;
    }

    /// Advances the clock by half a second and waits until the server has noticed all changes.
    pub(crate) async fn settle(&self) {
        self.pass(Duration::from_millis(500)).await;
    }

    /// Advances the clock until the server issues no more tokens without its database.
    pub(crate) async fn stops_issuing(&self, client: &Credential) {
        for _ in 0..3000 {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(10)).await;
            if self.plain_token(client).await.status == 503 {
                return;
            }
        }
        panic!("it still issues tokens");
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    /// The metrics.
    pub(crate) async fn metrics(&self) -> String {
        let answer = self.http.get(format!("http://{}/metrics", self.management)).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
        answer.text().await.unwrap()
    }

    /// `POST /oauth/token` with this body, as a form.
    pub(crate) fn token_request(&self, body: &str) -> RequestBuilder {
        self.form("/oauth/token", body)
    }

    pub(crate) fn form(&self, path: &str, body: &str) -> RequestBuilder {
        self.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded").body(body.to_owned())
    }

    /// The same with the client's credentials in the header.
    pub(crate) async fn token(&self, client: &Credential, body: &str) -> Answer {
        Answer::to(self.token_request(body).basic_auth(&client.id, Some(&client.secret))).await
    }

    /// A token by client credentials without further parameters.
    pub(crate) async fn plain_token(&self, client: &Credential) -> Answer {
        self.token(client, "grant_type=client_credentials").await
    }
}

impl Answer {
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        let (http, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let response = http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Self { status, headers, body: response.text().await.unwrap() };
        super::described::hold(&method, &path, &answer);
        answer
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Requires this status, the JSON of RFC 6749 with this error code, and `no-store`.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.json()["error"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.never_stored()
    }

    #[track_caller]
    pub(crate) fn never_stored(&self) -> &Self {
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(self.header("pragma"), Some("no-cache"), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn granted(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Its access token.
    #[track_caller]
    pub(crate) fn access_token(&self) -> String {
        self.granted()["access_token"].as_str().unwrap().to_owned()
    }

    /// Its refresh token.
    #[track_caller]
    pub(crate) fn refresh_token(&self) -> String {
        self.granted()["refresh_token"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    /// The claims of its access token, unverified.
    #[track_caller]
    pub(crate) fn claims(&self) -> Value {
        claims_of(self.granted()["access_token"].as_str().unwrap())
    }
}

/// The payload of a token, unverified.
pub(crate) fn claims_of(token: &str) -> Value {
    part_of(token, 1)
}

/// The header of a token, unverified.
pub(crate) fn header_of(token: &str) -> Value {
    part_of(token, 0)
}

fn part_of(token: &str, index: usize) -> Value {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

/// Waits for a condition. Only that it occurs is tested, not how soon.
pub(crate) async fn wait_until(happened: impl Fn() -> bool) {
    for _ in 0..3000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 30 s");
}
