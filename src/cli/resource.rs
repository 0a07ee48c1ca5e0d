//! `sealwright resource`: the APIs that tokens are for.

use clap::Subcommand;
use serde::Serialize;

use super::{
    Operator,
    error::Error,
    output::{NewLifetime, Output, facts, lifetime_for_people, new_lifetime, rfc3339, say, table, token_lifetime},
};
use crate::{
    protocol::{Audience, ScopeToken},
    server::{
        commands::NewResource,
        model::{Resource, ResourceChange, TokenLifetime},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a resource and its scopes
    Create {
        /// Its audience, an absolute URI such as https://orders.example
        audience: Audience,
        /// A scope token that it owns, such as orders:read; repeatable
        #[arg(long = "scope", required = true, value_name = "SCOPE", value_parser = scope_token)]
        scopes: Vec<ScopeToken>,
        /// Maximum lifetime of its tokens; without it, the server's default applies
        #[arg(long, value_name = "DURATION", value_parser = token_lifetime)]
        token_lifetime: Option<TokenLifetime>,
        #[command(flatten)]
        output: Output,
    },
    /// List all resources
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show one resource
    Show {
        audience: Audience,
        #[command(flatten)]
        output: Output,
    },
    /// Change a resource
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Update {
        audience: Audience,
        /// A scope token to add; repeatable
        #[arg(long = "add-scope", value_name = "SCOPE", value_parser = scope_token, group = "change")]
        add: Vec<ScopeToken>,
        /// A scope token to remove, which no client or user may still have; repeatable
        #[arg(long = "remove-scope", value_name = "SCOPE", value_parser = scope_token, group = "change")]
        remove: Vec<ScopeToken>,
        /// Maximum lifetime of its tokens, or `default`
        #[arg(long, value_name = "DURATION", value_parser = new_lifetime, group = "change")]
        token_lifetime: Option<NewLifetime>,
        #[command(flatten)]
        output: Output,
    },
    /// Delete a resource that no client and no user may still use
    Delete { audience: Audience },
}

/// Parses a scope token that can stand in `--allow RESOURCE=SCOPE,SCOPE`.
fn scope_token(text: &str) -> Result<ScopeToken, String> {
    if text.contains([',', '=']) {
        return Err("commas and equals signs are not allowed: they are separators of `--allow`".to_owned());
    }
    text.parse().map_err(|malformed: crate::protocol::Malformed| malformed.to_string())
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let (resources, act) = (operator.commands.resources(), &operator.act);
        match self {
            Self::Create { audience, scopes, token_lifetime, output } => {
                let new = NewResource { audience, scope: scopes.into_iter().collect(), token_lifetime };
                let resource = resources.create(act, new).await?;
                output.print(&View::from(&resource), View::for_people)
            }
            Self::List { output } => {
                let views: Vec<View> = resources.list().await?.iter().map(View::from).collect();
                output.print(&views, |views| {
                    let row = |view: &View| [view.audience.clone(), view.scopes.join(" "), lifetime_for_people(view.token_lifetime)];
                    table(["RESOURCE", "SCOPES", "TOKEN LIFETIME"], views.iter().map(row))
                })
            }
            Self::Show { audience, output } => {
                let resource = resources.find(&audience).await?;
                output.print(&View::from(&resource), View::for_people)
            }
            Self::Update { audience, add, remove, token_lifetime, output } => {
                let change = ResourceChange {
                    add: add.into_iter().collect(),
                    remove: remove.into_iter().collect(),
                    token_lifetime: token_lifetime.map(|lifetime| lifetime.0),
                };
                let resource = resources.update(act, audience, change).await?;
                output.print(&View::from(&resource), View::for_people)
            }
            Self::Delete { audience } => {
                resources.delete(act, audience.clone()).await?;
                say(&format!("deleted the resource {audience}"))
            }
        }
    }
}

/// A resource as it is printed.
#[derive(Serialize)]
struct View {
    audience: String,
    scopes: Vec<String>,
    /// Seconds.
    token_lifetime: Option<u64>,
    created_at: String,
}

impl From<&Resource> for View {
    fn from(resource: &Resource) -> Self {
        Self {
            audience: resource.audience.to_string(),
            scopes: resource.scope.iter().map(ToString::to_string).collect(),
            token_lifetime: resource.token_lifetime.map(TokenLifetime::seconds),
            created_at: rfc3339(resource.created_at),
        }
    }
}

impl View {
    fn for_people(&self) -> String {
        facts([
            ("resource", self.audience.clone()),
            ("scopes", self.scopes.join(" ")),
            ("token lifetime", lifetime_for_people(self.token_lifetime)),
            ("created", self.created_at.clone()),
        ])
    }
}
