//! Builds clients from an app's credentials and settings.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::ClientBuilder;

use super::{
    BuildError, Client, Proof, Secret, TokenSource, Users,
    connection::{Configure, Connection},
    exchange::{Exchange, Grant},
    origins::{Origin, Origins},
    request::{self, Sender},
};
use crate::{
    clock::{SharedClock, SystemClock},
    kept::Prefetch,
    outbound::error_chain,
    protocol::{Audience, Issuer, ScopeToken},
};

/// The credentials that an app presents to the issuer. Every client begins here.
#[derive(Debug)]
pub struct Credentials(());

impl Credentials {
    /// A trusted app that acts for itself (RFC 6749 section 4.4). It proves its identity by a [`Secret`] or by a [`PrivateKey`](super::PrivateKey).
    pub fn client(client_id: impl Into<String>, proof: impl Into<Proof>) -> Builder {
        Builder::new(client_id.into(), proof.into(), Grant::ClientCredentials)
    }

    /// A trusted app that acts for one user whose password it holds (RFC 6749 section 4.3). It refreshes the login, and signs in again when
    /// the login has ended. For users who type their password, see [`Builder::users`].
    pub fn password(client_id: impl Into<String>, proof: impl Into<Proof>, username: impl Into<String>, password: Secret) -> Builder {
        Builder::new(client_id.into(), proof.into(), Grant::Password { username: username.into(), password, address: None })
    }
}

/// The settings of a client. Made by [`Credentials`].
///
/// | setting | default | range |
/// |---|---|---|
/// | [`issuer`](Self::issuer) | required | |
/// | [`attach_to`](Self::attach_to) | required by [`build`](Self::build) | |
/// | [`scopes`](Self::scopes) | all that the client may have there | |
/// | [`resource`](Self::resource) | the only one at which the client has the scopes | |
/// | [`fetch_timeout`](Self::fetch_timeout) | 10 s | 1 to 60 s |
///
/// Fixed: connecting to the issuer takes at most 2 s, its answers have at most 256 KiB, and its redirects are not followed.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    client_id: String,
    proof: Proof,
    grant: Grant,
    issuer: Option<String>,
    scopes: Vec<String>,
    resource: Option<String>,
    attach_to: Vec<String>,
    fetch_timeout: Duration,
    http: Configure,
    clock: SharedClock,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("client_id", &self.client_id)
            .field("proof", &self.proof)
            .field("grant", &self.grant)
            .field("issuer", &self.issuer)
            .field("scopes", &self.scopes)
            .field("resource", &self.resource)
            .field("attach_to", &self.attach_to)
            .finish_non_exhaustive()
    }
}

impl Builder {
    fn new(client_id: String, proof: Proof, grant: Grant) -> Self {
        Self {
            client_id,
            proof,
            grant,
            issuer: None,
            scopes: Vec::new(),
            resource: None,
            attach_to: Vec::new(),
            fetch_timeout: Duration::from_secs(10),
            http: Arc::new(|http| http),
            clock: Arc::new(SystemClock),
        }
    }

    /// The issuer of the tokens: exactly the `issuer` of its metadata, which names the token endpoint (RFC 8414).
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The scope tokens to request. Default: all that the client may have.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// The API for which the token is issued, by its audience (RFC 8707). Default: the only one at which the
    /// client may have the scopes. If there are several, the issuer refuses the request.
    pub fn resource(mut self, audience: impl Into<String>) -> Self {
        self.resource = Some(audience.into());
        self
    }

    /// The origins of the API (scheme, host and port). The token is sent to no other origin.
    pub fn attach_to<S: Into<String>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        self.attach_to = origins.into_iter().map(Into::into).collect();
        self
    }

    /// The time limit for fetching a token: 10 s by default, 1 to 60 s.
    pub const fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.fetch_timeout = timeout;
        self
    }

    /// Further settings of the HTTP clients for the issuer and for the API: time limits (by default there is none for the API), a proxy,
    /// trust roots. Headers that are set here go to both. The redirect policy cannot be changed, and no proxy is used if one of the origins
    /// is `http` on this machine.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use sealwright::client::{Credentials, Secret};
    /// # let builder = Credentials::client("billing", Secret::env("BILLING_SECRET"));
    /// builder.http(|http| http.timeout(Duration::from_secs(20)));
    /// ```
    pub fn http(mut self, configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static) -> Self {
        self.http = Arc::new(configure);
        self
    }

    /// The clock, for tests.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds a client that attaches its token to its requests. Does no I/O, so it works while the issuer is down.
    ///
    /// # Errors
    ///
    /// If the settings could not get a token, or could send it to the wrong party. The message says how to fix them.
    pub fn build(self) -> Result<Client, BuildError> {
        let origins = self.origins()?;
        let http = self.http_for(&origins)?;
        Ok(Client::new(Sender { source: self.source()?, http, origins }))
    }

    /// Builds only a source of tokens, for websockets and other HTTP clients. The caller attaches the tokens, and must not send them to
    /// anyone but the API.
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build), but origins are not required.
    pub fn token_source(self) -> Result<TokenSource, BuildError> {
        // Reports invalid settings of `http` now rather than with the first token.
        self.http_for(&Origins::default())?;
        self.source()
    }

    fn source(self) -> Result<TokenSource, BuildError> {
        let clock = self.shared_clock();
        Ok(TokenSource::new(self.exchange()?, clock))
    }

    pub(super) fn shared_clock(&self) -> SharedClock {
        Arc::clone(&self.clock)
    }

    /// Builds [`Users`], which signs the users of a web application in and continues their logins.
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build).
    pub fn users(self) -> Result<Users, BuildError> {
        let origins = self.origins()?;
        let http = self.http_for(&origins)?;
        let clock = self.shared_clock();
        Ok(Users::new(self.exchange()?, http, origins, clock))
    }

    fn http_for(&self, origins: &Origins) -> Result<reqwest::Client, BuildError> {
        request::http_client(&*self.http, origins).map_err(|error| BuildError::Http(error_chain(&error)))
    }

    fn origins(&self) -> Result<Origins, BuildError> {
        if self.attach_to.is_empty() {
            return Err(BuildError::NoOrigin);
        }
        let shown = |text: &str| if text.contains('@') { "(a text with a user name)".to_owned() } else { text.to_owned() };
        let parse = |text: &String| Origin::parse(text).ok_or_else(|| BuildError::Origin(shown(text)));
        Ok(Origins::new(self.attach_to.iter().map(parse).collect::<Result<_, _>>()?))
    }

    pub(super) fn exchange(self) -> Result<Exchange, BuildError> {
        let issuer: Issuer = self.issuer.ok_or(BuildError::NoIssuer)?.parse().map_err(BuildError::Issuer)?;
        if !(1..=255).contains(&self.client_id.len()) || self.client_id.chars().any(char::is_control) {
            return Err(BuildError::ClientId);
        }
        let scopes: Vec<ScopeToken> = self.scopes.iter().map(|scope| scope.parse()).collect::<Result<_, _>>().map_err(BuildError::Scope)?;
        let resource: Option<Audience> = self.resource.map(|resource| resource.parse()).transpose().map_err(BuildError::Resource)?;
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&self.fetch_timeout) {
            return Err(BuildError::FetchTimeout(self.fetch_timeout.as_millis()));
        }
        Ok(Exchange {
            connection: Arc::new(Connection::new(issuer, self.http)),
            client_id: self.client_id,
            proof: self.proof,
            grant: self.grant,
            scopes: scopes.into(),
            resource,
            timeout: self.fetch_timeout,
            prefetch: Prefetch::WhenUsed,
        })
    }
}
