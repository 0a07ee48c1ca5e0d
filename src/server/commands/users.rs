use std::collections::BTreeMap;

use secrecy::SecretString;

use super::{
    Act, Cause, Error, Policy,
    nearest::{or_nearest, require_resource},
    pages::read_all,
};
use crate::{
    clock::Timestamp,
    protocol::{Audience, Scope},
    server::{
        model::{CustomClaims, Damaged, Listed, LoginFilter, Password, TakenBack, User, UserChange, UserFilter, UserId, Username},
        passwords::{HashingPolicy, PasswordHasher},
        store::{Error as StoreError, Missing, Store},
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
    /// What resources may ask for.
    pub attributes: CustomClaims,
}

impl Users<'_> {
    /// Creates a user.
    ///
    /// # Errors
    ///
    /// If the name is taken, the rules do not allow the password, a resource or scope does not exist, or the database fails.
    pub async fn create(&self, act: &Act, new: NewUser) -> Result<User, Error> {
        let NewUser { username, password, permissions, attributes } = new;
        let password_hash = self.hash(&username, password).await?;
        let user = User {
            id: UserId::generate(),
            username,
            password_hash,
            permissions,
            attributes,
            created_at: act.now,
            disabled_at: None,
            signed_in_at: None,
            tokens_since: 0,
        };
        or_nearest(self.store, self.store.insert_user(act, user.clone()).await).await?;
        Ok(user)
    }

    /// Sets a password and ends the user's logins.
    ///
    /// # Errors
    ///
    /// If there is no such user, the rules do not allow the password, or the database fails.
    pub async fn set_password(&self, act: &Act, username: Username, password: Password) -> Result<TakenBack, Error> {
        let hash = self.hash(&username, password).await?;
        or_nearest(self.store, self.store.set_password_hash(act, username, hash).await).await
    }

    async fn hash(&self, username: &Username, password: Password) -> Result<SecretString, Error> {
        self.policy.passwords.check(&password, username).map_err(Cause::Password)?;
        let policy = HashingPolicy { threads: 1, ..self.policy.hashing };
        let hasher = PasswordHasher::start(policy, Default::default()).map_err(Cause::Thread)?;
        Ok(hasher.hash(password).await?)
    }

    /// The selected users, in alphabetical order.
    pub(crate) async fn list(&self, filter: &UserFilter) -> Result<Vec<Listed<User>>, Error> {
        require_resource(self.store, filter.resource.as_ref()).await?;
        read_all(filter.limit, async |after: &str| self.store.list_users(filter, after).await).await
    }

    pub(crate) async fn find(&self, username: &Username) -> Result<User, Error> {
        let user = self.store.find_user(username).await?;
        or_nearest(self.store, user.ok_or_else(|| StoreError::Missing(Missing::User(username.clone())))).await
    }

    /// The number of logins that the user has.
    pub(crate) async fn count_logins(&self, username: &Username, now: Timestamp) -> Result<u64, Error> {
        let user = or_nearest(self.store, self.store.require_user(username).await).await?;
        Ok(self.store.count_valid_logins(LoginFilter::User(user), now).await?)
    }

    /// Applies a change. Returns the changed user, and what that took back. Withdrawing a permission revokes their access tokens; logins go on.
    ///
    /// # Errors
    ///
    /// If there is no such user, the user does not have what is to be removed, or the database fails.
    pub async fn update(&self, act: &Act, username: Username, change: UserChange) -> Result<(User, TakenBack), Error> {
        or_nearest(self.store, self.store.update_user(act, username, change).await).await
    }

    /// Disables a user and ends their logins. A damaged user is disabled too, but cannot be returned.
    ///
    /// # Errors
    ///
    /// If there is no such user, or the database fails.
    pub async fn disable(&self, act: &Act, username: Username) -> Result<(Result<User, Damaged>, TakenBack), Error> {
        or_nearest(self.store, self.store.set_user_disabled(act, username, true).await).await
    }

    /// Enables a user. A damaged user is enabled too, but cannot be returned.
    ///
    /// # Errors
    ///
    /// If there is no such user, or the database fails.
    pub async fn enable(&self, act: &Act, username: Username) -> Result<Result<User, Damaged>, Error> {
        let (user, _) = or_nearest(self.store, self.store.set_user_disabled(act, username, false).await).await?;
        Ok(user)
    }

    /// Revokes all access tokens of a user by ending their logins.
    ///
    /// # Errors
    ///
    /// If there is no such user, or the database fails.
    pub async fn revoke_tokens(&self, act: &Act, username: Username) -> Result<TakenBack, Error> {
        or_nearest(self.store, self.store.revoke_user_tokens(act, username).await).await
    }

    /// Deletes a user and ends their logins.
    ///
    /// # Errors
    ///
    /// If there is no such user, or the database fails.
    pub async fn delete(&self, act: &Act, username: Username) -> Result<TakenBack, Error> {
        or_nearest(self.store, self.store.delete_user(act, username).await).await
    }
}
