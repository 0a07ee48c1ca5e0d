//! Issues tokens: decides what a client gets and what the token contains. One file per grant.

mod access_token;
mod client_credentials;
mod database_turns;
mod error;
mod excess;
mod introspect;
mod mint;
mod mistake;
mod password;
mod refresh;
mod revoke;
mod target;

use std::sync::Arc;

pub(crate) use client_credentials::ClientCredentialsGrant;
pub(crate) use database_turns::DatabaseTurns;
pub(crate) use error::{Error, Fault, Refusal};
pub(crate) use introspect::{ActiveToken, Introspection};
pub(crate) use password::PasswordGrant;
pub(crate) use refresh::RefreshGrant;
pub(crate) use target::TargetRequest;

use crate::{
    clock::Timestamp,
    protocol::{ErrorCode, GrantType, Issuer, Scope},
    server::{
        keys::KeyRing,
        logins::Logins,
        meters::Meters,
        model::{Client, TokenLifetime, UserId},
        registry::Registry,
        revocation::Revocations,
        settings::{self, Setting, Values, boolean, parse_duration, setting},
        store::Store,
    },
};

/// The settings of token issuance.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The lifetime of a token if neither its client nor its resource sets one.
    pub(crate) token_lifetime: TokenLifetime,
    /// Whether the password grant is enabled on this server.
    pub(crate) password_grant: bool,
}

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting("token_lifetime", Some("10m"), "lifetime of tokens, unless their client or resource sets another", TokenLifetime::RANGE),
        setting(
            "password_grant",
            Some("true"),
            "whether the password grant is enabled; even then, only clients that have it may use it",
            "true or false",
        ),
    ];

    pub(crate) fn read(values: &Values) -> Result<Self, settings::Error> {
        Ok(Self {
            token_lifetime: values.parse("token_lifetime", |text| parse_duration(text).and_then(TokenLifetime::new).ok_or(None))?,
            password_grant: values.parse("password_grant", boolean)?,
        })
    }

    /// The grant types that this server supports.
    pub(crate) fn served(&self) -> impl Iterator<Item = GrantType> {
        GrantType::ALL.iter().copied().filter(|grant| *grant != GrantType::Password || self.password_grant)
    }
}

/// A token request, by grant type.
#[derive(Debug)]
pub(crate) enum Grant {
    ClientCredentials(ClientCredentialsGrant),
    Password(PasswordGrant),
    Refresh(RefreshGrant),
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

/// The outcome of a token request (RFC 6749 section 5.1).
#[derive(Debug)]
pub(crate) struct IssuedToken {
    pub(crate) access_token: String,
    pub(crate) expires_at: Timestamp,
    pub(crate) expires_in: u64,
    pub(crate) scope: Scope,
    pub(crate) refresh_token: Option<String>,
    /// The subject, if it is a user.
    pub(crate) user: Option<UserId>,
}

/// Issues the tokens of one issuer.
#[derive(Debug)]
pub(crate) struct TokenIssuer {
    pub(crate) policy: Policy,
    pub(crate) issuer: Issuer,
    pub(crate) registry: Registry,
    pub(crate) logins: Logins,
    pub(crate) keys: KeyRing,
    pub(crate) revocations: Revocations,
    pub(crate) turns: DatabaseTurns,
    pub(crate) store: Store,
    pub(crate) meters: Arc<Meters>,
}

impl TokenIssuer {
    /// Whether this server supports a grant type.
    pub(crate) fn serves(&self, grant: GrantType) -> bool {
        self.policy.served().any(|served| served == grant)
    }

    /// Refuses a client that does not have this grant type.
    pub(crate) fn require_grant(&self, client: &Client, grant: GrantType) -> Result<(), Refusal> {
        if client.grants.contains(&grant) {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::UnauthorizedClient, "This client is not allowed to use this grant type."))
    }

    /// Handles the token request of an authenticated client. `now` is the wall clock time, which is read once per request.
    #[tracing::instrument(level = "debug", skip_all, fields(grant = grant.grant_type().as_str()))]
    pub(crate) async fn issue(&self, client: &Client, grant: Grant, now: Timestamp) -> Result<IssuedToken, Error> {
        self.require_grant(client, grant.grant_type())?;
        match grant {
            Grant::ClientCredentials(request) => self.client_credentials(client, &request, now).await,
            Grant::Password(request) => self.password(client, &request, now).await,
            Grant::Refresh(request) => self.refresh(client, &request, now).await,
        }
    }
}
