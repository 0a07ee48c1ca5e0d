use std::collections::BTreeMap;

use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, Store,
    epochs::{self, Kind},
    logins, permissions, resources,
    row::{joined, lifetime_if_any, lifetime_seconds, parsed, text, time, time_if_any, words},
};
use crate::{
    clock::Timestamp,
    protocol::{ClientId, GrantType},
    server::{
        act::Act,
        model::{Client, ClientChange, Detail, Ending, Facts, LoginFilter, StoredSecret},
        secret::SecretId,
    },
};

/// Selects all data of one client, or of all clients, in one statement. Columns that a branch does not have are NULL; the first branch
/// determines the types.
macro_rules! select {
    ($with:literal, $client:literal, $others:literal) => {
        concat!(
            $with,
            "SELECT 'client' AS part, id AS client_id, auth_methods, grants, token_lifetime, created_at, disabled_at, \
             CAST(NULL AS TEXT) AS scope, CAST(NULL AS TEXT) AS audience, CAST(NULL AS TEXT) AS id, CAST(NULL AS TEXT) AS digest, \
             CAST(NULL AS BIGINT) AS expires_at, CAST(NULL AS BIGINT) AS last_used_at FROM clients ",
            $client,
            " UNION ALL SELECT 'scope', client_id, NULL, NULL, NULL, NULL, NULL, scope, audience, NULL, NULL, NULL, NULL \
             FROM client_scopes ",
            $others,
            " UNION ALL SELECT 'introspects', client_id, NULL, NULL, NULL, NULL, NULL, NULL, audience, NULL, NULL, NULL, NULL \
             FROM client_introspects ",
            $others,
            " UNION ALL SELECT 'secret', client_id, NULL, NULL, NULL, created_at, NULL, NULL, NULL, id, digest, expires_at, last_used_at \
             FROM client_secrets ",
            $others
        )
    };
}

/// The client `$1`, or else the next in order. For an id that does not exist, as many rows are searched, read and parsed as for one that
/// does, and they are as rarely in a cache. So the response time does not reveal which ids exist.
const SELECT_ONE: &str = select!(
    "WITH chosen AS (SELECT COALESCE((SELECT id FROM clients WHERE id >= $1 ORDER BY id LIMIT 1), (SELECT MIN(id) FROM clients)) AS id) ",
    "WHERE id = (SELECT id FROM chosen)",
    "WHERE client_id = (SELECT id FROM chosen)"
);
const SELECT_ALL: &str = select!("", "", "");

impl Store {
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn find_client(&self, id: &ClientId) -> Result<Option<Client>, Error> {
        let mut connection = self.pool.acquire().await?;
        find(&mut connection, id).await
    }

    /// Every client, in alphabetical order.
    pub(crate) async fn list_clients(&self) -> Result<Vec<Client>, Error> {
        let rows = sqlx::query(SELECT_ALL).fetch_all(&self.pool).await?;
        Ok(Rows::sort(rows)?.read()?.into_values().collect())
    }

    pub(crate) async fn insert_client(&self, act: &Act, client: Client) -> Result<(), Error> {
        self.change(act, "client.create", client.id.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let inserted = sqlx::query(
                    "INSERT INTO clients (id, auth_methods, grants, token_lifetime, created_at, disabled_at)
                     VALUES ($1, '', '', NULL, $2, NULL) ON CONFLICT DO NOTHING",
                )
                .bind(client.id.to_string())
                .bind(client.created_at.seconds())
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    return Err(Error::Exists(format!("the client {}", client.id)));
                }
                save(connection, &client).await?;
                for secret in &client.secrets {
                    insert_secret(connection, &client.id, secret).await?;
                }
                Ok(((), Detail::added(client.facts())))
            })
        })
        .await
    }

    /// Applies `change` and returns the changed client.
    ///
    /// Removing a grant type that logins depend on ends the client's logins.
    pub(crate) async fn update_client(&self, act: &Act, id: ClientId, change: ClientChange) -> Result<Client, Error> {
        let now = act.now;
        self.change(act, "client.update", id.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let before = find(connection, &id).await?.ok_or_else(|| missing(&id))?;
                let facts = before.facts();
                let withdrawn = change.remove_grants.iter().any(|grant| matches!(grant, GrantType::Password | GrantType::RefreshToken));
                let after = change.apply(before).map_err(Error::Refused)?;
                save(connection, &after).await?;
                if withdrawn {
                    logins::end(connection, LoginFilter::Client(id), Ending::GrantWithdrawn, now).await?;
                }
                let detail = Detail::between(Some(facts), Some(after.facts()));
                Ok((after, detail))
            })
        })
        .await
    }

    /// Disables a client, which ends its logins, or enables it.
    pub(crate) async fn set_client_disabled(&self, act: &Act, id: ClientId, disabled: bool) -> Result<(), Error> {
        let (action, now) = (if disabled { "client.disable" } else { "client.enable" }, act.now);
        self.change(act, action, id.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let before = facts(connection, &id).await?;
                // Disabling a disabled client keeps the earlier time.
                let sql = match disabled {
                    true => "UPDATE clients SET disabled_at = COALESCE(disabled_at, $2) WHERE id = $1",
                    false => "UPDATE clients SET disabled_at = $2 WHERE id = $1",
                };
                let updated = sqlx::query(sql).bind(id.to_string()).bind(disabled.then(|| now.seconds())).execute(&mut *connection).await?;
                if updated.rows_affected() == 0 {
                    return Err(missing(&id));
                }
                if disabled {
                    logins::end(connection, LoginFilter::Client(id.clone()), Ending::ClientDisabled, now).await?;
                }
                Ok(((), Detail::between(before, facts(connection, &id).await?)))
            })
        })
        .await
    }

    /// Deletes a client and its secrets, and ends its logins.
    pub(crate) async fn delete_client(&self, act: &Act, id: ClientId) -> Result<(), Error> {
        let now = act.now;
        self.change(act, "client.delete", id.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let before = facts(connection, &id).await?;
                for sql in [
                    "DELETE FROM client_scopes WHERE client_id = $1",
                    "DELETE FROM client_introspects WHERE client_id = $1",
                    "DELETE FROM client_secrets WHERE client_id = $1",
                ] {
                    sqlx::query(sql).bind(id.to_string()).execute(&mut *connection).await?;
                }
                let deleted = sqlx::query("DELETE FROM clients WHERE id = $1").bind(id.to_string()).execute(&mut *connection).await?;
                if deleted.rows_affected() == 0 {
                    return Err(missing(&id));
                }
                logins::end(connection, LoginFilter::Client(id), Ending::ClientDeleted, now).await?;
                Ok(((), Detail::between(before, None)))
            })
        })
        .await
    }

    pub(crate) async fn insert_client_secret(&self, act: &Act, id: ClientId, secret: StoredSecret) -> Result<(), Error> {
        self.change(act, "client.add_secret", format!("{id} {}", secret.id), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                if sqlx::query("SELECT id FROM clients WHERE id = $1")
                    .bind(id.to_string())
                    .fetch_optional(&mut *connection)
                    .await?
                    .is_none()
                {
                    return Err(missing(&id));
                }
                insert_secret(connection, &id, &secret).await?;
                Ok(((), Detail::added(secret.facts())))
            })
        })
        .await
    }

    /// Deletes a secret. The last valid one is deleted only if `allow_last`.
    pub(crate) async fn delete_client_secret(&self, act: &Act, id: ClientId, secret: SecretId, allow_last: bool) -> Result<(), Error> {
        let now = act.now;
        self.change(act, "client.drop_secret", format!("{id} {secret}"), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let client = find_readable(connection, &id).await?;
                if !allow_last && client.as_ref().is_some_and(|client| client.is_last_valid_secret(&secret, now)) {
                    return Err(Error::LastSecret { client: id, secret });
                }
                let before = client.and_then(|client| client.secrets.into_iter().find(|stored| stored.id == secret));
                let deleted = sqlx::query("DELETE FROM client_secrets WHERE client_id = $1 AND id = $2")
                    .bind(id.to_string())
                    .bind(secret.to_string())
                    .execute(connection)
                    .await?;
                if deleted.rows_affected() == 0 {
                    return Err(Error::Missing(format!("secret {secret} of the client {id}")));
                }
                Ok(((), Detail::between(before.map(|stored| stored.facts()), None)))
            })
        })
        .await
    }

    /// Records when secrets were last used. No decision depends on it, so it raises no epoch.
    pub(crate) async fn stamp_secrets_used(&self, used: Vec<(SecretId, Timestamp)>) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                for (id, at) in used {
                    // Several nodes may stamp the same secret, out of order.
                    sqlx::query(
                        "UPDATE client_secrets SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
                    )
                    .bind(id.to_string())
                    .bind(at.seconds())
                    .execute(&mut *connection)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }
}

fn missing(id: &ClientId) -> Error {
    Error::Missing(format!("client {id}"))
}

async fn find(connection: &mut AnyConnection, id: &ClientId) -> Result<Option<Client>, Error> {
    let rows = sqlx::query(SELECT_ONE).bind(id.to_string()).fetch_all(connection).await?;
    let rows = Rows::sort(rows)?;
    let known = rows.clients.iter().any(|row| text(row, "client_id").is_ok_and(|name| name == id.as_str()));
    match rows.read() {
        Ok(mut clients) => Ok(clients.remove(id)),
        // The rows belong to another client, so a damaged one among them does not matter.
        Err(_) if !known => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same, but `None` for a client whose rows are damaged: that must not prevent disabling or deleting it.
async fn find_readable(connection: &mut AnyConnection, id: &ClientId) -> Result<Option<Client>, Error> {
    match find(connection, id).await {
        Err(Error::Corrupt { .. }) => Ok(None),
        found => found,
    }
}

/// The properties of a client for the change log.
async fn facts(connection: &mut AnyConnection, id: &ClientId) -> Result<Option<Facts>, Error> {
    Ok(find_readable(connection, id).await?.map(|client| client.facts()))
}

/// The rows that make up clients.
#[derive(Default)]
struct Rows {
    clients: Vec<AnyRow>,
    scopes: Vec<AnyRow>,
    introspects: Vec<AnyRow>,
    secrets: Vec<AnyRow>,
}

impl Rows {
    fn sort(all: Vec<AnyRow>) -> Result<Self, Error> {
        let mut rows = Self::default();
        for row in all {
            match row.try_get("part")? {
                "client" => rows.clients.push(row),
                "scope" => rows.scopes.push(row),
                "introspects" => rows.introspects.push(row),
                _ => rows.secrets.push(row),
            }
        }
        Ok(rows)
    }

    fn read(self) -> Result<BTreeMap<ClientId, Client>, Error> {
        let mut clients = BTreeMap::new();
        for row in &self.clients {
            let id: ClientId = parsed(row, "client_id")?;
            let client = Client {
                id: id.clone(),
                auth_methods: words(row, "auth_methods")?,
                grants: words(row, "grants")?,
                permissions: BTreeMap::new(),
                introspects: Default::default(),
                token_lifetime: lifetime_if_any(row, "token_lifetime")?,
                created_at: time(row, "created_at")?,
                disabled_at: time_if_any(row, "disabled_at")?,
                secrets: Vec::new(),
            };
            clients.insert(id, client);
        }
        for (id, held) in permissions::group(&self.scopes, |row| parsed::<ClientId>(row, "client_id"))? {
            if let Some(client) = clients.get_mut(&id) {
                client.permissions = held;
            }
        }
        for row in &self.introspects {
            if let Some(client) = clients.get_mut(&parsed(row, "client_id")?) {
                client.introspects.insert(parsed(row, "audience")?);
            }
        }
        for row in &self.secrets {
            if let Some(client) = clients.get_mut(&parsed(row, "client_id")?) {
                client.secrets.push(StoredSecret {
                    id: parsed(row, "id")?,
                    digest: text(row, "digest")?.parse().map_err(Error::corrupt("secret digest"))?,
                    created_at: time(row, "created_at")?,
                    expires_at: time_if_any(row, "expires_at")?,
                    last_used_at: time_if_any(row, "last_used_at")?,
                });
            }
        }
        for client in clients.values_mut() {
            client.secrets.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        }
        Ok(clients)
    }
}

/// Overwrites all data of a client except its secrets.
async fn save(connection: &mut AnyConnection, client: &Client) -> Result<(), Error> {
    let id = client.id.as_str();
    sqlx::query("UPDATE clients SET auth_methods = $2, grants = $3, token_lifetime = $4, disabled_at = $5 WHERE id = $1")
        .bind(id.to_owned())
        .bind(joined(client.auth_methods.iter().map(|method| method.as_str())))
        .bind(joined(client.grants.iter().map(|grant| grant.as_str())))
        .bind(lifetime_seconds(client.token_lifetime))
        .bind(client.disabled_at.map(Timestamp::seconds))
        .execute(&mut *connection)
        .await?;
    let statements =
        ["DELETE FROM client_scopes WHERE client_id = $1", "INSERT INTO client_scopes (client_id, scope, audience) VALUES ($1, $2, $3)"];
    permissions::replace(connection, statements, id, client.permissions.iter()).await?;
    sqlx::query("DELETE FROM client_introspects WHERE client_id = $1").bind(id.to_owned()).execute(&mut *connection).await?;
    for audience in &client.introspects {
        if resources::find(connection, audience).await?.is_none() {
            return Err(resources::missing(audience));
        }
        sqlx::query("INSERT INTO client_introspects (client_id, audience) VALUES ($1, $2)")
            .bind(id.to_owned())
            .bind(audience.to_string())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn insert_secret(connection: &mut AnyConnection, client: &ClientId, secret: &StoredSecret) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO client_secrets (id, client_id, digest, created_at, expires_at, last_used_at) VALUES ($1, $2, $3, $4, $5, NULL)",
    )
    .bind(secret.id.to_string())
    .bind(client.to_string())
    .bind(secret.digest.to_text())
    .bind(secret.created_at.seconds())
    .bind(secret.expires_at.map(Timestamp::seconds))
    .execute(connection)
    .await?;
    Ok(())
}
