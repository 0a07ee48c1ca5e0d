use std::collections::BTreeMap;

use serde::Serialize;

use super::{Viewed, rfc3339_if_any, scope_lists};
use crate::{
    clock::Timestamp,
    protocol::ClientId,
    server::{
        commands::clients::NewSecret,
        model::{Client, CustomClaims, TokenLifetime, rfc3339},
    },
};

/// A client; `secret` is present only at its creation.
#[derive(Debug, Serialize)]
pub(crate) struct ClientView {
    pub(crate) client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<SecretValue>,
    pub(crate) grant_types: Vec<String>,
    /// Scope tokens by resource.
    pub(crate) allow: BTreeMap<String, Vec<String>>,
    pub(crate) introspects: Vec<String>,
    pub(crate) auth_methods: Vec<String>,
    /// Seconds.
    pub(crate) token_lifetime: Option<u64>,
    /// JSON by name.
    pub(crate) fixed_claims: CustomClaims,
    pub(crate) created_at: String,
    pub(crate) disabled_at: Option<String>,
    /// Recorded within ten seconds.
    pub(crate) last_used_at: Option<String>,
    pub(crate) secrets: Vec<SecretView>,
    pub(crate) keys: Vec<KeyOfClientView>,
}

/// A public key of a client.
#[derive(Debug, Serialize)]
pub(crate) struct KeyOfClientView {
    pub(crate) kid: String,
    pub(crate) algorithm: String,
    /// RFC 7638.
    pub(crate) thumbprint: String,
    pub(crate) created_at: String,
    pub(crate) expires_at: Option<String>,
    /// Recorded within ten seconds.
    pub(crate) last_used_at: Option<String>,
    pub(crate) live: bool,
}

/// A stored secret: what can be shown at any time.
#[derive(Debug, Serialize)]
pub(crate) struct SecretView {
    pub(crate) id: String,
    pub(crate) created_at: String,
    pub(crate) expires_at: Option<String>,
    /// Recorded within ten seconds.
    pub(crate) last_used_at: Option<String>,
    pub(crate) live: bool,
}

/// A new secret, with its value.
#[derive(Serialize)]
pub(crate) struct SecretValue {
    pub(crate) id: String,
    pub(crate) value: String,
    pub(crate) expires_at: Option<String>,
}

/// Without the value.
impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretValue").field("id", &self.id).finish_non_exhaustive()
    }
}

impl From<&NewSecret> for SecretValue {
    fn from(new: &NewSecret) -> Self {
        Self { id: new.id().to_string(), value: new.expose().to_owned(), expires_at: rfc3339_if_any(new.expires_at) }
    }
}

impl Viewed for Client {
    type View = ClientView;
    const NAME: &'static str = "client_id";

    fn view(&self, now: Timestamp) -> ClientView {
        let secrets = self.secrets.iter().map(|secret| SecretView {
            id: secret.id.to_string(),
            created_at: rfc3339(secret.created_at),
            expires_at: rfc3339_if_any(secret.expires_at),
            last_used_at: rfc3339_if_any(secret.last_used_at),
            live: secret.is_live(now),
        });
        let keys = self.keys.iter().map(|stored| KeyOfClientView {
            kid: stored.key.id().to_string(),
            algorithm: stored.key.algorithm().to_string(),
            thumbprint: stored.key.thumbprint().to_owned(),
            created_at: rfc3339(stored.created_at),
            expires_at: rfc3339_if_any(stored.expires_at),
            last_used_at: rfc3339_if_any(stored.last_used_at),
            live: stored.is_live(now),
        });
        ClientView {
            client_id: self.id.to_string(),
            secret: None,
            grant_types: self.grants.iter().map(ToString::to_string).collect(),
            allow: scope_lists(&self.permissions),
            introspects: self.introspects.iter().map(ToString::to_string).collect(),
            auth_methods: self.auth_methods.iter().map(ToString::to_string).collect(),
            token_lifetime: self.token_lifetime.map(TokenLifetime::seconds),
            fixed_claims: self.fixed_claims.clone(),
            created_at: rfc3339(self.created_at),
            disabled_at: rfc3339_if_any(self.disabled_at),
            last_used_at: rfc3339_if_any(self.last_used_at()),
            secrets: secrets.collect(),
            keys: keys.collect(),
        }
    }
}

impl ClientView {
    pub(crate) fn with_secret(mut self, secret: &NewSecret) -> Self {
        self.secret = Some(secret.into());
        self
    }
}

/// A secret that was added to a client.
#[derive(Debug, Serialize)]
pub(crate) struct NewSecretView {
    pub(crate) client_id: String,
    pub(crate) secret: SecretValue,
}

impl NewSecretView {
    pub(crate) fn new(id: &ClientId, secret: &NewSecret) -> Self {
        Self { client_id: id.to_string(), secret: secret.into() }
    }
}
