use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Act, Error,
    nearest::{or_nearest, require_resource},
    pages::read_all,
};
use crate::{
    clock::Timestamp,
    protocol::{Audience, AuthMethod, ClientId, GrantType, Scope},
    server::{
        model::{
            Client, ClientChange, ClientFilter, CustomClaims, Damaged, Listed, LoginFilter, SecretDrop, StoredSecret, TakenBack,
            TokenLifetime,
        },
        secret::{ClientSecret, SecretId},
        store::{Error as StoreError, Missing, Store},
    },
};

/// The commands on clients.
#[derive(Debug, Clone, Copy)]
pub struct Clients<'a> {
    pub(super) store: &'a Store,
}

/// A client to create.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// Its id.
    pub id: ClientId,
    /// The methods by which it may authenticate; empty means all.
    pub auth_methods: BTreeSet<AuthMethod>,
    /// The grant types that it may use.
    pub grants: BTreeSet<GrantType>,
    /// The scope that it may have, by resource.
    pub permissions: BTreeMap<Audience, Scope>,
    /// The resources whose tokens it may introspect.
    pub introspects: BTreeSet<Audience>,
    /// Maximum lifetime of its tokens, if it is not the default.
    pub token_lifetime: Option<TokenLifetime>,
    /// Claims of all tokens that it gets.
    pub fixed_claims: CustomClaims,
    /// Lifetime of its first secret, if it expires.
    pub secret_lifetime: Option<Duration>,
}

/// A secret that was just created: the only time that it can be shown.
#[derive(Debug)]
pub struct NewSecret {
    secret: ClientSecret,
    pub(crate) expires_at: Option<Timestamp>,
}

impl NewSecret {
    fn generate(now: Timestamp, lifetime: Option<Duration>) -> (Self, StoredSecret) {
        let secret = ClientSecret::generate();
        let expires_at = lifetime.map(|lifetime| now + lifetime);
        let stored = StoredSecret { id: secret.id().clone(), digest: secret.digest(), created_at: now, expires_at, last_used_at: None };
        (Self { secret, expires_at }, stored)
    }

    /// Its id, which is not secret.
    #[must_use]
    pub const fn id(&self) -> &SecretId {
        self.secret.id()
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose()
    }
}

impl Clients<'_> {
    /// Creates a client with a first secret.
    ///
    /// # Errors
    ///
    /// If the id is taken, a resource or scope does not exist, or the database fails.
    pub async fn create(&self, act: &Act, new: NewClient) -> Result<(Client, NewSecret), Error> {
        let (secret, stored) = NewSecret::generate(act.now, new.secret_lifetime);
        let all_methods = || AuthMethod::ALL.iter().copied().collect();
        let client = Client {
            id: new.id,
            auth_methods: if new.auth_methods.is_empty() { all_methods() } else { new.auth_methods },
            grants: new.grants,
            permissions: new.permissions,
            introspects: new.introspects,
            token_lifetime: new.token_lifetime,
            fixed_claims: new.fixed_claims,
            created_at: act.now,
            disabled_at: None,
            tokens_since: 0,
            secrets: vec![stored],
            span: None,
        };
        or_nearest(self.store, self.store.insert_client(act, client.clone()).await).await?;
        Ok((client, secret))
    }

    /// The selected clients, in alphabetical order.
    pub(crate) async fn list(&self, filter: &ClientFilter) -> Result<Vec<Listed<Client>>, Error> {
        require_resource(self.store, filter.resource.as_ref()).await?;
        read_all(filter.limit, async |after: &str| self.store.list_clients(filter, after).await).await
    }

    pub(crate) async fn find(&self, id: &ClientId) -> Result<Client, Error> {
        let client = self.store.find_client(id).await?;
        or_nearest(self.store, client.ok_or_else(|| StoreError::Missing(Missing::Client(id.clone())))).await
    }

    /// The number of logins that users have by the client.
    pub(crate) async fn count_logins(&self, id: &ClientId, now: Timestamp) -> Result<u64, Error> {
        or_nearest(self.store, self.store.require_client(id).await).await?;
        Ok(self.store.count_valid_logins(LoginFilter::Client(id.clone()), now).await?)
    }

    /// Requires that the client has the secret.
    pub(crate) async fn require_secret(&self, id: &ClientId, secret: &SecretId) -> Result<(), Error> {
        or_nearest(self.store, self.store.require_secret(id, secret).await).await
    }

    /// Applies a change. Returns the changed client, and what that took back. Withdrawing a permission or a grant type revokes its tokens.
    ///
    /// # Errors
    ///
    /// If there is no such client, it does not have what is to be removed, or the database fails.
    pub async fn update(&self, act: &Act, id: ClientId, change: ClientChange) -> Result<(Client, TakenBack), Error> {
        or_nearest(self.store, self.store.update_client(act, id, change).await).await
    }

    /// Disables a client, revokes its tokens and ends its logins. A damaged client is disabled too, but cannot be returned.
    ///
    /// # Errors
    ///
    /// If there is no such client, or the database fails.
    pub async fn disable(&self, act: &Act, id: ClientId) -> Result<(Result<Client, Damaged>, TakenBack), Error> {
        or_nearest(self.store, self.store.set_client_disabled(act, id, true).await).await
    }

    /// Enables a client. A damaged client is enabled too, but cannot be returned.
    ///
    /// # Errors
    ///
    /// If there is no such client, or the database fails.
    pub async fn enable(&self, act: &Act, id: ClientId) -> Result<Result<Client, Damaged>, Error> {
        let (client, _) = or_nearest(self.store, self.store.set_client_disabled(act, id, false).await).await?;
        Ok(client)
    }

    /// Deletes a client and its secrets, revokes its tokens, and ends its logins.
    ///
    /// # Errors
    ///
    /// If there is no such client, or the database fails.
    pub async fn delete(&self, act: &Act, id: ClientId) -> Result<TakenBack, Error> {
        or_nearest(self.store, self.store.delete_client(act, id).await).await
    }

    /// Adds a secret; the other secrets stay valid.
    ///
    /// # Errors
    ///
    /// If there is no such client, or the database fails.
    pub async fn add_secret(&self, act: &Act, id: ClientId, lifetime: Option<Duration>) -> Result<NewSecret, Error> {
        let (secret, stored) = NewSecret::generate(act.now, lifetime);
        or_nearest(self.store, self.store.insert_client_secret(act, id, stored).await).await?;
        Ok(secret)
    }

    /// Deletes a secret. If it is compromised, also revokes the tokens that the client got for itself, and returns whether there were any that were not
    /// revoked yet.
    ///
    /// # Errors
    ///
    /// If there is no such client or secret, it is the last valid one, or the database fails.
    pub async fn drop_secret(&self, act: &Act, id: ClientId, dropped: SecretDrop) -> Result<(Result<Client, Damaged>, bool), Error> {
        or_nearest(self.store, self.store.delete_client_secret(act, id, dropped).await).await
    }

    /// Revokes all tokens that a client got for itself. The client goes on, and so do the logins of users. Returns whether there were any that were not
    /// revoked yet.
    ///
    /// # Errors
    ///
    /// If there is no such client, or the database fails.
    pub async fn revoke_tokens(&self, act: &Act, id: ClientId) -> Result<bool, Error> {
        or_nearest(self.store, self.store.revoke_client_tokens(act, id).await).await
    }
}
