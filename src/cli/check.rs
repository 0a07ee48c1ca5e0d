//! `sealwright check`: whether what a server needs is usable, and if not, why.

use clap::Args;
use serde::Serialize;

use super::{
    Database, SettingFlags,
    error::Error,
    output::{Output, table},
};
use crate::server::keys::{self, SealingKeys};

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    output: Output,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    usable: bool,
    detail: String,
}

impl Finding {
    fn new(what: &'static str, outcome: Result<String, String>) -> Self {
        Self { what, usable: outcome.is_ok(), detail: outcome.unwrap_or_else(|why| why) }
    }
}

impl Check {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        let findings = look(settings).await;
        let usable = findings.iter().all(|finding| finding.usable);
        self.output.print(&findings, |findings| {
            let row = |finding: &Finding| {
                [finding.what.to_owned(), if finding.usable { "usable" } else { "NOT USABLE" }.to_owned(), finding.detail.clone()]
            };
            table(["WHAT", "STATE", "DETAIL"], findings.iter().map(row))
        })?;
        if usable { Ok(()) } else { Err(Error::CheckFailed) }
    }
}

/// Looks at one thing after the other, up to the first on which the rest depends.
async fn look(settings: SettingFlags) -> Vec<Finding> {
    let config = match settings.load() {
        Ok(config) => config,
        Err(error) => return vec![Finding::new("configuration", Err(error.to_string()))],
    };
    let mut findings = vec![Finding::new("configuration", Ok("every setting is known and in range".to_owned()))];
    let database = match Database::open(config).await {
        Ok(database) => database,
        Err(error) => {
            findings.push(Finding::new("database", Err(error.to_string())));
            return findings;
        }
    };
    findings.push(Finding::new("database", Ok(database.config.store.url.to_string())));
    match SealingKeys::existing(&database.config.keys, &database.store).await {
        Ok(sealing) => {
            findings.push(Finding::new("sealing key", Ok(format!("{} opens this database", sealing.place()))));
            let keys = keys::check(&sealing, &database.store, database.clock.now()).await;
            findings.push(Finding::new("signing keys", keys));
        }
        Err(error) => findings.push(Finding::new("sealing key", Err(error.to_string()))),
    }
    database.store.close().await;
    findings
}
