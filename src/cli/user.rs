//! `sealwright user`: people who sign in.

use std::time::Duration;

use clap::Subcommand;

use super::{
    Operator,
    allowance::{Allowance, allowance, by_resource, lines},
    claim::{self, Claim, claim},
    confirmation::Confirmation,
    error::Error,
    output::{Output, ended, ended_if_any, facts, logins, or_dash, or_never, positive_duration, revoked_none, say},
    password_input::PasswordInput,
    progress,
    selection::{AtMost, State},
};
use crate::{
    protocol::{Audience, Malformed},
    server::{
        commands::{
            NewUser,
            view::{EntityView, RevokedTokensView, RevokedView, UserView, Viewed},
        },
        model::{ClaimName, Damaged, User, UserChange, UserFilter, Username},
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
        /// What resources may ask for, such as roles or email: its name, and JSON or a text; repeatable
        #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = claim)]
        attributes: Vec<Claim>,
        #[command(flatten)]
        output: Output,
    },
    /// List users: all, or those that the options select together
    List {
        /// Only those with scopes at this resource
        #[arg(long, value_name = "RESOURCE")]
        resource: Option<Audience>,
        #[command(flatten)]
        state: State,
        /// Only those who neither signed in nor refreshed a login for this long, such as 30days; leaves out newer users
        #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
        unused_for: Option<Duration>,
        #[command(flatten)]
        at_most: AtMost,
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
    /// Change the scopes and attributes of a user
    #[command(override_usage = "sealwright user update <USERNAME> <OPTION>...")]
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Update {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        /// Scopes that replace those at a resource; without one that they had, their access tokens are revoked, and logins go on; repeatable
        #[arg(long, value_name = "RESOURCE=SCOPE,SCOPE", value_parser = allowance, group = "change")]
        allow: Vec<Allowance>,
        /// A resource whose scopes to remove, which revokes their access tokens as well; repeatable
        #[arg(long, value_name = "RESOURCE", group = "change")]
        disallow: Vec<Audience>,
        /// An attribute to set: its name, and JSON or a text; repeatable
        #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = claim, group = "change")]
        attributes: Vec<Claim>,
        /// An attribute to remove; repeatable
        #[arg(long, value_name = "NAME", group = "change")]
        remove_attribute: Vec<ClaimName>,
        #[command(flatten)]
        output: Output,
    },
    /// Disable a user and end their logins, which revokes their access tokens
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
    /// Delete a user and end their logins, which revokes their access tokens
    Delete {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Revoke all access tokens of a user: ends their logins
    RevokeTokens {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        #[command(flatten)]
        confirmation: Confirmation,
        #[command(flatten)]
        output: Output,
    },
    /// Set a user's password and end their logins, which revokes their access tokens
    SetPassword {
        #[arg(allow_hyphen_values = true)]
        username: Username,
        #[command(flatten)]
        password: PasswordInput,
    },
}

/// All tokens of a user, for messages.
const THEIR_TOKENS: &str = "their access tokens";

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let (users, act) = (operator.commands.users(), &operator.act);
        let now = act.now;
        let print = |user: &User, output: Output| output.print(&user.view(now), for_people);
        let print_changed = |username: &Username, changed: Result<User, Damaged>, output: Output| {
            output.print_changed(&EntityView::of(username.as_str(), &changed, now), for_people)
        };
        match self {
            Self::Create { username, password, allow, attributes, output } => {
                let attributes = attributes.into_iter().collect();
                let new = NewUser { username, password: password.read()?, permissions: by_resource(allow), attributes };
                print(&users.create(&operator.act_now(), new).await?, output)
            }
            Self::List { resource, state, unused_for, at_most, output } => {
                let filter = UserFilter {
                    limit: at_most.limit,
                    resource,
                    disabled: state.disabled(),
                    unused_since: unused_for.map(|duration| now - duration),
                };
                let listed = progress::shown("reading the users", users.list(&filter)).await?;
                output.print_list(&EntityView::list(listed, now), ["USER", "STATE", "ALLOWED", "SIGNED IN", "SUB"], row)
            }
            Self::Show { username, output } => print(&users.find(&username).await?, output),
            Self::Update { username, allow, disallow, attributes, remove_attribute, output } => {
                let change = UserChange {
                    allow: by_resource(allow),
                    disallow: disallow.into_iter().collect(),
                    set_attributes: attributes.into_iter().collect(),
                    remove_attributes: remove_attribute.into_iter().collect(),
                };
                let (user, taken) = users.update(act, username, change).await?;
                print(&user, output)?;
                ended_if_any(taken, "their earlier access tokens").map_or(Ok(()), |said| output.print_ended(&said))
            }
            Self::Disable { username, output } => {
                let (user, taken) = users.disable(act, username.clone()).await?;
                print_changed(&username, user, output)?;
                output.print_ended(&ended(taken, THEIR_TOKENS))
            }
            Self::Enable { username, output } => print_changed(&username, users.enable(act, username.clone()).await?, output),
            Self::Delete { username, confirmation } => {
                let question = async {
                    let ends = logins(users.count_logins(&username, now).await?);
                    Ok(format!("Delete user \"{username}\"? It ends {ends}."))
                };
                confirmation.require(question).await?;
                let taken = users.delete(&operator.act_now(), username.clone()).await?;
                say(&format!("deleted the user {username}, and {}", ended(taken, THEIR_TOKENS)))
            }
            Self::RevokeTokens { username, confirmation, output } => {
                let question = async {
                    let ends = logins(users.count_logins(&username, now).await?);
                    Ok(format!("Revoke all access tokens of user \"{username}\"? It ends {ends}."))
                };
                confirmation.require(question).await?;
                let act = operator.act_now();
                let taken = users.revoke_tokens(&act, username.clone()).await?;
                let view = RevokedTokensView {
                    client_id: None,
                    username: Some(username.to_string()),
                    tokens_revoked: taken.login_tokens,
                    logins_ended: Some(taken.logins),
                    logins_continued: None,
                    revoked: RevokedView::at(act.now),
                };
                let ended = ended(taken, THEIR_TOKENS);
                output.print(&view, |view| match view.tokens_revoked {
                    true => format!("revoked all access tokens of {username}, and {ended}"),
                    false => format!("{}; {ended}", revoked_none(&format!("of {username}"))),
                })
            }
            Self::SetPassword { username, password } => {
                let password = password.read()?;
                let taken = users.set_password(&operator.act_now(), username.clone(), password).await?;
                say(&format!("set the password of {username}, and {}", ended(taken, THEIR_TOKENS)))
            }
        }
    }
}

/// Parses a user name for other commands.
pub(super) fn username(text: &str) -> Result<Username, String> {
    text.parse().map_err(|malformed: Malformed| malformed.to_string())
}

fn for_people(view: &UserView) -> String {
    let mut rows = vec![
        ("user", view.username.clone()),
        ("sub", view.sub.clone()),
        ("state", view.disabled_at.as_ref().map_or_else(|| "enabled".to_owned(), |at| format!("disabled since {at}"))),
        ("allowed", or_dash(lines(&view.allow))),
        ("created", view.created_at.clone()),
        ("signed in", or_never(view.signed_in_at.clone())),
    ];
    if !view.attributes.is_empty() {
        rows.push(("attributes", claim::lines(&view.attributes)));
    }
    facts(rows)
}

fn row(view: &UserView) -> [String; 5] {
    let state = if view.disabled_at.is_some() { "disabled" } else { "enabled" };
    [view.username.clone(), state.to_owned(), or_dash(lines(&view.allow)), or_never(view.signed_in_at.clone()), view.sub.clone()]
}
