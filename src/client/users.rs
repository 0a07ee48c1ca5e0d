//! The users of a web application: each signs in once, and the application continues the login.

use std::{net::IpAddr, sync::Arc};

use super::{
    Error, Secret, Session, Tokens,
    active_logins::ActiveLogins,
    exchange::{Exchange, Grant},
    origins::Origins,
    request::Sender,
    token_source::TokenSource,
};
use crate::clock::SharedClock;

/// Signs users in and continues their logins. Made by [`Builder::users`](super::Builder::users); its clones share everything.
///
/// A web application stores each user's [`Tokens`] in a session on the server side. For a request, it [resumes](Self::resume) the login,
/// [renews](Session::renewed) its tokens if they are due, stores them if they have changed, and calls the API. Nothing is renewed in the
/// background, so an unused login expires. Store renewed tokens before anything else can fail: a used refresh token that comes back after more
/// than 30 s counts as stolen. If the framework drops a handler when its caller disconnects, as axum does, renew and store in a task;
/// `examples/web_login` shows how.
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
/// // For each request of the session.
/// let session = users.resume(&tokens);
/// tokens = session.renewed().await?;                   // store them now, if they have changed
/// let orders = session.get("https://orders.example/orders").send().await;
/// tokens = session.tokens().unwrap_or(tokens);         // and again: they are replaced when an API refuses the token
/// let orders = orders?;
///
/// // When the user signs out.
/// session.sign_out().await?;
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
    logins: ActiveLogins,
}

impl Users {
    pub(super) fn new(exchange: Exchange, http: reqwest::Client, origins: Origins, clock: SharedClock) -> Self {
        Self(Arc::new(Shared { exchange, http, origins, clock, logins: ActiveLogins::default() }))
    }

    /// Signs a user in by name and password (RFC 6749 section 4.3), and does not keep the password.
    ///
    /// An application with a public sign-in form should use [`sign_in_from`](Self::sign_in_from) instead.
    ///
    /// # Errors
    ///
    /// [`Error::WrongPassword`] if the user should be asked again; otherwise what else went wrong.
    pub async fn sign_in(&self, username: impl Into<String>, password: Secret) -> Result<Tokens, Error> {
        self.begin(Grant::Password { username: username.into(), password, address: None }).await
    }

    /// Signs a user in, and passes the user's address to the issuer. The issuer limits failed attempts by that address, so that an
    /// attacker cannot lock a user out at an address from which the user has signed in before.
    ///
    /// The issuer trusts this address, and uses it only for limits and its log. Pass the peer address of the connection, or what
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

    /// Continues a login. Does no I/O: whether the login has ended shows on its first use, as [`Error::LoginEnded`].
    #[must_use]
    pub fn resume(&self, tokens: &Tokens) -> Session {
        let shared = &*self.0;
        let resumed = || {
            let exchange = Exchange { grant: Grant::Login, ..shared.exchange.clone() };
            TokenSource::resume(exchange, tokens, Arc::clone(&shared.clock))
        };
        let source = match tokens.refresh_token() {
            Some(refresh) => shared.logins.share(refresh, shared.clock.now(), resumed),
            None => resumed(),
        };
        let sender = Sender { source, http: shared.http.clone(), origins: shared.origins.clone() };
        Session::new(sender, shared.logins.clone(), Arc::clone(&shared.clock))
    }
}
