//! What an app shows the issuer, and what it wants for it.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::ClientBuilder;

use super::{
    BuildError, Client, Secret, TokenSource, Users,
    connection::Connection,
    exchange::{Exchange, Grant},
    request::{self, Origin, Origins},
};
use crate::{
    clock::{SharedClock, SystemClock},
    outbound::all_words,
    protocol::{Audience, Issuer, ScopeToken},
};

/// The beginning of every client: what the app shows the issuer.
#[derive(Debug)]
pub struct Credentials(());

impl Credentials {
    /// A trusted app that asks for itself (RFC 6749 section 4.4).
    pub fn client(client_id: impl Into<String>, secret: Secret) -> Builder {
        Builder::new(client_id.into(), secret, Grant::ClientCredentials)
    }

    /// A trusted app that asks for one user whose password it holds (RFC 6749 section 4.3). It stays signed in by refresh, and signs
    /// in anew when the login has ended. For users who type their password, see [`Builder::users`].
    pub fn password(client_id: impl Into<String>, secret: Secret, username: impl Into<String>, password: Secret) -> Builder {
        Builder::new(client_id.into(), secret, Grant::Password { username: username.into(), password, address: None })
    }
}

/// What a client is to be. Begun by [`Credentials`].
///
/// | | unless set | |
/// |---|---|---|
/// | [`issuer`](Self::issuer) | required | |
/// | [`attach_to`](Self::attach_to) | required by [`build`](Self::build) | |
/// | [`scopes`](Self::scopes) | all that the client has there | |
/// | [`resource`](Self::resource) | the one to which the scopes belong | |
/// | [`fetch_timeout`](Self::fetch_timeout) | 10 s | 1 to 60 s |
///
/// Fixed: a connection to the issuer stands within 2 s, its answer has at most 256 KiB, redirects of it are not followed.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    client_id: String,
    secret: Secret,
    grant: Grant,
    issuer: Option<String>,
    scopes: Vec<String>,
    resource: Option<String>,
    attach_to: Vec<String>,
    fetch_timeout: Duration,
    http: Configure,
    clock: SharedClock,
}

/// What the user wants of both HTTP clients.
pub(super) type Configure = Arc<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>;

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("client_id", &self.client_id)
            .field("secret", &self.secret)
            .field("grant", &self.grant)
            .field("issuer", &self.issuer)
            .field("scopes", &self.scopes)
            .field("resource", &self.resource)
            .field("attach_to", &self.attach_to)
            .finish_non_exhaustive()
    }
}

impl Builder {
    fn new(client_id: String, secret: Secret, grant: Grant) -> Self {
        Self {
            client_id,
            secret,
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

    /// Who issues the tokens: the `issuer` of its metadata, byte by byte, where the token endpoint is then found (RFC 8414).
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The scope tokens to ask for. Without: all that the client has.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// The API that the token is for, by its audience (RFC 8707). Without: the one to which the scopes belong.
    pub fn resource(mut self, audience: impl Into<String>) -> Self {
        self.resource = Some(audience.into());
        self
    }

    /// The origins of the API (scheme, host and port): requests to them carry the token, and no other origin ever sees it.
    pub fn attach_to<S: Into<String>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        self.attach_to = origins.into_iter().map(Into::into).collect();
        self
    }

    /// How long fetching a token may take in all: 10 s unless set, 1 to 60 s.
    pub const fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.fetch_timeout = timeout;
        self
    }

    /// What else the HTTP clients are to be, for the issuer and for the API: time-outs (there is none for the API unless set), a proxy,
    /// trust roots. Headers that are set here go to both. How redirects are followed
    /// cannot be changed, and where one of the origins is `http` on this machine no proxy is used.
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

    /// The clock to go by, for tests.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds a client that attaches its token to its requests. Nothing is fetched: it works while the issuer is down.
    ///
    /// # Errors
    ///
    /// When what was asked for could not get a token, or could give it to the wrong party; the text names the mend.
    pub fn build(self) -> Result<Client, BuildError> {
        let origins = self.origins()?;
        let http = self.http_for(&origins)?;
        Ok(Client::new(self.source()?, http, origins))
    }

    /// Builds a source of tokens alone, for tonic, websockets and other HTTP clients. Whoever attaches them sees to it that nobody
    /// else gets them.
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build); origins are not needed.
    pub fn token_source(self) -> Result<TokenSource, BuildError> {
        // What `http` asks for is tried here, and not only when a token is needed.
        self.http_for(&Origins::default())?;
        self.source()
    }

    fn source(self) -> Result<TokenSource, BuildError> {
        let clock = Arc::clone(&self.clock);
        Ok(TokenSource::new(self.exchange()?, clock))
    }

    /// Builds what signs users in and goes on with their logins, for a web application: see [`Users`].
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build).
    pub fn users(self) -> Result<Users, BuildError> {
        let origins = self.origins()?;
        let http = self.http_for(&origins)?;
        let clock = Arc::clone(&self.clock);
        Ok(Users::new(self.exchange()?, http, origins, clock))
    }

    fn http_for(&self, origins: &Origins) -> Result<reqwest::Client, BuildError> {
        request::http(&*self.http, origins).map_err(|error| BuildError::Http(all_words(&error)))
    }

    fn origins(&self) -> Result<Origins, BuildError> {
        if self.attach_to.is_empty() {
            return Err(BuildError::NoOrigin);
        }
        let shown = |text: &str| if text.contains('@') { "(a text with a user's name in it)".to_owned() } else { text.to_owned() };
        self.attach_to.iter().map(|text| Origin::parse(text).ok_or_else(|| BuildError::Origin(shown(text)))).collect()
    }

    fn exchange(self) -> Result<Exchange, BuildError> {
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
            secret: self.secret,
            grant: self.grant,
            scopes: scopes.into(),
            resource,
            timeout: self.fetch_timeout,
        })
    }
}
