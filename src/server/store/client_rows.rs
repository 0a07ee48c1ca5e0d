//! Reads clients.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, Missing, Store,
    page::{PAGE, Page, disabled_number, text_or_empty, time_or_zero},
    permissions,
    row::{self, lifetime_if_any, parsed, parsed_if_any, readable, text, time, time_if_any, words},
    status_spans,
};
use crate::{
    protocol::{ClientId, KeyId},
    server::{
        client_key::ClientKey,
        model::{Client, ClientFilter, Damaged, Facts, Listed, StatusSpan, StoredKey, StoredSecret},
    },
};

/// Selects all data of one client with its span, or of several clients, in one statement. Columns that a branch does not have are NULL; the first branch
/// determines the types.
macro_rules! select {
    ($with:literal, $client:literal, $others:literal, $spans:literal, $end:literal) => {
        concat!(
            $with,
            "SELECT 'client' AS part, id AS client_id, auth_methods, grants, token_lifetime, created_at, disabled_at, fixed_claims, tokens_since, \
             CAST(NULL AS TEXT) AS scope, CAST(NULL AS TEXT) AS audience, CAST(NULL AS TEXT) AS id, CAST(NULL AS TEXT) AS digest, \
             CAST(NULL AS BIGINT) AS expires_at, CAST(NULL AS BIGINT) AS last_used_at, \
             CAST(NULL AS TEXT) AS list_id, CAST(NULL AS BIGINT) AS start, CAST(NULL AS BIGINT) AS width FROM clients ",
            $client,
            " UNION ALL SELECT 'scope', client_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, scope, audience, NULL, NULL, NULL, NULL, \
             NULL, NULL, NULL FROM client_permissions ",
            $others,
            " UNION ALL SELECT 'introspects', client_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, audience, NULL, NULL, NULL, NULL, \
             NULL, NULL, NULL FROM client_introspects ",
            $others,
            " UNION ALL SELECT 'secret', client_id, NULL, NULL, NULL, created_at, NULL, NULL, NULL, NULL, NULL, id, digest, expires_at, last_used_at, \
             NULL, NULL, NULL FROM client_secrets ",
            $others,
            " UNION ALL SELECT 'key', client_id, NULL, NULL, NULL, created_at, NULL, NULL, NULL, NULL, NULL, id, jwk, expires_at, last_used_at, \
             NULL, NULL, NULL FROM client_keys ",
            $others,
            $spans,
            $end
        )
    };
}

/// The client `$1`, or else the next in order. For an id that does not exist, as many rows are searched, read and parsed as for one that
/// does, and they are as rarely in a cache. So the response time does not reveal which ids exist.
const SELECT_ONE: &str = select!(
    "WITH chosen AS (SELECT COALESCE((SELECT id FROM clients WHERE id >= $1 ORDER BY id LIMIT 1), (SELECT MIN(id) FROM clients)) AS id) ",
    "WHERE id = (SELECT id FROM chosen)",
    "WHERE client_id = (SELECT id FROM chosen)",
    " UNION ALL SELECT 'span', client_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, list_id, start, width \
     FROM status_spans WHERE client_id = (SELECT id FROM chosen) AND ends_at IS NULL",
    ""
);

/// At most `$2` clients after `$1`, in order. An empty text or a zero in place of a filter selects all.
const SELECT_PAGE: &str = select!(
    "WITH chosen AS (SELECT id FROM clients c WHERE id > $1
       AND ($3 = '' OR EXISTS (SELECT 1 FROM client_permissions s WHERE s.client_id = c.id AND s.audience = $3)
                    OR EXISTS (SELECT 1 FROM client_introspects i WHERE i.client_id = c.id AND i.audience = $3))
       AND ($4 = '' OR REPLACE(' ' || grants || ' ', ' ' || $4 || ' ', '') <> ' ' || grants || ' ')
       AND ($5 = 0 OR ($5 = 1 AND disabled_at IS NOT NULL) OR ($5 = 2 AND disabled_at IS NULL))
       AND ($6 = 0 OR (created_at <= $6
           AND NOT EXISTS (SELECT 1 FROM client_secrets u WHERE u.client_id = c.id AND u.last_used_at > $6)
           AND NOT EXISTS (SELECT 1 FROM client_keys k WHERE k.client_id = c.id AND k.last_used_at > $6)))
       AND ($8 = 0 OR EXISTS (SELECT 1 FROM client_secrets e WHERE e.client_id = c.id AND e.expires_at > $7 AND e.expires_at <= $8)
                   OR EXISTS (SELECT 1 FROM client_keys y WHERE y.client_id = c.id AND y.expires_at > $7 AND y.expires_at <= $8))
     ORDER BY id LIMIT $2) ",
    "WHERE id IN (SELECT id FROM chosen)",
    "WHERE client_id IN (SELECT id FROM chosen)",
    "",
    " ORDER BY client_id"
);

impl Store {
    pub(crate) async fn find_client(&self, id: &ClientId) -> Result<Option<Client>, Error> {
        Ok(self.find_client_and_span(id).await?.map(|(client, _)| client))
    }

    /// A client, and the span for its next tokens, both as of one moment. Without a span if it has none, or if that is damaged.
    #[tracing::instrument(name = "find_client", level = "debug", skip_all)]
    pub(crate) async fn find_client_and_span(&self, id: &ClientId) -> Result<Option<(Client, Option<StatusSpan>)>, Error> {
        let mut connection = self.pool.acquire().await?;
        find_with_span(&mut connection, id).await
    }

    /// The page of clients after the name `after`, in the database's order.
    pub(crate) async fn list_clients(&self, filter: &ClientFilter, after: &str) -> Result<Page<Client>, Error> {
        let (valid_at, expires_by) = filter.expires.unzip();
        let rows = sqlx::query(SELECT_PAGE)
            .bind(after.to_owned())
            .bind(PAGE)
            .bind(text_or_empty(filter.resource.as_ref()))
            .bind(text_or_empty(filter.grant.as_ref()))
            .bind(disabled_number(filter.disabled))
            .bind(time_or_zero(filter.unused_since))
            .bind(time_or_zero(valid_at))
            .bind(time_or_zero(expires_by))
            .fetch_all(&self.pool)
            .await?;
        let mut listed = Vec::new();
        for (name, rows) in Rows::split(rows)? {
            if let Some(client) = readable(rows.read())?.transpose() {
                listed.push(Listed { name, data: client });
            }
        }
        Ok(Page::of(listed))
    }
}

pub(super) async fn find(connection: &mut AnyConnection, id: &ClientId) -> Result<Option<Client>, Error> {
    Ok(find_with_span(connection, id).await?.map(|(client, _)| client))
}

async fn find_with_span(connection: &mut AnyConnection, id: &ClientId) -> Result<Option<(Client, Option<StatusSpan>)>, Error> {
    let rows = sqlx::query(SELECT_ONE).bind(id.to_string()).fetch_all(connection).await?;
    let mut found = None;
    for (name, rows) in Rows::split(rows)? {
        // If the rows belong to another client, they are parsed all the same, and a damaged one among them does not matter.
        let (client, span) = (rows.read(), rows.read_span());
        if name == id.as_str() {
            found = client?.map(|client| (client, span));
        }
    }
    Ok(found)
}

/// The properties of a client for the change log; `None` if its rows are damaged: that must not prevent disabling or deleting it.
pub(super) async fn facts(connection: &mut AnyConnection, id: &ClientId) -> Result<Option<Facts>, Error> {
    Ok(readable(find(connection, id).await)?.unwrap_or_default().map(|client| client.facts()))
}

/// Whether the client exists, even if it is damaged.
pub(super) async fn require(connection: &mut AnyConnection, id: &ClientId) -> Result<(), Error> {
    let row = sqlx::query("SELECT id FROM clients WHERE id = $1").bind(id.to_string()).fetch_optional(connection).await?;
    row.map(drop).ok_or_else(|| missing(id))
}

/// The client after a change, unless it is damaged.
pub(super) async fn reread(connection: &mut AnyConnection, id: &ClientId) -> Result<Result<Client, Damaged>, Error> {
    readable(find(connection, id).await.and_then(|client| client.ok_or_else(|| missing(id))))
}

pub(super) fn missing(id: &ClientId) -> Error {
    Error::Missing(Missing::Client(id.clone()))
}

/// The secrets of a client that are not damaged, even if other data of the client is. A damaged one is of no use to an app.
pub(super) async fn readable_secrets(connection: &mut AnyConnection, id: &ClientId) -> Result<Vec<StoredSecret>, Error> {
    let rows = sqlx::query("SELECT id, digest, created_at, expires_at, last_used_at FROM client_secrets WHERE client_id = $1");
    let rows = rows.bind(id.to_string()).fetch_all(connection).await?;
    let read = rows.iter().map(|row| readable(read_secret(row))).collect::<Result<Vec<_>, Error>>()?;
    Ok(read.into_iter().flatten().collect())
}

fn read_secret(row: &AnyRow) -> Result<StoredSecret, Error> {
    Ok(StoredSecret {
        id: parsed(row, "id")?,
        digest: text(row, "digest")?.parse().map_err(Error::corrupt("secret digest"))?,
        created_at: time(row, "created_at")?,
        expires_at: time_if_any(row, "expires_at")?,
        last_used_at: time_if_any(row, "last_used_at")?,
    })
}

/// The keys of a client that are not damaged.
pub(super) async fn readable_keys(connection: &mut AnyConnection, id: &ClientId) -> Result<Vec<StoredKey>, Error> {
    let rows = sqlx::query("SELECT id, jwk AS digest, created_at, expires_at, last_used_at FROM client_keys WHERE client_id = $1");
    let rows = rows.bind(id.to_string()).fetch_all(connection).await?;
    let read = rows.iter().map(|row| readable(read_key(row))).collect::<Result<Vec<_>, Error>>()?;
    Ok(read.into_iter().flatten().collect())
}

/// The JWK stands in the column of the digests.
fn read_key(row: &AnyRow) -> Result<StoredKey, Error> {
    let key: ClientKey = text(row, "digest")?.parse().map_err(Error::corrupt("key of a client"))?;
    let id: KeyId = parsed(row, "id")?;
    if *key.id() != id {
        return Err(Error::Corrupt { what: "key of a client", why: format!("the row of {id} has the key {}", key.id()) });
    }
    Ok(StoredKey {
        key,
        created_at: time(row, "created_at")?,
        expires_at: time_if_any(row, "expires_at")?,
        last_used_at: time_if_any(row, "last_used_at")?,
    })
}

/// The rows that make up one client.
#[derive(Default)]
struct Rows {
    client: Option<AnyRow>,
    scopes: Vec<AnyRow>,
    introspects: Vec<AnyRow>,
    secrets: Vec<AnyRow>,
    keys: Vec<AnyRow>,
    span: Option<AnyRow>,
}

impl Rows {
    /// The rows of each client, with its name, in the order of the first row of each.
    fn split(all: Vec<AnyRow>) -> Result<Vec<(String, Self)>, Error> {
        let mut clients: Vec<(String, Self)> = Vec::new();
        let mut places = BTreeMap::new();
        for row in all {
            let name = row::name(&row, "client_id")?;
            let place = *places.entry(name).or_insert_with_key(|name| {
                clients.push((name.clone(), Self::default()));
                clients.len() - 1
            });
            let rows = &mut clients[place].1;
            match row.try_get("part")? {
                "client" => rows.client = Some(row),
                "scope" => rows.scopes.push(row),
                "introspects" => rows.introspects.push(row),
                "span" => rows.span = Some(row),
                "key" => rows.keys.push(row),
                _ => rows.secrets.push(row),
            }
        }
        Ok(clients)
    }

    fn read(&self) -> Result<Option<Client>, Error> {
        let Some(row) = &self.client else { return Ok(None) };
        let mut client = Client {
            id: parsed(row, "client_id")?,
            auth_methods: words(row, "auth_methods")?,
            grants: words(row, "grants")?,
            permissions: permissions::of_one(&self.scopes)?,
            introspects: self.introspects.iter().map(|row| parsed(row, "audience")).collect::<Result<_, Error>>()?,
            token_lifetime: lifetime_if_any(row, "token_lifetime")?,
            fixed_claims: parsed_if_any(row, "fixed_claims")?.unwrap_or_default(),
            created_at: time(row, "created_at")?,
            disabled_at: time_if_any(row, "disabled_at")?,
            tokens_since: row.try_get("tokens_since")?,
            secrets: self.secrets.iter().map(read_secret).collect::<Result<_, Error>>()?,
            keys: self.keys.iter().map(read_key).collect::<Result<_, Error>>()?,
            span: None,
        };
        client.secrets.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        client.keys.sort_by(|one, other| (one.created_at, one.key.id()).cmp(&(other.created_at, other.key.id())));
        Ok(Some(client))
    }

    /// The span, unless its row is damaged: that is reported when it is read alone, for a token.
    fn read_span(&self) -> Option<StatusSpan> {
        self.span.as_ref().and_then(|row| status_spans::read(row).ok())
    }
}
