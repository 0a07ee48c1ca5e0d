//! Client authentication: RFC 6749 section 2.3.

mod assertion;
mod decoy;
mod first_use;
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
        model::{Client, CredentialId},
        secret::SecretDigest,
    },
};

use assertion::{Genuine, Once};
pub(super) use first_use::FirstUses;

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
    /// A JWT that the client has signed (RFC 7523 section 2.2).
    Assertion(SecretString),
}

/// A proof that is right.
struct Checked<'a> {
    client: &'a Arc<Client>,
    used: CredentialId,
    /// Set if the proof may be used once.
    once: Option<Once>,
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
    #[error("neither a secret nor an assertion was sent")]
    NoProof,
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
    #[error("the assertion is refused: {0}")]
    Assertion(&'static str),
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
    /// The credentials of a request with an assertion. `named` is the client id in the request, which may be missing (RFC 7521 section 4.2).
    pub(crate) fn by_assertion(named: Option<&str>, assertion: &str) -> Self {
        let client_id = named.map(str::to_owned).or_else(|| assertion::subject(assertion)).unwrap_or_default();
        Self { client_id, proof: Proof::Assertion(assertion.into()) }
    }

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
        } else if id.is_empty() && matches!(self.proof, Proof::Assertion(_)) {
            Some("neither the request nor the assertion names a client")
        } else if id.parse::<ClientId>().is_err() {
            Some("the client id is malformed")
        } else {
            match &self.proof {
                Proof::None | Proof::Assertion(_) => None,
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
    /// Every attempt costs one look-up (none if the client id is malformed), and one digest of a secret or the same checks of a signature, whether the client
    /// exists or not. A genuine assertion costs a write: it is accepted once, on all nodes.
    /// Failures are counted per client and `source`. They never block a correct proof, because neither 256 random bits nor a signature can be
    /// guessed.
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
        let rejection = match self.check(client.as_ref(), credentials) {
            Ok(Checked { client, used, once }) => {
                if self.is_first_use(client, once, source).await? {
                    self.0.last_use.note((client.id.clone(), used), now);
                    return Ok(Arc::clone(client));
                }
                Rejection::Assertion("its jti was used before")
            }
            Err(rejection) => rejection,
        };
        match self.0.failed_proofs.begin(&[&credentials.client_id, Network::of(source).as_str()]).await {
            Ok(mut failure) => {
                failure.made();
                Err(AuthenticationError::Rejected(rejection))
            }
            Err(limited) => {
                self.count_limited(match credentials.proof {
                    Proof::Assertion(_) => "client_assertion",
                    Proof::None | Proof::Secret { .. } => "client_secret",
                });
                Err(AuthenticationError::Limited(limited))
            }
        }
    }

    /// Checks the proof, and whether the client may use it.
    fn check<'a>(&self, client: Option<&'a Arc<Client>>, credentials: &Credentials) -> Result<Checked<'a>, Rejection> {
        let now = self.0.clock.steady();
        let (checked, method) = match &credentials.proof {
            Proof::None => return Err(client.map_or(Rejection::UnknownClient, |_| Rejection::NoProof)),
            Proof::Secret { text, method } => {
                let digest = self.digest(text.expose_secret());
                let (client, secret) = secret::check(client, text.expose_secret(), &digest, now)?;
                (Checked { client, used: CredentialId::Secret(secret.clone()), once: None }, *method)
            }
            Proof::Assertion(text) => {
                let Genuine { client, key, once } = assertion::check(client, text.expose_secret(), &self.0.issuer, now)?;
                (Checked { client, used: CredentialId::Key(key.clone()), once: Some(once) }, AuthMethod::PrivateKeyJwt)
            }
        };
        if checked.client.disabled_at.is_some() {
            return Err(Rejection::DisabledClient);
        }
        if !checked.client.auth_methods.contains(&method) {
            return Err(Rejection::MethodNotAllowed);
        }
        Ok(checked)
    }

    /// Computes and counts a digest of the sent secret.
    fn digest(&self, sent: &str) -> SecretDigest {
        self.0.meters.secret_digests.inc();
        SecretDigest::of(sent)
    }
}
