use secrecy::{ExposeSecret, SecretString};
use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, Missing, Store,
    page::{PAGE, Page, disabled_number, text_or_empty, time_or_zero},
    permissions,
    row::{self, claims_or_null, parsed, parsed_if_any, readable, text, time, time_if_any},
    withdrawals::{self, Owner},
};
use crate::{
    clock::Timestamp,
    server::{
        act::Act,
        model::{Damaged, Detail, Ending, Facts, Listed, TakenBack, User, UserChange, UserFilter, UserId, Username},
    },
};

/// Selects users with their permissions: one row per scope token, or one with NULL. `$from` selects from `users`.
macro_rules! select {
    ($from:literal, $end:literal) => {
        concat!(
            "SELECT u.sub, u.username, u.password_hash, u.created_at, u.disabled_at, u.signed_in_at, u.attributes, u.tokens_since,
             s.scope, s.audience FROM ",
            $from,
            " u LEFT JOIN user_permissions s ON s.sub = u.sub ",
            $end
        )
    };
}

/// At most `$2` users after `$1`, in order. An empty text or a zero in place of a filter selects all.
const SELECT_PAGE: &str = select!(
    "(SELECT * FROM users c WHERE username > $1
       AND ($3 = '' OR EXISTS (SELECT 1 FROM user_permissions h WHERE h.sub = c.sub AND h.audience = $3))
       AND ($4 = 0 OR ($4 = 1 AND disabled_at IS NOT NULL) OR ($4 = 2 AND disabled_at IS NULL))
       AND ($5 = 0 OR (created_at <= $5 AND (signed_in_at IS NULL OR signed_in_at <= $5)
           AND NOT EXISTS (SELECT 1 FROM logins l WHERE l.sub = c.sub AND l.stepped_at > $5)))
     ORDER BY username LIMIT $2)",
    "ORDER BY u.username"
);

/// The data of a user that checking a password needs.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) id: UserId,
    pub(crate) password_hash: SecretString,
}

impl Store {
    pub(crate) async fn insert_user(&self, act: &Act, user: User) -> Result<(), Error> {
        let user = user.require_valid_attributes().map_err(Error::Refused)?;
        self.change(act, "user.create", user.username.clone(), move |connection| {
            Box::pin(async move {
                let inserted = sqlx::query(
                    "INSERT INTO users (sub, username, password_hash, created_at, disabled_at, signed_in_at, attributes)
                     VALUES ($1, $2, $3, $4, NULL, NULL, $5) ON CONFLICT DO NOTHING",
                )
                .bind(user.id.to_string())
                .bind(user.username.to_string())
                .bind(user.password_hash.expose_secret().to_owned())
                .bind(user.created_at.seconds())
                .bind(claims_or_null(&user.attributes))
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    return Err(Error::Exists { kind: "user", name: user.username.to_string() });
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
        find_with(&mut connection, select!("users", "WHERE u.sub = $1"), id.to_string()).await
    }

    /// The `sub` of a user, even if that or other data of theirs is damaged.
    pub(crate) async fn require_user(&self, username: &Username) -> Result<String, Error> {
        let row = sqlx::query("SELECT sub FROM users WHERE username = $1").bind(username.to_string()).fetch_optional(&self.pool).await?;
        text(&row.ok_or_else(|| missing(username))?, "sub")
    }

    async fn owner(&self, username: &Username) -> Result<Owner, Error> {
        self.require_user(username).await.map(Owner::User)
    }

    /// The page of users after the name `after`, in the database's order.
    pub(crate) async fn list_users(&self, filter: &UserFilter, after: &str) -> Result<Page<User>, Error> {
        let rows = sqlx::query(SELECT_PAGE)
            .bind(after.to_owned())
            .bind(PAGE)
            .bind(text_or_empty(filter.resource.as_ref()))
            .bind(disabled_number(filter.disabled))
            .bind(time_or_zero(filter.unused_since))
            .fetch_all(&self.pool)
            .await?;
        let mut listed = Vec::new();
        let mut rest = &rows[..];
        while let Some(first) = rest.first() {
            let name = row::name(first, "username")?;
            let count = rest.iter().take_while(|row| row::name(row, "username").is_ok_and(|other| other == name)).count();
            let (user, others) = rest.split_at(count);
            listed.push(Listed { name, data: readable(read(user))? });
            rest = others;
        }
        Ok(Page::of(listed))
    }

    /// Applies `change`. Returns the changed user, and what that took back. Removing a permission revokes the user's tokens; the logins go on without it.
    pub(crate) async fn update_user(&self, act: &Act, username: Username, change: UserChange) -> Result<(User, TakenBack), Error> {
        let (now, owner) = (act.now, self.owner(&username).await?);
        self.withdraw(act, "user.update", username.clone(), owner, move |connection| {
            Box::pin(async move {
                let user = lock(connection, &username).await?;
                let before = find(connection, &username).await?.ok_or_else(|| missing(&username))?;
                let (facts, allowed) = (before.facts(), before.permissions.clone());
                let after = change.apply(before).map_err(Error::Refused)?;
                sqlx::query("UPDATE users SET attributes = $2 WHERE sub = $1")
                    .bind(after.id.to_string())
                    .bind(claims_or_null(&after.attributes))
                    .execute(&mut *connection)
                    .await?;
                save_permissions(connection, &after).await?;
                let mut taken = TakenBack::default();
                if permissions::withdraws(&allowed, &after.permissions) {
                    taken = withdraw(connection, user, None, now).await?;
                }
                let detail = Detail::between(Some(facts), Some(after.facts()));
                Ok(((after, taken), detail))
            })
        })
        .await
    }

    /// Disables a user, which ends their logins, or enables them. Returns the changed user, unless they are damaged: that must not
    /// prevent the change; and what that took back.
    pub(crate) async fn set_user_disabled(
        &self,
        act: &Act,
        username: Username,
        disabled: bool,
    ) -> Result<(Result<User, Damaged>, TakenBack), Error> {
        let (action, now) = (if disabled { "user.disable" } else { "user.enable" }, act.now);
        let owner = self.owner(&username).await?;
        let open = if disabled { self.count_open(&owner, now).await? } else { TakenBack::default() };
        self.withdraw(act, action, username.clone(), owner, move |connection| {
            Box::pin(async move {
                let user = lock(connection, &username).await?;
                let before = facts(connection, &username).await?;
                // Disabling a disabled user keeps the earlier time.
                let sql = match disabled {
                    true => "UPDATE users SET disabled_at = COALESCE(disabled_at, $2) WHERE sub = $1",
                    false => "UPDATE users SET disabled_at = $2 WHERE sub = $1",
                };
                sqlx::query(sql).bind(user.clone()).bind(disabled.then(|| now.seconds())).execute(&mut *connection).await?;
                let after = readable(find(connection, &username).await.and_then(|user| user.ok_or_else(|| missing(&username))))?;
                let mut detail = Detail::between(before, after.as_ref().ok().map(User::facts));
                let mut taken = TakenBack::default();
                if disabled {
                    taken = withdraw(connection, user, Some((Ending::UserDisabled, open)), now).await?;
                    detail = detail.with_logins_ended(taken.logins);
                }
                Ok(((after, taken), detail))
            })
        })
        .await
    }

    /// Sets a password hash and ends the user's logins: someone who knew the old password may have begun them.
    pub(crate) async fn set_password_hash(&self, act: &Act, username: Username, hash: SecretString) -> Result<TakenBack, Error> {
        let (now, owner) = (act.now, self.owner(&username).await?);
        let open = self.count_open(&owner, now).await?;
        self.withdraw(act, "user.set_password", username.clone(), owner, move |connection| {
            Box::pin(async move {
                let user = lock(connection, &username).await?;
                let updated = sqlx::query("UPDATE users SET password_hash = $2 WHERE sub = $1");
                updated.bind(user.clone()).bind(hash.expose_secret().to_owned()).execute(&mut *connection).await?;
                let ended = withdraw(connection, user, Some((Ending::PasswordSet, open)), now).await?;
                Ok((ended, Detail::default().with_logins_ended(ended.logins)))
            })
        })
        .await
    }

    /// Ends a user's logins, and so revokes their tokens.
    pub(crate) async fn revoke_user_tokens(&self, act: &Act, username: Username) -> Result<TakenBack, Error> {
        let (now, owner) = (act.now, self.owner(&username).await?);
        let open = self.count_open(&owner, now).await?;
        self.withdraw(act, "user.revoke_tokens", username.clone(), owner, move |connection| {
            Box::pin(async move {
                let user = lock(connection, &username).await?;
                let ended = withdraw(connection, user, Some((Ending::Operator, open)), now).await?;
                Ok((ended, Detail::default().with_logins_ended(ended.logins)))
            })
        })
        .await
    }

    /// Deletes a user and ends their logins.
    pub(crate) async fn delete_user(&self, act: &Act, username: Username) -> Result<TakenBack, Error> {
        let (now, owner) = (act.now, self.owner(&username).await?);
        let open = self.count_open(&owner, now).await?;
        self.withdraw(act, "user.delete", username.clone(), owner, move |connection| {
            Box::pin(async move {
                let user = lock(connection, &username).await?;
                let before = facts(connection, &username).await?;
                sqlx::query("DELETE FROM user_permissions WHERE sub = $1").bind(user.clone()).execute(&mut *connection).await?;
                sqlx::query("DELETE FROM users WHERE sub = $1").bind(user.clone()).execute(&mut *connection).await?;
                let ended = withdraw(connection, user, Some((Ending::UserDeleted, open)), now).await?;
                Ok((ended, Detail::between(before, None).with_logins_ended(ended.logins)))
            })
        })
        .await
    }
}

/// Locks a user's row, so that what is read next stays true until the commit. Returns the `sub`, even if it is damaged.
async fn lock(connection: &mut AnyConnection, username: &Username) -> Result<String, Error> {
    let locked = sqlx::query("UPDATE users SET username = username WHERE username = $1 RETURNING sub");
    let row = locked.bind(username.to_string()).fetch_optional(connection).await?;
    text(&row.ok_or_else(|| missing(username))?, "sub")
}

/// Ends the logins of a user, who is locked or deleted, for a reason, or without one, revokes their tokens.
async fn withdraw(
    connection: &mut AnyConnection,
    user: String,
    ends: Option<(Ending, TakenBack)>,
    now: Timestamp,
) -> Result<TakenBack, Error> {
    // Makes requests for tokens fail that were decided by the rights that the user had until now: someone may be signing in at this moment.
    let raise = sqlx::query("UPDATE users SET tokens_since = tokens_since + 1 WHERE sub = $1");
    raise.bind(user.clone()).execute(&mut *connection).await?;
    withdrawals::decide(connection, &Owner::User(user), ends, now).await
}

/// The properties of a user for the change log; `None` if a row is damaged, which must not prevent disabling or deleting the user.
async fn facts(connection: &mut AnyConnection, username: &Username) -> Result<Option<Facts>, Error> {
    Ok(readable(find(connection, username).await)?.unwrap_or_default().map(|user| user.facts()))
}

fn missing(username: &Username) -> Error {
    Error::Missing(Missing::User(username.clone()))
}

async fn find(connection: &mut AnyConnection, username: &Username) -> Result<Option<User>, Error> {
    find_with(connection, select!("users", "WHERE u.username = $1"), username.to_string()).await
}

async fn find_with(connection: &mut AnyConnection, sql: &'static str, name: String) -> Result<Option<User>, Error> {
    let rows = sqlx::query(sql).bind(name).fetch_all(connection).await?;
    if rows.is_empty() { Ok(None) } else { read(&rows).map(Some) }
}

/// Reads one user from their rows, of which there is at least one.
fn read(rows: &[AnyRow]) -> Result<User, Error> {
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(User {
        id: parsed(row, "sub")?,
        username: parsed(row, "username")?,
        password_hash: text(row, "password_hash")?.into(),
        permissions: permissions::of_one(rows)?,
        attributes: parsed_if_any(row, "attributes")?.unwrap_or_default(),
        created_at: time(row, "created_at")?,
        disabled_at: time_if_any(row, "disabled_at")?,
        signed_in_at: time_if_any(row, "signed_in_at")?,
        tokens_since: row.try_get("tokens_since")?,
    })
}

async fn save_permissions(connection: &mut AnyConnection, user: &User) -> Result<(), Error> {
    let statements =
        ["DELETE FROM user_permissions WHERE sub = $1", "INSERT INTO user_permissions (sub, scope, audience) VALUES ($1, $2, $3)"];
    permissions::replace(connection, statements, &user.id.to_string(), user.permissions.iter()).await
}
