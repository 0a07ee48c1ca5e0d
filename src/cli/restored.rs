//! `sealwright restored`: prepares a restored database; it is run once.

use clap::Args;

use super::{
    error::Error,
    output::{Output, Screen, facts, or_dash, table, warn},
    progress,
};
use crate::{
    clock::{Clock, SystemClock},
    server::{
        Config,
        commands::{
            self, Act,
            view::{LostChangeView, RestoredView},
        },
    },
};

#[derive(Debug, Args)]
pub(super) struct Restored {
    #[command(flatten)]
    output: Output,
}

impl Restored {
    pub(super) async fn run(self, config: Config) -> Result<(), Error> {
        let (policy, act) = (config.commands(), Act::of_process(SystemClock.now()));
        let restored = progress::shown("preparing the database", commands::restored(&policy, &act)).await?;
        if let Some(error) = &restored.record_unreadable {
            warn(&format!("what was lost cannot be listed: {error}"));
        }
        let report = restored.report?;
        if let Some(why) = &report.record_failed {
            warn(&format!("the record {} could not be written: {why}", restored.record.display()));
        }
        self.output.print(&RestoredView::new(&report, restored.database), for_people)
    }
}

fn for_people(view: &RestoredView) -> Screen {
    let done = facts([
        ("database", view.database.clone()),
        ("logins ended", view.logins_ended.to_string()),
        ("refresh tokens", "all earlier ones are invalid: their key was replaced".to_owned()),
        ("keys withdrawn", or_dash(view.signing_keys_withdrawn.join("\n"))),
        ("keys lost", or_dash(view.signing_keys_lost.join("\n"))),
    ]);
    let screen = Screen::from(done).above(String::new());
    let screen = match (view.recorded, view.changes_lost.is_empty()) {
        (false, _) => {
            screen.above("This node has no record of the earlier database: check clients, users and resources by hand.".to_owned())
        }
        (true, true) => screen.above("No change that this node saw is missing.".to_owned()),
        (true, false) => {
            let row = |lost: &LostChangeView| [lost.at.clone(), lost.action.clone(), lost.target.clone(), lost.advice.to_owned()];
            let lost = table(["TIME", "CHANGE", "TARGET", "WHAT TO DO"], view.changes_lost.iter().map(row));
            screen.above("Changes lost since the backup:".to_owned()).above(lost)
        }
    };
    match view.changes_forgotten {
        0 => screen,
        count => screen.above(format!("\n{count} earlier changes were lost too; this node's record no longer contains them.")),
    }
}
