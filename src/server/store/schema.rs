use std::{borrow::Cow, time::Duration};

use sqlx::{
    AnyConnection, Connection, Executor, Row, SqlSafeStr,
    migrate::{Migration, MigrationType},
};

use super::{Error, Store};

/// The migrations. A released one is never changed: databases store its checksum.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "init", include_str!("../../../migrations/0001_init.sql")),
    (2, "people", include_str!("../../../migrations/0002_people.sql")),
    (3, "changes", include_str!("../../../migrations/0003_changes.sql")),
    (4, "sign_in_sources", include_str!("../../../migrations/0004_sign_in_sources.sql")),
    (5, "change_detail", include_str!("../../../migrations/0005_change_detail.sql")),
    (6, "scopes_per_resource", include_str!("../../../migrations/0006_scopes_per_resource.sql")),
    (7, "resource_algorithm", include_str!("../../../migrations/0007_resource_algorithm.sql")),
    (8, "claims", include_str!("../../../migrations/0008_claims.sql")),
    (9, "reseal", include_str!("../../../migrations/0009_reseal.sql")),
    (10, "revocation", include_str!("../../../migrations/0010_revocation.sql")),
    (11, "client_keys", include_str!("../../../migrations/0011_client_keys.sql")),
];

/// The migrations applied to a database: numbers and checksums.
type Applied = Vec<(i64, Vec<u8>)>;

fn newest() -> i64 {
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0)
}

impl Store {
    /// How often a migration tries to lock the tables on PostgreSQL, and the pause between two attempts, in which requests go on.
    const MIGRATION_TRIES: u32 = 60;
    const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

    /// Migrates the schema in one transaction.
    ///
    /// sqlx's own migrator does not fit: its lock belongs to the session, so that an error leaves it in the pool and a pooler loses it,
    /// and it creates its table at every start, which PostgreSQL logs. Its table and checksums are used.
    pub(super) async fn migrate(&self) -> Result<(), Error> {
        for _ in 0..Self::MIGRATION_TRIES {
            match self.try_to_migrate().await {
                Err(error) if error.is_about_locks() => tokio::time::sleep(Self::MIGRATION_PAUSE).await,
                outcome => return outcome,
            }
        }
        Err(Error::TablesLocked)
    }

    async fn try_to_migrate(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let applied = applied(&mut connection).await?;
        if check(applied.as_deref().unwrap_or_default())? == 0 {
            return Ok(());
        }
        let migrated = migrate(&mut connection, self.writer.is_sqlite(), applied.is_none()).await;
        if migrated.is_err() {
            // SQLite may have ended the transaction without sqlx knowing.
            connection.close_on_drop();
        }
        migrated
    }

    /// Refuses a database that no server has created, and one whose schema is not this version's.
    pub(super) async fn require_schema(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        match applied(&mut connection).await?.as_deref() {
            None | Some([]) => Err(Error::NotFounded),
            Some(applied) if check(applied)? > 0 => Err(Error::Older),
            Some(_) => Ok(()),
        }
    }
}

async fn migrate(connection: &mut AnyConnection, sqlite: bool, creating: bool) -> Result<(), Error> {
    // Of several processes that start at once, one migrates and the others wait: on SQLite because of the kind of transaction, on
    // PostgreSQL because of a lock that ends with the transaction. The lock's number is arbitrary.
    let mut transaction = connection.begin_with(if sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
    if !sqlite {
        transaction.execute("SET LOCAL statement_timeout = '60s'").await?;
        transaction.execute("SELECT pg_advisory_xact_lock(7236829201)").await?;
        // While it waits for a table, such as during a backup, all requests wait that need this table or one that it has locked already.
        transaction.execute("SET LOCAL lock_timeout = '250ms'").await?;
    }
    if creating {
        transaction
            .execute(
                "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
                     version BIGINT PRIMARY KEY,
                     description TEXT NOT NULL,
                     installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
                     success BOOLEAN NOT NULL,
                     checksum BYTEA NOT NULL,
                     execution_time BIGINT NOT NULL
                 )",
            )
            .await?;
    }
    let done = applied(&mut transaction).await?.unwrap_or_default();
    check(&done)?;
    for &(version, name, sql) in MIGRATIONS.iter().filter(|(version, ..)| done.iter().all(|(done, _)| done != version)) {
        transaction.execute(sql).await?;
        sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ($1, $2, TRUE, $3, -1)")
            .bind(version)
            .bind(name)
            .bind(checksum(version, name, sql).into_owned())
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// The migrations applied to the database. `None`: it has no table of migrations, so no server has created it.
async fn applied(connection: &mut AnyConnection) -> Result<Option<Applied>, Error> {
    let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version").fetch_all(connection).await;
    match rows {
        Ok(rows) => Ok(Some(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?)),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table") => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The number of missing migrations. Refuses a database with a migration that this program does not know or that differs.
fn check(applied: &[(i64, Vec<u8>)]) -> Result<usize, Error> {
    for (version, found) in applied {
        let Some(&(_, name, sql)) = MIGRATIONS.iter().find(|(known, ..)| known == version) else {
            return if *version > newest() { Err(Error::Newer(*version)) } else { Err(other(*version)) };
        };
        if *checksum(*version, name, sql) != **found {
            return Err(other(*version));
        }
    }
    Ok(MIGRATIONS.len() - applied.len())
}

fn other(version: i64) -> Error {
    Error::Corrupt { what: "schema", why: format!("step {version} differs from this version's") }
}

fn checksum(version: i64, name: &'static str, sql: &'static str) -> Cow<'static, [u8]> {
    Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false).checksum
}
