//! What the command line asks of the registry beyond plain reading and writing.

use std::{collections::BTreeMap, time::Duration};

use super::{PasswordHasher, PasswordRules};
use crate::{
    clock::Timestamp,
    protocol::{Audience, ClientId, Scope},
    server::{
        model::{Client, Password, StoredSecret, User, UserId, Username},
        secret::{ClientSecret, SecretId},
        store::{self, Store},
        workers::WorkError,
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

/// Why a user or a password was not registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error("the password cannot be used: {0}")]
    Password(String),
    #[error("the password could not be hashed: {0}")]
    Work(#[from] WorkError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Registers a user whose password the rules allow.
pub(crate) async fn register_user(
    store: &Store,
    rules: &PasswordRules,
    hasher: &PasswordHasher,
    username: Username,
    password: Password,
    permissions: BTreeMap<Audience, Scope>,
    now: Timestamp,
) -> Result<User, RegistrationError> {
    rules.check(&password, &username).map_err(RegistrationError::Password)?;
    let password_hash = hasher.hash(password).await?;
    let user =
        User { id: UserId::generate(), username, password_hash, permissions, created_at: now, disabled_at: None, signed_in_at: None };
    store.insert_user(user.clone()).await?;
    Ok(user)
}

/// Sets a password that the rules allow, which ends the user's logins.
pub(crate) async fn set_password(
    store: &Store,
    rules: &PasswordRules,
    hasher: &PasswordHasher,
    username: Username,
    password: Password,
    now: Timestamp,
) -> Result<(), RegistrationError> {
    rules.check(&password, &username).map_err(RegistrationError::Password)?;
    let hash = hasher.hash(password).await?;
    Ok(store.set_password_hash(username, hash, now).await?)
}
