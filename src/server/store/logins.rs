use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::{Row, any::AnyRow};

use super::{
    Error, Missing, Store,
    login_ends::end_surplus,
    page::{text_or_empty, time_or_zero},
    revocations::{Revoking, position_if_any},
    row::{name, parsed, readable, time, time_if_any, words},
    sign_in_sources::{self, SourceMark},
    status_spans::position,
    withdrawals::{from_its_end, has_its_rights},
};
use crate::{
    clock::{SharedClock, Timestamp},
    protocol::GrantType,
    server::model::{Listed, Login, LoginFilter, LoginId, LoginListFilter, LoginToken, PasswordProof, StatusIndex, TokensSince, Username},
};

/// A new login, with the other data that is stored in its transaction.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) login: Login,
    pub(crate) proof: PasswordProof,
    /// The rights by which it was decided.
    pub(crate) since: TokensSince,
    pub(crate) source: SourceMark,
    /// When its access token expires.
    pub(crate) tokens_end_at: Timestamp,
    /// Maximum number of logins of this user with this client, including this one.
    pub(crate) limit: u32,
}

macro_rules! select {
    ($end:literal) => {
        concat!(
            "SELECT id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at, ended_at, ended_because,
                    status_list, status_index, CAST(CASE WHEN ",
            has_its_rights!(),
            " THEN 1 ELSE 0 END AS BIGINT) AS reached FROM logins ",
            $end
        )
    };
}

/// Selects the logins of a list. One that a withdrawal still has to end has ended. An empty text or a zero in place of a filter selects all.
macro_rules! list {
    ($of:literal) => {
        concat!(
            "SELECT logins.id, logins.sub, logins.client_id, logins.audience, logins.scope, logins.generation, logins.created_at, logins.stepped_at,
                    logins.idle_ends_at, logins.absolute_ends_at, logins.status_list, logins.status_index, u.username,
                    COALESCE(logins.ended_at, (SELECT w.decided_at ",
            from_its_end!(),
            ")) AS ended_at, COALESCE(logins.ended_because, (SELECT w.ended_because ",
            from_its_end!(),
            ")) AS ended_because FROM logins LEFT JOIN users u ON u.sub = logins.sub WHERE ",
            $of,
            " AND ($3 = '' OR logins.client_id = $3) AND ($4 = '' OR logins.audience = $4)
              AND ($5 = 0 OR (logins.ended_at IS NULL AND logins.idle_ends_at > $5 AND logins.absolute_ends_at > $5
                              AND NOT EXISTS (SELECT w.n ",
            from_its_end!(),
            "))) ORDER BY logins.created_at DESC, logins.id LIMIT $2"
        )
    };
}

impl Store {
    /// Stores a login, and ends and returns the logins that then exceed the limit. `None` if the user or the client was disabled or deleted
    /// in the meantime, the password was changed or rehashed, a right was withdrawn from the user, or the client lost the grant type.
    /// [`Error::Outdated`]: this node has an earlier state of the client.
    ///
    /// User and client are updated first: on PostgreSQL that locks their rows, so that a withdrawal either comes first, and there is no
    /// login, or comes later and finds the login.
    pub(crate) async fn insert_login(&self, signed_in: SignedIn) -> Result<Option<Vec<LoginId>>, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let SignedIn { login, proof, since, source, tokens_end_at, limit } = signed_in;
                let user = sqlx::query(
                    "UPDATE users SET signed_in_at = $2, password_hash = $4
                     WHERE sub = $1 AND password_hash = $3 AND disabled_at IS NULL AND tokens_since = $5",
                )
                .bind(login.user.to_string())
                .bind(login.created_at.seconds())
                .bind(proof.hash.expose_secret().to_owned())
                .bind(proof.rehash.unwrap_or(proof.hash).expose_secret().to_owned())
                .bind(since.user)
                .execute(&mut *connection)
                .await?;
                let client = sqlx::query(
                    "UPDATE clients SET disabled_at = NULL WHERE id = $1 AND disabled_at IS NULL RETURNING grants, tokens_since",
                );
                let client = client.bind(login.client.to_string()).fetch_optional(&mut *connection).await?;
                let Some(client) = client.filter(|_| user.rows_affected() == 1) else { return Ok(None) };
                if !words::<GrantType, Vec<_>>(&client, "grants")?.contains(&GrantType::Password) {
                    return Ok(None);
                }
                if client.try_get::<i64, _>("tokens_since")? != since.client {
                    return Err(Error::Outdated);
                }
                let (list, at) = login.status.as_ref().map(position).unzip();
                let inserted = sqlx::query(
                    "INSERT INTO logins (id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at,
                                         status_list, status_index, tokens_end_at, rights_since)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, (SELECT n FROM epochs WHERE kind = 'withdrawals'))
                     ON CONFLICT (status_list, status_index) WHERE status_list IS NOT NULL DO NOTHING",
                )
                .bind(login.id.to_string())
                .bind(login.user.to_string())
                .bind(login.client.to_string())
                .bind(login.audience.to_string())
                .bind(login.scope.to_string())
                .bind(login.generation)
                .bind(login.created_at.seconds())
                .bind(login.stepped_at.seconds())
                .bind(login.idle_ends_at.seconds())
                .bind(login.absolute_ends_at.seconds())
                .bind(list)
                .bind(at)
                .bind(tokens_end_at.seconds())
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    return Err(Error::Busy);
                }
                let mut revoking = Revoking::at(login.created_at);
                let displaced = end_surplus(connection, &mut revoking, &login, limit).await?;
                sign_in_sources::note(connection, &login, source).await?;
                revoking.finish(connection).await?;
                Ok(Some(displaced))
            })
        })
        .await
    }

    /// A login, and whether every withdrawal that concerns it has reached it.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn find_login(&self, id: &LoginId) -> Result<Option<(Login, bool)>, Error> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.map(|row| Ok((read(&row)?, row.try_get::<i64, _>("reached")? != 0))).transpose()
    }

    /// The login whose tokens name this position.
    pub(crate) async fn find_login_by_status(&self, index: &StatusIndex) -> Result<Option<Login>, Error> {
        let (list, at) = position(index);
        let row =
            sqlx::query(select!("WHERE status_list = $1 AND status_index = $2")).bind(list).bind(at).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Whether the login exists, even if other data of it is damaged.
    pub(crate) async fn require_login(&self, id: &LoginId) -> Result<(), Error> {
        let row = sqlx::query("SELECT id FROM logins WHERE id = $1").bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.map(drop).ok_or_else(|| Error::Missing(Missing::Login(id.clone())))
    }

    /// The newest logins with the names of their users, unless a user was deleted.
    pub(crate) async fn list_logins(&self, filter: &LoginListFilter) -> Result<Vec<Listed<(Login, Option<Username>)>>, Error> {
        // The first condition of each is one that an index serves.
        let (sql, selected) = match &filter.of {
            None => (list!("logins.id <> $1"), String::new()),
            Some(of @ LoginFilter::Id(_)) => (list!("logins.id = $1"), of.name()),
            Some(of @ LoginFilter::User(_)) => (list!("logins.sub = $1"), of.name()),
            Some(of @ LoginFilter::Client(_)) => (list!("logins.client_id = $1"), of.name()),
        };
        let rows = sqlx::query(sql)
            .bind(selected)
            .bind(i64::from(filter.limit))
            .bind(text_or_empty(filter.client.as_ref()))
            .bind(text_or_empty(filter.resource.as_ref()))
            .bind(time_or_zero(filter.active_at))
            .fetch_all(&self.pool)
            .await?;
        let named = |row: &AnyRow| {
            let username = row.try_get::<Option<String>, _>("username")?.map(|name| name.parse().map_err(Error::corrupt("username")));
            Ok((read(row)?, username.transpose()?))
        };
        rows.iter().map(|row| Ok(Listed { name: name(row, "id")?, data: readable(named(row))? })).collect()
    }

    /// Advances a login from its generation to the next. Returns false if another request did so first, the login is over, its tokens were
    /// revoked since it got the position of the new token, or a right was withdrawn from the client or the user since the request was
    /// decided, or has not reached the login yet.
    ///
    /// The position decides where a withdrawal comes at the same time: it changes the row of the login. Where it came before, the numbers
    /// decide.
    ///
    /// The time is read when the write runs, which may be later than the call: the period in which a lost response is repeated starts
    /// then.
    pub(crate) async fn step_login(
        &self,
        login: &Login,
        token: LoginToken<'_>,
        clock: SharedClock,
        idle_lifetime: Duration,
    ) -> Result<bool, Error> {
        let LoginToken { status, since, expires_at } = token;
        let (list, at) = status.map(position).unwrap_or_default();
        let (id, generation, absolute_ends_at) = (login.id.clone(), login.generation, login.absolute_ends_at);
        self.write(move |connection| {
            Box::pin(async move {
                let now = clock.steady();
                let idle_ends_at = (now + idle_lifetime).min(absolute_ends_at);
                let stepped = sqlx::query(concat!(
                    "UPDATE logins SET generation = generation + 1, idle_ends_at = $4,
                     stepped_at = CASE WHEN stepped_at > $3 THEN stepped_at ELSE $3 END,
                     tokens_end_at = CASE WHEN tokens_end_at > $9 THEN tokens_end_at ELSE $9 END
                     WHERE id = $1 AND generation = $2 AND ended_at IS NULL AND idle_ends_at > $3 AND absolute_ends_at > $3
                     AND ($5 = '' OR (status_list = $5 AND status_index = $6))
                     AND EXISTS (SELECT 1 FROM clients c WHERE c.id = logins.client_id AND c.tokens_since = $7)
                     AND EXISTS (SELECT 1 FROM users u WHERE u.sub = logins.sub AND u.tokens_since = $8) AND ",
                    has_its_rights!()
                ))
                .bind(id.to_string())
                .bind(generation)
                .bind(now.seconds())
                .bind(idle_ends_at.seconds())
                .bind(list)
                .bind(at)
                .bind(since.client)
                .bind(since.user)
                .bind(expires_at.seconds())
                .execute(connection)
                .await?;
                Ok(stepped.rows_affected() == 1)
            })
        })
        .await
    }

    /// Whether a login goes on with the position of a token, if it has one, and with the rights by which that was decided, so that the token may repeat
    /// its last step. If the token expires much later than its others, that is stored.
    pub(crate) async fn repeat_login(&self, id: &LoginId, token: LoginToken<'_>) -> Result<bool, Error> {
        let LoginToken { status, since, expires_at } = token;
        let (list, at) = status.map(position).unwrap_or_default();
        let row = sqlx::query(concat!(
            "SELECT logins.tokens_end_at FROM logins JOIN clients c ON c.id = logins.client_id JOIN users u ON u.sub = logins.sub
             WHERE logins.id = $1 AND logins.ended_at IS NULL AND ($2 = '' OR (logins.status_list = $2 AND logins.status_index = $3))
               AND c.tokens_since = $4 AND u.tokens_since = $5 AND ",
            has_its_rights!()
        ));
        let row = row.bind(id.to_string()).bind(list).bind(at).bind(since.client).bind(since.user).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(false) };
        if time_if_any(&row, "tokens_end_at")?.is_some_and(|end| expires_at <= end + Login::AFTER_STEP) {
            return Ok(true);
        }
        // The lifetime of tokens was raised since the step.
        let id = id.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let raise = sqlx::query(
                    "UPDATE logins SET tokens_end_at = CASE WHEN tokens_end_at > $2 THEN tokens_end_at ELSE $2 END
                     WHERE id = $1 AND ended_at IS NULL",
                );
                Ok(raise.bind(id.to_string()).bind(expires_at.seconds()).execute(connection).await?.rows_affected() == 1)
            })
        })
        .await
    }
}

fn read(row: &AnyRow) -> Result<Login, Error> {
    Ok(Login {
        id: parsed(row, "id")?,
        user: parsed(row, "sub")?,
        client: parsed(row, "client_id")?,
        audience: parsed(row, "audience")?,
        scope: parsed(row, "scope")?,
        generation: row.try_get("generation")?,
        created_at: time(row, "created_at")?,
        stepped_at: time(row, "stepped_at")?,
        idle_ends_at: time(row, "idle_ends_at")?,
        absolute_ends_at: time(row, "absolute_ends_at")?,
        ended_at: time_if_any(row, "ended_at")?,
        ended_because: row.try_get("ended_because")?,
        status: position_if_any(row)?,
    })
}
