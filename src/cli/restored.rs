//! `sealwright restored`: prepares a restored database; it is run once.

use clap::Args;
use serde::Serialize;

use super::{
    error::Error,
    output::{Output, facts, or_dash, rfc3339, table, warn},
};
use crate::{
    clock::{Clock, SystemClock},
    server::{
        Config,
        commands::{self, Act},
        restore::{LostChange, Report},
    },
};

#[derive(Debug, Args)]
pub(super) struct Restored {
    #[command(flatten)]
    output: Output,
}

impl Restored {
    pub(super) async fn run(self, config: Config) -> Result<(), Error> {
        let restored = commands::restored(&config.commands(), &Act::of_process(SystemClock.now())).await?;
        if let Some(error) = &restored.record_unreadable {
            warn(&format!("what was lost cannot be listed: {error}"));
        }
        if let Some(why) = &restored.report.record_failed {
            warn(&format!("the record {} could not be written: {why}", restored.record.display()));
        }
        self.output.print(&View::new(&restored.report, restored.database.clone()), View::for_people)
    }
}

/// The report as it is printed.
#[derive(Serialize)]
struct View {
    database: String,
    logins_ended: u64,
    refresh_token_key: &'static str,
    signing_keys_withdrawn: Vec<String>,
    signing_keys_lost: Vec<String>,
    /// Whether this node had a record that shows what was lost.
    recorded: bool,
    changes_lost: Vec<LostView>,
    /// Number of further lost changes, which the record no longer contains.
    changes_forgotten: i64,
}

#[derive(Serialize)]
struct LostView {
    number: i64,
    at: String,
    action: String,
    target: String,
    advice: &'static str,
}

impl View {
    fn new(report: &Report, database: String) -> Self {
        let lost = |lost: &LostChange| LostView {
            number: lost.number,
            at: rfc3339(lost.at),
            action: lost.action.clone(),
            target: lost.target.clone(),
            advice: lost.advice(),
        };
        Self {
            database,
            logins_ended: report.logins_ended,
            refresh_token_key: "replaced",
            signing_keys_withdrawn: report.keys_withdrawn.clone(),
            signing_keys_lost: report.keys_lost.clone(),
            recorded: report.recorded,
            changes_lost: report.changes_lost.iter().map(lost).collect(),
            changes_forgotten: report.changes_forgotten,
        }
    }

    fn for_people(&self) -> String {
        let done = facts([
            ("database", self.database.clone()),
            ("logins ended", self.logins_ended.to_string()),
            ("refresh tokens", "all earlier ones are invalid: their key was replaced".to_owned()),
            ("keys withdrawn", or_dash(self.signing_keys_withdrawn.join("\n"))),
            ("keys lost", or_dash(self.signing_keys_lost.join("\n"))),
        ]);
        let forgotten = match self.changes_forgotten {
            0 => String::new(),
            count => format!("\n\n{count} earlier changes were lost too; this node's record no longer contains them."),
        };
        let lost = match (self.recorded, self.changes_lost.is_empty()) {
            (false, _) => "This node has no record of the earlier database: check clients, users and resources by hand.".to_owned(),
            (true, true) => "No change that this node saw is missing.".to_owned(),
            (true, false) => {
                let row = |lost: &LostView| [lost.at.clone(), lost.action.clone(), lost.target.clone(), lost.advice.to_owned()];
                format!(
                    "Changes lost since the backup:\n{}",
                    table(["TIME", "CHANGE", "TARGET", "WHAT TO DO"], self.changes_lost.iter().map(row))
                )
            }
        };
        format!("{done}\n\n{lost}{forgotten}")
    }
}
