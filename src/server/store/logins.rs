use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, Missing, Store,
    page::{text_or_empty, time_or_zero},
    row::{name, parsed, readable, time, time_if_any, words},
    sign_in_sources::{self, SourceMark},
};
use crate::{
    clock::{SharedClock, Timestamp},
    protocol::GrantType,
    server::{
        act::Act,
        model::{Detail, Ending, Facts, Listed, Login, LoginFilter, LoginId, LoginListFilter, PasswordProof, Username},
    },
};

/// Builds a statement about the selected logins; `$1` is [`LoginFilter::name`].
macro_rules! of {
    ($of:expr, $before:literal, $after:literal) => {
        match $of {
            LoginFilter::Id(_) => concat!($before, " WHERE id = $1 ", $after),
            LoginFilter::User(_) => concat!($before, " WHERE sub = $1 ", $after),
            LoginFilter::Client(_) => concat!($before, " WHERE client_id = $1 ", $after),
        }
    };
}

/// A new login, with the other data that is stored in its transaction.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) login: Login,
    pub(crate) proof: PasswordProof,
    pub(crate) source: SourceMark,
    /// Maximum number of logins of this user with this client, including this one.
    pub(crate) limit: u32,
}

macro_rules! select {
    ($end:literal) => {
        concat!(
            "SELECT id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at, ended_at, ended_because
             FROM logins ",
            $end
        )
    };
}

/// Selects the logins of a list. An empty text or a zero in place of a filter selects all.
macro_rules! list {
    ($of:literal) => {
        concat!(
            "SELECT l.id, l.sub, l.client_id, l.audience, l.scope, l.generation, l.created_at, l.stepped_at, l.idle_ends_at,
                    l.absolute_ends_at, l.ended_at, l.ended_because, u.username
             FROM logins l LEFT JOIN users u ON u.sub = l.sub WHERE ",
            $of,
            " AND ($3 = '' OR l.client_id = $3) AND ($4 = '' OR l.audience = $4)
              AND ($5 = 0 OR (l.ended_at IS NULL AND l.idle_ends_at > $5 AND l.absolute_ends_at > $5))
             ORDER BY l.created_at DESC, l.id LIMIT $2"
        )
    };
}

impl Store {
    /// Maximum number of logins that one write deletes: other writes wait for it.
    const PURGED_AT_ONCE: u64 = 1000;

    /// Stores a login, and ends and returns the logins that then exceed the limit. `None` if the user or the client was disabled or
    /// deleted in the meantime, the password was changed or rehashed, or the client lost the grant type.
    ///
    /// User and client are updated first: on PostgreSQL that locks their rows, so that disabling one of them either comes first, and
    /// there is no login, or comes later and ends the login.
    pub(crate) async fn insert_login(&self, signed_in: SignedIn) -> Result<Option<Vec<LoginId>>, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let SignedIn { login, proof, source, limit } = signed_in;
                let user = sqlx::query(
                    "UPDATE users SET signed_in_at = $2, password_hash = $4 WHERE sub = $1 AND password_hash = $3 AND disabled_at IS NULL",
                )
                .bind(login.user.to_string())
                .bind(login.created_at.seconds())
                .bind(proof.hash.expose_secret().to_owned())
                .bind(proof.rehash.unwrap_or(proof.hash).expose_secret().to_owned())
                .execute(&mut *connection)
                .await?;
                let client = sqlx::query("UPDATE clients SET disabled_at = NULL WHERE id = $1 AND disabled_at IS NULL RETURNING grants")
                    .bind(login.client.to_string())
                    .fetch_optional(&mut *connection)
                    .await?;
                let grants: Vec<GrantType> = client.map_or(Ok(Vec::new()), |row| words(&row, "grants"))?;
                if user.rows_affected() == 0 || !grants.contains(&GrantType::Password) {
                    return Ok(None);
                }
                sqlx::query(
                    "INSERT INTO logins (id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                )
                .bind(login.id.to_string())
                .bind(login.user.to_string())
                .bind(login.client.to_string())
                .bind(login.audience.to_string())
                .bind(login.scope.to_string())
                .bind(login.generation)
                .bind(login.created_at.seconds())
                .bind(login.stepped_at.seconds())
                .bind(login.idle_ends_at.seconds())
                .bind(login.absolute_ends_at.seconds())
                .execute(&mut *connection)
                .await?;
                sign_in_sources::note(connection, &login, source).await?;
                end_surplus(connection, &login, limit).await.map(Some)
            })
        })
        .await
    }

    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn find_login(&self, id: &LoginId) -> Result<Option<Login>, Error> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Whether the login exists, even if other data of it is damaged.
    pub(crate) async fn require_login(&self, id: &LoginId) -> Result<(), Error> {
        let row = sqlx::query("SELECT id FROM logins WHERE id = $1").bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.map(drop).ok_or_else(|| Error::Missing(Missing::Login(id.clone())))
    }

    /// The newest logins with the names of their users, unless a user was deleted.
    pub(crate) async fn list_logins(&self, filter: &LoginListFilter) -> Result<Vec<Listed<(Login, Option<Username>)>>, Error> {
        // The first condition of each is one that an index serves.
        let (sql, selected) = match &filter.of {
            None => (list!("l.id <> $1"), String::new()),
            Some(of @ LoginFilter::Id(_)) => (list!("l.id = $1"), of.name()),
            Some(of @ LoginFilter::User(_)) => (list!("l.sub = $1"), of.name()),
            Some(of @ LoginFilter::Client(_)) => (list!("l.client_id = $1"), of.name()),
        };
        let rows = sqlx::query(sql)
            .bind(selected)
            .bind(i64::from(filter.limit))
            .bind(text_or_empty(filter.client.as_ref()))
            .bind(text_or_empty(filter.resource.as_ref()))
            .bind(time_or_zero(filter.active_at))
            .fetch_all(&self.pool)
            .await?;
        let named = |row: &AnyRow| {
            let username = row.try_get::<Option<String>, _>("username")?.map(|name| name.parse().map_err(Error::corrupt("username")));
            Ok((read(row)?, username.transpose()?))
        };
        rows.iter().map(|row| Ok(Listed { name: name(row, "id")?, data: readable(named(row))? })).collect()
    }

    /// The number of selected logins that have neither ended nor expired.
    pub(crate) async fn count_valid_logins(&self, of: LoginFilter, now: Timestamp) -> Result<u64, Error> {
        let mut connection = self.pool.acquire().await?;
        count_valid(&mut connection, &of, now).await
    }

    /// Advances a login from its generation to the next. Returns false if another request did so first, or the login is over.
    ///
    /// The time is read when the write runs, which may be later than the call: the period in which a lost response is repeated starts
    /// then.
    pub(crate) async fn step_login(&self, login: &Login, clock: SharedClock, idle_lifetime: Duration) -> Result<bool, Error> {
        let (id, generation, absolute_ends_at) = (login.id.clone(), login.generation, login.absolute_ends_at);
        self.write(move |connection| {
            Box::pin(async move {
                let now = clock.steady();
                let idle_ends_at = (now + idle_lifetime).min(absolute_ends_at);
                let stepped = sqlx::query(
                    "UPDATE logins SET generation = generation + 1, idle_ends_at = $4,
                     stepped_at = CASE WHEN stepped_at > $3 THEN stepped_at ELSE $3 END
                     WHERE id = $1 AND generation = $2 AND ended_at IS NULL AND idle_ends_at > $3 AND absolute_ends_at > $3",
                )
                .bind(id.to_string())
                .bind(generation)
                .bind(now.seconds())
                .bind(idle_ends_at.seconds())
                .execute(connection)
                .await?;
                Ok(stepped.rows_affected() == 1)
            })
        })
        .await
    }

    /// Ends the selected logins that have not been ended, and returns how many.
    pub(crate) async fn end_logins(&self, of: LoginFilter, because: Ending, now: Timestamp) -> Result<u64, Error> {
        self.write(move |connection| Box::pin(end(connection, of, because, now))).await
    }

    /// Ends logins for an operator, records the change, and returns how many had not expired. `target` and `named` say whose logins they are.
    pub(crate) async fn end_logins_by_operator(&self, act: &Act, of: LoginFilter, target: String, named: Facts) -> Result<u64, Error> {
        let now = act.now;
        self.change(act, "login.end", target, move |connection| {
            Box::pin(async move {
                let ended = end_and_count(connection, of, Ending::Operator, now).await?;
                Ok((ended, Detail::added(named).with_logins_ended(ended)))
            })
        })
        .await
    }

    /// Deletes logins that were over before `since`, in batches, and returns how many.
    pub(crate) async fn purge_logins(&self, since: Timestamp) -> Result<u64, Error> {
        let mut all = 0;
        for sql in [
            "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE absolute_ends_at < $1 LIMIT $2)",
            "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE idle_ends_at < $1 LIMIT $2)",
            "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE ended_at < $1 LIMIT $2)",
        ] {
            loop {
                let purge = self.write(move |connection| {
                    Box::pin(async move {
                        let purge = sqlx::query(sql).bind(since.seconds()).bind(Self::PURGED_AT_ONCE.cast_signed());
                        Ok(purge.execute(connection).await?.rows_affected())
                    })
                });
                let purged = purge.await?;
                all += purged;
                if purged < Self::PURGED_AT_ONCE {
                    break;
                }
            }
        }
        Ok(all)
    }
}

/// Ends the logins of the same user and client beyond `limit`, least recently used first. Ends at most 100 per call, so that the cost
/// is bounded where many more existed before the limit did.
async fn end_surplus(connection: &mut AnyConnection, login: &Login, limit: u32) -> Result<Vec<LoginId>, Error> {
    const ENDED_AT_ONCE: i64 = 100;
    // Two statements: with one, the query planner of either database may read all open logins of all users.
    let surplus = sqlx::query(
        "SELECT id FROM logins WHERE sub = $1 AND client_id = $2 AND id <> $3 AND ended_at IS NULL
         AND idle_ends_at > $6 ORDER BY stepped_at DESC, id LIMIT $4 OFFSET $5",
    )
    .bind(login.user.to_string())
    .bind(login.client.to_string())
    .bind(login.id.to_string())
    .bind(ENDED_AT_ONCE)
    .bind(i64::from(limit) - 1)
    .bind(login.created_at.seconds())
    .fetch_all(&mut *connection)
    .await?;
    let mut ended = Vec::with_capacity(surplus.len());
    for row in &surplus {
        let id: LoginId = parsed(row, "id")?;
        if end(connection, LoginFilter::Id(id.clone()), Ending::Displaced, login.created_at).await? == 1 {
            ended.push(id);
        }
    }
    Ok(ended)
}

/// Ends the selected logins, and returns how many of them had not expired. The others are ended too: the clock of this machine may be ahead, and
/// then they are still valid on the servers.
pub(super) async fn end_and_count(connection: &mut AnyConnection, of: LoginFilter, because: Ending, now: Timestamp) -> Result<u64, Error> {
    let count = count_valid(connection, &of, now).await?;
    end(connection, of, because, now).await?;
    Ok(count)
}

/// Ends the selected logins that have not been ended, and returns how many.
async fn end(connection: &mut AnyConnection, of: LoginFilter, because: Ending, now: Timestamp) -> Result<u64, Error> {
    let sql = of!(of, "UPDATE logins SET ended_at = $2, ended_because = $3", "AND ended_at IS NULL");
    let end = sqlx::query(sql).bind(of.name()).bind(now.seconds()).bind(because.as_str());
    Ok(end.execute(connection).await?.rows_affected())
}

async fn count_valid(connection: &mut AnyConnection, of: &LoginFilter, now: Timestamp) -> Result<u64, Error> {
    let sql = of!(of, "SELECT COUNT(*) AS n FROM logins", "AND ended_at IS NULL AND idle_ends_at > $2 AND absolute_ends_at > $2");
    let count: i64 = sqlx::query(sql).bind(of.name()).bind(surely_over(now)).fetch_one(connection).await?.try_get("n")?;
    Ok(count.unsigned_abs())
}

/// A login whose end is not after this time has expired for every node: their clocks may be behind.
fn surely_over(now: Timestamp) -> i64 {
    (now - Login::SKEW).seconds()
}

fn read(row: &AnyRow) -> Result<Login, Error> {
    Ok(Login {
        id: parsed(row, "id")?,
        user: parsed(row, "sub")?,
        client: parsed(row, "client_id")?,
        audience: parsed(row, "audience")?,
        scope: parsed(row, "scope")?,
        generation: row.try_get("generation")?,
        created_at: time(row, "created_at")?,
        stepped_at: time(row, "stepped_at")?,
        idle_ends_at: time(row, "idle_ends_at")?,
        absolute_ends_at: time(row, "absolute_ends_at")?,
        ended_at: time_if_any(row, "ended_at")?,
        ended_because: row.try_get("ended_because")?,
    })
}
