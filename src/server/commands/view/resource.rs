use serde::Serialize;

use super::Viewed;
use crate::{
    clock::Timestamp,
    server::model::{CustomClaims, Resource, TokenLifetime, rfc3339},
};

/// A resource.
#[derive(Debug, Serialize)]
pub(crate) struct ResourceView {
    pub(crate) audience: String,
    pub(crate) scopes: Vec<String>,
    /// Seconds.
    pub(crate) token_lifetime: Option<u64>,
    pub(crate) alg: &'static str,
    /// JSON by name.
    pub(crate) fixed_claims: CustomClaims,
    /// Names of attributes of users.
    pub(crate) claims: Vec<String>,
    pub(crate) created_at: String,
}

impl Viewed for Resource {
    type View = ResourceView;
    const NAME: &'static str = "audience";

    fn view(&self, _: Timestamp) -> ResourceView {
        ResourceView {
            audience: self.audience.to_string(),
            scopes: self.scope.iter().map(ToString::to_string).collect(),
            token_lifetime: self.token_lifetime.map(TokenLifetime::seconds),
            alg: self.algorithm.as_str(),
            fixed_claims: self.fixed_claims.clone(),
            claims: self.claims.iter().map(ToString::to_string).collect(),
            created_at: rfc3339(self.created_at),
        }
    }
}
