use sqlx::{AnyConnection, Row};

use super::{
    Error, Missing, Store, client_claims,
    epochs::{self, Kind},
    page::{PAGE, Page, text_or_empty},
    row::{self, claims_or_null, joined, lifetime_if_any, lifetime_seconds, parsed, parsed_if_any, readable, time, words_if_any},
};
use crate::{
    protocol::{Algorithm, Audience, Scope, ScopeToken},
    server::{
        act::Act,
        model::{self, ClaimName, Detail, Listed, Resource, ResourceChange, ResourceFilter},
    },
};

impl Store {
    pub(crate) async fn insert_resource(&self, act: &Act, resource: Resource) -> Result<(), Error> {
        let resource = resource.require_fitting().map_err(Error::Refused)?;
        self.change(act, "resource.create", resource.audience.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                model::require_fitting(&resource, []).map_err(Error::Refused)?;
                let inserted = sqlx::query(
                    "INSERT INTO resources (audience, token_lifetime, created_at, fixed_claims, claims, algorithm)
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                )
                .bind(resource.audience.to_string())
                .bind(lifetime_seconds(resource.token_lifetime))
                .bind(resource.created_at.seconds())
                .bind(claims_or_null(&resource.fixed_claims))
                .bind(names_or_null(&resource))
                .bind(resource.algorithm.as_str())
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    return Err(Error::Exists { kind: "resource", name: resource.audience.to_string() });
                }
                insert_scopes(connection, &resource.audience, &resource.scope).await?;
                Ok(((), Detail::added(resource.facts())))
            })
        })
        .await
    }

    /// The page of resources after the name `after`, in the database's order.
    pub(crate) async fn list_resources(&self, filter: &ResourceFilter, after: &str) -> Result<Page<Resource>, Error> {
        let rows = sqlx::query(
            "SELECT r.audience, r.token_lifetime, r.algorithm, r.created_at, r.fixed_claims, r.claims, s.scope FROM
               (SELECT * FROM resources WHERE audience > $1
                  AND ($3 = '' OR audience IN (SELECT audience FROM resource_scopes WHERE scope = $3)) ORDER BY audience LIMIT $2) r
             LEFT JOIN resource_scopes s ON s.audience = r.audience ORDER BY r.audience",
        );
        let scope = text_or_empty(filter.scope.as_ref());
        let rows = rows.bind(after.to_owned()).bind(PAGE).bind(scope).fetch_all(&self.pool).await?;
        let mut listed = Vec::new();
        let mut rest = &rows[..];
        while let Some(first) = rest.first() {
            let name = row::name(first, "audience")?;
            let count = rest.iter().take_while(|row| row::name(row, "audience").is_ok_and(|other| other == name)).count();
            let (rows, others) = rest.split_at(count);
            let tokens = rows.iter().filter(|row| row.try_get::<Option<String>, _>("scope").is_ok_and(|scope| scope.is_some()));
            let scope: Result<Scope, Error> = tokens.map(|row| parsed::<ScopeToken>(row, "scope")).collect();
            listed.push(Listed { name, data: readable(scope.and_then(|scope| read(first, scope)))? });
            rest = others;
        }
        Ok(Page::of(listed))
    }

    /// The algorithms that sign the tokens of some resource, and RS256, the default. Damaged values are left out.
    pub(crate) async fn list_algorithms_in_use(&self) -> Result<Vec<Algorithm>, Error> {
        let rows = sqlx::query("SELECT DISTINCT algorithm FROM resources ORDER BY algorithm").fetch_all(&self.pool).await?;
        let mut algorithms = vec![Algorithm::Rs256];
        for algorithm in rows.iter().filter_map(|row| parsed::<Algorithm>(row, "algorithm").ok()) {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        Ok(algorithms)
    }

    /// Whether there is any resource.
    pub(crate) async fn has_resources(&self) -> Result<bool, Error> {
        Ok(sqlx::query("SELECT audience FROM resources LIMIT 1").fetch_optional(&self.pool).await?.is_some())
    }

    /// Whether the resource exists, even if it is damaged.
    pub(crate) async fn require_resource(&self, audience: &Audience) -> Result<(), Error> {
        let row = sqlx::query("SELECT audience FROM resources WHERE audience = $1").bind(audience.to_string());
        row.fetch_optional(&self.pool).await?.map(drop).ok_or_else(|| missing(audience))
    }

    pub(crate) async fn find_resource(&self, audience: &Audience) -> Result<Option<Resource>, Error> {
        let mut connection = self.pool.acquire().await?;
        find(&mut connection, audience).await
    }

    /// Applies `change` and returns the changed resource. Refuses to remove a scope token that clients or users have there.
    pub(crate) async fn update_resource(&self, act: &Act, audience: Audience, change: ResourceChange) -> Result<Resource, Error> {
        self.change(act, "resource.update", audience.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let before = find(connection, &audience).await?.ok_or_else(|| missing(&audience))?;
                let (removed, facts) = (change.remove.clone(), before.facts());
                let after = change.apply(before).map_err(Error::Refused)?;
                for token in removed.iter() {
                    let holders = [
                        "SELECT client_id AS name FROM client_permissions WHERE audience = $1 AND scope = $2 ORDER BY client_id",
                        "SELECT u.username AS name FROM user_permissions p JOIN users u ON u.sub = p.sub
                         WHERE p.audience = $1 AND p.scope = $2 ORDER BY u.username",
                    ];
                    refuse_if_used(connection, holders, &[audience.as_str(), token.as_str()], format!("the scope {token}")).await?;
                }
                let clients = client_claims::of_clients_at(connection, &audience).await?;
                model::require_fitting(&after, clients.iter().map(|(id, claims)| (id, claims))).map_err(Error::Refused)?;
                sqlx::query("UPDATE resources SET token_lifetime = $2, fixed_claims = $3, claims = $4, algorithm = $5 WHERE audience = $1")
                    .bind(audience.to_string())
                    .bind(lifetime_seconds(after.token_lifetime))
                    .bind(claims_or_null(&after.fixed_claims))
                    .bind(names_or_null(&after))
                    .bind(after.algorithm.as_str())
                    .execute(&mut *connection)
                    .await?;
                for token in scopes_of(connection, &audience).await?.iter().filter(|token| !after.scope.contains(token)) {
                    sqlx::query("DELETE FROM resource_scopes WHERE audience = $1 AND scope = $2")
                        .bind(audience.to_string())
                        .bind(token.to_string())
                        .execute(&mut *connection)
                        .await?;
                }
                insert_scopes(connection, &audience, &after.scope).await?;
                let detail = Detail::between(Some(facts), Some(after.facts()));
                Ok((after, detail))
            })
        })
        .await
    }

    /// Deletes a resource. Refuses if clients or users have permissions there, or clients introspect its tokens.
    pub(crate) async fn delete_resource(&self, act: &Act, audience: Audience) -> Result<(), Error> {
        self.change(act, "resource.delete", audience.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let holders = [
                    "SELECT client_id AS name FROM client_permissions WHERE audience = $1
                     UNION SELECT client_id AS name FROM client_introspects WHERE audience = $1 ORDER BY name",
                    "SELECT DISTINCT u.username AS name FROM user_permissions p JOIN users u ON u.sub = p.sub WHERE p.audience = $1 ORDER BY name",
                ];
                refuse_if_used(connection, holders, &[audience.as_str()], format!("the resource {audience}")).await?;
                // A damaged row must not prevent deleting the resource.
                let before = readable(find(connection, &audience).await)?.unwrap_or_default().map(|resource| resource.facts());
                sqlx::query("DELETE FROM resource_scopes WHERE audience = $1").bind(audience.to_string()).execute(&mut *connection).await?;
                let deleted =
                    sqlx::query("DELETE FROM resources WHERE audience = $1").bind(audience.to_string()).execute(&mut *connection).await?;
                if deleted.rows_affected() == 0 { Err(missing(&audience)) } else { Ok(((), Detail::between(before, None))) }
            })
        })
        .await
    }
}

pub(super) fn missing(audience: &Audience) -> Error {
    Error::Missing(Missing::Resource(audience.clone()))
}

pub(super) async fn find(connection: &mut AnyConnection, audience: &Audience) -> Result<Option<Resource>, Error> {
    let row =
        sqlx::query("SELECT audience, token_lifetime, algorithm, created_at, fixed_claims, claims FROM resources WHERE audience = $1");
    let Some(row) = row.bind(audience.to_string()).fetch_optional(&mut *connection).await? else { return Ok(None) };
    let scope = scopes_of(connection, audience).await?;
    read(&row, scope).map(Some)
}

fn read(row: &sqlx::any::AnyRow, scope: Scope) -> Result<Resource, Error> {
    Ok(Resource {
        audience: parsed(row, "audience")?,
        scope,
        token_lifetime: lifetime_if_any(row, "token_lifetime")?,
        algorithm: parsed(row, "algorithm")?,
        fixed_claims: parsed_if_any(row, "fixed_claims")?.unwrap_or_default(),
        claims: words_if_any(row, "claims")?,
        created_at: time(row, "created_at")?,
    })
}

/// The claims that it asks for, for binding.
fn names_or_null(resource: &Resource) -> Option<String> {
    (!resource.claims.is_empty()).then(|| joined(resource.claims.iter().map(ClaimName::as_str)))
}

async fn scopes_of(connection: &mut AnyConnection, audience: &Audience) -> Result<Scope, Error> {
    let rows =
        sqlx::query("SELECT scope FROM resource_scopes WHERE audience = $1").bind(audience.to_string()).fetch_all(connection).await?;
    rows.iter().map(|row| parsed::<ScopeToken>(row, "scope")).collect()
}

/// Inserts the missing scope tokens.
async fn insert_scopes(connection: &mut AnyConnection, audience: &Audience, scope: &Scope) -> Result<(), Error> {
    for token in scope.iter() {
        sqlx::query("INSERT INTO resource_scopes (scope, audience) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(token.to_string())
            .bind(audience.to_string())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Refuses if one of the two statements, which select names of clients and of users, finds any for `bound`, their parameters.
async fn refuse_if_used(connection: &mut AnyConnection, holders: [&'static str; 2], bound: &[&str], what: String) -> Result<(), Error> {
    let mut found = [Vec::new(), Vec::new()];
    for (names, sql) in found.iter_mut().zip(holders) {
        let query = bound.iter().fold(sqlx::query(sql), |query, text| query.bind((*text).to_owned()));
        for row in query.fetch_all(&mut *connection).await? {
            names.push(row.try_get::<String, _>("name")?);
        }
    }
    let [clients, users] = found;
    if clients.is_empty() && users.is_empty() { Ok(()) } else { Err(Error::InUse { what, clients, users }) }
}
