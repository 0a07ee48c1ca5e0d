//! How logins end, and how many of them have not.

use std::time::Duration;

use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, Store, epochs,
    revocations::{Revoking, position_if_any},
    row::{parsed, readable, time_if_any},
    withdrawals::{self, Owner},
};
use crate::{
    clock::Timestamp,
    server::{
        act::Act,
        model::{Detail, Ending, Facts, Login, LoginFilter, LoginId, Revocation, TakenBack},
    },
};

/// How far this node's clock may be ahead before it takes a token that is valid for one that expired long ago.
const LONG_AGO: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// The number of selected logins that have neither ended nor expired.
    pub(crate) async fn count_valid_logins(&self, of: LoginFilter, now: Timestamp) -> Result<u64, Error> {
        let mut connection = self.pool.acquire().await?;
        count_valid(&mut connection, &of, now).await
    }

    /// Ends a login. Returns false if it has been ended already.
    pub(crate) async fn end_login(&self, id: LoginId, because: Ending, now: Timestamp) -> Result<bool, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut revoking = Revoking::at(now);
                let taken = end_one(connection, &mut revoking, &id, because).await?;
                revoking.finish(connection).await?;
                Ok(taken.all_logins() > 0)
            })
        })
        .await
    }

    /// Ends logins for an operator and records the change. `target` and `named` say whose logins they are.
    pub(crate) async fn end_logins_by_operator(
        &self,
        act: &Act,
        of: LoginFilter,
        target: String,
        named: Facts,
    ) -> Result<TakenBack, Error> {
        const ACTION: &str = "login.end";
        let now = act.now;
        let owner = match of {
            LoginFilter::Id(id) => {
                let end = self.change(act, ACTION, target, move |connection| {
                    Box::pin(async move {
                        let mut revoking = Revoking::at(now);
                        let taken = end_one(connection, &mut revoking, &id, Ending::Operator).await?;
                        revoking.finish(connection).await?;
                        Ok((taken, Detail::added(named).with_logins_ended(taken.logins)))
                    })
                });
                return end.await;
            }
            LoginFilter::User(sub) => Owner::User(sub),
            LoginFilter::Client(id) => Owner::Client(id.to_string()),
        };
        let open = self.count_open(&owner, now).await?;
        self.withdraw(act, ACTION, target, owner.clone(), move |connection| {
            Box::pin(async move {
                owner.lock(connection).await?;
                let taken = withdrawals::decide(connection, &owner, Some((Ending::Operator, open)), now).await?;
                Ok((taken, Detail::added(named).with_logins_ended(taken.logins)))
            })
        })
        .await
    }
}

/// Ends the logins of the same user and client beyond `limit`, least recently used first. Ends at most 100 per call, so that the cost
/// is bounded where many more existed before the limit did.
pub(super) async fn end_surplus(
    connection: &mut AnyConnection,
    revoking: &mut Revoking,
    login: &Login,
    limit: u32,
) -> Result<Vec<LoginId>, Error> {
    const ENDED_AT_ONCE: i64 = 100;
    // Two statements: with one, the query planner of either database may read all open logins of all users.
    let surplus = sqlx::query(
        "SELECT id, stepped_at FROM logins WHERE sub = $1 AND client_id = $2 AND id <> $3 AND ended_at IS NULL
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
    let (Some(first), Some(last)) = (surplus.first(), surplus.last()) else { return Ok(Vec::new()) };
    // Those from the first to the last in this order. One that was refreshed meanwhile is not among them any more.
    let ended = sqlx::query(
        "UPDATE logins SET ended_at = $4, ended_because = $5 WHERE sub = $1 AND client_id = $2 AND id <> $3 AND ended_at IS NULL
         AND idle_ends_at > $4 AND (stepped_at < $6 OR (stepped_at = $6 AND id >= $7)) AND (stepped_at > $8 OR (stepped_at = $8 AND id <= $9))
         RETURNING id, status_list, status_index, tokens_end_at",
    )
    .bind(login.user.to_string())
    .bind(login.client.to_string())
    .bind(login.id.to_string())
    .bind(revoking.now.seconds())
    .bind(Ending::Displaced.as_str())
    .bind(first.try_get::<i64, _>("stepped_at")?)
    .bind(first.try_get::<String, _>("id")?)
    .bind(last.try_get::<i64, _>("stepped_at")?)
    .bind(last.try_get::<String, _>("id")?)
    .fetch_all(&mut *connection)
    .await?;
    for row in &ended {
        let tokens_end_at = time_if_any(row, "tokens_end_at")?;
        // Apps that sign in for each use displace logins whose tokens expired long ago: those cost no revocation. A repeated answer to a refresh
        // may have brought a token that expires a little later than what is stored.
        let end = tokens_end_at.map(|end| Revocation::end_of_token(end + Login::AFTER_STEP));
        if end.is_none_or(|end| end + LONG_AGO > revoking.now) {
            revoke_position(connection, revoking, row, end).await?;
        }
    }
    ended.iter().map(|row| parsed(row, "id")).collect()
}

/// Ends a login if it has not been ended, and has its tokens revoked. It is ended if it has expired, too: the clock of this machine may be ahead, and
/// then it is still valid on the servers.
pub(super) async fn end_one(
    connection: &mut AnyConnection,
    revoking: &mut Revoking,
    id: &LoginId,
    because: Ending,
) -> Result<TakenBack, Error> {
    let logins = count_valid(connection, &LoginFilter::Id(id.clone()), revoking.now).await?;
    let end = sqlx::query(
        "UPDATE logins SET ended_at = $2, ended_because = $3 WHERE id = $1 AND ended_at IS NULL RETURNING status_list, status_index",
    );
    let end = end.bind(id.to_string()).bind(revoking.now.seconds()).bind(because.as_str());
    let Some(row) = end.fetch_optional(&mut *connection).await? else { return Ok(TakenBack::default()) };
    let login_tokens = revoke_position(connection, revoking, &row, None).await?;
    Ok(TakenBack { login_tokens, logins, expired_logins: 1_u64.saturating_sub(logins), ..TakenBack::default() })
}

/// Revokes the position of a login that was ended, until `end`, or else until all of its tokens have expired for sure. Returns whether it has one. No
/// token names one that is damaged.
async fn revoke_position(
    connection: &mut AnyConnection,
    revoking: &mut Revoking,
    row: &AnyRow,
    end: Option<Timestamp>,
) -> Result<bool, Error> {
    let Some(index) = readable(position_if_any(row))?.ok().flatten() else { return Ok(false) };
    let end = match end {
        Some(end) => end,
        None => Revocation::end_of_all(epochs::not_before_heartbeat(connection, revoking.now).await?),
    };
    revoking.position(index, end);
    Ok(true)
}

async fn count_valid(connection: &mut AnyConnection, of: &LoginFilter, now: Timestamp) -> Result<u64, Error> {
    macro_rules! count {
        ($of:literal) => {
            concat!("SELECT COUNT(*) AS n FROM logins WHERE ", $of, " AND ended_at IS NULL AND idle_ends_at > $2 AND absolute_ends_at > $2")
        };
    }
    let sql = match of {
        LoginFilter::Id(_) => count!("id = $1"),
        LoginFilter::User(_) => count!("sub = $1"),
        LoginFilter::Client(_) => count!("client_id = $1"),
    };
    let count: i64 = sqlx::query(sql).bind(of.name()).bind(Login::surely_over(now).seconds()).fetch_one(connection).await?.try_get("n")?;
    Ok(count.unsigned_abs())
}
