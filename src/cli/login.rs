//! `sealwright login`: the logins of users.

use clap::Subcommand;

use super::{
    Operator,
    error::Error,
    output::{Output, ended, say},
    progress,
    selection::Limit,
    user::username,
};
use crate::{
    protocol::{Audience, ClientId},
    server::{
        commands::{
            ListedLogins, LoginsOf,
            view::{EntityView, LoginView},
        },
        model::{LoginId, Username},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List logins, newest first: those that the options select together
    List {
        /// Only logins of this user
        #[arg(long, value_name = "NAME", value_parser = username, allow_hyphen_values = true)]
        user: Option<Username>,
        /// Only logins of this client
        #[arg(long, value_name = "ID")]
        client: Option<ClientId>,
        /// Only logins at this resource
        #[arg(long, value_name = "RESOURCE")]
        resource: Option<Audience>,
        /// Only logins that have neither ended nor expired
        #[arg(long)]
        active: bool,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        output: Output,
    },
    /// End one login, or all logins of a user or of a client: their refresh tokens stop working, and their access tokens within 12 s where
    /// APIs read the status lists
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    End {
        #[arg(value_name = "LOGIN_ID", group = "which", allow_hyphen_values = true)]
        id: Option<LoginId>,
        #[arg(long, value_name = "NAME", value_parser = username, group = "which", allow_hyphen_values = true)]
        user: Option<Username>,
        #[arg(long, value_name = "ID", group = "which")]
        client: Option<ClientId>,
    },
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let Operator { commands, act, .. } = operator;
        match self {
            Self::List { user, client, resource, active, limit: Limit { limit }, output } => {
                let selected = ListedLogins { user, client, resource, active_at: active.then_some(act.now), limit };
                let listed = progress::shown("reading the logins", commands.logins().list(selected)).await?;
                let heading = ["LOGIN", "USER", "CLIENT", "SCOPE", "LAST USED", "STATE"];
                output.print_list(&EntityView::list(listed, act.now), heading, row)
            }
            Self::End { id, user, client } => {
                let of = id.map(LoginsOf::Id).or_else(|| user.map(LoginsOf::User)).or_else(|| client.map(LoginsOf::Client));
                // The group of arguments requires one of them.
                let Some(of) = of else { return Ok(()) };
                say(&ended(commands.logins().end(act, of).await?, "their access tokens"))
            }
        }
    }
}

fn row(view: &LoginView) -> [String; 6] {
    let state = match (&view.end_reason, view.over) {
        (Some(reason), _) => format!("ended: {reason}"),
        (None, true) => "expired".to_owned(),
        (None, false) => format!("until {}", view.idle_ends_at),
    };
    let user = view.username.clone().unwrap_or_else(|| format!("({})", view.sub));
    [view.id.clone(), user, view.client_id.clone(), view.scope.clone(), view.last_used_at.clone(), state]
}
