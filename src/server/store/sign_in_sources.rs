use sqlx::AnyConnection;

use super::{
    Error, Store,
    row::{parsed, text},
};
use crate::{
    protocol::ClientId,
    server::model::{Login, UserId, Username},
};

/// The source of a sign-in, as a MAC that only the nodes of this issuer can compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceMark(pub(crate) String);

/// The same as an `i64`, for binding.
const KEPT: i64 = Store::SIGN_IN_SOURCES as i64;

impl Store {
    /// Sources that are kept per user and client; a new one replaces the one that was last used the longest time ago.
    pub(crate) const SIGN_IN_SOURCES: usize = 10;

    /// The sources from which the user of this name has signed in by this client.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn find_sign_in_sources(&self, client: &ClientId, user: &Username) -> Result<Vec<(UserId, SourceMark)>, Error> {
        let rows = sqlx::query(
            "SELECT users.sub, sign_in_sources.mac FROM users JOIN sign_in_sources ON sign_in_sources.sub = users.sub
             WHERE users.username = $1 AND sign_in_sources.client_id = $2",
        );
        let rows = rows.bind(user.to_string()).bind(client.to_string()).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((parsed(row, "sub")?, SourceMark(text(row, "mac")?)))).collect()
    }
}

/// Records that the user of `login` has signed in from `source`.
pub(super) async fn note(connection: &mut AnyConnection, login: &Login, source: SourceMark) -> Result<(), Error> {
    let (user, client) = (login.user.to_string(), login.client.to_string());
    sqlx::query(
        "INSERT INTO sign_in_sources (sub, client_id, mac, used_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (sub, client_id, mac) DO UPDATE SET used_at = $4",
    )
    .bind(user.clone())
    .bind(client.clone())
    .bind(source.0.clone())
    .bind(login.created_at.seconds())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM sign_in_sources WHERE sub = $1 AND client_id = $2 AND mac <> $3 AND mac NOT IN
         (SELECT mac FROM sign_in_sources WHERE sub = $1 AND client_id = $2 AND mac <> $3 ORDER BY used_at DESC, mac LIMIT $4)",
    )
    .bind(user)
    .bind(client)
    .bind(source.0)
    .bind(KEPT - 1)
    .execute(connection)
    .await?;
    Ok(())
}
