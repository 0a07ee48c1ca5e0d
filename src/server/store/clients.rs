use sqlx::AnyConnection;

use super::{
    Error, Store,
    client_rows::{facts, find, missing, require, reread},
    credentials,
    epochs::{self, Kind},
    permissions, resources,
    revocations::{Revoking, revoke_own_tokens},
    row::{claims_or_null, joined, lifetime_seconds},
    withdrawals::{self, Owner},
};
use crate::{
    clock::Timestamp,
    protocol::{ClientId, GrantType},
    server::{
        act::Act,
        model::{self, Client, ClientChange, Damaged, Detail, Ending, TakenBack},
    },
};

impl Store {
    pub(crate) async fn insert_client(&self, act: &Act, client: Client) -> Result<(), Error> {
        let client = client.require_valid_claims().map_err(Error::Refused)?;
        self.change(act, "client.create", client.id.clone(), move |connection| {
            Box::pin(async move {
                // Each revocation raises the epoch too, by one: no earlier client of this name had this number.
                let tokens_since = epochs::raise(connection, Kind::Registry).await?;
                let inserted = sqlx::query(
                    "INSERT INTO clients (id, auth_methods, grants, token_lifetime, created_at, disabled_at, tokens_since)
                     VALUES ($1, '', '', NULL, $2, NULL, $3) ON CONFLICT DO NOTHING",
                )
                .bind(client.id.to_string())
                .bind(client.created_at.seconds())
                .bind(tokens_since)
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    return Err(Error::Exists { kind: "client", name: client.id.to_string() });
                }
                save(connection, &client).await?;
                for secret in &client.secrets {
                    credentials::insert_secret(connection, &client.id, secret).await?;
                }
                for key in &client.keys {
                    credentials::insert_key(connection, &client.id, key).await?;
                }
                Ok(((), Detail::added(client.facts_at_creation())))
            })
        })
        .await
    }

    /// Applies `change`. Returns the changed client, and what that took back.
    ///
    /// Removing a grant type or a permission revokes the client's tokens. Removing a grant type that logins depend on ends its logins.
    pub(crate) async fn update_client(&self, act: &Act, id: ClientId, change: ClientChange) -> Result<(Client, TakenBack), Error> {
        let (now, owner) = (act.now, Owner::Client(id.to_string()));
        let ends_logins = change.remove_grants.iter().any(|grant| matches!(grant, GrantType::Password | GrantType::RefreshToken));
        let open = if ends_logins { self.count_open(&owner, now).await? } else { TakenBack::default() };
        self.withdraw(act, "client.update", id.clone(), owner.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let before = find(connection, &id).await?.ok_or_else(|| missing(&id))?;
                let facts = before.facts();
                let (grants, allowed, could) = (before.grants.clone(), before.permissions.clone(), before.can_authenticate(now));
                let after = change.apply(before).map_err(Error::Refused)?;
                if could && !after.can_authenticate(now) {
                    let methods = joined(after.auth_methods.iter().map(|method| method.as_str()));
                    return Err(Error::Refused(format!(
                        "by {methods} alone, the client {id} could not authenticate with what it has: add a secret or a key for that first"
                    )));
                }
                save(connection, &after).await?;
                let mut detail = Detail::between(Some(facts), Some(after.facts()));
                let (mut taken, mut revoking) = (TakenBack::default(), Revoking::at(now));
                let loses_permission = permissions::withdraws(&allowed, &after.permissions);
                let own_tokens =
                    (loses_permission || !grants.is_subset(&after.grants)) && revoking.tokens_of_client(connection, id.as_str()).await?;
                if ends_logins {
                    taken = withdrawals::decide(connection, &owner, Some((Ending::GrantWithdrawn, open)), now).await?;
                    detail = detail.with_logins_ended(taken.logins);
                } else if loses_permission {
                    taken = withdrawals::decide(connection, &owner, None, now).await?;
                }
                revoking.finish(connection).await?;
                Ok(((after, TakenBack { own_tokens, ..taken }), detail))
            })
        })
        .await
    }

    /// Revokes all tokens that the client got for itself. Returns whether there were any that were not revoked yet.
    pub(crate) async fn revoke_client_tokens(&self, act: &Act, id: ClientId) -> Result<bool, Error> {
        let now = act.now;
        self.change(act, "client.revoke_tokens", id.clone(), move |connection| {
            Box::pin(async move {
                // The client goes on at once with fresh positions: every node reads it again.
                epochs::raise(connection, Kind::Registry).await?;
                require(connection, &id).await?;
                Ok((revoke_own_tokens(connection, &id, now).await?, Detail::default()))
            })
        })
        .await
    }

    /// Disables a client, which revokes its tokens and ends its logins, or enables it. Returns the changed client, unless it is damaged: that must not prevent
    /// the change; and what that took back.
    pub(crate) async fn set_client_disabled(
        &self,
        act: &Act,
        id: ClientId,
        disabled: bool,
    ) -> Result<(Result<Client, Damaged>, TakenBack), Error> {
        let (action, now) = (if disabled { "client.disable" } else { "client.enable" }, act.now);
        let owner = Owner::Client(id.to_string());
        let open = if disabled { self.count_open(&owner, now).await? } else { TakenBack::default() };
        self.withdraw(act, action, id.clone(), owner.clone(), move |connection| {
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
                let after = reread(connection, &id).await?;
                let mut detail = Detail::between(before, after.as_ref().ok().map(Client::facts));
                let mut taken = TakenBack::default();
                if disabled {
                    taken = end_client(connection, &owner, &id, (Ending::ClientDisabled, open), now).await?;
                    detail = detail.with_logins_ended(taken.logins);
                }
                Ok(((after, taken), detail))
            })
        })
        .await
    }

    /// Deletes a client, its secrets and its keys, revokes its tokens, and ends its logins.
    pub(crate) async fn delete_client(&self, act: &Act, id: ClientId) -> Result<TakenBack, Error> {
        let (now, owner) = (act.now, Owner::Client(id.to_string()));
        let open = self.count_open(&owner, now).await?;
        self.withdraw(act, "client.delete", id.clone(), owner.clone(), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                let before = facts(connection, &id).await?;
                for sql in [
                    "DELETE FROM client_permissions WHERE client_id = $1",
                    "DELETE FROM client_introspects WHERE client_id = $1",
                    "DELETE FROM client_secrets WHERE client_id = $1",
                    "DELETE FROM client_keys WHERE client_id = $1",
                ] {
                    sqlx::query(sql).bind(id.to_string()).execute(&mut *connection).await?;
                }
                let deleted = sqlx::query("DELETE FROM clients WHERE id = $1").bind(id.to_string()).execute(&mut *connection).await?;
                if deleted.rows_affected() == 0 {
                    return Err(missing(&id));
                }
                let taken = end_client(connection, &owner, &id, (Ending::ClientDeleted, open), now).await?;
                Ok((taken, Detail::between(before, None).with_logins_ended(taken.logins)))
            })
        })
        .await
    }

    /// Whether the client exists, even if it is damaged.
    pub(crate) async fn require_client(&self, id: &ClientId) -> Result<(), Error> {
        require(&mut *self.pool.acquire().await?, id).await
    }
}

/// Revokes all tokens of a client, which is locked or deleted, and ends its logins.
async fn end_client(
    connection: &mut AnyConnection,
    owner: &Owner,
    id: &ClientId,
    ends: (Ending, TakenBack),
    now: Timestamp,
) -> Result<TakenBack, Error> {
    let mut revoking = Revoking::at(now);
    let own_tokens = revoking.tokens_of_client(connection, id.as_str()).await?;
    let taken = withdrawals::decide(connection, owner, Some(ends), now).await?;
    revoking.finish(connection).await?;
    Ok(TakenBack { own_tokens, ..taken })
}

/// Overwrites all data of a client except its secrets and keys.
async fn save(connection: &mut AnyConnection, client: &Client) -> Result<(), Error> {
    let id = client.id.as_str();
    sqlx::query(
        "UPDATE clients SET auth_methods = $2, grants = $3, token_lifetime = $4, disabled_at = $5, fixed_claims = $6 WHERE id = $1",
    )
    .bind(id.to_owned())
    .bind(joined(client.auth_methods.iter().map(|method| method.as_str())))
    .bind(joined(client.grants.iter().map(|grant| grant.as_str())))
    .bind(lifetime_seconds(client.token_lifetime))
    .bind(client.disabled_at.map(Timestamp::seconds))
    .bind(claims_or_null(&client.fixed_claims))
    .execute(&mut *connection)
    .await?;
    let statements = [
        "DELETE FROM client_permissions WHERE client_id = $1",
        "INSERT INTO client_permissions (client_id, scope, audience) VALUES ($1, $2, $3)",
    ];
    permissions::replace(connection, statements, id, client.permissions.iter()).await?;
    if !client.fixed_claims.is_empty() {
        for audience in client.permissions.keys() {
            if let Some(resource) = resources::find(connection, audience).await? {
                model::require_fitting(&resource, [(&client.id, &client.fixed_claims)]).map_err(Error::Refused)?;
            }
        }
    }
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
