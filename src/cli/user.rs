//! `sealwright user`: people who sign in.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;

use super::{
    Operator,
    allowance::{Allowance, allowance, by_resource, scope_lists},
    error::Error,
    output::{Output, facts, or_dash, or_never, rfc3339, rfc3339_if_any, say, table},
    password_input::PasswordInput,
};
use crate::{
    protocol::{Audience, Malformed},
    server::{
        commands::NewUser,
        model::{User, UserChange, Username},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a user
    Create {
        /// The name to sign in with; case does not matter
        username: Username,
        #[command(flatten)]
        password: PasswordInput,
        /// Scopes that they may have at a resource; repeatable
        #[arg(long, value_name = "RESOURCE=SCOPE,SCOPE", value_parser = allowance)]
        allow: Vec<Allowance>,
        #[command(flatten)]
        output: Output,
    },
    /// List all users
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show one user
    Show {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        #[command(flatten)]
        output: Output,
    },
    /// Change the scopes of a user
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Update {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        /// Scopes that replace those at a resource; repeatable
        #[arg(long, value_name = "RESOURCE=SCOPE,SCOPE", value_parser = allowance, group = "change")]
        allow: Vec<Allowance>,
        /// A resource whose scopes to remove; repeatable
        #[arg(long, value_name = "RESOURCE", group = "change")]
        disallow: Vec<Audience>,
        #[command(flatten)]
        output: Output,
    },
    /// Disable a user and end their logins
    Disable {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        #[command(flatten)]
        output: Output,
    },
    /// Enable a user again
    Enable {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        #[command(flatten)]
        output: Output,
    },
    /// Delete a user and end their logins
    Delete {
        #[arg(allow_hyphen_values = true)]
        username: Username,
    },
    /// Set a user's password and end their logins
    SetPassword {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        #[command(flatten)]
        password: PasswordInput,
    },
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let (users, act) = (operator.commands.users(), &operator.act);
        let print = |user: &User, output: Output| output.print(&View::from(user), View::for_people);
        match self {
            Self::Create { username, password, allow, output } => {
                let new = NewUser { username, password: password.read()?, permissions: by_resource(allow) };
                print(&users.create(&operator.act_now(), new).await?, output)
            }
            Self::List { output } => {
                let views: Vec<View> = users.list().await?.iter().map(View::from).collect();
                output.print(&views[..], View::list_for_people)
            }
            Self::Show { username, output } => print(&users.find(&username).await?, output),
            Self::Update { username, allow, disallow, output } => {
                let change = UserChange { allow: by_resource(allow), disallow: disallow.into_iter().collect() };
                print(&users.update(act, username, change).await?, output)
            }
            Self::Disable { username, output } => print(&users.disable(act, username).await?, output),
            Self::Enable { username, output } => print(&users.enable(act, username).await?, output),
            Self::Delete { username } => {
                users.delete(act, username.clone()).await?;
                say(&format!("deleted the user {username}"))
            }
            Self::SetPassword { username, password } => {
                let password = password.read()?;
                users.set_password(&operator.act_now(), username.clone(), password).await?;
                say(&format!("set the password of {username}, and ended their logins"))
            }
        }
    }
}

/// Parses a user name for other commands.
pub(super) fn username(text: &str) -> Result<Username, String> {
    text.parse().map_err(|malformed: Malformed| malformed.to_string())
}

/// A user as it is printed, without the password hash.
#[derive(Serialize)]
struct View {
    sub: String,
    username: String,
    /// Scope tokens by resource.
    allow: BTreeMap<String, Vec<String>>,
    created_at: String,
    disabled_at: Option<String>,
    signed_in_at: Option<String>,
}

impl From<&User> for View {
    fn from(user: &User) -> Self {
        Self {
            sub: user.id.to_string(),
            username: user.username.to_string(),
            allow: scope_lists(user.permissions.iter()),
            created_at: rfc3339(user.created_at),
            disabled_at: rfc3339_if_any(user.disabled_at),
            signed_in_at: rfc3339_if_any(user.signed_in_at),
        }
    }
}

impl View {
    fn for_people(&self) -> String {
        let allow: Vec<_> = self.allow.iter().map(|(resource, scopes)| format!("{resource}: {}", scopes.join(" "))).collect();
        facts([
            ("user", self.username.clone()),
            ("sub", self.sub.clone()),
            ("state", self.disabled_at.as_ref().map_or_else(|| "enabled".to_owned(), |at| format!("disabled since {at}"))),
            ("allowed", or_dash(allow.join("\n"))),
            ("created", self.created_at.clone()),
            ("signed in", or_never(self.signed_in_at.clone())),
        ])
    }

    fn list_for_people(views: &[Self]) -> String {
        let row = |view: &Self| {
            let scopes: Vec<_> = view.allow.values().flatten().cloned().collect();
            let state = if view.disabled_at.is_some() { "disabled" } else { "enabled" };
            [view.username.clone(), state.to_owned(), or_dash(scopes.join(" ")), or_never(view.signed_in_at.clone()), view.sub.clone()]
        };
        table(["USER", "STATE", "ALLOWED", "SIGNED IN", "SUB"], views.iter().map(row))
    }
}
