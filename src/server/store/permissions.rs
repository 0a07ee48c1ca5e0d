//! The permissions of clients and of users: two tables of the same shape.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, any::AnyRow};

use super::{Error, resources, row::parsed};
use crate::protocol::{Audience, Scope, ScopeToken};

/// Groups the scope tokens of rows by owner and resource.
pub(super) fn group<K: Ord>(
    rows: &[AnyRow],
    owner: impl Fn(&AnyRow) -> Result<K, Error>,
) -> Result<BTreeMap<K, BTreeMap<Audience, Scope>>, Error> {
    let mut tokens: BTreeMap<K, BTreeMap<Audience, Vec<ScopeToken>>> = BTreeMap::new();
    for row in rows {
        let held = tokens.entry(owner(row)?).or_default().entry(parsed(row, "audience")?).or_default();
        held.push(parsed(row, "scope")?);
    }
    let scopes = |held: BTreeMap<Audience, Vec<ScopeToken>>| {
        held.into_iter().map(|(audience, tokens)| (audience, tokens.into_iter().collect())).collect()
    };
    Ok(tokens.into_iter().map(|(owner, held)| (owner, scopes(held))).collect())
}

/// Replaces the permissions of `owner`, with these two statements. Refuses scope tokens that the resource does not own.
pub(super) async fn replace(
    connection: &mut AnyConnection,
    [delete, insert]: [&'static str; 2],
    owner: &str,
    permissions: impl Iterator<Item = (&Audience, &Scope)>,
) -> Result<(), Error> {
    sqlx::query(delete).bind(owner.to_owned()).execute(&mut *connection).await?;
    for (audience, scope) in permissions {
        let resource = resources::find(connection, audience).await?.ok_or_else(|| resources::missing(audience))?;
        for token in scope.iter() {
            if !resource.scope.contains(token) {
                return Err(Error::Missing(format!("scope {token} at the resource {audience}, which has: {}", resource.scope)));
            }
            sqlx::query(insert).bind(owner.to_owned()).bind(token.to_string()).bind(audience.to_string()).execute(&mut *connection).await?;
        }
    }
    Ok(())
}
