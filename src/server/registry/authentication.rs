//! Whether a client is who it says it is: RFC 6749 section 2.3.1.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{Error, Limited, Registry};
use crate::{
    clock::Timestamp,
    protocol::{AuthMethod, ClientId},
    server::{
        model::Client,
        secret::{ClientSecret, Redacted, SecretDigest, SecretId},
    },
};

/// What a request says of who sends it.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// As it was sent; no lawful client id yet.
    pub(crate) client_id: String,
    /// `None`: the request names a client and proves nothing.
    pub(crate) secret: Option<Redacted>,
    pub(crate) method: AuthMethod,
}

impl Credentials {
    fn sent_secret(&self) -> &str {
        self.secret.as_ref().map_or("", Redacted::expose)
    }
}

/// Why a request's client was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthenticationError {
    /// The caller learns that it was refused and nothing else; the cause is for the log.
    #[error(transparent)]
    Rejected(Rejection),
    /// It was not, and too often so from this source.
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
    #[error("the client may not authenticate in this way")]
    MethodNotAllowed,
}

impl fmt::Display for Credentials {
    /// The name that was sent, fit for a log: cut, and without what could forge a line of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.client_id.chars().take(64).flat_map(char::escape_default);
        shown.into_iter().try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

impl Registry {
    /// The client that `credentials` prove, at `now`.
    ///
    /// Every attempt costs one look-up (but for a name that no client can have) and one digest, whether the client is known or not. Failures are counted per client and
    /// `source`; a right secret is right however many wrong ones came before it, since nobody guesses 256 bits.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn authenticate(
        &self,
        credentials: &Credentials,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<Client>, AuthenticationError> {
        let client = match credentials.client_id.parse::<ClientId>() {
            Ok(id) => self.find_client(&id, now).await?,
            Err(_) => None,
        };
        let digest = self.digest(credentials.sent_secret());
        match judge(client.as_ref(), credentials, &digest, now) {
            Ok((client, secret)) => {
                self.last_use.note(&secret, now);
                Ok(client)
            }
            Err(rejection) => match self.failed_secrets.count([&credentials.client_id, &source.to_string()]).await {
                Ok(()) => Err(AuthenticationError::Rejected(rejection)),
                Err(limited) => {
                    self.count_limited("client_secret");
                    Err(AuthenticationError::Limited(limited))
                }
            },
        }
    }

    /// The digest of what was sent. It is counted here, where it is computed.
    fn digest(&self, sent: &str) -> SecretDigest {
        self.meters.secret_digests.inc();
        SecretDigest::of(sent)
    }
}

/// Finds the client proven, and by which of its secrets; or why not.
fn judge(
    client: Option<&Arc<Client>>,
    credentials: &Credentials,
    digest: &SecretDigest,
    now: Timestamp,
) -> Result<(Arc<Client>, SecretId), Rejection> {
    let id = ClientSecret::id_within(credentials.sent_secret());
    let stored = client.into_iter().flat_map(|client| &client.secrets).find(|secret| Some(&secret.id) == id.as_ref());
    let matches = digest.matches(stored.map_or(&SecretDigest::NONE, |secret| &secret.digest));

    let client = client.ok_or(Rejection::UnknownClient)?;
    if credentials.secret.is_none() {
        return Err(Rejection::NoSecret);
    }
    let stored = stored.ok_or(Rejection::UnknownSecret)?;
    if !matches {
        return Err(Rejection::WrongSecret);
    }
    if !stored.is_live(now) {
        return Err(Rejection::ExpiredSecret);
    }
    if client.disabled_at.is_some() {
        return Err(Rejection::DisabledClient);
    }
    if !client.auth_methods.contains(&credentials.method) {
        return Err(Rejection::MethodNotAllowed);
    }
    Ok((Arc::clone(client), stored.id.clone()))
}
