use std::collections::BTreeMap;

use secrecy::SecretString;

use super::{Act, Cause, Error, Policy};
use crate::{
    protocol::{Audience, Scope},
    server::{
        model::{Password, User, UserChange, UserId, Username},
        passwords::{HashingPolicy, PasswordHasher},
        store::{self, Store},
    },
};

/// The commands on users.
#[derive(Debug, Clone, Copy)]
pub struct Users<'a> {
    pub(super) store: &'a Store,
    pub(super) policy: &'a Policy,
}

/// A user to create.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The name to sign in with.
    pub username: Username,
    /// The password; the rules must allow it.
    pub password: Password,
    /// The scope that the user may have, by resource.
    pub permissions: BTreeMap<Audience, Scope>,
}

impl Users<'_> {
    /// Creates a user.
    ///
    /// # Errors
    ///
    /// If the name is taken, the rules do not allow the password, a resource or scope does not exist, or the database fails.
    pub async fn create(&self, act: &Act, new: NewUser) -> Result<User, Error> {
        let NewUser { username, password, permissions } = new;
        let password_hash = self.hash(&username, password).await?;
        let user = User {
            id: UserId::generate(),
            username,
            password_hash,
            permissions,
            created_at: act.now,
            disabled_at: None,
            signed_in_at: None,
        };
        self.store.insert_user(act, user.clone()).await?;
        Ok(user)
    }

    /// Sets a password and ends the user's logins.
    ///
    /// # Errors
    ///
    /// If there is no such user, the rules do not allow the password, or the database fails.
    pub async fn set_password(&self, act: &Act, username: Username, password: Password) -> Result<(), Error> {
        let hash = self.hash(&username, password).await?;
        Ok(self.store.set_password_hash(act, username, hash).await?)
    }

    async fn hash(&self, username: &Username, password: Password) -> Result<SecretString, Error> {
        self.policy.passwords.check(&password, username).map_err(Cause::Password)?;
        let policy = HashingPolicy { threads: 1, ..self.policy.hashing };
        let hasher = PasswordHasher::start(policy, Default::default()).map_err(Cause::Thread)?;
        Ok(hasher.hash(password).await?)
    }

    /// All users, in alphabetical order.
    pub(crate) async fn list(&self) -> Result<Vec<User>, Error> {
        Ok(self.store.list_users().await?)
    }

    pub(crate) async fn find(&self, username: &Username) -> Result<User, Error> {
        let user = self.store.find_user(username).await?;
        Ok(user.ok_or_else(|| store::Error::Missing(format!("user {username}")))?)
    }

    /// Applies a change and returns the changed user.
    ///
    /// # Errors
    ///
    /// If there is no such user, the user does not have what is to be removed, or the database fails.
    pub async fn update(&self, act: &Act, username: Username, change: UserChange) -> Result<User, Error> {
        Ok(self.store.update_user(act, username, change).await?)
    }

    /// Disables a user and ends their logins.
    ///
    /// # Errors
    ///
    /// If there is no such user, or the database fails.
    pub async fn disable(&self, act: &Act, username: Username) -> Result<User, Error> {
        self.store.set_user_disabled(act, username.clone(), true).await?;
        self.find(&username).await
    }

    /// Enables a user.
    ///
    /// # Errors
    ///
    /// If there is no such user, or the database fails.
    pub async fn enable(&self, act: &Act, username: Username) -> Result<User, Error> {
        self.store.set_user_disabled(act, username.clone(), false).await?;
        self.find(&username).await
    }

    /// Deletes a user and ends their logins.
    ///
    /// # Errors
    ///
    /// If there is no such user, or the database fails.
    pub async fn delete(&self, act: &Act, username: Username) -> Result<(), Error> {
        Ok(self.store.delete_user(act, username).await?)
    }
}
