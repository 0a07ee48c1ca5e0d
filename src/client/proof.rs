use zeroize::Zeroizing;

use super::{Error, PrivateKey, Secret, private_key::SigningKey};
use crate::{
    clock::Timestamp,
    protocol::{AuthMethod, Issuer},
};

/// What an app proves its identity with. A [`Secret`] and a [`PrivateKey`] become one by `into`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Proof {
    /// A secret that app and issuer share.
    Secret(Secret),
    /// A key whose public half the issuer has.
    Key(PrivateKey),
}

impl From<Secret> for Proof {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<PrivateKey> for Proof {
    fn from(key: PrivateKey) -> Self {
        Self::Key(key)
    }
}

/// A proof that was read, for the requests of one exchange.
pub(super) enum Presented {
    Secret(Zeroizing<String>),
    Key(SigningKey),
}

impl Proof {
    pub(super) async fn read(&self) -> Result<Presented, Error> {
        match self {
            Self::Secret(secret) => secret.read().await.map(Presented::Secret).map_err(Error::Secret),
            Self::Key(key) => key.load().await.map(Presented::Key).map_err(Error::PrivateKey),
        }
    }
}

impl Presented {
    /// The form parameters of one request: a new assertion, if the proof is a key.
    pub(super) fn parameters(&self, client_id: &str, issuer: &Issuer, now: Timestamp) -> Result<Vec<(&'static str, String)>, Error> {
        let Self::Key(key) = self else { return Ok(Vec::new()) };
        let assertion = key.assertion(client_id, issuer, now).map_err(Error::PrivateKey)?;
        Ok(vec![("client_assertion_type", AuthMethod::ASSERTION_TYPE.to_owned()), ("client_assertion", assertion)])
    }
}
