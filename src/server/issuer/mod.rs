//! Decides: what a client may have, and what the token says. One grant, one file.

mod client_credentials;
mod error;
mod mint;
mod target;

use std::sync::Arc;

pub(crate) use client_credentials::ClientCredentials;
pub(crate) use error::{Error, Fault, Refusal};
pub(crate) use target::TargetRequest;

use crate::{
    clock::Timestamp,
    protocol::{ErrorCode, GrantType, Issuer, Scope},
    server::{
        keys::KeyRing,
        meters::Meters,
        model::{Client, TokenLifetime},
    },
};

/// What issuing obeys.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// How long a token is good when neither its client nor its resource says so.
    pub(crate) token_lifetime: TokenLifetime,
}

/// A request for a token, by grant type.
#[derive(Debug)]
pub(crate) enum Grant {
    ClientCredentials(ClientCredentials),
}

impl Grant {
    /// The grant types that this server serves.
    pub(crate) const SERVED: &[GrantType] = &[GrantType::ClientCredentials];

    pub(crate) const fn grant_type(&self) -> GrantType {
        match self {
            Self::ClientCredentials(_) => GrantType::ClientCredentials,
        }
    }
}

/// A token that was issued (RFC 6749 section 5.1).
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) expires_in: u64,
    pub(crate) scope: Scope,
}

/// Issues tokens in the name of one issuer.
#[derive(Debug, Clone)]
pub(crate) struct TokenIssuer {
    policy: Policy,
    issuer: Issuer,
    keys: KeyRing,
    meters: Arc<Meters>,
}

impl TokenIssuer {
    pub(crate) const fn new(policy: Policy, issuer: Issuer, keys: KeyRing, meters: Arc<Meters>) -> Self {
        Self { policy, issuer, keys, meters }
    }

    /// Answers what an authenticated client asks at `now`, which is read once per request.
    #[tracing::instrument(level = "debug", skip_all, fields(grant = grant.grant_type().as_str()))]
    pub(crate) async fn issue(&self, client: &Client, grant: Grant, now: Timestamp) -> Result<Issued, Error> {
        if !client.grants.contains(&grant.grant_type()) {
            return Err(Refusal::new(ErrorCode::UnauthorizedClient, "This client was not given this grant type.").into());
        }
        match grant {
            Grant::ClientCredentials(request) => self.client_credentials(client, &request, now).await,
        }
    }
}
