//! Whether a client is who it says it is: RFC 6749 section 2.3.1.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{Error, Limited, Registry, network::Network};
use crate::{
    clock::Timestamp,
    protocol::{AuthMethod, ClientId, SecretForm, find_secret},
    server::{
        caller_text,
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
    /// The name that was sent, if it can be one. Anything else may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.client_id.parse::<ClientId>() {
            Ok(_) => &self.client_id,
            Err(_) if self.holds_secret_as_id() => caller_text::HIDDEN,
            Err(_) => "[not a client id]",
        })
    }
}

impl Credentials {
    /// Whether a secret or a token was sent as the client's name.
    pub(crate) fn holds_secret_as_id(&self) -> bool {
        caller_text::holds_secret(&self.client_id)
    }

    /// What is wrong with the form of these credentials, for the log.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        let id = &self.client_id;
        if self.holds_secret_as_id() {
            Some("a secret stands where the client id belongs")
        } else if id.trim() != id {
            Some("white space stands around the client id")
        } else if is_in_quotes(id) {
            Some("the client id stands in quotes")
        } else if id.parse::<ClientId>().is_err() {
            Some("what was sent as the client id cannot be one")
        } else {
            mistake_in_secret(self.sent_secret())
        }
    }
}

/// What is wrong with the form of a secret that is not accepted.
fn mistake_in_secret(sent: &str) -> Option<&'static str> {
    if sent.trim() != sent {
        return Some("white space or a line break stands around the secret");
    }
    if is_in_quotes(sent) {
        return Some("the secret stands in quotes");
    }
    match sent.split_once(ClientSecret::PREFIX) {
        Some(("", _)) if ClientSecret::id_within(sent).is_none() => Some("the secret is not whole: its checksum or its length is wrong"),
        Some(("", _)) => None,
        Some((before, _)) if before.contains('=') => Some("the secret begins with NAME=, as a line of a file of variables does"),
        Some(_) => Some("something stands before the secret"),
        None => match find_secret(sent)? {
            SecretForm::RefreshToken => Some("a refresh token stands where the secret belongs"),
            SecretForm::Jwt => Some("a token stands where the secret belongs"),
            SecretForm::ClientSecret => Some("the secret was changed in case"),
        },
    }
}

fn is_in_quotes(text: &str) -> bool {
    ['"', '\'', '`'].into_iter().any(|quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote))
}

impl Registry {
    /// The client that `credentials` prove, at `now`. Expiry of secrets is measured by the steady clock.
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
            Ok(id) => self.find_client(&id).await?,
            Err(_) => None,
        };
        let digest = self.digest(credentials.sent_secret());
        match judge(client.as_ref(), credentials, &digest, self.clock.steady()) {
            Ok((client, secret)) => {
                self.last_use.note(&secret, now);
                Ok(client)
            }
            Err(rejection) => match self.failed_secrets.begin(&[&credentials.client_id, Network::of(source).as_str()]).await {
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
