use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    clock::Timestamp,
    protocol::{Algorithm, Audience, Scope},
};

use super::{
    ClaimName, CustomClaims, TokenLifetime,
    change::{Facts, facts, texts},
};

/// A protected API.
#[derive(Debug, Clone)]
pub struct Resource {
    pub(crate) audience: Audience,
    /// The scope tokens that it owns; never empty.
    pub(crate) scope: Scope,
    pub(crate) token_lifetime: Option<TokenLifetime>,
    /// The algorithm that signs its tokens.
    pub(crate) algorithm: Algorithm,
    /// Claims of all its tokens.
    pub(crate) fixed_claims: CustomClaims,
    /// The attributes of users that it asks for.
    pub(crate) claims: BTreeSet<ClaimName>,
    pub(crate) created_at: Timestamp,
}

impl Resource {
    /// Its properties for the change log.
    pub(crate) fn facts(&self) -> Facts {
        facts([
            ("scopes", texts(self.scope.iter())),
            ("token_lifetime", self.token_lifetime.map(TokenLifetime::seconds).into()),
            ("alg", self.algorithm.as_str().into()),
            ("fixed_claims", self.fixed_claims.fact()),
            ("claims", if self.claims.is_empty() { Value::Null } else { texts(&self.claims) }),
        ])
    }

    /// All its scopes must fit into one token, of which APIs accept up to 16 KiB, and into one request, of at most 100 scopes.
    /// The same for its claims: names of claims may take as much as fixed claims.
    pub(crate) fn require_fitting(self) -> Result<Self, String> {
        const MAX_TOKENS: usize = 100;
        const MAX_LEN: usize = 4096;
        if self.scope.iter().count() > MAX_TOKENS || self.scope.to_string().len() > MAX_LEN {
            return Err(format!("a resource has at most {MAX_TOKENS} scopes of {MAX_LEN} characters in total; {} has more", self.audience));
        }
        self.fixed_claims.require_valid(format!("the fixed claims of the resource {}", self.audience))?;
        if self.claims.iter().map(|name| name.as_str().len() + 1).sum::<usize>() > CustomClaims::MAX_LEN {
            return Err(format!(
                "the resource {} asks for too many claims: their names may have {} characters",
                self.audience,
                CustomClaims::MAX_LEN
            ));
        }
        Ok(self)
    }
}

/// The changes of an update. `None` and empty values change nothing.
#[derive(Debug, Clone, Default)]
pub struct ResourceChange {
    /// Scope tokens to add.
    pub add: Scope,
    /// Scope tokens to remove.
    pub remove: Scope,
    /// `Some(None)` returns to the server's default.
    pub token_lifetime: Option<Option<TokenLifetime>>,
    /// The algorithm that signs its tokens, once it has a key that verifiers can know.
    pub algorithm: Option<Algorithm>,
    /// Fixed claims to set.
    pub set_fixed_claims: CustomClaims,
    /// Fixed claims to remove.
    pub remove_fixed_claims: BTreeSet<ClaimName>,
    /// Attributes of users to ask for.
    pub add_claims: BTreeSet<ClaimName>,
    /// Attributes of users that it no longer asks for.
    pub remove_claims: BTreeSet<ClaimName>,
}

impl ResourceChange {
    /// Returns the changed resource. Refuses to remove a scope that it does not have, and to remove its last scope.
    pub(crate) fn apply(self, mut resource: Resource) -> Result<Resource, String> {
        if let Some(token) = self.remove.iter().find(|token| !resource.scope.contains(token)) {
            return Err(format!("the resource {} has no scope {token}", resource.audience));
        }
        resource.scope = resource.scope.iter().filter(|token| !self.remove.contains(token)).chain(self.add.iter()).cloned().collect();
        if resource.scope.is_empty() {
            return Err(format!("the resource {} would have no scope left: delete it instead", resource.audience));
        }
        if let Some(lifetime) = self.token_lifetime {
            resource.token_lifetime = lifetime;
        }
        if let Some(algorithm) = self.algorithm {
            resource.algorithm = algorithm;
        }
        let owner = format!("the resource {}", resource.audience);
        resource.fixed_claims.change(&self.set_fixed_claims, &self.remove_fixed_claims, owner, "fixed claim")?;
        if let Some(name) = self.remove_claims.iter().find(|name| self.add_claims.contains(name)) {
            return Err(format!("the claim {name} is both added and removed"));
        }
        if let Some(name) = self.remove_claims.iter().find(|name| !resource.claims.remove(name)) {
            return Err(format!("the resource {} does not ask for the claim {name}", resource.audience));
        }
        resource.claims.extend(self.add_claims);
        resource.require_fitting()
    }
}
