//! What the command line asks of the registry beyond plain reading and writing.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    protocol::ClientId,
    server::{
        model::{Client, StoredSecret},
        secret::{ClientSecret, SecretId},
        store::{self, Store},
    },
};

/// A secret that was just made: the one time that it can be shown.
#[derive(Debug)]
pub(crate) struct NewSecret {
    pub(crate) secret: ClientSecret,
    pub(crate) expires_at: Option<Timestamp>,
}

impl NewSecret {
    fn generate(now: Timestamp, lifetime: Option<Duration>) -> (Self, StoredSecret) {
        let secret = ClientSecret::generate();
        let expires_at = lifetime.map(|lifetime| now + lifetime);
        let stored = StoredSecret { id: secret.id().clone(), digest: secret.digest(), created_at: now, expires_at, last_used_at: None };
        (Self { secret, expires_at }, stored)
    }

    pub(crate) const fn id(&self) -> &SecretId {
        self.secret.id()
    }
}

/// Registers a client with a first secret, which lives for `secret_lifetime` or until it is dropped.
pub(crate) async fn register_client(
    store: &Store,
    mut client: Client,
    secret_lifetime: Option<Duration>,
) -> Result<(Client, NewSecret), store::Error> {
    let (secret, stored) = NewSecret::generate(client.created_at, secret_lifetime);
    client.secrets = vec![stored];
    store.insert_client(client.clone()).await?;
    Ok((client, secret))
}

/// Gives a client one more secret; those that it has go on.
pub(crate) async fn add_secret(store: &Store, id: ClientId, lifetime: Option<Duration>, now: Timestamp) -> Result<NewSecret, store::Error> {
    let (secret, stored) = NewSecret::generate(now, lifetime);
    store.insert_client_secret(id, stored).await?;
    Ok(secret)
}
