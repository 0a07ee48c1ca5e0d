//! All SQL of the server, one file per noun.
//!
//! Every statement is valid in SQLite and in PostgreSQL and goes through sqlx's `Any`. So there is no BOOLEAN, no `EXISTS` as a
//! result and no database time; times are bound as whole seconds.

mod canary;
mod changes;
mod client_claims;
mod client_rows;
mod clients;
mod credentials;
mod epochs;
mod error;
mod login_ends;
mod logins;
mod mac_keys;
mod neighbors;
mod page;
mod permissions;
mod postgres;
mod purge;
mod resources;
mod restore;
mod revocations;
mod row;
mod schema;
mod sealed;
mod servers;
mod sign_in_sources;
mod signing_keys;
mod sqlite_files;
mod state;
mod status_spans;
mod time_limit;
mod token_states;
mod tokens;
mod url;
mod used_assertions;
mod users;
mod withdrawals;
mod write;
mod write_health;

use std::time::Duration;

use sqlx::{
    AnyConnection, AnyPool, Connection, Executor, Sqlite,
    any::{AnyPoolOptions, install_drivers},
};
use sqlx_core::any::driver::AnyDriver;

use super::custody;
use used_assertions::UsedAssertions;

pub(crate) use canary::{Canary, Successor};
pub(crate) use epochs::{Epochs, LEAP};
pub(crate) use error::{Error, Missing, OpenError};
pub(crate) use logins::SignedIn;
pub(crate) use neighbors::NameOf;
pub(crate) use page::Page;
pub(crate) use postgres::DatabaseTls;
pub(crate) use purge::OldRows;
pub(crate) use restore::Restoring;
pub(crate) use sealed::{Content, Rewriting, SealedText, sealing_kid};
pub(crate) use servers::RunningServer;
pub(crate) use sign_in_sources::SourceMark;
pub(crate) use signing_keys::{DamagedKey, StoredKeys};
pub(crate) use state::{Founded, State};
pub(crate) use time_limit::within;
pub(crate) use token_states::TokenState;
pub(crate) use url::DatabaseUrl;
pub(crate) use withdrawals::Withdrawal;
pub(crate) use write_health::WriteFailure;

use crate::server::settings::{self, Setting, Values, number, setting};

/// The settings of the store.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) url: DatabaseUrl,
    /// Maximum number of connections, besides the one that reads the epochs.
    pub(crate) connections: u32,
}

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting("database_url", Some("sqlite://sealwright.db"), "the database", DatabaseUrl::ALLOWED),
        setting(
            "database_tls",
            Some("verified"),
            "how connections to a remote PostgreSQL server are secured; with unverified and off, an attacker in between can read the password",
            "verified, unverified or off",
        ),
        setting(
            "database_connections",
            Some("8"),
            "maximum number of connections to the database, besides one that polls for changes",
            "a number from 1 to 100",
        ),
    ];

    pub(crate) fn read(values: &Values) -> Result<Self, settings::Error> {
        let refuse = |why: &str| values.refuse("database_url", Some(why.to_owned()));
        let tls = values.parse("database_tls", |text| DatabaseTls::parse(text).ok_or(None))?;
        let url = values.parse("database_url", |text| text.parse::<DatabaseUrl>().map_err(|invalid| Some(invalid.to_string())))?;
        if url.has_password() && values.is_flag("database_url") {
            return Err(refuse(
                "it contains a password, and other users can read a command line: set SEALWRIGHT_DATABASE_URL, \
                 SEALWRIGHT_DATABASE_URL_FILE, or database_url in the configuration file, or store the password in the file that PGPASSFILE \
                 names",
            ));
        }
        let url = url.secured(tls).map_err(|insecure| refuse(&insecure.to_string()))?;
        Ok(Self { url, connections: values.parse("database_connections", number(1, 100))? })
    }
}

/// What opening a database may create or change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Creates the file and the schema if they are missing, and migrates an older schema: for servers.
    CreateIfMissing,
    /// Opens only a database that a server has created: for all other commands.
    Existing,
    /// Opens whatever is there and creates nothing.
    Inspect,
}

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: AnyPool,
    /// One connection for reading the epochs, which must not wait behind requests. It is opened at its first use.
    reserved: AnyPool,
    writer: write::Writer,
    used_assertions: UsedAssertions,
    /// `None` for PostgreSQL.
    file: Option<url::FileIdentity>,
}

impl Store {
    /// Time limit for the first connection.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a caller waits for a connection from the pool.
    const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

    /// Opens the database at the policy's URL.
    pub(crate) async fn open(policy: &Policy, opening: Opening) -> Result<Self, OpenError> {
        let opened = Self::connect(policy, opening).await;
        opened.map_err(|source| OpenError { url: policy.url.to_string(), source })
    }

    async fn connect(policy: &Policy, opening: Opening) -> Result<Self, Error> {
        static DRIVERS: &[AnyDriver] = &[AnyDriver::without_migrate::<postgres::Postgres>(), AnyDriver::without_migrate::<Sqlite>()];
        // Once per process: later calls fail because the drivers are installed.
        let _ = install_drivers(DRIVERS);
        if let Some(path) = policy.url.sqlite_path() {
            custody::require_private_database(path)?;
            sqlite_files::refuse_foreign_log(path)?;
            url::prepare_file(path, opening)?;
        }
        let sqlite = policy.url.sqlite_path().is_some();
        // FULL: committed data survives a loss of power. SQLite does not check foreign keys by default. The driver sets PostgreSQL's
        // settings.
        let settings = sqlite.then_some("PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
        let url = policy.url.to_connect();
        // A pool retries until it times out and reports only that; a single connection reports what is wrong.
        let connecting = tokio::time::timeout(Self::CONNECT_TIMEOUT, AnyConnection::connect(&url)).await;
        let mut probe = connecting.map_err(|_| Error::Silent(Self::CONNECT_TIMEOUT))??;
        configure(&mut probe, settings).await?;
        if sqlite && opening == Opening::CreateIfMissing {
            // WAL mode is stored in the file. Other commands must not change a file that may not be a database of ours.
            probe.execute("PRAGMA journal_mode = WAL").await?;
        }
        probe.close().await?;
        let pool = |connections: u32| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Self::ACQUIRE_TIMEOUT)
                // A server may have hung up since. A file does not, and to ask the thread of its connection takes as long as a statement.
                .test_before_acquire(!sqlite)
                .after_connect(move |connection, _| Box::pin(configure(connection, settings)))
        };
        let reserved = pool(1).connect_lazy(&url)?;
        let pool = pool(policy.connections).connect(&url).await?;
        let writer = write::Writer::new(pool.clone(), sqlite);
        let file = policy.url.sqlite_path().map(url::FileIdentity::of).transpose()?;
        let used_assertions = UsedAssertions::new(writer.clone());
        let store = Self { pool, reserved, writer, used_assertions, file };
        match opening {
            Opening::CreateIfMissing => store.migrate().await?,
            Opening::Existing => store.require_schema().await?,
            Opening::Inspect => {}
        }
        Ok(store)
    }

    /// The number of open connections, and how many of them are idle.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let pools = [&self.pool, &self.reserved];
        (pools.iter().map(|pool| pool.size() as usize).sum(), pools.iter().map(|pool| pool.num_idle()).sum())
    }

    /// Closes all connections, so that SQLite merges its log into the database file.
    pub(crate) async fn close(&self) {
        self.reserved.close().await;
        self.pool.close().await;
    }
}

async fn configure(connection: &mut AnyConnection, settings: Option<&'static str>) -> sqlx::Result<()> {
    match settings {
        Some(settings) => connection.execute(settings).await.map(drop),
        None => Ok(()),
    }
}
