use std::{path::PathBuf, sync::Arc, time::Duration};

use super::postgres::Refusal;
use crate::{
    protocol::{Audience, Malformed, ScopeToken},
    server::custody,
};

/// Why the database could not be opened, and which it was.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{source} (database {url})")]
pub(crate) struct OpenError {
    /// Without its password.
    pub(super) url: String,
    pub(super) source: Error,
}

/// Why the database did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// A name that is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// A name that is not there.
    #[error("there is no {0}")]
    Missing(String),
    /// A scope token that another resource owns: a scope token belongs to one resource.
    #[error("the scope {scope} belongs to the resource {owner}")]
    ScopeTaken { scope: ScopeToken, owner: Audience },
    /// Something that others still lean on.
    #[error("{what} is in use by {}", join_and(&[named("client", .clients), named("user", .users)]))]
    InUse { what: String, clients: Vec<String>, users: Vec<String> },
    /// A change that does not fit what it would change.
    #[error("{0}")]
    Refused(String),
    /// The database file is not there, and this command does not make one.
    #[error("there is no database file: run this command where the server runs, or name its database by --database-url")]
    NoFile,
    /// The database file can be neither opened nor made.
    #[error("the database file cannot be used: {0}")]
    File(Arc<std::io::Error>),
    /// The database file is open to others.
    #[error(transparent)]
    Exposed(#[from] custody::Exposed),
    /// The log beside the file is that of another file.
    #[error(
        "{} seems to have been put in place of another file, and {} to be the log of that one, which would undo the restore or damage the file. If it was restored, move {} and the -shm file beside it away, then run `sealwright restored`. If nothing was restored (both files were copied, or the clock was set back), the log may hold what is nowhere else: `touch {}` and try again. Nothing was changed",
        file.display(), log.display(), log.display(), log.display()
    )]
    ForeignLog { file: PathBuf, log: PathBuf },
    /// A database in which no server has ever run.
    #[error("the database holds no issuer yet: run this command against the server's database, or start the server first")]
    NotFounded,
    /// A schema that a later version of this program made.
    #[error(
        "the database was made by a newer version of sealwright (its schema has step {0}, which this version does not know): use that version"
    )]
    Newer(i64),
    /// A schema that this version would have to bring up to date first.
    #[error("the database was made by an older version of sealwright: start this version's server once, which brings it up to date")]
    Older,
    /// A row that does not say what it should.
    #[error("the database holds a {what} that cannot be read: {why}")]
    Corrupt { what: &'static str, why: String },
    /// A server that takes no notice.
    #[error("the database did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The file that was opened is not at its path any more.
    #[error("the database file was deleted or replaced while it was open: stop the server, put the file back, and start again")]
    Replaced,
    /// A server that takes no writes.
    #[error("the database takes no writes: {0}")]
    ReadOnly(String),
    /// TLS that cannot be had, or whose certificate is not trusted.
    #[error(
        "the connection to the database cannot be protected: {0}: check the host's name and certificate, name its authority by sslrootcert, \
         or allow less by database_tls"
    )]
    Tls(String),
    /// Something that the role of the database URL may not do.
    #[error("the database refuses: {0}: grant it to the role of the database URL (a first start needs CREATE on the schema)")]
    Forbidden(String),
    /// More writes wait than are let in.
    #[error("too many writes are waiting for the database")]
    Busy,
    /// The database did not answer, or answered with an error.
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

    /// Whether the same call may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Busy | Self::Silent(_) | Self::Database(_) | Self::Replaced | Self::ReadOnly(_) | Self::Tls(_))
    }

    /// Whether PostgreSQL undid a transaction for the sake of another, so that it may be run again: serialization_failure and
    /// deadlock_detected.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self.code().as_deref(), Some("40001" | "40P01"))
    }

    /// The database's own code.
    pub(super) fn code(&self) -> Option<String> {
        let Self::Database(error) = self else { return None };
        error.as_database_error()?.code().map(|code| code.into_owned())
    }
}

/// `the client a`, `the clients a, b`, or nothing; of many the first ten.
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
