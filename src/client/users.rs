//! The users of a web application: each signs in once, and the application goes on for them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    Client, Error, Secret, Tokens,
    exchange::{Exchange, Grant},
    request::Origins,
    token_source::TokenSource,
};
use crate::clock::{SharedClock, Timestamp};

/// How long a login stays at hand after its last request.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Signs users in, and goes on with their logins. Made by [`Builder::users`](super::Builder::users); its clones share everything.
///
/// A web application keeps each user's [`Tokens`] in a session on its own side. For a request it [resumes](Self::resume) the login,
/// has its tokens [renewed](Client::renewed) if it is time, stores them if they have changed, and calls the API. Nothing is renewed behind
/// its back: a login that nobody uses comes to its end. What was renewed is to be stored in any case, before anything else can fail: a
/// refresh token that is used up and comes back later than 30 s counts as stolen. Where a handler is dropped when its caller goes away,
/// as axum's are, do both in a task; `examples/web_login` shows it.
///
/// ```no_run
/// use sealwright::client::{Credentials, Error, Secret, Tokens};
///
/// # async fn example(address: std::net::IpAddr) -> Result<(), Box<dyn std::error::Error>> {
/// let users = Credentials::client("shop", Secret::file("/run/secrets/shop"))
///     .issuer("https://auth.example")
///     .resource("https://orders.example")
///     .attach_to(["https://orders.example"])
///     .users()?;
///
/// // When the form arrives, from this address.
/// let mut tokens: Tokens = users.sign_in_from(address, "alice", Secret::value("what the user typed")).await?;
///
/// // With each request of the session.
/// let user = users.resume(&tokens);
/// tokens = user.renewed().await?;                      // store them now, if they have changed
/// let orders = user.get("https://orders.example/orders").send().await;
/// tokens = user.tokens().unwrap_or(tokens);            // and once more: an API that refused the token had it replaced
/// let orders = orders?;
///
/// // When the user goes.
/// user.sign_out().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Users(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    exchange: Exchange,
    http: reqwest::Client,
    origins: Origins,
    clock: SharedClock,
    under_way: Mutex<UnderWay>,
}

/// The logins that are just being gone on with, by the SHA-256 of their refresh tokens, the one that they began with and those that came
/// after: requests of one session share one, so that no refresh token is used twice at once. They stay for a while after the last
/// request, so that the next one finds what came in when the last had gone, and does not ask an issuer that has just said no.
#[derive(Default)]
struct UnderWay {
    logins: HashMap<[u8; 32], (TokenSource, Timestamp)>,
    /// When those that nobody came for are swept away next, and how many there may be before that.
    sweep_at: Option<Timestamp>,
    sweep_from: usize,
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} logins", self.logins.len())
    }
}

impl Users {
    pub(super) fn new(exchange: Exchange, http: reqwest::Client, origins: Origins, clock: SharedClock) -> Self {
        Self(Arc::new(Shared { exchange, http, origins, clock, under_way: Mutex::default() }))
    }

    /// Signs a user in by name and password (RFC 6749 section 4.3), and forgets the password.
    ///
    /// An application with a public sign-in form should use [`sign_in_from`](Self::sign_in_from) instead.
    ///
    /// # Errors
    ///
    /// [`Error::WrongPassword`] when the user is to be asked again; what else went wrong otherwise.
    pub async fn sign_in(&self, username: impl Into<String>, password: Secret) -> Result<Tokens, Error> {
        self.begin(Grant::Password { username: username.into(), password, address: None }).await
    }

    /// Signs a user in, and passes the user's address to the issuer. The issuer limits failed attempts by that address, so that an
    /// attacker cannot lock a user out at an address from which the user has signed in before.
    ///
    /// The issuer trusts this address, and uses it for limits and its log alone. Pass the peer address of the connection, or what
    /// your own proxy reports. Never pass a header that a visitor can set (`X-Forwarded-For` without a proxy of your own): an attacker
    /// could then choose a new address for each attempt.
    ///
    /// # Errors
    ///
    /// As [`sign_in`](Self::sign_in).
    pub async fn sign_in_from(&self, address: IpAddr, username: impl Into<String>, password: Secret) -> Result<Tokens, Error> {
        self.begin(Grant::Password { username: username.into(), password, address: Some(address) }).await
    }

    async fn begin(&self, grant: Grant) -> Result<Tokens, Error> {
        let source = TokenSource::new(Exchange { grant, ..self.0.exchange.clone() }, Arc::clone(&self.0.clock));
        source.token().await?;
        source.tokens().ok_or(Error::LoginEnded)
    }

    /// Goes on with a login. Asks nobody: whether it still lives shows when it is used, by [`Error::LoginEnded`].
    #[must_use]
    pub fn resume(&self, tokens: &Tokens) -> Client {
        let resumed = || {
            let exchange = Exchange { grant: Grant::Login, ..self.0.exchange.clone() };
            TokenSource::resume(exchange, tokens, Arc::clone(&self.0.clock))
        };
        let login = match tokens.refresh_token() {
            Some(refresh) => self.under_way().share(refresh, self.0.clock.now(), resumed),
            None => resumed(),
        };
        Client { users: Some(self.clone()), ..Client::new(login, self.0.http.clone(), Arc::clone(&self.0.origins)) }
    }

    /// These tokens are told to the application, which may come back with them.
    pub(super) fn know(&self, login: &TokenSource, tokens: &Tokens) {
        if let Some(refresh) = tokens.refresh_token() {
            self.under_way().share(refresh, self.0.clock.now(), || login.clone());
        }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    fn share(&mut self, refresh: &str, now: Timestamp, begin: impl FnOnce() -> TokenSource) -> TokenSource {
        if self.sweep_at.is_none_or(|at| now >= at) || self.logins.len() >= self.sweep_from {
            self.logins.retain(|_, (login, used_at)| {
                let stays = now < *used_at + KEPT_FOR || login.is_held_by_others();
                if !stays {
                    login.unregister();
                }
                stays
            });
            self.sweep_at = Some(now + KEPT_FOR);
            self.sweep_from = (self.logins.len() * 2).max(1024);
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, refresh.as_bytes()).as_ref());
        let (login, used_at) = self.logins.entry(key).or_insert_with(|| (begin().registered(), now));
        *used_at = now;
        login.clone()
    }
}
