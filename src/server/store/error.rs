use std::{path::PathBuf, sync::Arc, time::Duration};

use super::postgres::Refusal;
use crate::{
    protocol::{Audience, ClientId, Malformed, ScopeToken},
    server::{
        custody,
        model::{CredentialId, LoginId, Resource, Username},
    },
};

/// Why the database could not be opened, with its URL.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{source} (database {url})")]
pub(crate) struct OpenError {
    /// Without its password.
    pub(super) url: String,
    pub(super) source: Error,
}

/// A name that does not exist.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Missing {
    #[error("client {0}")]
    Client(ClientId),
    #[error("user {0}")]
    User(Username),
    #[error("resource {0}")]
    Resource(Audience),
    #[error("scope {token} at the resource {}, which has: {}", resource.audience, resource.scope)]
    Scope { token: ScopeToken, resource: Box<Resource> },
    /// A scope token that no resource owns.
    #[error("resource with the scope {0}")]
    ScopeOwner(ScopeToken),
    #[error("login {0}")]
    Login(LoginId),
    #[error("{credential} of the client {client}")]
    Credential { client: ClientId, credential: CredentialId },
}

/// Why a database operation failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// The name is taken. Each kind has a command that changes what is there.
    #[error("the {kind} {name} already exists; `sealwright {kind} update` changes it")]
    Exists { kind: &'static str, name: String },
    /// The name does not exist.
    #[error("there is no {0}")]
    Missing(Missing),
    /// Without it, the client could not authenticate.
    #[error("without the {credential}, the client {client} could not authenticate")]
    LastCredential { client: ClientId, credential: CredentialId },
    /// It is still referenced.
    #[error("{what} is in use by {}", join_and(&[named("client", .clients), named("user", .users)]))]
    InUse { what: String, clients: Vec<String>, users: Vec<String> },
    /// The change does not fit the data that it applies to.
    #[error("{0}")]
    Refused(String),
    /// The database file does not exist, and this command does not create one.
    #[error("there is no database file: run this command where the server runs, or give its database with --database-url")]
    NoFile,
    /// The database file can be neither opened nor created.
    #[error("the database file cannot be used: {0}")]
    File(Arc<std::io::Error>),
    /// Other users can access the database file.
    #[error(transparent)]
    Exposed(#[from] custody::Exposed),
    /// The write-ahead log beside the file belongs to another file.
    #[error(
        "{} seems to have replaced another database file, whose write-ahead log is still there ({}). SQLite would apply that log, which undoes the restore or damages the file. If the database was restored, move {} and the -shm file beside it away, then run `sealwright restored`. If it was not (both files were copied, or the clock was set back), the log may contain data that is nowhere else: `touch {}` and try again. Nothing was changed",
        file.display(), log.display(), log.display(), log.display()
    )]
    ForeignLog { file: PathBuf, log: PathBuf },
    /// A database in which no server has ever run.
    #[error("the database holds no issuer yet: run this command against the server's database, or start the server first")]
    NotFounded,
    /// A newer version of this program created the schema.
    #[error(
        "the database was created by a newer version of sealwright (its schema has step {0}, which this version does not know): use that version"
    )]
    Newer(i64),
    /// The schema is older than this version's and must be migrated first.
    #[error("the database was created by an older version of sealwright: start this version's server once, which migrates it")]
    Older,
    /// A row has an invalid value.
    #[error("the database contains an invalid {what}: {why}")]
    Corrupt { what: &'static str, why: String },
    /// The database server does not respond.
    #[error("the database did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The file that was opened is no longer at its path.
    #[error("the database file was deleted or replaced while it was open: stop the server, put the file back, and start again")]
    Replaced,
    /// On PostgreSQL, a migration got no lock on a table.
    #[error(
        "the schema was not migrated, because other sessions kept a table locked, such as a backup or a long transaction (pg_stat_activity and pg_locks name them): start again when they have ended"
    )]
    TablesLocked,
    /// The database server accepts no writes.
    #[error("the database accepts no writes: {0}")]
    ReadOnly(String),
    /// TLS is unavailable, or the certificate is not trusted.
    #[error(
        "the connection to the database cannot be secured: {0}: check the host's name and certificate, give its authority with \
         sslrootcert, or lower database_tls"
    )]
    Tls(String),
    /// The role of the database URL lacks a privilege.
    #[error(
        "the database denied access: {0}: grant the privilege to the role of the database URL (a first start needs CREATE on the schema)"
    )]
    Forbidden(String),
    /// Another process has replaced the sealing key, or begun to.
    #[error("another process is replacing the sealing key: run this command again")]
    Resealed,
    /// A right was withdrawn from the client, and the caller has not read the client since.
    #[error("a right was withdrawn from the client, or its tokens were revoked, and this node has not noticed it yet")]
    Outdated,
    /// A change was committed, and has not reached all logins.
    #[error("the change was made, but some logins have not followed yet: a server goes on with them within seconds ({0})")]
    Unfinished(Box<Self>),
    /// The queue of writes is full.
    #[error("too many writes are waiting for the database")]
    Busy,
    /// The database did not respond, or responded with an error.
    #[error("the database failed: {0}")]
    Database(Arc<sqlx::Error>),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Configuration(refusal) if refusal.is::<Refusal>() => Self::ReadOnly(refusal.to_string()),
            sqlx::Error::Tls(why) => Self::Tls(why.to_string()),
            sqlx::Error::Database(error) if error.code().as_deref() == Some("42501") => Self::Forbidden(error.message().to_owned()),
            // read_only_sql_transaction
            sqlx::Error::Database(error) if error.code().as_deref() == Some("25006") => Self::ReadOnly(error.message().to_owned()),
            error => Self::Database(Arc::new(error)),
        }
    }
}

impl Error {
    pub(super) fn corrupt(what: &'static str) -> impl Fn(Malformed) -> Self {
        move |malformed| Self::Corrupt { what, why: malformed.to_string() }
    }

    /// Whether the same call may succeed soon.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy | Self::Outdated | Self::Silent(_) | Self::Database(_) | Self::Replaced | Self::ReadOnly(_) | Self::Tls(_)
        )
    }

    /// Whether PostgreSQL rolled the transaction back in favor of another, so that it may be retried: serialization_failure and
    /// deadlock_detected.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self.code().as_deref(), Some("40001" | "40P01"))
    }

    /// Whether PostgreSQL rolled the transaction back because of a lock that another has: lock_not_available, or a conflict.
    pub(super) fn is_about_locks(&self) -> bool {
        self.is_conflict() || self.code().as_deref() == Some("55P03")
    }

    /// The database's own error code.
    pub(super) fn code(&self) -> Option<String> {
        let Self::Database(error) = self else { return None };
        error.as_database_error()?.code().map(|code| code.into_owned())
    }
}

/// `the client a`, `the clients a, b`, or nothing; at most ten names.
fn named(noun: &str, names: &[String]) -> String {
    const SHOWN: usize = 10;
    let plural = if names.len() > 1 { "s" } else { "" };
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    match names {
        [] => String::new(),
        names => format!("the {noun}{plural} {}{more}", names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ")),
    }
}

fn join_and(parts: &[String]) -> String {
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" and ")
}
