use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AnyConnection, any::AnyRow};

use super::{
    Error, Store, logins, permissions,
    row::{parsed, text, time, time_if_any},
};
use crate::server::{
    act::Act,
    model::{Detail, Ending, Facts, LoginFilter, User, UserChange, UserId, Username},
};

macro_rules! select {
    (users $end:literal) => {
        concat!("SELECT sub, username, password_hash, created_at, disabled_at, signed_in_at FROM users ", $end)
    };
    (scopes $end:literal) => {
        concat!("SELECT sub, scope, audience FROM user_scopes ", $end)
    };
}

/// The data of a user that checking a password needs.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) id: UserId,
    pub(crate) password_hash: SecretString,
}

impl Store {
    pub(crate) async fn insert_user(&self, act: &Act, user: User) -> Result<(), Error> {
        self.change(act, "user.create", user.username.clone(), move |connection| {
            Box::pin(async move {
                let inserted = sqlx::query(
                    "INSERT INTO users (sub, username, password_hash, created_at, disabled_at, signed_in_at)
                     VALUES ($1, $2, $3, $4, NULL, NULL) ON CONFLICT DO NOTHING",
                )
                .bind(user.id.to_string())
                .bind(user.username.to_string())
                .bind(user.password_hash.expose_secret().to_owned())
                .bind(user.created_at.seconds())
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    return Err(Error::Exists(format!("the user {}", user.username)));
                }
                save_permissions(connection, &user).await?;
                Ok(((), Detail::added(user.facts())))
            })
        })
        .await
    }

    pub(crate) async fn find_user(&self, username: &Username) -> Result<Option<User>, Error> {
        let mut connection = self.pool.acquire().await?;
        find(&mut connection, username).await
    }

    /// The data for checking a password: one query, whether or not the user exists.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn find_credentials(&self, username: &Username) -> Result<Option<Credentials>, Error> {
        let row = sqlx::query("SELECT sub, password_hash FROM users WHERE username = $1");
        let row = row.bind(username.to_string()).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(Credentials { id: parsed(&row, "sub")?, password_hash: text(&row, "password_hash")?.into() })).transpose()
    }

    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn find_user_by_id(&self, id: UserId) -> Result<Option<User>, Error> {
        let mut connection = self.pool.acquire().await?;
        let users = sqlx::query(select!(users "WHERE sub = $1")).bind(id.to_string()).fetch_all(&mut *connection).await?;
        read_one(&mut connection, users).await
    }

    /// Every user, in alphabetical order.
    pub(crate) async fn list_users(&self) -> Result<Vec<User>, Error> {
        let mut connection = self.pool.acquire().await?;
        let users = sqlx::query(select!(users "")).fetch_all(&mut *connection).await?;
        let scopes = sqlx::query(select!(scopes "")).fetch_all(&mut *connection).await?;
        let mut users = read(&users, &scopes)?;
        users.sort_by(|one, other| one.username.cmp(&other.username));
        Ok(users)
    }

    /// Applies `change` and returns the changed user.
    pub(crate) async fn update_user(&self, act: &Act, username: Username, change: UserChange) -> Result<User, Error> {
        self.change(act, "user.update", username.clone(), move |connection| {
            Box::pin(async move {
                lock(connection, &username).await?;
                let before = find(connection, &username).await?.ok_or_else(|| missing(&username))?;
                let facts = before.facts();
                let after = change.apply(before).map_err(Error::Refused)?;
                save_permissions(connection, &after).await?;
                let detail = Detail::between(Some(facts), Some(after.facts()));
                Ok((after, detail))
            })
        })
        .await
    }

    /// Disables a user, which ends their logins, or enables them.
    pub(crate) async fn set_user_disabled(&self, act: &Act, username: Username, disabled: bool) -> Result<(), Error> {
        let (action, now) = (if disabled { "user.disable" } else { "user.enable" }, act.now);
        self.change(act, action, username.clone(), move |connection| {
            Box::pin(async move {
                let user = lock(connection, &username).await?;
                let before = facts(connection, &username).await?;
                // Disabling a disabled user keeps the earlier time.
                let sql = match disabled {
                    true => "UPDATE users SET disabled_at = COALESCE(disabled_at, $2) WHERE sub = $1",
                    false => "UPDATE users SET disabled_at = $2 WHERE sub = $1",
                };
                sqlx::query(sql).bind(user.to_string()).bind(disabled.then(|| now.seconds())).execute(&mut *connection).await?;
                if disabled {
                    logins::end(connection, LoginFilter::User(user), Ending::UserDisabled, now).await?;
                }
                Ok(((), Detail::between(before, facts(connection, &username).await?)))
            })
        })
        .await
    }

    /// Sets a password hash and ends the user's logins: someone who knew the old password may have begun them.
    pub(crate) async fn set_password_hash(&self, act: &Act, username: Username, hash: SecretString) -> Result<(), Error> {
        let now = act.now;
        self.change(act, "user.set_password", username.clone(), move |connection| {
            Box::pin(async move {
                let user = lock(connection, &username).await?;
                let updated = sqlx::query("UPDATE users SET password_hash = $2 WHERE sub = $1");
                updated.bind(user.to_string()).bind(hash.expose_secret().to_owned()).execute(&mut *connection).await?;
                logins::end(connection, LoginFilter::User(user), Ending::PasswordSet, now).await?;
                Ok(((), Detail::default()))
            })
        })
        .await
    }

    /// Deletes a user and ends their logins.
    pub(crate) async fn delete_user(&self, act: &Act, username: Username) -> Result<(), Error> {
        let now = act.now;
        self.change(act, "user.delete", username.clone(), move |connection| {
            Box::pin(async move {
                let user = lock(connection, &username).await?;
                let before = facts(connection, &username).await?;
                sqlx::query("DELETE FROM user_scopes WHERE sub = $1").bind(user.to_string()).execute(&mut *connection).await?;
                sqlx::query("DELETE FROM users WHERE sub = $1").bind(user.to_string()).execute(&mut *connection).await?;
                logins::end(connection, LoginFilter::User(user), Ending::UserDeleted, now).await?;
                Ok(((), Detail::between(before, None)))
            })
        })
        .await
    }
}

/// Locks a user's row, so that what is read next stays true until the commit.
async fn lock(connection: &mut AnyConnection, username: &Username) -> Result<UserId, Error> {
    let locked = sqlx::query("UPDATE users SET username = username WHERE username = $1 RETURNING sub");
    let row = locked.bind(username.to_string()).fetch_optional(connection).await?;
    parsed(&row.ok_or_else(|| missing(username))?, "sub")
}

/// The properties of a user for the change log; `None` if a row is damaged, which must not prevent disabling or deleting the user.
async fn facts(connection: &mut AnyConnection, username: &Username) -> Result<Option<Facts>, Error> {
    match find(connection, username).await {
        Err(Error::Corrupt { .. }) => Ok(None),
        found => Ok(found?.map(|user| user.facts())),
    }
}

fn missing(username: &Username) -> Error {
    Error::Missing(format!("user {username}"))
}

async fn find(connection: &mut AnyConnection, username: &Username) -> Result<Option<User>, Error> {
    let users = sqlx::query(select!(users "WHERE username = $1")).bind(username.to_string()).fetch_all(&mut *connection).await?;
    read_one(connection, users).await
}

async fn read_one(connection: &mut AnyConnection, users: Vec<AnyRow>) -> Result<Option<User>, Error> {
    let Some(row) = users.first() else { return Ok(None) };
    let scopes = sqlx::query(select!(scopes "WHERE sub = $1")).bind(text(row, "sub")?).fetch_all(connection).await?;
    Ok(read(&users, &scopes)?.pop())
}

fn read(users: &[AnyRow], scopes: &[AnyRow]) -> Result<Vec<User>, Error> {
    let mut held: BTreeMap<UserId, _> = permissions::group(scopes, |row| parsed(row, "sub"))?;
    let user = |row: &AnyRow| {
        let id = parsed(row, "sub")?;
        Ok(User {
            id,
            username: parsed(row, "username")?,
            password_hash: text(row, "password_hash")?.into(),
            permissions: held.remove(&id).unwrap_or_default(),
            created_at: time(row, "created_at")?,
            disabled_at: time_if_any(row, "disabled_at")?,
            signed_in_at: time_if_any(row, "signed_in_at")?,
        })
    };
    users.iter().map(user).collect()
}

async fn save_permissions(connection: &mut AnyConnection, user: &User) -> Result<(), Error> {
    let statements = ["DELETE FROM user_scopes WHERE sub = $1", "INSERT INTO user_scopes (sub, scope, audience) VALUES ($1, $2, $3)"];
    permissions::replace(connection, statements, &user.id.to_string(), user.permissions.iter()).await
}
