//! Remembers: all the SQL there is, one file per noun.
//!
//! Every statement is valid in SQLite and in PostgreSQL and goes through sqlx's `Any`. What that costs: no BOOLEAN, no
//! `EXISTS` as a result, no database time; times are bound as whole seconds.

mod canary;
mod changes;
mod clients;
mod epochs;
mod error;
mod logins;
mod mac_keys;
mod permissions;
mod resources;
mod row;
mod schema;
mod signing_keys;
mod url;
mod users;
mod write;

use std::{sync::Arc, time::Duration};

use sqlx::{AnyConnection, AnyPool, Connection, Executor, any::AnyPoolOptions};

use crate::clock::SharedClock;
use changes::Recorder;

pub(crate) use canary::Canary;
pub(crate) use epochs::Epochs;
pub(crate) use error::{Error, OpenError};
pub(crate) use logins::{Of, PasswordProof};
pub(crate) use url::DatabaseUrl;

/// What the store obeys.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) url: DatabaseUrl,
    /// Connections kept at most.
    pub(crate) connections: u32,
    /// Who makes changes, for their record.
    pub(crate) actor: String,
}

/// Whether opening may found a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Creates the file and the schema where they are missing, and brings an older schema up to date: what a server does.
    Found,
    /// Takes only what a server has founded: what every other command does.
    Existing,
}

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: AnyPool,
    writer: write::Writer,
    recorder: Recorder,
    /// SQLite's alone.
    file: Option<url::FileIdentity>,
}

impl Store {
    /// How long the database may take to answer at the start.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a caller waits for a connection before it is told that the database is not available.
    const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

    /// Opens the database at the policy's URL.
    pub(crate) async fn open(policy: &Policy, opening: Opening, clock: SharedClock) -> Result<Self, OpenError> {
        let opened = Self::connect(policy, opening, clock).await;
        opened.map_err(|source| OpenError { url: policy.url.to_string(), source })
    }

    async fn connect(policy: &Policy, opening: Opening, clock: SharedClock) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        if let Some(path) = policy.url.sqlite_path() {
            url::prepare_file(path, opening)?;
        }
        let sqlite = policy.url.sqlite_path().is_some();
        // FULL: what was answered is on the disk, also after a loss of power. SQLite's own foreign keys are off by default. On
        // PostgreSQL no statement may hold a request longer than the request may last, and a node that freezes or is cut off amid
        // a transaction must not keep its locks from the others.
        let settings = if sqlite {
            "PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"
        } else {
            "SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = '5s'"
        };
        let url = policy.url.to_connect();
        // A pool tries again until its time is over and then knows only that; one connection says what is wrong.
        let connecting = tokio::time::timeout(Self::CONNECT_TIMEOUT, AnyConnection::connect(&url)).await;
        let mut probe = connecting.map_err(|_| Error::Silent(Self::CONNECT_TIMEOUT))??;
        probe.execute(settings).await?;
        if sqlite && opening == Opening::Found {
            // It stays in the file. Who may not found a database must not change one that may be somebody else's.
            probe.execute("PRAGMA journal_mode = WAL").await?;
        }
        probe.close().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(policy.connections)
            .acquire_timeout(Self::ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| Box::pin(async move { connection.execute(settings).await.map(drop) }))
            .connect(&url)
            .await?;
        let writer = write::Writer::new(pool.clone(), sqlite);
        let file = policy.url.sqlite_path().map(url::FileIdentity::of).transpose()?;
        let recorder = Recorder { actor: Arc::from(policy.actor.as_str()), clock };
        let store = Self { pool, writer, recorder, file };
        match opening {
            Opening::Found => store.migrate().await?,
            Opening::Existing => store.require_schema().await?,
        }
        Ok(store)
    }

    /// Connections that are open, and those of them that nobody uses.
    pub(crate) fn connections(&self) -> (usize, usize) {
        (self.pool.size() as usize, self.pool.num_idle())
    }

    /// Closes every connection, so that SQLite folds its log into the database file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
