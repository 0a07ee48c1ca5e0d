//! `sealwright change`: the change log.

use clap::Subcommand;
use serde::Serialize;

use super::{
    Operator,
    error::Error,
    output::{Output, or_dash, rfc3339, table},
};
use crate::server::model::{DetailedChange, Facts};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List changes, newest first, at most a thousand
    List {
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let Self::List { output } = self;
        let views: Vec<View> = operator.commands.list_changes().await?.into_iter().map(View::from).collect();
        output.print(&views, |views| {
            let row =
                |view: &View| [view.at.clone(), view.actor.clone(), view.action.clone(), view.target.clone(), or_dash(view.difference())];
            table(["TIME", "ACTOR", "CHANGE", "TARGET", "DETAIL"], views.iter().map(row))
        })
    }
}

/// A change as it is printed.
#[derive(Serialize)]
struct View {
    number: i64,
    at: String,
    actor: String,
    action: String,
    target: String,
    /// The id of the HTTP request, if the change was made by one.
    request: Option<String>,
    /// The properties that the change removed or changed.
    before: Option<Facts>,
    /// The properties that the change added or changed.
    after: Option<Facts>,
}

impl From<DetailedChange> for View {
    fn from(DetailedChange { change, detail }: DetailedChange) -> Self {
        let detail = detail.unwrap_or_default();
        Self {
            number: change.number,
            at: rfc3339(change.at),
            actor: change.actor,
            action: change.action,
            target: change.target,
            request: detail.request,
            before: detail.before,
            after: detail.after,
        }
    }
}

impl View {
    /// One line per property: its value before and after.
    fn difference(&self) -> String {
        let value = |facts: &Option<Facts>, name: &str| facts.as_ref().and_then(|facts| facts.get(name)).map(ToString::to_string);
        let mut names: Vec<&String> = self.before.iter().chain(&self.after).flat_map(Facts::keys).collect();
        names.sort_unstable();
        names.dedup();
        let line = |name: &String| match (value(&self.before, name), value(&self.after, name)) {
            (Some(before), Some(after)) => format!("{name}: {before} -> {after}"),
            (Some(before), None) => format!("{name}: was {before}"),
            (None, after) => format!("{name}: {}", after.unwrap_or_default()),
        };
        names.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
