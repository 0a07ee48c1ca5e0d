//! Client authentication: RFC 6749 section 2.3.1.

mod secret;

use std::{fmt, net::IpAddr, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

use super::{Error, Registry};
use crate::{
    clock::Timestamp,
    protocol::{AuthMethod, ClientId},
    server::{
        caller_text,
        limits::{Limited, Network},
        model::Client,
        secret::{SecretDigest, SecretId},
    },
};

/// The client credentials of a request.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// As sent, not yet parsed.
    pub(crate) client_id: String,
    pub(crate) proof: Proof,
}

/// How a client proves its identity.
#[derive(Debug)]
pub(crate) enum Proof {
    /// The request names a client without proof.
    None,
    Secret {
        text: SecretString,
        /// How it was sent.
        method: AuthMethod,
    },
}

/// Why a client was not authenticated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthenticationError {
    /// The cause is written to the log and not sent to the caller.
    #[error(transparent)]
    Rejected(Rejection),
    /// Too many failed attempts from this source.
    #[error("too many failed attempts")]
    Limited(Limited),
    #[error(transparent)]
    Fault(#[from] Error),
}

/// The cause of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("unknown client")]
    UnknownClient,
    #[error("no secret was sent")]
    NoSecret,
    #[error("unknown secret")]
    UnknownSecret,
    #[error("wrong secret")]
    WrongSecret,
    #[error("expired secret")]
    ExpiredSecret,
    #[error("disabled client")]
    DisabledClient,
    #[error("the client is not allowed to use this authentication method")]
    MethodNotAllowed,
}

impl fmt::Display for Credentials {
    /// The client id as sent, if it is a valid one. Anything else may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.client_id.parse::<ClientId>() {
            Ok(_) => &self.client_id,
            Err(_) if self.holds_secret_as_id() => caller_text::HIDDEN,
            Err(_) => "[not a client id]",
        })
    }
}

impl Credentials {
    /// Whether a secret or a token was sent as the client id.
    pub(crate) fn holds_secret_as_id(&self) -> bool {
        caller_text::holds_secret(&self.client_id)
    }

    /// Describes for the log what is malformed about these credentials.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        let id = &self.client_id;
        if self.holds_secret_as_id() {
            Some("a secret was sent as the client id")
        } else if id.trim() != id {
            Some("the client id has leading or trailing white space")
        } else if is_in_quotes(id) {
            Some("the client id is in quotes")
        } else if id.parse::<ClientId>().is_err() {
            Some("the client id is malformed")
        } else {
            match &self.proof {
                Proof::None => None,
                Proof::Secret { text, .. } => secret::mistake(text.expose_secret()),
            }
        }
    }
}

fn is_in_quotes(text: &str) -> bool {
    ['"', '\'', '`'].into_iter().any(|quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote))
}

impl Registry {
    /// Authenticates a client. `now` is the wall clock time; the expiry of secrets is checked by the steady clock.
    ///
    /// Every attempt costs one look-up (none if the client id is malformed) and one digest of a secret, whether the client exists or not.
    /// Failures are counted per client and `source`. They never block a correct secret, because 256 random bits cannot be guessed.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn authenticate(
        &self,
        credentials: &Credentials,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<Client>, AuthenticationError> {
        let client = match credentials.client_id.parse::<ClientId>() {
            Ok(id) => self.find_client(&id).await?,
            Err(_) => None,
        };
        match self.check(client.as_ref(), credentials) {
            Ok((client, secret)) => {
                self.0.last_use.note(secret, now);
                Ok(Arc::clone(client))
            }
            Err(rejection) => match self.0.failed_secrets.begin(&[&credentials.client_id, Network::of(source).as_str()]).await {
                Ok(mut failure) => {
                    failure.made();
                    Err(AuthenticationError::Rejected(rejection))
                }
                Err(limited) => {
                    self.count_limited("client_secret");
                    Err(AuthenticationError::Limited(limited))
                }
            },
        }
    }

    /// Checks the proof, and whether the client may use it.
    fn check<'a>(&self, client: Option<&'a Arc<Client>>, credentials: &Credentials) -> Result<(&'a Arc<Client>, &'a SecretId), Rejection> {
        let (verified, method) = match &credentials.proof {
            Proof::None => return Err(client.map_or(Rejection::UnknownClient, |_| Rejection::NoSecret)),
            Proof::Secret { text, method } => {
                let digest = self.digest(text.expose_secret());
                (secret::check(client, text.expose_secret(), &digest, self.0.clock.steady()), method)
            }
        };
        let (client, secret) = verified?;
        if client.disabled_at.is_some() {
            return Err(Rejection::DisabledClient);
        }
        if !client.auth_methods.contains(method) {
            return Err(Rejection::MethodNotAllowed);
        }
        Ok((client, secret))
    }

    /// Computes and counts a digest of the sent secret.
    fn digest(&self, sent: &str) -> SecretDigest {
        self.0.meters.secret_digests.inc();
        SecretDigest::of(sent)
    }
}
