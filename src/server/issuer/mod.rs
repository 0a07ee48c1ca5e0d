//! Decides: what a client may have, and what the token says. One grant, one file.

mod client_credentials;
mod error;
mod mint;
mod mistake;
mod password;
mod refresh;
mod revoke;
mod target;

use std::sync::Arc;

pub(crate) use client_credentials::ClientCredentials;
pub(crate) use error::{Error, Fault, Refusal};
pub(crate) use password::Password;
pub(crate) use refresh::Refresh;
pub(crate) use target::TargetRequest;

use crate::{
    clock::Timestamp,
    protocol::{ErrorCode, GrantType, Issuer, Scope},
    server::{
        keys::KeyRing,
        meters::Meters,
        model::{Client, TokenLifetime, UserId},
        registry::Registry,
        revocation::Logins,
    },
};

/// What issuing obeys.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// How long a token is good when neither its client nor its resource says so.
    pub(crate) token_lifetime: TokenLifetime,
    /// The server-wide switch of the password grant.
    pub(crate) password_grant: bool,
}

impl Policy {
    /// The grant types that are served.
    pub(crate) fn served(&self) -> impl Iterator<Item = GrantType> {
        GrantType::ALL.iter().copied().filter(|grant| *grant != GrantType::Password || self.password_grant)
    }
}

/// A request for a token, by grant type.
#[derive(Debug)]
pub(crate) enum Grant {
    ClientCredentials(ClientCredentials),
    Password(Password),
    Refresh(Refresh),
}

impl Grant {
    pub(crate) const fn grant_type(&self) -> GrantType {
        match self {
            Self::ClientCredentials(_) => GrantType::ClientCredentials,
            Self::Password(_) => GrantType::Password,
            Self::Refresh(_) => GrantType::RefreshToken,
        }
    }
}

/// A token that was issued (RFC 6749 section 5.1).
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) expires_in: u64,
    pub(crate) scope: Scope,
    pub(crate) refresh_token: Option<String>,
    /// The user for whom it speaks.
    pub(crate) user: Option<UserId>,
}

/// Issues tokens in the name of one issuer.
#[derive(Debug, Clone)]
pub(crate) struct TokenIssuer {
    pub(crate) policy: Policy,
    pub(crate) issuer: Issuer,
    pub(crate) registry: Registry,
    pub(crate) logins: Logins,
    pub(crate) keys: KeyRing,
    pub(crate) meters: Arc<Meters>,
}

impl TokenIssuer {
    /// Whether this grant type is served.
    pub(crate) fn serves(&self, grant: GrantType) -> bool {
        self.policy.served().any(|served| served == grant)
    }

    /// Answers what an authenticated client asks at `now`, by the wall clock, which is read once per request.
    #[tracing::instrument(level = "debug", skip_all, fields(grant = grant.grant_type().as_str()))]
    pub(crate) async fn issue(&self, client: &Client, grant: Grant, now: Timestamp) -> Result<Issued, Error> {
        if !client.grants.contains(&grant.grant_type()) {
            return Err(Refusal::new(ErrorCode::UnauthorizedClient, "This client was not given this grant type.").into());
        }
        match grant {
            Grant::ClientCredentials(request) => self.client_credentials(client, &request, now).await,
            Grant::Password(request) => self.password(client, &request, now).await,
            Grant::Refresh(request) => self.refresh(client, &request, now).await,
        }
    }
}
