use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    clock::Timestamp,
    protocol::{Audience, AuthMethod, ClientId, GrantType, KeyId, Scope},
    server::{
        client_key::ClientKey,
        secret::{SecretDigest, SecretId},
    },
};

use super::{
    ClaimName, CustomClaims, ReadSpan, TokenLifetime,
    change::{Facts, facts, texts},
    rfc3339,
};

/// A trusted app.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) id: ClientId,
    /// The methods by which it may authenticate; never empty.
    pub(crate) auth_methods: BTreeSet<AuthMethod>,
    pub(crate) grants: BTreeSet<GrantType>,
    /// The scope that it may have, by resource.
    pub(crate) permissions: BTreeMap<Audience, Scope>,
    /// The resources whose tokens it may introspect.
    pub(crate) introspects: BTreeSet<Audience>,
    pub(crate) token_lifetime: Option<TokenLifetime>,
    /// Claims of all tokens that it gets, for itself and for users.
    pub(crate) fixed_claims: CustomClaims,
    pub(crate) created_at: Timestamp,
    pub(crate) disabled_at: Option<Timestamp>,
    /// Another number after each revocation of its tokens, and after each withdrawal of a right.
    pub(crate) tokens_since: i64,
    pub(crate) secrets: Vec<StoredSecret>,
    /// Its public keys, in the order in which they were added.
    pub(crate) keys: Vec<StoredKey>,
    /// The span for its next tokens as of the same moment, if the registry read the client and found one. It may have been replaced since: unlike other
    /// changes, that gives the client no new version, so the age of the span is checked when it is used.
    pub(crate) span: Option<ReadSpan>,
}

impl Client {
    /// When one of its secrets or keys was last used. Recorded within ten seconds; one that was dropped does not count.
    pub(crate) fn last_used_at(&self) -> Option<Timestamp> {
        self.secrets.iter().map(|secret| secret.last_used_at).chain(self.keys.iter().map(|key| key.last_used_at)).max().flatten()
    }

    /// Whether it can authenticate now by a secret or a key that it has, disabled or not.
    pub(crate) fn can_authenticate(&self, now: Timestamp) -> bool {
        can_authenticate(&self.auth_methods, &self.secrets, &self.keys, now)
    }

    /// Refuses fixed claims that cannot be stored.
    pub(crate) fn require_valid_claims(self) -> Result<Self, String> {
        self.fixed_claims.require_valid(format!("the fixed claims of the client {}", self.id))?;
        Ok(self)
    }

    /// Its properties for the change log when it is created, with the end of its first secret or key.
    pub(crate) fn facts_at_creation(&self) -> Facts {
        let mut facts = self.facts();
        let end = self.secrets.first().and_then(|secret| secret.expires_at);
        facts.insert("secret_expires_at".to_owned(), end.map(rfc3339).into());
        let end = self.keys.first().and_then(|key| key.expires_at);
        facts.insert("key_expires_at".to_owned(), end.map(rfc3339).into());
        facts
    }

    /// Its properties for the change log. Of its secrets, only the ids.
    pub(crate) fn facts(&self) -> Facts {
        let allow: Facts = self.permissions.iter().map(|(audience, scope)| (audience.to_string(), texts(scope.iter()))).collect();
        facts([
            ("grants", texts(&self.grants)),
            ("auth_methods", texts(&self.auth_methods)),
            ("allow", allow.into()),
            ("introspects", texts(&self.introspects)),
            ("token_lifetime", self.token_lifetime.map(TokenLifetime::seconds).into()),
            ("fixed_claims", self.fixed_claims.fact()),
            ("disabled_at", self.disabled_at.map(rfc3339).into()),
            ("secrets", texts(self.secrets.iter().map(|secret| &secret.id))),
            ("keys", texts(self.keys.iter().map(|key| key.key.id()))),
        ])
    }
}

/// Whether a client of these methods can authenticate now by one of these secrets and keys.
pub(crate) fn can_authenticate(methods: &BTreeSet<AuthMethod>, secrets: &[StoredSecret], keys: &[StoredKey], now: Timestamp) -> bool {
    let by_secret = AuthMethod::BY_SECRET.iter().any(|method| methods.contains(method));
    let by_key = methods.contains(&AuthMethod::PrivateKeyJwt);
    (by_secret && secrets.iter().any(|secret| secret.is_live(now))) || (by_key && keys.iter().any(|key| key.is_live(now)))
}

/// The stored part of a client secret: enough to recognize the secret, not enough to restore it.
#[derive(Debug, Clone)]
pub(crate) struct StoredSecret {
    pub(crate) id: SecretId,
    pub(crate) digest: SecretDigest,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
}

impl StoredSecret {
    /// Its properties for the change log, without the digest.
    pub(crate) fn facts(&self) -> Facts {
        facts([("secret", self.id.to_string().into()), ("expires_at", self.expires_at.map(rfc3339).into())])
    }

    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// A public key of a client, as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredKey {
    pub(crate) key: ClientKey,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
}

impl StoredKey {
    /// Maximum number of keys of a client.
    pub(crate) const MAX: usize = 8;

    /// Its properties for the change log. The thumbprint says which key it was after it is gone.
    pub(crate) fn facts(&self) -> Facts {
        facts([
            ("key", self.key.id().to_string().into()),
            ("algorithm", self.key.algorithm().to_string().into()),
            ("thumbprint", self.key.thumbprint().into()),
            ("expires_at", self.expires_at.map(rfc3339).into()),
        ])
    }

    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// What a client authenticates with, by its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialId {
    /// A secret.
    Secret(SecretId),
    /// A public key, which is unique only within its client.
    Key(KeyId),
}

impl CredentialId {
    /// `secret` or `key`.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Key(_) => "key",
        }
    }

    /// The id alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Secret(id) => id.as_str(),
            Self::Key(id) => id.as_str(),
        }
    }
}

/// `secret 09a27efed3ca36ae`.
impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.noun(), self.as_str())
    }
}

/// A secret or a key to drop.
#[derive(Debug, Clone)]
pub struct CredentialDrop {
    /// Its id.
    pub credential: CredentialId,
    /// Whether the client may be left without a valid one.
    pub allow_last: bool,
    /// Whether others may know the secret or the private key: then the tokens that the client got for itself are revoked.
    pub compromised: bool,
}

/// The changes of an update. `None` and empty values change nothing.
#[derive(Debug, Clone, Default)]
pub struct ClientChange {
    /// Replaces the methods by which it may authenticate.
    pub auth_methods: Option<BTreeSet<AuthMethod>>,
    /// Grant types to add.
    pub add_grants: BTreeSet<GrantType>,
    /// Grant types to remove.
    pub remove_grants: BTreeSet<GrantType>,
    /// Replaces the client's scope at each of these resources.
    pub allow: BTreeMap<Audience, Scope>,
    /// Removes all permissions at these resources.
    pub disallow: BTreeSet<Audience>,
    /// Resources whose tokens it may introspect from now on.
    pub add_introspects: BTreeSet<Audience>,
    /// Resources whose tokens it may no longer introspect.
    pub remove_introspects: BTreeSet<Audience>,
    /// `Some(None)` returns to the default.
    pub token_lifetime: Option<Option<TokenLifetime>>,
    /// Fixed claims to set.
    pub set_fixed_claims: CustomClaims,
    /// Fixed claims to remove.
    pub remove_fixed_claims: BTreeSet<ClaimName>,
}

impl ClientChange {
    /// Returns the changed client. Refuses to remove what the client does not have: a typing error would look like success.
    pub(crate) fn apply(self, mut client: Client) -> Result<Client, String> {
        if let Some(methods) = self.auth_methods {
            client.auth_methods = methods;
        }
        for grant in &self.remove_grants {
            if !client.grants.remove(grant) {
                return Err(format!("the client {} does not have the grant {grant}", client.id));
            }
        }
        client.grants.extend(self.add_grants);
        if let Some(audience) = self.disallow.iter().find(|audience| self.allow.contains_key(audience)) {
            return Err(format!("{audience} is both allowed and disallowed"));
        }
        for audience in &self.disallow {
            if client.permissions.remove(audience).is_none() {
                return Err(format!("the client {} has no permission at {audience}", client.id));
            }
        }
        client.permissions.extend(self.allow);
        for audience in &self.remove_introspects {
            if !client.introspects.remove(audience) {
                return Err(format!("the client {} does not introspect tokens of {audience}", client.id));
            }
        }
        client.introspects.extend(self.add_introspects);
        if let Some(lifetime) = self.token_lifetime {
            client.token_lifetime = lifetime;
        }
        let owner = format!("the client {}", client.id);
        client.fixed_claims.change(&self.set_fixed_claims, &self.remove_fixed_claims, owner, "fixed claim")?;
        client.require_valid_claims()
    }
}
