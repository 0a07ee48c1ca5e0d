//! Opens one connection: to the host that accepts writes, with our session settings, with or without a pooler.

use std::{fmt, str::FromStr};

use futures_util::{StreamExt, stream::FuturesUnordered};
use sqlx::{ConnectOptions, Error, PgConnection, Row, postgres::PgConnectOptions};
use url::Url;

/// The settings of every session. No statement takes longer than a request may; a node that freezes or is cut off inside a transaction
/// does not keep its locks; the isolation level is the one that the statements were written for. The last setting is our own: a pooler
/// drops it, which reveals the pooler.
const SESSION: [(&str, &str); 4] = [
    ("statement_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("default_transaction_isolation", "read committed"),
    ("sealwright.direct", "on"),
];

/// The same settings at the start of a transaction, for sessions behind a pooler.
pub(super) const BEGIN_POOLED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '5s'; \
                                       SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Why an open connection is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} is a read-only standby or a primary in read-only mode: give the primary")]
    ReadOnly(String),
    #[error("no host accepts writes: {0}")]
    NoneWritable(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Configuration(Box::new(refusal))
    }
}

/// A session and its properties.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) connection: PgConnection,
    /// Whether there is a pooler in between. It may run each transaction in another session of the server, so no prepared statement and no
    /// setting outlives a transaction.
    pub(super) pooled: bool,
}

/// The hosts to try.
#[derive(Clone)]
pub(crate) struct Targets(Vec<PgConnectOptions>);

impl fmt::Debug for Targets {
    /// Omits the passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(name)).finish()
    }
}

impl Targets {
    /// The parameter of the driver's URL that contains the sqlx URL of one host.
    pub(super) const PARAMETER: &str = "target";

    pub(super) fn from_url(url: &Url) -> Result<Self, Error> {
        let targets = url.query_pairs().filter(|(name, _)| name == Self::PARAMETER);
        let parse = |text: &str| PgConnectOptions::from_url(&Url::parse(text).map_err(|error| Error::Configuration(error.into()))?);
        Ok(Self(targets.map(|(_, text)| parse(&text)).collect::<Result<_, _>>()?))
    }

    pub(super) fn map(self, change: impl FnMut(PgConnectOptions) -> PgConnectOptions) -> Self {
        Self(self.0.into_iter().map(change).collect())
    }

    /// Connects to all hosts at once and uses the first that is writable: an unresponsive host causes no delay.
    pub(super) async fn connect(&self) -> Result<Connected, Error> {
        if let [only] = self.0.as_slice() {
            return connect(only).await;
        }
        let mut attempts: FuturesUnordered<_> = self.0.iter().map(async |target| (name(target), connect(target).await)).collect();
        let (mut failures, mut read_only) = (Vec::new(), false);
        while let Some((name, outcome)) = attempts.next().await {
            match outcome {
                Ok(connected) => return Ok(connected),
                Err(Error::Configuration(refusal)) if refusal.is::<Refusal>() => {
                    failures.push(refusal.to_string());
                    read_only = true;
                }
                Err(error) => failures.push(format!("{name}: {error}")),
            }
        }
        let failures = failures.join("; ");
        // If all hosts are unreachable, nothing is known about writes.
        Err(if read_only { Refusal::NoneWritable(failures).into() } else { Error::Io(std::io::Error::other(failures)) })
    }
}

impl FromStr for Targets {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::from_url(&Url::parse(text).map_err(|error| Error::Configuration(error.into()))?)
    }
}

fn name(target: &PgConnectOptions) -> String {
    format!("{}:{}", target.get_host(), target.get_port())
}

async fn connect(target: &PgConnectOptions) -> Result<Connected, Error> {
    // pgbouncer refuses startup parameters that it does not track. sqlx sends this one by default; no statement needs it.
    let plain = target.clone().extra_float_digits(None);
    let mut connection = match plain.clone().options(SESSION).connect().await {
        Err(Error::Database(error)) if error.message().contains("startup parameter") => plain.connect().await?,
        outcome => outcome?,
    };
    let sql =
        "SELECT coalesce(current_setting('sealwright.direct', true), '') AS direct, current_setting('transaction_read_only') AS read_only";
    let row = sqlx::raw_sql(sql).fetch_one(&mut connection).await?;
    if row.try_get::<String, _>("read_only")? == "on" {
        return Err(Refusal::ReadOnly(name(target)).into());
    }
    Ok(Connected { connection, pooled: row.try_get::<String, _>("direct")? != "on" })
}

/// Refuses a session whose server no longer accepts writes. It costs one round trip, like a ping.
pub(super) async fn require_writable(connection: &mut PgConnection) -> Result<(), Error> {
    let row = sqlx::raw_sql("SHOW transaction_read_only").fetch_one(connection).await?;
    if row.try_get::<String, _>(0)? == "on" {
        return Err(Refusal::ReadOnly("the server behind this connection".to_owned()).into());
    }
    Ok(())
}
