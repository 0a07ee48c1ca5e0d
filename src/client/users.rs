//! The users of a web application: each signs in once, and the application goes on for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    Client, Error, Secret, Tokens,
    exchange::{Exchange, Grant},
    request::Origins,
    token_source::TokenSource,
};
use crate::clock::SharedClock;

/// Signs users in, and goes on with their logins. Made by [`Builder::users`](super::Builder::users); its clones share everything.
///
/// A web application keeps each user's [`Tokens`] in a session on its own side. For a request it [resumes](Self::resume) the login, calls
/// the API, and stores the tokens if they have changed. Nothing is renewed behind its back: a login that nobody uses comes to its end.
///
/// ```no_run
/// use sealwright::client::{Credentials, Error, Secret, Tokens};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let users = Credentials::client("shop", Secret::file("/run/secrets/shop"))
///     .issuer("https://auth.example")
///     .resource("https://orders.example")
///     .attach_to(["https://orders.example"])
///     .users()?;
///
/// // When the form comes in.
/// let mut tokens: Tokens = users.sign_in("alice", Secret::value("what the user typed")).await?;
///
/// // With each request of the session.
/// let user = users.resume(&tokens);
/// let orders = user.get("https://orders.example/orders").send().await?;
/// if let Some(newer) = user.tokens().filter(|newer| *newer != tokens) {
///     tokens = newer;
/// }
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

/// The logins that somebody is just going on with, by the SHA-256 of their refresh token: two requests of one session share one, so that no refresh
/// token is used twice at once.
#[derive(Default)]
struct UnderWay {
    logins: HashMap<[u8; 32], Weak<TokenSource>>,
    /// How many there may be before those that are over are swept away.
    sweep_at: usize,
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
    /// # Errors
    ///
    /// [`Error::WrongPassword`] when the user is to be asked again; what else went wrong otherwise.
    pub async fn sign_in(&self, username: impl Into<String>, password: Secret) -> Result<Tokens, Error> {
        let grant = Grant::Password { username: username.into(), password };
        let source = TokenSource::new(Exchange { grant, ..self.0.exchange.clone() }, Arc::clone(&self.0.clock));
        source.token().await?;
        source.tokens().ok_or(Error::LoginEnded)
    }

    /// Goes on with a login. Asks nobody: whether it still lives shows when it is used, by [`Error::LoginEnded`].
    #[must_use]
    pub fn resume(&self, tokens: &Tokens) -> Client {
        let resumed = || {
            let exchange = Exchange { grant: Grant::Login, ..self.0.exchange.clone() };
            Arc::new(TokenSource::resume(exchange, tokens, Arc::clone(&self.0.clock)))
        };
        let login = match tokens.refresh_token() {
            Some(refresh) => self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).share(refresh, resumed),
            None => resumed(),
        };
        Client::of_login(login, self.0.http.clone(), Arc::clone(&self.0.origins))
    }
}

impl UnderWay {
    fn share(&mut self, refresh: &str, resume: impl FnOnce() -> Arc<TokenSource>) -> Arc<TokenSource> {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, refresh.as_bytes()).as_ref());
        if let Some(login) = self.logins.get(&key).and_then(Weak::upgrade) {
            return login;
        }
        if self.logins.len() >= self.sweep_at {
            self.logins.retain(|_, login| login.strong_count() > 0);
            self.sweep_at = (self.logins.len() * 2).max(64);
        }
        let login = resume();
        self.logins.insert(key, Arc::downgrade(&login));
        login
    }
}
