//! Authentication by client secret: RFC 6749 section 2.3.1.

use std::sync::Arc;

use super::{Rejection, is_in_quotes};
use crate::{
    clock::Timestamp,
    protocol::{SecretForm, find_secret},
    server::{
        model::Client,
        secret::{ClientSecret, SecretDigest, SecretId},
    },
};

/// Returns the client and the id of the secret `sent`, or why it is not one of the client's. `digest` is that of `sent`. An unknown
/// client or secret costs the same comparison.
pub(super) fn check<'a>(
    client: Option<&'a Arc<Client>>,
    sent: &str,
    digest: &SecretDigest,
    now: Timestamp,
) -> Result<(&'a Arc<Client>, &'a SecretId), Rejection> {
    let id = ClientSecret::id_within(sent);
    let stored = client.into_iter().flat_map(|client| &client.secrets).find(|secret| Some(&secret.id) == id.as_ref());
    let matches = digest.matches(stored.map_or(&SecretDigest::NONE, |secret| &secret.digest));

    let client = client.ok_or(Rejection::UnknownClient)?;
    let stored = stored.ok_or(Rejection::UnknownSecret)?;
    if !matches {
        return Err(Rejection::WrongSecret);
    }
    if !stored.is_live(now) {
        return Err(Rejection::ExpiredSecret);
    }
    Ok((client, &stored.id))
}

/// Describes what is malformed about a secret.
pub(super) fn mistake(sent: &str) -> Option<&'static str> {
    if sent.trim() != sent {
        return Some("the secret has leading or trailing white space");
    }
    if is_in_quotes(sent) {
        return Some("the secret is in quotes");
    }
    match sent.split_once(ClientSecret::PREFIX) {
        Some(("", _)) if ClientSecret::id_within(sent).is_none() => Some("the secret is incomplete: its checksum or its length is wrong"),
        Some(("", _)) => None,
        Some((before, _)) if before.contains('=') => Some("the secret begins with NAME=, like a line of an environment file"),
        Some(_) => Some("the secret has a prefix that does not belong to it"),
        None => match find_secret(sent)? {
            SecretForm::RefreshToken => Some("a refresh token was sent as the secret"),
            SecretForm::Jwt => Some("a token was sent as the secret"),
            SecretForm::ClientSecret => Some("the secret has the wrong case"),
        },
    }
}
