//! Exchanges credentials for tokens, and gives logins up.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use oauth2::{
    AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, RefreshToken, RequestTokenError, ResourceOwnerPassword,
    ResourceOwnerUsername, TokenResponse, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicTokenResponse},
};
use reqwest::StatusCode;
use serde::Deserialize;
use tracing::{Span, field::Empty};
use zeroize::Zeroizing;

use super::{
    Error, Secret,
    connection::{Connection, NoAnswer},
    token_source::{Issued, margin},
};
use crate::{
    clock::Timestamp,
    kept::{self, Ahead, Fetched, Manners, Outcome},
    outbound::{self, Failure},
    protocol::{Audience, ScopeToken},
};

/// How long a token is used whose issuer does not say (RFC 6749 section 5.1 only recommends it).
const USUAL_LIFETIME: Duration = Duration::from_secs(300);
/// How long the issuer is left alone once it has said no: a secret may be rotating, a right may be about to be given.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// What stops being asked for by itself: nobody can mend it but by building anew.
const LONGEST_QUIET: Duration = Duration::from_secs(3600);

/// What an app shows the issuer, and what it wants for it.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) connection: Arc<Connection>,
    pub(super) client_id: String,
    pub(super) secret: Secret,
    pub(super) grant: Grant,
    pub(super) scopes: Arc<[ScopeToken]>,
    pub(super) resource: Option<Audience>,
    pub(super) timeout: Duration,
}

#[derive(Debug, Clone)]
pub(super) enum Grant {
    ClientCredentials,
    Password {
        username: String,
        password: Secret,
        /// The address of the user, if the app passes it.
        address: Option<IpAddr>,
    },
    /// A login that somebody else began: it can only be gone on with.
    Login,
}

impl Exchange {
    /// Whether a user is behind it who can go.
    pub(super) const fn goes_on_with_a_login(&self) -> bool {
        matches!(self.grant, Grant::Login)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, client_id, secret, grant, .. } = self;
        f.debug_struct("Exchange")
            .field("issuer", &connection.issuer)
            .field("client_id", client_id)
            .field("secret", secret)
            .field("grant", grant)
            .finish_non_exhaustive()
    }
}

type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;
type Answer = Result<BasicTokenResponse, RequestTokenError<NoAnswer, BasicErrorResponse>>;

impl Exchange {
    async fn client(&self, now: Timestamp) -> Result<Client, kept::Failure<Error>> {
        let secret = self.read(&self.secret).await?;
        let endpoints = self.connection.endpoints(now).await.map_err(no_answer)?;
        Ok(BasicClient::new(ClientId::new(self.client_id.clone()))
            .set_client_secret(ClientSecret::new(secret.to_string()))
            // In the header, as RFC 6749 section 2.3.1 prefers it.
            .set_auth_type(AuthType::BasicAuth)
            .set_token_uri(TokenUrl::from_url(endpoints.token)))
    }

    async fn read(&self, secret: &Secret) -> Result<Zeroizing<String>, kept::Failure<Error>> {
        // Whoever puts it there may be about to: it is looked for soon again.
        secret.read().await.map_err(|why| kept::Failure { why: Error::Secret(why), outcome: Outcome::Unreachable })
    }

    /// A token for what the app holds, beginning a login if it is for a user.
    async fn begin(&self, client: &Client) -> Result<Answer, kept::Failure<Error>> {
        let scopes = || self.scopes.iter().map(|scope| oauth2::Scope::new(scope.to_string()));
        Ok(match &self.grant {
            Grant::ClientCredentials => {
                let mut request = client.exchange_client_credentials().add_scopes(scopes());
                if let Some(resource) = &self.resource {
                    request = request.add_extra_param("resource", resource.as_str());
                }
                request.request_async(&*self.connection).await
            }
            Grant::Password { username, password, address } => {
                let username = ResourceOwnerUsername::new(username.clone());
                let password = ResourceOwnerPassword::new(self.read(password).await?.to_string());
                let mut request = client.exchange_password(&username, &password).add_scopes(scopes());
                if let Some(address) = address {
                    request = request.add_extra_param("user_address", address.to_string());
                }
                if let Some(resource) = &self.resource {
                    request = request.add_extra_param("resource", resource.as_str());
                }
                request.request_async(&*self.connection).await
            }
            Grant::Login => return Err(kept::Failure { why: Error::LoginEnded, outcome: Outcome::Useless(LONGEST_QUIET) }),
        })
    }

    fn begins_anew(&self, refusal: &str) -> bool {
        match self.grant {
            // It says itself that the login has ended.
            Grant::Login => refusal == "invalid_grant",
            Grant::ClientCredentials | Grant::Password { .. } => refusal != "invalid_client",
        }
    }

    async fn exchange(&self, held: Option<&Issued>, now: Timestamp) -> Result<Issued, kept::Failure<Error>> {
        let client = self.client(now).await?;
        if let Some(refresh) = held.and_then(Issued::refresh_token) {
            let token = RefreshToken::new(refresh.to_owned());
            match client.exchange_refresh_token(&token).request_async(&*self.connection).await {
                // The login has ended, or may not be gone on with; whoever has what it takes begins another.
                Err(RequestTokenError::ServerResponse(error)) if self.begins_anew(error.error().as_ref()) => {}
                answer => return judge(answer, &self.grant, held, now),
            }
        }
        // RFC 6749 section 5.1: what is not said is what was asked for.
        let asked = self.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let issued = judge(self.begin(&client).await?, &self.grant, None, now)?;
        Ok(issued.or_scope(asked))
    }

    /// Ends the login of a refresh token (RFC 7009). By hand, since the `oauth2` crate does it over https alone, and an issuer on this
    /// machine may have none.
    pub(super) async fn revoke(&self, refresh: &str, now: Timestamp) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
            error_description: Option<String>,
        }
        let secret = self.read(&self.secret).await.map_err(|failure| failure.why)?;
        let failed = |failure| no_answer(failure).why;
        let endpoint = self.connection.endpoints(now).await.map_err(failed)?.revocation;
        let url = endpoint.ok_or_else(|| Error::NotAnIssuer("its metadata name no revocation_endpoint".to_owned()))?;
        // RFC 6749 section 2.3.1: both are encoded as in a form before they become Basic.
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let request = self.connection.http().await.map_err(failed)?.post(url.clone());
        let request = request.basic_auth(encoded(&self.client_id), Some(encoded(&secret)));
        let request = request.form(&[("token", refresh), ("token_type_hint", "refresh_token")]);
        let asked = async {
            let response = request.send().await?;
            match response.status() {
                StatusCode::OK => Ok(None),
                StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => outbound::read(&url, response).await.map(Some),
                _ => Err(outbound::no(&url, &response)),
            }
        };
        let Some(body) = asked.await.map_err(failed)? else { return Ok(()) };
        let refused: Refusal = serde_json::from_slice(&body)
            .map_err(|_| Error::NotAnIssuer("the revocation endpoint's answer is none of RFC 7009 section 2.2".to_owned()))?;
        Err(refusal(&refused.error, refused.error_description.as_ref(), &Grant::ClientCredentials))
    }
}

/// What an answer of the token endpoint comes to.
fn judge(answer: Answer, grant: &Grant, before: Option<&Issued>, now: Timestamp) -> Result<Issued, kept::Failure<Error>> {
    let unlawful = |why: &str| {
        let why = Error::NotAnIssuer(format!("the token endpoint's answer {why}"));
        kept::Failure { why, outcome: Outcome::Useless(Duration::from_secs(10)) }
    };
    match answer {
        Ok(answer) => {
            if !matches!(answer.token_type(), oauth2::basic::BasicTokenType::Bearer) {
                return Err(unlawful("brings no token of the type Bearer"));
            }
            let lifetime = answer.expires_in().unwrap_or(USUAL_LIFETIME);
            let scope = answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
            // RFC 6749 section 6: what is not said is as it was before.
            let scope = scope.or_else(|| before?.scope().map(str::to_owned));
            let refresh = answer.refresh_token().map(|token| token.secret().as_str()).or_else(|| before?.refresh_token());
            Issued::new(answer.access_token().secret(), refresh, scope, now + lifetime)
                .filter(|_| !lifetime.is_zero())
                .ok_or_else(|| unlawful("brings a token that cannot be used: it is empty, too long, over, or holds what no header may"))
        }
        Err(RequestTokenError::Request(NoAnswer(failure))) => Err(no_answer(failure)),
        Err(RequestTokenError::ServerResponse(error)) => {
            let why = refusal(error.error().as_ref(), error.error_description(), grant);
            Err(kept::Failure { why, outcome: Outcome::Useless(AFTER_REFUSAL) })
        }
        // Neither says more than that, and the text may hold a token.
        Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => Err(unlawful("is none of RFC 6749 section 5")),
    }
}

/// What a refusal means, by its code (RFC 6749 section 5.2).
fn refusal(code: &str, description: Option<&String>, grant: &Grant) -> Error {
    let bounded = |text: &str| text.chars().filter(|c| !c.is_control()).take(255).collect();
    match (code, grant) {
        ("invalid_client", _) => Error::WrongSecret,
        ("invalid_grant", Grant::Password { .. }) => Error::WrongPassword,
        ("invalid_grant", Grant::Login) => Error::LoginEnded,
        _ => Error::Refused { code: bounded(code), description: bounded(description.map_or("", String::as_str)) },
    }
}

/// What it means that no answer came that RFC 6749 knows.
fn no_answer(failure: Failure) -> kept::Failure<Error> {
    let (why, outcome) = match failure {
        Failure::Unreachable(why) => (Error::Unreachable { why, retry_after: Duration::ZERO }, Outcome::Unreachable),
        Failure::Status { status: 429, retry_after, .. } => {
            (Error::Limited { retry_after: Duration::ZERO }, Outcome::Useless(retry_after.unwrap_or_default()))
        }
        Failure::Status { status, retry_after, why } if status >= 500 => {
            (Error::Unavailable { why, retry_after: Duration::ZERO }, Outcome::Useless(retry_after.unwrap_or_default()))
        }
        Failure::Status { why, .. } | Failure::Unlawful(why) => (Error::NotAnIssuer(why), Outcome::Useless(Duration::from_secs(10))),
        Failure::OtherIssuer { told, .. } => (Error::OtherIssuer { told }, Outcome::Useless(Duration::from_secs(10))),
    };
    kept::Failure { why, outcome }
}

impl kept::Source for Exchange {
    type Value = Issued;
    type Error = Error;
    type Memory = ();

    const WHAT: &'static str = "a token";

    fn manners(&self) -> Manners {
        Manners {
            cool_down: Duration::from_secs(10),
            shortest_life: Duration::ZERO,
            quiet: (Duration::from_secs(1), LONGEST_QUIET),
            // They are the app's own.
            waiting: usize::MAX,
            patient: true,
            // A login that nobody uses must not be kept alive, and what a web application stores is to be what was used last.
            ahead: if matches!(self.grant, Grant::Login) { Ahead::Never } else { Ahead::WhenUsed },
            counts_from_request: true,
        }
    }

    fn memory(&self) {}

    fn issuer(&self) -> &str {
        self.connection.issuer.as_str()
    }

    fn span(&self) -> Span {
        tracing::info_span!("fetch_token", issuer = %self.connection.issuer, client.id = self.client_id, outcome = Empty)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn came_to_no_end(&self, why: String) -> Error {
        Error::Unreachable { why, retry_after: Duration::ZERO }
    }

    async fn fetch(
        &self,
        (): &mut (),
        _forced: bool,
        held: Option<Arc<Issued>>,
        now: Timestamp,
    ) -> Result<Fetched<Issued>, kept::Failure<Error>> {
        let exchanged = self.exchange(held.as_deref(), now).await;
        // What an issuer says no to, it was there to say.
        if let Err(kept::Failure { why: Error::Unreachable { .. } | Error::NotAnIssuer(_), .. }) = &exchanged {
            self.connection.doubt().await;
        }
        let issued = exchanged?;
        let lifetime = issued.expires_at().since(now);
        Ok(Fetched { value: Arc::new(issued), fresh: lifetime, usable: lifetime - margin(lifetime) })
    }
}
