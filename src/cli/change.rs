//! `sealwright change`: the change log.

use std::time::Duration;

use clap::{Subcommand, builder::NonEmptyStringValueParser};

use super::{
    Operator,
    error::Error,
    output::{Output, is_narrow, or_dash, positive_duration, table, warn},
    progress,
    selection::Limit,
};
use crate::server::{
    commands::view::ChangeView,
    model::{ChangeFilter, Facts},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List changes, newest first: those that the options select together
    List {
        /// Only changes by this actor, as the list shows it
        #[arg(long, value_name = "ACTOR", value_parser = NonEmptyStringValueParser::new())]
        actor: Option<String>,
        /// Only this action, such as client.create, or all on a noun, such as client
        #[arg(long, value_name = "ACTION", value_parser = NonEmptyStringValueParser::new())]
        action: Option<String>,
        /// Only changes of this client, user, resource, login or key
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
        target: Option<String>,
        /// Only changes of this last time, such as 7days
        #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
        within: Option<Duration>,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let Self::List { actor, action, target, within, limit: Limit { limit }, output } = self;
        let since = within.map(|duration| operator.act.now - duration);
        let filter = ChangeFilter { actor, action, target, since, limit };
        let changes = progress::shown("reading the changes", operator.commands.list_changes(&filter)).await?;
        let views: Vec<ChangeView> = changes.into_iter().map(ChangeView::from).collect();
        output.print(&views, |views| {
            let detail = |view: &ChangeView| if view.damaged.is_some() { "damaged".to_owned() } else { or_dash(difference(view)) };
            if is_narrow() {
                // Two columns less leave room for the detail.
                let row =
                    |view: &ChangeView| [format!("{}\n{}", view.at, view.actor), format!("{}\n{}", view.action, view.target), detail(view)];
                return table(["TIME, ACTOR", "CHANGE, TARGET", "DETAIL"], views.iter().map(row));
            }
            let row = |view: &ChangeView| [view.at.clone(), view.actor.clone(), view.action.clone(), view.target.clone(), detail(view)];
            table(["TIME", "ACTOR", "CHANGE", "TARGET", "DETAIL"], views.iter().map(row))
        })?;
        for view in &views {
            if let Some(why) = &view.damaged {
                warn(&format!("the detail of change {} cannot be shown: {why}", view.number));
            }
        }
        Ok(())
    }
}

/// One line per property: its value before and after.
fn difference(view: &ChangeView) -> String {
    let value = |facts: &Option<Facts>, name: &str| facts.as_ref().and_then(|facts| facts.get(name)).map(ToString::to_string);
    let mut names: Vec<&String> = view.before.iter().chain(&view.after).flat_map(Facts::keys).collect();
    names.sort_unstable();
    names.dedup();
    let line = |name: &String| match (value(&view.before, name), value(&view.after, name)) {
        (Some(before), Some(after)) => format!("{name}: {before} -> {after}"),
        (Some(before), None) => format!("{name}: was {before}"),
        (None, after) => format!("{name}: {}", after.unwrap_or_default()),
    };
    names.into_iter().map(line).collect::<Vec<_>>().join("\n")
}
