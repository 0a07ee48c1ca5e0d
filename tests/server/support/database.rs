use std::path::Path;

use sealwright::server::commands::Commands;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// A database and a folder of keys for one test. Both are deleted when it is dropped.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    pub(super) commands: OnceCell<Commands>,
    postgres: Option<String>,
}

impl TestDatabase {
    pub(crate) async fn create(backend: Backend) -> Self {
        let folder = TempDir::with_prefix("sealwright-test-").unwrap();
        let commands = OnceCell::new();
        match backend {
            Backend::Sqlite => {
                Self { url: format!("sqlite://{}", folder.path().join("sealwright.db").display()), folder, commands, postgres: None }
            }
            Backend::Postgres => {
                let name =
                    folder.path().file_name().unwrap().to_str().unwrap().to_lowercase().replace('-', "_") + &std::process::id().to_string();
                let mut server =
                    PgConnection::connect(&postgres_server()).await.expect("the PostgreSQL server of TEST_DATABASE_URL answers");
                server.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
                server.close().await.unwrap();
                let url = format!("{}/{name}", postgres_server().rsplit_once('/').unwrap().0);
                Self { url, folder, commands, postgres: Some(name) }
            }
        }
    }

    pub(super) const fn backend(&self) -> Backend {
        if self.postgres.is_some() { Backend::Postgres } else { Backend::Sqlite }
    }

    pub(crate) fn keys_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("keys")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a statement without the server.
    pub(crate) async fn execute(&self, sql: &str) {
        self.connect().await.execute(sql).await;
    }

    /// Runs a statement in a transaction that stays open.
    pub(crate) async fn lock(&self, sql: &str) -> Held {
        let mut connection = self.connect().await;
        connection.execute("BEGIN").await;
        connection.execute(sql).await;
        Held(connection)
    }

    /// The first column of every row, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        match self.connect().await {
            Direct::Sqlite(mut connection) => sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap(),
            Direct::Postgres(mut connection) => sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap(),
        }
    }

    /// All data that a start could change.
    pub(crate) async fn contents(&self) -> Vec<String> {
        let mut all = Vec::new();
        for sql in [
            "SELECT sealed FROM sealing_canary",
            "SELECT sealed FROM signing_keys ORDER BY kid",
            "SELECT CAST(n AS TEXT) FROM epochs WHERE kind NOT IN ('heartbeat', 'cautious_heartbeat') ORDER BY kind",
            "SELECT CAST(version AS TEXT) FROM _sqlx_migrations ORDER BY version",
        ] {
            all.extend(self.texts(sql).await);
        }
        all
    }

    async fn connect(&self) -> Direct {
        match self.postgres {
            Some(_) => Direct::Postgres(PgConnection::connect(&self.url).await.unwrap()),
            None => Direct::Sqlite(SqliteConnection::connect(&format!("{}?mode=rw", self.url)).await.unwrap()),
        }
    }
}

/// A connection of the test.
enum Direct {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Direct {
    async fn execute(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => drop(connection.execute(sql).await.unwrap()),
            Self::Postgres(connection) => drop(connection.execute(sql).await.unwrap()),
        }
    }
}

/// A transaction that holds its locks.
pub(crate) struct Held(Direct);

impl Held {
    /// Runs another statement in the transaction.
    pub(crate) async fn execute(&mut self, sql: &str) {
        self.0.execute(sql).await;
    }

    pub(crate) async fn release(mut self) {
        self.0.execute("ROLLBACK").await;
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(name) = self.postgres.take() else { return };
        // `drop` cannot block on the runtime of this thread.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut server = PgConnection::connect(&postgres_server()).await.map_err(std::io::Error::other)?;
                let sql = format!("DROP DATABASE {name} WITH (FORCE)");
                server.execute(AssertSqlSafe(sql)).await.map_err(std::io::Error::other)
            })
        });
        drop(dropped.join());
    }
}

fn postgres_server() -> String {
    std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL names a PostgreSQL server to test on: run tests/run, which starts one")
}
