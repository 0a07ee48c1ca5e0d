//! `sealwright login`: the logins of users.

use clap::Subcommand;
use serde::Serialize;

use super::{
    Operator,
    error::Error,
    output::{Output, rfc3339, rfc3339_if_any, say, table},
    user::username,
};
use crate::{
    clock::Timestamp,
    protocol::ClientId,
    server::{
        commands::LoginsOf,
        model::{Login, LoginId, Username},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List logins, newest first, at most a thousand
    List {
        /// Only logins of this user
        #[arg(long, value_name = "NAME", value_parser = username, allow_hyphen_values = true)]
        user: Option<Username>,
        /// Only logins of this client
        #[arg(long, value_name = "ID", conflicts_with = "user")]
        client: Option<ClientId>,
        #[command(flatten)]
        output: Output,
    },
    /// End one login, or all logins of a user or of a client: their refresh tokens stop working
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
        let Operator { commands, act } = operator;
        match self {
            Self::List { user, client, output } => {
                let of = user.map(LoginsOf::User).or_else(|| client.map(LoginsOf::Client));
                let logins = commands.logins().list(of).await?;
                let views: Vec<View> = logins.iter().map(|(login, name)| View::new(login, name.as_ref(), act.now)).collect();
                output.print(&views[..], View::list_for_people)
            }
            Self::End { id, user, client } => {
                let of = id.map(LoginsOf::Id).or_else(|| user.map(LoginsOf::User)).or_else(|| client.map(LoginsOf::Client));
                // The group of arguments requires one of them.
                let Some(of) = of else { return Ok(()) };
                let ended = commands.logins().end(act, of).await?;
                say(&format!("ended {ended} {}", if ended == 1 { "login" } else { "logins" }))
            }
        }
    }
}

/// A login as it is printed.
#[derive(Serialize)]
struct View {
    id: String,
    sub: String,
    /// None: the user was deleted.
    username: Option<String>,
    client_id: String,
    resource: String,
    scope: String,
    created_at: String,
    /// When it was last refreshed, or else when it began.
    last_used_at: String,
    /// When it ends unless it is refreshed.
    idle_ends_at: String,
    /// When it ends, whether or not it is refreshed.
    absolute_ends_at: String,
    ended_at: Option<String>,
    end_reason: Option<String>,
    over: bool,
}

impl View {
    fn new(login: &Login, username: Option<&Username>, now: Timestamp) -> Self {
        Self {
            id: login.id.to_string(),
            sub: login.user.to_string(),
            username: username.map(ToString::to_string),
            client_id: login.client.to_string(),
            resource: login.audience.to_string(),
            scope: login.scope.to_string(),
            created_at: rfc3339(login.created_at),
            last_used_at: rfc3339(login.stepped_at),
            idle_ends_at: rfc3339(login.idle_ends_at),
            absolute_ends_at: rfc3339(login.absolute_ends_at),
            ended_at: rfc3339_if_any(login.ended_at),
            end_reason: login.ended_because.clone(),
            over: login.is_over(now),
        }
    }

    fn list_for_people(views: &[Self]) -> String {
        let row = |view: &Self| {
            let state = match (&view.end_reason, view.over) {
                (Some(reason), _) => format!("ended: {reason}"),
                (None, true) => "expired".to_owned(),
                (None, false) => format!("until {}", view.idle_ends_at),
            };
            let user = view.username.clone().unwrap_or_else(|| format!("({})", view.sub));
            [view.id.clone(), user, view.client_id.clone(), view.scope.clone(), view.last_used_at.clone(), state]
        };
        table(["LOGIN", "USER", "CLIENT", "SCOPE", "LAST USED", "STATE"], views.iter().map(row))
    }
}
