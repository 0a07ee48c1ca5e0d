use sqlx::{Row, any::AnyRow};

use super::{
    Error, Store,
    row::{time, time_if_any},
    status_spans,
    withdrawals::has_its_rights,
};
use crate::{
    clock::Timestamp,
    protocol::ClientId,
    server::model::{StatusIndex, StatusSpan},
};

/// What decides whether a token that this issuer signed is still valid, at one moment.
#[derive(Debug)]
pub(crate) struct TokenState {
    pub(crate) client_created_at: Timestamp,
    pub(crate) client_disabled: bool,
    /// The user who is the subject. `None` if there is no such user.
    pub(crate) user: Option<UserState>,
    pub(crate) key_revoked: bool,
    /// Whether the list of the token's position exists.
    pub(crate) has_list: bool,
    pub(crate) position_set: bool,
    /// Whether the login of the token's position goes on, and keeps it.
    pub(crate) login_open: bool,
}

#[derive(Debug)]
pub(crate) struct UserState {
    pub(crate) username: String,
    pub(crate) disabled: bool,
}

/// Selects by kid (`$1`), client (`$2`), subject (`$3`), position (`$4`, `$5`) and time (`$6`); the others are the starts of the spans that can contain
/// the position, by which the index finds the few revocations that do.
const SELECT: &str = concat!(
    "SELECT c.created_at, c.disabled_at, u.username, u.disabled_at AS user_disabled_at,
    (SELECT COUNT(*) FROM signing_keys WHERE kid = $1 AND revoked_at IS NOT NULL) AS revoked_keys,
    (SELECT COUNT(*) FROM status_lists WHERE id = $4) AS lists,
    (SELECT COUNT(*) FROM revocations WHERE list_id = $4 AND expires_at > $6 AND start + width > $5
        AND start IN ($7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)) AS revocations,
    (SELECT COUNT(*) FROM logins WHERE status_list = $4 AND status_index = $5 AND sub = $3 AND client_id = $2 AND ended_at IS NULL AND ",
    has_its_rights!(),
    ") AS logins
    FROM clients c LEFT JOIN users u ON u.sub = $3 WHERE c.id = $2"
);

impl Store {
    /// The state of a token at `now`, in one statement, so that it is of one moment. `None` if there is no such client. Without a `position`, the
    /// token has neither a list nor a login.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn find_token_state(
        &self,
        kid: &str,
        client: &ClientId,
        subject: &str,
        position: Option<&StatusIndex>,
        now: Timestamp,
    ) -> Result<Option<TokenState>, Error> {
        let (list, index) = position.map(status_spans::position).unwrap_or_default();
        let starts = StatusSpan::starts_around(position.map_or(0, |position| position.index));
        let query = sqlx::query(SELECT)
            .bind(kid.to_owned())
            .bind(client.to_string())
            .bind(subject.to_owned())
            .bind(list)
            .bind(index)
            .bind(now.seconds());
        let row = starts.fold(query, |query, start| query.bind(i64::from(start))).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }
}

fn read(row: &AnyRow) -> Result<TokenState, Error> {
    let any = |column: &str| Ok::<_, Error>(row.try_get::<i64, _>(column)? > 0);
    let user_disabled = time_if_any(row, "user_disabled_at")?.is_some();
    let username = row.try_get::<Option<String>, _>("username")?;
    Ok(TokenState {
        client_created_at: time(row, "created_at")?,
        client_disabled: time_if_any(row, "disabled_at")?.is_some(),
        user: username.map(|username| UserState { username, disabled: user_disabled }),
        key_revoked: any("revoked_keys")?,
        has_list: any("lists")?,
        position_set: any("revocations")?,
        login_open: any("logins")?,
    })
}
