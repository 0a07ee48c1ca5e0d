//! Requests to the token and revocation endpoints.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use oauth2::{
    AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, RefreshToken, RequestTokenError, ResourceOwnerPassword,
    ResourceOwnerUsername, TokenResponse, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicTokenResponse},
};
use reqwest::StatusCode;
use serde::Deserialize;
use tracing::{Span, field::Empty};

use super::{
    Error, Secret,
    connection::{Connection, SendError},
    issued::{IssuedTokens, unused_margin},
    proof::{Presented, Proof},
};
use crate::{
    clock::Timestamp,
    kept::{Fetch, FetchError, Fetched, Outcome, Prefetch, RefreshPolicy},
    outbound::{self, RequestError},
    protocol::{Audience, ScopeToken},
};

/// The lifetime of a token without `expires_in`, which RFC 6749 section 5.1 only recommends.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// The pause after a refusal: a secret may be rotating, or a permission about to be granted.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// The pause after an error that only a new client can fix.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// The credentials that an app presents, and the token that it requests.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) connection: Arc<Connection>,
    pub(super) client_id: String,
    pub(super) proof: Proof,
    pub(super) grant: Grant,
    pub(super) scopes: Arc<[ScopeToken]>,
    pub(super) resource: Option<Audience>,
    pub(super) timeout: Duration,
    /// Whether another token is fetched ahead of the end of this one.
    pub(super) prefetch: Prefetch,
}

#[derive(Debug, Clone)]
pub(super) enum Grant {
    ClientCredentials,
    Password {
        username: String,
        password: Secret,
        /// The address of the user, if the app passes it on.
        address: Option<IpAddr>,
    },
    /// A login that began elsewhere: it can only be continued.
    Login,
}

impl Exchange {
    /// Whether it continues the login of a user, who can sign out.
    pub(super) const fn is_login(&self) -> bool {
        matches!(self.grant, Grant::Login)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, client_id, proof, grant, .. } = self;
        f.debug_struct("Exchange")
            .field("issuer", &connection.issuer)
            .field("client_id", client_id)
            .field("proof", proof)
            .field("grant", grant)
            .finish_non_exhaustive()
    }
}

type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;
type TokenResult = Result<BasicTokenResponse, RequestTokenError<SendError, BasicErrorResponse>>;

impl Exchange {
    async fn client(&self, presented: &Presented, now: Timestamp) -> Result<Client, FetchError<Error>> {
        let endpoints = self.connection.endpoints(now).await.map_err(request_failed)?;
        let client = BasicClient::new(ClientId::new(self.client_id.clone())).set_token_uri(TokenUrl::from_url(endpoints.token));
        Ok(match presented {
            // In the header, as RFC 6749 section 2.3.1 prefers.
            Presented::Secret(secret) => client.set_client_secret(ClientSecret::new(secret.to_string())).set_auth_type(AuthType::BasicAuth),
            Presented::Key(_) => client.set_auth_type(AuthType::RequestBody),
        })
    }

    /// The form parameters by which one request authenticates.
    fn authentication(&self, presented: &Presented, now: Timestamp) -> Result<Vec<(&'static str, String)>, FetchError<Error>> {
        let parameters = presented.parameters(&self.client_id, &self.connection.issuer, now);
        parameters.map_err(|error| FetchError { error, outcome: Outcome::Unusable(AFTER_REFUSAL) })
    }

    /// Requests a token with the app's own grant. For a user, this begins a login.
    async fn begin(&self, client: &Client, presented: &Presented, now: Timestamp) -> Result<TokenResult, FetchError<Error>> {
        let scopes = || self.scopes.iter().map(|scope| oauth2::Scope::new(scope.to_string()));
        let mut parameters = self.authentication(presented, now)?;
        parameters.extend(self.resource.as_ref().map(|resource| ("resource", resource.to_string())));
        Ok(match &self.grant {
            Grant::ClientCredentials => {
                let mut request = client.exchange_client_credentials().add_scopes(scopes());
                for (name, value) in parameters {
                    request = request.add_extra_param(name, value);
                }
                request.request_async(&*self.connection).await
            }
            Grant::Password { username, password, address } => {
                let username = ResourceOwnerUsername::new(username.clone());
                let password = password.read().await.map_err(|reason| unreadable(Error::Secret(reason)))?;
                let password = ResourceOwnerPassword::new(password.to_string());
                parameters.extend(address.map(|address| ("user_address", address.to_string())));
                let mut request = client.exchange_password(&username, &password).add_scopes(scopes());
                for (name, value) in parameters {
                    request = request.add_extra_param(name, value);
                }
                request.request_async(&*self.connection).await
            }
            Grant::Login => return Err(FetchError { error: Error::LoginEnded, outcome: Outcome::Unusable(MAX_PAUSE) }),
        })
    }

    /// Whether a refused refresh token leads to a request with the app's own grant.
    fn can_start_over(&self, code: &str) -> bool {
        match self.grant {
            // The request reports that the login has ended.
            Grant::Login => code == "invalid_grant",
            Grant::ClientCredentials | Grant::Password { .. } => code != "invalid_client",
        }
    }

    async fn exchange(&self, cached: Option<&IssuedTokens>, now: Timestamp) -> Result<IssuedTokens, FetchError<Error>> {
        let presented = self.proof.read().await.map_err(unreadable)?;
        let client = self.client(&presented, now).await?;
        if let Some(refresh) = cached.and_then(IssuedTokens::refresh_token) {
            let token = RefreshToken::new(refresh.to_owned());
            let mut request = client.exchange_refresh_token(&token);
            for (name, value) in self.authentication(&presented, now)? {
                request = request.add_extra_param(name, value);
            }
            match request.request_async(&*self.connection).await {
                // The login has ended. An app that holds the password begins another.
                Err(RequestTokenError::ServerResponse(error)) if self.can_start_over(error.error().as_ref()) => {}
                result => return self.interpret(result, cached, now),
            }
        }
        // RFC 6749 section 5.1: an omitted scope equals the requested one.
        let requested = self.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let issued = self.interpret(self.begin(&client, &presented, now).await?, None, now)?;
        Ok(issued.or_scope(requested))
    }

    /// Interprets an answer of the token endpoint.
    fn interpret(&self, result: TokenResult, previous: Option<&IssuedTokens>, now: Timestamp) -> Result<IssuedTokens, FetchError<Error>> {
        let invalid = |reason: &str| {
            let error = Error::NotAnIssuer(format!("the token endpoint's answer {reason}"));
            FetchError { error, outcome: Outcome::Unusable(Duration::from_secs(10)) }
        };
        match result {
            Ok(answer) => {
                if !matches!(answer.token_type(), oauth2::basic::BasicTokenType::Bearer) {
                    return Err(invalid("does not contain a token of the type Bearer"));
                }
                let lifetime = answer.expires_in().unwrap_or(DEFAULT_LIFETIME);
                let scope = answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
                // RFC 6749 section 6: an omitted scope equals the previous one.
                let scope = scope.or_else(|| previous?.scope().map(str::to_owned));
                let refresh = answer.refresh_token().map(|token| token.secret().as_str()).or_else(|| previous?.refresh_token());
                IssuedTokens::new(answer.access_token().secret(), refresh, scope, now + lifetime)
                    .filter(|_| !lifetime.is_zero())
                    .ok_or_else(|| {
                        invalid("contains an unusable token: it is empty, too long or expired, or has characters that no header may have")
                    })
            }
            Err(RequestTokenError::Request(SendError(error))) => Err(request_failed(error)),
            Err(RequestTokenError::ServerResponse(error)) => {
                let error = refusal(error.error().as_ref(), error.error_description(), &self.grant, &self.proof);
                Err(FetchError { error, outcome: Outcome::Unusable(AFTER_REFUSAL) })
            }
            // The texts of these errors may contain a token.
            Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => Err(invalid("is not one of RFC 6749 section 5")),
        }
    }

    /// Ends the login of a refresh token (RFC 7009). Not through the `oauth2` crate, which requires https: an issuer on this machine may use
    /// http.
    pub(super) async fn revoke(&self, refresh: &str, now: Timestamp) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
            error_description: Option<String>,
        }
        let presented = self.proof.read().await?;
        let failed = |error| request_failed(error).error;
        let endpoint = self.connection.endpoints(now).await.map_err(failed)?.revocation;
        let url = endpoint.ok_or_else(|| Error::NotAnIssuer("its metadata has no revocation_endpoint".to_owned()))?;
        let mut parameters = presented.parameters(&self.client_id, &self.connection.issuer, now)?;
        parameters.extend([("token", refresh.to_owned()), ("token_type_hint", "refresh_token".to_owned())]);
        let request = self.connection.http().await.map_err(failed)?.post(url.clone()).form(&parameters);
        let request = match &presented {
            Presented::Secret(secret) => {
                // RFC 6749 section 2.3.1: both are form-encoded before Basic encoding.
                let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                request.basic_auth(encoded(&self.client_id), Some(encoded(secret)))
            }
            Presented::Key(_) => request,
        };
        let answer = async {
            let response = request.send().await?;
            match response.status() {
                StatusCode::OK => Ok(None),
                StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => outbound::read(&url, response).await.map(Some),
                _ => Err(outbound::unexpected_status(&url, &response)),
            }
        };
        let Some(body) = answer.await.map_err(failed)? else { return Ok(()) };
        let refused: Refusal = serde_json::from_slice(&body)
            .map_err(|_| Error::NotAnIssuer("the revocation endpoint's answer is not one of RFC 7009 section 2.2".to_owned()))?;
        Err(refusal(&refused.error, refused.error_description.as_ref(), &Grant::ClientCredentials, &self.proof))
    }
}

/// The error for a refusal with this code (RFC 6749 section 5.2).
fn refusal(code: &str, description: Option<&String>, grant: &Grant, proof: &Proof) -> Error {
    let bounded = |text: &str| text.chars().filter(|c| !c.is_control()).take(255).collect();
    match (code, grant) {
        ("invalid_client", _) => match proof {
            Proof::Secret(_) => Error::WrongSecret,
            Proof::Key(_) => Error::WrongKey,
        },
        ("invalid_grant", Grant::Password { .. }) => Error::WrongPassword,
        ("invalid_grant", Grant::Login) => Error::LoginEnded,
        _ => Error::Refused { code: bounded(code), description: bounded(description.map_or("", String::as_str)) },
    }
}

/// A proof or a password that cannot be read may be about to be written, so the next attempt comes soon.
fn unreadable(error: Error) -> FetchError<Error> {
    FetchError { error, outcome: Outcome::Unreachable }
}

/// The error for a request without an answer that RFC 6749 defines.
fn request_failed(error: RequestError) -> FetchError<Error> {
    let (error, outcome) = match error {
        RequestError::Unreachable(reason) => (Error::Unreachable { reason, retry_after: Duration::ZERO }, Outcome::Unreachable),
        RequestError::Status { status: 429, retry_after, .. } => {
            (Error::Limited { retry_after: Duration::ZERO }, Outcome::Unusable(retry_after.unwrap_or_default()))
        }
        RequestError::Status { status, retry_after, reason } if status >= 500 => {
            (Error::Unavailable { reason, retry_after: Duration::ZERO }, Outcome::Unusable(retry_after.unwrap_or_default()))
        }
        RequestError::Status { reason, .. } | RequestError::Invalid(reason) => {
            (Error::NotAnIssuer(reason), Outcome::Unusable(Duration::from_secs(10)))
        }
        RequestError::OtherIssuer { claimed, .. } => (Error::OtherIssuer { claimed }, Outcome::Unusable(Duration::from_secs(10))),
    };
    FetchError { error, outcome }
}

impl Fetch for Exchange {
    type Value = IssuedTokens;
    type Error = Error;
    type State = ();

    const WHAT: &'static str = "a token";

    fn policy(&self) -> RefreshPolicy {
        RefreshPolicy {
            cool_down: Duration::from_secs(10),
            min_interval: Duration::ZERO,
            retry_bounds: (Duration::from_secs(1), MAX_PAUSE),
            max_backoff: Duration::from_secs(30),
            // All callers belong to the app.
            max_waiters: usize::MAX,
            demand_backs_off: true,
            // An unused login must not be kept alive, and the refresh token that a web application stores must be the latest.
            prefetch: if self.is_login() { Prefetch::Never } else { self.prefetch },
            lifetime_from_request: true,
        }
    }

    fn initial_state(&self) {}

    fn issuer(&self) -> &str {
        self.connection.issuer.as_str()
    }

    fn span(&self) -> Span {
        tracing::info_span!("fetch_token", issuer = %self.connection.issuer, client.id = self.client_id, outcome = Empty)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn unfinished(&self, reason: String) -> Error {
        Error::Unreachable { reason, retry_after: Duration::ZERO }
    }

    async fn fetch(
        &self,
        (): &mut (),
        _forced: bool,
        cached: Option<Arc<IssuedTokens>>,
        now: Timestamp,
    ) -> Result<Fetched<IssuedTokens>, FetchError<Error>> {
        let exchanged = self.exchange(cached.as_deref(), now).await;
        // Any other refusal came from the issuer itself, so its endpoints are right.
        if let Err(FetchError { error: Error::Unreachable { .. } | Error::NotAnIssuer(_), .. }) = &exchanged {
            self.connection.invalidate_endpoints().await;
        }
        let issued = exchanged?;
        let lifetime = issued.expires_at().since(now);
        Ok(Fetched { value: Arc::new(issued), fresh: lifetime, usable: lifetime - unused_margin(lifetime) })
    }
}
