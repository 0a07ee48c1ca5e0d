use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, LEAP, Store,
    epochs::{self, RevocationEpoch},
    row::{parsed, readable, time},
    status_spans,
};
use crate::{
    clock::Timestamp,
    protocol::ClientId,
    server::model::{Damaged, Revocation, StatusIndex, StatusListId, StatusSpan},
};

/// Selects the revocations of a position (`$1`, `$3`), alone or with others, that last until `$2` at least; the other parameters are the starts of the
/// spans that can contain it. An earlier token at the same position may have been revoked until an earlier time.
const SET_UNTIL: &str = "SELECT start FROM revocations WHERE list_id = $1 AND expires_at >= $2 AND start + width > $3
    AND start IN ($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) LIMIT 1";

/// The place in the order of revocations after which reading goes on: an epoch, a list and a start.
pub(crate) type RevocationCursor = (i64, String, i64);

impl Store {
    /// Maximum number of revocations that one query reads.
    pub(crate) const REVOCATIONS_AT_ONCE: usize = 10_000;

    /// The revocations after `cursor`, in order, and the cursor for the next call; `None` if these are the last. Those that have ended are
    /// among them until they are deleted: whether they have is for the reader's clock. Read on the reserved connection, like the epochs.
    pub(crate) async fn list_revocations(
        &self,
        cursor: &RevocationCursor,
    ) -> Result<(Vec<Result<Revocation, Damaged>>, Option<RevocationCursor>), Error> {
        let rows = sqlx::query(
            "SELECT epoch, list_id, start, width, expires_at FROM revocations
             WHERE (epoch, list_id, start) > ($1, $2, $3) ORDER BY epoch, list_id, start LIMIT $4",
        );
        let (epoch, list, start) = cursor.clone();
        let limit = i64::try_from(Self::REVOCATIONS_AT_ONCE).unwrap_or(i64::MAX);
        let rows = rows.bind(epoch).bind(list).bind(start).bind(limit).fetch_all(&self.reserved).await?;
        let read = |row: &AnyRow| {
            Ok(Revocation { epoch: row.try_get("epoch")?, span: status_spans::read(row)?, expires_at: time(row, "expires_at")? })
        };
        let next = match rows.last() {
            Some(last) if rows.len() == Self::REVOCATIONS_AT_ONCE => {
                Some((last.try_get("epoch")?, last.try_get("list_id")?, last.try_get("start")?))
            }
            _ => None,
        };
        Ok((rows.iter().map(|row| readable(read(row))).collect::<Result<_, Error>>()?, next))
    }

    /// Raises the epoch of revocations far above one that was seen: after a failover, a replica may not have had the latest revocations,
    /// and other nodes may have seen higher epochs of them. Only on PostgreSQL: an SQLite file without them counts as an older copy, which no
    /// node uses.
    pub(crate) async fn raise_revocations_above(&self, seen: i64) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let raise = sqlx::query("UPDATE epochs SET n = $1 WHERE kind = 'revocations' AND n < $2");
                // Unless another node has done so already. Writes since the failover may have raised it above `seen` by themselves: those
                // that nodes know under the same epochs are others.
                raise.bind(seen.saturating_add(LEAP)).bind(seen.saturating_add(LEAP / 2)).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    /// Revokes one position of a client until `expires_at`, and replaces its span by a wider one if it is half set. Returns false if it was
    /// revoked already, or its list is gone, so that the token is refused.
    pub(crate) async fn revoke_index(&self, index: StatusIndex, expires_at: Timestamp, now: Timestamp) -> Result<bool, Error> {
        // Without a lock: a revocation stays until its end, or its list is gone.
        if is_set_until(&mut *self.pool.acquire().await?, &index, expires_at).await? {
            return Ok(false);
        }
        self.write(move |connection| Box::pin(revoke_position(connection, index, expires_at, now))).await
    }
}

/// Whether a position is revoked until `end` at least.
async fn is_set_until(connection: &mut AnyConnection, index: &StatusIndex, end: Timestamp) -> Result<bool, Error> {
    let (list, at) = status_spans::position(index);
    let query = sqlx::query(SET_UNTIL).bind(list).bind(end.seconds()).bind(at);
    let query = StatusSpan::starts_around(index.index).fold(query, |query, start| query.bind(i64::from(start)));
    Ok(query.fetch_optional(connection).await?.is_some())
}

/// The same as [`Store::revoke_index`], within a write.
pub(super) async fn revoke_position(
    connection: &mut AnyConnection,
    index: StatusIndex,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<bool, Error> {
    let Some(width) = status_spans::width_in(connection, &index.list).await? else { return Ok(false) };
    let span = status_spans::lock_around(connection, &index, width).await?;
    if is_set_until(connection, &index, expires_at).await? {
        return Ok(false);
    }
    let mut revoking = Revoking::at(now);
    revoking.spans.extend(match &span {
        Some(span) => span.note_revocation(connection, &mut revoking.epoch, now).await?,
        // Without it, the token is valid nevertheless, and its position can be set.
        None => {
            tracing::error!(list = %index.list, index = index.index, "a client's row of the table status_spans is missing");
            None
        }
    });
    revoking.position(index, expires_at);
    revoking.finish(connection).await?;
    Ok(true)
}

/// What a write revokes. It is noted, and its rows are locked, while the write ends spans and logins. [`Self::finish`] sets the positions
/// when everything else of the write is done, except recording it: the lock on the row of the epoch comes after all others.
#[derive(Debug)]
pub(super) struct Revoking {
    /// By the clock of the process that writes.
    pub(super) now: Timestamp,
    epoch: RevocationEpoch,
    /// Positions, and the ends of their revocations.
    spans: Vec<(StatusSpan, Timestamp)>,
}

impl Revoking {
    pub(super) fn at(now: Timestamp) -> Self {
        Self { now, epoch: RevocationEpoch::default(), spans: Vec::new() }
    }

    /// Revokes all tokens that a client got for itself. Its next token has a position in a fresh span, and a node gives none before it has
    /// read the client again. Returns whether there were any that name a position.
    pub(super) async fn tokens_of_client(&mut self, connection: &mut AnyConnection, client: &str) -> Result<bool, Error> {
        // It locks the client's row as well, unless the client was deleted: a span that another write is creating exists after that, or is
        // not created.
        let raise = sqlx::query("UPDATE clients SET tokens_since = tokens_since + 1 WHERE id = $1").bind(client.to_owned());
        raise.execute(&mut *connection).await?;
        let at = epochs::not_before_heartbeat(connection, self.now).await?;
        let ended = status_spans::end_all(connection, client, at).await?;
        let any = !ended.is_empty();
        self.spans.extend(ended.into_iter().map(|span| (span, Revocation::end_of_all(at))));
        Ok(any)
    }

    /// Revokes a position.
    pub(super) fn position(&mut self, StatusIndex { list, index }: StatusIndex, expires_at: Timestamp) {
        self.spans.push((StatusSpan { list, start: index, width: 1 }, expires_at));
    }

    /// Sets the positions of all that was revoked, under one epoch.
    pub(super) async fn finish(mut self, connection: &mut AnyConnection) -> Result<(), Error> {
        if self.spans.is_empty() {
            return Ok(());
        }
        let epoch = self.epoch.raise(connection).await?;
        let at = epochs::not_before_heartbeat(connection, self.now).await?;
        for (StatusSpan { list, start, width }, expires_at) in self.spans {
            sqlx::query("INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(epoch)
                .bind(list.to_string())
                .bind(i64::from(start))
                .bind(i64::from(width))
                .bind(at.seconds())
                .bind(expires_at.seconds())
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// Forgets all lists: no token that names one is accepted any more. The caller has locked all clients, so that none gets a span in a list
/// that is forgotten here.
pub(super) async fn forget_all(connection: &mut AnyConnection) -> Result<(), Error> {
    for sql in [
        "DELETE FROM status_spans",
        "UPDATE logins SET status_list = NULL, status_index = NULL WHERE status_list IS NOT NULL",
        "DELETE FROM status_lists",
        "DELETE FROM revocations",
    ] {
        sqlx::query(sql).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The position in a row, if it has one.
pub(super) fn position_if_any(row: &AnyRow) -> Result<Option<StatusIndex>, Error> {
    let Some(index) = row.try_get::<Option<i64>, _>("status_index")? else { return Ok(None) };
    let list: StatusListId = parsed(row, "status_list")?;
    Ok(Some(StatusIndex { list, index: status_spans::number("status_index", index)? }))
}

/// Revokes all tokens that a client got for itself. Returns whether there were any.
pub(super) async fn revoke_own_tokens(connection: &mut AnyConnection, id: &ClientId, now: Timestamp) -> Result<bool, Error> {
    let mut revoking = Revoking::at(now);
    let revoked = revoking.tokens_of_client(connection, id.as_str()).await?;
    revoking.finish(connection).await?;
    Ok(revoked)
}
