use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::fetchers::{AskedNodes, Nodes};
use crate::{
    cli::{
        Operator,
        error::Error,
        output::{Output, table, warn},
    },
    server::{
        commands::view::{KeyEventView, KeyPlanView},
        config::parse_duration,
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Plan {
    /// How far to look ahead
    #[arg(long = "for", value_name = "DURATION", value_parser = horizon, default_value = "365days")]
    duration: Duration,
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    output: Output,
}

/// The plan, and the sources that may not be ready for it.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    plan: KeyPlanView,
    fetchers: AskedNodes,
}

/// Parses `--for`. With the shortest period, a day, the longest plan has some thousand lines.
fn horizon(text: &str) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let duration = parse_duration(text).filter(|duration| (DAY..=1000 * DAY).contains(duration));
    duration.ok_or_else(|| "expected a duration from 1day to 1000days, such as 365days".to_owned())
}

impl Plan {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let plan = operator.commands.keys().plan(operator.act.now, self.duration).await?;
        let report = Report { plan: plan.into(), fetchers: self.nodes.ask(operator.management).await };
        self.output.print(&report, |Report { plan: view, .. }| {
            let row = |event: &KeyEventView| [event.at.clone(), event.what.to_string(), event.key.clone(), event.why.clone()];
            let settings = format!(
                "\nUntil {}, if servers run all the time with key_rotation_period {} and key_publish_lead {}.",
                view.until, view.key_rotation_period, view.key_publish_lead
            );
            table(["WHEN", "WHAT", "KEY", "WHY"], view.events.iter().map(row)).above(settings)
        })?;
        for warning in report.plan.warnings.iter().chain(&report.fetchers.warnings) {
            warn(warning);
        }
        Ok(())
    }
}
