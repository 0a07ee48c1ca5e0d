//! `sealwright check`: reports whether a server could start with this configuration, and if not, why.

use clap::Args;
use serde::Serialize;

use super::{
    SettingFlags,
    error::Error,
    output::{Output, rfc3339, table},
    progress,
};
use crate::{
    clock::{Clock, SystemClock},
    server::{
        Config,
        commands::{Commands, RecordState},
        edge::{Tls, TlsError},
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
        let findings = progress::shown("checking", check_all(settings)).await;
        let usable = findings.iter().all(|finding| finding.usable);
        self.output.print(&findings, |findings| {
            let row = |finding: &Finding| [finding.what.to_owned(), finding.state().to_owned(), finding.detail.clone()];
            table(["WHAT", "STATE", "DETAIL"], findings.iter().map(row))
        })?;
        if usable { Ok(()) } else { Err(Error::CheckFailed) }
    }
}

/// The finding about this node's record of the database.
async fn record(commands: &Commands) -> Finding {
    const WHAT: &str = "record";
    match commands.check_record().await {
        Err(error) => Finding::new(WHAT, Err(error.to_string())),
        Ok(RecordState::Matches { path, newest_change }) => {
            Finding::new(WHAT, Ok(format!("{}; the database contains all of it (newest change: {newest_change})", path.display())))
        }
        Ok(RecordState::Missing { path }) => Finding::new(WHAT, Ok(format!("{} will be created by the next start", path.display()))),
        Ok(RecordState::Unwritable { path, error }) => {
            // A server runs without it.
            let detail = format!("{} cannot be written: {error}; a restore of an older database would not be noticed", path.display());
            Finding { warning: true, ..Finding::new(WHAT, Ok(detail)) }
        }
    }
}

/// Runs the checks in order and stops at the first failure that the others depend on.
async fn check_all(settings: SettingFlags) -> Vec<Finding> {
    let config = match settings.load() {
        Ok(config) => config,
        Err(error) => return vec![Finding::new("configuration", Err(error.to_string()))],
    };
    let mut findings = vec![Finding::new("configuration", Ok("all settings are known and in range".to_owned()))];
    findings.extend(Finding::of_tls(&config));
    let commands = match Commands::open(config.commands()).await {
        Ok(commands) => commands,
        Err(error) => {
            findings.push(Finding::new("database", Err(error.to_string())));
            return findings;
        }
    };
    findings.push(Finding::new("database", Ok(commands.database())));
    match commands.check_keys(SystemClock.now()).await {
        Ok((place, signing_keys)) => {
            findings.push(Finding::new("sealing key", Ok(format!("{place} opens this database"))));
            findings.push(Finding::new("signing keys", signing_keys));
            findings.push(record(&commands).await);
        }
        Err(error) => findings.push(Finding::new("sealing key", Err(error.to_string()))),
    }
    commands.close().await;
    findings
}
