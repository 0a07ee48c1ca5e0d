//! `sealwright check`: reports whether a server could start with this configuration, and if not, why.

use clap::Args;
use serde::Serialize;

use super::{
    Database, SettingFlags,
    error::Error,
    output::{Output, rfc3339, table},
};
use crate::{
    clock::{Clock, SystemClock},
    server::{
        Config,
        http::{Tls, TlsError},
        keys::{self, SealingKeys},
        restore::{self, RecordFile},
    },
};

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    output: Output,
}

/// The result of one check.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    usable: bool,
    /// It is usable, but needs attention.
    warning: bool,
    detail: String,
}

impl Finding {
    fn new(what: &'static str, outcome: Result<String, String>) -> Self {
        Self { what, usable: outcome.is_ok(), warning: false, detail: outcome.unwrap_or_else(|why| why) }
    }

    /// The TLS key and the certificate that the server would serve, checked as clients would. Reads the files once.
    fn of_tls(config: &Config) -> Vec<Self> {
        let Some(files) = config.tls_files() else { return Vec::new() };
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let private = Self::new("TLS key", Ok(format!("{key} cannot be read by others")));
        match Tls::open(files.clone()) {
            Ok(tls) => {
                let host = config.issuer.as_ref().and_then(|issuer| issuer.host());
                let path = certificate.to_string();
                vec![private, Self::of_certificate(&path, &tls, host.as_deref())]
            }
            // Neither file was read.
            Err(TlsError::Exposed(exposed)) => vec![Self::new("TLS key", Err(exposed.to_string()))],
            Err(error @ TlsError::File { .. }) => vec![Self::new("TLS certificate", Err(error.to_string()))],
            Err(error) => vec![private, Self::new("TLS certificate", Err(error.to_string()))],
        }
    }

    fn of_certificate(path: &str, tls: &Tls, host: Option<&str>) -> Self {
        let certificate = tls.certificate();
        let concerns = certificate.concerns(SystemClock.now(), host);
        let text = concerns.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match concerns.iter().any(|concern| concern.is_fatal()) {
            true => Self::new("TLS certificate", Err(format!("{path}: {text}"))),
            false if text.is_empty() => {
                let end = certificate.end().map(rfc3339).unwrap_or_default();
                Self::new("TLS certificate", Ok(format!("{path} is valid until {end}")))
            }
            false => Self { warning: true, ..Self::new("TLS certificate", Ok(format!("{path}: {text}"))) },
        }
    }

    const fn state(&self) -> &'static str {
        match (self.usable, self.warning) {
            (false, _) => "NOT USABLE",
            (true, true) => "WARNING",
            (true, false) => "usable",
        }
    }
}

impl Check {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        let findings = check_all(settings).await;
        let usable = findings.iter().all(|finding| finding.usable);
        self.output.print(&findings, |findings| {
            let row = |finding: &Finding| [finding.what.to_owned(), finding.state().to_owned(), finding.detail.clone()];
            table(["WHAT", "STATE", "DETAIL"], findings.iter().map(row))
        })?;
        if usable { Ok(()) } else { Err(Error::CheckFailed) }
    }
}

/// Whether the database is the one that this node last saw, and whether the record of that can be written.
async fn record(database: &Database) -> Finding {
    const WHAT: &str = "record";
    let Config { store, keys, .. } = &database.config;
    let record = match restore::require_known(store, keys, &database.clock).await {
        Ok(record) => record,
        Err(error) => return Finding::new(WHAT, Err(error.to_string())),
    };
    let file = RecordFile::of(keys);
    let place = file.path().display();
    if let Err(error) = file.require_writable() {
        // A server runs without it.
        let detail = format!("{place} cannot be written: {error}; a restore of an older database would not be noticed");
        return Finding { warning: true, ..Finding::new(WHAT, Ok(detail)) };
    }
    Finding::new(
        WHAT,
        Ok(match record {
            Some(record) => format!("{place}; the database contains all of it (newest change: {})", record.newest_change()),
            None => format!("{place} will be created by the next start"),
        }),
    )
}

/// Runs the checks in order and stops at the first failure that the others depend on.
async fn check_all(settings: SettingFlags) -> Vec<Finding> {
    let config = match settings.load() {
        Ok(config) => config,
        Err(error) => return vec![Finding::new("configuration", Err(error.to_string()))],
    };
    let mut findings = vec![Finding::new("configuration", Ok("all settings are known and in range".to_owned()))];
    findings.extend(Finding::of_tls(&config));
    let database = match Database::open(config).await {
        Ok(database) => database,
        Err(error) => {
            findings.push(Finding::new("database", Err(error.to_string())));
            return findings;
        }
    };
    findings.push(Finding::new("database", Ok(database.config.store.url.to_string())));
    match SealingKeys::open_existing(&database.config.keys, &database.store).await {
        Ok(sealing) => {
            findings.push(Finding::new("sealing key", Ok(format!("{} opens this database", sealing.place()))));
            let keys = keys::check(&sealing, &database.store, database.clock.now()).await;
            findings.push(Finding::new("signing keys", keys));
            findings.push(record(&database).await);
        }
        Err(error) => findings.push(Finding::new("sealing key", Err(error.to_string()))),
    }
    database.store.close().await;
    findings
}
