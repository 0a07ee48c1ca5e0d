//! What clients authenticate with: secrets and public keys.

use std::collections::BTreeSet;

use sqlx::AnyConnection;

use super::{
    Error, Missing, Store,
    client_rows::{readable_keys, readable_secrets, require, reread},
    epochs::{self, Kind},
    revocations::revoke_own_tokens,
    row::{joined, readable, words},
};
use crate::{
    clock::Timestamp,
    protocol::{AuthMethod, ClientId},
    server::{
        act::Act,
        model::{Client, CredentialDrop, CredentialId, Damaged, Detail, Facts, StoredKey, StoredSecret, can_authenticate},
    },
};

impl Store {
    pub(crate) async fn insert_client_secret(&self, act: &Act, id: ClientId, secret: StoredSecret) -> Result<(), Error> {
        self.change(act, "client.add_secret", format!("{id} {}", secret.id), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                require(connection, &id).await?;
                if methods(connection, &id).await?.iter().eq([&AuthMethod::PrivateKeyJwt]) {
                    return Err(Error::Refused(format!(
                        "the client {id} may authenticate by private_key_jwt alone, so a secret would be of no use: allow a method with `sealwright client update {id} --auth-method METHOD` first"
                    )));
                }
                insert_secret(connection, &id, &secret).await?;
                Ok(((), Detail::added(secret.facts())))
            })
        })
        .await
    }

    /// Adds a key, and the method by which the client uses it. A key that is there gets the new end.
    pub(crate) async fn insert_client_key(&self, act: &Act, id: ClientId, key: StoredKey) -> Result<(), Error> {
        self.change(act, "client.add_key", format!("{id} {}", key.key.id()), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                require(connection, &id).await?;
                let present = readable_keys(connection, &id).await?;
                if let Some(same) = present.iter().find(|other| other.key.thumbprint() == key.key.thumbprint()) {
                    if same.key.to_json() != key.key.to_json() {
                        return Err(Error::Refused(format!(
                            "the client {id} has this key already, as {} for {}: drop that one first",
                            same.key.id(),
                            same.key.algorithm()
                        )));
                    }
                    set_end(connection, &id, &key).await?;
                    return Ok(((), Detail::between(Some(same.facts()), Some(key.facts()))));
                }
                if present.len() >= StoredKey::MAX {
                    return Err(Error::Refused(format!("the client {id} has {} keys, the maximum: drop one first", StoredKey::MAX)));
                }
                insert_key(connection, &id, &key).await?;
                let mut facts = key.facts();
                facts.extend(allow_keys(connection, &id).await?);
                Ok(((), Detail::added(facts)))
            })
        })
        .await
    }

    /// Deletes a secret or a key, and if it is compromised, revokes the client's tokens. Returns the changed client, unless it is damaged, and whether
    /// tokens were revoked.
    pub(crate) async fn delete_client_credential(
        &self,
        act: &Act,
        id: ClientId,
        CredentialDrop { credential, allow_last, compromised }: CredentialDrop,
    ) -> Result<(Result<Client, Damaged>, bool), Error> {
        let now = act.now;
        let action = match &credential {
            CredentialId::Secret(_) => "client.drop_secret",
            CredentialId::Key(_) => "client.drop_key",
        };
        self.change(act, action, format!("{id} {}", credential.as_str()), move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Registry).await?;
                require(connection, &id).await?;
                let methods = methods(connection, &id).await?;
                let (mut secrets, mut keys) = (readable_secrets(connection, &id).await?, readable_keys(connection, &id).await?);
                let could = can_authenticate(&methods, &secrets, &keys, now);
                let before = match &credential {
                    CredentialId::Secret(id) => secrets.extract_if(.., |secret| secret.id == *id).next().map(|secret| secret.facts()),
                    CredentialId::Key(id) => keys.extract_if(.., |key| key.key.id() == id).next().map(|key| key.facts()),
                };
                let sql = match &credential {
                    CredentialId::Secret(_) => "DELETE FROM client_secrets WHERE client_id = $1 AND id = $2",
                    CredentialId::Key(_) => "DELETE FROM client_keys WHERE client_id = $1 AND id = $2",
                };
                let deleted = sqlx::query(sql).bind(id.to_string()).bind(credential.as_str().to_owned()).execute(&mut *connection).await?;
                if deleted.rows_affected() == 0 {
                    return Err(Error::Missing(Missing::Credential { client: id, credential }));
                }
                if could && !allow_last && !can_authenticate(&methods, &secrets, &keys, now) {
                    return Err(Error::LastCredential { client: id, credential });
                }
                let revoked = compromised && revoke_own_tokens(connection, &id, now).await?;
                let after = reread(connection, &id).await?;
                Ok(((after, revoked), Detail::between(before, None)))
            })
        })
        .await
    }

    /// Whether the client has the secret or the key, even if it is damaged.
    pub(crate) async fn require_credential(&self, id: &ClientId, credential: &CredentialId) -> Result<(), Error> {
        self.require_client(id).await?;
        let sql = match credential {
            CredentialId::Secret(_) => "SELECT id FROM client_secrets WHERE client_id = $1 AND id = $2",
            CredentialId::Key(_) => "SELECT id FROM client_keys WHERE client_id = $1 AND id = $2",
        };
        let row = sqlx::query(sql).bind(id.to_string()).bind(credential.as_str().to_owned()).fetch_optional(&self.pool).await?;
        row.map(drop).ok_or_else(|| Error::Missing(Missing::Credential { client: id.clone(), credential: credential.clone() }))
    }

    /// Records when secrets and keys were last used. No decision depends on it, so it raises no epoch.
    pub(crate) async fn stamp_credentials_used(&self, used: Vec<((ClientId, CredentialId), Timestamp)>) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                for ((client, credential), at) in used {
                    // Several nodes may stamp the same one, out of order.
                    let sql = match credential {
                        CredentialId::Secret(_) => {
                            "UPDATE client_secrets SET last_used_at = $3
                             WHERE client_id = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at < $3)"
                        }
                        CredentialId::Key(_) => {
                            "UPDATE client_keys SET last_used_at = $3
                             WHERE client_id = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at < $3)"
                        }
                    };
                    let stamp = sqlx::query(sql).bind(client.to_string()).bind(credential.as_str().to_owned()).bind(at.seconds());
                    stamp.execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// The methods by which the client may authenticate; none if they are damaged.
async fn methods(connection: &mut AnyConnection, id: &ClientId) -> Result<BTreeSet<AuthMethod>, Error> {
    let row = sqlx::query("SELECT auth_methods FROM clients WHERE id = $1").bind(id.to_string()).fetch_one(connection).await?;
    Ok(readable(words(&row, "auth_methods"))?.unwrap_or_default())
}

/// Allows a client to authenticate by its keys. Returns its methods for the change log, if it could not.
async fn allow_keys(connection: &mut AnyConnection, id: &ClientId) -> Result<Facts, Error> {
    let mut methods = methods(connection, id).await?;
    if methods.is_empty() || !methods.insert(AuthMethod::PrivateKeyJwt) {
        return Ok(Facts::default());
    }
    let names: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    sqlx::query("UPDATE clients SET auth_methods = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(joined(names.iter().copied()))
        .execute(connection)
        .await?;
    Ok(Facts::from_iter([("auth_methods".to_owned(), names.into())]))
}

pub(super) async fn insert_secret(connection: &mut AnyConnection, client: &ClientId, secret: &StoredSecret) -> Result<(), Error> {
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

/// Sets when a key ends that is there already.
async fn set_end(connection: &mut AnyConnection, client: &ClientId, key: &StoredKey) -> Result<(), Error> {
    sqlx::query("UPDATE client_keys SET expires_at = $3 WHERE client_id = $1 AND id = $2")
        .bind(client.to_string())
        .bind(key.key.id().to_string())
        .bind(key.expires_at.map(Timestamp::seconds))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn insert_key(connection: &mut AnyConnection, client: &ClientId, key: &StoredKey) -> Result<(), Error> {
    let inserted = sqlx::query(
        "INSERT INTO client_keys (client_id, id, jwk, created_at, expires_at, last_used_at) VALUES ($1, $2, $3, $4, $5, NULL)
         ON CONFLICT DO NOTHING",
    )
    .bind(client.to_string())
    .bind(key.key.id().to_string())
    .bind(key.key.to_json())
    .bind(key.created_at.seconds())
    .bind(key.expires_at.map(Timestamp::seconds))
    .execute(connection)
    .await?;
    match inserted.rows_affected() {
        0 => Err(Error::Refused(format!(
            "the client {client} has another key with the id {}: drop that one first, or give this one another id with --kid",
            key.key.id()
        ))),
        _ => Ok(()),
    }
}
