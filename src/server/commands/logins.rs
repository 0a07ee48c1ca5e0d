use super::{
    Act, Error,
    nearest::{or_nearest, require_resource},
};
use crate::{
    clock::Timestamp,
    protocol::{Audience, ClientId},
    server::{
        model::{Listed, Login, LoginFilter, LoginId, LoginListFilter, TakenBack, Username, facts},
        store::Store,
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

impl LoginsOf {
    /// The name with its kind.
    fn kind_and_name(&self) -> (&'static str, String) {
        match self {
            Self::Id(id) => ("login", id.to_string()),
            Self::User(username) => ("user", username.to_string()),
            Self::Client(id) => ("client", id.to_string()),
        }
    }
}

/// Selects the logins of a list.
#[derive(Debug)]
pub(crate) struct ListedLogins {
    pub(crate) user: Option<Username>,
    pub(crate) client: Option<ClientId>,
    pub(crate) resource: Option<Audience>,
    /// They are not over at this time.
    pub(crate) active_at: Option<Timestamp>,
    pub(crate) limit: u32,
}

/// A login with the name of its user, unless the user was deleted.
pub(crate) type NamedLogin = (Login, Option<Username>);

impl Logins<'_> {
    /// The newest of the selected logins.
    pub(crate) async fn list(&self, selected: ListedLogins) -> Result<Vec<Listed<NamedLogin>>, Error> {
        let ListedLogins { user, client, resource, active_at, limit } = selected;
        require_resource(self.store, resource.as_ref()).await?;
        let of_client = match &client {
            Some(id) => Some(self.filter(&LoginsOf::Client(id.clone())).await?),
            None => None,
        };
        let of = match user {
            Some(user) => Some(self.filter(&LoginsOf::User(user)).await?),
            None => of_client,
        };
        Ok(self.store.list_logins(&LoginListFilter { of, client, resource, active_at, limit }).await?)
    }

    /// Ends the selected logins that have not been ended.
    ///
    /// # Errors
    ///
    /// If there is no such login, user or client, or the database fails.
    pub async fn end(&self, act: &Act, of: LoginsOf) -> Result<TakenBack, Error> {
        let filter = self.filter(&of).await?;
        let (kind, name) = of.kind_and_name();
        let mut named = facts([(kind, name.clone().into())]);
        if let LoginFilter::User(sub) = &filter {
            named.insert("sub".to_owned(), sub.clone().into());
        }
        Ok(self.store.end_logins_by_operator(act, filter, name, named).await?)
    }

    /// Requires that the login, the user or the client exists, even if other data of it is damaged.
    async fn filter(&self, of: &LoginsOf) -> Result<LoginFilter, Error> {
        let found = match of {
            LoginsOf::Id(id) => self.store.require_login(id).await.map(|()| LoginFilter::Id(id.clone())),
            LoginsOf::User(name) => self.store.require_user(name).await.map(LoginFilter::User),
            LoginsOf::Client(id) => self.store.require_client(id).await.map(|()| LoginFilter::Client(id.clone())),
        };
        or_nearest(self.store, found).await
    }
}
