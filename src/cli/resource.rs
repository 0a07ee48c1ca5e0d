//! `sealwright resource`: the APIs that tokens are for.

use clap::Subcommand;

use super::{
    Operator,
    algorithm::algorithm,
    claim::{self, Claim, claim},
    confirmation::Confirmation,
    error::Error,
    output::{NewLifetime, Output, facts, lifetime_for_people, new_lifetime, say, token_lifetime},
    progress,
    selection::AtMost,
};
use crate::{
    protocol::{Algorithm, Audience, ScopeToken},
    server::{
        commands::{
            NewResource,
            view::{EntityView, ResourceView, Viewed},
        },
        model::{ClaimName, ResourceChange, ResourceFilter, TokenLifetime},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a resource and its scopes
    Create {
        /// The audience of the resource: an absolute URI such as https://orders.example; other names need --not-a-uri
        audience: Audience,
        /// Accept an audience that is not a URI, for what demands such a name, such as sts.amazonaws.com
        #[arg(long)]
        not_a_uri: bool,
        /// A scope token that it owns, such as orders:read; repeatable
        #[arg(long = "scope", required = true, value_name = "SCOPE", value_parser = scope_token)]
        scopes: Vec<ScopeToken>,
        /// Maximum lifetime of its tokens; without it, the server's default applies
        #[arg(long, value_name = "DURATION", value_parser = token_lifetime)]
        token_lifetime: Option<TokenLifetime>,
        /// The algorithm that signs its tokens; verifiers must allow it
        #[arg(long = "alg", value_name = "ALGORITHM", value_parser = algorithm(), default_value = "RS256")]
        algorithm: Algorithm,
        /// A claim of all its tokens: its name, and JSON or a text; repeatable
        #[arg(long = "fixed-claim", value_name = "NAME=VALUE", value_parser = claim)]
        fixed_claims: Vec<Claim>,
        /// An attribute of users that their tokens for it contain, such as roles or preferred_username; repeatable
        #[arg(long = "claim", value_name = "NAME")]
        claims: Vec<ClaimName>,
        #[command(flatten)]
        output: Output,
    },
    /// List resources: all, or those that own a scope
    List {
        /// Only those that own this scope token
        #[arg(long, value_name = "SCOPE")]
        scope: Option<ScopeToken>,
        #[command(flatten)]
        at_most: AtMost,
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
    #[command(override_usage = "sealwright resource update <AUDIENCE> <OPTION>...")]
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Update {
        audience: Audience,
        /// A scope token to add; repeatable
        #[arg(long = "add-scope", value_name = "SCOPE", value_parser = scope_token, group = "change")]
        add: Vec<ScopeToken>,
        /// A scope token to remove, which no client or user may still have there; repeatable
        #[arg(long = "remove-scope", value_name = "SCOPE", value_parser = scope_token, group = "change")]
        remove: Vec<ScopeToken>,
        /// Maximum lifetime of its tokens, or `default`
        #[arg(long, value_name = "DURATION", value_parser = new_lifetime, group = "change")]
        token_lifetime: Option<NewLifetime>,
        /// The algorithm that signs its tokens, once a key for it has been published for an hour; let its verifiers allow both before
        #[arg(long = "alg", value_name = "ALGORITHM", value_parser = algorithm(), group = "change")]
        algorithm: Option<Algorithm>,
        /// A claim of all its tokens: its name, and JSON or a text; repeatable
        #[arg(long = "fixed-claim", value_name = "NAME=VALUE", value_parser = claim, group = "change")]
        fixed_claims: Vec<Claim>,
        /// A fixed claim to remove; repeatable
        #[arg(long, value_name = "NAME", group = "change")]
        remove_fixed_claim: Vec<ClaimName>,
        /// An attribute of users that their tokens for it contain, such as roles or preferred_username; repeatable
        #[arg(long = "claim", value_name = "NAME", group = "change")]
        claims: Vec<ClaimName>,
        /// An attribute of users to leave out again; repeatable
        #[arg(long, value_name = "NAME", group = "change")]
        remove_claim: Vec<ClaimName>,
        #[command(flatten)]
        output: Output,
    },
    /// Delete a resource that no client and no user may still use
    Delete {
        audience: Audience,
        #[command(flatten)]
        confirmation: Confirmation,
    },
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
        let now = act.now;
        match self {
            Self::Create { audience, not_a_uri, scopes, token_lifetime, algorithm, fixed_claims, claims, output } => {
                // Usually its scheme was forgotten.
                if !audience.is_uri() && !not_a_uri {
                    return Err(Error::NotAUri(audience));
                }
                let new = NewResource {
                    audience,
                    scope: scopes.into_iter().collect(),
                    token_lifetime,
                    algorithm,
                    fixed_claims: fixed_claims.into_iter().collect(),
                    claims: claims.into_iter().collect(),
                };
                let resource = resources.create(act, new).await?;
                output.print(&resource.view(now), for_people)
            }
            Self::List { scope, at_most, output } => {
                let listed =
                    progress::shown("reading the resources", resources.list(&ResourceFilter { scope, limit: at_most.limit })).await?;
                let row = |view: &ResourceView| {
                    [view.audience.clone(), view.scopes.join(" "), lifetime_for_people(view.token_lifetime), view.alg.to_owned()]
                };
                output.print_list(&EntityView::list(listed, now), ["RESOURCE", "SCOPES", "TOKEN LIFETIME", "ALGORITHM"], row)
            }
            Self::Show { audience, output } => {
                let resource = resources.find(&audience).await?;
                output.print(&resource.view(now), for_people)
            }
            Self::Update {
                audience,
                add,
                remove,
                token_lifetime,
                algorithm,
                fixed_claims,
                remove_fixed_claim,
                claims,
                remove_claim,
                output,
            } => {
                let change = ResourceChange {
                    add: add.into_iter().collect(),
                    remove: remove.into_iter().collect(),
                    token_lifetime: token_lifetime.map(|lifetime| lifetime.0),
                    algorithm,
                    set_fixed_claims: fixed_claims.into_iter().collect(),
                    remove_fixed_claims: remove_fixed_claim.into_iter().collect(),
                    add_claims: claims.into_iter().collect(),
                    remove_claims: remove_claim.into_iter().collect(),
                };
                let resource = resources.update(act, audience, change).await?;
                output.print(&resource.view(now), for_people)
            }
            Self::Delete { audience, confirmation } => {
                let question = async {
                    resources.require(&audience).await?;
                    Ok(format!("Delete resource \"{audience}\"?"))
                };
                confirmation.require(question).await?;
                resources.delete(&operator.act_now(), audience.clone()).await?;
                say(&format!("deleted the resource {audience}"))
            }
        }
    }
}

fn for_people(view: &ResourceView) -> String {
    let mut rows = vec![
        ("resource", view.audience.clone()),
        ("scopes", view.scopes.join(" ")),
        ("token lifetime", lifetime_for_people(view.token_lifetime)),
        ("algorithm", view.alg.to_owned()),
        ("created", view.created_at.clone()),
    ];
    if !view.fixed_claims.is_empty() {
        rows.push(("fixed claims", claim::lines(&view.fixed_claims)));
    }
    if !view.claims.is_empty() {
        rows.push(("users' claims", view.claims.join(" ")));
    }
    facts(rows)
}
