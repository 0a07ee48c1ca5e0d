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
        client_key::ClientKey,
        model::{
            Client, ClientChange, ClientFilter, CredentialDrop, CredentialId, CustomClaims, Damaged, Listed, LoginFilter, StoredKey,
            StoredSecret, TakenBack, TokenLifetime,
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
    /// The methods by which it may authenticate; empty means all those by a secret, or by a key.
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
    /// Lifetime of its first secret or key, if it expires.
    pub credential_lifetime: Option<Duration>,
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

fn stored_key(act: &Act, key: ClientKey, lifetime: Option<Duration>) -> StoredKey {
    StoredKey { key, created_at: act.now, expires_at: lifetime.map(|lifetime| act.now + lifetime), last_used_at: None }
}

impl NewClient {
    /// The client without a secret or a key.
    fn client(self, act: &Act, methods: &[AuthMethod]) -> Client {
        Client {
            id: self.id,
            auth_methods: if self.auth_methods.is_empty() { methods.iter().copied().collect() } else { self.auth_methods },
            grants: self.grants,
            permissions: self.permissions,
            introspects: self.introspects,
            token_lifetime: self.token_lifetime,
            fixed_claims: self.fixed_claims,
            created_at: act.now,
            disabled_at: None,
            tokens_since: 0,
            secrets: Vec::new(),
            keys: Vec::new(),
            span: None,
        }
    }
}

impl Clients<'_> {
    /// Creates a client with a first secret.
    ///
    /// # Errors
    ///
    /// If the id is taken, a resource or scope does not exist, no method by a secret is allowed, or the database fails.
    pub async fn create(&self, act: &Act, new: NewClient) -> Result<(Client, NewSecret), Error> {
        let (secret, stored) = NewSecret::generate(act.now, new.credential_lifetime);
        let client = Client { secrets: vec![stored], ..new.client(act, AuthMethod::BY_SECRET) };
        Ok((self.insert(act, client).await?, secret))
    }

    /// Creates a client that has a key and no secret.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create), if `private_key_jwt` is not allowed.
    pub async fn create_with_key(&self, act: &Act, new: NewClient, key: ClientKey) -> Result<Client, Error> {
        let stored = stored_key(act, key, new.credential_lifetime);
        let client = Client { keys: vec![stored], ..new.client(act, &[AuthMethod::PrivateKeyJwt]) };
        self.insert(act, client).await
    }

    async fn insert(&self, act: &Act, client: Client) -> Result<Client, Error> {
        if !client.can_authenticate(act.now) {
            let methods = client.auth_methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(" and ");
            let why = if client.keys.is_empty() {
                "its secret is for client_secret_basic and client_secret_post"
            } else {
                "its key is for private_key_jwt"
            };
            return Err(StoreError::Refused(format!("with {methods} alone, the client could not authenticate: {why}")).into());
        }
        or_nearest(self.store, self.store.insert_client(act, client.clone()).await).await?;
        Ok(client)
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

    /// Requires that the client has the secret or the key.
    pub(crate) async fn require_credential(&self, id: &ClientId, credential: &CredentialId) -> Result<(), Error> {
        or_nearest(self.store, self.store.require_credential(id, credential).await).await
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

    /// Adds a public key, and allows the client to authenticate by it. Its other keys and its secrets stay valid.
    ///
    /// # Errors
    ///
    /// If there is no such client, it has the key already or too many, or the database fails.
    pub async fn add_key(&self, act: &Act, id: ClientId, key: ClientKey, lifetime: Option<Duration>) -> Result<(), Error> {
        let stored = stored_key(act, key, lifetime);
        or_nearest(self.store, self.store.insert_client_key(act, id, stored).await).await
    }

    /// Deletes a secret or a key. If it is compromised, also revokes the tokens that the client got for itself, and returns whether there were any that
    /// were not revoked yet.
    ///
    /// # Errors
    ///
    /// If there is no such client, secret or key, the client could not authenticate without it, or the database fails.
    pub async fn drop_credential(
        &self,
        act: &Act,
        id: ClientId,
        dropped: CredentialDrop,
    ) -> Result<(Result<Client, Damaged>, bool), Error> {
        or_nearest(self.store, self.store.delete_client_credential(act, id, dropped).await).await
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
