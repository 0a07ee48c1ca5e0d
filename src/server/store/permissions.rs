//! The permissions of clients and of users: two tables of the same shape.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{Error, Missing, resources, row::parsed};
use crate::protocol::{Audience, Scope, ScopeToken};

/// The permissions of one owner. Rows without a scope do not count.
pub(super) fn of_one(rows: &[AnyRow]) -> Result<BTreeMap<Audience, Scope>, Error> {
    let mut tokens: BTreeMap<Audience, Vec<ScopeToken>> = BTreeMap::new();
    for row in rows {
        if row.try_get::<Option<String>, _>("scope")?.is_some() {
            tokens.entry(parsed(row, "audience")?).or_default().push(parsed(row, "scope")?);
        }
    }
    Ok(tokens.into_iter().map(|(audience, tokens)| (audience, tokens.into_iter().collect())).collect())
}

/// Whether a change from the first to the second withdraws a permission.
pub(super) fn withdraws(before: &BTreeMap<Audience, Scope>, after: &BTreeMap<Audience, Scope>) -> bool {
    !before.iter().all(|(audience, scope)| after.get(audience).is_some_and(|still| scope <= still))
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
                return Err(Error::Missing(Missing::Scope { token: token.clone(), resource: resource.into() }));
            }
            sqlx::query(insert).bind(owner.to_owned()).bind(token.to_string()).bind(audience.to_string()).execute(&mut *connection).await?;
        }
    }
    Ok(())
}
