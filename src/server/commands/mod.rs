//! What an operator can do, each action once. The command line (and later the admin API) parses a request, calls a command and shows
//! the result.
//!
//! A command that changes something takes an [`Act`] and records the change in its transaction, with the properties that differ.

mod backup;
mod changes;
mod check;
mod clients;
mod error;
mod keys;
mod logins;
mod nearest;
mod not_revoked;
mod pages;
mod resources;
mod restored;
mod tokens;
mod users;
pub(crate) mod view;

pub use clients::{Clients, NewClient, NewSecret};
pub use error::Error;
pub use keys::{Condemned, Keys, Successor};
pub use logins::{Logins, LoginsOf};
pub use resources::{NewResource, Resources};
pub use tokens::Tokens;
pub use users::{NewUser, Users};

pub use super::{
    act::Act,
    client_key::{ClientKey, GeneratedKey, NotAClientKey},
    model::{
        ClaimName, ClaimValue, Client, ClientChange, CredentialDrop, CredentialId, CustomClaims, Damaged, LoginId, Password, Resource,
        ResourceChange, TakenBack, TokenLifetime, User, UserChange, Username,
    },
    secret::SecretId,
};

pub(crate) use check::RecordState;
pub(crate) use error::Cause;
pub(crate) use keys::NewSealing;
pub(crate) use logins::ListedLogins;
pub(crate) use not_revoked::NotRevoked;
pub(crate) use restored::restored;
pub(crate) use tokens::FOLLOWED_WITHIN;

use super::{
    keys as server_keys,
    passwords::{HashingPolicy, PasswordRules},
    store::{self, Opening, Store},
};
use crate::protocol::Issuer;

/// The part of the configuration that commands need.
#[derive(Debug, Clone)]
pub struct Policy {
    /// `None` if the settings do not name it.
    pub(crate) issuer: Option<Issuer>,
    pub(crate) store: store::Policy,
    pub(crate) keys: server_keys::Policy,
    pub(crate) passwords: PasswordRules,
    pub(crate) hashing: HashingPolicy,
}

/// The commands on one database.
#[derive(Debug, Clone)]
pub struct Commands {
    store: Store,
    policy: Policy,
}

impl Commands {
    /// Opens the database of a server that has run before.
    ///
    /// # Errors
    ///
    /// If the database does not exist or cannot be used.
    pub async fn open(policy: Policy) -> Result<Self, Error> {
        Self::open_as(policy, Opening::Existing).await
    }

    /// The same, but creates the database if it is missing.
    pub(crate) async fn create(policy: Policy) -> Result<Self, Error> {
        Self::open_as(policy, Opening::CreateIfMissing).await
    }

    async fn open_as(policy: Policy, opening: Opening) -> Result<Self, Error> {
        Ok(Self { store: Store::open(&policy.store, opening).await?, policy })
    }

    /// Closes the database.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// The issuer, if the settings name it.
    pub(crate) const fn issuer(&self) -> Option<&Issuer> {
        self.policy.issuer.as_ref()
    }

    /// The commands on resources.
    #[must_use]
    pub const fn resources(&self) -> Resources<'_> {
        Resources { store: &self.store }
    }

    /// The commands on clients.
    #[must_use]
    pub const fn clients(&self) -> Clients<'_> {
        Clients { store: &self.store }
    }

    /// The commands on users.
    #[must_use]
    pub const fn users(&self) -> Users<'_> {
        Users { store: &self.store, policy: &self.policy }
    }

    /// The commands on signing keys.
    #[must_use]
    pub const fn keys(&self) -> Keys<'_> {
        Keys { store: &self.store, policy: &self.policy.keys }
    }

    /// The commands on logins.
    #[must_use]
    pub const fn logins(&self) -> Logins<'_> {
        Logins { store: &self.store }
    }

    /// The commands on access tokens.
    #[must_use]
    pub const fn tokens(&self) -> Tokens<'_> {
        Tokens { store: &self.store, keys: &self.policy.keys, issuer: self.issuer() }
    }
}
