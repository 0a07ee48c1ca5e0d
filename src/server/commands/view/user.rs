use std::collections::BTreeMap;

use serde::Serialize;

use super::{Viewed, rfc3339_if_any, scope_lists};
use crate::{
    clock::Timestamp,
    server::model::{CustomClaims, User, rfc3339},
};

/// A user, without the password hash.
#[derive(Debug, Serialize)]
pub(crate) struct UserView {
    pub(crate) sub: String,
    pub(crate) username: String,
    /// Scope tokens by resource.
    pub(crate) allow: BTreeMap<String, Vec<String>>,
    /// JSON by name.
    pub(crate) attributes: CustomClaims,
    pub(crate) created_at: String,
    pub(crate) disabled_at: Option<String>,
    pub(crate) signed_in_at: Option<String>,
}

impl Viewed for User {
    type View = UserView;
    const NAME: &'static str = "username";

    fn view(&self, _: Timestamp) -> UserView {
        UserView {
            sub: self.id.to_string(),
            username: self.username.to_string(),
            allow: scope_lists(&self.permissions),
            attributes: self.attributes.clone(),
            created_at: rfc3339(self.created_at),
            disabled_at: rfc3339_if_any(self.disabled_at),
            signed_in_at: rfc3339_if_any(self.signed_in_at),
        }
    }
}
