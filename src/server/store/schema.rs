use sqlx::{
    Row, SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{Error, Store};

/// The steps of the schema. A step that has landed is never changed: its checksum is remembered.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "init", include_str!("../../../migrations/0001_init.sql")),
    (2, "people", include_str!("../../../migrations/0002_people.sql")),
    (3, "changes", include_str!("../../../migrations/0003_changes.sql")),
];

fn newest() -> i64 {
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0)
}

impl Store {
    /// Brings the schema up to date.
    pub(super) async fn migrate(&self) -> Result<(), Error> {
        // SQLite has no lock for migrations: of several processes that start at once on an empty database, one may find a
        // table that another made a moment ago. By the third try it finds the work done.
        const TRIES: u32 = 10;
        let steps = MIGRATIONS
            .iter()
            .map(|&(version, name, sql)| Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false));
        let migrator = Migrator::with_migrations(steps.collect());
        let mut tries = 0;
        loop {
            match migrator.run(&self.pool).await {
                Ok(()) => return Ok(()),
                Err(MigrateError::VersionMissing(version)) => return Err(Error::Newer(version)),
                Err(MigrateError::VersionMismatch(version)) => {
                    return Err(Error::Corrupt { what: "schema", why: format!("step {version} is not the one that this program knows") });
                }
                Err(error) if tries + 1 == TRIES => return Err(sqlx::Error::from(error).into()),
                Err(_) => tries += 1,
            }
        }
    }

    /// Refuses a database that no server has founded, and one whose schema is not this version's.
    pub(super) async fn require_schema(&self) -> Result<(), Error> {
        let version = sqlx::query("SELECT CAST(MAX(version) AS BIGINT) AS version FROM _sqlx_migrations").fetch_one(&self.pool).await;
        let version: Option<i64> = match version {
            Ok(row) => row.try_get("version")?,
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table") =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        match version {
            None => Err(Error::NotFounded),
            Some(version) if version > newest() => Err(Error::Newer(version)),
            Some(version) if version < newest() => Err(Error::Older),
            Some(_) => Ok(()),
        }
    }
}
