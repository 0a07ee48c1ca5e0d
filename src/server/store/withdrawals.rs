//! What is withdrawn from a client or a user has to reach all of their logins, of which there may be millions.
//!
//! The decision is committed first, and counts from then on: a login that it has not reached yet gets no token. The logins follow in batches, each a
//! short write with an epoch of its own. What one process leaves, because it is killed or loses the database, any other goes on with.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{
    Any, AnyConnection, Database, Postgres, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};

use super::{
    Error, Store,
    epochs::{self, Kind},
    row::{readable, text, time},
};
use crate::{
    clock::Timestamp,
    server::{
        act::Act,
        model::{Damaged, Detail, Ending, Login, Revocation, TakenBack},
    },
};

/// Whose logins they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    Client(String),
    /// The user with this `sub`, which may be damaged.
    User(String),
}

/// A withdrawal that has not reached all logins. It equals itself read again if it has not gone on since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Withdrawal {
    n: i64,
    owner: Owner,
    /// Why the logins end. `None`: they go on with another position.
    because: Option<String>,
    decided_at: Timestamp,
    /// It has reached the logins up to this id.
    done_to: String,
}

macro_rules! select {
    ($end:literal) => {
        concat!("SELECT n, client_id, sub, ended_because, decided_at, done_to FROM withdrawals ", $end)
    };
}

/// A condition on a row of `logins`: there is no withdrawal that still has to reach it.
macro_rules! has_its_rights {
    () => {
        "NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.n > logins.rights_since AND (w.client_id = logins.client_id OR w.sub = logins.sub)
         AND (w.ended_because IS NOT NULL OR logins.status_list IS NOT NULL))"
    };
}
pub(super) use has_its_rights;

/// The end of a subquery about a row of `logins`: the first of the withdrawals that end it and still have to reach it.
macro_rules! from_its_end {
    () => {
        "FROM withdrawals w WHERE w.n > logins.rights_since AND (w.client_id = logins.client_id OR w.sub = logins.sub)
         AND w.ended_because IS NOT NULL ORDER BY w.n LIMIT 1"
    };
}
pub(super) use from_its_end;

/// Builds a statement about the logins of an owner (`$1`) that have not ended.
macro_rules! open {
    ($owner:expr, $before:literal, $after:literal) => {
        match $owner {
            Owner::Client(_) => concat!($before, " WHERE client_id = $1 AND ended_at IS NULL ", $after),
            Owner::User(_) => concat!($before, " WHERE sub = $1 AND ended_at IS NULL ", $after),
        }
    };
}

/// Builds a statement about those that a withdrawal (`$2`) still has to reach, after the id `$3`. `$4` is 1 if they end, or 0 if they lose their position.
macro_rules! not_reached {
    ($owner:expr, $before:literal, $after:literal) => {
        match $owner {
            Owner::Client(_) => concat!(
                $before,
                " WHERE client_id = $1 AND ended_at IS NULL AND rights_since < $2 AND id > $3 AND ($4 = 1 OR status_list IS NOT NULL) ",
                $after
            ),
            Owner::User(_) => concat!(
                $before,
                " WHERE sub = $1 AND ended_at IS NULL AND rights_since < $2 AND id > $3 AND ($4 = 1 OR status_list IS NOT NULL) ",
                $after
            ),
        }
    };
}

impl Withdrawal {
    /// How long to wait between two batches. Without it, other processes on an SQLite file would hardly get a turn to write.
    pub(crate) const PAUSE: Duration = Duration::from_millis(10);
    /// Maximum number of logins that one batch reaches.
    const AT_ONCE: usize = 1000;

    /// Binds the first four parameters of a statement about the logins after `done_to`.
    fn bind(&self, sql: &'static str, done_to: &str) -> Query<'static, Any, AnyArguments> {
        let ends = i64::from(self.because.is_some());
        sqlx::query(sql).bind(self.owner.name().to_owned()).bind(self.n).bind(done_to.to_owned()).bind(ends)
    }
}

impl Owner {
    fn name(&self) -> &str {
        match self {
            Self::Client(name) | Self::User(name) => name,
        }
    }

    /// Locks the row of the client or the user, unless it was deleted.
    pub(super) async fn lock(&self, connection: &mut AnyConnection) -> Result<(), Error> {
        let sql = match self {
            Self::Client(_) => "UPDATE clients SET id = id WHERE id = $1",
            Self::User(_) => "UPDATE users SET sub = sub WHERE sub = $1",
        };
        sqlx::query(sql).bind(self.name().to_owned()).execute(connection).await?;
        Ok(())
    }
}

impl Store {
    /// Runs a write of an operator that may withdraw something from an owner, records it, and has it reach the owner's logins, after what earlier
    /// commands have left of theirs. A command that is run again is refused if its change has been made: then it only finishes what was left.
    pub(super) async fn withdraw<T: Send + 'static>(
        &self,
        act: &Act,
        action: &'static str,
        target: impl ToString,
        owner: Owner,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<(T, Detail), Error>> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.change(act, action, target, write).await;
        if !matches!(done, Ok(_) | Err(Error::Missing(_) | Error::Refused(_))) {
            return done;
        }
        let finished = self.finish_withdrawals(&owner).await;
        let done = done?;
        finished.map_err(|error| Error::Unfinished(Box::new(error)))?;
        Ok(done)
    }

    async fn finish_withdrawals(&self, owner: &Owner) -> Result<(), Error> {
        let sql = match owner {
            Owner::Client(_) => select!("WHERE client_id = $1 ORDER BY n"),
            Owner::User(_) => select!("WHERE sub = $1 ORDER BY n"),
        };
        let rows = sqlx::query(sql).bind(owner.name().to_owned()).fetch_all(&self.pool).await?;
        // A server reports those that are damaged.
        for withdrawal in read_each(&rows)?.into_iter().flatten() {
            while self.continue_withdrawal(&withdrawal).await? {
                tokio::time::sleep(Withdrawal::PAUSE).await;
            }
        }
        Ok(())
    }

    /// The withdrawals that have not reached all logins, in the order of their decisions.
    pub(crate) async fn list_withdrawals(&self) -> Result<Vec<Result<Withdrawal, Damaged>>, Error> {
        let rows = sqlx::query(select!("ORDER BY n")).fetch_all(&self.pool).await?;
        read_each(&rows)
    }

    /// Has a withdrawal reach a batch of logins. Returns whether there may be more.
    pub(crate) async fn continue_withdrawal(&self, withdrawal: &Withdrawal) -> Result<bool, Error> {
        let withdrawal = withdrawal.clone();
        self.write(move |connection| Box::pin(async move { reach_batch(connection, &withdrawal).await })).await
    }

    /// Counts the logins of an owner that have not ended, for what a write that ends them reports: before it, without its locks.
    pub(super) async fn count_open(&self, owner: &Owner, now: Timestamp) -> Result<TakenBack, Error> {
        let mut transaction = self.pool.begin().await?;
        allow_a_minute(&mut transaction).await?;
        let count = open!(
            owner,
            "SELECT COUNT(*) AS n, COUNT(CASE WHEN idle_ends_at > $2 AND absolute_ends_at > $2 THEN 1 END) AS valid, COUNT(status_list) AS placed
             FROM logins",
            ""
        );
        let count = sqlx::query(count).bind(owner.name().to_owned()).bind(Login::surely_over(now).seconds());
        let row = count.fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        let number = |column: &str| Ok::<_, Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
        let (all, logins, placed) = (number("n")?, number("valid")?, number("placed")?);
        Ok(TakenBack { login_tokens: placed > 0, logins, expired_logins: all.saturating_sub(logins), ..TakenBack::default() })
    }
}

/// Millions of logins take longer to search than a request may take.
async fn allow_a_minute(connection: &mut AnyConnection) -> Result<(), Error> {
    if connection.backend_name() == Postgres::NAME {
        sqlx::query("SET LOCAL statement_timeout = '60s'").execute(connection).await?;
    }
    Ok(())
}

/// Ends all logins of an owner for a reason, of which as many were counted before the write, or without one, takes the position of each, so that it
/// gets another. The caller has locked or deleted the owner: logins that begin later are not concerned. Here, this is only decided;
/// [`Store::withdraw`] has it done.
pub(super) async fn decide(
    connection: &mut AnyConnection,
    owner: &Owner,
    ends: Option<(Ending, TakenBack)>,
    now: Timestamp,
) -> Result<TakenBack, Error> {
    let any = match ends {
        Some(_) => open!(owner, "SELECT id FROM logins", "LIMIT 1"),
        None => open!(owner, "SELECT id FROM logins", "AND status_list IS NOT NULL LIMIT 1"),
    };
    // None may have a position.
    allow_a_minute(connection).await?;
    if sqlx::query(any).bind(owner.name().to_owned()).fetch_optional(&mut *connection).await?.is_none() {
        return Ok(TakenBack::default());
    }
    let (client, user) = match owner {
        Owner::Client(id) => (Some(id.clone()), None),
        Owner::User(sub) => (None, Some(sub.clone())),
    };
    let n = epochs::raise(connection, Kind::Withdrawals).await?;
    sqlx::query("INSERT INTO withdrawals (n, client_id, sub, ended_because, decided_at, done_to) VALUES ($1, $2, $3, $4, $5, '')")
        .bind(n)
        .bind(client)
        .bind(user)
        .bind(ends.map(|(because, _)| because.as_str().to_owned()))
        .bind(now.seconds())
        .execute(connection)
        .await?;
    Ok(match ends {
        Some((_, counted)) => counted,
        None => TakenBack { login_tokens: true, ..TakenBack::default() },
    })
}

/// Revokes the positions of the logins that ended at `now` for a reason, without a revocation, and that withdrawals had not reached. No others are
/// left: the caller has ended all logins, and locked the number of withdrawals before.
pub(super) async fn settle_ended(connection: &mut AnyConnection, because: Ending, now: Timestamp) -> Result<(), Error> {
    if sqlx::query("SELECT n FROM withdrawals LIMIT 1").fetch_optional(&mut *connection).await?.is_none() {
        return Ok(());
    }
    let epoch = epochs::raise(connection, Kind::Revocations).await?;
    let at = epochs::not_before_heartbeat(connection, now).await?;
    let revoke = sqlx::query(concat!(
        "INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at)
         SELECT CAST($1 AS BIGINT), status_list, status_index, 1, CAST($2 AS BIGINT), CAST($3 AS BIGINT) FROM logins
         WHERE ended_at = $4 AND ended_because = $5 AND status_list IS NOT NULL AND status_index IS NOT NULL AND NOT (",
        has_its_rights!(),
        ")"
    ));
    let revoke = revoke.bind(epoch).bind(at.seconds()).bind(Revocation::end_of_all(at).seconds());
    revoke.bind(now.seconds()).bind(because.as_str()).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM withdrawals").execute(connection).await?;
    Ok(())
}

async fn reach_batch(connection: &mut AnyConnection, withdrawal: &Withdrawal) -> Result<bool, Error> {
    let Withdrawal { n, owner, because, decided_at, .. } = withdrawal;
    // Others that lock several logins of the owner lock the owner first. Batches of other owners may have some of the logins too.
    owner.lock(connection).await?;
    epochs::lock(connection, Kind::Withdrawals).await?;
    let row = sqlx::query("SELECT done_to FROM withdrawals WHERE n = $1").bind(*n).fetch_optional(&mut *connection).await?;
    // Another process has finished it.
    let Some(row) = row else { return Ok(false) };
    let done_to = text(&row, "done_to")?;
    let batch = withdrawal.bind(not_reached!(owner, "SELECT id, status_list FROM logins", "ORDER BY id LIMIT $5"), &done_to);
    let batch = batch.bind(i64::try_from(Withdrawal::AT_ONCE).unwrap_or(i64::MAX)).fetch_all(&mut *connection).await?;
    let last = batch.last().map(|row| text(row, "id")).transpose()?;
    if let Some(last) = &last {
        // The epoch of revocations is locked after the logins.
        let lock = withdrawal.bind(not_reached!(owner, "UPDATE logins SET id = id", "AND id <= $5"), &done_to);
        lock.bind(last.clone()).execute(&mut *connection).await?;
        if batch.iter().any(|row| !matches!(row.try_get::<Option<String>, _>("status_list"), Ok(None))) {
            let epoch = epochs::raise(connection, Kind::Revocations).await?;
            let at = epochs::not_before_heartbeat(connection, *decided_at).await?;
            let revoke = not_reached!(
                owner,
                "INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at)
                 SELECT CAST($6 AS BIGINT), status_list, status_index, 1, CAST($7 AS BIGINT), CAST($8 AS BIGINT) FROM logins",
                "AND id <= $5 AND status_list IS NOT NULL AND status_index IS NOT NULL"
            );
            let revoke = withdrawal.bind(revoke, &done_to).bind(last.clone()).bind(epoch).bind(at.seconds());
            revoke.bind(Revocation::end_of_all(at).seconds()).execute(&mut *connection).await?;
        }
        let take = match because {
            Some(because) => {
                let end = not_reached!(owner, "UPDATE logins SET ended_at = $6, ended_because = $7", "AND id <= $5");
                withdrawal.bind(end, &done_to).bind(last.clone()).bind(decided_at.seconds()).bind(because.clone())
            }
            None => {
                let detach = not_reached!(owner, "UPDATE logins SET status_list = NULL, status_index = NULL", "AND id <= $5");
                withdrawal.bind(detach, &done_to).bind(last.clone())
            }
        };
        take.execute(&mut *connection).await?;
    }
    match last.filter(|_| batch.len() == Withdrawal::AT_ONCE) {
        Some(last) => {
            sqlx::query("UPDATE withdrawals SET done_to = $2 WHERE n = $1").bind(*n).bind(last).execute(connection).await?;
            Ok(true)
        }
        None => {
            sqlx::query("DELETE FROM withdrawals WHERE n = $1").bind(*n).execute(connection).await?;
            Ok(false)
        }
    }
}

fn read_each(rows: &[AnyRow]) -> Result<Vec<Result<Withdrawal, Damaged>>, Error> {
    rows.iter().map(|row| readable(read(row))).collect()
}

fn read(row: &AnyRow) -> Result<Withdrawal, Error> {
    let owner = match row.try_get::<Option<String>, _>("client_id")? {
        Some(id) => Owner::Client(id),
        None => Owner::User(text(row, "sub")?),
    };
    Ok(Withdrawal {
        n: row.try_get("n")?,
        owner,
        because: row.try_get("ended_because")?,
        decided_at: time(row, "decided_at")?,
        done_to: text(row, "done_to")?,
    })
}
