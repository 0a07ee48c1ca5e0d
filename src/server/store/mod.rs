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
mod postgres;
mod resources;
mod restore;
mod row;
mod schema;
mod sign_in_sources;
mod signing_keys;
mod sqlite_files;
mod state;
mod url;
mod users;
mod write;
mod write_health;

use std::{sync::Arc, time::Duration};

use sqlx::{
    AnyConnection, AnyPool, Connection, Executor, Sqlite,
    any::{AnyPoolOptions, install_drivers},
};
use sqlx_core::any::driver::AnyDriver;

use super::custody;
use crate::clock::SharedClock;
use changes::Recorder;
use write_health::WriteHealth;

pub(crate) use canary::Canary;
pub(crate) use epochs::Epochs;
pub(crate) use error::{Error, OpenError};
pub(crate) use logins::{Of, PasswordProof, SignedIn};
pub(crate) use postgres::DatabaseTls;
pub(crate) use restore::{LEAP, Restoring};
pub(crate) use sign_in_sources::SourceMark;
pub(crate) use state::{Founded, State};
pub(crate) use url::DatabaseUrl;
pub(crate) use write_health::WriteFailure;

/// What the store obeys.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) url: DatabaseUrl,
    /// Connections kept at most, besides the one by which the epochs are read.
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
    /// Takes whatever is there, and makes nothing.
    Look,
}

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: AnyPool,
    /// One connection for the look at the epochs, which must not wait behind requests. It is opened when it is first used.
    reserved: AnyPool,
    writer: write::Writer,
    recorder: Recorder,
    write_health: WriteHealth,
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
        static DRIVERS: &[AnyDriver] = &[AnyDriver::without_migrate::<postgres::Postgres>(), AnyDriver::without_migrate::<Sqlite>()];
        // Once for the process: from the second time on they are installed already.
        let _ = install_drivers(DRIVERS);
        if let Some(path) = policy.url.sqlite_path() {
            custody::require_private_database(path)?;
            sqlite_files::refuse_foreign_log(path)?;
            url::prepare_file(path, opening)?;
        }
        let sqlite = policy.url.sqlite_path().is_some();
        // FULL: what was answered is on the disk, also after a loss of power. SQLite's own foreign keys are off by default.
        // PostgreSQL's settings are its driver's.
        let settings = sqlite.then_some("PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
        let url = policy.url.to_connect();
        // A pool tries again until its time is over and then knows only that; one connection says what is wrong.
        let connecting = tokio::time::timeout(Self::CONNECT_TIMEOUT, AnyConnection::connect(&url)).await;
        let mut probe = connecting.map_err(|_| Error::Silent(Self::CONNECT_TIMEOUT))??;
        set(&mut probe, settings).await?;
        if sqlite && opening == Opening::Found {
            // It stays in the file. Who may not found a database must not change one that may be somebody else's.
            probe.execute("PRAGMA journal_mode = WAL").await?;
        }
        probe.close().await?;
        let pool = |connections: u32| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Self::ACQUIRE_TIMEOUT)
                .after_connect(move |connection, _| Box::pin(set(connection, settings)))
        };
        let reserved = pool(1).connect_lazy(&url)?;
        let pool = pool(policy.connections).connect(&url).await?;
        let writer = write::Writer::new(pool.clone(), sqlite);
        let file = policy.url.sqlite_path().map(url::FileIdentity::of).transpose()?;
        let recorder = Recorder { actor: Arc::from(policy.actor.as_str()), clock };
        let store = Self { pool, reserved, writer, recorder, write_health: WriteHealth::default(), file };
        match opening {
            Opening::Found => store.migrate().await?,
            Opening::Existing => store.require_schema().await?,
            Opening::Look => {}
        }
        Ok(store)
    }

    /// Connections that are open, and those of them that nobody uses.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let pools = [&self.pool, &self.reserved];
        (pools.iter().map(|pool| pool.size() as usize).sum(), pools.iter().map(|pool| pool.num_idle()).sum())
    }

    /// Closes every connection, so that SQLite folds its log into the database file.
    pub(crate) async fn close(&self) {
        self.reserved.close().await;
        self.pool.close().await;
    }
}

async fn set(connection: &mut AnyConnection, settings: Option<&'static str>) -> sqlx::Result<()> {
    match settings {
        Some(settings) => connection.execute(settings).await.map(drop),
        None => Ok(()),
    }
}
