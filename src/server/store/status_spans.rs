//! Status lists, and where the tokens of clients and logins are in them.

use std::{collections::BTreeSet, time::Duration};

use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, Store,
    epochs::{self, RevocationEpoch},
    row::{parsed, readable, time, time_if_any},
    withdrawals::has_its_rights,
};
use crate::{
    clock::Timestamp,
    entropy,
    protocol::ClientId,
    server::model::{Login, Revocation, StatusIndex, StatusListId, StatusSpan, TokensSince},
};

/// The number of random places that are tried before a list counts as full, and another one is begun.
///
/// Where a share f of N places is taken, all that are tried are with the probability f^16. Summed up over the places that were taken one
/// after the other, that happened once, on average, when N * f^17 / 17 = 1: at f = 52 % for logins (N = 2^20), and at f = 72 % for spans of
/// 256 positions (N = 4096).
const PLACES: usize = 16;

/// The starts of spans, among those that are tried, that are taken in a list; `$1` is the list. A place is free again when its span is deleted, ten
/// minutes after the last revocation in it can have ended.
const TAKEN_BY_CLIENTS: &str = "SELECT start FROM status_spans WHERE list_id = $1
     AND start IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
/// A position that a login had is free again when its revocation is deleted, ten minutes after its end. See [`Revocation::REUSED_AFTER`].
const TAKEN_BY_LOGINS: &str = "SELECT status_index AS start FROM logins WHERE status_list = $1
     AND status_index IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
     UNION SELECT start FROM revocations WHERE list_id = $1
     AND start IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";

/// A span that a write has locked.
pub(super) struct LockedSpan {
    span: StatusSpan,
    client: String,
    set_bits: i64,
    /// Whether the client's tokens still get positions in it.
    current: bool,
}

impl Store {
    /// The ids of all status lists. No token names one whose id is damaged.
    pub(crate) async fn list_status_lists(&self) -> Result<Vec<StatusListId>, Error> {
        let rows = sqlx::query("SELECT id FROM status_lists").fetch_all(&self.reserved).await?;
        let ids = rows.iter().map(|row| readable(parsed(row, "id"))).collect::<Result<Vec<_>, Error>>()?;
        Ok(ids.into_iter().flatten().collect())
    }

    /// Whether a status list exists.
    pub(crate) async fn has_status_list(&self, id: &StatusListId) -> Result<bool, Error> {
        let row = sqlx::query("SELECT id FROM status_lists WHERE id = $1").bind(id.to_string()).fetch_optional(&self.pool).await?;
        Ok(row.is_some())
    }

    /// The span of a client for its next tokens, if it is still enabled, and has still the rights that it had with this `tokens_since`.
    pub(crate) async fn find_status_span(&self, client: &ClientId, tokens_since: i64) -> Result<Option<StatusSpan>, Error> {
        // One statement, so that it is of one moment: when the span ends, the number rises in the same transaction.
        let row = sqlx::query(
            "SELECT s.list_id, s.start, s.width FROM clients c JOIN status_spans s ON s.client_id = c.id AND s.ends_at IS NULL
             WHERE c.id = $1 AND c.tokens_since = $2 AND c.disabled_at IS NULL",
        );
        row.bind(client.to_string()).bind(tokens_since).fetch_optional(&self.pool).await?.as_ref().map(read).transpose()
    }

    /// The same; creates it if there is none, as wide as its last one, or else `width`. `None` if the client was disabled or deleted, or a
    /// right was withdrawn from it.
    pub(crate) async fn create_status_span(
        &self,
        client: &ClientId,
        tokens_since: i64,
        width: u32,
        now: Timestamp,
    ) -> Result<Option<StatusSpan>, Error> {
        let client = client.to_string();
        self.write(move |connection| {
            Box::pin(async move {
                // The lock on its row comes before or after a change of the client, and not between its parts.
                let lock = sqlx::query("UPDATE clients SET id = id WHERE id = $1 AND tokens_since = $2 AND disabled_at IS NULL");
                if lock.bind(client.clone()).bind(tokens_since).execute(&mut *connection).await?.rows_affected() == 0 {
                    return Ok(None);
                }
                if let Some(span) = find_current(connection, &client).await? {
                    return Ok(Some(span));
                }
                let last = sqlx::query("SELECT width FROM status_spans WHERE client_id = $1 ORDER BY created_at DESC, width DESC LIMIT 1");
                let last = last.bind(client.clone()).fetch_optional(&mut *connection).await?;
                let width = last.map(|row| number("width", row.try_get("width")?)).transpose()?.unwrap_or(width);
                create(connection, &client, width, &mut RevocationEpoch::default(), now).await.map(Some)
            })
        })
        .await
    }

    /// A position for the tokens of a login. The login takes it, unless another one does so first.
    pub(crate) async fn choose_login_position(&self, now: Timestamp) -> Result<StatusIndex, Error> {
        let mut connection = self.pool.acquire().await?;
        if let Some(list) = newest_list(&mut connection, 1).await?.and_then(|newest| newest.id)
            && let Some(index) = free_place(&mut connection, &list, 1).await?
        {
            return Ok(StatusIndex { list, index });
        }
        drop(connection);
        let found =
            self.write(move |connection| Box::pin(async move { find_place(connection, 1, &mut RevocationEpoch::default(), now).await }));
        let (list, index) = found.await?;
        Ok(StatusIndex { list, index })
    }

    /// Gives a login without a position this one. Returns false if it has one, has ended or is about to, another login has the position, the
    /// user or the client was disabled or deleted, or a right was withdrawn from them since the request for a token was decided.
    pub(crate) async fn set_login_position(&self, login: &Login, since: TokensSince, index: &StatusIndex) -> Result<bool, Error> {
        let (id, user, client) = (login.id.to_string(), login.user.to_string(), login.client.to_string());
        let (list, at) = position(index);
        self.write(move |connection| {
            Box::pin(async move {
                // Locked in this order, and before the login, as in every other write: a withdrawal either comes first, and the login gets
                // no position here, or comes later and revokes it.
                for (lock, name, since) in [
                    ("UPDATE users SET sub = sub WHERE sub = $1 AND tokens_since = $2 AND disabled_at IS NULL", user, since.user),
                    ("UPDATE clients SET id = id WHERE id = $1 AND tokens_since = $2 AND disabled_at IS NULL", client, since.client),
                ] {
                    if sqlx::query(lock).bind(name).bind(since).execute(&mut *connection).await?.rows_affected() == 0 {
                        return Ok(false);
                    }
                }
                let set = sqlx::query(concat!(
                    "UPDATE logins SET status_list = $2, status_index = $3, rights_since = (SELECT n FROM epochs WHERE kind = 'withdrawals')
                     WHERE id = $1 AND status_list IS NULL AND ended_at IS NULL
                     AND NOT EXISTS (SELECT 1 FROM logins o WHERE o.status_list = $2 AND o.status_index = $3) AND ",
                    has_its_rights!()
                ));
                Ok(set.bind(id).bind(list).bind(at).execute(connection).await?.rows_affected() == 1)
            })
        })
        .await
    }
}

impl LockedSpan {
    /// Counts a revocation of one token, before it is inserted. A span of which half is set then is replaced by one four times as wide, so
    /// that positions of revoked tokens are not soon the only ones. Returns the span that is revoked because the client has too many, with the end
    /// of its revocation.
    pub(super) async fn note_revocation(
        &self,
        connection: &mut AnyConnection,
        epoch: &mut RevocationEpoch,
        now: Timestamp,
    ) -> Result<Option<(StatusSpan, Timestamp)>, Error> {
        let is_half = |set: i64| set.saturating_mul(2) >= i64::from(self.span.width);
        let mut set_bits = self.set_bits.saturating_add(1);
        if self.current && is_half(set_bits) {
            // Revocations end with their tokens: only those that are left count.
            set_bits = self.count_set(connection).await?.saturating_add(1);
        }
        let replaced = self.current && is_half(set_bits);
        let (mut ends_at, mut oldest) = (None, None);
        if replaced {
            let at = epochs::not_before_heartbeat(connection, now).await?;
            ends_at = Some(Revocation::end_of_all(at).seconds());
            oldest = revoke_oldest(connection, &self.client, at).await?;
        }
        // Nodes use it until they read the client's span again, within `StatusSpan::READ_EVERY`. Its end allows for that, and it is deleted
        // later still.
        sqlx::query("UPDATE status_spans SET set_bits = $3, ends_at = COALESCE(ends_at, $4) WHERE list_id = $1 AND start = $2")
            .bind(self.span.list.to_string())
            .bind(i64::from(self.span.start))
            .bind(set_bits)
            .bind(ends_at)
            .execute(&mut *connection)
            .await?;
        if replaced {
            // Before the insertion, on which another write that holds this lock may wait.
            epoch.raise(connection).await?;
            create(connection, &self.client, self.span.width.saturating_mul(4).min(StatusSpan::WIDEST), epoch, now).await?;
        }
        Ok(oldest)
    }

    /// The number of its positions that revocations of single tokens have set. Those that have ended count until they are deleted, as nodes
    /// may not have dropped them yet.
    async fn count_set(&self, connection: &mut AnyConnection) -> Result<i64, Error> {
        let StatusSpan { list, start, width } = &self.span;
        let count = sqlx::query(
            "SELECT COUNT(DISTINCT start) AS n FROM revocations WHERE list_id = $1 AND start >= $2 AND start < $3 AND width = 1",
        );
        let (start, width) = (i64::from(*start), i64::from(*width));
        let count = count.bind(list.to_string()).bind(start).bind(start + width);
        Ok(count.fetch_one(connection).await?.try_get("n")?)
    }
}

/// The width of the spans of a list. `None` if the list is gone, because the database was restored.
pub(super) async fn width_in(connection: &mut AnyConnection, list: &StatusListId) -> Result<Option<u32>, Error> {
    let row = sqlx::query("SELECT width FROM status_lists WHERE id = $1").bind(list.to_string());
    let Some(row) = row.fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(number("width", row.try_get("width")?)?.max(1)))
}

/// Locks the client's span around a position in a list of spans of this width. `None` if there is no such span: a row outlives all tokens
/// that name its positions, but a failover may lose it.
pub(super) async fn lock_around(connection: &mut AnyConnection, index: &StatusIndex, width: u32) -> Result<Option<LockedSpan>, Error> {
    let (list, start) = (index.list.to_string(), i64::from(index.index / width * width));
    let span = sqlx::query("SELECT client_id FROM status_spans WHERE list_id = $1 AND start = $2").bind(list.clone()).bind(start);
    let Some(span) = span.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let client: String = span.try_get("client_id")?;
    // The client before the span, as in every other write: a revocation of all its tokens, which ends its spans, comes before or after this
    // one, which may create another.
    sqlx::query("UPDATE clients SET id = id WHERE id = $1").bind(client.clone()).execute(&mut *connection).await?;
    let row = sqlx::query(
        "UPDATE status_spans SET set_bits = set_bits WHERE list_id = $1 AND start = $2 AND client_id = $3
         RETURNING list_id, start, width, client_id, set_bits, ends_at",
    );
    let Some(row) = row.bind(list).bind(start).bind(client).fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(LockedSpan {
        span: read(&row)?,
        client: row.try_get("client_id")?,
        set_bits: row.try_get("set_bits")?,
        current: time_if_any(&row, "ends_at")?.is_none(),
    }))
}

/// Ends all spans of a client that are not revoked yet, as revoked, and returns them. No token names one whose row is damaged.
pub(super) async fn end_all(connection: &mut AnyConnection, client: &str, at: Timestamp) -> Result<Vec<StatusSpan>, Error> {
    let ended = sqlx::query(
        "UPDATE status_spans SET ends_at = $2, revoked_at = $3 WHERE client_id = $1 AND revoked_at IS NULL RETURNING list_id, start, width",
    );
    let ended = ended.bind(client.to_owned()).bind(Revocation::end_of_all(at).seconds()).bind(at.seconds());
    let ended = ended.fetch_all(connection).await?;
    let spans = ended.iter().map(|row| readable(read(row))).collect::<Result<Vec<_>, Error>>()?;
    Ok(spans.into_iter().flatten().collect())
}

/// Revokes the oldest span of a client that will have too many, and returns it with the end of its revocation: its own, at which the last token of it
/// has expired. The current span, which is about to be replaced, is not among those that are counted, and neither is the one that replaces it.
async fn revoke_oldest(connection: &mut AnyConnection, client: &str, at: Timestamp) -> Result<Option<(StatusSpan, Timestamp)>, Error> {
    let revoke = sqlx::query(
        "UPDATE status_spans SET revoked_at = $2 WHERE (list_id, start) IN
         (SELECT list_id, start FROM status_spans WHERE client_id = $1 AND revoked_at IS NULL AND ends_at > $2
          ORDER BY created_at DESC, width DESC LIMIT 1 OFFSET $3)
         RETURNING list_id, start, width, ends_at",
    );
    let others = i64::from(StatusSpan::AT_ONCE) - 2;
    let revoke = revoke.bind(client.to_owned()).bind(at.seconds()).bind(others);
    let Some(row) = revoke.fetch_optional(connection).await? else { return Ok(None) };
    // No token names a span whose row is damaged.
    Ok(readable(read(&row).and_then(|span| Ok((span, time(&row, "ends_at")?))))?.ok())
}

async fn find_current(connection: &mut AnyConnection, client: &str) -> Result<Option<StatusSpan>, Error> {
    let row = sqlx::query("SELECT list_id, start, width FROM status_spans WHERE client_id = $1 AND ends_at IS NULL");
    row.bind(client.to_owned()).fetch_optional(connection).await?.as_ref().map(read).transpose()
}

/// Creates a span of a client, which the caller has locked, at a random place.
async fn create(
    connection: &mut AnyConnection,
    client: &str,
    width: u32,
    epoch: &mut RevocationEpoch,
    now: Timestamp,
) -> Result<StatusSpan, Error> {
    // Another write may take a place between the look and the insertion. Then it has committed, and the next look finds the place taken.
    loop {
        let (list, start) = find_place(connection, width, epoch, now).await?;
        let inserted = sqlx::query(
            "INSERT INTO status_spans (list_id, start, width, client_id, set_bits, created_at) VALUES ($1, $2, $3, $4, 0, $5)
             ON CONFLICT (list_id, start) DO NOTHING",
        );
        let inserted = inserted.bind(list.to_string()).bind(i64::from(start)).bind(i64::from(width)).bind(client.to_owned());
        if inserted.bind(now.seconds()).execute(&mut *connection).await?.rows_affected() == 1 {
            return Ok(StatusSpan { list, start, width });
        }
    }
}

/// The newest list of a width.
struct NewestList {
    /// `None` if it is not readable.
    id: Option<StatusListId>,
    created_at: Timestamp,
}

/// The newest list of spans of this width. If its id is damaged, another list is begun: no token can name one of that id.
async fn newest_list(connection: &mut AnyConnection, width: u32) -> Result<Option<NewestList>, Error> {
    let row = sqlx::query("SELECT id, created_at FROM status_lists WHERE width = $1 ORDER BY created_at DESC, id LIMIT 1");
    let Some(row) = row.bind(i64::from(width)).fetch_optional(connection).await? else { return Ok(None) };
    let id = readable(parsed(&row, "id"))?;
    let id =
        id.inspect_err(|damaged| tracing::error!(error = damaged.0, "a row of the table status_lists is damaged; another list is begun"));
    Ok(Some(NewestList { id: id.ok(), created_at: time(&row, "created_at")? }))
}

/// A random free place for a span of this width, in the newest list, or in another one if that is full.
async fn find_place(
    connection: &mut AnyConnection,
    width: u32,
    epoch: &mut RevocationEpoch,
    now: Timestamp,
) -> Result<(StatusListId, u32), Error> {
    let full = newest_list(connection, width).await?.and_then(|newest| newest.id);
    if let Some(list) = &full
        && let Some(start) = free_place(connection, list, width).await?
    {
        return Ok((list.clone(), start));
    }
    // By the epoch, all nodes notice a list. It is raised before the newest list is read again: the lock on its row makes lists begin one
    // after the other, and a write that has waited uses the list that the other one has begun.
    epoch.raise(connection).await?;
    let newest = newest_list(connection, width).await?;
    if let Some(list) = newest.as_ref().and_then(|newest| newest.id.as_ref())
        && Some(list) != full.as_ref()
        && let Some(start) = free_place(connection, list, width).await?
    {
        return Ok((list.clone(), start));
    }
    let list = create_list(connection, width, newest, now).await?;
    Ok((list, random_place(width)))
}

/// Creates a list of spans of this width, after `last`, which a node with another clock may have created.
async fn create_list(connection: &mut AnyConnection, width: u32, last: Option<NewestList>, now: Timestamp) -> Result<StatusListId, Error> {
    let id = StatusListId::generate();
    let created_at = last.map_or(now, |last| now.max(last.created_at + Duration::from_secs(1)));
    let insert = sqlx::query("INSERT INTO status_lists (id, width, created_at) VALUES ($1, $2, $3)").bind(id.to_string());
    insert.bind(i64::from(width)).bind(created_at.seconds()).execute(connection).await?;
    Ok(id)
}

/// A random free place of a list for a span of this width. `None` if the list is full.
async fn free_place(connection: &mut AnyConnection, list: &StatusListId, width: u32) -> Result<Option<u32>, Error> {
    let places: [u32; PLACES] = std::array::from_fn(|_| random_place(width));
    let sql = if width == 1 { TAKEN_BY_LOGINS } else { TAKEN_BY_CLIENTS };
    let query = places.iter().fold(sqlx::query(sql).bind(list.to_string()), |query, place| query.bind(i64::from(*place)));
    let taken: BTreeSet<i64> = query.fetch_all(connection).await?.iter().map(|row| row.try_get("start")).collect::<Result<_, _>>()?;
    Ok(places.into_iter().find(|place| !taken.contains(&i64::from(*place))))
}

fn random_place(width: u32) -> u32 {
    let places = StatusListId::POSITIONS / width.max(1);
    u32::from_ne_bytes(entropy::bytes()) % places * width
}

/// A span of a row.
pub(super) fn read(row: &AnyRow) -> Result<StatusSpan, Error> {
    let (start, width) = (number("start", row.try_get("start")?)?, number("width", row.try_get("width")?)?);
    Ok(StatusSpan { list: parsed(row, "list_id")?, start, width })
}

/// A position or a width.
pub(super) fn number(what: &'static str, number: i64) -> Result<u32, Error> {
    let valid = u32::try_from(number).ok().filter(|number| *number <= StatusListId::POSITIONS);
    valid.ok_or_else(|| Error::Corrupt { what, why: format!("{number} is out of range") })
}

/// A position, for binding.
pub(super) fn position(index: &StatusIndex) -> (String, i64) {
    (index.list.to_string(), index.index.into())
}
