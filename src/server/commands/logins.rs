use std::collections::BTreeMap;

use super::{Act, Error};
use crate::{
    protocol::ClientId,
    server::{
        model::{Login, LoginFilter, LoginId, Username},
        store::{self, Store},
    },
};

/// The commands on logins.
#[derive(Debug, Clone, Copy)]
pub struct Logins<'a> {
    pub(super) store: &'a Store,
}

/// Selects logins by names that operators know.
#[derive(Debug)]
pub enum LoginsOf {
    /// The login with this id.
    Id(LoginId),
    /// All logins of this user.
    User(Username),
    /// All logins with this client.
    Client(ClientId),
}

/// A login with the name of its user, unless the user was deleted.
pub(crate) type NamedLogin = (Login, Option<Username>);

impl Logins<'_> {
    /// The newest logins, at most a thousand.
    pub(crate) async fn list(&self, of: Option<LoginsOf>) -> Result<Vec<NamedLogin>, Error> {
        let filter = match of {
            Some(of) => Some(self.filter(of).await?),
            None => None,
        };
        let names: BTreeMap<_, _> = self.store.list_users().await?.into_iter().map(|user| (user.id, user.username)).collect();
        let named = |login: Login| {
            let name = names.get(&login.user).cloned();
            (login, name)
        };
        Ok(self.store.list_logins(filter).await?.into_iter().map(named).collect())
    }

    /// Ends the selected logins that are not over yet and returns how many.
    ///
    /// # Errors
    ///
    /// If there is no such login, user or client, or the database fails.
    pub async fn end(&self, act: &Act, of: LoginsOf) -> Result<u64, Error> {
        let filter = self.filter(of).await?;
        Ok(self.store.end_logins_by_operator(act, filter).await?)
    }

    async fn filter(&self, of: LoginsOf) -> Result<LoginFilter, Error> {
        let (found, name) = match of {
            LoginsOf::Id(id) => (self.store.find_login(&id).await?.map(|login| LoginFilter::Id(login.id)), format!("login {id}")),
            LoginsOf::User(name) => (self.store.find_user(&name).await?.map(|user| LoginFilter::User(user.id)), format!("user {name}")),
            LoginsOf::Client(id) => {
                (self.store.find_client(&id).await?.map(|client| LoginFilter::Client(client.id)), format!("client {id}"))
            }
        };
        Ok(found.ok_or(store::Error::Missing(name))?)
    }
}
