//! `sealwright client`: trusted apps that get tokens.

mod keys;
mod revocation;
mod view;

use std::{collections::BTreeSet, time::Duration};

use clap::Subcommand;

use super::{
    Operator,
    allowance::{Allowance, allowance, by_resource},
    claim::{Claim, claim},
    confirmation::Confirmation,
    error::Error,
    output::{NewLifetime, Output, ended, ended_if_any, logins, new_lifetime, positive_duration, say, token_lifetime, warn},
    progress,
    selection::{AtMost, State},
};
use crate::{
    protocol::{Audience, AuthMethod, ClientId, GrantType},
    server::{
        commands::{
            NewClient,
            view::{EntityView, NewSecretView, Viewed},
        },
        model::{ClaimName, Client, ClientChange, ClientFilter, Damaged, TokenLifetime},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a client; show its first secret, once, or give it a key instead
    Create {
        /// The id of the client: 1 to 64 characters of a-z, 0-9, dot, underscore and hyphen
        id: ClientId,
        /// client_credentials, password or refresh_token; repeatable
        #[arg(long = "grant", value_name = "GRANT")]
        grants: Vec<GrantType>,
        /// Scopes that it may have at a resource; repeatable
        #[arg(long, value_name = "RESOURCE=SCOPE,SCOPE", value_parser = allowance)]
        allow: Vec<Allowance>,
        /// A resource whose tokens it may introspect; repeatable
        #[arg(long, value_name = "RESOURCE")]
        introspects: Vec<Audience>,
        /// client_secret_basic, client_secret_post or private_key_jwt; repeatable
        #[arg(long = "auth-method", value_name = "METHOD")]
        auth_methods: Vec<AuthMethod>,
        /// Maximum lifetime of its tokens; without it, the server's default
        #[arg(long, value_name = "DURATION", value_parser = token_lifetime)]
        token_lifetime: Option<TokenLifetime>,
        /// A claim of its tokens: the name, and JSON or a text; repeatable
        #[arg(long = "fixed-claim", value_name = "NAME=VALUE", value_parser = claim)]
        fixed_claims: Vec<Claim>,
        #[command(flatten)]
        first_key: keys::FirstKey,
        /// Lifetime of its first secret or key; without it, unlimited
        #[arg(long, alias = "secret-expires-in", value_name = "DURATION", value_parser = positive_duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        output: Output,
    },
    /// List clients: all, or those that the options select together
    List {
        /// Only those with scopes at this resource
        #[arg(long, value_name = "RESOURCE")]
        resource: Option<Audience>,
        #[command(flatten)]
        state: State,
        /// Only those none of whose secrets and keys was used for this long, such as 30days; one that was dropped does not count; leaves
        /// out newer clients
        #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
        unused_for: Option<Duration>,
        /// Only those that may use this grant type
        #[arg(long, value_name = "GRANT")]
        grant: Option<GrantType>,
        /// Only those with a valid secret or key that expires within this time, such as 14days
        #[arg(long, alias = "secret-expires-within", value_name = "DURATION", value_parser = positive_duration)]
        expires_within: Option<Duration>,
        #[command(flatten)]
        at_most: AtMost,
        #[command(flatten)]
        output: Output,
    },
    /// Show one client
    Show {
        id: ClientId,
        #[command(flatten)]
        output: Output,
    },
    /// Change a client
    #[command(override_usage = "sealwright client update <ID> <OPTION>...")]
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Update {
        id: ClientId,
        /// A grant type to add; repeatable
        #[arg(long, value_name = "GRANT", group = "change")]
        add_grant: Vec<GrantType>,
        /// A grant type to remove, which revokes the tokens that it got for itself; removing password or refresh_token ends its logins;
        /// repeatable
        #[arg(long, value_name = "GRANT", group = "change")]
        remove_grant: Vec<GrantType>,
        /// Scopes that replace those at a resource; without one that it had, all its access tokens are revoked; repeatable
        #[arg(long, value_name = "RESOURCE=SCOPE,SCOPE", value_parser = allowance, group = "change")]
        allow: Vec<Allowance>,
        /// A resource whose scopes to remove, which revokes all its access tokens; repeatable
        #[arg(long, value_name = "RESOURCE", group = "change")]
        disallow: Vec<Audience>,
        /// A resource whose tokens it may introspect; repeatable
        #[arg(long, value_name = "RESOURCE", group = "change")]
        add_introspects: Vec<Audience>,
        /// A resource whose tokens it may no longer introspect; repeatable
        #[arg(long, value_name = "RESOURCE", group = "change")]
        remove_introspects: Vec<Audience>,
        /// A method by which it may authenticate, client_secret_basic, client_secret_post or private_key_jwt; replaces the current ones;
        /// repeatable
        #[arg(long = "auth-method", value_name = "METHOD", group = "change")]
        auth_methods: Vec<AuthMethod>,
        /// Maximum lifetime of its tokens, or `default`
        #[arg(long, value_name = "DURATION", value_parser = new_lifetime, group = "change")]
        token_lifetime: Option<NewLifetime>,
        /// A claim of all tokens that it gets: its name, and JSON or a text; repeatable
        #[arg(long = "fixed-claim", value_name = "NAME=VALUE", value_parser = claim, group = "change")]
        fixed_claims: Vec<Claim>,
        /// A fixed claim to remove; repeatable
        #[arg(long, value_name = "NAME", group = "change")]
        remove_fixed_claim: Vec<ClaimName>,
        #[command(flatten)]
        output: Output,
    },
    /// Disable a client, revoke its tokens and end its logins: it gets no tokens until it is enabled again
    Disable {
        id: ClientId,
        #[command(flatten)]
        output: Output,
    },
    /// Enable a client again
    Enable {
        id: ClientId,
        #[command(flatten)]
        output: Output,
    },
    /// Delete a client with its secrets and keys, revoke its tokens, and end its logins
    Delete {
        id: ClientId,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Add a secret to a client and show it, once; its other secrets stay valid
    AddSecret {
        id: ClientId,
        /// Lifetime of the secret; without it, it does not expire
        #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a secret of a client; tokens that were obtained with it are valid until they expire, unless --compromised is given
    DropSecret(revocation::DropSecret),
    AddKey(keys::AddKey),
    /// Remove a key of a client; tokens that were obtained with it are valid until they expire, unless --compromised is given
    DropKey(revocation::DropKey),
    /// Revoke all tokens that a client got for itself; it goes on and gets new ones. Logins of users go on: `login end --client` ends them
    RevokeTokens(revocation::RevokeTokens),
}

/// All tokens of a client, for messages.
const ITS_TOKENS: &str = "all of its access tokens";

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let (clients, act) = (operator.commands.clients(), &operator.act);
        let now = act.now;
        let print = |client: &Client, output: Output| output.print(&client.view(now), view::client_with_credentials);
        let print_changed = |id: &ClientId, changed: Result<Client, Damaged>, output: Output| {
            output.print_changed(&EntityView::of(id.as_str(), &changed, now), view::client_with_credentials)
        };
        match self {
            Self::Create { id, grants, allow, introspects, auth_methods, token_lifetime, fixed_claims, first_key, expires_in, output } => {
                let new = NewClient {
                    id,
                    auth_methods: auth_methods.into_iter().collect(),
                    grants: grants.into_iter().collect(),
                    permissions: by_resource(allow),
                    introspects: introspects.into_iter().collect(),
                    token_lifetime,
                    fixed_claims: fixed_claims.into_iter().collect(),
                    credential_lifetime: expires_in,
                };
                let client = if let Some(to_add) = first_key.to_add()? {
                    let created = clients.create_with_key(act, new, to_add.key.clone()).await;
                    let (client, note) = to_add.outcome(created)?;
                    print(&client, output)?;
                    note.map_or(Ok(()), |note| output.print_ended(&note))?;
                    client
                } else {
                    let (client, secret) = clients.create(act, new).await?;
                    output.print_secret(&client.view(now).with_secret(&secret), &client.id, view::client)?;
                    client
                };
                if let Some(lacking) = lacking(&client) {
                    warn(&lacking);
                }
                Ok(())
            }
            Self::List { resource, state, unused_for, grant, expires_within, at_most, output } => {
                let filter = ClientFilter {
                    disabled: state.disabled(),
                    unused_since: unused_for.map(|duration| now - duration),
                    resource,
                    limit: at_most.limit,
                    grant,
                    expires: expires_within.map(|duration| (now, now + duration)),
                };
                let listed = progress::shown("reading the clients", clients.list(&filter)).await?;
                view::print_list(output, &EntityView::list(listed, now))
            }
            Self::Show { id, output } => print(&clients.find(&id).await?, output),
            Self::Update {
                id,
                add_grant,
                remove_grant,
                allow,
                disallow,
                add_introspects,
                remove_introspects,
                auth_methods,
                token_lifetime,
                fixed_claims,
                remove_fixed_claim,
                output,
            } => {
                let auth_methods: BTreeSet<_> = auth_methods.into_iter().collect();
                let change = ClientChange {
                    auth_methods: (!auth_methods.is_empty()).then_some(auth_methods),
                    add_grants: add_grant.into_iter().collect(),
                    remove_grants: remove_grant.into_iter().collect(),
                    allow: by_resource(allow),
                    disallow: disallow.into_iter().collect(),
                    add_introspects: add_introspects.into_iter().collect(),
                    remove_introspects: remove_introspects.into_iter().collect(),
                    token_lifetime: token_lifetime.map(|lifetime| lifetime.0),
                    set_fixed_claims: fixed_claims.into_iter().collect(),
                    remove_fixed_claims: remove_fixed_claim.into_iter().collect(),
                };
                let (client, taken) = clients.update(act, id, change).await?;
                print(&client, output)?;
                ended_if_any(taken, "its earlier access tokens").map_or(Ok(()), |said| output.print_ended(&said))
            }
            Self::Disable { id, output } => {
                let (client, taken) = clients.disable(act, id.clone()).await?;
                print_changed(&id, client, output)?;
                output.print_ended(&ended(taken, ITS_TOKENS))
            }
            Self::Enable { id, output } => print_changed(&id, clients.enable(act, id.clone()).await?, output),
            Self::Delete { id, confirmation } => {
                let question = async {
                    let ends = logins(clients.count_logins(&id, now).await?);
                    Ok(format!("Delete client \"{id}\"? It ends {ends}."))
                };
                confirmation.require(question).await?;
                let taken = clients.delete(&operator.act_now(), id.clone()).await?;
                say(&format!("deleted the client {id}, and {}", ended(taken, ITS_TOKENS)))
            }
            Self::AddSecret { id, expires_in, output } => {
                let secret = clients.add_secret(act, id.clone(), expires_in).await?;
                output.print_secret(&NewSecretView::new(&id, &secret), &id, view::new_secret)
            }
            Self::DropSecret(command) => command.run(operator).await,
            Self::AddKey(command) => command.run(operator).await,
            Self::DropKey(command) => command.run(operator).await,
            Self::RevokeTokens(command) => command.run(operator).await,
        }
    }
}

/// What a new client still needs before it can get a token, if anything.
fn lacking(client: &Client) -> Option<String> {
    let (lacks, options) = match (client.grants.is_empty(), client.permissions.is_empty()) {
        (false, false) => return None,
        // An API, which introspects tokens and gets none.
        (true, true) if !client.introspects.is_empty() => return None,
        (true, false) => ("it may use no grant type", "--add-grant GRANT"),
        (false, true) => ("it has no scope at any resource", "--allow RESOURCE=SCOPE"),
        (true, true) => ("it may use no grant type and has no scope at any resource", "--add-grant GRANT --allow RESOURCE=SCOPE"),
    };
    Some(format!(
        "the client {} cannot get a token yet: {lacks}; give it what it needs with `sealwright client update {} {options}`",
        client.id, client.id
    ))
}
