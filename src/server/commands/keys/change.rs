use std::time::Duration;

use super::{Condemned, Keys, Successor};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::commands::{Act, Error},
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

    /// Lets another key sign in place of one that is to be revoked, if it is the one that signs. [`Self::revoke`] follows a moment before it
    /// does, see [`withdrawal_before`](crate::server::keys::withdrawal_before).
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
    /// If the database fails.
    pub async fn revoke(&self, act: &Act, kid: &str) -> Result<(), Error> {
        Ok(self.store.revoke_signing_key(act, kid).await?)
    }
}
