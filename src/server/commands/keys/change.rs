use std::time::Duration;

use super::{Condemned, Keys, Successor};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{
        commands::{Act, Error},
        keys::RequestError,
    },
};

impl Keys<'_> {
    /// The algorithms that have a key that signs.
    pub(crate) async fn algorithms(&self, now: Timestamp) -> Result<Vec<Algorithm>, Error> {
        Ok(self.requests(now).await?.algorithms())
    }

    /// The kid of the key of an algorithm that signs.
    pub(crate) async fn signing(&self, algorithm: Algorithm, now: Timestamp) -> Result<String, Error> {
        Ok(self.requests(now).await?.signing(algorithm)?.kid.clone())
    }

    /// What [`Self::rotate`] would do.
    pub(crate) async fn rotation(&self, algorithm: Algorithm, lead: Option<Duration>, now: Timestamp) -> Result<Successor, Error> {
        Ok(self.requests(now).await?.rotation(algorithm, lead)?)
    }

    /// Publishes the next key of an algorithm. It signs after the lead, by default the one of the settings.
    ///
    /// # Errors
    ///
    /// If the lead is too short, the next key is published already, or the database fails.
    pub async fn rotate(&self, act: &Act, algorithm: Algorithm, lead: Option<Duration>) -> Result<Successor, Error> {
        Ok(self.requests(act.now).await?.rotate(act, algorithm, lead).await?)
    }

    /// What revoking a key would do.
    pub(crate) async fn condemned(&self, kid: &str, now: Timestamp) -> Result<Condemned, Error> {
        Ok(self.requests(now).await?.condemned(kid)?)
    }

    /// Publishes a key that can sign in place of one that is to be revoked, if that is the one that signs. [`Self::revoke`] and then
    /// [`Self::activate`] follow, each after [`READ_WITHIN`](crate::server::keys::READ_WITHIN).
    ///
    /// # Errors
    ///
    /// If there is no such key, it is no longer published, or the database fails.
    pub async fn replace(&self, act: &Act, kid: &str) -> Result<Condemned, Error> {
        Ok(self.requests(act.now).await?.replace(act, kid).await?)
    }

    /// Withdraws a key at once: it leaves the JWKS, and its tokens are refused as soon as verifiers follow.
    ///
    /// # Errors
    ///
    /// If its row is damaged or was deleted, or the database fails.
    pub async fn revoke(&self, act: &Act, kid: &str) -> Result<(), Error> {
        if self.store.revoke_signing_key(act, kid).await? { Ok(()) } else { Err(RequestError::NotRevoked(kid.to_owned()).into()) }
    }

    /// Lets a key that is published sign now, in place of one that was revoked.
    ///
    /// # Errors
    ///
    /// If there is no such key, or the database fails.
    pub async fn activate(&self, act: &Act, kid: &str) -> Result<(), Error> {
        Ok(self.requests(act.now).await?.activate(act, kid).await?)
    }
}
