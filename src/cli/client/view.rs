//! Clients and their secrets as they are printed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    cli::allowance::scope_lists,
    cli::output::{facts, lifetime_for_people, or_dash, or_never, rfc3339, rfc3339_if_any, table},
    clock::Timestamp,
    protocol::ClientId,
    server::{
        commands::NewSecret,
        model::{Client, TokenLifetime},
    },
};

/// A client as it is printed; `secret` is present only at its creation.
#[derive(Serialize)]
pub(super) struct ClientView {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<SecretValue>,
    grant_types: Vec<String>,
    /// Scope tokens by resource.
    allow: BTreeMap<String, Vec<String>>,
    introspects: Vec<String>,
    auth_methods: Vec<String>,
    /// Seconds.
    token_lifetime: Option<u64>,
    created_at: String,
    disabled_at: Option<String>,
    secrets: Vec<SecretView>,
}

/// A stored secret: what can be shown at any time.
#[derive(Serialize)]
struct SecretView {
    id: String,
    created_at: String,
    expires_at: Option<String>,
    /// Recorded within ten seconds.
    last_used_at: Option<String>,
    live: bool,
}

/// A new secret, with its value.
#[derive(Serialize)]
struct SecretValue {
    id: String,
    value: String,
    expires_at: Option<String>,
}

impl From<&NewSecret> for SecretValue {
    fn from(new: &NewSecret) -> Self {
        Self { id: new.id().to_string(), value: new.expose().to_owned(), expires_at: rfc3339_if_any(new.expires_at) }
    }
}

const SHOWN_ONCE: &str = "The secret is shown only once; store it where the app reads its secrets.";

impl ClientView {
    pub(super) fn new(client: &Client, now: Timestamp) -> Self {
        let allow = scope_lists(client.permissions.iter());
        let secrets = client.secrets.iter().map(|secret| SecretView {
            id: secret.id.to_string(),
            created_at: rfc3339(secret.created_at),
            expires_at: rfc3339_if_any(secret.expires_at),
            last_used_at: rfc3339_if_any(secret.last_used_at),
            live: secret.is_live(now),
        });
        Self {
            client_id: client.id.to_string(),
            secret: None,
            grant_types: client.grants.iter().map(ToString::to_string).collect(),
            allow,
            introspects: client.introspects.iter().map(ToString::to_string).collect(),
            auth_methods: client.auth_methods.iter().map(ToString::to_string).collect(),
            token_lifetime: client.token_lifetime.map(TokenLifetime::seconds),
            created_at: rfc3339(client.created_at),
            disabled_at: rfc3339_if_any(client.disabled_at),
            secrets: secrets.collect(),
        }
    }

    pub(super) fn with_secret(mut self, secret: &NewSecret) -> Self {
        self.secret = Some(secret.into());
        self
    }

    pub(super) fn for_people(&self) -> String {
        let allow: Vec<_> = self.allow.iter().map(|(resource, scopes)| format!("{resource}: {}", scopes.join(" "))).collect();
        let mut text = facts([
            ("client", self.client_id.clone()),
            ("state", self.disabled_at.as_ref().map_or_else(|| "enabled".to_owned(), |at| format!("disabled since {at}"))),
            ("grants", or_dash(self.grant_types.join(" "))),
            ("allowed", or_dash(allow.join("\n"))),
            ("introspects", or_dash(self.introspects.join("\n"))),
            ("authentication", self.auth_methods.join(" or ")),
            ("token lifetime", lifetime_for_people(self.token_lifetime)),
            ("created", self.created_at.clone()),
        ]);
        if let Some(secret) = &self.secret {
            text += &format!("\n\nsecret  {}\n{SHOWN_ONCE}", secret.value);
        } else if !self.secrets.is_empty() {
            let row = |secret: &SecretView| {
                let expires = or_never(secret.expires_at.clone()) + if secret.live { "" } else { " (expired)" };
                [secret.id.clone(), secret.created_at.clone(), expires, or_never(secret.last_used_at.clone())]
            };
            text += "\n\n";
            text += &table(["SECRET", "CREATED", "EXPIRES", "LAST USED"], self.secrets.iter().map(row));
        }
        text
    }

    pub(super) fn list_for_people(views: &[Self]) -> String {
        let row = |view: &Self| {
            let scopes: Vec<_> = view.allow.values().flatten().cloned().collect();
            let state = if view.disabled_at.is_some() { "disabled" } else { "enabled" };
            let live = view.secrets.iter().filter(|secret| secret.live).count();
            [view.client_id.clone(), state.to_owned(), or_dash(view.grant_types.join(" ")), or_dash(scopes.join(" ")), live.to_string()]
        };
        table(["CLIENT", "STATE", "GRANTS", "ALLOWED", "LIVE SECRETS"], views.iter().map(row))
    }
}

/// A secret that was added to a client.
#[derive(Serialize)]
pub(super) struct NewSecretView {
    client_id: String,
    secret: SecretValue,
}

impl NewSecretView {
    pub(super) fn new(id: &ClientId, secret: &NewSecret) -> Self {
        Self { client_id: id.to_string(), secret: secret.into() }
    }

    pub(super) fn for_people(&self) -> String {
        let rows = [
            ("client", self.client_id.clone()),
            ("secret id", self.secret.id.clone()),
            ("expires", or_never(self.secret.expires_at.clone())),
        ];
        format!("{}\n\nsecret  {}\n{SHOWN_ONCE}", facts(rows), self.secret.value)
    }
}
